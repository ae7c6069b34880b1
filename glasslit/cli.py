"""The command ``glasslit``: what one asks for from a terminal. The only module that talks to one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from .configuration import Configuration
from .kob_andersen import POTENTIALS, TAU_ALPHA, TIME_GRIDS
from .provenance import version
from .published import fetch_botan_small, read_published
from .simulate import Progress
from .simulate.engines import ENGINES
from .store import load, save


def main(words: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(prog="glasslit", description="Rotation-equivariant networks for glassy liquids.")
    parser.add_argument("--version", action="version", version=f"glasslit {version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    labels = commands.add_parser(
        "label",
        help="make propensities by molecular dynamics",
        description="Quench configurations and average isoconfigurational runs into labels. Killed and started again, "
        "it goes on where it was.",
    )
    labels.add_argument("data", help="'starter' or an .h5 file: its positions are where the runs start")
    labels.add_argument("-o", "--out", type=Path, required=True, help="the .h5 file to write")
    labels.add_argument("-T", "--temperature", type=float, required=True, help="which of the data's temperatures")
    labels.add_argument("--split", choices=["train", "val", "test"], help="one split only (default: all)")
    _add_runs(labels)
    labels.set_defaults(run=_label)
    _add_simulate(
        commands.add_parser(
            "simulate",
            help="make a data set: equilibrate, quench, label",
            description="Make equilibrated configurations with labels, each an independent piece of work. Killed and "
            "started again, it goes on where it was.",
        )
    )
    table = commands.add_parser(
        "sweep",
        help="execute a notebook for a table of parameters",
        description="Execute a notebook, usually book/train.ipynb, for every combination of parameters that a TOML "
        "file names. Finished runs are skipped; killed and started again, it goes on where it was.",
    )
    table.add_argument("sweep", type=Path, help="a TOML file, such as sweeps/lmax.toml")
    table.add_argument("--workers", type=int, help="runs side by side (default: as many as cores and memory allow)")
    table.add_argument("--dask", metavar="ADDRESS", help="send the runs to this Dask scheduler instead")
    table.set_defaults(run=_sweep)
    data = commands.add_parser("data", help="say what a data set holds, and check it")
    data.add_argument("what", nargs="?", choices=["show", "check"], default="show", help="(default: show)")
    data.add_argument("data", help="'starter', 'standard' or an .h5 file")
    data.set_defaults(run=_data)
    arguments = parser.parse_args(words)
    try:
        arguments.run(arguments)
    except (ValueError, RuntimeError, ModuleNotFoundError) as error:
        parser.exit(2, f"glasslit: {error}\n")
    except BrokenPipeError:  # whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        parser.exit(2, f"glasslit: {error}; what was finished is kept: the same command goes on once that is mended\n")
    except KeyboardInterrupt:
        parser.exit(130, "\nglasslit: interrupted; the same command goes on from here\n")


def _label(arguments: argparse.Namespace) -> None:
    from .simulate import collect, label
    from .simulate.engines import make_engine

    starts = load(arguments.data, T=arguments.temperature, split=arguments.split)
    times = _times(arguments, arguments.temperature)
    engine = make_engine(arguments.engine, arguments.potential, workers=arguments.workers)
    job = (starts, times, arguments.trajectories, arguments.out.with_suffix(".runs"))
    _watch(label(*job, seed=arguments.seed, engine=engine), "run")
    save(arguments.out, collect(*job, seed=arguments.seed, engine=engine))


def _times(arguments: argparse.Namespace, temperature: float) -> tuple[float, ...]:
    """When to measure: as asked for, else the published grid up to tau_alpha."""
    times = arguments.times or TIME_GRIDS.get(temperature)
    if times is None:
        raise ValueError(f"no published times for T = {temperature}; give --times")
    until = arguments.until or (times[-1] if arguments.times else TAU_ALPHA[temperature])
    return tuple(t for t in times if t <= until)


def _watch(work: Iterable[Progress], unit: str) -> None:
    """A progress bar."""
    with tqdm(unit=unit) as bar:
        for progress in work:
            bar.total = progress.total
            bar.update(progress.done - bar.n)
            if progress.seconds_left == progress.seconds_left:  # nothing is known before the first
                bar.set_postfix_str(f"about {progress.seconds_left / 60:.0f} min left")


def _add_runs(parser: argparse.ArgumentParser) -> None:
    """Options of whatever makes labels."""
    add = parser.add_argument
    add("--trajectories", type=int, default=32, help="runs per configuration (default: %(default)s)")
    add("--times", type=float, nargs="+", help="when to measure (default: the published grid)")
    add("--until", type=float, help="leave out later times (default: tau_alpha)")
    add("--potential", choices=POTENTIALS, default="force-shifted", help="truncation (default: %(default)s)")
    add("--engine", choices=ENGINES, default="auto", help="what simulates (default: the fastest here)")
    add("--seed", type=int, default=0, help="of all velocities (default: 0)")
    add("--workers", type=int, help="pieces of work side by side (default: one per core)")


def _add_simulate(parser: argparse.ArgumentParser) -> None:
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
    _add_runs(parser)
    add("--dask", metavar="ADDRESS", help="send the work to this Dask scheduler instead (tcp://HOST:PORT)")
    add("--folder", type=Path, help="where pieces are kept (default: beside the output)")
    add("--licence", default="unstated", help="of the data, written into the file")
    add("--citation", default="unstated", help="how to cite them, written into the file")
    add("--compact", action="store_true", help="round as the shipped data sets do: a third of the size")
    parser.set_defaults(run=_simulate)


def _simulate(arguments: argparse.Namespace) -> None:
    from .simulate import factory

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
            times=_times(arguments, temperature),
            n_trajectories=arguments.trajectories,
            segment=arguments.equilibrate * tau / 10,
            segments=segments,
            melt=max(20.0, tau / 2) if segments and any(c.temperature != temperature for c in starts) else 0.0,
            potential=arguments.potential,
            engine=arguments.engine,
            seed=arguments.seed,
        )
        work += factory.orders(starts, recipe, arguments.configurations, folder, held_out=tuple(arguments.hold_out))
    with ExitStack() as stack:
        executor = _executor(arguments.dask, stack)
        _watch(factory.manufacture(work, workers=arguments.workers, executor=executor), "piece")
    about = {"name": arguments.out.stem, "licence": arguments.licence, "citation": arguments.citation}
    out = factory.assemble(work, arguments.out, **about, compact=arguments.compact)
    tqdm.write(f"{out}: {len(work)} configurations; pieces are in {folder}, no longer needed")


def _executor(address: str | None, stack: ExitStack) -> Executor | None:
    """Of a Dask cluster, if one is asked for."""
    if address is None:
        return None
    from distributed import Client

    return stack.enter_context(Client(address)).get_executor()


def _sweep(arguments: argparse.Namespace) -> None:
    from .sweep import read_sweep, summary, sweep

    runs = read_sweep(arguments.sweep)
    told: set[str] = set()
    with ExitStack() as stack:
        executor = _executor(arguments.dask, stack)
        bar = stack.enter_context(tqdm(total=len(runs), unit="run"))
        for progress in sweep(runs, workers=arguments.workers, executor=executor):
            for name in sorted(set(progress.failed) - told):
                bar.write(f"{name} failed:\n{progress.failed[name]}")
                told.add(name)
            bar.set_postfix_str(", ".join(progress.running), refresh=False)
            bar.update(progress.done - bar.n)
            bar.refresh()
    tqdm.write(summary(runs).to_string(float_format="{:.3f}".format))
    if told:
        raise RuntimeError(
            f"{len(told)} of {len(runs)} runs failed, {', '.join(sorted(told))}: their notebooks are "
            f"{runs[0].folder}/.NAME.failed.ipynb; the same command tries them again"
        )


def _starts(arguments: argparse.Namespace) -> list[Configuration]:
    """Where the configurations of a new data set begin."""
    from .simulate.factory import lattice

    if arguments.starts == "botan-small":
        return read_published(fetch_botan_small() / "train")
    if arguments.starts:
        found = load(arguments.starts)
        coldest = min(c.temperature for c in found if c.temperature)
        return [c for c in found if c.temperature == coldest][: arguments.configurations]
    seeds = range(arguments.seed, arguments.seed + arguments.configurations)
    return [lattice(arguments.particles, arguments.fraction_b, arguments.density, seed) for seed in seeds]


def _data(arguments: argparse.Namespace) -> None:
    from .checks import check_data, describe

    found = load(arguments.data)
    table = describe(found).T
    alike = table.nunique(axis=1) == 1  # told once, so that the table fits a terminal
    for name, value in (("T", ", ".join(f"{t:g}" for t in table.columns)), *table[alike].iloc[:, 0].items()):
        tqdm.write(f"{name}: {value}")
    if not alike.all():
        tqdm.write(table[~alike].to_string())
    if arguments.what == "check":
        checks = check_data(found)
        for check in sorted(checks, key=lambda check: check.holds):
            at = "" if check.temperature is None else f", T = {check.temperature:.2f}"
            judged = check.tolerance == check.tolerance  # some numbers are only stated
            word = ("ok  " if check.holds else "FAIL") if judged else "    "
            expected = f" (expected {check.expected:.4g} +- {check.tolerance:.2g}, {check.source})" if judged else ""
            tqdm.write(f"{word} {check.name}{at}: {check.found:.4g}{expected}")
        failed = sum(not check.holds for check in checks)
        if failed:
            raise ValueError(f"{failed} of {len(checks)} checks fail")


if __name__ == "__main__":
    main()
