"""The table of CIFAR-100-LT with imbalance factor 100.

Published figures are those of Wang et al., RIDE, ICLR 2021: tables 1, 4 and 5 and the
model zoo of the authors' repository. Their tables 4 and 5 are with all experts.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ...datasets.cifar import LTCIFAR100
from .rows import PAPER, ZOO, Benchmark, Published, Row

STAGE_ONE = 'ride_r32_cifar100lt{schedule}'
TEACHER_FILE = 'default_hooks.teacher.checkpoint'
INDIVIDUAL = ('model.head.diversity=None',)
COLLABORATIVE = (*INDIVIDUAL, 'model.head.collaborative=True')
RERUNS = 'public reruns'
BEST_ON_TEST = 'the best epoch on the test set'
TABLE_1 = 'for 4 experts its table 4 says that this is with distillation and routers'


def _experts(number: int) -> tuple[str, ...]:
    return () if number == 3 else (f'model.num_experts={number}',)


def _ablation() -> list[Row]:
    """Stage one without the diversity loss."""
    rows = [
        Row(
            f'ride-{n}-collaborative',
            f'{n} experts, collaborative loss',
            STAGE_ONE,
            (*_experts(n), *COLLABORATIVE),
            published=(Published(accuracy, f'{PAPER}table 4'), *others),
        )
        for n, accuracy, others in (
            (2, 44.7, ()),
            (3, 46.1, (Published(46.4, RERUNS, note=BEST_ON_TEST),)),
            (4, 46.3, ()),
        )
    ]
    reruns = Published(48.63, RERUNS, note=f'mean of 3, each {BEST_ON_TEST}')
    for n, published in ((3, reruns), (4, Published(47.8, f'{PAPER}table 4'))):
        row = Row(
            f'ride-{n}-individual',
            f'{n} experts, individual loss',
            STAGE_ONE,
            (*_experts(n), *INDIVIDUAL),
            published=(published,),
        )
        rows.append(row)
    return rows


def _stage_one() -> list[Row]:
    """Experts with the diversity loss, and the teacher."""
    published = {
        2: (Published(46.6, f'{PAPER}table 5'),),
        3: (
            Published(47.9, f'{PAPER}table 5'),
            Published(48.55, RERUNS, note=f'mean of 5, sd 0.5, each {BEST_ON_TEST}'),
        ),
        4: (Published(48.7, f'{PAPER}tables 4 and 5'),),
        6: (
            Published(50.2, ZOO, (69.3, 52.1, 25.8)),
            Published(49.7, f'{PAPER}table 5'),
        ),
    }
    return [
        Row(
            f'ride-{n}',
            f'RIDE, {n} experts' if n < 6 else 'RIDE, 6 experts, the teacher',
            STAGE_ONE if n < 6 else f'{STAGE_ONE}_teacher',
            _experts(n) if n < 6 else (),
            published=published[n],
        )
        for n in (2, 3, 4, 6)
    ]


def _distilled() -> list[Row]:
    published = {
        2: (Published(47.3, f'{PAPER}table 5'),),
        3: (Published(48.4, f'{PAPER}table 5'),),
        4: (Published(49.3, f'{PAPER}tables 4 and 5'),),
    }
    return [
        Row(
            f'ride-{n}-distill',
            f'RIDE, {n} experts, distilled',
            f'{STAGE_ONE}_distill',
            _experts(n),
            {TEACHER_FILE: 'ride-6'},
            published[n],
        )
        for n in (2, 3, 4)
    ]


def _routed() -> list[Row]:
    plain = {3: (Published(48.6, ZOO, (67.0, 49.9, 25.7)),)}
    distilled = {
        2: (Published(47.0, f'{PAPER}table 1', (67.9, 48.4, 21.8), TABLE_1),),
        3: (
            Published(49.0, ZOO, (67.6, 50.9, 25.2)),
            Published(48.0, f'{PAPER}table 1', (68.1, 49.2, 23.9), TABLE_1),
        ),
        4: (
            Published(49.1, f'{PAPER}tables 1 and 4', (69.3, 49.3, 26.0)),
            Published(49.4, ZOO, (67.7, 51.3, 25.7)),
        ),
    }
    return [
        Row(
            f'ride-{n}{suffix.replace("_", "-")}-router',
            f'RIDE, {n} experts{words}, with routers',
            f'{STAGE_ONE}{suffix}_router',
            _experts(n),
            {'load_from': f'ride-{n}{suffix.replace("_", "-")}'},
            published.get(n, ()),
        )
        for suffix, words, published in (
            ('', '', plain),
            ('_distill', ', distilled', distilled),
        )
        for n in (2, 3, 4)
    ]


def describe_files(data_root: str) -> dict[str, Mapping[str, str]]:
    """MD5 of the files of CIFAR-100, beside that of the published ones.

    Returns:
        ``{'train': {'md5': ..., 'published': ...}, 'test': ...}``, without what is not
        there.
    """
    folder = Path(data_root).expanduser() / LTCIFAR100.base_folder
    return {
        name: {
            'md5': hashlib.md5((folder / name).read_bytes()).hexdigest(),
            'published': published,
        }
        for name, published in (*LTCIFAR100.train_list, *LTCIFAR100.test_list)
        if (folder / name).is_file()
    }


CIFAR100LT = Benchmark(
    name='cifar100lt',
    title='CIFAR-100-LT, imbalance factor 100, ResNet-32',
    rows=(
        Row(
            'ce',
            'Cross-entropy',
            'ce_r32_cifar100lt{schedule}',
            published=(Published(39.1, f'{PAPER}table 1', (66.1, 37.3, 10.6)),),
        ),
        Row(
            'ldam-drw',
            'LDAM-DRW',
            'ldam-drw_r32_cifar100lt{schedule}',
            published=(Published(42.0, f'{PAPER}table 1', (61.5, 41.7, 20.2)),),
        ),
        *_ablation(),
        *_stage_one(),
        *_distilled(),
        *_routed(),
    ),
    schedules={'200e': '', '30e': '_30e'},
    data_root='data/cifar100',
    any_files=tuple(
        f'{place}.check_md5=False'
        for place in (
            'train_dataloader.dataset.dataset',
            'val_dataloader.dataset.dataset',
            'test_dataloader.dataset',
        )
    ),
    describe_files=describe_files,
)
