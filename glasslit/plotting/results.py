"""Plots of results: learning curves, predictions against labels, scores against time. They compute nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .style import COLORS, new_figure, shades


def learning_curve(history: Sequence[Any], epochs: int) -> Figure:
    """Training and validation loss, and the validation score, against epochs.

    Parameters
    ----------
    history : records of :func:`glasslit.fit`; where nothing validates, there is no second line and an empty panel
    epochs : how many there will be
    """
    figure, (left, right) = new_figure(2)
    epoch = [r.epoch for r in history]
    left.plot(epoch, [r.train_loss for r in history], label="training", color="0.45")
    validates = np.isfinite(history[-1].val_rho)
    if validates:
        left.plot(epoch, [r.val_loss for r in history], label="validation", color="#7b3fa0")
    left.set(xlabel="epoch", ylabel="loss", yscale="log", xlim=(0, epochs))  # one bad epoch must not hide the rest
    left.legend(frameon=False)
    right.set(xlabel="epoch", ylabel=r"validation $\rho$ (A, mean over times)", xlim=(0, epochs))
    if not validates:
        right.text(0.5, 0.5, "nothing validates", ha="center", va="center", transform=right.transAxes)
        return figure
    right.plot(epoch, [r.val_rho for r in history], color="#7b3fa0")
    best = max(history, key=lambda r: r.val_rho)
    right.plot(best.epoch, best.val_rho, "o", color="#7b3fa0", label=f"best: epoch {best.epoch}")
    right.legend(loc="lower right", frameon=False)
    return figure


def scatter(prediction: np.ndarray, target: np.ndarray, types: np.ndarray, time: float) -> Figure:
    """Predicted against true propensity of every particle at one time, a panel per type.

    Parameters
    ----------
    prediction, target : shape (N,), sigma_AA
    types : shape (N,)
    time : for the title
    """
    figure, axes = new_figure(2, height=3.8)
    for number, (axis, (name, color)) in enumerate(zip(axes, COLORS.items(), strict=True)):
        x, y = target[types == number], prediction[types == number]
        low, high = min(x.min(), y.min()), np.quantile(x, 0.999)
        axis.plot([low, high], [low, high], color="0.6", lw=1, zorder=0)
        axis.plot(x, y, ".", ms=3, alpha=0.5, color=color, mew=0, rasterized=True)
        axis.set(xlabel=r"true propensity / $\sigma_{AA}$", title=f"{name} particles, t = {time:g}")
    axes[0].set_ylabel(r"predicted propensity / $\sigma_{AA}$")
    return figure


def rho_against_time(metrics: Mapping[str, Any], tau_alpha: float | None = None) -> Figure:
    """Scores of a run against time, with their noise ceilings and trivial predictors, a panel per type.

    Parameters
    ----------
    metrics : content of a run's ``metrics.json``
    tau_alpha : marked by a line if it lies within the times
    """
    figure, axes = new_figure(2, sharey=True)
    unit = r"time $/\ \tau_\alpha$" if metrics.get("time_unit") == "tau_alpha" else "time / LJ units"
    times, alone = metrics["times"], "_" if len(metrics["times"]) == 1 else ""  # one point draws no line
    looks = {
        "ceiling": ("ceiling, pooled", "0.35", "--", alone),
        "ceiling_within": ("ceiling, within", "0.35", ":", alone),
        "pooled": ("network, pooled", "", "-", "o"),
        "mean": ("network, within", "", ":", "."),
        "E_IS": ("inherent energy alone", "0.55", "-", "^"),
        "density": ("local density alone", "0.75", "-", "s"),
    }
    for axis, (name, color) in zip(axes, COLORS.items(), strict=True):
        scores = metrics["test"][name]
        for key, (text, shade, line, marker) in looks.items():
            if key in scores:
                values = [np.nan if v is None else v for v in scores[key]]
                axis.plot(times, values, line, marker=marker, color=shade or color, label=text)
        if tau_alpha is not None and times[0] <= tau_alpha <= times[-1]:
            axis.axvline(tau_alpha, color="0.8", lw=1, zorder=0)
            axis.annotate(r"$\tau_\alpha$", (tau_alpha, 0.02), ha="right", color="0.5")
        axis.set(xlabel=unit, xscale="log", title=f"{name} particles")
    axes[0].set_ylabel(r"test $\rho$")
    low = min([0.0] + [v for s in metrics["test"].values() for k in looks for v in s.get(k, []) if v is not None])
    axes[0].set_ylim(low - 0.03 if low < 0 else 0, 1.02)
    legend = axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    for line in (line for line in legend.get_lines() if "network" in str(line.get_label())):
        line.set_color("black")
    return figure


def against_time(
    curves: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]],
    ylabel: str,
    *,
    yscale: str = "linear",
    ylim: tuple[float, float] | None = None,
    mark: tuple[float, str] | None = None,
) -> Figure:
    """Quantities of A and of B particles against time, a panel per type.

    Parameters
    ----------
    curves : label -> (times, shape (T,); {"A": shape (T,), "B": shape (T,)})
    ylabel : name and unit of the quantity
    yscale : "linear" or "log"
    ylim : ends of the vertical axis; by default those of the curves
    mark : a value, and its name, drawn as a horizontal line
    """
    figure, axes = new_figure(2, sharey=True)
    for axis, name in zip(axes, COLORS, strict=True):
        for (label, (times, values)), color in zip(curves.items(), shades(len(curves)), strict=True):
            axis.plot(times, values[name], "o-", color=color, label=label)
        if mark is not None:
            axis.axhline(mark[0], color="0.6", lw=1, ls="--", zorder=0)
            axis.text(0.02, mark[0], mark[1], va="bottom", color="0.4", transform=axis.get_yaxis_transform())
        axis.set(xlabel="time / LJ units", xscale="log", yscale=yscale, title=f"{name} particles")
    axes[0].set(ylabel=ylabel, ylim=ylim)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def comparison(table: Any) -> Figure:
    """Scores, chi4 and correlation length of A particles against time, a line for each model.

    Parameters
    ----------
    table : as :func:`~glasslit.prediction.comparison.compare` makes it; dashed are its ceiling and what the labels have
    """
    figure, axes = new_figure(3, width=2.4, height=2.9)
    table = table[table.type == "A"]
    panels = (
        ("mean", "ceiling", r"$\rho$, mean"),
        ("chi4", "chi4_labels", r"$\chi_4$"),
        ("xi4", "xi4_labels", r"$\xi_4\ /\ \sigma_{AA}$"),
    )
    for axis, (column, dashed, label) in zip(axes, panels, strict=True):
        for (name, rows), color in zip(table.groupby("model"), shades(table.model.nunique()), strict=True):
            axis.plot(rows.time, rows[column], "o-", color=color, label=name)
        axis.plot(table.groupby("time")[dashed].first(), "k--", lw=1, label="ceiling (left), labels")
        axis.set(xlabel="time / LJ units", xscale="log", ylabel=label, ylim=(min(0, axis.get_ylim()[0]), None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure
