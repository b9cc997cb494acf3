"""Mistakes in a config: told in a line by the setting; nothing is left of the run."""

import os

import pytest
from engine_helpers import error_of
from mmengine.config import Config

from ride_mm.cli import train_main
from ride_mm.cli.configs.loading import load_config
from ride_mm.cli.errors import UsageError
from ride_mm.cli.runs import testing
from ride_mm.cli.runs.begin import BeginHook, undone_unless_begun
from ride_mm.cli.runs.config_mistakes import is_mistake, mistakes_told
from ride_mm.cli.runs.training import make_parser

CONFIG = 'ride_r20_digitslt_small'


def error_with(folder, *options, tool=train_main, before=()) -> str:
    """What a run with these settings ends with."""
    return error_of(
        tool, CONFIG, *before, '--work-dir', folder, '--cfg-options', *options
    )


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (
            'optim_wrapper.optimizer.momentun=0.8',
            'optim_wrapper.optimizer: SGD.__init__() got an unexpected keyword '
            "argument 'momentun'; did you mean momentum?",
        ),
        (
            'optim_wrapper.optimizer.dampening=abc',
            'optim_wrapper.optimizer: ',
        ),
        (
            'train_dataloader.batchsize=8',
            'train_dataloader: DataLoader.__init__() got an unexpected keyword '
            "argument 'batchsize'",
        ),
        (
            'train_dataloader.dataset.faktor=5',
            'train_dataloader.dataset: LongTailed.__init__() got an unexpected keyword '
            "argument 'faktor'; did you mean factor?",
        ),
        (
            'train_dataloader.sampler.type=DefaultSamplr',
            'train_dataloader.sampler: DefaultSamplr is not in the ',
        ),
        (
            'train_dataloader.drop_last=True train_dataloader.batch_size=1000',
            'train_dataloader: expected at least one batch, got none of 1000 out of '
            '399 images with drop_last=True',
        ),
    ],
)
def test_the_setting_is_named_and_nothing_is_left(tmp_path, option, message):
    error = error_with(tmp_path / 'a' / 'b', *option.split())
    assert error.startswith(f'error: {message}')
    assert '\n' not in error
    assert os.listdir(tmp_path) == []


def test_a_test_is_told_and_undone_alike(tmp_path):
    (tmp_path / 'c.pth').write_text('')
    options = ['test_dataloader.batchsize=8']
    before = [str(tmp_path / 'c.pth')]
    error = error_with(tmp_path / 'x', *options, tool=testing.test_main, before=before)
    assert 'test_dataloader: DataLoader.__init__() got an unexpected' in error
    assert os.listdir(tmp_path) == ['c.pth']


def test_what_was_there_comes_back(tmp_path):
    config = tmp_path / f'{CONFIG}.py'
    config.write_text('earlier')
    (tmp_path / 'other.txt').write_text('')
    error = error_with(tmp_path, 'optim_wrapper.optimizer.momentun=0.8')
    assert 'momentun' in error
    assert config.read_text() == 'earlier'
    assert {*os.listdir(tmp_path)} <= {config.name, 'other.txt', '.ride_mm.lock'}


def test_a_run_that_has_begun_keeps_its_files(tmp_path):
    begin = BeginHook()
    cfg = Config(dict(work_dir=str(tmp_path / 'made')))
    with pytest.raises(ZeroDivisionError), undone_unless_begun(cfg, begin):
        begin.before_train(None)
        (tmp_path / 'made').mkdir()
        raise ZeroDivisionError
    assert (tmp_path / 'made').is_dir()


def broken_by_the_user(cfg):
    raise TypeError('f() got an unexpected keyword argument')


def test_code_of_the_users_keeps_its_traceback(tmp_path):
    with pytest.raises(TypeError) as err, mistakes_told(Config({}), BeginHook()):
        broken_by_the_user({})
    assert not is_mistake(err.value)


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('train_cfg.val_interval=0', 'val_interval: expected a whole number >= 1'),
        ('train_dataloader.batch_size=-4', 'batch_size: expected .* >= 1, got -4'),
        ('randomness.seed=abc', "seed: expected a whole number from 0 .*, got 'abc'"),
        ('optim_wrapper.optimizer.lr=-0.1', 'expected a number >= 0, got -0.1'),
        ('optim_wrapper.optimizer.lr=nan', 'expected a number >= 0, got nan'),
        ('optim_wrapper.optimizer.lr=abc', "expected a number >= 0, got 'abc'"),
        ('optim_wrapper.clip_grad.max_norm=-5', 'expected a number > 0, got -5'),
        ('optim_wrapper.clip_grad.max_nrm=5', r"'max_norm'.*got \['max_nrm'\]"),
        ('optim_wrapper.accumulative_counts=0', 'expected a whole number >= 1, got 0'),
        ('train_cfg.max_epochs=1.5', 'expected a whole number >= 1, got 1.5'),
        ('default_hooks.logger.interval=0', 'expected a whole number >= 1, got 0'),
        ('optim_wrapper.optimizer.type=SDG', r"'SDG'; did you mean .*SGD"),
        ('randomness.seed=99999999999', 'from 0 to 4294967295, got 99999999999'),
    ],
)
def test_a_setting_is_refused_when_the_config_is_read(option, message):
    args = make_parser().parse_args([CONFIG, '--cfg-options', option])
    with pytest.raises(UsageError, match=message):
        load_config(args)


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('a.py', b'x = dict(\n', r'a.py: line 1: .* was never closed'),
        ('a.py', b'x = "\xff"\n', 'a.py: .*codec'),
        ('a.jpg', b'', 'a.jpg: Only py/yml/yaml/json'),
        ('a.json', b'{', 'a.json: Expecting property name'),
        (
            'a.py',
            b"custom_imports = dict(imports=['nowhere_at_all'])\n",
            'a.py: .*nowhere_at_all',
        ),
    ],
)
def test_a_config_that_cannot_be_read(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_bytes(text)
    args = make_parser().parse_args([str(path)])
    with pytest.raises(
        UsageError, match=f'expected a config that can be read.*{message}'
    ):
        load_config(args)


@pytest.mark.parametrize('value', ["[dict(type='A')]", "{'type':'X'}", 'dict(a=1,b=2)'])
def test_a_dictionary_is_no_value_of_an_option(value, capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args([CONFIG, '--cfg-options', f'custom_hooks={value}'])
    assert 'got a dictionary' in capsys.readouterr().err


def test_an_empty_name_is_no_work_directory():
    args = make_parser().parse_args([CONFIG, '--work-dir', ''])
    with pytest.raises(UsageError, match="--work-dir: expected a folder's name"):
        load_config(args)
