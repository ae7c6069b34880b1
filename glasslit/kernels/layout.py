"""Where everything lies in the memory of the compiled CPU kernel."""

from __future__ import annotations

from functools import cached_property

from .coupling import Coupling, coefficients


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
        sizes = [mul * (2 * degree + 1) for mul, degree in coupling.slots]
        self.slot_start = [sum(sizes[:slot]) for slot in range(len(sizes))]
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
        """Of each term the (m_in, m_out, entry, sign) that couple; of each entry of K the (component of Y, factor)."""
        terms: list[list[tuple[int, int, int, int]]] = []
        entries: dict[tuple, tuple[int, tuple[tuple[int, float], ...]]] = {}
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
