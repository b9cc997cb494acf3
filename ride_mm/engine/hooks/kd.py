"""Hook that gives a student its teacher."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.registry import HOOKS, MODELS
from torch import Tensor, nn

from ...models.teacher import Teacher
from ...utils import find_config
from .bare_model import bare_model
from .fit_check import load_all_weights

# Under this name the checkpoint says who taught.
FINGERPRINT = 'teacher'


class TeacherError(RuntimeError):
    """A teacher that cannot teach this student."""


@HOOKS.register_module()
class KDHook(Hook):
    """Builds a teacher, loads and freezes it, and hands it to the student.

    The student is a ``RIDEClassifier`` with distillation losses (``model.distill``);
    the teacher may be any MMPretrain classifier for the same classes. It sees the
    student's own preprocessed images. It is no part of the student: not of its
    checkpoint, optimizer, DDP wrapper or moving average. A resumed run insists on the
    teacher that it began with.

    Args:
        config: Path of the teacher's config, the name of a shipped one, or a config
            with ``model``.
        checkpoint: The teacher's, a path or an https address.
        eval_mode: Of :class:`~ride_mm.models.teacher.Teacher`.
    """

    priority = 'HIGH'
    training_settings = ()  # The model describes what is distilled.
    brings_teacher = True

    def __init__(
        self,
        config: str | Path | dict | None = None,
        checkpoint: str | Path | None = None,
        eval_mode: bool = True,
    ) -> None:
        self.config = config
        self.checkpoint = None if checkpoint is None else str(checkpoint)
        self.eval_mode = eval_mode

    def before_train(self, runner: Runner) -> None:
        """Give the student its teacher.

        Raises:
            TeacherError: If the student takes none or learns other classes, if config
                or checkpoint are missing, or if a resumed run began with another.
            CheckpointError: If config and checkpoint do not fit each other.
        """
        student = bare_model(runner.model)
        losses = getattr(student, 'distill', None)
        if not losses:
            raise TeacherError(
                'KDHook: expected a student with model.distill=dict(NAME=dict(type='
                f"'KDLoss')), got {type(student).__name__} without"
            )
        for name in ('config', 'checkpoint'):
            if getattr(self, name) is None:
                raise TeacherError(
                    f"KDHook.{name}: expected the teacher's, got none; set "
                    f'default_hooks.teacher.{name}'
                )
        config = read_config(self.config)
        if not Path(self.checkpoint).expanduser().is_file() and (
            '://' not in self.checkpoint
        ):
            raise TeacherError(
                f"KDHook: expected the teacher's checkpoint, got {self.checkpoint}, "
                'which does not exist; train it first, or set '
                'default_hooks.teacher.checkpoint'
            )
        checkpoint = CheckpointLoader.load_checkpoint(self.checkpoint, 'cpu')
        model = build_teacher(config, checkpoint, self.checkpoint)
        check_classes(runner, student, model, checkpoint)
        if not model.with_head and any(one.needs_features for one in losses.values()):
            raise TeacherError(
                'KDHook: expected a teacher with a head, whose features are compared, '
                f'got {type(model).__name__}'
            )
        check_width(losses, model)
        warn_of_other_images(runner, student, model)
        self._insist(runner, model)
        parameter = next(student.parameters())
        student.teacher = Teacher(model.to(parameter.device), self.eval_mode)
        for loss in losses.values():
            if hasattr(loss, 'set_num_samples'):
                loss.set_num_samples(len(runner.train_dataloader.dataset))
        runner.logger.info(
            f'Teacher: {type(model).__name__} of {self.checkpoint}, '
            f'{sum(p.numel() for p in model.parameters()):,} parameters, in '
            f'{"eval" if self.eval_mode else "training"} mode'
        )

    def _insist(self, runner: Runner, model: nn.Module) -> None:
        got = fingerprint(model.state_dict())
        info = runner.message_hub.runtime_info
        expected = info.get(FINGERPRINT, got) if runner._resume else got
        if got != expected:
            raise TeacherError(
                f'KDHook: expected the teacher that the run began with ({expected}), '
                f'got another one ({got}) in {self.checkpoint}'
            )
        runner.message_hub.update_info(FINGERPRINT, got)


def read_config(config: str | Path | dict) -> Config:
    """The teacher's config, from a path, a shipped config's name or itself.

    Raises:
        TeacherError: If there is no such config, or it has no ``model``.
    """
    name = 'a dictionary' if isinstance(config, dict) else config
    if isinstance(config, dict):
        config = Config(dict(config))
    else:
        try:
            config = Config.fromfile(find_config(config))
        except FileNotFoundError as err:
            raise TeacherError(f'KDHook.config: {err}') from None
    if 'model' not in config:
        raise TeacherError(f'KDHook.config: expected a config with model, got {name}')
    return config


def build_teacher(
    config: Config, checkpoint: Mapping, path: str = 'checkpoint'
) -> nn.Module:
    """Build a classifier and load its weights, all of them.

    Args:
        config: With ``model``, and perhaps ``data_preprocessor``.
        checkpoint: With ``state_dict``, or a state dict.
        path: Of the checkpoint, for errors.

    Raises:
        CheckpointError: If they do not fit, with the first differences.
    """
    settings = dict(config.model)
    if 'data_preprocessor' in config:
        settings.setdefault('data_preprocessor', config.data_preprocessor)
    settings.pop('distill', None)  # It may have been taught itself.
    model = MODELS.build(settings)
    load_all_weights(model, checkpoint.get('state_dict', checkpoint), path)
    return model


def check_classes(
    runner: Runner, student: nn.Module, teacher: nn.Module, checkpoint: Mapping
) -> None:
    """Refuse a teacher of other classes than the student's.

    Raises:
        TeacherError: If their number, or a known name, differs.
    """
    expected = student.head.num_classes
    got = getattr(getattr(teacher, 'head', None), 'num_classes', expected)
    if got != expected:
        raise TeacherError(
            f"KDHook: expected a teacher of the student's {expected} classes, got one "
            f'of {got}'
        )
    meta = checkpoint.get('meta') or {}
    theirs = (meta.get('dataset_meta') or {}).get('classes')
    ours = getattr(runner.train_dataloader.dataset, 'metainfo', {}).get('classes')
    if not theirs or not ours or len(theirs) != len(ours):
        return
    for c, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        if own != other:
            raise TeacherError(
                f"KDHook: expected a teacher of the student's classes, got another "
                f'class {c}: expected {own!r}, got {other!r}'
            )


def check_width(losses: Mapping[str, nn.Module], teacher: nn.Module) -> None:
    """Refuse a teacher of another width than a loss was built for.

    Raises:
        TeacherError: If they differ, as far as the teacher's head tells its width.
    """
    head = getattr(teacher, 'head', None)
    channels = getattr(head, 'in_channels', None)
    if type(channels) is not int:
        return
    width = channels * getattr(head, 'num_experts', 1)
    for name, loss in losses.items():
        built_for = getattr(loss, 'teacher_channels', width)
        if built_for != width:
            raise TeacherError(
                f'model.distill.{name}.teacher_channels: expected {width}, the '
                f"channels of all of the teacher's experts, got {built_for}"
            )


def warn_of_other_images(
    runner: Runner, student: nn.Module, teacher: nn.Module
) -> None:
    """Warn of a teacher that was trained with another normalisation."""
    ours, theirs = (normalisation(m.data_preprocessor) for m in (student, teacher))
    for name, value in ours.items():
        if value != theirs[name]:
            runner.logger.warning(
                f"The teacher sees the student's images, which have {name}={value}; "
                f'its own config has {theirs[name]}'
            )


def normalisation(preprocessor: nn.Module) -> dict[str, Any]:
    """What a preprocessor does to the numbers of an image, by name."""
    found = dict(to_rgb=bool(getattr(preprocessor, 'to_rgb', False)))
    for name in ('mean', 'std'):
        value = getattr(preprocessor, name, None)
        found[name] = (
            None if value is None else [round(v, 3) for v in value.flatten().tolist()]
        )
    return found


def fingerprint(state_dict: Mapping[str, Tensor]) -> str:
    """Hash of names and values of tensors."""
    digest = hashlib.sha256()
    for name, tensor in state_dict.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
