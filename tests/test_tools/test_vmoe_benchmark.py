"""The benchmark of V-MoE's layer: its rivals compute the same, and what it refuses."""

import json

import pytest
import torch

from ride_mm.analysis.experts.rivals import DenseTwin, LoopOverExperts
from ride_mm.cli.benchmarks.vmoe import vmoe_benchmark_main
from ride_mm.models.layers.moe import MoELayer, collect_reports


def layer(selected: int = 2, capacity: float = 0.5) -> MoELayer:
    torch.manual_seed(0)
    router = dict(num_selected=selected, capacity_factor=capacity)
    return MoELayer(16, 32, 4, router, images_per_group=2, identical_experts=False)


def test_the_loop_is_the_layer_with_its_losses_and_gradients():
    moe = layer()
    loop = LoopOverExperts(moe)
    found = []
    for model in (moe, loop):
        x = torch.randn(5, 9, 16, generator=torch.Generator().manual_seed(1))
        x.requires_grad_()
        torch.manual_seed(2)
        with collect_reports() as reports:
            y = model(x)
        moe.zero_grad()
        (y.square().sum() + reports[0].loss.sum()).backward()
        found.append([y, x.grad, moe.router.weight.grad, reports[0].loss])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    moe.zero_grad()
    moe(torch.randn(5, 9, 16))
    assert len(list(loop.experts.parameters())) == 4 * 4


def test_the_dense_mlp_has_the_multiply_adds_of_kept_tokens():
    twin = DenseTwin(layer(), kept=1.5)
    assert twin.fc1.weight.shape == (48, 16)  # 1.5 experts of 32
    assert DenseTwin(layer(), kept=0.1).fc1.out_features == 8
    assert twin(torch.randn(2, 3, 16)).shape == (2, 3, 16)


def test_table_and_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('ride_mm.analysis.timing.BLOCK', 1e-6)
    monkeypatch.setattr('ride_mm.analysis.timing.MIN_ROUNDS', 1)
    file = tmp_path / 'vmoe.json'
    options = f'--images 1 --seconds 0.001 --capacity 0.5 --json {file}'.split()

    def rows(more: str) -> list[dict]:
        vmoe_benchmark_main([*more.split(), *options])
        return json.loads(file.read_text())['rows']

    found = rows('--sizes 16x32x5 --experts 4 --selected 2 --dtypes bf16')
    # A token may have gone to another expert where bfloat16 rounds.
    assert len(found) == 2 and all(row['difference'] < 0.2 for row in found)
    found = rows('--sizes tiny --experts 2 4 --selected 1 3')
    # Of 2 experts no 3 are selected.
    assert len(found) == 3 * 2
    for row in found:
        assert row['difference'] < 1e-5
        assert 0 < row['kept'] <= row['selected']
        assert row['over_loop'] > 0 and row['layer_tokens_per_second'] > 0
    command = json.loads(file.read_text())['command']
    assert command.startswith('python tools/benchmarks/vmoe.py --sizes tiny')
    out = capsys.readouterr().out
    assert '| tiny |       4 | 3 |      0.5 |      fp32 | forward+backward |' in out


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ('--sizes L/16', '--sizes: expected tiny, S/32, B/16 or CHANNELSx.*'),
        ('--sizes 16x32', "got '16x32'"),
        ('--images 0', '--images: expected numbers >= 1, got 0'),
        ('--experts 0', '--experts: expected numbers >= 1, got 0'),
        ('--selected 5 --experts 4', 'expected at most --experts 4, got 5'),
        ('--capacity 0', '--capacity: expected numbers > 0, got 0'),
        ('--capacity nan', '--capacity: expected numbers > 0, got nan'),
        ('--capacity inf', '--capacity: .* finite number, got inf'),
        ('--seconds 0', '--seconds: expected a number > 0, got 0'),
        ('--device cuda', '--device: expected one that PyTorch can use, got cuda'),
    ],
)
def test_options_that_cannot_be_followed(options, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit, match=message):
        vmoe_benchmark_main(options.split())
