"""What is a list file, and what is refused by file and line."""

import gzip

import numpy as np
import pytest

from ride_mm.datasets.list_file import names_of_classes
from ride_mm.datasets.list_reading import read_list

LINES = 'a/1.jpg 0\nb/2.jpg 1\n'


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'train.txt'


def test_names_that_are_not_ascii_or_hold_other_line_ends(file):
    names = ['a/größe 1.jpg', 'a/\x0b\x85\u2028.jpg']
    text = f'{names[0]} 1\n{names[1]} 0\n'
    file.write_bytes(text.encode())
    paths, labels = read_list(str(file), 2)
    assert paths == names
    assert labels.tolist() == [1, 0]
    assert labels.dtype == np.int64


@pytest.mark.parametrize(
    ('lines', 'line', 'message'),
    [
        ('a.jpg 0\n\nb.jpg 1', 2, "expected 'path label', got ''"),
        ('a.jpg 0\nb.jpg', 2, "expected 'path label', got 'b.jpg'"),
        ('a.jpg 0\n 1', 2, "expected 'path label', got ' 1'"),
        ('a.jpg,0', 1, "expected 'path label', got 'a.jpg,0'"),
        ('path label\na.jpg 0', 1, "expected an integer as label, got 'label'"),
        ('a.jpg 0.0', 1, "expected an integer as label, got '0.0'"),
        ('a.jpg 1_0', 1, "expected an integer as label, got '1_0'"),
        ('a.jpg ²', 1, "expected an integer as label, got '²'"),
        ('a.jpg -', 1, "expected an integer as label, got '-'"),
        ('a.jpg 0\nb.jpg -1', 2, r'expected a label in \[0, 2\], got -1'),
        ('a.jpg 0\nb.jpg 3', 2, r'expected a label in \[0, 2\], got 3'),
        ('/a.jpg 0', 1, "expected a relative path, got '/a.jpg'"),
        (r'\\host\a.jpg 0', 1, 'expected a relative path'),
        (r'C:\a.jpg 0', 1, 'expected a relative path'),
        ('https://host/a.jpg 0', 1, 'expected a relative path'),
        ('s3://a.jpg 0', 1, 'expected a relative path'),
        ('../a.jpg 0', 1, r"expected a path without '\.\.', got '\.\./a.jpg'"),
        ('a/../../b.jpg 0', 1, r"expected a path without '\.\.'"),
        (r'a\..\..\b.jpg 0', 1, r"expected a path without '\.\.'"),
        ('a.jpg 0\n.. 0', 2, r"expected a path without '\.\.'"),
        ('a/ 0', 1, "expected the path of a file, got 'a/'"),
        ('. 0', 1, "expected the path of a file, got '.'"),
        ('a.jpg 0\nb.jpg 1\na.jpg 0', 3, "'a.jpg' again, which is on line 1"),
        ('a.jpg 0\nb.jpg 1\n./a.jpg 2', 3, "'a.jpg' again, which is on line 1"),
    ],
)
def test_a_bad_line_is_named(file, lines, line, message):
    file.write_text(lines)
    with pytest.raises(ValueError, match=rf'train\.txt, line {line}: .*{message}'):
        read_list(str(file), 3)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', "expected lines 'path label', got none"),
        (b' \n\n', "expected lines 'path label', got none"),
        (b'\xff\xfea 0', 'expected a text in UTF-8'),
        (b'a\0b.jpg 0', 'zero bytes'),
        (gzip.compress(LINES.encode(), mtime=0)[:-9], 'expected a complete gzip file'),
        (gzip.compress(LINES.encode(), mtime=0)[:12], 'expected a complete gzip file'),
        (b'\x1f\x8b nothing', 'expected a complete gzip file'),
    ],
)
def test_a_file_that_is_no_list_is_refused(file, data, message):
    file.write_bytes(data)
    with pytest.raises(ValueError, match=rf'train\.txt: .*{message}'):
        read_list(str(file), 3)


def test_names_of_classes(tmp_path):
    file = tmp_path / 'classes.txt'
    file.write_bytes('tench, Tinca\r\n größe \n\n'.encode())
    assert names_of_classes(str(file), None) == ('tench, Tinca', 'größe')
    assert names_of_classes(str(file), 2) == ('tench, Tinca', 'größe')
    assert names_of_classes(['a', 'b'], None) == ('a', 'b')
    assert names_of_classes(None, 2) == ('class 0', 'class 1')


@pytest.mark.parametrize(
    ('classes', 'num_classes', 'message'),
    [
        (None, None, 'expected classes or num_classes, got neither'),
        (None, 0, 'num_classes: expected a positive integer, got 0'),
        (None, 2.0, 'num_classes: expected a positive integer, got 2.0'),
        (['a', 'b'], 3, 'as many names as num_classes=3, got 2'),
        (['a', ' '], None, 'the name of each class, name 2 is empty'),
        ([], None, 'the name of each class, got none'),
    ],
)
def test_bad_names_of_classes_are_refused(classes, num_classes, message):
    with pytest.raises(ValueError, match=message):
        names_of_classes(classes, num_classes)


def test_a_bad_file_of_names_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='names.txt'):
        names_of_classes(str(tmp_path / 'names.txt'), None)
    (tmp_path / 'names.txt').write_text('a\n\nb\n')
    with pytest.raises(ValueError, match='names.txt: .*, name 2 is empty'):
        names_of_classes(str(tmp_path / 'names.txt'), None)
