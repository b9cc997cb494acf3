"""Which settings of a foreign config may be followed.

A test builds what a config names, and some of what can be built reads pickles, imports
modules or fetches files. Here stands what may be named; all else is refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import mmengine.registry
import mmpretrain.registry

from ...models.backbones.staging import STAGINGS

PLACE = 'config in the checkpoint'
ADVICE = 'put the config beside the checkpoint'
CLASSIFIERS = ('RIDEClassifier', 'VMoEClassifier', 'ImageClassifier')
# Where the parts of a network are defined.
BACKBONES = ('mmpretrain.models.backbones.', 'ride_mm.models.backbones.')
NECKS = ('mmpretrain.models.necks.',)
HEADS = ('mmpretrain.models.heads.', 'ride_mm.models.heads.')
PARTS = (
    'torch.nn.modules.',
    'mmcv.cnn.bricks.',
    'mmpretrain.models.losses.',
    'mmpretrain.models.utils.norm.',
    'ride_mm.models.layers.',
    'ride_mm.models.losses.',
)
# It asks another library for a network by name.
EXCEPT = ('TIMMBackbone',)
# Weights are those of the checkpoint, and what only a training needs is not built.
NOT_NEEDED = (
    *('distill', 'init_cfg', 'pretrained', 'train_cfg'),
    *('batch_augments', 'batch_transforms'),
)
PREPROCESSORS = ('ClsDataPreprocessor', 'LTDataPreprocessor', None)
PREPROCESSOR = (
    *('type', 'num_classes', 'mean', 'std', 'pad_size_divisor', 'pad_value'),
    *('to_rgb', 'to_onehot'),
)
LOADER = (
    'batch_size',
    'num_workers',
    'persistent_workers',
    'pin_memory',
    'drop_last',
    'prefetch_factor',
    'sampler',
    'collate_fn',
    'dataset',
)
SAMPLERS = ('DefaultSampler',)
COLLATE = ('default_collate', 'pseudo_collate')
_COMMON = ('type', 'metainfo', 'pipeline', 'test_mode', 'indices', 'lazy_init')
_FILES = ('data_root', 'data_prefix', 'classes')
_CIFAR = (*_COMMON, *_FILES, 'split', 'check_md5', 'download')
_LIST = (
    *(*_COMMON, *_FILES, 'ann_file', 'num_classes', 'allow_empty', 'expected_counts'),
    'probe',
)
# None of these reads more than images, plain text and checked archives.
DATASETS = {
    'LongTailed': (
        *('type', 'dataset', 'imbalance', 'factor', 'n_max', 'seed', 'expected_hash'),
        *('held_out', 'part', 'check_images', 'allow_empty', 'unreadable', 'lazy_init'),
    ),
    'LTCIFAR10': _CIFAR,
    'LTCIFAR100': _CIFAR,
    'Digits': (*_COMMON, 'split', 'test_per_class', 'seed'),
    'LTListFile': _LIST,
    'LTImageNet': _LIST,
    'LTTableFile': (
        *_LIST,
        *('split', 'path_column', 'label_column', 'split_column'),
    ),
    'CustomDataset': (*_COMMON, *_FILES, 'ann_file', 'with_label', 'extensions'),
    'ImageNet': (*_COMMON, *_FILES, 'split', 'ann_file'),
}
TEXT = '.txt'
# They read the image that the data set names, and nothing else.
TRANSFORMS = (
    'LoadImageFromFile',
    'Resize',
    'ResizeEdge',
    'CenterCrop',
    'Pad',
    'Normalize',
    'PackInputs',
)
PICKLES = ('.pkl', '.pickle', '.pth', '.pt')
# What MMEngine looks up elsewhere, or imports.
KEYS_OF_OTHERS = ('_scope_', '_base_', 'backend_args', 'file_client_args')


def check_allowed(settings: Mapping[str, Any]) -> None:
    """Refuse settings that ask for more than a network of layers and its test.

    Args:
        settings: With ``model``, ``test_dataloader`` and perhaps ``data_preprocessor``,
            each plain data.

    Raises:
        ValueError: If something else is named.
    """
    for part in parts(settings):
        _check_part(part)
    _check_model(settings['model'])
    if settings.get('data_preprocessor') is not None:
        _check_preprocessor(settings['data_preprocessor'])
    _check_loader(settings['test_dataloader'])


def without_training(model: Any) -> Any:
    """Settings of a model or preprocessor but for what only a training needs."""
    if isinstance(model, dict):
        return {k: without_training(v) for k, v in model.items() if k not in NOT_NEEDED}
    if isinstance(model, (list, tuple)):
        return type(model)(without_training(item) for item in model)
    return model


def parts(setting: Any) -> Iterator[Any]:
    """A setting and all that it is made of, keys too."""
    yield setting
    if isinstance(setting, Mapping):
        setting = [*setting.keys(), *setting.values()]
    if isinstance(setting, (list, tuple)):
        for item in setting:
            yield from parts(item)


def _check_part(part: Any) -> None:
    if not isinstance(part, str):
        return
    if '{{' in part:
        _refuse('plain strings', part)  # MMEngine would replace it.
    if '://' in part:
        _refuse('data on this machine', part)
    if part.lower().endswith(PICKLES):
        _refuse('no file that is unpickled', part)
    if part in KEYS_OF_OTHERS:
        _refuse('settings that name no other place', part)


def _check_model(model: dict) -> None:
    _one_of('model', model.get('type'), CLASSIFIERS)
    known = registered_models()
    places = {'backbone': BACKBONES, 'neck': NECKS, 'head': HEADS}
    for name, setting in model.items():
        if name == 'data_preprocessor':
            if setting is not None:
                _check_preprocessor(setting)
            continue
        for part in parts(setting):
            if isinstance(part, Mapping) and 'type' in part:
                outer = part is setting or (
                    name == 'backbone' and _is_base(part, setting)
                )
                allowed = places.get(name, ()) if outer else PARTS
                _check_origin(part['type'], known, allowed)


def _is_base(part: Mapping, backbone: Any) -> bool:
    """Whether a part is a plain backbone of a known kind, of which experts are made."""
    return (
        backbone.get('type') == 'MultiExpertBackbone'
        and part is backbone.get('base')
        and part['type'] in STAGINGS
    )


def _check_origin(kind: Any, known: Mapping[str, str], modules: tuple) -> None:
    module = known.get(kind, '') if isinstance(kind, str) else ''
    if kind in EXCEPT or not f'{module}.'.startswith(modules):
        _refuse('layers of PyTorch, MMPretrain and ride_mm where they belong', kind)


def registered_models() -> dict[str, str]:
    """Modules that the registered parts of networks are defined in, by their names."""
    found = {}
    for registry in (mmengine.registry.MODELS, mmpretrain.registry.MODELS):
        registry.import_from_location()
        found.update({k: v.__module__ for k, v in registry.module_dict.items()})
    return found


def _check_preprocessor(settings: Any) -> None:
    _only('data_preprocessor', settings, PREPROCESSOR)
    _one_of('data_preprocessor', settings.get('type'), PREPROCESSORS)


def _check_loader(loader: dict) -> None:
    _only('test_dataloader', loader, LOADER)
    for name, allowed in (('sampler', SAMPLERS), ('collate_fn', COLLATE)):
        if loader.get(name) is not None:
            _check_plain(name, loader[name], allowed)
    if loader.get('dataset') is not None:
        _check_dataset(loader['dataset'])


def _check_dataset(settings: Any) -> None:
    kind = settings.get('type') if isinstance(settings, dict) else settings
    _one_of('data set', kind, tuple(DATASETS))
    _only(kind, settings, DATASETS[kind])
    if 'dataset' in settings:
        _check_dataset(settings['dataset'])
    file = settings.get('ann_file') or ''
    # The lists of ride_mm's own data sets are read as text, whatever their name.
    text = kind != 'CustomDataset' or file == '' or str(file).lower().endswith(TEXT)
    if not isinstance(file, str) or not text:
        _refuse('an ann_file of text (.txt)', file)
    pipeline = settings.get('pipeline') or []
    if not isinstance(pipeline, (list, tuple)):
        _refuse('a list of transforms', pipeline)
    for transform in pipeline:
        _check_plain('transform', transform, TRANSFORMS)
    for key, value in settings.items():
        if key not in ('dataset', 'pipeline'):
            _no_type_in(key, value)


def _check_plain(what: str, setting: Any, allowed: tuple) -> None:
    """Something of an allowed type, with nothing built inside it."""
    kind = setting.get('type') if isinstance(setting, dict) else setting
    _one_of(what, kind, allowed)
    if not isinstance(setting, dict):
        _refuse(f'{what} as dict(...)', setting)
    for value in setting.values():
        _no_type_in(what, value)


def _no_type_in(what: str, value: Any) -> None:
    for part in parts(value):
        if isinstance(part, Mapping) and 'type' in part:
            _refuse(f'{what} of plain values', part['type'])


def _only(what: str, settings: Any, keys: Any) -> None:
    if not isinstance(settings, dict):
        _refuse(f'{what} as dict(...)', settings)
    for key in settings:
        if key not in keys:
            _refuse(f'{what} with known settings', key)


def _one_of(what: str, kind: Any, allowed: tuple) -> None:
    if not isinstance(kind, (str, type(None))) or kind not in allowed:
        names = ', '.join(name for name in allowed if name is not None)
        _refuse(f'{what} of type {names}', kind)


def _refuse(expected: str, got: Any) -> None:
    shown = repr(got)
    shown = shown if len(shown) <= 80 else f'{shown[:77]}...'
    raise ValueError(f'{PLACE}: expected {expected}, got {shown}; {ADVICE}')
