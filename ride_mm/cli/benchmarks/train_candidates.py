"""What the benchmark of training measures: a step, a bare loop, ``tools/train.py``."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...analysis.speed import (
    TrainingStep,
    model_step,
    reference_model,
    reference_step,
)
from ...datasets.imbalance import imbalanced_counts
from ...engine.graphed import WARM_UP, GraphedStep, why_not
from ...engine.hooks.compile import compile_options, why_not_compile
from ...models.compiled import compile_for_training
from ...models.layers import modules_wanting_class_counts
from ...structures import LabelBatch
from ..errors import UsageError
from ..program import say
from ..runs.runner import build_runner, set_dataloader_defaults
from ..runs.training import set_precision

SEED = 0
LARGEST_CLASS, IMBALANCE = 500, 100


@dataclass(eq=False)
class Candidate:
    """One thing to measure.

    Attributes:
        name: For the table.
        dtype: ``'fp32'`` or ``'bf16'``.
        batch_size: Images of a step, N.
        step: Does one step.
        parts: The step on a fixed batch, part by part.
        fetch: Loads and preprocesses a batch.
        inner: The candidate that does the same without the framework.
        close: Frees what is held.
    """

    name: str
    dtype: str
    batch_size: int
    step: Callable[[], object]
    parts: TrainingStep | None = None
    fetch: Callable[[], object] | None = None
    inner: 'Candidate | None' = None
    close: Callable[[], None] = field(default=lambda: None)


def from_random_images(
    settings: Mapping[str, Config],
    dtype: str,
    side: tuple[int, int],
    device: torch.device,
    reference: str | None = None,
) -> list[Candidate]:
    """Steps on one batch of random images, the same for all; the authors' is the first.

    Args:
        settings: Configs by name; the authors' code has the shape of the first.
        dtype: ``'fp32'`` or ``'bf16'``.
        side: Height and width of the images.
        device: Where to compute.
        reference: Checkout of the authors' repository.

    Raises:
        UsageError: If a model cannot be built.
    """
    candidates = []
    if reference is not None:
        cfg = next(iter(settings.values()))
        num_classes = _num_classes(cfg)
        images, labels = random_batch(cfg, side, num_classes, device)
        try:
            model = reference_model(reference, cfg.model).to(device).train()
            counts = imbalanced_counts(LARGEST_CLASS, num_classes, 'exp', IMBALANCE)
            half = torch.bfloat16 if dtype == 'bf16' else None
            step = reference_step(reference, model, images, labels, counts, half)
        except ValueError as err:
            raise UsageError(f'--{err}') from None
        theirs = Candidate("step, the authors' code", dtype, len(images), step, step)
        candidates.append(theirs)
    for name, cfg in settings.items():
        num_classes = _num_classes(cfg)
        images, labels = random_batch(cfg, side, num_classes, device)
        samples = [DataSample().set_gt_label(label) for label in labels]
        try:
            model, optim_wrapper = build_training(cfg, dtype, num_classes, device)
        except (KeyError, TypeError, ValueError) as err:
            raise UsageError(f'{name}: {err.args[0]}') from None
        step = model_step(model, optim_wrapper, images, samples)
        candidates.append(Candidate(f'step, {name}', dtype, len(images), step, step))
        if device.type == 'cuda' and why_not(model, optim_wrapper) is None:
            graphed = _graphed_step(cfg, dtype, images, labels)
            try:
                for _ in range(WARM_UP + 1):
                    graphed()
            except RuntimeError as err:
                say(f'{name}: {err}')
            else:
                graph = Candidate(f'CUDA graph, {name}', dtype, len(images), graphed)
                candidates.append(graph)
    return candidates


def from_data(
    settings: Mapping[str, Config], dtype: str, device: torch.device
) -> list[Candidate]:
    """A bare loop and what ``tools/train.py`` does, both on a config's data set."""
    candidates = []
    for name, cfg in settings.items():
        cfg = Config(cfg.to_dict())
        set_dataloader_defaults(cfg, ('train_dataloader',), True, True)
        bare = _bare_loop(cfg, dtype, device)
        bare.name = f'bare loop, {name}'
        candidates.append(bare)
        candidates.append(_runner(cfg, dtype, f'train.py, {name}', bare))
    return candidates


