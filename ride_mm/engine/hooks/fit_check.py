"""Hook that refuses a checkpoint of another model."""

import re
from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ...utils.listing import first_few
from ..checkpoint_io import CheckpointError
from .bare_model import bare_model

# These may be missing or have another shape: the run knows them anyway, only training
# needs them, or their size is set later.
OPTIONAL = ('class_counts', 'num_batches_tracked', '.bank')
# Known without the checkpoint, too: 0.5, unless it says otherwise.
THRESHOLDS = 'head.threshold_logits'
# Losses of distillation, which only a training with that teacher has.
TRAINING_ONLY = 'distill.'
# What stage two trains, and stage one's checkpoint does not have.
ROUTER = 'head.router.'
BACKBONE = 'backbone.'


@HOOKS.register_module()
class FitCheckHook(Hook):
    """Refuses a checkpoint whose tensors are not those of the model.

    MMEngine tests the model with whatever fits and random numbers elsewhere. Starting a
    training from another model's weights (``load_from``) takes whatever fits, if only
    something of the backbone does. The training of routers needs all of stage one:
    experts are not trained there, so that whatever is missing would stay random.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes when testing, resuming and training routers.

        Any other training is told what it starts from.

        Raises:
            CheckpointError: With the first differences, or weights that are not finite.
        """
        training = isinstance(runner._train_loop, BaseLoop)
        starting = training and not runner._resume
        broken = not_finite(named(checkpoint.get('state_dict', checkpoint)))
        if broken:
            raise CheckpointError(f'the checkpoint is broken:{first_of(broken)}')
        if starting and not _routed(runner):
            check_start(runner, checkpoint.get('state_dict', checkpoint))
            return
        expected = named(bare_model(runner.model).state_dict())
        got = named(checkpoint.get('state_dict', checkpoint))
        if not runner._resume:
            expected, got = without_training_only(expected), without_training_only(got)
        if starting:
            expected, got = without_router(expected), without_router(got)
            # Those of an earlier router do not belong to the one that is trained.
            checkpoint.get('state_dict', checkpoint).pop(THRESHOLDS, None)
        found = misfits(expected, got)
        if found:
            raise CheckpointError(
                'the checkpoint is not of the model that the config describes:'
                + first_of(found)
            )

    def before_train(self, runner: Runner) -> None:
        """Refuse to train routers of untrained experts, or without a teacher.

        Raises:
            CheckpointError: If no checkpoint was loaded, or nobody brings the teacher
                that the distillation losses need.
        """
        teachers = [hook for hook in runner.hooks if hasattr(hook, 'brings_teacher')]
        if getattr(bare_model(runner.model), 'distill', None) and not teachers:
            raise CheckpointError(
                'model.distill: expected default_hooks.teacher=dict(type="KDHook", '
                'config=..., checkpoint=...), which brings the teacher, got none'
            )
        init = bare_model(runner.model).init_cfg or []
        init = init if isinstance(init, (list, tuple)) else [init]
        pretrained = any(one['type'] == 'Pretrained' for one in init)
        if _routed(runner) and not runner._has_loaded and not pretrained:
            raise CheckpointError(
                'RouterHead trains routers between experts that are trained already: '
                "expected load_from=CHECKPOINT, stage one's, got none; train that first"
            )


def check_start(runner: Runner, state_dict: Mapping[str, Tensor]) -> None:
    """Say in the log how much of a model comes from a checkpoint, and what does not.

    A plain network's stages go into every expert.

    Raises:
        CheckpointError: If nothing of the backbone does.
    """
    model = bare_model(runner.model)
    own = without_training_only(model.state_dict())
    got = named(state_dict)
    plain = spread(model, got)
    fit_backbone(model, got)
    learnt = [name for name in own if not name.endswith(OPTIONAL)]
    taken = [name for name in learnt if _shape(got.get(name)) == _shape(own[name])]
    backbone = any(name.startswith(BACKBONE) for name in learnt)
    if not any(name.startswith(BACKBONE) or not backbone for name in taken):
        raise CheckpointError(
            f'load_from: expected weights of this model or of its plain network, got '
            f'none that fit{without_prefix(model, state_dict)}:'
            f'{first_of(misfits(own, named(state_dict)))}'
        )
    found = misfits(own, without_training_only(got))
    if found and not plain:  # Which tells of itself when it is loaded.
        runner.logger.warning(
            f'load_from: {len(taken)} of {len(learnt)} tensors are taken, the others '
            f'start anew:{first_of(found)}'
        )


def spread(model: nn.Module, state_dict: dict[str, Tensor]) -> bool:
    """Rename a plain network's tensors to those of a model with experts, in place.

    Returns:
        Whether they were a plain network's.
    """
    backbone = getattr(model, 'backbone', None)
    if not hasattr(backbone, 'spread_plain_weights'):
        return False
    return backbone.spread_plain_weights(state_dict, BACKBONE) is not None


