"""A small layer that passes every check of :mod:`~glasslit.equivariance.checks`, and its broken twins.

Each fault breaks one promise and keeps all others, so that each check is seen to find what it is there for, and nothing
else. Use them to learn what a check says, or as negative controls of checks of your own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

FAULTS = {
    "rotations": "the components of a vector are cubed one by one",
    "mirror images": "a cross product, an axial vector (1e), is added to a polar one (1o)",
    "translations": "outputs depend on the distance from the origin",
    "permutations": "outputs depend on a point's place in the list",
    "cutoff": "the envelope is missing, so that neighbors vanish suddenly",
    "gradients": "the envelope is detached, so that its derivative is lost",
    "leak": "gradients, though no values, come from other graphs of the batch",
    "precision": "float32 is computed in half precision, as under autocast",
    "batch": "outputs are divided by the number of graphs in the batch",
}
"""The promise that is broken -> how."""


class SmallLayer(nn.Module):
    r"""Scalars and one vector of each point, from its neighbors.

    .. math:: s_i = \sum_j u(r_{ij})\, w(r_{ij})\, (W x_j)

    .. math:: \mathbf v_i = \sum_j u(r_{ij})\, w'(r_{ij})\, (W' x_j)\, \mathbf r_{ij}

    .. math:: u(r) = (1 - r^2 / r_c^2)^3

    Parameters
    ----------
    n_in : number of scalar features of each point
    n_out : number of scalars that are returned
    cutoff : r_c
    fault : None, or one of :data:`~glasslit.equivariance.twins.FAULTS`

    Raises
    ------
    ValueError
        If there is no such fault.

    Examples
    --------
    >>> from glasslit.testing import CheckedLayer, assert_mirror_images, assert_rotations
    >>> layer = CheckedLayer(SmallLayer(fault="mirror images"), "3x0e", "2x0e+1x1o", cutoff=2.0)
    >>> _ = assert_rotations(layer)
    >>> assert_mirror_images(layer)
    Traceback (most recent call last):
    AssertionError: SmallLayer, mirror images: error ... of 1x1o, expected at most 1e-10. ...
    """

    def __init__(self, n_in: int = 3, n_out: int = 2, cutoff: float = 2.0, fault: str | None = None) -> None:
        super().__init__()
        if fault is not None and fault not in FAULTS:
            raise ValueError(f"fault {fault!r}; expected None or one of {', '.join(FAULTS)}")
        self.n_out, self.cutoff, self.fault = n_out, cutoff, fault
        self.senders = nn.Linear(n_in, n_out + 1)
        self.radial = nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, n_out + 1))

    def forward(self, graph: Data) -> Tensor:
        """Shape (N, n_out + 3): scalars, then the vector."""
        (sender, receiver), vector = graph.edge_index, graph.vector
        share = (vector.square().sum(dim=1, keepdim=True)) / self.cutoff**2
        envelope = (1 - share).clamp_min(0) ** 3
        if self.fault == "cutoff":
            envelope = torch.ones_like(envelope)
        elif self.fault == "gradients":
            envelope = envelope.detach()
        weights = self.senders(graph.x)[sender] * self.radial(share) * envelope
        n = len(graph.pos)
        scalars = weights.new_zeros(n, self.n_out).index_add(0, receiver, weights[:, :-1])
        arrows = weights.new_zeros(n, 3).index_add(0, receiver, weights[:, -1:] * vector)
        if self.fault == "rotations":
            arrows = arrows + arrows**3
        elif self.fault == "mirror images":
            second = weights.new_zeros(n, 3).index_add(0, receiver, weights[:, :1] * vector)
            arrows = arrows + torch.linalg.cross(arrows, second)
        out = torch.cat([scalars, arrows], dim=1)
        return out if self.fault is None else self.broken(out, graph)

    def broken(self, out: Tensor, graph: Data) -> Tensor:
        """The output with those faults in it that need no neighbors."""
        if self.fault == "translations":
            return out * (1 + graph.pos.square().sum(dim=1, keepdim=True))
        if self.fault == "permutations":
            first = torch.searchsorted(graph.batch, graph.batch)  # of the point's own graph
            return out * (1 + torch.arange(len(out)) - first).to(out)[:, None]
        if self.fault == "leak":
            others = (graph.batch[:, None] != graph.batch).to(out) @ out
            return out + (others - others.detach())
        if self.fault == "precision":
            return out.bfloat16().float() if out.dtype == torch.float32 else out
        return out / (graph.batch.max() + 1) if self.fault == "batch" else out
