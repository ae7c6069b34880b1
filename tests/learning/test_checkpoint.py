"""Files that training leaves: read back as they were, or refused."""

import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict
from typing import get_overloads, get_type_hints

import llvmlite.binding
import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit import parallel
from glasslit.data.store import shipped_models
from glasslit.learning.checkpoint import MODEL_FORMAT, find_model, resolve_device
from glasslit.models.conditions import conditions
from glasslit.models.propensity import PropensityNetwork
from glasslit.testing import random_liquid
from tests.common import ROOT, SMALL, learnable, trained

GOLDEN = ROOT / "tests" / "golden"
PREDICTIONS = json.loads((GOLDEN / "predictions.json").read_text())
MACHINE = {
    "torch": torch.__version__,
    "llvmlite": llvmlite.__version__,
    "instructions": torch.backends.cpu.get_cpu_capability(),
    "processor": llvmlite.binding.get_host_cpu_name(),
}


def interrupted(tmp_path, train, val, epochs=4):
    path = tmp_path / "unfinished.pt"
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal"))
    running = gl.fit(net, train, val, gl.TrainConfig(epochs=epochs, checkpoint=path, device="cpu"))
    next(running)
    running.close()
    return path


def test_checkpoint_of_another_training_is_refused(tmp_path):
    train, val = [learnable(0), learnable(1)], [learnable(2)]
    path = interrupted(tmp_path, train, val)
    with pytest.raises(ValueError, match=r"another training epochs \(4, now 5\)"):
        trained(train, val, epochs=5, checkpoint=path)
    with pytest.raises(ValueError, match="another training data and another validation data"):
        trained(train[:1], [train[1], *val], epochs=4, checkpoint=path)
    other = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal"))
    with pytest.raises(ValueError, match="another initial weights"):
        trained(train, val, epochs=4, checkpoint=path, net=other)
    with pytest.raises(ValueError, match=r"another initial weights and another model channels \(2, now 3\)"):
        trained(
            train,
            val,
            epochs=4,
            checkpoint=path,
            net=gl.SE3GNN(gl.ModelConfig(**(SMALL | {"channels": 3}), inputs="thermal")),
        )
    path.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="not a readable"):
        trained(train, val, epochs=4, checkpoint=path)
    torch.save({"format": "glasslit-checkpoint-1"}, path)
    with pytest.raises(ValueError, match="lacks parts of a checkpoint"):
        trained(train, val, epochs=4, checkpoint=path)


def test_editors_and_type_checkers_are_told_what_is_loaded():
    for load in (gl.load_model, find_model):
        assert get_type_hints(load)["return"] is PropensityNetwork
    one, several = get_overloads(PropensityNetwork.predict)
    assert get_type_hints(one)["return"] is np.ndarray
    assert get_type_hints(several)["return"] == list[np.ndarray]


def test_model_file_round_trip(tmp_path):
    net, _ = trained([learnable(0)], [learnable(1)])
    gl.save_model(net, tmp_path / "model.pt")
    back = gl.load_model(tmp_path / "model.pt")
    assert back.config == net.config
    assert back.times.tolist() == [1.0, 10.0]
    assert np.array_equal(back.predict(learnable(5)), net.predict(learnable(5)))
    assert not back.training


