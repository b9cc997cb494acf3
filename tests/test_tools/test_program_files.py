"""Files that tools write: what may not be replaced is refused before anything runs."""

import json
import math
import os

import numpy as np
import pytest
import torch

from ride_mm.cli.benchmarks import train as train_benchmark
from ride_mm.cli.errors import UsageError
from ride_mm.cli.files import check_outputs, write_json
from ride_mm.cli.infer import infer_main
from ride_mm.cli.runs import testing


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Weights and a table in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ('weights.pth', 'weights.bin', 'config.py', 'table.json'):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('', "expected a file's name, got ''"),
        ('weights.bin', 'expected a file of its own, got weights.bin of weights.bin'),
        ('weights.pth', 'expected a file that may be replaced, got weights.pth'),
        ('config.py', 'expected a file that may be replaced, got config.py'),
        ('table.json/x.json', 'expected a place to write to, got table.json'),
        ('.', 'expected a file, got the folder .'),
    ],
)
def test_is_refused(files, path, message):
    with pytest.raises(UsageError, match=f'--json: {message}'):
        check_outputs({'--json': path}, inputs=['weights.bin', None])


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('', "expected a folder's name, got ''"),
        ('table.json', 'expected a folder, got the file table.json'),
        ('table.json/x', 'expected a place to write to, got table.json'),
    ],
)
def test_a_folder_is_refused(files, path, message):
    with pytest.raises(UsageError, match=f'--out: {message}'):
        check_outputs({}, {'--out': path})


def test_new_files_and_earlier_results_are_no_matter(files):
    before = sorted(os.listdir(files))
    check_outputs({'--json': 'table.json', '--csv': 'new/table.csv', '--out': None})
    check_outputs({'--json': 'new.pth'})
    assert sorted(os.listdir(files)) == before


@pytest.mark.parametrize('name', ['weights.pth', 'weights.bin'])
@pytest.mark.parametrize('tool', [testing.test_main, infer_main])
def test_a_checkpoint_is_not_replaced_by_its_results(files, tool, name):
    argv = ['ride_r20_digitslt_small', name, '--json', name]
    if tool is infer_main:
        torch.save({}, 'image.png')  # Is not read any more.
        argv.insert(2, 'image.png')
    with pytest.raises(SystemExit):
        tool(argv)
    assert (files / name).read_text() == name


def test_a_benchmark_looks_before_it_measures(files, monkeypatch):
    monkeypatch.setattr(train_benchmark, 'begin', None)
    with pytest.raises(SystemExit, match='--json: expected a place to write to'):
        train_benchmark.train_benchmark_main(
            ['ride_r20_digitslt', '--json', 'table.json/x']
        )


def test_json_is_written_without_what_json_has_no_word_for(tmp_path):
    content = {
        'number': np.float32(0.5),
        'list': (np.arange(2), torch.tensor([0.5, math.inf])),
        'undefined': [math.nan, 1],
    }
    write_json(content, tmp_path / 'new' / 'a.json')
    expected = {'number': 0.5, 'list': [[0, 1], [0.5, None]], 'undefined': [None, 1]}
    assert json.loads((tmp_path / 'new' / 'a.json').read_text()) == expected
    with pytest.raises(TypeError, match='not JSON serializable'):
        write_json({'other': object()}, tmp_path / 'b.json')
    write_json({}, None)
    assert not (tmp_path / 'b.json').exists()
