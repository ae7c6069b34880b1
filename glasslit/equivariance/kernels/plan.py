"""What kernels agree on: how edges are walked, how weights come, how results lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.data import Data

from .coupling import Coupling


class RadialWeights(NamedTuple):
    """Weights ReLU(x W^T + b), not yet computed: x is 16 numbers per edge, they would be 284.

    Parameters
    ----------
    x : shape (E, hidden)
    weight, bias : shapes (n_weights, hidden) and (n_weights,), as in ``torch.nn.Linear``
    """

    x: Tensor
    weight: Tensor
    bias: Tensor


Weights = Tensor | RadialWeights


def dense(weights: Weights) -> Tensor:
    """The weights as numbers, shape (E, n_weights)."""
    if isinstance(weights, Tensor):
        return weights
    return torch.nn.functional.linear(weights.x, weights.weight, weights.bias).relu()


N_CHUNKS = 64
"""Pieces of a CPU's work: of the walk. Fixed, because sums over edges are made piece by piece."""


class Sums(NamedTuple):
    """One row of numbers for each chunk of the walk and each node that an edge into the chunk comes from.

    Parameters
    ----------
    n_rows : how many there are
    first : shape (N_CHUNKS + 1,), the first row of each chunk
    of_edge : shape (E,), the row of an edge's receiver's chunk and of its sender
    of_node : shape (N, N_CHUNKS), the row of each node in each chunk, or -1
    """

    n_rows: int
    first: Tensor
    of_edge: Tensor
    of_node: Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """A graph's edges by receiver and by sender.

    Parameters
    ----------
    sender, receiver : shape (E,), int64; receivers ascend
    rows : shape (N + 1,): the edges into node i are rows[i] ... rows[i + 1] - 1
    reverse : shape (E,), each edge's reverse, where it is known
    walk : shape (N,), the order in which a CPU takes the nodes: neighbors soon after one another
    """

    sender: Tensor
    receiver: Tensor
    rows: Tensor
    reverse: Tensor | None
    walk: Tensor

    @cached_property
    def leaving(self) -> Tensor:
        """The numbers of the edges by sender; a sort, which only a backward pass needs, unless reverses are known."""
        return torch.argsort(self.sender, stable=True) if self.reverse is None else self.reverse

    @cached_property
    def leaving_rows(self) -> Tensor:
        """Where each sender's edges begin in :attr:`leaving`, shape (N + 1,)."""
        if self.reverse is not None:
            return self.rows
        nodes = torch.arange(len(self.rows), device=self.rows.device)
        return torch.searchsorted(self.sender[self.leaving], nodes)

    @cached_property
    def sums(self) -> Sums:
        """Where a CPU's backward pass adds up the gradients of the nodes' features."""
        n_nodes = len(self.walk)
        place = torch.empty_like(self.walk)
        place[self.walk] = torch.arange(n_nodes)
        bounds = torch.arange(N_CHUNKS + 1) * n_nodes // N_CHUNKS
        chunk = torch.searchsorted(bounds, place, right=True) - 1
        there = torch.zeros(N_CHUNKS, n_nodes, dtype=torch.bool)
        there[chunk[self.receiver], self.sender] = True
        numbers = there.flatten().cumsum(0).reshape(there.shape)
        count = int(numbers[-1, -1]) if n_nodes else 0
        first = torch.nn.functional.pad(there.sum(dim=1).cumsum(0), (1, 0))
        of_node = torch.where(there, numbers - 1, -1).T.contiguous()
        return Sums(count, first, of_node[self.sender, chunk[self.receiver]], of_node)

    @cached_property
    def entering(self) -> Tensor:
        """The numbers of the edges by receiver: 0 ... E - 1."""
        return torch.arange(len(self.sender), device=self.sender.device)


_plans: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def plan_of(graph: Data, n_nodes: int) -> Plan:
    """The plan of a graph; made once for each ``edge_index`` (and again should that be written to).

    Raises
    ------
    ValueError
        If an edge ends outside the graph, or edges are not sorted by receiver.
    """
    edge_index = graph.edge_index
    version = (None if edge_index.is_inference() else edge_index._version, n_nodes)
    known = _plans.get(edge_index)
    if known is None or known[0] != version:
        known = (version, _make_plan(edge_index, n_nodes, graph.get("reverse"), graph.get("walk_index")))
        _plans[edge_index] = known
    return known[1]


