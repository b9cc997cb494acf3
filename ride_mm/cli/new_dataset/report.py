"""What ``tools/new_dataset.py`` prints."""

from collections.abc import Sequence

from ...analysis.tables import format_table
from ...utils.listing import first_few
from ...utils.shots import shot_groups
from .config_text import choices
from .folders import described
from .looks import Looks, lines_of_faults
from .names import Names, commands_of_experts, commands_of_routers
from .proposal import Proposal
from .source import Source

PARTS = ('train', 'val', 'test')
MAX_CLASSES, ENDS = 20, 8
TRANSPARENT = ('RGBA', 'grey with transparency')


def report_of_images(source: Source, looks: Looks, skipped: bool) -> str:
    """What was found, before anything is proposed."""
    number = len(source.paths())
    small, large = looks.smallest, looks.largest
    lines = [
        f'{source.root}: {source.form}',
        f'{number:,} images of {len(source.classes):,} classes',
        f'sizes {small[0]} x {small[1]} to {large[0]} x {large[1]} pixels, shorter '
        f'side {looks.short_side:g} (median)',
    ]
    if looks.kinds:
        lines.append(f'of these {described(looks.kinds)}')
    if any(kind in TRANSPARENT for kind in looks.kinds):
        lines.append('  transparency is dropped: the colours below it are what counts')
    if source.left_out:
        lines.append(f'left out: {described(source.left_out)}')
    if skipped and looks.faults:
        lines.append(f'skipped, for they cannot be used: {len(looks.faults):,}')
        lines.append(lines_of_faults(looks.faults))
    lines += source.notes
    return '\n'.join(lines)


def report_of_classes(source: Source, proposal: Proposal) -> str:
    """Images of each class in each part, and the groups by shots."""
    parts = [part for part in PARTS if part in source.parts]
    counts = {part: source.counts(part) for part in parts}
    train = counts['train']
    order = sorted(range(len(train)), key=lambda c: -train[c])
    rows = [
        [source.classes[c], *(f'{counts[part][c]:,}' for part in parts)] for c in order
    ]
    if len(rows) > MAX_CLASSES:
        between = len(rows) - 2 * ENDS
        rows = [
            *rows[:ENDS],
            [f'... {between:,} more', *[''] * len(parts)],
            *rows[-ENDS:],
        ]
    rows.append(['all', *(f'{sum(counts[part]):,}' for part in parts)])
    groups = shot_groups(train, proposal.many, proposal.few)
    sizes = ', '.join(f'{len(group):,} {name}' for name, group in groups.items())
    lines = [
        format_table(['class', *parts], rows),
        '',
        f'imbalance factor {max(train) / min(train):g}; classes by training images: '
        f'{sizes} (many > {proposal.many}, few < {proposal.few}: '
        f'{proposal.reasons["thresholds"]})',
    ]
    return '\n'.join([*lines, *notes_on_test(source, counts)])


def notes_on_test(source: Source, counts: dict[str, list[int]]) -> list[str]:
    """What the user should know of the images that a test is made with."""
    part = 'test' if 'test' in counts else 'val'
    notes = []
    if 'test' not in counts:
        notes.append('there is no test part: val is used for it')
    untested = [source.classes[c] for c, n in enumerate(counts[part]) if not n]
    if untested:
        notes.append(
            f'no {part} image, so its accuracy is not known: '
            + listed(untested, counts['train'], source.classes)
        )
    most = max(counts[part])
    fewer = [c for c, n in enumerate(counts[part]) if 0 < n < most]
    if fewer:
        notes.append(
            f'the {part} images are not balanced: {most:,} of a class at most, fewer '
            f'of {len(fewer):,}; class_mean is the figure to look at'
        )
    else:
        notes.append(f'{part} images of each class that has some: {most:,}')
    return notes


def listed(names: Sequence[str], train: Sequence[int], classes: Sequence[str]) -> str:
    """The first few classes with their numbers of training images."""
    counted = (f'{name} ({train[classes.index(name)]:,})' for name in names)
    return first_few(counted, ENDS)


def report_of_proposal(proposal: Proposal) -> str:
    """What is proposed and why."""
    rows = choices(proposal)[:-1]
    width = max(len(what) for what, _ in rows)
    return '\n'.join(f'  {what.ljust(width)}  {why}' for what, why in rows)


def report_of_commands(names: Names, proposal: Proposal) -> str:
    """What to do next."""
    lines = [
        'Next, always from this folder:',
        *(f'  {line}' for line in commands_of_experts(names, proposal)),
    ]
    routers = commands_of_routers(names, proposal)
    if routers:
        lines += ['and the routers:', *(f'  {line}' for line in routers)]
    return '\n'.join(lines)
