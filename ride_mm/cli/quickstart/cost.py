"""What an image costs each model: parameters, multiply-adds and time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from torch import Tensor, nn

from ...analysis import model_complexity
from ...analysis.routing.speed import images_per_second
from ...apis.trained_model import load_weights, model_config
from ...utils.freed_memory import keep_freed_memory
from ..configs.loading import read_config
from ..devices import pick_device
from ..experiments import Run
from ..files import read_json, write_json
from .work import announce

INPUT_SHAPE = (3, 16, 16)
SECONDS = 3  # of measuring the speed, for each model


def cost_of(run: Run, metrics: Mapping[str, float]) -> dict[str, float]:
    """Count the parameters of a model, and the experts and multiply-adds of an image.

    Args:
        run: The training, finished.
        metrics: Of its test, which has the means over the images if there are routers.
    """
    model = trained_model(run)
    parameters, macs = model_complexity(model, INPUT_SHAPE)
    experts = model.num_experts
    if 'expert_usage/mean_macs' in metrics:
        experts = metrics['expert_usage/mean_experts']
        macs = 1e6 * metrics['expert_usage/mean_macs']
    return dict(parameters=parameters, mean_experts=experts, macs=macs)


def speeds_of(runs: Sequence[Run], folder: Path, device: str) -> dict[str, float]:
    """Measure all models in turns, unless that was done with these checkpoints.

    Args:
        runs: The trainings, finished.
        folder: Where the result is kept.
        device: ``'cpu'`` or ``'auto'``.

    Returns:
        Images per second by the name of the model.
    """
    result = folder / 'speed.json'
    belongs_to = [run.checkpoint.stat().st_mtime for run in runs]
    done = read_json(result)
    if done.get('belongs_to') == belongs_to:
        return done['images_per_second']
    announce('Measuring the speed on test images')
    place = pick_device(device)
    if place.type == 'cpu':
        keep_freed_memory()  # as tools/test.py does
    models = [trained_model(run).to(place) for run in runs]
    images = test_images(runs[0], models[0])
    measured = images_per_second(models, images, SECONDS * len(models))
    speeds = {run.name: speed for run, speed in zip(runs, measured, strict=True)}
    write_json({'belongs_to': belongs_to, 'images_per_second': speeds}, result)
    return speeds


def trained_model(run: Run) -> nn.Module:
    """Build a model with its checkpoint's weights, in evaluation mode."""
    init_default_scope('mmpretrain')
    model = MODELS.build(model_config(read_config(run.config)))
    load_weights(model, run.checkpoint)
    return model.eval()


@torch.no_grad()
def test_images(run: Run, model: nn.Module) -> Tensor:
    """All test images, preprocessed, on the model's device, (N, 3, H, W)."""
    dataset = DATASETS.build(read_config(run.config).test_dataloader.dataset)
    inputs = [dataset[i]['inputs'] for i in range(len(dataset))]
    return model.data_preprocessor(dict(inputs=inputs))['inputs']
