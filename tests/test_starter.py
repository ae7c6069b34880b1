"""The shipped starter set: who made its labels, and that they are those of another program's runs."""

import json
import re

import h5py
import numpy as np
import pytest

import glasslit as gl
from glasslit.learning.metrics import local_density, trivial_prediction
from glasslit.liquid.kob_andersen import TAU_ALPHA, TIME_GRIDS
from tests.common import ROOT

TEMPERATURES = (0.44, 0.47, 0.50, 0.56)
LAMMPS = ROOT / "book" / "starter_lammps.npz"
"""Means over the eight runs of the set's first labels and over the first four, in thousandths of sigma_AA."""


def test_every_configuration_says_how_its_labels_were_made():
    with h5py.File(ROOT / "glasslit" / "data" / "starter.h5") as file:
        assert "glasslit developers" in file.attrs["citation"]
        assert file.attrs["licence"] == "MIT"
        groups = [group for temperature in file.values() for group in temperature.values()]
        assert len(groups) == 28
        for group in groups:
            assert group.attrs["engine"] == "glasslit gpu 0.1.0 (NVIDIA H200)"
            assert group.attrs["git_revision"].startswith("845c5e4")
            assert (group.attrs["n_trajectories"], group.attrs["seed"]) == (32, 2027)


@pytest.mark.parametrize("T", TEMPERATURES)
def test_labels_reach_the_relaxation_time_and_runs_of_a_temperature_are_alike(T):
    group = gl.load("starter", T=T)
    expected = [t for t in TIME_GRIDS[T] if t <= TAU_ALPHA[T]]
    assert expected[-1] == TAU_ALPHA[T]
    for c in group:
        assert c.times.tolist() == expected
        assert c.types.tolist() == [0] * 800 + [1] * 200
        assert np.array_equal(c.box, group[0].box)


def agreement(T, rows=None):
    """Of A and B, shape (2, times): correlation with LAMMPS's labels, what two ceilings allow, ratio of the means.

    Configurations are compared one by one, or with others of the temperature: those in ``rows``.
    """
    kept, group = np.load(LAMMPS), gl.load("starter", T=T)
    times = kept[f"times_{T:.2f}"].tolist()
    first, old = (kept[f"{field}_{T:.2f}"] / 1000 for field in ("first_half", "propensity"))
    assert old.shape == (len(group), len(times), 1000)
    rows = range(len(group)) if rows is None else rows
    found = []
    for k, c in zip(rows, (c.at_times(times) for c in group), strict=True):
        halves = np.stack([first[k], 2 * old[k] - first[k]])
        ceilings = [gl.noise_ceiling(h, c.types) for h in (halves, c.propensity_half)]
        correlation = gl.pearson(old[k], c.propensity, c.types)
        means = [c.propensity[:, c.types == t].mean(1) / old[k][:, c.types == t].mean(1) for t in (0, 1)]
        found.append(
            [[correlation[t] for t in "AB"], [ceilings[0][t] * ceilings[1][t] for t in "AB"], [means[0], means[1]]]
        )
    return np.mean(found, axis=0)


@pytest.mark.parametrize("T", TEMPERATURES)
def test_labels_are_those_of_lammps_as_far_as_noise_allows(T):
    """One truth and independent luck: labels correlate as the product of their ceilings.

    The error of such a mean over six to eight configurations is 0.005 to 0.03, largest for the 200 particles of type B
    at the last time; that of a ratio of means up to 0.026.
    """
    correlation, allowed, ratio = agreement(T)
    assert np.abs(correlation - allowed).max() < 0.035
    assert abs((correlation - allowed).mean()) < 0.015
    assert np.abs(ratio - 1).max() < 0.03
    assert correlation.min() > 0.5


def test_that_comparison_notices_other_particles_and_other_configurations():
    """Controls: neighbors in the list of one temperature, and particles out of order."""
    for T in TEMPERATURES:
        n = len(gl.load("starter", T=T))
        correlation, allowed, _ = agreement(T, rows=np.roll(np.arange(n), 1))
        assert np.abs(correlation).max() < 0.2
        assert (allowed > 0.5).all()
    kept, c = np.load(LAMMPS), gl.load("starter", T=0.50)[0]
    turned = np.roll(kept["propensity_0.50"][0], 1, axis=1)
    assert np.abs(gl.pearson(turned, c.propensity, c.types)["A"]).max() < 0.2


def test_readme_and_running_say_what_the_published_runs_found():
    """Scores at tau_alpha and T = 0.44, as both round them: within configurations, and in one sentence pooled."""
    readme, running = (" ".join((ROOT / name).read_text().split()) for name in ("README.md", "book/running.md"))
    quoted = re.search(
        r"within configurations: (0\.\d\d) to (0\.\d\d) in three stored seeds; by the same measure (0\.\d\d) for the "
        r"inherent energy alone, (0\.\d\d) for the number of neighbors, and a ceiling of (0\.\d\d)",
        readme,
    )
    again = re.search(
        r"the three stored seeds reach (0\.\d\d) to (0\.\d\d)\..*? By the same measure, the inherent energy alone "
        r"reaches (0\.\d\d), the number of neighbors (0\.\d\d), and the noise of the labels sets a ceiling of "
        r"(0\.\d\d)\.",
        running,
    )
    pooled = re.search(r"test configurations together: (0\.\d\d), (0\.\d\d) and (0\.\d\d) there", running)
    runs = [
        json.loads((ROOT / "book" / "runs" / name / "metrics.json").read_text())
        for name in ("T0.44", "T0.44-seed1", "T0.44-seed2")
    ]
    assert {run["times"][-1] for run in runs} == {TAU_ALPHA[0.44]}
    networks = [run["test"]["A"]["mean"][-1] for run in runs]
    train, test = (gl.load("starter", T=0.44, split=split) for split in ("train", "test"))
    labels, types = [c.propensity for c in test], [c.types for c in test]
    alone = []
    for number in (lambda c: c.potential_energy_inherent, local_density):
        values = [number(c) for c in train]
        guesses = [trivial_prediction(train, values, c, number(c)) for c in test]
        alone.append(gl.pearson(guesses, labels, types)["A"][-1])
    ceiling = gl.noise_ceiling([c.propensity_half for c in test], types)["A"][-1]
    assert quoted is not None, "README no longer has that sentence"
    assert again is not None, "book/running.md no longer has that sentence"
    found = [round(float(x), 2) for x in (min(networks), max(networks), *alone, ceiling)]
    assert [float(x) for x in quoted.groups()] == found
    assert [float(x) for x in again.groups()] == found
    assert pooled is not None, "book/running.md no longer has that sentence"
    for run in runs:
        scores = [round(run["test"]["A"][name][-1], 2) for name in ("density", "E_IS", "ceiling")]
        assert [float(x) for x in pooled.groups()] == scores
