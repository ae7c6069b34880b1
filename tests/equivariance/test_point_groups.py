"""Symmetries of a cube: a group, its irreps, and what crystals keep, compared with spglib where it is installed."""

import numpy as np
import pytest

from glasslit.equivariance.point_groups import (
    irrep_content,
    octahedral_characters,
    octahedral_group,
    stabilizer,
    times_kept,
)

ELEMENTS = octahedral_group()
CHARACTERS = octahedral_characters(ELEMENTS)
SPECIES = np.array(["Ba", "Ti", "O", "O", "O"])
CUBIC = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def moved(*shift):
    """Ti moved out of its place, in a cubic cell: what breaks the symmetry is the atoms' arrangement alone."""
    positions = CUBIC.copy()
    positions[1] += shift
    return positions


CRYSTALS = {
    "cubic": (4 * np.eye(3), CUBIC, 48),
    "tetragonal cell": (np.diag([4, 4, 4.1]), CUBIC, 16),
    "orthorhombic cell": (np.diag([3.9, 4, 4.1]), CUBIC, 8),
    "along [001]": (4 * np.eye(3), moved(0, 0, 0.02), 8),
    "along [110]": (4 * np.eye(3), moved(0.02, 0.02, 0), 4),
    "along [111]": (4 * np.eye(3), moved(0.02, 0.02, 0.02), 6),
    "along no axis": (4 * np.eye(3), moved(0.02, 0.03, 0.05), 1),
}
each_crystal = pytest.mark.parametrize(("cell", "positions", "order"), CRYSTALS.values(), ids=CRYSTALS)


def rows(matrices):
    return {tuple(np.round(m, 6).ravel() + 0.0) for m in matrices}


def test_the_group_is_one():
    assert len(rows(ELEMENTS)) == 48
    assert rows((ELEMENTS[:, None] @ ELEMENTS).reshape(-1, 3, 3)) == rows(ELEMENTS)
    assert (ELEMENTS[0] == np.eye(3)).all()


def test_ten_irreps_are_orthogonal_and_complete():
    table = np.stack(list(CHARACTERS.values()))
    assert np.allclose(table @ table.T / 48, np.eye(10))
    assert (table[:, 0] ** 2).sum() == 48
    for values in table:  # a character is the same for g and k g k^-1
        by_class = {}
        for g, value in zip(ELEMENTS, values, strict=True):
            key = frozenset(rows(ELEMENTS @ g @ ELEMENTS.transpose(0, 2, 1)))
            assert by_class.setdefault(key, value) == value
        assert len(by_class) == 10


def test_what_is_kept_has_as_many_components_as_there_are_cosets():
    dimension = {name: round(values[0]) for name, values in CHARACTERS.items()}
    for cell, positions, order in CRYSTALS.values():
        kept = times_kept(CHARACTERS, stabilizer(ELEMENTS, cell, positions, SPECIES))
        assert sum(dimension[name] * n for name, n in kept.items()) * order == 48


def test_components_kept_are_those_of_matrices():
    """T1u are vectors and T1u x T1u = A1g + Eg + T1g + T2g: count what products of vectors keep."""
    for cell, positions, _ in CRYSTALS.values():
        members = stabilizer(ELEMENTS, cell, positions, SPECIES)
        kept = times_kept(CHARACTERS, members)
        for matrices, names in (
            (ELEMENTS[members], ["T1u"]),
            (np.stack([np.kron(g, g) for g in ELEMENTS[members]]), ["A1g", "Eg", "T1g", "T2g"]),
        ):
            assert np.linalg.matrix_rank(matrices.mean(axis=0)) == sum(kept[name] for name in names)


def test_contents_are_parts_of_the_weights():
    weights = np.random.default_rng(0).normal(size=48)
    found = irrep_content(weights, ELEMENTS, CHARACTERS)
    assert np.isclose(sum(size**2 for size in found.values()), (weights**2).sum())
    assert np.isclose(found["A1g"], abs(weights.sum()) / 48**0.5)
    turned = [
        weights[[int(np.abs(ELEMENTS - ELEMENTS[7].T @ g).sum(axis=(1, 2)).argmin()) for g in ELEMENTS]],
        weights[[int(np.abs(ELEMENTS - g @ ELEMENTS[7]).sum(axis=(1, 2)).argmin()) for g in ELEMENTS]],
    ]
    for other in turned:
        assert irrep_content(other, ELEMENTS, CHARACTERS) == pytest.approx(found)
    assert irrep_content(weights[::-1], ELEMENTS, CHARACTERS) != pytest.approx(found), "no other order does"


