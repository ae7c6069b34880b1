"""Potentials as ASE calculators: ASE's own finite differences, trajectories, optimizers and dynamics."""

import types

import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE
from ase.test.calculator import test_fd as ase_differences
from ase.test.calculator import test_traj as ase_files

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
    assert np.abs(stress - calculate_numerical_stress(few, eps=1e-6)).max() < 1e-4 * np.abs(stress).max()


@pytest.mark.parametrize("name", CALCULATORS)
class TestAseSOwnTests:
    """The functions of ASE's test suite that hold for any calculator, with ours in the place of theirs.

    The others name a program or a molecule, or begin with numbers of one potential.
    """

    @pytest.mark.parametrize("function", ["test_fd", "test_analytical_forces", "test_analytical_stress"])
    def test_differences(self, name, function, monkeypatch):
        monkeypatch.setattr(ase_differences, "EMT", CALCULATORS[name])
        getattr(ase_differences, function)(cluster(periodic=True))

    def test_differences_see_a_wrong_force(self, name, monkeypatch):
        def wrong():
            calculator = CALCULATORS[name]()
            right = calculator.computed_of_edges

            def computed_of_edges(edges):
                energies, forces, virial = right(edges)
                return energies, 1.0001 * forces, virial

            calculator.computed_of_edges = computed_of_edges
            return calculator

        monkeypatch.setattr(ase_differences, "EMT", wrong)
        with pytest.raises(AssertionError):
            ase_differences.test_fd(cluster(periodic=True))

    def test_files(self, name, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(ase_files, "molecule", lambda _: cluster(periodic=False))
        factory = types.SimpleNamespace(calc=CALCULATORS[name])
        ase_files.test_h2_traj(factory, tmp_path)


def cluster(periodic):
    """A crystal of four particles with its corners loosened, in a sheared cell that is much shorter than a cutoff."""
    side = 1.5
    atoms = ase.Atoms(
        [1, 1, 2, 1],
        side * np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
        cell=[[side, 0, 0], [0.2, side, 0], [0.1, -0.15, side]],
        pbc=periodic,
    )
    atoms.rattle(0.1, seed=1)
    return atoms


class TestAnyCell:
    """Neighbors by ASE's list: the same liquid, described in another way, has the same energies and forces."""

    @pytest.fixture(params=CALCULATORS)
    def calculator(self, request):
        return CALCULATORS[request.param]()

    def results(self, atoms, calculator):
        atoms = atoms.copy()
        atoms.calc = calculator
        found = atoms.get_potential_energies(), atoms.get_forces(), atoms.get_stress()
        return [value.copy() for value in found]

    def same(self, found, expected):
        for one, other in zip(found, expected, strict=True):
            assert np.abs(one - other).max() < 1e-9 * np.abs(other).max()

    def test_the_same_lattice_by_a_sheared_cell(self, few, calculator):
        expected = self.results(few, calculator)
        cell = few.cell.array.copy()
        cell[1] += cell[0]
        cell[2] -= cell[1]
        few.set_cell(cell)
        self.same(self.results(few, calculator), expected)
        cell[1, 0] += 0.02  # and another lattice has others
        few.set_cell(cell)
        with pytest.raises(AssertionError):
            self.same(self.results(few, calculator), expected)

    def test_a_short_cell_is_its_copies(self, calculator):
        atoms = cluster(periodic=True)
        energies, forces, stress = self.results(atoms, calculator)
        copies = atoms.repeat((4, 3, 5))
        found = self.results(copies, calculator)
        self.same(found, [np.tile(energies, 60), np.tile(forces, (60, 1)), stress])

    def test_a_cluster_is_a_liquid_with_empty_space(self, calculator):
        atoms = cluster(periodic=False)
        lone = self.results(atoms, calculator)
        atoms.set_cell(np.diag([9.0, 10.0, 11.0]))
        atoms.pbc = True
        wide = self.results(atoms, calculator)
        self.same(lone[:2], wide[:2])

    def test_no_cell_no_stress(self, calculator):
        atoms = cluster(periodic=False)
        atoms.cell[:] = 0
        atoms.calc = calculator
        assert np.isfinite(atoms.get_forces()).all()
        with pytest.raises(PropertyNotImplementedError):
            atoms.get_stress()

    def test_a_box_that_relaxes(self, calculator):
        atoms = cluster(periodic=True)
        atoms.calc = calculator
        before = atoms.get_potential_energy()
        FIRE(FrechetCellFilter(atoms), logfile=None, maxstep=0.01).run(fmax=1e-6, steps=20)
        assert atoms.get_potential_energy() < before
        assert abs(atoms.cell.array[1, 0] - 0.2) > 1e-6  # angles changed, too

    def test_a_left_handed_cell_is_the_same_lattice(self, few, calculator):
        expected = self.results(few, calculator)
        few.cell[2] *= -1
        self.same(self.results(few, calculator), expected)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_what_is_not_finite_is_refused(self, calculator, value):
        for periodic in (True, False):
            atoms = cluster(periodic)
            atoms.calc = calculator
            atoms.positions[2, 1] = value
            with pytest.raises(ValueError, match=r"positions of the atoms: (nan|inf) at \[2, 1\]; expected finite"):
                atoms.get_potential_energy()

    def test_refused(self, calculator):
        empty = ase.Atoms(cell=[9, 9, 9], pbc=True, calculator=calculator)
        with pytest.raises(ValueError, match="no particles"):
            empty.get_potential_energy()
        flat = cluster(periodic=True)
        flat.cell[2] = flat.cell[1]
        flat.calc = calculator
        with pytest.raises(ValueError, match="vectors that are independent"):
            flat.get_potential_energy()
        atoms = cluster(periodic=True)
        atoms.calc = calculator
        atoms.cell[2] = 0
        with pytest.raises(ValueError, match="expected a cell vector along each periodic direction"):
            atoms.get_forces()
        atoms = cluster(periodic=False)
        atoms.calc = calculator
        atoms.numbers[0] = 14
        with pytest.raises(ValueError, match=r"expected 1 \(type A\) and 2 \(type B\)"):
            atoms.get_forces()


def test_particles_at_the_same_place_are_named(few):
    few.positions[3] = few.positions[70]
    few.pbc = False
    few.calc = KobAndersen()
    with pytest.raises(ValueError, match=r"particle 3 has an energy of .* at the same place"):
        few.get_potential_energy()


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


class TestParameters:
    """ASE's calculators take any parameter; here the potential alone says what is computed."""

    @pytest.mark.parametrize("name", CALCULATORS)
    @pytest.mark.parametrize("given", [{"cutoff": 9}, {"foo": 3.0}, {"potential": "unshifted"}, {"parameters": "a"}])
    def test_are_not_set(self, atoms, name, given):
        calculator = CALCULATORS[name]()
        with pytest.raises(ValueError, match=rf"{next(iter(given))}'.*; expected no parameters: make a calculator"):
            calculator.set(**given)
        assert not calculator.parameters
        assert calculator.set() == {}

    @pytest.mark.parametrize("make", [KobAndersen, lambda **k: LearnedPotential(learned().potential, **k)])
    def test_are_no_keywords(self, atoms, make):
        with pytest.raises(ValueError, match="unknown keywords cutoff, foo; expected some of restart"):
            make(cutoff=3.0, foo=3.0)
        with pytest.raises(ValueError, match=r"unknown keyword atom; .*did you mean 'atoms'\?"):
            make(atom=atoms)
        with pytest.raises(ValueError, match="unknown keyword cutoff"):
            make(atoms=atoms, cutoff=3.0)
        assert atoms.calc is None, "no calculator that is not finished"

    @pytest.mark.parametrize("make", [KobAndersen, lambda **k: LearnedPotential(learned().potential, **k)])
    def test_keywords_of_ase_are_taken(self, atoms, make, tmp_path):
        calculator = make(atoms=atoms, directory=tmp_path, label="a")
        assert atoms.calc is calculator
        assert (calculator.directory, calculator.label) == (str(tmp_path), f"{tmp_path}/a")
        assert np.isfinite(atoms.get_potential_energy())

    def test_those_of_a_subclass_are(self):
        class Named(KobAndersen):
            default_parameters = {"remark": ""}  # noqa: RUF012  # as ASE has it

        assert Named(remark="b").parameters == {"remark": "b"}
        assert Named().set(remark="c") == {"remark": "c"}
        with pytest.raises(ValueError, match=r"'cutoff'.*; expected remark"):
            Named().set(cutoff=3.0)
        with pytest.raises(ValueError, match="did you mean 'remark'"):
            Named(remarks="d")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: "potential.pt", r"'potential.pt'; expected a learned potential: .*load_potential\(path\)"),
        (lambda: PotentialConfig(), r"a PotentialConfig; expected a learned potential: Potential\(config\)"),
        (lambda: None, "None; expected a learned potential"),
        (lambda: Potential, "<class .*; expected a learned potential"),
        (lambda: gl.SE3GNN(gl.ModelConfig.laptop(n_times=1, layers=1)), "a SE3GNN; expected a learned potential"),
    ],
)
def test_only_a_learned_potential_is_taken(atoms, given, message):
    with pytest.raises(ValueError, match=message):
        LearnedPotential(given(), atoms=atoms)
    with pytest.raises(ValueError, match="potential 'shifted'"):
        KobAndersen("shifted", atoms=atoms)
    assert atoms.calc is None


class ByMode(Potential):
    """In training its energies are others."""

    def energies(self, graph, vector):
        return (1 + self.training) * super().energies(graph, vector)


@pytest.mark.parametrize("pbc", [True, False])
def test_the_network_keeps_its_mode_and_is_evaluated(few, pbc):
    net = ByMode(PotentialConfig(layers=1, channels=2, l_max=1)).train()
    few.pbc = pbc
    few.calc = LearnedPotential(net)
    assert net.training
    energy = few.get_potential_energy()
    assert net.training
    assert all(part.training for part in net.modules())
    net.eval()
    few.calc.reset()
    with torch.no_grad():  # as around a loop of predictions
        assert few.get_potential_energy() == energy
    assert not net.training
