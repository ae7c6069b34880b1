"""The lane engine: sixteen isoconfigurational runs at once in the vector lanes of one processor core.

Runs of one ensemble share their particles' neighborhoods for as long as the liquid remembers its start.
So lane r of every vector register holds run r, one neighbor list serves all sixteen (a pair is in it if it is
close in any run), and nothing has to be gathered: where a single run has to collect neighbors from all over
memory, here each load brings one neighbor of sixteen runs. Forces need half of the pairs only, as lanes never
collide.

Positions are 32-bit fractions of the box: their difference wraps around as the minimum image does, and
displacements are sums of integers, exact however long the run. Forces and velocities are single precision. A
run's result does not depend on which other runs it shared its vectors with, bit for bit. Integrator and time
steps are those of :mod:`~glasslit.simulate.lammps`, which also minimizes and thermalizes.

Loops are compiled by Numba, vector instructions come from its LLVM (``pip install glasslit[md]``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from pathlib import Path
from types import ModuleType

import numpy as np

from ..provenance import version
from .fixed import ALIGNMENT, BOX, LANES, pair_table, to_fixed
from .lammps import LammpsEngine
from .run import Run, alike, ran_away, whole_steps

LARGEST = 32768
"""Most particles that the engine takes."""


def compiled() -> ModuleType:
    """The loops (:mod:`~glasslit.simulate.lane_code`); compiled at first use and kept in Numba's cache.

    Where Numba can write to no folder, each process compiles for itself, which the logger ``glasslit.simulate`` tells;
    ``NUMBA_CACHE_DIR`` names a folder.

    Raises
    ------
    ModuleNotFoundError
        If Numba is not installed.
    """
    try:
        from . import lane_code
    except ImportError as error:
        raise ModuleNotFoundError(
            f"simulating needs Numba, which is not installed here ({error}): pip install 'glasslit[md]' (in a "
            "checkout: pip install -c constraints.txt -e '.[md]')"
        ) from error
    return lane_code


class LaneEngine(LammpsEngine):
    """Kob-Andersen ensembles, sixteen runs to a core. Minimizing and thermalizing are left to LAMMPS.

    Parameters
    ----------
    potential : truncation, one of :data:`glasslit.liquid.kob_andersen.POTENTIALS`
    timestep : longest time step of velocity Verlet, Lennard-Jones time units
    workers : threads side by side in :meth:`run`; by default one per core
    skin, outer_skin : how far beyond the cutoff the two neighbor lists reach, sigma_AA; they decide the speed only

    Raises
    ------
    ValueError
        If the potential's name is unknown or a number is not positive.

    Notes
    -----
    The outer neighbor list looks at all pairs, so that cost grows as N^2 beyond some ten thousand particles.
    """

    def __init__(
        self,
        potential: str = "force-shifted",
        timestep: float = 0.005,
        workers: int | None = None,
        skin: float = 0.3,
        outer_skin: float = 1.0,
    ) -> None:
        super().__init__(potential, timestep, workers)
        if not 0 < skin < outer_skin:
            raise ValueError(f"skin {skin}, outer_skin {outer_skin}; expected 0 < skin < outer_skin")
        self.skin, self.outer_skin = skin, outer_skin

    @property
    def name(self) -> str:
        """Engine and version, as written into data files."""
        return f"glasslit lanes {version()} ({super().name})"

    def run(self, runs: Sequence[Run], keep: Path | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Free (NVE) runs; yields (number of the run, displacements) as each batch of sixteen ends.

        Runs that start from the same positions and look at the same times go together. Displacements have
        shape (T, N, 3), sigma_AA, unwrapped. Nothing is put into ``keep``: a batch takes minutes.

        Raises
        ------
        RuntimeError
            If a particle runs away: two particles overlap, or the time step is too long.
        """
        compiled()  # here, not in every thread
        stop = threading.Event()
        with ThreadPoolExecutor(self.workers) as pool:
            groups = alike([(run.positions, run.types, run.box, run.times) for run in runs], LANES)
            groups.sort(key=lambda members: -runs[members[0]].times[-1] * len(runs[members[0]].types))  # longest first
            batches = [pool.submit(self._run_batch, runs, members, stop) for members in groups]
            try:
                for batch in as_completed(batches):
                    yield from batch.result()
            finally:
                stop.set()  # interrupted, or nobody asks for the rest
                pool.shutdown(cancel_futures=True)

    def _run_batch(
        self, runs: Sequence[Run], members: list[int], stop: threading.Event
    ) -> list[tuple[int, np.ndarray]]:
        first = runs[members[0]]
        batch = Batch(self, first.positions, [runs[k].velocities for k in members], first.types, first.box)
        batch.stop = stop
        results = np.empty((len(members), len(first.times), *first.positions.shape))
        for k, interval in enumerate(np.diff(first.times, prepend=0.0)):
            batch.advance(interval)
            results[:, k] = batch.displacements()
        return list(zip(members, results, strict=True))


