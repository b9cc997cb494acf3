"""How connected processes end."""

import pytest
from mmengine.config import Config
from torch import distributed

from ride_mm.cli.runs.processes import processes

CFG = Config(dict(launcher='none'))


@pytest.fixture
def calls(monkeypatch):
    """What is asked of PyTorch, as if processes were connected."""
    calls = []
    monkeypatch.setattr(distributed, 'is_initialized', lambda: True)
    for name in ('barrier', 'destroy_process_group'):
        monkeypatch.setattr(distributed, name, lambda name=name: calls.append(name))
    return calls


def test_they_wait_for_each_other(calls):
    with processes(CFG):
        calls.append('work')
    assert calls == ['work', 'barrier', 'destroy_process_group']


def test_after_an_error_nobody_waits(calls):
    with pytest.raises(ZeroDivisionError), processes(CFG):
        raise ZeroDivisionError
    assert calls == ['destroy_process_group']
