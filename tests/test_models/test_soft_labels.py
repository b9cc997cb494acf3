"""Losses of mixed labels: the mixture of the losses of their classes."""

import pytest
import torch
import torch.nn.functional as F
from loss_cases import (
    COUNTS,
    LABELS,
    LOSSES,
    OTHERS,
    SHARES,
    build_loss,
    logits,
    mixed,
    one_hot,
)
from torch import Tensor

from ride_mm.models import RIDEClassifier
from ride_mm.models.losses import LDAMLoss, LongTailedLoss
from ride_mm.models.losses.ldam import margin_losses, subtract_margin


def value_and_gradient(loss: LongTailedLoss, label: Tensor, **kwargs) -> list[Tensor]:
    x = logits()
    value = loss(x, label, **kwargs)
    value.sum().backward()
    return [value.detach(), x.grad]


def assert_equal(got: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
@pytest.mark.parametrize('reweight', [None, 'always'])
@pytest.mark.parametrize('name', LOSSES)
def test_one_hot_labels_give_the_loss_of_class_indices(name, reweight, reduction):
    if name == 'CE' and reweight is None:
        reweight = 'deferred'
    loss = build_loss(name, reweight=reweight, reduction=reduction)
    sample_weight = torch.tensor([1.0, 0.5, 2.0, 1.0, 0.0, 3.0])
    for weight in (None, sample_weight):
        hard = value_and_gradient(loss, LABELS, weight=weight)
        assert_equal(value_and_gradient(loss, one_hot(LABELS), weight=weight), hard)
    whole_numbers = F.one_hot(LABELS, len(COUNTS))  # As to_onehot alone makes them.
    assert_equal(
        value_and_gradient(loss, whole_numbers), value_and_gradient(loss, LABELS)
    )


@pytest.mark.parametrize('name', LOSSES)
def test_a_mixed_label_has_the_mixture_of_the_losses(name):
    """Zhang et al. 2018: lam * loss(a) + (1 - lam) * loss(b), gradients too."""
    loss = build_loss(name)
    x = logits()
    first, second = (loss(x, y, reduction_override='none') for y in (LABELS, OTHERS))
    mixture = SHARES * first + (1 - SHARES) * second
    mixture.sum().backward()
    got = value_and_gradient(loss, mixed(), reduction_override='none')
    assert_equal(got, [mixture.detach(), x.grad])


@pytest.mark.parametrize('name', LOSSES)
def test_reweighted_mixture_is_a_weighted_mean_over_samples_and_classes(name):
    loss = build_loss(name, reweight='always')
    w = loss.class_weights()
    x = logits()
    terms = [
        (SHARES * w[LABELS], loss.losses(x, LABELS)),
        ((1 - SHARES) * w[OTHERS], loss.losses(x, OTHERS)),
    ]
    total = sum((weight * value).sum() for weight, value in terms)
    expected = total / sum(weight.sum() for weight, _ in terms)
    expected.backward()
    assert_equal(value_and_gradient(loss, mixed()), [expected.detach(), x.grad])


def test_each_class_of_a_mixed_label_has_its_own_margin():
    """Unlike the cross-entropy of the label with all margins subtracted."""
    loss = LDAMLoss(class_counts=COUNTS)
    x = logits(0.1)
    at_once = F.cross_entropy(x - loss._margins() * (mixed() > 0), mixed())
    assert (loss(x, mixed()) - at_once).abs() > 0.1


@pytest.mark.parametrize('scale', [1.0, 30.0, 300.0])
def test_margin_losses_do_not_cancel(scale):
    """In fp32, against fp64: however certain the network, and its gradients."""
    margins = torch.tensor([3.75, 5.6, 8.0, 15.0])
    fine, coarse = logits(scale).detach().double(), logits(scale).detach()
    fine.requires_grad_(), coarse.requires_grad_()
    labels = torch.arange(len(COUNTS)).repeat(len(LABELS), 1)
    expected = torch.stack(
        [
            F.cross_entropy(
                subtract_margin(fine, labels[:, c], margins.double()),
                labels[:, c],
                reduction='none',
            )
            for c in range(len(COUNTS))
        ],
        1,
    )
    got = margin_losses(coarse, margins)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)
    weight = torch.linspace(0.1, 1, got.numel()).view_as(got)
    (got * weight).sum().backward()
    (expected * weight.double()).sum().backward()
    torch.testing.assert_close(coarse.grad.double(), fine.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('tie', [0.0, 40.0])
def test_margin_losses_of_equal_logits_and_of_a_single_class(tie):
    x = torch.full((2, 3), tie, requires_grad=True)
    margin_losses(x, torch.tensor([0.0, 1.0, 2.0])).sum().backward()
    assert torch.isfinite(x.grad).all()
    alone = torch.zeros(2, 1, requires_grad=True)
    loss = margin_losses(alone, torch.ones(1))
    loss.sum().backward()
    assert loss.abs().sum() == 0 and alone.grad.abs().sum() == 0


@pytest.mark.parametrize('name', LOSSES)
def test_mixed_losses_are_fp32_under_autocast(name):
    loss, x = build_loss(name), logits()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(loss(x, mixed()), loss(x.float(), mixed()))
        assert loss(x.bfloat16(), mixed()).dtype == torch.float32


@pytest.mark.parametrize(
    'label', [torch.rand(6), torch.rand(6, 3), torch.rand(5, 4), torch.ones(5).long()]
)
def test_labels_of_another_shape_are_refused(label):
    with pytest.raises(ValueError, match=r'LDAMLoss: expected class indices of shape'):
        LDAMLoss(class_counts=COUNTS)(logits(), label)


def test_a_loss_of_hard_labels_only_is_told_what_mixed_ones_need():
    class Mean(LongTailedLoss):
        def losses(self, logits: Tensor, label: Tensor | None) -> Tensor:
            return logits.mean(1)

    logits, target = torch.randn(4, 3), torch.full((4, 3), 1 / 3)
    message = r'Mean.losses: expected .* \(4, 3\), where label is None.* got \(4,\)'
    with pytest.raises(ValueError, match=message):
        Mean()(logits, target)


def test_a_config_with_batch_augments_builds_twice():
    """MMPretrain appends to the list of their probabilities."""
    augments = [dict(type='Mixup', alpha=0.4), dict(type='CutMix', alpha=1.0)]
    config = dict(
        backbone=dict(type='RIDEResNetCIFAR', depth=20),
        train_cfg=dict(augments=augments, probs=[0.5, 0.3]),
    )
    for _ in range(2):
        preprocessor = RIDEClassifier(**config).data_preprocessor
        assert preprocessor.batch_augments.probs == pytest.approx([0.5, 0.3, 0.2])
