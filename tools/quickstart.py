"""Train a plain network, RIDE and its routers on long-tailed digits; compare them.

    python tools/quickstart.py

A second call reuses what is there, an interrupted one continues. What no longer belongs
to the configs or to the code is trained anew.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope

# From a checkout this works without installation, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ride_mm  # noqa: E402
from ride_mm.analysis import (  # noqa: E402
    format_count,
    format_percent,
    format_table,
    model_complexity,
    plot_accuracy_by_class,
    read_class_accuracy,
)
from ride_mm.analysis.routing.speed import images_per_second  # noqa: E402
from ride_mm.cli.configs.schedule import scale_schedule  # noqa: E402
from ride_mm.engine.checkpoint_io import (  # noqa: E402
    load_checkpoint_file,
    write_atomically,
)
from ride_mm.utils import SHOT_GROUPS, find_config, resource_root  # noqa: E402
from ride_mm.utils.freed_memory import keep_freed_memory  # noqa: E402

CONFIGS = {
    'CE': 'ce_r20_digitslt',
    'RIDE': 'ride_r20_digitslt',
    'RIDE, routed': 'ride_r20_digitslt_router',
}
# Whose weights a model starts from.
START = {'RIDE, routed': 'RIDE'}
INPUT_SHAPE = (3, 16, 16)
GROUPS = ('all', *SHOT_GROUPS)
COLUMNS = ('model', *GROUPS, 'parameters', 'experts', 'MACs', 'images/s')
SECONDS = 3  # of measuring the speed
# The file that marks a folder as ours and says what its contents belong to.
MARK = 'quickstart.json'


@dataclass(frozen=True)
class Run:
    """One model to train.

    Attributes:
        name: In the table and the picture.
        config: Path of the config.
        folder: For checkpoints, logs and results.
        changes: Changes to the config, by dotted key.
        start: The model whose weights it starts from.
    """

    name: str
    config: Path
    folder: Path
    changes: dict[str, object] = field(default_factory=dict)
    start: 'Run | None' = None

    @property
    def options(self) -> dict[str, object]:
        """All changes to the config, by dotted key."""
        if self.start is None:
            return self.changes
        return {**self.changes, 'load_from': str(self.start.checkpoint)}

    def resolved(self) -> Config:
        """The config with its bases and changes."""
        cfg = Config.fromfile(self.config)
        cfg.merge_from_dict(self.options)
        return cfg

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the last epoch, which a finished run has."""
        return self.folder / f'epoch_{self.resolved().train_cfg.max_epochs}.pth'


def main() -> None:
    """Train, test, compare."""
    args = parse_args()
    folder = args.work_dir
    runs = {}
    for name, config in CONFIGS.items():
        path = find_config(config)
        cfg = Config.fromfile(path)
        epochs = args.epochs
        if name in START and epochs is not None:  # Routers need no longer.
            epochs = min(epochs, cfg.train_cfg.max_epochs)
        start = runs.get(START.get(name))
        changes = scale_schedule(cfg, epochs)
        runs[name] = Run(name, path, folder / config, changes, start)
    try:
        results = [
            measure(run, f'[{i}/{len(runs)}]', args)
            for i, run in enumerate(runs.values(), start=1)
        ]
        speeds = speed(list(runs.values()), folder, args.device)
    except KeyboardInterrupt:
        raise SystemExit('\nInterrupted; the same command continues.') from None
    for result in results:
        result['images_per_second'] = speeds[result['name']]
    report(results, folder)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/quickstart'),
        help='folder for checkpoints and results (default: %(default)s)',
    )
    parser.add_argument(
        '--fresh', action='store_true', help='discard earlier results and train anew'
    )
    parser.add_argument(
        '--epochs',
        type=int,
        help='train this long, with the schedule scaled to it; a short run shows that '
        'all works, but does not compare the methods: RIDE needs its full schedule '
        'and is behind CE after a few epochs',
    )
    parser.add_argument(
        '--device',
        choices=('auto', 'cpu'),
        default='auto',
        help='auto takes a GPU where there is one',
    )
    args = parser.parse_args()
    if args.epochs is not None and args.epochs < 1:
        parser.error(f'--epochs: expected at least 1, got {args.epochs}')
    return args


