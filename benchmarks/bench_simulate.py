"""Molecular dynamics: particle-steps per second of isoconfigurational ensembles, engine beside engine.

    python benchmarks/bench_simulate.py [--engines lammps lanes] [--sizes 1000 4096] [--replicas 1 16 32] [--until 2.5]

Every engine advances the same starts with the same steps. What starting takes (processes, neighbor lists, compiling)
is measured with runs of one step and subtracted; LAMMPS gets runs ten times as long, as its processes take seconds to
start. On a GPU also --replicas 1 8 32 132 264 and, where installed, gamdpy (one system of N particles: it takes one at
a time). The lane engine slows down as runs part, so its rate is also measured up to tau_alpha (--long).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from common import machine, roofline, save, table

import glasslit as gl
from glasslit.liquid.kob_andersen import TAU_ALPHA
from glasslit.provenance import data_hash
from glasslit.simulate.engines import make_engine
from glasslit.simulate.protocol import maxwell_boltzmann
from glasslit.simulate.run import Run

FLOPS_PER_PAIR = 27
"""Of a listed pair: 3 scalings, 5 for the squared distance, 1 root, 12 for the force, 6 to add it up."""


def start(n: int) -> gl.Configuration:
    """A real liquid: 1000 particles of the starter set (T = 0.50), 4096 of the standard one (T = 0.64)."""
    return gl.load("starter", T=0.50)[0] if n == 1000 else gl.load("standard", T=0.64)[0]


def runs(c: gl.Configuration, count: int, until: float) -> list[Run]:
    assert c.temperature is not None
    return [
        Run(
            c.positions,
            maxwell_boltzmann(c.n_particles, c.temperature, np.random.default_rng(k)),
            c.types,
            c.box,
            np.array([until]),
        )
        for k in range(count)
    ]


def rate(engine, work: list[Run]) -> tuple[float, float]:
    """(particle-steps per second in all, seconds)."""
    taken = []
    for these in ([replace(r, times=np.array([engine.timestep])) for r in work], work):
        begun = time.perf_counter()
        for _ in engine.run(these):
            pass
        taken.append(time.perf_counter() - begun)
    steps = sum(len(r.types) * (np.ceil(r.times[-1] / engine.timestep - 1e-9) - 1) for r in work)
    return float(steps / (taken[1] - taken[0])), taken[1]


def gamdpy_rate(c: gl.Configuration, until: float) -> float:
    """gamdpy (Ingebrigtsen et al.), one system on the whole GPU, the same potential and time step."""
    import gamdpy as gp

    from glasslit.liquid.kob_andersen import EPSILON, SIGMA

    configuration = gp.Configuration(D=3)
    configuration["r"] = (np.mod(c.positions, c.box) - c.box / 2).astype(np.float32)
    configuration["m"] = np.ones(c.n_particles, np.float32)
    configuration.ptype = c.types.astype(np.int32)
    configuration.simbox = gp.Orthorhombic(3, c.box)
    configuration.randomize_velocities(temperature=c.temperature)
    pair = gp.PairPotential(
        gp.apply_shifted_force_cutoff(gp.LJ_12_6_sigma_epsilon),
        params=[SIGMA, EPSILON, (2.5 * np.array(SIGMA)).tolist()],
        max_num_nbs=1000,
    )
    steps = int(until / 0.005)
    simulation = gp.Simulation(
        configuration, [pair], gp.integrators.NVE(dt=0.005), [], num_timeblocks=2, steps_per_timeblock=steps
    )
    blocks = simulation.run_timeblocks()
    next(blocks)
    begun = time.perf_counter()
    next(blocks)
    torch.cuda.synchronize()
    return c.n_particles * steps / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--engines", nargs="+", default=["lammps", "lanes", *(["gpu", "gamdpy"] if on_gpu else [])])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4096])
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 8, 32, 132, 264] if on_gpu else [1, 8, 16, 32])
    parser.add_argument("--until", type=float, default=2.5, help="simulated time of each run")
    parser.add_argument("--long", action="store_true", help="also 32 runs up to tau_alpha with the lane engine")
    arguments = parser.parse_args()
    begun, rows, hashes = time.perf_counter(), [], []
    roofs = {device: roofline(device)["flops_per_s"] for device in ("cpu", *(["cuda"] if on_gpu else []))}
    for n in arguments.sizes:
        c = start(n)
        hashes.append(c.hash())
        neighbors = len(gl.kob_andersen.neighbor_pairs(c.positions, c.box, 2.8)) / n
        base = None
        for name in arguments.engines:
            if name == "gamdpy":
                try:
                    found = gamdpy_rate(c, arguments.until)
                except ImportError:
                    continue
                rows.append({"N": n, "runs": 1, "engine": name, "until": arguments.until, "particle-steps/s": found})
                continue
            engine = make_engine(name, "force-shifted")
            rate(engine, runs(c, 1, 0.01))  # compiles
            cases = [(count, arguments.until) for count in arguments.replicas]
            if name == "lammps":  # its rate does not depend on the number of runs beyond the cores
                cases = [(count, 10 * until) for count, until in cases if count <= 8]
            if name == "lanes" and arguments.long:
                cases.append((32, TAU_ALPHA[c.temperature]))
            for count, until in cases:
                found, taken = rate(engine, runs(c, count, until))
                base = max(found, base or 0.0) if name == "lammps" else base
                pairs = neighbors * (2 if name == "gpu" else 1)
                rows.append(
                    {
                        "N": n,
                        "runs": count,
                        "engine": name,
                        "until": until,
                        "particle-steps/s": found,
                        "times LAMMPS": found / base if base and name != "lammps" else None,
                        "of peak": float(found * pairs * FLOPS_PER_PAIR / roofs["cuda" if name == "gpu" else "cpu"]),
                        "seconds": taken,
                    }
                )
                print(rows[-1], flush=True)
    print(machine())
    print(table(rows, list(max(rows, key=len))))
    content = {
        "settings": vars(arguments),
        "data": data_hash(hashes),
        "seconds": time.perf_counter() - begun,
        "peak_flops": roofs,
        "rows": rows,
    }
    print(save("simulate", "cuda" if on_gpu and "gpu" in arguments.engines else "cpu", content))


if __name__ == "__main__":
    main()