class Batch:
    """Up to sixteen runs of one system, in the lanes of vectors.

    Parameters
    ----------
    engine : says potential, time step and skins
    positions : shape (N, 3), where all begin
    velocities : at most sixteen arrays of shape (N, 3)
    types, box : shapes (N,) and (3,)
    """

    def __init__(
        self,
        engine: LaneEngine,
        positions: np.ndarray,
        velocities: Sequence[np.ndarray],
        types: np.ndarray,
        box: np.ndarray,
    ) -> None:
        n = len(types)
        if not 1 <= len(velocities) <= LANES:
            raise ValueError(f"{len(velocities)} sets of velocities; expected 1 to {LANES}")
        if n > LARGEST:
            raise ValueError(f"{n} particles; expected at most {LARGEST} for the lane engine: use LammpsEngine")
        self.engine, self.runs, self.stop = engine, len(velocities), threading.Event()
        self.order = np.argsort(types, kind="stable")  # A first: then a list sorted by number is sorted by type
        self.types = np.asarray(types, dtype=np.int64)[self.order]
        self.box = np.asarray(box, dtype=np.float64)
        self.scale = (self.box / BOX).astype(np.float32)
        self.x, self.v, self.f = (_aligned((n, 3, LANES), kind) for kind in (np.int32, np.float32, np.float32))
        self.x[:] = to_fixed(positions, self.box)[self.order, :, None]
        for lane in range(LANES):  # lanes without a run of their own repeat the first: that costs no neighbors
            self.v[:, :, lane] = velocities[lane if lane < self.runs else 0][self.order]
        self.references = _aligned(self.x.shape, np.int32), _aligned(self.x.shape, np.int32)
        self.references[0][:] = self.x
        self.travelled = np.zeros(self.x.shape, np.int64)
        table = pair_table(engine.potential)
        reach = np.sqrt(table[..., 2])
        self.table = table.astype(np.float32)
        self.limits = tuple(((reach + skin) ** 2).astype(np.float32) for skin in (engine.outer_skin, engine.skin))
        # room for all pairs; memory that is never written is never really taken
        self.outer, self.inner = (
            (np.zeros((n, 3), np.int64), np.empty(n * (n - 1) // 2 + 1, np.int32)) for _ in range(2)
        )
        self.room = np.float32((engine.outer_skin - engine.skin) / 2)
        code = compiled()
        code.all_pairs(self.x, self.types, self.scale, self.limits[0], *self.outer)
        code.prune(self.x, self.types, self.scale, self.limits[1], *self.outer, *self.inner)
        self.references[1][:] = self.x
        self.forces()

    def forces(self) -> np.ndarray:
        """Force on each particle in each run, shape (runs, N, 3), epsilon_AA / sigma_AA, single precision."""
        compiled().forces(self.x, self.f, self.types, self.scale, self.table, *self.inner)
        return self._by_run(self.f)

    def velocities(self) -> np.ndarray:
        """Velocity of each particle in each run, shape (runs, N, 3)."""
        return self._by_run(self.v)

    def displacements(self) -> np.ndarray:
        """Unwrapped displacement since the start, shape (runs, N, 3), sigma_AA."""
        since = self.x - self.references[0]  # wraps, as it should
        return self._by_run(self.travelled + since) * (self.box / BOX)

    def advance(self, duration: float) -> None:
        """Velocity Verlet in whole steps, none longer than the time step, that end exactly at ``duration``."""
        steps, dt = whole_steps(duration, self.engine.timestep)
        chunk = 1 + 4_000_000 // len(self.types) // LANES  # a fraction of a second
        for done in range(0, steps, chunk):
            if self.stop.is_set():
                raise CancelledError
            state = compiled().advance(
                min(chunk, steps - done), dt, np.float32(self.engine.skin), self.room, self.x, self.v, self.f,
                self.types, self.scale, self.table, self.limits, self.travelled, self.references,
                self.outer, self.inner,
            )  # fmt: skip
            if state == compiled().RAN_AWAY:
                raise ran_away(self.engine.skin / 2)

    def _by_run(self, array: np.ndarray) -> np.ndarray:
        result = np.empty((self.runs, *array.shape[:2]), array.dtype)
        result[:, self.order] = np.moveaxis(array, -1, 0)[: self.runs]
        return result


def _aligned(shape: tuple[int, ...], kind: type) -> np.ndarray:
    """Zeros that begin where a vector register wants to load."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(kind).reshape(shape)
