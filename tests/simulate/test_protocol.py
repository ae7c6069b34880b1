"""Quenching, equilibrating and labelling one configuration; what a kill or damage leaves behind."""

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit import simulate
from glasslit.learning.tensors import symmetric_matrices
from glasslit.liquid.kob_andersen import forces
from glasslit.simulate import lammps as engine_module
from glasslit.simulate.factory import lattice
from glasslit.testing import random_liquid

pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'glasslit[md]'")
LammpsEngine = engine_module.LammpsEngine


@pytest.fixture(scope="module")
def small():
    """A liquid just large enough for the cutoff, for what is made of any."""
    return simulate.equilibrate(gl.quench(lattice(160)), temperature=0.5, duration=2.0).replace(split="train")


@pytest.mark.parametrize("potential", ["force-shifted", "unshifted"])
def test_quench_reaches_a_minimum_nearby(start, potential):
    quenched = gl.quench(start, potential=potential)
    state = torch.tensor(quenched.inherent_positions), torch.tensor(start.types), torch.tensor(start.box)
    assert forces(*state, potential=potential).norm(dim=1).max() < 1.1e-5
    assert quenched.potential_energy_inherent.mean() < quenched.potential_energy_thermal.mean() - 0.3
    moved = np.linalg.norm(quenched.inherent_positions - start.positions, axis=1)
    assert 0.05 < np.sqrt((moved**2).mean()) < 0.5  # and not half a box, as a wrapped result would be
    assert quenched.potential == potential
    assert np.array_equal(quenched.positions, start.positions)


def test_quench_of_a_published_configuration(published):
    """Mean of ten is -6.849 +- 0.008 (Shiba et al.); single ones spread by about that much. One here, for time."""
    (c,) = gl.read_published(published / "botan_small" / "test" / "isoconfig_N4096T0.44_401_tc07.npz")
    assert gl.quench(c).potential_energy_inherent.mean() == pytest.approx(-6.849, abs=0.016)


def test_equilibrate_gives_a_bare_configuration(start):
    with_labels = start.replace(times=[1.0], propensity=np.ones((1, 1000)))
    moved = simulate.equilibrate(with_labels, temperature=0.56, duration=0.5, ramp=0.5, seed=1)
    again = simulate.equilibrate(with_labels, temperature=0.56, duration=0.5, ramp=0.5, seed=1)
    assert np.array_equal(moved.positions, again.positions)
    assert (moved.temperature, moved.propensity, len(moved.times)) == (0.56, None, 0)
    with pytest.raises(ValueError, match="not negative"):
        simulate.equilibrate(start, 0.5, -1.0)
    with pytest.raises(ValueError, match="ramp needs a temperature"):
        simulate.equilibrate(start.replace(temperature=None), 0.5, 1.0, ramp=1.0)


def make(starts, folder, n=4, times=(0.1, 0.5), workers=1, seed=3):
    engine = LammpsEngine(workers=workers)
    job = (starts, times, n, folder)
    progress = list(simulate.label(*job, seed=seed, engine=engine))
    return simulate.collect(*job, seed=seed, engine=engine), progress


def test_labels_are_the_averages_they_claim(small, tmp_path):
    (c,), progress = make([small], tmp_path)
    assert [p.done for p in progress] == [0, 1, 2, 3, 4]
    assert progress[-1].seconds_left == 0
    files = sorted(tmp_path.rglob("run*.npz"))
    displacements = np.stack([np.load(f)["displacements"] for f in files]).astype(float)
    distance = np.linalg.norm(displacements, axis=-1)
    assert np.allclose(c.propensity, distance.mean(0), rtol=1e-6)
    assert np.allclose(c.propensity_half[0], distance[:2].mean(0), rtol=1e-6)
    assert np.allclose(c.propensity_half[1], distance[2:].mean(0), rtol=1e-6)
    assert np.allclose(c.mean_displacement, displacements.mean(0), atol=1e-7)
    assert c.displacement_covariance is None
    assert np.allclose(c.msd[:, 1], (distance**2).mean(0)[:, small.types == 1].mean(1), rtol=1e-5)
    by_hand = [np.cos(7.2 * displacements[:, t][:, small.types == 0]).mean() for t in range(2)]
    assert np.allclose(c.self_scattering[:, 0], by_hand, rtol=1e-5)
    assert len({f.tobytes() for f in displacements}) == 4  # velocities are redrawn for each run
    assert (c.n_trajectories, c.potential, c.split, c.seed) == (4, "force-shifted", "train", 3)
    assert c.engine.startswith("LAMMPS 20")


