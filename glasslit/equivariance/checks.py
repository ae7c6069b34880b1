"""Nine checks that any test can run on any layer: symmetries, gradients, the cutoff, batches and number formats.

Each check has two forms. One returns numbers, by what they belong to: ``rotation_errors(layer)``, in
:mod:`~glasslit.equivariance.layer_errors`. The other raises ``AssertionError`` if a number is above its limit:
``assert_rotations(layer)``. :func:`check_layer` runs all that the layer promises and returns a table. A layer is passed
as :class:`~glasslit.equivariance.checked_layer.CheckedLayer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from .checked_layer import CheckedLayer
from .layer_errors import (
    ROUNDING,
    Errors,
    batch_errors,
    cutoff_jumps,
    gradient_errors,
    leak_errors,
    mirror_errors,
    permutation_errors,
    precision_errors,
    rotation_errors,
    translation_errors,
)


class Check(NamedTuple):
    """What is measured, its limit, what to do about it, and limits of single numbers that differ from the others'."""

    measure: Callable[..., Errors]
    limit: float
    fix: str
    other_limits: Mapping[str, float] = MappingProxyType({})

    def limit_of(self, name: str, tolerance: float | None = None) -> float:
        """The limit of one number, which a tolerance replaces."""
        return self.other_limits.get(name, self.limit) if tolerance is None else tolerance

    def worst(self, errors: Errors, tolerance: float | None = None) -> tuple[str, float, float]:
        """The number that is farthest above its limit, nan above all: its name, itself and the limit."""
        above = {name: error / self.limit_of(name, tolerance) for name, error in errors.items()}
        where = max(above, key=lambda name: np.inf if np.isnan(above[name]) else above[name])
        return where, errors[where], self.limit_of(where, tolerance)


COUPLINGS = (
    "an error of about 1e-8 comes from constants in float32: build layers of e3nn under "
    "torch.set_default_dtype(torch.float64). A larger one is a broken symmetry"
)
CHECKS = {
    "rotations": Check(
        rotation_errors, ROUNDING[torch.float64], f"{COUPLINGS}, or irreps_in or irreps_out are not the layer's"
    ),
    "mirror images": Check(
        mirror_errors,
        ROUNDING[torch.float64],
        f"{COUPLINGS}, or parities are not the layer's: a cross product of two vectors (1o) is axial (1e)",
    ),
    "translations": Check(
        translation_errors,
        ROUNDING[torch.float64],
        "use differences of positions only. If the layer returns positions, let call return out - graph.pos",
    ),
    "permutations": Check(
        permutation_errors,
        ROUNDING[torch.float64],
        "use no number of a point and no order of neighbors. A largest number of neighbors drops some by their order",
    ),
    "cutoff": Check(
        cutoff_jumps,
        1e-6,
        "multiply all that an edge sends, a bias as well, by a function that reaches 0 at the cutoff with as many "
        "derivatives as are promised (smooth)",
        {
            "curvature": 1e-4
        },  # rounding leaves up to 1e-5 of it on smooth layers; a cosine cutoff jumps by 6e-2 and more
    ),
    "gradients": Check(
        gradient_errors,
        1e-6,
        "look for detach(), .data, item(), NumPy or no_grad on the way from there to the output, or an error in the "
        "backward of an own torch.autograd.Function",
    ),
    "leak": Check(
        leak_errors,
        ROUNDING[torch.float64],
        "take means, sums and norms over each graph (graph.batch) and not over the batch",
    ),
    "precision": Check(
        precision_errors,
        ROUNDING[torch.float32],
        "look for differences of large numbers, such as E[x^2] - E[x]^2, and for tensors of a fixed dtype",
    ),
    "batch": Check(
        batch_errors,
        ROUNDING[torch.float64],
        "let nothing depend on the number of graphs or points of the batch: use graph.batch in sums and counts",
    ),
}
"""All checks by name. "mirror images" and "cutoff" run where the layer promises them."""


def assert_rotations(layer: CheckedLayer, tolerance: float | None = None, seed: int = 0) -> Errors:
    """Raise ``AssertionError`` if one of :func:`~glasslit.equivariance.layer_errors.rotation_errors` is too large.

    Parameters
    ----------
    layer : see :class:`~glasslit.equivariance.checked_layer.CheckedLayer`
    tolerance : of each error, in the place of the limit in :data:`~glasslit.equivariance.checks.CHECKS`
    seed : of points and rotations

    Returns
    -------
    All errors.
    """
    return _assert("rotations", layer, tolerance, seed)


def assert_mirror_images(layer: CheckedLayer, tolerance: float | None = None, seed: int = 0) -> Errors:
    """As :func:`~glasslit.equivariance.checks.assert_rotations`, for
    :func:`~glasslit.equivariance.layer_errors.mirror_errors`.
    """
    return _assert("mirror images", layer, tolerance, seed)


def assert_translations(layer: CheckedLayer, tolerance: float | None = None, seed: int = 0) -> Errors:
    """As :func:`~glasslit.equivariance.checks.assert_rotations`, for
    :func:`~glasslit.equivariance.layer_errors.translation_errors`.
    """
    return _assert("translations", layer, tolerance, seed)


