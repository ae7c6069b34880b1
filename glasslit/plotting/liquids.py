"""Pictures of particles in their box, and pair correlations. They compute nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from .style import COLORS, MOBILITY, new_figure, shades

RING = "#d6246e"
"""Of the marked particle: a color that the map of mobility does not have."""


def _slice(
    axis: Axes, positions: np.ndarray, box: np.ndarray, types: np.ndarray, values: np.ndarray
) -> EllipseCollection:
    order = np.argsort(positions[:, 2])
    size = np.array([1.0, 0.88])[types[order]]  # sigma_aa, in the units of the axes
    drawn = EllipseCollection(
        size,
        size,
        np.zeros(len(size)),
        units="xy",
        offsets=positions[order, :2],
        offset_transform=axis.transData,
        cmap=MOBILITY,
        edgecolors="white",
        linewidths=0.3,
    )
    drawn.set_array(values[order])
    drawn.set_clim(0, 1)
    axis.add_collection(drawn)
    axis.set(xlim=(0, box[0]), ylim=(0, box[1]), aspect="equal", xticks=[], yticks=[])
    axis.spines[["top", "right"]].set_visible(True)
    return drawn


def _ring(axis: Axes, center: np.ndarray) -> None:
    """A ring around one particle, visible on light and on dark neighbors."""
    place: dict[str, Any] = {"units": "xy", "offsets": [center], "offset_transform": axis.transData, "zorder": 3}
    for color, width in (("white", 5.0), (RING, 2.5)):
        look: dict[str, Any] = {"facecolors": "none", "edgecolors": color, "linewidths": width}
        axis.add_collection(EllipseCollection([1.35], [1.35], [0.0], **look, **place))


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
    marked: int | None = None,
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
    marked : index of one particle, optional: it gets a ring in every panel

    Raises
    ------
    ValueError
        If the marked particle does not lie in the slice.
    """
    panels = {title: (positions, values) for title, values in fields.items()}
    return slice_pair(panels, box, types, thickness, marked)


def slice_pair(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]],
    box: np.ndarray,
    types: np.ndarray,
    thickness: float = 2.0,
    marked: int | None = None,
) -> Figure:
    """Like :func:`slices`, each panel with positions of its own: title -> (positions, values)."""
    width = min(3.4, 7.0 / len(panels))  # what the book shows without making it smaller
    figure, axes = new_figure(len(panels), width=width, height=width + 0.3)
    for axis, (title, (positions, values)) in zip(axes, panels.items(), strict=True):
        inside = np.abs(positions[:, 2] - box[2] / 2) < thickness / 2
        rank = _ranks(values, types)
        drawn = _slice(axis, positions[inside], box, types[inside], rank[inside])
        if marked is not None:
            if not (0 <= marked < len(inside) and inside[marked]):
                raise ValueError(
                    f"marked particle {marked} is not in the slice of panel {title!r}; expected the index of one of "
                    f"the {inside.sum()} particles closer than {thickness / 2:g} to the middle of the box along z"
                )
            _ring(axis, positions[marked, :2])
        axis.set_title(title)
    bar = figure.colorbar(drawn, ax=list(axes), location="bottom", shrink=0.9, aspect=40, ticks=[0, 1])
    bar.set_label("mobility within its type", labelpad=-14)
    bar.ax.set_xticklabels(["least", "most"])
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
    figure, (axis,) = new_figure(1, width=5.4, height=4.6, subplot_kw={"projection": "3d"})
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


def radial_distribution(r: np.ndarray, curves: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Pair correlations, a panel per pair of types, a curve per temperature.

    Parameters
    ----------
    r : shape (R,), sigma_AA
    curves : label -> {"AA": shape (R,), "AB": ..., "BB": ...}
    """
    names = list(next(iter(curves.values())))
    figure, axes = new_figure(len(names), width=2.33, height=3.0, sharey=True)
    for axis, name in zip(axes, names, strict=True):
        for (label, g), color in zip(curves.items(), shades(len(curves)), strict=True):
            axis.plot(r, g[name], color=color, lw=1.2, label=label)
        axis.axhline(1, color="0.8", lw=1, zorder=0)
        axis.set(xlabel=r"distance $r\ /\ \sigma_{AA}$", title=f"{name[0]} around {name[1]}", xlim=(0.6, r[-1]))
    axes[0].set_ylabel("$g(r)$")
    axes[-1].legend(loc="upper right", frameon=False)
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
    figure, (axis,) = new_figure(1, width=5.8, height=4.8)
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
