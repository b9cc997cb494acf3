"""Lists from the annotations of iNaturalist 2018.

The form of https://github.com/visipedia/inat_comp/tree/master/2018, which is COCO's.
"""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from ..list_reading import inner_path
from .archives import BROKEN
from .errors import PreparationError


def read_annotations(path: Path) -> tuple[list[str], np.ndarray]:
    """Read which images are annotated, and how.

    Args:
        path: ``train2018.json`` or ``val2018.json``, or the ``.tar.gz`` with it.

    Returns:
        Relative paths of the images, in their order, and labels (N,), int64.

    Raises:
        PreparationError: If the file is no such annotations, an image is there twice,
            has no or several labels, or a path leaves the folder.
    """
    data = _read(path)
    label_of: dict[Any, int] = {}
    labels: dict[str, int] = {}
    try:
        for annotation in data['annotations']:
            image, label = annotation['image_id'], annotation['category_id']
            if not isinstance(label, int):
                raise PreparationError(
                    f'{path}, image {image}: expected an integer as category_id, got '
                    f'{label!r}'
                )
            if label_of.setdefault(image, label) != label:
                raise PreparationError(
                    f'{path}, image {image}: expected one label, got '
                    f'{label_of[image]} and {label}'
                )
        for image in data['images']:
            if image['id'] not in label_of:
                raise PreparationError(
                    f'{path}: expected a label of {image["file_name"]}, got none'
                )
            name = inner_path(image['file_name'])
            if name in labels:
                raise PreparationError(f'{path}: expected each image once, got {name}')
            labels[name] = label_of[image['id']]
    except (KeyError, TypeError, AttributeError) as err:
        raise PreparationError(
            f"{path}: expected iNaturalist's annotations (images with id and "
            'file_name, annotations with image_id and category_id), got others: '
            f'{type(err).__name__}: {err}'
        ) from None
    except ValueError as err:
        raise PreparationError(f'{path}: {err}') from None
    if not labels:
        raise PreparationError(f'{path}: expected annotated images, got none')
    return list(labels), np.array(list(labels.values()), dtype=np.int64)


def _read(path: Path) -> Any:
    try:
        if not tarfile.is_tarfile(path):
            return json.loads(path.read_bytes())
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isreg() and member.name.endswith('.json'):
                    return json.loads(tar.extractfile(member).read())
    except (json.JSONDecodeError, UnicodeDecodeError, *BROKEN) as err:
        raise PreparationError(f'{path}: expected complete JSON, got {err}') from None
    raise PreparationError(f'{path}: expected an archive with a .json, got none in it')
