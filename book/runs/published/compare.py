"""What the runs on published data say together: scores, ensembles, and differences with their errors.

    python book/runs/published/compare.py

Writes ``comparison.json``, with a card, beside this file. The build of the book
reads it, because it does not have the published configurations: here they are
downloaded and quenched once (``gl.prepare_botan_small``).

An ensemble is the mean of what its networks predict, in units of the spread of
training labels. Those that are made are stated here: the seeds of each input,
all networks together, and one that is selected on the validation
configurations from all networks and the models on hand-made descriptors
(Caruana et al. 2004). Of these, the one with the highest score on the
validation configurations is the answer to the question how well this can be
done; test configurations take no part in this choice.
"""

import time
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np

import glasslit as gl
from glasslit.baselines import baseline
from glasslit.learning.stored import StoredRuns, gain_of_seeds
from glasslit.provenance import card, data_hash, write_json

RUNS = Path(__file__).resolve().parents[1]
SEEDS = range(3)
INPUTS = (
    "thermal",
    "thermal+u_IS",
    "thermal+E_IS",
    "thermal+E_IS+u_IS",
    "IS",
    "IS+E_IS",
)
COMPARED = (
    ("thermal", "thermal+E_IS"),
    ("IS", "IS+E_IS"),
    ("thermal", "IS"),
    ("thermal+E_IS", "IS+E_IS"),
    ("thermal+E_IS", "IS"),
    ("thermal", "thermal+u_IS"),
    ("thermal+E_IS", "thermal+E_IS+u_IS"),
)
DESCRIPTORS = (("ridge", 1), ("mlp", 3))  # and how many seeds
DESCRIBED = ("thermal+E_IS", "IS+E_IS")
ALL = "all networks"
SELECTED = "selected"


def run_of(inputs, seed):
    """Its name below book/runs; the sweep published.toml came later."""
    first = seed == 0 and inputs in ("thermal", "thermal+E_IS", "IS")
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


def select(candidates, configurations):
    """Ensemble selection: names, some of them more than once, from all candidates.

    The one that makes the mean better than any other does is added, until none
    does (Caruana et al. 2004).
    """
    taken, best = [], -np.inf
    while True:
        tried = {
            name: np.mean(
                scores(
                    mean([*(candidates[n] for n in taken), candidate]),
                    configurations,
                )
            )
            for name, candidate in candidates.items()
        }
        name = max(tried, key=tried.get)
        if tried[name] <= best:
            return taken
        taken, best = [*taken, name], tried[name]


def left_out(configurations):
    """How difficult is each configuration? Ridge, tested on each of them in turn.

    The next one chooses the strength, and the other ten are learned from, with
    the loss that the networks have. Ridge takes seconds, networks would take
    hours.
    """
    net = baseline("ridge", inputs="IS+E_IS", n_times=1)
    config = gl.TrainConfig(level_weight=0.3, device="cpu")
    found = {}
    for k, one in enumerate(configurations):
        after = configurations[(k + 1) % len(configurations)]
        others = [c for c in configurations if c not in (one, after)]
        for _ in gl.fit(net, others, [after], config):
            pass
        found[one.name] = scores([net.predict(one)], [one])[0]
    return found


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
    described = {
        f"{network}, {inputs}": [
            f"published/{network}-{inputs}-seed{s}" for s in range(seeds)
        ]
        for network, seeds in DESCRIPTORS
        for inputs in DESCRIBED
    }
    for part, runs in stored.items():
        predicted[part] |= {
            group: [runs.predictions(name) for name in some]
            for group, some in described.items()
        }
    every = {
        part: {
            name: p
            for group, some in (names | described).items()
            for name, p in zip(some, found[group], strict=True)
        }
        for part, found in predicted.items()
    }
    taken = select(every["val"], split["val"])
    groups = {part: dict(found) for part, found in predicted.items()}
    for part, found in groups.items():
        found[ALL] = list(chain.from_iterable(found[i] for i in INPUTS))
        found[SELECTED] = [every[part][name] for name in taken]
    ensembles = {
        name: {
            part: scores(mean(found[name]), split[part])
            for part, found in groups.items()
        }
        for name in (*INPUTS, ALL, SELECTED)
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
    vector = test["thermal+E_IS+u_IS"]
    return {
        "names": names,
        "selected": Counter(taken),
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
        "descriptors": {
            group: {"names": some}
            | {
                part: [scores(p, split[part]) for p in found[group]]
                for part, found in predicted.items()
            }
            | {  # a single training is compared with each seed
                "network's gain": gain(
                    test[group] * (len(vector) // len(some)), vector
                )
            }
            for group, some in described.items()
        },
        "left out": left_out(list(chain.from_iterable(split.values()))),
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


def store(compute, settings, name):
    """What ``compute`` finds in the published configurations, with a card, in a file beside this one."""
    began = time.monotonic()
    data = gl.prepare_botan_small()
    split = {
        s: gl.load(data, T=0.44, split=s) for s in ("train", "val", "test")
    }
    found = compute(split)
    about = card(
        {"data": "botan-small"} | settings,
        data=data_hash(c.hash() for part in split.values() for c in part),
        device="cpu",
        seed=0,
        seconds=time.monotonic() - began,
    )
    write_json(RUNS / "published" / name, {"card": about} | found)


if __name__ == "__main__":
    store(compare, {"inputs": INPUTS, "seeds": list(SEEDS)}, "comparison.json")
