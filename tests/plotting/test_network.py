"""The drawing of the network: it says the numbers that it is given, and no text touches another."""

from itertools import combinations

import pytest

from glasslit import plotting
from glasslit.plotting.screens import NARROW, both_layouts, taken_apart


def words(figure):
    return [text for axis in figure.axes for text in axis.texts if text.get_text()]


def test_the_numbers_of_another_network_are_drawn():
    told = "\n".join(
        t.get_text() for t in words(plotting.architecture(4, (16, 77), 6, basis=5, lengths=12, maps=(3, 1)))
    )
    for part in ("4 numbers", "16 radial", "77 radial", "convolution 6", "3 more", "5 waves", "12 lengths", "3 × 1"):
        assert part in told
    assert "284" not in told


def test_no_text_touches_another_and_all_can_be_read():
    figure = plotting.architecture()
    figure.canvas.draw()
    for axis in figure.axes:
        boxes = {t.get_text(): t.get_window_extent() for t in axis.texts if t.get_text()}
        for (one, a), (two, b) in combinations(boxes.items(), 2):
            assert not a.overlaps(b), (one, two)
    assert min(t.get_fontsize() for t in words(figure)) >= 8


def test_on_a_telephone_the_enlarged_part_stands_below():
    wide, narrow = taken_apart(both_layouts(plotting.architecture()))
    for layout in (wide, narrow):
        assert layout.count("one convolution, enlarged") == 1
    width = lambda svg: float(svg.split('width="')[1].split("pt")[0]) / 72  # noqa: E731
    assert width(wide) <= 7.1
    assert width(narrow) <= NARROW + 0.1


def test_a_network_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="3 convolutions"):
        plotting.architecture(layers=3)
