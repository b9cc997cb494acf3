"""Accuracies in README and docs are those of the logs in docs/results."""

import re

import pytest
from documented import LOGS, check_rows, log, row

from ride_mm.utils import SHOT_GROUPS

GROUPS = ('all', *SHOT_GROUPS)


def test_each_log_is_listed_with_its_command():
    listed = re.findall(r'\]\(([\w./-]+\.(?:json|md|csv|txt))\)', text_of_the_list())
    files = {
        path.relative_to(LOGS).as_posix()
        for path in LOGS.rglob('*')
        if path.is_file() and path.name != 'README.md'
    }
    assert len(files) > 20
    assert {name for name in listed if not name.startswith('..')} == files
    for name in files:
        if name.endswith('.json') and name != 'cifar100lt.json':
            assert re.search(r'(python|bash) tools/', log(name)['command']), name


def text_of_the_list() -> str:
    return (LOGS / 'README.md').read_text()


def test_v_moe_on_digits():
    expected = []
    for name in ('vmoe_tiny_digits', 'vit_tiny_digits'):
        top1 = log(f'digits/{name}.json')['metrics']['accuracy/top1']
        figures = [f'{value:.2f}' for value in (*top1['values'], top1['mean'])]
        expected.append(row(f'`{name}.py`', *figures))
    check_rows('configs/vmoe/README.md', expected)


def shots(metrics: dict, digits: int) -> list[str]:
    return [f'{metrics[f"shot_accuracy/{group}"]:.{digits}f}' for group in GROUPS]


def test_digits_lt():
    plain, ride, routed = log('digits/quickstart.json')['results']
    packed = log('digits/packaged_model.json')['metrics']
    macs = routed['metrics']['expert_usage/macs_ratio'] * plain['macs']
    assert macs / 1e6 == pytest.approx(routed['metrics']['expert_usage/mean_macs'])
    experts = [routed['mean_experts'], packed['expert_usage/mean_experts']]
    faster = routed['images_per_second'] / ride['images_per_second']
    expected = (
        ('cross-entropy, ResNet-20', plain['metrics'], '`bash tools/quickstart.sh`'),
        ('RIDE, 3 experts', ride['metrics'], 'the same'),
        (
            f'RIDE with routers: {experts[0]:.2f} experts, '
            f'{routed["macs"] / ride["macs"]:.2f} of the multiply-adds, '
            f'{faster:.1f} times as fast',
            routed['metrics'],
            'the same',
        ),
        (
            'RIDE with experts of half width and routers: '
            f'{experts[1]:.2f} experts; the file that comes with the package',
            packed,
            '`bash tools/train_packaged_model.sh`',
        ),
    )
    check_rows(
        'docs/results.md',
        (row(title, *shots(metrics, 1), how) for title, metrics, how in expected),
    )


def test_converted_weights_of_the_authors():
    expected = []
    for title, name in (
        ('3 experts', 'ride_r32'),
        ('the same with routers', 'ride_r32_router'),
    ):
        metrics = log(f'official/{name}.json')['metrics']
        mean = metrics.get('expert_usage/mean_experts')
        experts = 3 if mean is None else f'{mean:.3f}'
        expected.append(row(title, *shots(metrics, 2), experts))
    check_rows('docs/checkpoints.md', expected)
