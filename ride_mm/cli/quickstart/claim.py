"""A training's folder: whose it is, and whether config and code are still the same."""

import hashlib
import shutil

from ..errors import UsageError
from ..experiments import Run, has_begun, read_command, status_of
from ..files import read_json, write_json
from ..program import PACKAGE
from .work import announce

# The file that marks a folder as ours and says which code its contents belong to.
MARK = 'quickstart.json'
# Where the code is that determines a result.
CODE = ('datasets', 'engine', 'evaluation', 'models', 'structures', 'utils')


def check_folder(run: Run, fresh: bool) -> None:
    """Refuse a folder with files that are not from here, or with another schedule.

    Args:
        run: The training.
        fresh: Whether to discard all earlier results.

    Raises:
        UsageError: With what to do instead.
    """
    folder = run.work_dir
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UsageError(
            f'{folder}: expected an empty folder or one made by this script, got one '
            'with other files; choose another --work-dir'
        )
    known = read_command(folder) if has_begun(run) and not fresh else None
    if known is not None and known['train_options'] != list(run.train_options):
        earlier = ' '.join(known['train_options']) or 'the full schedule'
        raise UsageError(
            f'{folder}: expected {earlier}, as before, got '
            f'{" ".join(run.train_options) or "the full schedule"}; choose another '
            '--work-dir, or discard the earlier results with --fresh'
        )


def claim(run: Run, fresh: bool) -> None:
    """Make the folder of a training, without results of another config or other code.

    Args:
        run: The training. What it starts from is finished, its folder checked.
        fresh: Whether to discard all earlier results.
    """
    folder, mark, code = run.work_dir, run.work_dir / MARK, digest_of_code()
    if mark.is_file():
        stale = read_json(mark).get('code') != code or is_another(run)
        if stale and not fresh:
            what = 'config, code or starting weights' if run.needs else 'config or code'
            announce(f'{run.name}: {what} changed since {folder} was made')
        if stale or fresh:
            announce(f'{run.name}: discarding {folder}')
            shutil.rmtree(folder)
    write_json({'config': run.config, 'code': code}, mark)


def is_another(run: Run) -> bool:
    """Whether a folder has a training of another config, or from other weights."""
    try:
        status_of(run)
    except UsageError:
        return True
    return False


def digest_of_code() -> str:
    """Digest of the code of ride_mm that determines a result."""
    digest = hashlib.sha256()
    for part in CODE:
        for path in sorted((PACKAGE / part).rglob('*.py')):
            digest.update(path.read_bytes())
    return digest.hexdigest()
