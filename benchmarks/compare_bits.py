"""What keeps its bits, and what changes by how much, when threads, instructions and company change.

    python benchmarks/compare_bits.py [--jobs prediction training ...]

Each job is done in a process of its own, first as it comes with one thread, then again with one thing changed, and the
results are compared: bit by bit, and as the largest difference over the largest value. What was expected before the
first run is stored beside what was found. The chapter *What repeats to the bit* reads the result.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import save, table

import glasslit as gl
from glasslit.models.baselines import baseline
from glasslit.prediction import predict_in_blocks
from glasslit.provenance import data_hash
from glasslit.simulate.engines import make_engine
from glasslit.simulate.protocol import maxwell_boltzmann
from glasslit.simulate.run import Run

MODEL = "thermal-T0.56"
SECOND = Path(__file__).parents[1] / "book" / "runs" / "T0.50" / "model.pt"
TIME = 1.0
"""How long the labelled runs are, Lennard-Jones time units: 200 steps."""


def liquid(split: str = "train") -> list[gl.Configuration]:
    """Configurations of the starter set, 1000 particles each, with labels at two times."""
    c = gl.load("starter", T=0.50, split=split)
    return [each.at_times(each.times[[0, -1]]) for each in c[: 3 if split == "train" else 1]]


def prediction() -> dict[str, np.ndarray]:
    """A shipped network: a liquid as a whole, in blocks, and beside another one. A second one in blocks of odd size."""
    net = gl.load_model(MODEL)
    c, other = gl.load("standard", T=0.56, split="test")[:2]
    second, small = gl.load_model(SECOND), gl.load("starter", T=0.50, split="test")[0]
    return {
        "whole": net.predict(c),
        "blocks": predict_in_blocks(net, c, 1000),
        "several": net.predict([other, c])[1],
        "again": net.predict(c),
        "small": second.predict(small),
        "small in blocks": predict_in_blocks(second, small, 333),
    }


def training(make: Callable[[], Any], epochs: int = 4) -> dict[str, np.ndarray]:
    """Weights, and what else a network keeps, after a few epochs on three configurations."""
    torch.manual_seed(0)
    net = make()
    for _ in gl.fit(net, liquid(), liquid("val"), gl.TrainConfig(epochs=epochs, seed=0, device="cpu")):
        pass
    kinds = {"weights": net.parameters(), "buffers": net.buffers()}
    kept = {name: [v.detach().double().numpy().ravel() for v in values] for name, values in kinds.items()}
    return {name: np.concatenate(values) for name, values in kept.items() if values}


def network(**changes: Any) -> gl.SE3GNN:
    return gl.SE3GNN(gl.ModelConfig.laptop(**{"inputs": "thermal", "n_times": 2} | changes))


def rival(name: str) -> Any:
    sizes = {"width": 16, "steps": 2} if name in ("bapst", "botan", "egnn") else {}
    return baseline(name, inputs="thermal", n_times=2, **sizes)


def labels(engine: str) -> dict[str, np.ndarray]:
    """Displacements of three runs from one start."""
    (c,) = liquid("val")
    velocities = [maxwell_boltzmann(c.n_particles, 0.5, np.random.default_rng([0, k])) for k in range(3)]
    runs = [Run(c.positions, v, c.types, c.box, np.array([TIME])) for v in velocities]
    made = make_engine(engine, "force-shifted", workers=int(os.environ["OMP_NUM_THREADS"]))
    found = dict(made.run(runs))
    return {"displacements": np.stack([found[k] for k in range(3)])}


JOBS: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    "prediction": prediction,
    "training": partial(training, network),
    "training, kernel reference": partial(training, partial(network, kernel="reference", l_max=1), 1),
    **{f"training, {name}": partial(training, partial(rival, name), 2) for name in ("bapst", "botan", "egnn", "ridge")},
    "labels, lanes": partial(labels, "lanes"),
    "labels, lammps": partial(labels, "lammps"),
}
NETWORKS = [name for name in JOBS if name.startswith(("prediction", "training"))]
TRAININGS = [name for name in NETWORKS if name.startswith("training")]


class Change(NamedTuple):
    """What is changed, in which words, and which jobs were expected to change with it."""

    words: str
    environment: dict[str, str]
    expected: list[str]
    at_once: int = 1


CHANGES = {
    "again": Change("nothing: the same once more", {}, []),
    "together": Change("two processes side by side", {}, [], at_once=2),
    "threads": Change("two threads", {"OMP_NUM_THREADS": "2"}, TRAININGS),
    "avx2": Change("PyTorch with AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}, TRAININGS),
    "default": Change("PyTorch without AVX2", {"ATEN_CPU_CAPABILITY": "default"}, NETWORKS),
    "mkl-avx2": Change("matrix products (MKL) with AVX2", {"MKL_CBWR": "AVX2"}, []),
    "mkl-compatible": Change("matrix products (MKL) for any processor", {"MKL_CBWR": "COMPATIBLE"}, NETWORKS),
    "numba-avx2": Change(
        "lane engine with AVX2", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+avx"}, []
    ),
    "numba-generic": Change(
        "lane engine without AVX2", {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, ["labels, lanes"]
    ),
}
"""Expected on 28 November 2026, before the first run."""


def started(jobs: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process that does the jobs and leaves their results in a folder."""
    folder.mkdir()
    command = [sys.executable, __file__, "--jobs", *jobs, "--into", str(folder)]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment)


