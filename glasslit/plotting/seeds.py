"""Results of several trainings: bands over seeds, gains with their errors, links to the pages of runs.

Arrays and names in, figures and HTML out; which difference is decided is computed in ``learning.stored``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import new_figure


def band(axis: Axes, x: np.ndarray, values: np.ndarray, label: str, color: Any, look: str = "o-") -> None:
    """The median of the seeds as a line, and a band from the lowest to the highest.

    Parameters
    ----------
    axis : where to draw
    x : shape (X,)
    values : shape (S, X), one row for each seed
    label : for the legend
    color, look : of the line; a marker of its own tells it apart without color

    Raises
    ------
    ValueError
        If ``values`` is not of shape (S, X).
    """
    x, values = np.asarray(x), np.asarray(values)
    if values.ndim != 2 or values.shape[1:] != x.shape:
        raise ValueError(f"values of shape {values.shape} over x of shape {x.shape}; expected (seeds, {len(x)})")
    axis.fill_between(x, values.min(axis=0), values.max(axis=0), color=color, alpha=0.25, lw=0)
    axis.plot(x, np.median(values, axis=0), look, ms=4, color=color, label=label)


@dataclass(frozen=True)
class Bar:
    """One line of :func:`forest`.

    Parameters
    ----------
    text : what is compared
    gain, error : of the correlation
    decided : whether the rule decides it
    published : the same difference in a publication, if there is one
    """

    text: str
    gain: float
    error: float
    decided: bool
    published: float | None = None


def forest(bars: Sequence[Bar], xlabel: str, *, width: float = 7.0) -> Figure:
    """Gains below each other, each with a bar of two errors; a full point where the rule decides, else an open one.

    Parameters
    ----------
    bars : from top to bottom
    xlabel : name of the difference
    width : inches

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    if not bars:
        raise ValueError("no bars; expected at least one comparison to draw")
    figure, (axis,) = new_figure(width=width, height=0.29 * len(bars) + 1.0)
    axis.axvline(0, color="0.6", lw=1, zorder=0)
    for place, bar in enumerate(bars):
        color = "#2f6db3" if bar.decided else "0.45"
        axis.plot([bar.gain - 2 * bar.error, bar.gain + 2 * bar.error], [place, place], "-", color=color, lw=2)
        axis.plot(bar.gain, place, "o", color=color, mfc=color if bar.decided else "white", mew=1.5, ms=7)
        if bar.published is not None:
            axis.plot(bar.published, place, "D", color="#d1662f", mfc="none", mew=1.5, ms=7)
    axis.set(xlabel=xlabel, ylim=(len(bars) - 0.4, -0.6))
    axis.set_yticks(range(len(bars)), [bar.text for bar in bars])
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    for label, look in (
        ("decided", {"color": "#2f6db3", "mfc": "#2f6db3", "marker": "o"}),
        ("not decided", {"color": "0.45", "mfc": "white", "marker": "o"}),
        ("published", {"color": "#d1662f", "mfc": "none", "marker": "D"}),
    ):
        if label != "published" or any(bar.published is not None for bar in bars):
            axis.plot([], [], ls="", mew=1.5, ms=7, label=label, **look)
    close = {"frameon": False, "columnspacing": 1.0, "handletextpad": 0.1, "borderpad": 0.0}
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3, **close)
    return figure


class RunLinks:
    """Links to the pages of runs, for a notebook; made by :func:`run_links`."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_markdown_(self) -> str:  # not _repr_html_, around which the book's dark mode draws a light box
        return self.text

    def __str__(self) -> str:
        return self.text


def run_links(groups: Mapping[str, Iterable[str]], title: str = "Runs") -> RunLinks:
    """A line of links to the pages of runs, which lie in ``runs/`` beside the page that shows it.

    Parameters
    ----------
    groups : a name (HTML) -> the runs that it has, named by their path below ``book/runs``; each link is a number,
        counted from 0 as seeds are
    title : what the line begins with, HTML

    Examples
    --------
    >>> print(run_links({"two layers": ["depth/depth2-seed0"]}))
    Runs: two layers <a href="runs/depth/depth2-seed0.html" title="depth2-seed0">0</a>
    """
    parts = []
    for name, runs in groups.items():
        links = [
            f'<a href="runs/{escape(run)}.html" title="{escape(run.rsplit("/", 1)[-1])}">{number}</a>'
            for number, run in enumerate(runs)
        ]
        parts.append(f"{name} {' '.join(links)}")
    return RunLinks(f"{title}: {' · '.join(parts)}")
