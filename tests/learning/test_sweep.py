"""Sweeps: what a TOML file means, and what failing, killed and repeated runs leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from glasslit import cli
from glasslit.learning.sweep import read_sweep, results, side_by_side, summary, sweep
from tests.common import ROOT

pytestmark = pytest.mark.usefixtures("forked")

BODY = """
import json, os, time
from pathlib import Path
folder = Path(out)
folder.mkdir(parents=True, exist_ok=True)
steps = folder / "steps"  # as a checkpoint: a run goes on where it was killed
while (made := len(steps.read_text()) if steps.exists() else 0) < 4:
    with steps.open("a") as file:
        file.write("x")
    time.sleep(pause)
if x == 3:
    raise ValueError("three is too many")
scores = {kind: {"mean": [0.0, x / 10 + seed]} for kind in "AB"}
(folder / "metrics.json").write_text(json.dumps({"times": [1.0, 2.0], "test": scores}))
(folder / "card.json").write_text(json.dumps({"wall_seconds": 1.0, "threads": os.environ.get("OMP_NUM_THREADS")}))
"""
TOML = """
notebook = "tiny.ipynb"
folder = "runs"
name = "x{x}-seed{seed}"
[all]
pause = %g
[each]
x = %s
seed = [0, 1]
"""


@pytest.fixture
def write(tmp_path):
    cell = nbformat.v4.new_code_cell("x = 1\nseed = 0\npause = 0.0\nout = None", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    tiny = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_code_cell(BODY)], metadata=kernel)
    nbformat.write(tiny, tmp_path / "tiny.ipynb")

    def written(text=TOML, x=(1, 2), pause=0.0):
        path = tmp_path / "sweep.toml"
        path.write_text(text % (pause, list(x)) if text is TOML else text)
        return path

    return written


def test_every_combination_is_a_run(write, tmp_path):
    runs = read_sweep(write(x=[1, 2, 4]))
    assert [r.name for r in runs] == [f"x{x}-seed{seed}" for x in (1, 2, 4) for seed in (0, 1)]
    assert runs[0].parameters == {"pause": 0.0, "x": 1, "seed": 0}
    assert runs[0].executed == tmp_path / "runs" / "x1-seed0.ipynb"
    assert not any(r.finished() for r in runs)
    assert {r.memory for r in runs} == {2.0}
    assert read_sweep(write("memory = 0.5" + TOML % (0, [1])))[0].memory == 0.5
    pairs = "[[either]]\nx = 1\npause = 0.5\n[[either]]\nx = 2\npause = 0.25\n"
    runs = read_sweep(write((TOML % (0, [1])).replace("x = [1]", "").replace("pause = 0", "") + pairs))
    assert [(r.name, r.parameters["pause"]) for r in runs] == [
        ("x1-seed0", 0.5),
        ("x2-seed0", 0.25),
        ("x1-seed1", 0.5),
        ("x2-seed1", 0.25),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("x = [1]", "y = [1]"), r"has no parameters \['y'\]; expected some of \['pause', 'seed', 'x'\]"),
        (("x = [1]", "x = 1"), r"\['x'\] are no lists with values"),
        (("x = [1]", "x = []"), r"\['x'\] are no lists with values"),
        (("x = [1]", "x = [1, 1]"), "4 runs have 2 names"),
        (("x = [1]", "x = [1]\npause = [1]"), r"\['pause'\] are in \[all\] too"),
        (("x{x}-seed{seed}", "x{x}"), "2 runs have 1 names"),
        (("x{x}-", "{depth}-"), r"name = '\{depth\}-seed\{seed\}' needs 'depth'"),
        (("tiny.ipynb", "none.ipynb"), "no notebook .*none.ipynb"),
        (("folder", "where"), r"unknown where; missing folder; .*relative to the file"),
        (("[each]", "[each"), "is no sweep"),
        (("folder", 'memory = "much"\nfolder'), "memory = 'much'; expected the GB"),
        (("x = [1]", 'out = ["a"]'), "has no parameters"),
        (("seed = [0, 1]", "sed = [0, 1]"), r"has no parameters \['sed'\]; expected .*did you mean 'seed'\?"),
        (
            ("seed = [0, 1]", "seed = [0, 1]\n[[either]]\nx = 2"),
            "expected the same parameters in each, and none of them in",
        ),
        (("seed = [0, 1]", "[[either]]\nseed = 2\n[[either]]\ny = 1"), "expected the same parameters in each"),
    ],
)
def test_a_sweep_that_cannot_be_meant(write, change, message):
    with pytest.raises(ValueError, match=message):
        read_sweep(write((TOML % (0.0, [1])).replace(*change)))


def test_a_name_with_a_slash_is_refused(write):
    path = write((TOML % (0.0, [1])).replace('name = "', 'name = "of/'))
    with pytest.raises(ValueError, match=r"a run would be named 'of/.*; expected no slash in name"):
        read_sweep(path)


def test_failing_runs_are_told_and_the_others_finish(write, tmp_path, capsys, monkeypatch):
    path = write(x=[1, 3])
    warned = {"x1-seed0.ipynb": ["a relative validates"]}
    monkeypatch.setattr("glasslit.learning.template.warnings_in", lambda executed: warned.get(executed.name, []))
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", str(path), "--workers", "2"])
    assert ended.value.code == 2
    told = capsys.readouterr()
    everything = told.out + told.err
    assert "x3-seed0 failed: ValueError: three is too many\n" in everything, "a line; the notebook has the traceback"
    assert "Traceback" not in everything
    assert everything.count("warning: ") == everything.count("x1-seed0: warning: a relative validates\n") == 1
    assert "2 of 4 runs failed, x3-seed0, x3-seed1" in told.err
    progress = [line for line in told.err.splitlines() if "runs are done" in line]
    assert progress[0].startswith("0 of 4 runs are done; running: x1-seed0")
    assert len(progress) == len(set(progress)), "a line for each change"
    assert "\r" not in told.err
    kept = sorted(p.name for p in (tmp_path / "runs").iterdir() if p.is_file())
    assert kept == [".x3-seed0.failed.ipynb", ".x3-seed1.failed.ipynb", "x1-seed0.ipynb", "x1-seed1.ipynb"]

    runs = read_sweep(path)
    table = summary(runs)
    assert table.loc["x1-seed1", ["x", "seed", "time", "A", "seconds"]].tolist() == [1, 1, 2.0, 1.1, 1.0]
    assert table.loc["x3-seed0", ["time", "A"]].isna().all()
    threads = json.loads((tmp_path / "runs" / "x1-seed0" / "card.json").read_text())["threads"]
    assert threads == str(max(1, os.cpu_count() // 2))

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").glob("x1*.ipynb")}
    (last,) = sweep([r for r in runs if r.parameters["x"] == 1])
    assert (last.done, last.total, last.failed) == (2, 2, {})
    assert before == {p: p.stat().st_mtime_ns for p in before}, "what is finished is not made again"
    with pytest.raises(ValueError, match=r"x1-seed0\.ipynb was made with pause = 0, now 0\.5"):
        list(sweep(read_sweep(write(x=[1], pause=0.5))))


def test_a_killed_sweep_goes_on(write, tmp_path):
    """SIGKILL to all of it while two runs are under way; finished steps of both are not made again."""
    path = write(x=[1], pause=1.0)
    command = [sys.executable, "-m", "glasslit.cli", "sweep", str(path), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    steps = [tmp_path / "runs" / f"x1-seed{seed}" / "steps" for seed in (0, 1)]
    while process.poll() is None and not all(s.exists() for s in steps):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    until = time.monotonic() + 20
    while still_running(tmp_path):  # workers and their kernels notice
        assert time.monotonic() < until, "a kernel outlives its sweep"
        time.sleep(0.1)
    made = [len(s.read_text()) for s in steps]
    assert all(1 <= n < 4 for n in made)
    assert not list((tmp_path / "runs").glob("x1*.ipynb"))
    cli.main(["sweep", str(path), "--workers", "1"])
    assert [s.read_text() for s in steps] == ["xxxx", "xxxx"]
    assert len(list((tmp_path / "runs").glob("x1*.ipynb"))) == 2


def still_running(folder):
    """Whether any kernel goes on: each makes a step every second."""
    before = [len(s.read_text()) for s in folder.rglob("steps")]
    time.sleep(1.3)
    return before != [len(s.read_text()) for s in folder.rglob("steps")]


def test_a_worker_that_dies_is_replaced(write, tmp_path):
    runs, killed, reports = read_sweep(write(x=[1], pause=0.3)), False, []
    for progress in sweep(runs, workers=1, patience=0.1):
        reports.append(progress)
        if not killed and (tmp_path / "runs" / "x1-seed0" / "steps").exists():
            children = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True).stdout.split()
            for child in children:
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)
                    killed = True
                    break
    assert killed
    assert (reports[-1].done, reports[-1].failed) == (2, {})
    assert (tmp_path / "runs" / "x1-seed0" / "steps").read_text() == "xxxx"


def test_a_dask_cluster_takes_the_runs(write):
    distributed = pytest.importorskip("distributed", reason="pip install 'glasslit[cluster]'")
    runs = read_sweep(write(x=[1, 3]))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        *_, last = sweep(runs, executor=client.get_executor())
    assert (last.done, last.total) == (2, 4)
    assert sorted(last.failed) == ["x3-seed0", "x3-seed1"]
    assert "three is too many" in last.failed["x3-seed0"]


def test_as_many_as_memory_allows(monkeypatch):
    import psutil

    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 9e9})())
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert [side_by_side(gb) for gb in (2.0, 4.0, 20.0, 0.01)] == [4, 2, 1, 64]


def test_results_are_those_of_the_files(tmp_path):
    runs = ROOT / "book" / "runs"
    table = results(runs)
    for name in ("T0.44", "standard-IS-T0.56"):
        found = json.loads((runs / name / "metrics.json").read_text())
        for kind in "AB":
            own = table[(table.run == name) & (table.type == kind)]
            assert own.time.tolist() == found["times"]
            for score in ("mean", "pooled", "ceiling"):
                assert own[score].tolist() == found["test"][kind][score]
            history = (runs / name / "history.csv").read_text().splitlines()
            best = max(float(line.split(",")[history[0].split(",").index("val_rho")]) for line in history[1:])
            assert set(own.validation) == {best}
        assert set(own["inputs"]) == {json.loads((runs / name / "card.json").read_text())["parameters"]["inputs"]}
    assert table.run.nunique() == len(list(runs.glob("*/metrics.json")))
    with pytest.raises(ValueError, match=r"no finished run in .*; expected folders with metrics\.json"):
        results(tmp_path)
