"""The GPU engine on a GPU, in two minutes: rates by size, systems and threads, quenches, drift of the energy, forces.

    python benchmarks/bench_gpu_engine.py [--seconds 90] [--sizes 1000 4096]

Rates are those of launches that have compiled, of free runs at the temperature of their start, in steps of 0.005;
each is the better of two measurements. FIRE brings 16 starts of each size to rest in one call, to max|F| < 1e-5.
Whatever does not fit into the time asked for is left out, and the JSON says so. What the engine computes is compared
with our own double precision.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from common import machine, save, table

import glasslit as gl
from glasslit.liquid.kob_andersen import energy_per_particle, forces
from glasslit.provenance import data_hash
from glasslit.simulate.gpu import GpuEngine, _State, threads_for
from glasslit.simulate.protocol import maxwell_boltzmann


def starts(n: int) -> list[gl.Configuration]:
    return gl.load("starter", T=0.50) if n == 1000 else gl.load("standard", T=0.64)


def systems(n: int, count: int) -> list[tuple]:
    """So many systems, of as many starts as there are, each with velocities of its own."""
    found = starts(n)
    chosen = [found[k % len(found)] for k in range(count)]
    rng = np.random.default_rng(0)
    return [(c.positions, c.types, c.box, maxwell_boltzmann(n, c.temperature, rng)) for c in chosen]


def rate(n: int, count: int, threads: int | None, skin: float, duration: float = 2.5) -> dict:
    """Steps a second, once everything is compiled and warm."""
    engine = GpuEngine(threads=threads, skin=skin)
    state = _State(engine, systems(n, count))
    state.advance(0.05)
    best = np.inf
    for _ in range(2):
        begun = time.perf_counter()
        state.advance(duration)
        best = min(best, time.perf_counter() - begun)
    steps = round(duration / engine.timestep) / best
    return {
        "N": n, "systems": count, "threads": threads or threads_for(n), "default": threads is None, "skin": skin,
        "steps/s": steps, "particle-steps/s": steps * n * count,
    }  # fmt: skip


def quench(n: int, count: int = 16) -> dict:
    """All in one call, the second time: the first one compiles."""
    engine, taken = GpuEngine(), []
    work = systems(n, count)
    for _ in range(2):
        begun = time.perf_counter()
        found = engine.minimize_many(work)
        taken.append(time.perf_counter() - begun)
    largest = 0.0
    for (_, types, box, _), end in zip(work, found, strict=True):
        force = forces(torch.tensor(end), torch.tensor(types), torch.tensor(box))
        largest = max(largest, float(force.norm(dim=1).max()))
    return {"N": n, "systems": count, "seconds, first": taken[0], "seconds": taken[1], "largest force": largest}


def drift(n: int, duration: float = 50.0) -> dict:
    """Change of the energy of a particle in a free run; and how right its forces are, from where it ends."""
    (positions, types, box, velocities), *_ = systems(n, 1)
    engine = GpuEngine()
    state = _State(engine, [(positions, types, box, velocities)])

    def energy() -> float:
        x = torch.tensor(positions + state.displacements()[0])
        potential = energy_per_particle(x, torch.tensor(types), torch.tensor(box)).mean()
        return float(potential + 0.5 * (state.velocities()[0] ** 2).sum(axis=1).mean())

    before = energy()
    state.advance(duration)
    moved = positions + state.displacements()[0]
    exact = forces(torch.tensor(moved), torch.tensor(types), torch.tensor(box)).numpy()
    errors = {}
    for precision in (np.float32, np.float64):
        found = engine.energies_and_forces(moved, types, box, precision)[1]
        errors[np.dtype(precision).name] = float(np.abs(found - exact).max() / np.abs(exact).max())
    return {"N": n, "duration": duration, "drift of a particle": energy() - before, "error of forces": errors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=90.0, help="no measurement begins after this")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 1000])
    arguments = parser.parse_args()
    begun = time.perf_counter()
    cases = [(quench, (n,)) for n in arguments.sizes] + [(drift, (n,)) for n in arguments.sizes]
    multiprocessors = torch.cuda.get_device_properties(0).multi_processor_count
    for n in arguments.sizes:
        for count in (multiprocessors, 2 * multiprocessors, 4 * multiprocessors, 1):
            cases += [(rate, (n, count, threads, 0.5)) for threads in (None, 512, 256)]
        cases += [(rate, (n, multiprocessors, None, skin)) for skin in (0.35, 0.65)]
    rows: dict[str, list[dict]] = {"rate": [], "quench": [], "drift": []}
    left_out = []
    for function, given in cases:
        if time.perf_counter() - begun > arguments.seconds:
            left_out.append([function.__name__, *given])
            continue
        rows[function.__name__].append(function(*given))
        print(rows[function.__name__][-1], flush=True)
    print(machine())
    print(table(rows["rate"], list(rows["rate"][0])) if rows["rate"] else "no rates")
    hashes = [c.hash() for n in arguments.sizes for c in starts(n)]
    content = {
        "settings": vars(arguments),
        "data": data_hash(hashes),
        "left out": left_out,
        "rows": rows.pop("rate"),
        **rows,
    }
    content["seconds"] = time.perf_counter() - begun
    print(save("simulate_kernels", "cuda", content))


if __name__ == "__main__":
    main()
