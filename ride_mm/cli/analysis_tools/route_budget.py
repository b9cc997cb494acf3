"""Choose how much computation a trained router may use: thresholds for a budget."""

import argparse
import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from ...analysis.routing import (
    choose_thresholds,
    evaluate_thresholds,
    plot_routing,
    probability_to_threshold,
    sweep_one_threshold,
    sweep_router_thresholds,
)
from ...engine.checkpoint_io import load_checkpoint_file
from ...engine.hooks.fit_check import THRESHOLDS
from ...evaluation import RoutingRecorder
from ..configs.loading import load_config
from ..errors import UsageError
from ..files import check_outputs, existing_file, write_json
from ..program import run_main
from ..runs.begin import BeginHook
from ..runs.checked_run import checked_run
from ..runs.runner import (
    add_common_options,
    build_runner,
    set_dataloader_defaults,
    unnamed,
)
from .budget_data import describe_data, records_of, trained_on, use_data
from .budget_output import BUDGETS, budget_of, plain, table_of, write_choice


def route_budget_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/analysis_tools/route_budget.py``."""
    run_main(route_budget, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description='Sweep the thresholds of a trained router, and find those that '
        'keep a budget. Nothing is trained.',
        allow_abbrev=False,
        prog='route_budget.py',
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument('checkpoint', help='path of a checkpoint with routers')
    parser.add_argument(
        '--data',
        choices=('val', 'test', 'train'),
        default='val',
        help="labelled images that set the thresholds: one of the config's data sets; "
        'train without its augmentation (default: val)',
    )
    parser.add_argument(
        '--weight',
        choices=('classes', 'images'),
        default='classes',
        help='what counts equally in accuracy and cost (default: classes)',
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        '--mean-experts', type=float, metavar='K', help='at most so many experts'
    )
    budget.add_argument(
        '--macs-ratio',
        type=float,
        metavar='R',
        help='at most so many multiply-adds, relative to the plain network',
    )
    budget.add_argument(
        '--max-drop',
        type=float,
        metavar='POINTS',
        help='the cheapest that loses at most so many points of accuracy against all '
        'experts',
    )
    parser.add_argument(
        '--per-router',
        action='store_true',
        help='choose one threshold for each router, not one for all',
    )
    parser.add_argument(
        '--out-checkpoint',
        metavar='FILE',
        help='write the checkpoint with the thresholds chosen',
    )
    parser.add_argument(
        '--out-config',
        metavar='FILE',
        help='write a config with the thresholds chosen, which inherits from CONFIG',
    )
    add_common_options(parser)
    return parser


def route_budget(args: argparse.Namespace) -> None:
    """Record, sweep, choose and report as the options say.

    Raises:
        UsageError: If they cannot be followed.
    """
    cfg = load_config(args)
    check(cfg, args)
    given = deepcopy(cfg)
    if args.work_dir is None:
        cfg.work_dir = str(Path(cfg.work_dir) / 'route_budget')
    warning = use_data(cfg, args.data)
    cfg = unnamed(cfg)
    with checked_run(cfg) as begin:
        runner = record(cfg, args, begin)
        if is_main_process():
            (recorder,) = runner.test_evaluator.metrics
            warning = warning or trained_on(runner, recorder)
            report(recorder, given, cfg.work_dir, args, warning)


def check(cfg: Config, args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is computed.

    Raises:
        UsageError: With expected and got.
    """
    head = (cfg.get('model') or {}).get('head') or {}
    if head.get('type') != 'RouterHead':
        raise UsageError(
            f'{args.config}: expected a config with a RouterHead, got '
            f'{head.get("type", "no head")}; train routers first, see configs/ride'
        )
    experts = cfg.model.get('num_experts', 3)
    if experts < 2:
        raise UsageError(
            f'{args.config}: expected at least 2 experts, or there is nothing to '
            f'route, got {experts}'
        )
    if args.mean_experts is not None and not 1 <= args.mean_experts <= experts:
        raise UsageError(
            f'--mean-experts: expected 1 to {experts}, the experts there are, got '
            f'{args.mean_experts:g}'
        )
    for name, limit in (budget_of(args) or {}).items():
        if not math.isfinite(limit):
            raise UsageError(f'{BUDGETS[name]}: expected a number, got {limit}')
    existing_file(args.checkpoint, 'a checkpoint')
    outputs = [f for f in (args.out_checkpoint, args.out_config) if f is not None]
    if outputs and budget_of(args) is None:
        raise UsageError(
            f'{outputs[0]}: expected a budget to choose thresholds for '
            '(--mean-experts, --macs-ratio or --max-drop), got none'
        )
    if args.per_router and budget_of(args) is None:
        raise UsageError(
            '--per-router: expected a budget to choose thresholds for '
            '(--mean-experts, --macs-ratio or --max-drop), got none'
        )
    if args.out_config is not None and Path(args.out_config).suffix != '.py':
        raise UsageError(f'--out-config: expected FILE.py, got {args.out_config}')
    if len({Path(output).resolve() for output in outputs}) < len(outputs):
        raise UsageError(
            f'--out-checkpoint and --out-config: expected two files, got {outputs[0]} '
            'twice'
        )
    for output in outputs:
        if Path(output).exists():
            raise UsageError(f'{output}: expected a new file, got one that is there')
    check_outputs(
        {'--out-checkpoint': args.out_checkpoint, '--out-config': args.out_config},
        inputs=[args.config, args.checkpoint],
    )


