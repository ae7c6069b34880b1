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

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from llvmlite import ir

from .coupling import Coupling, coefficients

I64, POINTER = ir.IntType(64), ir.PointerType()


def round_up(number: int, unit: int) -> int:
    """The next multiple of ``unit``."""
    return -(-number // unit) * unit


class Layout:
    """Where everything lies, counted in scalars.

    Parameters
    ----------
    coupling : what couples with what
    double : float64 instead of float32
    hidden : width of x where weights are ReLU(x W + b); 0 where weights are given
    """

    def __init__(self, coupling: Coupling, double: bool, hidden: int = 0) -> None:
        self.coupling, self.double, self.hidden = coupling, double, hidden
        self.lanes = 4 if double else 8
        self.hidden_padded = round_up(hidden, 8)
        self.weights_padded = round_up(coupling.n_weights, 2 * self.lanes) if hidden else coupling.n_weights
        self.slot_start: list[int] = []
        self.dim_in = 0
        for mul, degree in coupling.slots:
            self.slot_start.append(self.dim_in)
            self.dim_in += mul * (2 * degree + 1)
        # Of each term: first column among the channels of its degree, first weight, first accumulator.
        self.column: list[int] = []
        self.weight: list[int] = []
        self.accumulator: list[int] = []
        self.n_accumulators, weight, seen = 0, 0, [0] * (coupling.l_max + 1)
        for slot, _, o in coupling.terms:
            mul = coupling.slots[slot][0]
            self.column.append(seen[o])
            self.weight.append(weight)
            self.accumulator.append(self.n_accumulators)
            seen[o] += mul
            weight += mul
            self.n_accumulators += (2 * o + 1) * round_up(mul, self.lanes)

    @property
    def arguments(self) -> dict[str, list[str]]:
        """Names of the arguments of each function, in order: all pass as 64-bit integers."""
        out = [f"out{o}" for o in range(self.coupling.l_max + 1)]
        common = ["counter", "n_nodes", "n_chunks", "rows", "edges", "ends", "h", "Y", "w", "weight", "bias"]
        return {
            "forward": common + out,
            "backward": [*common, *out, "weight_t", "dh", "dw", "dweight", "dbias"],
            "harmonics": [*common, *out, "dY"],
        }

    @cached_property
    def matrix(self) -> tuple[list[list[tuple[int, int, int, int]]], list[tuple[tuple[int, float], ...]]]:
        """Of each term the (m_in, m_out, entry, sign) that couple; and each entry of K as ((component of Y, factor), ...)."""
        terms, entries = [], {}
        for slot, f, o in self.coupling.terms:
            values = coefficients(self.coupling.slots[slot][1], f, o)
            terms.append([])
            for m_in in range(values.shape[0]):
                for m_out in range(values.shape[2]):
                    row = [(f**2 + m, float(v)) for m, v in enumerate(values[m_in, :, m_out]) if v]
                    if row:
                        sign = 1 if row[0][1] > 0 else -1
                        key = tuple((m, round(sign * v, 15)) for m, v in row)
                        number = entries.setdefault(key, (len(entries), tuple((m, sign * v) for m, v in row)))[0]
                        terms[-1].append((m_in, m_out, number, sign))
        return terms, [row for _, row in entries.values()]


class Emitter:
    """One function under construction: ``void name(const int64_t *arguments)``."""

    def __init__(self, module: ir.Module, name: str, layout: Layout) -> None:
        self.layout = layout
        self.scalar = ir.DoubleType() if layout.double else ir.FloatType()
        self.size = 8 if layout.double else 4
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER]), name)
        self.b = ir.IRBuilder(function.append_basic_block())
        self.arguments = {
            key: self.b.load(self.address(function.args[0], n, I64), typ=I64)
            for n, key in enumerate(layout.arguments[name])
        }
        for key, value in self.arguments.items():
            if not key.startswith("n_"):
                self.arguments[key] = self.b.inttoptr(value, POINTER)

    def vector(self, width: int) -> ir.Type:
        return ir.VectorType(self.scalar, width)

    def address(self, pointer: Any, index: Any, kind: ir.Type | None = None) -> Any:
        index = ir.Constant(I64, index) if isinstance(index, int) else index
        return self.b.gep(pointer, [index], source_etype=kind or self.scalar)

    def integer(self, pointer: Any, index: Any) -> Any:
        return self.b.load(self.address(pointer, index, I64), typ=I64)

    def load(self, pointer: Any, index: Any, width: int) -> Any:
        return self.b.load(self.address(pointer, index), typ=self.vector(width), align=self.size)

    def store(self, value: Any, pointer: Any, index: Any) -> None:
        self.b.store(value, self.address(pointer, index), align=self.size)

    def splat(self, pointer: Any, index: Any, width: int) -> Any:
        """One number from memory in every lane."""
        value = self.b.load(self.address(pointer, index), typ=self.scalar)
        kind = self.vector(width)
        single = self.b.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
        return self.b.shuffle_vector(single, ir.Constant(kind, ir.Undefined), lanes)

    def constant(self, value: float, width: int) -> Any:
        return ir.Constant(self.vector(width), [value] * width)

    def fma(self, a: Any, b: Any, c: Any, sign: int = 1) -> Any:
        """sign a b + c; c may be None for zero."""
        if c is None:
            product = self.b.fmul(a, b)
            return product if sign > 0 else self.b.fneg(product)
        name = f"llvm.fmuladd.v{a.type.count}f{8 * self.size}"
        function = self.b.module.globals.get(name) or ir.Function(
            self.b.module, ir.FunctionType(a.type, [a.type] * 3), name
        )
        return self.b.call(function, [a if sign > 0 else self.b.fneg(a), b, c])

    def times(self, index: Any, factor: int) -> Any:
        return self.b.mul(index, ir.Constant(I64, factor))

    def plus(self, index: Any, number: Any) -> Any:
        return self.b.add(index, ir.Constant(I64, number) if isinstance(number, int) else number)

    def positive_part(self, value: Any) -> Any:
        zero = self.constant(0.0, value.type.count)
        return self.b.select(self.b.fcmp_ordered("<", value, zero), zero, value)  # keeps nan, as torch does

    def buffer(self, count: int, kind: ir.Type | None = None) -> Any:
        """Scratch memory on the stack, one cache line aligned."""
        place = self.b.alloca(ir.ArrayType(kind or self.scalar, count))
        place.align = 64
        place.type = POINTER  # llvmlite still gives it a typed one
        return place

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int = 1, carry: list | None = None) -> Iterator[Any]:
        """``for i in range(start, stop, step)``; values in ``carry`` pass from turn to turn in registers."""
        carry = [] if carry is None else carry
        start, stop = (ir.Constant(I64, n) if isinstance(n, int) else n for n in (start, stop))
        before, head = self.b.block, self.b.append_basic_block()
        body, after = self.b.append_basic_block(), self.b.append_basic_block()
        self.b.branch(head)
        self.b.position_at_end(head)
        index = self.b.phi(I64)
        index.add_incoming(start, before)
        carried = [self.b.phi(value.type) for value in carry]
        for phi, value in zip(carried, carry, strict=True):
            phi.add_incoming(value, before)
        self.b.cbranch(self.b.icmp_signed("<", index, stop), body, after)
        self.b.position_at_end(body)
        carry[:] = carried
        yield index
        index.add_incoming(self.plus(index, step), self.b.block)
        for phi, value in zip(carried, carry, strict=True):
            phi.add_incoming(value, self.b.block)
        self.b.branch(head)
        self.b.position_at_end(after)
        carry[:] = carried

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


