"""What is made for speed gives what the plain form gives.

The plain form has its pixels in PyTorch's usual order, and a data sample for each
image; the fast one has channels last in memory and the labels in one tensor.
"""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ride_mm.models import RIDEClassifier
from ride_mm.models.backbones import RIDEResNetCIFAR
from ride_mm.models.backbones.ride_resnet_cifar import CIFARBasicBlock
from ride_mm.structures import LabelBatch

LABELS = torch.tensor([0, 3, 1, 2, 0, 1, 3, 0])
COUNTS = [40, 9, 4, 2]
PREPROCESSOR = dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True, num_classes=4)
FLIP = [dict(type='BatchRandomFlip')]
BACKBONES = {
    'cifar': dict(type='RIDEResNetCIFAR', depth=20),
    'imagenet': dict(type='RIDEResNet', depth=10),
    'bottlenecks': dict(type='RIDEResNet', depth=50, expert_width=0.25),
    'groups': dict(type='RIDEResNet', depth=50, groups=32, expert_width=0.25),
    'convnext': dict(
        type='MultiExpertBackbone',
        base=dict(type='ConvNeXt', arch='atto', gap_before_final_norm=False),
    ),
}
NORMS = {
    'BN': dict(type='BN'),
    'groups': dict(type='GroupedBN', images_per_group=4),
    'unequal groups': dict(type='GroupedBN', images_per_group=3),
}


def build(backbone: str, fast: bool) -> nn.Module:
    torch.manual_seed(0)
    model = RIDEClassifier(
        num_experts=2,
        backbone=BACKBONES[backbone],
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='MultiExpertHead',
            num_classes=4,
            loss=dict(type='LDAMLoss', class_counts=COUNTS),
            diversity=dict(
                type='DiversityLoss',
                factor=-0.45,
                class_factor=0.05,
                class_counts=COUNTS,
            ),
        ),
        data_preprocessor=MODELS.build(
            dict(PREPROCESSOR, type='LTDataPreprocessor', batch_transforms=FLIP)
        ),
        channels_last=fast,
    )
    return model.train()


def batch(fast: bool) -> dict:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(
        0, 256, (8, 3, 32, 32), generator=generator, dtype=torch.uint8
    )
    if fast:
        return dict(inputs=images, data_samples=LabelBatch(LABELS, torch.arange(8)))
    samples = [DataSample().set_gt_label(label) for label in LABELS.tolist()]
    return dict(inputs=list(images), data_samples=samples)


def logits_and_gradients(
    backbone: str, fast: bool, dtype: torch.dtype
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """All experts' logits, the losses and the gradients; bfloat16 by autocast."""
    model = build(backbone, fast)
    torch.manual_seed(2)
    data = model.data_preprocessor(batch(fast), True)
    if dtype == torch.float64:
        model.backbone.double()
        data['inputs'] = data['inputs'].double()
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = model.head.expert_logits(model.extract_feat(data['inputs']))
        losses = model.loss(**data)
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return logits.detach(), losses, gradients


def distance(got: Tensor, expected: Tensor) -> float:
    return ((got - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize('backbone', BACKBONES)
def test_fast_path_equals_the_plain_one(backbone):
    logits, losses, gradients = logits_and_gradients(backbone, True, torch.float64)
    plain = logits_and_gradients(backbone, False, torch.float64)
    assert distance(logits, plain[0]) <= 1e-5
    for name, loss in plain[1].items():
        assert losses[name].item() == pytest.approx(loss.item(), rel=1e-5)
    for name, expected in plain[2].items():
        assert distance(gradients[name], expected) <= 1e-4, name


def test_fast_path_in_single_precision_is_exact_to_rounding():
    """Of gradients nothing is asked: a ReLU at 0 may open in one and not the other."""
    exact = logits_and_gradients('cifar', False, torch.float64)
    fast = logits_and_gradients('cifar', True, torch.float32)
    assert 0 < distance(fast[0], exact[0]) <= 1e-5


def test_fast_path_in_half_precision_is_as_exact_as_the_plain_one():
    exact = logits_and_gradients('cifar', False, torch.float64)
    fast, plain = (
        logits_and_gradients('cifar', f, torch.bfloat16) for f in (True, False)
    )
    assert 1e-4 < distance(fast[0], exact[0]) <= 1.5 * distance(plain[0], exact[0])
    errors = [
        [distance(one[2][name], expected) for name, expected in exact[2].items()]
        for one in (fast, plain)
    ]
    assert sum(errors[0]) <= 1.5 * sum(errors[1])


def block_out_of_place(block: CIFARBasicBlock, x: Tensor) -> Tensor:
    out = F.relu(block.bn1(block.conv1(x)))
    return F.relu(block.bn2(block.conv2(out)) + block.shortcut(x))


def trunk_out_of_place(backbone: RIDEResNetCIFAR, x: Tensor) -> Tensor:
    return backbone.layer1(F.relu(backbone.bn1(backbone.conv1(x))))


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
@pytest.mark.parametrize('norm', NORMS)
def test_what_is_overwritten_is_not_needed(norm, dtype, monkeypatch):
    monkeypatch.setitem(BACKBONES['cifar'], 'norm_cfg', NORMS[norm])
    got = logits_and_gradients('cifar', True, dtype)
    monkeypatch.setattr(CIFARBasicBlock, 'forward', block_out_of_place)
    monkeypatch.setattr(RIDEResNetCIFAR, 'forward_trunk', trunk_out_of_place)
    expected = logits_and_gradients('cifar', True, dtype)
    assert torch.equal(got[0], expected[0])
    for name, gradient in expected[2].items():
        assert torch.equal(got[2][name], gradient), name