def done(jobs: list[str], folder: Path, change: Change) -> list[dict[str, dict[str, np.ndarray]]]:
    """Results of each of the processes, by job."""
    places = [folder / str(k) for k in range(change.at_once)]
    folder.mkdir()
    processes = [started(jobs, place, change.environment) for place in places]
    codes = [process.wait() for process in processes]  # of all of them, before the first that failed is told
    if any(codes):
        raise SystemExit(f"{change.words}: a process failed, see above")
    return [{job: dict(np.load(place / f"{k}.npz")) for k, job in enumerate(jobs)} for place in places]


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest, over the largest value; 0 if all bits are the same."""
    if found.tobytes() == expected.tobytes():
        return 0.0
    return float(np.abs(found.astype(float) - expected).max() / np.abs(expected).max())


def concerned(name: str) -> list[str]:
    """Jobs that a change can reach: the lane engine is no part of a network, and the other way round."""
    if name.startswith("numba"):
        return [job for job in JOBS if job.startswith("labels")]
    if name == "together":
        return ["prediction", "training", "labels, lanes"]
    return NETWORKS if name.startswith(("mkl", "avx2", "default")) else list(JOBS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.into:
        for number, job in enumerate(chosen.jobs):
            np.savez(chosen.into / f"{number}.npz", **JOBS[job]())
        raise SystemExit
    begun, rows, within = time.perf_counter(), [], []
    with tempfile.TemporaryDirectory() as name:
        (first,) = done(chosen.jobs, Path(name) / "first", Change("", {}, []))
        for job, results in first.items():
            for key, value in results.items() if job == "prediction" else ():
                whole = "small" if key.startswith("small") else "whole"
                within.append({"job": job, "compared": key, "difference": difference(value, results[whole])})
        for key, change in CHANGES.items():
            jobs = [job for job in chosen.jobs if job in concerned(key)]
            for results in done(jobs, Path(name) / key, change):
                for job in jobs:
                    worst = max(difference(results[job][k], first[job][k]) for k in first[job])
                    row = {"change": key, "words": change.words, "job": job, "difference": worst}
                    rows.append(row | {"expected": "changes" if job in change.expected else "the same bits"})
                    print(table([rows[-1]], list(rows[-1])).splitlines()[-1], flush=True)
    print(table(within, ["job", "compared", "difference"]))
    settings = {"model": MODEL, "time": TIME, "jobs": chosen.jobs}
    data = data_hash([c.hash() for c in [*liquid(), *liquid("val")]])
    seconds = time.perf_counter() - begun
    content = {"settings": settings, "data": data, "seconds": seconds, "within_one_process": within, "rows": rows}
    print("written:", save("bits", "cpu", content))