def fit_backbone(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Change tensors in place as the backbone does when it loads them."""
    backbone = getattr(model, 'backbone', None)
    if hasattr(backbone, 'fit_weights'):
        backbone.fit_weights(state_dict, BACKBONE)


def without_prefix(model: nn.Module, state_dict: Mapping[str, Tensor]) -> str:
    """A hint, if the tensors would fit under the backbone's names."""
    own = model.state_dict()
    prefixed = {f'{BACKBONE}{name}': tensor for name, tensor in state_dict.items()}
    spread(model, prefixed)
    if not any(_shape(prefixed.get(k)) == _shape(v) for k, v in own.items()):
        return ''
    return (
        f" (their names lack '{BACKBONE}': give the file to the backbone in place of "
        "load_from, model.backbone.init_cfg=dict(type='Pretrained', checkpoint=FILE))"
    )


def _routed(runner: Runner) -> bool:
    return getattr(bare_model(runner.model), 'routed', False)


def without_router(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, without those of routers."""
    return {k: v for k, v in state_dict.items() if not k.startswith(ROUTER)}


def without_training_only(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, without those that only a distillation needs."""
    return {k: v for k, v in state_dict.items() if not k.startswith(TRAINING_ONLY)}


def named(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, without what wrappers put before it, and nothing else."""
    return {
        re.sub(r'^(module\.)+', '', name): value
        for name, value in state_dict.items()
        if isinstance(value, Tensor)
    }


def count_experts(state_dict: Mapping[str, Tensor]) -> int:
    """Number of experts that the names of a state dict speak of."""
    indices = {m[1] for k in state_dict if (m := re.search(r'\bexperts\.(\d+)\.', k))}
    return len(indices)


def misfits(model: Mapping[str, Tensor], checkpoint: Mapping[str, Tensor]) -> list[str]:
    """Name each difference between a model's tensors and a checkpoint's.

    Args:
        model: State dict of the model.
        checkpoint: State dict of the checkpoint.

    Returns:
        A line for each; a differing number of experts comes first.
    """
    lines = []
    experts = count_experts(model), count_experts(checkpoint)
    if experts[1] == 0 < experts[0]:
        lines.append(f'experts: expected {experts[0]}, got none')
    elif 0 not in experts and experts[0] != experts[1]:
        lines.append(
            f'experts: expected {experts[0]}, got {experts[1]} (does --cfg-options '
            f'model.num_experts={experts[1]} belong to it?)'
        )
    routers = [any(k.startswith(ROUTER) for k in d) for d in (model, checkpoint)]
    if routers[0] != routers[1]:
        names = ['some', 'none'] if routers[0] else ['none', 'some']
        lines.append(
            f'routers: expected {names[0]}, got {names[1]} (does the config of stage '
            f'{"one" if routers[0] else "two"} belong to it?)'
        )
    for name in [*model, *(k for k in checkpoint if k not in model)]:
        if name.endswith(OPTIONAL) or (name == THRESHOLDS and name not in checkpoint):
            continue
        expected, got = model.get(name), checkpoint.get(name)
        if _shape(expected) != _shape(got):
            lines.append(f'{name}: expected {_shape(expected)}, got {_shape(got)}')
    return lines


def not_finite(state_dict: Mapping[str, Tensor]) -> list[str]:
    """Name the weights that are no numbers, a line for each."""
    return [
        f'{name}: expected finite numbers, got {_wrong(tensor)}'
        for name, tensor in state_dict.items()
        # A threshold may be that of always or never.
        if not name.endswith('threshold_logits')
        and tensor.is_floating_point()
        and not tensor.isfinite().all()
        and not name.startswith(TRAINING_ONLY)
    ]


def _wrong(tensor: Tensor) -> float:
    return tensor[~tensor.isfinite()][0].item()


def load_all_weights(
    model: nn.Module, state_dict: Mapping[str, Tensor], path: str = 'checkpoint'
) -> None:
    """Load all weights of a model, in place.

    Args:
        model: Of any kind.
        state_dict: Its tensors by name; what only a distillation needs is passed over.
        path: Where they are from, for errors.

    Raises:
        CheckpointError: If a tensor is missing, left over, of another shape or not
            finite, with the first of these.
    """
    weights = without_training_only(named(state_dict))
    found = misfits(without_training_only(model.state_dict()), weights)
    if found:
        raise CheckpointError(
            f'{path} is not of the model that the config describes:{first_of(found)}'
        )
    found = not_finite(weights)
    if found:
        raise CheckpointError(f'{path} is broken:{first_of(found)}')
    model.load_state_dict(weights, strict=False)


def first_of(misfits: list[str]) -> str:
    """The first differences, a line each, to end an error with."""
    return '\n  ' + first_few(misfits, 3, '\n  ')


def _shape(tensor: Tensor | None) -> str:
    return 'no such tensor' if tensor is None else f'shape {tuple(tensor.shape)}'
