"""Few-shot evaluation: a ridge regression on features, in closed form.

The protocol of Riquelme et al., V-MoE, NeurIPS 2021, section 3.2, as
https://github.com/google-research/vmoe has it: features are whitened channel by
channel, a constant of 100 joins them as a bias that is hardly regularised, the targets
are -1 and 1, and the regression of least squares is solved for several strengths of
regularisation from one decomposition.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SHOTS = (1, 5, 10, 25)
STRENGTHS = tuple(2.0**n for n in range(-10, 20))
BIAS = 100.0
EPSILON = 1e-5
# Rows that are scored at a time.
BLOCK = 4096


def draw_images(
    labels: np.ndarray, num_classes: int, per_class: int, seed: int
) -> np.ndarray:
    """Draw images of each class, without replacement.

    Args:
        labels: Class of each image, (N,).
        num_classes: C.
        per_class: Images of each class.
        seed: Of the draw. The first images of a class are the same for any
            ``per_class``.

    Returns:
        Their indices, (C, per_class).

    Raises:
        ValueError: If a class has fewer.
    """
    labels = np.asarray(labels)
    images = np.bincount(labels, minlength=num_classes)[:num_classes]
    if num_classes and images.min() < per_class:
        raise ValueError(
            f'expected at least {per_class} images of each class, got '
            f'{images.min()} of class {images.argmin()}'
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    return np.stack([order[labels[order] == c][:per_class] for c in range(num_classes)])


@dataclass(frozen=True)
class RidgePath:
    """Ridge regressions of all strengths on the same images.

    Attributes:
        mean: Of each channel, (1, D).
        std: Of each channel, and a little more, (1, D).
        left: First factor of the weights, (D + 1, R).
        right: Second factor, (R, C).
        eigenvalues: Between them, (R,); the weights of strength s are
            ``left / (eigenvalues + s) @ right``.
    """

    mean: Tensor
    std: Tensor
    left: Tensor
    right: Tensor
    eigenvalues: Tensor

    def weights(self, strength: float) -> Tensor:
        """Weights of the whitened features and the bias, (D + 1, C)."""
        return (self.left / (self.eigenvalues + strength)) @ self.right

    def predict(self, features: Tensor, strength: float) -> Tensor:
        """Class of each image, (N,), from its features (N, D)."""
        weights = self.weights(strength).to(features.dtype)
        mean, std = self.mean.to(features.dtype), self.std.to(features.dtype)
        return torch.cat(
            [
                (with_bias((block - mean) / std) @ weights).argmax(1)
                for block in features.split(BLOCK)
            ]
        )

    def accuracy(self, features: Tensor, labels: Tensor, strength: float) -> float:
        """Percentage of images (N, D) whose class, (N,), is right."""
        right = self.predict(features, strength) == labels
        return 100 * right.double().mean().item()


def fit_ridge(features: Tensor, labels: Tensor, num_classes: int) -> RidgePath:
    """Fit ridge regressions: ``min |X W - Y|^2 + s |W|^2`` for any strength s > 0.

    With X = U S V' the weights are ``V S (S^2 + s)^-1 U' Y``; the decomposition is that
    of X' X or X X', whichever is smaller, in float64.

    Args:
        features: Of the images, (N, D).
        labels: Their classes, (N,).
        num_classes: C.

    Raises:
        ValueError: If there are no images, or other than finite features.
    """
    if features.ndim != 2 or not len(features) or len(labels) != len(features):
        raise ValueError(
            f'features: expected shape (N, D) and N labels, got '
            f'{tuple(features.shape)} and {len(labels)}'
        )
    if not features.isfinite().all():
        raise ValueError('features: expected finite numbers, got others')
    x = features.double()
    mean = x.mean(0, keepdim=True)
    std = x.std(0, correction=0, keepdim=True) + EPSILON
    x = with_bias((x - mean) / std)
    y = 2 * torch.nn.functional.one_hot(labels, num_classes).double() - 1
    if x.shape[0] >= x.shape[1]:
        eigenvalues, q = torch.linalg.eigh(x.T @ x)
        left, right = q, q.T @ (x.T @ y)
    else:
        eigenvalues, q = torch.linalg.eigh(x @ x.T)
        left, right = x.T @ q, q.T @ y
    # Rounding makes some of those that are 0 negative.
    return RidgePath(mean, std, left, right, eigenvalues.clamp(min=0))


def with_bias(features: Tensor) -> Tensor:
    """Append the constant channel to features (N, D)."""
    return torch.cat((features, features.new_full((len(features), 1), BIAS)), 1)


@dataclass(frozen=True)
class FewShotResult:
    """Accuracy after some shots.

    Attributes:
        shots: Training images of each class.
        strength: Of the regularisation.
        accuracies: Percentage of test images for each draw of the shots.
    """

    shots: int
    strength: float
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the draws."""
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float | None:
        """Over the draws, of a sample; None for a single one."""
        if len(self.accuracies) < 2:
            return None
        return float(np.std(self.accuracies, ddof=1))


@dataclass(frozen=True)
class LabelledFeatures:
    """Features (N, D) and classes (N,)."""

    features: Tensor
    labels: Tensor

    def part(
        self, num_classes: int, first: int, last: int | None
    ) -> 'LabelledFeatures':
        """Images ``first`` to ``last`` of each class, which lie together, as many."""
        features = self.features.view(num_classes, -1, self.features.shape[-1])
        labels = self.labels.view(num_classes, -1)[:, first:last]
        return LabelledFeatures(features[:, first:last].flatten(0, 1), labels.flatten())


def evaluate_shots(
    draws: Sequence[LabelledFeatures],
    shots: int,
    test: LabelledFeatures,
    num_classes: int,
    strengths: Sequence[float] = STRENGTHS,
    choose_on: Sequence[LabelledFeatures] | None = None,
) -> FewShotResult:
    """Fit on a few images of each class for each draw, and test.

    The strength is one for all draws: that of the best mean accuracy on the images that
    choose, the weakest of equally good ones.

    Args:
        draws: Images that were drawn, those of each class together, as many of each.
        shots: The first so many of each class are used.
        test: Images to test on.
        num_classes: C.
        strengths: Of the regularisation; of one there is nothing to choose.
        choose_on: For each draw the images that choose; by default the test images.

    Raises:
        ValueError: If there are fewer images.
    """
    there = min(len(draw.labels) for draw in draws) // num_classes
    if shots > there:
        raise ValueError(f'shots: expected at most {there}, got {shots}')
    choose_on = [test] * len(draws) if choose_on is None else choose_on
    learnt = [draw.part(num_classes, 0, shots) for draw in draws]
    paths = [fit_ridge(one.features, one.labels, num_classes) for one in learnt]
    strength = strengths[0]
    if len(strengths) > 1:
        means = [
            np.mean(
                [
                    path.accuracy(held.features, held.labels, s)
                    for path, held in zip(paths, choose_on, strict=True)
                ]
            )
            for s in strengths
        ]
        strength = strengths[int(np.argmax(means))]
    accuracies = [path.accuracy(test.features, test.labels, strength) for path in paths]
    return FewShotResult(shots, strength, tuple(accuracies))