def test_contents_and_counts_hold_for_a_pair_whose_matrices_commute():
    """E of the four quarter turns is irreducible over the real numbers, and splits into two over the complex ones."""
    turns = np.stack([np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), k) for k in range(4)])
    characters = {"A": [1, 1, 1, 1], "B": [1, -1, 1, -1], "E": [2, 0, -2, 0]}
    characters = {name: np.array(values, dtype=float) for name, values in characters.items()}
    weights = np.array([1.2, 0.9, 1.0, 0.7])
    found = irrep_content(weights, turns, characters)
    assert found["A"] == pytest.approx(abs(weights.sum()) / 2)
    assert found["B"] == pytest.approx(abs(weights @ [1, -1, 1, -1]) / 2)
    assert found["E"] == pytest.approx(np.hypot(0.2, 0.2) / 2**0.5)
    assert sum(size**2 for size in found.values()) == pytest.approx(weights @ weights)
    assert times_kept(characters, [True, False, False, False]) == {"A": 1, "B": 1, "E": 2}


@each_crystal
def test_weights_that_a_stabilizer_keeps_contain_what_is_counted(cell, positions, order):
    """Random weights, averaged over the group: the same for h g as for g."""
    members = stabilizer(ELEMENTS, cell, positions, SPECIES)
    weights = np.random.default_rng(1).normal(size=48)
    of = {tuple(g.ravel()): w for g, w in zip(ELEMENTS, weights, strict=True)}
    averaged = np.mean([[of[tuple((h @ g).ravel())] for g in ELEMENTS] for h in ELEMENTS[members]], axis=0)
    found = irrep_content(averaged, ELEMENTS, CHARACTERS)
    kept = times_kept(CHARACTERS, members)
    assert len(np.unique(averaged.round(9))) == 48 // order
    assert {name for name, size in found.items() if size > 1e-9} == {name for name, n in kept.items() if n}


@each_crystal
def test_stabilizers_have_the_right_size_and_no_origin(cell, positions, order):
    members = stabilizer(ELEMENTS, cell, positions, SPECIES)
    assert members.sum() == order
    assert rows((ELEMENTS[members][:, None] @ ELEMENTS[members]).reshape(-1, 3, 3)) == rows(ELEMENTS[members])
    shifted = stabilizer(ELEMENTS, cell, positions + np.array([0.3, -1.2, 0.77]), SPECIES)
    assert (shifted == members).all()
    mixed = np.array([[1, 1, 0], [0, 1, 0], [0, 2, 1]])  # other vectors of the same lattice
    assert (stabilizer(ELEMENTS, mixed @ cell, positions @ np.linalg.inv(mixed), SPECIES) == members).all()


@each_crystal
@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
def test_stabilizers_are_those_of_spglib(cell, positions, order):
    spglib = pytest.importorskip("spglib", reason="spglib is not installed: pip install 'glasslit[chapters]'")
    _, numbers = np.unique(SPECIES, return_inverse=True)
    found = spglib.get_symmetry_dataset((cell, positions, numbers + 1), symprec=1e-3)
    turned = cell.T @ found.rotations @ np.linalg.inv(cell.T)
    members = stabilizer(ELEMENTS, cell, positions, SPECIES)
    assert len(found.rotations) == order
    assert rows(turned) == rows(ELEMENTS[members])


def test_species_and_tolerance_matter():
    alike = np.array(["X", "X", "O", "O", "O"])
    assert stabilizer(ELEMENTS, 4 * np.eye(3), moved(0, 0, 0.02), alike).sum() == 8
    one_other = np.array(["Ba", "Ti", "S", "O", "O"])
    assert stabilizer(ELEMENTS, 4 * np.eye(3), CUBIC, one_other).sum() == 16
    assert stabilizer(ELEMENTS, 4 * np.eye(3), moved(0, 0, 0.02), SPECIES, tolerance=0.3).sum() == 48


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="expected those of a cube"):
        octahedral_characters([[[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]]])
    with pytest.raises(ValueError, match="does not permute the axes"):
        octahedral_characters([[[1, 0, 0], [1, 0, 0], [0, 0, 1]]])
    for members in ([5], [0, 1, 8]):
        with pytest.raises(ValueError, match="make no group"):
            times_kept(CHARACTERS, np.isin(np.arange(48), members))
    with pytest.raises(ValueError, match="there are no members"):
        times_kept(CHARACTERS, np.zeros(48, dtype=bool))
    with pytest.raises(ValueError, match=r"weights have the shape \(47,\); expected \(48,\)"):
        irrep_content(np.ones(47), ELEMENTS, CHARACTERS)
    with pytest.raises(ValueError, match="the 5 elements make no group"):
        irrep_content(np.ones(5), ELEMENTS[:5], CHARACTERS)
    with pytest.raises(ValueError, match=r"expected \(n, 3, 3\), \(3, 3\), \(atoms, 3\), \(atoms,\)"):
        stabilizer(ELEMENTS, np.eye(3), CUBIC, SPECIES[:4])
    with pytest.raises(ValueError, match="span no volume"):
        stabilizer(ELEMENTS, np.ones((3, 3)), CUBIC, SPECIES)
