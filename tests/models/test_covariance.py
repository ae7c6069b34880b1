"""The head for covariances: a number and a part of degree two, which learn, turn with the liquid, and are kept."""

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.data.isoconfigurational import displacement_covariance
from glasslit.equivariance.so3 import cube_rotations, symmetric_to_irreps
from glasslit.learning.checkpoint import save_model
from glasslit.learning.tensors import POWERS, degree_two, directions, neighbor_tensors, symmetric_matrices, trace
from glasslit.liquid.configuration import VOIGT
from glasslit.models.heads import Covariance
from glasslit.prediction import predict_in_blocks
from glasslit.testing import assert_equivariant, random_liquid, shuffle_labels

CONFIG = gl.ModelConfig(layers=2, channels=3, l_max=2, n_times=2, targets="propensity+covariance")


def labelled(seed=0, n=300):
    """Labels that a network can learn: the directions in which the particle has neighbors, near ones most."""
    c = random_liquid(n, seed=seed)
    graph = gl.neighbor_graph(c, 2.0, "thermal")
    v = graph.vector.double().numpy()
    weight = (1 - np.linalg.norm(v, axis=1, keepdims=True) / 2) ** 2
    around = np.zeros((n, 6))
    np.add.at(around, graph.edge_index[1].numpy(), weight * v[:, VOIGT[0]] * v[:, VOIGT[1]])
    near = trace(around)
    return c.replace(displacement_covariance=np.stack([around, 2 * around]), propensity=np.stack([near, 20 - near]))


def network(config=CONFIG, dtype=torch.float64):
    torch.manual_seed(0)
    net = gl.SE3GNN(config).to(dtype)
    c = labelled()
    net.set_standardization([c])
    net(net.graph(c))
    with torch.no_grad():
        for parameter in net.heads["covariance"].parameters():
            parameter.normal_()
    return net.eval()


@pytest.fixture(scope="module", params=["thermal", "thermal+E_IS+u_IS"])
def net(request):
    return network(gl.ModelConfig(**(vars(CONFIG) | {"inputs": request.param})))


def as_irreps(net):
    return lambda graph: symmetric_to_irreps(net.outputs(graph)["covariance"]).flatten(1)


class OneAxis(Covariance):
    """Negative control: a constant along one axis, which is a direction of its own."""

    def standardized(self, features, inputs, types):
        return super().standardized(features, inputs, types) + torch.tensor([0, 0, 0, 0.1, 0, 0]).to(features)


def test_predicted_covariances_turn_with_the_liquid(net):
    graph = net.graph(labelled())
    assert_equivariant(as_irreps(net), graph, "0e+2e+0e+2e")
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(as_irreps(net), graph, "12x0e")  # they do turn
    kept = net.heads["covariance"]
    broken = OneAxis(net.irreps, net.irreps_inputs, 2).double()
    broken.load_state_dict(kept.state_dict())
    net.heads["covariance"] = broken
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(as_irreps(net), graph, "0e+2e+0e+2e")
    net.heads["covariance"] = kept


def test_predictions_turn_under_the_rotations_of_the_box(net):
    c = labelled()
    entries = net.predict(c, "covariance")
    assert entries.shape == (2, 300, 6)
    plain = symmetric_matrices(entries)
    for rotation in cube_rotations().numpy():
        turned = c.replace(positions=c.positions @ rotation.T, inherent_positions=c.inherent_positions @ rotation.T)
        found = symmetric_matrices(net.predict(turned, "covariance"))
        assert np.abs(found - rotation @ plain @ rotation.T).max() < 1e-10 * np.abs(plain).max()
    assert np.abs(found - plain).max() > 1e-2 * np.abs(plain).max()


