import ase.build
import numpy as np
import pytest

import glasslit as gl
from glasslit.equivariance.so3 import random_rotations
from glasslit.liquid.periodic import minimum_image
from glasslit.models.descriptors import averaged, bond_order, radial_densities
from glasslit.testing import random_liquid

# Steinhardt, Nelson, Ronchetti, PRB 28, 784 (1983), and Mickel et al., J. Chem. Phys. 138, 044501 (2013)
PERFECT = {"fcc": (0.1909, 0.5745), "sc": (0.7638, 0.3536), "hcp": (0.0972, 0.4848)}


def crystal(kind):
    """An ideal crystal whose nearest neighbors are at distance 1."""
    if kind == "hcp":
        cell = ase.build.bulk("X", "hcp", a=1, c=np.sqrt(8 / 3), orthorhombic=True) * (5, 3, 3)
    else:
        cell = ase.build.bulk("X", kind, a={"fcc": np.sqrt(2), "sc": 1}[kind], cubic=True) * (4, 4, 4)
    return gl.Configuration(positions=cell.positions, types=np.zeros(len(cell), int), box=cell.cell.lengths())


def cluster(rotation=None):
    """Forty particles in the middle of a wide box, turned as a whole."""
    rng = np.random.default_rng(3)
    place = rng.normal(scale=1.2, size=(40, 3))
    place = place if rotation is None else place @ np.asarray(rotation).T
    return gl.Configuration(positions=place + 25, types=np.arange(40) % 2, box=[50.0] * 3)


def distances(c):
    vector = minimum_image(c.positions[None] - c.positions[:, None], c.box)
    return vector, np.linalg.norm(vector, axis=-1)


@pytest.mark.parametrize("kind", PERFECT)
def test_perfect_crystals_have_the_values_of_the_literature(kind):
    q = bond_order(crystal(kind), [0, 4, 6], cutoff=1.2)
    assert q[:, 0] == pytest.approx(np.ones(len(q)))
    assert q[:, 1:] == pytest.approx(np.tile(PERFECT[kind], (len(q), 1)), abs=1e-4)


def test_bond_order_against_textbook_harmonics():
    scipy = pytest.importorskip("scipy", minversion="1.15", reason="SciPy 1.14 has no special.sph_harm_y")
    sph_harm_y = scipy.special.sph_harm_y
    c = random_liquid(60, box=np.array([4.0, 4.2, 4.4]))
    vector, r = distances(c)
    theta, phi = np.arccos(vector[..., 2] / np.where(r > 0, r, 1)), np.arctan2(vector[..., 1], vector[..., 0])
    shell = np.where(r > 0, np.exp(-((r - 1.1) ** 2) / (2 * 0.1**2)), 0) * (r < 1.5)
    near = (r > 0) & (r < 1.4)
    for w, found in (
        (near, bond_order(c, [1, 2, 5], cutoff=1.4)),
        (shell, bond_order(c, np.array([1, 2, 5]), centers=np.array([1.1]), width=0.1)[:, 0]),
    ):
        for column, degree in enumerate((1, 2, 5)):
            qlm = [(w * sph_harm_y(degree, m, theta, phi)).sum(1) / w.sum(1) for m in range(-degree, degree + 1)]
            expected = np.sqrt(4 * np.pi / (2 * degree + 1) * np.sum(np.abs(qlm) ** 2, axis=0))
            assert found[:, column] == pytest.approx(expected, abs=1e-10)


def test_radial_densities_against_loops():
    c = random_liquid(80, box=np.array([5.0, 4.6, 4.8]))
    centers, width = [0.9, 1.5], 0.15
    _, r = distances(c)
    expected = np.zeros((80, 2, 2))
    for i in range(80):
        for j in range(80):
            if i != j and r[i, j] < 1.5 + 4 * width:
                expected[i, c.types[j]] += np.exp(-((r[i, j] - np.array(centers)) ** 2) / (2 * width**2))
    assert radial_densities(c, centers, width) == pytest.approx(expected.reshape(80, 4))


def test_averages_against_loops():
    c = random_liquid(80, box=np.array([5.0, 4.6, 4.8]))
    values = np.random.default_rng(0).normal(size=(80, 2))
    _, r = distances(c)
    weight = np.where(r < 2.0, np.exp(-r / 2.0), 0)  # r_ii = 0: the particle itself, weight 1
    once = weight @ values / weight.sum(1, keepdims=True)
    assert averaged(values, c, 2.0) == pytest.approx(once)
    assert averaged(values, c, 2.0, generations=2) == pytest.approx(weight @ once / weight.sum(1, keepdims=True))


def test_nothing_changes_when_the_liquid_turns_and_components_would():
    first = cluster()
    for rotation in random_rotations(3).numpy():
        turned = cluster(rotation)
        for ask in (
            lambda c: radial_densities(c, [0.8, 1.2], 0.1),
            lambda c: bond_order(c, [1, 2, 3, 6], cutoff=1.6),
            lambda c: bond_order(c, [2, 4], centers=[1.0, 1.4]),
            lambda c: averaged(c.types[:, None], c),
        ):
            assert ask(turned) == pytest.approx(ask(first), abs=1e-9)
        moved = np.abs(turned.positions - first.positions).max()
        assert moved > 0.5, "the control: positions did turn"
        assert averaged(turned.positions, turned) != pytest.approx(averaged(first.positions, first), abs=0.1)


def test_many_neighbors_are_worked_on_in_pieces(monkeypatch):
    c = random_liquid(300)
    whole = radial_densities(c, [1.0], 0.1), bond_order(c, [6], cutoff=1.5)
    monkeypatch.setattr("glasslit.models.descriptors._AT_ONCE", 97)
    assert radial_densities(c, [1.0], 0.1) == pytest.approx(whole[0])
    assert bond_order(c, [6], cutoff=1.5) == pytest.approx(whole[1])


def test_a_lonely_particle_has_no_order():
    c = gl.Configuration(positions=[[1.0, 1, 1], [5, 5, 5]], types=[0, 1], box=[10.0] * 3)
    assert bond_order(c, [0, 6], cutoff=2.0).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda c: bond_order(c, [6]), "expected one of them"),
        (lambda c: bond_order(c, [6], cutoff=1.4, centers=[1.0]), "expected one of them"),
        (lambda c: bond_order(c, [12], cutoff=1.4), "whole numbers from 0 to 11"),
        (lambda c: bond_order(c, [], cutoff=1.4), "whole numbers from 0 to 11"),
        (lambda c: bond_order(c, [6], cutoff=-1.0), "expected positive numbers"),
        (lambda c: radial_densities(c, [], 0.1), "expected positive numbers"),
        (lambda c: radial_densities(c, [1.0], 0.0), "expected positive numbers"),
        (lambda c: radial_densities(c, [4.0], 0.1), "an edge shorter than twice the cutoff"),
        (
            lambda c: radial_densities(c.replace(inherent_positions=None), [1.0], 0.1, "inherent_positions"),
            "has no inh",
        ),
        (lambda c: averaged(np.zeros(5), c), "expected \\(200, F\\)"),
        (lambda c: averaged(np.zeros((200, 1)), c, generations=0), "expected positive numbers"),
    ],
)
def test_bad_input_says_what_was_expected(ask, message):
    with pytest.raises(ValueError, match=message):
        ask(random_liquid(200))
