import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from operator import methodcaller
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

import glasslit as gl
from glasslit.learning.checkpoint import MODEL_FORMAT, resolve_device
from glasslit.learning.train import _Graphs
from glasslit.testing import random_liquid, shuffle_labels

SMALL = {"layers": 2, "channels": 2, "l_max": 1, "n_times": 2}


def learnable(seed, n=150):
    """A liquid whose labels follow from its structure: propensity grows with the number of close neighbors."""
    c = random_liquid(n, seed=seed)
    count = np.bincount(gl.neighbor_graph(c, cutoff=1.3).edge_index[1], minlength=n)
    labels = np.stack([1.0 + count, 2.0 - 0.1 * count])
    return c.replace(propensity=labels, propensity_half=np.stack([labels, labels]))


def trained(train, val, epochs=3, seed=0, net=None, **settings):
    torch.manual_seed(seed)
    net = net or gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal"))
    records = list(gl.fit(net, train, val, gl.TrainConfig(epochs=epochs, seed=seed, **settings)))
    return net, records


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_learns_what_can_be_learned_and_nothing_from_shuffled_labels():
    """Positive and negative control side by side: same network, same epochs, same number of particles."""
    splits = [[learnable(10 * s + k, n=300) for k in range(3)] for s in range(3)]
    scores = {}
    for name in ("true", "shuffled"):
        chosen = splits if name == "true" else [[shuffle_labels(c, seed=k) for k, c in enumerate(s)] for s in splits]
        net, _ = trained(chosen[0], chosen[1], epochs=25, learning_rate=0.01)
        scores[name] = gl.evaluate(net, chosen[0], chosen[2])["test"]["A"]["pooled"]
    assert min(scores["true"]) > 0.7
    assert max(abs(s) for s in scores["shuffled"]) < 0.1


def test_starter_data_shuffled_labels_teach_nothing():
    """Real structures, labels dealt out anew within each type: 1600 test particles, so |rho| < 0.1 is four sigma."""
    splits = [
        [shuffle_labels(c.at_times(c.times[-1:]), seed=k) for k, c in enumerate(gl.load("starter", 0.44, s))]
        for s in ("train", "val", "test")
    ]
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(**(SMALL | {"n_times": 1})))
    list(gl.fit(net, splits[0], splits[1], gl.TrainConfig(epochs=20, learning_rate=0.01)))
    scores = gl.evaluate(net, splits[0], splits[2])["test"]["A"]
    assert abs(scores["pooled"][0]) < 0.1
    assert abs(scores["mean"][0]) < 0.1


def test_same_seed_same_weights_other_seed_other_weights():
    train, val = [learnable(0), learnable(1)], [learnable(2)]
    a, b, c = (trained(train, val, seed=s)[0] for s in (0, 0, 1))
    assert same_weights(a, b)
    assert not same_weights(a, c)


def test_fit_leaves_the_random_state_of_its_caller_alone():
    train, val = [learnable(0)], [learnable(1)]
    torch.manual_seed(5)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal"))
    before = torch.get_rng_state()
    for _ in gl.fit(net, train, val, gl.TrainConfig(epochs=2)):
        assert torch.equal(torch.get_rng_state(), before)


def test_ends_with_the_best_epoch_of_the_validation_set():
    train, val = [learnable(0)], [learnable(1)]
    net, records = trained(train, val, epochs=8, learning_rate=0.02)
    best = max(records, key=lambda r: r.val_rho)
    assert [r.epoch for r in records] == list(range(1, 9))
    assert [r.best for r in records] == [
        r.val_rho > max([-2.0, *[s.val_rho for s in records[: r.epoch - 1]]]) for r in records
    ]
    rho = gl.pearson(net.predict(val[0]), val[0].propensity, val[0].types)["A"]
    assert np.nan_to_num(rho).mean() == pytest.approx(best.val_rho, abs=1e-5)


def test_learning_rate_is_halved_at_the_milestones():
    _, records = trained([learnable(0)], [learnable(1)], epochs=10, learning_rate=0.01, milestones=(0.5, 0.8))
    assert [r.learning_rate for r in records] == pytest.approx([0.01] * 5 + [0.005] * 3 + [0.0025] * 2)


