"""What methods state of their own error, on made-up data on which the truth is a draw from what is stated."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.learning.calibration import NOMINAL, calibration, error_by_stated, noise_variance, squared_error
from glasslit.learning.uncertainty import (
    Stated,
    bayesian_regression,
    error_by_prediction,
    last_layer,
    seed_ensemble,
)
from glasslit.models.ridge import ridge_path
from glasslit.testing import random_liquid

from .test_calibration import labelled

NOMINAL = np.array(NOMINAL)


def covered(levels):
    """Part of all values within the intervals, for each nominal part."""
    return (np.ravel(levels)[:, None] <= NOMINAL).mean(axis=0)


@pytest.mark.parametrize("members", [2, 3, 8])
def test_an_ensemble_is_calibrated_if_the_truth_is_one_more_member(members):
    rng = np.random.default_rng(members)
    center, spread = rng.normal(size=(1, 40_000)), rng.uniform(0.5, 2.0, size=(1, 40_000))
    *drawn, truth = center + spread * rng.normal(size=(members + 1, 1, 40_000))
    stated = seed_ensemble(drawn)
    assert stated.mean == pytest.approx(np.mean(drawn, axis=0))
    assert covered(stated.levels(truth)) == pytest.approx(NOMINAL, abs=0.012)
    overconfident = Stated(stated.mean, np.var(drawn, axis=0))  # the spread itself, taken for exact
    assert covered(overconfident.levels(truth))[-2] < 0.9 - (0.4 if members == 2 else 0.2 if members == 3 else 0.04)


def test_what_all_members_miss_is_not_in_their_spread():
    rng = np.random.default_rng(0)
    *drawn, truth = 0.1 * rng.normal(size=(4, 1, 20_000))
    missed = truth + rng.normal(size=truth.shape)
    assert covered(seed_ensemble(drawn).levels(missed))[-2] < 0.4


def test_noise_of_labels_widens_an_ensemble_by_what_it_is():
    """Few members and noise of like size: Welch and Satterthwaite's degrees, an approximation, are near enough."""
    rng = np.random.default_rng(0)
    *drawn, truth = 0.5 * rng.normal(size=(5, 1, 40_000))
    c = labelled(truth, 0.25)
    stated = seed_ensemble(drawn)
    assert covered(stated.with_noise(noise_variance([c]), c.types).levels(c.propensity)) == pytest.approx(
        NOMINAL, abs=0.015
    )
    assert covered(stated.levels(c.propensity))[-2] < 0.85
    exact = Stated(truth, 0 * truth).with_noise(noise_variance([c]), c.types)  # all is noise, and that is normal
    assert np.isinf(exact.degrees).all()
    assert covered(exact.levels(c.propensity)) == pytest.approx(NOMINAL, abs=0.012)


def test_levels_of_someone_who_is_certain():
    zero = np.zeros((1, 2))
    assert Stated(zero, zero).levels(np.array([[0.0, 1e-9]])).tolist() == [[0.0, 1.0]]


def test_statements_that_make_no_sense_are_refused():
    zero = np.zeros((1, 2))
    for wrong in ({"variance": zero - 1}, {"variance": zero + np.nan}, {"variance": zero, "degrees": 0.0}):
        with pytest.raises(ValueError, match="expected finite variances"):
            Stated(zero, **wrong)
    with pytest.raises(ValueError, match=r"expected \(T, N\) for both"):
        Stated(zero, zero[0])
    with pytest.raises(ValueError, match="expected that of the mean"):
        Stated(zero, zero).levels(zero.T)
    for members in ([zero], [zero, zero.T], []):
        with pytest.raises(ValueError, match="at least two"):
            seed_ensemble(members)


