"""The recipes of the benchmarks train, route and test on images in their layout."""

import json
import pickle

import numpy as np
import pytest
from engine_helpers import forget_runs
from mmengine.config import Config
from PIL import Image

from ride_mm.cli import test_main as main_of_test
from ride_mm.cli import train_main
from ride_mm.utils import find_config

CLASSES = ['newt', 'owl', 'pike', 'quail', 'rook']
PER_CLASS = [4, 3, 2, 1, 1]
# Where training, validation and test images of each set lie.
RECIPES = {
    'ride_r10_imagenetlt': ('train', 'train', 'val'),
    'ride_r50_inat18': ('train_val2018',) * 3,
    'ride_r152_placeslt': ('train', 'train', 'val'),
    'ride_swint_imagenetlt': ('train', 'train', 'val'),
}


def fabricate(root, folders, datasets):
    """Images of five classes in several sizes, and the lists that name them."""
    random = np.random.default_rng(0)
    for part, (folder, dataset) in enumerate(zip(folders, datasets, strict=True)):
        lines = []
        for label, name in enumerate(CLASSES):
            for i in range(PER_CLASS[label] if part == 0 else 1):
                path = f'{folder}/{name}/{part}_{i}.jpg'
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                size = (240 + 40 * i, 300, 3)
                pixels = random.integers(0, 256, size) // 2 + 25 * label
                Image.fromarray(pixels.astype(np.uint8)).save(root / path)
                lines.append(f'{path} {label}\n')
        (root / dataset.ann_file).write_text(''.join(lines))


def small_config(name, root, **more):
    """The shipped config for five classes in a folder of ours."""
    cfg = Config.fromfile(find_config(name))
    loaders = [cfg[f'{part}_dataloader'] for part in ('train', 'val', 'test')]
    datasets = [loaders[0].dataset.dataset, *(one.dataset for one in loaders[1:])]
    for loader, dataset in zip(loaders, datasets, strict=True):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        dataset.update(
            data_root=str(root),
            expected_counts=None,
            classes=CLASSES,
            num_classes=len(CLASSES),
        )
    loaders[0].dataset.expected_hash = None
    cfg.model.head.num_classes = cfg.data_preprocessor.num_classes = len(CLASSES)
    cfg.merge_from_dict({'load_from': None, **more})
    return cfg, datasets


def run(main, cfg, folder, *arguments):
    forget_runs()
    path = folder.with_suffix('.py')
    cfg.dump(path)
    main([str(path), *map(str, arguments), '--work-dir', str(folder)])


@pytest.mark.slow
@pytest.mark.parametrize('name', RECIPES)
def test_recipe_trains_routes_and_tests(name, tmp_path):
    cfg, datasets = small_config(name, tmp_path / 'data')
    fabricate(tmp_path / 'data', RECIPES[name], datasets)
    run(train_main, cfg, tmp_path / 'one', '--epochs', '1')
    checkpoint = tmp_path / 'one/epoch_1.pth'
    cfg, _ = small_config(
        f'{name}_router', tmp_path / 'data', load_from=str(checkpoint)
    )
    run(train_main, cfg, tmp_path / 'two', '--epochs', '1')
    result, predictions = tmp_path / 'result.json', tmp_path / 'predictions.pkl'
    routed = tmp_path / 'two/epoch_1.pth'
    outputs = '--json', result, '--out', predictions
    run(main_of_test, cfg, tmp_path / 'test', routed, *outputs)
    metrics = json.loads(result.read_text())['metrics']
    # Five test images, one of each class, all of them few-shot.
    samples = pickle.loads(predictions.read_bytes())
    assert [int(one['gt_label']) for one in samples] == list(range(5))
    right = [int(one['pred_label']) == c for c, one in enumerate(samples)]
    assert metrics['shot_accuracy/all'] == pytest.approx(100 * np.mean(right))
    assert metrics['shot_accuracy/few'] == metrics['shot_accuracy/all']
    used = np.mean([int(one['num_experts']) for one in samples])
    assert metrics['expert_usage/mean_experts'] == pytest.approx(used)
