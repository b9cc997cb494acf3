"""Metafiles, model index and configs agree."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from mmpretrain.registry import MODELS
from shapes import shapes_alone

from ride_mm.analysis import model_complexity
from ride_mm.cli.configs.network import image_size
from ride_mm.utils import SHOT_GROUPS, resource_root
from ride_mm.utils.metafile import known_accuracy

ROOT = resource_root()
INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())
ENTRIES = [
    entry
    for path in INDEX['Import']
    for entry in yaml.safe_load((ROOT / path).read_text())['Models']
]
WHOSE = {
    'published': r'\(published by the authors( of RIDE)?\)',
    'measured': r'\(measured by this repository\)',
}
METRICS = r'(Top 1 Accuracy(, (many|medium|few)-shot)?|Mean Experts)'


def each_entry(function):
    return pytest.mark.parametrize('entry', ENTRIES, ids=lambda e: e['Name'])(function)


def test_the_index_names_every_metafile():
    found = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob('configs/*/*.yml'))
    assert sorted(INDEX['Import']) == found


def test_every_config_has_one_entry():
    configs = {p.relative_to(ROOT).as_posix() for p in ROOT.glob('configs/*/*.py')}
    configs -= {p for p in configs if Path(p).parent.name == '_base_'}
    named = [entry['Config'] for entry in ENTRIES]
    assert len(named) == len(set(named))
    assert set(named) == configs


@each_entry
def test_an_entry_names_its_config_and_cost(entry):
    path = ROOT / entry['Config']
    assert path.stem == entry['Name'] == entry['Name'].lower()
    cfg = Config.fromfile(path)
    with shapes_alone():
        model = MODELS.build(cfg.model)
    parameters, macs = model_complexity(model, (3, *image_size(cfg)))
    assert entry['Metadata']['Parameters'] == parameters
    assert entry['Metadata']['FLOPs'] == macs


@each_entry
def test_weights_are_absent_an_address_or_a_file(entry):
    weights = entry['Weights']
    assert (
        weights is None
        or weights.startswith('https://')
        or (ROOT / weights).is_file()
        and weights.startswith('ride_mm/weights/')
    )


@each_entry
def test_figures_are_marked_and_stand_in_the_config_s_docstring(entry):
    (result,) = entry['Results']
    assert result['Task'] == 'Image Classification'
    for metric in result.get('Metrics', {}):
        assert re.fullmatch(f'{METRICS} ({"|".join(WHOSE.values())})', metric)
    tree = ast.parse((ROOT / entry['Config']).read_text())
    text = ' '.join(ast.get_docstring(tree).split())
    for whose in WHOSE:
        figures = known_accuracy(entry['Name'], whose)
        if not figures:
            continue
        assert whose in text.lower()
        if set(figures) == {'all'}:  # As some tables have it.
            assert re.search(rf'\b{figures["all"]}\b', text)
            continue
        assert set(figures) == {'all', *SHOT_GROUPS}
        digits = 1 if f'{figures["all"]:.1f} all' in text else 2
        shown = {group: f'{value:.{digits}f}' for group, value in figures.items()}
        by_shots = ' / '.join(shown[group] for group in SHOT_GROUPS)
        assert f'{shown["all"]} all, {by_shots} many / medium / few' in text


def test_the_figures_are_those_of_the_papers():
    def figures(name):
        return tuple(known_accuracy(name, 'published').values())

    assert figures('ride_r32_cifar100lt') == (47.9,)
    assert figures('ride_r32_cifar100lt_router') == (48.6, 67.0, 49.9, 25.7)
    assert figures('ride_r32_cifar100lt_teacher') == (50.2, 69.3, 52.1, 25.8)
    assert figures('ride_r32_cifar100lt_distill') == (48.4,)
    assert figures('ride_r32_cifar100lt_distill_router') == (49.0, 67.6, 50.9, 25.2)
    assert figures('ce_r32_cifar100lt') == (39.1, 66.1, 37.3, 10.6)
    assert figures('ldam-drw_r32_cifar100lt') == (42.0, 61.5, 41.7, 20.2)
    assert figures('ride_r32_cifar100lt_30e') == ()
