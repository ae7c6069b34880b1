"""The error of a difference: against resampling particle by particle, and against what is known."""

import json

import numpy as np
import pytest

import glasslit as gl
from glasslit.learning.evaluation import paired_gain, paired_removal
from glasslit.liquid.structure import spatial_blocks
from glasslit.testing import random_liquid
from tests.common import learnable, trained


def labelled(seed, s=2, n=400):
    rng = np.random.default_rng(seed)
    cs = [
        random_liquid(n, seed=seed + k).replace(times=[1.0, 2.0], propensity=rng.gamma(2, 0.1, size=(2, n)))
        for k in range(s)
    ]
    return rng, cs


def test_equals_drawing_particles_cube_by_cube():
    rng, test = labelled(0)
    first, second = ([c.propensity + s * rng.normal(scale=0.1, size=c.propensity.shape) for c in test] for s in (2, 1))
    found = paired_gain(first, second, test, draws=50, seed=5)
    expected = {k: gl.pearson(second, [c.propensity for c in test], [c.types for c in test])[k] for k in "AB"}
    before = gl.pearson(first, [c.propensity for c in test], [c.types for c in test])
    drawn = np.random.default_rng(5).multinomial(8, np.full(8, 1 / 8), size=(2, 50))
    for kind, name in enumerate("AB"):
        assert found[name][0] == pytest.approx(expected[name] - before[name], abs=1e-12)
        differences = np.zeros((50, 2))
        for p, q, c, times in zip(first, second, test, drawn, strict=True):
            block = spatial_blocks(c)
            for d in range(50):
                picked = np.concatenate(
                    [np.repeat(np.flatnonzero((block == b) & (c.types == kind)), times[d, b]) for b in range(8)]
                )
                for t in (0, 1):
                    r = [np.corrcoef(x[t, picked], c.propensity[t, picked])[0, 1] for x in (p, q)]
                    differences[d, t] += (r[1] - r[0]) / 2
        assert found[name][1] == pytest.approx(differences.std(axis=0), rel=1e-9)


def test_its_error_is_the_spread_of_repeated_experiments():
    """With particles that do not know of each other; and there is no gain where both are equally good."""
    gains, errors = [], []
    for k in range(60):
        rng, test = labelled(10 * k)
        first, second = ([c.propensity + rng.normal(scale=0.1, size=c.propensity.shape) for c in test] for _ in "ab")
        gain, error = paired_gain(first, second, test, draws=200, seed=k)["A"]
        gains += gain.tolist()
        errors += error.tolist()
    assert np.mean(errors) == pytest.approx(np.std(gains), rel=0.2)
    assert abs(np.mean(gains)) < 4 * np.std(gains) / np.sqrt(len(gains))


def test_cubes_see_that_neighbors_are_alike():
    """Errors of whole regions: drawing cubes gives a larger error than particles in no order would."""
    rng, test = labelled(3, s=1, n=2000)
    noise = rng.normal(scale=0.3, size=8)[spatial_blocks(test[0])]
    second = [test[0].propensity + noise]
    first = [test[0].propensity + rng.permutation(noise)]
    _, together = paired_gain([test[0].propensity], second, test)["A"]
    _, apart = paired_gain([test[0].propensity], first, test)["A"]
    assert (together > 2 * apart).all()


def test_the_same_twice_is_no_gain_and_other_shapes_are_refused():
    _, test = labelled(1)
    same = [c.propensity for c in test]
    for gain, error in paired_gain(same, same, test).values():
        assert gain.tolist() == error.tolist() == [0, 0]
    with pytest.raises(ValueError, match="expected the same"):
        paired_gain(same, same[:1], test)


def test_evaluation_wants_the_times_of_the_model():
    train, val = [learnable(0)], [learnable(1)]
    net, _ = trained(train, val)
    with pytest.raises(ValueError, match=r"trained for \[1\.0, 10\.0\]"):
        gl.evaluate(net, train, [learnable(2).replace(times=[1.0, 12.0])])
    with pytest.raises(ValueError, match=r"expected some of \[5\.0, 7\.0\]"):
        gl.evaluate(net, [train[0].replace(times=[5.0, 7.0])], [learnable(2)])


