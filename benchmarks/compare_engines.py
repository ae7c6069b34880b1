"""Do two engines sample the same dynamics? Ensembles from the same starts, and what an observer would measure.

    python benchmarks/compare_engines.py lammps lanes [-T 0.56 0.64] [--trajectories 32]

Each engine gets velocities of its own, so agreement is statistical: mean squared displacement, F_s(k = 7.2) and g(r)
of A with the errors that the spread over runs leaves, and the correlation of the two propensity fields beside the one
that two halves of one engine reach. Finished runs are kept in runs/compare.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from common import RESULTS, table

import glasslit as gl
from glasslit import metrics
from glasslit.liquid.kob_andersen import TAU_ALPHA, TIME_GRIDS, WAVE_NUMBER
from glasslit.provenance import card, data_hash
from glasslit.simulate.engines import make_engine
from glasslit.simulate.protocol import label


def ensemble(name: str, c: gl.Configuration, times: list[float], count: int, seed: int, folder: Path) -> np.ndarray:
    """Displacements of all runs, shape (runs, T, N, 3)."""
    engine = make_engine(name, "force-shifted")
    for progress in label([c], times, count, folder, seed=seed, engine=engine):
        print(f"\r{name} T = {c.temperature} {progress.done}/{progress.total} ", end="", flush=True)
    print()
    return np.stack([np.load(path)["displacements"] for path in sorted(folder.rglob("run*.npz"))]).astype(float)


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def observe(c: gl.Configuration, u: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What is compared, each with its standard error over runs."""
    a = c.types == 0
    squares = (u[:, :, a] ** 2).sum(axis=-1)
    pairs = []
    for run in u:
        end = gl.Configuration(positions=c.positions + run[-1], types=c.types, box=c.box)
        r, g = metrics.radial_distribution([end], r_max=3.0, bins=60)
        pairs.append(g["AA"])
    return {
        "msd": mean_and_error(squares.mean(axis=-1)),
        "F_s": mean_and_error(np.cos(WAVE_NUMBER * u[:, :, a]).mean(axis=(2, 3))),
        "g(r)": mean_and_error(np.array(pairs)),
        "r": (r, np.zeros_like(r)),
    }


def correlations(one: np.ndarray, other: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Of two propensity fields of A, at each time."""
    fields = [np.linalg.norm(u, axis=-1).mean(axis=0) for u in (one, other)]
    return gl.pearson(*fields, types)["A"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs=2)
    parser.add_argument("-T", "--temperatures", type=float, nargs="+", default=[0.56, 0.64])
    parser.add_argument("--trajectories", type=int, default=32)
    arguments = parser.parse_args()
    begun, content, rows, hashes = time.perf_counter(), {}, [], []
    for T in arguments.temperatures:
        try:
            data, c = "standard", gl.load("standard", T=T)[0]
        except ValueError:  # not made yet
            data, c = "starter", gl.load("starter", T=T)[0]
        hashes.append(c.hash())
        times = [t for t in TIME_GRIDS[T] if t <= TAU_ALPHA[T]]
        folders = [Path(f"runs/compare/{name}-{data}-T{T:.2f}") for name in arguments.engines]
        u = [
            ensemble(name, c, times, arguments.trajectories, seed, folder)
            for seed, (name, folder) in enumerate(zip(arguments.engines, folders, strict=True))
        ]
        found = [observe(c, x) for x in u]
        half = arguments.trajectories // 2
        across = [correlations(u[0][a], u[1][b], c.types) for a in (slice(half), slice(half, None))
                  for b in (slice(half), slice(half, None))]  # fmt: skip
        within = [correlations(x[:half], x[half:], c.types) for x in u]
        content[f"{T:.2f}"] = {
            "data": f"{data}, {c.n_particles} particles",
            "times": times,
            "r": found[0]["r"][0].tolist(),
            **{
                what: {name: {"mean": f[what][0].tolist(), "error": f[what][1].tolist()}
                       for name, f in zip(arguments.engines, found, strict=True)}
                for what in ("msd", "F_s", "g(r)")
            },
            "propensity": {"across": np.mean(across, axis=0).tolist(), "within": np.mean(within, axis=0).tolist()},
        }  # fmt: skip
        for what in ("msd", "F_s", "g(r)"):
            (m0, e0), (m1, e1) = (f[what] for f in found)
            error = np.sqrt(e0**2 + e1**2)
            off = (m0 - m1)[error > 0] / error[error > 0]
            rms, largest = float(np.sqrt(np.mean(off**2))), float(np.abs(off).max())
            rows.append(
                {"T": T, "what": what, "points": len(off), "rms of difference / error": rms, "largest": largest}
            )
        p = content[f"{T:.2f}"]["propensity"]
        rows.append({"T": T, "what": "rho of half ensembles at tau_alpha", "across engines": p["across"][-1],
                     "within one": p["within"][-1]})  # fmt: skip
    columns = ["T", "what", "points", "rms of difference / error", "largest", "across engines", "within one"]
    print(table(rows, columns))
    made = card(vars(arguments), data=data_hash(hashes), device="cpu", seed=0, seconds=time.perf_counter() - begun)
    path = RESULTS / f"engines_{'_'.join(arguments.engines)}.json"
    path.write_text(json.dumps({"card": made, "rows": rows, **content}, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
