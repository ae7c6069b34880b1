"""How well harmonic theory tells the covariance of displacements: what ``covariance_theory.json`` holds.

python book/runs/covariance_theory.py covariance.h5

The file is the one that ``sweeps/covariance.toml`` says how to make. No network takes part. For each test
configuration, the covariances that follow from the Hessian, in the inherent structure and where the runs start, are
scored against those of the runs, as a network's are.
"""

import json
import sys
import time
from pathlib import Path

from glasslit import load, provenance
from glasslit.learning.tensors import covariance_scores
from glasslit.liquid.harmonic import harmonic_covariance

FIELDS = {"IS": "inherent_positions", "thermal": "positions"}


def main() -> None:
    """Score the theory on the test configurations and write the table."""
    begun = time.perf_counter()
    train, test = (load(sys.argv[1], split=split) for split in ("train", "test"))
    found = {"times": test[0].times.tolist()}
    for name, field in FIELDS.items():
        predicted = [harmonic_covariance(c, c.times, field) for c in test]
        found[name] = covariance_scores(predicted, train, test)
    data = provenance.data_hash(c.hash() for c in [*train, *test])
    found["card"] = provenance.card(
        {"fields": FIELDS, "T": test[0].temperature},
        data=data,
        device="cpu",
        seed=None,
        seconds=time.perf_counter() - begun,
    )
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
