"""Where everything lies in the memory of the compiled CPU kernel."""

from __future__ import annotations

from .coupling import Coupling


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
    wide : the processor has 32 registers of 512 bits (AVX-512), which the radial network then uses
    """

    def __init__(self, coupling: Coupling, double: bool, hidden: int = 0, wide: bool = False) -> None:
        self.coupling, self.double, self.hidden = coupling, double, hidden
        self.lanes = 4 if double else 8  # of a vector of channels
        self.tile = 2 * self.lanes  # edges whose weights are made at once
        self.wide = 2 * self.lanes if wide else self.lanes  # of a vector of weights
        self.hidden_padded = round_up(hidden, 8)
        padded = min(round_up(coupling.n_weights, vectors * self.wide) for vectors in (3, 2))
        self.weights_padded = padded if hidden else coupling.n_weights
        self.dim_padded = round_up(coupling.dim_in, self.lanes)
        # First accumulator of each term; each component has room for whole vectors.
        rooms = [(2 * o + 1) * round_up(coupling.slots[slot][0], self.lanes) for slot, _, o in coupling.terms]
        self.accumulator = [sum(rooms[:number]) for number in range(len(rooms))]
        self.n_accumulators = sum(rooms)

    @property
    def arguments(self) -> dict[str, list[str]]:
        """Names of the arguments of each function, in order: all pass as 64-bit integers."""
        out = [f"out{o}" for o in range(self.coupling.l_max + 1)]
        common = ["counter", "n_nodes", "n_chunks", "walk", "rows", "edges", "ends", "h", "Y", "w", "weight", "bias"]
        return {
            "forward": common + out,
            "backward": [*common, *out, "weight_t", "dw", "dweight", "dbias", "bases", "sums", "partial"],
            "collect": ["counter", "n_nodes", "n_chunks", "table", "partial", "dh"],
            "harmonics": [*common, *out, "dY"],
        }
