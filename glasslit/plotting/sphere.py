"""Functions on the sphere as shapes. Arrays in, figures out; nothing here knows what a spherical harmonic is."""

from __future__ import annotations

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from .style import DEGREE_COLORS, new_figure

ELEVATION, AZIMUTH = np.deg2rad(20.0), np.deg2rad(30.0)
"""From where shapes are seen: above the x-z plane, and turned from the z axis toward the x axis."""
NEGATIVE = "#c9c9c9"


def _screen() -> np.ndarray:
    """Rows: to the right, up, and toward the viewer, in x, y, z; the y axis stands upright."""
    toward = [np.cos(ELEVATION) * np.sin(AZIMUTH), np.sin(ELEVATION), np.cos(ELEVATION) * np.cos(AZIMUTH)]
    right = [np.cos(AZIMUTH), 0.0, -np.sin(AZIMUTH)]
    return np.array([right, np.cross(toward, right), toward])


def _faces(directions: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Visible faces of the shape |value| times direction, from back to front.

    Returns
    -------
    corners : shape (F, 4, 2) on the screen, at most 0.46 from the middle
    light : shape (F,), from 0.55 (dark) to 1
    positive : shape (F,), bool: the sign of the function in the middle of the face
    """
    size = np.abs(value)
    points = (size / size.max() * 0.46)[..., None] * directions @ _screen().T
    quads = np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=2).reshape(-1, 4, 3)
    sign = np.stack([value[:-1, :-1], value[1:, :-1], value[1:, 1:], value[:-1, 1:]], axis=2).reshape(-1, 4).sum(1)
    normal = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
    length = np.linalg.norm(normal, axis=1)
    normal /= np.maximum(length, 1e-12)[:, None]
    normal *= np.where((normal * quads.mean(1)).sum(1) < 0, -1.0, 1.0)[:, None]  # outward
    seen = np.flatnonzero((normal[:, 2] > 0) & (length > 0))
    seen = seen[np.argsort(quads[seen].mean(1)[:, 2])]
    lamp = np.array([-0.4, 0.6, 0.7]) / np.linalg.norm([-0.4, 0.6, 0.7])
    light = 0.55 + 0.45 * np.clip(normal[seen] @ lamp, 0, 1)
    return quads[seen][..., :2], light, sign[seen] > 0


def harmonic_shapes(directions: np.ndarray, values: np.ndarray) -> Figure:
    """Functions on the sphere as a table of shapes: a row for each degree l, a column for each order m.

    The distance of a shape's surface from its middle is the absolute value of the function in that direction. The
    surface has the color of the degree where the function is positive, and is gray where it is negative. All shapes are
    drawn at the same size and seen from the same side, with the y axis upright.

    Parameters
    ----------
    directions : shape (T, P, 3), unit vectors on a closed grid, from pole to pole and once around
    values : shape (T, P, n), n = (l_max + 1)^2 with l_max at most 3; the function of degree l and order m is at
        l^2 + l + m

    Raises
    ------
    ValueError
        If the two grids differ, or n is not 1, 4, 9 or 16.
    """
    degrees = {(degree + 1) ** 2: degree for degree in range(len(DEGREE_COLORS))}
    if directions.shape[:-1] != values.shape[:-1] or directions.shape[-1] != 3 or values.shape[-1] not in degrees:
        raise ValueError(
            f"directions {directions.shape} and values {values.shape}; expected (T, P, 3) and (T, P, n) of the same "
            f"grid, with n = {', '.join(map(str, degrees))} functions"
        )
    l_max = degrees[values.shape[-1]]
    figure, (axis,) = new_figure(1, width=7.0, height=4.4)
    for degree in range(l_max + 1):
        for m in range(-degree, degree + 1):
            corners, light, positive = _faces(directions, values[..., degree**2 + degree + m])
            base = np.where(positive[:, None], to_rgb(DEGREE_COLORS[degree]), to_rgb(NEGATIVE))
            if degree == 0:  # nearly black: light shows on gray only
                base = base + 0.25
            colors = np.clip(base * light[:, None], 0, 1)
            faces = list(corners * [1, -1] + [m, degree])
            shape = PolyCollection(faces, facecolors=colors, edgecolors=colors, lw=0.3)
            shape.set_rasterized(True)
            axis.add_collection(shape)
    ticks = np.arange(l_max + 1)
    axis.set(xlim=(-l_max - 0.5, l_max + 0.5), ylim=(l_max + 0.5, -0.5), aspect="equal", xlabel="$m$")
    axis.set_yticks(ticks, [f"$l = {degree}$" for degree in ticks])
    axis.set_xticks(np.arange(-l_max, l_max + 1), [f"{m:d}".replace("-", "−") for m in range(-l_max, l_max + 1)])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    if l_max > 1:
        origin = np.array([-l_max + 0.1, 0.15])
        for name, (right, up) in zip("xyz", _screen()[:2].T, strict=True):
            look = {"arrowstyle": "->", "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", origin + 0.5 * np.array([right, -up]), origin, arrowprops=look)
            axis.text(*(origin + 0.68 * np.array([right, -up])), f"${name}$", ha="center", va="center")
    return figure
