r"""The GPU kernel's four programs, written out for one coupling on a machine (see :mod:`.ptx`).

* A thread works on one edge and four channels at a time: it makes the coefficients K of Y once for its four channels,
  and reads rows of 16 bytes. A block is one warp. The terms are shared out among the rows of the grid, by slot of h.
* "forward": the sum over neighbors. A block owns four nodes; the 4 (or 8) threads that share a node's edges keep sums
  in registers to the last edge, then add them up.
* "backward": its gradient with respect to features and weights, edge by edge, 128 edges to a block. What an edge gives
  to the features of its sender is stored, one row an edge, and "gather" adds it up: no two threads ever add to the same
  number, so results are the same bits every time.
* Weights ReLU(x W + b) are made where they are used, and made again in the backward pass. The gradient with respect to
  x is one row of ``hidden`` numbers per edge and share; that with respect to W and b is summed over a block's edges.
  Both wait for a sum over shares or blocks.
* "harmonics": the gradient with respect to Y, one row per edge and share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .packing import Packing, Share
from .ptx import WARP


class Program:
    """What the programs of one share have in common."""

    def __init__(self, machine: Any, packed: Packing, share: Share) -> None:
        self.m, self.packed, self.share = machine, packed, share
        self.coupling, self.a = packed.coupling, machine.arguments
        self.mul, degree = self.coupling.slots[share.slot]
        self.size, self.row_start = 2 * degree + 1, packed.slot_start[share.slot]
        self.width = 4 * share.quads
        self.quad, self.edge_lane = (
            machine.iand(machine.lane, share.quads - 1), machine.shift(machine.lane, share.quads - 1)
        )  # fmt: skip
        self.block = machine.iadd(machine.block_y, -share.first)
        self.channel = machine.iadd(machine.imul(self.block, self.width), machine.imul(self.quad, 4))
        self.whole = self.mul % self.width == 0  # else the last threads have channels that are none
        first = packed.weight_start[share.slot]
        n_terms = len(packed.terms(share.slot))
        column = machine.iadd(machine.imul(self.block, n_terms * self.width), machine.imul(self.quad, 4))
        self.weight = machine.address(self.a["weight"], machine.iadd(column, first))
        self.order = {t: n for n, t in enumerate(packed.terms(share.slot))}

    def run(self) -> None:
        """What the threads of this share do."""
        raise NotImplementedError("a program says in run() what the threads of a share do")

    def numbers(self, base: Any, places: Sequence[int], row_length: int) -> dict[int, Any]:
        """Some numbers of a row of ``row_length``, four at a time where rows begin at a multiple of 16 bytes."""
        if row_length % 4:
            return {p: self.m.load(base, p)[0] for p in places}
        found: dict[int, Any] = {}
        for p in places:
            if p not in found:
                found |= dict(zip(range(p // 4 * 4, p // 4 * 4 + 4), self.m.load(base, p // 4 * 4, 4), strict=True))
        return found

    def channels(self, base: Any) -> list[tuple[Any, int]]:
        """(address, place) of the thread's four channels in a row that is not padded."""
        if self.whole:
            address = self.m.address(base, self.channel)
            return [(address, c) for c in range(4)]
        inside = [self.m.imin(self.m.iadd(self.channel, c), self.mul - 1) for c in range(4)]
        return [(self.m.address(base, c), 0) for c in inside]

    def exists(self) -> list[Any]:
        """Of each of the thread's four channels whether it is one; None where all are."""
        if self.whole:
            return [None] * 4
        return [self.m.less(self.m.iadd(self.channel, c), self.mul) for c in range(4)]

    def features(self, node: Any) -> list[list[Any]]:
        """h of a node, [m][channel]."""
        m = self.m
        row = m.address(self.a["h"], node, self.packed.row)
        row = m.address(row, m.imul(self.channel, self.size))
        flat: list[Any] = []
        for n in range(self.size):
            flat += m.load(row, self.row_start + 4 * n, 4)
        return [[flat[c * self.size + n] for c in range(4)] for n in range(self.size)]

    def weights(self, edge: Any) -> dict[int, list[Any]]:
        """The weights of an edge, [term][channel]; 0 for channels that are none."""
        m, terms = self.m, self.share.terms
        if not self.packed.hidden:
            row = m.address(self.a["w"], edge, self.coupling.n_weights)
            places, exists = self.channels(row), self.exists()
            found = {}
            for t in terms:
                start = self.coupling.weight_start[t]
                values = [m.load(address, start + place)[0] for address, place in places]
                if not self.whole:
                    values = [m.select(e, v, m.number(0.0)) for e, v in zip(exists, values, strict=True)]
                found[t] = values
            return found
        hidden, columns = self.packed.hidden_padded, self.packed.weights_padded
        sums = {t: [m.variable(0.0) for _ in range(4)] for t in terms}
        for t in terms:
            bias = m.load(self.weight, hidden * columns + self.order[t] * self.width, 4, kept=False)
            for total, value in zip(sums[t], bias, strict=True):
                m.assign(total, value)
        x = m.address(self.a["w"], edge, hidden)
        for k in m.loop(0, hidden, 4):
            inputs, rows = m.load(m.address(x, k), 0, 4), m.address(self.weight, k, columns)
            for j, value in enumerate(inputs):
                for t in terms:
                    row = m.load(rows, j * columns + self.order[t] * self.width, 4, kept=False)
                    for total, factor in zip(sums[t], row, strict=True):
                        m.accumulate(total, value, factor)
        return {
            t: [m.select(m.not_positive(v), m.number(0.0), v) for v in values] for t, values in sums.items()
        }  # fmt: skip

    def harmonics(self, edge: Any, degree: int) -> dict[int, Any]:
        """Components of Y of one degree."""
        n = (self.coupling.l_max + 1) ** 2
        return self.numbers(self.m.address(self.a["Y"], edge, n), range(degree**2, (degree + 1) ** 2), n)

    def by_degree(self) -> dict[int, list[int]]:
        """The share's terms by degree of Y."""
        found: dict[int, list[int]] = {}
        for t in self.share.terms:
            found.setdefault(self.coupling.terms[t][1], []).append(t)
        return found

    def pairs(self, t: int, by: int) -> dict[int, list[tuple[int, int, int]]]:
        """What couples in a term, by m_in (0) or m_out (1): (the other m, entry of K, sign)."""
        found: dict[int, list[tuple[int, int, int]]] = {}
        for m_in, m_out, number, sign in self.packed.coupling.matrix[0][t]:
            key, other = (m_in, m_out) if by == 0 else (m_out, m_in)
            found.setdefault(key, []).append((other, number, sign))
        return dict(sorted(found.items()))

    def entry(self, known: dict[int, Any], Y: dict[int, Any], number: int, sign: int) -> Any:
        """An entry of K, made when first asked for."""
        if number not in known:
            total = None
            for component, value in self.packed.coupling.matrix[1][number]:
                total = self.m.fma(Y[component], self.m.number(value), total)
            known[number] = total
        return known[number] if sign > 0 else self.m.neg(known[number])


