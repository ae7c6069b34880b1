"""``glasslit train``: the training notebook as a command. The notebook itself is tested in test_notebook."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import nbformat
import pandas as pd
import pytest

import glasslit as gl
from glasslit import cli, locks
from glasslit.cli import train
from glasslit.learning import template
from glasslit.learning.parameters import PARAMETERS, check_parameters

pytestmark = pytest.mark.usefixtures("forked")

TINY = ["--layers", "1", "--channels", "2", "--l-max", "1", "--n-train", "1", "--times", "0.104", "52", "--no-pictures",
        "--device", "cpu", "-T", "0.56"]  # fmt: skip


def meant(*words):
    """The parameters that a command line stands for."""
    return train.parameters_of(cli._parsed(["train", *map(str, words)])[1])


def refused(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", *words])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_the_help_names_each_parameter_with_its_default_and_comment(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    settings = template.settings(template.find_template())
    assert [s.name for s in settings] == list(PARAMETERS)
    for setting in settings:
        option = train.option_of(setting.name)
        assert f" {option} " in told or f" {option}, " in told
        assert setting.name == "out" or f"(default: {train.WORDS.get(str(setting.default), setting.default)}" in told
    assert (
        "temperature, epsilon_AA / k_B; several share one network and count time in their tau_alpha (default: 0.44)"
        in told
    )
    assert "papermill: -y" not in told.partition("parameters of the notebook")[2]


def test_each_default_can_be_given_and_means_itself():
    """Whatever the notebook's cell assigns can be written as an option."""
    settings = [s for s in template.settings(template.find_template()) if s.default is not None]
    words = [word for s in settings for word in (train.option_of(s.name), str(s.default))]
    assert meant(*words) == {s.name: s.default for s in settings}
    nothing = [name for name, kind in PARAMETERS.items() if kind.none]
    assert meant(*[word for n in nothing for word in (train.option_of(n), "none")]) == dict.fromkeys(nothing)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["-T", "0.5"], {"T": 0.5}),
        (["-T", "0.44", "0.5"], {"T": [0.44, 0.5]}),
        (["--T", "0.5"], {"T": 0.5}),
        (["--times", "13", "412"], {"times": [13, 412]}),
        (["--times", "13,", "412"], {"times": [13, 412]}),
        (["--times", "[13, 412]"], {"times": [13, 412]}),
        (["--times", "13"], {"times": [13]}),
        (["--times", "none"], {"times": None}),
        (["--betas", "0.9", "0.999"], {"betas": [0.9, 0.999]}),
        (["--learning-rate", "1e-3"], {"learning_rate": 0.001}),
        (["--learning_rate", "1e-3"], {"learning_rate": 0.001}),
        (["--shuffle-labels"], {"shuffle_labels": True}),
        (["--shuffle-labels", "no"], {"shuffle_labels": False}),
        (["--no-shuffle-labels"], {"shuffle_labels": False}),
        (["--no-pictures", "--seed", "3"], {"pictures": False, "seed": 3}),
        (["--pictures"], {"pictures": True}),
        (["--no_shuffle_labels"], {"shuffle_labels": False}),
        (["--num-workers", "auto"], {"num_workers": "auto"}),
        (["-p", "T", "0.5", "-p", "seed", "1"], {"T": 0.5, "seed": 1}),
        (["-p", "shuffle_labels", "false"], {"shuffle_labels": False}),
        (["-y", "times: [13, 412]", "-y", "seed: 1"], {"times": [13, 412], "seed": 1}),
        (["-y", "seed: 1", "-p", "seed", "2"], {"seed": 2}),
        (["-y", "seed: 1", "-p", "seed", "2", "--seed", "3"], {"seed": 3}),
    ],
)
def test_options_are_what_is_meant(words, expected):
    found = meant(*words)
    assert found == expected
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in check_parameters(expected).items()}


