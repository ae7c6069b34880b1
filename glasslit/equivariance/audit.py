"""An audit of tensor products: does an implementation compute what e3nn's does, in every path and every derivative?

Errors of one path hide behind the others where all are measured at once: a network's energies may be right to nine
digits while one path's weight gradient is off by half. Here each path is measured alone, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
import pandas as pd
import torch
from e3nn import o3
from torch import Tensor

Product = Callable[[Tensor, Tensor, Tensor], Tensor]
COLUMNS = ("forward", "dx", "dy", "dw", "second")
"""What is measured: the product, its gradients, and the gradients of these."""
TOLERANCE = 1e-9


def audit_tensor_product(
    product: Product, reference: o3.TensorProduct, *, samples: int = 7, seed: int = 0
) -> pd.DataFrame:
    r"""Relative errors of a tensor product, path by path.

    For each path the weights of all others are zero. With random inputs x and y, weights w, an upstream gradient g and
    directions v,

    - ``forward`` compares the products P;
    - ``dx``, ``dy`` and ``dw`` compare the gradients of :math:`g \cdot P`, of the weights those of the path;
    - ``second`` compares the gradients of :math:`v_x \cdot dx + v_y \cdot dy + v_w \cdot dw` with respect to x, y, w
      and g, and is the largest of the four errors.

    Each error is the largest difference over the largest number of the reference. A correct implementation is right to
    rounding, about 1e-15.

    Parameters
    ----------
    product : ``product(x, y, w)`` with x of shape (samples, irreps_in1.dim), y (samples, irreps_in2.dim) and w
        (samples, reference.weight_numel), or (reference.weight_numel,) if the reference shares weights; returns
        (samples, irreps_out.dim). float64. What is fused with a gather and a scatter is made such by :func:`gathered`
    reference : e3nn's, with external weights, all of whose paths have weights
    samples : in the batch
    seed : of all random numbers

    Returns
    -------
    A row for each path, named by its irreps, with the columns of :data:`~glasslit.equivariance.audit.COLUMNS`. nan in
    ``second`` stands for a product that cannot be differentiated twice.

    Raises
    ------
    ValueError
        If the reference has weights of its own, or a path without weights, or the product returns another shape.

    Examples
    --------
    >>> outside = {"shared_weights": False, "internal_weights": False}
    >>> reference = o3.FullyConnectedTensorProduct("2x0e+1x1e", "1x1e", "1x1e", **outside).double()
    >>> audit_tensor_product(reference, reference)["dw"].round(9)
    path
    2x0e x 1x1e > 1x1e    0.000000e+00
    1x1e x 1x1e > 1x1e    3.600000e-08
    Name: dw, dtype: float64

    The second path is not exact: e3nn rounds couplings to the default dtype at construction, here float32.
    """
    _check(reference)
    exact, generator = _in_double(reference), torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "x": (samples, exact.irreps_in1.dim),
        "y": (samples, exact.irreps_in2.dim),
        "w": (exact.weight_numel,) if exact.shared_weights else (samples, exact.weight_numel),
        "g": (samples, exact.irreps_out.dim),
    }
    inputs = {k: torch.randn(shape, dtype=torch.float64, generator=generator) for k, shape in shapes.items()}
    directions = [torch.randn(shapes[k], dtype=torch.float64, generator=generator) for k in "xyw"]
    rows, begin = {}, 0
    for path in exact.instructions:
        here = torch.zeros(exact.weight_numel, dtype=torch.float64)
        here[begin : begin + prod(path.path_shape)] = 1
        begin += prod(path.path_shape)
        mine = _measured(product, inputs, directions, here)
        known = _measured(exact, inputs, directions, here)
        rows[_name(exact, path)] = {
            column: max((_error(a, b) for a, b in zip(mine[column], known[column], strict=True)), default=np.nan)
            if mine[column]
            else np.nan
            for column in COLUMNS
        }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS)).rename_axis("path")


def assert_tensor_product(
    product: Product, reference: o3.TensorProduct, tolerance: float = TOLERANCE, **options: Any
) -> pd.DataFrame:
    """:func:`audit_tensor_product`, with an ``AssertionError`` that names the worst path if an error is too large.

    Parameters
    ----------
    product, reference, options : as there
    tolerance : of each relative error

    Returns
    -------
    The table.

    Raises
    ------
    AssertionError
        If an error is above the tolerance, or the product cannot be differentiated twice.
    ValueError
        As ``audit_tensor_product``.
    """
    table = audit_tensor_product(product, reference, **options)
    if table.second.isna().any():
        raise AssertionError(
            "the product has no second derivatives, which a training on forces needs: give its gradient a gradient"
        )
    wrong = table.stack()
    wrong = wrong[~(wrong <= tolerance)]
    if len(wrong):
        path, column = wrong.idxmax()
        raise AssertionError(
            f"{column} of path {path} is off by {wrong.max():.1e} of its size, above {tolerance:.0e}; "
            f"{len(wrong)} of {table.size} numbers are: audit_tensor_product returns all"
        )
    return table


def gathered(fused: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Product:
    """A product of rows, made of one that is fused with the gather of senders and the sum over receivers.

    Each row becomes an edge between two nodes of its own, the first of which has x for its features.

    Parameters
    ----------
    fused : ``fused(h, y, w, edge_index)`` with h of shape (nodes, irreps_in1.dim), y and w of each edge, and edges
        (2, edges) of sender and receiver, sorted by receiver; returns (nodes, irreps_out.dim)

    Examples
    --------
    >>> outside = {"shared_weights": False, "internal_weights": False}
    >>> reference = o3.FullyConnectedTensorProduct("1x0e", "1x1e", "1x1e", **outside).double()
    >>> def fused(h, y, w, edge_index):
    ...     messages = reference(h[edge_index[0]], y, w)
    ...     return messages.new_zeros(len(h), messages.shape[1]).index_add(0, edge_index[1], messages)
    >>> float(audit_tensor_product(gathered(fused), reference).max(axis=None))
    0.0
    """

    def product(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        n = len(x)
        edges = torch.stack([torch.arange(n), torch.arange(n, 2 * n)]).to(x.device)
        return fused(torch.cat([x, torch.zeros_like(x)]), y, w, edges)[n:]

    return product


def _check(reference: o3.TensorProduct) -> None:
    if not isinstance(reference, o3.TensorProduct):
        raise ValueError(f"reference {type(reference).__name__}; expected an e3nn.o3.TensorProduct")
    if reference.internal_weights:
        raise ValueError("the reference has weights of its own; expected internal_weights=False: they are given here")
    if without := [path for path in reference.instructions if not path.has_weight]:
        raise ValueError(
            f"path {_name(reference, without[0])} has no weights; expected weights on all, to measure each path alone"
        )


def _in_double(reference: o3.TensorProduct) -> o3.TensorProduct:
    """The same product with its couplings exact in float64; e3nn writes them at the default dtype of construction."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        # e3nn takes the squares of path weights, and here they are as they shall be.
        paths = [(p.i_in1, p.i_in2, p.i_out, p.connection_mode, True, p.path_weight**2) for p in reference.instructions]
        # Path weights are taken over as they are, normalized once already; e3nn takes their squares.
        made = o3.TensorProduct(
            reference.irreps_in1, reference.irreps_in2, reference.irreps_out, paths,
            irrep_normalization="none", path_normalization="none",
            shared_weights=reference.shared_weights, internal_weights=False,
        )  # fmt: skip
    finally:
        torch.set_default_dtype(before)
    return made