class Tile(Emitter):
    """The frame that the three functions share: chunks, nodes, tiles of edges, K and the weights of a tile."""

    def walk(self, begin: Callable[[Any], None], tile: Callable[[Any, Any, Any], None], end: Callable[[Any], None]) -> None:
        """Call ``begin(node)``, ``tile(node, n_edges, chunk)`` and ``end(node)`` for all nodes, chunk by chunk."""
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
            begin(node)
            row, stop = self.integer(a["rows"], node), self.integer(a["rows"], self.plus(node, 1))
            with self.loop(row, stop, lanes) as start:
                left = b.sub(stop, start)
                count = b.select(b.icmp_signed("<", left, ir.Constant(I64, lanes)), left, ir.Constant(I64, lanes))
                self.gather(start, count)
                self.contract_coefficients()
                if self.layout.hidden:
                    self.compute_weights()
                tile(node, count, chunk)
            end(node)
        b.branch(take)

    def allocate(self) -> None:
        """More scratch memory, for those who need it."""

    def gather(self, start: Any, count: Any) -> None:
        """Copy the tile's harmonics (transposed) and the input of its weights; lanes without an edge repeat the first."""
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

    def outputs(self, prefix: str, node: Any) -> list[Any]:
        """Where the numbers of a node begin, one place for each degree: (2l + 1, channels) each."""
        return [
            self.address(self.arguments[f"{prefix}{o}"], self.times(node, (2 * o + 1) * width))
            for o, width in enumerate(self.layout.coupling.widths)
        ]

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
        start = self.layout.slot_start[slot]
        return [self.load(pointer, self.plus(first, start + m * mul), width) for m in range(2 * degree + 1)]


