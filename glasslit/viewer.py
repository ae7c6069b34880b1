"""Particles in three dimensions on a web page: turned by hand, without a kernel and without the internet.

Takes arrays, computes nothing, returns HTML that holds everything it needs. The drawing is done by ``viewer.js``, which
stands beside this file: no library that pip installs keeps a page of 1000 particles below 300 kB. Measured in November
2026, in bytes of the page, or of the script alone where it is too large by itself:

=================  =========  ========================================================================
library            bytes      remarks
=================  =========  ========================================================================
k3d 3.2.0          1 202 741  one view, its snapshot with scripts included; the small one loads from a CDN
plotly 7.1.0       4 847 972  one view; its smaller bundle with 3-D plots alone is not on PyPI
trimesh 5.2.0        712 014  three.js in a template, before any data
anythreejs 0.3.4     628 666  three.js in a widget, before any data
pythreejs 2.4.2      609 409  three.js in a widget, before any data
ipyvolume 0.6.3      571 575  three.js alone; its last release is of 2023
nglview 4.0.1      1 034 938  NGL alone
py3Dmol 2.5.5              -  loads its script from a CDN
this file             20 000  without data and still picture
=================  =========  ========================================================================
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

TYPE_COLORS = ("#2f6db3", "#d1662f")
RADIUS = (0.5, 0.44)
"""Of A and of B particles, sigma_AA: half of sigma_aa."""
DRAWN = 0.85
"""Part of its radius at which a particle is drawn, to let the eye in."""
TILT = 20.0
"""Degrees by which the eye stands above the middle of the box at first, as in viewer.js."""

_HERE = Path(__file__).parent
_EDGES = [(k, k | bit) for k in range(8) for bit in (1, 2, 4) if not k & bit]
_MODES = {"simulated": "simulated", "predicted": "predicted", "error": "error", "change": "change under the turn"}
_PAGE = """<div class="glasslit-view" data-glasslit-view="{name}" role="group" aria-label="Three-dimensional view">
<style>{style}</style>
<div class="glv-controls" hidden>{modes}{time}{turn}
<label><input type="checkbox" class="glv-cut"> cut open</label>
<button type="button" class="glv-reset">Reset the view</button></div>
<div class="glv-stage" role="group" aria-label="{keys}" style="max-width: {width}rem">{panels}</div>
<div class="glv-legend" hidden><div class="glv-bar"></div>
{ticks}<div class="glv-bar-name"></div></div>
<p class="glv-help" hidden>{help}</p>{note}
<script>({script})("{name}", {data})</script>
</div>"""
_PANEL = """
<div class="glv-panel"><p class="glv-title">{title}</p>
<canvas role="img" aria-label="{alt}" hidden></canvas>
<img class="glv-still" src="{still}" alt="{alt}" width="440" height="440">
<p class="glv-said" aria-live="polite" hidden></p>{sum}</div>"""
_TICKS = '<div class="glv-ticks"><span></span><span></span><span></span></div>\n'
_SLIDER = """
<label>{label} <input type="range" class="glv-{kind}" min="0" max="{last}" step="{step}" value="0">
<output class="glv-{kind}-said"></output></label>"""
_HELP = (
    "Drag sideways to turn the liquid, up or down to tilt it; pinch, or click the picture and use the wheel, to zoom."
)
_KEYS = "Picture of the particles. Arrow keys turn and tilt, plus and minus zoom, Home resets"


def particles(
    positions: np.ndarray,
    box: np.ndarray,
    types: np.ndarray,
    *,
    simulated: np.ndarray | None = None,
    predictions: Mapping[str, np.ndarray] | None = None,
    times: Sequence[float] | np.ndarray | None = None,
    turns: Sequence[float] | np.ndarray | None = None,
    label: str = "propensity / σ_AA",
    show: str | None = None,
    alt: str = "A cube filled with particles, seen in perspective and colored by the quantity named above it.",
) -> str:
    """Particles in their box as spheres that the reader turns, colored by what is known or predicted of each.

    Sliders choose the time and the turn, buttons choose simulation, prediction, error (prediction minus simulation),
    change under the turn, or type. Several predictors stand beside each other and turn together.

    Turning is about the box's z axis, upright on the screen. With ``turns``, the colors are those that were computed
    for the turn nearest to the one shown, and each panel says by how much its predictions changed: the largest change
    of any particle at any time over the largest prediction of the liquid as it was, before any rounding for the page.
    Up and down moves the reader's eye, not the liquid.

    Parameters
    ----------
    positions : shape (N, 3), sigma_AA, inside the box
    box : shape (3,), sigma_AA
    types : shape (N,), 0 (A) or 1 (B)
    simulated : shape (T, N), or (N,) without ``times``; optional
    predictions : name -> shape (T, N), or (R, T, N) with ``turns``, the first for the liquid as it is; (N,) or (R, N)
        without ``times``. A panel is drawn for each; :func:`glasslit.testing.predictions_when_turned` makes them
    times : shape (T,), Lennard-Jones units, shown beside the slider
    turns : shape (R,), degrees, counterclockwise seen from above, the first of them 0
    label : name and unit of the quantity
    show : what is shown first: "simulated", "predicted", "error", "change" or "type"; by default the first there is
    alt : what there is to see, for those who cannot. It is also the text of the still picture without scripts

    Returns
    -------
    HTML, for ``IPython.display.HTML``: about 20 kB, 20 to 40 kB for the still picture of each panel, and 1.3 bytes
    for each number shown. The page holds 8-bit numbers (1/255 of the range at each time; changes in 1/127 of the
    largest at that time), and 16-bit positions. Equal rows of changes are held once.

    Raises
    ------
    ValueError
        If shapes do not fit each other, numbers are not finite, positions lie outside the box, or ``show`` names
        something that is not there.

    Examples
    --------
    >>> import glasslit as gl
    >>> from glasslit.liquid.periodic import wrap
    >>> c = gl.load("starter", T=0.44, split="test")[0]
    >>> page = particles(wrap(c.positions, c.box), c.box, c.types, simulated=c.propensity, times=c.times)
    >>> len(page) < 100_000
    True

    In a notebook, show it with ``IPython.display.HTML(page)``.
    """
    data = _encoded(positions, box, types, simulated, predictions, times, turns, label)
    modes = list(data["bars"])
    show = modes[0] if show is None else show
    if show not in modes:
        raise ValueError(f"show={show!r}; expected one of {', '.join(map(repr, modes))}, for which there are numbers")
    data["mode"] = show
    many, turned = len(data["times"]), data["turns"]
    name = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:12]
    panels = ""
    for panel in data["panels"]:
        colors = _colors_at_first(data, panel, show)
        told = panel["name"] if show == "predicted" and panel["name"] else data["bars"][show]["name"]
        most = f'<p class="glv-sum">Largest change of all {len(turned)} turns: {panel["most"]}</p>' if turned else ""
        picture = _still(data, colors)
        panels += _PANEL.format(title=html.escape(told), alt=html.escape(alt), still=picture, sum=most)
    choices = "".join(
        f'<label><input type="radio" class="glv-mode" name="mode-{name}" value="{mode}"'
        f"{' checked' if mode == show else ''}> {html.escape(bar['name'])}</label>"
        for mode, bar in data["bars"].items()
    )
    note = ""
    if turned:
        step = f"{turned[1]:g}°, …, {turned[-1]:g}°" if len(turned) > 2 else f"{turned[-1]:g}°"
        note = (
            '\n<p class="glv-note">Predictions were computed for the liquid turned about its upright axis by 0°, '
            f"{step}; in between, the nearest of these is shown. A tilt moves your eye, not the liquid. Changes are "
            "given as part of the largest prediction.</p>"
        )
    last, step_of_turn = (len(turned) - 1, 1) if turned else (355, 5)
    return _PAGE.format(
        name=name,
        style=(_HERE / "viewer.css").read_text(),
        modes=f'<fieldset aria-label="Color by">{choices}</fieldset>' if len(modes) > 1 else "",
        time=_SLIDER.format(label="time", kind="time", last=many - 1, step=1) if many > 1 else "",
        turn=_SLIDER.format(label="turn", kind="turn", last=last, step=step_of_turn),
        keys=_KEYS,
        width=26 * len(data["panels"]),
        panels=panels,
        ticks=2 * _TICKS,
        help=_HELP,
        note=note,
        script=(_HERE / "viewer.js").read_text().replace("</", "<\\/"),
        data=json.dumps(data, separators=(",", ":")).replace("</", "<\\/"),
    )


def _checked(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.shape != shape:
        raise ValueError(f"{name} of shape {array.shape}; expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {np.count_nonzero(~np.isfinite(array))} numbers that are not finite; drop them")
    return array


def _encoded(
    positions: Any, box: Any, types: Any, simulated: Any, predictions: Any, times: Any, turns: Any, label: str
) -> dict[str, Any]:
    """What the script reads: arrays as base64, with the ranges that give their numbers back."""
    n = len(np.asarray(positions))
    box, positions = _checked(box, (3,), "box"), _checked(positions, (n, 3), "positions")
    types = np.asarray(types)
    if types.shape != (n,) or not np.isin(types, (0, 1)).all():
        raise ValueError(f"types of shape {types.shape}; expected ({n},), each of them 0 (A) or 1 (B)")
    if n == 0 or not (box > 0).all() or (positions < 0).any() or (positions > box).any():
        raise ValueError(
            "positions outside the box; expected 0 to its edge: use glasslit.periodic.wrap(positions, box)"
        )
    t: tuple[int, ...] = () if times is None else (len(np.atleast_1d(times)),)
    r: tuple[int, ...] = () if turns is None else (len(np.atleast_1d(turns)),)
    if turns is not None and (not r[0] or np.atleast_1d(turns)[0] != 0):
        raise ValueError(f"turns {np.asarray(turns)}; expected degrees that begin with 0, the liquid as it is")
    known = [] if simulated is None else [_checked(simulated, (*t, n), "simulated").reshape(-1, n)]
    given = {
        name: _checked(values, (*r, *t, n), f"predictions[{name!r}]").reshape(r[0] if r else 1, -1, n)
        for name, values in (predictions or {}).items()
    }
    if turns is not None and not given:
        raise ValueError("turns without predictions; expected predictions for each turn, or leave turns out")
    data: dict[str, Any] = {
        "n": n,
        "box": box.tolist(),
        "radius": [DRAWN * radius for radius in RADIUS],
        "positions": _base64(np.round(positions / box * 65535).astype("<u2")),
        "types": _base64(types.astype(np.uint8)),
        "times": [] if times is None else np.atleast_1d(times).astype(float).tolist(),
        "turns": None if turns is None else np.atleast_1d(turns).astype(float).tolist(),
        "panels": [{"name": ""}],
        "bars": {},
        "colors": {"types": list(TYPE_COLORS), "mobility": _stops("cividis"), "signed": _stops("RdBu_r")},
    }
    first = [values[0] for values in given.values()]
    if known or first:
        values = np.stack(known + first)  # (number of panels, times, particles)
        low, high = values.min(axis=(0, 2)), values.max(axis=(0, 2))
        width = np.where(high > low, high - low, 1.0)
        data |= {"low": low.tolist(), "high": (low + width).tolist()}
        levels = [_base64(np.round((v - low[:, None]) / width[:, None] * 255).astype(np.uint8)) for v in values]
        ends = _ends_by_type(values, types)
        if known:
            data["simulated"] = levels.pop(0)
            data["bars"]["simulated"] = _bar(_MODES["simulated"], label, "mobility", ends)
        if given:
            data["panels"] = [{"name": name, "first": level} for name, level in zip(given, levels, strict=True)]
            data["bars"]["predicted"] = _bar(_MODES["predicted"], label, "mobility", ends)
        if known and given:
            errors = np.abs(np.stack(first) - known[0])
            data["bars"]["error"] = _bar(
                _MODES["error"], f"{label}, predicted minus simulated", "signed", _around_zero(errors)
            )
    if turns is not None:
        changes = np.stack([values - values[0] for values in given.values()])  # panels, turns, times, particles
        data["change"] = np.abs(changes).max(axis=(0, 1, 3)).tolist()
        unit = np.where(np.array(data["change"]) > 0, data["change"], 1.0)[:, None]
        for panel, change, values in zip(data["panels"], changes, given.values(), strict=True):
            shares = np.abs(change).max(axis=(1, 2)) / max(np.abs(values[0]).max(), 1e-300)
            rows = np.round(change / unit * 127).astype(np.int8).reshape(-1, n)
            unique, panel["rows"] = _without_copies(rows)
            panel |= {"changes": _base64(unique), "most": _share(shares.max())}
            panel["said"] = [f"Changed by at most {_share(share)}" for share in shares]
            panel["said"][0] = "As it is, not turned"
        seen = np.abs(changes).swapaxes(1, 2).reshape(len(given), len(unit), -1)
        data["bars"]["change"] = _bar(
            _MODES["change"], f"{label}, turned minus not turned", "signed", _around_zero(seen)
        )
    a, b = TYPE_COLORS
    data["bars"]["type"] = _bar("type", "type of particle", "types", [[[0, 1]]]) | {
        "ticks": ["A", "", "B"],
        "fill": f"{a} 0 50%, {b} 50% 100%",
    }
    return data


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _stops(name: str) -> list[str]:
    return [to_hex(matplotlib.colormaps[name](x)) for x in np.linspace(0.05 if name != "cividis" else 0, 0.95, 17)]


def _bar(name: str, unit: str, colors: str, ends: list) -> dict[str, Any]:
    """How a mode is colored: the ends of its scale at each time, one scale for all or one for each type."""
    fill = ", ".join(_stops("cividis" if colors == "mobility" else "RdBu_r"))
    return {"name": name, "unit": unit, "colors": colors, "ends": ends, "fill": fill}


def _ends_by_type(values: np.ndarray, types: np.ndarray) -> list:
    """Ends of a scale for A and one for B particles, which move further; values of shape (panels, times, N)."""
    scales = []
    for kind in (0, 1):
        chosen = values[..., types == kind] if (types == kind).any() else values
        low, high = np.quantile(chosen, [0.02, 0.98], axis=(0, 2))
        scales.append(np.stack([low, np.where(high > low, high, low + 1e-9)], axis=1))
    return np.stack(scales, axis=1).tolist()


def _around_zero(sizes: np.ndarray) -> list:
    """Ends of a scale with zero in its middle, at each time; sizes of shape (panels, times, anything)."""
    most = np.maximum(np.quantile(sizes, 0.995, axis=(0, 2)), 1e-9)
    return np.stack([-most, most], axis=1)[:, None].tolist()


def _without_copies(rows: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The different rows, and for each row which of them it is."""
    places: dict[bytes, int] = {}
    which = [places.setdefault(row.tobytes(), len(places)) for row in rows]
    return np.stack([np.frombuffer(row, dtype=rows.dtype) for row in places]), which


