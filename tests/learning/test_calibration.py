"""Errors without the noise of labels, and calibration curves, on made-up labels of which everything is known."""

import numpy as np
import pytest
from scipy.stats import norm

import glasslit as gl
from glasslit.learning.calibration import (
    NOMINAL,
    calibration,
    error_by_stated,
    mean_of_regions,
    noise_variance,
    squared_error,
)
from glasslit.learning.uncertainty import Stated
from glasslit.liquid.structure import spatial_blocks
from glasslit.testing import random_liquid


def labelled(truth, noise, seed=0, liquid=None):
    """A liquid with labels that are a truth (T, N) and noise of known variance, (T, N) or a number."""
    rng = np.random.default_rng([seed, 17])  # no numbers that a test draws for itself
    halves = truth + np.sqrt(2 * noise) * rng.normal(size=(2, *np.shape(truth)))
    liquid = liquid or random_liquid(truth.shape[1], seed=seed)
    return liquid.replace(times=10.0 ** np.arange(len(truth)), propensity=halves.mean(axis=0), propensity_half=halves)


def test_halves_tell_the_variance_of_the_noise_of_each_type_and_time():
    liquid = random_liquid(20_000)
    planted = np.array([[0.1, 0.4], [0.3, 0.05]])  # (types, T)
    c = labelled(np.zeros((2, 20_000)), planted[liquid.types].T, liquid=liquid)
    assert noise_variance([c]) == pytest.approx(planted, rel=0.08)
    assert np.var(c.propensity[1, c.types == 0]) == pytest.approx(0.4, rel=0.05)  # so this is of the whole, not of half
    only_a = noise_variance([c.replace(types=np.zeros(20_000))])
    assert np.isnan(only_a[1]).all()
    assert np.isfinite(only_a[0]).all()


def test_the_error_against_the_truth_has_no_noise_in_it():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(1, 20_000))
    prediction = truth + rng.normal(scale=0.5, size=truth.shape)
    c = labelled(truth, 0.3)
    assert squared_error(prediction, c).mean() == pytest.approx(0.25, abs=0.01)
    assert squared_error(truth, c).mean() == pytest.approx(0, abs=0.01)
    assert np.square(c.propensity - prediction).mean() == pytest.approx(0.25 + 0.3, abs=0.02)  # the noise is an error


def test_errors_of_means_know_that_neighbors_are_alike():
    """A shift of each region; many draws say how far the mean really scatters."""
    liquid = random_liquid(1000)
    block = spatial_blocks(liquid)
    means, errors, of_particles = [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(1, 1000)) + rng.normal(size=8)[block]
        mean, error = mean_of_regions([values], [liquid])["A"]
        means.append(mean)
        errors.append(error)
        of_particles.append(values[0, liquid.types == 0].std() / np.sqrt(800))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)
    assert np.mean(of_particles) < 0.25 * np.std(means)  # taken for independent, they would be too sure
    assert values[0, liquid.types == 0].mean() == pytest.approx(mean[0])


def test_particles_that_are_left_out_do_not_count():
    liquids = [random_liquid(200, seed=1), random_liquid(300, seed=2)]
    values = [np.where(np.arange(c.n_particles) % 2 == 0, 1.0 + k, np.nan)[None] for k, c in enumerate(liquids)]
    kept = np.concatenate([v[0, c.types == 0] for v, c in zip(values, liquids, strict=True)])
    assert mean_of_regions(values, liquids)["A"][0] == pytest.approx([np.nanmean(kept)])
    assert np.isnan(mean_of_regions([v * np.nan for v in values], liquids)["A"]).all()
    with pytest.raises(ValueError, match=r"expected \(\.\.\., N\) for each"):
        mean_of_regions(values[::-1], liquids)
    with pytest.raises(ValueError, match="expected"):
        mean_of_regions(values[:1], liquids)


def curve(sigma, noise, claimed, counted_noise):
    """Coverage of A at each nominal part, of labels with normal scatter sigma and noise, and of what is claimed."""
    rng = np.random.default_rng(0)
    truth = sigma * rng.normal(size=(1, 10_000))
    c = labelled(truth, noise)
    stated = Stated(0 * truth, np.full(truth.shape, claimed))
    if counted_noise:
        stated = stated.with_noise(noise_variance([c]), c.types)
    return calibration([stated.levels(c.propensity)], [c])["A"]


