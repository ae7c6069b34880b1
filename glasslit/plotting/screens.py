"""Figures as SVG, each with a second layout for a telephone, in which panels stand below each other.

A picture cannot rearrange itself, so both layouts are drawn. The narrow one is a ``<metadata>`` element inside of the
wide one, which any program shows as it is. The book's Sphinx extension ``pictures`` takes the two apart.
"""

from __future__ import annotations

import base64
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from .style import STYLE, styled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.legend import Legend

NARROW = 3.65
"""Width of the second layout, inches: 350 pixels, what a telephone of 390 leaves for a picture."""
TAG = "glasslit-narrow"
"""Name of the element that holds the second layout."""


def use() -> None:
    """The book's style for all figures of this process; in IPython, figures are SVG with a layout for telephones.

    Called once, in a notebook's first cell. Outside of IPython only the style is set.
    """
    plt.rcParams.update(STYLE)
    try:
        from IPython.core.getipython import get_ipython
    except ModuleNotFoundError:  # a user of the package without notebooks
        return
    if (shell := get_ipython()) is None:
        return
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg")
    assert shell.display_formatter is not None
    shell.display_formatter.formatters["image/svg+xml"].for_type(Figure, both_layouts)


def drawn(figure: Figure) -> str:
    """The figure as it stands, SVG."""
    text = io.StringIO()
    with styled():
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def both_layouts(figure: Figure) -> str:
    """The figure as SVG, with its narrow layout inside if it has panels side by side or is wider than a telephone.

    Parameters
    ----------
    figure : with ``layout="constrained"``; one of another layout keeps its only one

    Returns
    -------
    SVG text. Where there is a narrow layout, it stands in base64 in ``<metadata id="glasslit-narrow">`` at the end.
    """
    wide = drawn(figure)
    if figure.get_figwidth() <= NARROW or figure.get_layout_engine() is None or not _panels(figure):
        return wide
    with _stacked(figure):
        narrow = base64.b64encode(drawn(figure).encode()).decode()
    head, _, _ = wide.rpartition("</svg>")
    return f'{head}<metadata id="{TAG}">{narrow}</metadata>\n</svg>\n'


def taken_apart(text: str) -> tuple[str, str | None]:
    """The wide and the narrow layout of what :func:`both_layouts` returned; None where there is no narrow one."""
    head, found, rest = text.partition(f'<metadata id="{TAG}">')
    if not found:
        return text, None
    narrow, _, tail = rest.partition("</metadata>")
    return head + tail.lstrip("\n"), base64.b64decode(narrow).decode()


def _panels(figure: Figure) -> list[list[Axes]]:
    """Axes in the order of reading, twins together. Color bars have no place of their own."""
    places: dict[tuple[int, ...], list[Axes]] = {}
    for axis in figure.axes:
        if (spec := axis.get_subplotspec()) is not None and axis.get_visible():
            key = (spec.rowspan.start, spec.colspan.start, spec.rowspan.stop, spec.colspan.stop)
            places.setdefault(key, []).append(axis)
    return [places[key] for key in sorted(places)]


def _legends(figure: Figure) -> list[tuple[Legend, Any]]:
    """Legends with their axes, or None for those of the figure."""
    inside = [(legend, axis) for axis in figure.axes if (legend := axis.get_legend()) is not None]
    return inside + [(legend, None) for legend in figure.legends]


@contextmanager
def _stacked(figure: Figure) -> Iterator[None]:
    """The figure with its panels below each other while the block runs; afterwards as before."""
    places = _panels(figure)
    size = (figure.get_figwidth(), figure.get_figheight())
    undo: list[tuple[Any, tuple[Any, ...]]] = []
    spec = places[0][0].get_subplotspec()
    assert spec is not None
    grid = spec.get_gridspec()
    width = size[0] * len(spec.colspan) / grid.ncols
    columns = max(1, min(len(places), int(NARROW // width)))
    rows = -(-len(places) // columns)
    height = size[1] / grid.nrows
    if width > NARROW / columns:  # no panel becomes taller than it was wide by less room
        height = max(min(height, 2.4), height * NARROW / columns / width)
    new = GridSpec(rows, columns, figure=figure)
    for number, place in enumerate(places):
        for axis in place:
            undo.append((axis.set_subplotspec, (axis.get_subplotspec(),)))
            axis.set_subplotspec(new[number // columns, number % columns])
        first, left = place[0], places[number - number % columns][0]
        if first is left:
            undo += _labelled(first, places)
    bars = [info for axis in figure.axes if (info := getattr(axis, "_colorbar_info", None))]
    extra = sum(0.25 * rows + 0.5 for info in bars if info["location"] in ("top", "bottom"))
    for legend, axis in _legends(figure):
        if axis is None:
            if (outside := getattr(legend, "_outside_loc", None)) is not None:
                undo.append((legend.__dict__.update, ({"_outside_loc": outside},)))
                undo.append((legend.set_loc, (legend._get_loc(),)))  # type: ignore[attr-defined]
                legend.set_loc("outside lower center")
                extra += 0.2 * len(legend.get_texts())
        elif (box := legend.get_bbox_to_anchor().transformed(axis.transAxes.inverted())).x0 > 0.9:  # beside its panel
            undo.append((legend.set_bbox_to_anchor, (box.p0, axis.transAxes)))
            undo.append((legend.set_loc, (legend._get_loc(),)))  # type: ignore[attr-defined]
            last = places[-1][0]
            legend.set_loc("upper left")
            legend.set_bbox_to_anchor((0, -0.55 / height if last.axison else 0.0), transform=last.transAxes)
            extra += 0.2 * len(legend.get_texts())
    figure.set_size_inches(NARROW, height * rows + extra)
    try:
        yield
    finally:
        for function, arguments in reversed(undo):
            function(*arguments)
        figure.set_size_inches(*size)


def _labelled(axis: Axes, places: list[list[Axes]]) -> list[tuple[Any, tuple[Any, ...]]]:
    """Give a panel the name and the numbers of the axis that it shared with its neighbor; how to take them away."""
    undo: list[tuple[Any, tuple[Any, ...]]] = []
    sharing = [p[0] for p in places if axis.get_shared_y_axes().joined(axis, p[0]) and p[0].get_ylabel()]
    if sharing and not axis.get_ylabel():
        undo.append((axis.set_ylabel, ("",)))
        axis.set_ylabel(sharing[0].get_ylabel())
    if not axis.yaxis.get_tick_params().get("labelleft", True):
        undo.append((lambda: axis.tick_params(labelleft=False), ()))
        axis.tick_params(labelleft=True)
    return undo
