"""The command ``glasslit``: what one asks for from a terminal. The only module that talks to one."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .configuration import Configuration
from .downloads import fetch_botan_small
from .kob_andersen import POTENTIALS, TAU_ALPHA, TIME_GRIDS
from .periodic import wrap
from .provenance import version
from .published import read_published
from .simulate import Progress, quench
from .simulate.engines import ENGINES, make_engine
from .store import load, save, shipped_models
from .trajectory import iterate_trajectory, pick_frames


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
    _add_predict(
        commands.add_parser(
            "predict",
            help="predict how far the particles of your own configurations will move",
            description="Predict the propensity of every particle, at every time of the model, and write extended XYZ. "
            "Killed and started again, it goes on after the last whole frame.",
        )
    )
    other = commands.add_parser(
        "compare",
        help="score models beside the published ones on GlassBench's test files",
        description="Correlations, chi4 and correlation length of the predictions in GlassBench's test files, and of "
        "your networks.",
    )
    other.add_argument(
        "folder", type=Path, help="test files of one temperature (glasslit.fetch_glassbench downloads them)"
    )
    other.add_argument(
        "--model",
        action="append",
        default=[],
        help="a model.pt, or the name of a network in the package; repeat for more",
    )
    other.add_argument("--threshold", type=float, default=0.3, help="of the overlap for chi4 (default: %(default)s)")
    other.add_argument("-o", "--out", type=Path, help="a .csv file for the whole table")
    other.add_argument("--figure", type=Path, help="a file for the figure: scores, chi4, correlation length")
    other.set_defaults(run=_compare)
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


def _new(path: Path) -> None:
    """A ``ValueError`` if something is there already, which took long to make."""
    if path.exists():
        raise ValueError(f"{path} exists; expected a new name, so that nothing is lost: delete it, or name another")


def _label(arguments: argparse.Namespace) -> None:
    from .simulate import collect, label

    _new(arguments.out)
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
    if until < times[0]:
        raise ValueError(f"--until {until:g}; expected at least {times[0]:g}, the first time")
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

    _new(arguments.out)
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
        bar = stack.enter_context(tqdm(total=len(runs), unit="run", smoothing=0))  # one mean: runs end in bunches
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


def _add_predict(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("input", type=Path, help="a LAMMPS dump or data file, extended XYZ, what else ASE reads, or an .h5 file")
    add("-o", "--out", type=Path, required=True, help="the .extxyz file to write")
    add("--model", required=True, help=f"a model.pt, or a name: {', '.join(shipped_models())}")
    add("--type-map", help="what the file's types are, as in 1=A,2=B")
    add("--frames", default=":", help="which, as in -1 or 100:200:10 (default: all)")
    add("--format", help="as ASE names it, where it cannot be told from the file")
    add(
        "-T", "--temperature", type=float, help="of the configurations, epsilon_AA / k_B; only to compare with training"
    )
    add("--potential", choices=POTENTIALS, default="force-shifted", help="to quench with (default: %(default)s)")
    add("--picture", type=Path, help="also draw the first frame's prediction at the longest time")
    parser.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> None:
    from .conditions import outside
    from .graph import parse_inputs
    from .prediction import PredictionFile, find_model, predict_in_blocks, predicted_atoms

    model = find_model(arguments.model)
    field, energy = parse_inputs(model.config.inputs)
    needed = [name for name in (field, energy) if name and name != "positions"]
    weights = hashlib.sha256()
    for _, value in sorted(model.state_dict().items()):
        weights.update(value.numpy().tobytes())
    source = Path(arguments.input)
    about = (str(source.resolve()), source.stat().st_mtime_ns if source.is_file() else 0, arguments.frames,
             arguments.type_map, arguments.potential, weights.hexdigest())  # fmt: skip
    out, known = PredictionFile(arguments.out, repr(about)), model.trained_on or {}
    told: set[str] = set()
    with warnings.catch_warnings(), tqdm(unit="frame", delay=1) as bar:
        warnings.showwarning = lambda message, *_, **__: bar.write(f"warning: {message}")
        for number, c in enumerate(_frames(arguments)):
            if number < out.done:
                bar.update()
                continue
            if arguments.temperature is not None:
                c = c.replace(temperature=arguments.temperature)
            if any(getattr(c, name) is None for name in needed):
                outside(known, c, model.config.cutoff, "thermal")  # refuses another liquid before it is quenched
                bar.set_postfix_str("quenching")
                c = quench(c, arguments.potential)
                bar.set_postfix_str("")
            if c.temperature is None and "temperature" not in told:
                bar.write("warning: no temperature is given (-T): it is not compared with that of the training")
                told.add("temperature")
            off = outside(known, c, model.config.cutoff, model.config.inputs)
            for name in sorted(off.keys() - told):
                bar.write(f"warning: {c.name}: {name} {off[name]}: the model knows no such liquid")
            told |= off.keys()
            prediction = predict_in_blocks(model, c)
            out.write(predicted_atoms(c, model, prediction))
            if number == 0 and arguments.picture:
                _picture(arguments.picture, c, f"predicted, t = {model.times[-1]:g}", prediction[-1])
            bar.update()
    times = ", ".join(f"{t:g}" for t in model.times)
    tqdm.write(f"{out.finish()}: {out.done} frame{'s' * (out.done != 1)}, propensity at t = {times}")


def _frames(arguments: argparse.Namespace) -> Iterable[Configuration]:
    """Of the input, whatever it is."""
    if arguments.input.suffix in (".h5", ".hdf5"):
        return [c for _, c in pick_frames(lambda: load(arguments.input), arguments.frames)]
    type_map: dict[int | str, str | int] = {}
    for pair in (arguments.type_map or "").split(",") if arguments.type_map else []:
        name, equals, kind = pair.partition("=")
        if not equals:
            raise ValueError(f"--type-map {arguments.type_map}; expected pairs such as 1=A,2=B")
        type_map[name.strip()] = kind.strip()
    return iterate_trajectory(arguments.input, type_map, arguments.frames, format=arguments.format)


def _picture(path: Path, c: Configuration, title: str, values: np.ndarray) -> None:
    import matplotlib as mpl

    from . import plotting

    with mpl.rc_context(plotting.STYLE):
        plotting.slices(wrap(c.positions, c.box), c.box, c.types, {title: values}).savefig(path, dpi=150)


def _compare(arguments: argparse.Namespace) -> None:
    from .comparison import compare
    from .prediction import find_model

    models = {name: find_model(name) for name in arguments.model}
    table = compare(arguments.folder, models, threshold=arguments.threshold)
    if arguments.out:
        table.to_csv(arguments.out, index=False)
    if arguments.figure:
        from . import plotting

        plotting.comparison(table).savefig(arguments.figure, dpi=150)
    of_a = table[table.type == "A"]
    of_a = of_a.assign(score=of_a.pooled.map("{:.3f}".format) + "/" + of_a["mean"].map("{:.3f}".format))
    wide = of_a.pivot(index="time", columns="model", values="score")
    if of_a.ceiling.notna().any():
        wide = wide.join(of_a.groupby("time").ceiling.first())
    tqdm.write(f"A particles, pooled/mean correlation\n{wide.to_string()}")
    tqdm.write("chi4, correlation lengths and B particles: -o writes a .csv file, --figure draws them")


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
