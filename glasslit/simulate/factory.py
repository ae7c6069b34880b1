r"""The factory: from a starting configuration to a finished, labelled one, and many of them side by side.

One configuration is one piece of work that depends on nothing else. Its steps leave files (frames of
the equilibration, runs, the quench, the result), so that whoever takes it up again, in this process or on
another machine, goes on where the last one stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ..data.store import load, save
from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import WAVE_NUMBER, check_potential
from ..locks import end_with_parent
from ..writing import read_json
from ..writing import write as write_file
from .engines import make_engine, resolve
from .files import read, write
from .protocol import (
    Progress,
    check_box,
    check_trajectories,
    collect,
    digest_of_start,
    label,
    maxwell_boltzmann,
    potential_energies,
)
from .run import Engine

HOT = 2.0
"""Temperature at which a lattice melts."""


@dataclass(frozen=True)
class Recipe:
    """How a configuration is made.

    Parameters
    ----------
    temperature : epsilon_AA / k_B
    times : when to measure, Lennard-Jones time units
    n_trajectories : isoconfigurational runs, an even number
    segment, segments : equilibration: duration of one segment, Lennard-Jones time units, and their number; 0 where
        the start is in equilibrium already
    melt : duration of a linear cooling from T = 2 before that, for a start that never was a liquid, or one of another
        temperature: heated directly, a deeply supercooled liquid keeps its memory beyond five tau_alpha
    potential : truncation, one of :data:`glasslit.liquid.kob_andersen.POTENTIALS`
    engine : one of :data:`glasslit.simulate.engines.ENGINES`
    seed : of all velocities
    covariance : whether labels have the covariance of each displacement over the runs, too

    Raises
    ------
    ValueError
        If a number cannot be meant.
    """

    temperature: float
    times: tuple[float, ...]
    n_trajectories: int = 32
    segment: float = 0.0
    segments: int = 0
    melt: float = 0.0
    potential: str = "force-shifted"
    engine: str = "auto"
    seed: int = 0
    covariance: bool = False

    def __post_init__(self) -> None:
        check_potential(self.potential)
        check_trajectories(self.n_trajectories)
        if not self.temperature > 0 or self.segments < 0 or (self.segments and not self.segment > 0) or self.melt < 0:
            raise ValueError(
                f"temperature {self.temperature}, {self.segments} segments of {self.segment}, melt {self.melt}; "
                "expected a positive temperature and durations that are not negative"
            )
        if self.melt and not self.segments:
            raise ValueError("a start that has to melt, and no equilibration after it; expected some segments")


@dataclass(frozen=True)
class Order:
    """One configuration to be made: from where, how, and where its files lie."""

    start: Configuration
    recipe: Recipe
    folder: Path
    seed: int

    @property
    def part(self) -> Path:
        """The finished configuration."""
        return self.folder / "configuration.h5"

    def steps(self) -> int:
        """How many files its making leaves behind, the finished configuration included."""
        return bool(self.recipe.melt) + self.recipe.segments + self.recipe.n_trajectories + 1

    def done(self) -> int:
        """How many of them are there."""
        return sum(1 for pattern in ("frame*.npz", "*/run*.npz", self.part.name) for _ in self.folder.glob(pattern))


def lattice(n: int, fraction_b: float = 0.2, density: float = 1.2, seed: int = 0) -> Configuration:
    """A start from nothing: n particles on a cubic lattice with gaps, types dealt at random. It has to melt.

    Parameters
    ----------
    n : number of particles
    fraction_b : part of them that is of type B
    density : particles per sigma_AA^3
    seed : who sits where

    Raises
    ------
    ValueError
        If a number cannot be meant.

    Examples
    --------
    >>> lattice(1000)
    Configuration(N=1000 (800 A, 200 B), box=[9.41, 9.41, 9.41], density=1.2)
    """
    if n < 1 or not 0 <= fraction_b <= 1 or not density > 0:
        raise ValueError(
            f"{n} particles, a fraction {fraction_b} of them B, density {density}; expected at least one particle, a "
            "fraction from 0 to 1 and a positive density"
        )
    rng = np.random.default_rng(seed)
    edge, sites = (n / density) ** (1 / 3), int(np.ceil(round(n ** (1 / 3), 9)))
    grid = np.stack(np.meshgrid(*[np.arange(sites)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    positions = (rng.permutation(grid)[:n] + rng.uniform(0.45, 0.55, size=(n, 3))) * edge / sites
    types = np.zeros(n, dtype=np.int8)
    types[rng.permutation(n)[: round(fraction_b * n)]] = 1
    return Configuration(positions=positions, types=types, box=np.full(3, edge))


def orders(
    starts: Sequence[Configuration],
    recipe: Recipe,
    count: int,
    folder: str | Path,
    *,
    held_out: tuple[int, int] = (2, 2),
) -> list[Order]:
    """What to make: ``count`` configurations from the starts, and who trains with which.

    Each start is used once, then those of the training split again, with other velocities. The last
    starts are the test ones, those before them validate: no start is in two splits.

    Parameters
    ----------
    starts : where to begin
    recipe : for all of them
    count : how many
    folder : where everything is kept
    held_out : validation and test configurations

    Raises
    ------
    ValueError
        If there are too few starts for three splits, fewer configurations than starts, or a box too small.
    """
    for start in starts:
        check_box(start.box, recipe.potential)
    n, (n_val, n_test) = len(starts), held_out
    n_train = n - n_val - n_test
    if n_train < 1 or count < n:
        raise ValueError(
            f"{n} starts, {n_val} to validate, {n_test} to test, {count} configurations; expected at least one start "
            "left for training and a configuration from each: give more starts, or hold out fewer"
        )
    splits = ["train"] * n_train + ["val"] * n_val + ["test"] * n_test
    which = [k if k < n else (k - n) % n_train for k in range(count)]
    return [
        Order(
            starts[w].replace(split=splits[w])
            if recipe.segments
            else starts[w].replace(split=splits[w], temperature=recipe.temperature),
            recipe,
            Path(folder) / f"T{recipe.temperature:.2f}-{k:04d}",
            recipe.seed + k,
        )
        for k, w in enumerate(which)
    ]


def produce(work: Sequence[Order]) -> list[Path]:
    """Make some configurations of one recipe, or what is left of them; their files. What a worker does.

    Raises
    ------
    ValueError
        If a folder holds pieces made with other settings.
    RuntimeError
        If the simulation fails, with the place named.
    """
    for order in work:
        _claim(order)
    left = [order for order in work if not order.part.is_file()]
    if left:
        recipe = left[0].recipe
        engine = make_engine(recipe.engine, recipe.potential, workers=1)
        try:
            starts = settle(left, engine) if recipe.segments else [order.start for order in left]
            job = (starts, recipe.times, recipe.n_trajectories, [order.folder for order in left])
            list(label(*job, seed=recipe.seed, engine=engine))  # all that it yields is how far it is
            labelled = collect(*job, seed=recipe.seed, engine=engine, covariance=recipe.covariance)
            for order, finished in zip(left, labelled, strict=True):
                save(order.part, [finished], name=order.folder.name)
        except RuntimeError as error:
            raise RuntimeError(f"{', '.join(order.folder.name for order in left)}: {error}") from None
    return [order.part for order in work]


def _claim(order: Order) -> None:
    """Refuse a folder that was begun with other settings; the covariance came later, and counts if it is asked for."""
    recipe = {k: v for k, v in asdict(order.recipe).items() if k != "engine" and (k, v) != ("covariance", False)}
    told = {"recipe": recipe, "seed": order.seed, "start": digest_of_start(order.start)}
    path, text = order.folder / "recipe.json", json.dumps(told, indent=1)
    if not path.is_file():
        write_file(path, text, together=True)
    elif read_json(path, "delete its folder, and what is in it is made again") != json.loads(text):
        raise ValueError(
            f"{order.folder} was begun with other settings ({path.name} tells which); expected the same ones, or "
            "another folder: name one, or delete this one"
        )


def manufacture(
    work: Sequence[Order], *, workers: int | None = None, executor: Executor | None = None, patience: float = 1.0
) -> Iterator[Progress]:
    """Make every configuration; resumable. :func:`assemble` then writes one file.

    A failing configuration does not stop the others. Without an executor, configurations are
    made in processes side by side, and a process that dies is replaced.

    Parameters
    ----------
    work : what to make
    workers : processes; by default one per core
    executor : where to send the work instead, for instance a Dask client's ``get_executor()``; its workers
        must see the orders' folders
    patience : seconds between two looks at the folders

    Yields
    ------
    :class:`~glasslit.simulate.protocol.Progress`, counted in pieces (frames, runs, configurations).

    Raises
    ------
    RuntimeError
        At the end, if some could not be made: it names them and says why.
    """
    total, begun = sum(order.steps() for order in work), time.monotonic()
    already = sum(order.done() for order in work)

    def progress() -> Progress:
        done = sum(order.done() for order in work)
        rate = (done - already) / (time.monotonic() - begun)
        return Progress(done, total, (total - done) / rate if rate else float("nan"))

    own = executor is None
    for order in work:
        _claim(order)
    left, failed, deaths = [order for order in work if not order.part.is_file()], {}, 0
    waiting = [[order] for order in left]
    if any(resolve(order.recipe.engine) == "gpu" for order in left):  # which makes many at once
        recipes = {id(order.recipe): order.recipe for order in left}.values()
        waiting, workers = [[order for order in left if order.recipe is recipe] for recipe in recipes], 1
    while waiting:
        pool = executor or ProcessPoolExecutor(
            workers or os.cpu_count() or 1,
            mp_context=get_context("spawn"),
            initializer=end_with_parent,
            initargs=(os.getpid(),),
        )
        futures = {pool.submit(produce, group): group for group in waiting}
        try:
            pending: set[Future[list[Path]]] = set(futures)
            while pending:
                _, pending = wait(pending, timeout=patience)
                yield progress()
        finally:
            if own:
                pool.shutdown(cancel_futures=True)
        again = []
        died = 0
        for future, group in futures.items():
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                again.append(group)
                died += len(group)
            elif error is not None and len(group) > 1:
                again += [[order] for order in group]  # to find out which one it is
            elif error is not None:
                failed[group[0].folder.name] = error
        deaths += bool(died)
        if deaths > 3:
            raise RuntimeError(
                f"worker processes died {deaths} times (out of memory?) with {died} configurations left "
                f"({', '.join(order.folder.name for group in again for order in group)}); "
                "finished pieces are kept: the same command with fewer workers goes on"
            )
        waiting = again
    if failed:
        reasons: dict[str, list[str]] = {}
        for name, error in failed.items():
            reasons.setdefault(str(error), []).append(name)
        told = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
        raise RuntimeError(f"{len(failed)} of {len(work)} configurations failed: {told}. Finished pieces are kept")
    yield Progress(total, total, 0.0)


def assemble(
    work: Sequence[Order], out: str | Path, *, name: str, licence: str, citation: str, compact: bool = False
) -> Path:
    """The finished configurations in one file, by temperature and order. Options as in :func:`glasslit.save`.

    Raises
    ------
    ValueError
        If one is missing.
    """
    missing = [order.folder.name for order in work if not order.part.is_file()]
    if missing:
        raise ValueError(f"{len(missing)} configurations are missing, {missing[0]} among them; make them first")
    return save(
        out,
        [c for order in work for c in load(order.part)],
        name=name,
        licence=licence,
        citation=citation,
        compact=compact,
    )


def settle(work: Sequence[Order], engine: Engine) -> list[Configuration]:
    """Equilibrate in segments (NVT), with a file for each; resumable.

    Fresh velocities are drawn for each order.

    Parameters
    ----------
    work : orders of one recipe
    engine : that of the recipe

    Returns
    -------
    Configurations without labels. Their ``equilibration`` has one row for each segment: time, potential energy per
    particle at its end, F_s(k = 7.2) of A between its ends.
    """
    recipe = work[0].recipe
    states, digests = [], []
    records: list[list[list[float]]] = [[] for _ in work]
    for order in work:
        check_box(order.start.box, engine.potential)
        content = digest_of_start(order.start)
        rng = np.random.default_rng([order.seed, int(content[:16], 16)])
        velocities = maxwell_boltzmann(order.start.n_particles, recipe.temperature, rng)
        states.append((order.start.positions, velocities))
        digests.append(
            f"{content} {recipe.temperature!r} {recipe.segment!r} {order.seed} {engine.potential} {engine.timestep!r}"
            + (f" {recipe.melt!r}" if recipe.melt else "")
        )
    stages = [(f"frame{number:02d}.npz", recipe.temperature, recipe.segment) for number in range(recipe.segments)]
    if recipe.melt:
        stages.insert(0, ("frame-melt.npz", HOT, recipe.melt))
    for number, (name, begin, duration) in enumerate(stages, start=1 - bool(recipe.melt)):
        kept = [read(order.folder / name) for order in work]
        missing = [k for k, frame in enumerate(kept) if frame is None or str(frame["digest"]) != digests[k]]
        systems = [(states[k][0], work[k].start.types, work[k].start.box, states[k][1]) for k in missing]
        if number == 0:
            systems = [
                (
                    x if work[k].start.temperature else engine.minimize(x, types, box),
                    types,
                    box,
                    v,
                )  # a lattice is tight
                for k, (x, types, box, v) in zip(missing, systems, strict=True)
            ]
        made = engine.thermalize_many(systems, (begin, recipe.temperature), duration)
        for k, (positions, velocities) in zip(missing, made, strict=True):
            frame = {"positions": positions, "velocities": velocities}
            write(work[k].folder / name, **frame, digest=digests[k], engine=engine.name)
            kept[k] = frame
        for k, after in enumerate(kept):
            assert after is not None
            start, before = work[k].start, states[k][0]
            states[k] = (after["positions"], after["velocities"])
            if number:
                moved = (after["positions"] - before)[start.types == 0]
                energy = potential_energies(after["positions"], start, engine.potential).mean()
                records[k].append([number * recipe.segment, energy, np.cos(WAVE_NUMBER * moved).mean()])
    return [
        Configuration(
            positions=states[k][0],
            types=order.start.types,
            box=order.start.box,
            temperature=recipe.temperature,
            potential=engine.potential,
            equilibration=np.array(records[k]),
            split=order.start.split,
            engine=engine.name,
        )
        for k, order in enumerate(work)
    ]
