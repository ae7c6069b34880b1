"""The GPU kernel's programs for gradients, edge by edge. See :mod:`~glasslit.equivariance.kernels.programs`."""

from __future__ import annotations

from typing import Any

from .packing import EDGES
from .programs import Program
from .ptx import WARP


class EdgeByEdge(Program):
    """What programs share whose blocks own edges."""

    def edges(self, first: Any) -> tuple[Any, Any]:
        """(the thread's edge, whether it is one): the last one where it is none."""
        m, n_edges = self.m, self.a["n_edges"]
        edge = m.iadd(first, self.edge_lane)
        return m.imin(edge, m.iadd(n_edges, -1)), m.less(edge, n_edges)

    def steps(self) -> Any:
        """First edge of each step of the block."""
        m = self.m
        first = m.imul(m.block_x, EDGES)
        return m.loop(first, m.imin(m.iadd(first, EDGES), self.a["n_edges"]), WARP // self.share.quads)

    def upstream(self, receiver: Any) -> dict[int, list[tuple[Any, int]]]:
        """Where the gradients of a node lie, by degree, for each of the thread's channels."""
        return {
            o: self.channels(self.m.address(self.a[f"out{o}"], receiver, (2 * o + 1) * self.coupling.widths[o]))
            for o in sorted({self.coupling.terms[t][2] for t in self.share.terms})
        }  # fmt: skip

    def gradients(self, places: dict[int, list[tuple[Any, int]]], t: int) -> list[list[Any]]:
        """The gradient with respect to one term's result, [m_out][channel]."""
        o = self.coupling.terms[t][2]
        start, width = self.coupling.channel_start[t], self.coupling.widths[o]
        return [
            [self.m.load(address, n * width + start + place)[0] for address, place in places[o]]
            for n in range(2 * o + 1)
        ]  # fmt: skip


class Backward(EdgeByEdge):
    """Gradients with respect to h (one row per edge), and with respect to the weights or to x, W and b."""

    def run(self) -> None:
        m, packed, radial = self.m, self.packed, bool(self.packed.hidden)
        if radial:
            self.prepare_map()
        for first in self.steps():
            edge, real = self.edges(first)
            sender, receiver = (m.load_index(self.a[name], edge) for name in ("sender", "receiver"))
            h, w, places = self.features(sender), self.weights(edge), self.upstream(receiver)
            given: list[list[Any]] = [[None] * 4 for _ in range(self.size)]
            if radial:
                m.sync()  # all have read what the step before left
            for degree, terms in self.by_degree().items():
                Y = self.harmonics(edge, degree)
                known: dict[int, Any] = {}
                for t in terms:
                    gradient = self.gradients(places, t)
                    change: list[Any] = [None] * 4
                    for m_in, pairs in self.pairs(t, 0).items():
                        turned: list[Any] = [None] * 4
                        for m_out, number, sign in pairs:
                            k = self.entry(known, Y, number, sign)
                            turned = [m.fma(k, gradient[m_out][c], turned[c]) for c in range(4)]
                        change = [m.fma(h[m_in][c], turned[c], change[c]) for c in range(4)]
                        given[m_in] = [m.fma(w[t][c], turned[c], given[m_in][c]) for c in range(4)]
                    if radial:
                        self.keep(t, real, w[t], change)
                    else:
                        self.to_weights(t, edge, real, change)
            row = m.address(self.a["given"], edge, packed.row)
            row = m.address(row, m.imul(self.channel, self.size))
            flat = [given[n][c] for c in range(4) for n in range(self.size)]
            flat = [m.number(0.0) if value is None else value for value in flat]
            for n in range(self.size):
                m.store(row, self.row_start + 4 * n, flat[4 * n : 4 * n + 4], real)
            if radial:
                m.sync()
                self.to_input(edge, real)
                self.to_map(first)
        if radial:
            self.store_map()

    def to_weights(self, t: int, edge: Any, real: Any, change: list[Any]) -> None:
        """Where weights are given: their gradient."""
        m, exists = self.m, self.exists()
        places = self.channels(m.address(self.a["dw"], edge, self.coupling.n_weights))
        for c, (address, place) in enumerate(places):
            condition = real if exists[c] is None else m.both(real, exists[c])
            m.store(address, self.coupling.weight_start[t] + place, [change[c]], condition)

    def keep(self, t: int, real: Any, w: list[Any], change: list[Any]) -> None:
        """The gradient before the ReLU, in the block's own memory: registers are scarce."""
        m, zero = self.m, self.m.number(0.0)
        kept = [m.select(m.not_positive(w[c]), zero, change[c]) for c in range(4)]
        kept = [m.select(real, value, zero) for value in kept]
        m.tile_store(self.own, self.share.terms.index(t) * self.width, kept)

    def to_input(self, edge: Any, real: Any) -> None:
        """The share's part of the gradient with respect to x: dw W^T."""
        m, hidden, columns = self.m, self.packed.hidden_padded, self.packed.weights_padded
        condition = m.both(real, m.equal(self.quad, 0))
        row = m.address(self.a["dw"], m.iadd(m.imul(m.block_y, self.a["n_edges"]), edge), hidden)
        for k in m.loop(0, hidden, 4):
            rows = m.address(self.weight, k, columns)
            totals: list[Any] = [None] * 4
            for n, t in enumerate(self.share.terms):
                change = m.tile_load(self.own, n * self.width, 4)
                for j in range(4):
                    factors = m.load(rows, j * columns + self.order[t] * self.width, 4, kept=False)
                    for c in range(4):
                        totals[j] = m.fma(change[c], factors[c], totals[j])
            if self.share.quads == 2:
                totals = [m.add(total, m.other_lane(total, 1)) for total in totals]
            m.store(m.address(row, k), 0, totals, condition)

    # The gradient with respect to W: threads change places, from (edge, channels) to (column of x, channels).

    def prepare_map(self) -> None:
        m, n_terms, single = self.m, len(self.share.terms), self.share.quads == 1
        edges, inputs = WARP // self.share.quads, range(0, self.packed.hidden_padded, WARP // 2)
        self.stride, numbers = self.packed.tile(self.share)
        m.tile_reserve(numbers)
        half = m.iand(m.lane, 1)  # of the channels; or of the edges, where a thread has all channels
        self.first_edge = m.imul(half, 16) if single else m.imul(half, 0)
        self.tile_quad = m.imul(half, 0) if single else m.imul(half, 4)
        self.own = m.tile_address(m.iadd(m.imul(self.edge_lane, self.stride), m.imul(self.quad, 4)))
        self.inputs = [m.iadd(m.shift(m.lane, 1), k) for k in inputs]
        self.sums = m.tile_address(m.iadd(m.imul(m.lane, 4), self.stride * edges))
        for n in range(len(inputs) * n_terms):
            m.tile_store(self.sums, n * 4 * WARP, [m.number(0.0)] * 4)
        self.columns = [m.iadd(m.lane, n) for n in range(0, n_terms * self.width, WARP)]
        self.bias = [m.variable(0.0) for _ in self.columns]

    def to_map(self, first: Any) -> None:
        """Add the step's edges: x^T dw, and dw alone for b. The sums wait in the block's own memory for the next."""
        m, hidden, n_terms = self.m, self.packed.hidden_padded, len(self.share.terms)
        last = m.iadd(self.a["n_edges"], -1)
        for number, column in enumerate(self.inputs):
            inside = m.imin(column, hidden - 1)
            sums = [[m.variable(0.0) for _ in range(4)] for _ in self.share.terms]
            for n, totals in enumerate(sums):
                before = m.tile_load(self.sums, (number * n_terms + n) * 4 * WARP, 4)
                for total, value in zip(totals, before, strict=True):
                    m.assign(total, value)
            for start in m.loop(0, 16, 4):
                row = m.iadd(start, self.first_edge)
                place = m.tile_address(m.iadd(m.imul(row, self.stride), self.tile_quad))
                for j in range(4):
                    edge = m.imin(m.iadd(m.iadd(first, row), j), last)
                    x = m.load(m.address(m.address(self.a["w"], edge, hidden), inside))[0]
                    for n, totals in enumerate(sums):
                        change = m.tile_load(place, j * self.stride + n * self.width, 4)
                        for total, value in zip(totals, change, strict=True):
                            m.accumulate(total, x, value)
            for n, totals in enumerate(sums):
                m.tile_store(self.sums, (number * n_terms + n) * 4 * WARP, totals)
        ends = [m.imin(column, n_terms * self.width - 1) for column in self.columns]
        for start in m.loop(0, WARP // self.share.quads, 4):
            for column, total in zip(ends, self.bias, strict=True):
                place = m.tile_address(m.iadd(m.imul(start, self.stride), column))
                for j in range(4):
                    m.assign(total, m.add(total, m.tile_load(place, j * self.stride)[0]))

    def store_map(self) -> None:
        """The block's sums, one copy of [W, b] for each block of edges."""
        m, hidden, columns = self.m, self.packed.hidden_padded, self.packed.weights_padded
        n_terms, single = len(self.share.terms), self.share.quads == 1
        first = m.iadd(m.imul(self.block, n_terms * self.width), self.packed.weight_start[self.share.slot])
        whole = m.address(self.a["dweight"], m.block_x, (hidden + 1) * columns)
        target = m.address(whole, m.iadd(first, self.tile_quad))
        for number, k in enumerate(self.inputs):
            condition = m.less(k, hidden)
            if single:
                condition = m.both(condition, m.equal(m.iand(m.lane, 1), 0))
            row = m.address(target, m.imin(k, hidden - 1), columns)
            for n in range(n_terms):
                values = m.tile_load(self.sums, (number * n_terms + n) * 4 * WARP, 4)
                if single:
                    values = [m.add(value, m.other_lane(value, 1)) for value in values]
                m.store(row, n * self.width, values, condition)
        bias = m.address(whole, first)
        for column, total in zip(self.columns, self.bias, strict=True):
            inside = m.less(column, n_terms * self.width)
            place = m.address(bias, m.imin(column, n_terms * self.width - 1))
            m.store(place, hidden * columns, [total], inside)


class Harmonics(EdgeByEdge):
    """The share's part of the gradient with respect to Y, edge by edge."""

    def run(self) -> None:
        m, n = self.m, (self.coupling.l_max + 1) ** 2
        for first in self.steps():
            edge, real = self.edges(first)
            sender, receiver = (m.load_index(self.a[name], edge) for name in ("sender", "receiver"))
            h, w, places = self.features(sender), self.weights(edge), self.upstream(receiver)
            totals: dict[int, Any] = {}
            for t in self.share.terms:
                gradient = self.gradients(places, t)
                weighted = [[m.mul(w[t][c], row[c]) for c in range(4)] for row in gradient]
                products: dict[int, Any] = {}
                for m_in, m_out, number, sign in self.packed.coupling.matrix[0][t]:
                    for c in range(4):
                        factor = weighted[m_out][c] if sign > 0 else m.neg(weighted[m_out][c])
                        products[number] = m.fma(factor, h[m_in][c], products.get(number))
                for number, product in products.items():
                    for component, value in self.packed.coupling.matrix[1][number]:
                        totals[component] = m.fma(product, m.number(value), totals.get(component))
            row = m.address(self.a["dY"], m.iadd(m.imul(m.block_y, self.a["n_edges"]), edge), n)
            condition = m.both(real, m.equal(self.quad, 0))
            for component in range(n):
                total = totals.get(component, m.number(0.0))
                if self.share.quads == 2 and component in totals:
                    total = m.add(total, m.other_lane(total, 1))
                m.store(row, component, [total], condition)
