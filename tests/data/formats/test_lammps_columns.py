"""Columns of dumps: positions in every form that LAMMPS gives them, and refusals where a column says too little."""

import numpy as np
import pytest

from glasslit.data.formats.lammps_columns import labels_of, snapshot

LOW, HIGH = np.array([1.0, -2.0, 0.5]), np.array([7.0, 5.0, 8.5])
EDGES = HIGH - LOW
PLACE = np.array([[1.5, 6.0, 3.0], [-4.0, 0.25, 17.0], [4.0, 4.0, 8.0]])
INSIDE, FLAGS = np.mod(PLACE - LOW, EDGES) + LOW, np.floor((PLACE - LOW) / EDGES).astype(int)
IDS = np.array([3, 1, 2])
ALL = (
    {"id": IDS, "type": np.array([1, 1, 2])}
    | {x: INSIDE[:, k] for k, x in enumerate("xyz")}
    | {f"{x}s": (INSIDE - LOW)[:, k] / EDGES[k] for k, x in enumerate("xyz")}
    | {f"{x}u": PLACE[:, k] for k, x in enumerate("xyz")}
    | {f"{x}su": (PLACE - LOW)[:, k] / EDGES[k] for k, x in enumerate("xyz")}
    | {f"i{x}": FLAGS[:, k] for k, x in enumerate("xyz")}
    | {"element": np.array(["C", "C", "Kr"]), "typelabel": np.array(["big", "big", "small"])}
)


def read(names, low=LOW, high=HIGH, tilt=None, units=None, **other):
    columns = {name: other.get(name, ALL.get(name)) for name in names.split()}
    return snapshot(columns, low, high, tilt, np.ones(3, dtype=bool), 700, units)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("id type x y z", INSIDE),
        ("id type xs ys zs", INSIDE),
        ("id type x y z ix iy iz", PLACE),
        ("id type xs ys zs ix iy iz", PLACE),
        ("iz type ix z y x iy id", PLACE),
        ("id type xu yu zu", PLACE),
        ("id type xsu ysu zsu", PLACE),
        ("id type x y z xu yu zu ix iy iz", PLACE),
        ("id type x y z xsu ysu zsu", PLACE),
        ("id type x y z xu", INSIDE),
        ("id type xu yu zu ix", PLACE),
    ],
)
def test_positions_in_all_forms(names, expected):
    found = read(names)
    order = np.argsort(IDS)
    assert np.allclose(found.positions, expected[order], atol=1e-12)
    assert found.ids.tolist() == [1, 2, 3]
    assert found.labels.tolist() == ["1", "2", "1"]
    assert np.array_equal(found.cell, np.diag(EDGES))
    assert found.periodic.all()
    assert found.step == 700


def test_without_ids_rows_stay_as_they_are():
    found = read("type x y z")
    assert found.ids is None
    assert np.array_equal(found.positions, INSIDE)


@pytest.mark.parametrize(
    ("names", "other", "labels"),
    [
        ("type element typelabel", {}, ["1", "1", "2"]),
        ("element typelabel", {}, ["big", "big", "small"]),
        ("element", {}, ["C", "C", "Kr"]),
        ("type", {"type": np.array([2.0, 11.0, 2.0])}, ["2", "11", "2"]),
        ("type", {"type": np.array(["big", "small", "1"], dtype=object)}, ["big", "small", "1"]),
    ],
)
def test_labels(names, other, labels):
    assert labels_of({name: other.get(name, ALL[name]) for name in names.split()}).tolist() == labels


def test_a_tilted_box_begins_inside_of_its_bounds():
    """Against LAMMPS's documentation: bounds are those of the box around the tilted one."""
    tilt = np.array([1.5, -0.5, 2.0])
    cell = np.array([[6.0, 0, 0], [1.5, 7.0, 0], [-0.5, 2.0, 8.0]])
    origin = np.array([1.0, -2.0, 0.5])
    corners = origin + np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) @ cell
    scaled = np.array([[0.1, 0.2, 0.3], [0.9, 0.5, 0.6], [0.0, 0.0, 0.99]])
    columns = {f"{x}s": scaled[:, k] for k, x in enumerate("xyz")}
    found = read("type xs ys zs ix iy iz", corners.min(axis=0), corners.max(axis=0), tilt, **columns)
    assert np.allclose(found.cell, cell)
    assert np.allclose(found.positions, origin + (scaled + FLAGS) @ cell)


@pytest.mark.parametrize(
    ("names", "other", "told"),
    [
        ("id x y z", {}, "columns id x y z; expected types too: dump id type x y z"),
        ("id type vx vy vz", {}, "columns id type vx vy vz; expected positions"),
        ("id type x y", {}, "columns id type x y; expected positions, all three"),
        ("id type xu y z", {}, "columns id type xu y z; expected positions, all three of xu yu zu, or xsu ysu zsu"),
        ("id type x y z ix iy", {}, "image flags ix iy without the others; expected those of all directions or none"),
        ("id type x y z", {"id": np.array([5, 5, 6])}, "id 5 occurs twice"),
        ("id type x y z", {"id": np.array([5, 5.5, 6])}, "id 5.5; expected whole numbers: is it the column"),
        ("id type x y z", {"id": np.array([5, np.nan, 6])}, "id of row 1 is nan; expected finite"),
        ("id type x y z", {"y": np.array([5, np.nan, 6])}, "y of particle 1 is nan; expected finite numbers"),
        ("type x y z", {"z": np.array([5, 6, -np.inf])}, "z of row 2 is -inf; expected finite numbers"),
        ("id type x y z", {"x": np.array(["5", "six", "7"])}, "x six; expected a number for each particle"),
        (
            "id type x y z",
            {"x": np.array([5.0, None, 7.0], dtype=object)},
            "x of particle 1 is nan; expected finite numbers",
        ),
        ("id type x y z", {"type": np.array([1, 1.5, 2])}, "type 1.5; expected whole numbers or words"),
        ("id type x y z", {"type": np.array([1, np.nan, 2])}, "type nan; expected whole numbers or words"),
        ("id type x y z", {"type": np.array([1, np.inf, 2])}, "type inf; expected whole numbers or words"),
        ("typelabel x y z", {"typelabel": np.array(["big", "", ""])}, "typelabel is empty in row 1; expected types"),
        ("id type x y z", {"units": "metal"}, "units metal; expected lj: divide lengths by sigma_AA"),
        ("id type x y z", {"high": np.array([7.0, -2.0, 8.5])}, "a box from -2 to -2 along y; expected a second bound"),
        ("id type x y z", {"high": np.array([7.0, np.nan, 8.5])}, "a box from -2 to nan along y"),
    ],
)
def test_what_says_too_little_is_refused(names, other, told):
    with pytest.raises(ValueError, match="^" + told.replace(".", r"\.")):
        read(names, **other)


def test_a_frame_without_particles_is_refused():
    with pytest.raises(ValueError, match="no particles; expected at least one"):
        snapshot({n: np.zeros(0) for n in ("type", "x", "y", "z")}, LOW, HIGH, None, np.ones(3, bool), 0, "lj")


def test_dimensionless_units_said_aloud_are_fine():
    assert read("id type x y z", units="lj").step == 700
