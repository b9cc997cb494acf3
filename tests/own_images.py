"""Folders of images that a user might have."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = {
    'Äpfel grün': 26,
    'dark birch': 9,
    '"quoted", comma': 6,
    "o'brien": 4,
    'two': 2,
    'single': 1,
}
MODES = ('RGB', 'L', 'RGBA', 'P', 'CMYK', 'I;16', '1', 'LA')


def hostile_folder(root: Path) -> Path:
    """Images of several sizes and modes, and much that is no image of a class."""
    stream = np.random.RandomState(0)
    for index, (name, number) in enumerate(CLASSES.items()):
        (root / name).mkdir(parents=True)
        for i in range(number):
            height, width = stream.randint(24, 60, 2)
            pixels = stream.randint(0, 120, (height, width, 3))
            pixels[..., index % 3] += 40 + 10 * index
            save(pixels, MODES[i % len(MODES)], root / name / f'bild {i}, "x" é')
    nested = root / 'dark birch' / 'from a trip' / 'day 1'
    nested.mkdir(parents=True)
    Image.new('RGB', (40, 40), 'red').save(nested / 'n.webp')
    frames = [Image.new('RGB', (40, 40), colour) for colour in ('red', 'blue')]
    frames[0].save(root / 'two/moving.gif', save_all=True, append_images=frames[1:])
    (root / 'two/Thumbs.db').write_bytes(b'no image')
    (root / 'two/.hidden.png').write_bytes(b'no image')
    (root / '.git').mkdir()
    (root / '.git/x.png').write_bytes(b'')
    (root / 'empty class').mkdir()
    frames[0].save(root / 'beside.png')
    (root / 'readme.txt').write_text('mine')
    return root


def save(pixels: np.ndarray, mode: str, stem: Path) -> None:
    """Write an image in a mode of Pillow."""
    if mode == 'I;16':
        image = Image.fromarray((pixels[..., 0] * 256).astype(np.uint16))
    else:
        image = Image.fromarray(pixels.astype(np.uint8)).convert(mode)
    ending = '.JPG' if mode == 'CMYK' else '.png'
    image.save(stem.with_name(stem.name + ending))


def break_some(root: Path) -> list[str]:
    """Add files that cannot be used, and return their names."""
    (root / 'dark birch/no image.jpg').write_bytes(b'\xff\xd8\xff\xe0 no more')
    (root / 'dark birch/empty.png').write_bytes(b'')
    pixels = np.random.RandomState(0).randint(0, 256, (90, 90, 3)).astype(np.uint8)
    cut = root / 'two/cut.jpg'
    Image.fromarray(pixels).save(cut)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    return ['dark birch/empty.png', 'dark birch/no image.jpg', 'two/cut.jpg']
