"""What the figures of a report were made on: data, devices, versions, seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..experiments.options import COMPILED_OPTIONS

UNKNOWN = 'not recorded'
SHORT_HASH = 16


def provenance(
    found: Sequence[Any], schedule: str, published: str, note: str | None = None
) -> str:
    """Say on what the finished trainings of a schedule were made.

    Args:
        found: Rows with finished trainings, see ``found.Found``.
        schedule: Name of the schedule.
        published: Name of the schedule of the published figures.
        note: What its user wants to have said.
    """
    records = {
        f'{one.row.name}, seed {seed}': record
        for one in found
        for seed, record in one.finished.items()
    }
    lines = []
    if schedule != published:
        lines.append(
            f'- Trained for {length(schedule)}, the published figures are of '
            f'{length(published)}: compare these rows among themselves.'
        )
    if note:
        lines.append(f'- {note}')
    if not records:
        return '\n'.join([*lines, '- Nothing is finished.'])
    lines.append(f'- Seeds: {seeds(found)}')
    for title, describe in (
        ('Data files', files),
        ('Images', images),
        ('Device', devices),
        ('Versions', versions),
    ):
        lines += grouped(title, {name: describe(r) for name, r in records.items()})
    return '\n'.join(lines)


def length(schedule: str) -> str:
    """A schedule in words: ``30 epochs`` for ``30e``."""
    number = schedule.removesuffix('e')
    return f'{number} epochs' if number.isdigit() else f'the schedule {schedule}'


def seeds(found: Sequence[Any]) -> str:
    """Say which seeds the rows have."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for one in found:
        by_seeds.setdefault(tuple(one.finished), []).append(one.row.name)
    parts = []
    for numbers, rows in by_seeds.items():
        text = ', '.join(map(str, numbers))
        if len(numbers) == 1:
            text += ', one run a row, so that nothing is known of its spread'
        if len(by_seeds) > 1:
            text += f' ({", ".join(rows)})'
        parts.append(text)
    return f'{"; ".join(parts)}.'


def grouped(title: str, values: Mapping[str, str]) -> list[str]:
    """A line for each value, with whose it is if there are several."""
    owners: dict[str, list[str]] = {}
    for name, value in values.items():
        owners.setdefault(value, []).append(name)
    if len(owners) == 1:
        return [f'- {title}: {value}.' for value in owners]
    return [f'- {title} ({"; ".join(own)}): {value}.' for value, own in owners.items()]


def files(record: Mapping[str, Any]) -> str:
    """Say whether the data is the published one, and name it by its hash."""
    command = record['command']
    known = command['notes'].get('files') or {}
    if not known:
        return UNKNOWN
    hashes = '; '.join(
        f'{name} md5 {file["md5"]}'
        + ('' if file['md5'] == file['published'] else f' not {file["published"]}')
        for name, file in known.items()
    )
    if all(file['md5'] == file['published'] for file in known.values()):
        return f'the published ones ({hashes})'
    return f'a copy, not the published files ({hashes})'


def images(record: Mapping[str, Any]) -> str:
    """Name the images by their number and hashes."""
    found = []
    for title, key in (('training', 'train'), ('test', 'val')):
        parts = {
            (data['number'], data['subset'], data['images'])
            for session in record['sessions']
            if (data := session.get('data', {}).get(key)) is not None
        }
        for number, subset, pixels in sorted(parts, key=str):
            text = f'{number:,} {title} images'
            text += '' if subset is None else f', subset {subset}'
            text += '' if pixels is None else f', pixels {pixels[:SHORT_HASH]}'
            found.append(text)
    return '; '.join(found) or UNKNOWN


def devices(record: Mapping[str, Any]) -> str:
    """Name the devices, and which epochs each did if there were several."""
    by_device: dict[str, list[list[int]]] = {}
    asked = COMPILED_OPTIONS[-1] in record['command']['free']
    for session in record['sessions']:
        text = session['device']
        if 'kind' in session:
            text = f'{session["kind"].upper()}: {text}'
        if session['processes'] > 1:
            text += f', {session["processes"]} processes'
        threads = session['threads']
        text += f', {threads} thread{"s" if threads > 1 else ""}'
        text += f', {session["precision"]}'
        if session.get('compiled'):
            text += ', compiled'
        elif asked and 'compiled' not in session:
            text += ', not recorded whether compiled'
        by_device.setdefault(text, []).append(session['epochs'])
    if len(by_device) == 1:
        return next(iter(by_device))
    parts = []
    for text, epochs in by_device.items():
        spans = ', '.join(f'{first + 1} to {last}' for first, last in epochs)
        parts.append(f'{text} (epochs {spans})')
    return '; '.join(parts) or UNKNOWN


def versions(record: Mapping[str, Any]) -> str:
    """Name the versions of Python and packages."""
    found = {
        ', '.join(f'{name} {number}' for name, number in session['versions'].items())
        for session in record['sessions']
    }
    return '; '.join(sorted(found)) or UNKNOWN
