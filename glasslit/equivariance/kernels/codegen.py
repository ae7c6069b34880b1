"""Machine code for the fused convolution on a CPU, written with llvmlite.

Functions for each coupling, dtype and kind of weights: "forward", the sum over neighbors; "backward", its gradient with
respect to features and weights, which "collect" completes; "harmonics", its gradient with respect to Y.

* Channels are the lanes of a vector: each operation of the coupling is done for 8 channels at once (4 in float64).
* A node is owned by one thread, which walks the edges that come in, in order. Sums over more than a node's edges (the
  gradients of the radial network's last map, and of the features) are kept per chunk of nodes; the number of chunks
  does not depend on the number of threads, and no two threads add to the same number.
* Nodes are taken along a curve that fills space, where the graph knows one: neighbors of a chunk stay in the cache.
* Edges are taken in tiles. Where weights are ReLU(x W + b), a tile computes them, keeps them in the cache and forgets
  them (:mod:`~glasslit.equivariance.kernels.radial_code`).
* Half a tile at a time contracts the coefficients with the harmonics into one small matrix K per edge, the same for all
  channels, with *edges* as lanes; equal entries are kept once.

What was tried (two Zen 4 cores, paper size): the same straight-line code through Numba computes as fast, but Numba's
analysis of it takes 80 s; loops driven by tables of coefficients compile in 3 s and run ten times slower. Here vectors
and multiply-adds are written out as LLVM's own instructions, so LLVM has only to choose registers: about a second, no
optimization passes, and no compiler on the user's machine (llvmlite is a wheel).

Code grows with the number of coupling coefficients, roughly as l_max^5; nothing else limits l_max.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir

from .emitter import I64, Emitter
from .layout import Layout, round_up
from .radial_code import Radial


class Tile(Radial):
    """The frame that the three functions share: chunks, nodes, tiles of edges, K and the weights of a tile."""

    rows_of_edges: tuple[str, ...] = ("w",)

    def __init__(self, module: ir.Module, name: str, layout: Layout) -> None:
        super().__init__(module, name, layout.arguments[name], layout.double)
        self.layout = layout

    def walk(self) -> None:
        """All nodes, chunk by chunk, in the order that ``walk`` names.

        Of each ``begin(node)``; for each tile of its edges ``add(node, first, n_edges)``, one stretch of ``lanes``
        edges after the other, and ``complete(n_edges, chunk)``; ``end(node)``.
        """
        b, a, lanes, tile = self.b, self.arguments, self.layout.lanes, self.layout.tile
        n_harmonics = (self.layout.coupling.l_max + 1) ** 2
        self.Y, self.K = self.buffer(n_harmonics * tile), self.buffer(len(self.layout.coupling.matrix[1]) * lanes)
        self.x = self.buffer(tile * self.layout.hidden_padded)
        self.weights = self.buffer(tile * self.layout.weights_padded) if self.layout.hidden else None
        self.lane_edge = self.buffer(tile, I64)
        self.allocate()
        with self.chunks() as (chunk, begin, finish):
            self.enter(chunk)
            with self.loop(begin, finish) as place:
                node = self.integer(a["walk"], place)
                following = self.plus(place, 1)
                following = b.select(b.icmp_signed("<", following, a["n_nodes"]), following, place)
                self.ask_for(self.integer(a["walk"], following))
                self.begin(node)
                row, stop = self.integer(a["rows"], node), self.integer(a["rows"], self.plus(node, 1))
                with self.loop(row, stop, tile) as start:
                    count = self.at_most(b.sub(stop, start), tile)
                    self.gather(start, count)
                    if self.layout.hidden:
                        self.compute_weights(count)
                    with self.loop(0, count, lanes) as stretch:
                        self.contract_coefficients(stretch)
                        self.add(node, stretch, self.at_most(b.sub(count, stretch), lanes))
                    self.complete(count, chunk)
                self.end(node)

    def ask_for(self, node: Any) -> None:
        """Fetch what is known of the edges of the next node, one row each from anywhere, ahead of its use."""
        a, layout = self.arguments, self.layout
        widths = {"Y": (layout.coupling.l_max + 1) ** 2, **dict.fromkeys(self.rows_of_edges, layout.hidden_padded)}
        with self.loop(self.integer(a["rows"], node), self.integer(a["rows"], self.plus(node, 1))) as position:
            edge = self.integer(a["edges"], position)
            for name, width in widths.items():
                for first in range(0, width, 64 // self.size):
                    self.prefetch(a[name], self.plus(self.times(edge, width), first), write=name == "dw")

    def allocate(self) -> None:
        """More scratch memory, for those who need it."""

    def enter(self, chunk: Any) -> None:
        """Before a chunk's first node."""

    def begin(self, node: Any) -> None:
        """Before a node's first tile."""

    def add(self, node: Any, stretch: Any, count: Any) -> None:
        """``count`` edges of a tile, from its edge number ``stretch`` on; :attr:`K` is theirs."""
        raise NotImplementedError("a function of the kernel says in add() what it does with an edge")

    def complete(self, count: Any, chunk: Any) -> None:
        """After all edges of a tile."""

    def end(self, node: Any) -> None:
        """After a node's last tile."""

    def gather(self, start: Any, count: Any) -> None:
        """Copy the tile's harmonics (transposed) and x; lanes without an edge repeat the tile's first."""
        b, a, tile, padded = self.b, self.arguments, self.layout.tile, self.layout.hidden_padded
        n_harmonics = (self.layout.coupling.l_max + 1) ** 2
        with self.loop(0, tile) as lane:
            position = b.select(b.icmp_signed("<", lane, count), self.plus(start, lane), start)
            edge = self.integer(a["edges"], position)
            b.store(edge, self.address(self.lane_edge, lane, I64))
            source = self.address(a["Y"], self.times(edge, n_harmonics))
            target = self.address(self.Y, lane)
            for m in range(n_harmonics):
                b.store(b.load(self.address(source, m), typ=self.scalar), self.address(target, m * tile))
            if padded:
                source, target = self.address(a["w"], self.times(edge, padded)), self.times(lane, padded)
                with self.loop(0, padded, self.layout.lanes) as k:
                    self.store(self.load(source, k, self.layout.lanes), self.address(self.x, target), k)

    def contract_coefficients(self, stretch: Any) -> None:
        """K of ``lanes`` edges of the tile, each entry for all of them at once."""
        lanes, Y = self.layout.lanes, self.address(self.Y, stretch)
        n_harmonics = (self.layout.coupling.l_max + 1) ** 2
        components = [self.load(Y, m * self.layout.tile, lanes) for m in range(n_harmonics)]
        for number, row in enumerate(self.layout.coupling.matrix[1]):
            total = None
            for m, value in row:
                total = self.fma(components[m], self.constant(value, lanes), total)
            self.store(total, self.K, number * lanes)

    def weights_row(self, lane: Any, edge: Any) -> Any:
        """Where the weights of one edge of the tile begin."""
        source, place = (self.weights, lane) if self.layout.hidden else (self.arguments["w"], edge)
        return self.address(source, self.times(place, self.layout.weights_padded))

    def outputs(self, node: Any) -> list[Any]:
        """Where the numbers of a node begin, one place for each degree: (2l + 1, channels) each."""
        return [
            self.address(self.arguments[f"out{o}"], self.times(node, (2 * o + 1) * width))
            for o, width in enumerate(self.layout.coupling.widths)
        ]

    def channels(self, mul: int) -> Iterator[tuple[Any, int]]:
        """(first channel, width) of each piece of ``mul`` channels: whole vectors in a loop, then the rest."""
        lanes = self.layout.lanes
        if mul // lanes == 1:
            yield ir.Constant(I64, 0), lanes
        elif mul >= lanes:
            with self.loop(0, mul // lanes * lanes, lanes) as first:
                yield first, lanes
        if mul % lanes:
            yield ir.Constant(I64, mul // lanes * lanes), mul % lanes

    def pieces(self) -> Iterator[tuple[list[int], Any, int]]:
        """(slots of equal size, first channel, width): what one stretch of straight-line code works on."""
        slots = self.layout.coupling.slots
        for mul in dict.fromkeys(mul for mul, _ in slots):
            for first, width in self.channels(mul):
                yield [s for s, (m, _) in enumerate(slots) if m == mul], first, width

    def terms(self, slot: int) -> list[int]:
        return [t for t, term in enumerate(self.layout.coupling.terms) if term[0] == slot]

    def features(self, pointer: Any, slot: int, first: Any, width: int) -> list[Any]:
        """Addresses' content: the 2l + 1 vectors of one slot of a node's features."""
        mul, degree = self.layout.coupling.slots[slot]
        start = self.layout.coupling.slot_start[slot]
        return [self.load(pointer, self.plus(first, start + m * mul), width) for m in range(2 * degree + 1)]


class Forward(Tile):
    """out[i] = sum over edges into i of w K h[sender]."""

    def allocate(self) -> None:
        self.sums = self.buffer(self.layout.n_accumulators)

    def begin(self, node: Any) -> None:
        lanes = self.layout.lanes
        with self.loop(0, self.layout.n_accumulators, lanes) as k:
            self.store(self.constant(0.0, lanes), self.sums, k)

    def add(self, node: Any, stretch: Any, count: Any) -> None:
        layout, (coupled, _) = self.layout, self.layout.coupling.matrix
        with self.loop(0, count) as number:
            lane = self.b.add(stretch, number)
            edge = self.integer(self.lane_edge, lane)
            sender = self.integer(self.arguments["ends"], edge)
            h = self.address(self.arguments["h"], self.times(sender, layout.coupling.dim_in))
            w, K = self.weights_row(lane, edge), self.address(self.K, number)
            for slots, first, width in self.pieces():
                for slot in slots:
                    values = self.features(h, slot, first, width)
                    for t in self.terms(slot):
                        weight = self.load(w, self.plus(first, layout.coupling.weight_start[t]), width)
                        stride = round_up(layout.coupling.slots[slot][0], layout.lanes)
                        # One component after the other: of 16 registers, all at once would need more.
                        for m_out in range(2 * layout.coupling.terms[t][2] + 1):
                            product = None
                            for m_in, _, entry, sign in (c for c in coupled[t] if c[1] == m_out):
                                k = self.splat(K, entry * layout.lanes, width)
                                product = self.fma(k, values[m_in], product, sign)
                            place = self.plus(first, layout.accumulator[t] + m_out * stride)
                            self.store(self.fma(weight, product, self.load(self.sums, place, width)), self.sums, place)

    def end(self, node: Any) -> None:
        layout = self.layout
        out = self.outputs(node)
        for slots, first, width in self.pieces():
            for slot in slots:
                stride = round_up(layout.coupling.slots[slot][0], layout.lanes)
                for t in self.terms(slot):
                    o = layout.coupling.terms[t][2]
                    for m in range(2 * o + 1):
                        value = self.load(self.sums, self.plus(first, layout.accumulator[t] + m * stride), width)
                        self.store(
                            value,
                            out[o],
                            self.plus(first, m * layout.coupling.widths[o] + layout.coupling.channel_start[t]),
                        )


class Backward(Tile):
    """Gradients with respect to the weights of the edges into a node, and to h of the nodes that they come from.

    The latter are summed for each chunk apart: its nodes lie together, and so do their neighbors, whose sums stay in
    the cache. :class:`Collect` adds up what the chunks have. See :attr:`glasslit.equivariance.kernels.plan.Plan.sums`.
    """

    rows_of_edges = ("w", "dw")

    def allocate(self) -> None:
        if self.layout.hidden:
            self.dx = self.buffer(self.layout.tile * self.layout.hidden_padded)

    def enter(self, chunk: Any) -> None:
        """Zeros for the chunk's sums."""
        a, lanes = self.arguments, self.layout.lanes
        begin, end = (
            self.times(self.integer(a["bases"], c), self.layout.dim_padded) for c in (chunk, self.plus(chunk, 1))
        )
        with self.loop(begin, end, lanes) as k:
            self.store(self.constant(0.0, lanes), a["partial"], k)

    def add(self, node: Any, stretch: Any, count: Any) -> None:
        layout, a = self.layout, self.arguments
        grad = self.outputs(node)
        with self.loop(0, count) as number:
            lane = self.b.add(stretch, number)
            edge = self.integer(self.lane_edge, lane)
            sender = self.integer(a["ends"], edge)
            at = {"h": self.address(a["h"], self.times(sender, layout.coupling.dim_in))}
            at["dh"] = self.address(a["partial"], self.times(self.integer(a["sums"], edge), layout.dim_padded))
            at["w"], at["K"] = self.weights_row(lane, edge), self.address(self.K, number)
            # Where weights are made here, each gives its place to its gradient: a tile then fits the first-level cache.
            given = self.address(a["dw"], self.times(edge, layout.weights_padded))
            at["dw"] = at["w"] if layout.hidden else given
            for slots, first, width in self.pieces():
                for slot in slots:
                    self.add_slot(slot, first, width, at, grad)

    def complete(self, count: Any, chunk: Any) -> None:
        if self.layout.hidden:
            self.to_input(count)
            self.to_map(count, chunk)

    def add_slot(self, slot: int, first: Any, width: int, at: dict[str, Any], grad: list[Any]) -> None:
        """One slot's share: the upstream gradient turned back by K, against h for dw, times w for dh."""
        layout, (coupled, _) = self.layout, self.layout.coupling.matrix
        values, gradients = (self.features(at[key], slot, first, width) for key in ("h", "dh"))
        for t in self.terms(slot):
            o = layout.coupling.terms[t][2]
            start, stride = layout.coupling.channel_start[t], layout.coupling.widths[o]
            upstream = [self.load(grad[o], self.plus(first, start + m * stride), width) for m in range(2 * o + 1)]
            weight, change = self.load(at["w"], self.plus(first, layout.coupling.weight_start[t]), width), None
            for m_in in range(len(values)):
                turned = None
                for _, m_out, entry, sign in (c for c in coupled[t] if c[0] == m_in):
                    k = self.splat(at["K"], entry * layout.lanes, width)
                    turned = self.fma(k, upstream[m_out], turned, sign)
                if turned is not None:
                    change = self.fma(values[m_in], turned, change)
                    gradients[m_in] = self.fma(weight, turned, gradients[m_in])
            if layout.hidden:
                zero = self.constant(0.0, width)
                change = self.b.select(self.b.fcmp_ordered(">", weight, zero), change, zero)
            self.store(change, at["dw"], self.plus(first, layout.coupling.weight_start[t]))
        mul, _ = layout.coupling.slots[slot]
        for m, gradient in enumerate(gradients):
            self.store(gradient, at["dh"], self.plus(first, layout.coupling.slot_start[slot] + m * mul))


class Harmonics(Tile):
    """Gradient with respect to Y, edge by edge."""

    def add(self, node: Any, stretch: Any, count: Any) -> None:
        layout, a, (coupled, entries) = self.layout, self.arguments, self.layout.coupling.matrix
        l_max = layout.coupling.l_max
        grad = self.outputs(node)
        with self.loop(0, count) as number:
            lane = self.b.add(stretch, number)
            edge = self.integer(self.lane_edge, lane)
            h = self.address(a["h"], self.times(self.integer(a["ends"], edge), layout.coupling.dim_in))
            w, dY = self.weights_row(lane, edge), self.address(a["dY"], self.times(edge, (l_max + 1) ** 2))
            for slots, first, width in self.pieces():
                for slot in slots:
                    values = self.features(h, slot, first, width)
                    totals: dict[int, Any] = {}
                    for t in self.terms(slot):
                        o = layout.coupling.terms[t][2]
                        weight = self.load(w, self.plus(first, layout.coupling.weight_start[t]), width)
                        start, stride = layout.coupling.channel_start[t], layout.coupling.widths[o]
                        weighted = [
                            self.b.fmul(weight, self.load(grad[o], self.plus(first, start + m * stride), width))
                            for m in range(2 * o + 1)
                        ]
                        for m_in, m_out, entry, sign in coupled[t]:
                            product = self.b.fmul(weighted[m_out], values[m_in])
                            for m, value in entries[entry]:
                                factor = self.constant(sign * value, width)
                                totals[m] = self.fma(product, factor, totals.get(m))
                    for m, total in totals.items():
                        self.add_lanes(total, width, dY, m)

    def add_lanes(self, total: Any, width: int, target: Any, index: int) -> None:
        value = self.b.load(self.address(target, index), typ=self.scalar)
        for lane in range(width):
            value = self.b.fadd(value, self.b.extract_element(total, ir.Constant(ir.IntType(32), lane)))
        self.b.store(value, self.address(target, index))


class Collect(Emitter):
    """dh of each node from the rows that chunks have of it, in the order of the chunks."""

    def __init__(self, module: ir.Module, name: str, layout: Layout) -> None:
        super().__init__(module, name, layout.arguments[name], layout.double)
        self.layout = layout

    def walk(self) -> None:
        """All nodes, chunk by chunk."""
        b, a, lanes, padded = self.b, self.arguments, self.layout.lanes, self.layout.dim_padded
        with self.chunks() as (_, first, last), self.loop(first, last) as node:
            target = self.address(a["dh"], self.times(node, padded))
            for k in range(0, padded, lanes):
                self.store(self.constant(0.0, lanes), target, k)
            with self.loop(0, a["n_chunks"]) as chunk:
                row = self.integer(a["table"], b.add(b.mul(node, a["n_chunks"]), chunk))
                with b.if_then(b.icmp_signed(">=", row, ir.Constant(I64, 0))):
                    part = self.address(a["partial"], self.times(row, padded))
                    with self.loop(0, padded, lanes) as k:
                        self.store(b.fadd(self.load(target, k, lanes), self.load(part, k, lanes)), target, k)


FUNCTIONS: dict[str, Any] = {"forward": Forward, "backward": Backward, "collect": Collect, "harmonics": Harmonics}


def generate(layout: Layout, name: str) -> str:
    """One of :data:`FUNCTIONS`, in LLVM's language."""
    module = ir.Module(name=f"glasslit_{name}")
    FUNCTIONS[name](module, name, layout).walk()
    return str(module)
