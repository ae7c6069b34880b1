"""What the runs on published data say together: scores, ensembles, and differences with their errors.

    python book/runs/published/compare.py

Writes ``comparison.json``, with a card, beside this file. The build of the book
reads it, because it does not have the published configurations: here they are
downloaded and quenched once (``gl.prepare_botan_small``).

An ensemble is the mean of what its networks predict, in units of the spread of
training labels. Those that are made are stated here, and not chosen: the
seeds of each input, and all networks together. Of these, the one with the
highest score on the validation configurations is the answer to the question
how well this can be done; test configurations take no part in this choice.
"""

import time
from itertools import chain
from pathlib import Path

import numpy as np

import glasslit as gl
from glasslit.learning.stored import StoredRuns, gain_of_seeds
from glasslit.provenance import card, data_hash, write_json

RUNS = Path(__file__).resolve().parents[1]
SEEDS = range(3)
INPUTS = ("thermal", "thermal+E_IS", "IS", "thermal+E_IS+u_IS")
COMPARED = (
    ("thermal", "thermal+E_IS"),
    ("thermal", "IS"),
    ("thermal+E_IS", "IS"),
    ("thermal+E_IS", "thermal+E_IS+u_IS"),
)
ALL = "all networks"


def run_of(inputs, seed):
    """Its name below book/runs; the sweep published.toml came later."""
    first = seed == 0 and "u_IS" not in inputs
    return (
        f"botan-small-{inputs}" if first else f"published/{inputs}-seed{seed}"
    )


def scores(predictions, configurations):
    """Correlation on A particles, of each configuration."""
    return [
        gl.pearson([p], [c.propensity], [c.types])["A"].item()
        for p, c in zip(predictions, configurations, strict=True)
    ]


def mean(trainings):
    """Of several networks, for each configuration."""
    return [np.mean(each, axis=0) for each in zip(*trainings, strict=True)]


def compare(split):
    """Everything of ``comparison.json`` except its card."""
    names = {inputs: [run_of(inputs, s) for s in SEEDS] for inputs in INPUTS}
    stored = {part: StoredRuns(RUNS, split[part]) for part in ("val", "test")}
    predicted = {
        part: {
            inputs: [runs.predictions(name) for name in names[inputs]]
            for inputs in INPUTS
        }
        for part, runs in stored.items()
    }
    groups = {part: dict(found) for part, found in predicted.items()}
    for part, found in groups.items():
        found[ALL] = list(chain.from_iterable(predicted[part].values()))
    ensembles = {
        name: {
            part: scores(mean(found[name]), split[part])
            for part, found in groups.items()
        }
        for name in (*INPUTS, ALL)
    }

    def gain(first, second):
        found = gain_of_seeds(first, second, split["test"])
        return {
            "each": found.each[:, 0].tolist(),
            "mean": found.mean.item(),
            "error": found.error.item(),
            "decided": found.decided.item(),
        }

    test = predicted["test"]
    return {
        "names": names,
        "levels": {  # mean propensity of A particles
            part: [float(c.propensity[0][c.types == 0].mean()) for c in some]
            for part, some in split.items()
        },
        "runs": {
            inputs: {
                part: [scores(p, split[part]) for p in found[inputs]]
                for part, found in predicted.items()
            }
            for inputs in INPUTS
        },
        "ensembles": ensembles,
        "chosen": max(ensembles, key=lambda n: np.mean(ensembles[n]["val"])),
        "gains": {
            f"{first} -> {second}": gain(test[first], test[second])
            for first, second in COMPARED
        },
        "gains of ensembles": {
            inputs: gain(test[inputs], [mean(test[inputs])] * len(SEEDS))
            for inputs in INPUTS
        },
    }


def main():
    began = time.monotonic()
    data = gl.prepare_botan_small()
    split = {
        s: gl.load(data, T=0.44, split=s) for s in ("train", "val", "test")
    }
    found = compare(split)
    about = card(
        {"data": "botan-small", "inputs": INPUTS, "seeds": list(SEEDS)},
        data=data_hash(c.hash() for part in split.values() for c in part),
        device="cpu",
        seed=0,
        seconds=time.monotonic() - began,
    )
    write_json(RUNS / "published" / "comparison.json", {"card": about} | found)


if __name__ == "__main__":
    main()
