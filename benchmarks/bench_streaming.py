"""Training on hundreds of configurations: graphs held in memory beside graphs made on the way.

    python benchmarks/bench_streaming.py [--configurations 400] [--folder FOLDER]

A folder in GlassBench's layout is made of turned and mirrored copies of the standard set at T = 0.56, which are as much
work as others, and becomes one file (``gl.prepare_published``). Each way then trains the laptop preset for one epoch in
a process of its own: peak memory of that process, of its largest worker, and seconds. A small network is the harder
case: steps wait for graphs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import machine, peak_memory, save, table

import glasslit as gl
from glasslit.equivariance.so3 import cube_rotations
from glasslit.liquid.graph import required
from glasslit.provenance import data_hash
from glasslit.testing import write_glassbench

WAYS = {"held": None, "in between": 0, "one worker": 1, "two workers": 2}


def make_folder(folder: Path, count: int) -> None:
    """T0.56/train with ``count`` files and T0.56/test with one."""
    turns = cube_rotations().numpy()
    turns = np.concatenate([turns, -turns])
    train, test = gl.load("standard", T=0.56, split="train"), gl.load("standard", T=0.56, split="test")
    for number in range(count + 1):
        c, turn = (test[0], np.eye(3)) if number == count else (train[number % len(train)], turns[number // len(train)])
        turned = c.replace(
            positions=c.positions @ turn.T, inherent_positions=required(c, "inherent_positions") @ turn.T
        )
        write_glassbench(folder / "T0.56" / ("test" if number == count else "train"), turned, number + 1)


def at_seven_times(c: gl.Configuration) -> gl.Configuration:
    return c.at_times(c.times[:7])


def alone(path: str, way: str) -> None:
    """One epoch, printed: seconds, peak of this process, peak of a worker."""
    split = {s: gl.load(path, split=s, lazy=True).map(at_seven_times) for s in ("train", "val")}
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig.laptop(n_times=7))
    train = split["train"]
    config = gl.TrainConfig(epochs=1, device="cpu", num_workers=WAYS[way])
    records: list[gl.train.EpochRecord] = []
    _, process = peak_memory(lambda: records.extend(gl.fit(net, train, split["val"][:2], config)), "cpu")
    worker = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if WAYS[way] else 0
    print(json.dumps([records[0].seconds, records[0].train_loss, process, worker]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--configurations", type=int, default=400)
    parser.add_argument("--folder", type=Path, help="where the files go, 1 MB each (default: a temporary folder)")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        return alone(*arguments.alone)
    begun, rows = time.time(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "T0.56" / "test").is_dir():
            make_folder(folder, arguments.configurations)
        start = time.perf_counter()
        path = gl.prepare_published(folder, T=0.56, out=folder / "prepared.h5")
        prepared = {"prepare_s": time.perf_counter() - start, "file_GB": path.stat().st_size / 1e9}
        data = gl.load(path, split="train", lazy=True)
        for way in WAYS:
            words = [sys.executable, __file__, "--alone", str(path), way]
            told = subprocess.run(words, capture_output=True, text=True, check=True)
            seconds, loss, process, worker = json.loads(told.stdout.splitlines()[-1])
            row = {"graphs": way, "N": data[0].n_particles, "configurations": len(data), "epoch_s": seconds}
            row |= {"ratio_to_held": seconds / (rows[0]["epoch_s"] if rows else seconds), "train_loss": loss}
            row |= {"process_GB": process / 1e9, "worker_GB": worker / 1e9}
            rows.append(row)
            assert loss == rows[0]["train_loss"], "it is another training"
            print(table([row], list(row)), flush=True)
        content = {
            "settings": {k: v for k, v in vars(arguments).items() if k not in ("alone", "folder")},
            "data": data_hash(c.hash() for c in data),
            "seconds": time.time() - begun,
            **prepared,
            "rows": rows,
        }
        print(prepared, machine(), save("streaming", "cpu", content), sep="\n")


if __name__ == "__main__":
    main()
