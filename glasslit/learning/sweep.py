"""Sweeps: a table of parameters becomes executed notebooks, several at once, each made once.

A sweep is a TOML file; each of its runs is one execution of a notebook by papermill, usually ``book/train.ipynb``.
What is finished is skipped, what was killed goes on from its own checkpoint, what fails does not stop the others.
"""

from __future__ import annotations

import csv
import math
import os
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from ..locks import OutputLock, end_with_parent
from ..names import did_you_mean
from ..writing import read_json, room_for

PATIENCE = 20.0
"""Seconds to wait for whoever executes a run already: the workers of a killed sweep notice within one, and end; more
where all cores are busy."""
KEYS = {"notebook", "folder", "name", "memory", "all", "each", "either"}


@dataclass(frozen=True)
class Run:
    """One execution of a notebook.

    Parameters
    ----------
    name : of the executed notebook and of the folder of its results
    notebook : what is executed
    folder : ``folder/name.ipynb`` is written when it has finished; ``folder/name`` is given to the notebook as ``out``
    parameters : for the notebook's cell tagged ``parameters``
    memory : GB that it is taken to need
    cwd : where the notebook runs; ``out`` is stated relative to it
    """

    name: str
    notebook: Path
    folder: Path
    parameters: dict[str, Any]
    memory: float = 2.0
    cwd: Path = field(default_factory=Path.cwd)

    @property
    def executed(self) -> Path:
        """The finished notebook."""
        return self.folder / f"{self.name}.ipynb"

    @property
    def failed(self) -> Path:
        """The notebook of a run that failed, with its traceback."""
        return self.folder / f".{self.name}.failed.ipynb"

    @property
    def given(self) -> dict[str, Any]:
        """All parameters that papermill passes."""
        return self.parameters | {"out": os.path.relpath(self.folder / self.name, self.cwd)}

    def finished(self) -> bool:
        """Whether it was executed to its end with these parameters.

        Raises
        ------
        ValueError
            If it was, with others.
        """
        if not self.executed.is_file():
            return False
        mend = "delete it, and the same command makes it again"
        about = read_json(self.executed, mend).get("metadata", {}).get("papermill", {})
        if about.get("end_time") is None or about.get("exception"):
            return False
        differ = {
            key: (about["parameters"].get(key), self.given.get(key))
            for key in about["parameters"].keys() | self.given.keys()
            if key != "out" and about["parameters"].get(key) != self.given.get(key)
        }
        if differ:
            told = ", ".join(f"{key} = {then!r}, now {now!r}" for key, (then, now) in sorted(differ.items()))
            raise ValueError(
                f"{self.executed} was made with {told}; expected the same: name the runs otherwise, or move it"
            )
        return True


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is: numbers of runs, the errors of those that failed, what is under way."""

    done: int
    total: int
    failed: dict[str, str]
    running: list[str]


def read_sweep(path: str | Path) -> list[Run]:
    """The runs that a sweep names, in order.

    Parameters
    ----------
    path : a TOML file. ``notebook`` and ``folder`` are paths relative to it; ``name`` makes each run's name of its
        parameters, as in ``"lmax{l_max}-seed{seed}"``; the table ``[all]`` holds parameters of all runs; ``[each]``
        lists of values, of which every combination is one run; tables ``[[either]]``, if there, parameters that belong
        together, each of them being combined with all of those; ``memory``, if there, the GB that a run needs

    Raises
    ------
    ValueError
        If it is no such file, names a parameter that the notebook has not, or gives two runs one name.

    Notes
    -----
    ``sweeps/`` holds those of the book.
    """
    import papermill

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not a file; expected a TOML file such as sweeps/lmax.toml")
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no sweep ({error}); expected a TOML file with {', '.join(sorted(KEYS))}"
        ) from error
    unknown, missing = set(content) - KEYS, {"notebook", "folder", "name"} - set(content)
    if unknown or missing:
        told = [f"{what} {', '.join(sorted(w))}" for what, w in (("unknown", unknown), ("missing", missing)) if w]
        raise ValueError(
            f"{path}: {'; '.join(told)}; expected notebook, folder and name, and some of {', '.join(sorted(KEYS))} "
            "(paths are relative to the file)"
        )
    each, common, either = content.get("each", {}), content.get("all", {}), content.get("either", [{}])
    notebook, folder = path.parent / content["notebook"], path.parent / content["folder"]
    if not notebook.is_file():
        raise ValueError(f"{path}: no notebook {notebook}; expected a path relative to {path.parent}")
    wrong = [key for key, values in each.items() if not isinstance(values, list) or not values]
    if wrong or set(each) & set(common):
        raise ValueError(
            f"{path}: in [each], {wrong} are no lists with values, {sorted(set(each) & set(common))} are in [all] too"
        )
    memory = content.get("memory", Run.memory)
    if not isinstance(memory, int | float) or not memory > 0:
        raise ValueError(f"{path}: memory = {memory!r}; expected the GB that a run needs, a number above 0")
    together = {key for row in either for key in row}
    if together & (set(each) | set(common)) or any(set(row) != together for row in either):
        raise ValueError(
            f"{path}: the tables [[either]] have {[sorted(row) for row in either]}; "
            "expected the same parameters in each, and none of them in [each] or [all]"
        )
    known = set(papermill.inspect_notebook(str(notebook)))
    unknown = (set(each) | set(common) | together) - known
    if unknown or "out" in (set(each) | set(common) | together):
        hints = "".join(did_you_mean(name, known) for name in sorted(unknown))
        raise ValueError(
            f"{path}: {notebook.name} has no parameters {sorted(unknown)}; expected some of {sorted(known - {'out'})}"
            f"{hints}"
        )
    runs = []
    for *values, row in product(*each.values(), either):
        parameters = common | dict(zip(each, values, strict=True)) | row
        try:
            name = content["name"].format(**parameters)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"{path}: name = {content['name']!r} needs {error}; expected parameters it has") from error
        if "/" in name or "\\" in name:
            raise ValueError(
                f"{path}: a run would be named {name!r}; expected no slash in name: leave out that parameter"
            )
        runs.append(Run(name, notebook.resolve(), folder.resolve(), parameters, memory))
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise ValueError(
            f"{path}: {len(names)} runs have {len(set(names))} names; expected all of {sorted(each)} in name"
        )
    return runs


def side_by_side(memory: float) -> int:
    """How many runs of so many GB fit beside each other: one for each core, one on a GPU, no more than memory holds."""
    import torch

    cores = 1 if torch.cuda.is_available() else os.cpu_count() or 1
    return max(1, min(cores, int(psutil.virtual_memory().available / 1e9 / memory)))


def execute(run: Run) -> str | None:
    """Execute one run, alone at its notebook. Its error if it fails, whose traceback its notebook has; or None."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    under_way = run.folder / f".{run.name}.partial.ipynb"
    with room_for(run.executed), OutputLock(run.executed, "give the sweep another folder", PATIENCE):
        try:
            papermill.execute_notebook(
                str(run.notebook), str(under_way), run.given, cwd=str(run.cwd), progress_bar=False, log_output=False
            )
        except papermill.PapermillExecutionError as error:
            under_way.replace(run.failed)
            return " ".join(f"{error.ename}: {error.evalue}".split())  # in a line
        except DeadKernelError:
            return (
                f"the process that executes {run.name} has died, for want of memory perhaps; the same command goes on "
                "with the last finished epoch, with fewer workers in less memory"
            )
        else:
            under_way.replace(run.executed)
            run.failed.unlink(missing_ok=True)
        finally:
            under_way.unlink(missing_ok=True)
    return None


