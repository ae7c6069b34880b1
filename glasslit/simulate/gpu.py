"""The GPU engine: one system to each multiprocessor's on-chip memory, a hundred and more advancing side by side.

An isoconfigurational ensemble is many independent copies of one small system. Programs that spread one system over a
whole GPU leave most of it idle at 4096 particles and synchronize all of it in every step. Here a thread
block holds a whole system, so a step needs no more than a barrier inside the block, and a GPU of 132 multiprocessors
runs hundreds of systems in one launch. :mod:`~glasslit.simulate.gpu_code` has the kernels.

Positions are 32-bit fractions of the box (:mod:`~glasslit.simulate.fixed`), displacements sums of integers,
velocities and forces single precision; FIRE ends in double precision. Numba compiles at first use
(``pip install 'glasslit[gpu]'``); it was taken rather than CuPy because its simulator runs the same source without a
GPU, which the tests do.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..liquid.kob_andersen import check_potential
from ..provenance import version
from .files import read, write
from .fixed import BOX, SIMULATED, pair_table, to_fixed
from .gpu_setup import allow_shared, check_device, kernels, quietly
from .run import Run, System, alike, ran_away, whole_steps

MOST_THREADS = 1024
"""Most threads of a block."""
COARSE = 1e-3
"""Largest force at which FIRE goes over from single to double precision, epsilon_AA / sigma_AA."""
FIRE_STEPS = 100_000
"""Most steps of FIRE in double precision."""


class GpuEngine:
    """Kob-Andersen molecular dynamics, a whole system to a thread block.

    Parameters
    ----------
    potential : truncation, one of :data:`glasslit.liquid.kob_andersen.POTENTIALS`
    timestep : longest time step of velocity Verlet, Lennard-Jones time units
    skin : how far beyond the cutoff the neighbor lists reach, sigma_AA; decides the speed only
    threads : threads of a block, by default :func:`threads_for` its particles; decides the speed only
    replicas : most systems in one launch, by default four for each multiprocessor
    launch : particle-steps of one launch and system; between launches an interrupt is heard and runs are kept
    save_every : least time between two savings of runs under way, seconds
    seed : of the thermostat, together with the velocities that it starts from

    Raises
    ------
    ValueError
        If the potential's name is unknown, a number is not positive, or there is no GPU (nor Numba's simulator).
    ModuleNotFoundError
        If numba-cuda is not installed.
    """

    def __init__(
        self,
        potential: str = "force-shifted",
        timestep: float = 0.005,
        skin: float = 0.5,
        threads: int | None = None,
        replicas: int | None = None,
        launch: int = 40_000_000,
        save_every: float = 60.0,
        seed: int = 0,
    ) -> None:
        if timestep <= 0 or skin <= 0 or launch < 1 or (replicas or 1) < 1 or (threads or 1) < 1 or save_every < 0:
            raise ValueError(
                f"timestep {timestep}, skin {skin}, threads {threads}, replicas {replicas}, launch {launch}, "
                f"save_every {save_every}; expected positive numbers"
            )
        self.potential = check_potential(potential)
        self.timestep, self.skin, self.threads, self.launch, self.seed = timestep, skin, threads, launch, seed
        self.save_every = save_every
        self.cuda = kernels().cuda
        check_device(self.cuda)
        device = self.cuda.get_current_device()
        self.shared = 227 * 1024 if SIMULATED else device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        self.replicas = replicas or (2 if SIMULATED else 4 * device.MULTIPROCESSOR_COUNT)

    @property
    def name(self) -> str:
        """Engine, version and device, as written into data files."""
        device = "simulated" if SIMULATED else self.cuda.get_current_device().name
        return f"glasslit gpu {version()} ({device if isinstance(device, str) else device.decode()})"

    def energies_and_forces(
        self, positions: np.ndarray, types: np.ndarray, box: np.ndarray, precision: type = np.float32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Potential energy of each particle, shape (N,), epsilon_AA, and forces, shape (N, 3)."""
        state = _State(self, [(positions, types, box, np.zeros_like(positions))])
        force = self.cuda.to_device(np.zeros((1, 3, state.n), precision))
        energy = self.cuda.to_device(np.zeros((1, state.n), precision))
        state.launch(_built(precision, False).probe, (*state.lists(precision), force, energy))
        state.check()
        return state.unsort(energy.copy_to_host())[0], state.unsort(force.copy_to_host())[0]

    def minimize(
        self, positions: np.ndarray, types: np.ndarray, box: np.ndarray, tolerance: float = 1e-5
    ) -> np.ndarray:
        """Positions of the local energy minimum, unwrapped beside the given ones: :meth:`minimize_many` of one."""
        return self.minimize_many([(positions, types, box, np.zeros_like(positions))], tolerance)[0]

    def minimize_many(self, systems: Sequence[System], tolerance: float = 1e-5) -> list[np.ndarray]:
        """Positions of the local minimum that each system (positions, types, box, velocities) runs down to.

        FIRE from rest, all systems that can in one launch, each until it has arrived: max|F| is below ``tolerance``, as
        with :meth:`glasslit.simulate.lammps.LammpsEngine.minimize`. It goes in single precision as far as max|F| =
        :data:`COARSE`, which is most of the way, and from there in double, so that the minimum is as good as if all of
        it were double.

        Predicted, not measured: 16 x 4096 particles in one to three seconds of an H200 and some seconds of compiling.
        A liquid at T = 0.64 takes 1170 steps in single precision and 193 in double (counted on a CPU,
        benchmarks/results/gpu_counts.json); one step of one system took 0.55 ms on that card in single precision
        (rates of 845c5e4), and by its instructions takes two to four times as long in double.

        Raises
        ------
        RuntimeError
            If 100,000 steps in double precision do not bring every system to the tolerance.
        """
        result: list[Any] = [None] * len(systems)
        for members in alike([(s[1], s[2]) for s in systems], self.replicas):
            state = _State(self, [systems[k] for k in members])
            if tolerance < COARSE:
                state.minimize(np.float32, COARSE, FIRE_STEPS // 20)  # what does not arrive goes on in double precision
            left = state.minimize(np.float64, tolerance, FIRE_STEPS)
            if left:
                raise RuntimeError(
                    f"FIRE did not reach max|F| = {tolerance} in {FIRE_STEPS:,} steps "
                    f"for {left} of {len(members)} systems"
                )
            for k, displacements in zip(members, state.displacements(), strict=True):
                result[k] = systems[k][0] + displacements
        return result

    def thermalize(
        self,
        positions: np.ndarray,
        types: np.ndarray,
        box: np.ndarray,
        velocities: np.ndarray,
        temperatures: tuple[float, float],
        duration: float,
        damping: float = 2.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Langevin dynamics from the first temperature to the second; unwrapped positions and velocities at the end."""
        ((positions, velocities),) = self.thermalize_many(
            [(positions, types, box, velocities)], temperatures, duration, damping
        )
        return positions, velocities

    def thermalize_many(
        self,
        systems: Sequence[System],
        temperatures: tuple[float, float],
        duration: float,
        damping: float = 2.0,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """:meth:`thermalize` several systems (positions, types, box, velocities), those that can in one launch."""
        result: list[Any] = [None] * len(systems)
        for members in alike([(s[1], s[2]) for s in systems], self.replicas):
            state = _State(self, [systems[k] for k in members])
            state.advance(duration, temperatures, damping)
            for k, displacements, velocities in zip(members, state.displacements(), state.velocities(), strict=True):
                result[k] = systems[k][0] + displacements, velocities
        return result

    def run(self, runs: Sequence[Run], keep: Path | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Free (NVE) runs; yields (number of the run, displacements) as each batch of them ends.

        Runs of the same types, box and times go together, whatever their positions. Displacements have
        shape (T, N, 3), sigma_AA, unwrapped. With a folder to ``keep`` them in, runs under way are saved between
        launches, and a later call for all or some of them goes on from there, to the same bits.

        Raises
        ------
        ValueError
            If a system does not fit into a multiprocessor.
        RuntimeError
            If a particle runs away: two particles overlap, or the time step is too long.
        """
        for members in alike([(r.types, r.box, r.times) for r in runs], self.replicas):
            first = runs[members[0]]
            state = _State(self, [(runs[k].positions, first.types, first.box, runs[k].velocities) for k in members])
            results = np.empty((len(members), len(first.times), *first.positions.shape))
            kept = _Kept(keep, [runs[k].digest(self.potential, self.timestep) for k in members], self.save_every)
            begin, done = kept.restore(state, results)
            for k, interval in enumerate(np.diff(first.times, prepend=0.0)[begin:], start=begin):
                state.advance(interval, done=done, pause=partial(kept.save, state, results, k))
                done = 0
                results[:, k] = state.displacements()
            yield from zip(members, results, strict=True)
            kept.forget()


def threads_for(n: int) -> int:
    """Threads of a block that holds a system of n particles: one for each, up to the 1024 that a block may have.

    For every size and number of systems measured on an H200 (benchmarks/results/simulate_nvidia-h200.json) this was the
    fastest: 2.3 times as fast as 128 threads at N = 1000, 1.3 times as fast as 512 at N = 4096 with a system to a
    multiprocessor, and still ahead with two to each. More systems than multiprocessors do not ask for smaller blocks: a
    multiprocessor has registers for 1024 threads of these kernels, and takes one block after the other. Blocks of small
    systems are small, and it takes several at once.
    """
    return min(MOST_THREADS, 32 * -(-n // 32))


_BUILT: dict[tuple[type, bool], SimpleNamespace] = {}


def _built(real: type, thermostat: bool) -> SimpleNamespace:
    if (real, thermostat) not in _BUILT:
        _BUILT[real, thermostat] = kernels().build(real, thermostat)
    return _BUILT[real, thermostat]


class _State:
    """Systems of one size and mixture on the device."""

    def __init__(self, engine: GpuEngine, systems: Sequence[System]) -> None:
        self.engine, self.cuda, self.code = engine, engine.cuda, kernels()
        _, types, box, _ = systems[0]
        self.box = np.asarray(box, dtype=np.float64)
        self.n, self.systems = len(types), len(systems)
        table = pair_table(engine.potential)
        reach = np.sqrt(table[..., 2])
        # the depth of the cutoff: what the truncation adds to the energy of a pair
        c12, c6 = table[..., 0] / 12, table[..., 1] / 6
        depth = 0.0 if engine.potential == "unshifted" else c6 / reach**6 - c12 / reach**12
        lift = depth + reach * table[..., 3]
        longest = reach.max() + engine.skin
        self.cells = np.array([k if k >= 5 else 1 for k in (self.box / (longest / 2)).astype(int)], np.int32)
        self.on_chip = 4 * self.n + int(np.prod(self.cells)) + 2
        self._check_size()
        kinds = np.asarray(types)
        counts = np.array([(kinds == 0).sum(), (kinds != 0).sum()])
        # rows of four neighbors of each type: twice what the mean density asks for, and never more than there are
        mean = 4.2 * (reach.max(axis=0) + engine.skin) ** 3 * counts / np.prod(self.box)
        rows = np.ceil(np.minimum(2 * mean + 32, counts) / 4).astype(int)

        def d(array: np.ndarray) -> Any:
            return self.cuda.to_device(np.ascontiguousarray(array))

        self.rows, self.border = d(np.concatenate([[0], np.cumsum(rows)]).astype(np.int32)), np.int32(counts[0])
        full = np.concatenate([table, lift[..., None]], axis=-1)
        self.tables: dict[type, Any] = {real: d(full.astype(real)) for real in (np.float32, np.float64)}
        self.limits = d(((reach + engine.skin) ** 2).astype(np.float32))
        self.scale, self.cell_counts = d(self.box / BOX), d(self.cells)
        fixed = [to_fixed(positions, self.box) for positions, *_ in systems]
        self.order = np.stack([self._sorted(kinds, x) for x in fixed])
        x = np.stack([one[order].T for one, order in zip(fixed, self.order, strict=True)])
        self.x, self.reference = d(x), d(x)
        velocities = [v[order].T for (*_, v), order in zip(systems, self.order, strict=True)]
        self.v = d(np.stack(velocities).astype(np.float32))
        self.travelled = d(np.zeros(x.shape, np.int64))
        # a row more: what follows the last group is read, and not used
        self.words = self.cuda.device_array(self.systems * (int(rows.sum()) + 1) * self.n, np.uint64)
        self.counts = d(np.zeros(self.systems * 2 * self.n, np.uint16))
        self.wrong = d(np.zeros(self.systems, np.int32))

    def _sorted(self, types: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Particles by type, then by where they are: neighbors in space become neighbors in a warp.

        That changes no physics, only how often threads that run side by side want the same memory. It is done once,
        at the start; in a supercooled liquid neighbors stay neighbors for long.
        """
        cell = ((x.astype(np.int64) + 2**31) * self.cells) >> 32
        return np.lexsort((cell[:, 2], cell[:, 1], cell[:, 0], types))

    def _check_size(self) -> None:
        room = self.engine.shared - 24 * self.code.PARTS - 1024  # sums of FIRE; what CUDA keeps for itself
        if 4 * self.on_chip > room or self.n > 65535:
            raise ValueError(
                f"{self.n} particles need {4 * self.on_chip} bytes of on-chip memory; this device has {room} to a "
                f"block; expected at most about {room // 17} particles: use LammpsEngine for larger systems"
            )

    def lists(self, precision: type = np.float32) -> tuple[Any, ...]:
        """The arguments that all kernels share."""
        return (
            self.x, self.reference, self.travelled, self.scale, self.tables[precision], self.limits, self.border,
            self.rows, self.cell_counts, self.words, self.counts, self.wrong,
        )  # fmt: skip

    def launch(self, kernel: Any, arguments: tuple[Any, ...]) -> None:
        """One block for each system."""
        wanted = self.engine.threads or (8 if SIMULATED else threads_for(self.n))
        threads = min(self.n, wanted) if SIMULATED else min(MOST_THREADS, 32 * -(-wanted // 32))
        if not SIMULATED:
            allow_shared(kernel, arguments, 4 * self.on_chip)
        with quietly():
            kernel[self.systems, threads, 0, 4 * self.on_chip](*arguments)

    def advance(
        self,
        duration: float,
        heat: tuple[float, float] | None = None,
        damping: float = 2.0,
        *,
        done: int = 0,
        pause: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Whole steps, none longer than the time step, that end exactly at ``duration``.

        The first ``done`` of them were made before; ``pause`` is told after each launch how many that is by then.
        """
        engine = self.engine
        steps, dt = whole_steps(duration, engine.timestep)
        kernel, random = _built(np.float32, heat is not None).advance, None
        start, slope = (heat[0], (heat[1] - heat[0]) / steps) if heat else (0.0, 0.0)
        seed = int.from_bytes(hashlib.sha256(self.v.copy_to_host().tobytes()).digest()[:6], "little") ^ engine.seed
        random = self.cuda.random.create_xoroshiro128p_states(self.systems * self.n if heat else 1, seed=seed)
        chunk = max(1, engine.launch // self.n)
        for begin in range(done, steps, chunk):
            temperatures = self.cuda.to_device(np.array([start + begin * slope, slope], np.float32))
            arguments = (
                min(chunk, steps - begin), np.float32(dt), np.float32(engine.skin), np.float32(np.exp(-dt / damping)),
                temperatures, self.v, random, *self.lists(),
            )  # fmt: skip
            self.launch(kernel, arguments)
            self.check()
            pause(min(begin + chunk, steps))

    def minimize(self, precision: type, tolerance: float, most: int) -> int:
        """FIRE from rest until the largest force of every system is below the tolerance; how many did not arrive."""
        self.wrong = self.cuda.to_device(np.full(self.systems, self.code.NOT_DONE, np.int32))
        both = self.cuda.to_device(np.zeros((self.systems, 6, self.n), precision))  # velocities and forces
        parts = self.cuda.to_device(np.zeros((self.systems, 3, self.n)))
        fire = self.cuda.to_device(np.tile([0.005, 0.1, 0.0, 0.0], (self.systems, 1)))
        kernel, left = _built(precision, False).fire, self.systems
        chunk = max(1, self.engine.launch // self.n // 4)
        for done in range(0, most, chunk):
            steps = min(chunk, most - done)
            self.launch(
                kernel, (steps, tolerance, np.float32(self.engine.skin), both, fire, parts, *self.lists(precision))
            )
            left = self.check()
            if not left:
                break
        self.fire_steps = fire.copy_to_host()[:, 3].astype(int)
        return left

    def check(self) -> int:
        """How many systems still have to go on; errors are raised."""
        wrong = self.wrong.copy_to_host()
        if (wrong & self.code.RAN_AWAY).any() or not np.isfinite(self.v.copy_to_host()).all():
            raise ran_away(self.engine.skin / 2)
        if (wrong & self.code.FULL).any():
            raise RuntimeError("a neighbor list is full: the density is very uneven; expected a liquid")
        return int(((wrong & self.code.NOT_DONE) != 0).sum())

    def velocities(self) -> np.ndarray:
        """Velocity of each particle, shape (systems, N, 3)."""
        return self.unsort(self.v.copy_to_host()).astype(np.float64)

    def displacements(self) -> np.ndarray:
        """Unwrapped displacement since the start, shape (systems, N, 3), sigma_AA."""
        return self.unsort(self._moved()) * (self.box / BOX)

    def _moved(self) -> np.ndarray:
        since = self.x.copy_to_host() - self.reference.copy_to_host()  # wraps, as it should
        return self.travelled.copy_to_host() + since

    def snapshot(self) -> dict[str, np.ndarray]:
        """All that a launch starts from: it makes its lists anew."""
        return {"x": self.x.copy_to_host(), "v": self.v.copy_to_host(), "moved": self._moved()}

    def restore(self, x: np.ndarray, v: np.ndarray, moved: np.ndarray) -> None:
        """Go back to a :meth:`snapshot`."""
        for array, values in ((self.x, x), (self.reference, x), (self.v, v), (self.travelled, moved)):
            array.copy_to_device(np.ascontiguousarray(values))

    def unsort(self, values: np.ndarray) -> np.ndarray:
        """From the device's order of particles to the caller's: (systems, N), or (systems, 3, N) to (systems, N, 3)."""
        values = np.moveaxis(values, -1, 1)
        result = np.empty_like(values)
        for own, order, value in zip(result, self.order, values, strict=True):
            own[order] = value
        return result


class _Kept:
    """The runs under way, in a file between launches: what hours of a GPU have made outlives the process."""

    def __init__(self, folder: Path | None, digests: Sequence[str], every: float) -> None:
        self.path = folder / "gpu-state.npz" if folder else None
        self.digests, self.every, self.last = np.array(digests), every, time.monotonic()

    def save(self, state: _State, results: np.ndarray, intervals: int, steps: int) -> None:
        """How many intervals between times are over, and how many steps of the next."""
        if self.path and time.monotonic() - self.last >= self.every:
            position = np.array([intervals, steps])
            write(
                self.path, **state.snapshot(), results=results[:, :intervals], digests=self.digests, position=position
            )
            self.last = time.monotonic()

    def restore(self, state: _State, results: np.ndarray) -> tuple[int, int]:
        """Intervals and steps that these runs have behind them; none where the file is of others."""
        found = read(self.path) if self.path else None
        if found is None or not np.isin(self.digests, found["digests"]).all():
            return 0, 0
        rows = [list(found["digests"]).index(digest) for digest in self.digests]
        state.restore(*(found[name][rows] for name in ("x", "v", "moved")))
        intervals, steps = found["position"].tolist()
        results[:, :intervals] = found["results"][rows]
        return intervals, steps

    def forget(self) -> None:
        """The runs are finished, and in their caller's hands."""
        if self.path:
            self.path.unlink(missing_ok=True)
