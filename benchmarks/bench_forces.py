"""A training step on energies and forces: the package's kernel beside e3nn's product in the same network.

    python benchmarks/bench_forces.py [--size 1000] [--rounds 9]

Gradients of forces are second derivatives of the energy. The learned potential (glasslit.models.potential) is built
twice for each l_max, with kernel="cpu" and with kernel="reference", which is e3nn's product, gather and sum; all else
is the same, the radial network and the harmonics with it. In each round each takes one step, forward, forces, backward
and Adam, on one thread, in a process that keeps its memory (common.KEPT), which helps both and e3nn most. "times
faster" is the median over rounds of the ratio of their processor times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import torch
from common import in_kept_memory, in_turns, machine, save, table

import glasslit as gl
from glasslit.learning.forces import _Student, _tell
from glasslit.models.potential import Potential, PotentialConfig
from glasslit.provenance import data_hash

DEGREES = (1, 2, 3)
COLUMNS = ["l_max", "parameters", "glasslit_s", "e3nn_s", "times faster", "apart"]


def configuration(n: int) -> gl.Configuration:
    if n == 1000:
        return gl.load("starter", T=0.50, split="train")[0]
    return gl.testing.random_liquid(n, seed=0, density=1.2).replace(potential="force-shifted")


def stepper(l_max: int, kernel: str, c: gl.Configuration):
    """A training step of a new potential, the losses that it finds, and the number of parameters."""
    torch.manual_seed(0)
    potential = Potential(PotentialConfig(l_max=l_max, kernel=kernel))
    potential.set_standardization([c])
    student = _Student(potential, 10.0).train()
    graph = potential.graph(c)
    _tell(graph, c, None)
    optimizer = torch.optim.Adam(potential.parameters(), lr=1e-3)

    losses: list[float] = []

    def step() -> None:
        optimizer.zero_grad()
        loss = student(graph)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    return step, losses, potential.count_parameters()


def measure(n: int, rounds: int) -> list[dict]:
    """One row for each l_max."""
    torch.set_num_threads(1)
    rows = []
    for l_max in DEGREES:
        c = configuration(n)
        made = {name: stepper(l_max, kernel, c) for name, kernel in (("ours", "cpu"), ("theirs", "reference"))}
        taken = in_turns({name: step for name, (step, _, _) in made.items()}, rounds)
        ratios = [b / a for a, b in zip(taken["ours"], taken["theirs"], strict=True)]
        apart = max(abs(a / b - 1) for a, b in zip(made["ours"][1], made["theirs"][1], strict=True))
        rows.append(
            {
                "l_max": l_max,
                "parameters": made["ours"][2],
                "times faster": statistics.median(ratios),
                "ratios": sorted(ratios),
            }
            | {"glasslit_s": statistics.median(taken["ours"]), "e3nn_s": statistics.median(taken["theirs"])}
            | {"apart": apart}
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=Path, help="only measure here, and write the rows to this file")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*zero-element")
    if chosen.rows:
        chosen.rows.write_text(json.dumps(measure(chosen.size, chosen.rounds)))
        raise SystemExit
    torch.set_num_threads(1)
    print(machine())
    begun = time.perf_counter()
    rows = in_kept_memory("bench_forces.py", ["--size", str(chosen.size), "--rounds", str(chosen.rounds)])
    print(table(rows, COLUMNS))
    about = {"settings": {"size": chosen.size, "rounds": chosen.rounds}}
    about |= {"data": data_hash([configuration(chosen.size).hash()]), "seconds": time.perf_counter() - begun}
    print(save("forces", "cpu", about | {"rows": rows}))
