"""How much work the GPU engine has, counted on a CPU: steps of FIRE, turns of loops, conflicts of banks, ages of lists.

    python benchmarks/count_gpu_work.py [--out FILE.json]

The arithmetic of the kernels is repeated here for real systems, with the same whole-number positions and precisions, in
one thread. For systems of the starter set (N = 1000) and the standard set (N = 4096):

- ``minimum``: how many steps FIRE makes in single and in double precision, from where the liquid is;
- ``ages``: after how many steps lists have to be made anew, by skin;
- ``turns``: how often warps of 32 threads go through the loop over pairs and the loop over candidates, and how many
  rows of banks of on-chip memory a warp reads for one coordinate of its 32 neighbors; in the order of 845c5e4,
  particles as given and cell by cell, and in the order of now.

These are counts. Together with ``count_gpu_instructions.py`` they make a prediction, which a GPU has to confirm.
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

LONGEST, SHORTEST, MIXING, PATIENCE = 0.03, 1e-4, 0.1, 5  # those of glasslit.simulate.gpu_code
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
    dt, mixing, downhill, lists, reference = 0.005, MIXING, 0, 0, x
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
            if downhill > PATIENCE:
                dt, mixing = min(1.1 * dt, LONGEST), 0.99 * mixing
            keep = 1.0
        else:
            back = -0.5 * dt
            keep, downhill, dt, mixing = 0.0, 0, max(0.5 * dt, SHORTEST), MIXING
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


@njit
def cells_of(x, counts):
    """Cell of each particle, members of each cell and where they begin."""
    n, total = len(x), counts[0] * counts[1] * counts[2]
    cell, begin = np.zeros((n, 3), np.int64), np.zeros(total + 1, np.int64)
    for i in range(n):
        for k in range(3):
            cell[i, k] = ((np.int64(x[i, k]) + 2147483648) * counts[k]) >> 32
        begin[(cell[i, 0] * counts[1] + cell[i, 1]) * counts[2] + cell[i, 2] + 1] += 1
    begin = np.cumsum(begin)
    members, at = np.zeros(n, np.int64), begin.copy()
    for i in range(n):
        c = (cell[i, 0] * counts[1] + cell[i, 1]) * counts[2] + cell[i, 2]
        members[at[c]] = i
        at[c] += 1
    return cell, members, begin


@njit
def conflicts(lanes, words):
    """Rows of banks that a warp reads for one word of each lane: the most different words of one bank."""
    rows = 0
    for a in range(len(lanes)):
        same, first = 0, True
        for b in range(len(lanes)):
            if lanes[b] * words % 32 == lanes[a] * words % 32:
                seen = False
                for c in range(b):
                    seen = seen or lanes[c] == lanes[b]
                same += 0 if seen else 1
        rows = max(rows, same if first else 0)
    return rows


@njit
def count_turns(x, scale, types, counts, limits, by_slot, by_row, words):
    """Turns over pairs and over candidates, and rows of banks for a coordinate in either, added up over warps."""
    n = len(x)
    cell, members, begin = cells_of(x, counts)
    order = members if by_slot else np.arange(n)
    neighbors, number = np.zeros((n, 2, 256), np.int64), np.zeros((n, 2), np.int64)
    candidates, bank_candidates, pairs, bank_pairs = 0, 0, 0, 0
    own = np.zeros((32, 1024), np.int64)
    for warp in range(0, n, 32):
        lanes = order[warp : warp + 32]
        for ax in range(-2, 3):
            for ay in range(-2, 3):
                length = np.zeros(32, np.int64)
                for az in range(-2, 3):
                    for lane, i in enumerate(lanes):
                        c = ((cell[i, 0] + ax) % counts[0] * counts[1] + (cell[i, 1] + ay) % counts[1]) * counts[2]
                        c += (cell[i, 2] + az) % counts[2]
                        for at in range(begin[c], begin[c + 1]):
                            j = members[at]
                            own[lane, length[lane]] = j
                            length[lane] += 1
                            r2 = 0.0
                            for k in range(3):
                                d = np.int32(x[j, k] - x[i, k]) * scale[k]
                                r2 += d * d
                            if j != i and r2 < limits[types[i], types[j]]:
                                neighbors[i, types[j], number[i, types[j]]] = j
                                number[i, types[j]] += 1
                    if not by_row or az == 2:
                        candidates += length.max()
                        for turn in range(length.max()):
                            bank_candidates += conflicts(own[length > turn][:, turn], words)
                        length[:] = 0
    for warp in range(0, n, 32):  # in the loop over pairs every thread has its own particle
        for kind in range(2):
            turns = 4 * ((number[warp : warp + 32, kind].max() + 3) // 4)
            pairs += turns
            for turn in range(turns):
                active = number[warp : warp + 32, kind] > turn
                bank_pairs += conflicts(neighbors[warp : warp + 32][active][:, kind, turn], words)
    return pairs, candidates, bank_pairs, bank_candidates


def turns(c: gl.Configuration, skin: float, now: bool) -> dict:
    """What a step and the making of lists have to do, in all warps of a system."""
    x, types = to_fixed(c.positions, c.box), np.asarray(c.types, np.int64)
    reach = np.sqrt(pair_table("force-shifted")[..., 2])
    counts = (c.box / ((reach.max() + skin) / 2)).astype(np.int64)
    cell = ((x.astype(np.int64) + 2**31) * counts) >> 32
    order = np.lexsort((cell[:, 2], cell[:, 1], cell[:, 0], types)) if now else np.argsort(types, kind="stable")
    found = count_turns(x[order], c.box / BOX, types[order], counts, (reach + skin) ** 2, now, now, 3 if now else 1)
    pairs, candidates, bank_pairs, bank_candidates = map(int, found)
    return {
        "skin": skin,
        "turns over pairs": pairs,
        "turns over candidates": candidates,
        "rows of banks, pairs": round(bank_pairs / pairs, 2),
        "rows of banks, candidates": round(bank_candidates / candidates, 2),
    }


def ages(c: gl.Configuration, steps: int = 600) -> dict[str, float]:
    """Steps between two makings of lists, by skin: whenever a particle has gone half of it."""
    v = maxwell_boltzmann(c.n_particles, c.temperature, np.random.default_rng(1))
    run = Run(c.positions, v, c.types, c.box, 0.005 * np.arange(1, steps + 1))
    ((_, moved),) = LaneEngine(workers=1).run([run])
    result = {}
    for skin in SKINS:
        reference, made = np.zeros_like(moved[0]), 0
        for now in moved:
            if ((now - reference) ** 2).sum(axis=1).max() > skin * skin / 4:
                reference, made = now, made + 1
        result[str(skin)] = round(steps / max(made, 1), 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file; what others have put there stays")
    arguments = parser.parse_args()
    rows = []
    for name, temperature in (("starter", 0.44), ("starter", 0.50), ("standard", 0.64)):
        c = gl.load(name, T=temperature)[0]
        row = {"data": name, "T": temperature, "N": c.n_particles, "ages": ages(c), "minimum": minimum(c, 1e-3)}
        row["turns, 845c5e4"] = turns(c, 0.35, False)
        row["turns, now"] = [turns(c, skin, True) for skin in (0.35, 0.5, 0.65)]
        rows.append(row)
        print(json.dumps(row, indent=1), flush=True)
    if arguments.out:
        kept = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        kept["rows"] = rows
        arguments.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
