"""Speeds in the docs are those of the logs in docs/results/speed."""

import re
import statistics

import pytest
from documented import LOGS, check_table, log, row, text

AUTHORS = "the authors' code"
COMPILED = 'default_hooks.compile.enable=True'

# Names of the rows of docs/speed.md by what the logs call them.
SPEED_ROWS = {
    ("step, the authors' code", 'fp32'): "the authors' code, fp32",
    ("step, the authors' code", 'bf16'): "the authors' code under autocast, bf16",
    ('step, ride_r32_cifar100lt', None): 'ride_mm',
    ('step, default_hooks.compile.enable=True', None): 'ride_mm, compiled',
    ("the authors' code", 'fp32'): "the authors' code, fp32",
    ("the authors' code", 'bf16'): "the authors' code under autocast, bf16",
    ('ride_mm', None): 'ride_mm',
    ('ride_mm, BatchNorm folded', None): 'BatchNorm folded',
    ('ride_mm, compiled', None): 'compiled',
}


def speed_row(measured: dict) -> str:
    name, dtype = measured['name'], measured['dtype']
    title = SPEED_ROWS.get((name, dtype)) or f'{SPEED_ROWS[name, None]}, {dtype}'
    speed = '1' if measured['speed'] == 1 else f'{measured["speed"]:.2f}'
    cells = [title, f'{measured["images_per_second"]:,.0f}', speed]
    if 'parts' in measured:
        parts = measured['parts'].values()
        cells += [f'{100 * seconds / measured["seconds"]:.1f} %' for seconds in parts]
    else:
        off = measured['difference']
        cells.append('' if not off else f'{off:.0e}'.replace('e-0', 'e-'))
    return row(*cells, f'{measured["peak_bytes"] / 2**20:.0f} MB')


@pytest.mark.parametrize('name', ['train', 'inference'])
def test_speed_beside_the_authors_code(name):
    rows = log(f'speed/{name}.json')['rows']
    check_table('docs/speed.md', map(speed_row, rows))
    rounds = min(measured['rounds'] for measured in rows)
    assert f'in {rounds} rounds or more' in text('docs/speed.md')


def by_name(name: str) -> dict[tuple[str, str], dict]:
    """What a benchmark measured, by the first part of its name and the precision."""
    rows = log(f'speed/{name}.json')['rows']
    return {(r['name'].removeprefix('step, '), r['dtype']): r for r in rows}


def test_speed_of_earlier_runs():
    found = {}
    for name in ('train_earlier_1', 'train_earlier_2'):
        rows = by_name(name)
        found[name] = [
            f'{rows[AUTHORS, "fp32"]["images_per_second"]:.0f}',
            *(f'{rows[COMPILED, dtype]["speed"]:.2f}' for dtype in ('fp32', 'bf16')),
        ]
    pairs = [' and '.join(values) for values in zip(*found.values(), strict=True)]
    shown = text('docs/speed.md')
    assert len(pairs) == 3 and all(pair in shown for pair in pairs), pairs
    rows = by_name('inference_earlier')
    pair = [f'{rows["ride_mm, compiled", d]["speed"]:.2f}' for d in ('fp32', 'bf16')]
    assert f'gave {" and ".join(pair)} for the compiled network' in shown


def test_share_of_the_framework():
    rows = by_name('with_data')
    expected = []
    for dtype in ('fp32', 'bf16'):
        bare = rows['bare loop, ride_r32_cifar100lt', dtype]
        whole = rows['train.py, ride_r32_cifar100lt', dtype]
        data = f'{100 * bare["parts"]["data"] / bare["seconds"]:.1f} %'
        more = f'{100 * whole["parts"]["framework"] / whole["seconds"]:.1f} %'
        speeds = [f'{r["images_per_second"]:.0f}' for r in (bare, whole)]
        expected.append(row(f'bare loop, {dtype}', speeds[0], data, ''))
        expected.append(row(f'`tools/train.py`, {dtype}', speeds[1], '', more))
    check_table('docs/speed.md', expected)
    whole = by_name('with_data_r50')['train.py, ride_r50_custom', 'fp32']
    more = f'{100 * whole["parts"]["framework"] / whole["seconds"]:.1f} %'
    shown = text('docs/speed.md')
    assert f'the framework takes {more}' in shown
    assert f'{whole["rounds"]} rounds)' in shown


