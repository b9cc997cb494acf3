"""Contrastive representation distillation."""

import math

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, all_reduce
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ..layers.full_precision import full_precision
from .knowledge import Knowledge


def critic_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """``-log h(T_i, S_i) - sum_j log(1 - h(T_i, S_j))``, mean over the batch.

    With ``log(h / (1 - h))`` as input: see :class:`CRDLoss`.

    Args:
        positive: Log odds of the pairs of the same sample, (N,).
        negative: Of pairs of different samples, (N, K); ``-inf`` leaves a pair out.

    Returns:
        A scalar.
    """
    each = F.softplus(-positive) + F.softplus(negative).sum(1)
    return each.mean()


@MODELS.register_module()
class CRDLoss(nn.Module):
    """Student and teacher embed a sample alike, and different samples apart.

    Tian, Krishnan and Isola, Contrastive Representation Distillation, ICLR 2020
    (https://github.com/HobbitLong/RepDistiller); RIDE's table 5. Linear embeddings of
    unit length, g_T and g_S, are learned so that a critic

        h(T, S) = p / (p + N/M),   p = exp(g_T(T)' g_S(S) / tau) / Z,

    tells a pair of the same sample from N pairs of different ones; M is the number of
    training samples. The loss is the critic's negative log-likelihood. Negatives come
    from a bank with both embeddings of every training sample, each a moving average: a
    student's sample is compared with the teacher's bank and the other way round. As in
    the authors' code Z, a constant, is M times the mean of exp(...) in the first batch.

    Departures: the positive pair is that of the current batch, not of the bank; all
    samples of a batch share the negatives, which are the whole bank where that is
    small enough.

    Bank, embeddings and Z are part of the student's checkpoint while it is trained;
    ``publish_model.py`` drops them. ``KDHook`` tells the number of training samples.

    Args:
        student_channels: E * D of the student; ``RIDEClassifier`` fills it in.
        teacher_channels: E * D of the teacher, which is not known before the optimizer
            is built; 288 for 6 experts of 48 channels.
        embed_channels: Width of the embeddings.
        temperature: tau.
        num_negatives: N at most; the rest of the bank if it is smaller.
        momentum: Of the bank: share of what was there before.
        loss_weight: Factor of this loss, beta in the paper.
    """

    needs_features = True
    needs_sample_idx = True
    # The bank has one row for each training image.
    whole_images_only = True

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int | None = None,
        embed_channels: int = 128,
        temperature: float = 0.07,
        num_negatives: int = 16384,
        momentum: float = 0.5,
        loss_weight: float = 0.8,
    ) -> None:
        super().__init__()
        whole = dict(
            student_channels=student_channels,
            teacher_channels=teacher_channels,
            embed_channels=embed_channels,
            num_negatives=num_negatives,
        )
        for name, value in whole.items():
            if type(value) is not int or value < 1:
                raise ValueError(f'{name}: expected a whole number >= 1, got {value!r}')
        if not temperature > 0:
            raise ValueError(f'temperature: expected a number > 0, got {temperature}')
        if not 0 <= momentum < 1:
            raise ValueError(f'momentum: expected a number in [0, 1), got {momentum}')
        self.teacher_channels = teacher_channels
        self.temperature = temperature
        self.num_negatives = num_negatives
        self.momentum = momentum
        self.loss_weight = loss_weight
        self.embed_student = nn.Linear(student_channels, embed_channels)
        self.embed_teacher = nn.Linear(teacher_channels, embed_channels)
        # Student's and teacher's, (2, M, D).
        self.register_buffer('bank', torch.empty(2, 0, embed_channels))
        # log(Z / M) of either direction; not a number before the first batch.
        self.register_buffer('log_constant', torch.full((2,), math.nan))
        # Apart, since reading a CUDA buffer waits for the device.
        self._is_known = [False, False]

    def set_num_samples(self, num_samples: int) -> None:
        """Make a bank for so many training samples, unless there is one.

        Raises:
            ValueError: If there are fewer than two, or the bank is for another number.
        """
        if num_samples < 2:
            raise ValueError(
                f'CRDLoss: expected at least 2 training samples, got {num_samples}'
            )
        present = self.bank.shape[1]
        if present not in (0, num_samples):
            raise ValueError(
                f'CRDLoss: expected {present} training samples, which the bank of the '
                f'checkpoint is for, got {num_samples}'
            )
        if present == 0:
            # The same in all processes.
            generator = torch.Generator().manual_seed(0)
            shape = 2, num_samples, self.bank.shape[2]
            rows = torch.randn(shape, generator=generator)
            self.bank = F.normalize(rows, dim=2).to(self.bank)

    def forward(
        self, student: Knowledge, teacher: Knowledge, sample_idx: Tensor
    ) -> Tensor:
        """Contrast both networks' features: a scalar, in fp32.

        Args:
            student: With features (E, N, D).
            teacher: With features (E', N, D').
            sample_idx: Index of each sample in the training set, (N,) int64.

        Raises:
            ValueError: If the teacher is wider or narrower than ``teacher_channels``.
            RuntimeError: If nobody has told the number of training samples.
        """
        num_samples = self.bank.shape[1]
        if num_samples == 0:
            raise RuntimeError(
                'CRDLoss: expected KDHook, which tells the number of training samples, '
                'got none'
            )
        feature = teacher.joint_feature
        if feature.shape[1] != self.teacher_channels:
            raise ValueError(
                f'CRDLoss: expected teacher_channels={feature.shape[1]}, the '
                f"teacher's features side by side, got {self.teacher_channels}"
            )
        with full_precision(feature):
            embedded = torch.stack(
                [
                    F.normalize(self.embed_student(student.joint_feature), dim=1),
                    F.normalize(self.embed_teacher(feature), dim=1),
                ]
            )  # (2, N, D)
            positive = (embedded[0] * embedded[1]).sum(1) / self.temperature
            columns = self._negatives(num_samples)
            loss = sum(
                self._contrast(side, positive, embedded[side], sample_idx, columns)
                for side in (0, 1)
            )
            self._remember(embedded.detach(), sample_idx)
        return self.loss_weight * loss

    def _negatives(self, num_samples: int) -> Tensor:
        """Rows of the bank that this batch is compared with, (K,)."""
        device = self.bank.device
        if num_samples - 1 <= self.num_negatives:
            return torch.arange(num_samples, device=device)
        return torch.randint(num_samples, (self.num_negatives,), device=device)

    def _contrast(
        self,
        side: int,
        positive: Tensor,
        anchor: Tensor,
        sample_idx: Tensor,
        columns: Tensor,
    ) -> Tensor:
        """Compare one network's samples (N, D) with the other's bank."""
        own = sample_idx[:, None] == columns
        similarity = anchor @ self.bank[1 - side][columns].T / self.temperature
        negative = similarity.masked_fill(own, -math.inf)  # (N, K)
        log_constant = self._constant(side, negative.detach(), own)
        compared = min(self.num_negatives, self.bank.shape[1] - 1)
        # log p - log(N / M), with Z = M * constant: M cancels.
        offset = log_constant + math.log(compared)
        return critic_loss(positive - offset, negative - offset)

    def _constant(self, side: int, negative: Tensor, own: Tensor) -> Tensor:
        """``log(Z / M)``; of the first batch, the mean over all processes."""
        if not self._is_known[side]:
            count = (~own).sum()
            mean = (negative.flatten().logsumexp(0) - count.log()).exp()
            all_reduce(mean, op='mean')
            self.log_constant[side] = mean.log()
            self._is_known[side] = True
        return self.log_constant[side].clone()

    def _remember(self, embedded: Tensor, sample_idx: Tensor) -> None:
        """Move the bank's rows of this batch towards its embeddings."""
        rows = torch.cat(all_gather(embedded.transpose(0, 1).contiguous()))
        index = torch.cat(all_gather(sample_idx))
        blended = self.momentum * self.bank[:, index]
        blended += (1 - self.momentum) * rows.transpose(0, 1)
        self.bank[:, index] = F.normalize(blended, dim=2)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        constant = state_dict.get(prefix + 'log_constant')
        if constant is not None:
            self._is_known = (~constant.isnan()).tolist()
        bank = state_dict.get(prefix + 'bank')
        # Of any number of samples, for as many channels.
        if bank is not None and bank.shape[2:] == self.bank.shape[2:]:
            self.bank = torch.empty_like(bank, device=self.bank.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
