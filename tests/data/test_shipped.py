"""What lies inside the package is there, and is what it is said to be."""

import json
import subprocess
import sys

import pytest
import torch

import glasslit as gl
from glasslit.data.shipped import FETCHED, SHIPPED, no_such_data, shipped_models
from tests.common import ROOT


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_data_sets_are_loaded_by_name(name):
    assert gl.load(name, split="test", lazy=True)[0].propensity is not None


def test_names_are_known_without_anything_that_computes():
    code = "import sys, glasslit.data.shipped as s; s.shipped_models(); assert not {'numpy', 'h5py'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", shipped_models())
def test_the_scores_stored_with_a_network_are_those_of_the_run_that_made_it(name):
    """Same weights as the published run's, and no number that is not in its metrics.json."""
    run = ROOT / "book" / "runs" / f"standard-{name}"
    ours, theirs = (torch.load(p, weights_only=True)["weights"] for p in (shipped_models()[name], run / "model.pt"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    stored = shipped_models()[name].with_name(f"{name}.metrics.json")
    stored, made = (json.loads(p.read_text()) for p in (stored, run / "metrics.json"))
    assert stored["times"] == made["times"]
    for kind in "AB":
        assert stored["test"][kind].keys() >= {"mean", "pooled", "ceiling"}
        assert {key: made["test"][kind][key] for key in stored["test"][kind]} == stored["test"][kind]


def test_a_name_that_is_no_data_set_is_answered_with_those_that_are():
    told = no_such_data("botan_small")
    assert all(name in told for name in SHIPPED + FETCHED)
    assert told.endswith("did you mean 'botan-small'?")
