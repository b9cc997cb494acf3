from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ride_mm.analysis import class_count_plot, plot_class_counts


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn."""
    figures = []

    class Recorded(class_count_plot.Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            figures.append(self)

    monkeypatch.setattr(class_count_plot, 'Figure', Recorded)
    return figures


def test_few_classes_are_bars_from_head_to_tail(drawn):
    png = plot_class_counts([3, 150, 0, 40], ['a $x', 'b', 'c' * 30, 'd'], 'mine $')
    assert Image.open(BytesIO(png)).format == 'PNG'
    (axes,) = drawn[0].axes
    heights = [bar.get_height() for bar in axes.containers[0]]
    assert heights == [150, 40, 3, 0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ['b', 'd', r'a \$x', 'c' * 19 + '…']
    title = r'mine \$: 193 images, many / medium / few 1 / 1 / 2 classes'
    assert axes.get_title() == title
    assert [text.get_text() for text in axes.texts[-3:]] == [
        'many-shot',
        'medium-shot',
        'few-shot',
    ]


def test_many_classes_are_a_curve(drawn):
    counts = np.arange(1, 41)
    plot_class_counts(counts, [str(c) for c in counts], 'mine')
    (axes,) = drawn[0].axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), counts[::-1])
    assert axes.get_ylim()[1] > 40
