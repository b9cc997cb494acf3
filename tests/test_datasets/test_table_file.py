"""Tables of images: what is read, what is refused, and the classes."""

import gzip

import pytest
from mmpretrain.registry import DATASETS
from PIL import Image

from ride_mm.datasets import LongTailed, LTTableFile
from ride_mm.datasets.table_reading import find_delimiter, read_table

ROWS = [
    ('a/1.png', 'lynx', 'train'),
    ('a/my, dog 2.png', 'wolf, grey', 'train'),
    ('b/"3".png', 'Äffchen', 'train'),
    ('b/4.png', 'lynx', 'test'),
]
CLASSES = ('lynx', 'wolf, grey', 'Äffchen')


def text(header=('path', 'label', 'split'), rows=ROWS, delimiter=','):
    """A table with every cell quoted."""
    return ''.join(
        delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) + '\n'
        for row in (header, *rows)
    )


@pytest.fixture
def root(tmp_path):
    """A folder with a table of four images, and the images."""
    (tmp_path / 'table.csv').write_text(text())
    for path, *_ in ROWS:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.new('RGB', (9, 8)).save(tmp_path / path)
    return tmp_path


def table(root, ann_file='table.csv', **kwargs):
    return LTTableFile(ann_file, str(root), **kwargs)


def records(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(info['img_path'], info['gt_label']) for info in infos]


def expected(root, rows=ROWS):
    return [(f'{root}/{path}', CLASSES.index(label)) for path, label, _ in rows]


@pytest.mark.parametrize(
    'data',
    [
        text().encode(),
        b'\xef\xbb\xbf' + text().encode(),
        text(delimiter=';').replace('\n', '\r\n').encode(),
        text(delimiter='\t').encode(),
        text(('FileName', 'Species', 'Set')).encode(),
        gzip.compress(text().encode()),
        text().replace('\n', '\n\n').encode(),
        text().replace('train', 'Training').replace('test', 'TESTING').encode(),
        '\n'.join(f'x;{line}' for line in text(delimiter=';').splitlines()).encode(),
    ],
    ids=['commas', 'mark', 'CRLF', 'tabs', 'names', 'gzip', 'gaps', 'parts', 'more'],
)
def test_every_form_of_a_table_reads_the_same(root, data):
    (root / 'table.csv').write_bytes(data)
    train = table(root, split='train')
    assert train.metainfo['classes'] == CLASSES
    assert records(train) == expected(root, ROWS[:3])
    test = table(root, split='test', test_mode=True)
    assert test.metainfo['classes'] == CLASSES
    assert records(test) == expected(root, ROWS[3:])
    assert records(table(root, split='all')) == expected(root)


def test_columns_of_other_names(root):
    (root / 'table.csv').write_text(text(('wo', 'was', 'wofür')))
    names = dict(path_column='WO', label_column='was', split_column='wofür')
    assert records(table(root, split='train', **names)) == expected(root, ROWS[:3])
    with pytest.raises(ValueError, match=r"line 1: .* the path, one of path.* 'wo', "):
        table(root, split='train')
    with pytest.raises(ValueError, match=r"with the label, 'wie', got 'wo', 'was', "):
        table(root, label_column='wie', path_column='wo')


def test_a_usual_name_comes_before_a_less_usual_one(root):
    rows = [('9', path, label, 'cat') for path, label, _ in ROWS]
    (root / 'table.csv').write_text(text(('image', 'file', 'label', 'class'), rows))
    assert records(table(root)) == expected(root)


def test_two_tables_share_a_file_of_classes(root):
    (root / 'classes.txt').write_text('wolf, grey\nlynx\nÄffchen\n')
    (root / 'test.csv').write_text(text(rows=ROWS[3:]))
    shared = dict(classes=str(root / 'classes.txt'))
    train = table(root, split='train', **shared)
    test = table(root, 'test.csv', split='test', test_mode=True, **shared)
    assert train.metainfo['classes'] == test.metainfo['classes']
    assert [label for _, label in records(train)] == [1, 0, 2]
    assert [label for _, label in records(test)] == [1]


def numbered(root, labels):
    rows = [(path, label) for (path, *_), label in zip(ROWS, labels, strict=True)]
    (root / 'table.csv').write_text(text(('path', 'label'), rows))
    return root


def test_numbers_are_names_unless_the_classes_are_given(root):
    numbered(root, ['10', '9', '2', '2'])
    dataset = table(root)  # With gaps, as identifiers have them.
    assert dataset.metainfo['classes'] == ('2', '9', '10')
    assert [label for _, label in records(dataset)] == [2, 1, 0, 0]
    # Names that are numbers come before indices.
    dataset = table(root, classes=['10', '9', '2'])
    assert [label for _, label in records(dataset)] == [0, 1, 2, 2]


