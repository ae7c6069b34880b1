"""The kernels of :mod:`~glasslit.simulate.gpu`: one system to a thread block, advanced without ever leaving it.

Imported only when a GPU engine is made. Written in Numba's CUDA dialect, so that the same source runs on a GPU and,
thread by thread in Python, in Numba's simulator (``NUMBA_ENABLE_CUDASIM=1``).

Arguments that all share, with S systems of N particles, those of type A first: ``x, reference`` (S, 3, N) int32;
``travelled`` (S, 3, N) int64; ``scale`` (3,), the box's edges over 2^32; ``table`` (2, 2, 5), in the precision of the
forces; ``limits`` (2, 2); ``border``, the number of A particles; ``rows`` (3,), where rows of neighbors of each type
begin and where all end; ``cells`` (3,); ``words`` the lists, flat, S x (rows + 1) x N of 64 bits: a row holds four
neighbors of each particle, particles side by side; ``counts`` flat, S x 2 x N; ``wrong`` (S,) flags.

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
from .gpu_lists import FULL as FULL
from .gpu_lists import relist

RAN_AWAY, NOT_DONE = 2, 4
"""Bits of what went wrong: a particle ran away, FIRE has not arrived."""
SUMS = 1024
"""Most threads in a block."""
PARTS, TOTALS = 32, 96
"""Parts in which FIRE adds up its sums: a fixed number, so that they do not depend on the threads."""
REGISTERS = 64
"""Most registers of a thread: a multiprocessor has 65,536, so 1024 threads can be at work on it."""
_LIMIT = {} if SIMULATED else {"max_registers": REGISTERS}
LONGEST, SHORTEST, MIXING, PATIENCE = 0.03, 1e-4, 0.1, 5
"""Of FIRE: longest and shortest time step, mixing at the start, steps downhill before the time step grows. At 0.05, ten
steps of dynamics, the stiffest bonds of this liquid are past the limit of stability: in the same arithmetic on a CPU,
1000 particles at T = 0.44 take 944 steps to max|F| = 1e-5 with 0.03, and are at 2e-3 after 6000 with 0.05."""
CLOSEST = 1e-3
"""Squared distance below which the force between two particles grows no more, sigma_AA^2. Nobody comes that near, but a
particle that fills up its own list has distance zero: its force on itself is then zero without being asked for."""


@cuda.jit(device=True)
def _whole(step):
    """A step as a whole number; a particle that runs away goes a quarter of the box, and is caught."""
    return np.int32(math.floor(min(max(step, -1e9), 1e9) + 0.5))


def _inverse_root(real: Any) -> Any:
    """1 / sqrt(x) in a device function: one instruction of a GPU in single precision."""
    if SIMULATED:
        return cuda.jit(device=True)(lambda x: real(1) / real(math.sqrt(x)))
    from numba.cuda import libdevice

    root = libdevice.rsqrtf if real is np.float32 else libdevice.rsqrt
    return cuda.jit(device=True)(lambda x: root(x))


def _fetch(words, place):
    """A word of the lists, past the first cache: each is read once in a step. It also keeps loads where they stand."""
    return words[place] if SIMULATED else cuda.ldcg(words, place)


fetch = cuda.jit(device=True)(_fetch)


def build(real: Any, thermostat: bool) -> SimpleNamespace:
    """The kernels for one precision of the forces (``numpy.float32`` or ``float64``), with or without a thermostat."""
    inverse_root = _inverse_root(real)
    closest = real(CLOSEST)

    @cuda.jit(device=True, inline="always")
    def force_on(b, i, shared, n, sx, sy, sz, table, border, rows, words, counts):
        """Force on particle i and its potential energy (half of each pair)."""
        fx, fy, fz, energy = real(0), real(0), real(0), real(0)
        xi, yi, zi = shared[3 * i], shared[3 * i + 1], shared[3 * i + 2]
        mine = 1 if i >= border else 0
        for kind in range(2):
            c12, c6, cut2 = table[mine, kind, 0], table[mine, kind, 1], table[mine, kind, 2]
            slope, lift = table[mine, kind, 3], table[mine, kind, 4]
            left = np.int32((np.int32(counts[(2 * b + kind) * n + i]) + 3) >> 2)
            stride = np.uint64(n)
            place = (np.uint64(b) * np.uint64(rows[2] + 1) + np.uint64(rows[kind])) * stride + np.uint64(i)
            following = fetch(words, place)
            while left > 0:
                word, place, left = following, place + stride, np.int32(left - 1)
                following = fetch(words, place)  # asked for before this group is worked on
                for _ in range(4):
                    j = np.uint64(3) * (word & np.uint64(0xFFFF))
                    word >>= np.uint64(16)
                    dx = real(np.int32(shared[j] - xi)) * sx
                    dy = real(np.int32(shared[j + np.uint64(1)] - yi)) * sy
                    dz = real(np.int32(shared[j + np.uint64(2)] - zi)) * sz
                    r2 = dx * dx + dy * dy + dz * dz
                    inverse = inverse_root(max(r2, closest))
                    inverse2 = inverse * inverse
                    s6 = inverse2 * inverse2 * inverse2
                    g = s6 * (c6 - c12 * s6) * inverse2 - slope * inverse
                    g = g if r2 < cut2 else real(0)
                    fx += g * dx
                    fy += g * dy
                    fz += g * dz
                    e = real(0.5) * (s6 * (c12 * s6 / real(12) - c6 / real(6)) + lift - slope * r2 * inverse)
                    energy += e if real(0) < r2 < cut2 else real(0)
        return fx, fy, fz, energy

    @cuda.jit(device=True)
    def load(b, shared, n, x):
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            for k in range(3):
                shared[3 * i + k] = x[b, k, i]
        cuda.syncthreads()

    @cuda.jit(device=True)
    def unload(b, shared, n, x):
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            for k in range(3):
                x[b, k, i] = shared[3 * i + k]

    @cuda.jit(device=True)
    def far(b, i, shared, reference, sx, sy, sz):
        """Squared distance from where the particle was when its list was made."""
        dx = np.float32(np.int32(shared[3 * i] - reference[b, 0, i])) * sx
        dy = np.float32(np.int32(shared[3 * i + 1] - reference[b, 1, i])) * sy
        dz = np.float32(np.int32(shared[3 * i + 2] - reference[b, 2, i])) * sz
        return dx * dx + dy * dy + dz * dz

    @cuda.jit(device=True)
    def sums(b, n, parts, totals):
        """Three sums over the particles, for all threads; in an order that does not depend on how many these are."""
        cuda.syncthreads()
        length = (n + PARTS - 1) // PARTS
        for which in range(cuda.threadIdx.x, 3 * PARTS, cuda.blockDim.x):
            k, part = which // PARTS, which % PARTS
            own = 0.0
            for i in range(part * length, min((part + 1) * length, n)):
                own += parts[b, k, i]
            totals[which] = own
        cuda.syncthreads()
        first, second, third = 0.0, 0.0, 0.0
        for part in range(PARTS):
            first += totals[part]
            second += totals[PARTS + part]
            third += totals[2 * PARTS + part]
        return first, second, third

    @cuda.jit(fastmath=True, **_LIMIT)
    def probe(
        x, reference, travelled, scale, table, limits, border, rows, cells, words, counts, wrong, force, energy
    ):  # fmt: skip
        """Forces and energies where the particles are."""
        b, n = cuda.blockIdx.x, np.int32(x.shape[2])
        shared = cuda.shared.array(0, int32)
        sx, sy, sz = np.float32(scale[0]), np.float32(scale[1]), np.float32(scale[2])
        rx, ry, rz = real(scale[0]), real(scale[1]), real(scale[2])
        load(b, shared, n, x)
        relist(b, shared, n, cells, reference, travelled, sx, sy, sz, limits, border, rows, words, counts, wrong)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            fx, fy, fz, e = force_on(b, i, shared, n, rx, ry, rz, table, border, rows, words, counts)
            force[b, 0, i], force[b, 1, i], force[b, 2, i], energy[b, i] = fx, fy, fz, e

    @cuda.jit(fastmath=True, **_LIMIT)
    def advance(
        steps, dt, skin, keep, heat, v, random, x, reference, travelled, scale, table, limits, border, rows, cells,
        words, counts, wrong,
    ):  # fmt: skip
        """Velocity Verlet, from and to synchronous positions and velocities.

        With a thermostat, after each half drift v becomes keep v + sqrt((1 - keep^2) T) times a normal number (the
        order of Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34: BAOAB); T goes from heat[0] in steps of
        heat[1].
        """
        b, n = cuda.blockIdx.x, np.int32(x.shape[2])
        t, threads = cuda.threadIdx.x, cuda.blockDim.x
        shared = cuda.shared.array(0, int32)
        sx, sy, sz = np.float32(scale[0]), np.float32(scale[1]), np.float32(scale[2])
        load(b, shared, n, x)
        stale = True
        near2, far2 = np.float32(0.25) * skin * skin, skin * skin
        px, py, pz = np.float32(dt / scale[0]), np.float32(dt / scale[1]), np.float32(dt / scale[2])
        for step in range(steps + 1):
            if stale:
                relist(
                    b, shared, n, cells, reference, travelled, sx, sy, sz, limits, border, rows, words, counts, wrong
                )
            kick = dt if 0 < step < steps else np.float32(0.5) * dt
            for i in range(t, n, threads):
                fx, fy, fz, _ = force_on(
                    b, i, shared, n, real(sx), real(sy), real(sz), table, border, rows, words, counts
                )
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
                    shared[3 * i] = np.int32(shared[3 * i] + _whole(vx * px))
                    shared[3 * i + 1] = np.int32(shared[3 * i + 1] + _whole(vy * py))
                    shared[3 * i + 2] = np.int32(shared[3 * i + 2] + _whole(vz * pz))
                    r2 = far(b, i, shared, reference, sx, sy, sz)
                    if r2 > near2:
                        moved = True
                        if r2 > far2:
                            cuda.atomic.or_(wrong, b, RAN_AWAY)
                stale = cuda.syncthreads_or(np.int32(moved)) != 0
        unload(b, shared, n, x)

    @cuda.jit(**_LIMIT)
    def fire(
        steps, tolerance, skin, v, state, parts, x, reference, travelled, scale, table, limits, border, rows, cells,
        words, counts, wrong,
    ):  # fmt: skip
        """FIRE, each system for itself until it has arrived.

        Bitzek et al., PRL 97, 170201, 2006, in the order of Guenole et al., Comput. Mater. Sci. 175, 109584, 2020: the
        power is that of the velocities before the kick. Taken after it, it never says uphill, and a liquid heats up.

        ``v`` (S, 6, N) holds velocities and forces; ``state`` (S, 4) time step, mixing, steps downhill and steps made,
        kept between calls; ``parts`` (S, 3, N) is room for what is added up. A particle goes about 0.1 sigma_AA in a
        step at most. NOT_DONE stays set until the largest force is below the tolerance; who has arrived returns.
        """
        b, n = cuda.blockIdx.x, np.int32(x.shape[2])
        t, threads = cuda.threadIdx.x, cuda.blockDim.x
        shared = cuda.shared.array(0, int32)
        totals = cuda.shared.array(TOTALS, float64)
        waiting = wrong[b] & NOT_DONE
        cuda.syncthreads()
        if not waiting:
            return
        sx, sy, sz = np.float32(scale[0]), np.float32(scale[1]), np.float32(scale[2])
        rx, ry, rz = real(scale[0]), real(scale[1]), real(scale[2])
        load(b, shared, n, x)
        stale = True
        near2 = np.float32(0.25) * skin * skin
        dt, mixing, downhill, made = state[b, 0], state[b, 1], state[b, 2], state[b, 3]
        for _step in range(steps):
            if stale:
                relist(
                    b, shared, n, cells, reference, travelled, sx, sy, sz, limits, border, rows, words, counts, wrong
                )
            beyond = False
            for i in range(t, n, threads):
                fx, fy, fz, _ = force_on(b, i, shared, n, rx, ry, rz, table, border, rows, words, counts)
                vx, vy, vz = v[b, 0, i], v[b, 1, i], v[b, 2, i]
                v[b, 3, i], v[b, 4, i], v[b, 5, i] = fx, fy, fz
                force2 = fx * fx + fy * fy + fz * fz
                beyond = beyond or force2 > tolerance * tolerance
                parts[b, 0, i] = fx * vx + fy * vy + fz * vz
                parts[b, 1, i] = vx * vx + vy * vy + vz * vz
                parts[b, 2, i] = force2
            if not cuda.syncthreads_or(np.int32(beyond)):
                if t == 0:
                    cuda.atomic.and_(wrong, b, ~NOT_DONE)
                break
            power, speed2, all2 = sums(b, n, parts, totals)
            keep, back = 1.0, 0.0
            if power > 0 or made == 0:
                downhill += 1
                if downhill > PATIENCE:
                    dt, mixing = min(1.1 * dt, LONGEST), 0.99 * mixing
            else:  # uphill: half a step back, and from there from rest
                keep, back = 0.0, -0.5 * dt
                downhill, dt, mixing = 0.0, max(0.5 * dt, SHORTEST), MIXING
            made += 1
            # |keep v + dt f| follows from sums that are there; the new velocity is that, turned towards the force
            turn = mixing * math.sqrt(keep * (speed2 + 2 * dt * power) + dt * dt * all2) / math.sqrt(all2)
            old, new = real(keep * (1 - mixing)), real((1 - mixing) * dt + turn)
            moved = False
            for i in range(t, n, threads):
                vx, vy, vz = v[b, 0, i], v[b, 1, i], v[b, 2, i]
                wx, wy, wz = old * vx + new * v[b, 3, i], old * vy + new * v[b, 4, i], old * vz + new * v[b, 5, i]
                v[b, 0, i], v[b, 1, i], v[b, 2, i] = wx, wy, wz
                way = dt * math.sqrt(float64(wx * wx + wy * wy + wz * wz))
                short = dt if way < 0.1 else dt * 0.1 / way
                shared[3 * i] = np.int32(shared[3 * i] + _whole((wx * short + vx * back) / scale[0]))
                shared[3 * i + 1] = np.int32(shared[3 * i + 1] + _whole((wy * short + vy * back) / scale[1]))
                shared[3 * i + 2] = np.int32(shared[3 * i + 2] + _whole((wz * short + vz * back) / scale[2]))
                if far(b, i, shared, reference, sx, sy, sz) > near2:
                    moved = True
            stale = cuda.syncthreads_or(np.int32(moved)) != 0
        if t == 0:
            state[b, 0], state[b, 1], state[b, 2], state[b, 3] = dt, mixing, downhill, made
        unload(b, shared, n, x)

    return SimpleNamespace(probe=probe, advance=advance, fire=fire)