class Forward(Tile):
    """out[i] = sum over edges into i of w K h[sender]."""

    def allocate(self) -> None:
        self.sums = self.buffer(self.layout.n_accumulators)

    def emit(self) -> None:
        self.walk(self.clear, self.add, self.write)

    def clear(self, node: Any) -> None:
        lanes = self.layout.lanes
        with self.loop(0, self.layout.n_accumulators, lanes) as k:
            self.store(self.constant(0.0, lanes), self.sums, k)

    def add(self, node: Any, count: Any, chunk: Any) -> None:
        layout, (coupled, _) = self.layout, self.layout.matrix
        with self.loop(0, count) as lane:
            edge = self.integer(self.lane_edge, lane)
            sender = self.integer(self.arguments["ends"], edge)
            h, w = self.address(self.arguments["h"], self.times(sender, layout.dim_in)), self.weights_row(lane, edge)
            K = self.address(self.K, lane)
            for slots, first, width in self.pieces():
                for slot in slots:
                    values = self.features(h, slot, first, width)
                    for t in self.terms(slot):
                        products: dict[int, Any] = {}
                        for m_in, m_out, entry, sign in coupled[t]:
                            k = self.splat(K, entry * layout.lanes, width)
                            products[m_out] = self.fma(k, values[m_in], products.get(m_out), sign)
                        weight = self.load(w, self.plus(first, layout.weight[t]), width)
                        stride = round_up(layout.coupling.slots[slot][0], layout.lanes)
                        for m_out, product in products.items():
                            place = self.plus(first, layout.accumulator[t] + m_out * stride)
                            self.store(self.fma(weight, product, self.load(self.sums, place, width)), self.sums, place)

    def write(self, node: Any) -> None:
        layout = self.layout
        out = self.outputs("out", node)
        for slots, first, width in self.pieces():
            for slot in slots:
                stride = round_up(layout.coupling.slots[slot][0], layout.lanes)
                for t in self.terms(slot):
                    o = layout.coupling.terms[t][2]
                    for m in range(2 * o + 1):
                        value = self.load(self.sums, self.plus(first, layout.accumulator[t] + m * stride), width)
                        self.store(value, out[o], self.plus(first, m * layout.coupling.widths[o] + layout.column[t]))


