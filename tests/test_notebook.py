"""``book/train.ipynb`` as a user runs it: through papermill, in a folder of one's own."""

import ast
import json
import re
import shutil
import subprocess
import sys
from unittest.mock import MagicMock

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import papermill
import pytest

import glasslit as gl
from glasslit.liquid.configuration import SPLITS
from tests.common import ROOT

TEMPLATE = ROOT / "book" / "train.ipynb"
TINY = {"epochs": 3, "layers": 1, "channels": 2, "l_max": 1, "n_train": 1}


def run(folder, name="run.ipynb", **parameters):
    folder.mkdir(exist_ok=True)
    path = folder / name
    return papermill.execute_notebook(TEMPLATE, path, TINY | parameters, cwd=str(folder), progress_bar=False)


def parameter_names():
    (cell,) = [c for c in nbformat.read(TEMPLATE, 4).cells if "parameters" in c.metadata.get("tags", [])]
    return [node.targets[0].id for node in ast.parse(cell.source).body]


def test_the_check_knows_the_parameters():
    """The notebook's list of names, run by itself, equals the names that the parameters cell assigns."""
    source = next(c.source for c in nbformat.read(TEMPLATE, 4).cells if c.source.startswith("first_time ="))
    scope = dict.fromkeys(parameter_names())
    exec(source.split("if first_time")[0], scope)
    assert list(scope["parameters"]) == parameter_names()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a run that an error in a figure broke off after training, and that was then named again."""
    folder = tmp_path_factory.mktemp("run")
    chosen = {"T": 0.56, "seed": 4, "times": [0.104, 52.0]}
    notebook = nbformat.read(TEMPLATE, 4)
    cell = next(c for c in notebook.cells if c.source.startswith("plotting.rho_against_time"))
    cell.source = "raise SystemError('killed')"
    nbformat.write(notebook, folder / "broken.ipynb")
    with pytest.raises(papermill.PapermillExecutionError, match="killed"):
        papermill.execute_notebook(
            folder / "broken.ipynb", folder / "a.ipynb", TINY | chosen, cwd=str(folder), progress_bar=False
        )
    shutil.copy(folder / "runs" / "T0.56.unfinished.csv", folder / "broken.csv")
    run(folder, **chosen)
    return folder


def test_a_run_interrupted_after_training_does_not_train_again(finished):
    """It takes the finished epochs from the checkpoint."""
    again = pd.read_csv(finished / "runs" / "T0.56" / "history.csv")
    assert again.seconds.tolist() == pd.read_csv(finished / "broken.csv").seconds.tolist()
    assert [p.name for p in (finished / "runs").iterdir()] == ["T0.56"]


def test_a_run_leaves_what_the_design_says(finished):
    out = finished / "runs" / "T0.56"
    assert sorted(p.name for p in out.iterdir()) == ["card.json", "history.csv", "metrics.json", "model.pt"]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["times"] == [0.104, 52.0]
    for kind in "AB":
        assert {k: len(v) for k, v in metrics["test"][kind].items()} == dict.fromkeys(
            ["mean", "pooled", "ceiling", "density", "E_IS"], 2
        )
    card = json.loads((out / "card.json").read_text())
    assert (card["parameters"]["T"], card["parameters"]["n_train"], card["seed"]) == (0.56, 1, 4)
    assert len(pd.read_csv(out / "history.csv")) == 3
    model = gl.load_model(out / "model.pt")
    test = gl.load("starter", T=0.56, split="test")
    again = gl.evaluate(model, gl.load("starter", T=0.56, split="train"), [c.at_times([0.104, 52.0]) for c in test])
    assert again["test"]["A"]["pooled"] == pytest.approx(metrics["test"]["A"]["pooled"], abs=1e-5)


def test_a_run_that_breaks_off_leaves_an_earlier_one_whole(finished, tmp_path, monkeypatch):
    shutil.copytree(finished / "runs", tmp_path / "runs")
    before = {p.name: p.read_bytes() for p in (tmp_path / "runs" / "T0.56").iterdir()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("IPython.display.display", MagicMock())
    monkeypatch.setattr("glasslit.plotting.rho_against_time", MagicMock(side_effect=SystemError("killed")))
    with pytest.raises(SystemError, match="killed"):
        in_this_process(TINY | {"T": 0.56, "times": [52.0]})
    assert {p.name: p.read_bytes() for p in (tmp_path / "runs" / "T0.56").iterdir()} == before
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == [
        "T0.56",
        "T0.56.unfinished.csv",
        "T0.56.unfinished.pt",
    ]


def test_a_finished_run_named_again_trains_anew(finished, tmp_path):
    shutil.copytree(finished / "runs", tmp_path / "runs")
    model = tmp_path / "runs" / "T0.56" / "model.pt"
    before = model.stat().st_mtime_ns
    run(tmp_path, T=0.56, epochs=2)
    assert model.stat().st_mtime_ns > before
    assert len(pd.read_csv(model.parent / "history.csv")) == 2


def in_this_process(parameters):
    """The notebook's cells one after the other, without a kernel, which takes ten seconds to start and train."""
    scope, cells = {"__name__": "__main__"}, iter(c for c in nbformat.read(TEMPLATE, 4).cells if c.cell_type == "code")
    for cell in cells:
        exec(cell.source, scope)
        if "parameters" in cell.metadata.get("tags", []):
            break
    scope |= parameters
    for cell in cells:
        exec(cell.source, scope)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"data": "small.h5", "T": 0.5}, "an edge shorter than twice the cutoff"),
        ({"data": "bare.h5", "T": 0.5}, "has no potential_energy_inherent"),
        ({"epoch": 3}, "unknown parameters epoch; expected some of T, data, inputs"),
        ({"T": "hot"}, "T = 'hot'; expected a number"),
        ({"T": 0.45}, "T = 0.45 is not in starter.h5; it holds T = 0.44, 0.47, 0.50, 0.56"),
        ({"inputs": "thermal+E"}, "inputs 'thermal+E'; expected one of thermal"),
        ({"n_train": 40}, "n_train = 40; the training split has"),
        ({"times": [1.0]}, "times"),
        ({"preset": "huge"}, "preset 'huge'"),
        ({"device": "tpu3"}, "device 'tpu3'"),
        ({"network": "botam", "l_max": None}, "baseline 'botam'; expected one of ridge, bapst"),
        ({"network": "egnn"}, "'l_max'; expected those of BaselineConfig"),
    ],
)
def test_bad_parameters_are_refused_with_nothing_written(tmp_path, monkeypatch, parameters, message):
    for name, n, changes in (("small", 60, {}), ("bare", 300, {"potential_energy_inherent": None})):
        made = [gl.testing.random_liquid(n, seed=k).replace(split=s, **changes) for k, s in enumerate(SPLITS)]
        gl.save(tmp_path / f"{name}.h5", made)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        in_this_process(TINY | parameters)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("network", "sizes"), [("ridge", {}), ("egnn", {"layers": 1, "channels": 4}), ("mlp", {})])
