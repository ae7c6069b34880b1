"""``book/train.ipynb`` as a user runs it: through papermill, in a folder of one's own."""

import ast
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from unittest.mock import MagicMock

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest

import glasslit as gl
from glasslit import locks, provenance
from glasslit.learning.parameters import PARAMETERS, check_parameters
from glasslit.learning.sweep import validation_score
from glasslit.liquid.configuration import SPLITS
from glasslit.locks import OutputLock
from glasslit.provenance import data_hash
from tests.common import ROOT

pytestmark = pytest.mark.usefixtures("forked")

TEMPLATE = ROOT / "book" / "train.ipynb"
TINY = {"epochs": 3, "layers": 1, "channels": 2, "l_max": 1, "n_train": 1, "device": "cpu"}


def run(folder, name="run.ipynb", **parameters):
    folder.mkdir(exist_ok=True)
    path = folder / name
    return papermill.execute_notebook(TEMPLATE, path, TINY | parameters, cwd=str(folder), progress_bar=False)


def parameter_names():
    (cell,) = [c for c in nbformat.read(TEMPLATE, 4).cells if "parameters" in c.metadata.get("tags", [])]
    return [node.targets[0].id for node in ast.parse(cell.source).body]


def test_the_check_knows_the_parameters():
    """Its names are those that the notebook's cell assigns, and what that cell assigns passes as it is."""
    assert list(PARAMETERS) == parameter_names()
    (cell,) = [c for c in nbformat.read(TEMPLATE, 4).cells if "parameters" in c.metadata.get("tags", [])]
    scope = {}
    exec(cell.source, {}, scope)
    assert check_parameters(scope) == scope
    assert {name: type(value) for name, value in check_parameters(scope).items()} == {
        name: type(value) for name, value in scope.items()
    }


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
            ["mean", "pooled", "ceiling", "ceiling_within", "density", "E_IS"], 2
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
        "T0.56.unfinished.lock",
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
        ({"epoch": 3}, "unknown parameter epoch; expected some of T, data, inputs"),
        ({"T": "hot"}, "T = 'hot'; expected a number"),
        ({"shuffle_labels": "maybe"}, "shuffle_labels = 'maybe'; expected True or False"),
        ({"times": "[13, 52]"}, '-y "times: [13, 52]"'),
        ({"T": 0.45}, "T = 0.45 is not in starter.h5; it holds T = 0.44, 0.47, 0.50, 0.56"),
        ({"inputs": "thermal+E"}, "inputs 'thermal+E'; expected one of thermal"),
        ({"n_train": 40}, "n_train = 40; the training split has"),
        ({"fold": 4}, "fold = 4; expected a whole number from 0 to 3, as there are 3 training and 1 val"),
        ({"fold": 1, "start_from": "runs/other"}, "fold=1 with start_from='runs/other'; expected fold 0"),
        (
            {"fold": "all", "pretrain": "u_IS"},
            "fold='all' with pretrain = 'u_IS'; expected a fold with a number",
        ),
        ({"fold": "all", "n_train": 1}, "fold='all' with n_train = 1; expected a fold with a number"),
        (
            {"fold": "all", "network": "ridge", "l_max": None, "n_train": None},
            "fold='all' with network = 'ridge'; expected a fold",
        ),
        ({"fold": "every"}, "fold = 'every'; expected a whole number of at least 0 or 'all'"),
        ({"T": [0.44, 0.5], "fold": 1, "n_train": None}, "fold = 1 with T = [0.44, 0.5]; expected 0: all that"),
        ({"T": [0.44, 0.5], "n_train": 1}, "n_train = 1 with T = [0.44, 0.5]; expected None: all that"),
        ({"times": [1.0]}, "times"),
        ({"preset": "huge"}, "preset 'huge'"),
        ({"device": "tpu3"}, "device 'tpu3'"),
        ({"network": "botam", "l_max": None}, "network 'botam'; expected one of se3, ridge, bapst"),
        ({"network": "egnn"}, "'l_max'; expected those of BaselineConfig"),
        ({"products": 4}, "products = 4; expected a number of factors"),
        ({"network": "egnn", "attention": True}, "attention = True with network='egnn'; expected False, or"),
        ({"network": "mlp", "mirror_images": True}, "mirror_images = True with network='mlp'; expected False, or"),
        ({"pretrain": "E_IS"}, "task 'E_IS' with inputs 'thermal+E_IS'; expected inputs without E_IS"),
        ({"pretrain": "noise", "start_from": "other"}, "expected one of them, and 'se3'"),
        ({"start_from": "other"}, "model 'other'; expected a file, the folder of a run"),
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


