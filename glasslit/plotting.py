"""One figure style, and every plot that two pages share. Takes arrays, computes nothing, returns figures."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

COLORS = {"A": "#2f6db3", "B": "#d1662f"}
DEGREE_COLORS = ("#444444", "#0072b2", "#e69f00", "#009e73")
"""Of l = 0, 1, 2, 3 on every page; told apart with every kind of color vision (after Okabe and Ito)."""
MOBILITY = "cividis"
"""Color map of mobility: reads the same with every kind of color vision."""

STYLE: dict[Any, Any] = {
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
    before = {key: plt.rcParams[key] for key in STYLE}  # not rc_context: in Jupyter it would switch inline figures off
    plt.rcParams.update(STYLE)
    try:
        size = (width * columns, height)
        figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", squeeze=False, **keywords)
    finally:
        plt.rcParams.update(before)
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
    left.set(xlabel="epoch", ylabel="loss", yscale="log", xlim=(0, epochs))  # one bad epoch must not hide the rest
    left.legend(frameon=False)
    right.plot(epoch, [r.val_rho for r in history], color="#7b3fa0")
    best = max(history, key=lambda r: r.val_rho)
    right.plot(best.epoch, best.val_rho, "o", color="#7b3fa0", label=f"best: epoch {best.epoch}")
    right.set(xlabel="epoch", ylabel=r"validation $\rho$ (A, mean over times)", xlim=(0, epochs))
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
    figure, axes = _figure(2, height=3.8)
    for number, (axis, (name, color)) in enumerate(zip(axes, COLORS.items(), strict=True)):
        x, y = target[types == number], prediction[types == number]
        low, high = min(x.min(), y.min()), np.quantile(x, 0.999)
        axis.plot([low, high], [low, high], color="0.6", lw=1, zorder=0)
        axis.plot(x, y, ".", ms=3, alpha=0.5, color=color, mew=0, rasterized=True)
        axis.set(xlabel=r"true propensity / $\sigma_{AA}$", title=f"{name} particles, t = {time:g}")
    axes[0].set_ylabel(r"predicted propensity / $\sigma_{AA}$")
    return figure


def _slice(
    axis: Axes, positions: np.ndarray, box: np.ndarray, types: np.ndarray, values: np.ndarray, **norm: Any
) -> Any:
    radius = np.array([0.5, 0.44])[types]
    points_per_unit = 72 * 3.3 / box[0]
    order = np.argsort(positions[:, 2])
    drawn = axis.scatter(
        positions[order, 0],
        positions[order, 1],
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


def _ranks(values: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Rank of each value within its type, from 0 to 1."""
    rank = np.empty(len(values))
    for kind in np.unique(types):
        chosen = np.flatnonzero(types == kind)
        rank[chosen[np.argsort(values[chosen])]] = np.linspace(0, 1, len(chosen))
    return rank


