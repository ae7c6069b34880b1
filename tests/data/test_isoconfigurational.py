"""Labels of runs that share their start: which particle is which, and where it went."""

import numpy as np
import pytest

import glasslit as gl
from glasslit.data.isoconfigurational import from_isoconfigurational
from glasslit.liquid.periodic import wrap
from glasslit.testing import random_liquid


def bare(n=500, seed=0):
    """Positions, types and ids; particles everywhere, also at the faces of the box."""
    c = random_liquid(n, seed=seed)
    positions = wrap(c.positions + c.box / 16, c.box)
    return gl.Configuration(positions=positions, types=c.types, box=c.box, ids=np.arange(1, n + 1))


def moved(c, width, seed=1, runs=2, tail=0.0):
    """Positions of runs in which particles diffuse; the center of mass rests."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=width, size=(runs, 1, c.n_particles, 3))
    steps += tail * rng.laplace(size=steps.shape)
    return c.positions + steps - steps.mean(axis=2, keepdims=True)


def propensity(c, finals, **options):
    return from_isoconfigurational(c, finals, [1.0], **options).propensity


@pytest.mark.parametrize("width", [0.02, 0.2, 0.6])
@pytest.mark.parametrize("sticks_out", [0.0, 0.2])
def test_folded_positions_are_refused_even_where_some_stick_out(width, sticks_out):
    """LAMMPS folds particles when it makes neighbor lists; between them they leave the box by a little."""
    c = bare()
    finals = moved(c, width)
    rng = np.random.default_rng(2)
    folded = wrap(finals.reshape(-1, 3), c.box).reshape(finals.shape)
    folded = folded + rng.uniform(-sticks_out, sticks_out, folded.shape) * (
        np.abs(folded - c.box / 2) > c.box / 2 - 0.1
    )
    with pytest.raises(ValueError, match=r"wrapped\); expected unwrapped ones .* or say wrapped=True"):
        propensity(c, folded)
    if not sticks_out:
        assert np.allclose(propensity(c, folded, wrapped=True), propensity(c, finals), atol=1e-6)


@pytest.mark.parametrize("width", [0.02, 0.6, 1.5, 6.0])
def test_unwrapped_positions_pass_however_far_they_go(width):
    c = bare()
    finals = moved(c, width)
    expected = np.linalg.norm(finals - c.positions, axis=-1).mean(axis=0)
    assert np.allclose(propensity(c, finals), expected, rtol=1e-6)


def test_rare_hops_are_no_jumps():
    """Most particles rattle in their cages, a few move by some diameters: what supercooled liquids do."""
    c = bare()
    finals = moved(c, 0.1)
    finals[:, :, :5] += [3.0, 0, 0]
    finals[:, :, 5:10] -= [3.0, 0, 0]
    assert propensity(c, finals)[0, :10].min() > 2.5


def test_a_start_with_another_origin_of_the_box():
    """Positions from 0 to L at the start, from -L/2 to L/2 later: half of the particles jump."""
    c = bare()
    finals = moved(c, 0.1)
    centered = wrap((finals + c.box / 2).reshape(-1, 3), c.box).reshape(finals.shape) - c.box / 2
    with pytest.raises(ValueError, match="look folded back"):
        propensity(c, centered)
    assert np.allclose(propensity(c, centered, wrapped=True), propensity(c, finals), atol=1e-6)


@pytest.mark.parametrize("wrapped", [False, True])
def test_all_particles_together_do_not_move(wrapped):
    c = bare()
    finals = moved(c, 0.1) + np.array([0.8, 0, 0])
    with pytest.raises(ValueError, match=r"run 0, t = 1: all particles move together, by \[0\.8.*another origin"):
        propensity(c, finals, wrapped=wrapped)
    assert propensity(c, moved(c, 0.1) + np.array([0.05, 0, 0])).shape == (1, 500)  # as much as a thermostat may push


def test_where_folding_hides_too_much_it_is_said():
    c = bare()
    finals = moved(c, 1.5)
    folded = wrap(finals.reshape(-1, 3), c.box).reshape(finals.shape)
    with pytest.raises(ValueError, match=r"t = 1: .* too long to tell"):
        propensity(c, folded, wrapped=True)
    with pytest.raises(ValueError, match="all positions lie in one box"):
        propensity(c, folded)


def snapshots(c, finals):
    return [[c.replace(positions=x) for x in run] for run in finals]


def test_ids_decide_which_particle_is_which():
    c = bare()
    finals = moved(c, 0.1)
    order = np.random.default_rng(5).permutation(c.n_particles)
    shuffled = [
        [gl.Configuration(positions=x[order], types=c.types[order], box=c.box, ids=c.ids[order]) for x in run]
        for run in finals
    ]
    assert np.allclose(propensity(c, shuffled), propensity(c, finals))
    same_types = [[gl.Configuration(positions=x[order], types=c.types, box=c.box) for x in run] for run in finals]
    with pytest.raises(ValueError, match="look folded back"):  # rows of other particles lie anywhere
        propensity(c, same_types)
    others = [[d.replace(ids=d.ids + 1) for d in run] for run in snapshots(c, finals)]
    with pytest.raises(ValueError, match=r"run 0.*ids \[501\] are not in the start; expected the same particles"):
        propensity(c, others)


def test_other_particles_boxes_and_shapes_are_refused():
    c = bare()
    good = snapshots(c, moved(c, 0.1))
    wide = [[d.replace(box=d.box * 1.01) for d in run] for run in good]
    with pytest.raises(ValueError, match=r"run 0: a box of .* the start has .* expected the same, as in NVE or NVT"):
        propensity(c, wide)
    swapped = [[d.replace(types=1 - d.types) for d in run] for run in good]
    with pytest.raises(ValueError, match="types are not those of the start"):
        propensity(c, swapped)
    few = bare(400)
    with pytest.raises(ValueError, match="400 particles, the start has 500"):
        propensity(c, [[few]])
    with pytest.raises(ValueError, match=r"finals\[0\] is a configuration; expected for each run the list"):
        propensity(c, good[0])


def test_a_configuration_keeps_its_ids(tmp_path):
    c = bare(60).replace(temperature=0.5, step=1200)
    gl.save(tmp_path / "c.h5", [c])
    (back,) = gl.load(tmp_path / "c.h5")
    assert np.array_equal(back.ids, c.ids)
    assert back.step == 1200
    atoms = c.to_ase()
    assert np.array_equal(gl.Configuration.from_ase(atoms).ids, c.ids)
    assert c.replace(ids=c.ids + 1).hash() != c.hash()
    for wrong in (np.zeros(60), c.ids + 0.5, c.ids[:10]):
        with pytest.raises(ValueError, match=r"ids of shape .*expected \(60,\), whole numbers, each once"):
            c.replace(ids=wrong)
