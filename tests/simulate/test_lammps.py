"""LAMMPS as an engine: energy, temperature, unwrapped displacements."""

import os
import subprocess
import sys

import numpy as np
import pytest

import glasslit as gl
from glasslit.simulate import lammps as engine_module
from glasslit.simulate.protocol import maxwell_boltzmann
from glasslit.simulate.run import Run

pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'glasslit[md]'")


LammpsEngine = engine_module.LammpsEngine


def test_free_run_keeps_its_energy(start):
    """NVE drift per particle below 1e-3 over 10^4 steps."""
    velocities = maxwell_boltzmann(start.n_particles, 0.5, np.random.default_rng(0))
    with engine_module._System(LammpsEngine(), start.positions, start.types, start.box, velocities) as system:
        system.do("fix 1 all nve", "timestep 0.005", "run 0")
        before = system.lmp.get_thermo("etotal")
        system.do("run 10000")
        after = system.lmp.get_thermo("etotal")
    assert before != after
    assert abs(after - before) < 1e-3


def test_thermalizing_reaches_the_temperature(start):
    engine = LammpsEngine()
    cold = np.zeros_like(start.positions)
    _, velocities = engine.thermalize(start.positions, start.types, start.box, cold, (0.5, 0.5), duration=20.0)
    temperature = (velocities**2).mean()
    assert temperature == pytest.approx(0.5, abs=5 * 0.5 * np.sqrt(2 / 3000))


def test_displacements_are_unwrapped_and_start_exactly(start):
    """Momentum is zero, so displacements add up to zero at all times; one wrapped particle would leave a box edge."""
    velocities = maxwell_boltzmann(start.n_particles, 0.5, np.random.default_rng(0))
    assert np.abs(velocities.sum(axis=0)).max() < 1e-10
    run = Run(start.positions, velocities, start.types, start.box, np.array([0.001, 1.0, 3.003]))
    ((_, displacements),) = LammpsEngine().run([run])
    assert np.abs(displacements.sum(axis=1)).max() < 1e-6
    assert np.allclose(displacements[0], 0.001 * velocities, atol=2e-4)  # ballistic at first
    crossed = np.any((start.positions + displacements[-1] < 0) | (start.positions + displacements[-1] > start.box))
    assert crossed, "no particle crossed the boundary: the test shows nothing"


def test_a_minimum_is_left_at_the_first_step_below_the_tolerance(start):
    """``min_modify norm max`` makes LAMMPS (22 Jul 2025; its manual, min_modify) compare the largest force on a
    particle. Its own choice, "two", is the norm of all forces together, which asks more of a larger system."""
    tolerance = 1e-2
    found = LammpsEngine().minimize(start.positions, start.types, start.box, tolerance)
    _, forces = LammpsEngine().energies_and_forces(found, start.types, start.box)
    assert 0.2 * tolerance < np.linalg.norm(forces, axis=1).max() <= 1.001 * tolerance
    assert np.linalg.norm(forces) > tolerance


def test_the_library_of_mpi_is_loaded_first():
    """LAMMPS's wheel (2025.7.22.4) needs the libmpi of the package mpich, which lies where no loader looks."""
    line = "lammps(cmdargs=['-screen', 'none', '-log', 'none']).close()"
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    ours = "from glasslit.simulate.lammps import _lammps_class; lammps = _lammps_class()"
    alone, ours = (
        subprocess.run([sys.executable, "-c", f"{first}; {line}"], capture_output=True, text=True, env=environment)
        for first in ("from lammps import lammps", ours)
    )
    if alone.returncode == 0:
        pytest.skip("LAMMPS finds an MPI library by itself here")
    assert "libmpi" in alone.stderr
    assert ours.returncode == 0, ours.stderr


def test_missing_engine_is_one_clear_sentence(monkeypatch, start):
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(ModuleNotFoundError, match=r"simulating needs LAMMPS.*pip install 'glasslit\[md\]'"):
        gl.quench(start)
