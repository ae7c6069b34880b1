"""What a training step of each network of sweeps/body.toml costs, and of those in lmax.toml and depth.toml beside it.

    python benchmarks/bench_body.py [--rounds 15] [--check]

One thread, one training configuration of the standard set. In each round each network takes one step (forward,
backward, Adam), and its processor time is divided by that which the network of the laptop preset took in the same
round; the median over rounds is the cost, so that a slow minute of the machine is unfair to none. The comments in
sweeps/body.toml say these costs and the numbers of parameters; ``--check`` only compares them with the stored result.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import RESULTS, in_turns, machine, save, table

import glasslit as gl
from glasslit.learning.sweep import read_sweep
from glasslit.provenance import data_hash

SWEEPS = Path(__file__).resolve().parents[1] / "sweeps"
SIZES = ("layers", "channels", "l_max", "products", "attention")
INPUTS = "thermal+E_IS"
COMMENT = re.compile(r"^\[\[either\]\]  # cost ([\d.]+), (\d+) parameters$", re.MULTILINE)
COLUMNS = ["network", *SIZES, "parameters", "cost", "step_s", "step_least_s"]


def networks(n_times: int = 10) -> dict[str, gl.ModelConfig]:
    """By name of the run without its seed, the laptop preset's first."""
    found = {"laptop": gl.ModelConfig.laptop(inputs=INPUTS, n_times=n_times)}
    for name in ("lmax", "depth", "body"):
        for run in read_sweep(SWEEPS / f"{name}.toml"):
            given = run.parameters
            if given["seed"] == 0 and given["inputs"] == INPUTS:
                sizes = {key: given[key] for key in SIZES if key in given}
                config = gl.ModelConfig.laptop(inputs=INPUTS, n_times=n_times, **sizes)
                if config not in found.values():
                    found[f"{name}/{run.name.removesuffix('-seed0')}"] = config
    return found


def sizes_of(config: gl.ModelConfig) -> dict:
    return {name: getattr(config, name) for name in SIZES}


def stepper(config: gl.ModelConfig, configuration: gl.Configuration):
    """A training step of a new network, and the network."""
    torch.manual_seed(0)
    net = gl.SE3GNN(config)
    net.set_standardization([configuration])
    graph = net.graph(configuration)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        net.training_loss(graph).backward()
        optimizer.step()

    return step, net


def measure(rounds: int, configuration: gl.Configuration, n_times: int) -> list[dict]:
    """One row for each network."""
    configs = networks(n_times)
    steppers = {name: stepper(config, configuration) for name, config in configs.items()}
    taken = in_turns({name: step for name, (step, _) in steppers.items()}, rounds)
    rows = []
    for name, (_, net) in steppers.items():
        ratios = [mine / laptop for mine, laptop in zip(taken[name], taken["laptop"], strict=True)]
        counts = net.count_parameters()
        rows.append(
            {"network": name, **sizes_of(configs[name]), "parameters": sum(counts.values()), "parts": counts}
            | {"cost": statistics.median(ratios), "costs": sorted(ratios)}
            | {"step_s": statistics.median(taken[name]), "step_least_s": min(taken[name])}
        )
    return rows


def comments(rows: list[dict]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(cost, parameters) as the comments in sweeps/body.toml say them, and as the rows do, in the sweep's order."""
    told = COMMENT.findall((SWEEPS / "body.toml").read_text())
    found = [(f"{r['cost']:.2f}", str(r["parameters"])) for r in rows if r["network"].startswith("body/")]
    return told, found


def store(name: str, rounds: int, columns: list[str], measure: Callable[[int, gl.Configuration], list[dict]]) -> None:
    """What steps cost, on one thread and one training configuration of the standard set, in `<name>_cpu.json`."""
    torch.set_num_threads(1)
    begun = time.perf_counter()
    print(machine())
    configuration = gl.load("standard", T=0.56, split="train")[0]
    rows = measure(rounds, configuration)
    print(table(rows, columns))
    about = {"settings": {"rounds": rounds}, "data": data_hash([configuration.hash()])}
    print("written:", save(name, "cpu", about | {"seconds": time.perf_counter() - begun, "rows": rows}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="compare comments and stored result, and measure nothing")
    chosen = parser.parse_args()
    if chosen.check:
        import json

        told, found = comments(json.loads((RESULTS / "body_cpu.json").read_text())["rows"])
        for one, other in zip(told, found, strict=True):
            print(*one, *other, "" if one == other else "differ")
        raise SystemExit(told != found)
    store("body", chosen.rounds, COLUMNS, lambda rounds, c: measure(rounds, c, len(c.times)))
