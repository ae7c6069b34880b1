import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glasslit as gl
from glasslit.learning.metrics import trivial_prediction
from glasslit.testing import random_liquid


def test_hand_solved_case():
    """rho of (1, 2, 3) and (1, 3, 2) is 1/2."""
    rho = gl.pearson(np.array([[1.0, 2, 3]]), np.array([[1.0, 3, 2]]), np.zeros(3))
    assert rho["A"] == pytest.approx([0.5])
    assert np.isnan(rho["B"]).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_equals_numpy_and_ignores_scale(seed, scale, shift):
    rng = np.random.default_rng(seed)
    p, m, types = rng.normal(size=(2, 20)), rng.normal(size=(2, 20)), rng.permutation(20) % 2
    rho = gl.pearson(scale * p + shift, m, types)
    for kind, name in enumerate("AB"):
        for t in range(2):
            expected = np.corrcoef(p[t, types == kind], m[t, types == kind])[0, 1]
            assert rho[name][t] == pytest.approx(expected, abs=1e-9)


def test_pooled_sees_differences_between_configurations_mean_does_not():
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(1, 500)) for _ in range(4)]
    offsets = [0.0, 10.0]
    predictions = [noise[k] + offsets[k] for k in range(2)]
    targets = [noise[2 + k] + offsets[k] for k in range(2)]
    types = [np.zeros(500)] * 2
    assert abs(gl.pearson(predictions, targets, types, "mean")["A"][0]) < 0.15
    assert gl.pearson(predictions, targets, types, "pooled")["A"][0] > 0.9


def test_tensors_and_lists_are_taken_too():
    m = np.random.default_rng(0).normal(size=(3, 2, 20))
    types = np.arange(20) % 2
    expected = gl.pearson(list(m), list(m[::-1]), [types] * 3)["B"]
    for kind in (np.asarray, torch.tensor, np.ndarray.tolist):
        assert np.allclose(gl.pearson(kind(m), kind(m[::-1].copy()), types)["B"], expected)


def test_constant_prediction_has_no_correlation():
    assert np.isnan(gl.pearson(np.ones((1, 5)), np.arange(5.0)[None], np.zeros(5))["A"]).all()


@pytest.mark.parametrize("runs", [4, 16])
def test_ceiling_is_what_the_true_propensity_reaches(runs):
    """Simulated ensembles with known truth: the ceiling from halves alone equals the truth's correlation."""
    rng = np.random.default_rng(runs)
    truth = rng.gamma(4.0, 0.1, size=20_000)
    samples = truth + rng.normal(scale=0.6, size=(runs, 20_000))
    halves = samples.reshape(2, runs // 2, 1, -1).mean(axis=1)
    reached = np.corrcoef(truth, samples.mean(axis=0))[0, 1]
    assert gl.noise_ceiling(halves, np.zeros(20_000))["A"][0] == pytest.approx(reached, abs=0.015)


def test_ceiling_of_pure_noise_is_near_zero():
    halves = np.random.default_rng(0).normal(size=(2, 1, 20_000))
    assert gl.noise_ceiling(halves, np.zeros(20_000))["A"][0] < 0.2


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected \(T, N\), \(T, N\) and \(N,\)"):
        gl.pearson(np.ones((2, 5)), np.ones((1, 5)), np.zeros(5))
    with pytest.raises(ValueError, match="'mean' or 'pooled'"):
        gl.pearson(np.ones((2, 5)), np.ones((2, 5)), np.zeros(5), reduce="median")


def test_trivial_prediction_takes_its_sign_from_training_data():
    train, test = random_liquid(200, seed=0), random_liquid(200, seed=1)
    value, other = np.random.default_rng(0).normal(size=(2, 200))
    train = train.replace(propensity=np.stack([-value, 2 * value]) + 5, propensity_half=None)
    prediction = trivial_prediction([train], [value], test, other)
    assert np.allclose(prediction, np.stack([-other, 2 * other]) + 5, atol=1e-5)


def test_ceilings_of_configurations_are_averaged_and_may_share_their_types():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=(2, 1, 1, 3000)) * np.array([1.0, 3.0])[:, None, None, None]
    halves, types = truth + rng.normal(size=(2, 2, 1, 3000)), np.zeros(3000)
    each = [gl.noise_ceiling(h, types)["A"][0] for h in halves]
    assert each[1] > each[0] + 0.05
    for kinds in (types, [types, types]):
        assert gl.noise_ceiling(halves, kinds)["A"][0] == pytest.approx(np.mean(each))
    with pytest.raises(ValueError, match="expected"):
        gl.noise_ceiling(halves, [types] * 3)
