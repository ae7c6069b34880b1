"""Prediction for large configurations: time per particle and memory, beside 4096 particles predicted as a whole.

    python benchmarks/bench_predict.py [--tiles 3 6] [--models thermal+E_IS-T0.56 paper]

A test configuration is laid beside copies of itself, 3 x 3 x 3 for 10^5 particles, so that the right answer is known:
that of the single one. Times are medians of turns taken one after the other. Peaks are of processes of their own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np
from common import machine, peak_memory, save, table

import glasslit as gl
from glasslit.prediction import find_model, predict_in_blocks
from glasslit.provenance import data_hash


def liquid() -> gl.Configuration:
    return gl.load("standard", T=0.56, split="test")[0]


def tiled(c: gl.Configuration, times: int) -> gl.Configuration:
    """The configuration beside copies of itself in all directions."""
    one = np.arange(times)
    shifts = np.stack(np.meshgrid(one, one, one, indexing="ij"), axis=-1).reshape(-1, 3) * c.box
    return gl.Configuration(
        positions=(np.mod(c.positions, c.box)[None] + shifts[:, None]).reshape(-1, 3),
        types=np.tile(c.types, len(shifts)),
        box=c.box * times,
        potential_energy_inherent=np.tile(c.potential_energy_inherent, len(shifts)),
    )


def model_of(name: str):
    if name != "paper":
        return find_model(name)
    net = gl.SE3GNN(gl.ModelConfig(n_times=7))
    net.set_standardization([liquid()])
    return net.eval()


def alone(model: str, tiles: int, whole: bool) -> None:
    """Peak of this process, printed."""
    net, large = model_of(model), tiled(liquid(), tiles)
    net.predict(tiled(liquid(), 1))  # compiles
    above, process = peak_memory(lambda: (net.predict if whole else lambda c: predict_in_blocks(net, c))(large), "cpu")
    print(json.dumps([above, process]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiles", type=int, nargs="+", default=[3], help="copies along an edge; 3: 10^5 particles")
    parser.add_argument("--models", nargs="+", default=["thermal+E_IS-T0.56", "paper"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        return alone(arguments.alone[0], int(arguments.alone[1]), arguments.alone[2] == "whole")
    begun, rows, c = time.time(), [], liquid()
    for name in arguments.models:
        net = model_of(name)
        once = net.predict(c)
        for tiles in arguments.tiles:
            large, small_s, large_s = tiled(c, tiles), [], []
            for _ in range(arguments.repeats):
                start = time.perf_counter()
                for _ in range(5):
                    net.predict(c)
                middle = time.perf_counter()
                found = predict_in_blocks(net, large)
                small_s.append((middle - start) / 5 / c.n_particles)
                large_s.append((time.perf_counter() - middle) / large.n_particles)
            off = np.abs(found.reshape(len(once), -1, c.n_particles) - once[:, None]).max() / np.abs(once).max()
            row = {"model": name, "N": large.n_particles, "us_per_particle": 1e6 * statistics.median(large_s)}
            row["ratio_to_4096"] = statistics.median(a / b for a, b in zip(large_s, small_s, strict=True))
            row["relative_difference"] = float(off)
            for how in ("blocks", "whole"):
                words = [sys.executable, __file__, "--alone", name, str(tiles), how]
                told = subprocess.run(words, capture_output=True, text=True)
                row[f"{how}_GB"] = json.loads(told.stdout.splitlines()[-1])[1] / 1e9 if told.returncode == 0 else None
            rows.append(row)
            print(table([row], list(row)), flush=True)
    settings = vars(arguments) | {"repeats": arguments.repeats}
    content = {"settings": settings, "data": data_hash([c.hash()]), "seconds": time.time() - begun, "rows": rows}
    print(machine(), save("predict", "cpu", content), sep="\n")


if __name__ == "__main__":
    main()