def _share(x: float) -> str:
    """A part of the whole: 11 %, or 1.4 × 10⁻⁷ where it is small."""
    if x == 0 or x >= 1e-3:
        return f"{100 * x:.2g}\u00a0%"
    digits, power = f"{x:.1e}".split("e")
    return f"{digits}\u00a0×\u00a010" + str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _colors_at_first(data: dict[str, Any], panel: dict[str, Any], mode: str) -> list[Any]:
    """Colors of the still picture: at the last time, before any turn."""
    bytes_of = lambda text: np.frombuffer(base64.b64decode(text), np.uint8)  # noqa: E731
    bar, n = data["bars"][mode], data["n"]
    if mode == "type":
        return [TYPE_COLORS[kind] for kind in bytes_of(data["types"])]
    unit = lambda text: data["low"][-1] + bytes_of(text)[-n:] / 255 * (data["high"][-1] - data["low"][-1])  # noqa: E731
    values = {
        "simulated": lambda: unit(data["simulated"]),
        "predicted": lambda: unit(panel["first"]),
        "error": lambda: unit(panel["first"]) - unit(data["simulated"]),
        "change": lambda: np.zeros(n),
    }[mode]()
    types = bytes_of(data["types"])
    low, high = np.array(bar["ends"][-1])[types % len(bar["ends"][-1])].T
    colors = matplotlib.colormaps["cividis" if bar["colors"] == "mobility" else "RdBu_r"]
    return list(colors(np.clip((values - low) / (high - low), 0, 1)))