def join_plans(batch: Data, graphs: Sequence[Data]) -> None:
    """Make the plan of a batch from the plans of its graphs, so that its edges, which a GPU may hold, are not read."""
    plans = [plan_of(graph, int(graph.num_nodes)) for graph in graphs]
    nodes = list(accumulate((len(p.rows) - 1 for p in plans), initial=0))
    edges = list(accumulate((len(p.sender) for p in plans), initial=0))

    def joined(parts: list[Tensor], shifts: list[int]) -> Tensor:
        return torch.cat([part + shift for part, shift in zip(parts, shifts, strict=False)])

    reverse = [p.reverse for p in plans if p.reverse is not None]
    plan = Plan(
        joined([p.sender for p in plans], nodes),
        joined([p.receiver for p in plans], nodes),
        joined([*(p.rows[:-1] for p in plans), plans[-1].rows[-1:]], [*edges[:-1], edges[-2]]),
        joined(reverse, edges) if len(reverse) == len(plans) else None,
        joined([p.walk for p in plans], nodes),
    )
    edge_index = batch.edge_index
    _plans[edge_index] = ((None if edge_index.is_inference() else edge_index._version, nodes[-1]), plan)


def _make_plan(edge_index: Tensor, n_nodes: int, reverse: Tensor | None, walk: Tensor | None) -> Plan:
    # Copies: a view would keep edge_index, the key of the cache, alive for ever.
    sender, receiver = (row.to(torch.int64, copy=True).contiguous() for row in edge_index)
    if edge_index.numel():
        lowest, highest = (int(v) for v in edge_index.aminmax())
        if lowest < 0 or highest >= n_nodes:
            raise ValueError(
                f"edges between nodes {lowest} and {highest}; the graph has {n_nodes} nodes, counted from 0"
            )
    if not bool((receiver[1:] >= receiver[:-1]).all()):
        raise ValueError(
            "edges are not sorted by receiver (edge_index[1]); expected them so: glasslit.neighbor_graph makes such "
            "graphs, torch_geometric.utils.sort_edge_index(..., sort_by_row=False) sorts others"
        )
    nodes = torch.arange(n_nodes + 1, device=edge_index.device)
    rows = torch.searchsorted(receiver, nodes)
    known = reverse is not None and _is_reverse(reverse, sender, receiver)
    if not isinstance(walk, Tensor) or not _names_each_once(walk, n_nodes):
        walk = nodes[:-1]
    return Plan(sender, receiver, rows, reverse.contiguous() if reverse is not None and known else None, walk)


def _names_each_once(numbers: Tensor, count: int) -> bool:
    """Whether these are the numbers 0 ... count - 1 in some order."""
    if numbers.dtype != torch.int64 or numbers.shape != (count,):
        return False
    if count and not (int(numbers.min()) >= 0 and int(numbers.max()) < count):
        return False
    named = torch.zeros_like(numbers, dtype=torch.bool)
    named[numbers] = True
    return bool(named.all())


def _is_reverse(reverse: Tensor, sender: Tensor, receiver: Tensor) -> bool:
    """Whether it names each edge once, and for each edge one that goes the other way."""
    return (
        _names_each_once(reverse, len(sender))
        and torch.equal(sender[reverse], receiver)
        and torch.equal(receiver[reverse], sender)
    )


def to_blocks(flat: Tensor, coupling: Coupling) -> tuple[Tensor, ...]:
    """From e3nn's (N, irreps_out.dim) to one (N, 2l + 1, channels) for each degree l."""
    parts = flat.split([width * (2 * o + 1) for o, width in enumerate(coupling.widths)], dim=1)
    return tuple(
        part.reshape(len(part), width, 2 * o + 1).transpose(1, 2)
        for o, (part, width) in enumerate(zip(parts, coupling.widths, strict=True))
    )


def from_blocks(blocks: tuple[Tensor, ...]) -> Tensor:
    """The reverse of :func:`to_blocks`."""
    return torch.cat([block.transpose(1, 2).flatten(1) for block in blocks], dim=1)
