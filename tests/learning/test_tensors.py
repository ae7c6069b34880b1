"""Scores of covariances, on covariances whose scores are known; the ceiling against what is possible."""

import numpy as np
import pytest

from glasslit.data.isoconfigurational import from_isoconfigurational
from glasslit.equivariance.so3 import random_rotations
from glasslit.learning.stored import gain_of_seeds
from glasslit.learning.tensors import (
    covariance_ceiling,
    covariance_scores,
    degree_two,
    paired_tensor_gain,
    symmetric_matrices,
    trace,
)
from glasslit.learning.vectors import component_correlation
from glasslit.liquid.configuration import VOIGT
from glasslit.testing import random_liquid


def simulated(seed, n=1500, runs=32, unequal=0.4):
    """A liquid whose particles scatter as Gaussians of known covariances, and these, shape (1, N, 6)."""
    rng = np.random.default_rng(seed)
    c = random_liquid(n, seed=seed, n_times=1)
    axes = random_rotations(n, seed=seed).numpy()
    widths = 0.1 * np.exp(unequal * rng.normal(size=(n, 3)))
    steps = np.einsum("nij,nj,rnj->rni", axes, widths, rng.normal(size=(runs, n, 3)))
    true = np.einsum("nij,nj,nkj->nik", axes, widths**2, axes)[None, :, VOIGT[0], VOIGT[1]]
    bare = c.replace(propensity=None, propensity_half=None, times=())
    moved = bare.positions + steps - steps.mean(axis=1, keepdims=True)
    return from_isoconfigurational(bare, moved[:, None], [1.0], covariance=True), true


def test_the_ceiling_is_what_a_perfect_predictor_reaches():
    c, true = simulated(0)
    scores = covariance_scores([true], [c], [c])
    for kind in "AB":
        found = {name: values[0] for name, values in scores[kind].items()}
        assert found["component"] == pytest.approx(found["ceiling"], abs=0.03)
        assert found["explained"] == pytest.approx(found["explainable"], abs=0.06)
        assert found["trace"] == pytest.approx(found["trace_ceiling"], abs=0.03)
        assert 0.6 < found["ceiling"] < 0.98
        assert abs(found["neighbors_component"]) < 0.15  # these directions are no neighbors'


def test_round_scatter_has_no_ceiling_of_degree_two():
    """All directions alike: what the halves say of them is noise."""
    c, _ = simulated(1, unequal=0.0)
    assert covariance_ceiling([c])["ceiling"]["A"][0] < 0.3


def test_scores_do_not_depend_on_the_axes():
    (c, true), (other, _) = simulated(2, n=300), simulated(3, n=300)
    entries = other.displacement_covariance
    plain = component_correlation([degree_two(true)], [degree_two(entries)], [c.types])["A"]
    for rotation in random_rotations(2).numpy():
        turned = [(rotation @ symmetric_matrices(v) @ rotation.T)[..., VOIGT[0], VOIGT[1]] for v in (true, entries)]
        found = component_correlation(*([degree_two(v)] for v in turned), [c.types])["A"]
        assert found == pytest.approx(plain, rel=1e-10)
        assert trace(turned[0]) == pytest.approx(trace(true), rel=1e-12)


def test_degree_two_is_what_is_left_without_the_trace():
    entries = np.random.default_rng(0).normal(size=(4, 6))
    rest = symmetric_matrices(entries) - trace(entries)[:, None, None] * np.eye(3) / 3
    assert np.square(degree_two(entries)).sum(axis=1) == pytest.approx(np.square(rest).sum(axis=(1, 2)))
    assert degree_two([1.0, 1, 1, 0, 0, 0]) == pytest.approx(np.zeros(5), abs=1e-15)


def test_what_is_missing_is_said():
    c, _ = simulated(4, n=200, runs=2)
    assert c.displacement_covariance_half is None  # a half is one run, which scatters about nothing
    with pytest.raises(ValueError, match="has no displacement_covariance_half"):
        covariance_ceiling([c])
    with pytest.raises(ValueError, match=r"entries of shape \(2, 3, 3\); expected \(\.\.\., 6\)"):
        symmetric_matrices(np.zeros((2, 3, 3)))


def test_gains_are_differences_of_scores_with_errors_that_repetitions_have():
    rng = np.random.default_rng(0)
    near, far, other = [], [], []
    for seed in range(20):
        c, true = simulated(seed, n=400)
        noisy = [true + s * true.std() * rng.normal(size=true.shape) for s in (1.0, 1.0, 3.0)]
        difference, error = paired_tensor_gain([noisy[0]], [noisy[1]], [c], draws=200)["A"]
        near.append(difference[0] / error[0])
        far.append(paired_tensor_gain([noisy[2]], [noisy[1]], [c], draws=200)["A"][0][0])
        scores = [component_correlation([degree_two(p)], [degree_two(c.displacement_covariance)], [c.types])["A"]
                  for p in (noisy[2], noisy[1])]  # fmt: skip
        other.append(scores[1][0] - scores[0][0])
    assert far == pytest.approx(other)
    assert min(far) > 0.1
    assert 0.5 < np.std(near) < 2  # equally good: differences are as large as their errors
    gain = gain_of_seeds([[noisy[2]]] * 3, [[noisy[1]]] * 3, [c], compare=paired_tensor_gain)
    assert gain.decided.all()
    assert gain.mean == pytest.approx(far[-1:])
    with pytest.raises(ValueError, match=r"expected the same"):
        paired_tensor_gain([true[:, :-1]], [true], [c])
