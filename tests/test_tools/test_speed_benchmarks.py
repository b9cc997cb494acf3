"""The benchmarks of training, inference and data: what they tell and refuse."""

import json
import sys
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from ride_mm.analysis.speed import peak_memory, reference_model, steps, time_parts
from ride_mm.analysis.speed.steps import PARTS, TrainingStep
from ride_mm.cli.benchmarks import data as data_benchmark
from ride_mm.cli.benchmarks import train as train_benchmark
from ride_mm.cli.benchmarks.data import data_benchmark_main
from ride_mm.cli.benchmarks.inference import inference_benchmark_main
from ride_mm.cli.benchmarks.train import ALL_PARTS, cells, train_benchmark_main
from ride_mm.cli.benchmarks.train import make_parser as train_parser
from ride_mm.cli.configs.loading import load_config
from ride_mm.datasets.imbalance import imbalanced_counts

CONFIG = 'ride_r20_digitslt'
CPU = torch.device('cpu')
# The authors' files that a benchmark reads, in miniature.
AUTHORS_MODEL = """
import torch
from base import BaseModel
from utils import helper


class Backbone(torch.nn.Module):
    def __init__(self, num_classes, num_experts):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(num_experts, 3, num_classes))

    def forward(self, x):
        self.logits = [helper(x).mean((2, 3)) @ weight for weight in self.weights]
        return torch.stack(self.logits, 1).mean(1)


class ResNet32Model(BaseModel):
    def __init__(self, num_classes, reduce_dimension, use_norm, num_experts):
        super().__init__()
        assert reduce_dimension and use_norm
        self.backbone = Backbone(num_classes, num_experts)

    def forward(self, x):
        return self.backbone(x)
"""
AUTHORS_LOSS = """
import torch
import torch.nn.functional as F


class RIDELoss(torch.nn.Module):
    def __init__(self, cls_num_list, reweight_epoch, additional_diversity_factor):
        super().__init__()
        self.m_list = torch.tensor(cls_num_list).float().pow(-0.25).cuda()
        self.s = 30

    def _hook_before_epoch(self, epoch):
        self.ready = True

    def forward(self, output_logits, target, extra_info=None):
        assert self.ready
        return sum(
            F.cross_entropy(self.get_final_output(one, target), target)
            for one in extra_info['logits']
        )
"""


@pytest.fixture
def authors(tmp_path):
    folder = tmp_path / 'authors'
    (folder / 'model' / 'ldam_drw_resnets').mkdir(parents=True)
    (folder / 'utils').mkdir()
    (folder / 'model' / 'model.py').write_text(AUTHORS_MODEL)
    (folder / 'model' / 'loss.py').write_text(AUTHORS_LOSS)
    (folder / 'utils' / '__init__.py').write_text(
        'import pandas as pd\n\n\ndef helper(x):\n    return x\n'
    )
    return folder


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(main, tmp_path, *options):
    main([*options, '--json', str(tmp_path / 'out.json')])
    return json.loads((tmp_path / 'out.json').read_text())


def test_training_is_measured_with_data_and_against_another_setting(
    tmp_path, capsys, monkeypatch
):
    taken = 0.8, 0.4, 1.0, 1.5, 0.6, 0.7

    def three_rounds(functions, seconds, device):
        """Of a machine that is slow in the first round and slower in the last."""
        for function in functions:
            function()
        alone = taken[: len(functions)]
        return [tuple(scale * t for t in alone) for scale in (2.0, 1.0, 4.0)]

    monkeypatch.setattr(train_benchmark, 'time_in_turns', three_rounds)
    result = run(
        train_benchmark_main,
        tmp_path,
        CONFIG,
        '--batch-size',
        '8',
        '--seconds',
        '0.1',
        '--with-data',
        '--against',
        'model.num_experts=1',
        '--threads',
        '1',
        '--operators',
        '4',
        '--cfg-options',
        'train_dataloader.num_workers=0',
    )
    names = [row['name'] for row in result['rows']]
    assert names == [
        f'{what}, {setting}'
        for what in ('step',)
        for setting in (CONFIG, 'model.num_experts=1')
    ] + [
        f'{what}, {setting}'
        for setting in (CONFIG, 'model.num_experts=1')
        for what in ('bare loop', 'train.py')
    ]
    three, _, bare, runner, *_ = result['rows']
    for row, seconds in zip(result['rows'], taken, strict=True):
        assert row['seconds'] == pytest.approx(2 * seconds)
        assert row['images_per_second'] == pytest.approx(4 / seconds)
        assert row['speed'] == pytest.approx(0.8 / seconds)
    assert set(three['parts']) == set(PARTS)
    assert set(bare['parts']) == {*PARTS, 'data'}
    assert runner['parts'] == {'framework': pytest.approx(2 * (1.5 - 1.0))}
    assert result['batch size'] == 8
    for row in result['rows']:
        operators = row['operators']
        assert [one['name'] for one in operators].count('aten::convolution_backward')
        taken = [one['seconds'] for one in operators]
        assert len(taken) == 4 and taken == sorted(taken, reverse=True)
        assert all(one['calls'] > 0 for one in operators)
        assert 0 < sum(one['share'] for one in operators) <= 1
    out = capsys.readouterr().out
    assert 'train.py, ride_r20_digitslt, fp32' in out
    assert 'relative to the first row' in out
    assert 'each of 3 rounds or more' in out and 'raise --seconds' in out


