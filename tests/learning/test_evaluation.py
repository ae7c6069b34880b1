"""The error of a difference: against resampling particle by particle, and against what is known."""

import json

import numpy as np
import pytest

import glasslit as gl
from glasslit.learning.evaluation import paired_gain, paired_removal
from glasslit.learning.stored import gain_of_seeds
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
    with pytest.raises(ValueError, match=r"on A particles, noise ceiling \[0\.\d+.*; expected each below"):
        paired_removal([true + other], [c.propensity], [c])
    with pytest.raises(ValueError, match="propensity_half"):
        paired_removal([true], [true], [c.replace(propensity_half=None)])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"draws": 1}, "draws = 1; expected a whole number of at least 2"),
        ({"draws": 0}, "draws = 0; expected a whole number of at least 2"),
        ({"per_edge": 1}, "per_edge = 1; expected a whole number of at least 2"),
        ({"per_edge": 100}, "per_edge = 100; .* no more cubes than the 400 particles"),
        ({"kinds": ("C",)}, r"types of particles \['C'\]; expected some of"),
    ],
)
@pytest.mark.parametrize("compare", [paired_gain, paired_removal])
def test_settings_that_give_no_error_are_refused(compare, changes, told):
    """One draw or one cube has no spread: everything would look decided."""
    rng, test = labelled(0, s=1)
    c = test[0].replace(propensity_half=np.stack([test[0].propensity] * 2))
    near, far = (c.propensity + s * rng.normal(size=c.propensity.shape) for s in (0.05, 0.1))
    with pytest.raises(ValueError, match=told):
        compare([far], [near], [c], **changes)


@pytest.mark.parametrize("compare", [paired_gain, paired_removal])
def test_what_cannot_be_compared_is_refused_by_its_cause(compare):
    rng, test = labelled(0)
    test = [c.replace(propensity_half=np.stack([c.propensity] * 2)) for c in test]
    p = [c.propensity + 0.1 * rng.normal(size=c.propensity.shape) for c in test]
    holed = [p[0], np.where(np.arange(400) == 7, np.nan, p[1])]
    with pytest.raises(ValueError, match="a second prediction of configuration 1 is nan or infinite"):
        compare(p, holed, test)
    with pytest.raises(ValueError, match="a first prediction of configuration 1 is nan or infinite"):
        compare(holed, p, test)
    with pytest.raises(ValueError, match="no test configuration; expected at least one"):
        compare([], [], [])
    with pytest.raises(ValueError, match=r"times \[\[1.0, 2.0\], \[1.0, 3.0\]\]; expected the same of all"):
        compare(p, p, [test[0], test[1].replace(times=[1.0, 3.0])])


def test_one_type_is_compared_where_the_other_cannot_be():
    rng, test = labelled(3, s=1)
    halves = np.stack([test[0].propensity + 0.02 * rng.normal(size=(2, 400)) for _ in range(2)])
    c = test[0].replace(propensity=halves.mean(0), propensity_half=halves)
    far, near = (c.propensity + s * rng.normal(size=(2, 400)) for s in (0.2, 0.1))
    expected = paired_removal([far], [near], [c], draws=20)["A"]
    of_a, exact = c.types == 0, np.where(c.types == 0, near, c.propensity)  # on B as noisy as the labels themselves
    with pytest.raises(ValueError, match=r"on B particles, noise ceiling .*; expected each below the noise ceiling"):
        paired_removal([far], [exact], [c], draws=20)
    found = paired_removal([far], [exact], [c], draws=20, kinds=("A",))
    assert list(found) == ["A"]
    assert np.array_equal(found["A"], expected)
    seeds = gain_of_seeds([[far]] * 3, [[exact]] * 3, [c], compare=paired_removal)
    assert seeds.mean == pytest.approx(paired_removal([far], [near], [c], kinds=("A",))["A"][0])
    only = gl.Configuration(
        positions=c.positions[of_a], types=c.types[of_a], box=c.box, times=c.times,
        propensity=c.propensity[:, of_a], propensity_half=halves[:, :, of_a],
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"nan.* on B particles, .*are there such particles"):
        paired_removal([far[:, of_a]], [near[:, of_a]], [only])
    alone = paired_removal([far[:, of_a]], [near[:, of_a]], [only], kinds=("A",))["A"]
    assert alone[0] == pytest.approx(expected[0])
    assert list(paired_gain([far], [near], [c], kinds=("B",))) == ["B"]


def test_a_constant_prediction_has_no_share_to_remove():
    rng, test = labelled(5, s=1)
    c = test[0].replace(propensity_half=np.stack([test[0].propensity] * 2))
    near = c.propensity + 0.1 * rng.normal(size=(2, 400))
    with pytest.raises(
        ValueError, match=r"correlations \[\[nan, nan\].* on A particles, .*do predictions, labels .* differ"
    ):
        paired_removal([np.ones_like(near)], [near], [c])


def test_drawn_regions_that_reach_the_ceiling_are_told_from_a_prediction_that_does():
    rng, test = labelled(8, s=1)
    y = test[0].propensity
    halves = np.stack([y + 0.1 * rng.normal(size=y.shape) for _ in range(2)])
    c = test[0].replace(propensity=halves.mean(0), propensity_half=halves)
    ceiling = gl.noise_ceiling(halves, c.types)["A"]
    low = c.propensity + 0.3 * rng.normal(size=y.shape)
    noise = rng.normal(size=y.shape)
    for scale in np.linspace(0.02, 0.3, 57):  # the first that is below the ceiling is hardly so
        close = c.propensity + scale * noise
        if np.all(gl.pearson(close, c.propensity, c.types)["A"] < ceiling):
            break
    with pytest.raises(ValueError, match=r"on A particles, noise ceiling .*, which some of the drawn regions reach"):
        paired_removal([low], [close], [c], kinds=("A",))
