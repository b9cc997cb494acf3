"""The program ``tools/reproduce.py``: options, plan, trainings, report."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UsageError
from ..experiments import (
    is_free,
    job_of,
    make_slots,
    run_jobs,
)
from ..experiments.options import (
    EXIT_STATUS,
    add_experiment_options,
    amp_options,
    check_seeds,
    check_settings,
    free_options,
    run_experiments,
)
from ..files import check_outputs
from ..program import say
from .cifar100lt import CIFAR100LT
from .plan import commands_of, plan_runs, run_name, unfinished
from .records import collect, read_notes, read_records, write_records
from .report import report_of, write_report
from .rows import Benchmark

BENCHMARKS = {benchmark.name: benchmark for benchmark in (CIFAR100LT,)}
EPILOG = """\
Each training is in WORK_DIR/SCHEDULE/ROW/seed_N, with its console.log, its test.json
(the last epoch's test, never that of the best epoch) and run.json (device, versions,
data). A second call goes on: what is finished is not repeated, what was interrupted is
resumed. What a row is built on (stage one, teacher) is trained first, with the same
seed. The report also has what earlier calls found, here or elsewhere: all figures are
in the .json beside it.

"""


def reproduce_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/reproduce.py``.

    Raises:
        SystemExit: With status 1 if a training failed, 2 after an error.
    """
    run_experiments(reproduce, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Train and test what a published table has, several seeds each, '
        'and write the figures beside the published ones.',
        epilog=EPILOG + EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        prog='reproduce.py',
    )
    parser.add_argument('benchmark', choices=tuple(BENCHMARKS), help='which table')
    parser.add_argument(
        '--rows', nargs='+', metavar='ROW', help='(default: all; --list names them)'
    )
    parser.add_argument(
        '--schedule', help='the published one, or a shorter one (default: 200e)'
    )
    add_experiment_options(
        parser,
        'reproduce/BENCHMARK',
        'settings that leave the result as it is, such as '
        'train_dataloader.num_workers=0',
    )
    parser.add_argument('--data-root', metavar='FOLDER', help='where the data is')
    parser.add_argument(
        '--any-files',
        action='store_true',
        help='accept data files that are not the published ones, such as a copy; the '
        'report says so',
    )
    parser.add_argument(
        '--out',
        metavar='FILE.md',
        help='the report (default: docs/results/BENCHMARK.md)',
    )
    parser.add_argument(
        '--note',
        metavar='TEXT',
        help='to be printed above the table of this schedule, in later reports, too',
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        '--list', action='store_true', help='name the rows and schedules, and end'
    )
    only.add_argument(
        '--dry-run', action='store_true', help='list the commands, and end'
    )
    only.add_argument(
        '--report-only',
        action='store_true',
        help='train and test nothing, report what there is',
    )
    return parser


def reproduce(args: argparse.Namespace) -> dict[str, str | None]:
    """Do what the options say.

    Returns:
        Why each training failed, None if it did not, by name.

    Raises:
        UsageError: If the options cannot be followed.
    """
    benchmark = BENCHMARKS[args.benchmark]
    if args.list:
        print(f'schedules: {", ".join(benchmark.schedules)}')
        print('\n'.join(f'{row.name:24} {row.title}' for row in benchmark.rows))
        return {}
    rows, schedule = check(args, benchmark)
    folder = Path(args.work_dir or Path('work_dirs', 'reproduce', benchmark.name))
    free = free_settings(args, benchmark)
    precision = amp_options(args)
    runs = plan_runs(benchmark, schedule, rows, args.seeds, folder, free, precision)
    wanted = [run_name(schedule, row, seed) for row in rows for seed in args.seeds]
    # A report is of what there is, under whatever options it was trained.
    todo = [] if args.report_only else unfinished(runs, wanted)
    if args.dry_run:
        for run, status in todo:
            print(f'# {run.name}: {status.value}')
            for step in commands_of(run, status):
                print(step)
        return {}
    out = Path(args.out or Path('docs', 'results', f'{benchmark.name}.md'))
    check_outputs({'--out': str(out)})
    content = out.with_suffix('.json')
    read_records(content, benchmark)  # Refused now, if it is no such file.
    faults = {}
    if not args.report_only:
        say(f'Trainings to be run or finished: {len(todo)}.')
        notes = {'files': checked_files(args, benchmark)} if todo else {}
        jobs = [job_of(run, notes) for run, _ in todo]
        faults = run_jobs(jobs, make_slots(args.jobs), say)
    # Another call may have written meanwhile.
    records, remarks = read_records(content, benchmark), read_notes(content)
    for key, found in collect(folder, benchmark).items():
        # What is finished elsewhere stays, if it has only begun here.
        if found['metrics'] is not None or key not in records:
            records[key] = found
    if args.note is not None:
        remarks[schedule] = args.note
    out.parent.mkdir(parents=True, exist_ok=True)
    write_records(records, remarks, content, benchmark)
    write_report(report_of(benchmark, records, schedule, remarks), out)
    print(f'Report: {out}')
    failed = [name for name, fault in faults.items() if fault is not None]
    if failed:
        print(f'{len(failed)} failed or not run: {", ".join(failed)}')
    return faults


def check(args: argparse.Namespace, benchmark: Benchmark) -> tuple[list[str], str]:
    """Check the options.

    Returns:
        Names of the rows asked for, in the table's order, and the schedule.

    Raises:
        UsageError: If one cannot be followed.
    """
    schedules = list(benchmark.schedules)
    schedule = args.schedule or schedules[0]
    if schedule not in schedules:
        raise UsageError(f'--schedule: expected one of {schedules}, got {schedule!r}')
    known = [row.name for row in benchmark.rows]
    names = args.rows or known
    wrong = [name for name in names if name not in known]
    if wrong:
        raise UsageError(f'--rows: expected some of {known}, got {wrong}')
    check_seeds(args.seeds)
    check_settings(args.cfg_options)
    check_outputs({}, {'--work-dir': args.work_dir})
    decide = [option for option in args.cfg_options if not is_free(option)]
    if decide:
        raise UsageError(
            '--cfg-options: expected settings of data loading and logging, got '
            f'{decide}, under which the rows would not be what they are called; '
            'tools/sweep.py takes any'
        )
    if args.out is not None and Path(args.out).suffix != '.md':
        raise UsageError(f'--out: expected FILE.md, got {args.out}')
    return [name for name in known if name in names], schedule


def checked_files(
    args: argparse.Namespace, benchmark: Benchmark
) -> Mapping[str, Mapping[str, str]]:
    """Say which data files there are; the first training gets those that are missing.

    Returns:
        By name: ``md5`` and ``published``, that of the published file.

    Raises:
        UsageError: If one is not the published one and ``--any-files`` is not given.
    """
    root = args.data_root or benchmark.data_root
    files = benchmark.describe_files(root)
    for name, file in files.items():
        if file['md5'] != file['published'] and not args.any_files:
            raise UsageError(
                f'{root}: expected the published file {name!r}, md5 '
                f'{file["published"]}, got md5 {file["md5"]}; download it again, or '
                'take it as it is with --any-files'
            )
    return files


def free_settings(args: argparse.Namespace, benchmark: Benchmark) -> list[str]:
    """Settings that say where the data is and how it is read.

    Raises:
        UsageError: If there is no such folder.
    """
    free = free_options(args)
    if args.data_root is not None:
        if not Path(args.data_root).expanduser().is_dir():
            raise UsageError(f'--data-root: expected a folder, got {args.data_root}')
        free.append(f'data_root={args.data_root}')
    if args.any_files:
        free += benchmark.any_files
    return free
