"""tools/reproduce.py: what rows need runs before them; the report is the tests'."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import fake_training
import pytest
from engine_helpers import run_tool

from ride_mm.cli.experiments import check_config, metrics_of, work
from ride_mm.cli.reproduce import program
from ride_mm.cli.reproduce.cifar100lt import CIFAR100LT, describe_files
from ride_mm.cli.reproduce.records import read_history
from ride_mm.cli.reproduce.report import difference, mean_and_sd
from ride_mm.cli.reproduce.rows import Published, Row

SHORT = ('train_cfg.max_epochs=2',)
TOY = replace(
    CIFAR100LT,
    name='toy',
    title='Toy',
    rows=(
        Row('ce', 'Plain', 'ce_r20_digitslt', SHORT),
        Row(
            'ride',
            'Experts',
            'ride_r20_digitslt{schedule}',
            SHORT,
            published=(
                Published(48.0, 'the authors', (68.1, 49.2, 23.9)),
                Published(48.5, 'others', note='best on test'),
            ),
        ),
        Row(
            'router',
            'Routers',
            'ride_r20_digitslt{schedule}_router',
            SHORT,
            {'load_from': 'ride'},
        ),
    ),
    schedules={'40e': '', 'small': '_small'},
    any_files=('train_dataloader.num_workers=0',),
    describe_files=lambda root: {'train': {'md5': 'd' * 32, 'published': 'd' * 32}},
)
OTHER_FILES = {'train': {'md5': 'd' * 32, 'published': 'e' * 32}}


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    """A small table, and trainings that take no time."""
    command = [sys.executable, '-S', fake_training.__file__]
    monkeypatch.setattr(work, 'executable', lambda arguments: [*command, *arguments])
    monkeypatch.setitem(program.BENCHMARKS, 'toy', TOY)
    monkeypatch.chdir(tmp_path)


def reproduce(*arguments: str) -> int:
    """Run the tool in this process and return its exit status."""
    try:
        program.reproduce_main(['toy', *arguments])
    except SystemExit as err:
        return err.code
    return 0


def place(row: str, seed: int = 0, schedule: str = '40e') -> Path:
    return Path('work_dirs', 'reproduce', 'toy', schedule, row, f'seed_{seed}')


def epochs(row: str, seed: int = 0) -> list[str]:
    return (place(row, seed) / 'epochs.txt').read_text().split()


def report() -> str:
    return Path('docs/results/toy.md').read_text()


def cells(title: str, text: str | None = None) -> list[str]:
    """Cells of a row of the first table of the report."""
    lines = (text or report()).splitlines()
    line = next(line for line in lines if line.startswith(f'| {title} '))
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_the_report_has_what_the_tests_say(capsys, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    assert reproduce('--seeds', '0', '1') == 0
    for row, title in (('ce', 'Plain'), ('ride', 'Experts'), ('router', 'Routers')):
        tests = [
            json.loads((place(row, seed) / 'test.json').read_text())['metrics']
            for seed in (0, 1)
        ]
        figures = metrics_of(tests)
        _, runs, top1, many, medium, few, experts, *_ = cells(title)
        assert runs == '2'
        assert top1 == mean_and_sd(figures['shot_accuracy/all'])
        assert many == mean_and_sd(figures['shot_accuracy/many'])
        assert (medium, few) == ('-', '-')
        assert experts == ('1.50' if row == 'router' else '-')
        for seed, test in enumerate(tests):
            expected = f'{test["shot_accuracy/all"]:.2f}'
            line = f'| {title} '
            assert any(
                text.startswith(line) and f'| {seed} |' in text and expected in text
                for text in (' '.join(one.split()) for one in report().splitlines())
            )
    published = cells('Experts')[7:9]
    assert published == ['48.0 (68.1/49.2/23.9)', 'the authors']
    assert '- Experts: 48.5, others (best on test).' in report()
    # On what it was made.
    text = report()
    assert 'an abacus, 1 thread, float32' in text
    assert f'subset {"a" * 16}' in text and 'torch 2.6.0' in text
    assert f'Data files: the published ones (train md5 {"d" * 32})' in text
    assert '--any-files' not in text
    command = 'python tools/train.py ride_r20_digitslt_router --work-dir'
    assert f'{command} {place("router")} --resume' in text
    assert f'load_from={place("ride")}/epoch_2.pth' in text


def test_other_files_are_taken_only_if_that_is_said(capsys, monkeypatch):
    other = replace(TOY, describe_files=lambda root: OTHER_FILES)
    monkeypatch.setitem(program.BENCHMARKS, 'toy', other)
    assert reproduce('--rows', 'ce', '--seeds', '0') == 2
    said = capsys.readouterr().err
    assert f"data/cifar100: expected the published file 'train', md5 {'e' * 32}" in said
    assert f'got md5 {"d" * 32}' in said and '--any-files' in said
    assert not list(Path().iterdir())
    assert reproduce('--rows', 'ce', '--seeds', '0', '--any-files') == 0
    text = report()
    assert (
        f'a copy, not the published files (train md5 {"d" * 32} not {"e" * 32}' in text
    )
    assert '--rows ce --seeds 0 --any-files\n' in text


def test_what_a_row_needs_is_trained_before_it_and_once():
    assert reproduce('--rows', 'router', '--seeds', '3', '--jobs', '3') == 0
    assert epochs('ride', 3) == epochs('router', 3) == ['1', '2']
    assert not place('ce', 3).exists()
    known = json.loads((place('router', 3) / 'command.json').read_text())
    assert list(known['starts_from']) == ['load_from']
    before = report()
    assert reproduce('--rows', 'router', 'ride', '--seeds', '3') == 0
    assert epochs('ride', 3) == epochs('router', 3) == ['1', '2']
    assert report() == before


def test_the_commands_of_the_report_make_what_it_has():
    assert reproduce('--rows', 'ce', '--seeds', '0') == 0
    free = 'model.channels_last=True'
    calls = (
        ['--rows', 'ce', 'ride', '--seeds', '1', '2', '--amp', 'bf16', '--compile'],
        ['--rows', 'router', '--seeds', '2', '--amp', 'bf16', '--cfg-options', free],
    )
    for call in calls:
        assert reproduce(*call) == 0
    made = {}
    for line in report().splitlines():
        if line.startswith('python tools/reproduce.py'):
            args = program.make_parser().parse_args(line.split()[2:])
            rows, schedule = program.check(args, TOY)
            for name in (f'{schedule}/{r}/seed_{s}' for r in rows for s in args.seeds):
                assert name not in made
                made[name] = args
    records = json.loads(Path('docs/results/toy.json').read_text())['runs']
    assert set(made) == {name for name in records if records[name]['metrics']}
    for name, args in made.items():
        assert args.amp == (None if name == '40e/ce/seed_0' else 'bf16')
        assert args.cfg_options == ([free] if 'router' in name else [])
        assert args.compile == (args.amp is not None and 'router' not in name)


def test_rows_without_a_test_are_said_not_to_be_run():
    assert reproduce('--report-only') == 0
    assert cells('Plain')[1] == cells('Routers')[1] == 'not run'
    assert 'Nothing is finished' in report()
    assert reproduce('--rows', 'ride', '--seeds', '0') == 0
    assert cells('Experts')[1] == '1' and cells('Routers')[1] == 'not run'
    assert 'one run a row' in report()


def test_an_interrupted_training_goes_on(monkeypatch):
    monkeypatch.setenv('FAKE_FAIL', 'ride/seed_0')
    assert reproduce('--rows', 'router', 'ce', '--seeds', '0', '1') == 1
    assert epochs('ride') == ['1'] and not (place('router') / 'epochs.txt').exists()
    assert cells('Experts')[1] == '1' and cells('Plain')[1] == '2'
    assert reproduce('--report-only', '--work-dir', str(place('x').parents[2])) == 0
    monkeypatch.delenv('FAKE_FAIL')
    assert reproduce('--rows', 'router', 'ce', '--seeds', '0', '1') == 0
    assert epochs('ride') == epochs('router') == epochs('ce') == ['1', '2']
    assert cells('Routers')[1] == '2'


def test_unfinished_trainings_are_named_in_the_report(monkeypatch):
    monkeypatch.setenv('FAKE_FAIL', 'ride/')
    assert reproduce('--rows', 'ride', '--seeds', '0') == 1
    assert cells('Experts')[1] == 'unfinished, epoch 1'


def test_a_dry_run_lists_commands_and_writes_nothing(capsys):
    assert reproduce('--rows', 'router', '--seeds', '0', '--dry-run') == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith('#')] == [
        '# 40e/ride/seed_0: not started',
        '# 40e/router/seed_0: not started',
    ]
    commands = [line for line in lines if not line.startswith('#')]
    assert [line.split()[1] for line in commands] == [
        'tools/train.py',
        'tools/test.py',
    ] * 2
    assert not list(Path().iterdir())
    assert reproduce('--rows', 'ride', '--seeds', '0') == 0
    (place('ride') / 'test.json').unlink()
    capsys.readouterr()
    assert reproduce('--rows', 'ride', '--seeds', '0', '--dry-run') == 0
    out = capsys.readouterr().out
    assert 'trained, not tested' in out and 'tools/train.py' not in out


def test_mixed_precision_reaches_all_trainings_and_stays_apart(capsys):
    half = '--amp', 'bf16'
    assert reproduce('--rows', 'router', '--seeds', '0', '--dry-run', *half) == 0
    lines = capsys.readouterr().out.splitlines()
    trainings = [line for line in lines if 'tools/train.py' in line]
    assert len(trainings) == 2
    assert all('--amp bf16' in line for line in trainings)
    assert reproduce('--rows', 'ride', '--seeds', '0') == 0
    assert reproduce('--rows', 'ride', '--seeds', '1', *half) == 0
    commands = report().partition('### Commands')[2]
    assert 'The first commands do all of this' in commands
    calls = [c for c in commands.splitlines() if 'reproduce.py' in c]
    assert [('--amp bf16' in c, '--seeds 1' in c) for c in calls] == [
        (False, False),
        (True, True),
    ]
    capsys.readouterr()
    assert reproduce('--rows', 'ride', '--seeds', '0', *half) == 2
    assert 'train_options' in capsys.readouterr().err
    before = report()
    assert reproduce('--report-only') == 0
    assert report() == before


def test_a_training_that_has_only_begun_here_replaces_no_figures_of_elsewhere():
    assert reproduce('--rows', 'ce', '--seeds', '0') == 0
    before = report()
    assert cells('Plain')[1] == '1'
    (place('ce') / 'test.json').unlink()
    for damaged in ('unfinished', 'elsewhere'):
        if damaged == 'elsewhere':
            Path('work_dirs').rename('moved')
        assert reproduce('--report-only') == 0
        assert report() == before


def test_what_another_call_wrote_meanwhile_stays(monkeypatch):
    """Trainings take hours; the report may have changed by then."""
    assert reproduce('--rows', 'ce', '--seeds', '0', '--note', 'Early.') == 0
    kept = Path('docs/results/toy.json').read_text()
    Path('docs/results/toy.json').unlink()
    Path('work_dirs').rename('moved')
    run_jobs = program.run_jobs

    def meanwhile(*arguments):
        Path('docs/results/toy.json').write_text(kept)
        return run_jobs(*arguments)

    monkeypatch.setattr(program, 'run_jobs', meanwhile)
    assert reproduce('--rows', 'ride', '--seeds', '0') == 0
    assert cells('Plain')[1] == '1' and cells('Experts')[1] == '1'
    assert '- Early.' in report()


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('test.json', '{', 'expected what a test wrote'),
        ('command.json', None, 'expected a training of ce_r20_digitslt, got other'),
    ],
)
def test_a_damaged_or_foreign_folder_is_named(name, content, message, capsys):
    assert reproduce('--rows', 'ce', '--seeds', '0') == 0
    path = place('ce') / name
    if content is None:
        content = json.dumps(json.loads(path.read_text()) | {'config': 'other'})
    path.write_text(content)
    assert reproduce('--report-only') == 2
    err = capsys.readouterr().err
    assert message in err and str(place('ce')) in err


def test_figures_of_elsewhere_stay_in_the_report():
    note = ['--note', 'Made of clay.']
    assert reproduce('--rows', 'ce', '--seeds', '0', *note) == 0
    before = cells('Plain')
    Path('work_dirs').rename('moved')
    options = ['--rows', 'ride', '--seeds', '0', '--schedule', 'small']
    assert reproduce(*options) == 0
    assert cells('Plain') == before
    text = report()
    assert text.count('- Made of clay.') == 1
    assert text.index('- Made of clay.') < text.index('## Schedule small')
    assert text.index('## Schedule 40e') < text.index('## Schedule small')
    assert 'compare these rows among themselves' in text.partition('small\n')[2]
    assert 'difference' not in text.partition('## Schedule small')[2]


def test_the_history_of_a_training_is_its_logs(tmp_path):
    lines = [
        '{"loss": 4.0, "epoch": 1, "step": 5}',
        '{"loss": 3.0, "epoch": 1, "step": 10}',
        '{"shot_accuracy/all": 20.0, "step": 1}',
        '{"loss": 9.0, "epoch": 2, "step": 15}',
        '{"loss": 9.',
    ]
    resumed = [
        '{"loss": 2.0, "epoch": 2, "step": 15}',
        '{"shot_accuracy/all": 30.0, "step": 2}',
    ]
    for name, text in (('20260101_000000', lines), ('20260102_000000', resumed)):
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        (folder / 'scalars.json').write_text('\n'.join(text))
    assert read_history(tmp_path) == {
        'loss': [[1, 3.0], [2, 2.0]],
        'validation': [[1, 20.0], [2, 30.0]],
    }


def test_another_stage_one_is_not_mixed_in(capsys):
    assert reproduce('--rows', 'router', '--seeds', '0') == 0
    (place('ride') / 'epoch_2.pth').write_text('other weights')
    (place('router') / 'test.json').unlink()
    assert reproduce('--rows', 'router', '--seeds', '0') == 2
    err = capsys.readouterr().err
    assert 'expected the training 40e/router/seed_0 with starts_from' in err
    (place('ride') / 'epoch_2.pth').unlink()
    (place('router') / 'epoch_2.pth').unlink()
    assert reproduce('--rows', 'router', '--seeds', '0') == 2
    assert 'to build on, got no such file' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--rows', 'ride-9'], "--rows: expected some of ['ce', 'ride', 'router']"),
        (['--schedule', '7e'], "--schedule: expected one of ['40e', 'small'], got"),
        (['--seeds', '2', '2'], '--seeds: expected each once'),
        (['--jobs', '-1', '--rows', 'ce'], '--jobs: expected at least 1'),
        (['--data-root', 'absent'], '--data-root: expected a folder, got absent'),
        (['--out', 'report.txt'], '--out: expected FILE.md, got report.txt'),
        (
            ['--cfg-options', 'optim_wrapper.optimizer.lr=1'],
            'expected settings of data loading and logging',
        ),
    ],
)
def test_bad_options_are_told_before_anything_starts(arguments, message, capsys):
    assert reproduce(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path('work_dirs').exists()


def test_foreign_records_are_not_replaced(capsys):
    Path('docs/results').mkdir(parents=True)
    records = Path('docs/results/toy.json')
    for content in ('{', '{"benchmark": "other", "runs": {}}', '[]'):
        records.write_text(content)
        assert reproduce('--report-only') == 2
        assert 'expected the records of toy' in capsys.readouterr().err
        assert records.read_text() == content


def test_only_what_is_beyond_the_noise_is_marked():
    known = Published(48.0, 'x')
    one, wide, narrow = (
        metrics_of([{'a': value} for value in values])['a']
        for values in ([40.0], [44.0, 50.0], [46.9, 47.1])
    )
    assert difference(one, known) == '-8.00'
    assert difference(wide, known) == '-1.00'
    assert difference(narrow, known) == '-1.00 *'
    assert difference(None, known) == difference(one, None) == '-'


def test_the_table_of_cifar_is_whole():
    names = [row.name for row in CIFAR100LT.rows]
    assert len(set(names)) == len(names)
    for row in CIFAR100LT.rows:
        for needed in row.needs.values():
            assert names.index(needed) < names.index(row.name)
    chain = [row.name for row in CIFAR100LT.with_needs(['ride-3-distill-router'])]
    assert chain == ['ride-6', 'ride-3-distill', 'ride-3-distill-router']


@pytest.mark.parametrize('schedule', list(CIFAR100LT.schedules))
def test_settings_of_the_rows_reach_the_model(schedule, tmp_path):
    names = [row.name for row in CIFAR100LT.rows]
    planned = program.plan_runs(CIFAR100LT, schedule, names, [4], tmp_path)
    for run in planned.values():
        cfg = check_config(run.config, run.settings())
        head, name = cfg.model.head, run.name.split('/')[1]
        assert cfg.randomness.seed == 4
        if name.startswith('ride'):
            assert cfg.model.num_experts == int(name.split('-')[1])
            plain = name.endswith(('individual', 'collaborative'))
            assert (head.diversity is None) == plain
            assert head.get('collaborative', False) == name.endswith('collaborative')
        if name.endswith('router'):
            assert head.type == 'RouterHead' and name[: -len('-router')] in str(
                cfg.load_from
            )
        else:
            length = int(schedule.removesuffix('e'))
            assert cfg.train_cfg.max_epochs == length
            assert run.checkpoint_name == f'epoch_{length}.pth'
        teacher = cfg.default_hooks.get('teacher')
        assert (teacher is not None) == name.endswith('distill')
        if teacher is not None:
            assert 'ride-6' in teacher.checkpoint and 'teacher' in teacher.config


def test_files_are_named_by_their_hash(tmp_path):
    folder = tmp_path / 'cifar-100-python'
    folder.mkdir()
    (folder / 'train').write_bytes(b'')
    found = describe_files(str(tmp_path))
    assert found == {
        'train': {
            'md5': 'd41d8cd98f00b204e9800998ecf8427e',
            'published': '16019d7e3df5f24257cddd939b257f8d',
        }
    }


def test_the_program_names_its_rows():
    done = run_tool('reproduce.py', 'cifar100lt', '--list')
    assert done.returncode == 0
    assert 'ride-3-distill-router' in done.stdout and '200e, 30e' in done.stdout
