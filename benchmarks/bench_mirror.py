"""What it saves to know mirror images: a training step of E(3) networks beside that of SE(3) networks of the same size.

    python benchmarks/bench_mirror.py [--rounds 15]

One thread, one training configuration of the standard set. In each round each network takes one step (forward,
backward, Adam), and the processor time of that with ``mirror_images`` is divided by that of the one without in the same
round; the cost is the median over rounds.
"""

from __future__ import annotations

import argparse
import statistics

from bench_body import stepper, store
from common import in_turns

import glasslit as gl

SIZES = {"laptop": gl.ModelConfig.laptop, "paper": gl.ModelConfig}
COLUMNS = ["network", "weights", "weights_without", "cost", "step_s", "step_without_s"]


def measure(rounds: int, configuration: gl.Configuration, sizes: dict = SIZES) -> list[dict]:
    """One row for each size."""
    rows = []
    for name, make in sizes.items():
        configs = {known: make(n_times=len(configuration.times), mirror_images=known) for known in (False, True)}
        steppers = {known: stepper(config, configuration) for known, config in configs.items()}
        taken = in_turns({known: step for known, (step, _) in steppers.items()}, rounds)
        ratios = [mine / plain for mine, plain in zip(taken[True], taken[False], strict=True)]
        weights = {known: sum(net.count_parameters().values()) for known, (_, net) in steppers.items()}
        rows.append(
            {"network": name, "weights": weights[True], "weights_without": weights[False]}
            | {"cost": statistics.median(ratios), "costs": sorted(ratios)}
            | {"step_s": statistics.median(taken[True]), "step_without_s": statistics.median(taken[False])}
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    store("mirror", parser.parse_args().rounds, COLUMNS, measure)
