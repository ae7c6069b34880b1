r"""Equivariant attention: how much a receiver listens to each of its neighbors.

The score of an edge is a number that no rotation changes, so a message times its score turns as the message does.
"""

from __future__ import annotations

from typing import cast

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from .convolution import Linear
from .so3 import copies_and_degrees, invariants_of_copies


class EdgeScore(nn.Module):
    r"""A score in (0, 1) of each edge, from the invariants of both of its ends and from its length.

    .. math:: \alpha_{ij} = \sigma\big(v^T\, \mathrm{ReLU}(s_{ij}) + c\big)

    .. math:: s_{ij} = W_R z_i + W_S z_j + W_B B(|a_{ij}|) + b

    with z the invariants of the features, :func:`glasslit.equivariance.so3.invariants`, and B the radial basis.
    Each edge is scored by itself, as in Satorras et al. (ICML 2021, Section 3.3). A softmax over a receiver's edges
    would turn the sum over neighbors into a mean, and the number of neighbors would be lost.

    Parameters
    ----------
    irreps_in : e3nn irreps of the features
    n_basis : number of radial functions
    hidden : width between

    Examples
    --------
    >>> score = EdgeScore("4x0e+4x1e+3x0e", n_basis=10)
    >>> sum(p.numel() for p in score.parameters())  # 2 x 11 x 8 of the ends, 11 x 8 of the length, 9 of the last map
    273
    """

    def __init__(self, irreps_in: o3.Irreps | str, n_basis: int, hidden: int = 8) -> None:
        super().__init__()
        self.irreps = o3.Irreps(irreps_in)
        self.kind = copies_and_degrees(self.irreps)
        self.receiver = nn.Linear(self.irreps.num_irreps, hidden, bias=False)
        self.sender = nn.Linear(self.irreps.num_irreps, hidden, bias=False)
        self.radial = Linear(n_basis, hidden)
        self.last = Linear(hidden, 1)

    def forward(self, h: Tensor, basis: Tensor, graph: Data) -> Tensor:
        """Features (N, irreps.dim), basis (E, n_basis), a graph with ``edge_index`` -> scores (E, 1)."""
        z = invariants_of_copies(h, self.kind)
        sender, receiver = graph.edge_index
        # Maps are made of nodes, not of edges, which are forty times as many.
        ends = self.receiver(z).index_select(0, receiver) + self.sender(z).index_select(0, sender)
        return cast(Tensor, self.last(torch.relu(self.radial(basis) + ends)).sigmoid())
