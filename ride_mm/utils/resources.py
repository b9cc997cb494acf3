"""Where the configs, the tools and the model index of ride_mm lie."""

import difflib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def resource_root() -> Path:
    """Locate the folder that holds ``configs/``, ``tools/`` and ``model-index.yml``.

    Returns:
        ``ride_mm/.mim`` of an installed wheel, else the root of the repository.

    Raises:
        FileNotFoundError: If neither holds the configs.
    """
    candidates = (PACKAGE / '.mim', PACKAGE.parent)
    for root in candidates:
        if (root / 'configs').is_dir():
            return root
    raise FileNotFoundError(
        'the configs of ride_mm must lie in one of '
        f'{[str(root / "configs") for root in candidates]}, but neither exists'
    )


def find_config(name_or_path: str | Path) -> Path:
    """Find a config by its path or by its name.

    Args:
        name_or_path: A path that exists, or the stem of a shipped config, such as
            ``'ride_r32_cifar100lt'``.

    Returns:
        The path of the config.

    Raises:
        FileNotFoundError: If there is no such config; names those that sound alike.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = {
        config.stem: config
        for config in sorted((resource_root() / 'configs').rglob('*.py'))
        if '_base_' not in config.parts
    }
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    longer = [name for name in shipped if name.startswith(path.stem)]
    alike = difflib.get_close_matches(path.stem, shipped, n=5)
    similar = list(dict.fromkeys([*longer, *alike]))[:5]
    hint = f'similar names: {", ".join(similar)}' if similar else 'no similar name'
    raise FileNotFoundError(
        f'expected the path of a config or the name of one in '
        f'{resource_root() / "configs"}, got {str(name_or_path)!r}; {hint}'
    )
