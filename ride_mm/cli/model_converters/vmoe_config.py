"""A config for weights of V-MoE: their network with data of its own or of another."""

from copy import deepcopy

from mmengine.config import Config, ConfigDict

from ...utils.resources import resource_root
from .base_config import PLAIN_ACCURACY

# Metrics of what a V-MoE does not have: several classifiers, and class counts.
OF_RIDE = ('ExpertAccuracy', 'ExpertUsage', 'ShotAccuracy')
# The authors feed pixels from -1 to 1.
HALF = [127.5, 127.5, 127.5]
# Side to which the shorter edge is resized for a crop of 224.
EDGE, CROP = 256, 224


def plain_base(num_classes: int, image_size: tuple[int, int]) -> Config:
    """A config that tests a network on ImageNet, or on folders of images.

    Up to 224 pixels the images are resized and cropped, above they are resized to a
    square, as the authors do.

    Args:
        num_classes: ImageNet for 1000, else a folder for each class.
        image_size: Height and width of the network's images.
    """
    cfg = Config.fromfile(resource_root() / 'configs/_base_/default_runtime.py')
    cfg._cfg_dict.pop('filename', None)
    height, width = image_size
    if height == width and height <= CROP:
        resize = [
            dict(
                type='ResizeEdge',
                scale=round(height * EDGE / CROP),
                edge='short',
                backend='cv2',
                interpolation='area',
            ),
            dict(type='CenterCrop', crop_size=height),
        ]
    else:
        resize = [
            dict(
                type='Resize',
                scale=(width, height),
                backend='cv2',
                interpolation='bilinear',
            )
        ]
    imagenet = num_classes == 1000
    data = (
        dict(type='ImageNet', data_root='data/imagenet', split='val')
        if imagenet
        else dict(type='CustomDataset', data_root='data/custom', data_prefix='test')
    )
    loader = dict(
        batch_size=32,
        num_workers=4,
        dataset=dict(
            **data,
            pipeline=[dict(type='LoadImageFromFile'), *resize, dict(type='PackInputs')],
        ),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    for name in ('val', 'test'):
        cfg[f'{name}_dataloader'] = deepcopy(loader)
        topk = (1, 5) if num_classes >= 5 else (1,)
        cfg[f'{name}_evaluator'] = dict(type='Accuracy', topk=topk)
        cfg[f'{name}_cfg'] = dict()
    return cfg


def config_of(model: dict, base: Config) -> Config:
    """A config with the network of the weights, and all else of another.

    Pixels go from -1 to 1, as the weights expect them. Metrics of several classifiers
    and of class counts become plain accuracy. If the other network is a V-MoE, what
    weights do not tell is taken from it, such as losses and dropout.

    Args:
        model: Config of the model that the weights are of.
        base: The other config; it is not changed.
    """
    cfg = deepcopy(base)
    cfg.model = merged(model, cfg.get('model') or {})
    preprocessor = ConfigDict(cfg.get('data_preprocessor') or {})
    preprocessor.update(mean=HALF, std=HALF, to_rgb=True)
    if 'head' in model:
        preprocessor.num_classes = model['head']['num_classes']
    cfg.data_preprocessor = preprocessor
    for name in ('val_evaluator', 'test_evaluator'):
        metrics = cfg.get(name)
        if isinstance(metrics, list):
            kept = [m for m in metrics if m['type'] not in OF_RIDE]
            if not any(m['type'] == 'Accuracy' for m in kept):
                kept.insert(0, ConfigDict(PLAIN_ACCURACY))
            cfg[name] = kept
    cfg.pop('work_dir', None)
    cfg.load_from = None
    return cfg


def merged(model: dict, base: dict) -> ConfigDict:
    """A model's config, with the settings that it lacks from another of its kind."""
    result = ConfigDict(deepcopy(model))
    other = base.get('backbone') or {}
    if other.get('type') != result.backbone.type:
        return result
    result = ConfigDict({**deepcopy(base), **result})
    result.backbone = _filled(result.backbone, other)
    result.backbone.pop('init_cfg', None)
    if 'moe' not in model['backbone']:
        result.backbone.pop('moe', None)
    if 'head' in model and (base.get('head') or {}).get('type') == result.head.type:
        result.head.pop('loss')  # That of a test, which needs none.
        result.head = _filled(result.head, base['head'])
    return result


def _filled(settings: ConfigDict, others: dict) -> ConfigDict:
    """Settings with those of others that they lack, also within dictionaries."""
    for name, value in others.items():
        if name not in settings:
            settings[name] = deepcopy(value)
        elif (
            name in ('moe', 'router')
            and isinstance(value, dict)
            and isinstance(settings[name], dict)
        ):
            settings[name] = _filled(settings[name], value)
    return settings
