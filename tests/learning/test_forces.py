"""Training on energies and forces: it learns, a killed training goes on to the same bits, mistakes are refused."""

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.learning import forces
from glasslit.learning.forces import fit_potential, force_errors
from glasslit.liquid.periodic import minimum_image, neighbor_pairs
from glasslit.models import potential
from glasslit.models.potential import Potential, PotentialConfig

SMALL = {"layers": 1, "channels": 4, "l_max": 0, "n_basis": 20, "hidden": 16, "readout": 8}
CONFIG = {"device": "cpu", "learning_rate": 0.01, "betas": (0.9, 0.999)}


def network():
    torch.manual_seed(0)
    return Potential(PotentialConfig(**SMALL))


@pytest.fixture(scope="module")
def sets():
    return gl.load("starter", T=0.56)[:3]


def soft(configuration):
    """Energies and forces of particles that repel each other softly, which take fewer steps to learn than real ones."""
    c = configuration
    i, j = neighbor_pairs(c.positions, c.box, 2.5).T
    vector = minimum_image(c.positions[j] - c.positions[i], c.box)
    r = np.linalg.norm(vector, axis=1)
    energy, force = np.zeros(c.n_particles), np.zeros((c.n_particles, 3))
    pull = (-2 * (1 - r / 2.5) / 2.5 / r)[:, None] * vector
    for ends, sign in ((i, 1), (j, -1)):
        np.add.at(energy, ends, 0.5 * (1 - r / 2.5) ** 2)
        np.add.at(force, ends, sign * pull)
    return energy, force


def test_it_learns_forces_and_energies(sets, monkeypatch):
    for module in (forces, potential):
        monkeypatch.setattr(module, "exact", soft)
    net = network()
    records = list(fit_potential(net, sets[:2], sets[2:], gl.TrainConfig(epochs=9, milestones=(1.0,), **CONFIG)))
    assert records[0].val_rho < 0.01
    assert max(r.val_rho for r in records) > 0.03
    assert records[-1].train_loss < 0.97 * records[0].train_loss
    assert not net.training
    errors = force_errors(net, sets[2:])
    assert errors["relative"] ** 2 == pytest.approx(1 - max(r.val_rho for r in records), rel=1e-4)
    true = soft(sets[2])[1]
    assert errors["force"] == pytest.approx(errors["relative"] * np.sqrt(np.mean(true**2)), rel=1e-6)
    assert set(errors) == {"force", "relative", "A", "B", "energy"}


def test_energies_alone_pull_at_the_total(sets):
    """With a large weight the energy's error falls beside that of a training on forces alone."""
    errors = []
    for weight in (0.0, 1e4):
        net = network()
        list(fit_potential(net, sets[:2], sets[2:], gl.TrainConfig(epochs=3, **CONFIG), energy_weight=weight))
        errors.append(force_errors(net, sets[:2])["energy"])
    assert errors[1] < 0.5 * errors[0]


def test_batches_of_several_are_the_mean_of_each(sets):
    from torch_geometric.data import Batch

    from glasslit.learning.forces import _Student, _tell

    net = network().double()
    net.set_standardization(sets)
    student = _Student(net, 2.0).train()
    graphs = [net.graph(c) for c in sets[:2]]
    for graph, c in zip(graphs, sets[:2], strict=True):
        _tell(graph, c, None)
    alone = [_Student(net, 0.0)(g) for g in graphs]
    n = [g.num_nodes for g in graphs]
    whole = _Student(net, 0.0)(Batch.from_data_list(graphs))
    assert float(whole) == pytest.approx(float((alone[0] * n[0] + alone[1] * n[1]) / sum(n)))
    energies = [float(student(g) - a) for g, a in zip(graphs, alone, strict=True)]
    assert float(student(Batch.from_data_list(graphs)) - whole) == pytest.approx(np.mean(energies))


def test_a_killed_training_ends_with_the_same_bits(sets, tmp_path):
    whole, parts = network(), network()
    config = gl.TrainConfig(epochs=4, checkpoint=tmp_path / "unfinished.pt", **CONFIG)
    list(fit_potential(whole, sets[:2], sets[2:], gl.TrainConfig(epochs=4, **CONFIG)))
    running = fit_potential(parts, sets[:2], sets[2:], config)
    next(running)
    next(running)
    running.close()
    again = network()
    assert len(list(fit_potential(again, sets[:2], sets[2:], config))) == 4
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="another training energy_weight"):
        next(fit_potential(network(), sets[:2], sets[2:], config, energy_weight=3.0))


def test_mistakes_are_refused(sets):
    config = gl.TrainConfig(epochs=1, **CONFIG)
    for given, message in (
        (([], sets), "the training set is empty"),
        ((sets, []), "the validation set is empty"),
        (([sets[0].replace(potential=None)], sets), "does not say its potential"),
    ):
        with pytest.raises(ValueError, match=message):
            next(fit_potential(network(), *given, config))
    with pytest.raises(ValueError, match="energy_weight = -1"):
        next(fit_potential(network(), sets, sets, config, energy_weight=-1))
    with pytest.raises(ValueError, match=r"'level_weight': 0\.1"):
        next(fit_potential(network(), sets, sets, gl.TrainConfig(epochs=1, level_weight=0.1, **CONFIG)))
    with pytest.raises(ValueError, match="no test configurations"):
        force_errors(network(), [])


def test_another_truth_is_learned_and_scored(sets):
    """The same as replacing the exact potential everywhere, which the first test here does."""
    net = network()
    start = force_errors(net, sets[2:], soft)
    records = list(fit_potential(net, sets[:2], sets[2:], gl.TrainConfig(epochs=9, **CONFIG), truth=soft))
    assert net.scale == pytest.approx(np.sqrt(np.mean([soft(c)[1] ** 2 for c in sets[:2]])), rel=1e-6)
    errors = force_errors(net, sets[2:], soft)
    assert errors["relative"] ** 2 == pytest.approx(1 - max(r.val_rho for r in records), rel=1e-4)
    assert errors["force"] < start["force"]
    assert force_errors(net, sets[2:])["relative"] > 0.9, "the exact potential was not what it learned"


def test_a_checkpoint_of_another_truth_is_not_continued(sets, tmp_path):
    config = gl.TrainConfig(epochs=1, checkpoint=tmp_path / "state.pt", **CONFIG)
    list(fit_potential(network(), sets[:1], sets[2:], config, truth=soft))
    list(fit_potential(network(), sets[:1], sets[2:], config, truth=soft))  # finished epochs are yielded again
    for other in (None, lambda c: tuple(2 * v for v in soft(c))):
        with pytest.raises(ValueError, match="another training truth"):
            list(fit_potential(network(), sets[:1], sets[2:], config, truth=other))
