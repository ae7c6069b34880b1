"""Where everything lies for the GPU kernel: rows that threads read four numbers at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .coupling import Coupling

EDGES = 128
"""Edges of one block of the backward pass; sums over edges are made block by block."""
SUMS = 20
"""Components of the result that one share of the forward pass sums up, at most (but for one term's): registers."""


TILE_BYTES = 48 * 1024
"""Of a block's own memory, at most."""


class Share(NamedTuple):
    """Terms of one slot that a thread works on together, and the rows of the grid that do so: one a block of channels.

    ``quads`` threads take four channels each, so ``32 / quads`` edges are in a warp at a time.
    """

    slot: int
    terms: tuple[int, ...]
    quads: int
    first: int
    blocks: int


def _split(sizes: list[int], limit: int) -> list[range]:
    """Neighboring pieces, as few as keep each below the limit, the largest as small as may be."""
    fewest = -(-sum(sizes) // limit)
    highest = max(sizes)
    while True:
        pieces, first, total = [], 0, 0
        for n, size in enumerate(sizes):
            if total + size > highest:
                pieces.append(range(first, n))
                first, total = n, 0
            total += size
        pieces.append(range(first, len(sizes)))
        if len(pieces) <= fewest:
            return pieces
        highest += 1


class Packing:
    """Where features, weights and shares lie for one coupling.

    Parameters
    ----------
    coupling : what couples with what
    hidden : width of x where weights are ReLU(x W + b); 0 where weights are given
    """

    def __init__(self, coupling: Coupling, hidden: int = 0) -> None:
        self.coupling, self.hidden = coupling, hidden
        self.hidden_padded = -(-hidden // 4) * 4
        self.quads = [1 if mul <= 4 else 2 for mul, _ in coupling.slots]
        self.blocks = [-(-mul // (4 * quads)) for (mul, _), quads in zip(coupling.slots, self.quads, strict=True)]
        self.padded = [4 * quads * blocks for quads, blocks in zip(self.quads, self.blocks, strict=True)]
        sizes = [p * (2 * degree + 1) for p, (_, degree) in zip(self.padded, coupling.slots, strict=True)]
        self.row = sum(sizes)
        self.slot_start = [sum(sizes[:slot]) for slot in range(len(sizes))]
        """First number of each slot in a padded row of h: [copy, m], as in e3nn, with copies added."""
        sizes = [len(self.terms(slot)) * p for slot, p in enumerate(self.padded)]
        self.weights_padded = sum(sizes)
        self.weight_start = [sum(sizes[:slot]) for slot in range(len(sizes))]
        """First column of each slot in the packed weights: [block of channels, term of the slot, channel]."""

    def terms(self, slot: int) -> list[int]:
        """The terms of a slot, by degree of Y: so few of its components are needed at a time."""
        found = [(f, o, t) for t, (s, f, o) in enumerate(self.coupling.terms) if s == slot]
        return [t for _, _, t in sorted(found)]

    def shares(self, function: str) -> list[Share]:
        """The longest first: forward some terms of a slot, else all of them."""
        parts: list[tuple[int, list[int]]] = []
        for slot in range(len(self.coupling.slots)):
            terms = self.terms(slot)
            if not terms:
                continue
            pieces = [range(len(terms))]
            if function == "forward":
                pieces = _split([2 * self.coupling.terms[t][2] + 1 for t in terms], SUMS)
            parts += [(slot, [terms[n] for n in piece]) for piece in pieces]
        parts.sort(key=lambda p: -sum(len(self.coupling.entries(t)) for t in p[1]))
        found: list[Share] = []
        for slot, terms in parts:
            first = found[-1].first + found[-1].blocks if found else 0
            found.append(Share(slot, tuple(terms), self.quads[slot], first, self.blocks[slot]))
        return found

    def tile(self, share: Share) -> tuple[int, int]:
        """(numbers of an edge, numbers in all) that a block of the backward pass keeps for the gradient of W.

        The gradients before the ReLU of a warp's edges, four numbers apart against conflicts; then the sums, four for
        each thread, term and 16 columns of x.
        """
        stride = len(share.terms) * 4 * share.quads + 4
        return stride, stride * (32 // share.quads) + -(-self.hidden_padded // 16) * len(share.terms) * 4 * 32

    def fits(self, double: bool) -> bool:
        """Whether a block's own memory holds what it keeps; not so for a wide radial network."""
        numbers = max((self.tile(share)[1] for share in self.shares("backward")), default=0)
        return not self.hidden or numbers * (8 if double else 4) <= TILE_BYTES

    def grid(self, function: str, n_nodes: int, n_edges: int) -> tuple[int, int]:
        """Blocks: of nodes or edges, by share and block of channels."""
        if function == "gather":
            return n_nodes, -(-self.row // 32)
        columns = -(-n_nodes // 4) if function == "forward" else -(-n_edges // EDGES)
        return columns, sum(share.blocks for share in self.shares(function))


@lru_cache(maxsize=64)
def packing(coupling: Coupling, hidden: int) -> Packing:
    """Made once for each coupling."""
    return Packing(coupling, hidden)


@lru_cache(maxsize=256)
def table(packed: Packing, what: str, device: torch.device) -> Tensor:
    """A list of places, int64, for ``index_select``; made once for each device.

    "features": for each number of a padded row, its column in h (of copies that are none, the slot's first).
    "columns": the same, but -1 for copies that are none.
    "map": for each number of the packed weights, (hidden_padded + 1, weights_padded) with the bias as last row, its
    place in [W, b, 0]. "gradient": the reverse, for each number of [W, b].
    """
    coupling, hidden = packed.coupling, packed.hidden
    if what in ("features", "columns"):
        found = []
        for slot, (mul, degree) in enumerate(coupling.slots):
            width, start = 2 * degree + 1, coupling.slot_start[slot]
            none = -1 if what == "columns" else start
            found += [start + k if k < mul * width else none for k in range(packed.padded[slot] * width)]
        return torch.tensor(found, dtype=torch.int64, device=device)
    columns = torch.full((packed.weights_padded,), -1)
    for slot, (mul, _) in enumerate(coupling.slots):
        terms, width = packed.terms(slot), 4 * packed.quads[slot]
        for place, t in enumerate(terms):
            for c in range(mul):
                column = (c // width * len(terms) + place) * width + c % width
                columns[packed.weight_start[slot] + column] = coupling.weight_start[t] + c
    n_weights = coupling.n_weights
    places = torch.full((packed.hidden_padded + 1, packed.weights_padded), n_weights * (hidden + 1))
    real = columns >= 0
    places[:hidden, real] = columns[real] * hidden + torch.arange(hidden)[:, None]
    places[-1, real] = n_weights * hidden + columns[real]
    if what == "gradient":
        flat = places.flatten()
        known = (flat < n_weights * (hidden + 1)).nonzero().flatten()
        back = torch.empty(n_weights * (hidden + 1), dtype=torch.int64)
        back[flat[known]] = known
        return back.to(device)
    return places.flatten().to(device)
