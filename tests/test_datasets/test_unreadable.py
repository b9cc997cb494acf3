"""Training images that cannot be loaded: stop, or put others in their place."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.datasets import BaseDataset, CustomDataset
from PIL import Image
from torch.utils.data import DataLoader

from ride_mm.datasets import LongTailed
from ride_mm.datasets.unreadable import Replacements
from ride_mm.engine.hooks import UnreadableImagesHook
from ride_mm.engine.hooks.schedule_guard import data_settings, differences

CLASSES = ['cat', 'dog', 'eel']
BROKEN = {3: OSError('cut'), 4: ValueError('none'), 12: OSError('cut')}


class Numbers(BaseDataset):
    """Thirty numbers in three classes; some cannot be loaded."""

    METAINFO = {'classes': CLASSES}

    def __init__(self, broken=BROKEN, **kwargs):
        self.broken = broken
        super().__init__(ann_file='', pipeline=[self.load], **kwargs)

    def load_data_list(self):
        return [{'number': i, 'gt_label': i // 10} for i in range(30)]

    def load(self, results):
        if results['number'] in self.broken:
            raise self.broken[results['number']]
        noise = torch.rand(()).item()
        return {key: results[key] for key in ('number', 'gt_label')} | {'noise': noise}


def skipping(broken=BROKEN, epoch=None, **kwargs):
    dataset = LongTailed(Numbers(broken), unreadable='skip', **kwargs)
    if epoch is not None:
        dataset.set_epoch(epoch, seed=5)
    return dataset


def numbers(samples):
    return [sample['number'] for sample in samples]


def all_of(dataset):
    return [dataset[i] for i in range(len(dataset))]


def test_another_image_of_the_class_takes_the_place():
    dataset = skipping()
    samples = all_of(dataset)
    assert [sample['gt_label'] for sample in samples] == [0] * 10 + [1] * 10 + [2] * 10
    for i, number in enumerate(numbers(samples)):
        assert (number == i) == (i not in BROKEN)
    assert dataset.unreadable_images.nonzero().flatten().tolist() == [3, 4, 12]
    assert dataset[-18]['gt_label'] == 1
    assert dataset.class_counts.tolist() == [10, 10, 10]


def test_the_replacement_is_a_function_of_the_place():
    first = all_of(skipping(epoch=0))
    again = skipping(epoch=1)
    second = all_of(again)
    again.set_epoch(0, seed=5)
    # Whatever was loaded before, thus also in a run that was resumed.
    assert [again[i] for i in range(29, -1, -1)][::-1] == first
    assert numbers(first) != numbers(second)
    assert len({sample['noise'] for sample in first}) == 30
    other = skipping()
    other.set_epoch(0, seed=6)
    assert numbers(all_of(other)) != numbers(first)


@pytest.mark.parametrize('workers', [1, 2])
def test_workers_agree_and_tell_the_main_process(workers):
    expected = all_of(skipping(epoch=0))
    dataset = skipping(epoch=0)
    loader = DataLoader(dataset, num_workers=workers, collate_fn=lambda batch: batch[0])
    assert list(loader) == expected
    assert dataset.unreadable_images.sum() == 3


def test_a_copy_marks_images_of_its_own():
    dataset = skipping({3: OSError()})
    dataset[3]
    twin = pickle.loads(pickle.dumps(dataset))
    twin.dataset.broken = {5: OSError()}
    twin[5]
    assert twin.unreadable_images.nonzero().flatten().tolist() == [3, 5]
    assert dataset.unreadable_images.nonzero().flatten().tolist() == [3]


def test_a_class_without_a_readable_image_stops():
    dataset = skipping({i: OSError(f'cut {i}') for i in range(10)})
    with pytest.raises(RuntimeError) as caught:
        dataset[2]
    message = 'cannot load image 2: OSError: cut 2; nor can any other image of its'
    assert str(caught.value).startswith(message)
    assert dataset[11]['number'] == 11


def test_lack_of_memory_stops():
    dataset = skipping({3: MemoryError('no more')})
    with pytest.raises(RuntimeError, match='cannot load image 3: MemoryError'):
        dataset[3]
    assert dataset.unreadable_images.sum() == 0


def test_by_default_and_in_test_mode_nothing_is_skipped():
    for dataset in (
        LongTailed(Numbers()),
        LongTailed(Numbers(test_mode=True), unreadable='skip'),
    ):
        assert dataset.unreadable_images is None
        with pytest.raises(RuntimeError, match='cannot load image 3: OSError: cut'):
            dataset[3]


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match=r"unreadable: .*'stop', 'skip'.*got 'hide'"):
        LongTailed(Numbers(), unreadable='hide')


def test_known_faults_are_not_even_tried():
    faulty = np.array([True, False, True, False])
    tried = []
    replacements = Replacements(np.array([0, 0, 1, 1]), faulty, CLASSES)
    got = [replacements.load(i, (i,), lambda k: tried.append(k) or k) for i in range(4)]
    assert got == tried == [1, 1, 3, 3]


@pytest.fixture
def folder(tmp_path):
    """Six images in two classes; an empty and a cut one among them."""
    random = np.random.RandomState(0)
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = random.randint(0, 256, (40, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f'{i}.jpg')
    (tmp_path / 'cat/1.jpg').write_bytes(b'')
    whole = (tmp_path / 'dog/0.jpg').read_bytes()
    (tmp_path / 'dog/0.jpg').write_bytes(whole[: len(whole) // 2])
    return tmp_path


def from_folder(folder, **kwargs):
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'PackInputs'}]
    inner = CustomDataset(data_root=str(folder), pipeline=pipeline)
    return LongTailed(inner, **{'unreadable': 'skip', **kwargs})


@pytest.fixture
def said(monkeypatch):
    """What is logged."""
    lines = []
    monkeypatch.setattr(
        'ride_mm.datasets.long_tailed.print_log',
        lambda text, **kwargs: lines.append(text),
    )
    return lines


def test_files_that_do_not_pass_are_named_and_replaced(folder, said):
    dataset = from_folder(folder)
    (warning,) = [line for line in said if 'unusable' in line]
    assert warning.startswith('2 of 6 image files are unusable:\n')
    assert f'{folder}/cat/1.jpg: the file is empty\n' in warning
    # OpenCV would give half of it.
    paths = [dataset[i]['data_samples'].img_path for i in range(6)]
    assert not any(path.endswith(('cat/1.jpg', 'dog/0.jpg')) for path in paths)
    samples = [dataset[i]['data_samples'] for i in range(6)]
    assert [sample.gt_label.item() for sample in samples] == [0] * 3 + [1] * 3
    assert samples[1].sample_idx in (0, 2)
    assert dataset.unreadable_images.tolist() == [0, 1, 0, 1, 0, 0]


def test_a_class_without_a_usable_file_is_refused_before_training(folder, said):
    for i in range(3):
        (folder / f'cat/{i}.jpg').write_bytes(b'')
    with pytest.raises(RuntimeError, match="usable image of each .* none of 'cat'"):
        from_folder(folder)


def test_stop_refuses_the_files(folder):
    with pytest.raises(RuntimeError, match='2 of 6 image files are unusable') as err:
        from_folder(folder, unreadable='stop')
    assert "; unreadable='skip' puts others of their class in" in str(err.value)


def test_the_hook_names_what_the_workers_met(caplog):
    dataset = skipping(epoch=0)
    loader = DataLoader(dataset, num_workers=2, collate_fn=list)
    lines = []
    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=SimpleNamespace(dataset=dataset)),
        logger=SimpleNamespace(warning=lines.append),
        train_loop=object.__new__(EpochBasedTrainLoop),
    )
    hook = UnreadableImagesHook()
    hook.after_train_epoch(runner)
    assert lines == []
    list(loader)
    hook.after_train_epoch(runner)
    hook.after_train(runner)
    (line,) = lines
    assert line.startswith('3 of 30 training images could not be loaded so far, ')
    assert line.endswith('image 3, image 4, image 12')
    runner.train_loop = None  # One by iteration.
    hook.after_train(runner)
    assert len(lines) == 2
    runner.train_dataloader.dataset = LongTailed(Numbers())
    hook.after_train_epoch(runner)
    assert len(lines) == 2


def test_a_resume_under_another_policy_is_refused():
    stop, skip = (
        data_settings({'dataset': {'type': 'LongTailed', 'unreadable': policy}})
        for policy in ('stop', 'skip')
    )
    assert list(differences(stop, skip)) == [
        "dataset.unreadable: expected 'stop', got 'skip'"
    ]