def test_calibration_is_a_diagonal_where_what_is_stated_is_true_and_only_there():
    part, error = curve(sigma=0.7, noise=0.2, claimed=0.49, counted_noise=True)
    assert part.shape == error.shape == (1, len(NOMINAL))
    assert part[0] == pytest.approx(NOMINAL, abs=0.02)
    for claimed, counted in ((0.49 / 9, True), (0.49, False)):  # overconfident; sure of labels as if without noise
        assert (curve(0.7, 0.2, claimed, counted)[0][0] < np.array(NOMINAL) - 0.01)[3:].all()
    expected = 2 * norm.cdf(norm.ppf((1 + np.array(NOMINAL)) / 2) * np.sqrt(0.49 / 0.69)) - 1
    assert curve(0.7, 0.2, 0.49, False)[0][0] == pytest.approx(expected, abs=0.02)
    assert curve(0.7, 0.2, 4 * 0.49, True)[0][0, 9] > 0.7  # of half: too cautious


def test_nominal_parts_are_parts():
    c = random_liquid(200)
    for wrong in ([0.0, 0.5], [1.0], []):
        with pytest.raises(ValueError, match="between 0 and 1"):
            calibration([np.zeros((2, 200))], [c], wrong)


def test_groups_of_like_statements_show_whether_the_statement_tells_particles_apart():
    rng = np.random.default_rng(0)
    variance = rng.uniform(0.05, 1.0, size=(1, 20_000))
    c = labelled(np.sqrt(variance) * rng.normal(size=variance.shape), 0.1)
    errors = squared_error(np.zeros_like(variance), c)
    stated, found, error = error_by_stated([variance], [errors], [c], bins=5)["A"]
    assert (np.diff(stated[0]) > 0.1).all()
    assert (np.abs(found - stated) < 4 * error).all()
    assert error.max() < 0.06
    shuffled = rng.permuted(variance, axis=1)  # right on average, and of the wrong particles
    stated, found, error = error_by_stated([shuffled], [errors], [c], bins=5)["A"]
    assert np.abs(found - stated)[0, [0, -1]].min() > 4 * error.max()


def test_groups_do_not_depend_on_how_particles_are_dealt_out_to_configurations():
    c, d = random_liquid(200, seed=1), random_liquid(300, seed=2)
    rng = np.random.default_rng(0)
    variances = [rng.uniform(size=(2, n)) for n in (200, 300)]
    stated, found, _ = error_by_stated(variances, variances, [c, d], bins=4)["A"]
    assert found == pytest.approx(stated)
    sizes = np.array_split(
        np.sort(np.concatenate([v[0, x.types == 0] for v, x in zip(variances, (c, d), strict=True)])), 4
    )
    assert stated[0] == pytest.approx([s.mean() for s in sizes])
    assert np.isnan(error_by_stated([variances[0]], [variances[0]], [c.replace(types=np.zeros(200))])["B"]).all()
    with pytest.raises(ValueError, match="expected one in each"):
        error_by_stated([variances[0]], [variances[0]], [c], bins=50)


def test_what_is_missing_is_told():
    c = random_liquid(200)
    for function in (lambda c: noise_variance([c]), lambda c: squared_error(c.propensity, c)):
        with pytest.raises(ValueError, match="propensity_half"):
            function(c.replace(propensity_half=None))
    with pytest.raises(ValueError, match="expected that of the labels"):
        squared_error(c.propensity[:1], c)
    with pytest.raises(ValueError, match="expected at least one"):
        noise_variance([])


def test_shipped_halves_agree_with_shipped_labels():
    (c, *_) = gl.load("starter", T=0.56, split="test")
    assert c.propensity_half.mean(axis=0) == pytest.approx(c.propensity, abs=1e-5)
    ceiling = gl.noise_ceiling([c.propensity_half], [c.types])["A"]
    reliable = 1 - noise_variance([c])[0] / c.propensity[:, c.types == 0].var(axis=1)
    assert np.sqrt(reliable) == pytest.approx(ceiling, abs=0.01)
