"""Pretraining: every task learns what can be learned and nothing else, and features are handed on as they are."""

import importlib
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.equivariance.so3 import cube_rotations
from glasslit.learning import pretrain as module
from glasslit.learning.checkpoint import save_model
from glasslit.learning.graphs import Graphs
from glasslit.learning.pretrain import FREE, NOT_FEATURES, check_task, features_from, pretrain, pretrained
from glasslit.liquid.structure import local_density
from glasslit.models.heads import PRETEXTS
from glasslit.testing import assert_equivariant, random_liquid
from tests.common import ROOT, SMALL, learnable, trained

TASKS = tuple(PRETEXTS)
SIZES = SMALL | {"inputs": "thermal"}


def pushed(c):
    """For each particle the sum of vectors from its close neighbors, as a repulsion."""
    graph = gl.neighbor_graph(c, cutoff=1.3, dtype=torch.float64)
    found = torch.zeros(c.n_particles, 3, dtype=torch.float64)
    return found.index_add(0, graph.edge_index[1], -graph.vector).numpy()


def structure(seed, n=150):
    """A liquid whose energies and inherent positions follow from where its particles are."""
    c = random_liquid(n, seed=seed)
    near = local_density(c, 1.3)
    return gl.Configuration(
        positions=c.positions,
        types=c.types,
        box=c.box,
        inherent_positions=c.positions + 0.1 * pushed(c),
        potential_energy_thermal=-7.0 + near,
        potential_energy_inherent=-9.0 - 0.5 * near,
    )


def lattice(seed, n=5):
    """A crystal, in which what moved is seen: for noise that is to be found."""
    corner = np.stack(np.meshgrid(*3 * [np.arange(n)], indexing="ij"), axis=-1).reshape(-1, 3) + 0.5
    types = np.random.default_rng(seed).integers(0, 2, size=n**3)
    return gl.Configuration(positions=corner, types=types, box=[float(n)] * 3)


def shuffled(c, seed):
    """The same labels of the tasks, dealt out anew within each type."""
    rng, order = np.random.default_rng(seed), np.arange(c.n_particles)
    for kind in (0, 1):
        order[c.types == kind] = rng.permutation(order[c.types == kind])
    moved = c.inherent_positions - c.positions
    return c.replace(
        inherent_positions=c.positions + moved[order],
        potential_energy_thermal=c.potential_energy_thermal[order],
        potential_energy_inherent=c.potential_energy_inherent[order],
    )


def learned(task, train, val, epochs=20, seed=0, net=None, noise=0.1, **settings):
    torch.manual_seed(seed)
    net = net or gl.SE3GNN(gl.ModelConfig(**SIZES, dropout=0.0))
    config = gl.TrainConfig(**{"epochs": epochs, "seed": seed, "device": "cpu", "learning_rate": 0.02} | settings)
    return net, list(pretrain(net, train, val, task, config, noise))


def best(records):
    return max(r.val_rho for r in records)


@pytest.mark.parametrize("task", ["E_thermal", "E_IS", "u_IS"])
def test_it_learns_what_can_be_learned_and_nothing_from_shuffled_targets(task):
    train, val = [structure(k) for k in range(3)], [structure(k) for k in (8, 9)]
    _, records = learned(task, train, val)
    assert best(records) > 0.8
    nothing = [[shuffled(c, k) for k, c in enumerate(each)] for each in (train, val)]
    _, records = learned(task, *nothing)
    assert abs(records[-1].val_rho) < 0.25


def test_noise_is_found_in_a_crystal_and_not_where_positions_do_not_tell():
    train, val = [lattice(k) for k in range(3)], [lattice(9)]
    _, records = learned("noise", train, val, noise=0.03)
    assert best(records) > 0.8
    rng = np.random.default_rng(0)
    ideal = [
        c.replace(positions=rng.uniform(0, 5, size=(125, 3))) for c in [*train, *val]
    ]  # noise leaves it an ideal gas
    _, records = learned("noise", ideal[:3], ideal[3:], noise=0.03)
    assert abs(records[-1].val_rho) < 0.2