def _projected(points: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places on the screen (P, 2), distances from the middle (P,), enlargement (P,): as in viewer.js at angle 0."""
    tilt, eye = np.deg2rad(TILT), 3.5 * box.max()
    up = points[:, 1] * np.sin(tilt) + points[:, 2] * np.cos(tilt)
    deep = points[:, 1] * np.cos(tilt) - points[:, 2] * np.sin(tilt)
    near = eye / (eye + deep)
    return np.stack([points[:, 0], up], axis=1) * near[:, None], deep, near


def _still(data: dict[str, Any], colors: list[Any]) -> str:
    """The first picture, for readers without scripts, as the address of an image in WebP."""
    box = np.array(data["box"])
    places = np.frombuffer(base64.b64decode(data["positions"]), "<u2").reshape(-1, 3) / 65535 - 0.5
    flat, deep, near = _projected(places * box, box)
    types = np.frombuffer(base64.b64decode(data["types"]), np.uint8)
    order = np.argsort(-deep)
    size = 2 * np.array(data["radius"])[types] * near
    figure = Figure(figsize=(4.4, 4.4), dpi=100)
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    discs: dict[str, Any] = {"units": "xy", "offsets": flat[order], "offset_transform": axis.transData}
    look = {"facecolors": np.array(colors, dtype=object)[order].tolist(), "edgecolors": "#00000088", "linewidths": 0.4}
    axis.add_collection(EllipseCollection(size[order], size[order], np.zeros(len(size)), **discs, **look))
    corners = np.array([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(8)]) - 0.5
    frame, depth, _ = _projected(corners * box, box)
    for in_front in (False, True):
        lines = [(frame[k], frame[m]) for k, m in _EDGES if (depth.argmin() in (k, m)) == in_front]
        axis.add_collection(LineCollection(lines, colors="#888888", linewidths=0.8, zorder=3 if in_front else 0))
    diagonal = np.hypot(box[0], box[1])  # the middle lies as in viewer.js, where there is room for every turn
    turned = np.array([[0.0, away * diagonal, up * box[2]] for up in (-0.5, 0.5) for away in (-0.5, 0.5)])
    heights = _projected(turned, box)[0][:, 1]
    middle = (heights.min() + heights.max()) / 2
    half = 0.45 * np.linalg.norm(box)
    axis.set(xlim=(-half, half), ylim=(middle - half, middle + half), aspect="equal")
    axis.set_axis_off()
    picture = io.BytesIO()
    figure.savefig(picture, format="webp", bbox_inches=None, transparent=True, pil_kwargs={"quality": 75})
    return "data:image/webp;base64," + base64.b64encode(picture.getvalue()).decode()
