"""Networks that are compiled, for inference or for training."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch._functorch.config as functorch
import torch._inductor.config as inductor
from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor, nn

from .classifiers import RIDEClassifier
from .layers import MoELayer
from .layers.batch_norm_by_image import batch_norm_compiled_by_image

#: Options of :func:`torch.compile` that make BatchNorm faster in training on CPUs.
CPU_OPTIONS = {'cpp.enable_tiling_heuristics': False}


class CompiledFeatures:
    """A classifier's ``extract_feat``, compiled with the weights as constants.

    BatchNorm is folded into the convolutions, ReLU and additions are fused with them.
    Compiling for another size of batch takes its time again, so a batch that is smaller
    than an earlier one is filled up, and the rest cut off. A V-MoE is compiled for each
    size, because further images would compete for room in the experts.

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


class CompiledTraining:
    """A classifier's ``extract_feat`` for training, compiled by ``torch.compile``.

    BatchNorm, ReLU, additions and pooling of forward and backward pass are fused;
    values and gradients differ from the plain ones by rounding. What is random draws
    the same numbers. Only whole batches in training mode are compiled, which takes
    about a minute: validation and a smaller last batch are computed as before. A copy
    or a pickle of the classifier has the plain ``extract_feat`` of its class.

    Args:
        model: Its ``extract_feat`` is left as it is.
        batch_size: Images of a whole batch, N.
        options: Further ones of :func:`torch.compile`, over :data:`CPU_OPTIONS`.

    Raises:
        ValueError: If an option has a value that it cannot have.
    """

    def __init__(
        self,
        model: ImageClassifier,
        batch_size: int,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self._model = model
        self._before = vars(model).get('extract_feat')
        self._plain = model.extract_feat
        self._batch_size = batch_size
        self._compiled = compile_with(self._plain, training_options(options))

    def __call__(self, inputs: Tensor, *args: str, **kwargs: str) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to features, (N, D) each, or to those of a stage."""
        whole = self._model.training and len(inputs) == self._batch_size
        if not whole or args or kwargs:
            return self._plain(inputs, *args, **kwargs)
        with _told(), batch_norm_compiled_by_image(), graph_settings(inputs.is_cpu):
            return self._compiled(inputs)

    def __reduce__(self) -> tuple:
        # While a copy is made, or a file read, it has no attribute of its own yet.
        return getattr, (self._model, 'extract_feat')

    def remove(self) -> None:
        """Give the classifier the ``extract_feat`` back that it had."""
        if self._before is None:
            del self._model.extract_feat
        else:
            self._model.extract_feat = self._before


def compile_for_training(
    model: ImageClassifier,
    batch_size: int,
    options: Mapping[str, object] | None = None,
) -> None:
    """Let a classifier compute its features for training by compiled code, in place.

    Args:
        model: The classifier.
        batch_size: Images of a whole batch, N.
        options: Further ones of :func:`torch.compile`, over :data:`CPU_OPTIONS`.

    Raises:
        ValueError: If an option has a value that it cannot have.
    """
    restore_plain(model)
    model.extract_feat = CompiledTraining(model, batch_size, options)


def training_options(options: Mapping[str, object] | None) -> dict[str, object]:
    """All options of :func:`torch.compile`, of those that the installed PyTorch has."""
    known = {name: v for name, v in CPU_OPTIONS.items() if name in option_names()}
    return {'fallback_random': True} | known | dict(options or {})


def compile_with(function: Callable, options: Mapping[str, object]) -> Callable:
    """Compile a function for inputs of one size.

    Raises:
        ValueError: If an option has a value that it cannot have.
    """
    try:
        return torch.compile(function, dynamic=False, options=dict(options))
    except RuntimeError as err:
        raise ValueError(
            f'CompileHook.options: expected values that torch.compile takes, got {err}'
        ) from err


@contextmanager
def graph_settings(on_cpu: bool) -> Iterator[None]:
    """On a CPU let the backward pass recompute values used far from their origin.

    Else masks of ReLU are kept as booleans, which compiled code for CPUs takes long to
    write and read.
    """
    name = 'ban_recompute_used_far_apart'
    known = on_cpu and hasattr(functorch, name)
    with functorch.patch({name: False} if known else {}):
        yield


def option_names() -> frozenset[str]:
    """Options of :func:`torch.compile` that the installed PyTorch has."""
    return frozenset(torch._inductor.list_options())


def restore_plain(model: nn.Module) -> None:
    """Undo :func:`compile_for_training`; other models are left alone."""
    if trains_compiled(model):
        model.extract_feat.remove()


def trains_compiled(model: nn.Module) -> bool:
    """Whether a model computes its features for training by compiled code."""
    return isinstance(getattr(model, 'extract_feat', None), CompiledTraining)


def check_can_compile(
    device: torch.device, options: Mapping[str, object] | None = None
) -> None:
    """Compile something small, with its gradient.

    Args:
        device: Where it computes.
        options: As for :func:`compile_for_training`.

    Raises:
        RuntimeError: If nothing can be compiled for this device.
        ValueError: If an option has a value that it cannot have.
    """
    x = torch.ones(8, device=device, requires_grad=True)
    with _told():
        compile_with(torch.sin, training_options(options))(x).sum().backward()


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