def test_noise_is_new_each_epoch_and_depends_on_the_seed_alone(monkeypatch):
    seen = []

    def spy(head, graph, configuration, noise):
        tell(head, graph, configuration, noise)
        seen.append((graph.pretext[:, 0].double().numpy(), noise, graph.vector.double().numpy(), configuration))

    tell = module._tell
    monkeypatch.setattr(module, "_tell", spy)
    train, val, found = [lattice(0), lattice(1)], [lattice(2)], []
    for seed in (0, 0, 1):
        seen.clear()
        learned("noise", train, val, epochs=3, seed=seed)
        found.append(list(seen))
    first, again, other = ([label for label, *_ in each] for each in found)
    assert len(first) == 1 + 3 * 2  # that of the validation set is drawn once
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for labels in (first, [*first[:1], *other]):
        flat = np.corrcoef([label.ravel() for label in labels])
        assert np.abs(flat - np.eye(len(flat))).max() < 0.25
    assert [label.std() for label in first] == pytest.approx([1.0] * 7, abs=0.15)
    label, noise, vector, c = found[0][1]
    assert label == pytest.approx(noise, abs=1e-6)
    i, j = gl.neighbor_graph(c.replace(positions=c.positions + 0.1 * noise), dtype=torch.float64).edge_index.flip(0)
    apart = c.positions[j] - c.positions[i] + 0.1 * (noise[j] - noise[i])
    assert vector == pytest.approx(apart - 5 * np.round(apart / 5), abs=1e-5)  # it is the noise that the graph has


def test_training_configurations_stay_as_they_are():
    train, val = [lattice(0)], [lattice(2)]
    before = [c.hash() for c in train + val]
    learned("noise", train, val, epochs=2)
    assert [c.hash() for c in train + val] == before


@pytest.mark.parametrize("task", TASKS)
def test_answers_turn_with_the_liquid(task):
    c = structure(0, n=150)
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(layers=2, channels=3, l_max=2, inputs="thermal")).double()
    student = module._student(net, task, 0)
    student.head.set_standardization([c])
    net(net.graph(c))
    net.eval()

    def answer(graph):
        return student.head(net.features(graph), net.node_inputs(graph), graph.types).flatten(1)

    graph = net.graph(c)
    kind = student.head.irreps
    assert_equivariant(answer, graph, kind)
    if kind == "1x1e":
        with pytest.raises(AssertionError, match="relative equivariance error"):
            assert_equivariant(lambda g: answer(g) + torch.tensor([0.1, 0.0, 0.0]), graph, "1x1e")
        plain = answer(graph)
        for rotation in cube_rotations():
            turned = c.replace(positions=c.positions @ rotation.numpy().T)
            assert torch.allclose(answer(net.graph(turned)), plain @ rotation.double().T, atol=1e-10)
    else:
        with pytest.raises(AssertionError, match="relative equivariance error"):
            assert_equivariant(lambda g: answer(g) + net.features(g)[:, -1:], graph, "1x0e")


@pytest.mark.parametrize("task", ["E_thermal", "E_IS", "u_IS"])
def test_heads_know_the_units_of_their_labels(task):
    """The loss of the labels themselves is zero, that of their mean one for each component's mean."""
    c = structure(0)
    head = PRETEXTS[task](
        gl.SE3GNN(gl.ModelConfig(**SIZES)).irreps, gl.SE3GNN(gl.ModelConfig(**SIZES)).irreps_inputs, 1
    )
    head.set_standardization([c, structure(1)])
    label, types = torch.tensor(head.label(c)).float(), types_of(c)
    head.standardized = lambda *_: head.scaled(label, types)
    assert head.loss(None, None, types, label).item() == 0
    assert torch.allclose(head(None, None, types), label, atol=1e-5)
    both = torch.cat([head.scaled(torch.tensor(head.label(k)).float(), types_of(k)) for k in (c, structure(1))])
    assert float(both.square().mean()) == pytest.approx(1, abs=0.01)


def types_of(c):
    return torch.tensor(c.types).long()


@pytest.mark.parametrize(
    ("task", "inputs", "others"),
    [
        ("E_IS", "thermal+E_IS", "noise, E_thermal, u_IS"),
        ("E_thermal", "IS+E_thermal+u_IS", "E_IS"),
        ("u_IS", "thermal+E_IS+u_IS", "E_thermal"),
        ("noise", "thermal+u_IS", "E_thermal, E_IS"),
    ],
)
def test_answers_that_are_among_the_inputs_are_refused(task, inputs, others):
    net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs=inputs))
    with pytest.raises(ValueError, match=rf"which hold the answer: choose other inputs, or one of {others}$"):
        next(pretrain(net, [structure(0)], [structure(1)], task))
    assert check_task(task, "thermal") == task


