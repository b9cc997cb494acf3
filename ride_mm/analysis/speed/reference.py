"""The authors' code beside ours, from a folder that holds it.

https://github.com/frank-xwang/RIDE-LongTailRecognition (MIT), none of which is here. It
needs no more than PyTorch and torchvision for what is used of it.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MethodType, ModuleType

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from .steps import TrainingStep

# Names of the authors' modules, which say nothing of whose they are, and pandas.
NAMES = ('base', 'logger', 'model', 'pandas', 'utils')
CLASSES = {
    ('RIDEResNetCIFAR', 32): 'ResNet32Model',
    ('RIDEResNet', 10): 'ResNet10Model',
    ('RIDEResNet', 50): 'ResNet50Model',
}


def _settings(*parts: ConfigDict) -> str:
    """Those settings that decide about the network, as the config has them."""
    names = 'depth', 'groups', 'num_experts'
    found = [f'{n}={part[n]}' for part in parts for n in names if n in part]
    return f' with {", ".join(found)}' if found else ''


def reference_model(folder: str, cfg: ConfigDict) -> nn.Module:
    """Build the authors' network of the same shape.

    Args:
        folder: Their repository, checked out.
        cfg: Config of our model.

    Raises:
        ValueError: If the folder does not hold their code, or if they have no such
            network.
    """
    backbone, head = cfg.backbone, cfg.head
    kind = backbone.type, backbone.get('depth', 50)
    name = CLASSES.get(kind) if cfg.get('num_experts', 3) > 1 else None
    if name is None or backbone.get('groups', 1) > 1:
        raise ValueError(
            'reference: expected a model of several experts with one of the backbones '
            f'{", ".join(f"{t} of depth {d}" for t, d in CLASSES)}, got {kind[0]}'
            f'{_settings(backbone, cfg)}'
        )
    width = backbone.get('expert_width', 0.75)
    if width not in (0.75, 1.0):
        raise ValueError(
            f'reference: expected expert_width to be 0.75 or 1, got {width}'
        )
    with _importable(folder):
        build = getattr(importlib.import_module('model.model'), name)
        return build(
            num_classes=head.num_classes,
            reduce_dimension=width == 0.75,
            use_norm=head.get('classifier', 'cosine') == 'cosine',
            num_experts=cfg.get('num_experts', 3),
        )


def reference_step(
    folder: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    class_counts: Sequence[int],
    dtype: torch.dtype | None = None,
) -> TrainingStep:
    """Make the authors' training step, before re-weighting.

    Two lines of theirs do not run on a CPU or on today's PyTorch: the move to a GPU in
    the loss's constructor is left out where there is none, and the mask of the targets
    is Boolean.

    Args:
        folder: Their repository, checked out.
        model: Of :func:`reference_model`, in training mode.
        images: (N, 3, H, W).
        labels: Class indices, (N,).
        class_counts: Training images of each class, (C,).
        dtype: Of autocast around the forward pass, or None for fp32.
    """
    with _importable(folder), _without_cuda():
        build = importlib.import_module('model.loss').RIDELoss
        criterion = build(
            cls_num_list=list(class_counts),
            reweight_epoch=10**9,
            additional_diversity_factor=-0.45,
        )
    criterion.to(images.device)
    criterion.get_final_output = MethodType(_with_margins, criterion)
    criterion._hook_before_epoch(1)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )

    def forward() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(images.device.type, dtype, enabled=dtype is not None):
            logits = model(images)
        experts = [one.float() for one in model.backbone.logits]
        return criterion(logits.float(), labels, {'logits': experts})

    return TrainingStep(forward, Tensor.backward, optimizer.step)


def _with_margins(criterion: nn.Module, logits: Tensor, label: Tensor) -> Tensor:
    """The logits (N, C) with the margin of each label (N,) taken off."""
    chosen = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, label[:, None], 1)
    margins = criterion.m_list[None] @ chosen.float().T  # (1, N)
    return torch.where(chosen, logits - margins.T * criterion.s, logits)


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """Let Python find the authors' modules, in this block only."""
    if not (Path(folder) / 'model' / 'ldam_drw_resnets').is_dir():
        raise ValueError(
            "reference: expected a folder with the authors' repository, which has "
            f'model/ldam_drw_resnets, got {folder}'
        )
    own = {
        name: module
        for name, module in sys.modules.items()
        if name.partition('.')[0] in NAMES
    }
    for name in own:
        del sys.modules[name]
    # Networks need one class of `base`, which adds nothing to a module, and nothing of
    # pandas: so neither TensorBoard nor pandas need be installed.
    stubs = {'base': ModuleType('base'), 'pandas': ModuleType('pandas')}
    stubs['base'].BaseModel = nn.Module
    sys.modules.update(stubs)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in list(sys.modules):
            if name.partition('.')[0] in NAMES:
                del sys.modules[name]
        sys.modules.update(own)


@contextmanager
def _without_cuda() -> Iterator[None]:
    """Let ``tensor.cuda()`` return the tensor where there is no GPU."""
    if torch.cuda.is_available():
        yield
        return
    cuda = Tensor.cuda
    Tensor.cuda = lambda tensor, *args, **kwargs: tensor
    try:
        yield
    finally:
        Tensor.cuda = cuda
