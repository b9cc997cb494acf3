import numpy as np
import pytest
from PIL import Image

from ride_mm.datasets.image_check import CHECKS, check_images


@pytest.fixture
def folder(tmp_path):
    """Files with one fault each, and good ones."""
    pixels = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)
    for suffix in ('jpg', 'png', 'bmp'):
        Image.fromarray(pixels).save(tmp_path / f'good.{suffix}')
    for suffix in ('jpg', 'png', 'bmp'):
        good = (tmp_path / f'good.{suffix}').read_bytes()
        (tmp_path / f'cut.{suffix}').write_bytes(good[: len(good) // 2])
        (tmp_path / f'tail.{suffix}').write_bytes(good + b'something after the end')
    (tmp_path / 'empty.jpg').touch()
    (tmp_path / 'text.jpg').write_text('no image')
    (tmp_path / 'folder.jpg').mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ('how', 'refused'),
    [
        ('none', []),
        ('exists', ['missing.jpg', 'empty.jpg', 'folder.jpg']),
        (
            'open',
            [
                'missing.jpg',
                'empty.jpg',
                'folder.jpg',
                'text.jpg',
                'cut.jpg',
                'cut.png',
            ],
        ),
        ('decode', ['missing.jpg', 'text.jpg', 'cut.jpg', 'cut.png', 'cut.bmp']),
    ],
)
def test_each_fault_is_found(folder, how, refused):
    for name in refused:
        with pytest.raises(RuntimeError, match=rf'1 of 1 .*\n  .*{name}: '):
            check_images([str(folder / name)], how)


@pytest.mark.parametrize('how', CHECKS)
def test_good_files_pass(folder, how):
    names = ['good.jpg', 'good.png', 'good.bmp', 'tail.jpg', 'tail.png']
    assert check_images([str(folder / name) for name in names], how) is None


def test_the_first_five_files_and_their_number_are_named(folder):
    paths = [str(folder / f'{i}.jpg') for i in range(8)]
    with pytest.raises(RuntimeError) as caught:
        check_images([*paths, paths[0], str(folder / 'good.jpg')])
    message = str(caught.value)
    assert message.startswith('8 of 9 image files are unusable')
    assert [path in message for path in paths] == [True] * 5 + [False] * 3
    assert 'and 3 more' in message


def test_remote_files_are_not_looked_at():
    assert check_images(['s3://bucket/no.jpg', 'https://host/no.jpg']) is None


def test_many_files_are_announced(folder, monkeypatch, capsys):
    said = []
    monkeypatch.setattr('ride_mm.datasets.image_check.MANY_FILES', 1)
    monkeypatch.setattr(
        'ride_mm.datasets.image_check.print_log', lambda text, logger: said.append(text)
    )
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    check_images([str(folder / name) for name in ('good.jpg', 'good.png')])
    assert said == ['Checking 2 image files (open).']
    assert '2/2' in capsys.readouterr().err


def test_unknown_way_is_refused():
    with pytest.raises(ValueError, match="'open', 'decode'.*, got 'look'"):
        check_images([], 'look')