@pytest.mark.filterwarnings("ignore:.*of one simulation")
def test_another_fold_validates_on_another_configuration(tmp_path, monkeypatch):
    """The held-out part chose the epoch; the scale of the labels is that of the rest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("IPython.display.display", MagicMock())
    in_this_process(TINY | {"T": 0.56, "times": [52.0], "n_train": None, "epochs": 2, "fold": 2, "out": "runs/second"})
    plt.close("all")
    out = tmp_path / "runs" / "second"
    assert json.loads((out / "card.json").read_text())["parameters"]["fold"] == 2
    net, last = gl.load_model(out / "model.pt"), pd.read_csv(out / "history.csv").query("best").iloc[-1]
    train, val = ([c.at_times([52.0]) for c in gl.load("starter", T=0.56, split=s)] for s in ("train", "val"))
    found = [gl.pearson([net.predict(c)], [c.propensity], [c.types])["A"].mean() for c in train + val]
    assert found[1] == pytest.approx(last.val_rho, abs=1e-5)
    assert min(abs(other - last.val_rho) for other in (found[0], found[2], found[3])) > 1e-3, "which can be told"
    taught = [train[0], train[2], *val]
    labels = [c.propensity[0][c.types == 0] for c in taught]
    assert float(net.target_mean[0, 0]) == pytest.approx(sum(v.sum() for v in labels) / sum(map(len, labels)), rel=1e-5)


def test_runs_start_from_features_that_are_made_once(tmp_path, monkeypatch):
    """Of two runs beside each other the second finds the pretrained file; a third starts from a run's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("IPython.display.display", MagicMock())
    small = TINY | {"T": 0.56, "times": [52.0], "inputs": "thermal", "pictures": False, "epochs": 1}
    in_this_process(small | {"pretrain": "noise", "pretrain_epochs": 2, "n_train": 2, "out": "runs/two"})
    (made,) = (tmp_path / "runs" / "pretrained").iterdir()
    when = made.stat().st_mtime_ns
    in_this_process(small | {"pretrain": "noise", "pretrain_epochs": 2, "n_train": 1, "out": "runs/one"})
    in_this_process(small | {"pretrain": "none", "start_from": "runs/one", "out": "runs/again"})
    plt.close("all")
    assert [(p, p.stat().st_mtime_ns) for p in made.parent.iterdir()] == [(made, when)]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["again", "one", "pretrained", "two"]
    card = json.loads((tmp_path / "runs" / "one" / "card.json").read_text())
    assert (card["parameters"]["pretrain"], card["parameters"]["start_from"]) == ("noise", None)


def by_hand(folder, *words):
    """papermill as one types it: its exit code and what it says."""
    command = [sys.executable, "-m", "papermill", str(TEMPLATE), "run.ipynb", "--cwd", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stderr


TYPED = [word for name, value in TINY.items() for word in ("-p", name, str(value))]


def test_what_papermill_takes_for_text_is_what_was_typed(tmp_path, monkeypatch):
    """-p shuffle_labels false once shuffled labels, because text is true: the data of this run are those of the set."""
    typed = {"T": "0.56", "shuffle_labels": "false", "pictures": "no", "level_weight": "null", "position_noise": "0.0"}
    code, told = by_hand(tmp_path, *TYPED, *[word for name, text in typed.items() for word in ("-p", name, text)])
    assert code == 0, told
    (cell,) = [c for c in nbformat.read(tmp_path / "run.ipynb", 4).cells if "plotting.slices" in c.source]
    assert not [output for output in cell.outputs if "image/png" in output.get("data", {})]
    card = json.loads((tmp_path / "runs" / "T0.56" / "card.json").read_text())
    given = {"T": 0.56, "shuffle_labels": False, "pictures": False, "level_weight": None, "position_noise": 0.0}
    assert {name: card["parameters"][name] for name in given} == given
    split = {s: gl.load("starter", T=0.56, split=s) for s in ("train", "val", "test")}
    split["train"] = split["train"][: TINY["n_train"]]
    expected = provenance.data_hash(c.hash() for chosen in split.values() for c in chosen)
    assert card["data_sha256"] == expected
    monkeypatch.chdir(tmp_path)  # a control: they would be others
    monkeypatch.setattr("IPython.display.display", MagicMock())
    in_this_process(TINY | {"T": 0.56, "shuffle_labels": "true", "out": "runs/control"})
    plt.close("all")
    card = json.loads((tmp_path / "runs" / "control" / "card.json").read_text())
    assert card["parameters"]["shuffle_labels"] is True
    assert card["data_sha256"] != expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-y", "on: yes"), "ValueError: a parameter is called True, which is no name; expected some of T, data"),
        (("-p", "times", "[13, 52]"), '-y "times: [13, 52]"'),
    ],
)
def test_papermill_ends_in_our_sentence(tmp_path, words, message):
    """Where it is not papermill itself that fails: text beside True as names, it cannot sort."""
    code, told = by_hand(tmp_path, *words)
    assert code == 1
    assert message in told
    assert not (tmp_path / "runs").exists()