def build_training(
    cfg: Config, dtype: str, num_classes: int, device: torch.device
) -> tuple[nn.Module, OptimWrapper]:
    """Build a config's model with random weights, in training mode, and its optimizer.

    Its class counts fall exponentially by a factor of 100. The backbone is compiled if
    the config's ``CompileHook`` is enabled.
    """
    cfg = _with_precision(cfg, dtype)
    torch.manual_seed(SEED)
    preprocessor = cfg.get('data_preprocessor')
    model = dict(cfg.model)
    if preprocessor is not None:
        model.setdefault('data_preprocessor', preprocessor)
    model = MODELS.build(model)
    counts = imbalanced_counts(LARGEST_CLASS, num_classes, 'exp', IMBALANCE)
    for _, module in modules_wanting_class_counts(model):
        module.set_class_counts(counts)
    model = model.to(device).train()
    if _enabled(cfg, 'compile'):
        reason = why_not_compile(model)
        if reason is None:
            options = compile_options(cfg.default_hooks.compile.get('options') or {})
            compile_for_training(model, cfg.train_dataloader.batch_size, options)
        else:
            say(f'The backbone is not compiled: {reason}.')
    return model, build_optim_wrapper(model, cfg.optim_wrapper)


def random_batch(
    cfg: Config, side: tuple[int, int], num_classes: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Images (N, 3, H, W) and labels (N,), the same at each call."""
    generator = torch.Generator().manual_seed(SEED)
    count = cfg.train_dataloader.batch_size
    channels = cfg.model.backbone.get('in_channels', 3)
    images = torch.randn(count, channels, *side, generator=generator)
    labels = torch.randint(num_classes, (count,), generator=generator)
    return images.to(device), labels.to(device)


def _graphed_step(
    cfg: Config, dtype: str, images: Tensor, labels: Tensor
) -> Callable[[], object]:
    """The step of a second model as a CUDA graph."""
    model, optim_wrapper = build_training(cfg, dtype, _num_classes(cfg), images.device)
    graphed = GraphedStep(model)
    samples = LabelBatch(labels, labels)

    def step() -> None:
        graphed.step(images, samples, optim_wrapper)
        graphed.drop_losses()

    return step


def _bare_loop(cfg: Config, dtype: str, device: torch.device) -> Candidate:
    """Load, preprocess, train: no hook, no log."""
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=SEED)
    model, optim_wrapper = build_training(cfg, dtype, _num_classes(cfg), device)
    batches = _endless(loader)

    def fetch() -> dict:
        return model.data_preprocessor(next(batches), True)

    # As the runner beside it, which leaves the rest to the hook.
    as_graph = device.type == 'cuda' and _enabled(cfg, 'cuda_graph')
    if as_graph and why_not(model, optim_wrapper) is None:
        graphed = GraphedStep(model)
    else:
        graphed = None

    def step() -> None:
        data = fetch()
        images, samples = data['inputs'], data['data_samples']
        if graphed is None:
            model_step(model, optim_wrapper, images, samples)()
        else:
            graphed.step(images, samples, optim_wrapper)
            graphed.drop_losses()

    first = fetch()
    parts = model_step(model, optim_wrapper, first['inputs'], first['data_samples'])
    return Candidate('', dtype, loader.batch_size, step, parts, fetch)


def _runner(cfg: Config, dtype: str, name: str, bare: Candidate) -> Candidate:
    """Iterations of a real training, with all of its hooks."""
    cfg = _with_precision(cfg, dtype)
    cfg.train_cfg = dict(
        type='SteppedTrainLoop', max_epochs=cfg.train_cfg.get('max_epochs', 1)
    )
    for kind in ('val', 'test'):
        for part in ('cfg', 'dataloader', 'evaluator'):
            cfg[f'{kind}_{part}'] = None
    cfg.load_from, cfg.resume = None, False
    folder = tempfile.TemporaryDirectory()
    cfg.work_dir = folder.name
    cfg.log_level = 'WARNING'
    with redirect_stdout(StringIO()):
        runner = build_runner(cfg)
        runner.train()
    return Candidate(
        name,
        dtype,
        bare.batch_size,
        runner.train_loop.step,
        inner=bare,
        close=folder.cleanup,
    )


def _enabled(cfg: Config, hook: str) -> bool:
    """Whether a hook of that name is there and not told otherwise."""
    found = (cfg.get('default_hooks') or {}).get(hook)
    return bool(found) and found.get('enable', True)


def _with_precision(cfg: Config, dtype: str) -> Config:
    cfg = Config(cfg.to_dict())
    if dtype != 'fp32':
        set_precision(cfg.optim_wrapper, dtype)
    return cfg


def _num_classes(cfg: Config) -> int:
    return cfg.model.head.num_classes


def _endless(loader: torch.utils.data.DataLoader) -> Iterator[dict]:
    while True:
        yield from loader
