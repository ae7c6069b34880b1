"""Scores of vectors, on vectors whose scores are known; ceilings against halves of real runs."""

import numpy as np
import pytest

import glasslit as gl
from glasslit.equivariance.so3 import random_rotations
from glasslit.learning.vectors import (
    component_correlation,
    displacement_ceiling,
    explained_variance,
    inherent_displacements,
    vector_scores,
)
from glasslit.testing import random_liquid


def vectors(seed, n=500, times=2):
    return np.random.default_rng(seed).normal(size=(times, n, 3))


def test_scores_of_what_is_known():
    d, noise, types = vectors(0, n=20_000), vectors(1, n=20_000), np.zeros(20_000)
    for factor, correlation, explained in ((1.0, 1.0, 1.0), (2.0, 1.0, 0.0), (-1.0, -1.0, -3.0)):
        assert component_correlation([factor * d], [d], [types])["A"] == pytest.approx([correlation] * 2)
        assert explained_variance([factor * d], [d], [types])["A"] == pytest.approx([explained] * 2)
    assert component_correlation([d + noise], [d], [types])["A"] == pytest.approx([0.5**0.5] * 2, abs=0.02)
    assert component_correlation([noise], [d], [types])["A"] == pytest.approx([0, 0], abs=0.02)
    assert explained_variance([0 * d], [d], [types])["A"] == pytest.approx([0, 0])
    assert np.isnan(component_correlation([0 * d], [d], [types])["A"]).all()
    assert np.isnan(component_correlation([d], [d], [types])["B"]).all()


def test_types_and_configurations_are_scored_apart():
    d = vectors(0)
    types = np.arange(500) % 2
    mixed = np.where(types[None, :, None] == 0, d, -d)
    found = component_correlation([mixed, d], [d, d], [types, types])
    assert found["A"] == pytest.approx([1, 1])
    assert found["B"] == pytest.approx([0, 0])  # -1 and 1


def test_scores_do_not_depend_on_the_axes():
    p, d, types = vectors(0) + 0.3, vectors(0) + vectors(1) - 0.2, np.zeros(500)
    for rotation in random_rotations(3).numpy():
        for score in (component_correlation, explained_variance):
            plain, turned = score([p], [d], [types])["A"], score([p @ rotation.T], [d @ rotation.T], [types])["A"]
            assert turned == pytest.approx(plain, rel=1e-12)
    half = component_correlation([p @ rotation.T], [d], [types])["A"]
    assert np.abs(half - component_correlation([p], [d], [types])["A"]).max() > 0.05


def test_shapes_that_do_not_agree_are_refused():
    d = vectors(0)
    for prediction, types in ((d[:, :-1], np.zeros(500)), (d[..., :2], np.zeros(500)), (d, np.zeros(499))):
        with pytest.raises(ValueError, match=r"expected \(T, N, 3\)"):
            component_correlation([prediction], [d], [types])


def with_runs(displacements, types):
    """A liquid whose labels are the statistics of given displacements (runs, N, 3) at one time."""
    n = displacements.shape[1]
    square = np.square(displacements).sum(axis=2).mean(axis=0)
    return random_liquid(n, n_times=1).replace(
        types=types,
        mean_displacement=displacements.mean(axis=0)[None],
        msd=np.array([[square[types == kind].mean() for kind in (0, 1)]]),
        n_trajectories=len(displacements),
    )


def test_the_ceiling_is_what_a_perfect_predictor_reaches():
    rng = np.random.default_rng(0)
    types = (np.arange(4000) % 5 == 0).astype(int)
    truth = rng.normal(scale=0.1, size=(4000, 3))
    runs = truth + rng.normal(scale=0.3, size=(16, 4000, 3)) * np.where(types == 0, 1.0, 2.0)[:, None]
    c = with_runs(runs, types)
    ceiling, explainable = displacement_ceiling([c])
    reached = component_correlation([truth[None]], [c.mean_displacement], [types])
    explained = explained_variance([truth[None]], [c.mean_displacement], [types])
    for kind in ("A", "B"):
        assert ceiling[kind] == pytest.approx(reached[kind], abs=0.03)
        assert explainable[kind] == pytest.approx(explained[kind], abs=0.06)
    assert ceiling["A"] - ceiling["B"] > 0.1  # the noise of B is twice as large
    noise = with_runs(rng.normal(size=(16, 4000, 3)), types)
    assert displacement_ceiling([noise])[1]["A"] < 0.1


def test_the_ceiling_is_that_of_halves_of_published_runs(published):
    for path in sorted((published / "botan_small" / "test").glob("*.npz")):
        with np.load(path) as file:
            moved, types = file["positions"] - file["initial_positions"], file["types"].astype(int)
        ceiling, _ = displacement_ceiling([with_runs(moved, types)])
        first, second = moved[::2].mean(axis=0)[None], moved[1::2].mean(axis=0)[None]
        for kind, r in component_correlation([first], [second], [types]).items():
            assert ceiling[kind] == pytest.approx(np.sqrt(2 * r / (1 + r)), abs=0.02)


def test_a_ceiling_needs_several_runs_and_their_spread():
    c = with_runs(vectors(0)[:, :300], np.arange(300) % 2)
    with pytest.raises(ValueError, match="expected at least 2"):
        displacement_ceiling([c.replace(n_trajectories=1)])
    with pytest.raises(ValueError, match="has no msd"):
        displacement_ceiling([c.replace(msd=None)])


def planted(seed):
    """Labels that are a multiple of the vector to the inherent position, another one for B."""
    c = random_liquid(300, seed=seed)
    u = c.inherent_positions - c.positions
    factor = np.where(c.types == 0, 0.5, -2.0)[:, None]
    return c.replace(mean_displacement=np.stack([factor * u, 2 * factor * u]))


def test_the_trivial_predictor_finds_the_multiple():
    train, test = [planted(0), planted(1)], [planted(2)]
    (found,) = inherent_displacements(train, test)
    assert found == pytest.approx(test[0].mean_displacement, abs=1e-6)
    scores = vector_scores([0 * found], train, test)
    assert scores["A"]["u_IS_explained"] == pytest.approx([1, 1], abs=1e-5)
    assert scores["A"]["component"] == [None, None]
    assert "ceiling" not in scores["A"]  # nothing is known of the runs


def test_shipped_data_hold_what_the_ceiling_needs():
    test = gl.load("starter", T=0.50, split="test")
    scores = vector_scores(inherent_displacements(test, test), test, test)
    assert all(0 < s < c <= 1 for s, c in zip(scores["A"]["component"], scores["A"]["ceiling"], strict=True))
