"""The scripts for Slurm, with an srun that starts the processes on this machine."""

import os
import re

import pytest
from engine_helpers import REPOSITORY, files_in, run_tool, tiny_config

from ride_mm.cli.errors import UsageError
from ride_mm.cli.runs import processes
from ride_mm.cli.runs.processes import check_launcher, slurm_rendezvous
from ride_mm.engine.checkpoint_io import load_checkpoint_file

# Tells how it was called, then starts the tasks as Slurm does.
SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$(dirname "$0")/arguments"
while [[ $1 == -* ]]; do
    [[ $1 == --ntasks=* ]] && export SLURM_NTASKS=${1#--ntasks=}
    shift
done
export SLURM_NODELIST=here SLURM_NNODES=1
pids=()
for ((i = 0; i < SLURM_NTASKS; i++)); do
    SLURM_PROCID=$i SLURM_LOCALID=$i "$@" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait -n || { status=$?; kill "${pids[@]}" 2>/dev/null; exit "$status"; }
done
"""


@pytest.fixture
def slurm(tmp_path):
    """Environment with the made-up srun on its path."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    (folder / 'srun').write_text(SRUN)
    (folder / 'srun').chmod(0o755)
    path = f'{folder}{os.pathsep}{os.environ["PATH"]}'
    return {'PATH': path, 'GPUS': '2', 'GPUS_PER_NODE': '0', 'CPUS_PER_TASK': '1'}


def arguments(tmp_path):
    return (tmp_path / 'bin/arguments').read_text().splitlines()


@pytest.mark.slow
def test_two_tasks_on_cpus_train_and_test(slurm, tmp_path):
    config = tmp_path / 'config.py'
    settings = tiny_config(tmp_path / 'run', train_cfg__max_epochs=1)
    settings.custom_imports = {'imports': ['engine_helpers']}
    settings.dump(config)
    folder = tmp_path / 'my run'
    job = 'part', 'a name', config
    done = run_tool('slurm_train.sh', *job, folder, env=slurm, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'epoch_1.pth' in files_in(folder)
    checkpoint = load_checkpoint_file(folder / 'epoch_1.pth')
    assert checkpoint['training']['images_per_step'] == 16  # Twice the batch.
    options = '--work-dir', folder, '--json', tmp_path / 'two.json'
    found = folder / 'epoch_1.pth'
    done = run_tool('slurm_test.sh', *job, found, *options, env=slurm, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"accuracy/top1"' in (tmp_path / 'two.json').read_text()
    # Their refusal is told once.
    done = run_tool('slurm_train.sh', *job, folder, env=slurm, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count('error: ') == 1


def test_what_srun_is_asked_for(slurm, tmp_path):
    env = {
        **slurm,
        'GPUS': '16',
        'GPUS_PER_NODE': '',
        'CPUS_PER_TASK': '',
        'SRUN_ARGS': '--time=1:00 --exclude=x',
        'PYTHON': 'true',
    }
    call = 'slurm_train.sh', 'part', 'a name', 'c.py', 'my run', '--epochs', 3
    done = run_tool(*call, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert arguments(tmp_path) == [
        '--partition=part',
        '--job-name=a name',
        '--ntasks=16',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        '--gres=gpu:8',
        '--ntasks-per-node=8',
        '--time=1:00',
        '--exclude=x',
        'true',
        '-u',
        f'{REPOSITORY}/tools/train.py',
        'c.py',
        '--work-dir',
        'my run',
        '--epochs',
        '3',
        '--launcher',
        'slurm',
    ]
    env = {**env, 'GPUS': '4', 'SRUN_ARGS': ''}
    run_tool('slurm_test.sh', 'p', 'j', 'c.py', 'w.pth', env=env, cwd=tmp_path)
    assert '--gres=gpu:4' in arguments(tmp_path)
    assert arguments(tmp_path)[-4:] == ['c.py', 'w.pth', '--launcher', 'slurm']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'GPUS': 'many'}, 'GPUS: expected a number, got many'),
        ({'GPUS': '0'}, 'GPUS: expected a number, got 0'),
        ({'CPUS_PER_TASK': '-1'}, 'CPUS_PER_TASK: expected a number, got -1'),
        ({'GPUS': '12', 'GPUS_PER_NODE': '8'}, 'a multiple of .*, got 12 and 8'),
        ({'GPUS': '2', 'GPUS_PER_NODE': '8'}, 'a multiple of .*, got 2 and 8'),
    ],
)
def test_bad_numbers_are_refused(slurm, tmp_path, changes, message):
    call = 'slurm_train.sh', 'p', 'j', 'c.py', 'run'
    done = run_tool(*call, env={**slurm, **changes}, cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert not (tmp_path / 'bin/arguments').exists()


@pytest.mark.parametrize('tool', ['slurm_train.sh', 'slurm_test.sh'])
def test_usage_and_absence_of_slurm(tool, tmp_path):
    done = run_tool(tool, 'p', 'j', 'c.py', cwd=tmp_path)
    assert done.returncode == 2
    assert 'usage:' in done.stderr
    done = run_tool(tool, 'p', 'j', 'c.py', 'x', cwd=tmp_path)
    assert done.returncode == 1
    assert 'got one without srun' in done.stderr


def test_the_launcher_needs_srun_and_a_gpu_for_each_process(monkeypatch):
    for name in ('PROCID', 'NTASKS', 'NODELIST', 'LOCALID'):
        monkeypatch.delenv(f'SLURM_{name}', raising=False)
    with pytest.raises(UsageError, match='expected to be started by srun'):
        check_launcher('slurm')
    for name in ('PROCID', 'NTASKS', 'NODELIST', 'LOCALID'):
        monkeypatch.setenv(f'SLURM_{name}', '1')
    monkeypatch.setattr(processes.torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(processes.torch.cuda, 'device_count', lambda: 2)
    check_launcher('slurm')
    monkeypatch.setattr(processes.torch.cuda, 'device_count', lambda: 1)
    with pytest.raises(UsageError, match='a GPU of its own, got 1 for process 2'):
        check_launcher('slurm')


def test_where_the_processes_meet(tmp_path, monkeypatch):
    environ = {'SLURM_PROCID': '3', 'SLURM_NTASKS': '4', 'SLURM_NODELIST': 'n[1-2]'}
    got = slurm_rendezvous({**environ, 'SLURM_LOCALID': '1', 'MASTER_PORT': '7'})
    assert got == {
        'RANK': '3',
        'WORLD_SIZE': '4',
        'LOCAL_RANK': '1',
        'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': '7',
    }
    environ['SLURM_NNODES'] = '2'
    assert slurm_rendezvous({**environ, 'MASTER_ADDR': 'x'})['MASTER_ADDR'] == 'x'
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UsageError, match=r'first host of n\[1-2\]'):
        slurm_rendezvous(environ)
    (tmp_path / 'scontrol').write_text('#!/bin/sh\necho "n1\nn2"\n')
    (tmp_path / 'scontrol').chmod(0o755)
    assert slurm_rendezvous(environ)['MASTER_ADDR'] == 'n1'
