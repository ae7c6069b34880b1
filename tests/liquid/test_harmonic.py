"""The harmonic liquid: second derivatives against differences of forces, covariances against runs."""

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.data.isoconfigurational import displacement_covariance
from glasslit.liquid.configuration import VOIGT
from glasslit.liquid.harmonic import harmonic_covariance, hessian
from glasslit.liquid.kob_andersen import forces


@pytest.fixture(scope="module")
def liquid():
    """Part of a real liquid, far enough from all else: a drop of 60 particles in a wide box."""
    c = gl.load("starter", T=0.5, split="test")[0]
    near = np.argsort(np.linalg.norm(c.positions - c.box / 2, axis=1))[:60]
    fields = {f: getattr(c, f)[near] for f in ("positions", "inherent_positions", "types")}
    return gl.Configuration(**fields, box=2 * c.box, temperature=0.5, potential="force-shifted")


def push(c, positions):
    return forces(torch.tensor(positions), torch.tensor(c.types), torch.tensor(c.box), "force-shifted").numpy()


def test_second_derivatives_are_differences_of_forces(liquid):
    found, step = hessian(liquid.positions, liquid.types, liquid.box), 1e-5
    for particle, axis in ((0, 0), (7, 2), (31, 1)):
        moved = [liquid.positions.copy() for _ in range(2)]
        moved[0][particle, axis] += step
        moved[1][particle, axis] -= step
        difference = -(push(liquid, moved[0]) - push(liquid, moved[1])) / (2 * step)
        assert found[particle, axis] == pytest.approx(difference, abs=1e-4 * np.abs(found).max())
    flat = found.reshape(180, 180)
    assert flat == pytest.approx(flat.T, abs=1e-12)
    assert found.sum(axis=2) == pytest.approx(np.zeros((60, 3, 3)), abs=1e-9)  # a shift of all costs nothing


def test_the_beginning_is_free_flight_less_the_curvature(liquid):
    t = np.array([1e-3, 1e-2])
    found = harmonic_covariance(liquid, t, "positions")
    own = hessian(liquid.positions, liquid.types, liquid.box)[np.arange(60), :, np.arange(60)][:, VOIGT[0], VOIGT[1]]
    free = 0.5 * np.array([1.0, 1, 1, 0, 0, 0])
    square = t[:, None, None] ** 2
    assert found == pytest.approx(free * square - 0.5 * own * square**2 / 3, abs=2e-3 * square[-1, 0, 0])
    rest = (found[1] - free * t[1] ** 2) / t[1] ** 4
    assert rest == pytest.approx(-0.5 * own / 3, abs=0.1 * np.abs(own).max() * 0.5 / 3)


def test_covariances_of_runs_in_a_quadratic_energy(liquid):
    """Runs of a liquid that has no other forces, by the exact motion of each mode; and other times differ."""
    flat = hessian(liquid.inherent_positions, liquid.types, liquid.box).reshape(180, 180)
    square, vectors = np.linalg.eigh(flat)
    rng, runs, t = np.random.default_rng(0), 4000, 0.2
    velocities = rng.normal(scale=0.5**0.5, size=(runs, 180)) @ vectors
    rate = np.sqrt(np.abs(square))
    swing = np.where(square > 1e-9, np.sin(rate * t) / np.maximum(rate, 1e-9), t)
    swing = np.where(square < -1e-9, np.sinh(rate * t) / np.maximum(rate, 1e-9), swing)
    moved = ((velocities * swing) @ vectors.T).reshape(runs, 60, 3)
    found, later = harmonic_covariance(liquid, [t, 2 * t])
    scale = np.abs(found[:, :3]).mean()
    assert np.sqrt(np.mean((displacement_covariance(moved) - found) ** 2)) < 0.05 * scale
    assert np.sqrt(np.mean((displacement_covariance(moved) - later) ** 2)) > 0.2 * scale


def test_what_is_missing_is_said(liquid):
    with pytest.raises(ValueError, match="expected a temperature, and 'positions' or 'inherent_positions'"):
        harmonic_covariance(liquid, [0.1], "velocities")
    with pytest.raises(ValueError, match="expected a temperature"):
        harmonic_covariance(liquid.replace(temperature=None), [0.1])
