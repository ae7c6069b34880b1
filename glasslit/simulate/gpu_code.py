"""The kernels of :mod:`~glasslit.simulate.gpu`: one system to a thread block, advanced without ever leaving it.

Imported only when a GPU engine is made. Written in Numba's CUDA dialect, so that the same source runs on a GPU and,
thread by thread in Python, in Numba's simulator (``NUMBA_ENABLE_CUDASIM=1``).

Arguments that all share, with S systems of N particles of K types: ``x, reference`` (S, 3, N) int32; ``travelled``
(S, 3, N) int64; ``scale`` (3,); ``table`` (K, K, 5); ``limits`` (K, K); ``first_of, rows`` (K + 1,): where particles
and list rows of each type begin; ``cells`` (3,); ``neighbors`` the lists, and ``words`` the same memory, four numbers
at once: four rows of one particle lie together, particles side by side; ``counts`` (S, K, N); ``wrong`` (S,) flags.

On chip (dynamic shared memory, 32-bit words): 3 N positions, N numbers of particles sorted by cell, the cells' first
places. In the GPU's L2 cache or memory, read in order: velocities, references, and a full Verlet list of 16-bit
numbers (1 MB at N = 4096: no on-chip memory holds it, but a step reads it once, side by side, 256 bytes a warp). Each
thread owns the particles t, t + threads, ...; it alone adds up their forces, in the order of the list, so nothing is
atomic but the counting of cells, and the same input gives the same bits.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda, float64, int32
from numba.cuda.random import xoroshiro128p_normal_float32

from .fixed import SIMULATED

FULL, RAN_AWAY, NOT_DONE = 1, 2, 4
"""Bits of what went wrong: a list is full, a particle ran away, FIRE has not arrived."""
SUMS = 1024
"""Most threads in a block."""
REGISTERS = 64
"""Most registers of a thread: a multiprocessor has 65,536, so 1024 threads can be at work on it."""
_LIMIT = {} if SIMULATED else {"max_registers": REGISTERS}


@cuda.jit(device=True)
def _cell(x, count):
    """Which of ``count`` cells along an edge a position lies in."""
    return ((np.int64(x) + np.int64(2147483648)) * count) >> 32


@cuda.jit(device=True)
def _whole(step):
    """A step as a whole number; a particle that runs away goes a quarter of the box, and is caught."""
    return np.int32(math.floor(min(max(step, -1e9), 1e9) + 0.5))


@cuda.jit(device=True)
def _relist(b, shared, n, cells, reference, travelled, scale, limits, first_of, rows, neighbors, counts, wrong):
    """New neighbor lists from a cell list built on chip; distances travelled since the last ones are booked."""
    t, threads = cuda.threadIdx.x, cuda.blockDim.x
    nx, ny, nz = cells[0], cells[1], cells[2]
    order, heads = 3 * n, 4 * n
    total = nx * ny * nz
    for c in range(t, total + 1, threads):
        shared[heads + c] = 0
    for i in range(t, n, threads):
        for k in range(3):
            x = shared[k * n + i]
            travelled[b, k, i] += np.int32(x - reference[b, k, i])
            reference[b, k, i] = x
    cuda.syncthreads()
    for i in range(t, n, threads):
        c = (_cell(shared[i], nx) * ny + _cell(shared[n + i], ny)) * nz + _cell(shared[2 * n + i], nz)
        cuda.atomic.add(shared, heads + c + 1, 1)
    cuda.syncthreads()
    if t == 0:  # a thousand cells at most: one thread adds them up
        for c in range(1, total + 1):
            shared[heads + c] += shared[heads + c - 1]
    cuda.syncthreads()
    for i in range(t, n, threads):  # cells are filled from their ends, which so become the starts of the next
        c = (_cell(shared[i], nx) * ny + _cell(shared[n + i], ny)) * nz + _cell(shared[2 * n + i], nz)
        shared[order + cuda.atomic.sub(shared, heads + c + 1, 1) - 1] = i
    cuda.syncthreads()
    for c in range(t, total, threads):  # who comes first in a cell must not depend on which thread was faster
        low = shared[heads + c + 1]
        high = shared[heads + c + 2] if c + 1 < total else n
        for at in range(low + 1, high):
            member, place = shared[order + at], at
            while place > low and shared[order + place - 1] > member:
                shared[order + place] = shared[order + place - 1]
                place -= 1
            shared[order + place] = member
    cuda.syncthreads()
    reach_x, reach_y, reach_z = (2 if nx > 1 else 0), (2 if ny > 1 else 0), (2 if nz > 1 else 0)
    kinds = counts.shape[1]
    for i in range(t, n, threads):
        xi, yi, zi = shared[i], shared[n + i], shared[2 * n + i]
        ti = 0
        for kind in range(1, kinds):
            ti += 1 if i >= first_of[kind] else 0
        for kind in range(kinds):
            counts[b, kind, i] = 0
        cx, cy, cz = _cell(xi, nx), _cell(yi, ny), _cell(zi, nz)
        for ax in range(-reach_x, reach_x + 1):
            for ay in range(-reach_y, reach_y + 1):
                for az in range(-reach_z, reach_z + 1):
                    c = (((cx + ax + nx) % nx) * ny + (cy + ay + ny) % ny) * nz + (cz + az + nz) % nz
                    for at in range(shared[heads + c + 1], shared[heads + c + 2] if c + 1 < total else n):
                        j = shared[order + at]
                        dx = np.float32(np.int32(shared[j] - xi)) * np.float32(scale[0])
                        dy = np.float32(np.int32(shared[n + j] - yi)) * np.float32(scale[1])
                        dz = np.float32(np.int32(shared[2 * n + j] - zi)) * np.float32(scale[2])
                        tj = 0
                        for kind in range(1, kinds):
                            tj += 1 if j >= first_of[kind] else 0
                        if j != i and dx * dx + dy * dy + dz * dz < limits[ti, tj]:
                            row = counts[b, tj, i]
                            if row < rows[tj + 1] - rows[tj]:
                                neighbors[((np.int64(b) * rows[kinds] + rows[tj] + row) // 4 * n + i) * 4 + row % 4] = j
                                counts[b, tj, i] = row + 1
                            else:
                                cuda.atomic.or_(wrong, b, FULL)
        for kind in range(kinds):
            row = counts[b, kind, i]
            while row % 4:
                neighbors[((np.int64(b) * rows[kinds] + rows[kind] + row) // 4 * n + i) * 4 + row % 4] = i
                row += 1
    cuda.syncthreads()


def build(real: Any, thermostat: bool) -> SimpleNamespace:
    """The kernels for one precision of the forces (``numpy.float32`` or ``float64``), with or without a thermostat."""

    @cuda.jit(device=True, inline="always")
    def force_on(b, i, shared, n, scale, table, first_of, rows, words, counts):
        """Force on particle i and its potential energy (half of each pair)."""
        fx, fy, fz, energy = real(0), real(0), real(0), real(0)
        xi, yi, zi = shared[i], shared[n + i], shared[2 * n + i]
        sx, sy, sz = real(scale[0]), real(scale[1]), real(scale[2])
        kinds = counts.shape[1]
        ti = 0
        for kind in range(1, kinds):
            ti += 1 if i >= first_of[kind] else 0
        for kind in range(kinds):
            c12, c6, cut2 = real(table[ti, kind, 0]), real(table[ti, kind, 1]), real(table[ti, kind, 2])
            slope, lift = real(table[ti, kind, 3]), real(table[ti, kind, 4])
            groups = (counts[b, kind, i] + 3) // 4
            stride = np.uint64(n)
            place = np.uint64((np.int64(b) * rows[kinds] + rows[kind]) // 4 * n + i)
            following = words[place]
            for _ in range(groups):
                word, place = following, place + stride
                following = words[place]  # asked for before this group is worked on
                for _ in range(4):
                    j = word & np.uint64(0xFFFF)
                    word >>= np.uint64(16)
                    dx = real(np.int32(shared[j] - xi)) * sx
                    dy = real(np.int32(shared[j + stride] - yi)) * sy
                    dz = real(np.int32(shared[j + stride + stride] - zi)) * sz
                    r2 = dx * dx + dy * dy + dz * dz
                    if real(0) < r2 < cut2:  # a group is filled up with the particle itself
                        inverse = real(1) / real(math.sqrt(r2))
                        inverse2 = inverse * inverse
                        s6 = inverse2 * inverse2 * inverse2
                        g = s6 * (c6 - c12 * s6) * inverse2 - slope * inverse
                        fx += g * dx
                        fy += g * dy
                        fz += g * dz
                        energy += real(0.5) * (s6 * (c12 * s6 / real(12) - c6 / real(6)) + lift - slope * r2 * inverse)
        return fx, fy, fz, energy

    @cuda.jit(device=True)
    def load(b, shared, n, x):
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            for k in range(3):
                shared[k * n + i] = x[b, k, i]
        cuda.syncthreads()

    @cuda.jit(device=True)
    def unload(b, shared, n, x):
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            for k in range(3):
                x[b, k, i] = shared[k * n + i]

    @cuda.jit(device=True)
    def far(b, i, shared, n, reference, scale):
        """Squared distance from where the particle was when its list was made."""
        dx = np.float32(np.int32(shared[i] - reference[b, 0, i])) * np.float32(scale[0])
        dy = np.float32(np.int32(shared[n + i] - reference[b, 1, i])) * np.float32(scale[1])
        dz = np.float32(np.int32(shared[2 * n + i] - reference[b, 2, i])) * np.float32(scale[2])
        return dx * dx + dy * dy + dz * dz

    @cuda.jit(device=True)
    def total(values, value):
        """The sum of one value of each thread, for all of them; in a fixed order."""
        t, stride = cuda.threadIdx.x, cuda.blockDim.x
        values[t] = value
        cuda.syncthreads()
        while stride > 1:
            half = (stride + 1) // 2
            if t + half < stride:
                values[t] += values[t + half]
            cuda.syncthreads()
            stride = half
        result = values[0]
        cuda.syncthreads()
        return result

    @cuda.jit(fastmath=True, **_LIMIT)
    def probe(
        x,
        reference,
        travelled,
        scale,
        table,
        limits,
        first_of,
        rows,
        cells,
        neighbors,
        words,
        counts,
        wrong,
        force,
        energy,
    ):
        """Forces and energies where the particles are."""
        b, n = cuda.blockIdx.x, x.shape[2]
        shared = cuda.shared.array(0, int32)
        load(b, shared, n, x)
        _relist(b, shared, n, cells, reference, travelled, scale, limits, first_of, rows, neighbors, counts, wrong)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            fx, fy, fz, e = force_on(b, i, shared, n, scale, table, first_of, rows, words, counts)
            force[b, 0, i], force[b, 1, i], force[b, 2, i], energy[b, i] = fx, fy, fz, e

    @cuda.jit(fastmath=True, **_LIMIT)
    def advance(
        steps, dt, skin, keep, heat, x, v, reference, travelled, scale, table, limits, first_of, rows, cells,
        neighbors, words, counts, wrong, random,
    ):  # fmt: skip
        """Velocity Verlet, from and to synchronous positions and velocities.

        With a thermostat, after each half drift v becomes keep v + sqrt((1 - keep^2) T) times a normal number (the
        order of Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34: BAOAB); T goes from heat[0] in steps of
        heat[1].
        """
        b, n = cuda.blockIdx.x, x.shape[2]
        t, threads = cuda.threadIdx.x, cuda.blockDim.x
        shared = cuda.shared.array(0, int32)
        load(b, shared, n, x)
        stale = True
        near2, far2 = np.float32(0.25) * skin * skin, skin * skin
        px, py, pz = np.float32(dt / scale[0]), np.float32(dt / scale[1]), np.float32(dt / scale[2])
        for step in range(steps + 1):
            if stale:
                _relist(
                    b, shared, n, cells, reference, travelled, scale, limits, first_of, rows, neighbors, counts, wrong
                )
            kick = dt if 0 < step < steps else np.float32(0.5) * dt
            for i in range(t, n, threads):
                fx, fy, fz, _ = force_on(b, i, shared, n, scale, table, first_of, rows, words, counts)
                v[b, 0, i] += kick * np.float32(fx)
                v[b, 1, i] += kick * np.float32(fy)
                v[b, 2, i] += kick * np.float32(fz)
            cuda.syncthreads()
            if step < steps:
                moved = False
                for i in range(t, n, threads):
                    vx, vy, vz = v[b, 0, i], v[b, 1, i], v[b, 2, i]
                    if thermostat:
                        temperature = heat[0] + heat[1] * np.float32(step)
                        noise = np.float32(math.sqrt((np.float32(1) - keep * keep) * temperature))
                        wx = keep * vx + noise * xoroshiro128p_normal_float32(random, b * n + i)
                        wy = keep * vy + noise * xoroshiro128p_normal_float32(random, b * n + i)
                        wz = keep * vz + noise * xoroshiro128p_normal_float32(random, b * n + i)
                        v[b, 0, i], v[b, 1, i], v[b, 2, i] = wx, wy, wz
                        vx = np.float32(0.5) * (vx + wx)
                        vy = np.float32(0.5) * (vy + wy)
                        vz = np.float32(0.5) * (vz + wz)
                    shared[i] = np.int32(shared[i] + _whole(vx * px))
                    shared[n + i] = np.int32(shared[n + i] + _whole(vy * py))
                    shared[2 * n + i] = np.int32(shared[2 * n + i] + _whole(vz * pz))
                    r2 = far(b, i, shared, n, reference, scale)
                    if r2 > near2:
                        moved = True
                        if r2 > far2:
                            cuda.atomic.or_(wrong, b, RAN_AWAY)
                stale = cuda.syncthreads_or(np.int32(moved)) != 0
        unload(b, shared, n, x)

    @cuda.jit(**_LIMIT)
    def fire(
        steps, tolerance, skin, x, v, state, reference, travelled, scale, table, limits, first_of, rows, cells,
        neighbors, words, counts, wrong,
    ):  # fmt: skip
        """FIRE (Bitzek et al., PRL 97, 170201, 2006).

        ``state`` is (time step, mixing, steps downhill), kept between calls. A particle goes at most 0.1 sigma_AA in a
        step. NOT_DONE stays set until the largest force is below the tolerance.
        """
        b, n = cuda.blockIdx.x, x.shape[2]
        t, threads = cuda.threadIdx.x, cuda.blockDim.x
        shared = cuda.shared.array(0, int32)
        values = cuda.shared.array(SUMS, float64)
        load(b, shared, n, x)
        stale = True
        near2 = np.float32(0.25) * skin * skin
        dt, mixing, downhill = state[b, 0], state[b, 1], state[b, 2]
        for _step in range(steps):
            if stale:
                _relist(
                    b, shared, n, cells, reference, travelled, scale, limits, first_of, rows, neighbors, counts, wrong
                )
            power, speed2, force2 = 0.0, 0.0, 0.0
            beyond = False
            for i in range(t, n, threads):
                fx, fy, fz, _ = force_on(b, i, shared, n, scale, table, first_of, rows, words, counts)
                vx, vy, vz = v[b, 0, i] + dt * fx, v[b, 1, i] + dt * fy, v[b, 2, i] + dt * fz
                v[b, 0, i], v[b, 1, i], v[b, 2, i] = vx, vy, vz
                v[b, 3, i], v[b, 4, i], v[b, 5, i] = fx, fy, fz
                own = fx * fx + fy * fy + fz * fz
                beyond = beyond or own > tolerance * tolerance
                power += fx * vx + fy * vy + fz * vz
                speed2 += vx * vx + vy * vy + vz * vz
                force2 += own
            if not cuda.syncthreads_or(np.int32(beyond)):
                if t == 0:
                    cuda.atomic.and_(wrong, b, ~NOT_DONE)
                break
            power, speed2, force2 = total(values, power), total(values, speed2), total(values, force2)
            if power > 0:
                keep, turn = 1.0 - mixing, mixing * math.sqrt(speed2 / force2)
                downhill += 1
                if downhill > 5:
                    dt, mixing = min(1.1 * dt, 0.05), 0.99 * mixing
            else:
                keep, turn = 0.0, 0.0
                downhill, dt, mixing = 0.0, 0.5 * dt, 0.1
            moved = False
            for i in range(t, n, threads):
                for k in range(3):
                    v[b, k, i] = keep * v[b, k, i] + turn * v[b, 3 + k, i]
                vx, vy, vz = v[b, 0, i], v[b, 1, i], v[b, 2, i]
                way = dt * math.sqrt(vx * vx + vy * vy + vz * vz)
                short = dt if way < 0.1 else dt * 0.1 / way
                shared[i] = np.int32(shared[i] + _whole(vx * short / scale[0]))
                shared[n + i] = np.int32(shared[n + i] + _whole(vy * short / scale[1]))
                shared[2 * n + i] = np.int32(shared[2 * n + i] + _whole(vz * short / scale[2]))
                if far(b, i, shared, n, reference, scale) > near2:
                    moved = True
            stale = cuda.syncthreads_or(np.int32(moved)) != 0
        if t == 0:
            state[b, 0], state[b, 1], state[b, 2] = dt, mixing, downhill
        unload(b, shared, n, x)

    return SimpleNamespace(probe=probe, advance=advance, fire=fire)
