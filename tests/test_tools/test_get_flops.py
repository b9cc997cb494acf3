"""tools/analysis_tools/get_flops.py: its table, its defaults, its errors."""

import re

import numpy as np
import pytest
from engine_helpers import run_tool
from mmengine.config import Config
from mmpretrain.registry import MODELS

from ride_mm.analysis import model_complexity, part_costs, plain_model
from ride_mm.cli.analysis_tools.get_flops import flops_main, parse_usage
from ride_mm.cli.configs.network import image_size
from ride_mm.cli.errors import UsageError
from ride_mm.utils import find_config

ROUTER = 'ride_r32_cifar100lt_router'


def table(capsys, *argv) -> tuple[str, dict[str, list[str]]]:
    """Heading and rows by name."""
    flops_main([str(arg) for arg in argv])
    heading, _, *lines = capsys.readouterr().out.strip().splitlines()
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return heading, {name: cells for name, *cells in rows}


def error_of(*argv) -> str:
    with pytest.raises(SystemExit) as err:
        flops_main([str(arg) for arg in argv])
    assert str(err.value.code).startswith('error: '), err.value.code
    return str(err.value.code)


def test_the_table_of_a_routed_model(capsys):
    heading, rows = table(capsys, ROUTER, '--usage', '40.99,9.47,49.54')
    assert heading == f'{ROUTER}, images of 3 x 32 x 32'
    assert rows[''] == ['parameters', 'MACs', 'of plain']
    assert list(rows)[2:] == [
        'trunk',
        *(f'expert {e}' for e in (1, 2, 3)),
        *(f'router {i}' for i in (1, 2)),
        'all experts',
        'an image that uses 1 expert',
        'an image that uses 2 experts',
        'an image that uses 3 experts',
        'plain network',
        'mean of 40.99/9.47/49.54 %',
    ]
    assert rows['expert 1'] == rows['expert 2'] == ['253.34 k', '25.44 M', '0.369x']
    assert rows['router 1'] == ['831', '814', '0.000x']
    assert rows['all experts'] == ['783.86 k', '100.36 M', '1.457x']
    assert rows['plain network'] == ['469.90 k', '68.87 M', '1.000x']
    model = MODELS.build(Config.fromfile(find_config(ROUTER)).model)
    costs = part_costs(model, (3, 32, 32))
    mean = costs.mean([0.4099, 0.0947, 0.4954])
    assert rows['mean of 40.99/9.47/49.54 %'][1] == f'{mean / 1e6:.2f} M'
    assert rows['mean of 40.99/9.47/49.54 %'][2].startswith('1.1')  # as published


@pytest.mark.parametrize('experts', [2, 4])
def test_a_model_without_routers(capsys, experts):
    options = '--cfg-options', f'model.num_experts={experts}'
    _, rows = table(capsys, 'ride_r32_cifar100lt', *options)
    named = [f'expert {e}' for e in range(1, experts + 1)]
    assert list(rows)[2:] == ['trunk', *named, 'all experts', 'plain network']
    macs = {2: '74.92 M', 4: '125.80 M'}[experts]
    assert rows['all experts'][1] == macs


def test_usage_of_a_model_without_routers(capsys):
    _, rows = table(capsys, 'ride_r32_cifar100lt', '--usage', '0, 100, 0')
    assert rows['mean of 0/100/0 %'][1:] == ['74.92 M', '1.088x']


@pytest.mark.parametrize(('shape', 'sides'), [((16,), (16, 16)), ((24, 16), (24, 16))])
def test_shape(capsys, shape, sides):
    heading, rows = table(capsys, 'ce_r20_digitslt', '--shape', *shape)
    assert heading.endswith(f'images of 3 x {sides[0]} x {sides[1]}')
    model = Config.fromfile(find_config('ce_r20_digitslt')).model
    macs = model_complexity(MODELS.build(model), (3, *sides))[1]
    assert rows['all experts'][1] == f'{macs / 1e6:.2f} M'
    assert plain_model(model)['num_experts'] == 1
    assert rows['all experts'] == rows['plain network']


