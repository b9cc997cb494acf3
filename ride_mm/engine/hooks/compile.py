"""Hook that trains with a compiled backbone."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import HOOKS
from torch import nn
from torch.utils.data import DataLoader

from ...models.compiled import (
    check_can_compile,
    compile_for_training,
    option_names,
    restore_plain,
)
from ...models.layers import MoELayer
from .bare_model import bare_model
from .schedule_guard import batch_size_of


@HOOKS.register_module()
class CompileHook(Hook):
    """Compiles forward and backward pass of backbone and neck, all experts together.

    The first step takes about a minute longer; ``docs/speed.md`` says what the others
    gain. :class:`~ride_mm.models.compiled.CompiledTraining` says what is compiled. The
    state dict and checkpoints are those of the plain network; one may be resumed with
    the other, and the values then differ by rounding.

    PyTorch, ``torch.compile`` (https://pytorch.org/docs/stable/torch.compiler.html).

    Args:
        enable: Whether to compile.
        options: Further options of ``torch.compile``, those that
            ``torch._inductor.list_options()`` names. Parts of a name that dots
            separate may be nested, so that a command line can set them:
            ``default_hooks.compile.options.cpp.simdlen=256``.
    """

    def __init__(
        self, enable: bool = True, options: Mapping[str, object] | None = None
    ) -> None:
        self.enable = enable
        self.options = compile_options(options or {})

    def before_train(self, runner: Runner) -> None:
        """Put the compiled ``extract_feat`` in the place of the model's.

        Raises:
            RuntimeError: If nothing can be compiled here.
            ValueError: If an option has a value that it cannot have.
        """
        model = bare_model(runner.model)
        restore_plain(model)
        if not self.enable:
            return
        loader = runner.train_dataloader
        reason = why_not_compile(model) or why_no_whole_batch(loader)
        if reason is not None:
            runner.logger.info(f'The backbone is not compiled: {reason}.')
            return
        check_can_compile(next(model.parameters()).device, self.options)
        runner.logger.info(
            'The backbone is compiled at the first step, which takes about a minute.'
        )
        compile_for_training(model, batch_size_of(loader), self.options)

    def after_train(self, runner: Runner) -> None:
        """Give the model its own ``extract_feat`` back."""
        restore_plain(bare_model(runner.model))


def compile_options(nested: Mapping[str, object]) -> dict[str, object]:
    """Options of ``torch.compile`` by their whole names.

    Raises:
        ValueError: If the installed PyTorch has no such option.
    """
    if not isinstance(nested, Mapping):
        raise ValueError(
            f'CompileHook.options: expected a dictionary of options, got {nested!r}'
        )
    options = dict(_flat(nested))
    if unknown := sorted(options.keys() - option_names()):
        near = get_close_matches(unknown[0], option_names(), n=3)
        raise ValueError(
            'CompileHook.options: expected names that torch._inductor.list_options() '
            f'has{", such as " + ", ".join(near) if near else ""}, got {unknown}'
        )
    return options


def _flat(nested: Mapping[str, object], prefix: str = '') -> Iterator[tuple]:
    for key, value in nested.items():
        name = str(key)
        if isinstance(value, Mapping) and prefix + name not in option_names():
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield prefix + name, value


def why_not_compile(model: nn.Module) -> str | None:
    """Why compiling a classifier would not help, in words; None if it would."""
    if not isinstance(model, ImageClassifier):
        return f'the model is no ImageClassifier, but a {type(model).__name__}'
    if getattr(model, 'routed', False):
        return 'it does not learn, only routers do'
    if any(isinstance(part, MoELayer) for part in model.backbone.modules()):
        return "a V-MoE's experts take as many tokens as come"
    return None


def why_no_whole_batch(loader: DataLoader) -> str | None:
    """Why no batch is as large as the loader says, in words; None if some are."""
    # A sampler counts the images of its own process.
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    size, images = batch_size_of(loader), len(sampler)
    if size == 0:
        return 'batches have sizes of their own'
    if images < size:
        return f'no batch is whole, of {size} images, with {images} in each process'
    return None
