"""vmoe_routing.py: tables, figures and JSON of a network with experts."""

import json

import numpy as np
import pytest
from engine_helpers import forget_runs
from vmoe_cases import DATA, Case
from vmoe_files import write

from ride_mm.cli.analysis_tools.vmoe_routing import vmoe_routing_main
from ride_mm.cli.model_converters.vmoe_to_ride_mm import convert_vmoe_main
from ride_mm.utils.metafile import shipped_weights

SMALL = 'ride_r20_digitslt_small_router'
DIGITS = """
_base_ = []
default_scope = 'mmpretrain'
dataset = dict(type='Digits', test_per_class=5, pipeline=[dict(type='PackInputs')])
test_dataloader = dict(dataset={**dataset, 'split': 'test'})
train_dataloader = dict(dataset={**dataset, 'split': 'train'})
"""


@pytest.fixture(autouse=True)
def separate_runs():
    forget_runs()


@pytest.fixture
def converted(tmp_path):
    """A converted network of ten classes, with a config that tests on digits."""
    parameters = Case('b').part('params/')
    rng = np.random.default_rng(0)
    parameters['head/kernel'] = rng.normal(size=(24, 10)).astype(np.float32)
    parameters['head/bias'] = np.zeros(10, np.float32)
    prefix = write(tmp_path / 'ten', parameters)
    base, target, config = (tmp_path / n for n in ('base.py', 'ten.pth', 'ten.py'))
    base.write_text(DIGITS)
    options = [prefix, target, '--config-out', config, '--base', base]
    convert_vmoe_main([str(option) for option in options])
    return config, target


def test_tables_figures_and_json(converted, tmp_path, capsys):
    out = tmp_path / 'out'
    options = [*converted, '--out-dir', out, '--capacity', 0.5, 4]
    vmoe_routing_main([str(option) for option in options])
    files = {file.name for file in out.iterdir()}
    assert files == {
        'routing.json',
        'experts_by_class.png',
        'load.png',
        'capacity.png',
    }
    content = json.loads((out / 'routing.json').read_text())
    assert [layer['name'] for layer in content['layers']] == [
        'backbone.layers.1.ffn',
        'backbone.layers.3.ffn',
    ]
    for layer in content['layers']:
        assert layer['tokens'] == [5 * 17] * 10
        assert np.sum(layer['asked']) == 2 * 50 * 17
        dropped = 1 - np.sum(layer['kept']) / np.sum(layer['asked'])
        assert layer['dropped'] == pytest.approx(dropped)
    points = content['capacity']
    assert [(p['factor'], p['batch_priority']) for p in points] == [
        (0.5, False),
        (0.5, True),
        (4.0, False),
        (4.0, True),
    ]
    assert points[0]['dropped'] > points[2]['dropped'] == 0
    printed = capsys.readouterr().out
    assert f'50 test images, accuracy {content["accuracy"]:.2f} %' in printed
    assert '| backbone.layers.3.ffn |       4 |' in printed


def test_without_a_sweep_there_is_no_figure_of_it(converted, tmp_path):
    out = tmp_path / 'out'
    options = [*converted, '--out-dir', out, '--data', 'test', '--capacity']
    vmoe_routing_main([str(option) for option in options])
    assert not (out / 'capacity.png').exists()
    assert json.loads((out / 'routing.json').read_text())['capacity'] == []


@pytest.mark.parametrize(
    'options, message',
    [
        (['--capacity', '-1'], '--capacity: expected numbers > 0, got -1'),
        (['--capacity', 'nan'], '--capacity: expected numbers > 0, got nan'),
        (['--data', 'val'], 'expected val_dataloader in the config, got none'),
    ],
)
def test_options_that_cannot_be_followed(converted, tmp_path, options, message):
    out = tmp_path / 'out'
    arguments = [*map(str, converted), '--out-dir', str(out), *options]
    with pytest.raises(SystemExit, match=message):
        vmoe_routing_main(arguments)
    assert not out.exists()


def test_a_network_without_experts_of_this_kind(tmp_path):
    arguments = [SMALL, str(shipped_weights(SMALL)), '--out-dir', str(tmp_path)]
    with pytest.raises(SystemExit, match='expected layers of experts'):
        vmoe_routing_main(arguments)


def test_a_checkpoint_that_is_not_there(converted):
    with pytest.raises(SystemExit, match='expected a checkpoint, got .*no such file'):
        vmoe_routing_main([str(converted[0]), str(DATA / 'nothing.pth')])