@pytest.mark.parametrize(
    ('name', 'side'),
    [
        ('ride_r32_cifar100lt', 32),  # the crop of the training
        ('ride_r20_digitslt_router', 16),
        ('ride_r50_custom', 224),  # the crop of the test, not its resizing to 256
    ],
)
def test_the_size_of_the_shipped_configs(name, side):
    assert image_size(Config.fromfile(find_config(name))) == (side, side)


@pytest.mark.parametrize(
    ('transform', 'side'),
    [
        (dict(type='Resize', scale=(48, 48)), 48),
        (dict(type='CenterCrop', crop_size=[40, 40]), 40),
        (dict(type='torchvision/RandomResizedCrop', size=64, scale=(0.08, 1.0)), 64),
        (dict(type='ResizeEdge', scale=256), None),
        (dict(type='Resize', scale=256, keep_ratio=True), None),
        (dict(type='Resize', scale=(48, 32)), None),
        (dict(type='RandomFlip', prob=0.5), None),
    ],
)
def test_the_size_of_a_pipeline(transform, side):
    pipeline = [transform, dict(type='PackInputs')]
    config = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    if side is None:
        with pytest.raises(UsageError, match='--shape 224'):
            image_size(config)
    else:
        assert image_size(config) == (side, side)
    with pytest.raises(UsageError, match='--shape 224'):
        image_size(Config(dict(val_cfg=None)))


def test_percentages_become_shares():
    np.testing.assert_allclose(
        parse_usage('40.99,9.47,49.54', 3), [0.4099, 0.0947, 0.4954]
    )
    # 99 within the rounding of whole percents.
    assert parse_usage('33,33,33', 3) == pytest.approx(np.full(3, 1 / 3))
    assert parse_usage(' 100 ', 1).tolist() == [1]


@pytest.mark.parametrize(
    ('usage', 'message'),
    [
        ('40,60', 'expected 3 percentages, .* use 1 to 3 experts, got 2'),
        ('40.99,9.47,49.50', "sum to 100, got '40.99,9.47,49.50', which sum to 99.96"),
        ('0.41,0.09,0.5', 'which sum to 1$'),
        ('40,a,60', "numbers separated by commas, got '40,a,60'"),
        ('150,-50,0', 'expected percentages >= 0'),
        ('nan,50,50', 'expected percentages >= 0'),
    ],
)
def test_percentages_that_are_none_are_refused(usage, message):
    with pytest.raises(UsageError, match=message):
        parse_usage(usage, 3)


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['no_such_config'], 'the name of one in'),
        ([ROUTER, '--usage', '50,50'], '--usage: expected 3 percentages'),
        ([ROUTER, '--shape', '1', '2', '3'], 'height and width, .* got 1 2 3'),
        ([ROUTER, '--shape', '0'], 'each >= 1, got 0'),
        ([ROUTER, '--cfg-options', 'modle.x=1'], 'did you mean model'),
        ([ROUTER, '--cfg-options', 'model.num_experts=0'], 'num_experts: expected'),
        ([ROUTER, '--cfg-options', 'model.type=ImageClassifier'], 'a RIDEClassifier'),
        ([ROUTER, '--cfg-options', 'model.backbone.type=No'], 'registered one, got No'),
    ],
)
def test_errors(argv, message):
    assert re.search(message, error_of(*argv))


def test_images_that_the_model_does_not_take(monkeypatch):
    def refuse(model, shape):
        raise RuntimeError('kernel larger than input')

    monkeypatch.setattr('ride_mm.cli.analysis_tools.get_flops.part_costs', refuse)
    message = error_of(ROUTER, '--shape', '2')
    assert 'expected images that the model takes, got 3 x 2 x 2: kernel' in message


def test_the_program(tmp_path):
    done = run_tool('analysis_tools/get_flops.py', ROUTER, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '| all experts ' in done.stdout and '100.36 M' in done.stdout
