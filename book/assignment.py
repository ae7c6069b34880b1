"""Graded work: for each student a notebook with problems of their own, points and a page of feedback for what comes back.

    python book/assignment.py write roster.txt homework --key SECRET --chapters the_layer kernel_constraint
    python book/assignment.py grade homework --key SECRET -o points.csv --workers 4

The roster has one name per line. Numbers in the problems (`book/problems.py`) follow from key, name and problem, so
solutions that are public, or a neighbor's, do not fit. Keep the key: grading draws the same numbers with it, and checks
that students changed or deleted are taken from here. Each notebook is run in a process of its own, with a limit of
time for each cell, and with your rights: grade where strangers' code may run. Checks run in the same process: who
replaces a library's functions gets points that were not earned, and leaves the notebook that shows it. Grading that was
stopped goes on where it was: what is graded is kept in `homework/points/`, with what each check said, for the lecturer.
`homework/feedback/` has a page for each student: what was right, what went wrong, and what to read again.
"""

import argparse
import asyncio
import csv
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import feedback
import nbformat
from feedback import ENDED, NO_NOTEBOOK, UNANSWERED, UNREADABLE
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from problems import PROBLEMS, Problem
from tqdm import tqdm

from glasslit import writing
from glasslit.locks import OutputLock

SECONDS = 60
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""For each notebook: many are run side by side, and sums are the same however many are."""
RULES = """# {title}

