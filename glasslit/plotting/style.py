"""The look that all figures share: colors, fonts, and new figures that have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

COLORS = {"A": "#2f6db3", "B": "#d1662f"}
DEGREE_COLORS = ("#444444", "#0072b2", "#e69f00", "#009e73")
"""Of l = 0, 1, 2, 3 on every page; told apart with every kind of color vision (after Okabe and Ito)."""
MOBILITY = "cividis"
"""Color map of mobility: reads the same with every kind of color vision."""

STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "figure.figsize": (4.6, 3.2),
    "savefig.bbox": "tight",
    "savefig.dpi": 200,  # of what is drawn as pixels inside of an SVG
    "savefig.pad_inches": 0.03,
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched, and measured by the tests
    "svg.hashsalt": "glasslit",
    "font.size": 11,  # a subscript of it is still read
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}
"""Parameters of Matplotlib. At a figure's own size its text is 15 pixels high, and subscripts 10."""


@contextmanager
def styled() -> Iterator[None]:
    """The style while a block runs. Not ``rc_context``: in Jupyter it would switch inline figures off."""
    before = {key: plt.rcParams[key] for key in STYLE}
    plt.rcParams.update(STYLE)
    try:
        yield
    finally:
        plt.rcParams.update(before)


def new_figure(columns: int = 1, width: float = 3.5, height: float = 3.1, **keywords: Any) -> tuple[Figure, Any]:
    """A figure in the book's style with panels in a row.

    Parameters
    ----------
    columns : how many panels
    width, height : of each panel, inches. The book shows up to 7 inches in all without making them smaller.
    keywords : of ``matplotlib.pyplot.subplots``, ``sharey=True`` for example

    Returns
    -------
    figure, axes : axes has shape (columns,). The figure is closed: it is shown where a cell ends with it.
    """
    size = (width * columns, height)
    with styled():
        figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", squeeze=False, **keywords)
    plt.close(figure)
    return figure, axes[0]


def shades(n: int) -> list[Any]:
    """n colors from cold (dark) to hot (light), apart for every kind of color vision."""
    return [plt.get_cmap("plasma")(x) for x in np.linspace(0.05, 0.8, n)]
