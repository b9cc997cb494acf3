"""MMPretrain finds our models by their names, and the one with weights works."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer, ModelHub, get_model, list_models
from mmpretrain.registry import DATASETS

import ride_mm
from ride_mm.apis.model_index import absolute_weights, register_model_index
from ride_mm.engine.checkpoint_io import write_atomically
from ride_mm.utils import find_config, metafile, shot_groups

SMALL = 'ride_r20_digitslt_small_router'
PACKAGE = Path(ride_mm.__file__).parent
NAMES = sorted(metafile.model_entries())


@pytest.fixture
def hub(monkeypatch) -> dict:
    """MMPretrain's dictionary of models, without ours, for this test only."""
    known = ModelHub._models_dict
    for name in NAMES:
        monkeypatch.delitem(known, name, raising=False)
    yield known
    for name in NAMES:
        known.pop(name, None)


def test_all_names_are_listed_beside_mmpretrain_s_own():
    listed = list_models(task='Image Classification')
    assert set(NAMES) < set(listed)
    assert 'resnet50_8xb32_in1k' in listed
    assert list_models('ride*') == [n for n in NAMES if n.startswith('ride')]


@pytest.mark.parametrize('name', NAMES)
def test_a_name_leads_to_its_config(name):
    found = ModelHub.get(name)
    assert found.config.model.type in ('RIDEClassifier', 'VMoEClassifier')
    assert Path(found.config.filename) == find_config(name)
    assert [result.task for result in found.results] == ['Image Classification']


def test_settings_can_be_changed_by_name():
    model = get_model('ride_r20_digitslt_small', head=dict(num_classes=3))
    assert model.head.num_classes == 3
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 3)


def test_a_second_registration_changes_nothing(hub):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        register_model_index()
        before = dict(hub)
        register_model_index()
    assert set(NAMES) <= set(hub)
    assert all(hub[name] is before[name] for name in before)


def test_a_name_that_another_package_has_stays_that_package_s(hub, tmp_path):
    entry = 'Models:\n  - Name: ride_r32_cifar100lt\n    Config: theirs.py\n'
    (tmp_path / 'index.yml').write_text(entry)
    ModelHub.register_model_index(tmp_path / 'index.yml', config_prefix=tmp_path)
    theirs = hub['ride_r32_cifar100lt']
    for _ in range(2):
        with pytest.warns(UserWarning, match='^ride_r32_cifar100lt: .*index.yml, whi'):
            register_model_index()
        assert hub['ride_r32_cifar100lt'] is theirs
    assert set(NAMES) <= set(hub)
    assert hub[SMALL].config == str(find_config(SMALL))


@pytest.mark.parametrize(
    'fault', ['no index', 'broken metafile', 'no such metafile', 'a name twice']
)
def test_an_index_that_cannot_be_read_costs_the_names_only(
    hub, tmp_path, monkeypatch, fault
):
    (tmp_path / 'configs').mkdir()
    if fault != 'no index':
        (tmp_path / 'model-index.yml').write_text('Import:\n  - meta.yml\n')
    if fault == 'broken metafile':
        (tmp_path / 'meta.yml').write_text('Models: [{Name: ride_r32')
    if fault == 'a name twice':
        entry = '  - {Name: ride_r32_cifar100lt, Config: a.py}\n'
        (tmp_path / 'meta.yml').write_text(f'Models:\n{entry}{entry}')
    for module in ('ride_mm.utils.metafile', 'ride_mm.apis.model_index'):
        monkeypatch.setattr(f'{module}.resource_root', lambda: tmp_path)
    before = dict(hub)
    metafile.model_entries.cache_clear()
    try:
        with pytest.warns(UserWarning, match='not known by name, only by config: '):
            register_model_index()
    finally:
        metafile.model_entries.cache_clear()
    assert hub == before


def test_registration_does_not_need_mmpretrain_s_own_index(hub, monkeypatch):
    def broken():
        raise FileNotFoundError('.mim/model-index.yml')

    monkeypatch.setattr(ModelHub, '_register_mmpretrain_models', broken)
    register_model_index()
    assert set(NAMES) <= set(hub)


def test_weights_of_a_metafile_become_absolute():
    path = absolute_weights('ride_mm/weights/a.pth')
    assert path == str(PACKAGE / 'weights' / 'a.pth')
    assert absolute_weights('/b/a.pth') == '/b/a.pth'
    assert absolute_weights('https://host/a.pth') == 'https://host/a.pth'
    assert absolute_weights(None) is None
    assert {n for n in NAMES if ModelHub.get(n).weights is not None} == {SMALL}


@pytest.fixture(scope='module')
def weights() -> Path:
    return Path(ModelHub.get(SMALL).weights)


def test_the_file_with_the_weights_is_small_and_safe(weights):
    data = weights.read_bytes()
    assert list((PACKAGE / 'weights').iterdir()) == [weights]
    assert len(data) < 600_000
    assert weights.name == f'{SMALL}-{hashlib.sha256(data).hexdigest()[:8]}.pth'
    content = torch.load(weights, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    assert list(content['meta']['dataset_meta']['classes']) == list('0123456789')
    for word in ('/home', '/root', '/tmp', 'C:'):
        assert word not in content['meta']['cfg']
    tensors = content['state_dict'].values()
    assert all(t.isfinite().all() for t in tensors if t.is_floating_point())


def test_the_shipped_model_is_as_accurate_as_its_metafile_says(tmp_path, monkeypatch):
    pytest.importorskip('sklearn')
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        model = get_model(SMALL, pretrained=True, device='cpu')
    dataset = DATASETS.build(model._config.test_dataloader.dataset)
    batch = dict(
        inputs=[dataset[i]['inputs'] for i in range(len(dataset))],
        data_samples=[dataset[i]['data_samples'] for i in range(len(dataset))],
    )
    with torch.no_grad():
        samples = model.test_step(batch)
    labels = dataset.get_gt_labels()
    right = np.array([int(s.pred_label) for s in samples]) == labels
    counts = model._dataset_meta['class_counts']
    groups = {'all': range(10), **shot_groups(counts)}
    expected = metafile.known_accuracy(SMALL, 'measured')
    assert set(expected) == set(groups)
    for group, classes in groups.items():
        members = right[np.isin(labels, classes)]
        # But for one image: other machines sum in another order.
        assert abs(members.sum() - expected[group] / 100 * len(members)) < 1.2
    stated = metafile.model_entries()[SMALL]['Results'][0]['Metrics']
    experts = np.mean([int(s.num_experts) for s in samples])
    assert experts == pytest.approx(
        stated['Mean Experts (measured by this repository)'], abs=0.01
    )


def test_classes_of_a_folder_come_from_the_checkpoint(tmp_path):
    """A dataset that is not built has no classes of its own."""
    cfg = Config.fromfile(find_config('ride_r50_custom'))
    cfg.model.backbone = dict(type='RIDEResNet', depth=10, expert_width=0.25)
    cfg.model.head.num_classes = 2
    torch.manual_seed(0)
    model = get_model(cfg)
    path = tmp_path / 'trained.pth'
    meta = dict(dataset_meta=dict(classes=['heron', 'wren']))
    write_atomically(dict(state_dict=model.state_dict(), meta=meta), path)
    inferencer = ImageClassificationInferencer(cfg, str(path), device='cpu')
    (result,) = inferencer(np.full((90, 60, 3), 128, np.uint8))
    assert result['pred_class'] == ['heron', 'wren'][result['pred_label']]
    assert inferencer.classes == ['heron', 'wren']