Work of **{student}**. Fill in what the cells leave open; add cells and functions as you like, but keep the names. A check
below an open cell tells what will be asked when it is graded, with other random input; for numbers it looks at the form only.
{points} points in all."""


def selected(chapters: list[str] | None) -> list[Problem]:
    """The problems of some chapters, or all."""
    known = dict.fromkeys(problem.chapter for problem in PROBLEMS)
    for chapter in chapters or []:
        if chapter not in known:
            raise ValueError(
                f"no problems for {chapter!r}; expected chapters among {', '.join(known)}"
            )
    return [p for p in PROBLEMS if not chapters or p.chapter in chapters]


def read_roster(path: Path) -> list[str]:
    """Names that can name a file, each once."""
    names = [
        line.strip()
        for line in path.read_text(encoding="utf-8-sig").splitlines()
    ]
    names = [name for name in names if name]
    for name in names:
        if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
            raise ValueError(
                f"{path}: {name!r}; expected names of letters, digits, '.', '-' and '_' (they name files)"
            )
        if names.count(name) > 1:
            raise ValueError(f"{path}: {name!r} stands there more than once")
    if not names:
        raise ValueError(f"{path} is empty; expected one name per line")
    return names


def as_function(name: str, source: str) -> str:
    """A check of what has that name, as a function that is called: its names stay its own."""
    lines = "\n".join(f"    {line}" for line in source.splitlines())
    return (
        f"def check():\n"
        f"    assert globals().get({name!r}) is not None, {UNANSWERED!r}\n"
        f"{lines}\n\n\ncheck()"
    )


def notebook_of(
    student: str, problems: list[Problem], key: str, title: str
) -> nbformat.NotebookNode:
    """What one student gets."""
    points = sum(problem.points for problem in problems)
    text = RULES.format(title=title, student=student, points=points)
    cells = [new_markdown_cell(text)]
    for number, problem in enumerate(problems, 1):
        mine = problem.drawn(key, student)
        worth = f"{mine.points} point" + "s" * (mine.points > 1)
        head = f"## {number}. {mine.title} ({worth})\n\n"
        after = f"\n\n(Chapter `{mine.chapter}`.)"
        cells += [
            new_markdown_cell(head + mine.text + after),
            new_code_cell(mine.open),
            new_code_cell(as_function(mine.name, mine.form or mine.check)),
        ]
    kernel = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def fingerprint(key: str) -> str:
    """What tells a wrong key from the right one."""
    return hashlib.sha256(f"glasslit {key}".encode()).hexdigest()[:12]


def write(
    names: list[str],
    folder: Path,
    problems: list[Problem],
    key: str,
    title: str,
) -> None:
    """A notebook for each name, in a new folder."""
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists; expected a new folder: it may hold somebody's work"
        )
    begun = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(begun, ignore_errors=True)  # of one that was killed
    begun.mkdir(parents=True)
    told = {
        "names": names,
        "problems": [problem.name for problem in problems],
        "key": fingerprint(key),
        "title": title,
    }
    try:
        with writing.room_for(folder):
            (begun / "assignment.json").write_text(json.dumps(told, indent=1))
            for name in names:
                made = notebook_of(name, problems, key, title)
                nbformat.write(made, begun / f"{name}.ipynb")
            begun.rename(folder)
    except BaseException:
        shutil.rmtree(begun, ignore_errors=True)
        raise


def graded(path: Path, student: str, problems: list[Problem], key: str) -> dict:
    """For each problem the last line of what went wrong, or nothing.

    The notebook's cells are run in order, whatever fails; then the checks, drawn anew.
    """
    try:
        notebook = nbformat.read(path, 4)
        cells = [c for c in notebook.cells if c.cell_type == "code"]
    except Exception as error:  # whatever a file may hold, it is one student's
        why = f"{UNREADABLE}{error}".splitlines()[0]
        return dict.fromkeys((p.name for p in problems), why)
    passed = secrets.token_hex(
        8
    )  # said at the end of a check: silence is no proof
    checks = [
        new_code_cell(
            as_function(problem.name, problem.drawn(key, student).check)
            + f"\nprint({passed!r})"
        )
        for problem in problems
    ]
    run = new_notebook(cells=cells + checks)
    client = NotebookClient(
        run,
        timeout=SECONDS,
        interrupt_on_timeout=True,
        allow_errors=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        started = client.async_execute(
            stderr=subprocess.DEVNULL, env=ONE_THREAD
        )
        asyncio.run(started)
    except DeadKernelError:
        return {p.name: ENDED for p in problems}
    except RuntimeError as error:
        raise RuntimeError(
            f"{path} could not be run ({error}); what is graded is kept: the same command goes on"
        ) from error
    found = {}
    for problem, cell in zip(problems, run.cells[len(cells) :], strict=True):
        texts = [o.get("text", "") for o in cell.outputs]
        wrong = "" if any(passed in text for text in texts) else "wrong"
        for error in (o for o in cell.outputs if o.output_type == "error"):
            said = " ".join(error.evalue.split())
            if error.ename == "NotImplementedError":
                wrong = UNANSWERED
            elif error.ename == "AssertionError":
                wrong = said or "wrong"
            else:
                wrong = f"{error.ename}: {said}"
        found[problem.name] = wrong
    return found


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def kept_or_graded(
    folder: Path, name: str, problems: list[Problem], key: str
) -> dict:
    """What went wrong in one student's notebook: as kept, if the notebook is the same; graded and kept otherwise."""
    path, kept = folder / f"{name}.ipynb", folder / "points" / f"{name}.json"
    content = path.read_bytes() if path.is_file() else b""
    drawn = [p.drawn(key, name).check for p in problems]
    told = content + key.encode() + json.dumps(drawn).encode()
    digest = hashlib.sha256(told).hexdigest()
    if kept.is_file():
        try:
            before = json.loads(kept.read_text(encoding="utf-8"))
            if before["digest"] == digest:
                return before["wrong"]
        except (ValueError, LookupError, TypeError):
            pass  # damaged: graded again
    wrong = (
        graded(path, name, problems, key)
        if content
        else {p.name: NO_NOTEBOOK for p in problems}
    )
    if ENDED in wrong.values():
        # Whether the notebook did that, or a want of memory beside the others:
        wrong = graded(path, name, problems, key)
    writing.write(
        kept, json.dumps({"digest": digest, "wrong": wrong}, indent=1)
    )
    return wrong


