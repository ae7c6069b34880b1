"""Potentials as ASE calculators: ASE's own finite differences, trajectories, optimizers and dynamics."""

import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE

import glasslit as gl
from glasslit.liquid.kob_andersen import POTENTIALS
from glasslit.models.potential import Potential, PotentialConfig, exact
from glasslit.prediction.calculator import KobAndersen, LearnedPotential
from glasslit.testing import random_liquid


def learned():
    torch.manual_seed(0)
    sizes = {"layers": 2, "channels": 2, "l_max": 1, "n_basis": 4, "hidden": 5, "readout": 6}
    return LearnedPotential(Potential(PotentialConfig(**sizes)).double())


CALCULATORS = {"exact": KobAndersen, "learned": learned}


@pytest.fixture
def atoms():
    return gl.load("starter", T=0.56)[0].to_ase()


@pytest.fixture
def few():
    """A random liquid, in which no distance is within a step of finite differences of a cutoff."""
    return random_liquid(170, seed=2).to_ase()


@pytest.mark.parametrize("potential", POTENTIALS)
def test_the_exact_one_is_the_package_s(atoms, potential):
    atoms.calc = KobAndersen(potential)
    energy, force = exact(gl.load("starter", T=0.56)[0].replace(potential=potential))
    assert atoms.get_potential_energies() == pytest.approx(energy, rel=1e-12)
    assert atoms.get_potential_energy() == pytest.approx(energy.sum(), rel=1e-12)
    assert np.abs(atoms.get_forces() - force).max() < 1e-10 * np.abs(force).max()


@pytest.mark.parametrize("name", CALCULATORS)
def test_forces_and_stress_are_ase_s_finite_differences(few, name):
    few.calc = CALCULATORS[name]()
    found = few.get_forces()
    some = [0, 40, 111]
    numerical = calculate_numerical_forces(few, eps=1e-6, iatoms=some)
    assert np.abs(found[some] - numerical).max() < 1e-5 * np.abs(found).max()
    stress = few.get_stress()
    differences = numerical_stress(few)
    assert np.abs(stress[:3] - differences).max() < 1e-4 * np.abs(stress).max()


def numerical_stress(atoms, eps=1e-6):
    """The diagonal alone: ASE's own function shears the box, too, which here is refused."""
    found = []
    for axis in range(3):
        energies = []
        for sign in (1, -1):
            strained, cell = atoms.copy(), atoms.cell.array.copy()
            cell[axis, axis] *= 1 + sign * eps
            strained.set_cell(cell, scale_atoms=True)
            strained.calc = atoms.calc
            energies.append(strained.get_potential_energy())
        found.append((energies[0] - energies[1]) / (2 * eps * atoms.get_volume()))
    return np.array(found)


def test_a_sheared_box_is_refused(few):
    few.calc = KobAndersen()
    with pytest.raises(ValueError, match="expected a periodic, orthorhombic box"):
        calculate_numerical_stress(few)


@pytest.mark.parametrize("name", CALCULATORS)
def test_results_go_through_ase_s_files(atoms, name, tmp_path):
    atoms.calc = CALCULATORS[name]()
    energy, force = atoms.get_potential_energy(), atoms.get_forces()
    atoms.write(tmp_path / "a.traj")
    again = ase.io.read(tmp_path / "a.traj")
    assert again.get_potential_energy() == pytest.approx(energy)
    assert again.get_forces() == pytest.approx(force)


def test_nothing_is_computed_twice(atoms):
    atoms.calc = KobAndersen()
    atoms.get_potential_energy()
    before = atoms.calc.results
    atoms.get_forces()
    assert atoms.calc.results is before
    atoms.positions[0, 0] += 0.01
    atoms.get_forces()
    assert atoms.calc.results is not before


def test_dynamics_keep_the_energy_and_optimizers_lower_it(atoms):
    atoms.set_masses(np.ones(len(atoms)))
    atoms.calc = KobAndersen()
    rng = np.random.default_rng(0)
    atoms.set_velocities(rng.normal(scale=0.56**0.5, size=(len(atoms), 3)))
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, timestep=0.002 * units.fs / units.fs).run(20)
    kinetic = atoms.get_kinetic_energy()
    assert abs(atoms.get_total_energy() - before) < 1e-3 * kinetic
    energy = atoms.get_potential_energy()
    FIRE(atoms, logfile=None).run(steps=10)
    assert atoms.get_potential_energy() < energy - 10


def test_other_elements_are_refused(atoms):
    atoms.numbers[0] = 14
    atoms.calc = KobAndersen()
    with pytest.raises(ValueError, match=r"expected 1 \(type A\) and 2 \(type B\)"):
        atoms.get_forces()
    with pytest.raises(ValueError, match="potential 'shifted'; expected one of"):
        KobAndersen("shifted")
