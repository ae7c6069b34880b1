import warnings

import ase.io
import numpy as np
import pytest

from glasslit import Configuration
from glasslit.testing import random_liquid

GOOD = {"positions": [[0.0, 0, 0], [1, 1, 1]], "types": [0, 1], "box": [5.0, 5, 5]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": [[np.nan, 0, 0], [1, 1, 1]]}, r"positions holds nan at index \[0, 0\]"),
        ({"positions": [[0, 0, 0], [1, np.inf, 1]]}, r"positions holds inf at index \[1, 1\]"),
        ({"positions": [[0, 0], [1, 1]]}, r"positions have shape \(2, 2\); expected \(N, 3\)"),
        ({"positions": np.zeros((0, 3)), "types": []}, "at least 1"),
        ({"positions": "here"}, "not an array of numbers"),
        ({"types": [0, 2]}, r"types \[0, 2\].*0 = A and 1 = B"),
        ({"types": [0, 0.5]}, "types"),
        ({"types": [0]}, r"expected shape \(2,\)"),
        ({"box": [5, 5]}, r"box has shape \(2,\)"),
        ({"box": [5, 5, -5]}, "positive lengths"),
        ({"positions": [[0, 0, 0], [5, 5, 0]]}, "particles 0 and 1 coincide"),
        ({"inherent_positions": [[0, 0, 0], [0, 0, 0]]}, "inherent_positions of particles 0 and 1 coincide"),
        ({"times": [2.0, 1.0]}, "increasing"),
        ({"times": [1.0], "propensity": [[1.0]]}, r"propensity has shape \(1, 1\); expected \(1, 2\)"),
        ({"times": [1.0], "propensity": [[1.0, np.nan]]}, "finite"),
        ({"temperature": -1.0}, "temperature"),
        ({"split": "training"}, "train, val, test"),
        ({"potential": "lj"}, "force-shifted"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Configuration(**(GOOD | change))


def test_arrays_are_copied_and_frozen():
    positions = np.array(GOOD["positions"])
    c = Configuration(**(GOOD | {"positions": positions}))
    positions[0] = 4.0
    assert c.positions[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        c.positions[0] = 1.0


def test_hash_sees_every_array(liquid):
    assert liquid.hash() == liquid.replace(name="elsewhere").hash() == random_liquid(300, seed=1).hash()
    moved = liquid.positions.copy()
    moved[0, 0] += 1e-12
    assert liquid.replace(positions=moved).hash() != liquid.hash()
    assert liquid.replace(propensity=liquid.propensity * 1.01).hash() != liquid.hash()


def test_through_ase_and_back(liquid):
    back = Configuration.from_ase(liquid.to_ase())
    for field in (
        "positions",
        "types",
        "box",
        "times",
        "propensity",
        "inherent_positions",
        "potential_energy_inherent",
    ):
        assert np.array_equal(getattr(back, field), getattr(liquid, field)), field
    assert back.temperature == liquid.temperature


def test_extended_xyz_keeps_the_labels_that_formats_of_ase_drop(liquid, tmp_path):
    """ASE 3.29 writes .traj and .json without arrays of a user's own; Configuration.to_ase and formats.md say so."""
    atoms = liquid.to_ase()
    for suffix, labels, info in ((".extxyz", True, True), (".traj", False, True), (".json", False, False)):
        ase.io.write(tmp_path / f"a{suffix}", atoms)
        back = ase.io.read(tmp_path / f"a{suffix}")
        assert ("propensity" in back.arrays, "temperature" in back.info) == (labels, info), suffix


def test_labels_that_a_file_dropped_are_missed(liquid, tmp_path):
    ase.io.write(tmp_path / "a.traj", liquid.to_ase())
    with pytest.warns(UserWarning, match=r"with inherent_positions, .*propensity.*have them no more; .* \.traj"):
        back = Configuration.from_ase(ase.io.read(tmp_path / "a.traj"))
    assert back.propensity is None
    ase.io.write(tmp_path / "a.extxyz", liquid.to_ase())
    bare = random_liquid(50).replace(propensity=None, propensity_half=None, times=())
    ase.io.write(tmp_path / "b.traj", bare.to_ase())  # nothing to drop, nothing to say
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Configuration.from_ase(ase.io.read(tmp_path / "a.extxyz"))
        Configuration.from_ase(liquid.to_ase())
        atoms = liquid.to_ase()
        del atoms.arrays["propensity"]
        Configuration.from_ase(atoms, propensity=liquid.propensity)  # given by name
        foreign = bare.to_ase()
        foreign.info |= {"writer": "another", "arrays": "a note"}
        Configuration.from_ase(foreign)


def test_ase_box_that_is_not_a_periodic_cuboid_is_refused(liquid):
    atoms = liquid.to_ase()
    atoms.pbc = [True, True, False]
    with pytest.raises(ValueError, match="periodic, orthorhombic"):
        Configuration.from_ase(atoms)
    atoms.pbc = True
    atoms.numbers[0] = 26
    with pytest.raises(ValueError, match="renumber"):
        Configuration.from_ase(atoms)


def test_at_times_picks_and_refuses():
    c = random_liquid(50, n_times=3)
    picked = c.at_times([100.0, 1.0])
    assert picked.times.tolist() == [1.0, 100.0]
    assert np.array_equal(picked.propensity, c.propensity[[0, 2]])
    assert np.array_equal(c.at_times([10.0]).propensity_half, c.propensity_half[:, 1:2])
    half = np.random.default_rng(0).normal(size=(2, 3, 50, 6))
    picked = c.replace(displacement_covariance=half[0], displacement_covariance_half=half).at_times([100.0, 1.0])
    assert np.allclose(picked.displacement_covariance, half[0][[0, 2]])
    assert np.allclose(picked.displacement_covariance_half, half[:, [0, 2]])
    with pytest.raises(ValueError, match=r"displacement_covariance has shape \(3, 50, 3, 3\); expected \(3, 50, 6\)"):
        c.replace(displacement_covariance=np.zeros((3, 50, 3, 3)))
    with pytest.raises(ValueError, match=r"times \[5\.0\]; expected some of \[1\.0, 10\.0, 100\.0\]"):
        c.at_times([5.0])
