"""A model's training step, after a few batches of a shape as a CUDA graph."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from mmengine.dist import get_world_size
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...models.layers import MoELayer
from ...structures import LabelBatch, batch_targets
from ..optimizers import AutocastOptimWrapper
from .captured import CapturedStep

# Batches of a shape that are computed launch by launch, so that libraries choose their
# kernels and allocate what they need, before one is recorded.
WARM_UP = 2


class GraphedStep:
    """Takes the place of ``model.train_step``.

    Forward pass, losses and backward pass of each shape of batch are recorded once and
    replayed from then on; the optimizer steps outside, so that learning rates, clipping
    and schedules work as ever. Losses stay on the GPU until :meth:`take_losses`,
    because reading them waits for it.

    What modules hold as plain numbers, such as whether re-weighting has begun, is baked
    into a recording. :meth:`look_again` has it compared before the next batch; other
    numbers make new recordings.

    Args:
        model: In training mode, on a GPU, see :func:`why_not`.
        captured: Records a step.
    """

    def __init__(
        self, model: BaseModel, captured: Callable[..., CapturedStep] = CapturedStep
    ) -> None:
        self._model = model
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._capture = captured
        self._on_gpu = self._parameters[0].is_cuda
        # Of its own: libraries keep memory for each stream, which goes with its graphs.
        self._stream = torch.cuda.Stream() if self._on_gpu else None
        self._forget()
        self._state: tuple | None = None
        self._looked = False
        self._names: list[str] = []
        self._losses: list[tuple[list[str], Tensor]] = []

    @property
    def recordings(self) -> int:
        """How many shapes of batch are recorded."""
        return len(self._recordings)

    def __call__(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, float]:
        """Do a step on a batch of the data loader.

        Returns:
            An empty dictionary, see :meth:`take_losses`.
        """
        data = self._model.data_preprocessor(data, True)
        return self.step(data['inputs'], data['data_samples'], optim_wrapper)

    def step(
        self, images: Tensor, samples: Sequence[DataSample], optim_wrapper: OptimWrapper
    ) -> dict[str, float]:
        """Do a step on preprocessed images, (N, 3, H, W).

        Returns:
            An empty dictionary, see :meth:`take_losses`.

        Raises:
            RuntimeError: If the step cannot be recorded.
        """
        if not self._looked:
            self._compare_state()
        inputs = [images, *_label_tensors(samples)]
        key = tuple((one.shape, one.dtype) for one in inputs)

        def compute(*tensors: Tensor) -> Tensor:
            return self._differentiate(optim_wrapper, *tensors)

        recording = self._recordings.get(key)
        if recording is None and self._seen.get(key, 0) >= WARM_UP:
            recording = self._record(compute, inputs)
            self._recordings[key] = recording
        if recording is None:
            self._seen[key] = self._seen.get(key, 0) + 1
            # Not those of a recording, which others may share their memory with.
            for parameter in self._parameters:
                parameter.grad = None
            with self._beside():
                report = compute(*inputs)
            names = self._names
        else:
            captured, names = recording
            report = captured.replay(inputs).clone()
        optim_wrapper._inner_count += 1
        optim_wrapper.step()
        self._losses.append((names, report))
        return {}

    def look_again(self) -> None:
        """Compare what modules hold as plain numbers before the next batch."""
        self._looked = False

    def drop_losses(self) -> None:
        """Forget what :meth:`take_losses` would return."""
        self._losses.clear()

    def take_losses(self) -> list[dict[str, float]]:
        """Losses, and what else is logged, of the steps since the last call."""
        taken, self._losses = self._losses, []
        if not taken:
            return []
        values = torch.cat([report for _, report in taken]).tolist()
        rows, start = [], 0
        for names, _ in taken:
            end = start + len(names)
            rows.append(dict(zip(names, values[start:end], strict=True)))
            start = end
        return rows

    def _record(
        self, compute: Callable[..., Tensor], inputs: Sequence[Tensor]
    ) -> tuple[CapturedStep, list[str]]:
        """Record a step, with the names of what it reports."""
        try:
            captured = self._capture(
                compute, inputs, self._parameters, self._pool, self._stream
            )
            return captured, self._names
        except RuntimeError as err:
            raise RuntimeError(
                'the training step cannot be recorded as a CUDA graph, for example '
                'because a part of it reads values from the GPU or copies some to it; '
                'train without, --cfg-options default_hooks.cuda_graph.enable=False. '
                f'PyTorch says: {err}'
            ) from err

    def _differentiate(
        self,
        optim_wrapper: OptimWrapper,
        images: Tensor,
        labels: Tensor,
        sample_idx: Tensor,
        scores: Tensor | None = None,
    ) -> Tensor:
        """Leave gradients behind; returns what is logged, (K,)."""
        samples = LabelBatch(labels, sample_idx, scores)
        with optim_wrapper.optim_context(self._model):
            losses = self._model(images, samples, mode='loss')
        loss, logged = self._model.parse_losses(losses)
        loss.backward()
        self._names = list(logged)
        return torch.stack([value.detach().float() for value in logged.values()])

    def _compare_state(self) -> None:
        state = tuple(
            (name, key, value)
            for name, module in self._model.named_modules()
            for key, value in vars(module).items()
            if isinstance(value, (bool, int, float, str))
        )
        if state != self._state:
            self._forget()
        self._state, self._looked = state, True

    def _forget(self) -> None:
        """Drop all recordings, and their memory, which new ones may not share."""
        self._seen: dict[tuple, int] = {}
        self._recordings: dict[tuple, tuple[CapturedStep, list[str]]] = {}
        self._pool = torch.cuda.graph_pool_handle() if self._on_gpu else None

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """Compute on the stream that is recorded, as PyTorch asks of a warm-up."""
        if self._stream is None:
            yield
            return
        main = torch.cuda.current_stream()
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            yield
        main.wait_stream(self._stream)


def _label_tensors(samples: Sequence[DataSample]) -> list[Tensor]:
    """Labels (N,), positions (N,) and, if there are any, soft labels (N, C)."""
    if isinstance(samples, LabelBatch):
        parts = [samples.labels, samples.sample_idx, samples.scores]
        return [part for part in parts if part is not None]
    target = batch_targets(samples)
    hard = torch.cat([sample.gt_label for sample in samples])
    positions = torch.zeros_like(hard)
    return [hard, positions] if target.ndim == 1 else [hard, positions, target]


def why_not(model: nn.Module, optim_wrapper: OptimWrapper) -> str | None:
    """Why a training cannot be recorded, in words; None if it can.

    Also None on a CPU, where the hook does nothing.
    """
    if get_world_size() > 1 or is_model_wrapper(model):
        return 'it is made for several processes'
    if type(optim_wrapper) not in (OptimWrapper, AutocastOptimWrapper):
        return (
            f'{type(optim_wrapper).__name__} decides in each step (of fp16, say) what '
            'is done'
        )
    if optim_wrapper._accumulative_counts != 1:
        return 'gradients are accumulated over several batches'
    teacher = getattr(model, 'teacher', None)
    networks = [model] if teacher is None else [model, teacher.classifier]
    parts = chain.from_iterable(network.modules() for network in networks)
    if any(isinstance(part, MoELayer) for part in parts):
        return "a V-MoE's experts take as many tokens as come"
    distill = getattr(model, 'distill', None) or {}
    for name, loss in distill.items():
        if getattr(loss, 'needs_sample_idx', False):
            return f'the loss {name} keeps a memory of images'
    return None
