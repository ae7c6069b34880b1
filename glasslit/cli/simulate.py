"""``glasslit simulate``: a data set from nothing, or from configurations of another temperature."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from .common import add_runs, executor_of, label_times, new_path, watch

if TYPE_CHECKING:
    from ..liquid.configuration import Configuration

DESCRIPTION = (
    "Make equilibrated configurations with labels, each an independent piece of work. Killed and started again, it "
    "goes on where it was."
)
EXAMPLE = "glasslit simulate -T 0.64 -N 1000 --configurations 8 --trajectories 32 -o new.h5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add = parser.add_argument
    add("-o", "--out", type=Path, required=True, help="the .h5 file to write")
    add("-T", "--temperature", type=float, nargs="+", required=True, help="temperatures, epsilon_AA / k_B")
    add("--starts", help="'botan-small' (ten published configurations at T = 0.44, downloaded), 'starter' or an .h5 "
        "file (its coldest temperature); default: lattices that are melted and cooled")  # fmt: skip
    add("-N", "--particles", type=int, default=4096, help="of a lattice (default: %(default)s)")
    add("--fraction-b", type=float, default=0.2, help="of a lattice (default: %(default)s)")
    add("--density", type=float, default=1.2, help="of a lattice, per sigma_AA^3 (default: %(default)s)")
    add("--configurations", type=int, default=16, help="at each temperature (default: %(default)s)")
    add(
        "--hold-out",
        type=int,
        nargs=2,
        default=[2, 2],
        metavar=("VAL", "TEST"),
        help="starts kept apart (default: 2 2)",
    )
    add("--equilibrate", type=float, default=5.0, help="for how many tau_alpha (default: %(default)s); 0: not at all")
    add("--tau-alpha", type=float, help="relaxation time where the literature's is not known to this program")
    add_runs(parser)
    add("--dask", metavar="ADDRESS", help="send the work to this Dask scheduler instead (tcp://HOST:PORT)")
    add("--folder", type=Path, help="where pieces are kept (default: beside the output)")
    add("--licence", default="unstated", help="of the data, written into the file")
    add("--citation", default="unstated", help="how to cite them, written into the file")
    add("--compact", action="store_true", help="round as the shipped data sets do: a third of the size")


def run(arguments: argparse.Namespace) -> None:
    """Make the data set, alone at the output."""
    from ..locks import OutputLock

    with OutputLock(arguments.out):
        new_path(arguments.out)
        _simulate(arguments)


def _simulate(arguments: argparse.Namespace) -> None:
    from ..liquid.kob_andersen import TAU_ALPHA
    from ..simulate import factory
    from ..simulate.engines import make_engine

    if not arguments.dask:
        make_engine(arguments.engine, arguments.potential)  # what is missing is said before anything is computed
    folder = arguments.folder or arguments.out.with_suffix(".pieces")
    starts, work = _starts(arguments), []
    for temperature in arguments.temperature:
        if not temperature > 0:
            raise ValueError(f"temperature {temperature}; expected a positive one")
        tau = arguments.tau_alpha or TAU_ALPHA.get(temperature)
        if tau is None:
            raise ValueError(
                f"tau_alpha at T = {temperature} is not known to this program; give --tau-alpha and --times"
            )
        segments = 10 if arguments.equilibrate else 0
        recipe = factory.Recipe(
            temperature=temperature,
            times=label_times(arguments, temperature),
            n_trajectories=arguments.trajectories,
            segment=arguments.equilibrate * tau / 10,
            segments=segments,
            melt=max(20.0, tau / 2) if segments and any(c.temperature != temperature for c in starts) else 0.0,
            potential=arguments.potential,
            engine=arguments.engine,
            seed=arguments.seed,
            covariance=arguments.covariance,
        )
        work += factory.orders(starts, recipe, arguments.configurations, folder, held_out=tuple(arguments.hold_out))
    with ExitStack() as stack:
        executor = executor_of(arguments.dask, stack)
        watch(factory.manufacture(work, workers=arguments.workers, executor=executor), "piece")
    about = {"name": arguments.out.stem, "licence": arguments.licence, "citation": arguments.citation}
    out = factory.assemble(work, arguments.out, **about, compact=arguments.compact)
    tqdm.write(f"{out}: {len(work)} configurations; pieces are in {folder}, no longer needed")


def _starts(arguments: argparse.Namespace) -> list[Configuration]:
    """Where the configurations of a new data set begin."""
    from ..data.downloads import fetch_botan_small
    from ..data.published import read_published
    from ..data.store import load
    from ..simulate import factory

    if arguments.starts == "botan-small":
        return read_published(fetch_botan_small() / "train")
    if arguments.starts:
        found = load(arguments.starts)
        coldest = min(c.temperature for c in found if c.temperature)
        return [c for c in found if c.temperature == coldest][: arguments.configurations]
    seeds = range(arguments.seed, arguments.seed + arguments.configurations)
    return [factory.lattice(arguments.particles, arguments.fraction_b, arguments.density, seed) for seed in seeds]
