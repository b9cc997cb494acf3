"""MMEngine's ways to a checkpoint, all through the one reader."""

import os
import re
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier
from mmengine.runner.checkpoint import CheckpointLoader

from .errors import CheckpointError
from .reading import load_checkpoint_file, model_tensors


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """MMEngine's way to a local file, which has to hold a model's tensors."""
    return _with_tensors(filename, map_location)


def load_from_http(filename: str, map_location: Any = None) -> Any:
    """MMEngine's way to a file on the web: download it once, check it, read it.

    The first process of each node downloads into the cache of :mod:`torch.hub`. A name
    such as ``resnet50-0676ba61.pth`` carries the start of the file's SHA-256, which
    then has to agree.

    Raises:
        CheckpointError: If it cannot be fetched, or holds no tensors of a model.
    """
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    path = folder / filename.split('?')[0].rstrip('/').rsplit('/', 1)[-1]
    try:
        if os.environ.get('LOCAL_RANK', '0') == '0':
            _download(filename, path)
    finally:
        # Also after a failure: the other processes then try, and fail, themselves.
        barrier()
    _download(filename, path)
    return _with_tensors(path, map_location)


def _download(url: str, path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # It downloads to a temporary file, compares the hash and moves the file here.
    try:
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=_hash_in_name(path.name), progress=False
        )
    except (OSError, HTTPException, RuntimeError, ValueError) as err:
        raise CheckpointError(
            f'{url}: expected an address that a checkpoint can be fetched from, got '
            f'{type(err).__name__}: {err}'
        ) from err


def _with_tensors(path: str | Path, map_location: Any) -> dict:
    content = load_checkpoint_file(path, map_location)
    model_tensors(content, path)
    return content


def _hash_in_name(name: str) -> str | None:
    """The start of a SHA-256 in a file's name, if it carries one."""
    match = re.search(r'-([0-9a-f]{8,64})\.\w+$', name)
    if match is None or _is_date(match.group(1)):
        return None
    return match.group(1)


def _is_date(digits: str) -> bool:
    try:
        return datetime.strptime(digits, '%Y%m%d').year > 2000
    except ValueError:
        return False


def load_from_refused(filename: str, map_location: Any = None) -> Any:
    """MMEngine's other ways, which would unpickle without a check."""
    raise CheckpointError(
        f'{filename}: expected a local path or an http(s) address, got the scheme '
        f'{filename.split(":")[0]!r}, which is read without a check of its content; '
        'download the file and give its path, or give its https address'
    )


def register_loaders() -> None:
    """Make the loaders above MMEngine's only ones."""
    CheckpointLoader.register_scheme(
        list(CheckpointLoader._schemes), load_from_refused, force=True
    )
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    CheckpointLoader.register_scheme(
        ['http://', 'https://'], load_from_http, force=True
    )


register_loaders()