def planes(seed, n, columns, scatter=0.7):
    """Data about a plane, and new data about the same plane."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + 1, columns)) * np.linspace(0.5, 2, columns) + 3.0
    y = x @ rng.normal(size=columns) + scatter * rng.normal(size=n + 1) + 1.0
    return x[:-1], y[:-1, None], x[-1:], y[-1:, None]


def test_bayesian_regression_is_calibrated_with_few_data_and_not_without_the_variance_of_its_weights():
    honest, overconfident = [], []
    for seed in range(4000):
        x, y, new, truth = planes(seed, n=14, columns=6)
        found = bayesian_regression(x, y, [0.0])
        variance = found.residual[:, None] + found.weight_variance(new)
        honest.append(Stated(found.mean(new), variance, found.degrees[:, None]).levels(truth))
        overconfident.append(Stated(found.mean(new), variance - found.weight_variance(new)).levels(truth))
    assert found.degrees.tolist() == [7]
    assert covered(honest) == pytest.approx(NOMINAL, abs=0.03)
    assert covered(overconfident)[-2] < 0.8


def test_bayesian_regression_with_the_prior_that_made_the_weights():
    """The weights' own law: they scatter about their mean as their covariance says, where many weights are unknown."""
    n, columns, scatter, strength, distances = 30, 20, 0.5, 0.4, []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, columns))
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        w = rng.normal(size=columns) * scatter / np.sqrt(n * strength)
        found = bayesian_regression(z, (z @ w + scatter * rng.normal(size=n))[:, None], [strength])
        known = found.covariance[0] * scatter**2 / found.residual[0]  # with the scatter known
        distances.append((w - found.weights[0]) @ np.linalg.solve(known, w - found.weights[0]))
    assert np.mean(distances) == pytest.approx(columns, rel=0.06)  # chi^2
    assert np.var(distances) == pytest.approx(2 * columns, rel=0.35)


def test_bayesian_regression_agrees_with_ridge_and_least_squares():
    x, y, new, _ = planes(0, n=200, columns=5)
    for strength in (0.0, 0.3):
        found = bayesian_regression(x, np.hstack([y, -y]), [strength, strength])
        assert found.weights[0] == pytest.approx(ridge_path(x, y, [strength])[0, 0])
        assert found.weights[1] == pytest.approx(-found.weights[0])
    design = np.hstack([np.ones((200, 1)), x])
    solved, (squares,), *_ = np.linalg.lstsq(design, y[:, 0])
    plain, asked = bayesian_regression(x, y, [0.0]), np.hstack([[1.0], new[0]])
    assert plain.mean(new)[0, 0] == pytest.approx(asked @ solved)
    assert plain.residual[0] == pytest.approx(squares / 194)
    assert plain.weight_variance(new)[0, 0] == pytest.approx(
        plain.residual[0] * asked @ np.linalg.inv(design.T @ design) @ asked
    )
    doubled = bayesian_regression(np.hstack([x, x[:, :1], 0 * x[:, :1]]), y, [0.0])  # one twice, one that does not vary
    assert doubled.degrees == pytest.approx(plain.degrees)
    assert doubled.residual == pytest.approx(plain.residual)


def test_bayesian_regression_refuses_what_it_cannot_use():
    x, y = np.random.default_rng(0).normal(size=(2, 10, 3))
    with pytest.raises(ValueError, match=r"expected \(n, K\)"):
        bayesian_regression(x, y[:-1], [0.0] * 3)
    with pytest.raises(ValueError, match=r"expected \(n, K\)"):
        bayesian_regression(x, y, [0.0])
    with pytest.raises(ValueError, match="none below 0"):
        bayesian_regression(x, y, [0.0, 0.0, -1.0])
    with pytest.raises(ValueError, match="expected at least 5"):
        bayesian_regression(x[:4], y[:4], [0.0] * 3)


def network(**settings):
    torch.manual_seed(0)
    return gl.SE3GNN(gl.ModelConfig(layers=1, channels=2, l_max=1, n_times=2, inputs="thermal", **settings)).eval()


def planted(model, seed, scatter=0.6, noise=0.25, n=1000):
    """Labels that are linear in a network's invariants, for each type by itself, with scatter and noise."""
    liquid, rng = random_liquid(n, seed=seed), np.random.default_rng(100 + seed)
    with torch.no_grad():
        z = model.invariants(model.graph(liquid)).double().numpy()
    weights = np.random.default_rng(7).normal(size=(2, 2, z.shape[1]))  # (types, T, K), the same for all seeds
    truth = np.einsum("ntk,nk->tn", weights[liquid.types], z) + scatter * rng.normal(size=(2, n))
    return labelled(truth, noise, seed=seed, liquid=liquid), truth


