"""What a liquid is, and what one measures on it: positions, types and box of the Kob-Andersen mixture, its graph,
structure and dynamic heterogeneity.

Imports no other room. Start with :mod:`~glasslit.liquid.configuration`, which everything else is about, then
:mod:`~glasslit.liquid.graph`. Whatever wraps around the box does so in :mod:`~glasslit.liquid.periodic`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "configuration",
        "graph",
        "harmonic",
        "heterogeneity",
        "kob_andersen",
        "periodic",
        "perovskite",
        "strain",
        "structure",
    ],
)