def sweep(
    runs: Sequence[Run], *, workers: int | None = None, executor: Executor | None = None, patience: float = 1.0
) -> Iterator[SweepProgress]:
    """Execute what is not finished.

    Parameters
    ----------
    runs : as :func:`read_sweep` gives them
    workers : runs side by side; by default :func:`side_by_side`. Cores are shared among them
    executor : where to send them instead, for instance a Dask client's ``get_executor()``, whose workers see the folder
    patience : seconds between two reports

    Yields
    ------
    :class:`SweepProgress`

    Raises
    ------
    RuntimeError
        If worker processes die again and again.
    """
    waiting, failed, deaths = [run for run in runs if not run.finished()], dict[str, str](), 0
    done = len(runs) - len(waiting)
    workers = workers or side_by_side(max((run.memory for run in runs), default=Run.memory))
    threads = max(1, (os.cpu_count() or 1) // workers)
    while waiting:
        pool = executor or ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(), threads)
        )
        futures: dict[Future[str | None], Run] = {pool.submit(execute, run): run for run in waiting}
        again, pending = [], set(futures)
        try:
            while pending:
                ended, pending = wait(pending, timeout=patience)
                for future in ended:
                    run, error = futures[future], future.exception()
                    if isinstance(error, BrokenProcessPool):
                        again.append(run)
                    elif error is not None:
                        failed[run.name] = f"{type(error).__name__}: {error}"
                    elif (told := future.result()) is not None:
                        failed[run.name] = told
                    else:
                        done += 1
                running = [futures[future].name for future in futures if future in pending and future.running()]
                if executor is None:  # one more is handed out to wait for a worker
                    running = running[:workers]
                yield SweepProgress(done, len(runs), dict(failed), sorted(running))
        finally:
            if executor is None:
                pool.shutdown(cancel_futures=True)
        deaths += bool(again)
        if deaths > 3:
            raise RuntimeError(
                f"worker processes died {deaths} times (out of memory?) with {len(again)} runs left "
                f"({', '.join(run.name for run in again)}); finished runs are kept: the same command with fewer "
                "workers goes on"
            )
        if again:
            time.sleep(2.0)  # until the kernels of the dead have noticed
        waiting = again
    yield SweepProgress(done, len(runs), dict(failed), [])