def test_it_learns_covariances_and_nothing_from_shuffled_ones():
    scores = []
    for prepare in (lambda c, _: c, shuffle_labels):
        train, val = [prepare(labelled(k, 150), k) for k in (1, 2, 4)], [prepare(labelled(3, 150), 3)]
        torch.manual_seed(0)
        net = gl.SE3GNN(gl.ModelConfig(**(vars(CONFIG) | {"layers": 1, "dropout": 0.0})))
        list(gl.fit(net, train, val, gl.TrainConfig(epochs=30, learning_rate=0.03)))
        scores.append(gl.evaluate(net, train, val)["covariance"]["A"])
    assert min(scores[0]["component"] + scores[0]["trace"]) > 0.6
    assert np.abs(scores[1]["component"] + scores[1]["trace"]).max() < 0.2
    assert "ceiling" not in scores[0]  # nothing is known of the halves


def test_labels_are_seen_as_irreps_in_units_of_their_spread():
    c = labelled()
    head = network().heads["covariance"]
    label = torch.from_numpy(head.label(c).astype(np.float64))
    scaled = head.scaled(label, torch.tensor(c.types).long()).numpy()
    for kind in (0, 1):
        own = scaled[c.types == kind]
        assert own[..., 0].mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
        assert own[..., 0].std(axis=0) == pytest.approx([1, 1])
        assert np.square(own[..., 1:]).mean(axis=(0, 2)) == pytest.approx([1, 1])
    features = torch.zeros(300, net_width := head.of_features.max() + 1, dtype=torch.float64)
    mean = head(features, features[:, :0], torch.tensor(c.types).long()).detach().numpy()
    assert net_width > 5
    assert np.abs(degree_two(mean)).max() < 1e-12  # without features: a multiple of the identity
    for kind in (0, 1):
        expected = trace(c.displacement_covariance)[:, c.types == kind].mean(axis=1)
        assert trace(mean)[c.types == kind][0] == pytest.approx(expected)
    head.set_standardization([c.replace(displacement_covariance=np.zeros((2, 300, 6)))])
    assert torch.equal(head.spread, torch.ones(2, 2, 6).double())


def test_saved_and_loaded_it_predicts_the_same(tmp_path, net):
    save_model(net, tmp_path / "model.pt")
    other = gl.load_model(tmp_path / "model.pt")
    assert other.targets == ("propensity", "covariance")
    c = labelled(5)
    found = other.double().predict(c, "covariance")
    assert np.allclose(found, net.predict(c, "covariance"), atol=1e-5 * np.abs(found).max())


def test_blocks_give_what_the_whole_gives(net):
    c = labelled(5)
    whole = net.predict(c, "covariance")
    assert np.abs(predict_in_blocks(net, c, 130, "covariance") - whole).max() < 1e-10 * np.abs(whole).max()


def test_what_cannot_be_predicted_is_refused(net):
    c = random_liquid(300)
    with pytest.raises(ValueError, match="a graph without displacement_covariance"):
        net.training_loss(net.graph(c))
    with pytest.raises(ValueError, match=r"has no displacement_covariance; .* `glasslit label --covariance` keeps it"):
        net.set_standardization([c])
    with pytest.raises(ValueError, match=r"'covariance' with l_max = 1; expected l_max of at least 2"):
        gl.SE3GNN(gl.ModelConfig(l_max=1, targets="propensity+covariance"))


def test_the_trivial_predictor_finds_its_own_number():
    both = [random_liquid(300, seed=k) for k in (0, 1, 2)]
    six = [directions(c)[POWERS.index(6)] for c in both]
    both = [c.replace(displacement_covariance=np.stack([-s, 2 * s])) for c, s in zip(both, six, strict=True)]
    train, test = both[:2], both[2:]
    (found,) = neighbor_tensors(train, test)
    assert degree_two(found) == pytest.approx(degree_two(test[0].displacement_covariance), rel=1e-5, abs=1e-4)
    (near,) = neighbor_tensors(train, test, cutoff=1.2)
    assert np.abs(degree_two(near) - degree_two(found)).max() > 0.01


def test_statistics_of_runs_are_covariances():
    runs = np.random.default_rng(0).normal(size=(7, 2, 5, 3))
    found = symmetric_matrices(displacement_covariance(runs))
    for t in range(2):
        for i in range(5):
            assert np.allclose(found[t, i], np.cov(runs[:, t, i].T))
    assert VOIGT == ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
    with pytest.raises(ValueError, match="a covariance over 1 run; expected at least 2"):
        displacement_covariance(runs[:1])