def measure(run: Run, position: str, args: argparse.Namespace) -> dict:
    """Train and test one model, as far as that has not been done.

    Args:
        run: The model.
        position: Where it stands among all, for the reader.
        args: The command line.

    Returns:
        Config, checkpoint, metrics, parameters, mean experts and multiply-adds.
    """
    claim(run, args.fresh)
    epochs = run.resolved().train_cfg.max_epochs
    if run.checkpoint.is_file():
        say(f'{position} {run.name} is trained: {run.checkpoint}')
    else:
        say(f'{position} Training {run.name} for {epochs} epochs: {run.folder}')
        train(run, args.device)
    parameters, experts, macs = complexity(run)
    metrics = test(run, args.device)
    if 'expert_usage/mean_macs' in metrics:
        experts = metrics['expert_usage/mean_experts']
        macs = 1e6 * metrics['expert_usage/mean_macs']
    return dict(
        name=run.name,
        config=str(run.config),
        checkpoint=str(run.checkpoint),
        metrics=metrics,
        parameters=parameters,
        mean_experts=experts,
        macs=macs,
        classes=str(run.folder / 'classes.csv'),
    )


def claim(run: Run, fresh: bool) -> None:
    """Make the folder of a run, without results of other configs or other code.

    Raises:
        SystemExit: If the folder holds files that are not from here.
    """
    mark = run.folder / MARK
    belongs_to = fingerprint(run)
    if run.folder.is_dir() and any(run.folder.iterdir()):
        if not mark.is_file():
            raise SystemExit(
                f'{run.folder}: expected an empty folder or one made by this script, '
                'got one with other files; choose another --work-dir'
            )
        stale = read_json(mark).get('fingerprint') != belongs_to
        if stale and not fresh:
            say(f'{run.name}: config or code changed since {run.folder} was made')
        if stale or fresh:
            say(f'{run.name}: discarding {run.folder}')
            shutil.rmtree(run.folder)
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, {'config': str(run.config), 'fingerprint': belongs_to})


def fingerprint(run: Run) -> str:
    """Digest of all that determines a result: the config and the code of ride_mm."""
    digest = hashlib.sha256(run.resolved().pretty_text.encode())
    if run.start is not None:
        digest.update(fingerprint(run.start).encode())
    package = Path(ride_mm.__file__).parent
    for part in ('datasets', 'engine', 'evaluation', 'models', 'utils'):
        for path in sorted((package / part).rglob('*.py')):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def train(run: Run, device: str) -> None:
    """Train a model, from its last checkpoint if there is one."""
    call(
        'train.py',
        [run.config, '--work-dir', run.folder, '--resume'],
        run.options,
        device,
    )
    if not run.checkpoint.is_file():
        raise SystemExit(f'{run.name}: training ended without {run.checkpoint}')


def test(run: Run, device: str) -> dict[str, float]:
    """Test a model, unless that was done after its checkpoint was written.

    Returns:
        The metrics.
    """
    result, classes = run.folder / 'test.json', run.folder / 'classes.csv'
    trained = run.checkpoint.stat().st_mtime
    done = classes.is_file() and read_json(result).get('metrics')
    if not (done and result.stat().st_mtime >= trained):
        say(f'Testing {run.name}')
        call(
            'test.py',
            [run.config, run.checkpoint, '--work-dir', run.folder, '--json', result],
            {**run.options, 'test_evaluator.0.csv': classes},
            device,
        )
    return read_json(result)['metrics']


def complexity(run: Run) -> tuple[int, int, int]:
    """Count parameters, experts, and the multiply-adds for one image."""
    init_default_scope('mmpretrain')
    model = MODELS.build(run.resolved().model)
    parameters, macs = model_complexity(model, INPUT_SHAPE)
    return parameters, model.num_experts, macs


