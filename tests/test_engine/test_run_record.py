"""RunRecordHook: what each session of a training ran on."""

import json

import numpy as np
import pytest
import torch
from engine_helpers import run_tiny
from mmengine.config import Config

from ride_mm import __version__
from ride_mm.engine.hooks.run_record import (
    FILE,
    hash_images,
    package_versions,
    read_record,
)

OPTIONS = {
    'default_hooks__run_record__type': 'RunRecordHook',
    'default_hooks__checkpoint__max_keep_ckpts': 3,
}


class Images:
    """A data set of pixels in memory."""

    def __init__(self, pixels: np.ndarray, labels: list[int]) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.labels)

    def get_data_info(self, index: int) -> dict:
        return {'img': self.pixels[index], 'gt_label': self.labels[index]}


def test_the_hash_is_that_of_pixels_and_labels():
    pixels = np.zeros((2, 3, 3, 3), np.uint8)
    known = hash_images(Images(pixels, [0, 1]))
    assert known == hash_images(Images(pixels.copy(), [0, 1])) and len(known) == 64
    other = pixels.copy()
    other[1, 2, 2, 2] = 1
    assert known != hash_images(Images(other, [0, 1]))
    assert known != hash_images(Images(pixels, [0, 2]))
    paths = Images(pixels, [0])
    paths.get_data_info = lambda index: {'img_path': 'a.png', 'gt_label': 0}
    assert hash_images(paths) is None and hash_images([1, 2]) is None


def test_versions_are_those_that_are_imported():
    versions = package_versions()
    assert versions['torch'] == torch.__version__
    assert versions['ride_mm'] == __version__


@pytest.mark.parametrize('text', ['{', '[]', '{"sessions": [{}]}'])
def test_a_file_that_is_no_record_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ValueError, match=r'run\.json: expected the record of a'):
        read_record(tmp_path)


def spans(folder) -> list[list[int]]:
    return [session['epochs'] for session in read_record(folder)]


def test_sessions_are_those_that_led_to_the_result(tmp_path, monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')
    options = {**OPTIONS, 'randomness__seed': 5}
    run_tiny(tmp_path, **options)
    assert spans(tmp_path) == [[0, 3]]
    (session,) = read_record(tmp_path)
    assert session['seed'] == 5 and session['precision'] == 'float32'
    assert session['kind'] == 'cpu' and session['compiled'] is False
    assert session['threads'] == torch.get_num_threads()
    assert session['data']['train']['number'] == 24
    assert len(session['data']['train']['subset']) == 16
    assert session['data']['val']['number'] == 13

    def resume(epoch: int) -> None:
        start = str(tmp_path / f'epoch_{epoch}.pth')
        run_tiny(tmp_path, **options, resume=True, load_from=start)

    # From an earlier epoch: what came of the later ones is no part of the result.
    resume(2)
    assert spans(tmp_path) == [[0, 2], [2, 3]]
    resume(1)
    assert spans(tmp_path) == [[0, 1], [1, 3]]
    # Killed between the checkpoint of epoch 2 and its record.
    path = tmp_path / FILE
    content = {'sessions': read_record(tmp_path)[:1]}
    path.write_text(json.dumps(content))
    resume(2)
    assert spans(tmp_path) == [[0, 2], [2, 3]]