@pytest.mark.parametrize("level_weight", [0.0, 0.3])
def test_loss_within_configurations_against_loops(level_weight):
    """Two configurations in one batch, one of them with a label that is constant among its B particles."""
    train = [learnable(0), learnable(1)]
    labels = train[1].propensity.copy()
    labels[1, train[1].types == 1] = 3.0
    train[1] = train[1].replace(propensity=labels, propensity_half=None)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal")).double().eval()
    net.set_standardization(train)
    graphs = [gl.neighbor_graph(c, dtype=torch.float64) for c in train]
    batch = Batch.from_data_list(graphs)
    prediction = torch.randn(batch.num_nodes, 2, dtype=torch.float64)
    expected = 0.0
    for g, p in zip(graphs, prediction.split([g.num_nodes for g in graphs]), strict=True):
        y = net.standardize(g)
        for kind in (0, 1):
            for t in (0, 1):
                error, label = (p - y)[g.types == kind, t].numpy(), y[g.types == kind, t].numpy()
                scale = label.var() if label.std() > 1e-6 else 1.0
                expected += len(label) * (error.var() + level_weight * error.mean() ** 2) / scale
    loss = net.loss(batch, prediction, level_weight)
    assert float(loss) == pytest.approx(expected / batch.num_nodes, rel=1e-12)


def test_without_weight_the_level_of_a_configuration_does_not_count():
    graph = gl.neighbor_graph(learnable(0), dtype=torch.float64)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal")).double()
    net.set_standardization([learnable(0)])
    prediction = torch.randn(graph.num_nodes, 2, dtype=torch.float64)
    a, b = (float(net.loss(graph, p, 0.0)) for p in (prediction, prediction + 7.0))
    assert a == pytest.approx(b, rel=1e-12)
    assert float(net.loss(graph, prediction + 7.0, None)) > 10 * float(net.loss(graph, prediction, None))


def test_noise_is_on_training_positions_only_and_new_each_epoch(monkeypatch):
    train, val = [learnable(0)], [learnable(1)]
    before, seen = [c.hash() for c in train + val], []

    def spy(c, *args):
        seen.append(c.positions)
        return gl.neighbor_graph(c, *args)

    monkeypatch.setattr("glasslit.models.propensity.neighbor_graph", spy)
    trained(train, val, epochs=3, position_noise=0.05)
    assert [c.hash() for c in train + val] == before
    assert np.array_equal(seen[0], val[0].positions)
    noise = [positions - train[0].positions for positions in seen[1:]]
    assert [n.std() for n in noise] == pytest.approx([0.05] * 3, rel=0.15)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.2


@pytest.mark.parametrize("position_noise", [0.0, 0.05])
def test_graphs_made_on_the_way_train_the_same_network(position_noise):
    """Whoever makes them, and ahead of time or not: bitwise, the dropout's random numbers too."""
    train, val = [learnable(k) for k in range(5)], [learnable(8), learnable(9)]
    settings = {"position_noise": position_noise, "batch_size": 2}
    held, records = trained(train, val, **settings)
    for workers in (0, 2):
        net, again = trained(train, val, num_workers=workers, **settings)
        assert same_weights(net, held)
        assert [r.val_rho for r in again] == [r.val_rho for r in records]


def test_graphs_can_be_made_where_processes_are_started_afresh():
    """On macOS and Windows workers are not forked: what makes graphs is sent to them."""
    data = gl.load("starter", T=0.50, split="train", lazy=True).map(methodcaller("at_times", [217]))
    net = gl.SE3GNN(gl.ModelConfig.laptop(n_times=1))
    graphs = _Graphs(net, data, num_workers=2, seed=0, noise=0.01)
    copied = pickle.loads(pickle.dumps(graphs))
    assert torch.equal(copied[3, 1].vector, graphs[3, 1].vector)
    assert len(pickle.dumps(graphs)) < 200_000, "configurations went along"


SCRIPT = """
import sys, torch, glasslit as gl
sys.path.insert(0, sys.argv[2])
from test_train import SMALL, learnable, trained
torch.set_num_threads(1)
train, val = [learnable(k) for k in range(3)], [learnable(9)]
more = {"position_noise": 0.02, "level_weight": 0.3, "checkpoint": sys.argv[1] + "/unfinished.pt"}
net, records = trained(train, val, epochs=12, **more)
gl.save_model(net, sys.argv[1] + "/model.pt")
open(sys.argv[1] + "/epochs", "w").write(str(len(records)))
"""


def start(folder):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(Path(__file__).parent)])


