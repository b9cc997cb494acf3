"""The program ``tools/quickstart.py``: options, order of work, report."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ...analysis import (
    format_count,
    format_percent,
    format_table,
    plot_accuracy_by_class,
    read_class_accuracy,
)
from ...utils import SHOT_GROUPS
from ..experiments import Run
from ..experiments.pool import interrupted_by_sigterm
from ..files import check_outputs, write_json
from ..program import INTERRUPTED, run_main
from .claim import check_folder, claim
from .cost import cost_of, speeds_of
from .plan import CLASSES, plan_runs
from .work import announce, finish

GROUPS = ('all', *SHOT_GROUPS)
COLUMNS = ('model', *GROUPS, 'parameters', 'experts', 'MACs', 'images/s')


def quickstart_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/quickstart.py``."""
    run_main(quickstart, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Train a plain network, RIDE and its routers on long-tailed '
        'digits; compare them.',
        epilog='A second call reuses what is there, an interrupted one continues.',
        allow_abbrev=False,
        prog='quickstart.py',
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/quickstart',
        help='folder for checkpoints and results (default: %(default)s)',
    )
    parser.add_argument(
        '--fresh', action='store_true', help='discard earlier results and train anew'
    )
    parser.add_argument(
        '--epochs',
        type=int,
        help='train this long, with the schedule scaled to it; a short run shows that '
        'all works, but does not compare the methods: RIDE needs its full schedule '
        'and is behind CE after a few epochs',
    )
    parser.add_argument(
        '--device',
        choices=('auto', 'cpu'),
        default='auto',
        help='auto takes a GPU where there is one',
    )
    parser.set_defaults(local_rank=0)
    return parser


def quickstart(args: argparse.Namespace) -> None:
    """Train, test, compare.

    Raises:
        UsageError: If the options cannot be followed, before anything is written, or if
            a training or a test fails.
        SystemExit: After Ctrl-C or SIGTERM.
    """
    folder = Path(args.work_dir)
    check_outputs({}, {'--work-dir': args.work_dir})
    runs = plan_runs(folder, args.epochs)
    for run in runs:
        check_folder(run, args.fresh)
    try:
        with interrupted_by_sigterm():
            results = [
                result_of(run, f'[{i}/{len(runs)}]', args)
                for i, run in enumerate(runs, start=1)
            ]
            speeds = speeds_of(runs, folder, args.device)
    except KeyboardInterrupt:
        again = 'the same command without --fresh' if args.fresh else 'the same command'
        print(f'\nInterrupted; {again} continues.', file=sys.stderr)
        sys.exit(INTERRUPTED)
    for result in results:
        result['images_per_second'] = speeds[result['name']]
    report(results, folder)


def result_of(run: Run, position: str, args: argparse.Namespace) -> dict:
    """Train and test a model, as far as that has not been done; count its cost."""
    claim(run, args.fresh)
    metrics = finish(run, position, args.device)
    return dict(
        name=run.name,
        config=run.config,
        checkpoint=str(run.checkpoint),
        metrics=metrics,
        **cost_of(run, metrics),
        classes=str(run.work_dir / CLASSES),
    )


def report(results: Sequence[dict], folder: Path) -> None:
    """Print the table; write the results and the picture."""
    rows = [
        [
            result['name'],
            *(
                format_percent(result['metrics'].get(f'shot_accuracy/{group}'))
                for group in GROUPS
            ),
            format_count(result['parameters']),
            f'{result["mean_experts"]:.3g}',
            format_count(round(result['macs'])),
            f'{result["images_per_second"]:,.0f}',
        ]
        for result in results
    ]
    path, picture = folder / 'results.json', folder / 'accuracy_by_class.png'
    plot_accuracy_by_class(
        {r['name']: read_class_accuracy(r['classes']) for r in results},
        picture,
        title='Long-tailed digits: test accuracy by class',
    )
    write_json({'results': results}, path)
    announce('Test accuracy on long-tailed digits, in percent, and cost of an image')
    table = format_table(COLUMNS, rows)
    print(f'\n{table}\n\nResults: {path}\nPicture: {picture}')
