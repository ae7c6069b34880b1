"""Harmonic theory beside the networks of ``book/runs/covariance/``: what ``covariance_theory.json`` holds.

    python book/runs/covariance_theory.py covariance.h5

The file is the one that ``sweeps/covariance.toml`` says how to make. For each test configuration, the covariances that
follow from the Hessian, in the inherent structure and where the runs start, are scored against those of the runs, as a
network's are. The networks are compared with the theory in the inherent structure, with what the directions of
neighbors tell, and with each other, on the same particles.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

import glasslit as gl
from glasslit import provenance
from glasslit.learning.stored import gain_of_seeds
from glasslit.learning.tensors import (
    covariance_scores,
    neighbor_tensors,
    paired_tensor_gain,
)
from glasslit.liquid.harmonic import harmonic_covariance

FIELDS = {"IS": "inherent_positions", "thermal": "positions"}
RUNS = Path(__file__).resolve().parent / "covariance"
SEEDS = range(3)


def theory(data, test):
    """What each expansion predicts for each test configuration; kept beside the runs of the data, as it takes minutes."""
    digest = provenance.data_hash(c.hash() for c in test)
    path = Path(data).with_suffix(".runs") / f"harmonic-{digest[:16]}.npz"
    if not path.is_file():
        made = {
            f"{name}-{k}": harmonic_covariance(c, c.times, field)
            for name, field in FIELDS.items()
            for k, c in enumerate(test)
        }
        path.parent.mkdir(exist_ok=True)
        np.savez(path, **made)
    with np.load(path) as kept:
        return {
            name: [kept[f"{name}-{k}"] for k in range(len(test))]
            for name in FIELDS
        }


def main() -> None:
    """Score the theory on the test configurations, compare, and write the table."""
    begun = time.perf_counter()
    train, test = (
        gl.load(sys.argv[1], split=split) for split in ("train", "test")
    )
    found = {"times": test[0].times.tolist(), "theory": {}, "gain": {}}
    predicted = {
        f"theory {name}": [each] * len(SEEDS)
        for name, each in theory(sys.argv[1], test).items()
    }
    for name in FIELDS:
        scores = covariance_scores(predicted[f"theory {name}"][0], train, test)
        found["theory"][name] = {
            kind: {score: each[score] for score in ("component", "trace")}
            for kind, each in scores.items()
        }
    predicted["neighbors"] = [neighbor_tensors(train, test)] * len(SEEDS)
    for inputs in ("thermal", "thermal+u_IS"):
        nets = [
            gl.load_model(RUNS / f"{inputs}-seed{seed}" / "model.pt")
            for seed in SEEDS
        ]
        predicted[inputs] = [net.predict(test, "covariance") for net in nets]
    for first in ("theory IS", "neighbors", "thermal"):
        gains = {
            kind: gain_of_seeds(
                predicted[first],
                predicted["thermal+u_IS"],
                test,
                kind,
                paired_tensor_gain,
            )
            for kind in "AB"
        }
        found["gain"][first] = {
            kind: {
                "each": g.each.tolist(),
                "mean": g.mean.tolist(),
                "error": g.error.tolist(),
                "decided": g.decided.tolist(),
            }
            for kind, g in gains.items()
        }
    data = provenance.data_hash(c.hash() for c in [*train, *test])
    parameters = {
        "T": test[0].temperature,
        "fields": FIELDS,
        "runs": "covariance/, seeds 0 to 2",
    }
    seconds = time.perf_counter() - begun
    found["card"] = provenance.card(
        parameters, data=data, device="cpu", seed=0, seconds=seconds
    )
    provenance.write_json(Path(__file__).with_suffix(".json"), found)
    print(json.dumps(found["gain"], indent=1))


if __name__ == "__main__":
    main()
