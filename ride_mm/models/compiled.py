"""Networks that are compiled, for inference or for training."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MethodType

import torch
import torch._inductor.config as inductor
from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor, nn

from .classifiers import RIDEClassifier
from .layers import MoELayer
from .layers.batch_norm_by_image import compile_as_before, compile_by_image

#: Options of :func:`torch.compile` that make BatchNorm faster in training on CPUs.
CPU_OPTIONS = {'cpp.enable_tiling_heuristics': False}


class CompiledFeatures:
    """A classifier's ``extract_feat`` compiled by ``torch.compile``, weights frozen in.

    BatchNorm is folded into the convolutions, ReLU and additions are fused with them.
    Each size of batch would be compiled anew, which takes from seconds to a minute, so
    a batch that is smaller than an earlier one is filled up, and the rest cut off. Not
    so for a V-MoE, where further images would compete for room in the experts.

    Args:
        model: Its weights must not change afterwards.
    """

    def __init__(self, model: ImageClassifier) -> None:
        self._compiled = torch.compile(model.extract_feat, dynamic=False)
        self._fill = not any(isinstance(part, MoELayer) for part in model.modules())
        self._largest = 0

    def __call__(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to features, (N, D) each.

        Raises:
            RuntimeError: If the network cannot be compiled here.
        """
        n = len(inputs)
        self._largest = max(self._largest, n)
        missing = self._largest - n
        if missing and self._fill:
            inputs = torch.cat([inputs, inputs[-1:].expand(missing, -1, -1, -1)])
        # As an option of torch.compile it comes too late to make weights constant.
        with _told(), inductor.patch(freezing=True):
            feats = self._compiled(inputs)
        return tuple(feat[:n] for feat in feats)


def compile_for_inference(model: ImageClassifier) -> None:
    """Let a classifier in eval mode compute its features by compiled code, in place.

    The first batch of each size takes long; logits differ by rounding.

    Raises:
        ValueError: If the model has routers, which leave batches of any size, or is in
            training mode.
    """
    if isinstance(model, RIDEClassifier) and model.routed:
        raise ValueError(
            'compile: expected a model without routers, got a RouterHead, '
            'whose experts see batches of any size'
        )
    if model.training:
        raise ValueError('compile: expected a model in eval mode, got training mode')
    model.extract_feat = CompiledFeatures(model)


class CompiledForward:
    """A backbone's ``forward`` for training, compiled by ``torch.compile``.

    BatchNorm, ReLU and additions of forward and backward pass are fused; values and
    gradients differ from the plain ones by rounding. What is random draws the same
    numbers. Only whole batches in training mode are compiled, which takes up to a
    minute: validation and a smaller last batch are computed as before. A copy of the
    backbone has its plain ``forward``.

    Args:
        backbone: Its ``forward`` is left as it is.
        batch_size: Images of a whole batch, N.
        options: Further ones of :func:`torch.compile`, over :data:`CPU_OPTIONS`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        batch_size: int,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self._backbone = backbone
        self._before = vars(backbone).get('forward')
        self._plain = backbone.forward
        self._batch_size = batch_size
        options = (
            {'fallback_random': True}
            | {name: v for name, v in CPU_OPTIONS.items() if name in option_names()}
            | dict(options or {})
        )
        compile_by_image(backbone)
        self._compiled = torch.compile(self._plain, dynamic=False, options=options)

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to feature maps."""
        if not self._backbone.training or len(x) != self._batch_size:
            return self._plain(x)
        return self._compiled(x)

    def __deepcopy__(self, memo: dict) -> MethodType:
        backbone = copy.deepcopy(self._backbone, memo)
        return MethodType(type(backbone).forward, backbone)

    def remove(self) -> None:
        """Give the backbone the ``forward`` back that it had."""
        compile_as_before(self._backbone)
        if self._before is None:
            del self._backbone.forward
        else:
            self._backbone.forward = self._before


def compile_for_training(
    model: nn.Module, batch_size: int, options: Mapping[str, object] | None = None
) -> None:
    """Let a classifier train with a compiled backbone, in place.

    Args:
        model: The classifier.
        batch_size: Images of a whole batch, N.
        options: Further ones of :func:`torch.compile`, over :data:`CPU_OPTIONS`.
    """
    restore_backbone(model)
    model.backbone.forward = CompiledForward(model.backbone, batch_size, options)


def option_names() -> frozenset[str]:
    """Options of :func:`torch.compile` that the installed PyTorch has."""
    return frozenset(torch._inductor.list_options())


def restore_backbone(model: nn.Module) -> None:
    """Undo :func:`compile_for_training`; other models are left alone."""
    if trains_compiled(model):
        model.backbone.forward.remove()


def trains_compiled(model: nn.Module) -> bool:
    """Whether a model's backbone is compiled for training."""
    backbone = getattr(model, 'backbone', None)
    return isinstance(getattr(backbone, 'forward', None), CompiledForward)


def check_can_compile(device: torch.device) -> None:
    """Compile something small, with its gradient.

    Raises:
        RuntimeError: If nothing can be compiled for this device.
    """
    x = torch.ones(8, device=device, requires_grad=True)
    with _told():
        torch.compile(lambda x: x.sin())(x).sum().backward()


@contextmanager
def _told() -> Iterator[None]:
    """Say what compiling needs, where it fails."""
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as err:
        cause = getattr(err, 'inner_exception', None) or err
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        raise RuntimeError(
            'the network cannot be compiled here: expected a C++ compiler for a CPU, '
            f'Triton for a GPU, got {lines[0]}'
        ) from err
