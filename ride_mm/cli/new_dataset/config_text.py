"""The text of the configs for a data set."""

import math
from collections.abc import Sequence
from string import Template

from .machine import Machine
from .names import Names, checkpoint, commands_of_experts, commands_of_routers
from .proposal import Proposal, expert_width
from .source import Source
from .templates import (
    EXPERTS,
    LARGE_PIPELINES,
    OWN_TEST,
    PRETRAINED,
    ROUTER,
    SMALL_PIPELINES,
)

# Depths of which MMPretrain publishes weights that load.
PUBLISHED = (18, 50)


def experts_config(
    names: Names, source: Source, proposal: Proposal, machine: Machine
) -> str:
    """The config of stage one: data, model and schedule in one file."""
    p = proposal
    counts = source.counts('train')
    has_test = 'test' in source.parts
    validation = 'val' if 'val' in source.parts else 'test'
    return Template(EXPERTS).substitute(
        name=names.name,
        experts=count_of_experts(p),
        summary=f'{p.images:,} training images of {p.num_classes:,} classes, '
        f'{max(counts):,} to {min(counts):,} of each',
        machine=in_docstring(str(machine)),
        chosen=in_docstring(lines_of_choices(p)),
        commands=in_docstring(
            indented([*commands_of_experts(names, p), *commands_of_routers(names, p)])
        ),
        data_root=repr(source.root),
        image_size=p.image_size,
        batch_size=p.batch_size,
        workers=p.workers,
        epochs=p.epochs,
        many=p.many,
        few=p.few,
        start=''
        if p.depth not in PUBLISHED
        else Template(PRETRAINED).substitute(depth=p.depth),
        num_experts=p.experts,
        num_classes=p.num_classes,
        backbone='RIDEResNetCIFAR' if p.small else 'RIDEResNet',
        depth=p.depth,
        width=expert_width(p.experts),
        diversity=diversity(p),
        pipelines=SMALL_PIPELINES if p.small else LARGE_PIPELINES,
        validation=validation,
        test_dataloader=OWN_TEST
        if has_test and validation == 'val'
        else 'val_dataloader',
        **schedule(p),
    )


def schedule(p: Proposal) -> dict[str, object]:
    """Rates and epochs of stage one: the authors', scaled to the length.

    For small images those of CIFAR, x0.01 after 80 and 90 % of the epochs, for others
    those of ImageNet-LT, x0.1 after 60 and 80 %; re-weighting after 80 %.
    """
    first, second, gamma = (0.8, 0.9, 0.01) if p.small else (0.6, 0.8, 0.1)
    warm_up = min(5, p.epochs // 10)
    return dict(
        rate=round(0.1 * min(1.0, p.batch_size / (128 if p.small else 256)), 4),
        decay='5e-4' if p.small else '2e-4',
        warm_up=f"    dict(type='LinearLR', start_factor={1 / warm_up:g}, begin=0, "
        f'end={warm_up}, by_epoch=True),\n'
        if warm_up > 1
        else '',
        milestones=sorted({max(1, int(share * p.epochs)) for share in (first, second)}),
        gamma=gamma,
        reweight_epoch=int(0.8 * p.epochs),
        val_interval=max(1, p.epochs // 10),
        log_interval=max(1, min(50, math.ceil(p.images / p.batch_size) // 2)),
    )


def diversity(p: Proposal) -> str:
    """The diversity loss, with the authors' factors for CIFAR or larger images."""
    if p.experts == 1:
        return 'None'
    factors = (-0.45, 0.05) if p.small else (-0.2, 0.02)
    return f"dict(type='DiversityLoss', factor={factors[0]}, class_factor={factors[1]})"


def router_config(names: Names, proposal: Proposal) -> str:
    """The config of stage two, which inherits from that of stage one."""
    p = proposal
    return Template(ROUTER).substitute(
        name=names.name,
        experts=count_of_experts(p),
        depth=p.depth,
        stem=names.experts,
        commands=in_docstring(
            indented(
                [*commands_of_experts(names, p)[:1], *commands_of_routers(names, p)]
            )
        ),
        checkpoint=checkpoint(names.experts, p.epochs),
        # The paper's numbers of logits and initializations by network.
        top_z=min(p.num_classes, 50 if p.depth >= 50 else 30),
        init='kaiming' if p.small else 'default',
        epochs=p.router_epochs,
        val_interval=max(1, p.router_epochs // 5),
    )


def lines_of_choices(p: Proposal) -> str:
    """What was chosen and why, a line for each."""
    rows = choices(p)
    width = max(len(what) for what, _ in rows)
    return indented([f'{what.ljust(width)}  {why}' for what, why in rows])


def choices(p: Proposal) -> list[tuple[str, str]]:
    """What was chosen and why."""
    return [
        (f'images of {p.image_size} x {p.image_size}', p.reasons['image_size']),
        (f'ResNet-{p.depth}', p.reasons['depth']),
        (count_of_experts(p), p.reasons['experts']),
        (f'batches of {p.batch_size}', p.reasons['batch_size']),
        (f'{p.epochs} epochs', p.reasons['epochs']),
        (f'many > {p.many}, few < {p.few}', p.reasons['thresholds']),
    ]


def count_of_experts(p: Proposal) -> str:
    """The number of experts in words."""
    return f'{p.experts} expert{"" if p.experts == 1 else "s"}'


def indented(lines: Sequence[str]) -> str:
    """Lines as a docstring has them."""
    return '\n'.join(f'    {line}' for line in lines)


def in_docstring(text: str) -> str:
    """Escape what a string of Python would read otherwise."""
    return text.replace('\\', '\\\\').replace('"', '\\"')
