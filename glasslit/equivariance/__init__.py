"""Rotations acting on features: harmonics, irreps, couplings, and the convolution made of them.

Imports no other room, so that it serves other tasks as well. Start with :mod:`~glasslit.equivariance.so3`, which states
the conventions, then :mod:`~glasslit.equivariance.convolution`; what makes it fast is in
:mod:`~glasslit.equivariance.kernels`. Reflections are known to :mod:`~glasslit.equivariance.parity` alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "arguments", "attention", "audit", "checked_layer", "checks", "convolution", "kernels",
        "layer_errors", "order_parameters", "parity", "point_groups", "products", "relaxed", "relaxed_volumes",
        "relaxed_weights", "so3", "twins",
    ],
)  # fmt: skip
