"""The benchmark of routing: its pieces, its table, and what it refuses."""

import json
import math

import pytest
import torch
from mmpretrain.registry import MODELS

from ride_mm.analysis import PartCosts, part_costs
from ride_mm.analysis.routing.speed import (
    RoutingSpeed,
    measure,
    set_share,
    share_threshold,
    whole_samples,
)
from ride_mm.analysis.timing import MIN_ROUNDS, time_in_turns
from ride_mm.cli.benchmarks.routing import (
    COLUMNS,
    is_distinct,
    left_out,
    routing_benchmark_main,
)
from ride_mm.engine.checkpoint_io import write_atomically
from ride_mm.models import RIDEClassifier

CONFIG = 'ride_r20_digitslt_router'
EXPERTS = 4


@pytest.fixture(scope='module')
def model() -> RIDEClassifier:
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='RIDEClassifier',
            num_experts=EXPERTS,
            backbone=dict(type='RIDEResNetCIFAR', depth=20),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='RouterHead', num_classes=10, top_z=5),
        )
    )
    return model.eval()


def images(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def speed(**given) -> RoutingSpeed:
    """A measurement of 8 samples: 4 use one expert, 2 use two, 2 use three."""
    values = dict(
        batch_size=8,
        dtype='fp32',
        share=0.5,
        arrived=(8, 4),
        used=(4, 2, 2),
        seconds_all=0.2,
        seconds_routed=0.1,
        time_ratio=0.5,
        macs_ratio=0.4,
        rounds=5,
    )
    return RoutingSpeed(**(values | given))


@pytest.mark.parametrize('share', [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1])
@pytest.mark.parametrize('number', [1, 2, 7, 64])
def test_a_threshold_lets_just_the_share_go_on(number: int, share: float):
    scores = torch.randn(number, generator=torch.Generator().manual_seed(number))
    going = (scores > share_threshold(scores, share)).sum()
    assert going == whole_samples(number, share)
    assert abs(going - share * number) <= 0.5


def test_a_threshold_lies_between_neighbouring_numbers():
    low = torch.tensor(1.0)
    scores = torch.stack([low, low.nextafter(torch.tensor(2.0))])
    threshold = torch.tensor(share_threshold(scores, 0.5))
    assert (scores > threshold).tolist() == [False, True]


def test_of_equal_scores_none_goes_on_unless_all_are_to():
    scores = torch.tensor([3.0, 2.0, 2.0, 2.0])
    assert (scores > share_threshold(scores, 0.5)).tolist() == [True] + [False] * 3
    assert (scores > share_threshold(scores, 1)).all()


@pytest.mark.parametrize(
    ('share', 'used'),
    [
        (1, [0, 0, 0, 20]),
        (0.75, [5, 4, 3, 8]),  # 20 arrive, 15 (of 20), 11 (of 15), 8 (of 11) go on
        (0.5, [10, 5, 2, 3]),
        (0, [20, 0, 0, 0]),
    ],
)
def test_the_share_holds_after_each_router(model, share: float, used: list[int]):
    set_share(model, images(20), share)
    routed = model.route(images(20))
    assert torch.bincount(routed.num_experts, minlength=5)[1:].tolist() == used


def test_what_is_kept_of_each_expert_is_left_as_it_was(model):
    set_share(model, images(4), 0.5)
    assert not model.head.keep_expert_logits
    assert model.route(images(4)).router_scores is None


@pytest.mark.parametrize('dtype', ['fp32', 'bf16'])
def test_a_measurement_promises_what_its_parts_cost(model, dtype: str):
    costs = part_costs(model, (3, 8, 8))
    got = measure(model, images(20), 0.5, dtype, 1e-3, costs)
    assert got.used == (10, 5, 2, 3)
    assert got.arrived == (20, 10, 5)
    assert got.obtained == 18 / 35
    assert got.mean_experts == 38 / 20
    expert, router = costs.experts[0], costs.routers
    macs = 20 * costs.trunk + 38 * expert
    macs += 20 * router[0] + 10 * router[1] + 5 * router[2]
    assert got.macs_ratio == pytest.approx(macs / 20 / costs.all_experts, rel=1e-12)
    assert got.rounds >= MIN_ROUNDS
    assert min(got.seconds_all, got.seconds_routed, got.time_ratio) > 0


def test_what_is_saved_is_set_against_the_promise():
    assert speed().saved == pytest.approx(0.5 / 0.6)
    assert speed(time_ratio=1.2).saved == pytest.approx(-0.2 / 0.6)
    assert speed(macs_ratio=1.001).saved is None


def test_functions_take_turns_and_change_their_order():
    calls = []
    functions = [lambda: calls.append('a'), lambda: calls.append('b')]
    seconds = 1e-9
    rounds = time_in_turns(functions, seconds, torch.device('cpu'))
    assert len(rounds) == MIN_ROUNDS
    assert all(len(times) == 2 and min(times) > 0 for times in rounds)
    timed = ''.join(calls)[8:]  # after two blocks of two calls each, twice
    blocks = [timed[0]] + [b for a, b in zip(timed, timed[1:], strict=False) if a != b]
    # a b | b a | a b | b a | a b: two blocks that meet look like one
    assert blocks == ['a', 'b', 'a', 'b', 'a', 'b']


def test_what_rounds_to_none_or_all_of_a_batch_is_left_out():
    shares = (100, 75, 50, 25, 0)
    assert [p for p in shares if is_distinct(1, p)] == [100, 0]
    assert [p for p in shares if is_distinct(2, p)] == [100, 50, 25, 0]
    assert all(is_distinct(16, p) for p in shares)
    assert left_out([1, 16], shares) == [
        'Batch 1 without 75, 50, 25 %: of so few samples that is none or all.'
    ]


def run(capsys, *options: str) -> tuple[str, str]:
    """Output and progress of a short run."""
    routing_benchmark_main([CONFIG, '--seconds', '0.001', '--return-memory', *options])
    return capsys.readouterr()


def test_table_and_json_hold_what_was_measured(tmp_path, capsys):
    path = tmp_path / 'new' / 'speed.json'
    options = ['--batch-sizes', '1', '8', '--continuing', '100', '50', '--dtypes']
    out, progress = run(capsys, *options, 'fp32', '--json', str(path))
    result = json.loads(path.read_text())
    heading, table, note = out.strip().split('\n\n')
    assert f'config: {CONFIG}\n' in heading
    assert 'weights: random\n' in heading
    assert f'torch: {torch.__version__}\n' in heading
    assert f'threads: {torch.get_num_threads()}\n' in heading
    assert heading.splitlines()[-1] == 'command: ' + result['command']
    assert result['command'].startswith(
        f'python tools/benchmarks/routing.py {CONFIG} --seconds 0.001'
    )
    assert note == 'Batch 1 without 50 %: of so few samples that is none or all.'
    assert progress.count('% go on: time') == 3

    lines = [line.strip('| ').split(' | ') for line in table.splitlines()]
    lines = [[cell.strip() for cell in line] for line in lines]
    assert tuple(lines[0]) == COLUMNS
    assert [line[:5] for line in lines[2:]] == [
        ['1', 'fp32', '100', '100.0', '3.00'],
        ['8', 'fp32', '100', '100.0', '3.00'],
        ['8', 'fp32', '50', '50.0', '1.75'],
    ]
    cells = result['cells']
    assert [line[7] for line in lines[2:]] == [f'{c["time_ratio"]:.3f}' for c in cells]
    assert [line[9] for line in lines[2:4]] == ['-', '-']  # routers cost, none saves
    assert [cell['used'] for cell in cells] == [[0, 0, 1], [0, 0, 8], [4, 2, 2]]
    costs = PartCosts(**result['macs'])
    for cell in cells:
        expected = costs.mean(cell['used']) / costs.all_experts
        assert cell['macs_ratio'] == pytest.approx(expected, rel=1e-12)
    assert cells[-1]['saved'] == pytest.approx(
        (1 - cells[-1]['time_ratio']) / (1 - cells[-1]['macs_ratio'])
    )


def one_cell(*options: str) -> list[str]:
    return ['--batch-sizes', '2', '--continuing', '0', '--dtypes', 'fp32', *options]


def test_a_checkpoint_of_stage_one_is_taken(tmp_path, capsys):
    from mmengine.config import Config

    from ride_mm.utils import find_config

    model = MODELS.build(Config.fromfile(find_config(CONFIG)).model)
    weights = model.state_dict()
    for key in [key for key in weights if 'router' in key or 'threshold' in key]:
        del weights[key]
    path = str(tmp_path / 'stage_one.pth')
    write_atomically(dict(state_dict=weights), path)
    out, _ = run(capsys, *one_cell('--checkpoint', path))
    assert f'weights: {path}\n' in out

    key = 'backbone.conv1.weight'
    for content, message in (
        (
            {k: v for k, v in weights.items() if k != key},
            rf'{key}: expected shape .*, got no such tensor',
        ),
        (
            weights | {'other': torch.zeros(1)},
            'other: expected no such tensor, got shape',
        ),
        (weights | {key: torch.zeros(1)}, rf'{key}: expected shape .*, got shape'),
    ):
        write_atomically(dict(state_dict=content), path)
        with pytest.raises(SystemExit, match=message):
            run(capsys, *one_cell('--checkpoint', path))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--batch-sizes', '8', '0'], '--batch-sizes: expected numbers >= 1, got 0'),
        (['--continuing', '101'], 'percentages from 0 to 100, got 101'),
        (['--continuing', '-1'], 'percentages from 0 to 100, got -1'),
        (['--continuing', 'nan'], 'percentages from 0 to 100, got nan'),
        (['--threads', '0'], '--threads: expected a number >= 1, got 0'),
        (['--seconds', '0'], '--seconds: expected a number > 0, got 0'),
        (['--shape', '0'], '--shape: expected a number >= 1, got 0'),
        (['--checkpoint', 'none.pth'], 'expected a checkpoint, got none.pth'),
        (['--json', '.'], '--json: expected a file, got the folder .'),
        (['--cfg-options', 'model.num_experts=1'], 'num_experts: expected at least 2'),
        (['--cfg-options', 'modle.x=1'], 'did you mean model'),
    ],
)
def test_options_are_refused_before_anything_is_measured(
    capsys, options: list[str], message: str
):
    with pytest.raises(SystemExit) as raised:
        run(capsys, *one_cell(), *options)
    assert message in str(raised.value)
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (
            'ride_r20_digitslt',
            'a model with a RouterHead, got the head MultiExpertHead',
        ),
        ('no_such_config', "got 'no_such_config'"),
    ],
)
def test_configs_without_routers_are_refused(config: str, message: str):
    with pytest.raises(SystemExit) as raised:
        routing_benchmark_main([config, *one_cell()])
    assert message in str(raised.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_gpu_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit, match='expected one that PyTorch can use, got cuda'):
        run(capsys, *one_cell('--device', 'cuda'))


def test_infinite_thresholds_stand_for_none_and_all():
    scores = torch.zeros(3)
    assert share_threshold(scores, 0) == math.inf
    assert share_threshold(scores, 1) == -math.inf
