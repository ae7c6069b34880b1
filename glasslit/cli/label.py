"""``glasslit label``: propensities for configurations that are there."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import add_runs, label_times, new_path, watch

DESCRIPTION = (
    "Quench configurations and average isoconfigurational runs into labels. Killed and started again, it goes on where "
    "it was."
)
EXAMPLE = "glasslit label starter -T 0.50 --split test --trajectories 32 --until 7 -o mine.h5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("data", help="'starter' or an .h5 file: its positions are where the runs start")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .h5 file to write")
    parser.add_argument("-T", "--temperature", type=float, required=True, help="which of the data's temperatures")
    parser.add_argument("--split", choices=["train", "val", "test"], help="one split only (default: all)")
    add_runs(parser)


def run(arguments: argparse.Namespace) -> None:
    """Make the labels, alone at the output."""
    from ..locks import OutputLock

    with OutputLock(arguments.out):
        new_path(arguments.out)
        _label(arguments)


def _label(arguments: argparse.Namespace) -> None:
    from ..data.store import load, save
    from ..simulate import collect, label
    from ..simulate.engines import make_engine

    starts = load(arguments.data, T=arguments.temperature, split=arguments.split)
    times = label_times(arguments, arguments.temperature)
    engine = make_engine(arguments.engine, arguments.potential, workers=arguments.workers)
    job = (starts, times, arguments.trajectories, arguments.out.with_suffix(".runs"))
    watch(label(*job, seed=arguments.seed, engine=engine), "run")
    save(arguments.out, collect(*job, seed=arguments.seed, engine=engine, covariance=arguments.covariance))