def speed(runs: list[Run], folder: Path, device: str) -> dict[str, float]:
    """Measure the images per second of all models, in turns, unless that was done.

    Returns:
        Images per second by the name of the model.
    """
    result = folder / 'speed.json'
    belongs_to = [[fingerprint(run), run.checkpoint.stat().st_mtime] for run in runs]
    done = read_json(result)
    if done.get('belongs_to') == belongs_to:
        return done['images_per_second']
    say('Measuring the speed on test images')
    cuda = device == 'auto' and torch.cuda.is_available()
    place = torch.device('cuda' if cuda else 'cpu')
    if not cuda:
        keep_freed_memory()  # as tools/test.py does
    models = [trained_model(run).to(place) for run in runs]
    images = test_images(runs[0], models[0]).to(place)
    measured = images_per_second(models, images, SECONDS * len(models))
    names = [run.name for run in runs]
    done = dict(zip(names, measured, strict=True))
    write_json(result, {'belongs_to': belongs_to, 'images_per_second': done})
    return done


def trained_model(run: Run) -> torch.nn.Module:
    """Build a model with its checkpoint's weights, in evaluation mode."""
    cfg = run.resolved()
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    model.load_state_dict(load_checkpoint_file(run.checkpoint)['state_dict'])
    return model.eval()


def test_images(run: Run, model: torch.nn.Module) -> torch.Tensor:
    """All test images, preprocessed, (N, 3, H, W)."""
    dataset = DATASETS.build(run.resolved().test_dataloader.dataset)
    inputs = [dataset[i]['inputs'] for i in range(len(dataset))]
    return model.data_preprocessor(dict(inputs=inputs))['inputs']


def call(tool: str, arguments: list, options: dict[str, object], device: str) -> None:
    """Run one of the tools; its output appears as it comes.

    Raises:
        SystemExit: If the tool fails.
    """
    command = [sys.executable, str(resource_root() / 'tools' / tool)]
    command += map(str, arguments)
    if options:
        values = (
            value if isinstance(value, str) else str(value).replace(' ', '')
            for value in options.values()
        )
        command.append('--cfg-options')
        command += map('='.join, zip(options, values, strict=True))
    environment = {**os.environ, 'PYTHONUNBUFFERED': '1'}
    if device == 'cpu':
        environment['CUDA_VISIBLE_DEVICES'] = ''
    status = subprocess.run(command, env=environment).returncode
    if status:
        raise SystemExit(
            f'{tool} failed with exit status {status}; the reason stands above. '
            f'The command was:\n  {shlex.join(command)}'
        )


def report(results: list[dict], folder: Path) -> None:
    """Print the table; write the results and the picture."""
    rows = [
        [
            result['name'],
            *(
                format_percent(result['metrics'].get(f'shot_accuracy/{group}'))
                for group in GROUPS
            ),
            format_count(result['parameters']),
            f'{result["mean_experts"]:.3g}',
            format_count(round(result['macs'])),
            f'{result["images_per_second"]:,.0f}',
        ]
        for result in results
    ]
    table = format_table(COLUMNS, rows)
    picture = folder / 'accuracy_by_class.png'
    plot_accuracy_by_class(
        {r['name']: read_class_accuracy(r['classes']) for r in results},
        picture,
        title='Long-tailed digits: test accuracy by class',
    )
    write_json(folder / 'results.json', {'results': results})
    say('Test accuracy on long-tailed digits, in percent, and cost of an image')
    print(f'\n{table}\n\nResults: {folder / "results.json"}\nPicture: {picture}')


def say(text: str) -> None:
    """Print a heading at once, before the output of what it announces."""
    print(f'\n==> {text}', flush=True)


def read_json(path: Path) -> dict:
    """Read a file; one that is absent or was cut off is empty."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def write_json(path: Path, content: dict) -> None:
    """Write a file at once or not at all."""
    write_atomically(json.dumps(content, indent=2) + '\n', path)


if __name__ == '__main__':
    main()