def test_what_cannot_be_pretrained_is_refused():
    net, c = gl.SE3GNN(gl.ModelConfig(**SIZES)), structure(0)
    run = partial(pretrain, net, [c], [c])
    for arguments, message in (
        (("energy",), "task 'energy'; expected one of noise, E_thermal, E_IS, u_IS"),
        (("noise", None, 0.0), "noise = 0.0 for the task 'noise'; expected a length above 0"),
        (("E_IS", gl.TrainConfig(level_weight=0.1)), "level_weight = 0.1 and smooth_terms = None in pretraining"),
        (("E_IS", gl.TrainConfig(smooth_terms="local_variance")), "smooth_terms = 'local_variance' in pretraining"),
    ):
        with pytest.raises(ValueError, match=message):
            next(run(*arguments))
    with pytest.raises(ValueError, match="the validation set is empty"):
        next(pretrain(net, [c], [], "E_IS"))
    with pytest.raises(ValueError, match="has no potential_energy_inherent"):
        next(pretrain(net, [lattice(0)], [c], "E_IS"))
    with pytest.raises(ValueError, match="of a BapstGNN; expected SE3GNN"):
        next(pretrain(gl.baselines.baseline("bapst", inputs="thermal", n_times=2), [c], [c]))
    flat = gl.SE3GNN(gl.ModelConfig(**SIZES | {"l_max": 0}))
    with pytest.raises(ValueError, match="target 'noise' with l_max = 0"):
        next(pretrain(flat, [c], [c]))


def same(a, b):
    """Bit for bit; the times of labels that were never seen are nan in both."""
    return a.keys() == b.keys() and all(np.array_equal(a[k].numpy(), b[k].numpy(), equal_nan=True) for k in a)


def features(net):
    return {k: v for k, v in net.state_dict().items() if not k.startswith(NOT_FEATURES)}


def test_a_network_starts_from_the_pretrained_features_and_keeps_its_decoder(tmp_path):
    """Through a file; the new network differs in times and targets, which belong to decoder and heads."""
    inputs = SMALL | {"inputs": "thermal+E_thermal"}
    before = gl.SE3GNN(gl.ModelConfig(**inputs))
    initial = {k: v.clone() for k, v in before.state_dict().items()}
    learned("E_IS", [structure(0)], [structure(1)], epochs=2, net=before)
    assert torch.equal(before.decoder.weight, initial["decoder.weight"])
    assert before.energy_mean[0] == pytest.approx(structure(0).potential_energy_thermal[structure(0).types == 0].mean())
    save_model(before, tmp_path / "model.pt")
    net = gl.SE3GNN(gl.ModelConfig(**inputs | {"n_times": 3}, decoder="film", targets="propensity+displacement"))
    own = {k: v.clone() for k, v in net.state_dict().items() if k.startswith(NOT_FEATURES)}
    assert features_from(net, gl.load_model(tmp_path / "model.pt")) is net
    assert features(net).keys() == features(before).keys()
    assert all(torch.equal(value, features(before)[k]) for k, value in features(net).items())
    assert same({k: net.state_dict()[k] for k in own}, own)
    assert any(not torch.equal(value, initial[k]) for k, value in features(net).items())


def test_fine_tuning_begins_there_and_keeps_the_scale_of_the_inputs(monkeypatch):
    inputs = SMALL | {"inputs": "thermal+E_thermal"}
    before, _ = learned("E_IS", [structure(0)], [structure(1)], epochs=2, net=gl.SE3GNN(gl.ModelConfig(**inputs)))
    c = learnable(3).replace(potential_energy_thermal=np.linspace(50, 60, 150))  # other energies than it learned from
    net = features_from(gl.SE3GNN(gl.ModelConfig(**inputs)), before)
    seen = []
    step = importlib.import_module("glasslit.learning.train")._Step.__call__

    def spy(self, batch):
        seen.append({k: v.clone() for k, v in features(net).items()})
        return step(self, batch)

    monkeypatch.setattr("glasslit.learning.train._Step.__call__", spy)
    config = gl.TrainConfig(epochs=1, device="cpu")
    list(gl.fit(net, [c], [c], config, standardize="labels"))
    assert all(torch.equal(value, features(before)[k]) for k, value in seen[0].items())
    assert torch.equal(net.energy_mean, before.energy_mean)
    assert net.target_mean[0].tolist() == pytest.approx(c.propensity[:, c.types == 0].mean(axis=1), rel=1e-5)
    assert net.times.tolist() == [1.0, 10.0]
    list(gl.fit(net, [c], [c], config))
    assert net.energy_mean[0] == pytest.approx(c.potential_energy_thermal[c.types == 0].mean())


def test_features_of_another_network_are_refused():
    net = gl.SE3GNN(gl.ModelConfig(**SIZES))
    for change, message in (
        ({"channels": 3}, "channels = 3, here 2"),
        ({"inputs": "IS"}, "inputs = 'IS', here 'thermal'"),
    ):
        with pytest.raises(ValueError, match=message):
            features_from(net, gl.SE3GNN(gl.ModelConfig(**SIZES | change)))
    with pytest.raises(ValueError, match="features of a BapstGNN"):
        features_from(net, gl.baselines.baseline("bapst", inputs="thermal", n_times=2))
    assert set(FREE) < set(asdict(gl.ModelConfig()))


