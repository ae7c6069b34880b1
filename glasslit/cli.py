"""The command ``glasslit``: what one asks for from a terminal. The only module that talks to one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from .kob_andersen import POTENTIALS, TAU_ALPHA, TIME_GRIDS
from .provenance import version
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
    labels.add_argument("--trajectories", type=int, default=30, help="runs per configuration (default: 30)")
    labels.add_argument("--until", type=float, help="leave out later times (default: tau_alpha)")
    labels.add_argument("--times", type=float, nargs="+", help="times (default: the published grid)")
    labels.add_argument(
        "--potential", choices=POTENTIALS, default="force-shifted", help="truncation (default: %(default)s)"
    )
    labels.add_argument("--seed", type=int, default=0, help="of the velocities (default: 0)")
    labels.add_argument("--workers", type=int, help="processes side by side (default: one per core)")
    labels.set_defaults(run=_label)
    arguments = parser.parse_args(words)
    try:
        arguments.run(arguments)
    except (ValueError, ModuleNotFoundError) as error:
        parser.exit(2, f"glasslit: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "\nglasslit: interrupted; the same command goes on from here\n")


def _label(arguments: argparse.Namespace) -> None:
    from .simulate import collect, label
    from .simulate.lammps import LammpsEngine

    starts = load(arguments.data, T=arguments.temperature, split=arguments.split)
    times = arguments.times or TIME_GRIDS.get(arguments.temperature)
    if times is None:
        raise ValueError(f"no published times for T = {arguments.temperature}; give --times")
    until = arguments.until or (times[-1] if arguments.times else TAU_ALPHA[arguments.temperature])
    times = [t for t in times if t <= until]
    engine = LammpsEngine(arguments.potential, workers=arguments.workers)
    job = (starts, times, arguments.trajectories, arguments.out.with_suffix(".runs"))
    with tqdm(total=len(starts) * arguments.trajectories, unit="run") as bar:
        for progress in label(*job, seed=arguments.seed, engine=engine):
            bar.update(progress.done - bar.n)
            if progress.seconds_left == progress.seconds_left:  # nothing is known before the first run
                bar.set_postfix_str(f"about {progress.seconds_left / 60:.0f} min left")
    save(arguments.out, collect(*job, seed=arguments.seed, engine=engine))


if __name__ == "__main__":
    main()