def slices(
    positions: np.ndarray,
    box: np.ndarray,
    types: np.ndarray,
    fields: Mapping[str, np.ndarray],
    thickness: float = 2.0,
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
    """
    return slice_pair({title: (positions, values) for title, values in fields.items()}, box, types, thickness)


def slice_pair(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]], box: np.ndarray, types: np.ndarray, thickness: float = 2.0
) -> Figure:
    """Like :func:`slices`, each panel with positions of its own: title -> (positions, values)."""
    figure, axes = _figure(len(panels), width=3.9, height=3.9)
    for axis, (title, (positions, values)) in zip(axes, panels.items(), strict=True):
        inside = np.abs(positions[:, 2] - box[2] / 2) < thickness / 2
        rank = _ranks(values, types)
        drawn = _slice(axis, positions[inside], box, types[inside], rank[inside], vmin=0, vmax=1)
        axis.set_title(title)
    bar = figure.colorbar(drawn, ax=list(axes), shrink=0.8, ticks=[0, 1])
    bar.set_label("mobility within its type", labelpad=-30)
    bar.ax.set_yticklabels(["least", "most"])
    return figure


def rho_against_time(metrics: Mapping[str, Any], tau_alpha: float | None = None) -> Figure:
    """Scores of a run against time, with their noise ceilings and trivial predictors, a panel per type.

    Parameters
    ----------
    metrics : content of a run's ``metrics.json``
    tau_alpha : marked by a line if it lies within the times
    """
    figure, axes = _figure(2, sharey=True)
    times, alone = metrics["times"], "_" if len(metrics["times"]) == 1 else ""  # one point draws no line
    looks = {
        "ceiling": ("noise ceiling, pooled", "0.35", "--", alone),
        "ceiling_within": ("noise ceiling, within configurations", "0.35", ":", alone),
        "pooled": ("network, pooled", "", "-", "o"),
        "mean": ("network, within configurations", "", ":", "."),
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
    axes[0].set_ylabel(r"test $\rho$")
    low = min([0.0] + [v for s in metrics["test"].values() for k in looks for v in s.get(k, []) if v is not None])
    axes[0].set_ylim(low - 0.03 if low < 0 else 0, 1.02)
    legend = axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    for line in (line for line in legend.get_lines() if "network" in str(line.get_label())):
        line.set_color("black")
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
    size = np.array([34.0, 24.0])[types] * (9.41 / box[0]) ** 2
    look: dict[str, Any] = {"s": size, "edgecolors": "white", "linewidths": 0.2, "alpha": 0.95}
    look |= {"c": np.array(list(COLORS.values()))[types]} if values is None else {"c": values, "cmap": MOBILITY}
    drawn = axis.scatter(*positions.T, **look)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * box
    for a in corners:
        for b in corners:
            if np.count_nonzero(a != b) == 1 and tuple(a) < tuple(b):
                axis.plot(*np.stack([a, b]).T, color="0.6", lw=0.8)
    axis.set_axis_off()
    axis.set_box_aspect(tuple(box), zoom=1.15)
    if values is None:
        for name, color in COLORS.items():
            axis.scatter([], [], [], c=color, label=f"{name} particles")
        axis.legend(loc="upper left", bbox_to_anchor=(0.92, 0.9), frameon=False)
    else:
        figure.colorbar(drawn, ax=axis, shrink=0.6, label=label)
    return figure


def shades(n: int) -> list[Any]:
    """n colors from cold (dark) to hot (light), apart for every kind of color vision."""
    return [plt.get_cmap("plasma")(x) for x in np.linspace(0.05, 0.8, n)]


def radial_distribution(r: np.ndarray, curves: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Pair correlations, a panel per pair of types, a curve per temperature.

    Parameters
    ----------
    r : shape (R,), sigma_AA
    curves : label -> {"AA": shape (R,), "AB": ..., "BB": ...}
    """
    names = list(next(iter(curves.values())))
    figure, axes = _figure(len(names), width=3.3, sharey=True)
    for axis, name in zip(axes, names, strict=True):
        for (label, g), color in zip(curves.items(), shades(len(curves)), strict=True):
            axis.plot(r, g[name], color=color, lw=1.2, label=label)
        axis.axhline(1, color="0.8", lw=1, zorder=0)
        axis.set(xlabel=r"distance $r\ /\ \sigma_{AA}$", title=f"{name[0]} around {name[1]}", xlim=(0.6, r[-1]))
    axes[0].set_ylabel("$g(r)$")
    axes[-1].legend(loc="upper right", frameon=False)
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
    figure, axes = _figure(2, sharey=True)
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
    figure, axes = _figure(3)
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


def slice_by_type(
    positions: np.ndarray,
    box: np.ndarray,
    types: np.ndarray,
    *,
    arrows: np.ndarray | None = None,
    edges: np.ndarray | None = None,
    thickness: float = 1.5,
) -> Figure:
    """A slice of the box seen from above, particles colored by type, with arrows on them or edges between them.

    Particles are drawn at their size, sigma_aa; with edges, as small dots.

    Parameters
    ----------
    positions : shape (N, 3), inside the box
    box : shape (3,)
    types : shape (N,)
    arrows : shape (N, 3), sigma_AA, optional: a vector drawn from each particle, to scale
    edges : shape (E, 2), optional: pairs of particles, drawn where both lie in the slice and no wall between;
        dark for the particle nearest to the middle
    thickness : of the slice along z, sigma_AA
    """
    figure, (axis,) = _figure(1, width=5.8, height=4.8)
    inside = np.flatnonzero(np.abs(positions[:, 2] - box[2] / 2) < thickness / 2)
    inside = inside[np.argsort(positions[inside, 2])]
    flat, kinds = positions[:, :2], types[inside]
    size = np.array([1.0, 0.88])[kinds] * (1.0 if edges is None else 0.3)
    fade = 0.65 if arrows is not None else 1.0
    colors = np.array([to_rgb(c) for c in COLORS.values()]) * fade + (1 - fade)
    discs = {"units": "xy", "offsets": flat[inside], "offset_transform": axis.transData}
    look = {"facecolors": colors[kinds], "edgecolors": "white", "lw": 0.4}
    axis.add_collection(EllipseCollection(size, size, np.zeros(len(size)), **discs, **look))
    for name, color in zip(COLORS, colors, strict=True):
        axis.scatter([], [], s=60, color=[color], label=f"{name} particles")
    if arrows is not None:
        to_scale = {"angles": "xy", "scale_units": "xy", "scale": 1}
        axis.quiver(*flat[inside].T, *arrows[inside, :2].T, width=0.006, headwidth=3.5, color="0.05", **to_scale)
    if edges is not None:
        kept = edges[np.isin(edges, inside).all(axis=1)]
        kept = kept[np.all(np.abs(flat[kept[:, 1]] - flat[kept[:, 0]]) < box[:2] / 2, axis=1)]
        middle = inside[np.linalg.norm(flat[inside] - box[:2] / 2, axis=1).argmin()]
        dark = (kept == middle).any(axis=1)
        axis.add_collection(LineCollection(flat[kept[~dark]], colors="0.82", lw=0.6, zorder=0.5))
        axis.add_collection(LineCollection(flat[kept[dark]], colors="0.1", lw=1.4, zorder=0.6))
    axis.set(xlim=(0, box[0]), ylim=(0, box[1]), aspect="equal")
    axis.set(xlabel=r"$x\ /\ \sigma_{AA}$", ylabel=r"$y\ /\ \sigma_{AA}$")
    axis.spines[["top", "right"]].set_visible(True)
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


_SLIDER = """\
<figure class="glasslit-slider" id="{name}">
<img src="{first}" alt="{alt}">
<p><button type="button">play</button>
<input type="range" min="0" max="{last}" value="0" aria-label="frame"> <output>{label}</output></p>
<script>(() => {{
const frames = {frames}, labels = {labels};
const [image, button, range, output] = ["img", "button", "input", "output"].map(
  (tag) => document.querySelector("#{name} " + tag));
const show = (k) => {{ range.value = k; image.src = frames[k]; output.value = labels[k]; }};
range.oninput = () => show(+range.value);
let playing = null;
button.onclick = () => {{
  playing = playing ? clearInterval(playing) : setInterval(() => show((+range.value + 1) % frames.length), {pause});
  button.textContent = playing ? "stop" : "play";
}};
}})();</script>
</figure>"""


def slider(figures: Iterable[Figure], labels: Sequence[str], alt: str, pause: float = 0.15) -> str:
    """Figures behind each other, with a slider and a button that plays them; needs no kernel and no network.

    Parameters
    ----------
    figures : the frames, all of one size; each is closed before the next is asked for
    labels : one for each, shown beside the slider
    alt : what there is to see, for those who cannot; without scripts the first frame stands
    pause : seconds between frames

    Returns
    -------
    HTML, for ``IPython.display.HTML``.

    Raises
    ------
    ValueError
        If there is no figure, or not a label for each.
    """
    frames: list[str] = []
    for figure in figures:
        picture = io.BytesIO()
        figure.savefig(picture, format="webp", bbox_inches=None, pil_kwargs={"quality": 80})  # a quarter of a PNG
        plt.close(figure)
        frames.append("data:image/webp;base64," + base64.b64encode(picture.getvalue()).decode())
    if not frames or len(frames) != len(labels):
        raise ValueError(f"{len(frames)} figures and {len(labels)} labels; expected a label for each, and at least one")
    return _SLIDER.format(
        name="slider-" + hashlib.sha256("".join(frames).encode()).hexdigest()[:12],
        first=frames[0],
        last=len(frames) - 1,
        alt=html.escape(alt),
        label=html.escape(labels[0]),
        frames=json.dumps(frames),
        labels=json.dumps(list(labels)).replace("</", "<\\/"),
        pause=round(1000 * pause),
    )
