"""Turn weights of the authors' code into an MMPretrain checkpoint and config."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...apis.official import convert_official
from ...engine.checkpoint_io import CheckpointError, load_foreign_checkpoint
from ..configs.loading import add_config_options
from ..files import local_file
from ..program import run_main, say
from .base_config import check_base, check_config
from .converted import check_targets, meta_of, read_base, write_converted
from .official_config import (
    check_counts,
    config_of,
    counts_in_json,
    counts_of_training_set,
)

# Configs that others are made from, by the type of the backbone.
BASES = dict(RIDEResNetCIFAR='ride_r32_cifar100lt', RIDEResNet='ride_r50_custom')
CLASS_COUNTS = 'head.class_counts'
HEADING = """\
# Made by official_to_ride_mm.py: the network of the weights that load_from names, and
# all else of the config {base}.
"""


def convert_official_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/model_converters/official_to_ride_mm.py``."""
    run_main(convert, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description="Convert weights of the code of RIDE's authors. The network is "
        'found from the weights; nothing of the file is executed.',
        allow_abbrev=False,
        prog='official_to_ride_mm.py',
    )
    parser.add_argument('source', help="path of a .pth file of the authors' code")
    parser.add_argument('target', help='where to write the checkpoint, FILE.pth')
    parser.add_argument(
        '--config-out',
        metavar='FILE.py',
        help='write a complete config of the model, which loads the checkpoint',
    )
    parser.add_argument(
        '--base',
        metavar='CONFIG',
        help='config that data, schedule and losses are taken from, path or name '
        f'(default: {BASES["RIDEResNetCIFAR"]} for networks for CIFAR, else '
        f'{BASES["RIDEResNet"]}; with routers their _router)',
    )
    parser.add_argument(
        '--class-counts-from',
        metavar='CONFIG_OR_JSON',
        help='training images of each class, which weights do not tell, for accuracy '
        'by shots: a config, path or name, whose training set is counted, or a .json '
        'file with a list',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace files that are there'
    )
    add_config_options(parser)
    return parser


def convert(args: argparse.Namespace) -> None:
    """Convert as the options say.

    Raises:
        UsageError: If they cannot be followed.
        CheckpointError: If the weights are not those of a network of the authors.
    """
    local_file(args.source)
    check_targets(args, [args.source])
    released = load_foreign_checkpoint(args.source)
    try:
        model, state_dict = convert_official(released.state_dict)
    except CheckpointError as err:
        raise CheckpointError(f'{args.source}: {err}') from None
    name = args.base or default_base(model)
    base = read_base(name, args)
    check_base(model, base, name)
    counts = read_class_counts(args, model['head']['num_classes'])
    if counts is not None:
        state_dict[CLASS_COUNTS] = torch.tensor(counts)
    cfg = config_of(model, base, counts is not None)
    if args.config_out is not None:
        check_config(cfg, name)
    said = dict(arch=released.arch, epoch=released.epoch)
    meta = meta_of(Path(args.source).name, cfg, **said)
    report(model, state_dict, meta)
    heading = HEADING.format(base=ascii(name))
    write_converted(state_dict, meta, cfg, heading, f'the data of {name}', args)


def default_base(model: dict) -> str:
    """Name of the shipped config that fits a model best."""
    routed = model['head']['type'] == 'RouterHead'
    return BASES[model['backbone']['type']] + '_router' * routed


def read_class_counts(args: argparse.Namespace, num_classes: int) -> list[int] | None:
    """Training images of each class, (C,), from where the options say.

    Raises:
        UsageError: If they cannot be read, or are not those of so many classes.
    """
    source = args.class_counts_from
    if source is None:
        return None
    if Path(source).suffix == '.json':
        counts = counts_in_json(source)
    else:
        counts = counts_of_training_set(read_base(source, args), source)
    check_counts(counts, num_classes, source)
    return counts


def report(model: dict, state_dict: dict[str, Tensor], meta: dict) -> None:
    """Print what was found."""
    backbone, head = model['backbone'], model['head']
    name = f'{backbone["type"]}, depth {backbone["depth"]}'
    if 'groups' in backbone:
        name += f', {backbone["groups"]}x{backbone["width_per_group"]}d'
    said = [x for x in (meta.get('arch'), meta.get('epoch')) if x is not None]
    if said:
        name += f' (the file says {", epoch ".join(map(str, said))})'
    say(f'Network:    {name}')
    say(f'Experts:    {model["num_experts"]}, width {backbone["expert_width"]:g}')
    named = 'named' if 'dataset_meta' in meta else 'without names'
    say(f'Classes:    {head["num_classes"]}, {named}; {head["classifier"]} classifiers')
    if head['type'] == 'RouterHead':
        shared = 'one last layer for all' if head['shared'] else 'a last layer for each'
        say(f'Routers:    {model["num_experts"] - 1}, top_z {head["top_z"]}, {shared}')
    else:
        say('Routers:    none')
    buffers = ('running_mean', 'running_var', 'num_batches_tracked', 'class_counts')
    count = sum(t.numel() for k, t in state_dict.items() if not k.endswith(buffers))
    say(f'Parameters: {count:,}')
    if CLASS_COUNTS in state_dict:
        counts = state_dict[CLASS_COUNTS]
        say(f'Shots:      {counts.max()} to {counts.min()}, {counts.sum():,} images')
    else:
        say(
            'Shots:      not known: weights do not tell the training images of each '
            'class; accuracy by shots needs --class-counts-from'
        )
