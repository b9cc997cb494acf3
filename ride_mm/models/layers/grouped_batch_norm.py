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
    (https://github.com/frank-xwang/RIDE-LongTailRecognition/issues/34). With
    ``norm_cfg=dict(type='GroupedBN', images_per_group=32)`` one GPU, or several, have
    those of the recipe. In eval mode it is BatchNorm, and so is its state dict.

    Of G groups, group g has every G-th image from image g on. MMEngine's sampler deals
    images out to processes in the same way, so that the groups of one process are those
    of several with a part of the batch each: the training is the same.

    Args:
        num_features: Channels, C.
        images_per_group: The most images that are normalised together; a batch that
            they do not divide has smaller groups, whose sizes differ by one at most.
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
        groups = number_of_groups(len(x), self.images_per_group)
        if not self.training or groups == 1:
            return super().forward(x)
        self._check_input_dim(x)
        dtype = torch.promote_types(x.dtype, torch.float32)
        statistics = x.new_zeros(2, groups, x.shape[1], dtype=dtype)
        if len(x) % groups == 0:
            out = self._normalise_evenly(x, statistics)
        else:
            out = torch.empty_like(x)
            for g in range(groups):
                out[g::groups] = self._normalise(x[g::groups], statistics[:, g])
        if self.track_running_stats:
            self._follow(statistics, len(x))
        return out

    def _normalise_evenly(self, x: Tensor, statistics: Tensor) -> Tensor:
        """Normalise in one call: block g of row k is image k * G + g."""
        groups = statistics.shape[1]
        rows = x.reshape(len(x) // groups, groups * x.shape[1], *x.shape[2:])
        out = self._normalise(rows, statistics.flatten(1), repeat=groups)
        out = out.reshape(x.shape)
        if x.is_contiguous():
            return out
        return out.contiguous(memory_format=torch.channels_last)

    def _normalise(self, x: Tensor, statistics: Tensor, repeat: int = 1) -> Tensor:
        """Normalise a group and write its mean and variance down, (2, C)."""
        weight, bias = (
            w if w is None else w.repeat(repeat) for w in (self.weight, self.bias)
        )
        mean, var = statistics
        # With a momentum of one they become the batch's own.
        return F.batch_norm(x, mean, var, weight, bias, True, 1.0, self.eps)

    def _follow(self, statistics: Tensor, images: int) -> None:
        """Move the running mean and variance, given the groups', (2, G, C)."""
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # The mean of all batches so far.
            momentum = (1.0 / self.num_batches_tracked).to(self.running_mean.dtype)
        if self.running == 'first':
            new = statistics[:, 0]
        else:  # Of groups of unequal size the first have one image more.
            size, larger = divmod(images, statistics.shape[1])
            sums = size * statistics.sum(1) + statistics[:, :larger].sum(1)
            new = sums / images
        self.running_mean.lerp_(new[0].to(self.running_mean), momentum)
        self.running_var.lerp_(new[1].to(self.running_var), momentum)

    def extra_repr(self) -> str:
        """As BatchNorm, and the groups."""
        return f'{super().extra_repr()}, images_per_group={self.images_per_group}'


def number_of_groups(images: int, images_per_group: int) -> int:
    """Groups of a batch; none has a single image if there are more."""
    return max(1, min(-(-images // images_per_group), images // 2))