def _name(product: o3.TensorProduct, path: Any) -> str:
    kinds = product.irreps_in1[path.i_in1], product.irreps_in2[path.i_in2], product.irreps_out[path.i_out]
    return f"{kinds[0]} x {kinds[1]} > {kinds[2]}"


def _measured(
    product: Product, inputs: dict[str, Tensor], directions: Sequence[Tensor], here: Tensor
) -> dict[str, list[Tensor]]:
    """Product, gradients and their gradients, where weights are those of one path."""
    x, y, w, g = (value.clone().requires_grad_() for value in inputs.values())
    out = product(x, y, w * here)
    if out.shape != g.shape:
        raise ValueError(f"the product returns shape {tuple(out.shape)}; expected {tuple(g.shape)}")
    dx, dy, dw = torch.autograd.grad(out, (x, y, w), g, create_graph=True)
    found = {"forward": [out.detach()], "dx": [dx.detach()], "dy": [dy.detach()], "dw": [dw.detach()]}
    total = torch.stack([(a * b).sum() for a, b in zip((dx, dy, dw), directions, strict=True)]).sum()
    second: tuple[Tensor, ...] = ()
    with suppress(RuntimeError, NotImplementedError):  # once differentiable, or not part of the graph
        second = torch.autograd.grad(total, (x, y, w, g))
    return found | {"second": [value.detach() for value in second]}


def _error(mine: Tensor, known: Tensor) -> float:
    """The largest difference over the largest number."""
    return float((mine - known).abs().max() / known.abs().max().clamp_min(1e-300))
