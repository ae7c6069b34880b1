"""What a training step costs with each decoder, over that with the paper's, which has weights for each time.

    python benchmarks/bench_decoders.py [--rounds 30]

One thread, one training configuration of the standard set, the network of the laptop preset. In each round each decoder
takes one step (forward, backward, Adam), and its processor time is divided by that which the paper's took in the same
round; the median over rounds is the cost.
"""

from __future__ import annotations

import argparse
import statistics

from bench_body import INPUTS, stepper, store
from common import in_turns

import glasslit as gl
from glasslit.models.decoders import DECODERS

COLUMNS = ["decoder", "parameters", "cost", "step_s", "step_least_s"]


def measure(rounds: int, configuration: gl.Configuration) -> list[dict]:
    """One row for each decoder."""
    n_times = len(configuration.times)
    configs = {d: gl.ModelConfig.laptop(inputs=INPUTS, n_times=n_times, decoder=d) for d in DECODERS}
    steppers = {name: stepper(config, configuration) for name, config in configs.items()}
    taken = in_turns({name: step for name, (step, _) in steppers.items()}, rounds)
    return [
        {"decoder": name, "parameters": net.count_parameters()["decoder"]}
        | {"cost": statistics.median(a / b for a, b in zip(taken[name], taken["linear"], strict=True))}
        | {"step_s": statistics.median(taken[name]), "step_least_s": min(taken[name])}
        for name, (_, net) in steppers.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    store("decoders", parser.parse_args().rounds, COLUMNS, measure)
