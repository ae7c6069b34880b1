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
from matplotlib.ticker import MaxNLocator

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


def signed_text(value: float, error: float, decided: bool = False) -> str:
    r"""A difference with its sign and its error, and a tick where a rule decides it; it never breaks across lines.

    Examples
    --------
    >>> print(signed_text(-0.0304, 0.01, decided=True).replace("\N{NO-BREAK SPACE}", " "))
    −0.030 ± 0.010 ✓
    """
    mark = " ✓" if decided else ""
    return f"{value:+.3f} ± {error:.3f}{mark}".replace("-", "\N{MINUS SIGN}").replace(" ", "\N{NO-BREAK SPACE}")


def gain_text(gain: Any, k: int = 0, tick: bool = True) -> str:
    r"""A :class:`~glasslit.learning.stored.Gain` at its k-th time, with its error and a tick where the rule decides it.

    Parameters
    ----------
    gain : of several trainings
    k : which of its times
    tick : False inside a sentence, which says itself what is decided

    Examples
    --------
    >>> from glasslit.learning.stored import Gain
    >>> gain = Gain(np.ones(1), np.full((3, 1), 0.03), np.full(1, 0.03), np.full(1, 0.01))
    >>> print(gain_text(gain).replace("\N{NO-BREAK SPACE}", " "))
    +0.030 ± 0.010 ✓
    """
    return signed_text(gain.mean[k], gain.error[k], decided=tick and bool(gain.decided[k]))


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


def forest(panels: Mapping[str, Sequence[Bar]], xlabel: str) -> Figure:
    """Gains below each other, each with a bar of two errors; a full point where the rule decides, else an open one.

    Parameters
    ----------
    panels : title -> bars. A text that stands in several panels has one row for all. Rows are in the order of the
        longest panel; what only others have comes after
    xlabel : name of the difference

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    longest_first = sorted(panels.values(), key=len, reverse=True)
    rows = list(dict.fromkeys(bar.text for bars in longest_first for bar in bars))
    if not rows:
        raise ValueError("no bars; expected at least one comparison to draw")
    figure, axes = new_figure(len(panels), height=0.27 * len(rows) + 1.0, sharey=True)
    for axis, (title, bars) in zip(axes, panels.items(), strict=True):
        axis.axvline(0, color="0.6", lw=1, zorder=0)
        for bar in bars:
            place, color = rows.index(bar.text), "#2f6db3" if bar.decided else "0.45"
            axis.plot([bar.gain - 2 * bar.error, bar.gain + 2 * bar.error], [place, place], "-", color=color, lw=2)
            axis.plot(bar.gain, place, "o", color=color, mfc=color if bar.decided else "white", mew=1.5, ms=6)
            if bar.published is not None:
                axis.plot(bar.published, place, "D", color="#d1662f", mfc="none", mew=1.5, ms=6)
        axis.set(xlabel=xlabel, title=title, ylim=(len(rows) - 0.4, -0.6))
        axis.xaxis.set_major_locator(MaxNLocator(3))  # on a telephone there is little room beside the names
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
    axes[0].set_yticks(range(len(rows)), rows)
    for label, color, face, marker in (
        ("decided", "#2f6db3", "#2f6db3", "o"),
        ("not decided", "0.45", "white", "o"),
        ("published", "#d1662f", "none", "D"),
    ):
        if label != "published" or any(bar.published is not None for bars in panels.values() for bar in bars):
            axes[0].plot([], [], marker, color=color, mfc=face, mew=1.5, ms=6, label=label)
    close = {"frameon": False, "columnspacing": 1.0, "handletextpad": 0.1, "borderpad": 0.0}
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, **close)
    return figure


MANY = 40
"""More links than this are folded."""


class RunLinks:
    """Links to the pages of runs, for a notebook; made by :func:`run_links`."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_markdown_(self) -> str:  # not _repr_html_, around which the book's dark mode draws a light box
        return self.text

    def __str__(self) -> str:
        return self.text


def run_links(groups: Mapping[str, Iterable[str]], title: str = "Runs") -> RunLinks:
    """A line of links to the pages of runs, which lie in ``runs/`` beside the page that shows it; a list where many.

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
    if sum(part.count("<a ") for part in parts) <= MANY:
        return RunLinks(f"{title}: {' · '.join(parts)}")
    listed = "".join(f"<li>{part}</li>" for part in parts)
    return RunLinks(f"<details><summary>{title}</summary><ul>{listed}</ul></details>")
