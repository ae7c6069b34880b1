"""The GPU engine: one system to each multiprocessor's on-chip memory, a hundred and more advancing side by side.

An isoconfigurational ensemble is many independent copies of one small system. Programs that spread one system over a
whole GPU leave most of it idle at 4096 particles and synchronize all of it in every step. Here a thread
block holds a whole system, so a step needs no more than a barrier inside the block, and a GPU of 132 multiprocessors
runs hundreds of systems in one launch. :mod:`~glasslit.simulate.gpu_code` has the kernels.

Positions are 32-bit fractions of the box (:mod:`~glasslit.simulate.fixed`), displacements sums of integers,
velocities and forces single precision; FIRE works in double precision. Numba compiles at first use
(``pip install glasslit[gpu]``); it was taken rather than CuPy because its simulator runs the same source without a
GPU, which the tests do.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from ..liquid.kob_andersen import check_potential
from ..provenance import version
from .files import read, write
from .fixed import BOX, SIMULATED, pair_table, to_fixed
from .run import Run, System, alike, ran_away, whole_steps


def _kernels() -> ModuleType:
    if find_spec("numba_cuda") is None:  # Numba has a numba.cuda of its own, which is not enough
        raise ModuleNotFoundError(
            "simulating on a GPU needs numba-cuda, which is not installed here: pip install 'glasslit[gpu]'"
        )
    from . import gpu_code

    return gpu_code


class GpuEngine:
    """Kob-Andersen molecular dynamics, a whole system to a thread block.

    Parameters
    ----------
    potential : truncation, one of :data:`glasslit.liquid.kob_andersen.POTENTIALS`
    timestep : longest time step of velocity Verlet, Lennard-Jones time units
    skin : how far beyond the cutoff the neighbor lists reach, sigma_AA; decides the speed only
    threads : threads of a block, by default one for eight particles
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
        skin: float = 0.35,
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
        self.cuda = _kernels().cuda
        if not self.cuda.is_available():
            raise ValueError("there is no CUDA device here; expected one: use the lane engine on CPUs")
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
        state.launch(_built(precision, False).probe, state.lists(force, energy))
        state.check()
        return state.unsort(energy.copy_to_host()[0]), state.unsort(force.copy_to_host()[0].T)

    def minimize(
        self, positions: np.ndarray, types: np.ndarray, box: np.ndarray, tolerance: float = 1e-5
    ) -> np.ndarray:
        """Positions of the local energy minimum (FIRE, double precision), unwrapped beside the given ones.

        Settings are those of :meth:`glasslit.simulate.lammps.LammpsEngine.minimize`.

        Raises
        ------
        RuntimeError
            If 100,000 steps do not reach the tolerance.
        """
        state = _State(self, [(positions, types, box, np.zeros_like(positions))])
        both = self.cuda.to_device(np.zeros((1, 6, state.n)))  # velocities and forces
        fire = self.cuda.to_device(np.array([[0.005, 0.1, 0.0]]))
        state.wrong = self.cuda.to_device(np.array([state.code.NOT_DONE], np.int32))
        kernel, chunk = _built(np.float64, False).fire, max(1, self.launch // state.n // 4)
        for _ in range(0, 100_000, chunk):
            arguments = (chunk, tolerance, np.float32(self.skin), state.x, both, fire, *state.lists()[1:])
            state.launch(kernel, arguments)
            if not state.check(waiting=True):
                return positions + state.displacements()[0]
        raise RuntimeError(f"FIRE did not reach max|F| = {tolerance} in 100,000 steps")

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


_BUILT: dict[tuple[type, bool], SimpleNamespace] = {}


def _built(real: type, thermostat: bool) -> SimpleNamespace:
    if (real, thermostat) not in _BUILT:
        _BUILT[real, thermostat] = _kernels().build(real, thermostat)
    return _BUILT[real, thermostat]


class _State:
    """Systems of one size and mixture on the device."""

    def __init__(self, engine: GpuEngine, systems: Sequence[System]) -> None:
        self.engine, self.cuda, self.code = engine, engine.cuda, _kernels()
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
        self.on_chip = 4 * self.n + int(np.prod(self.cells)) + 1
        self._check_size()
        self.order = np.argsort(types, kind="stable")
        kinds = len(table)
        first = np.searchsorted(np.asarray(types)[self.order], np.arange(kinds + 1)).astype(np.int32)
        # list rows for neighbors of each type: twice what the mean density asks for, and never more than there are
        density = np.diff(first) / np.prod(self.box)
        mean = 4.2 * (reach.max(axis=0) + engine.skin) ** 3 * density
        rows = 4 * np.ceil(np.minimum(2 * mean + 32, np.diff(first)) / 4).astype(int)

        def d(array: np.ndarray) -> Any:
            return self.cuda.to_device(np.ascontiguousarray(array))

        self.rows, self.first = d(np.concatenate([[0], np.cumsum(rows)]).astype(np.int32)), d(first)
        self.table = d(np.concatenate([table, lift[..., None]], axis=-1))
        self.limits = d(((reach + engine.skin) ** 2).astype(np.float32))
        self.scale, self.cell_counts = d(self.box / BOX), d(self.cells)
        x = np.stack([to_fixed(positions, self.box)[self.order].T for positions, *_ in systems])
        self.x, self.reference = d(x), d(x)
        self.v = d(np.stack([v[self.order].T for *_, v in systems]).astype(np.float32))
        self.travelled = d(np.zeros(x.shape, np.int64))
        entries = (self.systems * int(rows.sum()) + 4) * self.n  # four rows more: the last group's successor is read
        self.words = self.cuda.device_array(entries // 4, np.uint64)
        self.neighbors = self.words.view(np.uint16)
        self.counts = d(np.zeros((self.systems, kinds, self.n), np.uint16))
        self.wrong = d(np.zeros(self.systems, np.int32))

    def _check_size(self) -> None:
        room = self.engine.shared - 8 * self.code.SUMS - 1024  # sums of FIRE; what CUDA keeps for itself
        if 4 * self.on_chip > room or self.n > 65535:
            raise ValueError(
                f"{self.n} particles need {4 * self.on_chip} bytes of on-chip memory; this device has {room} to a "
                f"block; expected at most about {room // 17} particles: use LammpsEngine for larger systems"
            )

    def lists(self, *more: Any) -> tuple[Any, ...]:
        """The arguments that all kernels share, and more after them."""
        return (
            self.x, self.reference, self.travelled, self.scale, self.table, self.limits, self.first, self.rows,
            self.cell_counts, self.neighbors, self.words, self.counts, self.wrong, *more,
        )  # fmt: skip

    def launch(self, kernel: Any, arguments: tuple[Any, ...]) -> None:
        """One block for each system."""
        wanted = self.engine.threads or -(-self.n // 8)
        threads = min(self.code.SUMS, 32 * -(-wanted // 32))
        if SIMULATED:
            threads = min(self.n, self.engine.threads or 8)
        else:
            _allow_shared(kernel, arguments, 4 * self.on_chip)
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
                temperatures, self.x, self.v, *self.lists()[1:], random,
            )  # fmt: skip
            self.launch(kernel, arguments)
            self.check()
            pause(min(begin + chunk, steps))

    def check(self, waiting: bool = False) -> bool:
        """Whether any system still has to go on; errors are raised."""
        wrong = int(np.bitwise_or.reduce(self.wrong.copy_to_host()))
        if wrong & self.code.RAN_AWAY or not np.isfinite(self.v.copy_to_host()).all():
            raise ran_away(self.engine.skin / 2)
        if wrong & self.code.FULL:
            raise RuntimeError("a neighbor list is full: the density is very uneven; expected a liquid")
        return bool(waiting and wrong & self.code.NOT_DONE)

    def velocities(self) -> np.ndarray:
        """Velocity of each particle, shape (systems, N, 3)."""
        return np.stack([self.unsort(v.T) for v in self.v.copy_to_host()]).astype(np.float64)

    def displacements(self) -> np.ndarray:
        """Unwrapped displacement since the start, shape (systems, N, 3), sigma_AA."""
        return np.stack([self.unsort(m.T) for m in self._moved()]) * (self.box / BOX)

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
        """From the device's order of particles, by type, to the caller's."""
        result = np.empty_like(values)
        result[self.order] = values
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


def _allow_shared(kernel: Any, arguments: tuple[Any, ...], bytes_: int) -> None:
    """Let the kernel use more than the 48 KiB of dynamic shared memory that CUDA grants unasked.

    Numba has no public way to ask for it (github.com/NVIDIA/numba-cuda/issues/94).
    """
    from numba.cuda.cudadrv.driver import binding, driver

    compiled = kernel.specialize(*arguments) if not kernel.overloads else kernel
    for overload in compiled.overloads.values():
        function = overload._codelibrary.get_cufunc()
        attribute = binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        driver.cuKernelSetAttribute(attribute, bytes_, function.handle, function.device.id)
