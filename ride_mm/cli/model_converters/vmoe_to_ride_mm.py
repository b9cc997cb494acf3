"""Turn a checkpoint of V-MoE's JAX code into one of MMPretrain, and a config."""

import argparse
from collections.abc import Sequence

from mmengine.config import Config

from ...apis.vmoe import ConvertedVMoE, convert_vmoe
from ...engine.checkpoint_io.vmoe import VMoEIndex, read_vmoe_index
from ...utils.listing import first_few
from ..configs.loading import add_config_options
from ..configs.options import merge_options
from ..errors import UsageError
from ..program import run_main, say
from .base_config import check_config
from .converted import check_targets, meta_of, read_base, write_converted
from .vmoe_config import config_of, plain_base

HEADING = """\
# Made by vmoe_to_ride_mm.py: the network of the weights that load_from names, and
# {source}.
"""


def convert_vmoe_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/model_converters/vmoe_to_ride_mm.py``."""
    run_main(convert, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description="Convert weights of V-MoE's JAX code. The network is found from "
        'names and shapes; nothing of a file is executed.',
        allow_abbrev=False,
        prog='vmoe_to_ride_mm.py',
    )
    parser.add_argument(
        'prefix', help='path of PREFIX.index and PREFIX.data-* without what differs'
    )
    parser.add_argument('target', help='where to write the checkpoint, FILE.pth')
    parser.add_argument(
        '--config-out',
        metavar='FILE.py',
        help='write a complete config of the model, which loads the checkpoint',
    )
    parser.add_argument(
        '--base',
        metavar='CONFIG',
        help='config that data and schedule are taken from, path or name (default: '
        'none; the config then tests on ImageNet for 1000 classes, else on a folder '
        'for each class)',
    )
    parser.add_argument(
        '--image-size',
        nargs='+',
        type=int,
        metavar='PIXELS',
        help='side of the images, or height and width, to which the position '
        'embeddings are resized (default: that of the training)',
    )
    parser.add_argument(
        '--selected-experts',
        type=int,
        metavar='K',
        help='experts of a token, which weights do not tell (default: 2)',
    )
    parser.add_argument(
        '--capacity-factor',
        type=float,
        metavar='F',
        help='room of the experts in training (default: that of the authors for '
        'released names, else 1.05)',
    )
    parser.add_argument(
        '--eval-capacity-factor',
        type=float,
        metavar='F',
        help='room of the experts in testing (default: that of the authors for '
        'released names, else that of training)',
    )
    parser.add_argument(
        '--pos-embed',
        choices=('none', 'sincos2d'),
        default='none',
        help='positions of a network that has not learned any (default: none)',
    )
    parser.add_argument(
        '--allow-missing',
        action='store_true',
        help='write what there is if parameters are missing',
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
        CheckpointError: If the files are not those of a V-MoE.
    """
    try:
        index = read_vmoe_index(args.prefix)
    except FileNotFoundError as err:
        raise UsageError(str(err)) from None
    shards = [index.shard(number) for number in range(index.shard_count)]
    check_targets(args, [f'{index.prefix}.index', *shards])
    base = None if args.base is None else read_base(args.base, args)
    try:
        converted = convert_vmoe(
            index.prefix,
            image_size_option(args.image_size),
            router_options(args),
            args.pos_embed,
            args.allow_missing,
        )
    except FileNotFoundError as err:
        raise UsageError(str(err)) from None
    cfg = make_config(converted, base, args)
    report(converted, index)
    meta = meta_of(index.prefix.name, cfg)
    source = 'a test'
    if args.base is not None:
        source = f'data and schedule of the config {ascii(args.base)}'
    heading = HEADING.format(source=source)
    write_converted(converted.state_dict, meta, cfg, heading, source, args)


def image_size_option(values: list[int] | None) -> list[int] | int | None:
    """The side of the images, or their height and width.

    Raises:
        UsageError: If these are more than two numbers.
    """
    if values is not None and len(values) > 2:
        raise UsageError(
            '--image-size: expected one number of pixels, or height and width, got '
            f'{" ".join(map(str, values))}'
        )
    return values[0] if values is not None and len(values) == 1 else values


def router_options(args: argparse.Namespace) -> dict:
    """Settings of the router that were given."""
    settings = dict(
        num_selected=args.selected_experts,
        capacity_factor=args.capacity_factor,
        eval_capacity_factor=args.eval_capacity_factor,
    )
    return {name: value for name, value in settings.items() if value is not None}


def make_config(
    converted: ConvertedVMoE, base: Config | None, args: argparse.Namespace
) -> Config:
    """The config of the model.

    Raises:
        UsageError: If the data of the base or the options do not fit the weights.
    """
    network, model = converted.network, converted.config
    if base is None:
        size = model['backbone']['img_size']
        size = (size, size) if isinstance(size, int) else size
        cfg = config_of(model, plain_base(network.num_classes, size))
        merge_options(cfg, args.cfg_options)
        classes = (cfg.model.get('head') or {}).get('num_classes')
        if network.num_classes and classes != network.num_classes:
            raise UsageError(
                '--cfg-options: expected model.head.num_classes='
                f'{network.num_classes}, as the weights have, got {classes}; to train '
                'for other classes, start from the converted checkpoint by load_from'
            )
        return cfg
    cfg = config_of(model, base)
    if network.num_classes:
        check_config(cfg, args.base)
    return cfg


def report(converted: ConvertedVMoE, index: VMoEIndex) -> None:
    """Print what was found."""
    network, found = converted.network, converted.differences
    say(f'Network:    {network}')
    if network.moe_blocks:
        router = converted.config['backbone']['moe']['router']
        blocks = ', '.join(map(str, network.moe_blocks))
        say(
            f'Experts:    {network.num_experts} in each of the blocks {blocks} (from '
            f'0); a token selects {router["num_selected"]}'
        )
        factors = [router.get(f'{n}capacity_factor') for n in ('', 'eval_')]
        known = ['1.05' if factors[0] is None else f'{factors[0]:g}']
        known += [known[0] if factors[1] is None else f'{factors[1]:g}']
        say(f'Capacity:   {known[0]} in training, {known[1]} in testing')
    else:
        say('Experts:    none, a dense network')
    size = converted.config['backbone']['img_size']
    size = (size, size) if isinstance(size, int) else size
    note = ''
    if network.image_size is None:
        note = ', without learned positions'
    elif tuple(size) != network.image_size:
        note = f', resized from {"x".join(map(str, network.image_size))}'
    say(f'Images:     {"x".join(map(str, size))}{note}; pooling: {network.pool}')
    hidden = '' if network.hidden_dim is None else f', from {network.hidden_dim} (tanh)'
    classes = f'{network.num_classes}{hidden}' if network.num_classes else 'none'
    say(f'Classes:    {classes}')
    count = sum(tensor.numel() for tensor in converted.state_dict.values())
    types = sorted({entry.dtype for entry in index.arrays.values()})
    say(
        f'Parameters: {count:,} in {len(converted.state_dict)} tensors; the file has '
        f'{len(index.arrays)} arrays of {", ".join(types)} in {index.shard_count} '
        + ('shard' if index.shard_count == 1 else 'shards')
    )
    for what, names in (('Missing', found.missing), ('Unused', found.unused)):
        say(f'{what + ":":12}{first_few(names, 10) or "none"}')
