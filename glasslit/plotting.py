"""One figure style, and every plot that two pages share. Takes arrays, computes nothing, returns figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = {"A": "#2f6db3", "B": "#d1662f"}
MOBILITY = "cividis"
"""Color map of mobility: reads the same with every kind of color vision."""

STYLE = {
    "figure.dpi": 110,
    "savefig.bbox": "tight",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}


def _figure(columns: int = 1, width: float = 4.2, height: float = 3.4, **keywords: Any) -> tuple[Figure, Any]:
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, columns, figsize=(width * columns, height), layout="constrained", squeeze=False, **keywords
        )
    plt.close(figure)  # shown where the caller displays it, and only there
    return figure, axes[0]


def learning_curve(history: Sequence[Any], epochs: int) -> Figure:
    """Training and validation loss, and the validation score, against epochs.

    Parameters
    ----------
    history : records of :func:`glasslit.fit`
    epochs : how many there will be
    """
    figure, (left, right) = _figure(2)
    epoch = [r.epoch for r in history]
    left.plot(epoch, [r.train_loss for r in history], label="training", color="0.45")
    left.plot(epoch, [r.val_loss for r in history], label="validation", color="#7b3fa0")
    left.set(xlabel="epoch", ylabel="squared error (summed over times)", xlim=(0, epochs), yscale="log")
    left.legend()
    right.plot(epoch, [r.val_rho for r in history], color="#7b3fa0")
    best = max(history, key=lambda r: r.val_rho)
    right.plot(best.epoch, best.val_rho, "o", color="#7b3fa0", label=f"best: epoch {best.epoch}")
    right.set(xlabel="epoch", ylabel=r"validation $\rho$ (A, mean over times)", xlim=(0, epochs))
    right.legend(loc="lower right")
    return figure


def scatter(prediction: np.ndarray, target: np.ndarray, types: np.ndarray, time: float) -> Figure:
    """Predicted against true propensity of every particle at one time, a panel per type.

    Parameters
    ----------
    prediction, target : shape (N,), sigma_AA
    types : shape (N,)
    time : for the title
    """
    figure, axes = _figure(2, height=3.8)
    for number, (axis, (name, color)) in enumerate(zip(axes, COLORS.items(), strict=True)):
        x, y = target[types == number], prediction[types == number]
        low, high = min(x.min(), y.min()), np.quantile(x, 0.999)
        axis.plot([low, high], [low, high], color="0.6", lw=1, zorder=0)
        axis.plot(x, y, ".", ms=3, alpha=0.5, color=color, mew=0, rasterized=True)
        axis.set(xlabel=r"true propensity / $\sigma_{AA}$", title=f"{name} particles, t = {time:g}")
    axes[0].set_ylabel(r"predicted propensity / $\sigma_{AA}$")
    return figure


def _slice(axis: Axes, positions: np.ndarray, box: np.ndarray, types: np.ndarray, values: np.ndarray, **norm: Any) -> Any:
    radius = np.array([0.5, 0.44])[types]
    points_per_unit = 72 * 3.3 / box[0]
    order = np.argsort(positions[:, 2])
    drawn = axis.scatter(
        *positions[order, :2].T,
        c=values[order],
        s=(2 * radius[order] * points_per_unit) ** 2,
        cmap=MOBILITY,
        edgecolors="white",
        linewidths=0.3,
        **norm,
    )
    axis.set(xlim=(0, box[0]), ylim=(0, box[1]), aspect="equal", xticks=[], yticks=[])
    axis.spines[["top", "right"]].set_visible(True)
    return drawn


def slices(
    positions: np.ndarray,
    box: np.ndarray,
    types: np.ndarray,
    fields: Mapping[str, np.ndarray],
    thickness: float = 2.0,
    label: str = "rank of the propensity within its type",
) -> Figure:
    """A slice of the box seen from above, once for each field, particles colored by the field's rank.

    Ranks (0 = least mobile of its type, 1 = most) make fields of different spread comparable: predictions
    are always flatter than noisy labels.

    Parameters
    ----------
    positions : shape (N, 3), inside the box
    box : shape (3,)
    types : shape (N,)
    fields : title -> values, shape (N,)
    thickness : of the slice along z, sigma_AA
    label : of the color bar
    """
    figure, axes = _figure(len(fields), width=3.9, height=3.9)
    inside = np.abs(positions[:, 2] - box[2] / 2) < thickness / 2
    for axis, (title, values) in zip(axes, fields.items(), strict=True):
        rank = np.empty(len(values))
        for kind in np.unique(types):
            chosen = np.flatnonzero(types == kind)
            rank[chosen[np.argsort(values[chosen])]] = np.linspace(0, 1, len(chosen))
        drawn = _slice(axis, positions[inside], box, types[inside], rank[inside], vmin=0, vmax=1)
        axis.set_title(title)
    figure.colorbar(drawn, ax=list(axes), shrink=0.8, label=label)
    return figure


def rho_against_time(metrics: Mapping[str, Any], tau_alpha: float | None = None) -> Figure:
    """Score of a run against time, with noise ceiling and trivial predictors, a panel per type.

    Parameters
    ----------
    metrics : content of a run's ``metrics.json``
    tau_alpha : marked by a line if it lies within the times
    """
    figure, axes = _figure(2, sharey=True)
    times = metrics["times"]
    looks = {
        "ceiling": ("noise ceiling", "0.35", "--", ""),
        "pooled": ("network", None, "-", "o"),
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
        axis.set(xlabel="time / LJ units", xscale="log", title=f"{name} particles")
    axes[0].set_ylabel(r"test $\rho$ (pooled)")
    low = min([0.0] + [v for s in metrics["test"].values() for k in looks for v in s.get(k, []) if v is not None])
    axes[0].set_ylim(low - 0.03 if low < 0 else 0, 1.02)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def box_3d(
    positions: np.ndarray, box: np.ndarray, types: np.ndarray, values: np.ndarray | None = None, label: str = ""
) -> Figure:
    """Particles in their box, in perspective: colored by type, or by values with a color bar.

    Parameters
    ----------
    positions : shape (N, 3), inside the box
    box : shape (3,)
    types : shape (N,)
    values : shape (N,), optional
    label : of the color bar
    """
    figure, (axis,) = _figure(1, width=5.4, height=4.6, subplot_kw={"projection": "3d"})
    colors = np.array(list(COLORS.values()))[types] if values is None else values
    size = np.array([34.0, 24.0])[types] * (9.41 / box[0]) ** 2
    drawn = axis.scatter(*positions.T, c=colors, s=size, cmap=MOBILITY, edgecolors="white", linewidths=0.2, alpha=0.95)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * box
    for a in corners:
        for b in corners:
            if np.count_nonzero(a != b) == 1 and tuple(a) < tuple(b):
                axis.plot(*np.stack([a, b]).T, color="0.6", lw=0.8)
    axis.set_axis_off()
    axis.set_box_aspect(box, zoom=1.25)
    if values is None:
        for name, color in COLORS.items():
            axis.scatter([], [], [], c=color, label=f"{name} particles")
        axis.legend(loc="upper left", bbox_to_anchor=(0.92, 0.9))
    else:
        figure.colorbar(drawn, ax=axis, shrink=0.6, label=label)
    return figure
