"""The drawing of the paper's network: the chain of its layers, and one convolution enlarged. It computes nothing."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from .style import COLORS, new_figure

_COLORS = {"data": "#eeeeee", "layer": "#cfe3f2", "norm": "#fbe3c0", "result": "#d9efe4", "sum": "#009e73"}
_HEIGHT, _WIDTH = 6.3, 3.45
"""Of each panel: inches, and the units of its axes."""


def _box(axis: Axes, x: float, y: float, text: str, color: str, width: float = 1.9, height: float = 0.4) -> None:
    shape = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.08", fc=color, ec="0.35"
    )
    axis.add_patch(shape)
    axis.text(x, y, text, ha="center", va="center", fontsize=8.5, linespacing=1.25, color="black")


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], color: str = "0.35") -> None:
    look = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0, "lw": 1.0, "mutation_scale": 9}
    axis.annotate("", end, start, arrowprops=look)


def _line(axis: Axes, points: list[tuple[float, float]], color: str) -> None:
    axis.plot(*zip(*points, strict=True), color=color, lw=1.2, solid_joinstyle="round", zorder=0.5)


def _chain(axis: Axes, inputs: int, weights: tuple[int, int], layers: int, lengths: int, maps: tuple[int, int]) -> None:
    """The layers from top to bottom: the first two, dots, the last one."""
    x, left, right, y = 1.8, 0.42, 3.1, _HEIGHT - 0.5
    _box(axis, x, y, f"{inputs} numbers for each particle:\ntype A, type B, energy", _COLORS["data"], width=2.1)
    _line(axis, [(x - 1.05, y), (left, y), (left, 2.15)], "0.55")
    axis.text(0.2, 4.3, "the numbers, once more", rotation=90, ha="center", va="center", fontsize=8.5, color="0.35")
    above = y - 0.2
    for number, y in ((1, 5.05), (2, 3.95), (layers, 2.15)):
        _arrow(axis, (x, above), (x, y + 0.2))
        text = f"convolution {number}\n{weights[number > 1]} radial weights per edge"
        _box(axis, x, y, text, _COLORS["layer"])
        _box(axis, x, y - 0.4, "batch norm", _COLORS["norm"], height=0.28)
        above = y - 0.54
        if number > 1:
            _arrow(axis, (left, y), (x - 0.95, y), "0.55")
            _line(axis, [(x, y + 0.32), (right, y + 0.32), (right, y - 0.72), (x + 0.1, y - 0.72)], _COLORS["sum"])
            _arrow(axis, (x, above), (x, y - 0.63))
            axis.add_patch(Circle((x, y - 0.72), 0.09, fc="white", ec=_COLORS["sum"], lw=1.3))
            for arm in ((0.05, 0.0), (0.0, 0.05)):
                _line(
                    axis,
                    [(x - arm[0], y - 0.72 - arm[1]), (x + arm[0], y - 0.72 + arm[1])],
                    _COLORS["sum"],
                )
                axis.lines[-1].set_zorder(3)
            above = y - 0.81
        if number == 2:
            axis.text(
                right + 0.14, y - 0.2, "sum", rotation=90, ha="center", va="center", fontsize=8.5, color="#006b4f"
            )
            axis.text(x, 2.83, r"$\cdots$", ha="center", va="center", rotation=90, fontsize=14)
            axis.text(x + 0.25, 2.83, f"{layers - 3} more", ha="left", va="center", fontsize=8.5)
            _line(axis, [(x, above), (x, 2.96)], "0.35")
            above = 2.7
    _box(axis, x, 0.93, f"{lengths} lengths, the same\nfor every orientation", _COLORS["result"])
    _arrow(axis, (x, above), (x, 1.13))
    _box(axis, x, 0.3, f"{maps[0]} × {maps[1]} linear maps:\none for each time and type", _COLORS["result"])
    _arrow(axis, (x, 0.73), (x, 0.5))
    axis.set_title("the network")


def _enlarged(axis: Axes, basis: int) -> None:
    """What one convolution does, from the edge vector to the features of the next layer."""
    frame = FancyBboxPatch(
        (0.04, 0.66),
        _WIDTH - 0.08,
        _HEIGHT - 0.78,
        boxstyle="round,pad=0,rounding_size=0.12",
        fc="#f1f7fb",
        ec="#8fb8d6",
    )
    axis.add_patch(frame)
    center, neighbor = (1.25, 5.35), (2.2, 5.62)
    for place in ((0.75, 5.75), (0.72, 5.0), (1.3, 4.82), (1.95, 4.95), (1.45, 5.95)):
        axis.plot(*zip(center, place, strict=True), color="0.7", lw=1, zorder=1.2)
        axis.add_patch(Circle(place, 0.11, fc="0.75", ec="white", zorder=2))
    for place, color in ((neighbor, COLORS["A"]), (center, COLORS["B"])):
        axis.add_patch(Circle(place, 0.14, fc=color, ec="white", zorder=2))
    _arrow(axis, center, neighbor, "black")
    axis.text(neighbor[0] + 0.2, neighbor[1], "neighbor $j$", va="center", fontsize=8.5)
    axis.text(center[0] - 0.19, center[1] + 0.02, "$i$", ha="right", va="center", fontsize=10)
    axis.text(1.7, 5.66, r"$\mathbf{a}$", ha="center", va="bottom", fontsize=10)
    columns, middle = (0.64, 1.73, 2.82), 3.9
    texts = (
        ("who", "features $h$\nof the\nneighbor"),
        ("where", "spherical\nharmonics\n" r"$Y(\hat{\mathbf{a}})$"),
        ("how far", f"{basis} waves, a\nsmall network,\n" r"weights $\varphi(|\mathbf{a}|)$"),
    )
    for x, (question, text) in zip(columns, texts, strict=True):
        _arrow(axis, (1.73 + 0.35 * (x - 1.73), 4.66), (x, middle + 0.47))
        _box(axis, x, middle, "", "white", width=1.06, height=0.94)
        axis.text(x, middle - 0.13, text, ha="center", va="center", fontsize=8.5, linespacing=1.25)
        axis.text(x, middle + 0.31, question, ha="center", va="center", fontsize=9, weight="bold")
        _arrow(axis, (x, middle - 0.47), (1.73 + 0.42 * (x - 1.73), 2.95))
    _box(axis, 1.73, 2.72, "Clebsch-Gordan product:\nthe message from $j$ to $i$", _COLORS["layer"], 2.2, 0.46)
    _arrow(axis, (1.73, 2.49), (1.73, 2.1))
    _box(axis, 1.73, 1.95, "sum over all neighbors $j$", _COLORS["layer"], 2.2, 0.3)
    _arrow(axis, (1.73, 1.8), (1.73, 1.41))
    _box(axis, 1.73, 1.18, "linear map for each degree:\nmixes paths and channels", _COLORS["layer"], 2.2, 0.46)
    _arrow(axis, (1.73, 0.95), (1.73, 0.45))
    _box(axis, 1.73, 0.3, "batch norm: divides by the spread", _COLORS["norm"], 2.3, 0.3)
    axis.set_title("one convolution, enlarged")


def architecture(
    inputs: int = 3,
    weights: tuple[int, int] = (12, 284),
    layers: int = 8,
    basis: int = 10,
    lengths: int = 32,
    maps: tuple[int, int] = (10, 2),
) -> Figure:
    """The network from its inputs to its predictions, and beside it what happens inside of one convolution.

    Two panels, which stand below each other on a telephone. The defaults are the paper's numbers.

    Parameters
    ----------
    inputs : numbers for each particle
    weights : radial weights for each edge, of the first convolution and of a later one
    layers : how many convolutions; drawn are the first two and the last
    basis : radial basis functions
    lengths : invariants that the decoder reads
    maps : times and types, for each pair of which there is a linear map

    Raises
    ------
    ValueError
        If there are less than four convolutions: nothing would be left out.
    """
    if layers < 4:
        raise ValueError(f"{layers} convolutions; expected four or more, as only the first two and the last are drawn")
    figure, axes = new_figure(2, width=3.5, height=_HEIGHT + 0.3)
    for axis in axes:
        axis.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
        axis.axis("off")
    _chain(axes[0], inputs, weights, layers, lengths, maps)
    _enlarged(axes[1], basis)
    return figure
