"""Classify images with a trained model."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample
from torch import nn
from torch.utils.data import DataLoader

from ..models.compiled import compile_for_inference
from .image_samples import Image, ImageSamples, name_of_image
from .trained_model import (
    build_part,
    check_has_weights,
    class_names,
    config_of,
    load_weights,
    model_config,
    pipeline_of,
    set_thresholds,
    weights_of,
)

LOADING = 'LoadImageFromFile'


class Inferencer:
    """Classifies image files and arrays as a test of the same model does.

    An image goes through the pipeline of the config's test data set, whatever its size;
    files are loaded as BGR, turned as their EXIF entry says::

        from ride_mm.apis import Inferencer

        inferencer = Inferencer('ride_r20_digitslt_router', 'epoch_10.pth')
        for result in inferencer(['a.png', 'b.jpg']):
            print(result['pred_class'], result['pred_score'], result['num_experts'])

    Args:
        model: Path of a config, the name of a shipped one, a config, or a model that
            MMPretrain's ``get_model`` returned.
        checkpoint: Path or https address of a checkpoint. ``None`` takes the weights
            that ride_mm ships for a config of that name, or those that a model has.
        device: Such as ``'cuda:0'``; by default a GPU if there is one.
        classes: Names of the classes, (C,). By default those in the checkpoint, else
            those of the config's test data set, else the indices.
        thresholds: Of the routers, see :meth:`RouterHead.set_thresholds`; by default
            the config's, else the checkpoint's.
        compile: Whether the first batch has the network compiled, which takes about 20
            seconds, see :func:`~ride_mm.models.compiled.compile_for_inference`.

    Raises:
        ValueError: If config, classes or thresholds cannot be used, there are no
            weights, or a network with routers is to be compiled.
        FileNotFoundError: If there is no such config or checkpoint.
        CheckpointError: If the checkpoint cannot be fetched, is not of that model or
            has weights that are not finite; it names the first differences.
    """

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        classes: Sequence[str] | None = None,
        thresholds: float | Sequence[float] | None = None,
        compile: bool = False,
    ) -> None:
        self.config = config_of(model)
        transforms = pipeline_of(self.config)
        weights = checkpoint
        if weights is None and not isinstance(model, nn.Module):
            weights = weights_of(self.config)
        meta = {}
        with DefaultScope.overwrite_default_scope(
            self.config.get('default_scope', 'mmpretrain')
        ):
            if not isinstance(model, nn.Module):
                model = build_part(MODELS, model_config(self.config))
            if weights is not None:
                meta = load_weights(model, weights)
            else:
                check_has_weights(model)
            loading = [t for t in transforms if t['type'] == LOADING]
            self.load = build_part(
                TRANSFORMS, dict(loading[0] if loading else {}, type=LOADING)
            )
            others = [t for t in transforms if t['type'] != LOADING]
            self.pipeline = Compose([build_part(TRANSFORMS, t) for t in others])
            known = meta.get('dataset_meta') or getattr(model, '_dataset_meta', None)
            self.classes = class_names(model, classes, known, self.config)
        if thresholds is not None:
            set_thresholds(model, thresholds)
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.model = model.to(device).eval()
        if compile:
            compile_for_inference(self.model)

    def __call__(
        self, images: Image | Sequence[Image], top_k: int = 5, batch_size: int = 32
    ) -> list[dict[str, Any]]:
        """Classify images.

        Args:
            images: Paths, and arrays of uint8 in BGR, (H, W, 3), or grey, (H, W), as
                OpenCV reads them; or one of these.
            top_k: Classes to name for each image, at most C.
            batch_size: Images to compute at a time.

        Returns:
            For each image a dictionary: ``pred_label``, ``pred_class`` and
            ``pred_score``, the probability; ``num_experts``, how many a model with
            routers has asked, else None; ``top_k``, a list of dictionaries with the
            first three keys, best first; ``img_path``, None for an array.

        Raises:
            ValueError: If an image cannot be read, with its name and why.
        """
        if isinstance(images, (str, Path, np.ndarray)):
            images = [images]
        return list(self.iterate(images, top_k, batch_size))

    def iterate(
        self,
        images: Sequence[Image],
        top_k: int = 5,
        batch_size: int = 32,
        num_workers: int = 0,
        skip: Callable[[Image, str], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Classify images one batch after the other, in the order given.

        Args:
            images: As in :meth:`__call__`.
            top_k: As in :meth:`__call__`.
            batch_size: As in :meth:`__call__`.
            num_workers: Processes that load images; 0 loads in this one.
            skip: Called with an image that cannot be read and what is wrong with it;
                the image is passed over.

        Yields:
            The dictionaries of :meth:`__call__`.

        Raises:
            ValueError: If a number is below 1, or an image cannot be read and ``skip``
                is not given.
        """
        for name, number in (('top_k', top_k), ('batch_size', batch_size)):
            if number < 1:
                raise ValueError(f'{name}: expected a number >= 1, got {number}')
        loader = DataLoader(
            ImageSamples(images, self.load, self.pipeline),
            batch_size,
            num_workers=num_workers,
            collate_fn=list,
        )
        for batch in loader:
            good = []
            for index, item in batch:
                if not isinstance(item, str):
                    good.append((images[index], item))
                elif skip is not None:
                    skip(images[index], item)
                else:
                    raise ValueError(f'{name_of_image(images[index], index)}: {item}')
            # A pipeline that does not crop leaves images of several sizes.
            for _, group in groupby(good, key=lambda pair: pair[1]['inputs'].shape):
                yield from self._classify(*zip(*group, strict=True), top_k)

    @torch.no_grad()
    def _classify(self, images: tuple, items: tuple, top_k: int) -> list[dict]:
        samples = self.model.test_step(default_collate(items))
        return [
            self._result(image, sample, top_k)
            for image, sample in zip(images, samples, strict=True)
        ]

    def _result(self, image: Image, sample: DataSample, top_k: int) -> dict:
        # Stable, so that of equal scores the first wins, as in argmax.
        scores, labels = sample.pred_score.cpu().sort(descending=True, stable=True)
        top = [
            dict(pred_label=label, pred_class=self.name_of(label), pred_score=score)
            for label, score in zip(
                labels[:top_k].tolist(), scores[:top_k].tolist(), strict=True
            )
        ]
        return dict(
            img_path=None if isinstance(image, np.ndarray) else str(image),
            **top[0],
            num_experts=sample.get('num_experts'),
            top_k=top,
        )

    def name_of(self, label: int) -> str:
        """Name of a class, its index if there is none."""
        return str(label) if self.classes is None else self.classes[label]