def test_numbers_are_indices_where_classes_have_other_names(root):
    numbered(root, ['0', '2', '1', '1'])
    for given in (dict(num_classes=3), dict(classes=['a', 'b', 'c'])):
        assert [label for _, label in records(table(root, **given))] == [0, 2, 1, 1]
    with pytest.raises(ValueError, match=r"line 3: .* label in \[0, 1\], got '2'"):
        table(root, num_classes=2)


def test_the_longtailed_view_counts_and_hashes_it(root):
    dataset = dict(
        type='LTTableFile', ann_file='table.csv', data_root=str(root), split='all'
    )
    view = LongTailed(dataset)
    assert view.class_counts.tolist() == [2, 1, 1]
    (root / 'table.csv').write_text(text(rows=ROWS[::-1]))
    assert LongTailed(dataset).hash == view.hash
    assert isinstance(DATASETS.build(dataset), LTTableFile)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', r'table\.csv: expected a row with the names of the columns, got nothing'),
        ('path,label\n', r'table\.csv: expected a row for each image, got none'),
        ('path label\na 1\n', r"line 1: expected a column .* got 'path label'"),
        ('path,label,Path\na,1,b\n', r"line 1: expected one column 'path', got 2"),
        ('path,label\na,1\nb\n', r'line 3: expected 2 cells, got 1'),
        ('path,label\na,1,\n', r'line 2: expected 2 cells, got 3'),
        (
            'path,label\n\n\n,1\n',
            r'line 4: expected the path of an image, got an',
        ),
        ('path,label\n"a\nb",x\na, \n', r"line 4: expected a label for 'a', got an em"),
        ('path,label\n/a,1\n', r"line 2: expected a relative path, got '/a'"),
        ('path,label\nC:\\a,1\n', r'line 2: expected a relative path'),
        ('path,label\nx/../../a,1\n', r"line 2: expected a path without '\.\.'"),
        ('path,label\na,1\nb,1\n./a,2\n', r"line 4: .* 'a' again, which is on line 2"),
        ('path,label,split\na,1,dev\n', r"line 2: .* as 'split', got 'dev'"),
        ('path,label\n"a,1\n', r'line 2: expected cells separated by .*, got unexp'),
        ('path,label\n"a"b,1\n', r'line 2: expected cells separated by'),
    ],
)
def test_bad_tables_are_refused_by_file_and_line(root, content, message):
    (root / 'table.csv').write_text(content)
    with pytest.raises(ValueError, match=message):
        table(root, probe=0)


def test_a_label_that_is_no_class_is_named(root):
    with pytest.raises(ValueError, match=r"line 3: .* 2 classes \('lynx', 'Äffchen'\)"):
        table(root, split='train', classes=['lynx', 'Äffchen'])


def test_parts_have_to_be_chosen_and_there(root):
    with pytest.raises(ValueError, match='split to choose from train, test, .*None'):
        table(root)
    with pytest.raises(ValueError, match="rows of split='val', got rows of train, te"):
        table(root, split='val')
    with pytest.raises(ValueError, match="split: expected one of .* got 'dev'"):
        table(root, split='dev')
    numbered(root, ['0', '1', '2', '2'])
    with pytest.raises(ValueError, match="split='test', got no column with parts"):
        table(root, split='test')


def test_a_class_without_a_training_image_is_named(root):
    rows = [*ROWS, ('a/5.png', 'yak', 'test')]
    (root / 'table.csv').write_text(text(rows=rows))
    with pytest.raises(ValueError, match=r"got none of 1: 'yak' \(2\)"):
        table(root, split='train')
    assert len(table(root, split='train', allow_empty=True)) == 3


def test_missing_images_and_tables_are_named(root):
    (root / 'b/4.png').unlink()
    with pytest.raises(RuntimeError, match=r'4\.png: no such file'):
        table(root, split='all')
    with pytest.raises(FileNotFoundError, match=r'no\.csv or .*no\.csv\.gz'):
        table(root, 'no.csv')


def test_signs_between_quotes_are_no_delimiters():
    assert find_delimiter('"a, b, c";"d"') == ';'
    assert find_delimiter('a\tb') == '\t'


def test_a_row_knows_its_line(tmp_path):
    (tmp_path / 'a.csv').write_text('path,label\n"a\nb",x\nc,y\n')
    assert [row.line for row in read_table(str(tmp_path / 'a.csv'))[1]] == [2, 4]


def test_a_folder_below_the_home_is_found(root, monkeypatch):
    monkeypatch.setenv('HOME', str(root.parent))
    dataset = LTTableFile('table.csv', f'~/{root.name}', split='train')
    assert records(dataset) == expected(root, ROWS[:3])
