"""Train a config with several seeds, and say how far its results spread."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..analysis.tables import ABSENT, format_table
from ..engine.hooks.run_record import read_record
from ..utils import find_config
from .errors import UsageError
from .experiments import (
    Run,
    Status,
    check_config,
    config_content,
    is_free,
    job_of,
    last_checkpoint_name,
    make_slots,
    metrics_of,
    run_jobs,
    shown,
    status_of,
)
from .experiments.options import (
    EXIT_STATUS,
    add_experiment_options,
    amp_options,
    check_seeds,
    check_settings,
    free_options,
    run_experiments,
)
from .files import check_outputs, write_json
from .program import say

FILE = 'sweep.json'
EPILOG = """\
Each training is in the folder seed_N of the work directory, with its console.log, its
test.json (the last checkpoint's test, never the best one's) and run.json (device,
versions, data). A second call goes on: what is finished is not repeated, what was
interrupted is resumed. Several at once: on GPUs one for each by default, --jobs 6 puts
three on each of two; on the processor one by default, --jobs 2 halves the threads.

"""


def sweep_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/sweep.py``.

    Raises:
        SystemExit: With status 1 if a training failed, 2 after an error.
    """
    run_experiments(sweep, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Train a config with several seeds, test each, and print mean, '
        'standard deviation and each run.',
        epilog=EPILOG + EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        prog='sweep.py',
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    add_experiment_options(
        parser, 'sweep/CONFIG', 'settings that override the config, for all seeds'
    )
    parser.add_argument(
        '--json', metavar='FILE', help=f'all figures (default: WORK_DIR/{FILE})'
    )
    parser.add_argument('--epochs', type=int, help='train this long, as train.py does')
    return parser


def sweep(args: argparse.Namespace) -> dict[str, str | None]:
    """Train, test and report as the options say.

    Returns:
        Why each training failed, None if it did not, by name.

    Raises:
        UsageError: If the options cannot be followed.
    """
    runs = runs_of(args)
    target = Path(args.json or runs[0].work_dir.parent / FILE)
    check_outputs({'--json': str(target)})
    slots = make_slots(args.jobs)
    todo = [run for run in runs if status_of(run) is not Status.FINISHED]
    say(f'{len(runs) - len(todo)} of {len(runs)} trainings are finished.')
    faults = {run.name: None for run in runs}
    faults |= run_jobs([job_of(run) for run in todo], slots, say)
    finished = [run for run in runs if faults[run.name] is None]
    summary = metrics_of([run.metrics() for run in finished])
    print(f'\n{table_of(runs, finished, summary)}')
    write_json(content_of(runs, faults, summary), target)
    print(f'\nFigures: {target}')
    failed = [run.name for run in runs if faults[run.name] is not None]
    if failed:
        print(f'{len(failed)} of {len(runs)} failed: {", ".join(failed)}')
    return faults


def runs_of(args: argparse.Namespace) -> list[Run]:
    """The trainings that the options ask for.

    Raises:
        UsageError: If there is no such config, or an option does not fit.
    """
    check_seeds(args.seeds)
    check_settings(args.cfg_options)
    check_outputs({}, {'--work-dir': args.work_dir})
    for option in args.cfg_options:
        if option.startswith(('randomness.seed=', 'randomness=')):
            raise UsageError(f'--cfg-options {option}: expected --seeds instead')
    epochs = [] if args.epochs is None else ['--epochs', str(args.epochs)]
    train_options = [*epochs, *amp_options(args)]
    free = free_options(args)
    decide = [option for option in args.cfg_options if not is_free(option)]
    cfg = check_config(args.config, [*decide, *free], train_options)
    name = Path(find_config(args.config)).stem
    folder = Path(args.work_dir or Path('work_dirs', 'sweep', name))
    return [
        Run(
            name=f'seed {seed}',
            config=args.config,
            work_dir=folder / f'seed_{seed}',
            seed=seed,
            checkpoint_name=last_checkpoint_name(cfg),
            content=config_content(cfg),
            options=tuple(decide),
            free=tuple(free),
            train_options=tuple(train_options),
        )
        for seed in args.seeds
    ]


def table_of(
    runs: Sequence[Run], finished: Sequence[Run], summary: Mapping[str, object]
) -> str:
    """Lay out mean, standard deviation and each run of all metrics."""
    columns = ['metric', 'mean', 'sd', *(run.name for run in runs)]
    rows = []
    for metric, figure in summary.items():
        values = {
            run.name: f'{value:.2f}'
            for run, value in zip(finished, figure.values, strict=True)
        }
        sd = ABSENT if figure.sd is None else f'{figure.sd:.2f}'
        cells = [values.get(run.name, ABSENT) for run in runs]
        rows.append([metric, f'{figure.mean:.2f}', sd, *cells])
    return format_table(columns, rows)


def content_of(
    runs: Sequence[Run],
    faults: Mapping[str, str | None],
    summary: Mapping[str, object],
) -> dict:
    """All that is known, as plain data."""
    return {
        'config': runs[0].config,
        'options': [*runs[0].options, *runs[0].free],
        'train_options': list(runs[0].train_options),
        'metrics': {
            name: {'mean': f.mean, 'sd': f.sd, 'values': list(f.values)}
            for name, f in summary.items()
        },
        'runs': [
            {
                'seed': run.seed,
                'work_dir': str(run.work_dir),
                'checkpoint': str(run.checkpoint),
                'fault': faults[run.name],
                'metrics': run.metrics() if faults[run.name] is None else None,
                'sessions': read_record(run.work_dir),
                'commands': [shown(run.train_command()), shown(run.test_command())],
            }
            for run in runs
        ],
    }