def test_files_that_are_no_models_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(ValueError, match="is not a file"):
        gl.load_model(path)
    for content in (b"rubbish", b"", b"PK\x03\x04 not really"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a readable glasslit-model-1 file"):
            gl.load_model(path)
    torch.save({"weights": {}}, path)
    with pytest.raises(ValueError, match=f"holds None; expected '{MODEL_FORMAT}'"):
        gl.load_model(path)
    torch.save({"format": MODEL_FORMAT, "config": {"depth": 3}, "weights": {}}, path)
    with pytest.raises(ValueError, match="unknown model setting depth"):
        gl.load_model(path)
    torch.save({"format": MODEL_FORMAT, "config": SMALL, "weights": {}}, path)
    with pytest.raises(ValueError, match="do not fit"):
        gl.load_model(path)


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


def test_a_model_file_that_would_run_code_does_not(tmp_path):
    torch.save({"format": MODEL_FORMAT, "config": Bomb(tmp_path / "bombed")}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="not a readable"):
        gl.load_model(tmp_path / "model.pt")
    assert not (tmp_path / "bombed").exists()


def test_devices():
    assert str(resolve_device("cpu")) == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for missing in ["gpu", "cuda:99"]:
        with pytest.raises(ValueError, match="expected auto, cpu"):
            resolve_device(missing)


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_networks_are_those_of_the_book(name):
    mine = find_model(name)
    inputs, _, temperature = name.rpartition("-T")
    run = gl.load_model(ROOT / f"book/runs/standard-{name}/model.pt")
    assert all(torch.equal(a, b) for a, b in zip(mine.state_dict().values(), run.state_dict().values(), strict=True))
    train = gl.load("standard", T=float(temperature), split="train")
    assert mine.trained_on == conditions(train, mine.config.cutoff, inputs)
    assert mine.config.inputs == inputs


def test_both_inputs_are_shipped():
    assert {find_model(name).config.inputs for name in shipped_models()} == {"thermal", "thermal+E_IS"}
    with pytest.raises(
        ValueError, match=r"model 'nonsense'; expected a file, the folder of a run, or one of .*thermal-T0\.56"
    ):
        find_model("nonsense")


def test_every_shipped_network_has_its_golden_prediction():
    """Of several seeds or folds of one setting, the first is enough."""
    shipped = {*ROOT.glob("glasslit/data/models/*.pt"), *ROOT.glob("book/runs/**/model.pt")}
    names = {path.relative_to(ROOT).as_posix() for path in shipped}
    known = set(PREDICTIONS["predictions"])
    assert known <= names
    assert {name for name in names - known if not re.search(r"-(seed|fold)[1-9]\d*/", name)} == set()


@pytest.fixture(scope="module")
def liquids():
    """What was predicted: for the networks inside the package, and for those of the book's runs."""
    return gl.load("standard", T=0.64, split="test")[0], random_liquid(1000).replace(temperature=0.5)


@pytest.mark.parametrize("name", PREDICTIONS["predictions"])
def test_shipped_networks_predict_what_they_did_before_modules_moved(liquids, name):
    """Bit for bit where the same instructions compute it, to six digits elsewhere."""
    expected = PREDICTIONS["predictions"][name]
    found = gl.load_model(ROOT / name).predict(liquids[name.startswith("book")])
    assert found[-1, :: found.shape[1] // 5] == pytest.approx(expected["sample"], rel=2e-5)
    if PREDICTIONS["machine"] == MACHINE:
        assert hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest() == expected["sha256"]


def test_a_training_that_was_left_unfinished_before_modules_moved_goes_on(tmp_path, monkeypatch):
    """Two of four epochs lie in the file; the other two are made from its weights, optimizer and schedule.

    The file is older than the way in which dropout draws today; here it draws as it did then.
    """
    monkeypatch.setattr(parallel, "kept", lambda x, p: parallel.uniform(x) >= p)
    path = shutil.copy(GOLDEN / "checkpoint.pt", tmp_path)
    sizes = {"layers": 1, "channels": 1, "l_max": 1, "n_times": 2, "hidden": 4, "n_basis": 3, "kernel": "reference"}
    train, val = [random_liquid(100, seed=k) for k in (0, 1)], [random_liquid(100, seed=2)]
    ends = []
    for checkpoint in (path, None):
        net, rng = gl.SE3GNN(gl.ModelConfig(**sizes)), np.random.default_rng(0)
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.from_numpy(rng.uniform(-0.5, 0.5, size=tuple(p.shape)).astype(np.float32)))
        records = list(gl.fit(net, train, val, gl.TrainConfig(epochs=4, checkpoint=checkpoint, device="cpu")))
        ends.append((records, net.state_dict()))
    (resumed, weights), (anew, others) = ends
    kept = torch.load(GOLDEN / "checkpoint.pt", weights_only=True)["history"]
    assert [asdict(r) for r in resumed[:2]] == kept  # the seconds too: read, not made again
    assert [r.val_loss for r in resumed] == pytest.approx([r.val_loss for r in anew], rel=1e-5)
    assert all(torch.allclose(weights[k], others[k], rtol=1e-4, atol=1e-6) for k in weights)


def test_a_network_is_found_by_its_name_and_by_the_folder_of_its_run():
    run = ROOT / "book" / "runs" / "standard-thermal-T0.56"
    weights = [gl.load_model(path).state_dict() for path in (run / "model.pt", run, "thermal-T0.56")]
    for other in weights[1:]:
        assert all(torch.equal(value, other[key]) for key, value in weights[0].items())
    with pytest.raises(ValueError, match="is not a file"):
        gl.load_model(run.parent)
