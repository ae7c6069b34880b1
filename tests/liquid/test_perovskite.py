import numpy as np
import pytest

from glasslit.liquid.periodic import minimum_image
from glasslit.liquid.perovskite import KINDS, tilted_perovskite

HOWARD_STOKES = {  # Acta Cryst. B 54, 782 (1998), with the axes that are named here
    ((0, 0, 0), "---"): 221,
    ((0, 0, 8), "--+"): 127,
    ((0, 0, 8), "---"): 140,
    ((0, 8, 8), "---"): 74,
    ((0, 6, 8), "---"): 12,
    ((8, 8, 8), "---"): 167,
    ((8, 7, 6), "---"): 2,
    ((0, 8, 8), "-++"): 139,
    ((8, 8, 8), "+++"): 204,
    ((8, 7, 6), "+++"): 71,
    ((0, 8, 6), "-+-"): 63,
    ((8, 6, 8), "-+-"): 62,
    ((8, 7, 6), "+--"): 11,
    ((8, 8, 6), "++-"): 137,
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("tilts", "number"), HOWARD_STOKES.items())
def test_space_groups_are_those_of_howard_and_stokes(tilts, number, exact):
    spglib = pytest.importorskip("spglib")
    assert spglib.get_symmetry_dataset(tilted_perovskite(*tilts, exact).cell(), symprec=1e-6).number == number


def bonds(crystal):
    """The six vectors from each B atom to its X, shape (8, 6, 3)."""
    moved = crystal.positions + crystal.displacements
    b, x = (moved[crystal.kinds == KINDS[name]] for name in "BX")
    apart = minimum_image(x[None] - b[:, None], crystal.box)
    nearest = np.argsort(np.linalg.norm(apart, axis=2), axis=1)[:, :6]
    return np.take_along_axis(apart, nearest[:, :, None], axis=1)


def test_cubic_octahedra_are_regular_and_share_their_corners():
    crystal = tilted_perovskite((0, 0, 0), "+++")
    assert np.allclose(np.linalg.norm(bonds(crystal), axis=2), 0.5)
    assert np.bincount(crystal.kinds).tolist() == [8, 8, 24]
    assert len(np.unique(crystal.positions.round(6), axis=0)) == 40


@pytest.mark.parametrize("sign", "+-")
def test_one_tilt_is_a_rotation_by_the_angle(sign):
    crystal = tilted_perovskite((0, 0, 8), f"++{sign}")
    for octahedron, rotation in zip(bonds(crystal), crystal.rotations, strict=True):
        flat = octahedron[np.abs(octahedron[:, 2]) < 1e-9]
        angles = np.rad2deg(np.arctan2(flat[:, 1], flat[:, 0]))
        quarters = (angles - np.rad2deg(rotation[2])) / 90
        assert len(flat) == 4
        assert np.allclose(quarters, quarters.round())
        assert np.allclose(np.linalg.norm(flat, axis=1), 0.5 / np.cos(np.deg2rad(8)))


def test_neighbors_turn_as_glazer_says():
    crystal = tilted_perovskite((8, 7, 6), "-+-")
    sites = crystal.positions[crystal.kinds == 1]
    assert np.allclose(sites % 1, 0)
    number = {tuple(site): k for k, site in enumerate(sites.round().astype(int))}
    for site, k in number.items():
        for along in range(3):
            neighbor = number[tuple((np.array(site) + np.eye(3, dtype=int)[along]) % 2)]
            same = crystal.rotations[neighbor] / crystal.rotations[k]
            assert same.round(9).tolist() == [1 if axis == along == 1 else -1 for axis in range(3)]


def test_exact_tilts_differ_in_second_order():
    off = [
        np.abs(
            tilted_perovskite((a, a, a), "-+-", exact=True).displacements
            - tilted_perovskite((a,) * 3, "-+-").displacements
        ).max()
        for a in (1, 2)
    ]
    assert off[1] / off[0] == pytest.approx(4, rel=0.05)


def test_impossible_tilts_are_refused():
    with pytest.raises(ValueError, match="each below 45"):
        tilted_perovskite((8, 8), "-+-")
    with pytest.raises(ValueError, match="each below 45"):
        tilted_perovskite((8, 50, 8), "-+-")
    with pytest.raises(ValueError, match="three of \\+ and -"):
        tilted_perovskite((8, 8, 8), "-0-")