def test_pretraining_helps_where_labels_are_few():
    """One labelled liquid, and a task that asks for the same structure as the labels do."""
    structures, val, test = [structure(k) for k in range(4)], [learnable(20)], [learnable(k) for k in (30, 31)]
    before, _ = learned("E_thermal", structures, [structure(9)], epochs=30)
    scores = []
    for start in (None, before):
        torch.manual_seed(1)
        net = gl.SE3GNN(gl.ModelConfig(**SIZES, dropout=0.0))
        if start is not None:
            features_from(net, start)
        config = gl.TrainConfig(epochs=10, learning_rate=0.01, device="cpu")
        list(gl.fit(net, [learnable(10)], val, config, standardize="labels" if start else True))
        scores.append(min(gl.evaluate(net, [learnable(10)], test)["test"]["A"]["mean"]))
    assert scores[1] > scores[0] + 0.1


def long_pretraining(folder):
    """State and number of epochs of a pretraining that keeps a checkpoint, and goes on where that is."""
    folder.mkdir(exist_ok=True)
    train, val = [lattice(k) for k in range(3)], [lattice(9)]
    net, records = learned("noise", train, val, epochs=12, checkpoint=folder / "unfinished.pt")
    return net.state_dict(), len(records)


SCRIPT = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from tests.learning.test_pretrain import long_pretraining
long_pretraining(pathlib.Path(sys.argv[1]))
"""


def test_killed_pretraining_resumes_to_bitwise_the_same_weights(tmp_path):
    """SIGKILL at a random moment after the first epoch, then to the end; against a run left in peace."""
    whole, epochs = long_pretraining(tmp_path / "whole")
    seed = random.randrange(10**6)
    print("moment of the kill: seed", seed)  # shown if the test fails
    checkpoint = tmp_path / "killed" / "unfinished.pt"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), str(ROOT)])
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.005)
    time.sleep(random.Random(seed).uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had ended before it was killed"
    done = len(torch.load(checkpoint, weights_only=True)["history"])
    assert 0 < done < 12
    resumed, again = long_pretraining(tmp_path / "killed")
    assert epochs == again == 12
    assert same(whole, resumed)
    with pytest.raises(ValueError, match=r"another training noise \(0.1, now 0.2\)"):
        learned("noise", [lattice(k) for k in range(3)], [lattice(9)], epochs=12, checkpoint=checkpoint, noise=0.2)


def test_a_pretrained_file_is_made_once_for_all_that_begin_with_the_same(tmp_path):
    torch.manual_seed(0)
    net, watched = gl.SE3GNN(gl.ModelConfig(**SIZES)), []
    config = gl.TrainConfig(epochs=2, device="cpu")
    make = partial(pretrained, net, [structure(0)], [structure(1)], folder=tmp_path, watch=watched.append)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    path = make(task="E_IS", config=config)
    assert len(watched) == 2
    assert path.name.startswith("E_IS-")
    assert make(task="E_IS", config=config) == path
    assert len(watched) == 2
    others = {make(task="E_thermal", config=config), make(task="E_IS", config=gl.TrainConfig(epochs=1, device="cpu"))}
    assert len(others | {path}) == 3
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in others | {path}}  # neither locks nor checkpoints
    assert same(net.state_dict(), before)
    features_from(net, gl.load_model(path))


def test_workers_make_the_same_noise():
    train, val = [lattice(k) for k in range(3)], [lattice(9)]
    (held, _), (made, _) = (learned("noise", train, val, epochs=2, num_workers=number) for number in (None, 2))
    assert same(held.state_dict(), made.state_dict())


def test_graphs_with_fixed_noise_are_held():
    net = gl.SE3GNN(gl.ModelConfig(**SIZES))
    fixed, anew = (Graphs(net, [lattice(0)], None, 0, 0.1, fixed=each) for each in (True, False))
    assert fixed[1, 0] is fixed[2, 0]
    assert torch.equal(fixed[1, 0].vector, anew[0, 0].vector)
    assert anew[1, 0].vector.shape != anew[2, 0].vector.shape or not torch.equal(anew[1, 0].vector, anew[2, 0].vector)


def test_what_was_trained_on_labels_can_be_started_from_too():
    net, _ = trained([learnable(0)], [learnable(1)], epochs=2)
    other = features_from(gl.SE3GNN(gl.ModelConfig(**SIZES | {"n_times": 5})), net)
    assert all(torch.equal(value, features(net)[k]) for k, value in features(other).items())