def test_precisions_are_measured_in_the_same_rounds(authors, tmp_path, monkeypatch):
    def two_rounds(functions, seconds, device):
        """The second on a machine that is ten times as slow."""
        rounds = [
            tuple(scale / (i + 1) for i in range(len(functions)))
            for scale in (1.0, 10.0)
        ]
        seen.append((len(functions), seconds))
        return rounds

    options = (
        'ride_r32_cifar100lt',
        '--shape',
        '8',
        '--seconds',
        '3',
        '--threads',
        '1',
    )
    options += ('--dtypes', 'fp32', 'bf16', '--reference', str(authors))
    ours = {
        'train': ['step, ride_r32_cifar100lt'],
        'inference': ['ride_mm', 'ride_mm, BatchNorm folded'],
    }
    for main, theirs, more in (
        (train_benchmark_main, "step, the authors' code", ('--batch-size', '2')),
        (inference_benchmark_main, "the authors' code", ('--batch-sizes', '2')),
    ):
        kind = 'train' if main is train_benchmark_main else 'inference'
        seen = []
        monkeypatch.setattr(sys.modules[main.__module__], 'time_in_turns', two_rounds)
        rows = run(main, tmp_path, *options, *more)['rows']
        assert [(row['name'], row['dtype']) for row in rows] == [
            (name, dtype)
            for dtype in ('fp32', 'bf16')
            for name in (theirs, *ours[kind])
        ]
        assert [row['speed'] for row in rows] == pytest.approx(range(1, len(rows) + 1))
        assert seen == [(len(rows), 2 * 3)]


def test_the_authors_code_is_measured_and_leaves_no_module_behind(
    authors, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, 'utils', 'mine')
    before = {name for name in sys.modules if name.startswith(('model', 'base'))}
    path, cuda = list(sys.path), torch.Tensor.cuda
    options = (
        *('ride_r32_cifar100lt', '--seconds', '0.1', '--threads', '1'),
        *('--reference', str(authors)),
    )
    result = run(
        train_benchmark_main, tmp_path, *options, '--batch-size', '2', '--shape', '8'
    )
    assert [row['name'] for row in result['rows']] == [
        "step, the authors' code",
        'step, ride_r32_cifar100lt',
    ]
    result = run(
        inference_benchmark_main, tmp_path, *options, '--batch-sizes', '2', '--shape=8'
    )
    theirs, ours, folded = result['rows']
    assert ours['difference'] == 0 and theirs['difference'] is None
    assert folded['difference'] < 1e-5
    assert sys.modules['utils'] == 'mine'
    assert {n for n in sys.modules if n.startswith(('model', 'base'))} == before
    assert sys.path == path and torch.Tensor.cuda is cuda


def test_a_network_that_the_authors_lack_is_refused(authors, tmp_path):
    args = train_parser().parse_args(['ride_swint_imagenetlt'])
    model = load_config(args).model
    with pytest.raises(ValueError, match='expected a model of several experts with'):
        reference_model(str(authors), model)
    args = train_parser().parse_args(['ride_r32_cifar100lt'])
    with pytest.raises(ValueError, match="expected a folder with the authors'"):
        reference_model(str(tmp_path), load_config(args).model)


