"""Let MMPretrain find the models of ride_mm by their names."""

import warnings
from pathlib import Path

from mmpretrain import ModelHub
from modelindex.models.Model import Model

from ..utils import resource_root
from ..utils.metafile import model_entries
from ..utils.resources import PACKAGE


def register_model_index() -> None:
    """Make the models of ``model-index.yml`` known to MMPretrain's ``ModelHub``.

    Then ``list_models('ride*')``, ``get_model``, ``inference_model`` and
    ``ImageClassificationInferencer`` take their names. A second call changes nothing.
    A name that another package has registered stays that package's. Where the metafiles
    cannot be read, no name is registered; all else works. Both are a warning.
    """
    try:
        _register()
    except Exception as err:  # No fault of an index is worth an import that fails.
        warnings.warn(
            f'the models of ride_mm are not known by name, only by config: '
            f'{type(err).__name__}: {err}',
            stacklevel=2,
        )


def _register() -> None:
    root, known = resource_root(), ModelHub._models_dict
    names = [name.lower() for name in model_entries()]
    taken = {name: known[name] for name in names if ModelHub.has(name)}
    foreign = [name for name, model in taken.items() if not _is_ours(model, root)]
    if len(taken) == len(names) and not foreign:
        return
    before = dict(known)
    # MMPretrain would stop at the first name that is taken.
    for name in taken:
        del known[name]
    try:
        ModelHub.register_model_index(root / 'model-index.yml', config_prefix=root)
        for name in names:
            known[name].weights = absolute_weights(known[name].weights)
    except Exception:
        known.clear()
        known.update(before)
        raise
    known.update({name: taken[name] for name in foreign})
    if foreign:
        warnings.warn(
            f'{", ".join(foreign)}: expected names that no other package uses, got '
            f'those of {known[foreign[0]].filepath}, which stay',
            stacklevel=3,
        )


def _is_ours(model: Model, root: Path) -> bool:
    return Path(model.filepath or '').resolve().is_relative_to(root.resolve())


def absolute_weights(weights: str | None) -> str | None:
    """Path or address of a metafile's ``Weights``.

    Args:
        weights: A path relative to the folder that holds the package, such as
            ``'ride_mm/weights/NAME.pth'``, an absolute path, an address, or None.
    """
    if weights is None or '://' in weights:
        return weights
    return str(PACKAGE.parent / weights)