def test_a_second_run_is_told_who_writes_and_takes_the_place_of_a_killed_one(finished, tmp_path, monkeypatch):
    """One goes on undisturbed while another is refused; an earlier run's results stay; SIGKILL frees the place."""
    shutil.copytree(finished / "runs", tmp_path / "runs")
    out = tmp_path / "runs" / "T0.56"
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    command = [sys.executable, "-m", "papermill", str(TEMPLATE), "first.ipynb", "--cwd", str(tmp_path), *TYPED]
    command += ["-p", "T", "0.56", "-p", "epochs", "100000"]
    growing, lock = (tmp_path / "runs" / f"T0.56.unfinished.{ending}" for ending in ("csv", "lock"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path) as first:
        try:
            while first.poll() is None and not growing.exists():
                time.sleep(0.1)
            kernel = json.loads(lock.read_text())["process"]
            monkeypatch.setattr(locks, "PATIENCE", 0)
            monkeypatch.chdir(tmp_path)
            monkeypatch.setattr("IPython.display.display", MagicMock())
            with pytest.raises(RuntimeError, match=rf"is being written by process {kernel} on .*-p out runs/NAME"):
                in_this_process(TINY | {"T": 0.56, "seed": 1})
            assert first.poll() is None
        finally:
            first.send_signal(signal.SIGKILL)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    OutputLock("runs/T0.56", patience=60).release()  # when the kernel has noticed
    growing.unlink()
    growing.with_suffix(".pt").unlink()
    in_this_process(TINY | {"T": 0.56, "seed": 1})
    plt.close("all")
    assert [p.name for p in out.parent.iterdir()] == ["T0.56"]
    assert json.loads((out / "card.json").read_text())["seed"] == 1


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


def test_no_cell_shows_a_value_by_accident(finished):
    """A cell whose last expression sets something would show what it returns, as 'passive' once did."""
    published = sorted((ROOT / "book" / "runs").rglob("[!.]*.ipynb"))
    assert len(published) > 90
    for path in [finished / "run.ipynb", *published]:
        for cell in nbformat.read(path, 4).cells:
            for shown in cell.get("outputs", []):
                if shown.output_type == "execute_result":  # tables and figures have more than a text
                    assert set(shown.data) - {"text/plain"}, (path.name, cell.id, shown.data)


def test_all_may_teach_and_the_last_epoch_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("IPython.display.display", MagicMock())
    in_this_process(TINY | {"T": 0.56, "times": [52.0], "n_train": None, "epochs": 2, "fold": "all", "out": "runs/all"})
    plt.close("all")
    out = tmp_path / "runs" / "all"
    card, history = json.loads((out / "card.json").read_text()), pd.read_csv(out / "history.csv")
    assert card["parameters"]["fold"] == "all"
    assert history[["val_loss", "val_rho"]].isna().all(axis=None)
    assert math.isnan(validation_score(out))
    sets = [gl.load("starter", T=0.56, split=s) for s in ("train", "val", "test")]
    assert card["data_sha256"] == data_hash(c.at_times([52.0]).hash() for some in sets for c in some)
    told = gl.load_model(out / "model.pt").trained_on
    labels = np.concatenate([c.at_times([52.0]).propensity[0, c.types == 0] for some in sets[:2] for c in some])
    assert gl.load_model(out / "model.pt").target_mean[0, 0].item() == pytest.approx(labels.mean(), rel=1e-6), told
