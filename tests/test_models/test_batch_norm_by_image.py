"""BatchNorm image by image equals PyTorch's, and is used where a step is compiled."""

import re

import pytest
import torch
import torch.nn.functional as F
from engine_helpers import needs_compiler
from torch import nn

from ride_mm.models.compiled import CPU_OPTIONS
from ride_mm.models.layers import GroupedBatchNorm2d
from ride_mm.models.layers import batch_norm_by_image as module
from ride_mm.models.layers.batch_norm_by_image import (
    batch_norm_by_image,
    batch_norm_compiled_by_image,
)

EPS = 1e-5


def inputs(dtype=torch.float64, mean=0.0):
    """Images (6, 3, 4, 5), weight, bias, and a gradient of the result."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = (draw(6, 3, 4, 5) * torch.tensor([1, 2, 3])[:, None, None] + mean).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    weight, bias = draw(2, 3).to(wide)
    return x, weight, bias, draw(6, 3, 4, 5).to(dtype)


def results(normalise, x, weight, bias, grad):
    """What it gives, and the gradients of its three arguments."""
    leaves = [value.clone().requires_grad_() for value in (x, weight, bias)]
    out = normalise(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def by_image(x, weight, bias):
    return batch_norm_by_image(x, weight, bias, EPS)[0]


def by_pytorch(x, weight, bias):
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=EPS)


def far(values, expected):
    """The largest distance of any result, relative to its size."""
    return max(
        ((value.double() - other).norm() / other.norm()).item()
        for value, other in zip(values, expected, strict=True)
    )


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_pytorch(layout):
    x, *rest = inputs()
    x = x.contiguous(memory_format=layout)
    assert far(results(by_image, x, *rest), results(by_pytorch, x, *rest)) < 1e-12


def test_statistics_are_those_of_the_batch():
    x, weight, bias, _ = inputs()
    _, mean, var = batch_norm_by_image(x.requires_grad_(), weight, bias, EPS)
    assert not (mean.requires_grad or var.requires_grad)
    torch.testing.assert_close(mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(var, x.var((0, 2, 3), correction=0))


@pytest.mark.parametrize('mean', [0, 1000])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_rounds_about_as_little_as_pytorch(dtype, mean):
    if dtype == torch.bfloat16 and mean:
        mean = 50  # it has 8 bits: at 1000 the values are multiples of 4
    given = inputs(dtype, mean)
    exact = results(by_pytorch, *(value.double() for value in given))
    errors = [far(results(f, *given), exact) for f in (by_image, by_pytorch)]
    assert 0 < errors[0] <= 2 * errors[1]


def test_gradient_agrees_with_differences():
    x, weight, bias, _ = inputs()
    leaves = [value.requires_grad_() for value in (x[:3, :, :2, :2].clone(), weight)]
    assert torch.autograd.gradcheck(lambda x, w: by_image(x, w, bias), leaves)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, momentum=0.3, eps=0.1),
        GroupedBatchNorm2d(4, images_per_group=2),
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.BatchNorm2d(4).eval(),
        nn.BatchNorm2d(4, momentum=None),
    )


def step(model, forward):
    """The result, each gradient and each buffer after a step."""
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    out = forward(x)
    out.sin().sum().backward()
    found = {'out': out.detach()} | dict(model.named_buffers())
    return found | {n: p.grad for n, p in model.named_parameters()}


def test_nothing_changes_where_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(module, 'batch_norm_by_image', None)
    plain, changed = network(), network()
    expected = step(plain, plain)
    with batch_norm_compiled_by_image():
        got = step(changed, changed)
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


def test_what_was_there_comes_back_after_an_error():
    before = nn.BatchNorm2d.forward
    with pytest.raises(ZeroDivisionError), batch_norm_compiled_by_image():
        assert nn.BatchNorm2d.forward is not before
        raise ZeroDivisionError
    assert nn.BatchNorm2d.forward is before


def operators(forward, *args):
    """What it gives, compiled, and how often its graphs have PyTorch's BatchNorm."""
    targets = []

    def backend(graph, inputs):
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch._dynamo.reset()
    result = forward(torch.compile(args[0], backend=backend), *args[1:])
    return result, sum('batch_norm' in target for target in targets)


def test_graphs_have_it_where_it_stands_for_a_layer():
    # Not the last one, which needs a number in Python and so breaks the graph.
    plain, changed = network()[:-1], network()[:-1]
    expected, norms = operators(lambda f: step(plain, f), plain)
    with batch_norm_compiled_by_image():
        got, others = operators(lambda f: step(changed, f), changed)
    assert others == norms - 1 > 0
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, msg=name)


@pytest.mark.parametrize(
    ('shape', 'device'), [((4, 3, 2, 2), 'meta'), ((1, 3, 1, 1), 'cpu')]
)
def test_gpus_and_single_values_are_left_to_pytorch(shape, device):
    norm = nn.BatchNorm2d(3)
    x = torch.empty(shape, device=device)
    assert module._can_stand_for(norm, torch.empty(4, 3, 2, 2))
    assert not module._can_stand_for(norm, x)


def test_other_inputs_get_the_error_of_pytorch():
    compiled = torch.compile(nn.BatchNorm2d(3), backend='eager')
    with batch_norm_compiled_by_image(), pytest.raises(Exception, match='expected 4D'):
        compiled(torch.zeros(4, 3))


def test_a_network_in_half_precision_keeps_its_statistics_so():
    model = nn.Sequential(nn.BatchNorm2d(3)).to(torch.bfloat16)
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    with batch_norm_compiled_by_image():
        out = torch.compile(model, backend='eager')(x.to(torch.bfloat16))
    assert out.dtype == model[0].running_mean.dtype == torch.bfloat16
    assert model[0].running_mean.any()


@needs_compiler
def test_an_image_is_read_once_for_its_sum_and_its_deviations():
    from torch._inductor.utils import run_and_get_cpp_code

    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16))
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    forward = torch.compile(model, options={'fx_graph_cache': False, **CPU_OPTIONS})
    with batch_norm_compiled_by_image():
        _, code = run_and_get_cpp_code(lambda: forward(x).sum().backward())
    two_sums_in_a_loop = r'x0<\S*4L.*?\n(?:(?!x0<).)*x2<\S*25L(?:(?!x0<).)*x2<\S*25L'
    assert re.search(two_sums_in_a_loop, code, re.DOTALL)
