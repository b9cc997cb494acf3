"""Hook that measures what experts and routers cost."""

from collections.abc import Callable, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...models.classifiers import RIDEClassifier
from .bare_model import bare_model


@HOOKS.register_module()
class ExpertCostHook(Hook):
    """Hands the multiply-adds of a routed model's parts to the metrics.

    After the first batch of a validation or test, metrics with ``set_part_costs``
    receive the cost of trunk, experts and routers at the size of that batch, and that
    of the plain network, from the run's own config. They are measured once for each
    size, on a single image, and leave no trace in model, random numbers or checkpoint.
    What cannot be measured is left out with a warning; the run goes on.
    """

    def __init__(self) -> None:
        self._measured = {}  # (PartCosts, plain MACs) by the shape of an image

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Tell the metrics of the validation."""
        if batch_idx == 0:
            self._tell(runner, runner.val_loop.evaluator.metrics, data_batch)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Tell the metrics of the test."""
        if batch_idx == 0:
            self._tell(runner, runner.test_loop.evaluator.metrics, data_batch)

    def _tell(self, runner: Runner, metrics: Sequence, data_batch: Any) -> None:
        # In every process: what the model is wrapped in may wait for all of them.
        metrics = [metric for metric in metrics if hasattr(metric, 'set_part_costs')]
        model = bare_model(runner.model)
        # Views of test-time augmentation may each use another number of experts.
        if not (metrics and isinstance(model, RIDEClassifier) and model.routed):
            return
        batch = model.data_preprocessor(dict(inputs=data_batch['inputs']), False)
        shape = tuple(batch['inputs'].shape[1:])
        if shape not in self._measured:
            self._measured[shape] = _measure(runner, model, shape)
        costs, plain_macs = self._measured[shape]
        if costs is not None:
            for metric in metrics:
                metric.set_part_costs(costs, plain_macs)


def _measure(runner: Runner, model: RIDEClassifier, shape: tuple[int, ...]) -> tuple:
    # Imported here, for it brings matplotlib, which not every program needs.
    from ...analysis import part_costs, plain_complexity

    def attempt(what: str, function: Callable, *args) -> Any:
        try:
            return function(*args)
        except Exception as err:  # Whatever it is, the results of the run count more.
            runner.logger.warning(
                f'ExpertCostHook: cannot measure the cost of {what}, which is left out '
                f'of the metrics: {type(err).__name__}: {err}',
            )
            return None

    costs = attempt('experts and routers', part_costs, model, shape)
    plain = attempt(
        'the plain network', plain_complexity, runner.cfg.get('model') or {}, shape
    )
    return costs, None if plain is None else plain[1]