def test_where_the_time_of_a_step_goes():
    rows = log('speed/operators.json')['rows']
    names = {
        'convolution_backward': '`convolution_backward`, 71 calls',
        'mkldnn_convolution': '`mkldnn_convolution`, 71 calls',
        'native_batch_norm_backward': '`native_batch_norm_backward`',
        'native_batch_norm': '`native_batch_norm`',
    }
    columns = []
    for measured in rows:
        operators = {o['name']: o for o in measured['operators']}
        some = measured['operators'][0]
        whole = some['seconds'] / some['share']
        seconds = [operators.get(f'aten::{name}', {}).get('seconds') for name in names]
        rest = whole - sum(filter(None, seconds))
        seconds += [rest, whole, measured['seconds']]
        columns.append([f'{1000 * s:.0f} ms' if s else 'fused' for s in seconds])
    titles = [
        *names.values(),
        'the rest',
        'all of the profiled steps',
        'a step without the profiler',
    ]
    lines = zip(titles, *columns, strict=True)
    check_table('docs/speed.md', (row(*line) for line in lines))


def test_processors_with_avx2_only():
    expected = []
    for kind, name, dtype in (
        ('training', 'train_avx2', 'fp32'),
        ('inference', 'inference_avx2', 'fp32'),
        ('inference', 'inference_avx2', 'bf16'),
    ):
        rows = by_name(name)
        train = kind == 'training'
        ours = 'ride_r32_cifar100lt' if train else 'ride_mm'
        compiled = COMPILED if train else 'ride_mm, compiled'
        cells = [f'{kind}, {dtype}']
        for key in (AUTHORS, ours, compiled):
            measured = rows[key, dtype]
            ratio = f' ({measured["speed"]:.2f})'
            plain = dtype == 'bf16' or measured['speed'] == 1
            cells.append(
                f'{measured["images_per_second"]:,.0f}{"" if plain else ratio}'
            )
        expected.append(row(*cells))
    check_table('docs/speed.md', expected)


def test_channels_and_optimizers_that_do_not_pay():
    rows = by_name('channels_first')
    first, last = 'model.channels_last=False', 'ride_r32_cifar100lt'
    shown = text('docs/speed.md')
    assert f'is {rows[first, "bf16"]["speed"]:.2f} times as fast' in shown
    fp32 = [f'{rows[name, "fp32"]["images_per_second"]:.0f}' for name in (first, last)]
    assert f'({" and ".join(fp32)} images/s;' in shown
    slower = by_name('channels_first_r50')[first, 'bf16']['speed']
    assert f'has {slower:.2f} of the speed with the channels first in bf16' in shown
    rows = by_name('fused_optimizer')
    fused = rows['optim_wrapper.optimizer.fused=True', 'fp32']['speed']
    assert fused == pytest.approx(1, abs=0.02)


def test_time_that_routing_saves():
    cells = log('speed/routing.json')['cells']
    keys = dict.fromkeys((cell['batch_size'], cell['dtype']) for cell in cells)
    shares = (1, 0.75, 0.5, 0.25, 0)
    macs = {cell['share']: cell['macs_ratio'] for cell in cells[5:10]}
    expected = [row('multiply-adds', '', *(f'{macs[share]:.3f}' for share in shares))]
    for size, dtype in keys:
        ratios, seconds = {}, []
        for cell in cells:
            if (cell['batch_size'], cell['dtype']) == (size, dtype):
                ratios[cell['share']] = f'{cell["time_ratio"]:.3f}'
                seconds.append(cell['seconds_all'])
        speed = f'{size / statistics.median(seconds):,.0f}'
        times = [ratios.get(share, '') for share in shares]
        expected.append(row(f'{size}, {dtype}', speed, *times))
    check_table('docs/speed.md', expected)


def test_time_that_routing_saves_with_other_networks():
    shown = text('docs/speed.md')
    cells = log('speed/routing_r50.json')['cells']
    saved = [f'{cell["saved"]:.2f}' for cell in cells]
    times = ', '.join(f'{cell["time_ratio"]:.3f}' for cell in cells)
    assert f'save {", ".join(saved[:-1])} and {saved[-1]} of what' in shown
    assert f'(time {times};' in shown
    plain = log('speed/routing_not_folded.json')['cells']
    saved = [cell['saved'] for cell in plain if cell['saved'] is not None]
    assert f'routing saves {min(saved):.2f} to {max(saved):.2f} of what' in shown


