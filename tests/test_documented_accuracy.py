"""Accuracies in README, docs and metafiles are those of the logs in docs/results."""

import re
import statistics

import pytest
from documented import LOGS, check_rows, log, row, table

from ride_mm.cli.reproduce.cifar100lt import CIFAR100LT
from ride_mm.utils import SHOT_GROUPS
from ride_mm.utils.metafile import known_accuracy

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


def runs_of(schedule: str, name: str) -> list[dict]:
    """The metrics of all seeds of a row of CIFAR-100-LT."""
    runs = log('cifar100lt.json')['runs']
    found = [runs[key] for key in runs if key.startswith(f'{schedule}/{name}/')]
    return [run['metrics'] for run in found if run['metrics']]


def mean_of(runs: list[dict], metric: str) -> float:
    return statistics.fmean(run[metric] for run in runs)


# Titles in README and docs/results.md, and experts where routers do not choose them.
CIFAR_ROWS = {
    'ce': ('cross-entropy', ''),
    'ldam-drw': ('LDAM-DRW', ''),
    'ride-2': ('RIDE, 2 experts', 2),
    'ride-2-router': ('RIDE, 2 experts, with routers', None),
    'ride-3': ('RIDE, 3 experts', 3),
    'ride-3-router': ('RIDE, 3 experts, with routers', None),
    'ride-3-individual': ('RIDE, 3 experts, without the diversity loss', 3),
    'ride-6': ('RIDE, 6 experts, the teacher', 6),
    'ride-3-distill': ('RIDE, 3 experts, distilled', 3),
    'ride-3-distill-router': ('RIDE, 3 experts, distilled, with routers', None),
}


def cifar_row(schedule: str, name: str) -> str:
    title, experts = CIFAR_ROWS[name]
    runs = runs_of(schedule, name)
    figures = [f'{mean_of(runs, f"shot_accuracy/{group}"):.1f}' for group in GROUPS]
    if experts is None:
        experts = f'{mean_of(runs, "expert_usage/mean_experts"):.2f}'
    return row(title, len(runs), *figures, experts)


@pytest.mark.parametrize(
    ('page', 'schedule', 'left_out'),
    [
        ('README.md', '200e', {'ride-2-router'}),
        ('docs/results.md', '200e', set()),
        ('docs/results.md', '30e', set()),
    ],
)
def test_cifar100_lt(page, schedule, left_out):
    names = {key.split('/')[1] for key in log('cifar100lt.json')['runs']}
    shown = table(page)
    expected = [
        cifar_row(schedule, name)
        for name in sorted(names - left_out)
        if runs_of(schedule, name)
    ]
    assert len(expected) >= 5
    for line in expected:
        assert any(found.startswith(line) for found in shown), line


@pytest.mark.parametrize('schedule', CIFAR100LT.schedules)
@pytest.mark.parametrize(
    'line',
    [line for line in CIFAR100LT.rows if not line.options],
    ids=lambda line: line.name,
)
def test_metafiles_have_the_means_of_cifar100_lt(line, schedule):
    config = line.config.format(schedule=CIFAR100LT.schedules[schedule])
    given = known_accuracy(config, 'measured')
    runs = runs_of(schedule, line.name)
    means = {g: mean_of(runs, f'shot_accuracy/{g}') for g in GROUPS} if runs else {}
    assert given == pytest.approx(means, abs=0.006)
