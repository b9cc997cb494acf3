"""What ``tools/infer.py`` prints, writes and draws."""

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
import torch
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer

from .text import count

MAX_CLASSES = 10
# Shorter side of a picture, in pixels, on which the text can be read.
READABLE = 256
Result = Mapping[str, Any]


def line_of(result: Result) -> str:
    """One image's classes and probabilities in a line."""
    classes = ', '.join(
        f'{one["pred_class"]} {one["pred_score"]:.4f}' for one in result['top_k']
    )
    used = result['num_experts']
    experts = '' if used is None else f' ({count(used, "expert")})'
    return f'{result["img_path"]}: {classes}{experts}'


def summarise(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """Summarise predictions.

    Args:
        results: Of one image or more.
        seconds: That it took.

    Returns:
        ``images``, ``images_per_second``, ``mean_experts`` (None without routers) and
        ``classes``, the number of images by predicted class, most first.
    """
    used = [result['num_experts'] for result in results]
    return dict(
        images=len(results),
        images_per_second=len(results) / seconds,
        mean_experts=None if None in used else sum(used) / len(used),
        classes=dict(Counter(result['pred_class'] for result in results).most_common()),
    )


def lines_of_summary(summary: Mapping[str, Any], skipped: int) -> str:
    """A summary in two lines."""
    parts = [
        count(summary['images'], 'image'),
        f'{summary["images_per_second"]:,.1f} images/s',
    ]
    if summary['mean_experts'] is not None:
        parts.append(f'{summary["mean_experts"]:.3f} experts on average')
    if skipped:
        parts.append(f'{count(skipped, "file")} skipped')
    classes = list(summary['classes'].items())
    named = [f'{name} {number:,}' for name, number in classes[:MAX_CLASSES]]
    if len(classes) > MAX_CLASSES:
        rest = sum(number for _, number in classes[MAX_CLASSES:])
        named.append(f'{len(classes) - MAX_CLASSES} more classes {rest:,}')
    return f'{", ".join(parts)}\npredicted: {", ".join(named)}'


def csv_of(results: Sequence[Result]) -> str:
    """Predictions as CSV: an image in a row, the further classes in further columns."""
    text = io.StringIO(newline='')
    writer = csv.writer(text)
    further = range(2, len(results[0]['top_k']) + 1)
    keys = 'label', 'class', 'score'
    writer.writerow(
        ['image', *(f'pred_{key}' for key in keys), 'num_experts']
        + [f'{key}_{k}' for k in further for key in keys]
    )
    for result in results:
        first, *others = (
            [one[f'pred_{key}'] for key in keys] for one in result['top_k']
        )
        used = '' if result['num_experts'] is None else result['num_experts']
        writer.writerow([result['img_path'], *first, used, *sum(others, [])])
    # A file's name may be no text; surrogates stand for its bytes.
    return text.getvalue().encode('utf-8', 'backslashreplace').decode('utf-8')


def picture_names(paths: Sequence[str], folder: str | Path) -> dict[str, Path]:
    """Name the annotated picture of each image.

    Below ``folder`` the pictures lie as the images lie below the folder that they have
    in common, so that no two have the same name; ``.png`` is put behind the name, for
    ``a.jpg`` may lie beside ``a.bmp``.

    Args:
        paths: Of the images.
        folder: Where the pictures go.

    Returns:
        The picture's path by the image's.
    """
    places = {path: Path(os.path.abspath(path)) for path in paths}
    common = os.path.commonpath([place.parent for place in places.values()])
    return {
        path: Path(folder, f'{place.relative_to(common)}.png')
        for path, place in places.items()
    }


def draw(
    visualizer: UniversalVisualizer,
    result: Result,
    classes: Sequence[str] | None,
    path: Path,
) -> None:
    """Write an image with its classes and probabilities on it.

    Args:
        visualizer: That draws.
        result: Of an image file.
        classes: Names of all classes, (C,), if they are known.
        path: Where to write the picture, as PNG.

    Raises:
        OSError: If it cannot be written.
    """
    image = mmcv.imread(result['img_path'])[..., ::-1]
    labels = [one['pred_label'] for one in result['top_k']]
    scores = torch.zeros(max(labels) + 1 if classes is None else len(classes))
    scores[labels] = torch.tensor([one['pred_score'] for one in result['top_k']])
    sample = DataSample().set_pred_label(labels).set_pred_score(scores)
    path.parent.mkdir(parents=True, exist_ok=True)
    visualizer.visualize_cls(
        image,
        sample,
        classes=classes,
        draw_gt=False,
        resize=READABLE if min(image.shape[:2]) < READABLE else None,
        text_cfg=dict(parse_math=False),
        out_file=str(path),
    )
