"""Runs that several tests start from."""

from pathlib import Path

import pytest
from digits_runs import train_experts, train_router
from mmengine.config import Config


@pytest.fixture(scope='session')
def stage_one(tmp_path_factory) -> Path:
    """A checkpoint of experts on digits-LT."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'pretty_text', '')
        return train_experts(tmp_path_factory.mktemp('one'))


@pytest.fixture(scope='session')
def stage_two(stage_one, tmp_path_factory) -> Path:
    """A checkpoint with routers, which started from that of the experts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'pretty_text', '')
        return train_router(tmp_path_factory.mktemp('two'), stage_one)
