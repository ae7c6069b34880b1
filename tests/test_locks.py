"""One writer at a time, between real processes, some of which are killed."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from glasslit import locks
from glasslit.cli import main
from glasslit.locks import OutputLock

HOLD = """
import os, sys, time
from glasslit.locks import OutputLock
lock = OutputLock(sys.argv[1], patience=60)
if sys.argv[2] == "fork" and os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(600)
elif sys.argv[2] != "fork":
    print("taken", flush=True)
if sys.stdin.readline():
    lock.release()
    print("released", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def hold():
    """Start a process that takes a lock; it gives the lock back when it reads a line, and ends with this test."""
    started = []

    def start(output, how="alone"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(output), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def kill(process):
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"


def test_the_second_is_told_who_writes_until_the_first_is_killed(hold, tmp_path):
    first = hold(tmp_path / "a")
    assert first.stdout.readline() == "taken\n"
    with pytest.raises(RuntimeError) as refused:
        OutputLock(tmp_path / "a", "go elsewhere", patience=0)
    told = re.fullmatch(
        rf"{tmp_path}/a is being written by process (\d+) on (\S+) since (.*) \({tmp_path}/a.unfinished.lock is "
        r"locked\); expected one run at a time: wait until it has ended, stop it, or go elsewhere",
        str(refused.value),
    )
    assert told, refused.value
    assert (int(told[1]), told[2]) == (first.pid, socket.gethostname())
    assert datetime.fromisoformat(told[3]).tzinfo
    kill(first)
    assert (tmp_path / "a.unfinished.lock").exists()
    with OutputLock(tmp_path / "a", patience=0) as lock:
        assert f'"process": {os.getpid()},' in lock.path.read_text()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_what_the_killed_one_forked_does_not_keep_the_lock(hold, tmp_path):
    """As workers do that make graphs: they notice seconds later that nobody wants any."""
    first = hold(tmp_path / "a", "fork")
    child = int(first.stdout.readline())
    try:
        with pytest.raises(RuntimeError, match=f"process {first.pid} on"):
            OutputLock(tmp_path / "a", patience=0)
        kill(first)
        OutputLock(tmp_path / "a", patience=0).release()
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_who_waits_gets_a_lock_that_keeps_others_out(hold, tmp_path):
    """The first removes its file as it leaves: nobody may hold one that is gone, beside another's new one."""
    first = hold(tmp_path / "a")
    assert first.stdout.readline() == "taken\n"
    second = hold(tmp_path / "a")
    first.stdin.write("\n")
    first.stdin.flush()
    assert second.stdout.readline() == "taken\n"
    with pytest.raises(RuntimeError, match=f"process {second.pid} on"):
        OutputLock(tmp_path / "a", patience=0)
    assert first.stdout.readline() == "released\n"
    OutputLock(tmp_path / "b", patience=0).release()  # another place is free


def test_who_holds_it_gets_it_again_and_nothing_is_left(tmp_path, hold):
    lock = OutputLock(tmp_path / "new" / "folder" / "a")
    again = OutputLock(tmp_path / "new" / "folder" / "a", patience=0)
    again.release()
    assert not lock.path.exists()
    lock.release()
    assert not list(tmp_path.iterdir())
    lock = OutputLock(tmp_path / "new" / "a")
    (tmp_path / "new" / "a").touch()
    lock.release()
    other = hold(tmp_path / "new" / "a")
    assert other.stdout.readline() == "taken\n"
    lock.release()  # twice: the other's is not touched
    with pytest.raises(RuntimeError, match=f"process {other.pid} on"):
        OutputLock(tmp_path / "new" / "a", patience=0)


def test_work_that_fails_gives_the_lock_back_and_work_that_ends_keeps_it(tmp_path):
    def work(fails):
        yield 1
        if fails:
            raise KeyboardInterrupt

    lock = OutputLock(tmp_path / "a")
    assert list(lock.through(work(False))) == [1]
    assert lock.path.exists()
    with pytest.raises(KeyboardInterrupt):
        list(lock.through(work(True)))
    assert not lock.path.exists()


@pytest.mark.parametrize(("number", "harmless"), [(errno.ENOLCK, True), (errno.ENOSYS, True), (errno.EIO, False)])
def test_a_file_system_without_locks_is_written_to_with_a_warning(tmp_path, monkeypatch, number, harmless):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    if not harmless:
        with pytest.raises(OSError, match=os.strerror(number)):
            OutputLock(tmp_path / "a")
        return
    with pytest.warns(UserWarning, match="no locks here"):
        lock = OutputLock(tmp_path / "a")
    lock.release()
    assert not list(tmp_path.iterdir())


def test_a_note_that_cannot_be_read_is_no_reason_to_fail(hold, tmp_path):
    assert hold(tmp_path / "a").stdout.readline() == "taken\n"
    (tmp_path / "a.unfinished.lock").write_text("[]")
    with pytest.raises(RuntimeError, match="a is being written by another process"):
        OutputLock(tmp_path / "a", patience=0)


@pytest.mark.parametrize(
    "words",
    [
        "label starter -T 0.56 -o OUT.h5",
        "simulate -T 0.64 -N 100 -o OUT.h5",
        "predict IN.extxyz --model thermal-T0.56 -o OUT.extxyz",
    ],
)
def test_commands_refuse_an_output_that_another_one_writes(words, hold, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "PATIENCE", 0)
    words = words.replace("OUT", str(tmp_path / "out")).split()
    other = hold(words[-1])
    assert other.stdout.readline() == "taken\n"
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert f"{words[-1]} is being written by process {other.pid} on" in told
    assert "stop it, or name another" in told
    assert [p.name for p in tmp_path.iterdir()] == [f"{Path(words[-1]).name}.unfinished.lock"]
