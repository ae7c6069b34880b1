"""Cross-validation on published data: what is learned when the ten configurations that are not the test validate in turn.

    python book/runs/published/cross_validation.py

Writes ``cross_validation.json``, with a card, beside this file, from the runs of
the sweep ``published_folds`` and the first seeds of the other sweeps, which are
fold 0. Needs the published configurations, as ``compare.py``.

A prediction is *held out* if it is made by the network of the fold that did not
learn from that configuration. The epoch of that network was chosen on it and on
one other, so held-out scores are a little too high: by the luck that the best of
forty epochs has.

The answer to the question how well this can be done was fixed before any of
these runs: from the settings below, the ensemble selected on held-out
predictions of all ten (as in ``compare.py``), each setting being the mean of its
five networks. Test configurations take no part in this.

Networks that know mirror images came later (the sweep ``published_mirror``).
They are compared with those that do not on the held-out configurations, and
take no part in the selection. (The first plan was to train both inputs in all
folds, and to select from these networks, too. It was cut down, to save time,
when the network with the vector had validated lower in fold 0; the test
configurations were not looked at.)

With the settings chosen, all ten may teach: ``published_all`` trains both
networks with them, three seeds each, to the last epoch. Then each network
setting of the selected ensemble is the mean of its eight networks, five of
folds and three of these; ridge, whose strength something has to choose, stays
the mean of its folds. That this is the answer to how well ten configurations
can teach was fixed before these six were trained.
"""

import json
from collections import Counter

import numpy as np
from compare import RUNS, mean, scores, select, store

from glasslit.learning.folds import fold
from glasslit.learning.stored import StoredRuns
from glasslit.provenance import data_hash

FOLDS = range(5)
SETTINGS = {
    "thermal+E_IS+u_IS": ("se3", "thermal+E_IS+u_IS"),
    "IS+E_IS": ("se3", "IS+E_IS"),
    "ridge, IS+E_IS": ("ridge", "IS+E_IS"),
    "mlp, IS+E_IS": ("mlp", "IS+E_IS"),
}
"""Network and inputs."""
MIRROR = {"IS+E_IS, mirror": ("mirror", "IS+E_IS")}
"""The same of networks that know mirror images."""
SEEDS = range(3)
TAUGHT_BY_ALL = ("thermal+E_IS+u_IS", "IS+E_IS")
"""Settings that were trained with all ten."""
BEST = "thermal+E_IS+u_IS"  # of the two networks, by the scores in compare.py
SELECTED = "selected"
OF_ALL = "selected, ten teach"


def run_of(setting, number):
    """Its name below book/runs."""
    network, inputs = (SETTINGS | MIRROR)[setting]
    if number == 0 and network != "mirror":
        first = "" if network == "se3" else f"{network}-"
        return f"published/{first}{inputs}-seed0"
    return f"published/{network}-{inputs}-fold{number}"


def taught_by_all(setting):
    """Names below book/runs."""
    return [f"published/all-{setting}-seed{s}" for s in SEEDS]


def check_fold(name, train, val, test):
    """Of the run's card: it learned from these, validated on those, and both in this order."""
    about = json.loads((RUNS / name / "card.json").read_text())
    expected = data_hash(c.hash() for part in (train, val, test) for c in part)
    if about["data_sha256"] != expected:
        raise ValueError(
            f"{name}: data {about['data_sha256'][:12]}; expected {expected[:12]}: "
            "was it trained on another fold, or on another quench?"
        )


def cross_validate(split):
    """Everything of ``cross_validation.json`` except its card."""
    pool = [*split["train"], *split["val"]]
    place = {c.name: k for k, c in enumerate(pool)}
    every = SETTINGS | MIRROR
    held = {setting: [None] * len(pool) for setting in every}
    tested = {setting: [] for setting in every}
    on_test = StoredRuns(RUNS, split["test"])
    for number in FOLDS:
        train, val = fold(split["train"], split["val"], number)
        runs = StoredRuns(RUNS, val)
        for setting in every:
            name = run_of(setting, number)
            check_fold(name, train, val, split["test"])
            for c, p in zip(val, runs.predictions(name), strict=True):
                held[setting][place[c.name]] = p
            tested[setting].append(on_test.predictions(name))
    together = {s: mean(five) for s, five in tested.items()}
    taken = select({s: held[s] for s in SETTINGS}, pool)
    held[SELECTED] = mean([held[s] for s in taken])
    together[SELECTED] = mean([together[s] for s in taken])
    ten, eight = {}, dict(together)
    for setting in TAUGHT_BY_ALL:
        for name in taught_by_all(setting):
            check_fold(name, pool, [], split["test"])
        ten[setting] = [on_test.predictions(n) for n in taught_by_all(setting)]
        eight[setting] = mean([*tested[setting], *ten[setting]])
    eight[OF_ALL] = mean([eight[s] for s in taken])
    found = {s: np.array(scores(p, pool)) for s, p in held.items()}

    def over(second, first):
        each = found[second] - found[first]
        return {
            "mean": each.mean().item(),
            "error": (each.std(ddof=1) / len(each) ** 0.5).item(),
        }

    return {
        "names": {s: [run_of(s, k) for k in FOLDS] for s in every},
        "configurations": [c.name for c in pool],
        "held out": {s: values.tolist() for s, values in found.items()},
        "one network": {
            s: [scores(p, split["test"]) for p in five]
            for s, five in tested.items()
        },
        "together": {s: scores(p, split["test"]) for s, p in together.items()},
        "selected": Counter(taken),
        "ten teach": {
            "names": {s: taught_by_all(s) for s in TAUGHT_BY_ALL},
            "one network": {
                s: [scores(p, split["test"]) for p in some]
                for s, some in ten.items()
            },
            "three": {
                s: scores(mean(some), split["test"])
                for s, some in ten.items()
            },
            "with the folds": {
                s: scores(eight[s], split["test"])
                for s in (*TAUGHT_BY_ALL, OF_ALL)
            },
        },
        "leads": {
            f"{BEST} over {s}": over(BEST, s) for s in SETTINGS if s != BEST
        }
        | {f"{SELECTED} over {BEST}": over(SELECTED, BEST)}
        | {
            f"{s} over {s.removesuffix(', mirror')}": over(
                s, s.removesuffix(", mirror")
            )
            for s in MIRROR
        },
    }


if __name__ == "__main__":
    store(
        cross_validate,
        {
            "settings": SETTINGS | MIRROR,
            "folds": list(FOLDS),
            "seeds": list(SEEDS),
        },
        "cross_validation.json",
    )
