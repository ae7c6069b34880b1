"""How much work the GPU engine has, counted on a CPU: steps of FIRE, turns of loops, conflicts of banks, ages of lists.

    python benchmarks/count_gpu_work.py [--out benchmarks/results/simulate_counts.json]

The arithmetic of the kernels is repeated here for real systems, with the same whole-number positions and precisions, by
one thread. For each system of the starter set (N = 1000) and the standard set (N = 4096):

- how many steps FIRE makes in single and in double precision (``minimum``), from where the liquid is;
- how often each warp of 32 threads goes through the loop over pairs and, making lists, through the loop over candidates,
  for particles in the order given, and in the order that the engine gives them (``turns``);
- how many words a warp asks of the same bank of on-chip memory when it reads one coordinate of its 32 neighbors (``banks``);
- after how many steps lists have to be made anew, by skin (``ages``).

These are counts. With ``count_gpu_instructions.py`` they make a prediction, which a GPU has to confirm.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
from numba import njit

import glasslit as gl
from glasslit.simulate.fixed import BOX, pair_table, to_fixed
from glasslit.simulate.lanes import LaneEngine
from glasslit.simulate.protocol import maxwell_boltzmann
from glasslit.simulate.run import Run

DELAY, MIX, TOP = 5, 0.1, 0.05
SKINS = (0.25, 0.35, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8)


@njit
def full_lists(x, box, limits, types):
    """Neighbors within the limits, one after the other, in the order of numbers, and where each list begins."""
    n = len(x)
    starts, found = np.zeros(n + 1, np.int64), []
    for i in range(n):
        for j in range(n):
            r2 = 0.0
            for k in range(3):
                d = np.int32(x[j, k] - x[i, k]) * box[k] / 4294967296.0
                r2 += d * d
            if j != i and r2 < limits[types[i], types[j]]:
                found.append(j)
        starts[i + 1] = len(found)
    return starts, np.array(found)


@njit(fastmath=True)
def forces32(x, scale, table, types, starts, found, f):
    for i in range(len(x)):
        fx, fy, fz = np.float32(0), np.float32(0), np.float32(0)
        for at in range(starts[i], starts[i + 1]):
            j = found[at]
            dx = np.float32(np.int32(x[j, 0] - x[i, 0])) * np.float32(scale[0])
            dy = np.float32(np.int32(x[j, 1] - x[i, 1])) * np.float32(scale[1])
            dz = np.float32(np.int32(x[j, 2] - x[i, 2])) * np.float32(scale[2])
            r2 = dx * dx + dy * dy + dz * dz
            c = table[types[i], types[j]]
            if r2 < np.float32(c[2]):
                inverse = np.float32(1) / np.float32(math.sqrt(r2))
                inverse2 = inverse * inverse
                s6 = inverse2 * inverse2 * inverse2
                g = s6 * (np.float32(c[1]) - np.float32(c[0]) * s6) * inverse2 - np.float32(c[3]) * inverse
                fx += g * dx
                fy += g * dy
                fz += g * dz
        f[i, 0], f[i, 1], f[i, 2] = fx, fy, fz


@njit
def forces64(x, scale, table, types, starts, found, f):
    for i in range(len(x)):
        fx, fy, fz = 0.0, 0.0, 0.0
        for at in range(starts[i], starts[i + 1]):
            j = found[at]
            dx = np.int32(x[j, 0] - x[i, 0]) * scale[0]
            dy = np.int32(x[j, 1] - x[i, 1]) * scale[1]
            dz = np.int32(x[j, 2] - x[i, 2]) * scale[2]
            r2 = dx * dx + dy * dy + dz * dz
            c = table[types[i], types[j]]
            if r2 < c[2]:
                inverse = 1.0 / math.sqrt(r2)
                inverse2 = inverse * inverse
                s6 = inverse2 * inverse2 * inverse2
                g = s6 * (c[1] - c[0] * s6) * inverse2 - c[3] * inverse
                fx += g * dx
                fy += g * dy
                fz += g * dz
        f[i, 0], f[i, 1], f[i, 2] = fx, fy, fz


def descend(x, box, types, table, single: bool, tolerance: float, most: int) -> tuple[np.ndarray, int, int, float]:
    """The engine's FIRE: (positions, steps, lists made, largest force at the end)."""
    real, scale = (np.float32 if single else np.float64), box / BOX
    limits = (np.sqrt(table[..., 2]) + 0.5) ** 2
    v, f, moved = np.zeros(x.shape, real), np.zeros(x.shape, real), np.full(x.shape, 10.0)
    dt, mixing, downhill, lists, reference = 0.005, MIX, 0, 0, x
    for step in range(most):
        if (moved**2).sum(axis=1).max() > 0.0625:
            starts, found = full_lists(x, box, limits, types)
            lists, reference = lists + 1, x.copy()
        (forces32 if single else forces64)(x, scale, table, types, starts, found, f)
        all2 = (f.astype(np.float64) ** 2).sum(axis=1)
        if all2.max() <= tolerance**2:
            return x, step, lists, float(np.sqrt(all2.max()))
        power, fv = float((f * v).sum(dtype=np.float64)), all2.sum()
        vv = float((v.astype(np.float64) ** 2).sum())
        back = 0.0
        if power > 0 or step == 0:
            downhill += 1
            if downhill > DELAY:
                dt, mixing = min(1.1 * dt, TOP), 0.99 * mixing
            keep = 1.0
        else:
            back = -0.5 * dt
            keep, downhill, dt, mixing = 0.0, 0, max(0.5 * dt, 1e-4), MIX
        # v' = keep v + dt f, its size from sums that are known already
        speed2 = keep * (vv + 2 * dt * power) + dt * dt * fv
        turn = mixing * math.sqrt(speed2 / fv)
        new = real(keep * (1 - mixing)) * v + real((1 - mixing) * dt + turn) * f
        way = dt * np.sqrt((new.astype(np.float64) ** 2).sum(axis=1))
        short = np.where(way < 0.1, dt, dt * 0.1 / np.maximum(way, 1e-300))
        move = new * short[:, None] + back * v
        v = new
        x = (x.astype(np.int64) + np.floor(move / scale + 0.5).astype(np.int64)).astype(np.uint32).view(np.int32)
        moved = (x - reference) * scale
    return x, most, lists, float(np.sqrt(all2.max()))


def minimum(c: gl.Configuration, coarse: float) -> dict:
    """Steps of the engine's two stages, and of double precision alone."""
    table, x, types = pair_table("force-shifted"), to_fixed(c.positions, c.box), np.asarray(c.types, np.int64)
    y, first, lists, _ = descend(x, c.box, types, table, True, coarse, 10_000)
    _, second, more, largest = descend(y, c.box, types, table, False, 1e-5, 100_000)
    return {"coarse": coarse, "single": first, "double": second, "lists": lists + more, "largest force": largest}


if __name__ == "__main__":
    import sys, time

    for name, T in (("starter", 0.44), ("starter", 0.5), ("standard", 0.64)):
        c = gl.load(name, T=T)[0]
        for coarse in (1e-1, 1e-2, 3e-3):
            t = time.time()
            print(name, T, minimum(c, coarse), round(time.time() - t, 1), flush=True)
