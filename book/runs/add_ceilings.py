"""Add the noise ceiling within configurations to stored ``metrics.json`` that were written before it was computed.

    python book/runs/add_ceilings.py [FOLDER OF THE PUBLISHED BOTAN FILES]

It comes from the labels of the run's own test split. A file is changed only if the pooled ceiling that these labels
give is the one that it holds, and no other value of it changes. Files that have the key are left as they are.
"""

import json
import sys
from pathlib import Path

import numpy as np

import glasslit as gl
from glasslit import provenance
from glasslit.learning.evaluation import _ceilings
from glasslit.models.clock import at_common_parts, counted_in_parts

RUNS = Path(__file__).resolve().parent


def labelled(parameters, published):
    """Test configurations of a run, or None where its data are not at hand."""
    if parameters["data"] == "botan-small":
        return gl.read_published(published / "test") if published else None
    several = parameters["T"] if isinstance(parameters["T"], list) else [parameters["T"]]
    test = [c for t in several for c in gl.load(parameters["data"], T=t, split="test")]
    return test if len(several) == 1 else counted_in_parts(at_common_parts(test))


def add(path, published=None):
    """Whether the file was changed."""
    metrics = json.loads(path.read_text())
    if "ceiling_within" in metrics["test"]["A"]:
        return False
    card = json.loads(path.with_name("card.json").read_text())
    test = labelled(card["parameters"], published)
    if test is None:
        return False
    found = _ceilings([c.at_times(metrics["times"]) for c in test])
    for kind, scores in metrics["test"].items():
        np.testing.assert_allclose(
            found["ceiling"][kind], scores["ceiling"], rtol=1e-6, err_msg=f"{path}: these are not its labels"
        )
        within = {"ceiling_within": [float(v) for v in found["ceiling_within"][kind]]}
        order = ["mean", "pooled", "ceiling", "ceiling_within", "density", "E_IS"]
        metrics["test"][kind] = dict(sorted((scores | within).items(), key=lambda item: order.index(item[0])))
    provenance.write_json(path, metrics)
    return True


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    for path in sorted(RUNS.rglob("metrics.json")):
        print(path.parent.relative_to(RUNS), "changed" if add(path, folder) else "left as it is")
