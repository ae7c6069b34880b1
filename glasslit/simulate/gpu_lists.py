"""Neighbor lists of a system on a multiprocessor: made by one thread block, in the same order whatever its threads.

Arguments are those of :mod:`~glasslit.simulate.gpu_code`. Lists are made every ten to thirty steps, and
counted in instructions (benchmarks/results/gpu_counts.json) making them took more of a step than the loop over
pairs, which everybody looks at first. So this file saves what it can:

- Threads take particles in the order of the cells. The 32 threads of a warp then look at the same few cells, read the
  same words of on-chip memory at once, and have about as many candidates.
- The cells of a row along z lie side by side in that order, so a thread goes through 25 rows and not through 125 cells.
- Four neighbors are packed in a register and stored as one word.
- Nothing that the loop needs is read from the GPU's memory inside of it.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

FULL = 1
"""Bit of what went wrong: a list is full."""


@cuda.jit(device=True)
def cell_of(x, count):
    """Which of ``count`` cells along an edge a position lies in."""
    return np.int32(((np.int64(x) + np.int64(2147483648)) * np.int64(count)) >> 32)


@cuda.jit(device=True)
def sort_into_cells(shared, n, nx, ny, nz):
    """Numbers of the particles, cell by cell, and where each cell begins.

    Afterwards ``shared[4 n + 1 + c]`` is the place of the first particle of cell c behind ``shared[3 n]``, and the
    last of these places, behind all cells, is n.
    """
    t, threads = cuda.threadIdx.x, cuda.blockDim.x
    order, heads = 3 * n, 4 * n
    total = nx * ny * nz
    for c in range(t, total + 2, threads):
        shared[heads + c] = 0 if c <= total else n
    cuda.syncthreads()
    for i in range(t, n, threads):
        c = (cell_of(shared[3 * i], nx) * ny + cell_of(shared[3 * i + 1], ny)) * nz + cell_of(shared[3 * i + 2], nz)
        cuda.atomic.add(shared, heads + c + 1, 1)
    cuda.syncthreads()
    for row in range(t, nx * ny, threads):  # running sums, along each row, then from row to row
        for c in range(heads + row * nz + 2, heads + row * nz + nz + 1):
            shared[c] += shared[c - 1]
    cuda.syncthreads()
    if t == 0:
        for row in range(1, nx * ny):
            shared[heads + row * nz + nz] += shared[heads + row * nz]
    cuda.syncthreads()
    for row in range(t, nx * ny, threads):
        if row > 0:
            for c in range(heads + row * nz + 1, heads + row * nz + nz):
                shared[c] += shared[heads + row * nz]
    cuda.syncthreads()
    for i in range(t, n, threads):  # cells are filled from their ends, which so become their beginnings
        c = (cell_of(shared[3 * i], nx) * ny + cell_of(shared[3 * i + 1], ny)) * nz + cell_of(shared[3 * i + 2], nz)
        shared[order + cuda.atomic.sub(shared, heads + c + 1, 1) - 1] = i
    cuda.syncthreads()
    for c in range(t, total, threads):  # who comes first in a cell must not depend on which thread was faster
        low, high = shared[heads + c + 1], shared[heads + c + 2]
        for at in range(low + 1, high):
            member, place = shared[order + at], at
            while place > low and shared[order + place - 1] > member:
                shared[order + place] = shared[order + place - 1]
                place -= 1
            shared[order + place] = member
    cuda.syncthreads()


@cuda.jit(device=True)
def relist(b, shared, n, cells, reference, travelled, sx, sy, sz, limits, border, rows, words, counts, wrong):
    """New neighbor lists from a cell list built on chip; distances travelled since the last ones are booked.

    ``sx, sy, sz`` are the box's edges over 2^32, single precision; the others are arguments of the kernels.
    """
    t, threads = cuda.threadIdx.x, cuda.blockDim.x
    for i in range(t, n, threads):
        for k in range(3):
            x = shared[3 * i + k]
            travelled[b, k, i] += np.int32(x - reference[b, k, i])
            reference[b, k, i] = x
    nx, ny, nz = np.int32(cells[0]), np.int32(cells[1]), np.int32(cells[2])
    sort_into_cells(shared, n, nx, ny, nz)
    order, heads = np.uint64(3 * n), np.uint64(4 * n + 1)
    stride = np.uint64(n)
    lists_a = np.uint64(b) * np.uint64(rows[2] + 1) * stride
    lists_b = lists_a + np.uint64(rows[1]) * stride
    reach_x, reach_y, reach_z = (2 if nx > 1 else 0), (2 if ny > 1 else 0), (2 if nz > 1 else 0)
    room_a, room_b = np.int32(4 * rows[1]), np.int32(4 * (rows[2] - rows[1]))
    for slot in range(t, n, threads):
        i = np.int32(shared[order + np.uint64(slot)])
        xi, yi, zi = shared[3 * i], shared[3 * i + 1], shared[3 * i + 2]
        own, mine = np.uint64(i), (1 if i >= border else 0)
        at_a, at_b = lists_a + own, lists_b + own
        limit_a, limit_b = limits[mine, 0], limits[mine, 1]
        cx, cy, cz = cell_of(xi, nx), cell_of(yi, ny), cell_of(zi, nz)
        low, high = np.int32(cz - reach_z), np.int32(cz + reach_z + 1)
        word_a, word_b, in_a, in_b = np.uint64(0), np.uint64(0), np.int32(0), np.int32(0)
        for ax in range(-reach_x, reach_x + 1):
            px = np.int32(cx + ax)
            px = np.int32(px + nx) if px < 0 else (np.int32(px - nx) if px >= nx else px)
            for ay in range(-reach_y, reach_y + 1):
                py = np.int32(cy + ay)
                py = np.int32(py + ny) if py < 0 else (np.int32(py - ny) if py >= ny else py)
                row = heads + np.uint64((px * ny + py) * nz)
                begin = shared[row + np.uint64(max(low, 0))]
                inside = np.int32(shared[row + np.uint64(min(high, nz))] - begin)
                again, beyond = np.int32(0), np.int32(0)  # what lies across the box's face is another piece
                if low < 0:
                    again = shared[row + np.uint64(nz + low)]
                    beyond = np.int32(shared[row + np.uint64(nz)] - again)
                elif high > nz:
                    again = shared[row]
                    beyond = np.int32(shared[row + np.uint64(high - nz)] - again)
                again = np.int32(again - inside)
                for k in range(np.int32(inside + beyond)):
                    at = np.int32((begin if k < inside else again) + k)
                    j = shared[order + np.uint64(at)]
                    number = np.uint64(j)
                    place = np.uint64(3) * number
                    dx = np.float32(np.int32(shared[place] - xi)) * sx
                    dy = np.float32(np.int32(shared[place + np.uint64(1)] - yi)) * sy
                    dz = np.float32(np.int32(shared[place + np.uint64(2)] - zi)) * sz
                    r2 = dx * dx + dy * dy + dz * dz
                    if r2 < (limit_b if j >= border else limit_a) and j != i:
                        if j >= border:
                            word_b = (word_b >> np.uint64(16)) | (number << np.uint64(48))
                            in_b = np.int32(in_b + 1)
                            if in_b & 3 == 0 and in_b <= room_b:
                                words[at_b], at_b = word_b, at_b + stride
                        else:
                            word_a = (word_a >> np.uint64(16)) | (number << np.uint64(48))
                            in_a = np.int32(in_a + 1)
                            if in_a & 3 == 0 and in_a <= room_a:
                                words[at_a], at_a = word_a, at_a + stride
        if in_a > room_a or in_b > room_b:
            cuda.atomic.or_(wrong, b, FULL)
            in_a, in_b = np.int32(0), np.int32(0)
        counts[2 * b * n + i], counts[(2 * b + 1) * n + i] = in_a, in_b
        while in_a & 3:  # a group is filled up with the particle itself
            word_a = (word_a >> np.uint64(16)) | (own << np.uint64(48))
            in_a = np.int32(in_a + 1)
            if in_a & 3 == 0:
                words[at_a], at_a = word_a, at_a + stride
        while in_b & 3:
            word_b = (word_b >> np.uint64(16)) | (own << np.uint64(48))
            in_b = np.int32(in_b + 1)
            if in_b & 3 == 0:
                words[at_b], at_b = word_b, at_b + stride
    cuda.syncthreads()