class Forward(Program):
    """out[i] = sum over edges into i of w K h[sender]."""

    def run(self) -> None:
        m, coupling = self.m, self.coupling
        together = WARP // self.share.quads // 4  # threads that share a node's edges
        part, node = m.iand(self.edge_lane, together - 1), m.shift(self.edge_lane, together.bit_length() - 1)
        node = m.iadd(m.imul(m.block_x, 4), node)
        real = m.less(node, self.a["n_nodes"])
        node = m.imin(node, m.iadd(self.a["n_nodes"], -1))
        start, stop = (m.load_index(self.a["rows"], m.iadd(node, n)) for n in (0, 1))
        sums = {
            (t, o): [m.variable(0.0) for _ in range(4)]
            for t in self.share.terms for o in range(2 * coupling.terms[t][2] + 1)
        }  # fmt: skip
        for edge in m.loop(m.iadd(start, part), stop, together):
            h, w = self.features(m.load_index(self.a["ends"], edge)), self.weights(edge)
            for degree, terms in self.by_degree().items():
                Y = self.harmonics(edge, degree)
                known: dict[int, Any] = {}
                for t in terms:
                    for m_out, pairs in self.pairs(t, 1).items():
                        product: list[Any] = [None] * 4
                        for m_in, number, sign in pairs:
                            k = self.entry(known, Y, number, sign)
                            product = [m.fma(k, h[m_in][c], product[c]) for c in range(4)]
                        for c in range(4):
                            m.accumulate(sums[t, m_out][c], w[t][c], product[c])
        m.sync()
        self.store(sums, node, real, part, together)

    def store(self, sums: dict[tuple[int, int], list[Any]], node: Any, real: Any, part: Any, together: int) -> None:
        """Add up what the threads of a node have; each of the first four then holds one channel, and stores it."""
        m, step = self.m, self.share.quads
        odd, high = (m.equal(m.iand(m.shift(part, n), 1), 1) for n in (0, 1))
        channel = m.iadd(self.channel, m.iand(part, 3))
        condition = m.both(real, m.less(channel, self.mul))
        if together > 4:
            condition = m.both(condition, m.less(part, 4))
        inside = m.imin(channel, self.mul - 1)
        out = {}
        for (t, m_out), values in sums.items():
            o, width = self.coupling.terms[t][2], self.coupling.widths[self.coupling.terms[t][2]]
            if o not in out:
                row = m.address(self.a[f"out{o}"], node, (2 * o + 1) * width)
                out[o] = m.address(row, inside)
            pair = [
                m.add(m.select(odd, b, a), m.other_lane(m.select(odd, a, b), step))
                for a, b in (values[:2], values[2:])
            ]  # fmt: skip
            total = m.add(m.select(high, *pair[::-1]), m.other_lane(m.select(high, *pair), 2 * step))
            if together > 4:
                total = m.add(total, m.other_lane(total, 4 * step))
            m.store(out[o], m_out * width + self.coupling.channel_start[t], [total], condition)


def gather(m: Any, packed: Packing) -> None:
    """dh of a node: the sum of what the edges that leave it give. A thread has four columns of every fourth edge."""
    a, quads = m.arguments, packed.row // 4
    part, quad = m.shift(m.lane, 3), m.iadd(m.imul(m.block_y, 8), m.iand(m.lane, 7))
    inside = m.less(quad, quads)
    column = m.imul(m.imin(quad, quads - 1), 4)
    source = m.address(a["given"], column)
    start, stop = (m.load_index(a["rows"], m.iadd(m.block_x, n)) for n in (0, 1))
    sums = [m.variable(0.0) for _ in range(4)]
    for place in m.loop(m.iadd(start, part), stop, 4):
        row = m.load(m.address(source, m.load_index(a["edges"], place), packed.row), 0, 4)
        for total, value in zip(sums, row, strict=True):
            m.assign(total, m.add(total, value))
    m.sync()
    first = m.both(inside, m.equal(part, 0))
    target = m.address(a["dh"], m.block_x, packed.coupling.dim_in)
    for c, total in enumerate(sums):
        for bits in (8, 16):
            total = m.add(total, m.other_lane(total, bits))
        place = m.load_index(a["columns"], m.iadd(column, c))
        real = m.both(first, m.less(-1, place))
        m.store(m.address(target, place), 0, [total], real)
