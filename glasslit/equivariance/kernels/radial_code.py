"""Machine code for the last map of the radial network: small matrix products on a tile of edges.

Three products, for weights ReLU(x W + b) of the tile's edges and their gradients, each worked off in blocks whose sums
stay in registers: rows of edges (or of x) times vectors of weights. The blocks are as large as the processor has
registers for (``Block``); which numbers are added in which order does not depend on them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .emitter import Emitter
from .layout import Layout


class Block(NamedTuple):
    """Sums held in registers at once: ``rows`` times ``vectors`` vectors of ``width`` numbers."""

    rows: int
    vectors: int
    width: int


class Radial(Emitter):
    """What the functions with a radial network share; a tile's x, weights and their gradients lie on the stack."""

    layout: Layout
    x: Any
    weights: Any
    dx: Any
    lane_edge: Any

    def block(self, length: int) -> Block:
        """Blocks for vectors that run along ``length`` numbers: 12 sums of 16 registers, or 24 of 32."""
        layout = self.layout
        width = layout.wide if length % layout.wide == 0 else layout.lanes
        vectors = next(v for v in (3, 2, 1) if length % (v * width) == 0)
        return Block(8 if layout.wide > layout.lanes else 4, vectors, width)

    def compute_weights(self, count: Any) -> None:
        """ReLU(x W + b) of the tile's edges, in :attr:`weights`; rows beyond ``count`` hold anything finite."""
        a, padded, hidden = self.arguments, self.layout.weights_padded, self.layout.hidden_padded
        rows, vectors, width = self.block(padded)
        with self.loop(0, padded, vectors * width) as p:
            bias = [self.load(a["bias"], self.plus(p, v * width), width) for v in range(vectors)]
            with self.loop(0, count, rows) as first:
                sums = bias * rows
                x = self.address(self.x, self.times(first, hidden))
                with self.loop(0, self.layout.hidden, carry=sums) as k:
                    place = self.plus(self.times(k, padded), p)
                    columns = [self.load(a["weight"], self.plus(place, v * width), width) for v in range(vectors)]
                    for row in range(rows):
                        value = self.splat(x, self.plus(k, row * hidden), width)
                        for v in range(vectors):
                            sums[row * vectors + v] = self.fma(value, columns[v], sums[row * vectors + v])
                target = self.address(self.weights, self.plus(self.times(first, padded), p))
                for row in range(rows):
                    for v in range(vectors):
                        total = self.positive_part(sums[row * vectors + v])
                        self.store(total, target, row * padded + v * width)

    def to_input(self, count: Any) -> None:
        """Gradient with respect to x: dw W^T, from the gradients that lie where the weights were."""
        layout, padded, hidden = self.layout, self.layout.weights_padded, self.layout.hidden_padded
        rows, vectors, width = self.block(hidden)
        vectors = min(vectors, 2)
        with self.loop(0, hidden, vectors * width) as k, self.loop(0, count, rows) as first:
            zero = self.constant(0.0, width)
            sums = [zero] * (rows * vectors)
            changes = self.address(self.weights, self.times(first, padded))
            with self.loop(0, layout.coupling.n_weights, carry=sums) as p:
                place = self.plus(self.times(p, hidden), k)
                columns = [
                    self.load(self.arguments["weight_t"], self.plus(place, v * width), width) for v in range(vectors)
                ]
                for row in range(rows):
                    change = self.splat(changes, self.plus(p, row * padded), width)
                    for v in range(vectors):
                        sums[row * vectors + v] = self.fma(change, columns[v], sums[row * vectors + v])
            target = self.address(self.dx, self.plus(self.times(first, hidden), k))
            for row in range(rows):
                for v in range(vectors):
                    self.store(sums[row * vectors + v], target, row * hidden + v * width)
        with self.loop(0, count) as lane:
            row = self.address(self.arguments["dw"], self.times(self.integer(self.lane_edge, lane), hidden))
            with self.loop(0, hidden, layout.lanes) as k:
                self.store(self.load(self.dx, self.plus(self.times(lane, hidden), k), layout.lanes), row, k)

    def to_map(self, count: Any, chunk: Any) -> None:
        """Gradients with respect to W and b, summed over the edges of a chunk."""
        padded, hidden = self.layout.weights_padded, self.layout.hidden_padded
        rows, vectors, width = self.block(padded)
        dweight = self.address(self.arguments["dweight"], self.times(chunk, hidden * padded))
        dbias = self.address(self.arguments["dbias"], self.times(chunk, padded))
        with self.loop(0, padded, vectors * width) as p:
            changes = self.address(self.weights, p)
            sums = [self.load(dbias, self.plus(p, v * width), width) for v in range(vectors)]
            with self.loop(0, count, carry=sums) as lane:
                for v in range(vectors):
                    place = self.plus(self.times(lane, padded), v * width)
                    sums[v] = self.b.fadd(sums[v], self.load(changes, place, width))
            for v in range(vectors):
                self.store(sums[v], dbias, self.plus(p, v * width))
            with self.loop(0, hidden, rows) as k:
                target = self.address(dweight, self.plus(self.times(k, padded), p))
                places = [row * padded + v * width for row in range(rows) for v in range(vectors)]
                sums = [self.load(target, place, width) for place in places]
                with self.loop(0, count, carry=sums) as lane:
                    row_of = self.times(lane, padded)
                    columns = [self.load(changes, self.plus(row_of, v * width), width) for v in range(vectors)]
                    x = self.address(self.x, self.plus(self.times(lane, hidden), k))
                    for row in range(rows):
                        value = self.splat(x, row, width)
                        for v in range(vectors):
                            sums[row * vectors + v] = self.fma(value, columns[v], sums[row * vectors + v])
                for total, place in zip(sums, places, strict=True):
                    self.store(total, target, place)