def test_metrics_have_the_form_of_the_design(tmp_path):
    train, val = [learnable(0)], [learnable(1)]
    net, _ = trained(train, val)
    metrics = json.loads(json.dumps(gl.evaluate(net, train, [learnable(2), learnable(3)]), allow_nan=False))
    assert metrics["times"] == [1.0, 10.0]
    for kind in "AB":
        assert set(metrics["test"][kind]) == {"mean", "pooled", "ceiling", "ceiling_within", "density", "E_IS"}
        assert all(len(v) == 2 for v in metrics["test"][kind].values())
    assert metrics["test"]["A"]["ceiling"] == pytest.approx([1.0, 1.0])


def test_the_ceiling_within_configurations_is_the_mean_of_what_the_truth_reaches_in_each():
    """Two configurations with the same noise on labels, one with three times the other's spread, and another level."""
    rng, (net, _) = np.random.default_rng(4), trained([learnable(0)], [learnable(1)])
    test, truth = [], []
    for number, spread in enumerate((1.0, 3.0)):
        c = learnable(2 + number, n=4000)
        true = spread * rng.normal(size=c.propensity.shape) + 5 * number
        half = true + rng.normal(size=(2, *true.shape))
        test.append(c.replace(propensity=half.mean(axis=0), propensity_half=half))
        truth.append(true)
    found = gl.evaluate(net, [learnable(0)], test, truth)["test"]
    for kind in "AB":
        np.testing.assert_allclose(found[kind]["mean"], found[kind]["ceiling_within"], atol=0.02)
        np.testing.assert_allclose(found[kind]["pooled"], found[kind]["ceiling"], atol=0.02)
        assert (np.array(found[kind]["ceiling"]) > np.array(found[kind]["ceiling_within"]) + 0.05).all()


def noisy(noise, seed=0, n=3000):
    """A liquid whose labels have noise, and the labels without it, for two times."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(2, n))
    halves = true + noise * rng.normal(size=(2, 2, n))
    c = random_liquid(n).replace(times=[1.0, 2.0], propensity=halves.mean(axis=0), propensity_half=halves)
    return c, true, rng.normal(size=(2, n))


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_share_of_the_error_that_is_removed_is_that_without_the_noise_of_labels(noise):
    c, true, other = noisy(noise)
    far, near = true + 0.6 * other, 0.1 + 7 * (true + 0.2 * other)  # a scale changes nothing
    value, error = paired_removal([far], [near], [c])["A"]
    at = c.types == 0
    for k in range(2):
        # against labels without noise, which no real data has
        one, two = (np.sqrt(1 - np.corrcoef(p[k, at], true[k, at])[0, 1] ** 2) for p in (far, near))
        assert value[k] == pytest.approx(np.log(one / two), abs=0.1 if noise else 1e-7)  # labels are in float32
        assert 0 < error[k] < 0.15


def test_shares_add_up_along_steps_and_turn_their_sign():
    c, true, other = noisy(0.3)
    steps = [[true + size * other] for size in (0.9, 0.6, 0.4)]
    value = {(a, b): paired_removal(steps[a], steps[b], [c], draws=5)["A"][0] for a in range(3) for b in range(3)}
    assert np.allclose(value[0, 2], value[0, 1] + value[1, 2])
    assert np.allclose(value[2, 0], -value[0, 2])
    against, none = [-steps[0][0]], [other]
    found = paired_removal(against, steps[2], [c], draws=5)["A"][0]
    assert np.allclose(found, paired_removal(none, steps[2], [c], draws=5)["A"][0], atol=0.02), "no worse than none"


def test_a_prediction_beyond_the_ceiling_has_no_error_to_remove():
    c, true, other = noisy(0.5)
    with pytest.raises(ValueError, match=r"a correlation on A particles that is not below the noise ceiling, \[0\.\d+"):
        paired_removal([true + other], [c.propensity], [c])
    with pytest.raises(ValueError, match="propensity_half"):
        paired_removal([true], [true], [c.replace(propensity_half=None)])
