"""Test all checkpoints of a folder, and lay the figures beside the known ones."""

import argparse
import gc
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmpretrain.registry import MODELS
from mmpretrain.visualization import UniversalVisualizer

from ..analysis.complexity import model_complexity
from ..analysis.tables import ABSENT, format_count, format_percent, format_table
from ..apis.trained_model import dataset_of
from ..engine.checkpoint_io import load_checkpoint_file
from ..utils import SHOT_GROUPS
from ..utils.metafile import known_accuracy
from .configs.loading import add_config_options
from .configs.network import image_size
from .errors import UsageError
from .files import check_outputs, write_json
from .program import run_main
from .runs import testing
from .text import printable
from .zoo_files import FoundConfig, config_of, find_checkpoints, same_task

SOME_FAILED, FAILED = 1, 2
GROUPS = ('all', *SHOT_GROUPS)
COLUMNS = (
    'checkpoint',
    'config',
    'data',
    *GROUPS,
    'experts',
    'MACs',
    'published',
    'measured before',
)
SHORT = 50
# Of every test: few words, and no weights that are random unnoticed.
OPTIONS = {
    'log_level': 'WARNING',
    'default_hooks.checkpoint_fit': {'type': 'FitCheckHook', '_delete_': True},
}
EPILOG = """\
A checkpoint's config is the .py of the same name beside it or the only one there; else
the text that MMEngine wrote into the checkpoint, which is read, not run; else
the shipped config whose name its own begins with. A .py in FOLDER is run as a program,
as any config is.

exit status: 0 all were tested; 1 some could not be, and their rows say why; 2 the
options cannot be followed
"""


@dataclass
class Row:
    """What is known of a checkpoint.

    Attributes:
        checkpoint: Path below the folder.
        config: Name of its config, None if there is none.
        source: Where that is from: ``file``, ``checkpoint`` or ``shipped``.
        data: Type of the test data set.
        accuracy: Top-1 in percent by group: ``all``, ``many``, ``medium``, ``few``.
        mean_experts: Used by an image on average.
        macs: Multiply-adds of an image on average.
        published: The authors' accuracy by group.
        measured: The accuracy that this repository measured before, by group.
        metrics: All that the test gave.
        fault: Why it was not tested, None if it was.
    """

    checkpoint: str
    config: str | None = None
    source: str | None = None
    data: str | None = None
    accuracy: dict[str, float] = field(default_factory=dict)
    mean_experts: float | None = None
    macs: float | None = None
    published: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    fault: str | None = None


