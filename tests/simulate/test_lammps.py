"""LAMMPS as an engine: energy, temperature, unwrapped displacements."""

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


def test_missing_engine_is_one_clear_sentence(monkeypatch, start):
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(ModuleNotFoundError, match=r"simulating needs LAMMPS.*pip install 'glasslit\[md\]'"):
        gl.quench(start)
