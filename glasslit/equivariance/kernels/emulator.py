"""Runs the programs of the GPU kernel in NumPy: the machine on which they are tested where there is no GPU.

It has the methods of ``glasslit.equivariance.kernels.ptx.Writer`` and does at once, in all blocks together, what
that one writes down. It is stricter than a GPU: reading or writing outside of a tensor, four numbers at a place that is
no multiple of 16 bytes, an exchange between threads that are not together, and two threads that write different numbers
to the same place each raise an ``AssertionError``. Multiply-adds are rounded twice here, once on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .ptx import WARP

Array = Any
REACH = 1 << 40  # bytes between the made-up addresses of two arguments


class Emulator:
    """All blocks of one program with the same ``block_y``.

    Parameters
    ----------
    tensors, integers : the program's arguments; tensors on the CPU
    n_blocks : how many
    block_y : which row of the grid
    double : float64 instead of float32
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], integers: Mapping[str, int], n_blocks: int, block_y: int, double: bool
    ) -> None:
        self.double, self.dtype = double, np.float64 if double else np.float32
        self.size = 8 if double else 4
        self.memory = [tensor.detach().numpy().reshape(-1) for tensor in tensors.values()]
        self.arguments: dict[str, Array] = {name: (n + 1) * REACH for n, name in enumerate(tensors)} | dict(integers)
        self.block_x, self.block_y = np.arange(n_blocks)[:, None], block_y
        self.lane = np.arange(WARP)[None, :]
        self.active = np.ones((n_blocks, WARP), dtype=bool)
        self.tile = np.zeros((n_blocks, 0), dtype=self.dtype)

    def number(self, value: float) -> Array:
        return self.dtype(value)

    def mul(self, a: Array, b: Array) -> Array:
        return a * b

    def add(self, a: Array, b: Array) -> Array:
        return a + b

    def fma(self, a: Array, b: Array, c: Array | None) -> Array:
        return a * b if c is None else a * b + c

    def neg(self, a: Array) -> Array:
        return -a

    def select(self, condition: Array, a: Array, b: Array) -> Array:
        return np.where(condition, a, b)

    def variable(self, value: float) -> Array:
        return np.full(self.active.shape, value, dtype=self.dtype)

    def assign(self, variable: Array, value: Array) -> None:
        np.copyto(variable, value, where=self.active)

    def accumulate(self, variable: Array, a: Array, b: Array) -> None:
        np.copyto(variable, variable + a * b, where=self.active)

    def not_positive(self, a: Array) -> Array:
        return a <= 0

    def other_lane(self, a: Array, bits: int) -> Array:
        self._check_together()
        return np.broadcast_to(a, self.active.shape)[:, np.arange(WARP) ^ bits]

    def iadd(self, a: Array, b: Array) -> Array:
        return self._integer(a + b)

    def imul(self, a: Array, b: Array) -> Array:
        return self._integer(a * b)

    def imin(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)

    def iand(self, a: Array, b: int) -> Array:
        return a & b

    def shift(self, a: Array, bits: int) -> Array:
        return a >> bits

    def less(self, a: Array, b: Array) -> Array:
        return np.asarray(a < b)

    def equal(self, a: Array, b: Array) -> Array:
        return np.asarray(a == b)

    def both(self, a: Array, b: Array) -> Array:
        return a & b

    def address(self, base: Array, index: Array, scale: int = 1) -> Array:
        return base + index * (scale * self.size)

    def load(self, base: Array, place: int = 0, count: int = 1, kept: bool = True) -> list[Array]:
        memory, at = self._find(base, place, count)
        return [memory[np.where(self.active, at + k, 0)] if len(memory) else self.dtype(0) for k in range(count)]

    def store(self, base: Array, place: int, values: Sequence[Array], condition: Array | None = None) -> None:
        mask = self.active if condition is None else self.active & condition
        memory, at = self._find(base, place, len(values), mask)
        for k, value in enumerate(values):
            places, numbers = at[mask] + k, np.broadcast_to(value, mask.shape)[mask]
            memory[places] = numbers
            assert np.array_equal(memory[places], numbers, equal_nan=True), "two threads write to the same place"

    def load_index(self, base: Array, index: Array) -> Array:
        memory, at = self._find(base + index * 8, 0, 1, size=8)
        return self._integer(memory[np.where(self.active, at, 0)] if len(memory) else at * 0)

    def tile_address(self, index: Array) -> Array:
        return np.broadcast_to(index, self.active.shape)

    def tile_load(self, base: Array, place: int, count: int = 1) -> list[Array]:
        self._check_tile(base, place, count)
        return [np.take_along_axis(self.tile, base + place + k, axis=1) for k in range(count)]

    def tile_store(self, base: Array, place: int, values: Sequence[Array]) -> None:
        self._check_tile(base, place, len(values))
        for k, value in enumerate(values):
            here, places = self.active.any(1), base + place + k
            self.tile[here] = _put(self.tile[here], places[here], np.broadcast_to(value, places.shape)[here])

    def tile_reserve(self, numbers: int) -> None:
        if self.tile.shape[1] < numbers:
            self.tile = np.full((len(self.active), numbers), np.nan, dtype=self.dtype)

    def loop(self, start: Array, stop: Array, step: int) -> Iterator[Array]:
        before = self.active
        counter = np.broadcast_to(start, before.shape).copy()
        while (going := before & (counter < stop)).any():
            self.active = going
            yield counter
            counter = counter + step
        self.active = before

    def when(self, condition: Array) -> Iterator[None]:
        before = self.active
        self.active = before & condition
        if self.active.any():
            yield None
        self.active = before

    def sync(self) -> None:
        self._check_together()

    def _check_together(self) -> None:
        assert (self.active.all(1) == self.active.any(1)).all(), "a warp's threads meet while some are elsewhere"

    def _integer(self, value: Array) -> Array:
        assert np.abs(np.where(self.active, value, 0)).max(initial=0) < 2**31, "an integer needs more than 32 bits"
        return value

    def _check_tile(self, base: Array, place: int, count: int) -> None:
        self._check_together()
        assert count == 1 or not ((base + place) % 4).any(), "four numbers at a place that is no multiple of four"
        lowest, highest = (base + place).min(), (base + place + count).max()
        assert (lowest, highest) == (max(lowest, 0), min(highest, self.tile.shape[1])), "outside of the tile"

    def _find(self, base: Array, place: int, count: int, mask: Array | None = None, size: int = 0) -> tuple[Any, Array]:
        """The tensor that an address lies in, and where; each thread's within its bounds, or it raises."""
        size, mask = size or self.size, self.active if mask is None else mask
        base = np.broadcast_to(base, self.active.shape)
        number, offset = base // REACH, base % REACH
        which = number[mask] if mask.any() else number.flat[:1]
        assert (which == which[0]).all(), "outside of the tensor"
        memory = self.memory[int(which[0]) - 1]
        assert not (offset % size).any()
        at = offset // size + place
        reached = at[mask]
        if reached.size:
            assert reached.min() >= 0, "outside of the tensor"
            assert reached.max() + count <= len(memory), "outside of the tensor"
            assert count == 1 or not ((reached * size) % 16).any(), "four numbers at no multiple of 16 bytes"
        return memory, at


def _put(tile: Array, places: Array, values: Array) -> Array:
    np.put_along_axis(tile, places, values, axis=1)
    return tile


def emulate(
    program: Callable[[Any], None],
    grid: tuple[int, int],
    tensors: Mapping[str, Tensor],
    integers: Mapping[str, int],
    double: bool,
) -> None:
    """Run a program on this machine, where a GPU would."""
    for block_y in range(grid[1]):
        with np.errstate(all="ignore"):
            program(Emulator(tensors, integers, grid[0], block_y, double))
