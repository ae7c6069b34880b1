"""Training on energies and forces: it learns, a killed training goes on to the same bits, mistakes are refused."""

import numpy as np
import pytest
import torch

import glasslit as gl
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
    monkeypatch.setattr(potential, "exact", soft)
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
    with pytest.raises(ValueError, match="the test set is empty"):
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


def test_a_truth_may_differentiate_an_energy(sets):
    """Also where gradients are off, as around the scales."""

    def truth(configuration):
        x = torch.tensor(configuration.positions, requires_grad=True)
        energy = torch.sin(x).sum(dim=1)
        (slope,) = torch.autograd.grad(energy.sum(), x)
        return energy.detach().numpy(), -slope.numpy()

    net = network()
    net.set_standardization(sets, truth)
    assert float(net.target_mean) == pytest.approx(np.mean([np.sin(c.positions).sum(axis=1) for c in sets]), rel=1e-5)
    with torch.no_grad():
        assert force_errors(net, sets[2:], truth)["relative"] > 0


def test_a_checkpoint_of_another_truth_is_not_continued(sets, tmp_path):
    config = gl.TrainConfig(epochs=1, checkpoint=tmp_path / "state.pt", **CONFIG)
    list(fit_potential(network(), sets[:1], sets[2:], config, truth=soft))
    list(fit_potential(network(), sets[:1], sets[2:], config, truth=soft))  # finished epochs are yielded again
    for other in (None, lambda c: tuple(2 * v for v in soft(c))):
        with pytest.raises(ValueError, match="another training truth"):
            list(fit_potential(network(), sets[:1], sets[2:], config, truth=other))


def changed(energies=None, forces=None):
    """Of the right labels one, or both, made wrong."""

    def truth(configuration):
        e, f = soft(configuration)
        return (e if energies is None else energies(e)), (f if forces is None else forces(f))

    return truth


TRUTHS = {
    "the whole energy": (changed(lambda e: e.sum()[None]), r"energies \(1,\)"),
    "the whole energy, 0-d": (changed(lambda e: e.sum()), r"energies \(\)"),
    "the whole energy, a float": (changed(lambda e: float(e.sum())), r"energies \(\)"),
    "one force for all": (changed(None, lambda f: f[0]), r"forces \(3,\)"),
    "nan": (changed(lambda e: e * np.nan), r"truth gave nan at \[0\] of the energies"),
    "inf": (changed(None, lambda f: f + np.inf), r"truth gave inf at \[0, 0\] of the forces"),
    "no forces": (changed(None, lambda f: 0 * f), "forces on the (validation|test) configurations .* expected"),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_what_truth_says_is_checked_before_anything_is_learned_or_scored(sets, name):
    truth, message = TRUTHS[name]
    net = network()
    before = [p.clone() for p in net.parameters()]
    with pytest.raises(ValueError, match=message):
        next(fit_potential(net, sets[:2], sets[2:], gl.TrainConfig(epochs=1, **CONFIG), truth=truth))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    with pytest.raises(ValueError, match=message):
        force_errors(net, sets[2:], truth)


def test_what_truth_says_of_the_validation_set_alone_is_checked(sets):
    def truth(configuration):
        return changed(lambda e: e[:1])(configuration) if configuration is sets[2] else soft(configuration)

    config = gl.TrainConfig(epochs=1, num_workers=1, **CONFIG)  # before a process makes graphs, whose errors are long
    with pytest.raises(ValueError, match=r"^truth gave energies \(1,\)"):
        next(fit_potential(network(), sets[:2], sets[2:], config, truth=truth))


def test_where_one_type_feels_no_force_its_relative_error_is_nan(sets):
    def truth(configuration):
        energy, force = soft(configuration)
        return energy, np.where((configuration.types == 1)[:, None], 0, force)

    errors = force_errors(network(), sets[2:], truth)
    assert np.isnan(errors["B"])
    assert np.isfinite([errors[name] for name in ("force", "relative", "A", "energy")]).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda c: c[0], r"set is a Configuration; expected a list of configurations, as \[configuration\]"),
        (lambda c: iter(c), "set is a list_iterator; expected a list of configurations"),
        (lambda c: None, "set is a NoneType; expected a list of configurations"),
        (lambda c: 3, "set is a int; expected a list of configurations"),
        (lambda c: [c[0].positions], "a ndarray in the list; expected configurations"),
        (lambda c: "starter", "a str in the list; expected configurations"),
        (lambda c: (), "set is empty; expected at least one configuration"),
    ],
)
def test_a_set_is_a_list_of_configurations(sets, given, message):
    config = gl.TrainConfig(epochs=1, **CONFIG)
    for train, val in ((given(sets), sets), (sets, given(sets))):
        with pytest.raises(ValueError, match=message):
            next(fit_potential(network(), train, val, config))
    with pytest.raises(ValueError, match=message):
        force_errors(network(), given(sets))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: gl.SE3GNN(gl.ModelConfig.laptop(n_times=1, layers=1)), "a SE3GNN; expected a learned potential"),
        (lambda: "potential.pt", "'potential.pt'; expected a learned potential"),
        (lambda: PotentialConfig(**SMALL), "a PotentialConfig; expected a learned potential"),
        (lambda: Potential, "<class .*; expected a learned potential"),
    ],
)
def test_only_a_potential_is_trained_and_scored(sets, given, message):
    with pytest.raises(ValueError, match=message):
        next(fit_potential(given(), sets, sets, gl.TrainConfig(epochs=1, **CONFIG)))
    with pytest.raises(ValueError, match=message):
        force_errors(given(), sets)


@pytest.mark.parametrize("weight", ["1", None, True, float("nan"), float("inf"), -1.0])
def test_a_weight_that_is_none_is_refused(sets, weight):
    with pytest.raises(ValueError, match=f"energy_weight = {weight!r}; expected a finite number of at least 0"):
        next(fit_potential(network(), sets, sets, gl.TrainConfig(epochs=1, **CONFIG), energy_weight=weight))


def test_a_config_of_something_else_is_refused(sets):
    for config in ({"epochs": 1}, gl.ModelConfig(), 0):
        with pytest.raises(ValueError, match="expected a TrainConfig, or None"):
            next(fit_potential(network(), sets, sets, config))