def record(cfg: Config, args: argparse.Namespace, begin: BeginHook) -> Runner:
    """Ask all experts and routers about all images.

    Args:
        cfg: The config, changed in place.
        args: The options.
        begin: The hook that notes that the run begins.

    Returns:
        The runner, whose only metric is a ``RoutingRecorder``.
    """
    cfg.load_from, cfg.resume = args.checkpoint, False
    cfg.model.head.pop('threshold_logits', None)
    cfg.model.head.update(thresholds=0.0, keep_expert_logits=True)
    cfg.test_evaluator = [dict(type='RoutingRecorder')]
    cfg.setdefault('test_cfg', {})
    set_dataloader_defaults(
        cfg, ('test_dataloader',), not args.no_pin_memory, persistent_workers=False
    )
    runner = build_runner(cfg)
    runner.register_hook(begin, priority='LOWEST')
    runner.test()
    return runner


def report(
    recorder: RoutingRecorder,
    cfg: Config,
    folder: str,
    args: argparse.Namespace,
    warning: str | None,
) -> None:
    """Print the sweep, write it with a picture, and choose thresholds if asked.

    Args:
        recorder: With the records.
        cfg: The config as it was given.
        folder: Where to write.
        args: The options.
        warning: About the data.

    Raises:
        UsageError: If the budget cannot be kept, or costs are not known.
    """
    records, cost = records_of(recorder, args)
    data = describe_data(cfg, args, recorder)
    source, start = present_thresholds(cfg, args, records.num_experts - 1)
    reference = evaluate_thresholds(records, start, cost)
    sweep = sweep_one_threshold(records, cost)
    frontier = sweep_router_thresholds(records, cost)
    budget, chosen = budget_of(args), None
    if budget is not None:
        try:
            chosen = choose_thresholds(
                records, cost, **budget, per_router=args.per_router
            )
        except ValueError as err:
            message = str(err)
            for name, option in BUDGETS.items():
                message = message.replace(f'{name}:', f'{option}:')
            raise UsageError(message) from None
    print(f'\nThresholds are set on {data}.')
    if warning is not None:
        print(f'WARNING: {warning}')
    tables = [('one threshold', sweep), ('one for each router', frontier)]
    named = [(source, reference), *([('chosen', chosen)] if chosen else [])]
    print(f'\n{table_of(tables, named)}\n')
    folder = Path(folder)
    content = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        data=data,
        warning=warning,
        budget=budget,
        macs=cost.macs,
        plain_macs=cost.plain_macs,
        present=dict(plain(reference), source=source),
        one_threshold=[plain(point) for point in sweep],
        one_for_each_router=[plain(point) for point in frontier],
        chosen=chosen and plain(chosen),
    )
    figures, picture = (
        folder / f'route_budget_{args.data}.{kind}' for kind in ('json', 'png')
    )
    write_json(content, figures)
    plot_routing(picture, sweep, frontier, reference, chosen)
    print(f'Figures: {figures}\nPicture: {picture}')
    if chosen is not None:
        write_choice(chosen, cfg, args, data)
        if source == 'config' and args.out_checkpoint is not None:
            print(
                f'NOTE: {args.config} has thresholds of its own, which go before those '
                'in a checkpoint'
            )


def present_thresholds(
    cfg: Config, args: argparse.Namespace, routers: int
) -> tuple[str, list[float]]:
    """Where the thresholds are from that hold at present, and these, as logits."""
    head = cfg.model.head
    if head.get('thresholds') is not None:
        given = probability_to_threshold(head.thresholds)
        return 'config', np.broadcast_to(given, routers).tolist()
    if head.get('threshold_logits') is not None:
        return 'config', np.broadcast_to(head.threshold_logits, routers).tolist()
    stored = load_checkpoint_file(args.checkpoint)
    stored = stored.get('state_dict', stored).get(THRESHOLDS)
    return 'checkpoint', [0.0] * routers if stored is None else stored.tolist()