def test_baselines_leave_the_same_files(tmp_path, monkeypatch, network, sizes):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("IPython.display.display", MagicMock())
    in_this_process({"T": 0.56, "network": network, "n_train": 1, "epochs": 2, "times": [0.104, 52.0]} | sizes)
    plt.close("all")
    out = tmp_path / "runs" / "T0.56"
    assert sorted(p.name for p in out.iterdir()) == ["card.json", "history.csv", "metrics.json", "model.pt"]
    assert [p.name for p in out.parent.iterdir()] == ["T0.56"]
    assert type(gl.load_model(out / "model.pt")) is gl.baselines.BASELINES[network]
    assert json.loads((out / "card.json").read_text())["parameters"]["network"] == network
    assert (len(pd.read_csv(out / "history.csv")) == 2) == (network != "ridge")


def test_papermill_tells_why(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        run(tmp_path, n_train=40)
    assert caught.value.ename == "ValueError"
    assert "n_train = 40; the training split has" in caught.value.evalue
    assert not (tmp_path / "runs").exists()


def test_without_an_output_path_the_notebook_goes_to_a_pipe(tmp_path):
    command = [sys.executable, "-m", "papermill", str(TEMPLATE), "-p", "T", "0.56"]
    for name, value in TINY.items():
        command += ["-p", name, str(value)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    written = nbformat.reads(done.stdout, 4)
    assert written.metadata.papermill.exception is None
    assert (tmp_path / "runs" / "T0.56" / "metrics.json").exists()
