"""What several commands share: options of whatever makes labels, a progress bar, a table, a cluster.

What computes is imported where it is used: a help text needs none of it.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..writing import write

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from matplotlib.figure import Figure

    from ..models.propensity import PropensityNetwork
    from ..simulate import Progress

POTENTIALS = ("force-shifted", "energy-shifted", "unshifted")
"""As :data:`glasslit.liquid.kob_andersen.POTENTIALS`, which comes with PyTorch."""
ENGINES = ("auto", "lanes", "lammps", "gpu")
"""As :data:`glasslit.simulate.engines.ENGINES`, likewise."""


def new_path(path: Path) -> None:
    """A ``ValueError`` if something is there already, which took long to make."""
    if path.exists():
        raise ValueError(f"{path} exists; expected a new name, so that nothing is lost: delete it, or name another")


def label_times(arguments: argparse.Namespace, temperature: float) -> tuple[float, ...]:
    """When to measure: as asked for, else the published grid up to tau_alpha."""
    from ..liquid.kob_andersen import TAU_ALPHA, TIME_GRIDS

    times = arguments.times or TIME_GRIDS.get(temperature)
    if times is None:
        raise ValueError(f"no published times for T = {temperature}; give --times")
    until = arguments.until or (times[-1] if arguments.times else TAU_ALPHA[temperature])
    if until < times[0]:
        raise ValueError(f"--until {until:g}; expected at least {times[0]:g}, the first time")
    return tuple(t for t in times if t <= until)


def times_of(net: PropensityNetwork) -> str:
    """The times that a network predicts at, and their unit where it is not Lennard-Jones time."""
    return ", ".join(f"{t:g}" for t in net.times) + (f" {net.time_unit}" if net.time_unit != "LJ" else "")


class Log:
    """What a progress bar shows, as lines, where standard error is a file or a pipe.

    A bar that is drawn again each second fills a cluster's log with thousands of copies of itself. Bars are made with
    ``disable=None`` here, which lets tqdm draw on a terminal only; elsewhere this says the same, at most once in
    ``seconds``, and nothing twice.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds, self.last, self.due = seconds, "", time.monotonic() + seconds

    def say(self, text: str, now: bool = False) -> None:
        """One line, if it is new and the last one is old enough; ``now`` does not wait."""
        if sys.stderr.isatty() or text == self.last or (time.monotonic() < self.due and not now):
            return
        self.last, self.due = text, time.monotonic() + self.seconds
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()


def watch(work: Iterable[Progress], unit: str) -> None:
    """A progress bar, or lines in a file."""
    log = Log()
    with tqdm(unit=unit, disable=None) as bar:
        for progress in work:
            bar.total = progress.total
            bar.update(progress.done - bar.n)
            left = ""
            if progress.seconds_left == progress.seconds_left:  # nothing is known before the first
                left = f"about {progress.seconds_left / 60:.0f} min left"
                bar.set_postfix_str(left)
            said = f"{progress.done} of {progress.total} {unit}s are done" + (f", {left}" if left else "")
            log.say(said, now=progress.done == progress.total)


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Options of whatever makes labels."""
    add = parser.add_argument
    add("--trajectories", type=int, default=32, help="runs per configuration (default: %(default)s)")
    add("--times", type=float, nargs="+", help="when to measure (default: the published grid)")
    add("--until", type=float, help="leave out later times (default: tau_alpha)")
    add("--potential", choices=POTENTIALS, default="force-shifted", help="truncation (default: %(default)s)")
    add("--engine", choices=ENGINES, default="auto", help="what simulates (default: the fastest here)")
    add("--seed", type=int, default=0, help="of all velocities (default: 0)")
    add("--covariance", action="store_true", help="keep the covariance of each displacement over the runs, too")
    add("--workers", type=int, help="pieces of work side by side (default: one per core)")


def save_figure(figure: Figure, path: Path) -> None:
    """A picture in a file, which is whole or not there; the file's suffix says of which kind (none: PNG)."""
    path = path if path.suffix else path.with_suffix(".png")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], dpi=150)
    write(path, drawn.getvalue())


def executor_of(address: str | None, stack: ExitStack) -> Executor | None:
    """Of a Dask cluster, if one is asked for."""
    if address is None:
        return None
    from distributed import Client

    return stack.enter_context(Client(address)).get_executor()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in columns as wide as they need to be: words begin, numbers end below each other."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    number = [all(line[k].replace(".", "").replace("-", "").isdigit() or line[k] == "-" for line in lines[1:])
              for k in range(len(header))]  # fmt: skip
    told = [
        "  ".join(w.rjust(n) if right else w.ljust(n) for w, n, right in zip(line, widths, number, strict=True))
        for line in lines
    ]
    return "\n".join(line.rstrip() for line in told)
