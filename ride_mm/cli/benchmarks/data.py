"""The speed of loading images: ``tools/benchmarks/data.py``."""

import argparse
import time
from collections.abc import Sequence
from copy import deepcopy

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch.utils.data import Dataset

from ...analysis.tables import format_table
from ...utils.machine import processor_name, usable_processors
from ...utils.wrapped import innermost_dataset, wrapped_datasets
from ..configs.loading import add_config_options, load_config
from ..errors import UsageError
from ..files import check_outputs, write_json
from ..runs.runner import set_dataloader_defaults
from .common import heading_text, run_benchmark

COLUMNS = ('workers', 'images/s', 'ms per batch')
SPLITS = ('train', 'val', 'test')
SAMPLES = 500
REPEATS = 10


def data_benchmark_main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``tools/benchmarks/data.py``."""
    run_benchmark(benchmark, make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Options of the tool."""
    parser = argparse.ArgumentParser(
        description="Measure how fast a config's images are loaded and augmented, by "
        'number of workers, and how long each step of the pipeline and the '
        'data preprocessor take',
        allow_abbrev=False,
        prog='data.py',
    )
    add = parser.add_argument
    add('config', help='path of a config, or the name of a shipped one')
    add('--split', choices=SPLITS, default='train')
    add(
        '--workers',
        nargs='+',
        type=int,
        default=sorted({0, 1, usable_processors()}),
        metavar='N',
        help='numbers of workers to try (default: 0, 1 and as many as processors)',
    )
    add('--batches', type=int, default=30, metavar='N', help='(default: 30)')
    add('--json', metavar='FILE', help='write all that was measured as JSON')
    add_config_options(parser)
    return parser


def benchmark(args: argparse.Namespace, command: str) -> dict:
    """Measure as the options say and print two tables.

    Args:
        args: The options.
        command: What the user called.

    Returns:
        All that was measured, as it is written to ``--json``.

    Raises:
        UsageError: If the options or the config cannot be followed.
    """
    for workers in args.workers:
        if workers < 0:
            raise UsageError(f'--workers: expected numbers >= 0, got {workers}')
    if args.batches < 1:
        raise UsageError(f'--batches: expected a number >= 1, got {args.batches}')
    check_outputs({'--json': args.json})
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    name = f'{args.split}_dataloader'
    if cfg.get(name) is None:
        raise UsageError(f'{args.config}: expected a {name}, got none')
    rows, steps = [], None
    for workers in args.workers:
        row, dataset, batch = time_loader(cfg, name, workers, args.batches)
        rows.append(row)
        if steps is None:
            steps = time_pipeline(dataset)
            if cfg.get('data_preprocessor') is not None:
                settings = cfg.data_preprocessor
                seconds = time_preprocessor(settings, batch, args.split == 'train')
                steps['data preprocessor, of a batch'] = seconds
        print(f'{workers} workers: {row["images_per_second"]:.0f} images/s', flush=True)
    heading = {
        'batch size': cfg[name].batch_size,
        'machine': f'{processor_name()}, {usable_processors()} processors',
        'command': command,
    }
    result = heading | {'loaders': rows, 'pipeline_seconds': steps}
    print(heading_text(heading))
    table = [
        (
            str(row['workers']),
            f'{row["images_per_second"]:.0f}',
            f'{1e3 * row["seconds_per_batch"]:.1f}',
        )
        for row in rows
    ]
    print(f'\n{format_table(COLUMNS, table)}\n')
    table = [(step, f'{1e6 * seconds:.0f}') for step, seconds in steps.items()]
    print(format_table(('one image, one process', 'us'), table))
    write_json(result, args.json)
    return result


def time_loader(
    cfg: Config, name: str, workers: int, batches: int
) -> tuple[dict, Dataset, dict]:
    """Time a data loader without its first batch, during which the workers start.

    Args:
        cfg: The config.
        name: Of its data loader.
        workers: How many it is to have.
        batches: How many to load; after the last one of an epoch the next begins.

    Returns:
        What was measured, the data set and the first batch.
    """
    cfg = Config(cfg.to_dict())
    cfg[name].num_workers = workers
    set_dataloader_defaults(cfg, (name,), True, True)
    loader = Runner.build_dataloader(cfg[name], seed=0)
    for dataset in wrapped_datasets(loader.dataset):
        if hasattr(dataset, 'set_epoch'):
            dataset.set_epoch(0, 0)
    images, left, iterator = 0, batches, iter(loader)
    first = next(iterator)
    start = time.perf_counter()
    while left:
        try:
            images += len(next(iterator)['inputs'])
        except StopIteration:
            iterator = iter(loader)
            continue
        left -= 1
    seconds = time.perf_counter() - start
    row = dict(
        workers=workers,
        images=images,
        images_per_second=images / seconds,
        seconds_per_batch=seconds / batches,
    )
    return row, loader.dataset, first


def time_preprocessor(settings: dict, batch: dict, training: bool) -> float:
    """Time a data preprocessor on the CPU, in processor time of this process.

    Args:
        settings: Its config; as in MMPretrain its type is ``ClsDataPreprocessor``
            unless it says another.
        batch: What a data loader gives.
        training: Whether it is to augment.

    Returns:
        Seconds for one image.
    """
    preprocessor = MODELS.build({'type': 'ClsDataPreprocessor', **settings})
    preprocessor(batch, training)
    start = time.process_time()
    for _ in range(REPEATS):
        preprocessor(batch, training)
    return (time.process_time() - start) / REPEATS / len(batch['inputs'])


def time_pipeline(dataset: Dataset) -> dict[str, float]:
    """Time each step of a data set's pipeline, in processor time of this process.

    Args:
        dataset: A data set of MMPretrain, or one around it.

    Returns:
        Seconds for one image, of the innermost data set's pipeline step by step, and of
        all together with what is around it.
    """
    count = min(SAMPLES, len(dataset))
    inner = innermost_dataset(dataset)
    start = time.process_time()
    for i in range(count):
        dataset[i]
    total = (time.process_time() - start) / count
    taken = {}
    samples = [inner.get_data_info(i % len(inner)) for i in range(count)]
    for transform in getattr(inner.pipeline, 'transforms', ()):
        samples = [deepcopy(sample) for sample in samples]
        start = time.process_time()
        samples = [transform(sample) for sample in samples]
        key = type(transform).__name__
        taken[key] = taken.get(key, 0.0) + (time.process_time() - start) / count
    return taken | {'all, with seeding and checks': total}
