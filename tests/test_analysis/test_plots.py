import numpy as np
import pytest

from ride_mm.analysis import (
    ClassAccuracy,
    plot_accuracy_by_class,
    plots,
    read_class_accuracy,
)

CSV = """class_index,class_name,shots,images,correct,accuracy
0,"cat, small",12,30,15,50.0000
1,dog,140,30,27,90.0000
2,eel,60,0,0,
"""


def test_the_file_of_the_metric_is_read(tmp_path):
    path = tmp_path / 'classes.csv'
    path.write_text(CSV)
    result = read_class_accuracy(path)
    assert result.names == ('cat, small', 'dog', 'eel')
    assert result.shots.tolist() == [12, 140, 60]
    np.testing.assert_array_equal(result.accuracy, [50, 90, np.nan])


def test_a_file_without_a_column_is_refused(tmp_path):
    path = tmp_path / 'classes.csv'
    path.write_text('class_name,accuracy\na,1\n')
    with pytest.raises(ValueError, match="'shots'.* got .'class_name', 'accuracy'"):
        read_class_accuracy(path)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw the given results; returns the figure."""
    figures = []

    class Recorded(plots.Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            figures.append(self)

    monkeypatch.setattr(plots, 'Figure', Recorded)

    def draw(results):
        path = tmp_path / 'picture.png'
        plot_accuracy_by_class(results, path)
        assert path.read_bytes().startswith(b'\x89PNG')
        return figures[0]

    return draw


def test_classes_go_from_head_to_tail(drawn, tmp_path):
    path = tmp_path / 'classes.csv'
    path.write_text(CSV)
    figure = drawn({'CE': read_class_accuracy(path)})
    upper, lower = figure.axes
    assert [text.get_text() for text in lower.get_xticklabels()] == [
        'dog',
        'eel',
        'cat, small',
    ]
    assert [bar.get_height() for bar in lower.containers[0]] == [140, 60, 12]
    heights = [bar.get_height() for bar in upper.containers[0]]
    np.testing.assert_array_equal(heights, [90, np.nan, 50])
    names = {text.get_text() for text in upper.texts}
    assert names == {'many-shot', 'medium-shot', 'few-shot'}
    assert '(%)' in upper.get_ylabel()


@pytest.mark.parametrize('num_classes', [10, 100])
def test_each_model_has_its_colour_in_the_legend(drawn, num_classes):
    names = tuple(map(str, range(num_classes)))
    shots = np.arange(num_classes, 0, -1)
    accuracy = np.linspace(90, 10, num_classes)
    figure = drawn(
        {name: ClassAccuracy(names, shots, accuracy) for name in ('CE', 'RIDE')}
    )
    upper = figure.axes[0]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ['CE', 'RIDE']
    bars, lines = len(upper.containers), len(upper.lines)
    assert (bars, lines) == ((2, 0) if num_classes == 10 else (0, 2))


def test_models_of_different_classes_are_refused(tmp_path):
    one = ClassAccuracy(('a', 'b'), np.array([5, 3]), np.array([1.0, 2.0]))
    other = ClassAccuracy(('a', 'b'), np.array([5, 4]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match='RIDE: expected the classes .* of CE'):
        plot_accuracy_by_class({'CE': one, 'RIDE': other}, tmp_path / 'picture.png')
