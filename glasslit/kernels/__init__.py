r"""The one hot operation of the network: couple, weight, sum over neighbors.

.. math::
    m_{i,c}^{p} = \sum_{j \in N(i)} w_{ij}^{p,c} \sqrt{2 l_O + 1}\;
    C^{l_O}_{l_I l_F}\big(h_{j,c}^{l_I}, Y^{l_F}(a_{ij})\big)

for every path p = (l_I, l_F, l_O) and channel c (Eq. 18 of Pezzicoli et al. 2024, before mixing).
:mod:`~glasslit.kernels.reference` is the specification; other kernels compute the same function.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data

from ..so3 import paths
from . import reference

KERNELS = {"reference": reference.contract_scatter}


@dataclass(frozen=True)
class Coupling:
    """Which features couple with which harmonics, and in what order weights and results lie.

    Parameters
    ----------
    irreps_in : e3nn irreps of h, as a string, e.g. "8x0e+8x1e+3x0e"
    l_max : highest degree of harmonics and of results

    Examples
    --------
    >>> coupling = Coupling("8x0e+8x1e+8x2e+8x3e+3x0e", 3)
    >>> len(coupling.terms), coupling.n_weights, coupling.irreps_out
    (38, 284, 35x0e+75x1e+91x2e+83x3e)
    """

    irreps_in: str
    l_max: int

    @cached_property
    def terms(self) -> tuple[tuple[int, int, int], ...]:
        """(slot of irreps_in, l_filter, l_out) of each term, sorted by l_out: one weight per term and copy."""
        found = [
            (slot, f, o)
            for slot, (_, irrep) in enumerate(o3.Irreps(self.irreps_in))
            for _, f, o in paths(self.l_max, irrep.l)
        ]
        return tuple(sorted(found, key=lambda term: (term[2], term[0], term[1])))

    @cached_property
    def irreps_terms(self) -> o3.Irreps:
        """Irreps of the result, one entry per term."""
        kinds = o3.Irreps(self.irreps_in)
        return o3.Irreps([(kinds[slot].mul, (degree, 1)) for slot, _, degree in self.terms])

    @cached_property
    def irreps_out(self) -> o3.Irreps:
        """The same, terms of equal degree joined: one entry per degree."""
        return self.irreps_terms.simplify()

    @cached_property
    def n_weights(self) -> int:
        """Weights per edge: one per (path, channel)."""
        return int(self.irreps_terms.num_irreps)


def select(kernel: str) -> str:
    """The name of the kernel to use; "auto" takes the fastest there is.

    Raises
    ------
    ValueError
        If there is no kernel of that name.
    """
    if kernel == "auto":
        return "reference"
    if kernel not in KERNELS:
        raise ValueError(f"kernel {kernel!r}; expected one of auto, {', '.join(KERNELS)}")
    return kernel


def contract_scatter(
    h: Tensor, Y: Tensor, weights: Tensor, graph: Data, coupling: Coupling, kernel: str = "auto"
) -> Tensor:
    """Couple the sender's features with the edge's harmonics, weight, sum over each receiver's edges.

    Parameters
    ----------
    h : shape (N, coupling.irreps_in.dim), features of each node
    Y : shape (E, (l_max + 1)^2), harmonics of each edge, component normalization
    weights : shape (E, coupling.n_weights), one per edge, term and channel
    graph : needs ``edge_index`` (sender, receiver)
    coupling : what couples with what
    kernel : "auto" or one of :data:`KERNELS`

    Returns
    -------
    shape (N, coupling.irreps_out.dim); nodes without neighbors get zeros.
    """
    return KERNELS[select(kernel)](h, Y, weights, graph, coupling)