def test_covariances_are_kept_where_they_are_asked_for(small, tmp_path):
    """Also of runs that are there already; all else is the same."""
    (plain,), _ = make([small], tmp_path)
    engine = LammpsEngine(workers=1)
    (c,) = simulate.collect([small], (0.1, 0.5), 4, tmp_path, seed=3, engine=engine, covariance=True)
    d = np.stack([np.load(f)["displacements"] for f in sorted(tmp_path.rglob("run*.npz"))]).astype(float)
    by_hand = [np.cov(d[:, 1, 7].T), np.cov(d[:2, 1, 7].T), np.cov(d[2:, 1, 7].T)]
    for found, matrix in zip((c.displacement_covariance, *c.displacement_covariance_half), by_hand, strict=True):
        assert np.allclose(symmetric_matrices(found[1, 7]), matrix, rtol=1e-5, atol=1e-9)
    assert c.replace(displacement_covariance=None, displacement_covariance_half=None).hash() == plain.hash()
    assert c.hash() != plain.hash()


def test_labels_depend_neither_on_workers_nor_on_more_runs(small, tmp_path):
    (one,), _ = make([small], tmp_path / "one", workers=1)
    (two,), _ = make([small], tmp_path / "two", workers=2)
    assert one.hash() == two.hash()
    _, progress = make([small], tmp_path / "one", n=6)
    assert progress[0].done == 4  # the first four are kept
    (more,), _ = make([small], tmp_path / "fresh", n=6)
    assert more.hash() == make([small], tmp_path / "one", n=6)[0][0].hash()


def test_other_input_in_the_same_folder_is_refused(small, tmp_path):
    make([small], tmp_path, n=2)
    for change in ({"times": (0.1, 0.4)}, {"seed": 4}):
        with pytest.raises(ValueError, match="made with other times, positions, seed"):
            make([small], tmp_path, **({"n": 2} | change))
    with pytest.raises(ValueError, match="2 runs are missing"):
        simulate.collect([small], (0.1, 0.5), 4, tmp_path, seed=3)


def test_a_damaged_run_is_made_again(small, tmp_path):
    (before,), _ = make([small], tmp_path, n=2)
    damaged = sorted(tmp_path.rglob("run*.npz"))[1]
    damaged.write_bytes(damaged.read_bytes()[:1000])
    (after,), progress = make([small], tmp_path, n=2)
    assert progress[0].done == 1
    assert before.hash() == after.hash()


def test_quench_is_kept_beside_the_runs(small, tmp_path, monkeypatch):
    (before,), _ = make([small], tmp_path, n=2)
    monkeypatch.setattr(LammpsEngine, "minimize", None)  # a second quench would call it
    (after,), _ = make([small], tmp_path, n=2)
    assert before.hash() == after.hash()


def test_potential_is_asked_for_or_the_configuration_s_own(start):
    assert gl.quench(start.replace(potential="unshifted")).potential == "unshifted"
    with pytest.raises(ValueError, match="'unshifted' with an engine for 'force-shifted'"):
        gl.quench(start, potential="unshifted", engine=LammpsEngine())


def test_a_box_too_small_for_the_potential_is_refused_at_once(tmp_path):
    small = random_liquid(60).replace(potential=None)
    for call in (
        lambda: list(simulate.label([small], [1.0], 2, tmp_path)),
        lambda: simulate.equilibrate(small, 0.5, 1.0),
        lambda: gl.quench(small),
    ):
        with pytest.raises(ValueError, match=r"expected at least 5\.0, twice the cutoff of the force-shifted"):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("times", "n", "message"), [((1.0, 0.5), 2, "increasing"), ((), 2, "at least one"), ((1.0,), 3, "even number")]
)
def test_bad_plans_are_refused_before_anything_runs(start, tmp_path, times, n, message):
    with pytest.raises(ValueError, match=message):
        list(simulate.label([start], times, n, tmp_path))
    assert not list(tmp_path.iterdir())