def test_a_file_of_parameters_gives_way_to_options(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("# a remark\nseed: 7\nbetas: [0.9, 0.999]\nlearning_rate: 1e-3\nshuffle_labels: no\n")
    expected = {"seed": 7, "betas": [0.9, 0.999], "learning_rate": 0.001, "shuffle_labels": False}
    assert meant("--from", path) == meant("-f", path) == expected
    assert meant("--seed", "8", "--from", path) == expected | {"seed": 8}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-T", "hot"], "-T hot; expected a number or a list of different numbers, as in -T 0.44"),
        (["--epochs", "0"], "epochs = 0; expected a whole number of at least 1 or None"),
        (["--times", "soon"], "--times soon; expected a list of numbers or None, as in --times 13 412"),
        (["--betas", "0.9"], "--betas 0.9; expected a list of 2 numbers or None, as in --betas 0.9 0.999"),
        (["--pictures", "maybe"], "--pictures maybe; expected True or False, as in --pictures yes or --pictures no"),
        (["--no-pictures", "yes"], "--no-pictures yes; expected --no-pictures alone"),
        (["--l-max", "2.5"], "--l-max 2.5; expected a whole number of at least 0 or None, as in --l-max 2"),
        (
            ["--network", "botam"],
            "network 'botam'; expected one of se3, ridge, bapst, botan, egnn, mlp; did you mean 'b",
        ),
        (["--data", "startr"], "did you mean 'starter'?"),
        (["-p", "sed", "3"], "unknown parameter sed; expected some of T, data"),
        (["-y", "on: yes"], "-y 'on: yes': a parameter is called True, which is no text; expected some of T, data"),
        (
            ["-y", "on: yes", "-p", "seed", "1"],
            "a parameter is called True, which is no text; expected some of T, data",
        ),
        (["-y", "{on: yes, seed: 1}", "--seed", "1"], "a parameter is called True, which is no text"),
        (["--from", "missing.yaml"], "--from missing.yaml cannot be read"),
        (["-o", "there"], "there is a folder; expected a file such as there/run.ipynb"),
        (["-o", "a/T0.5.txt"], "-o a/T0.5.txt; expected a notebook's name: a/T0.5.ipynb"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(words, message, capsys, tmp_path, monkeypatch):
    """-y "on: yes" beside another parameter ends papermill itself in a TypeError."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert message in refused(words, capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize(
    ("words", "notebook", "out"),
    [
        (["-T", "0.5"], "runs/T0.50.ipynb", "runs/T0.50"),
        (["-T", "0.44", "0.5"], "runs/T0.44+0.50.ipynb", "runs/T0.44+0.50"),
        ([], "runs/T0.44.ipynb", "runs/T0.44"),
        (["-o", "a/T0.5.ipynb"], "a/T0.5.ipynb", "a/T0.5"),
        (["-o", "a/T0.5"], "a/T0.5.ipynb", "a/T0.5"),
        (["--out", "a/T0.5"], "a/T0.5.ipynb", "a/T0.5"),
        (["--out", "b", "-o", "a.ipynb"], "a.ipynb", "b"),
    ],
)
def test_where_notebook_and_results_go(words, notebook, out, tmp_path, monkeypatch):
    given = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(template, "execute", lambda *words: given.extend(words))
    monkeypatch.setattr(train, "_score", lambda place: "")
    cli.main(["train", *words])
    assert (str(given[1]), given[2]["out"]) == (notebook, out)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a run that was made as one types it, and what the command said."""
    folder = tmp_path_factory.mktemp("train")
    words = [sys.executable, "-m", "glasslit", "train", *TINY, "--epochs", "2", "-o", "mine/a.ipynb"]
    return folder, subprocess.run(words, cwd=folder, capture_output=True, text=True)


def test_a_training_leaves_notebook_and_results_side_by_side(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*")) == [
        "mine", "mine/a", "mine/a.ipynb", "mine/a/card.json", "mine/a/history.csv", "mine/a/metrics.json",
        "mine/a/model.pt",
    ]  # fmt: skip
    given = json.loads((folder / "mine" / "a" / "card.json").read_text())["parameters"]
    expected = {"T": 0.56, "times": [0.104, 52], "epochs": 2, "l_max": 1, "pictures": False, "shuffle_labels": False}
    assert {name: given[name] for name in expected} == expected
    about = json.loads((folder / "mine" / "a.ipynb").read_text())["metadata"]["papermill"]
    assert about["exception"] is None
    given = {"layers": 1, "channels": 2, "n_train": 1, "device": "cpu", "out": "mine/a"}
    assert about["parameters"] == given | {k: v for k, v in expected.items() if k != "shuffle_labels"}
    assert gl.load_model(folder / "mine" / "a" / "model.pt").times.tolist() == [0.104, 52.0]


def test_it_tells_epochs_and_scores(finished):
    folder, done = finished
    said = [line for line in done.stderr.splitlines() if "Warning" not in line]
    assert (said[0], said[-1]) == ("reading data, making graphs", "finished")
    assert "2 epochs trained; scoring" in said
    assert "\r" not in done.stderr, "a progress bar is drawn on a terminal only, not in a cluster's log"
    scores = json.loads((folder / "mine" / "a" / "metrics.json").read_text())["test"]["A"]
    assert f"A particles at t = 52: {scores['mean'][-1]:.3f} within configurations" in done.stdout
    assert f"{scores['pooled'][-1]:.3f} over all of them" in done.stdout
    assert "mine/a.ipynb: the executed notebook; mine/a/: model and scores" in done.stdout


def test_what_the_notebook_refuses_is_told_in_a_sentence(tmp_path, capsys, monkeypatch):
    """Without a kernel that loads PyTorch: the template's parameters, and a cell that refuses as its cells do."""
    monkeypatch.chdir(tmp_path)
    made = nbformat.read(template.find_template(), 4)
    (cell,) = [c for c in made.cells if "parameters" in c.metadata.get("tags", [])]
    made.cells = [cell, nbformat.v4.new_code_cell("raise ValueError(f'n_train = {n_train}; expected fewer')")]
    nbformat.write(made, tmp_path / "template.ipynb")
    monkeypatch.setattr(template, "find_template", lambda: tmp_path / "template.ipynb")
    told = refused(["--n-train", "40", "-o", "mine/a.ipynb"], capsys)
    failed = "glasslit: ValueError: n_train = 40; expected fewer; the notebook with the whole traceback is"
    assert told.endswith(f"{failed} mine/.a.failed.ipynb\n")
    assert "Traceback" not in told
    assert [p.name for p in (tmp_path / "mine").iterdir()] == [".a.failed.ipynb"]


def test_a_notebook_that_is_being_written_is_left_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    holder = (
        "from glasslit.locks import OutputLock as L; lock = L('runs/T0.56.ipynb'); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{holder}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        monkeypatch.setattr(locks, "PATIENCE", 0)
        told = refused(TINY, capsys)
        other.communicate("\n")
    assert "runs/T0.56.ipynb is being written by process" in told
    assert "name another notebook (-o runs/NAME.ipynb)" in told
    assert [p.name for p in (tmp_path / "runs").iterdir() if "lock" not in p.name] == []


def epochs_in(history):
    """How many finished epochs the file of an unfinished run tells; it is there a moment before its first."""
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def test_a_killed_training_goes_on_where_it_was(tmp_path, capsys, monkeypatch):
    """The process that trains is killed as for want of memory; `runs` names the run; the same command finishes it."""
    monkeypatch.chdir(tmp_path)
    words = ["train", *TINY, "--epochs", "100"]
    lock, growing = (tmp_path / "runs" / f"T0.56.unfinished.{end}" for end in ("lock", "csv"))
    with subprocess.Popen(
        [sys.executable, "-m", "glasslit", *words], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as first:
        while first.poll() is None and epochs_in(growing) < 1:
            time.sleep(0.05)
        os.kill(json.loads(lock.read_text())["process"], signal.SIGKILL)
        told = first.communicate()[1]
    assert first.returncode == 2
    assert "the process that trains has died" in told
    before = pd.read_csv(growing)
    assert 1 <= len(before) < 100
    cli.main(["runs"])
    assert f"runs/T0.56: unfinished, at epoch {len(before)} 0 minutes ago" in capsys.readouterr().out
    cli.main(words)
    after = pd.read_csv(tmp_path / "runs" / "T0.56" / "history.csv")
    assert len(after) == 100
    assert after.seconds[: len(before)].tolist() == before.seconds.tolist()
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["T0.56", "T0.56.ipynb"]


def test_an_interrupt_ends_it_at_once_and_in_a_sentence(tmp_path):
    growing = tmp_path / "runs" / "T0.56.unfinished.csv"
    words = [sys.executable, "-m", "glasslit", "train", *TINY, "--epochs", "100000"]
    # A shell's background job ignores interrupts, and so would a training that these tests start there.
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=heard) as running:
        try:
            while running.poll() is None and epochs_in(growing) < 1:
                time.sleep(0.05)
            running.send_signal(signal.SIGINT)
            told = running.communicate(timeout=60)[1]
        finally:
            running.kill()  # a training that did not hear it would take hours
    assert running.returncode == 130
    assert told.endswith("glasslit: interrupted; the same command goes on from here\n")
    assert "Traceback" not in told
    left = sorted(p.name for p in growing.parent.iterdir())
    assert left == ["T0.56.unfinished.csv", "T0.56.unfinished.pt"]
