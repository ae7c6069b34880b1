import copy
import pickle
import random
import signal
import subprocess
import sys
import time
from operator import methodcaller

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.learning.graphs import Graphs
from glasslit.testing import shuffle_labels
from tests.common import ROOT, SMALL, learnable, trained


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
    list(gl.fit(net, splits[0], splits[1], gl.TrainConfig(epochs=20, learning_rate=0.01, device="cpu")))
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
    for _ in gl.fit(net, train, val, gl.TrainConfig(epochs=2, device="cpu")):
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


def test_where_nothing_validates_the_last_epoch_is_kept(tmp_path):
    """Bit for bit the weights that a training with a validation set has then, before it goes back to its best epoch."""
    train, epochs = [learnable(0)], 6
    net, records = trained(train, None, epochs, checkpoint=tmp_path / "c.pt", learning_rate=0.02)
    assert [r.epoch for r in records if r.best] == list(range(1, epochs + 1))
    assert np.isnan([[r.val_loss, r.val_rho] for r in records]).all()
    torch.manual_seed(0)
    other = gl.SE3GNN(net.config)
    for record in gl.fit(other, train, [learnable(1)], gl.TrainConfig(epochs=epochs, device="cpu", learning_rate=0.02)):
        assert record.train_loss == records[record.epoch - 1].train_loss
        last = copy.deepcopy(other).eval()
    assert same_weights(net, last)
    assert not net.training
    again, _ = trained(train, None, epochs, checkpoint=tmp_path / "c.pt", learning_rate=0.02)
    assert same_weights(net, again)
    with pytest.raises(ValueError, match="unfinished training with another validation data"):
        trained(train, [learnable(1)], epochs, checkpoint=tmp_path / "c.pt", learning_rate=0.02)
    with pytest.raises(ValueError, match="a Ridge and nothing that validates; expected configurations that choose"):
        trained(train, None, net=gl.baselines.baseline("ridge", inputs="thermal", n_times=2))


def test_learning_rate_is_halved_at_the_milestones():
    _, records = trained([learnable(0)], [learnable(1)], epochs=10, learning_rate=0.01, milestones=(0.5, 0.8))
    assert [r.learning_rate for r in records] == pytest.approx([0.01] * 5 + [0.005] * 3 + [0.0025] * 2)


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
    graphs = Graphs(net, data, num_workers=2, seed=0, noise=0.01)
    copied = pickle.loads(pickle.dumps(graphs))
    assert torch.equal(copied[3, 1].vector, graphs[3, 1].vector)
    assert len(pickle.dumps(graphs)) < 200_000, "configurations went along"


def long_training(folder):
    """Weights and number of epochs of a training that keeps a checkpoint in the folder, and goes on where that is."""
    folder.mkdir(exist_ok=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train, val = [learnable(k) for k in range(3)], [learnable(9)]
        more = {"position_noise": 0.02, "level_weight": 0.3, "checkpoint": folder / "unfinished.pt"}
        net, records = trained(train, val, epochs=12, **more)
    finally:
        torch.set_num_threads(before)
    return net.state_dict(), len(records)


SCRIPT = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from tests.learning.test_train import long_training
long_training(pathlib.Path(sys.argv[1]))
"""


def test_killed_training_resumes_to_bitwise_the_same_weights(tmp_path):
    """SIGKILL at a random moment after the first epoch, twice, then to the end; against a run left in peace."""
    whole, epochs = long_training(tmp_path / "whole")
    assert epochs == 12
    seed = random.randrange(10**6)
    print("moments of the kills: seed", seed)  # shown if the test fails
    rng = random.Random(seed)
    checkpoint = tmp_path / "killed" / "unfinished.pt"
    killed = 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), str(ROOT)])
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == seen):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed > 0, "no run was killed before its end"
    resumed, epochs = long_training(tmp_path / "killed")
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    assert epochs == 12
    assert not list(tmp_path.rglob("*.partial"))


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
    with pytest.raises(ValueError, match=r"validation set is empty; .* or None, where nothing validates"):
        trained([good], [])
    with pytest.raises(ValueError, match=r"validation set is TrainConfig\(.*\); .* fit\(net, train, None, config\)"):
        next(gl.fit(gl.SE3GNN(gl.ModelConfig(n_times=2)), [good], gl.TrainConfig()))
    with pytest.raises(ValueError, match="training set is empty"):
        trained([], [good])
    with pytest.raises(ValueError, match="n_times = 2"):
        trained([good.at_times([1.0])], [good.at_times([1.0])])
    with pytest.raises(ValueError, match="times differ"):
        trained([good], [good.replace(times=[1.0, 11.0])])
    with pytest.raises(ValueError, match="has no propensity"):
        trained([good.replace(propensity=None)], [good])


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
