"""Computes and trains in one, two and four processes; a program for the tests.

    python expert_parallel_runs.py FOLDER TRAINING...

It imports everything once and forks the processes, so CUDA must be off. ``steps``
writes ``FOLDER/steps.pth``: by number of processes, size of groups and setting what a
step gives. Any other of ``TRAININGS`` trains into ``FOLDER/TRAINING``.
"""

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot  # noqa: F401  (once, instead of in each process)
import torch
import torch.distributed as dist
from engine_helpers import tiny_config
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ride_mm.cli import train_main
from ride_mm.engine.expert_parallel import (
    ExpertParallel,
    experts_of,
    split_experts,
    whole_experts,
)
from ride_mm.engine.expert_parallel.hook import clip_across

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
SETTINGS = {
    'plain': {},
    'gap': dict(pool='gap', moe=dict(blocks=[0, 1])),
    'checkpointing': dict(with_cp=True),
    'experts_choose': dict(moe=dict(router=dict(type='ExpertsChooseRouter'))),
    'bf16': {},
}
GROUPS = ((2, 1), (2, 2), (4, 4), (4, 2))
IMAGES = 8
MAX_NORM = 0.05
# So large that the change is exact.
LEARNING_RATE = 1e5
# Name: processes, and the checkpoint from which to go on.
TRAININGS = {
    'one': (1, None),
    'four': (4, None),
    'two_after_four': (2, 'four/epoch_1.pth'),
    'one_after_four': (1, 'four/epoch_1.pth'),
    'four_after_one': (4, 'one/epoch_1.pth'),
    'two': (2, None),
    'two_after_two': (2, 'two/epoch_1.pth'),
    'noisy': (1, None),
    'noisy_again': (1, 'noisy/epoch_1.pth'),
    'averaged_one': (1, None),
    'averaged_two': (2, None),
}


def backbone(**settings) -> dict:
    router = dict(noise_std=0.0, gshard_weight=0.01, load_weight=0.0)
    if settings.get('moe', {}).get('router'):
        router = dict(noise_std=0.0, **settings['moe']['router'])
    moe = dict(blocks=[1], num_experts=4, images_per_group=2, identical_experts=False)
    moe |= {**settings.pop('moe', {}), 'router': router}
    return dict(type='VMoE', arch=ARCH, img_size=8, patch_size=4, moe=moe, **settings)


def classifier(**settings) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='VMoEClassifier',
            backbone=backbone(**settings),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
        )
    )
    for router in (m.router for m in model.modules() if hasattr(m, 'router')):
        torch.nn.init.normal_(router.weight)
    return model


def step(name: str, size: int | None) -> dict[str, torch.Tensor]:
    """Take a step of SGD with clipping.

    Returns:
        What the processes log on average, the norm before clipping, and the clipped
        gradient of each parameter, seen in its change.
    """
    rank, processes = (dist.get_rank(), dist.get_world_size()) if size else (0, 1)
    model = classifier(**SETTINGS[name]).train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    images = torch.randn(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    each = IMAGES // processes
    part = slice(rank * each, (rank + 1) * each)
    samples = [DataSample().set_gt_label(n % 3) for n in range(IMAGES)]
    wrapped = model
    if size:
        wrapped = ExpertParallel(model, size)
        split = len(experts_of(model)) if size > 1 else 0
        assert split_experts(model) == split
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
    optim_wrapper = OptimWrapper(optimizer, clip_grad=dict(max_norm=MAX_NORM))
    if size:
        clip_across(optim_wrapper, wrapped)
    norms = []
    clip = optim_wrapper.clip_func
    optim_wrapper.clip_func = lambda *a, **k: norms.append(clip(*a, **k))
    with torch.autocast('cpu', torch.bfloat16, enabled=name == 'bf16'):
        losses = wrapped(images[part], samples[part], mode='loss')
    total, log = model.parse_losses(losses)
    optim_wrapper.update_params(total)
    found = {'norm': norms[0]}
    for key, value in log.items():
        value = torch.as_tensor(value).detach().clone().float()
        if size:
            dist.all_reduce(value)
        found[key] = value / processes
    with whole_experts([model]):
        after = {n: p.detach().clone() for n, p in model.named_parameters()}
    if rank == 0:
        found |= {n: (before[n] - after[n]) / LEARNING_RATE for n in before}
    return found


def train(root: Path, name: str) -> None:
    """Train into a folder of that name."""
    processes, start = TRAININGS[name]
    Config.pretty_text = property(lambda self: '')
    options = [
        f'train_dataloader.batch_size={8 // processes}',
        'default_hooks.checkpoint.max_keep_ckpts=-1',
    ]
    argv = [str(root / 'vmoe.py'), '--work-dir', str(root / name)]
    if processes > 1:
        argv += ['--launcher', 'pytorch']
        options.append('model_wrapper_cfg.type=ExpertParallel')
    if start is not None:
        argv += ['--resume', str(root / start)]
    if name.startswith('noisy'):
        options.append('model.backbone.moe.router.noise_std=1.0')
        options.append('model.backbone.moe.drop_rate=0.1')
    if name.startswith('averaged'):
        options.append('default_hooks.average.type=LTEMAHook')
        options.append('default_hooks.average.momentum=0.5')
    train_main([*argv, '--cfg-options', *options])


def config(root: Path) -> Config:
    """A tiny V-MoE that sees each image alike in any batch: groups of one image."""
    model = backbone(moe=dict(images_per_group=1))
    model['moe']['router'] = dict(noise_std=0.0, capacity_factor=4.0)
    cfg = tiny_config(root, train_cfg__max_epochs=2)
    cfg.pop('work_dir')
    cfg.model = dict(
        type='VMoEClassifier',
        backbone=model,
        head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
    )
    cfg.data_preprocessor.to_onehot = False
    cfg.optim_wrapper = dict(
        optimizer=dict(type='AdamW', lr=1e-3, eps=1e-3), clip_grad=dict(max_norm=0.05)
    )
    return cfg


def in_processes(number: int, function: Callable[[int], None], log: Path) -> None:
    """Run a function of the rank in processes of their own, connected if several."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(number):
        child = os.fork()
        if child:
            children.append(child)
            continue
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if number > 1:
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(number),
                LOCAL_WORLD_SIZE=str(number),
                MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port),
            )  # fmt: skip
        try:
            function(rank)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit(log.read_text())


def take_steps(root: Path) -> None:
    """Write ``steps.pth``."""

    def steps(rank: int, size: int | None) -> None:
        if size:
            dist.init_process_group('gloo')
        found = {name: step(name, size) for name in SETTINGS}
        if rank == 0:
            torch.save(found, root / 'part.pth')

    results = {}
    for processes, size in ((1, None), *GROUPS):
        in_processes(
            processes, lambda rank, size=size: steps(rank, size), root / 'log.txt'
        )
        results[processes, size] = torch.load(root / 'part.pth', weights_only=True)
    torch.save(results, root / 'steps.pth')


def main(root: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    root.mkdir(parents=True, exist_ok=True)
    config(root).dump(root / 'vmoe.py')
    for name in names:
        if name == 'steps':
            take_steps(root)
            continue
        processes, _ = TRAININGS[name]
        in_processes(
            processes, lambda rank, name=name: train(root, name), root / 'log.txt'
        )


if __name__ == '__main__':
    main(Path(sys.argv[1]), sys.argv[2:])
