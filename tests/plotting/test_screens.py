"""Figures with two layouts: what the narrow one has to hold, and that drawing it leaves the figure as it was."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from glasslit import plotting
from glasslit.plotting.screens import NARROW, both_layouts, drawn, taken_apart


def size(svg):
    """Width and height in inches."""
    return [float(re.search(rf'{side}="([\d.]+)pt"', svg)[1]) / 72 for side in ("width", "height")]


@pytest.fixture
def pair():
    figure, axes = plotting.new_figure(2, sharey=True)
    for axis, name in zip(axes, ("first", "second"), strict=True):
        axis.plot([0, 1], label="a line")
        axis.set(title=name, xlabel="time")
    axes[0].set_ylabel("height")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def test_panels_stand_below_each_other_on_a_telephone(pair):
    wide, narrow = taken_apart(both_layouts(pair))
    assert size(wide)[0] > 6
    assert size(narrow)[0] <= NARROW + 0.1
    assert size(narrow)[1] > 1.7 * size(wide)[1]
    assert wide.count(">height</text>") == 1
    assert narrow.count(">height</text>") == 2, "a panel by itself needs the name of its axis"
    assert ">a line</text>" in narrow
    assert "glasslit-narrow" not in wide


def test_afterwards_the_figure_is_as_before(pair):
    rounded = lambda svg: re.sub(r"\d+\.\d+", lambda found: f"{float(found[0]):.3f}", svg)  # noqa: E731
    before = rounded(drawn(pair))
    _, narrow = taken_apart(both_layouts(pair))
    assert rounded(narrow) != before
    assert rounded(drawn(pair)) == before


def test_text_stays_text_and_keeps_its_size(pair):
    for layout in taken_apart(both_layouts(pair)):
        sizes = [float(found) for found in re.findall(r"font-size: ([\d.]+)px", layout)]
        assert min(sizes) >= 10


def test_legends_of_the_figure_go_below_and_small_panels_share_a_row():
    figure, axes = plotting.new_figure(4, width=1.7, height=1.7)
    for axis in axes:
        axis.plot([0, 1], label="a line")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    wide, narrow = taken_apart(both_layouts(figure))
    assert size(narrow)[1] < 2.6 * size(wide)[1], "two rows of two"
    below = lambda svg: float(re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>a line</text>', svg)[0])  # noqa: E731
    assert below(narrow) > 0.9 * 72 * size(narrow)[1]
    assert below(wide) < 0.3 * 72 * size(wide)[1]


def test_twins_keep_together_and_color_bars_stay():
    figure, (left, right) = plotting.new_figure(2)
    left.twinx().set_ylabel("other height")
    figure.colorbar(right.imshow(np.eye(3)), ax=right, label="shade")
    _, narrow = taken_apart(both_layouts(figure))
    assert ">other height</text>" in narrow
    assert ">shade</text>" in narrow
    assert size(narrow)[1] < 8, "two panels"


def test_narrow_figures_and_those_laid_out_by_hand_have_one_layout():
    figure, _ = plotting.new_figure(1, width=3.0)
    assert taken_apart(both_layouts(figure)) == (drawn(figure), None)
    by_hand = plt.figure(figsize=(8, 3))
    by_hand.add_axes((0.1, 0.1, 0.8, 0.8))
    plt.close(by_hand)
    assert taken_apart(both_layouts(by_hand))[1] is None


def test_a_notebook_shows_svg_with_both_layouts():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    with plt.rc_context():
        plotting.use()
    figure, _ = plotting.new_figure(2)
    formatters = shell.display_formatter.formatters
    assert taken_apart(formatters["image/svg+xml"](figure))[1]
    assert formatters["image/png"](figure) is None
    InteractiveShell.clear_instance()


def test_stacked_slices_leave_room_for_their_titles(liquid):
    """Square panels above a horizontal color bar: the second title stands below the first panel, not across it."""
    from glasslit.liquid.periodic import wrap

    fields = {"first": np.arange(300.0), "second": np.arange(300.0)}
    _, narrow = taken_apart(
        both_layouts(plotting.slices(wrap(liquid.positions, liquid.box), liquid.box, liquid.types, fields))
    )
    title = float(re.search(r'<text[^>]* y="([\d.]+)"[^>]*>second</text>', narrow)[1])
    frames = [float(y) for y in re.findall(r'<g id="patch_\d+">\s*<path d="M [\d.]+ ([\d.]+) \nL', narrow)]
    above = max(y for y in frames if y < title + 5)
    assert title - 11 > above
