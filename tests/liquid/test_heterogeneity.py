"""Overlap, chi4, G4 and S4: naive references, cases solved by hand, what must always hold, and noise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glasslit as gl
from glasslit.liquid.heterogeneity import chi4, chi4_of_regions, correlation_length, g4, overlap, s4
from glasslit.liquid.periodic import minimum_image

BOX = np.full(3, 6.0)


def naive_chi4(q):
    """Of samples (S, N), term by term."""
    shares = [sum(sample) / len(sample) for sample in q]
    mean = sum(shares) / len(shares)
    return len(q[0]) * (sum(share * share for share in shares) / len(shares) - mean * mean)


def naive_g4(q, positions, box, edges):
    """Of samples (S, N), pair by pair."""
    mean, found = np.mean(q), np.zeros(len(edges) - 1)
    for sample, x in zip(q, positions, strict=True):
        for i in range(len(x)):
            for j in range(i):
                r = np.linalg.norm(minimum_image(x[i] - x[j], box))
                k = int(np.searchsorted(edges, r, side="right")) - 1
                if k < len(found):
                    found[k] += (sample[i] - mean) * (sample[j] - mean)
    n = len(positions[0])
    return found / len(q) * 2 * np.prod(box) / (n * (n - 1)) / (4 / 3 * np.pi * np.diff(edges**3))


def samples(seed, s=3, n=25):
    rng = np.random.default_rng(seed)
    return overlap(rng.gamma(2.0, 0.15, size=(s, 2, n)), 0.3), rng.uniform(0, BOX, size=(s, n, 3))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_both_equal_their_naive_references(seed):
    q, x = samples(seed)
    assert chi4(q) == pytest.approx([naive_chi4(q[:, t].tolist()) for t in (0, 1)], abs=1e-12)
    r, found = g4(q, x, [BOX] * 3, r_max=3.0, bins=6)
    edges = np.linspace(0, 3, 7)
    assert r.tolist() == (0.25 + 0.5 * np.arange(6)).tolist()
    for t in (0, 1):
        assert found[t] == pytest.approx(naive_g4(q[:, t], x, BOX, edges), abs=1e-12)


def test_on_real_configurations():
    """Four of 4096 particles, in subsets that the naive loops can bear."""
    cs = gl.load("standard", T=0.56)[:4]
    some = [np.flatnonzero(c.types == 0)[:150] for c in cs]
    q = overlap([c.propensity[:, i] for c, i in zip(cs, some, strict=True)], 0.25)
    x = [c.positions[i] for c, i in zip(cs, some, strict=True)]
    assert 0 < q[:, -2].mean() < 1
    assert chi4(q)[-2] == pytest.approx(naive_chi4(q[:, -2].tolist()), abs=1e-12)
    _, found = g4(q, x, [c.box for c in cs], r_max=5.0, bins=20)
    assert found[-2] == pytest.approx(naive_g4(q[:, -2], x, cs[0].box, np.linspace(0, 5, 21)), abs=1e-10)


def test_cases_solved_by_hand():
    assert chi4([[1, 1, 1, 1], [0, 0, 0, 0]]) == 1  # all stay, all leave: N / 4
    assert chi4([[1, 1, 0, 0], [0, 0, 1, 1]]) == 0  # always two
    assert chi4([[1, 0], [1, 0], [1, 1]]) == pytest.approx(2 * (1 / 4 + 1 / 4 + 1) / 3 - 2 * (2 / 3) ** 2)
    # two pairs at distance 1: in one both stay, in the other both leave; across pairs everything is 3 apart
    x = np.array([[0.0, 0, 0], [1, 0, 0], [0, 3, 0], [1, 3, 0]])
    _, found = g4([[1, 1, 0, 0]], [x], [BOX], r_max=2.0, bins=2)
    assert found.tolist() == pytest.approx([0, 2 * 216 / 12 * 2 * 0.25 / (4 / 3 * np.pi * 7)])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_integral_of_g4_is_chi4_where_no_pair_is_left_out(seed):
    """Particles in a small part of a wide box. Order, place in the box and 1 - q change neither."""
    rng = np.random.default_rng(seed)
    q, box = rng.integers(0, 2, size=(4, 30)).astype(float), np.full(3, 20.0)
    x = rng.uniform(0, 5.0, size=(4, 30, 3))
    edges = np.linspace(0, 9, 19)
    _, found = g4(q, x, [box] * 4, r_max=9.0, bins=18)
    pairs = (30 - 1) / np.prod(box) * (found * 4 / 3 * np.pi * np.diff(edges**3)).sum()
    assert np.mean((q - q.mean()) ** 2) + pairs == pytest.approx(chi4(q), abs=1e-10)
    assert chi4(1 - q) == pytest.approx(chi4(q), abs=1e-12)
    order = rng.permutation(30)
    moved = (x[:, order] + rng.uniform(0, 20, size=3)) % 20
    assert chi4(q[:, order]) == pytest.approx(chi4(q), abs=1e-12)
    assert g4(q[:, order], moved, [box] * 4, 9.0, 18)[1] == pytest.approx(found, abs=1e-9)


def test_independent_coins_show_nothing_and_blocks_show_their_size():
    """The control: particles that do not know of each other have chi4 = p (1 - p) and G4 = 0; groups of 5 that share
    a coin have five times as much."""
    rng = np.random.default_rng(1)
    coins = rng.integers(0, 2, size=(4000, 40)).astype(float)
    groups = np.repeat(rng.integers(0, 2, size=(4000, 8)), 5, axis=1).astype(float)
    error = np.sqrt(2 / 3999)
    assert chi4(coins) == pytest.approx(0.25, rel=4 * error)
    assert chi4(groups) == pytest.approx(5 * 0.25, rel=4 * error)
    x = (
        rng.uniform(0, 0.4, size=(8, 1, 3))
        + 2 * np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])[:, None]
    )
    x = np.repeat(x, 5, axis=1).reshape(40, 3) + 0.01 * np.arange(40)[:, None]  # a group lies together
    pairs = {}
    for name, q in (("coins", coins[:300]), ("groups", groups[:300])):
        pairs[name] = g4(q, [x] * 300, [BOX] * 300, r_max=1.0, bins=1)[1][0]
    together = 8 * 10 * 2 * 216 / (40 * 39) / (4 / 3 * np.pi)  # pairs below 1, as g(r) counts them
    assert pairs["groups"] == pytest.approx(0.25 * together, rel=0.15)
    assert abs(pairs["coins"]) < 0.05 * pairs["groups"]


def test_noise_that_particles_share_is_taken_out_by_a_second_measurement():
    """Labels from few runs: noise of whole regions looks like heterogeneity, unless halves are correlated."""
    rng = np.random.default_rng(2)
    truth = np.repeat(rng.normal(size=(3000, 4)), 5, axis=1)
    halves = truth + np.repeat(rng.normal(size=(2, 3000, 4)), 5, axis=2)
    expected, (one, two) = chi4(truth), halves
    assert chi4(one) > 1.7 * expected
    assert chi4(one, two) == pytest.approx(expected, rel=0.1)
    x = rng.uniform(0, BOX, size=(3000, 20, 3))
    x[:, 1::5] = x[:, ::5] + 0.5  # two of a group are neighbors
    true, biased, right = (
        g4(q, x % BOX, [BOX] * 3000, 1.0, 1, other)[1][0] for q, other in ((truth, None), (one, None), (one, two))
    )
    assert biased > 1.6 * true
    assert right == pytest.approx(true, rel=0.15)
    assert g4(two, x % BOX, [BOX] * 3000, 1.0, 1, one)[1][0] == pytest.approx(right)


def test_relative_error_of_chi4_is_what_the_docstring_says():
    rng = np.random.default_rng(3)
    q = rng.normal(size=(16, 2000, 50))  # 2000 experiments with 16 samples each
    assert np.std(chi4(q)) / np.mean(chi4(q)) == pytest.approx(np.sqrt(2 / 15), rel=0.1)


def test_regions_are_counted_one_by_one():
    """The naive loop; with one region to a sample it is chi4 itself; groups inside of a region show their size."""
    rng = np.random.default_rng(0)
    q, regions = rng.integers(0, 2, size=(3, 4, 30)).astype(float), rng.integers(0, 4, size=(3, 30))
    mean, terms = q.mean(axis=(0, 2)), []
    for s in range(3):
        for region in range(4):
            inside = [i for i in range(30) if regions[s, i] == region]
            terms.append([sum(q[s, t, i] - mean[t] for i in inside) ** 2 / len(inside) for t in range(4)])
    value, error = chi4_of_regions(q, regions)
    assert np.allclose(value, np.mean(terms, axis=0))
    assert np.allclose(error, np.std(terms, axis=0, ddof=1) / np.sqrt(12))
    assert np.allclose(chi4_of_regions(q, np.zeros((3, 30), int))[0], chi4(q))
    groups = np.repeat(rng.integers(0, 2, size=(40, 64)), 8, axis=1).astype(float)  # eight share a coin: 8/4
    value, error = chi4_of_regions(groups, np.repeat([np.arange(512) // 64], 40, axis=0))
    assert abs(value - 2) < 4 * error < 0.8
    scattered = chi4_of_regions(rng.permuted(groups, axis=1), np.repeat([np.arange(512) // 64], 40, axis=0))[0]
    assert scattered == pytest.approx(0.5, abs=0.15)  # a control: coins of their own, 1/4, and samples differ, 1/4


def test_a_second_measurement_takes_noise_out_of_regions_too():
    rng = np.random.default_rng(1)
    truth = np.repeat(rng.normal(size=(60, 32)), 8, axis=1)
    regions = np.repeat([np.arange(256) // 32], 60, axis=0)
    noise = [np.repeat(rng.normal(size=(60, 8)), 32, axis=1) for _ in range(2)]  # shared by a whole region
    exact = chi4_of_regions(truth, regions)[0]
    assert chi4_of_regions(truth + noise[0], regions)[0] > 3 * exact
    assert chi4_of_regions(truth + noise[0], regions, truth + noise[1])[0] == pytest.approx(exact, abs=0.25 * exact)


def test_overlap_keeps_nan_and_takes_any_shape():
    found = overlap(np.array([[0.1, np.nan], [0.3, 0.2]]), 0.3)
    assert np.array_equal(found, [[1, np.nan], [0, 1]], equal_nan=True)
    for threshold in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="expected a positive length"):
            overlap([1.0], threshold)


def test_bad_input_is_named():
    q, x = samples(0)
    with pytest.raises(ValueError, match="1 samples; expected at least 2"):
        chi4(q[:1])
    with pytest.raises(ValueError, match="one N for all"):
        chi4([np.ones(4), np.ones(5)])
    with pytest.raises(ValueError, match=r"shapes \(3, 2, 25\) and \(3, 25\)"):
        chi4(q, q[:, 0])
    with pytest.raises(ValueError, match=r"3 samples of 25 particles, 2 boxes"):
        g4(q, x, [BOX] * 2, 3.0, 6)
    with pytest.raises(ValueError, match=r"expected edges of at least 8\.0"):
        g4(q, x, [BOX] * 3, 4.0, 6)
    with pytest.raises(ValueError, match="bins = 0"):
        g4(q, x, [BOX] * 3, 3.0, 0)
    with pytest.raises(ValueError, match=r"regions of shape \(3,\); expected \(1, 3\)"):
        chi4_of_regions([[1.0, 0, 1]], [0, 0, 1])
    with pytest.raises(ValueError, match="1 region in all; expected at least 2"):
        chi4_of_regions([[1.0, 0, 1]], [[0, 0, 0]])


def test_s4_equals_its_naive_reference():
    rng = np.random.default_rng(3)
    q = rng.uniform(size=(2, 3, 20))
    x, L = [rng.uniform(size=(20, 3)) * 6 for _ in range(2)], 6.0
    found_q, found, modes = s4(q, x, [np.full(3, L)] * 2, q_max=2.4)
    unit = 2 * np.pi / L
    expected = {}
    for n in itertools.product(range(-3, 4), repeat=3):
        square = sum(v * v for v in n)
        if 0 < square * unit**2 <= 2.4**2:
            power = np.zeros(3)
            for s in range(2):
                for t in range(3):
                    wave = [(q[s, t, j] - q[:, t].mean()) * np.exp(1j * unit * np.dot(n, x[s][j])) for j in range(20)]
                    power[t] += abs(sum(wave)) ** 2 / 20 / 2
            expected.setdefault(square, []).append(power)
    assert np.allclose(found_q, [unit * k**0.5 for k in sorted(expected)])
    assert modes.tolist() == [len(expected[k]) // 2 for k in sorted(expected)]
    assert np.allclose(found.T, [np.mean(expected[k], axis=0) for k in sorted(expected)])


@pytest.mark.parametrize("true", [0.0, 1.5, 3.0])
def test_a_field_with_a_known_length_gives_it_back(true):
    """Gaussian fields on a lattice with a spectrum of Ornstein and Zernike's form: S4 is it, and the length its length.

    400 samples of 1000 sites: the error is about 0.07 / (q_1 xi) / q_1 where xi is not zero.
    """
    side, L = 10, 15.06
    q = 2 * np.pi / L * np.fft.fftfreq(side, 1 / side)
    square = sum(v**2 for v in np.meshgrid(q, q, q, indexing="ij"))
    rng = np.random.default_rng(5)
    noise = np.fft.fftn(rng.normal(size=(400, side, side, side)), axes=(1, 2, 3))
    fields = np.fft.ifftn(noise / np.sqrt(1 + true**2 * square), axes=(1, 2, 3)).real.reshape(400, 1, -1)
    place = np.stack(np.meshgrid(*[np.arange(side) * L / side] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    lattice, boxes = [place] * 400, [np.full(3, L)] * 400
    length, power, modes = s4(fields, lattice, boxes, q_max=1.5)
    expected = 1 / (1 + (true * length) ** 2)
    assert np.all(np.abs(power[0] / expected - 1) < 5 / np.sqrt(400 * modes))
    found = correlation_length(fields, lattice, boxes)
    assert found.shape == (1,)
    assert found[0] == pytest.approx(true, abs=0.8 if true == 0 else 0.35)
    shuffled = rng.permuted(fields, axis=-1)  # a control: each field's mean stays, places are lost
    if true:
        assert s4(shuffled, lattice, boxes, q_max=1.5)[1][0][0] < power[0][0] / 2


def test_s4_tends_to_chi4():
    """At q = 0 it is chi4, term by term: a shift of all overlaps of a sample moves that term alone."""
    rng = np.random.default_rng(2)
    x, box = [rng.uniform(size=(50, 3)) * 6 for _ in range(3)], [np.full(3, 6.0)] * 3
    place = [np.arange(64) for _ in range(3)]
    lattice = [np.stack(np.unravel_index(p, (4, 4, 4)), axis=-1) * 1.5 for p in place]
    q = rng.uniform(size=(3, 64))
    shift = np.array([[0.3], [0.0], [-0.3]])
    before, after = (s4(v, lattice, box, 2.2)[1] for v in (q, q + shift))
    assert np.allclose(before, after)  # on a lattice a constant has no other wavelength
    assert chi4(q + shift) > chi4(q) + 1
    assert correlation_length(q + shift, lattice, box) > correlation_length(q, lattice, box)
    assert np.isnan(correlation_length(np.ones((3, 50)), x, box))


def test_lengths_of_bad_input_are_refused():
    x, box = np.zeros((4, 3)), np.full(3, 10.0)
    with pytest.raises(ValueError, match="expected the same cube"):
        s4(np.ones((1, 4)), [x], [np.array([10.0, 10, 9])], 1.0)
    with pytest.raises(ValueError, match=r"expected at least 0\.628"):
        s4(np.ones((1, 4)), [x], [box], 0.5)
    with pytest.raises(ValueError, match="expected S alike"):
        s4(np.ones((1, 5)), [x], [box], 1.0)
    with pytest.raises(ValueError, match="expected at least 2"):
        correlation_length(np.ones((1, 4)), [x], [box])