def grade(
    folder: Path, key: str, out: Path, workers: int | None = None
) -> None:
    """Points of everybody in a table; a page of feedback for each; what the checks said, for the lecturer.

    Parameters
    ----------
    folder : as :func:`write` made it, with what came back
    key : the same secret
    out : the table, CSV
    workers : notebooks at once, each in a process of its own; by default as many as there are cores

    Raises
    ------
    ValueError
        If the folder was not made by :func:`write`, the key is another one, there is no place for the table, or
        ``workers`` is below 1.
    RuntimeError
        If another process grades this folder, or a kernel cannot be started.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"{workers} workers; expected at least 1")
    if not (folder / "assignment.json").is_file():
        raise ValueError(
            f"{folder} has no assignment.json; expected a folder that the command 'write' made"
        )
    if not out.parent.is_dir():
        raise ValueError(
            f"{out.parent} is no folder; expected one, for {out.name}"
        )
    told = writing.read_json(
        folder / "assignment.json",
        "take it from a copy of the folder that 'write' made",
    )
    if told["key"] != fingerprint(key):
        raise ValueError(
            f"not the key with which {folder} was written; expected that one: points follow from it"
        )
    problems = [p for p in PROBLEMS if p.name in told["problems"]]
    place = folder / "points"
    with (
        OutputLock(place, "grade a copy of the folder"),
        writing.room_for(place),
    ):
        _grade(folder, key, out, workers, told, problems)


def _grade(
    folder: Path,
    key: str,
    out: Path,
    workers: int | None,
    told: dict,
    problems: list[Problem],
) -> None:
    """The same, alone in the folder."""
    for made in ("points", "feedback"):
        (folder / made).mkdir(exist_ok=True)
    names, found = told["names"], {}
    with ThreadPoolExecutor(workers or cores()) as pool:  # that wait
        asked = {
            pool.submit(kept_or_graded, folder, name, problems, key): name
            for name in names
        }
        try:
            for done in tqdm(
                as_completed(asked), total=len(asked), unit="notebook"
            ):
                found[asked[done]] = done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    rows = []
    for name in names:
        wrong, title = found[name], told.get("title", "Problems")
        mine = [p.drawn(key, name) for p in problems]
        writing.write(
            folder / "feedback" / f"{name}.html",
            feedback.page(name, title, mine, wrong),
        )
        points = {p.name: p.points * (not wrong[p.name]) for p in problems}
        rows.append({"name": name, **points, "points": sum(points.values())})
    with (
        writing.whole(out) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, dest="command")
    writing = commands.add_parser("write", help="a notebook for each student")
    writing.add_argument("roster", type=Path, help="a file, one name per line")
    writing.add_argument("folder", type=Path, help="a new folder")
    writing.add_argument("--chapters", nargs="+", help="default: all")
    writing.add_argument("--title", default="Problems", help="heading")
    writing.add_argument("--key", help="secret; default: a new one, printed")
    grading = commands.add_parser("grade", help="points for what came back")
    grading.add_argument("folder", type=Path, help="as written")
    grading.add_argument("--key", required=True, help="the same secret")
    grading.add_argument("-o", "--out", type=Path, default=Path("points.csv"))
    grading.add_argument(
        "--workers", type=int, help="notebooks at once; default: one a core"
    )
    given = parser.parse_args()
    try:
        if given.command == "write":
            key = given.key or secrets.token_hex(8)
            problems = selected(given.chapters)
            names = read_roster(given.roster)
            write(names, given.folder, problems, key, given.title)
            print(f"{len(names)} notebooks of {len(problems)} problems")
            if not given.key:
                print(f"key, which grading needs: {key}")
        else:
            grade(given.folder, given.key, given.out, given.workers)
            print(given.out, given.folder / "feedback", sep="\n")
    except (ValueError, RuntimeError, OSError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