def test_the_last_layer_is_calibrated_on_labels_that_are_linear_in_the_invariants():
    model = network()
    train, val, test = ([planted(model, s, n=2500)[0] for s in seeds] for seeds in (range(4), (4,), range(5, 8)))
    layer = last_layer(model, train, val)
    stated = [layer.state(c) for c in test]
    noisy = [s.with_noise(layer.noise, c.types) for s, c in zip(stated, test, strict=True)]
    for kind, most in (("A", 0.03), ("B", 0.06)):
        levels = [s.levels(c.propensity) for s, c in zip(noisy, test, strict=True)]
        assert calibration(levels, test)[kind][0] == pytest.approx(np.tile(NOMINAL, (2, 1)), abs=most)
        sure = [replace(s, variance=s.variance / 4).levels(c.propensity) for s, c in zip(noisy, test, strict=True)]
        assert (calibration(sure, test)[kind][0][:, -2] < 0.7).all()  # of 0.9
    assert np.mean([s.variance[:, c.types == 0] for s, c in zip(stated, test, strict=True)]) == pytest.approx(
        0.36, rel=0.1
    )  # the scatter, and not the noise
    assert noisy[0].variance.mean() == pytest.approx(0.36 + 0.25, rel=0.1)
    assert layer.model is model
    assert not model.training


def test_the_weights_are_less_sure_of_a_liquid_unlike_those_of_training():
    model = network()
    train, val, like = ([planted(model, s)[0]] for s in range(3))
    layer = last_layer(model, train, val)
    dense = random_liquid(1000, seed=3, density=1.8)
    of_like, of_dense = layer.weight_variance(like[0]).mean(), layer.weight_variance(dense).mean()
    assert of_dense > 3 * of_like
    assert (layer.state(dense).variance >= layer.weight_variance(dense)).all()


def test_strengths_are_chosen_on_validation_alone():
    """Validation labels that are the same plane want its weights; those that are all alike want none."""
    model = network()
    train, val = planted(model, 0)[0], planted(model, 1)[0]
    alike = [train.propensity[:, train.types == kind].mean(axis=1) for kind in (0, 1)]
    flat = val.replace(propensity=np.stack(alike)[val.types].T)
    for labels, strength in ((val, 0.0), (flat, 1e6)):
        chosen = last_layer(model, [train], [labels], strengths=(0.0, 1e6))
        expected = last_layer(model, [train], [val], strengths=(strength,))
        assert chosen.state(val).mean == pytest.approx(expected.state(val).mean)
    other = last_layer(model, [train], [val], strengths=(1e6,))
    assert np.abs(other.state(val).mean - last_layer(model, [train], [val]).state(val).mean).max() > 0.1


def test_the_last_layer_refuses_what_it_cannot_use():
    model = network()
    c = planted(model, 0)[0]
    with pytest.raises(ValueError, match="Linear has no invariants"):
        last_layer(torch.nn.Linear(1, 1), [c], [c])
    with pytest.raises(ValueError, match="at least one of each"):
        last_layer(model, [c], [])
    with pytest.raises(ValueError, match="propensity_half"):
        last_layer(model, [c.replace(propensity_half=None)], [c])
    a_only = c.replace(types=np.zeros(1000))
    layer = last_layer(model, [a_only], [a_only])
    assert np.isfinite(layer.state(a_only).variance).all()
    with pytest.raises(ValueError, match="particles of type B"):
        layer.state(c)


def test_scatter_that_grows_with_the_prediction_is_found_and_a_constant_one_fails():
    rng = np.random.default_rng(0)

    def liquid(seed):
        prediction = np.random.default_rng(seed).uniform(0.2, 1.0, size=(1, 10_000))
        return prediction, labelled(prediction * (1 + 0.5 * rng.normal(size=prediction.shape)), 0.01, seed=seed)

    (seen, val), (prediction, test) = liquid(0), liquid(1)
    stated = error_by_prediction([seen], [val]).state(prediction, test.types)
    at = test.types == 0
    assert stated.variance[0, at] == pytest.approx(0.25 * prediction[0, at] ** 2, abs=0.03)
    errors = squared_error(prediction, test)
    for variance, right in ((stated.variance, True), (np.full_like(prediction, errors.mean()), False)):
        order = [variance + 1e-9 * prediction]  # among like statements, by the prediction
        said, found, error = error_by_stated(order, [errors], [test], bins=4)["A"]
        assert bool((np.abs(said - found)[0, [0, -1]] < 5 * error[0, [0, -1]]).all()) == right
    with pytest.raises(ValueError, match="expected one in each"):
        error_by_prediction([seen], [val], bins=9000)