def test_images_per_second_of_data():
    expected = []
    for title, name in (
        ('by the batch', 'data'),
        ('one by one, with AutoAugment and Cutout', 'data_one_by_one'),
    ):
        measured = log(f'speed/{name}.json')
        speeds = [
            f'{loader["images_per_second"]:,.0f}' for loader in measured['loaders']
        ]
        seconds = measured['pipeline_seconds']['data preprocessor, of a batch']
        expected.append(row(title, *speeds, f'{1000 * seconds:.3f} ms'))
    check_table('docs/speed.md', expected)
    speeds = [x['images_per_second'] for x in log('speed/data_r50.json')['loaders']]
    shown = text('docs/speed.md')
    assert f'come at {speeds[0]:.0f} images/s without a worker and {speeds[2]:.0f}' in (
        shown
    )


def test_efficiency_of_two_processes():
    parts = (LOGS / 'speed' / 'scaling.txt').read_text().split('# 2 processes')
    steps = [re.findall(r'\btime: (\d\.\d+)', part)[1:] for part in parts]
    means = [statistics.fmean(map(float, found)) for found in steps]
    expected = []
    for number, found, mean in zip((1, 2), steps, means, strict=True):
        shown = ', '.join(f'{float(seconds):.3f}' for seconds in found)
        efficiency = f'{means[0] / mean:.2f}' if number > 1 else ''
        expected.append(row(number, shown, f'{mean:.3f} s', efficiency))
    check_table('docs/speed.md', expected)


def numbers(name: str, pattern: str) -> list[float]:
    return [float(n) for n in re.findall(pattern, (LOGS / 'speed' / name).read_text())]


def test_time_of_an_epoch_and_of_compiling():
    shown = text('docs/speed.md')
    plain, compiled = (
        85 * second
        for second in numbers('epoch.txt', r'train\) \[2\].* time: (\d\.\d+)')
    )
    assert f'take {compiled:.0f} seconds, without' in shown
    assert f'in fp32 {plain:.0f}.' in shown
    shown_in_readme = text('README.md')
    assert f'An epoch takes {plain:.0f} s on' in shown_in_readme
    assert f'`--amp bf16 --compile` {compiled:.0f} s' in shown_in_readme
    validation = max(numbers('epoch.txt', r'val\) .* time: (\d\.\d+)'))
    assert f'takes {20 * validation:.0f} more' in shown
    first, again = numbers('compile_time.txt', r'\[ 1/85\].* time: (\d+\.\d+)')
    assert f'first step takes {first:.0f} seconds longer, {again:.0f} if' in shown
    first, again, never = numbers('compile_time.txt', r'(?m)^(\d+\.\d+) s$')
    assert f'takes {first - never:.0f} seconds, {again - never:.0f} if' in shown


def test_products_and_convolutions():
    (product,) = numbers('products.txt', r'(\d+) msec per loop')[:1]
    shown = text('docs/speed.md')
    assert 2 * 2048**3 / (product / 1000) / 1e9 == pytest.approx(400, abs=5)
    assert 'product reached 400 GFLOP/s' in shown
    speeds = []
    for channels in (24, 32, 48):
        best = min(numbers('products.txt', rf'{channels} channels.* (\d\.\d+) msec'))
        flop = 2 * 128 * 16 * 16 * 9 * channels**2
        speeds.append(flop / (best / 1000) / 1e9)
    assert speeds == pytest.approx([265, 360, 403], abs=1.5)
    assert 'reach 265 GFLOP/s, of 32 channels 360 and of 48 channels 403' in shown


def test_speed_of_v_moe():
    rows = log('speed/vmoe.json')['rows']
    low = [r for r in rows if r['capacity'] == 1.05]
    expected = []
    for forward, both in zip(low[::2], low[1::2], strict=True):
        settings = [forward[key] for key in ('size', 'experts', 'selected', 'capacity')]
        ratios = (
            r[key] for r in (forward, both) for key in ('over_loop', 'over_dense')
        )
        expected.append(row(*settings, *(f'{ratio:.2f}' for ratio in ratios)))
    check_table('docs/vmoe.md', expected)
    high = [r['over_loop'] for r in rows if r['capacity'] == 2]
    tiny = log('speed/vmoe_tiny.json')['rows']
    loop, dense = ([r[key] for r in tiny] for key in ('over_loop', 'over_dense'))
    shown = text('docs/vmoe.md')
    assert f'takes {min(high):.2f} to {max(high):.2f} of the loop' in shown
    assert f'takes {min(loop):.2f} to {max(loop):.2f} of the loop' in shown
    assert f'and {min(dense):.1f} to {max(dense):.1f} times that of the dense' in shown
