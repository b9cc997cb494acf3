"""few_shot.py: any classifier, on data of its own config or of another."""

import json

import pytest
from digits_runs import ONE, TWO
from engine_helpers import forget_runs
from vmoe_cases import DATA

from ride_mm.cli.analysis_tools.few_shot import few_shot_main
from ride_mm.cli.model_converters.vmoe_to_ride_mm import convert_vmoe_main
from ride_mm.utils.metafile import shipped_weights

SMALL = 'ride_r20_digitslt_small_router'
ALL_DIGITS = """
_base_ = []
default_scope = 'mmpretrain'
pipeline = [dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(type='Digits', split='train', pipeline=pipeline))
test_dataloader = dict(
    dataset=dict(type='Digits', split='test', test_per_class=10, pipeline=pipeline)
)
"""


@pytest.fixture(autouse=True)
def separate_runs():
    forget_runs()


@pytest.fixture
def all_digits(tmp_path):
    path = tmp_path / 'all_digits.py'
    path.write_text(ALL_DIGITS)
    return path


def run(*arguments: object) -> None:
    few_shot_main([str(argument) for argument in arguments])


def test_features_of_experts_on_all_digits(all_digits, tmp_path, capsys):
    file = tmp_path / 'few_shot.json'
    weights = shipped_weights(SMALL)
    options = '--shots', 1, 10, '--draws', 2, '--batch-size', 200, '--json', file
    run(SMALL, weights, '--data', all_digits, *options)
    content = json.loads(file.read_text())
    assert content['channels'] == 96 and content['test_images'] == 100
    one, ten = content['results']
    assert (one['shots'], ten['shots']) == (1, 10)
    assert one['accuracy'] > 75 and ten['accuracy'] > 92
    assert ten['accuracy'] == pytest.approx(sum(ten['accuracies']) / 2)
    printed = capsys.readouterr().out
    assert 'chosen on 5 further training images of each class' in printed
    assert f'| 10    | {ten["accuracy"]:>12.2f} |' in printed
    run(SMALL, weights, '--data', all_digits, *options)
    assert json.loads(file.read_text()) == content


def test_features_of_a_network_of_other_classes(all_digits, tmp_path, capsys):
    target, config = tmp_path / 'vmoe.pth', tmp_path / 'vmoe.py'
    prefix = DATA / 'checkpoints/tiny'
    convert_vmoe_main([str(prefix), str(target), '--config-out', str(config)])
    options = '--shots', 2, '--draws', 1, '--l2', 8, '--batch-size', 200
    run(config, target, '--data', all_digits, *options)
    printed = capsys.readouterr().out
    assert '24 channels, 10 classes, 100 test images' in printed
    assert '| 2     |' in printed and 'regularisation given' in printed


@pytest.mark.parametrize(
    'options, message',
    [
        ([], 'expected at least 30 images.*got 2 of class 9.*25 to learn .* 5 held'),
        (['--l2', '-1'], '--l2: expected a number > 0, got -1'),
        (['--data', 'nothing'], 'expected the path of a config'),
        (['--shots', '1', '--l2', '1', '--device', 'x'], '--device: expected'),
    ],
)
def test_options_that_cannot_be_followed(options, message):
    with pytest.raises(SystemExit, match=message):
        run(SMALL, shipped_weights(SMALL), *options)


def test_shots_that_are_no_numbers(capsys):
    with pytest.raises(SystemExit):
        run(TWO, 'x.pth', '--shots', 0)
    assert 'expected a whole number >= 1, got 0' in capsys.readouterr().err


def test_a_checkpoint_of_another_model():
    with pytest.raises(SystemExit, match='not of the model that the config describes'):
        run(ONE, shipped_weights(SMALL), '--shots', 1, '--l2', 1)
