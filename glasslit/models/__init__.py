"""What predicts propensities: the paper's network, the baselines, and what they look at.

Imports :mod:`glasslit.liquid` and :mod:`glasslit.equivariance`. Start with :mod:`~glasslit.models.propensity`, the base
class of all, then :mod:`~glasslit.models.se3`, the paper's network.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "baselines",
        "clock",
        "conditions",
        "decoders",
        "descriptors",
        "heads",
        "norms",
        "potential",
        "propensity",
        "ridge",
        "se3",
    ],
)
