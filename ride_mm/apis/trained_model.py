"""What an inference needs of a config and a checkpoint."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain.registry import DATASETS
from torch import Tensor, nn

from ..engine.checkpoint_io import CheckpointError, model_tensors
from ..engine.hooks.fit_check import first_of, load_all_weights, not_finite
from ..models.heads import RouterHead
from ..utils import find_config
from ..utils.metafile import shipped_weights
from ..utils.wrapped import innermost_config


def config_of(model: str | Path | Config | nn.Module) -> Config:
    """The config that a model is named by or carries.

    Raises:
        ValueError: If it is a module without one, or the config has no model.
    """
    if isinstance(model, nn.Module):
        config = getattr(model, '_config', None)
        if config is None:
            raise ValueError(
                "model: expected one that MMPretrain's get_model built, whose config "
                f'has the pipeline, got a {type(model).__name__} without; give the '
                'config and the checkpoint'
            )
        return config
    config = model if isinstance(model, Config) else Config.fromfile(find_config(model))
    if not isinstance(config.get('model'), Mapping):
        got = 'none' if config.get('model') is None else repr(config.model)
        raise ValueError(f'config: expected one with model, got {got}')
    return config


def pipeline_of(config: Config) -> list[dict]:
    """Transforms of a config's test data set.

    Raises:
        ValueError: If it has none.
    """
    dataset = dataset_of(config)
    if not dataset.get('pipeline'):
        raise ValueError(
            'config: expected test_dataloader.dataset.pipeline, through which images '
            'go, got none'
        )
    return [dict(transform) for transform in dataset['pipeline']]


def dataset_of(config: Config) -> Mapping[str, Any]:
    """Config of the innermost test data set, empty if there is none."""
    loader = config.get('test_dataloader')
    dataset = innermost_config(loader)
    return dataset if isinstance(dataset, Mapping) and dataset is not loader else {}


def model_config(config: Config) -> dict:
    """Config of the model with its preprocessor, as for a test."""
    settings = deepcopy(config.model)
    settings.setdefault('data_preprocessor', config.get('data_preprocessor'))
    settings.pop('distill', None)  # Losses of a training.
    return settings


def build_part(registry: Registry, settings: dict) -> Any:
    """Build a model or a transform.

    Raises:
        ValueError: If its settings do not fit it, with what is wrong.
    """
    try:
        return registry.build(settings)
    except (
        ArithmeticError,
        AttributeError,
        AssertionError,
        LookupError,
        TypeError,
    ) as err:
        raise ValueError(
            f'{settings.get("type")}: expected settings that fit it, got '
            f'{type(err).__name__}: {err}'
        ) from err


def weights_of(config: Config) -> str:
    """Weights that ride_mm ships for a config of that name.

    Raises:
        ValueError: If there are none.
    """
    name = Path(config.filename or 'a config without a name').stem
    weights = shipped_weights(name)
    if weights is None:
        raise ValueError(
            f'checkpoint: expected the path or https address of one, got none, and '
            f'ride_mm ships no weights for {name}'
        )
    return weights


def load_weights(model: nn.Module, checkpoint: str | Path) -> dict[str, Any]:
    """Load all weights of a model, through ride_mm's own reader.

    Args:
        model: It is changed in place.
        checkpoint: Path or address of a checkpoint.

    Returns:
        The checkpoint's ``meta``.

    Raises:
        CheckpointError: If it cannot be fetched, a tensor is missing, left over, of
            another shape or not finite, or ``meta`` is no dictionary.
        FileNotFoundError: If there is no such file.
    """
    content = CheckpointLoader.load_checkpoint(str(checkpoint), 'cpu', 'silent')
    tensors = model_tensors(content, checkpoint)
    meta = content.get('meta') or {}
    _check_mapping(checkpoint, 'meta', meta)
    _check_mapping(checkpoint, 'meta.dataset_meta', meta.get('dataset_meta') or {})
    load_all_weights(model, tensors, str(checkpoint))
    return meta


def _check_mapping(checkpoint: str | Path, name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise CheckpointError(
            f'{checkpoint}: expected {name} as a dict, got a {type(value).__name__}'
        )


def check_has_weights(model: nn.Module) -> None:
    """Refuse a model that was built and that no weights were loaded into.

    MMPretrain's ``get_model`` leaves one random unless it is told otherwise. Weights
    show in the names of classes, which come with a checkpoint, or in a normalisation
    whose scales or averages are not the constants that it starts from.

    Raises:
        ValueError: If there is no sign of weights.
        CheckpointError: If they are not finite.
    """
    broken = not_finite(model.state_dict())
    if broken:
        raise CheckpointError(f'the model is broken:{first_of(broken)}')
    meta = getattr(model, '_dataset_meta', None)
    dataset = dataset_of(config_of(model))
    kind = DATASETS.get(dataset['type']) if 'type' in dataset else None
    # get_model takes those of the data set if there is no checkpoint.
    if meta and meta != getattr(kind, 'METAINFO', {}):
        return
    if not any(map(_is_trained_norm, model.modules())):
        raise ValueError(
            'model: expected weights, got a model that none were loaded into; give '
            "the checkpoint, or MMPretrain's get_model its pretrained"
        )


def _is_trained_norm(module: nn.Module) -> bool:
    mean, scale = (getattr(module, n, None) for n in ('running_mean', 'weight'))
    if isinstance(mean, Tensor) and mean.any():
        return True
    if not isinstance(scale, Tensor) or scale.ndim != 1:
        return False
    return bool((scale != scale[:1]).any())


def class_names(
    model: nn.Module,
    given: Sequence[str] | None,
    dataset_meta: Mapping[str, Any] | None,
    config: Config,
) -> list[str] | None:
    """Names of a model's classes: those given, known, or of the test data set.

    Returns:
        As many as the model has classes, (C,), or None.

    Raises:
        ValueError: If another number is given.
    """
    expected = getattr(getattr(model, 'head', None), 'num_classes', None)
    if given is not None:
        if expected not in (None, len(given)):
            raise ValueError(
                f'classes: expected {expected} names, one for each class of the model, '
                f'got {len(given)}'
            )
        return [str(name) for name in given]
    dataset = dataset_of(config)
    kind = DATASETS.get(dataset['type']) if 'type' in dataset else None
    for meta in (
        dataset_meta,
        dataset.get('metainfo'),
        dataset,  # Some take `classes` itself.
        getattr(kind, 'METAINFO', None),
    ):
        names = (meta or {}).get('classes')
        if (
            isinstance(names, (list, tuple))
            and len(names)
            and (expected in (None, len(names)))
        ):
            return [str(name) for name in names]
    return None


def set_thresholds(model: nn.Module, thresholds: float | Sequence[float]) -> None:
    """Set the thresholds of a model's routers.

    Raises:
        ValueError: If it has none, or they are not as many probabilities.
    """
    head = getattr(model, 'head', None)
    if not isinstance(head, RouterHead):
        raise ValueError(
            'thresholds: expected a model with routers (RouterHead), got '
            f'{type(head).__name__ if head is not None else "no head"}'
        )
    head.set_thresholds(thresholds)
