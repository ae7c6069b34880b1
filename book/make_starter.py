"""Make labels of the starter data set again, from the starting positions that it holds.

    python book/make_starter.py runs/starter.h5 --engine gpu

The labels in the package were made in four minutes of one NVIDIA H200 (benchmarks/results/simulate_nvidia-h200.json):
32 runs to the tabulated tau_alpha, seed 2027, `GpuEngine(threads=1024)` of revision 845c5e4. Two cores would need about two hours with `--engine lanes`, fifteen with
`--engine lammps` (from the speeds in benchmarks/results/simulate_cpu.json, not tried in full). Killed at any point, it
goes on where it was. Starting positions, inherent structures and energies are LAMMPS's; the chapter "Data card" says
how the starting positions were equilibrated, and make_starts.py makes more of them.

Velocities follow from the seed and from the last bits of the positions. The file keeps five decimals of these; the runs
began from all digits. So this command makes other runs of the same ensemble: labels agree with the stored ones within
their noise. The very same runs take the very same start:

    git show 845c5e4:glasslit/data/starter.h5 > before.h5
    python book/make_starter.py runs/starter.h5 --engine gpu --starts before.h5

(and a GPU whose arithmetic is the H200's).
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

import glasslit as gl
from glasslit.liquid.kob_andersen import TAU_ALPHA, TIME_GRIDS
from glasslit.simulate import collect, label
from glasslit.simulate.engines import ENGINES, make_engine
from glasslit.simulate.lammps import LammpsEngine

SEED = 2027
TEMPERATURES = (0.56, 0.50, 0.47, 0.44)
CITATION = (
    "The glasslit developers, starter data set of Kob-Andersen liquids (2026), after the task of "
    "Pezzicoli, Charpiat and Landes, SciPost Phys. 16, 136 (2024)"
)


def start(c: gl.Configuration) -> gl.Configuration:
    """Where runs begin: all A particles first, so that runs of all configurations are alike and share a launch."""
    order = np.argsort(c.types, kind="stable")
    return gl.Configuration(
        positions=c.positions[order],
        types=c.types[order],
        box=c.box,
        temperature=c.temperature,
        split=c.split,
        name=c.name,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="the .h5 file to write")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="who makes the runs (default: a GPU where there is one, else lanes)",
    )
    parser.add_argument(
        "--starts",
        default="starter",
        help="data set whose positions are the starting points",
    )
    parser.add_argument(
        "--trajectories", type=int, default=32, help="runs per configuration"
    )
    parser.add_argument(
        "--until",
        type=float,
        default=1.0,
        help="the last time, in units of tau_alpha (default: 1)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="where finished runs are kept (default: beside the output)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="processes side by side on a CPU (default: one per core)",
    )
    arguments = parser.parse_args()
    folder = arguments.folder or arguments.out.with_suffix(".runs")
    engine = make_engine(
        arguments.engine, "force-shifted", workers=arguments.workers
    )
    labelled = []
    for temperature in TEMPERATURES:
        last = arguments.until * TAU_ALPHA[temperature] * (1 + 1e-9)
        times = [t for t in TIME_GRIDS[temperature] if t <= last]
        if not times:
            parser.error(
                f"--until {arguments.until} ends before the first time at T = {temperature}, {TIME_GRIDS[temperature][0]}"
            )
        starts = [start(c) for c in gl.load(arguments.starts, T=temperature)]
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
        # finished runs are anybody's; the quench is LAMMPS's
        labelled += collect(*job, seed=SEED, engine=LammpsEngine())
    gl.save(
        arguments.out,
        labelled,
        name="starter",
        licence="MIT",
        citation=CITATION,
        compact=True,
    )


if __name__ == "__main__":
    main()
