"""Stands in for tools/train.py and tools/test.py: starts at once, computes nothing.

    python fake_training.py tools/train.py CONFIG --work-dir FOLDER ...

``epochs.txt`` in the work directory gets a line for each epoch. ``FAKE_FAIL`` in the
environment is a part of the path of a work directory whose training fails,
``FAKE_HANG`` of one that hangs after its first epoch.
"""

import json
import os
import sys
import time
from pathlib import Path


def value(option: str, arguments: list[str]) -> str:
    return arguments[arguments.index(option) + 1]


def settings(arguments: list[str]) -> dict[str, str]:
    start = arguments.index('--cfg-options') + 1
    return dict(a.split('=', 1) for a in arguments[start:] if '=' in a)


def marked(name: str, folder: Path) -> bool:
    """Whether the environment names this work directory."""
    return name in os.environ and os.environ[name] in str(folder)


def accuracy(seed: int, config: str) -> float:
    """A figure of its own for each training."""
    return 40 + 3 * seed + len(config) / 100


def train(arguments: list[str]) -> None:
    folder = Path(value('--work-dir', arguments))
    folder.mkdir(parents=True, exist_ok=True)
    chosen = settings(arguments)
    for key in ('load_from', 'default_hooks.teacher.checkpoint'):
        if key in chosen and not Path(chosen[key]).is_file():
            sys.exit(f'no such file: {chosen[key]}')
    done = len(list(folder.glob('epoch_*.pth')))
    last = int(chosen['train_cfg.max_epochs'])
    for epoch in range(done + 1, last + 1):
        with (folder / 'epochs.txt').open('a') as file:
            file.write(f'{epoch}\n')
        (folder / f'epoch_{epoch}.pth').write_text(f'{folder} {epoch}')
        (folder / 'last_checkpoint').write_text(str(folder / f'epoch_{epoch}.pth'))
        write_record(folder, epoch, int(chosen['randomness.seed']))
        print(f'epoch {epoch} is done', flush=True)
        if marked('FAKE_HANG', folder):
            time.sleep(60)
        if marked('FAKE_FAIL', folder):
            sys.exit('the reason of the failure')


def write_record(folder: Path, epoch: int, seed: int) -> None:
    session = {
        'epochs': [0, epoch],
        'device': 'an abacus',
        'processes': 1,
        'threads': int(os.environ.get('OMP_NUM_THREADS', 1)),
        'precision': 'float32',
        'seed': seed,
        'versions': {'torch': '2.6.0'},
        'data': {
            'train': {'number': 10847, 'subset': 'a' * 16, 'images': 'b' * 64},
            'val': {'number': 10000, 'subset': None, 'images': 'c' * 64},
        },
    }
    (folder / 'run.json').write_text(json.dumps({'sessions': [session]}))


def test(arguments: list[str]) -> None:
    config, checkpoint = arguments[:2]
    Path(checkpoint).read_text()
    top1 = accuracy(int(settings(arguments)['randomness.seed']), config)
    metrics = {'shot_accuracy/all': top1, 'shot_accuracy/many': top1 + 1}
    if 'router' in config:
        metrics['expert_usage/mean_experts'] = 1.5
    Path(value('--json', arguments)).write_text(json.dumps({'metrics': metrics}))


if __name__ == '__main__':
    program, *others = sys.argv[1:]
    {'tools/train.py': train, 'tools/test.py': test}[program](others)