def assert_permutations(layer: CheckedLayer, tolerance: float | None = None, seed: int = 0) -> Errors:
    """As :func:`~glasslit.equivariance.checks.assert_rotations`, for
    :func:`~glasslit.equivariance.layer_errors.permutation_errors`.
    """
    return _assert("permutations", layer, tolerance, seed)


def assert_smooth_at_cutoff(layer: CheckedLayer, tolerance: float | None = None, seed: int = 0) -> Errors:
    """As :func:`~glasslit.equivariance.checks.assert_rotations`, for
    :func:`~glasslit.equivariance.layer_errors.cutoff_jumps`, as far as the layer promises.
    """
    return _assert("cutoff", layer, tolerance, seed)


def assert_gradients(layer: CheckedLayer, tolerance: float | None = None, seed: int = 0) -> Errors:
    """As :func:`~glasslit.equivariance.checks.assert_rotations`, for
    :func:`~glasslit.equivariance.layer_errors.gradient_errors`.
    """
    return _assert("gradients", layer, tolerance, seed)


def assert_no_leak(layer: CheckedLayer, tolerance: float | None = None, seed: int = 0) -> Errors:
    """As :func:`~glasslit.equivariance.checks.assert_rotations`, for
    :func:`~glasslit.equivariance.layer_errors.leak_errors`.
    """
    return _assert("leak", layer, tolerance, seed)


def assert_precision(layer: CheckedLayer, tolerance: float | None = None, seed: int = 0) -> Errors:
    """As :func:`~glasslit.equivariance.checks.assert_rotations`, for
    :func:`~glasslit.equivariance.layer_errors.precision_errors`.
    """
    return _assert("precision", layer, tolerance, seed)


def assert_batch_as_single(layer: CheckedLayer, tolerance: float | None = None, seed: int = 0) -> Errors:
    """As :func:`~glasslit.equivariance.checks.assert_rotations`, for
    :func:`~glasslit.equivariance.layer_errors.batch_errors`.
    """
    return _assert("batch", layer, tolerance, seed)


def check_layer(layer: CheckedLayer, leave_out: Iterable[str] = (), seed: int = 0) -> pd.DataFrame:
    """All that a layer promises, in one table.

    Parameters
    ----------
    layer : see :class:`~glasslit.equivariance.checked_layer.CheckedLayer`
    leave_out : names of checks, keys of :data:`~glasslit.equivariance.checks.CHECKS`, that the layer makes
        no promise about
    seed : of all random numbers

    Returns
    -------
    A row for each check with the largest ``error``, ``where`` it is, the ``limit`` and whether it ``passes``.

    Raises
    ------
    ValueError
        If there is no check of such a name, or a check cannot be made; see
        :func:`~glasslit.equivariance.layer_errors.rotation_errors`.
    """
    return _table(_measured(layer, leave_out, seed))


def assert_layer(layer: CheckedLayer, leave_out: Iterable[str] = (), seed: int = 0) -> pd.DataFrame:
    """:func:`check_layer`, with one ``AssertionError`` that names every check that fails; returns the table."""
    found = list(_measured(layer, leave_out, seed))
    if told := [message for name, errors in found if (message := _complaint(layer, name, errors))]:
        raise AssertionError("\n".join(told))
    return _table(found)


def _assert(name: str, layer: CheckedLayer, tolerance: float | None, seed: int) -> Errors:
    errors = CHECKS[name].measure(layer, seed=seed)
    if message := _complaint(layer, name, errors, tolerance):
        raise AssertionError(message)
    return errors


def _measured(layer: CheckedLayer, leave_out: Iterable[str], seed: int) -> Iterator[tuple[str, Errors]]:
    left_out = set(leave_out)
    if unknown := left_out - set(CHECKS):
        raise ValueError(f"leave_out names {', '.join(sorted(unknown))}; expected names of {', '.join(CHECKS)}")
    left_out |= (set() if layer.mirror_images else {"mirror images"}) | ({"cutoff"} if layer.smooth is None else set())
    for name, check in CHECKS.items():
        if name not in left_out:
            yield name, check.measure(layer, seed=seed)


def _table(found: Iterable[tuple[str, Errors]]) -> pd.DataFrame:
    rows = {}
    for name, errors in found:
        where, error, limit = CHECKS[name].worst(errors)
        rows[name] = {"error": error, "where": where, "limit": limit, "passes": bool(error <= limit)}  # nan fails too
    return pd.DataFrame.from_dict(rows, orient="index", columns=["error", "where", "limit", "passes"]).rename_axis(
        "check"
    )


def _complaint(layer: CheckedLayer, name: str, errors: Errors, tolerance: float | None = None) -> str | None:
    """What a failed check says; None if it passes."""
    check = CHECKS[name]
    where, error, limit = check.worst(errors, tolerance)
    if error <= limit:
        return None
    others = [other for other in errors if other != where and not errors[other] <= check.limit_of(other, tolerance)]
    also = f"; also too large: {', '.join(others[:4])}{' and others' if len(others) > 4 else ''}" if others else ""
    came = f"{layer.name}, {name}: error {error:.1e} of {where}, expected at most {limit:.0e}{also}"
    return f"{came}. To mend it: {check.fix}"
