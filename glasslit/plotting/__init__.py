"""One style for figures, and the plots that pages share: arrays in, figures out. Nothing here computes a result.

Imports no other room. In a notebook, ``use`` makes figures SVG with a second layout for telephones (``screens``).
Start with ``style``; then ``results`` (scores), ``liquids`` (particles), ``sphere`` (functions of direction),
``network`` (its drawing) and ``frames`` (sliders).
"""

from . import seeds  # noqa: F401  (reached as plotting.seeds)
from .frames import slider
from .liquids import box_3d, radial_distribution, slice_by_type, slice_pair, slices
from .network import architecture
from .results import against_time, comparison, learning_curve, rho_against_time, scatter
from .screens import use
from .sphere import harmonic_shapes
from .style import COLORS, DEGREE_COLORS, MOBILITY, STYLE, new_figure, shades

__all__ = [
    "COLORS",
    "DEGREE_COLORS",
    "MOBILITY",
    "STYLE",
    "against_time",
    "architecture",
    "box_3d",
    "comparison",
    "harmonic_shapes",
    "learning_curve",
    "new_figure",
    "radial_distribution",
    "rho_against_time",
    "scatter",
    "shades",
    "slice_by_type",
    "slice_pair",
    "slices",
    "slider",
    "use",
]
