"""Training steps as CUDA graphs on a CPU, where a recorded step is computed anew."""

from functools import partial
from pathlib import Path

from engine_helpers import checkpoint_digest, forget_runs, run_tiny
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ride_mm.engine.graphed import GraphedStep
from ride_mm.engine.hooks import CUDAGraphHook

TENSORS = ('_parameters', '_buffers', '_modules')  # Where modules hold them.


class Repeated:
    """Stands in for a recording where there is no GPU: it computes anew.

    What modules hold outside of tensors stays as it was when the step was recorded.
    """

    made = 0

    def __init__(self, model, compute, inputs, parameters, pool, stream):
        type(self).made += 1
        self.model = model
        self.compute = compute
        self.parameters = parameters
        # Recording computes nothing, but Python's part of it runs.
        self.inputs = [one.clone() for one in inputs]
        self.settings = settings_of(model)

    def replay(self, inputs: list[Tensor]) -> Tensor:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        for parameter in self.parameters:
            parameter.grad = None
        now = settings_of(self.model)
        set_settings(self.model, self.settings)
        report = self.compute(*self.inputs)
        set_settings(self.model, now)
        return report


def settings_of(model: nn.Module) -> list[dict]:
    """Attributes of each module other than parameters, buffers and modules."""
    return [
        {key: value for key, value in vars(module).items() if key not in TENSORS}
        for module in model.modules()
    ]


def set_settings(model: nn.Module, settings: list[dict]) -> None:
    """Give each module attributes that it had."""
    for module, values in zip(model.modules(), settings, strict=True):
        vars(module).update(values)


def repeated_step(model: nn.Module) -> GraphedStep:
    """A graphed step that runs on a CPU."""
    return GraphedStep(model, partial(Repeated, model))


@HOOKS.register_module(force=True)
class RepeatedGraphHook(CUDAGraphHook):
    """The hook with a stand-in for the recording, so that it runs on a CPU."""

    def before_train(self, runner: Runner) -> None:
        Repeated.made = 0
        self.install(runner, repeated_step(runner.model))


def trained(folder: Path, **changes) -> str:
    """Digest of the last checkpoint of a tiny run."""
    forget_runs()
    run_tiny(folder, **changes)
    return checkpoint_digest(folder / 'epoch_3.pth')