def test_killed_training_resumes_to_bitwise_the_same_weights(tmp_path):
    """SIGKILL at a random moment after the first epoch, twice, then to the end; against a run left in peace."""
    assert start(tmp_path / "whole").wait() == 0
    seed = random.randrange(10**6)
    print("moments of the kills: seed", seed)  # shown if the test fails
    rng = random.Random(seed)
    checkpoint = tmp_path / "killed" / "unfinished.pt"
    killed = 0
    for _ in range(2):
        process = start(tmp_path / "killed")
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == seen):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed > 0, "no run was killed before its end"
    assert start(tmp_path / "killed").wait() == 0
    whole, resumed = (torch.load(tmp_path / n / "model.pt", weights_only=True)["weights"] for n in ("whole", "killed"))
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    assert (tmp_path / "killed" / "epochs").read_text() == "12"
    assert not list(tmp_path.rglob("*.partial"))


def interrupted(tmp_path, train, val, epochs=4):
    path = tmp_path / "unfinished.pt"
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal"))
    running = gl.fit(net, train, val, gl.TrainConfig(epochs=epochs, checkpoint=path))
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


def test_a_training_that_ended_but_was_not_saved_is_not_lost(tmp_path):
    train, val = [learnable(0)], [learnable(1)]
    net, records = trained(train, val, checkpoint=tmp_path / "c.pt")
    again, seen = trained(train, val, checkpoint=tmp_path / "c.pt")
    assert seen == records  # the seconds too: nothing was computed again
    assert same_weights(net, again)


def test_a_loss_that_is_no_number_ends_the_training():
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        trained([learnable(0)], [learnable(1)], epochs=10, learning_rate=1e30)


def test_bad_training_data_is_refused():
    good = learnable(0)
    with pytest.raises(ValueError, match="validation set is empty"):
        trained([good], [])
    with pytest.raises(ValueError, match="training set is empty"):
        trained([], [good])
    with pytest.raises(ValueError, match="n_times = 2"):
        trained([good.at_times([1.0])], [good.at_times([1.0])])
    with pytest.raises(ValueError, match="times differ"):
        trained([good], [good.replace(times=[1.0, 11.0])])
    with pytest.raises(ValueError, match="has no propensity"):
        trained([good.replace(propensity=None)], [good])


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
    with pytest.raises(ValueError, match="unknown model settings"):
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


def test_evaluation_wants_the_times_of_the_model():
    train, val = [learnable(0)], [learnable(1)]
    net, _ = trained(train, val)
    with pytest.raises(ValueError, match=r"trained for \[1\.0, 10\.0\]"):
        gl.evaluate(net, train, [learnable(2).replace(times=[1.0, 12.0])])
    with pytest.raises(ValueError, match=r"expected some of \[5\.0, 7\.0\]"):
        gl.evaluate(net, [train[0].replace(times=[5.0, 7.0])], [learnable(2)])


def test_metrics_have_the_form_of_the_design(tmp_path):
    train, val = [learnable(0)], [learnable(1)]
    net, _ = trained(train, val)
    metrics = json.loads(json.dumps(gl.evaluate(net, train, [learnable(2), learnable(3)]), allow_nan=False))
    assert metrics["times"] == [1.0, 10.0]
    for kind in "AB":
        assert set(metrics["test"][kind]) == {"mean", "pooled", "ceiling", "density", "E_IS"}
        assert all(len(v) == 2 for v in metrics["test"][kind].values())
    assert metrics["test"]["A"]["ceiling"] == pytest.approx([1.0, 1.0])


def test_devices():
    assert str(resolve_device("cpu")) == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for missing in ["gpu", "cuda:99"]:
        with pytest.raises(ValueError, match="expected auto, cpu"):
            resolve_device(missing)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"learning_rate": "fast"},
        {"batch_size": 0},
        {"weight_decay": -1.0},
        {"seed": 1.5},
        {"position_noise": -0.1},
        {"position_noise": None},
        {"level_weight": -0.1},
        {"level_weight": "none"},
        {"betas": 0.9},
        {"betas": (0.9, 1.0)},
    ],
)
def test_bad_settings_are_refused(change):
    with pytest.raises(ValueError, match="expected"):
        gl.TrainConfig(**change)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_cuda_gives_a_model_for_the_cpu(tmp_path):
    net, _ = trained([learnable(0)], [learnable(1)], device="cuda")
    gl.save_model(net, tmp_path / "model.pt")
    assert np.allclose(gl.load_model(tmp_path / "model.pt").predict(learnable(2)), net.predict(learnable(2)), rtol=1e-3)