def test_parts_of_a_step_are_those_of_its_functions(monkeypatch):
    calls, clock = [], [0.0]

    def take(seconds, part):
        clock[0] += seconds
        calls.append(part)
        return torch.zeros(())

    now = SimpleNamespace(perf_counter=lambda: clock[0])
    monkeypatch.setattr(steps, 'time', now)
    step = TrainingStep(
        lambda: take(1.0, 'forward'),
        lambda loss: take(3.0, 'backward'),
        lambda: take(2.0, 'update'),
    )
    parts = time_parts(step, 3, CPU)
    assert calls == ['forward', 'backward', 'update'] * 3
    assert parts == dict(forward=1.0, backward=3.0, optimizer=2.0)


@pytest.mark.skipif(
    not sys.platform.startswith('linux'), reason='only Linux tells the peak of memory'
)
def test_the_peak_of_memory_counts_what_is_freed_again():
    mebibytes = 64
    held = [torch.ones(2**20)]

    def function():
        held.append(torch.ones(mebibytes * 2**18))
        held.pop()

    assert peak_memory(function, CPU) == pytest.approx(mebibytes * 2**20, rel=0.25)


def test_shares_are_of_the_time_of_the_step():
    row = dict(
        name='step, x',
        dtype='bf16',
        images_per_second=64.0,
        seconds=0.5,
        speed=1.5,
        parts=dict(forward=0.1, backward=0.3, optimizer=0.01),
        peak_bytes=3 * 2**20,
    )
    shares = dict(zip(ALL_PARTS, cells(row)[4:-1], strict=True))
    assert shares == dict(
        data='-', forward='20.0', backward='60.0', optimizer='2.0', framework='-'
    )
    assert cells(row)[:4] == ('step, x, bf16', '64', '500.0', '1.50x')
    assert cells(row)[-1] == '3'


def test_data_is_measured_by_workers_and_steps(tmp_path, monkeypatch):
    ticks = count()  # A clock that a second passes on whenever it is looked at.
    clock = SimpleNamespace(
        perf_counter=lambda: float(next(ticks)), process_time=lambda: float(next(ticks))
    )
    monkeypatch.setattr(data_benchmark, 'time', clock)
    result = run(
        data_benchmark_main, tmp_path, CONFIG, '--workers', '0', '1', '--batches', '3'
    )
    assert [row['workers'] for row in result['loaders']] == [0, 1]
    for row in result['loaders']:
        assert row['images'] == row['images_per_second'] == 3 * 32
        assert row['seconds_per_batch'] == pytest.approx(1 / 3)
    images = imbalanced_counts(144, 10, 'exp', 50).sum()
    *each, (last, batch) = result['pipeline_seconds'].items()
    assert dict(each) == {
        name: pytest.approx(1 / images)
        for name in (
            *('RandomCrop', 'LTRandomRotation', 'PackInputs'),
            'all, with seeding and checks',
        )
    }
    assert last == 'data preprocessor, of a batch'
    assert batch == pytest.approx(1 / data_benchmark.REPEATS / 32)


@pytest.mark.parametrize(
    ('main', 'options', 'message'),
    [
        (train_benchmark_main, ['--batch-size', '1'], 'expected a number >= 2, got 1'),
        (train_benchmark_main, ['--operators', '-1'], 'a number >= 0, got -1'),
        (train_benchmark_main, ['--seconds', '0'], 'expected a number > 0, got 0'),
        (train_benchmark_main, ['--against', 'modle.x=1'], '--against modle.x'),
        (train_benchmark_main, ['--threads', '0'], 'expected a number >= 1, got 0'),
        (inference_benchmark_main, ['--batch-sizes', '0'], 'numbers >= 1, got 0'),
        (data_benchmark_main, ['--workers', '-1'], 'numbers >= 0, got -1'),
        (data_benchmark_main, ['--batches', '0'], 'a number >= 1, got 0'),
    ],
)
def test_options_that_cannot_be_followed_are_refused(main, options, message):
    with pytest.raises(SystemExit) as stop:
        main([CONFIG, *options])
    assert message in str(stop.value.code)
