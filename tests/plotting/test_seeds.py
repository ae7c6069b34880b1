"""Bands, gains and links of several trainings: what is drawn is what was given."""

import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from glasslit.plotting import new_figure
from glasslit.plotting.screens import both_layouts, taken_apart
from glasslit.plotting.seeds import Bar, band, forest, run_links, signed_text

BARS = [
    Bar("directions, short times", 0.4, 0.01, True, published=None),
    Bar("energy", 0.05, 0.04, False, published=0.08),
]


def test_a_band_reaches_from_the_lowest_seed_to_the_highest():
    _, (axis,) = new_figure()
    band(axis, np.array([1.0, 2.0]), np.array([[0.1, 0.5], [0.2, 0.7], [0.9, 0.6]]), "three seeds", "black")
    (line,), (area,) = axis.lines, axis.collections
    assert line.get_ydata().tolist() == [0.2, 0.6]
    corners = area.get_paths()[0].vertices
    assert {(x, y) for x, y in corners.tolist()} == {(1, 0.1), (1, 0.9), (2, 0.5), (2, 0.7)}
    assert line.get_label() == "three seeds"
    for wrong in (np.zeros(2), np.zeros((3, 4))):
        with pytest.raises(ValueError, match="expected"):
            band(axis, np.array([1.0, 2.0]), wrong, "", "black")


def test_a_forest_shows_gain_error_and_decision():
    (axis,) = forest({"late": BARS}, "gain").axes
    assert [t.get_text() for t in axis.get_yticklabels()] == [b.text for b in BARS]
    bars = [line for line in axis.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"][1:]
    for bar, line in zip(BARS, bars, strict=True):
        assert line.get_xdata() == pytest.approx([bar.gain - 2 * bar.error, bar.gain + 2 * bar.error])
    points = [line for line in axis.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    full, open_ = points
    assert full.get_markerfacecolor() == full.get_color()
    assert to_rgb(open_.get_markerfacecolor()) == (1, 1, 1)
    (diamond,) = [line for line in axis.lines if line.get_marker() == "D" and len(line.get_xdata())]
    assert diamond.get_xdata() == pytest.approx([0.08])
    assert axis.get_ylim()[0] > axis.get_ylim()[1], "the first is at the top"
    with pytest.raises(ValueError, match="expected at least one"):
        forest({"early": [], "late": []}, "gain")


def test_the_same_comparison_has_one_row_in_all_panels():
    early, late = forest({"early": BARS[1:], "late": BARS}, "gain").axes
    at = [
        line.get_ydata()[0]
        for a in (early, late)
        for line in a.lines
        if line.get_marker() == "o" and len(line.get_xdata())
    ]
    assert at == [1, 0, 1]


def test_a_forest_has_a_layout_for_telephones_with_the_same_rows_apart():
    figure = forest({"early": BARS, "late": BARS}, "gain")
    wide, narrow = taken_apart(both_layouts(figure))
    assert narrow is not None
    for bar in BARS:
        assert (wide.count(f">{bar.text}<"), narrow.count(f">{bar.text}<")) == (1, 2)
    size = [float(re.search(rf'{side}="([\d.]+)pt"', narrow)[1]) for side in ("width", "height")]
    assert size[0] <= 3.8 * 72
    assert size[1] > 1.8 * figure.get_figheight() * 72, "stacked, and no closer together"


def test_links_lead_to_the_pages_beside_the_chapter():
    links = run_links({"a &lt; b": ["lmax/lmax0-thermal+E_IS-seed0", "T0.50"]}, title="These")
    text = links._repr_markdown_()
    assert text == str(links)
    assert 'href="runs/lmax/lmax0-thermal+E_IS-seed0.html" title="lmax0-thermal+E_IS-seed0">0</a>' in text
    assert 'href="runs/T0.50.html"' in text
    assert text.startswith("These: a &lt; b ")
    assert "runs/&lt;&quot;.html" in str(run_links({"": ['<"']})), "names cannot end the link"


def test_many_links_are_folded():
    few, many = (str(run_links({f"group {k}": ["T0.44"] * 10 for k in range(n)}, "All")) for n in (4, 5))
    assert few.startswith("All: group 0 <a ")
    assert many.startswith("<details><summary>All</summary><ul><li>group 0 <a ")
    assert many.count("<a ") == 50


def test_signs_and_errors_stay_together():
    assert signed_text(-0.0304, 0.01) == "\N{MINUS SIGN}0.030\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.010"
    assert signed_text(0.5, 0.01, decided=True).endswith("0.010\N{NO-BREAK SPACE}✓")
    assert "✓" not in signed_text(0.5, 0.01)
