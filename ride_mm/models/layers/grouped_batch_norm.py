"""BatchNorm over groups of images."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module('GroupedBN')
class GroupedBatchNorm2d(nn.BatchNorm2d):
    """Normalises a batch in groups, as several GPUs with a share each would.

    Recipes made on 8 GPUs with 32 images each have the batch statistics of 32 images;
    one GPU with 256 has others, which costs RIDE about 3 points on ImageNet-LT
    (https://github.com/frank-xwang/RIDE-LongTailRecognition, issue 34). With
    ``norm_cfg=dict(type='GroupedBN', images_per_group=32)`` one GPU, or several, have
    those of the recipe. In eval mode it is BatchNorm, and so is its state dict.

    Args:
        num_features: Channels, C.
        images_per_group: Images that are normalised together, in the order of the
            batch. What is left over is a smaller group; a single image joins the one
            before.
        running: Running statistics follow the ``'mean'`` of the groups, weighted by
            their images, or the ``'first'`` group, as with PyTorch's ``DataParallel``.
        **kwargs: Of ``torch.nn.BatchNorm2d``.
    """

    def __init__(
        self,
        num_features: int,
        images_per_group: int = 32,
        running: str = 'mean',
        **kwargs,
    ) -> None:
        super().__init__(num_features, **kwargs)
        if type(images_per_group) is not int or images_per_group < 2:
            raise ValueError(
                'images_per_group: expected a whole number >= 2, got '
                f'{images_per_group!r}'
            )
        if running not in ('mean', 'first'):
            raise ValueError(f"running: expected 'mean' or 'first', got {running!r}")
        self.images_per_group = images_per_group
        self.running = running

    def forward(self, x: Tensor) -> Tensor:
        """Normalise images (N, C, H, W)."""
        groups = group_sizes(len(x), self.images_per_group)
        if not self.training or len(groups) == 1:
            return super().forward(x)
        self._check_input_dim(x)
        statistics = x.new_zeros(2, len(groups), x.shape[1], dtype=torch.float32)
        parts = []
        for g, part in enumerate(x.split(groups)):
            # With a momentum of one it writes down the group's own statistics.
            mean, var = statistics[:, g]
            parts.append(
                F.batch_norm(
                    part, mean, var, self.weight, self.bias, True, 1.0, self.eps
                )
            )
        if self.track_running_stats:
            self._follow(statistics, groups)
        return torch.cat(parts)

    def _follow(self, statistics: Tensor, groups: list[int]) -> None:
        """Move the running mean and variance, given the groups', (2, G, C)."""
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # The mean of all batches so far.
            momentum = 1.0 / float(self.num_batches_tracked)
        if self.running == 'first':
            new = statistics[:, 0]
        else:
            share = statistics.new_tensor(groups) / sum(groups)
            new = (statistics * share[:, None]).sum(1)
        self.running_mean.lerp_(new[0].to(self.running_mean), momentum)
        self.running_var.lerp_(new[1].to(self.running_var), momentum)

    def extra_repr(self) -> str:
        """As BatchNorm, and the groups."""
        return f'{super().extra_repr()}, images_per_group={self.images_per_group}'


def group_sizes(images: int, images_per_group: int) -> list[int]:
    """Images of each group of a batch; none has a single one if there are more."""
    sizes = [images_per_group] * (images // images_per_group)
    left = images % images_per_group
    if left == 1 and sizes:
        sizes[-1] += 1
    elif left:
        sizes.append(left)
    return sizes
