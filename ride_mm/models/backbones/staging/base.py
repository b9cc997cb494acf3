"""What has to be said of a plain backbone to divide it into trunk and experts."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from mmpretrain.registry import MODELS
from torch import Tensor, nn


class Staging:
    """Divides a plain backbone of MMPretrain into stem, stages and output.

    It holds names only, so that one staging serves the trunk and all experts, each of
    which is the plain backbone without the parts that it does not have. Here each part
    is a row of modules that map a tensor to a tensor; backbones that need more than
    that override :meth:`enter`, :meth:`run` or :meth:`leave`.

    Args:
        stem: Names of the modules and parameters before the first stage.
        stages: Names of the modules of each stage.
        output: Names of the modules behind the last stage.
    """

    # Whether experts can be narrower, and whether a leading part of each tensor of the
    # plain network is then a sensible start.
    narrows = False
    slices = False
    # The fewest stages that have to be shared.
    min_shared = 0
    # How the names of parameters end that no forward pass uses.
    unused: tuple[str, ...] = ()

    def __init__(
        self,
        stem: Iterable[str],
        stages: Iterable[Sequence[str]],
        output: Iterable[str] = (),
    ) -> None:
        self.stem = tuple(stem)
        self.stages = tuple(tuple(stage) for stage in stages)
        self.output = tuple(output)

    def enter(self, net: nn.Module, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to what the first stage takes."""
        return apply(net, self.stem, images)

    def run(self, net: nn.Module, i: int, x: Tensor) -> Tensor:
        """Map what stage ``i`` takes to what the next one takes."""
        return apply(net, self.stages[i], x)

    def leave(self, net: nn.Module, x: Tensor) -> Tensor:
        """Map what the last stage gives to the backbone's output."""
        return apply(net, self.output, x)

    def expert_names(self, shared: int) -> tuple[str, ...]:
        """Names of what each expert has of its own."""
        late = (name for stage in self.stages[shared:] for name in stage)
        return (*late, *self.output)

    def trunk_names(self, shared: int) -> tuple[str, ...]:
        """Names of what all experts share."""
        early = (name for stage in self.stages[:shared] for name in stage)
        return (*self.stem, *early)

    def weight_parts(self, names: Sequence[str]) -> tuple[str, ...]:
        """Split parts so finely that one is loaded as a whole or not at all."""
        return tuple(names)

    def blocks(self, net: nn.Module, name: str) -> dict[int, int]:
        """Blocks along the dimensions of a tensor; each of them is sliced by itself."""
        return {}

    def narrowed(
        self, base: dict, plain: nn.Module, first: int, width: float
    ) -> nn.Module:
        """Build the backbone with narrower late stages.

        Args:
            base: Config of the plain backbone.
            plain: The plain backbone, built of it.
            first: The first stage to be narrowed.
            width: Relative to the plain backbone's width.
        """
        raise ValueError(
            f'expert_width: expected 1.0 for {base["type"]}, whose stages cannot be '
            f'narrower, got {width}'
        )


def apply(net: nn.Module, names: Iterable[str], x: Tensor) -> Tensor:
    """Apply modules of a network one after the other."""
    for name in names:
        x = attrgetter(name)(net)(x)
    return x


def blocks_and_merging(names: Sequence[str]) -> tuple[str, ...]:
    """Split stages into their blocks and the merging that follows.

    For backbones that merge at the end of a stage: the last shared merging leads to the
    experts and may be narrower alone.
    """
    split = []
    for name in names:
        stage = name.startswith('stages.')
        split += [f'{name}.blocks', f'{name}.downsample'] if stage else [name]
    return tuple(split)


def scaled(widths: Sequence[float], first: int, width: float) -> list:
    """Widths of all stages, those from the first one on times a factor.

    Whole numbers stay whole.
    """
    return [
        w if i < first else (int(w * width) if isinstance(w, int) else w * width)
        for i, w in enumerate(widths)
    ]


def build_with(base: dict, **tables) -> nn.Module:
    """Build a backbone whose class has these tables in place of its own.

    For backbones whose widths stand in a table of the class and in no argument.
    """
    arguments = dict(base)
    plain = MODELS.get(arguments.pop('type'))
    net = type(plain.__name__, (plain,), tables)(**arguments)
    net.__class__ = plain
    return net


# Makes the staging of a backbone, by the name of its class.
STAGINGS: dict[str, Callable[[nn.Module], Staging]] = {}


def staging_for(*names: str) -> Callable:
    """Register the function that makes the staging of backbones with these names."""

    def register(function: Callable[[nn.Module], Staging]) -> Callable:
        STAGINGS.update(dict.fromkeys(names, function))
        return function

    return register


def staging_of(net: nn.Module) -> Staging:
    """How a backbone divides into stages.

    A class derived from a known one is as that one if it has the same ``forward``.

    Raises:
        ValueError: If it is not known.
    """
    for kind in type(net).__mro__:
        if kind.__name__ in STAGINGS and kind.forward is type(net).forward:
            return STAGINGS[kind.__name__](net)
    raise ValueError(
        f'base: expected one of {", ".join(sorted(STAGINGS))}, whose stages are known, '
        f'got {type(net).__name__}; staging_for in '
        'ride_mm.models.backbones.staging makes another one known'
    )
