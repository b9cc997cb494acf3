"""One clear message when the packages around ride_mm do not fit together."""

import importlib
import importlib.metadata
import importlib.util
import re
import shlex
from collections.abc import Mapping, Sequence

from .stacks import STACKS, SUPPORTED, TORCH_MINIMUM

# Distributions that install a module, by module.
PROVIDERS = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'mmcv-full', 'onedl-mmcv'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}
# Instead of a version: a module that no installer recorded, and the reverse.
UNKNOWN = 'of unknown version'
BROKEN = 'without its files'


def check_installation() -> None:
    """Check the packages that ride_mm stands on.

    Raises:
        ImportError: If one is missing, has an unsupported version, cannot be imported
            or comes from both stacks. The message ends with the command that mends it.
    """
    fault = find_fault(installed_versions()) or find_import_fault()
    if fault is not None:
        raise ImportError(fault)


def installed_versions() -> dict[str, str]:
    """Look up what is installed, without importing it.

    Returns:
        The version of each installed distribution in question, by its name.
    """
    versions = {}
    for module, names in {**PROVIDERS, 'torch': ('torch',)}.items():
        found = {name: _version(name) for name in names}
        found = {name: version for name, version in found.items() if version}
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            found = dict.fromkeys(found, BROKEN)
        elif not found:
            found = {names[0]: UNKNOWN}
        versions.update(found)
    return versions


def find_fault(installed: Mapping[str, str]) -> str | None:
    """Find the first fault in a set of installed versions.

    Args:
        installed: The version of each installed distribution, by its name.

    Returns:
        What was expected, what was found and the command that mends it; None if the
        versions fit together.
    """
    present = _present(installed)
    stack = _stack(present)
    forked = [name for name in present if name.startswith('onedl-')]
    if 0 < len(forked) < len(present):
        return _message(
            'either the OpenMMLab packages or their onedl-* fork, for both install '
            'the same modules',
            _listing(installed, present),
            _reinstall(present, stack),
        )
    for module, names in PROVIDERS.items():
        found = [name for name in names if name in installed]
        if not found:
            return _message(
                f'{module}, which ride_mm extends',
                _listing(installed, present) or 'none of its packages',
                _install(stack),
            )
        if len(found) > 1:
            return _message(
                f'one package that provides {module}',
                _listing(installed, found),
                _reinstall(found, stack),
            )
        low, high = SUPPORTED[module]
        if not _within(installed[found[0]], low, high):
            return _message(
                f'{module}>={low},<{high}',
                _listing(installed, found),
                _reinstall(present, stack),
            )

    torch = installed.get('torch')
    if torch is None or not _within(torch, TORCH_MINIMUM):
        return _message(
            f'torch>={TORCH_MINIMUM}, which reads checkpoints as data only',
            'no torch' if torch is None else f'torch {torch}',
            f'pip install --upgrade "torch>={TORCH_MINIMUM}" torchvision',
        )
    return None


def find_import_fault() -> str | None:
    """Import what the rest of ride_mm imports in any case.

    Returns:
        What was expected, what was found and the command that mends it; None if
        torch, torchvision and MMPretrain can be imported.
    """
    for name in ('torch', 'torchvision', 'mmpretrain.models'):
        try:
            importlib.import_module(name)
        except Exception as error:  # a mismatch can show as any kind
            reason = ' '.join(f'{type(error).__name__}: {error}'.split())
            return _describe_import_fault(name, reason)
    return None


def _describe_import_fault(name: str, reason: str) -> str:
    if name != 'mmpretrain.models':
        return _message(
            f'a {name} that can be imported, and torch and torchvision that were '
            'released together and come from the same index',
            f'{reason} (torch {_version("torch") or "missing"}, '
            f'torchvision {_version("torchvision") or "missing"})',
            'pip uninstall -y torch torchvision && pip install torch torchvision',
        )
    if _version('transformers') and _version('pycocotools'):
        return _message(
            'an MMPretrain that can be imported; with transformers and pycocotools '
            'together it loads multimodal models, which fail with new transformers',
            f'{reason} (transformers {_version("transformers")}, '
            f'pycocotools {_version("pycocotools")})',
            'pip uninstall -y pycocotools',
        )
    installed = installed_versions()
    present = _present(installed)
    return _message(
        'an MMPretrain that can be imported',
        f'{reason} ({_listing(installed, present)})',
        _reinstall(present, _stack(present)),
    )


def _present(installed: Mapping[str, str]) -> list[str]:
    names = [name for providers in PROVIDERS.values() for name in providers]
    return [name for name in names if name in installed]


def _stack(present: Sequence[str]) -> str:
    """Choose the stack to recommend: the fork only where nothing else is there."""
    forked = present and all(name.startswith('onedl-') for name in present)
    return 'onedl' if forked else 'openmmlab'


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _parse(version: str) -> tuple[int, ...]:
    """Turn ``'2.10.0+cu130'`` into ``(2, 10)``, so that versions compare."""
    numbers = re.match(r'[0-9.]*', version).group().strip('.').split('.')
    release = [int(number or 0) for number in numbers]
    while release and release[-1] == 0:
        release.pop()
    return tuple(release)


def _within(version: str, low: str, high: str | None = None) -> bool:
    if version in (UNKNOWN, BROKEN):
        return version == UNKNOWN
    return _parse(low) <= _parse(version) and (
        high is None or _parse(version) < _parse(high)
    )


def _listing(installed: Mapping[str, str], names: Sequence[str]) -> str:
    return ', '.join(f'{name} {installed[name]}' for name in names)


def _install(stack: str) -> str:
    return f'pip install {shlex.join(STACKS[stack])}'


def _reinstall(names: Sequence[str], stack: str) -> str:
    return f'pip uninstall -y {" ".join(names)} && {_install(stack)}'


def _message(expected: str, found: str, command: str) -> str:
    return (
        'ride_mm cannot be used in this Python environment.\n'
        f'  expected: {expected}\n'
        f'  found:    {found}\n'
        f'  to mend:  {command}'
    )
