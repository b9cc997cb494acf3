"""Routing, dispatch, experts and losses of V-MoE's layer, against plain oracles."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

import ride_mm.models.layers.moe.experts as experts_file
from ride_mm.models.layers.moe import (
    ExpertsChooseRouter,
    MoELayer,
    NoisyTopKRouter,
    buffer_positions,
    collect_reports,
    expert_capacity,
    gshard_loss,
    importance_loss,
    load_loss,
    squared_variation,
)
from ride_mm.models.layers.moe.rows import add_rows, take_tokens, tokens_of_rows

LAYOUTS = ['padded', 'ragged', 'exact', 'trimmed', 'dense']


def layer(num_experts=4, seed=0, distinct=True, **settings) -> MoELayer:
    torch.manual_seed(seed)
    moe = MoELayer(16, 32, num_experts, identical_experts=not distinct, **settings)
    for part in (moe.experts.fc1, moe.experts.fc2):
        torch.nn.init.normal_(part.bias)
    return moe


def loop(moe: MoELayer, x: torch.Tensor, dtype=torch.float32) -> torch.Tensor:
    """Token by token and expert by expert; what the layer must equal.

    Parameters are cast once, as autocast does with those of linear layers.
    """
    choice, _ = moe.router(moe.group(x)[0])
    tokens = x.reshape(-1, x.shape[-1])
    mixed = torch.zeros_like(tokens)
    choices = choice.experts.shape[-1]
    assigned = zip(
        choice.experts.reshape(-1, choices).tolist(),
        choice.kept.reshape(-1, choices).tolist(),
        choice.weights.reshape(-1, choices),
        strict=True,
    )
    w1, b1, w2, b2 = (parameter.to(dtype) for parameter in moe.experts.parameters())
    for t, (experts, kept, weights) in enumerate(assigned):
        for e, has_room, weight in zip(experts, kept, weights, strict=True):
            if has_room:
                hidden = F.gelu(tokens[t] @ w1[e] + b1[e], approximate='tanh')
                mixed[t] = mixed[t] + weight * (hidden @ w2[e] + b2[e])
    return x + mixed.view_as(x)


def gradients(moe: MoELayer, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    return torch.autograd.grad(y.square().sum(), [x, *moe.parameters()])


@pytest.mark.parametrize('layout', [*LAYOUTS, 'auto'])
@pytest.mark.parametrize('factor', [0.5, 1.05, 4.0])
@pytest.mark.parametrize('selected', [1, 3])
def test_a_layer_equals_a_loop_over_tokens(layout, factor, selected):
    router = dict(num_selected=selected, capacity_factor=factor, capacity_multiple=1)
    moe = layer(layout=layout, images_per_group=2, router=router).eval()
    x = torch.randn(6, 5, 16, requires_grad=True)
    choice, _ = moe.router(moe.group(x)[0])
    assert (choice.dropped().sum() > 0) == (factor < 4)
    expected = loop(moe, x)
    got = moe(x)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients(moe, x, got), gradients(moe, x, expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('layout', [*LAYOUTS, 'auto'])
@pytest.mark.parametrize('factor', [0.5, 4.0])
def test_a_layer_in_bf16_is_as_close_to_the_fp32_loop_as_a_loop_in_bf16(layout, factor):
    router = dict(num_selected=2, capacity_factor=factor, capacity_multiple=1)
    moe = layer(layout=layout, images_per_group=2, router=router).eval()
    x = torch.randn(4, 5, 16, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        got, rounded = moe(x), loop(moe, x, torch.bfloat16)
    got, rounded, exact = (
        [y, *gradients(moe, x, y)] for y in (got, rounded, loop(moe, x))
    )
    for a, b, expected in zip(got, rounded, exact, strict=True):
        error = (b - expected).norm()
        assert 0 < error < 0.02 * expected.norm()
        assert (a - expected).norm() <= 1.5 * error


def test_layouts_do_without_grouped_products(monkeypatch):
    moe = layer(router=dict(capacity_factor=4.0)).eval()
    x = torch.randn(8, 5, 16)
    expected = moe(x)
    monkeypatch.setattr(experts_file, 'can_group', lambda *args: False)
    torch.testing.assert_close(moe(x), expected)


def test_a_token_without_room_passes_by_the_residual():
    router = dict(num_selected=1, capacity_factor=0.5, capacity_multiple=None)
    moe = layer(router=router).eval()
    x, identity = torch.randn(2, 8, 5, 16)
    choice, _ = moe.router(moe.group(x)[0])
    lost = ~choice.kept.view(8, 5)
    y = moe(x, identity)
    assert 0 < lost.sum() < 40
    assert torch.equal(y[lost], identity[lost])
    assert not torch.isclose(y[~lost], identity[~lost]).all(-1).any()


def test_each_group_is_routed_by_itself():
    moe = layer(images_per_group=4, router=dict(capacity_factor=1.0)).eval()
    x = torch.randn(12, 5, 16)
    alone = torch.cat([moe(part) for part in x.split(4)])
    torch.testing.assert_close(moe(x), alone)


def test_images_that_do_not_fill_a_group_are_one_with_room_in_proportion():
    moe = layer(images_per_group=4, router=dict(capacity_factor=1.0)).eval()
    x = torch.randn(7, 5, 16)
    with collect_reports() as reports:
        y = moe(x)
    torch.testing.assert_close(y, torch.cat([moe(x[:4]), moe(x[4:])]))
    assert reports[0].loss.shape == (2,)
    assert moe(x[:0]).shape == (0, 5, 16)


def test_images_that_do_not_fill_a_group_are_refused_if_told_so():
    moe = layer(images_per_group=4, short_group='refuse')
    moe(torch.randn(8, 5, 16))
    with pytest.raises(ValueError, match='expected a multiple of 4 images .* got 7'):
        moe(torch.randn(7, 5, 16))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (
            dict(router=dict(num_selected=5)),
            'from 1 to 4, the number of experts, got 5',
        ),
        (dict(router=dict(num_selected=0)), 'from 1 to 4'),
        (
            dict(router=dict(capacity_factor=0)),
            'capacity_factor: expected a number > 0',
        ),
        (dict(router=dict(noise_std=-1)), 'noise_std'),
        (dict(router=dict(rounding='floor')), None),
        (dict(images_per_group=0), 'images_per_group: expected a whole number >= 1'),
        (dict(short_group='pad'), "expected 'own' or 'refuse', got 'pad'"),
        (dict(layout='sparse'), "got 'sparse'"),
        (dict(num_experts=0), 'num_experts: expected a whole number >= 1, got 0'),
    ],
)
def test_bad_settings(settings, message):
    if message is None:
        with pytest.raises(ValueError, match="rounding: expected 'ceil' or 'round'"):
            layer(**settings)(torch.randn(8, 5, 16))
        return
    with pytest.raises(ValueError, match=message):
        layer(**settings)


def test_capacity_below_one_is_refused():
    with pytest.raises(ValueError, match='room for at least one token in each of 32'):
        expert_capacity(10, 32, 0.5, 'round')
    moe = layer(router=dict(capacity_factor=0.01, rounding='round'))
    with pytest.raises(ValueError, match='expected room for at least one token'):
        moe(torch.randn(8, 5, 16))


def test_capacity_is_the_even_share_times_the_factor():
    assert expert_capacity(800, 8, 1.05) == 108
    assert expert_capacity(800, 8, 1.05, multiple_of=None) == 105
    # Halves go to the even number, as in Python.
    assert expert_capacity(5, 2, 1.0, 'round', 1) == 2
    assert expert_capacity(7, 2, 1.0, 'round', 1) == 4


def test_first_choices_come_first_then_the_order_of_tokens():
    experts = torch.tensor([[[0, 1], [0, 1], [1, 0]]])
    positions, asked = buffer_positions(experts, 3)
    # Expert 0: tokens 0, 1, then token 2's second choice; expert 1: token 2, then 0, 1.
    assert positions.tolist() == [[[0, 1], [1, 2], [0, 2]]]
    assert asked.tolist() == [[3, 3, 0]]


def test_batch_priority_serves_large_gates_first_and_keeps_the_order_of_equal_ones():
    experts = torch.zeros(1, 5, 1, dtype=torch.long)
    priority = torch.tensor([[0.3, 0.9, 0.3, 0.9, 0.5]])
    positions, _ = buffer_positions(experts, 1, priority)
    assert positions[0, :, 0].tolist() == [3, 0, 4, 1, 2]


def test_of_equal_gates_the_first_experts_are_selected():
    router = NoisyTopKRouter(4, 6, num_selected=2).eval()
    torch.nn.init.zeros_(router.weight)
    choice, scores = router(torch.randn(1, 7, 4))
    assert (choice.experts == torch.tensor([0, 1])).all()
    torch.testing.assert_close(choice.weights, torch.full((1, 7, 2), 1 / 6))
    assert not scores.noisy
    router.num_selected = 1
    assert not router(torch.randn(1, 7, 4))[0].experts.any()


def test_normalized_weights_add_up_to_one():
    router = NoisyTopKRouter(4, 6, num_selected=2, normalize=True).eval()
    choice, _ = router(torch.randn(1, 7, 4))
    torch.testing.assert_close(choice.weights.sum(-1), torch.ones(1, 7))


def test_experts_choose_their_tokens():
    router = dict(type='ExpertsChooseRouter', capacity_factor=1.0)
    moe = layer(images_per_group=1, router=router).eval()
    assert isinstance(moe.router, ExpertsChooseRouter)
    x = torch.randn(3, 8, 16, requires_grad=True)
    expected = x.clone()
    for n, image in enumerate(x):
        gates = (image @ moe.router.weight.T).softmax(-1)
        for e in range(4):
            for t in gates[:, e].topk(2).indices:  # round(8 * 1.0 / 4)
                fc1, fc2 = moe.experts.fc1, moe.experts.fc2
                hidden = F.gelu(
                    image[t] @ fc1.weight[e] + fc1.bias[e], approximate='tanh'
                )
                out = hidden @ fc2.weight[e] + fc2.bias[e]
                expected[n, t] += gates[t, e] * out
    with collect_reports() as reports:
        got = moe(x)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert reports[0].loss is None
    for a, b in zip(gradients(moe, x, got), gradients(moe, x, expected), strict=True):
        assert a.any()
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_even_experts_have_no_importance_loss_and_a_gshard_loss_of_one():
    gates = torch.eye(4).repeat(3, 1)[None]
    assert importance_loss(gates).item() == pytest.approx(0)
    assert gshard_loss(gates).item() == pytest.approx(1)
    one = torch.tensor([[[1.0, 0, 0, 0]] * 5])
    # (std / mean)^2 of (5, 0, 0, 0) is E - 1.
    assert importance_loss(one).item() == pytest.approx(3)
    assert gshard_loss(one).item() == pytest.approx(4)
    assert squared_variation(torch.tensor([1.0, 3.0])).item() == pytest.approx(0.25)


def test_gshard_loss_is_mean_gate_times_share_of_first_choices():
    gates = torch.tensor([[[0.6, 0.4], [0.3, 0.7], [0.2, 0.8]]])
    # Means 1.1 / 3 and 1.9 / 3, shares 1 / 3 and 2 / 3; their mean, times E^2.
    expected = (1.1 / 9 + 2 * 1.9 / 9) / 2 * 4
    assert gshard_loss(gates).item() == pytest.approx(expected)


def test_load_loss_is_the_variation_of_the_probability_to_be_selected():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 6, 3, generator=generator).double()
    threshold = torch.randn(1, 6, generator=generator).double()
    noise = torch.randn(200_000, 1, 1, 1, generator=generator).double() * 0.5
    share = (logits + noise >= threshold[..., None]).double().mean(0).mean(1)
    got = load_loss(logits, threshold, 0.5)
    assert got.item() == pytest.approx(squared_variation(share).item(), rel=0.02)


def test_losses_of_weight_zero_are_told_but_not_added():
    router = NoisyTopKRouter(4, 3, importance_weight=0, load_weight=0, gshard_weight=0)
    choice, scores = router(torch.randn(2, 7, 4))
    loss, terms = router.losses(scores, choice)
    assert loss is None
    assert set(terms) == {'importance', 'load', 'gshard'}


def test_noise_is_of_training_only_and_scaled_by_the_number_of_experts():
    router = NoisyTopKRouter(4, 8, noise_std=2.0)
    x = torch.randn(1, 5000, 4)
    _, scores = router(x)
    std = (scores.noisy_logits - scores.logits).std().item()
    assert std == pytest.approx(2.0 / 8, rel=0.02)
    _, scores = router.eval()(x)
    assert torch.equal(scores.noisy_logits, scores.logits)


def test_room_in_testing_may_differ_from_training():
    router = NoisyTopKRouter(4, 4, capacity_factor=1.0, eval_capacity_factor=2.0)
    assert router.capacity(80) == 20
    assert router.eval().capacity(80) == 40


@pytest.mark.parametrize('layout', LAYOUTS)
def test_the_router_stays_in_full_precision(layout):
    moe = layer(layout=layout, router=dict(capacity_factor=4.0))
    x = torch.randn(8, 5, 16)
    found = []
    moe.experts.register_forward_pre_hook(
        lambda module, inputs: found.append(inputs[0].dtype)
    )
    moe.router.register_forward_hook(lambda *args: found.append(args[-1]))
    with torch.autocast('cpu', torch.bfloat16), collect_reports() as reports:
        y = moe(x)
    (choice, scores), dtype = found
    assert dtype == torch.bfloat16
    assert scores.gates.dtype == choice.weights.dtype == torch.float32
    torch.testing.assert_close(
        scores.logits, x[None].flatten(1, 2) @ moe.router.weight.T
    )
    assert reports[0].loss.dtype == y.dtype == torch.float32
    y.sum().backward()
    assert all(p.grad is not None for p in moe.parameters())


def test_gradients_of_moving_rows():
    torch.manual_seed(0)
    # The second assignments of the last two tokens are dropped; row 2 stays empty.
    rows = torch.tensor([[4, 1], [0, 6], [5, 6]])
    tokens = tokens_of_rows(rows, 6)
    assert tokens[[0, 1, 4, 5]].tolist() == [1, 0, 0, 2]
    x = torch.randn(3, 2, dtype=torch.double, requires_grad=True)
    out = torch.randn(6, 2, dtype=torch.double, requires_grad=True)
    weights = torch.rand(3, 2, dtype=torch.double)
    weights = weights.masked_fill(rows == 6, 0).requires_grad_()
    full = take_tokens(x, tokens, rows)
    assert torch.equal(full[[0, 1, 4, 5]], x[[1, 0, 0, 2]])
    used = torch.zeros(6, 1).index_fill(0, rows[rows < 6], 1)
    assert gradcheck(lambda x: take_tokens(x, tokens, rows) * used, x)
    kept = rows < 6
    assert gradcheck(lambda o, w: add_rows(o, w * kept, tokens, rows), (out, weights))
    lost = add_rows(out, torch.zeros_like(weights), tokens, torch.full_like(rows, 6))
    assert not lost.any()


@pytest.mark.parametrize('layout', ['ragged', 'exact'])
def test_layouts_that_need_grouped_products_say_so(layout, monkeypatch):
    moe = layer(layout=layout)
    monkeypatch.setattr(experts_file, 'can_group', lambda *args: False)
    with pytest.raises(ValueError, match=f"layout: expected 'padded'.*got '{layout}'"):
        moe(torch.randn(2, 5, 16))
