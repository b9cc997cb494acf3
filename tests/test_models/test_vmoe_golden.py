"""V-MoE equals the original on stored outputs: logits, losses, routing, gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from shapes import shapes_alone
from vmoe_cases import DATA, Case, build, capacities, trees

from ride_mm.apis.vmoe_names import original_shapes, original_state
from ride_mm.models.layers.moe import MoELayer, collect_reports, expert_capacity
from ride_mm.models.layers.position_embedding import resize_positions

CASES = ['a', 'b', 'c', 'c_vanilla', 'f_noisy', 'h_map']


class Run:
    """One forward and backward pass of a case."""

    def __init__(self, name: str) -> None:
        self.case = case = Case(name)
        self.model = model = case.model()
        self.choices = {}
        for i in case.blocks:
            router = model.backbone.layers[i].ffn.router
            if case.training:
                noise = case[f'noise/encoderblock_{i}']
                router.draw_noise = lambda logits, noise=noise: noise
            router.register_forward_hook(
                lambda module, inputs, output, i=i: self.choices.update({i: output})
            )
        with collect_reports() as self.reports:
            self.logits = model(case.images)
        self.ce = F.cross_entropy(self.logits, case['labels'])
        self.aux = sum(report.loss for report in self.reports)
        (self.ce + self.aux.mean()).backward()


@pytest.fixture(scope='module', params=CASES)
def run(request):
    return Run(request.param)


def test_logits(run):
    torch.testing.assert_close(run.logits, run.case['logits'], rtol=0, atol=1e-5)


def test_losses(run):
    case = run.case
    near = dict(rtol=0, atol=1e-6)
    torch.testing.assert_close(run.ce, case['loss/ce'], **near)
    torch.testing.assert_close(run.aux, case['metrics/auxiliary_loss'], **near)
    torch.testing.assert_close(run.aux.mean(), case['loss/aux'], **near)
    for i, report in zip(case.blocks, run.reports, strict=True):
        stored = case.part(f'metrics/encoderblock_{i}/')
        assert set(stored) == {
            'auxiliary_loss',
            *(f'{name}_loss' for name in report.terms if name != 'dropped'),
        }
        for name, expected in stored.items():
            name = name.removesuffix('_loss')
            got = report.loss if name == 'auxiliary' else report.terms[name]
            torch.testing.assert_close(got, torch.from_numpy(expected), **near)


def test_routing(run):
    for i in run.case.blocks:
        choice, scores = run.choices[i]
        stored = run.case.part(f'routing/encoderblock_{i}/')
        assert choice.capacity == stored['capacity']
        np.testing.assert_array_equal(choice.experts, stored['expert_index'])
        kept = choice.kept.numpy()
        np.testing.assert_array_equal(kept, stored['kept_k'])
        np.testing.assert_array_equal(
            choice.positions.numpy()[kept], stored['buffer_index'][kept]
        )
        np.testing.assert_allclose(scores.gates.detach(), stored['gates'], atol=1e-6)
        np.testing.assert_allclose(
            choice.weights.detach(), stored['topk_weights'], atol=1e-6
        )
        per_expert = stored['kept'].sum(1)
        np.testing.assert_array_equal(choice.tokens_per_expert(), per_expert)


def test_gradients(run):
    grads = {name: p.grad for name, p in run.model.named_parameters()}
    got = original_state(grads, run.case.config['encoder']['num_heads'])
    stored = run.case.part('gradnorm/')
    assert set(got) == set(stored)
    for name, expected in stored.items():
        # The gradient of a key's bias is 0, for softmax does not see it.
        assert got[name].norm().item() == pytest.approx(expected, rel=1e-4, abs=1e-6), (
            name
        )


def test_what_the_classifier_adds():
    run = Run('b')
    images = run.case.images
    samples = [run.model.predict(images)[i] for i in range(len(images))]
    for sample, label in zip(samples, run.case['labels'], strict=True):
        sample.set_gt_label(label)
    losses = run.model.loss(images, samples)
    near = dict(rtol=0, atol=1e-6)
    torch.testing.assert_close(losses['loss'], run.case['loss/ce'], **near)
    torch.testing.assert_close(losses['loss_moe'], run.case['loss/aux'], **near)
    total = run.model.parse_losses(losses)[0]
    torch.testing.assert_close(total, run.case['loss/total'], rtol=0, atol=2e-6)
    dropped = (7 + 25) / (2 * 136)
    assert losses['moe_dropped'].item() == pytest.approx(dropped)


def test_cases_are_what_they_claim():
    drops = {
        name: [
            (~case.arrays[f'routing/encoderblock_{i}/kept_k']).sum()
            for i in case.blocks
        ]
        for name in CASES
        for case in [Case(name)]
    }
    assert drops['a'] == drops['h_map'] == [0]
    assert drops['b'] == [7, 25]
    assert min(drops['c']) > 30


def test_all_capacities():
    rows = capacities()
    assert len(rows) == 1192
    for row in rows:
        got = expert_capacity(
            int(row['num_tokens']),
            int(row['num_experts']),
            float(row['capacity_factor']),
            row['mode'],
            int(row['multiple_of']) if row['multiple_of'] else None,
        )
        assert got == int(row['capacity']), row


def test_position_embeddings_are_resized_as_the_original_does():
    with np.load(DATA / 'posemb.npz') as stored:
        arrays = {name: torch.from_numpy(array) for name, array in stored.items()}
    source = arrays['source']
    for name, size, extra in (('up6', 6, 1), ('down3', 3, 1), ('up6_notok', 6, 0)):
        got = resize_positions(source[:, 1 - extra :], (size, size), extra)
        torch.testing.assert_close(got, arrays[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize('name', trees())
def test_names_and_shapes_of_the_originals_networks(name):
    tree = trees()[name]
    with shapes_alone():
        model = build(tree['config'], tree['image_size'])
    members = tree['config']['encoder']['moe'].get('ensemble_size', 1)
    expected = {name: tuple(shape) for name, shape in tree['params'].items()}
    assert original_shapes(model, members) == expected
    assert sum(p.numel() for p in model.parameters()) == tree['num_params']
    experts = [m.experts for m in model.modules() if isinstance(m, MoELayer)]
    in_experts = sum(p.numel() for part in experts for p in part.parameters())
    assert in_experts == tree['expert_params']
