r"""The one hot operation of the network: couple, weight, sum over neighbors.

.. math::
    m_{i,c}^{p} = \sum_{j \in N(i)} w_{ij}^{p,c} \sqrt{2 l_O + 1}\;
    C^{l_O}_{l_I l_F}\big(h_{j,c}^{l_I}, Y^{l_F}(a_{ij})\big)

for every path p = (l_I, l_F, l_O) and channel c (Eq. 18 of Pezzicoli et al. 2024, before mixing).
:mod:`~glasslit.equivariance.kernels.reference` is the specification; other kernels compute the same function.
"""

from __future__ import annotations

import logging
from functools import cache

import torch
from torch import Tensor
from torch_geometric.data import Data

from . import cpu, gpu, ptx_gpu, reference
from .coupling import Coupling
from .plan import RadialWeights, Weights, from_blocks, plan_of

__all__ = ["KERNELS", "Coupling", "RadialWeights", "check_kernel", "contract", "contract_scatter", "select"]

KERNELS = {"cpu": cpu, "gpu": gpu, "ptx": ptx_gpu, "reference": reference}
"""By name."""
AUTO = ("cpu", "gpu", "reference")
"""Of these "auto" takes the first that can. "ptx" is to be asked for: it has never yet run on a GPU."""


def check_kernel(kernel: str) -> str:
    """The name, if there is a kernel of that name, or "auto".

    Raises
    ------
    ValueError
        If there is no kernel of that name.
    """
    if kernel not in ("auto", *KERNELS):
        raise ValueError(f"kernel {kernel!r}; expected one of auto, {', '.join(KERNELS)}")
    return kernel


@cache
def _say(message: str) -> None:
    logging.getLogger("glasslit.kernels").info(message)


def select(kernel: str, h: Tensor, coupling: Coupling) -> str:
    """The name of the kernel to use for these tensors; "auto" takes the fastest that can, and logs which, once.

    Raises
    ------
    ValueError
        If there is no kernel of that name, or it cannot take these tensors.
    """
    if check_kernel(kernel) != "auto":
        reason = KERNELS[kernel].unavailable(h, coupling)
        if reason:
            raise ValueError(f"kernel {kernel!r} cannot be used here: {reason}; kernel 'auto' takes one that can")
        return kernel
    reasons = []
    for name in AUTO:
        reason = KERNELS[name].unavailable(h, coupling)
        if reason is None:
            break
        reasons.append(f"{name}: {reason}")
    _say(f"kernel {name} for {h.device.type}" + "".join(f" (not {reason})" for reason in reasons))
    return name


@torch.compiler.disable
def contract(
    h: Tensor, Y: Tensor, weights: Weights, graph: Data, coupling: Coupling, kernel: str = "auto"
) -> tuple[Tensor, ...]:
    """As :func:`contract_scatter`, component by component: one (N, 2l + 1, channels) for each degree l.

    So lies what a linear map over channels wants to read, and what the fast kernels write. ``torch.compile`` leaves it
    as it is: Dynamo of PyTorch 2.13 would walk into the library that makes the machine code, and end in
    InternalTorchDynamoError ("argument of type '_lib_fn_wrapper' is not iterable", llvmlite 0.50's binding).
    """
    check_shapes(h, Y, weights, graph, coupling)
    plan = plan_of(graph, len(h))
    return KERNELS[select(kernel, h, coupling)].contract(h, Y, weights, plan, coupling)


def contract_scatter(
    h: Tensor, Y: Tensor, weights: Weights, graph: Data, coupling: Coupling, kernel: str = "auto"
) -> Tensor:
    """Couple the sender's features with the edge's harmonics, weight, sum over each receiver's edges.

    Parameters
    ----------
    h : shape (N, coupling.irreps_in.dim), features of each node
    Y : shape (E, (l_max + 1)^2), harmonics of each edge, component normalization
    weights : shape (E, coupling.n_weights), one per edge, term and channel; or :class:`RadialWeights`
    graph : needs ``edge_index`` (sender, receiver), sorted by receiver; ``reverse`` saves a sort
    coupling : what couples with what
    kernel : "auto" or one of :data:`KERNELS`

    Returns
    -------
    shape (N, coupling.irreps_out.dim); nodes without neighbors get zeros. Differentiable with respect to h,
    Y and weights, any number of times.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, edges are not sorted by receiver, or the kernel cannot be used.
    """
    return from_blocks(contract(h, Y, weights, graph, coupling, kernel))


def check_shapes(h: Tensor, Y: Tensor, weights: Weights, graph: Data, coupling: Coupling) -> None:
    """A ``ValueError`` for tensors that do not belong together: machine code would read beyond their ends."""
    n_edges = graph.edge_index.shape[1]
    expected: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "h": (h, (len(h), coupling.dim_in)),
        "Y": (Y, (n_edges, (coupling.l_max + 1) ** 2)),
    }
    if isinstance(weights, Tensor):
        expected["weights"] = (weights, (n_edges, coupling.n_weights))
    else:
        hidden = weights.x.shape[-1]
        expected["weights.x"] = (weights.x, (n_edges, hidden))
        expected["weights.weight"] = (weights.weight, (coupling.n_weights, hidden))
        expected["weights.bias"] = (weights.bias, (coupling.n_weights,))
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} of shape {tuple(tensor.shape)}; expected {shape} for {coupling}")
        if tensor.dtype != h.dtype or tensor.device != h.device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, h is {h.dtype} on {h.device}; expected the same"
            )
