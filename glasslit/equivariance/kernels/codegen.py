"""Machine code for the fused convolution on a CPU, written with llvmlite.

Three functions for each coupling, dtype and kind of weights: "forward", the sum over neighbors; "backward", its
gradient with respect to features and weights; "harmonics", its gradient with respect to Y.

* Channels are the lanes of a vector: each operation of the coupling is done for 8 channels at once (4 in float64).
* A node is owned by one thread, which walks its edges in order: forward those that come in, backward those that go
  out. No two threads add to the same number. Sums over all edges (the gradients of the radial network's last map) are
  kept per chunk of nodes; the number of chunks does not depend on the number of threads.
* Edges are taken in tiles. A tile first contracts the coefficients with the harmonics into one small matrix K per
  edge, the same for all channels, with *edges* as lanes; equal entries are kept once.
* Where weights are ReLU(x W + b), a tile computes them, keeps them in the cache and forgets them.

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

from .emitter import I64, POINTER, Emitter
from .layout import Layout, round_up


class Tile(Emitter):
    """The frame that the three functions share: chunks, nodes, tiles of edges, K and the weights of a tile."""

    def __init__(self, module: ir.Module, name: str, layout: Layout) -> None:
        super().__init__(module, name, layout.arguments[name], layout.double)
        self.layout = layout

    def walk(self) -> None:
        """All nodes, chunk by chunk: ``begin(node)``, ``add(node, n_edges, chunk)`` for each tile, ``end(node)``."""
        b, a, lanes = self.b, self.arguments, self.layout.lanes
        n_harmonics = (self.layout.coupling.l_max + 1) ** 2
        self.Y, self.K = self.buffer(n_harmonics * lanes), self.buffer(len(self.layout.matrix[1]) * lanes)
        self.x = self.buffer(lanes * self.layout.hidden_padded)
        self.weights = self.buffer(lanes * self.layout.weights_padded) if self.layout.hidden else None
        self.lane_edge = self.buffer(lanes, I64)
        self.allocate()
        take, work, done = (b.append_basic_block() for _ in range(3))
        b.branch(take)
        b.position_at_end(take)
        chunk = b.atomic_rmw("add", a["counter"], ir.Constant(I64, 1), "monotonic")
        b.cbranch(b.icmp_signed("<", chunk, a["n_chunks"]), work, done)
        b.position_at_end(done)
        b.ret_void()
        b.position_at_end(work)
        first, last = (b.sdiv(b.mul(c, a["n_nodes"]), a["n_chunks"]) for c in (chunk, self.plus(chunk, 1)))
        with self.loop(first, last) as node:
            self.begin(node)
            row, stop = self.integer(a["rows"], node), self.integer(a["rows"], self.plus(node, 1))
            with self.loop(row, stop, lanes) as start:
                left = b.sub(stop, start)
                count = b.select(b.icmp_signed("<", left, ir.Constant(I64, lanes)), left, ir.Constant(I64, lanes))
                self.gather(start, count)
                self.contract_coefficients()
                if self.layout.hidden:
                    self.compute_weights()
                self.add(node, count, chunk)
            self.end(node)
        b.branch(take)

    def allocate(self) -> None:
        """More scratch memory, for those who need it."""

    def begin(self, node: Any) -> None:
        """Before a node's first tile."""

    def add(self, node: Any, count: Any, chunk: Any) -> None:
        """One tile of ``count`` edges."""
        raise NotImplementedError

    def end(self, node: Any) -> None:
        """After a node's last tile."""

    def gather(self, start: Any, count: Any) -> None:
        """Copy the tile's harmonics (transposed) and x; lanes without an edge repeat the tile's first."""
        b, a, lanes, padded = self.b, self.arguments, self.layout.lanes, self.layout.hidden_padded
        n_harmonics = (self.layout.coupling.l_max + 1) ** 2
        with self.loop(0, lanes) as lane:
            position = b.select(b.icmp_signed("<", lane, count), self.plus(start, lane), start)
            edge = self.integer(a["edges"], position)
            b.store(edge, self.address(self.lane_edge, lane, I64))
            source = self.address(a["Y"], self.times(edge, n_harmonics))
            target = self.address(self.Y, lane)
            for m in range(n_harmonics):
                b.store(b.load(self.address(source, m), typ=self.scalar), self.address(target, m * lanes))
            if padded:
                source, target = self.address(a["w"], self.times(edge, padded)), self.times(lane, padded)
                with self.loop(0, padded, lanes) as k:
                    self.store(self.load(source, k, lanes), self.address(self.x, target), k)

    def contract_coefficients(self) -> None:
        """K of the tile's edges, each entry for all edges at once."""
        lanes = self.layout.lanes
        components = [self.load(self.Y, m * lanes, lanes) for m in range((self.layout.coupling.l_max + 1) ** 2)]
        for number, row in enumerate(self.layout.matrix[1]):
            total = None
            for m, value in row:
                total = self.fma(components[m], self.constant(value, lanes), total)
            self.store(total, self.K, number * lanes)

    def compute_weights(self) -> None:
        """ReLU(x W + b) of the tile's edges."""
        lanes, padded = self.layout.lanes, self.layout.weights_padded
        with self.loop(0, padded, 2 * lanes) as p:
            bias = [self.load(self.arguments["bias"], self.plus(p, v * lanes), lanes) for v in range(2)]
            sums = bias * lanes
            with self.loop(0, self.layout.hidden, carry=sums) as k:
                place = self.plus(self.times(k, padded), p)
                columns = [self.load(self.arguments["weight"], self.plus(place, v * lanes), lanes) for v in range(2)]
                for lane in range(lanes):
                    x = self.splat(self.x, self.plus(k, lane * self.layout.hidden_padded), lanes)
                    for v in range(2):
                        sums[2 * lane + v] = self.fma(x, columns[v], sums[2 * lane + v])
            for lane in range(lanes):
                for v in range(2):
                    place = self.plus(p, lane * padded + v * lanes)
                    self.store(self.positive_part(sums[2 * lane + v]), self.weights, place)

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

    def add(self, node: Any, count: Any, chunk: Any) -> None:
        layout, (coupled, _) = self.layout, self.layout.matrix
        with self.loop(0, count) as lane:
            edge = self.integer(self.lane_edge, lane)
            sender = self.integer(self.arguments["ends"], edge)
            h = self.address(self.arguments["h"], self.times(sender, layout.coupling.dim_in))
            w, K = self.weights_row(lane, edge), self.address(self.K, lane)
            for slots, first, width in self.pieces():
                for slot in slots:
                    values = self.features(h, slot, first, width)
                    for t in self.terms(slot):
                        products: dict[int, Any] = {}
                        for m_in, m_out, entry, sign in coupled[t]:
                            k = self.splat(K, entry * layout.lanes, width)
                            products[m_out] = self.fma(k, values[m_in], products.get(m_out), sign)
                        weight = self.load(w, self.plus(first, layout.coupling.weight_start[t]), width)
                        stride = round_up(layout.coupling.slots[slot][0], layout.lanes)
                        for m_out, product in products.items():
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
    """Gradients with respect to h of the node that edges leave, and with respect to the weights of those edges."""

    def allocate(self) -> None:
        if self.layout.hidden:
            self.dweights = self.buffer(self.layout.lanes * self.layout.weights_padded)
            self.dx = self.buffer(self.layout.lanes * self.layout.hidden_padded)
            with self.loop(0, self.layout.lanes * self.layout.weights_padded, self.layout.lanes) as k:
                self.store(self.constant(0.0, self.layout.lanes), self.dweights, k)

    def gather(self, start: Any, count: Any) -> None:
        """As for all; and ask for the upstream gradients, 5 kB an edge from anywhere, ahead of their use."""
        super().gather(start, count)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [POINTER, number, number, number])
        prefetch = ir.Function(self.b.module, kind, "llvm.prefetch.p0")
        read, second_level, data = (ir.Constant(number, n) for n in (0, 2, 1))
        with self.loop(0, self.layout.lanes) as lane:
            place = self.outputs(self.integer(self.arguments["ends"], self.integer(self.lane_edge, lane)))
            for o, width in enumerate(self.layout.coupling.widths):
                with self.loop(0, (2 * o + 1) * width, 64 // self.size) as k:
                    self.b.call(prefetch, [self.address(place[o], k), read, second_level, data])

    def add(self, node: Any, count: Any, chunk: Any) -> None:
        layout, a = self.layout, self.arguments
        at = {key: self.address(a[key], self.times(node, layout.coupling.dim_in)) for key in ("h", "dh")}
        with self.loop(0, count) as lane:
            edge = self.integer(self.lane_edge, lane)
            grad = self.outputs(self.integer(a["ends"], edge))
            at["w"], at["K"] = self.weights_row(lane, edge), self.address(self.K, lane)
            target, row = (self.dweights, lane) if layout.hidden else (a["dw"], edge)
            at["dw"] = self.address(target, self.times(row, layout.weights_padded))
            for slots, first, width in self.pieces():
                for slot in slots:
                    self.add_slot(slot, first, width, at, grad)
        if layout.hidden:
            self.to_input(count)
            self.to_map(count, chunk)

    def add_slot(self, slot: int, first: Any, width: int, at: dict[str, Any], grad: list[Any]) -> None:
        """One slot's share: the upstream gradient turned back by K, against h for dw, times w for dh."""
        layout, (coupled, _) = self.layout, self.layout.matrix
        values, gradients = (self.features(at[key], slot, first, width) for key in ("h", "dh"))
        for t in self.terms(slot):
            o = layout.coupling.terms[t][2]
            start, stride = layout.coupling.channel_start[t], layout.coupling.widths[o]
            upstream = [self.load(grad[o], self.plus(first, start + m * stride), width) for m in range(2 * o + 1)]
            turned: dict[int, Any] = {}
            for m_in, m_out, entry, sign in coupled[t]:
                k = self.splat(at["K"], entry * layout.lanes, width)
                turned[m_in] = self.fma(k, upstream[m_out], turned.get(m_in), sign)
            weight, change = self.load(at["w"], self.plus(first, layout.coupling.weight_start[t]), width), None
            for m_in, value in turned.items():
                change = self.fma(values[m_in], value, change)
                gradients[m_in] = self.fma(weight, value, gradients[m_in])
            if layout.hidden:
                zero = self.constant(0.0, width)
                change = self.b.select(self.b.fcmp_ordered(">", weight, zero), change, zero)
            self.store(change, at["dw"], self.plus(first, layout.coupling.weight_start[t]))
        mul, _ = layout.coupling.slots[slot]
        for m, gradient in enumerate(gradients):
            self.store(gradient, at["dh"], self.plus(first, layout.coupling.slot_start[slot] + m * mul))

    def to_input(self, count: Any) -> None:
        """Gradient with respect to x: dw W^T."""
        layout, lanes, padded = self.layout, self.layout.lanes, self.layout.hidden_padded
        weight, vectors = self.arguments["weight_t"], 2 if padded % (2 * lanes) == 0 else 1
        with self.loop(0, padded, vectors * lanes) as block:
            sums = [self.constant(0.0, lanes)] * (lanes * vectors)
            with self.loop(0, layout.coupling.n_weights, carry=sums) as p:
                place = self.plus(self.times(p, padded), block)
                rows = [self.load(weight, self.plus(place, v * lanes), lanes) for v in range(vectors)]
                for lane in range(lanes):
                    change = self.splat(self.dweights, self.plus(p, lane * layout.weights_padded), lanes)
                    for v in range(vectors):
                        sums[vectors * lane + v] = self.fma(change, rows[v], sums[vectors * lane + v])
            for lane in range(lanes):
                for v in range(vectors):
                    self.store(sums[vectors * lane + v], self.dx, self.plus(block, lane * padded + v * lanes))
        with self.loop(0, count) as lane:
            row = self.address(self.arguments["dw"], self.times(self.integer(self.lane_edge, lane), padded))
            with self.loop(0, padded, lanes) as k:
                self.store(self.load(self.dx, self.plus(self.times(lane, padded), k), lanes), row, k)

    def to_map(self, count: Any, chunk: Any) -> None:
        """Gradients with respect to W and b, summed over the edges of a chunk."""
        layout, lanes, padded = self.layout, self.layout.lanes, self.layout.weights_padded
        dweight = self.address(self.arguments["dweight"], self.times(chunk, layout.hidden_padded * padded))
        dbias = self.address(self.arguments["dbias"], self.times(chunk, padded))
        with self.loop(0, padded, 2 * lanes) as p:
            sums = [self.load(dbias, self.plus(p, v * lanes), lanes) for v in range(2)]
            with self.loop(0, count, carry=sums) as lane:
                for v in range(2):
                    place = self.plus(self.plus(self.times(lane, padded), p), v * lanes)
                    sums[v] = self.b.fadd(sums[v], self.load(self.dweights, place, lanes))
            for v in range(2):
                self.store(sums[v], dbias, self.plus(p, v * lanes))
            with self.loop(0, layout.hidden_padded, 8) as block:
                places = [
                    self.plus(self.plus(self.times(self.plus(block, k), padded), p), v * lanes)
                    for k in range(8) for v in range(2)
                ]  # fmt: skip
                sums = [self.load(dweight, place, lanes) for place in places]
                with self.loop(0, count, carry=sums) as lane:
                    row = self.plus(self.times(lane, padded), p)
                    changes = [self.load(self.dweights, self.plus(row, v * lanes), lanes) for v in range(2)]
                    x = self.address(self.x, self.plus(self.times(lane, layout.hidden_padded), block))
                    for k in range(8):
                        value = self.splat(x, k, lanes)
                        for v in range(2):
                            sums[2 * k + v] = self.fma(value, changes[v], sums[2 * k + v])
                for total, place in zip(sums, places, strict=True):
                    self.store(total, dweight, place)


class Harmonics(Tile):
    """Gradient with respect to Y, edge by edge."""

    def add(self, node: Any, count: Any, chunk: Any) -> None:
        layout, a, (coupled, entries) = self.layout, self.arguments, self.layout.matrix
        l_max = layout.coupling.l_max
        grad = self.outputs(node)
        with self.loop(0, count) as lane:
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


FUNCTIONS = {"forward": Forward, "backward": Backward, "harmonics": Harmonics}


def generate(layout: Layout, name: str) -> str:
    """One of :data:`FUNCTIONS`, in LLVM's language."""
    module = ir.Module(name=f"glasslit_{name}")
    FUNCTIONS[name](module, name, layout).walk()
    return str(module)