def evaluate_zoo_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/evaluate_zoo.py``.

    Raises:
        SystemExit: With status 1 if a checkpoint could not be tested, 2 after an error.
    """
    rows = run_main(evaluate_zoo, make_parser(), argv, error_status=FAILED)
    if any(row.fault is not None for row in rows):
        sys.exit(SOME_FAILED)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Test every checkpoint in a folder with its config, and print one '
        'table, the published figures beside.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        prog='evaluate_zoo.py',
    )
    parser.add_argument('folder', help='searched through all levels for *.pth')
    parser.add_argument(
        '--all',
        action='store_true',
        help='test every epoch of a training, not only the last',
    )
    parser.add_argument(
        '--only',
        metavar='GLOB',
        help='test those only whose path below FOLDER, or name, matches this pattern',
    )
    parser.add_argument('--json', metavar='FILE', help='write all figures as JSON')
    add_config_options(parser)
    return parser


def evaluate_zoo(args: argparse.Namespace) -> list[Row]:
    """Test as the options say, print the table and write the file.

    Returns:
        A row for each checkpoint.

    Raises:
        UsageError: If the options cannot be followed.
    """
    folder = Path(args.folder).expanduser()
    if not folder.is_dir():
        raise UsageError(f'{folder}: expected a folder, got no such folder')
    checkpoints = find_checkpoints(folder, args.all, args.only)
    check_outputs({'--json': args.json}, inputs=[str(path) for path in checkpoints])
    rows = []
    for number, path in enumerate(checkpoints, start=1):
        row = Row(str(path.relative_to(folder)))
        print(printable(f'[{number}/{len(checkpoints)}] {row.checkpoint}'), flush=True)
        evaluate(path, row, args.cfg_options)
        rows.append(row)
    print(printable(f'\n{table_of(rows)}'))
    faults = [row for row in rows if row.fault is not None]
    if faults:
        print(f'\n{len(faults)} of {len(rows)} not tested:')
        for row in faults:
            print(printable(f'  {row.checkpoint}: {row.fault}'))
    content = dict(
        folder=args.folder,
        options=args.cfg_options,
        rows=[asdict(row) for row in rows],
    )
    write_json(content, args.json)
    return rows


def evaluate(path: Path, row: Row, options: Mapping[str, Any]) -> None:
    """Test a checkpoint and fill in its row, whatever is wrong with it."""
    with tempfile.TemporaryDirectory() as scratch, separate_run():
        try:
            content = load_checkpoint_file(path)
            found = config_of(path, content)
            del content
            row.config, row.source = found.name, found.source
            test(found, path, row, options, scratch)
        except KeyboardInterrupt:
            raise
        except BaseException as err:  # Whatever it is, the others count.
            row.fault = f'{type(err).__name__}: {err}'


def test(
    found: FoundConfig,
    checkpoint: Path,
    row: Row,
    options: Mapping[str, Any],
    work_dir: str,
) -> None:
    """Test a checkpoint with its config and fill in the figures."""
    command = ['', str(checkpoint), '--work-dir', work_dir]
    args = testing.make_parser().parse_args(command)
    args.config = found.config
    args.cfg_options = {**deepcopy(OPTIONS), **options}  # merging changes them
    cfg = testing.load_config(args)
    row.data = dataset_of(cfg).get('type')
    if same_task(cfg, found.name):
        row.published = known_accuracy(found.name, 'published')
        row.measured = known_accuracy(found.name, 'measured')
    metrics = testing.test(args)
    row.metrics = {name: float(value) for name, value in metrics.items()}
    for group in GROUPS:
        if f'shot_accuracy/{group}' in metrics:
            row.accuracy[group] = row.metrics[f'shot_accuracy/{group}']
    if 'accuracy/top1' in metrics:
        row.accuracy.setdefault('all', row.metrics['accuracy/top1'])
    add_cost(row, cfg)


test.__test__ = False  # pytest


def add_cost(row: Row, cfg: Config) -> None:
    """Fill in experts and multiply-adds, as far as they are known.

    With routers they are those of the images tested, else those of any image.
    """
    if 'expert_usage/mean_experts' in row.metrics:
        row.mean_experts = row.metrics['expert_usage/mean_experts']
        if 'expert_usage/mean_macs' in row.metrics:
            row.macs = 1e6 * row.metrics['expert_usage/mean_macs']
        return
    # A figure to the side; without it the row still counts.
    with suppress(Exception), DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
        row.mean_experts = getattr(model, 'num_experts', None)
        row.macs = model_complexity(model, (3, *image_size(cfg)))[1]


@contextmanager
def separate_run() -> Iterator[None]:
    """Let a run share nothing with those before and after in this process."""
    forget_runs()
    try:
        yield
    finally:
        forget_runs()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def forget_runs() -> None:
    """Forget MMEngine's global objects and close the files of its logs."""
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    managers = DefaultScope, MMLogger, MessageHub, Visualizer, UniversalVisualizer
    for manager in managers:
        manager._instance_dict.clear()


def table_of(rows: Sequence[Row]) -> str:
    """Lay out the rows; one that was not tested has the beginning of why."""
    columns = [*COLUMNS, 'not tested'] if any(row.fault for row in rows) else COLUMNS
    return format_table(columns, [_cells(row)[: len(columns)] for row in rows])


def _cells(row: Row) -> list[str]:
    groups = [format_percent(row.accuracy.get(group)) for group in GROUPS]
    experts = ABSENT if row.mean_experts is None else f'{row.mean_experts:.3g}'
    macs = ABSENT if row.macs is None else format_count(round(row.macs))
    fault = ' '.join((row.fault or '').replace('|', '/').split())
    return [
        row.checkpoint,
        row.config or ABSENT,
        row.data or ABSENT,
        *groups,
        experts,
        macs,
        _in_short(row.published),
        _in_short(row.measured),
        f'{fault[:SHORT]}...' if len(fault) > SHORT else fault,
    ]


def _in_short(accuracy: Mapping[str, float]) -> str:
    """Accuracy over all, and by shots if known: ``48.0 (68.1/49.2/23.9)``."""
    if not accuracy:
        return ABSENT
    text = format_percent(accuracy.get('all'))
    if any(group in accuracy for group in SHOT_GROUPS):
        by_shots = [format_percent(accuracy.get(group)) for group in SHOT_GROUPS]
        text += f' ({"/".join(by_shots)})'
    return text
