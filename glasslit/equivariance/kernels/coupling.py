"""What couples with what, and the numbers it couples with: shared by every kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
import torch
from e3nn import o3
from torch import Tensor

from ..so3 import parity_of, paths


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """PyTorch's default dtype, changed for a moment."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@lru_cache(maxsize=512)
def coefficients(l_in: int, l_filter: int, l_out: int) -> np.ndarray:
    r"""sqrt(2 l_out + 1) times e3nn's Wigner 3j: what the kernels multiply with.

    Returns
    -------
    shape (2 l_in + 1, 2 l_filter + 1, 2 l_out + 1), float64, exact zeros where nothing couples.
    """
    with default_dtype(torch.float64):
        values = o3.wigner_3j(l_in, l_filter, l_out, dtype=torch.float64).numpy() * (2 * l_out + 1) ** 0.5
    return np.where(np.abs(values) > 1e-12, values, 0.0)


@dataclass(frozen=True)
class Coupling:
    """Which features couple with which harmonics, and in what order weights and results lie.

    Parameters
    ----------
    irreps_in : e3nn irreps of h, as a string, e.g. "8x0e+8x1e+3x0e"
    l_max : highest degree of harmonics and of results
    mirror_images : whether the parity of features is known, and products odd under reflection are left out. All
        irreps then have their natural parity, 0e, 1o, 2e, ...

    Raises
    ------
    ValueError
        If the parity of mirror images is asked for, and an irrep has not its natural parity; or if
        ``mirror_images`` is neither True nor False.

    Examples
    --------
    >>> coupling = Coupling("8x0e+8x1e+8x2e+8x3e+3x0e", 3)
    >>> len(coupling.terms), coupling.n_weights, coupling.irreps_out
    (38, 284, 35x0e+75x1e+91x2e+83x3e)
    >>> known = Coupling("8x0e+8x1o+8x2e+8x3o+3x0e", 3, mirror_images=True)
    >>> len(known.terms), known.n_weights, known.irreps_out
    (27, 196, 35x0e+51x1o+59x2e+51x3o)
    """

    irreps_in: str
    l_max: int
    mirror_images: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.mirror_images, bool):
            raise ValueError(f"mirror_images = {self.mirror_images!r}; expected True or False")
        if not self.mirror_images:
            return
        for _, irrep in o3.Irreps(self.irreps_in):
            if irrep.p != parity_of(irrep.l, True):
                raise ValueError(
                    f"irreps {self.irreps_in} with {irrep}; expected natural parity, 0e, 1o, 2e, 3o, ..., where the "
                    "layer knows mirror images: change the parity, or set mirror_images=False"
                )

    @cached_property
    def slots(self) -> tuple[tuple[int, int], ...]:
        """(copies, degree) of each entry of irreps_in."""
        return tuple((mul, irrep.l) for mul, irrep in o3.Irreps(self.irreps_in))

    @cached_property
    def terms(self) -> tuple[tuple[int, int, int], ...]:
        """(slot of irreps_in, l_filter, l_out) of each term, sorted by l_out: one weight per term and copy."""
        found = [
            (slot, f, o)
            for slot, (_, degree) in enumerate(self.slots)
            for _, f, o in paths(self.l_max, degree, self.mirror_images)
        ]
        return tuple(sorted(found, key=lambda term: (term[2], term[0], term[1])))

    @cached_property
    def irreps_terms(self) -> o3.Irreps:
        """Irreps of the result, one entry per term."""
        kinds = [(degree, parity_of(degree, self.mirror_images)) for _, _, degree in self.terms]
        return o3.Irreps([(self.slots[slot][0], kind) for (slot, _, _), kind in zip(self.terms, kinds, strict=True)])

    @cached_property
    def irreps_out(self) -> o3.Irreps:
        """The same, terms of equal degree joined: one entry per degree."""
        return self.irreps_terms.simplify()

    @cached_property
    def n_weights(self) -> int:
        """Weights per edge: one per (path, channel)."""
        return int(self.irreps_terms.num_irreps)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Channels of the result at each degree 0 ... l_max, all terms together."""
        return tuple(sum(mul for mul, irrep in self.irreps_terms if irrep.l == o) for o in range(self.l_max + 1))

    @cached_property
    def dim_in(self) -> int:
        """Numbers per node that come in."""
        return int(o3.Irreps(self.irreps_in).dim)

    @cached_property
    def slot_start(self) -> tuple[int, ...]:
        """First column of each slot in h."""
        sizes = [mul * (2 * degree + 1) for mul, degree in self.slots]
        return tuple(sum(sizes[:slot]) for slot in range(len(sizes)))

    @cached_property
    def weight_start(self) -> tuple[int, ...]:
        """First weight of each term."""
        copies = [self.slots[slot][0] for slot, _, _ in self.terms]
        return tuple(sum(copies[:number]) for number in range(len(copies)))

    @cached_property
    def channel_start(self) -> tuple[int, ...]:
        """First channel of each term among those of its degree."""
        before = [sum(self.widths[:o]) for _, _, o in self.terms]
        return tuple(start - first for start, first in zip(self.weight_start, before, strict=True))

    def entries(self, number: int) -> tuple[tuple[int, int, tuple[tuple[int, float], ...]], ...]:
        """(m_in, m_out, ((component of Y, factor), ...)) of one term: what couples, and nothing that does not."""
        slot, f, o = self.terms[number]
        return _entries(self.slots[slot][1], f, o)

    @cached_property
    def matrix(self) -> tuple[list[list[tuple[int, int, int, int]]], list[tuple[tuple[int, float], ...]]]:
        """Of each term the (m_in, m_out, entry, sign) that couple; of each entry of K the (component of Y, factor).

        K is an edge's small matrix that couples in and out; entries that are equal but for a sign are kept once.
        """
        terms: list[list[tuple[int, int, int, int]]] = []
        entries: dict[tuple, tuple[int, tuple[tuple[int, float], ...]]] = {}
        for number in range(len(self.terms)):
            terms.append([])
            for m_in, m_out, row in self.entries(number):
                sign = 1 if row[0][1] > 0 else -1
                key = tuple((m, round(sign * v, 15)) for m, v in row)
                entry = entries.setdefault(key, (len(entries), tuple((m, sign * v) for m, v in row)))[0]
                terms[-1].append((m_in, m_out, entry, sign))
        return terms, [row for _, row in entries.values()]


@cache
def _entries(degree: int, f: int, o: int) -> tuple[tuple[int, int, tuple[tuple[int, float], ...]], ...]:
    values = coefficients(degree, f, o)
    found = []
    for m_in, m_out in np.ndindex(values.shape[0], values.shape[2]):
        row = tuple((f**2 + m, float(v)) for m, v in enumerate(values[m_in, :, m_out]) if v)
        if row:
            found.append((m_in, m_out, row))
    return tuple(found)


@lru_cache(maxsize=256)
def component_major(coupling: Coupling, device: torch.device, inverse: bool = False) -> Tensor:
    """Columns of h, shape (dim_in,), reordered within each slot from e3nn's [copy, m] to [m, copy]; or back."""
    order = [
        torch.arange(start, start + mul * (2 * degree + 1)).reshape(mul, 2 * degree + 1).T.flatten()
        for start, (mul, degree) in zip(coupling.slot_start, coupling.slots, strict=True)
    ]
    columns = torch.cat(order).to(device)
    return columns.argsort() if inverse else columns
