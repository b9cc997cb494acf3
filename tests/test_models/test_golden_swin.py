"""A Swin Transformer with experts gives the logits of the authors' RIDE-Swin.

The stored ones are of the authors' own code, models/swin_transformer.py of
https://github.com/TonyLianLong/RIDE-Swin-LongTailRecognition, in evaluation.
"""

import re

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from official_cases import (
    case_images,
    load_case,
    load_outputs,
    official_weights,
    relative_error,
)

from ride_mm.utils import find_config

NAME = 'swin_3e_imagenet_lt'
RENAMED = (
    (r'^patch_embed\.proj', 'patch_embed.projection'),
    (r'^layers', 'stages'),
    (r'\.attn\.', '.attn.w_msa.'),
    (r'\.mlp\.fc1', '.ffn.layers.0.0'),
    (r'\.mlp\.fc2', '.ffn.layers.1'),
    (r'^norm', 'norm3'),
)


def own_weights(weights: dict, experts: int) -> dict:
    """Authors' weights under our names; all experts have the norm that theirs share."""
    renamed = {}
    for name, tensor in weights.items():
        if head := re.fullmatch(r'heads\.(\d)\.weight', name):
            renamed[f'head.classifiers.{head[1]}.weight'] = tensor
            continue
        if '.downsample.' in name:
            tensor = channels_first(tensor)
        branch = re.search(r'layers\.(\d)\.branches\.(\d)', name)
        name = re.sub(r'\.branches\.\d', '', name)
        for pattern, own in RENAMED:
            name = re.sub(pattern, own, name)
        late = branch is not None and int(branch[1]) >= 2
        homes = [f'experts.{branch[2]}'] if late else ['trunk']
        if name.startswith('norm3'):
            homes = [f'experts.{e}' for e in range(experts)]
        renamed.update({f'backbone.{home}.{name}': tensor for home in homes})
    return renamed


def channels_first(tensor: torch.Tensor) -> torch.Tensor:
    """Merged patches: theirs are four pixels in columns, ours by channel in rows."""
    pixels = tensor.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return pixels.transpose(-1, -2).flatten(-2)


def config_s_model(case: dict) -> torch.nn.Module:
    """The model of the shipped config, in the smaller size of the case."""
    args = case['args']
    model = Config.fromfile(find_config('ride_swint_imagenetlt')).model
    arch = {'embed_dims': args['embed_dim']}
    arch.update({key: args[key] for key in ('depths', 'num_heads')})
    model.backbone.base.update(
        arch=arch, img_size=args['img_size'], window_size=args['window_size']
    )
    model.head.num_classes = args['num_classes']
    return MODELS.build(model).eval()


def test_logits_equal_the_reference():
    case = load_case(NAME)
    model = config_s_model(case)
    weights = own_weights(official_weights(case), model.num_experts)
    keys = model.load_state_dict(weights, strict=False)
    assert not keys.unexpected_keys
    known = ('relative_position_index', 'class_counts')
    assert all(name.endswith(known) for name in keys.missing_keys)
    expected = load_outputs(NAME)
    with torch.no_grad():
        images = case_images(case)
        logits = model(images, mode='tensor')
        expert_logits = model.head.expert_logits(model.extract_feat(images))
    assert relative_error(logits, expected['logits']) < 1e-4
    assert relative_error(expert_logits, expected['expert_logits']) < 1e-4


def test_parameters_are_the_reference_s_but_for_the_shared_norm():
    case = load_case(NAME)
    count = sum(p.numel() for p in config_s_model(case).parameters())
    norm = 2 * 32 * 8 * 3 // 4  # Gains and shifts of the last stage's channels.
    assert count == case['num_parameters'] + 2 * norm
