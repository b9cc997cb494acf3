"""Metafiles, model index and configs agree."""

import pytest
import yaml
from mmengine.config import Config
from mmpretrain import ModelHub
from mmpretrain.registry import MODELS

from ride_mm.analysis import model_complexity
from ride_mm.utils import resource_root

ROOT = resource_root()
INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())
ENTRIES = [
    entry
    for path in INDEX['Import']
    for entry in yaml.safe_load((ROOT / path).read_text())['Models']
]


def test_the_index_names_every_metafile():
    found = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob('configs/*/*.yml'))
    assert sorted(INDEX['Import']) == found


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry['Name'])
def test_an_entry_names_its_config_and_cost(entry):
    path = ROOT / entry['Config']
    assert path.stem == entry['Name']
    model = MODELS.build(Config.fromfile(path).model)
    parameters, macs = model_complexity(model, (3, 32, 32))
    assert entry['Metadata']['Parameters'] == parameters
    assert entry['Metadata']['FLOPs'] == macs


def test_mmpretrain_s_model_hub_reads_the_index():
    ModelHub.register_model_index(ROOT / 'model-index.yml', config_prefix=ROOT)
    try:
        for entry in ENTRIES:
            assert ModelHub.get(entry['Name']).config.model.type == 'RIDEClassifier'
    finally:
        for entry in ENTRIES:
            ModelHub._models_dict.pop(entry['Name'])
