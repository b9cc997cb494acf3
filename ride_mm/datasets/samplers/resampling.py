"""Re-sampling of long-tailed data as functions of (seed, epoch).

An epoch is drawn as the official class-balanced sampler of RIDE does
(``BalancedSampler`` in ``data_loader/cifar_data_loaders.py`` of
https://github.com/frank-xwang/RIDE-LongTailRecognition, with ``retain_epoch_size``):
pick a class at random, independently each time, then take its next image. The images
of a class come in cycles, each in a new shuffled order, which go on from epoch to
epoch. Unlike there, nothing depends on which epochs were drawn before.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..position import position_seed

# q in p_c proportional to n_c ** q.
EXPONENTS = {'class_balanced': 0.0, 'square_root': 0.5, 'instance_balanced': 1.0}
STRATEGIES = (*EXPONENTS, 'effective_number')

# Last part of five in the seeds: which stream is drawn. PositionSeedHook uses 1 and 2.
CLASSES_OF_EPOCH, CYCLES_OF_CLASS = 11, 12


def class_probabilities(
    class_counts: Sequence[int], strategy: str = 'class_balanced', beta: float = 0.9999
) -> np.ndarray:
    """Probability that the next image is one of class c.

    ``p_c`` is proportional to ``n_c ** q`` (Kang et al., Decoupling, ICLR 2020, eq. 1):

    * ``'class_balanced'``: q = 0, each class equally often;
    * ``'square_root'``: q = 1/2 (Mikolov et al., NeurIPS 2013; Mahajan et al., ECCV
      2018);
    * ``'instance_balanced'``: q = 1, each image equally often;

    or, for ``'effective_number'``, to ``n_c / E_c`` with ``E_c = (1 - beta ** n_c) /
    (1 - beta)``: each image has the weight 1 / E_c (Cui et al., CVPR 2019, eq. 2; the
    rule ``Resample`` of https://github.com/kaidic/LDAM-DRW).

    Args:
        class_counts: Training images of each class, n_c, (C,).
        strategy: One of the four.
        beta: Of the effective number, in [0, 1); 0 is instance-balanced, and towards 1
            it becomes class-balanced.

    Returns:
        Probabilities, (C,), float64; 0 for a class without an image.

    Raises:
        ValueError: If an argument is out of range or there is no image at all.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f'strategy: expected one of {STRATEGIES}, got {strategy!r}')
    if not 0 <= beta < 1:
        raise ValueError(f'beta: expected 0 <= beta < 1, got {beta}')
    counts = np.asarray(class_counts)
    if counts.ndim != 1 or np.any(counts < 0):
        raise ValueError(
            f'class_counts: expected C numbers >= 0, got {counts.tolist()}'
        )
    if not np.any(counts):
        raise ValueError(
            f'class_counts: expected at least one image, got none in {len(counts)} '
            'classes'
        )
    present = counts > 0
    n = counts[present].astype(np.float64)
    if strategy == 'effective_number':
        # 1 - beta ** n, without the cancellation for a beta close to 1.
        weights = n / -np.expm1(n * (math.log(beta) if beta else -math.inf))
    else:
        weights = n ** EXPONENTS[strategy]
    probabilities = np.zeros(len(counts))
    probabilities[present] = weights / weights.sum()
    return probabilities


def images_by_class(labels: Sequence[int]) -> list[np.ndarray]:
    """Group images by their label.

    Args:
        labels: Label of each image, (N,).

    Returns:
        Positions of the images of each class in ascending order, C arrays (n_c,).

    Raises:
        ValueError: If the labels are not one integer >= 0 for each image.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or (len(labels) and labels.dtype.kind not in 'iu'):
        raise ValueError(
            'labels: expected one integer for each image, got an array of '
            f'{labels.dtype} and shape {labels.shape}'
        )
    if np.any(labels < 0):
        wrong = int(np.argmax(labels < 0))
        raise ValueError(
            f'labels: expected class indices >= 0, got {labels[wrong]} at image {wrong}'
        )
    if not len(labels):
        return []
    ends = np.cumsum(np.bincount(labels))
    return np.split(np.argsort(labels, kind='stable'), ends[:-1])


def epoch_indices(
    images: Sequence[np.ndarray],
    probabilities: np.ndarray,
    length: int,
    seed: int,
    epoch: int,
) -> np.ndarray:
    """The images of one epoch, in order.

    Args:
        images: Of each class, C arrays (n_c,), see :func:`images_by_class`.
        probabilities: Of :func:`class_probabilities`, (C,).
        length: Draws in an epoch, L.
        seed: The run's seed.
        epoch: From 0 on. The time that it takes grows with it, slightly.

    Returns:
        Positions of images, (L,), int64.
    """
    classes = _shuffled_classes(probabilities, length, seed, epoch)
    numbers = np.bincount(classes, minlength=len(images))
    before = sum(
        (_class_numbers(probabilities, length, seed, e)[0] for e in range(epoch)),
        start=np.zeros(len(images), dtype=np.int64),
    )
    drawn = [
        _next_images(images[c], before[c], numbers[c], seed, c)
        for c in np.flatnonzero(numbers).tolist()
    ]
    indices = np.empty(length, dtype=np.int64)
    indices[np.argsort(classes, kind='stable')] = np.concatenate(drawn)
    return indices


def _class_numbers(
    probabilities: np.ndarray, length: int, seed: int, epoch: int
) -> tuple[np.ndarray, np.random.Generator]:
    """How often each class is drawn in an epoch, (C,), and its generator.

    Of independent draws the numbers are multinomial and the order is a random
    permutation. So the draws of earlier epochs can be counted without being made.
    """
    rng = np.random.default_rng(position_seed(seed, epoch, 0, 0, CLASSES_OF_EPOCH))
    # An absent class must not be the last one, which receives what rounding leaves.
    present = np.flatnonzero(probabilities)
    numbers = np.zeros(len(probabilities), dtype=np.int64)
    numbers[present] = rng.multinomial(length, probabilities[present])
    return numbers, rng


def _shuffled_classes(
    probabilities: np.ndarray, length: int, seed: int, epoch: int
) -> np.ndarray:
    """The class of each draw of an epoch, (L,)."""
    numbers, rng = _class_numbers(probabilities, length, seed, epoch)
    return rng.permutation(np.repeat(np.arange(len(numbers)), numbers))


def _next_images(
    images: np.ndarray, before: int, number: int, seed: int, class_index: int
) -> np.ndarray:
    """The next images of a class after ``before`` draws of it, (number,).

    Cycle j is sorted by the words j * n to (j + 1) * n - 1 of the class's random
    stream, so any cycle is reached without the ones before it.
    """
    n = len(images)
    first, end = int(before) // n, -(-int(before + number) // n)
    stream = np.random.PCG64(position_seed(seed, 0, class_index, 0, CYCLES_OF_CLASS))
    keys = stream.advance(first * n).random_raw((end - first) * n)
    order = keys.reshape(-1, n).argsort(axis=1).ravel()
    skipped = before - first * n
    return images[order[skipped : skipped + number]]
