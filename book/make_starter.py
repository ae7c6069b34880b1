"""Make the labels of the starter data set again, from the starting positions that it holds.

    python book/make_starter.py runs/starter.h5 --trajectories 8

Two to three hours of one core; killed at any point, it goes on where it was. The chapter "Data card"
says how the starting positions themselves were equilibrated.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

import glasslit as gl
from glasslit.liquid.kob_andersen import TIME_GRIDS
from glasslit.simulate import collect, label
from glasslit.simulate.lammps import LammpsEngine

LONGEST = {0.44: 412.0, 0.47: 220.0, 0.50: 217.0, 0.56: 52.0}
SEED = 2024
CITATION = (
    "The glasslit developers, starter data set of Kob-Andersen liquids (2026), after the task of "
    "Pezzicoli, Charpiat and Landes, SciPost Phys. 16, 136 (2024)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the .h5 file to write")
    parser.add_argument(
        "--starts",
        default="starter",
        help="data set whose positions are the starting points",
    )
    parser.add_argument(
        "--trajectories", type=int, default=8, help="runs per configuration"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="where finished runs are kept (default: beside the output)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="processes side by side (default: one per core)",
    )
    arguments = parser.parse_args()
    folder = arguments.folder or arguments.out.with_suffix(".runs")
    engine = LammpsEngine(workers=arguments.workers)
    labelled = []
    for temperature in (0.50, 0.44, 0.56, 0.47):
        times = [
            t for t in TIME_GRIDS[temperature] if t <= LONGEST[temperature]
        ]
        starts = gl.load(arguments.starts, T=temperature)
        job = (starts, times, arguments.trajectories, folder)
        with tqdm(
            desc=f"T = {temperature}",
            unit="run",
            total=len(starts) * arguments.trajectories,
        ) as bar:
            for progress in label(*job, seed=SEED, engine=engine):
                bar.update(progress.done - bar.n)
                if (
                    progress.seconds_left == progress.seconds_left
                ):  # nothing is known before the first run
                    bar.set_postfix_str(
                        f"{progress.seconds_left / 60:.0f} min left at this temperature"
                    )
        labelled += collect(*job, seed=SEED, engine=engine)
    gl.save(
        arguments.out,
        labelled,
        name="starter",
        licence="MIT",
        citation=CITATION,
    )


if __name__ == "__main__":
    main()
