"""What the official archives of the long-tailed benchmarks hold, and how much."""

import re
from collections.abc import Callable
from dataclasses import dataclass

IMAGENET_TRAIN = re.compile(r'(n\d{8})_\d+\.JPEG$')
IMAGENET_VAL = re.compile(r'ILSVRC2012_val_\d{8}\.JPEG$')


@dataclass(frozen=True)
class Benchmark:
    """A benchmark by its list files.

    Attributes:
        config: Name of its base config, which knows lists, classes and class counts.
        title: Name for people.
        tails: How many last parts of an image's path tell it from all others, whatever
            folder an archive puts around them.
        place: Where an image that is on no list belongs, by its path; None if it is no
            image of the benchmark.
        bytes_per_image: About, to foresee a full disk.
        inner_archives: Name of archives within an archive or a folder.
        sources: What ``--images`` takes.
    """

    config: str
    title: str
    tails: int
    place: Callable[[str], str | None]
    bytes_per_image: int
    sources: str
    inner_archives: re.Pattern | None = None


def place_imagenet(path: str) -> str | None:
    """Place an image of ImageNet by its name, which tells its class in training."""
    name = path.rsplit('/', 1)[-1]
    match = IMAGENET_TRAIN.match(name)
    if match:
        return f'train/{match[1]}/{name}'
    # The class of a validation image is known from the list of the test alone.
    return f'val/{name}' if IMAGENET_VAL.match(name) else None


def place_inat(path: str) -> str | None:
    """Place an image of iNaturalist 2018: ``.../train_val2018/KINGDOM/ID/NAME.jpg``."""
    return _from(path, ('train_val2018',), 4)


def place_places(path: str) -> str | None:
    """Place an image of Places365: ``.../train/CLASS/NAME.jpg``, or ``val``."""
    return _from(path, ('train', 'val'), 3)


def _from(path: str, tops: tuple[str, ...], length: int) -> str | None:
    parts = path.split('/')[-length:]
    is_image = len(parts) == length and parts[0] in tops and path.endswith('.jpg')
    return '/'.join(parts) if is_image else None


BENCHMARKS = {
    'imagenet_lt': Benchmark(
        config='imagenet_lt',
        title='ImageNet-LT',
        tails=1,
        place=place_imagenet,
        bytes_per_image=115_000,
        sources='ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, the training '
        'archives of single classes in a folder, or folders of unpacked images',
        inner_archives=re.compile(r'n\d{8}\.tar$'),
    ),
    'inat2018': Benchmark(
        config='inat2018',
        title='iNaturalist 2018',
        tails=2,
        place=place_inat,
        bytes_per_image=260_000,
        sources='train_val2018.tar.gz, or the folder train_val2018 that is in it',
    ),
    'places_lt': Benchmark(
        config='places_lt',
        title='Places-LT',
        tails=2,
        place=place_places,
        bytes_per_image=14_000,
        sources='places365standard_easyformat.tar, or the folder places365_standard '
        'that is in it',
    ),
}
