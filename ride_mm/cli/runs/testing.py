"""Test a model from the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from copy import deepcopy

import mmengine
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults

from ...utils.freed_memory import keep_freed_memory
from ...utils.wrapped import innermost_config
from ..configs.loading import load_config
from ..errors import UsageError
from ..files import check_outputs, existing_file, write_json
from ..program import run_main, say
from .checked_run import checked_run
from .runner import add_common_options, build_runner, set_dataloader_defaults, unnamed

# Metrics of what single experts decide.
OF_EXPERTS = ('ExpertAccuracy', 'ExpertUsage')


def test_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/test.py``."""
    run_main(test, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of testing, those of MMPretrain and ``--json``."""
    parser = argparse.ArgumentParser(
        description='Test a model', allow_abbrev=False, prog='test.py'
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument('checkpoint', help='path or https address of a checkpoint')
    parser.add_argument('--json', metavar='FILE', help='write the metrics as JSON')
    parser.add_argument(
        '--out', metavar='FILE', help='write predictions (*.pkl) or metrics'
    )
    parser.add_argument(
        '--out-item',
        choices=('pred', 'metrics'),
        default=None,
        help='what --out writes (default: pred)',
    )
    parser.add_argument('--amp', action='store_true', help='test in mixed precision')
    parser.add_argument(
        '--tta',
        action='store_true',
        help="average over the config's tta_pipeline, or over an image and its mirror",
    )
    parser.add_argument('--show', action='store_true', help='show the predictions')
    parser.add_argument('--show-dir', help='where to draw predictions')
    parser.add_argument('--interval', type=int, default=1, help='draw each n-th image')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds per window')
    add_common_options(parser)
    return parser


def test(args: argparse.Namespace) -> dict:
    """Test as the options say.

    Returns:
        The metrics by name.

    Raises:
        UsageError: If they cannot be followed.
    """
    if args.out_item is not None and args.out is None:
        raise UsageError('--out-item: expected --out FILE too, got none')
    if args.tta and (args.show or args.show_dir is not None):
        raise UsageError(
            '--tta: expected no --show or --show-dir, got both; draw without --tta, '
            'for there is no one image behind an average over views'
        )
    if args.interval < 1:
        raise UsageError(f'--interval: expected a number >= 1, got {args.interval}')
    if args.out is not None and args.out_item != 'metrics':
        if not args.out.endswith(('.pkl', '.pickle')):
            raise UsageError(f'--out: expected a file *.pkl, got {args.out}')
    check_outputs(
        {'--json': args.json, '--out': args.out},
        inputs=[str(args.config), args.checkpoint],
    )
    if args.show and not has_display():
        raise UsageError('--show: expected a display, got none; --show-dir draws files')
    cfg = load_config(args)
    check_outputs(csv_files(cfg))
    if cfg.get('test_dataloader') is None:
        raise UsageError(
            f'expected a config for testing, got {args.config}, which has '
            'no test_dataloader'
        )
    cfg.load_from = existing_file(args.checkpoint, 'a checkpoint')
    cfg.resume = False
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.show or args.show_dir is not None:
        draw_predictions(cfg, args)
    if args.tta:
        augment_test(cfg)
    set_dataloader_defaults(
        cfg, ('test_dataloader',), not args.no_pin_memory, persistent_workers=False
    )
    if not torch.cuda.is_available():
        keep_freed_memory()
    cfg = unnamed(cfg)
    with checked_run(cfg) as begin:
        runner = build_runner(cfg)
        runner.register_hook(begin, priority='LOWEST')
        if args.out is not None and args.out_item != 'metrics':
            runner.test_evaluator.metrics.append(DumpResults(args.out))
        metrics = runner.test()
        if is_main_process():
            write_metrics(metrics, args)
    return metrics


def has_display() -> bool:
    """Whether windows can be opened, as far as that can be told."""
    names = ('DISPLAY', 'WAYLAND_DISPLAY')
    return sys.platform != 'linux' or any(os.environ.get(name) for name in names)


def csv_files(cfg: Config) -> dict[str, str | None]:
    """Files that metrics write, by setting."""
    evaluator = cfg.get('test_evaluator') or []
    metrics = evaluator if isinstance(evaluator, list) else [evaluator]
    return {f'test_evaluator.{i}.csv': one.get('csv') for i, one in enumerate(metrics)}


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Turn the drawing of predictions on."""
    hook = cfg.default_hooks.setdefault('visualization', ConfigDict())
    hook.update(
        type='LTVisualizationHook',
        enable=True,
        show=args.show,
        wait_time=args.wait_time,
        out_dir=args.show_dir,
        interval=args.interval,
    )


def augment_test(cfg: Config) -> None:
    """Average the scores over several views of each image.

    Metrics of experts are left out: each view has its own experts' decisions.
    """
    dataset = innermost_config(cfg.test_dataloader.dataset)
    if 'tta_pipeline' not in cfg:
        *before, pack = deepcopy(list(dataset.pipeline))
        views = [{'type': 'RandomFlip', 'prob': prob} for prob in (0.0, 1.0)]
        cfg.tta_pipeline = [
            *before,
            {'type': 'TestTimeAug', 'transforms': [views, [pack]]},
        ]
    dataset.pipeline = cfg.tta_pipeline
    evaluator = cfg.get('test_evaluator') or []
    if isinstance(evaluator, list):
        left_out = [m['type'] for m in evaluator if m['type'] in OF_EXPERTS]
        cfg.test_evaluator = [m for m in evaluator if m['type'] not in OF_EXPERTS]
        if left_out:
            say(f'--tta: without {", ".join(left_out)}, of which each view has its own')
    wrapper = cfg.get('tta_model') or {'type': 'AverageClsScoreTTA'}
    cfg.model = ConfigDict(**wrapper, module=cfg.model)


def write_metrics(metrics: dict, args: argparse.Namespace) -> None:
    """Write the metrics to the files that the options name."""
    if args.out is not None and args.out_item == 'metrics':
        mmengine.dump(metrics, args.out)
    if args.json is not None:
        content = {
            'config': args.config,
            'checkpoint': args.checkpoint,
            'options': args.cfg_options,
            'metrics': metrics,
        }
        write_json(content, args.json)
