"""The command's wiring: help at once, each command in a module of its own, what is wrong in a sentence."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from glasslit import cli


def test_help_and_version_load_nothing_that_computes():
    """Half a second and more of imports are for those who compute."""
    code = """
import sys
from glasslit.cli import main
for words in (["--help"], ["--version"], [], ["nothing"]):
    try:
        main(words)
    except SystemExit:
        pass
heavy = {"torch", "numpy", "scipy", "h5py", "ase", "pandas", "e3nn", "torch_geometric", "matplotlib", "tqdm"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert not {name for name in sys.modules if name.startswith("glasslit.cli.")}
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_is_a_module_that_says_what_it_does(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    module = import_module(f"glasslit.cli.{name}")
    assert told.startswith(f"usage: glasslit {name}")
    assert module.DESCRIPTION is None or " ".join(module.DESCRIPTION.split()) in told


def test_commands_are_the_modules_of_the_room(capsys):
    files = {p.stem for p in Path(cli.__file__).parent.glob("*.py")} - {"__init__", "__main__", "common"}
    assert set(cli.COMMANDS) == files
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {purpose}" in told for name, purpose in cli.COMMANDS.items())


def test_a_word_that_is_no_command_lists_those_that_are(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert all(name in told for name in cli.COMMANDS)


def test_python_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "glasslit.cli", "--version"], capture_output=True, text=True)
    assert done.stdout == f"glasslit {cli.version()}\n"
