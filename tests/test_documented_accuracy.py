"""Accuracies in README, docs and metafiles are those of the logs in docs/results."""

import re
import statistics

import pytest
from documented import LOGS, check_table, log, row, table_with, text

from ride_mm.cli.reproduce.cifar100lt import CIFAR100LT
from ride_mm.utils import SHOT_GROUPS
from ride_mm.utils.metafile import known_accuracy

GROUPS = ('all', *SHOT_GROUPS)


def test_each_log_is_listed_with_its_command():
    listed = re.findall(
        r'\]\(([\w./-]+\.(?:json|md|csv|txt))\)', (LOGS / 'README.md').read_text()
    )
    files = {
        path.relative_to(LOGS).as_posix()
        for path in LOGS.rglob('*')
        if path.is_file() and path.name != 'README.md'
    }
    assert len(files) > 20
    assert {name for name in listed if not name.startswith('..')} == files
    for name in files:
        if name in ('cifar100lt.json', 'official/authors_test.json'):
            continue
        if name.endswith('.json'):
            assert re.search(r'(python|bash) tools/', log(name)['command']), name
        if name.endswith('.txt'):
            assert re.search(r'^# .*(python|bash) ', (LOGS / name).read_text(), re.M)


def test_v_moe_on_digits():
    expected = []
    for name in ('vmoe_tiny_digits', 'vit_tiny_digits'):
        top1 = log(f'digits/{name}.json')['metrics']['accuracy/top1']
        figures = [f'{value:.2f}' for value in (*top1['values'], top1['mean'])]
        expected.append(row(f'`{name}.py`', *figures))
    check_table('configs/vmoe/README.md', expected)


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
    check_table(
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
    check_table('docs/checkpoints.md', expected)


def test_routers_of_cifar100_lt():
    runs = log('cifar100lt.json')['runs']
    found = {'ours, seed 0': runs['30e/ride-3-router/seed_0']['metrics']}
    found |= {
        f'ours, seed {seed}': log(f'routers/seed_{seed}.json')['metrics']
        for seed in (1, 2)
    }
    found["the authors'"] = log('official/ride_r32_router.json')['metrics']
    costs, shares = [], []
    for title, metrics in found.items():
        experts = f'{metrics["expert_usage/mean_experts"]:.3f}'
        macs = f'{metrics["expert_usage/mean_macs"]:.2f} M'
        ratio = f'{metrics["expert_usage/macs_ratio"]:.3f}x'
        costs.append(row(title, *shots(metrics, 2), experts, macs, ratio))
        by_shots = (
            ' / '.join(
                f'{metrics[f"expert_usage/share_{k}{g}"]:.1f}' for k in (1, 2, 3)
            )
            for g in ('', '_many', '_medium', '_few')
        )
        shares.append(row(title, *by_shots))
    check_table('docs/routing.md', costs)
    check_table('docs/routing.md', shares)
    everyone = shots(runs['30e/ride-3/seed_0']['metrics'], 2)
    assert f'all experts: {everyone[0]} %, {" / ".join(everyone[1:])} many' in text(
        'docs/routing.md'
    )


def test_accuracy_against_budget():
    curves = log('route_budget.json')
    points = {
        'one threshold': curves['one_threshold'],
        'one for each router': curves['one_for_each_router'],
        'checkpoint': [curves['present']],
        'chosen': [curves['chosen']],
    }
    measured = {
        row(
            title,
            f'{point["mean_experts"]:.3f}',
            f'{point["macs"] / 1e6:.2f} M',
            f'{point["macs_ratio"]:.3f}x',
            *(f'{point["accuracy"][group]:.1f}' for group in GROUPS),
        )
        for title, some in points.items()
        for point in some
    }
    cells = [
        line.strip('| ').split(' | ')
        for line in table_with('docs/routing.md', '| checkpoint |')
    ]
    assert {c[0] for c in cells} == set(points)
    assert {row(c[0], *c[2:]) for c in cells} <= measured


def runs_of(schedule: str, name: str) -> list[dict]:
    """The metrics of all seeds of a row of CIFAR-100-LT."""
    runs = log('cifar100lt.json')['runs']
    found = [runs[key] for key in runs if key.startswith(f'{schedule}/{name}/')]
    return [run['metrics'] for run in found if run['metrics']]


def mean_of(runs: list[dict], metric: str) -> float:
    return statistics.fmean(run[metric] for run in runs)


# Titles in README and docs/results.md where they differ from the report's.
TITLES = {
    'ce': 'cross-entropy',
    'ride-3-individual': 'RIDE, 3 experts, without the diversity loss',
}


def cifar_row(schedule: str, name: str) -> str:
    runs = runs_of(schedule, name)
    figures = [f'{mean_of(runs, f"shot_accuracy/{group}"):.1f}' for group in GROUPS]
    if name.endswith('router'):
        experts = f'{mean_of(runs, "expert_usage/mean_experts"):.2f}'
    else:
        experts = name.split('-')[1] if name.startswith('ride') else ''
    (line,) = (line for line in CIFAR100LT.rows if line.name == name)
    return row(TITLES.get(name, line.title), len(runs), *figures, experts)


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
    expected = [
        cifar_row(schedule, name)
        for name in sorted(names - left_out)
        if runs_of(schedule, name)
    ]
    shown = table_with(page, expected[0])
    assert len(shown) == len(expected) >= 5
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


def test_metafiles_have_what_was_measured_on_digits():
    for name in ('vmoe_tiny_digits', 'vit_tiny_digits'):
        mean = log(f'digits/{name}.json')['metrics']['accuracy/top1']['mean']
        assert known_accuracy(name, 'measured') == {
            'all': pytest.approx(mean, abs=0.006)
        }
    metrics = log('digits/packaged_model.json')['metrics']
    measured = {group: metrics[f'shot_accuracy/{group}'] for group in GROUPS}
    given = known_accuracy('ride_r20_digitslt_small_router', 'measured')
    assert given == pytest.approx(measured, abs=0.06)


def test_converted_weights_have_what_the_authors_test_printed():
    printed = log('official/authors_test.json')
    for part, name in (('stage_one', 'ride_r32'), ('router', 'ride_r32_router')):
        metrics = log(f'official/{name}.json')['metrics']
        for group, key in zip(GROUPS, ('all', 'many', 'med', 'few'), strict=True):
            ours = metrics[f'shot_accuracy/{group}']
            assert ours == pytest.approx(printed[part][key], abs=1e-9)
    experts = metrics['expert_usage/mean_experts']
    assert experts == pytest.approx(printed['router']['mean_experts'], abs=1e-9)
