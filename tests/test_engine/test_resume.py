"""A run that is killed at any moment and resumed equals a run without interruption."""

import json
import os
import signal
import subprocess
import sys

import pytest
from engine_helpers import REPOSITORY
from kill_and_resume import MOMENTS

STRAIGHT = ('straight-0', 'straight-2')
KILLED = [*(f'{moment}-0' for moment in MOMENTS), 'mid_epoch-2']
FILES = ['best_score_nll_epoch_3.pth', 'epoch_3.pth', 'last_checkpoint']


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp('kill_and_resume')
    tests = REPOSITORY / 'tests'
    paths = [str(REPOSITORY), str(tests), os.environ.get('PYTHONPATH', '')]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    command = [sys.executable, str(tests / 'kill_and_resume.py'), str(folder)]
    subprocess.run(
        [*command, *STRAIGHT, *KILLED],
        env={**env, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'},
        check=True,
        timeout=600,
    )
    return json.loads((folder / 'outcomes.json').read_text())


def test_straight_run_saves_the_best_each_time(outcomes):
    """Otherwise the scenarios would not pass the moments they are about."""
    straight = outcomes['straight-0']
    assert straight['exits'] == [0], straight['log']
    assert straight['files'] == FILES
    assert straight['log'].count('The best checkpoint with') == 3
    assert 'starting from scratch' in straight['log']
    assert 'set_epoch' not in straight['log']


def test_number_of_workers_makes_no_difference(outcomes):
    assert outcomes['straight-2']['exits'] == [0], outcomes['straight-2']['log']
    assert outcomes['straight-2']['digest'] == outcomes['straight-0']['digest']


@pytest.mark.parametrize('scenario', KILLED)
def test_killed_run_equals_straight_run(outcomes, scenario):
    killed = outcomes[scenario]
    assert killed['exits'] == [-signal.SIGKILL, 0], killed['log']
    assert killed['digest'] == outcomes['straight-0']['digest']
    assert killed['files'] == FILES
    assert 'Resuming from' in killed['log']
    assert 'is different from the current training dataset' not in killed['log']


@pytest.mark.parametrize(
    ('moment', 'left'),
    [
        ('half_written', 'epoch_1.pth'),
        ('before_rename', 'epoch_1.pth'),
        ('after_rename', 'epoch_1.pth'),
        ('after_rename', 'epoch_2.pth'),
        ('before_prune', 'epoch_1.pth'),
        ('before_prune', 'epoch_2.pth'),
        ('after_best', 'best_score_nll_epoch_1.pth'),
        ('after_best', 'best_score_nll_epoch_2.pth'),
    ],
)
def test_kill_left_what_the_moment_says(outcomes, moment, left):
    assert left in outcomes[f'{moment}-0']['after_kill']


def test_kill_while_writing_left_a_temporary_file_that_resuming_removed(outcomes):
    after_kill = outcomes['half_written-0']['after_kill']
    assert any(name.endswith('.ride_mm-tmp') for name in after_kill)
    assert 'epoch_2.pth' not in after_kill
    assert 'Removed unfinished files' in outcomes['half_written-0']['log']


def test_missed_validation_is_made_up_for(outcomes):
    assert 'validating first' in outcomes['before_last_validation-0']['log']
