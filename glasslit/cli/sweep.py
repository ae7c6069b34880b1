"""``glasslit sweep``: a notebook for every row of a table of parameters."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from .common import Log, executor_of

DESCRIPTION = (
    "Execute a notebook, usually book/train.ipynb, for every combination of parameters that a TOML file names. "
    "Finished runs are skipped; killed and started again, it goes on where it was."
)
EXAMPLE = "glasslit sweep sweeps/lmax.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("sweep", type=Path, help="a TOML file, such as sweeps/lmax.toml")
    parser.add_argument("--workers", type=int, help="runs side by side (default: as many as cores and memory allow)")
    parser.add_argument("--dask", metavar="ADDRESS", help="send the runs to this Dask scheduler instead")


def run(arguments: argparse.Namespace) -> None:
    """Execute the runs and tell what came out."""
    from ..learning import template
    from ..learning.sweep import read_sweep, summary, sweep

    runs = read_sweep(arguments.sweep)
    before = {run.name for run in runs if run.finished()}
    told: set[str] = set()
    with ExitStack() as stack:
        executor = executor_of(arguments.dask, stack)
        # smoothing=0: the mean of all runs, because they end in bunches
        bar = stack.enter_context(tqdm(total=len(runs), unit="run", smoothing=0, disable=None))
        log = Log()
        for progress in sweep(runs, workers=arguments.workers, executor=executor):
            for name in sorted(set(progress.failed) - told):
                bar.write(f"{name} failed: {progress.failed[name]}")
                told.add(name)
            bar.set_postfix_str(", ".join(progress.running), refresh=False)
            bar.update(progress.done - bar.n)
            bar.refresh()
            running = f"; running: {', '.join(progress.running)}" if progress.running else ""
            log.say(f"{progress.done} of {len(runs)} runs are done{running}", now=True)
    for each in runs:
        for text in template.warnings_in(each.executed) if each.name not in before else ():
            tqdm.write(f"{each.name}: warning: {text}")
    tqdm.write(summary(runs).to_string(float_format="{:.3f}".format))
    if told:
        raise RuntimeError(
            f"{len(told)} of {len(runs)} runs failed, {', '.join(sorted(told))}: notebooks that met an error are, with "
            f"its traceback, {runs[0].folder}/.NAME.failed.ipynb; the same command tries them again"
        )
