"""Hook that trains with a compiled backbone."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from ...models.compiled import CompiledForward, check_can_compile
from ...models.layers import MoELayer


@HOOKS.register_module()
class CompileHook(Hook):
    """Compiles the forward and backward pass of the backbone, all experts together.

    The first step takes up to a minute longer; ``docs/speed.md`` says what the others
    gain. :class:`~ride_mm.models.compiled.CompiledForward` says what is compiled. The
    state dict and checkpoints are those of the plain network; one may be resumed with
    the other, and the values then differ by rounding.

    PyTorch, ``torch.compile`` (https://pytorch.org/docs/stable/torch.compiler.html).

    Args:
        enable: Whether to compile.
    """

    def __init__(self, enable: bool = True) -> None:
        self.enable = enable
        self._backbone: nn.Module | None = None

    def before_train(self, runner: Runner) -> None:
        """Put the compiled ``forward`` in the place of the backbone's.

        Raises:
            RuntimeError: If nothing can be compiled here.
        """
        self._backbone = None
        if not self.enable:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        reason = why_not_compile(model)
        if reason is not None:
            runner.logger.info(f'The backbone is not compiled: {reason}.')
            return
        check_can_compile(next(model.parameters()).device)
        runner.logger.info(
            'The backbone is compiled at the first step, which may take a minute.'
        )
        self._backbone = model.backbone
        compile_backbone(model, runner.train_dataloader.batch_size)

    def after_train(self, runner: Runner) -> None:
        """Give the backbone its own ``forward`` back."""
        if self._backbone is not None:
            del self._backbone.forward
            self._backbone = None


def compile_backbone(model: nn.Module, batch_size: int) -> None:
    """Let a classifier train with a compiled backbone, in place."""
    model.backbone.forward = CompiledForward(model.backbone, batch_size)


def why_not_compile(model: nn.Module) -> str | None:
    """Why compiling a classifier would not help, in words; None if it would."""
    backbone = getattr(model, 'backbone', None)
    if backbone is None:
        return 'the model has none'
    if getattr(model, 'routed', False):
        return 'it does not learn, only routers do'
    if any(isinstance(part, MoELayer) for part in backbone.modules()):
        return "a V-MoE's experts take as many tokens as come"
    return None
