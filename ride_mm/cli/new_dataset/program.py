"""Inspect your own images and write configs for them."""

import argparse
from collections.abc import Sequence

from ..program import run_main
from ..text import printable
from .files import check_earlier, files_of, write_files
from .folders import source_in_folders
from .looks import drop_unreadable, look_at_all
from .machine import this_machine
from .names import names_for
from .options import check_options, make_parser
from .proposal import propose
from .report import (
    report_of_classes,
    report_of_commands,
    report_of_images,
    report_of_proposal,
)
from .split import split_source
from .tables import source_in_table


def new_dataset_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/new_dataset.py``."""
    run_main(new_dataset, make_parser(), argv)


def new_dataset(args: argparse.Namespace) -> dict[str, str]:
    """Do as the options say.

    Returns:
        Contents of the files that were written, or would be, by name.

    Raises:
        UsageError: If they cannot be followed, or images cannot be used.
    """
    check_options(args)
    if args.table is None:
        source = source_in_folders(args.data_root)
    else:
        source = source_in_table(args.data_root, args)
    names = names_for(source.root, args.name, args.out)
    looks = look_at_all(source, args.check)
    drop_unreadable(source, looks, args.skip_unreadable)
    _say(report_of_images(source, looks, args.skip_unreadable))
    split_source(source, args.test_per_class, args.test_fraction, args.seed)
    machine = this_machine()
    proposal = propose(source, looks, machine, args)
    _say(report_of_classes(source, proposal))
    _say(f'Proposed for this machine ({machine}):\n{report_of_proposal(proposal)}')
    files = files_of(names, source, proposal, machine)
    if args.dry_run:
        _say(f'Would be written to {names.out}: {", ".join(files)}')
    check_earlier(names.out, files, args.overwrite)
    if args.dry_run:
        return files
    write_files(names.out, files)
    _say(f'Written to {names.out}: {", ".join(files)}')
    _say(report_of_commands(names, proposal))
    return files


def _say(text: str) -> None:
    print(printable(text), end='\n\n', flush=True)
