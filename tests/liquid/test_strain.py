"""Strained boxes: volumes, minimum images and energies of a liquid that is seen in other coordinates."""

import numpy as np
import pytest

import glasslit as gl
from glasslit.liquid.strain import pure_shear, seen_in, strain_tensor, stretch, uniaxial
from glasslit.models.potential import exact


@pytest.mark.parametrize("stretches", [uniaxial(0.03, "x"), uniaxial(-0.1, "y"), pure_shear(0.2, "z", "x")])
def test_strains_conserve_the_volume(stretches):
    assert np.isclose(np.prod(stretches), 1)
    assert abs(np.trace(strain_tensor(stretches))) < 1e-12
    assert np.abs(stretches - 1).max() > 0.02


def test_axes_and_signs():
    assert uniaxial(0.03, "y")[1] == 1.03
    assert (uniaxial(0.03, "y")[[0, 2]] < 1).all()
    assert pure_shear(0.03, "z", "y").tolist() == [1, 1 / 1.03, 1.03]


def test_a_stretched_liquid_keeps_its_neighbors_across_the_boundary(liquid):
    """In fractions of the box nothing moves: minimum images are scaled, too."""
    stretches = pure_shear(0.05, "x", "z")
    after = stretch(liquid, stretches)
    assert np.allclose(after.positions / after.box, liquid.positions / liquid.box)
    image = gl.periodic.minimum_image
    before = image(liquid.positions[1:] - liquid.positions[:-1], liquid.box)
    assert np.allclose(image(after.positions[1:] - after.positions[:-1], after.box), before * stretches)
    assert after.propensity is None
    assert after.inherent_positions is None


def test_seen_in_a_cube_the_strain_is_hidden_and_energies_are_not():
    c = gl.load("starter", T=0.56)[0]
    real = stretch(c, uniaxial(0.05, "x"))
    real = real.replace(potential_energy_thermal=exact(real)[0])
    seen = seen_in(real, c.box)
    assert np.allclose(seen.positions, c.positions)
    assert np.allclose(seen.box, c.box)
    assert np.allclose(seen.potential_energy_thermal, real.potential_energy_thermal)
    assert np.abs(seen.potential_energy_thermal - exact(seen)[0]).mean() > 0.05


def test_what_makes_no_sense_is_refused(liquid):
    with pytest.raises(ValueError, match="a strain of -1; expected a number above -1"):
        uniaxial(-1)
    with pytest.raises(ValueError, match="axis 'w'; expected one of x, y, z"):
        uniaxial(0.1, "w")
    with pytest.raises(ValueError, match="expected two different axes"):
        pure_shear(0.1, "x", "x")
    for wrong in ([1, 2], [1, 0, 1], [1, np.nan, 1]):
        with pytest.raises(ValueError, match="expected three positive numbers"):
            stretch(liquid, wrong)
