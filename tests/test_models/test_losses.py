"""Losses: golden values, closed forms, equivalences, errors."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from golden import tensor
from mmpretrain.registry import MODELS

from ride_mm.models.losses import (
    BalancedSoftmaxLoss,
    DiversityLoss,
    LDAMLoss,
    LogitAdjustmentLoss,
    ReweightedCrossEntropyLoss,
    SoftmaxFocalLoss,
    effective_number_weights,
    ldam_margins,
    official_diversity,
    paper_diversity,
)
from ride_mm.models.losses.diversity import official_temperature, paper_temperature

GOLDEN = json.loads(
    (Path(__file__).parent.parent / 'data/ride/losses.json').read_text()
)
STAGE_ONE = [case for case in GOLDEN['ride'] if case['distill_temperature'] is None]
COUNTS = [100, 20, 5]
ALL_LOSSES = [
    dict(type='LDAMLoss'),
    dict(type='SoftmaxFocalLoss'),
    dict(type='BalancedSoftmaxLoss'),
    dict(type='LogitAdjustmentLoss', tau=1.5),
    dict(type='ReweightedCrossEntropyLoss'),
]


def golden_head(case: dict) -> torch.nn.Module:
    settings = case['settings']
    factor = settings.get('additional_diversity_factor', -0.2)
    diversity = dict(
        type='DiversityLoss',
        factor=factor,
        class_factor=settings.get('reweight_factor', 0.05),
    )
    head = MODELS.build(
        dict(
            type='MultiExpertHead',
            num_classes=case['num_classes'],
            in_channels=4,
            num_experts=case['num_experts'],
            loss=dict(
                type='LDAMLoss', reweight='deferred', class_counts=case['class_counts']
            ),
            # In the reference a factor of zero means the collaborative loss.
            diversity=diversity if factor else None,
            collaborative=factor == 0,
        )
    )
    if factor:
        head.diversity_loss.set_class_counts(case['class_counts'])
    return head


@pytest.mark.parametrize('case', STAGE_ONE, ids=lambda case: case['name'])
def test_total_loss_and_gradients_equal_the_reference(case: dict):
    head = golden_head(case)
    shape = case['num_experts'], case['batch'], case['num_classes']
    values = tensor(case['name'] + '/expert_logits', shape, 'normal', 6.0)
    assert case['logit_scale'] == 6.0
    target = torch.tensor(case['target'])
    for expected in case['results']:
        active = expected['epoch'] > case['settings']['reweight_epoch']
        for module in head.modules():
            if getattr(module, 'deferred', False):
                module.set_reweighting(active)
        logits = torch.from_numpy(values).requires_grad_()
        loss = head.classification_loss(logits, target)
        if head.diversity_loss is not None:
            loss = loss + head.diversity_loss(logits)
        loss.backward()
        assert loss.item() == pytest.approx(expected['loss'], rel=1e-5)
        norms = logits.grad.flatten(1).norm(dim=1).tolist()
        assert norms == pytest.approx(expected['grad_norm_per_expert'], rel=1e-5)
        sample = logits.grad[0, 0, :5].tolist()
        assert sample == pytest.approx(expected['grad_sample'], rel=1e-5)


@pytest.mark.parametrize('case', GOLDEN['single'], ids=lambda case: case['name'])
def test_single_losses_equal_the_reference(case: dict):
    shape = case['batch'], case['num_classes']
    logits = torch.from_numpy(
        tensor(case['name'] + '/logits', shape, 'normal', case['logit_scale'])
    )
    target = torch.tensor(case['target'])
    counts = dict(class_counts=case['class_counts'])

    def check(loss, expected):
        assert loss(logits, target).item() == pytest.approx(expected, rel=1e-5)

    check(LDAMLoss(**counts), case['ldam'])
    check(LDAMLoss(reweight='always', **counts), case['ldam_drw'])
    check(ReweightedCrossEntropyLoss(**counts), case['ce_reweighted'])
    check(SoftmaxFocalLoss(gamma=0), case['ce'])
    check(BalancedSoftmaxLoss(class_counts=[7] * shape[1]), case['ce'])
    for gamma, expected in case['focal'].items():
        check(SoftmaxFocalLoss(gamma=float(gamma)), expected)
    vector = torch.tensor(case['class_counts'])
    margins = ldam_margins(vector)[: len(case['ldam_margins'])].tolist()
    assert margins == pytest.approx(case['ldam_margins'], rel=1e-5)
    weights = effective_number_weights(vector)[: len(case['drw_weights'])].tolist()
    assert weights == pytest.approx(case['drw_weights'], rel=1e-5)


def test_ldam_margin_of_the_rarest_class_is_the_maximum():
    margins = ldam_margins(torch.tensor([16, 1]), max_margin=0.5)
    assert margins.tolist() == pytest.approx([0.25, 0.5])


def test_effective_number_weights_at_the_ends_of_beta():
    counts = torch.tensor(COUNTS)
    assert effective_number_weights(counts, 0.0).tolist() == [1, 1, 1]
    inverse = 1 / counts.double()
    expected = inverse / inverse.sum() * 3
    nearly_one = effective_number_weights(counts, 1 - 1e-9)
    assert nearly_one.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize('beta', [0.5, 0.9, 0.9999])
def test_effective_number_is_its_series(beta: float):
    series = [sum(beta**k for k in range(count)) for count in COUNTS]
    inverse = [1 / effective for effective in series]
    expected = [len(COUNTS) * weight / sum(inverse) for weight in inverse]
    weights = effective_number_weights(torch.tensor(COUNTS), beta)
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)


def test_balanced_softmax_is_its_equation():
    logits, target = torch.randn(4, 3, generator=seeded()), torch.tensor([0, 1, 2, 0])
    counts = torch.tensor(COUNTS).float()
    shares = counts * logits.exp()
    expected = -(shares[range(4), target] / shares.sum(1)).log().mean()
    loss = BalancedSoftmaxLoss(class_counts=COUNTS)(logits, target)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_logit_adjustment_is_its_equation():
    logits, target = torch.randn(4, 3, generator=seeded()), torch.tensor([0, 1, 2, 0])
    prior = torch.tensor(COUNTS) / sum(COUNTS)
    shares = prior**1.5 * logits.exp()
    expected = -(shares[range(4), target] / shares.sum(1)).log().mean()
    loss = LogitAdjustmentLoss(tau=1.5, class_counts=COUNTS)(logits, target)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_logit_adjustment_without_strength_is_cross_entropy():
    logits, target = torch.randn(4, 3, generator=seeded()), torch.tensor([0, 1, 2, 0])
    loss = LogitAdjustmentLoss(tau=0, class_counts=COUNTS)(logits, target)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, target).item())


@pytest.mark.parametrize('gamma', [0.5, 1.0, 2.0])
def test_focal_gradient_is_finite_for_a_certain_sample(gamma: float):
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    SoftmaxFocalLoss(gamma=gamma)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_deferred_reweighting_waits_for_the_hook():
    logits, target = torch.randn(4, 3, generator=seeded()), torch.tensor([0, 1, 2, 0])
    deferred = LDAMLoss(reweight='deferred', class_counts=COUNTS)
    plain = LDAMLoss(class_counts=COUNTS)(logits, target)
    always = LDAMLoss(reweight='always', class_counts=COUNTS)(logits, target)
    assert deferred(logits, target) == plain
    deferred.set_reweighting(True)
    assert deferred(logits, target) == always
    assert always != plain
    deferred.set_reweighting(False)
    assert deferred(logits, target) == plain


@pytest.mark.parametrize('config', ALL_LOSSES, ids=lambda c: c['type'])
def test_losses_are_fp32_under_autocast_and_keep_mmpretrain_s_contract(config: dict):
    loss = MODELS.build(dict(config, class_counts=COUNTS))
    logits = torch.randn(4, 3, generator=seeded(), requires_grad=True)
    target = torch.tensor([0, 1, 2, 0])
    plain = loss(logits, target)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert loss(logits, target).dtype == torch.float32
        assert torch.equal(loss(logits, target), plain)
    each = loss(logits, target, reduction_override='none')
    assert each.shape == (4,)
    total = loss(logits, target, reduction_override='sum')
    assert total.item() == pytest.approx(each.sum().item(), rel=1e-5)
    ones = loss(logits, target, weight=torch.ones(4))
    assert ones.item() == pytest.approx(plain.item(), rel=1e-6)
    doubled = MODELS.build(dict(config, class_counts=COUNTS, loss_weight=2.0))
    assert doubled(logits, target).item() == pytest.approx(2 * plain.item(), rel=1e-6)
    plain.backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0


def test_a_loss_without_class_counts_says_what_it_needs():
    with pytest.raises(RuntimeError, match='LDAMLoss needs the class counts'):
        LDAMLoss()(torch.randn(2, 3), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='LDAMLoss', reweight='later'), "got 'later'"),
        (dict(type='LDAMLoss', max_margin=-1), 'got -1'),
        (dict(type='LDAMLoss', beta=1.0), r'\[0, 1\), got 1.0'),
        (dict(type='LDAMLoss', reduction='median'), "got 'median'"),
        (dict(type='SoftmaxFocalLoss', gamma=-0.5), 'got -0.5'),
        (dict(type='ReweightedCrossEntropyLoss', reweight=None), 'got None'),
        (dict(type='DiversityLoss', form='other'), "got 'other'"),
        (dict(type='DiversityLoss', factor=float('nan')), 'got nan'),
        (dict(type='LogitAdjustmentLoss', tau=float('nan')), 'got nan'),
        (dict(type='LDAMLoss', class_counts=[3, 0]), 'none of class 1'),
        (
            dict(type='SoftmaxFocalLoss', reweight='always', class_counts=[0, 3]),
            'none of class 0',
        ),
        (dict(type='DiversityLoss', temperature=0), 'got 0'),
        (dict(type='DiversityLoss', class_factor=1.5), 'got 1.5'),
        (dict(type='LDAMLoss', class_counts=[3, -1]), 'got -1'),
    ],
)
def test_wrong_settings_say_expected_and_got(config: dict, message: str):
    with pytest.raises(ValueError, match=f'expected .*{message}'):
        MODELS.build(config)


def test_class_counts_travel_in_the_state_dict():
    source = LDAMLoss(class_counts=COUNTS)
    target = LDAMLoss()
    target.load_state_dict(source.state_dict())
    assert target.known_class_counts().tolist() == COUNTS


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    return (p * (p / q).log()).sum().item()


def test_official_diversity_is_its_equation():
    logits = torch.randn(3, 2, 4, generator=seeded(), dtype=torch.float64)
    temperature = torch.tensor([1.0, 0.9, 0.8, 0.5], dtype=torch.float64)
    mean = (logits.mean(0) / temperature).softmax(-1)
    experts = (logits / temperature).softmax(-1)
    expected = sum(kl(mean[n], experts[e, n]) for e in range(3) for n in range(2)) / 2
    expected *= temperature.mean().item() ** 2
    got = official_diversity(logits, temperature).item()
    assert got == pytest.approx(expected, rel=1e-12)


def test_paper_diversity_is_its_equation():
    logits = torch.randn(3, 2, 4, generator=seeded(), dtype=torch.float64)
    phi = (logits / 1.3).softmax(-1)
    expected = 0.0
    for e in range(3):
        for j in {0, 1, 2} - {e}:
            expected += sum(kl(phi[e, n], phi[j, n]) for n in range(2)) / 2 / 2
    assert paper_diversity(logits, 1.3).item() == pytest.approx(expected, rel=1e-12)


def test_diversity_of_equal_experts_is_zero():
    logits = torch.randn(1, 5, 4, generator=seeded()).repeat(3, 1, 1)
    assert official_diversity(logits, 1.0).item() == pytest.approx(0, abs=1e-6)
    assert paper_diversity(logits, 1.0).item() == pytest.approx(0, abs=1e-6)
    assert DiversityLoss()(logits[:1]).item() == 0


def two_experts() -> torch.Tensor:
    """Of one image: probabilities 0.9 and 0.1, 0.5 each; of the mean 0.75 and 0.25."""
    logits = torch.tensor([[[9.0, 1.0]], [[1.0, 1.0]]], dtype=torch.float64)
    return logits.log().requires_grad_()


def test_official_diversity_draws_each_expert_towards_the_mean():
    """The gradient is that of a cross-entropy: the expert's less the mean's share."""
    logits = two_experts()
    official_diversity(logits, 1.0).backward()
    expected = [0.9 - 0.75, 0.1 - 0.25], [0.5 - 0.75, 0.5 - 0.25]
    for expert, gradient in zip(logits.grad[:, 0].tolist(), expected, strict=True):
        assert expert == pytest.approx(gradient)


def test_paper_diversity_has_gradients_through_both_of_a_pair():
    """Of two classes it is (p - q) (x - y), x and y the differences of the logits."""
    logits = two_experts()
    paper_diversity(logits, 1.0).backward()
    x, p, q = math.log(9), 0.9, 0.5
    first, second = p * (1 - p) * x + p - q, -q * (1 - q) * x - (p - q)
    expected = [first, -first], [second, -second]
    for expert, gradient in zip(logits.grad[:, 0].tolist(), expected, strict=True):
        assert expert == pytest.approx(gradient)


def test_class_wise_temperatures():
    counts = torch.tensor([30, 10])  # psi = 1 + g * (1.5 - 1), 1 + g * (0.5 - 1)
    official = official_temperature(counts, 2.0, 0.2)
    assert official.tolist() == pytest.approx([2.0, 2.0 * 0.9 / 1.1])
    paper = paper_temperature(counts, 2.0, 0.2)
    assert paper.tolist() == pytest.approx([2.0, 2.0 * (0.9 - 0.1)])


def test_class_wise_temperature_waits_for_the_hook():
    logits = torch.randn(2, 3, 3, generator=seeded())
    deferred = DiversityLoss(class_factor=0.2, class_counts=COUNTS)
    scalar = DiversityLoss()(logits)
    assert deferred(logits) == scalar
    deferred.set_reweighting(True)
    at_once = DiversityLoss(class_factor=0.2, deferred=False, class_counts=COUNTS)
    assert deferred(logits) == at_once(logits) != scalar


def test_a_temperature_below_zero_is_refused():
    with pytest.raises(ValueError, match='expected > 0 for every class'):
        DiversityLoss(form='paper', class_factor=0.9, class_counts=[1000, 1, 1])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize('form', ['official', 'paper'])
def test_a_temperature_may_be_a_whole_number(form):
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    whole, fraction = (DiversityLoss(temperature=t, form=form) for t in (2, 2.0))
    assert whole(logits) == fraction(logits) != 0