class Backward(Tile):
    """Gradients with respect to h of the node that edges leave, and with respect to the weights of those edges."""

    def allocate(self) -> None:
        if self.layout.hidden:
            self.dweights = self.buffer(self.layout.lanes * self.layout.weights_padded)
            self.dx = self.buffer(self.layout.lanes * self.layout.hidden_padded)
            with self.loop(0, self.layout.lanes * self.layout.weights_padded, self.layout.lanes) as k:
                self.store(self.constant(0.0, self.layout.lanes), self.dweights, k)

    def emit(self) -> None:
        self.walk(lambda node: None, self.add, lambda node: None)

    def gather(self, start: Any, count: Any) -> None:
        """As for all, and ask for the upstream gradients, 5 kB an edge from anywhere, while the weights are computed."""
        super().gather(start, count)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [POINTER, number, number, number])
        prefetch = ir.Function(self.b.module, kind, "llvm.prefetch.p0")
        read, second_level, data = (ir.Constant(number, n) for n in (0, 2, 1))
        with self.loop(0, self.layout.lanes) as lane:
            place = self.outputs("out", self.integer(self.arguments["ends"], self.integer(self.lane_edge, lane)))
            for o, width in enumerate(self.layout.coupling.widths):
                with self.loop(0, (2 * o + 1) * width, 64 // self.size) as k:
                    self.b.call(prefetch, [self.address(place[o], k), read, second_level, data])

    def add(self, node: Any, count: Any, chunk: Any) -> None:
        layout, a, (coupled, _) = self.layout, self.arguments, self.layout.matrix
        h, dh = (self.address(a[name], self.times(node, layout.dim_in)) for name in ("h", "dh"))
        with self.loop(0, count) as lane:
            edge = self.integer(self.lane_edge, lane)
            grad = self.outputs("out", self.integer(a["ends"], edge))
            w, K = self.weights_row(lane, edge), self.address(self.K, lane)
            target, row = (self.dweights, lane) if layout.hidden else (a["dw"], edge)
            dw = self.address(target, self.times(row, layout.weights_padded))
            for slots, first, width in self.pieces():
                for slot in slots:
                    self.add_slot(slot, first, width, h, dh, w, dw, K, grad, coupled)
        if layout.hidden:
            self.to_input(count)
            self.to_map(count, chunk)

    def add_slot(self, slot: int, first: Any, width: int, h: Any, dh: Any, w: Any, dw: Any, K: Any, grad: Any, coupled: Any) -> None:
        layout = self.layout
        values, gradients = self.features(h, slot, first, width), self.features(dh, slot, first, width)
        for t in self.terms(slot):
            o = layout.coupling.terms[t][2]
            start, stride = layout.column[t], layout.coupling.widths[o]
            upstream = [self.load(grad[o], self.plus(first, start + m * stride), width) for m in range(2 * o + 1)]
            turned: dict[int, Any] = {}
            for m_in, m_out, entry, sign in coupled[t]:
                k = self.splat(K, entry * layout.lanes, width)
                turned[m_in] = self.fma(k, upstream[m_out], turned.get(m_in), sign)
            weight, change = self.load(w, self.plus(first, layout.weight[t]), width), None
            for m_in, value in turned.items():
                change = self.fma(values[m_in], value, change)
                gradients[m_in] = self.fma(weight, value, gradients[m_in])
            if layout.hidden:
                zero = self.constant(0.0, width)
                change = self.b.select(self.b.fcmp_ordered(">", weight, zero), change, zero)
            self.store(change, dw, self.plus(first, layout.weight[t]))
        mul, _ = layout.coupling.slots[slot]
        for m, gradient in enumerate(gradients):
            self.store(gradient, dh, self.plus(first, layout.slot_start[slot] + m * mul))

    def to_input(self, count: Any) -> None:
        """Gradient with respect to x: dw W^T."""
        layout, lanes, padded = self.layout, self.layout.lanes, self.layout.hidden_padded
        vectors = 2 if padded % (2 * lanes) == 0 else 1
        with self.loop(0, padded, vectors * lanes) as block:
            sums = [self.constant(0.0, lanes)] * (lanes * vectors)
            with self.loop(0, layout.coupling.n_weights, carry=sums) as p:
                place = self.plus(self.times(p, padded), block)
                rows = [self.load(self.arguments["weight_t"], self.plus(place, v * lanes), lanes) for v in range(vectors)]
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

    def emit(self) -> None:
        self.walk(lambda node: None, self.add, lambda node: None)

    def add(self, node: Any, count: Any, chunk: Any) -> None:
        layout, a, (coupled, entries) = self.layout, self.arguments, self.layout.matrix
        l_max = layout.coupling.l_max
        grad = self.outputs("out", node)
        with self.loop(0, count) as lane:
            edge = self.integer(self.lane_edge, lane)
            h = self.address(a["h"], self.times(self.integer(a["ends"], edge), layout.dim_in))
            w, dY = self.weights_row(lane, edge), self.address(a["dY"], self.times(edge, (l_max + 1) ** 2))
            for slots, first, width in self.pieces():
                for slot in slots:
                    values = self.features(h, slot, first, width)
                    totals: dict[int, Any] = {}
                    for t in self.terms(slot):
                        o = layout.coupling.terms[t][2]
                        weight = self.load(w, self.plus(first, layout.weight[t]), width)
                        start, stride = layout.column[t], layout.coupling.widths[o]
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
    FUNCTIONS[name](module, name, layout).emit()
    return str(module)