def summary(runs: Sequence[Run]) -> pd.DataFrame:
    """What came out: for each finished run its parameters that vary, and its scores.

    Returns
    -------
    Indexed by name: varying parameters, the score on the validation configurations (:func:`validation_score`), the
    longest ``time``, at that time the test correlation within configurations for A and B, ``seconds`` of training; nan
    where a run has not finished or leaves no ``metrics.json``.
    """
    from ..liquid.kob_andersen import TYPE_NAMES  # with PyTorch, which workers need not load

    varying = [k for k in (runs[0].parameters if runs else ()) if len({repr(r.parameters[k]) for r in runs}) > 1]
    rows = {}
    for run in runs:
        row = {k: run.parameters[k] for k in varying}
        scores, card = (run.folder / run.name / name for name in ("metrics.json", "card.json"))
        if run.finished() and scores.is_file() and card.is_file():
            found = read_json(scores)
            row |= {"validation": validation_score(run.folder / run.name), "time": found["times"][-1]}
            row |= {kind: found["test"][kind]["mean"][-1] for kind in TYPE_NAMES}
            row |= {"seconds": read_json(card)["wall_seconds"]}
        rows[run.name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def validation_score(folder: Path) -> float:
    """The highest score of a run's epochs on its validation configurations; nan where ``history.csv`` does not tell.

    It is the correlation within configurations on A particles, averaged over the times. It chose the epoch, so that it
    is a little too high. Runs are chosen, and the folds of a cross-validation averaged, by it and not by the test.
    """
    try:
        with (folder / "history.csv").open(newline="") as file:
            return max((float(row["val_rho"]) for row in csv.DictReader(file)), default=math.nan)
    except (OSError, ValueError, KeyError, TypeError):
        return math.nan


def results(folder: str | Path) -> pd.DataFrame:
    """What the finished runs of a folder found, for tables and figures that type nothing by hand.

    Parameters
    ----------
    folder : holds folders of runs, each with ``metrics.json`` and ``card.json``

    Returns
    -------
    A row for each run, type and time: ``run`` (the name), the parameters of its card that are single values, ``type``,
    ``time`` (Lennard-Jones units), the scores of ``metrics.json`` (``mean``, ``pooled``, ``ceiling``,
    ``ceiling_within``, ``density``, ``E_IS``; nan where there is none), ``validation``
    (:func:`validation_score`), ``seconds`` of training.

    Raises
    ------
    ValueError
        If the folder holds no finished run.
    """
    rows = []
    for path in sorted(Path(folder).glob("*/metrics.json")):
        card, found = read_json(path.parent / "card.json"), read_json(path)
        about = {k: v for k, v in card["parameters"].items() if not isinstance(v, dict | list) and k != "out"}
        rows += [
            {"run": path.parent.name, **about, "type": kind, "time": time_}
            | {name: values[k] for name, values in scores.items()}
            | {"validation": validation_score(path.parent), "seconds": card["wall_seconds"]}
            for kind, scores in found["test"].items()
            for k, time_ in enumerate(found["times"])
        ]
    if not rows:
        raise ValueError(f"no finished run in {folder}; expected folders with metrics.json and card.json in it")
    return pd.DataFrame(rows)


def _begin(parent: int, threads: int) -> None:
    """In a worker: end with the parent; kernels take their share of the cores, and what they say beside their notebook,
    which is the same for each, does not go through the progress bar.
    """
    end_with_parent(parent)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads leave the cores to the others
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
