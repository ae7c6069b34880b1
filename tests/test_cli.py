"""The command's wiring: help at once, each command in a module of its own, what is wrong in a sentence."""

import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import glasslit as gl
from glasslit import cli
from glasslit.cli import common
from glasslit.cli.common import Log, watch
from glasslit.simulate.engines import ENGINES
from glasslit.simulate.protocol import Progress

HEAVY = {"torch", "numpy", "scipy", "h5py", "ase", "pandas", "e3nn", "torch_geometric", "matplotlib", "papermill"}


def loaded_by(*each):
    """Modules that are loaded when a fresh process has been given these words, one command line after the other."""
    code = f"""
import sys
from glasslit.cli import main
for words in {each!r}:
    try:
        main(words)
    except SystemExit:
        pass
print("LOADED", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.rpartition("LOADED ")[2].split())


def test_help_and_version_load_nothing_that_computes():
    """Half a second and more of imports are for those who compute."""
    loaded = loaded_by(["--help"], ["--version"], [], ["nothing"])
    assert not loaded & (HEAVY | {"tqdm"})
    assert not {name for name in loaded if name.startswith("glasslit.cli.")}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_a_command_loads_nothing_that_computes(name):
    loaded = loaded_by([name, "--help"])
    assert f"glasslit.cli.{name}" in loaded
    assert not loaded & HEAVY


def test_loading_would_be_seen():
    """A control for the two tests above."""
    assert {"numpy", "h5py"} <= loaded_by(["data", "nothing.h5"])


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_is_a_module_that_says_what_it_does(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    module = import_module(f"glasslit.cli.{name}")
    assert told.startswith(f"usage: glasslit {name}")
    assert " ".join(module.DESCRIPTION.split()) in told
    assert told.endswith(f"example: {module.EXAMPLE}")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_example_of_a_command_is_understood(name):
    """argparse takes it; what it does is tested with each command."""
    first, *words = shlex.split(import_module(f"glasslit.cli.{name}").EXAMPLE)
    assert (first, words[0]) == ("glasslit", name)
    _, arguments = cli._parsed(cli._whole(words))
    assert arguments.run is import_module(f"glasslit.cli.{name}").run


def test_commands_are_the_modules_of_the_room(capsys):
    files = {p.stem for p in Path(cli.__file__).parent.glob("*.py")} - {"__init__", "__main__", "common"}
    assert set(cli.COMMANDS) == files
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {purpose}" in told for name, purpose in cli.COMMANDS.items())
    places = [told.index(f" {name} {purpose}") for name, purpose in cli.COMMANDS.items()]
    assert places == sorted(places)
    assert list(cli.COMMANDS)[:4] == ["predict", "train", "runs", "models"]


def refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_word_that_is_no_command_lists_those_that_are(capsys):
    told = refused(["trian"], capsys)
    assert all(name in told for name in cli.COMMANDS)
    assert told.endswith("did you mean 'train'?\n")
    assert "did you mean" not in refused(["everything"], capsys)
    assert "required" in refused([], capsys)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "--sed", "3"], "unrecognized arguments: --sed 3; did you mean '--seed'?"),
        (["train", "--learningrate=1"], "unrecognized arguments: --learningrate=1; did you mean '--learning-rate'?"),
        (["runs", "--sort", "polled"], "did you mean 'pooled'?"),
        (["label", "starter", "-T", "0.5", "-o", "a.h5", "--engine", "lamps"], "did you mean 'lammps'?"),
        (["predict", "a", "-o", "b.xyz", "--model", "thermal-0.56"], "did you mean 'thermal-T0.56'"),
        (["data", "show", "startr"], "did you mean 'starter'?"),
    ],
)
def test_a_misspelled_name_is_recognized(words, meant, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert meant in refused(words, capsys)


def test_names_in_the_help_are_those_of_the_package():
    """They are written twice, because the modules that own them load PyTorch."""
    assert common.POTENTIALS == gl.kob_andersen.POTENTIALS
    assert common.ENGINES == ENGINES


def test_a_table_lines_up():
    told = common.table(["name", "T", "score"], [["first", "0.44", "0.6"], ["b", "0.5", "-"]])
    assert told.splitlines() == ["name      T  score", "first  0.44    0.6", "b       0.5      -"]


@pytest.mark.parametrize("module", ["glasslit", "glasslit.cli"])
def test_python_m_is_the_command(module):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True)
    assert done.stdout == f"glasslit {cli.version()}\n"


def test_a_log_file_gets_few_lines_and_a_terminal_none(capsys, monkeypatch):
    """One line a minute at most, nothing twice; what must not wait does not."""
    clock = [0.0]
    monkeypatch.setattr("glasslit.cli.common.time.monotonic", lambda: clock[0])
    log = Log(seconds=60)
    for second in range(150):
        clock[0] = float(second)
        log.say(f"{second // 10} of 15")
    assert capsys.readouterr().err.splitlines() == ["6 of 15", "12 of 15"]
    for _ in range(2):
        log.say("15 of 15", now=True)
    assert capsys.readouterr().err.splitlines() == ["15 of 15"]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    log.say("on a terminal the bar says it", now=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("seconds_left", [float("nan"), 600.0])
def test_work_that_is_watched_from_a_file(seconds_left, capsys):
    """A bar that is drawn again and again would fill the file: it has no carriage return."""
    watch((Progress(done, 500, seconds_left) for done in range(501)), "run")
    assert capsys.readouterr().err == "500 of 500 runs are done" + ", about 10 min left" * (seconds_left > 0) + "\n"
