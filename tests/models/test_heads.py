"""Heads: what is predicted beside the propensity learns, turns with the liquid, and is kept in files."""

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.equivariance.so3 import cube_rotations
from glasslit.learning.checkpoint import save_model
from glasslit.learning.transfer import refit_decoder
from glasslit.learning.vectors import component_correlation
from glasslit.liquid.structure import local_density
from glasslit.models.heads import HEADS, Displacement, parse_targets
from glasslit.models.propensity import label_of
from glasslit.prediction import predict_in_blocks
from glasslit.testing import assert_equivariant, random_liquid, shuffle_labels

CONFIG = gl.ModelConfig(layers=2, channels=3, l_max=2, n_times=2, targets="propensity+displacement")


def labelled(seed=0, n=300):
    """Labels that a network can learn: how many neighbors there are, and the vector to the inherent position."""
    c = random_liquid(n, seed=seed)
    u, near = c.inherent_positions - c.positions, local_density(c, 1.4)
    return c.replace(mean_displacement=np.stack([u, 2 * u]), propensity=np.stack([near, 20 - near]))


def network(config=CONFIG, dtype=torch.float64, c=None):
    torch.manual_seed(0)
    net = gl.SE3GNN(config).to(dtype)
    c = c or labelled()
    net.set_standardization([c])
    net(net.graph(c))
    with torch.no_grad():
        for _, head in net.further():
            head.weight.normal_()
    return net.eval()


@pytest.fixture(params=["thermal", "thermal+E_IS+u_IS"])
def net(request):
    return network(gl.ModelConfig(**(vars(CONFIG) | {"inputs": request.param})))


def head_output(net):
    return lambda graph: net.outputs(graph)["displacement"].flatten(1)


class OneAxis(Displacement):
    """Negative control: a constant along x, which is a direction of its own."""

    def standardized(self, features, inputs, types):
        return super().standardized(features, inputs, types) + torch.tensor([0.1, 0, 0]).to(features)


def test_predicted_vectors_turn_with_the_liquid(net):
    graph = net.graph(labelled())
    assert_equivariant(head_output(net), graph, "2x1e")
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(head_output(net), graph, "6x0e")  # they do turn
    weight = net.heads["displacement"].weight
    broken = OneAxis(net.irreps, net.irreps_inputs, 2).double()
    broken.weight = weight
    net.heads["displacement"] = broken
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(head_output(net), graph, "2x1e")


def test_predictions_turn_under_the_rotations_of_the_box(net):
    c = labelled()
    plain = net.predict(c, "displacement")
    assert plain.shape == (2, 300, 3)
    for rotation in cube_rotations().numpy():
        turned = c.replace(positions=c.positions @ rotation.T, inherent_positions=c.inherent_positions @ rotation.T)
        assert np.abs(net.predict(turned, "displacement") - plain @ rotation.T).max() < 1e-10 * np.abs(plain).max()
    assert np.abs(net.predict(turned, "displacement") - plain).max() > 1e-2 * np.abs(plain).max()


def test_it_learns_vectors_and_nothing_from_shuffled_ones():
    """Each particle's own vector is among the inputs; the shuffled ones cannot be told from the liquid."""
    config = gl.ModelConfig(**(vars(CONFIG) | {"inputs": "thermal+u_IS", "layers": 1}))
    scores = []
    for prepare in (lambda c, _: c, shuffle_labels):
        train, val = [prepare(labelled(k), k) for k in (1, 2)], [prepare(labelled(3), 3)]
        torch.manual_seed(0)
        net = gl.SE3GNN(config)
        list(gl.fit(net, train, val, gl.TrainConfig(epochs=40, learning_rate=0.03)))
        found = component_correlation([net.predict(val[0], "displacement")], [val[0].mean_displacement], [val[0].types])
        scores.append(found["A"])
        metrics = gl.evaluate(net, train, val)
        assert metrics["displacement"]["A"]["component"] == pytest.approx(found["A"])
    assert scores[0].min() > 0.95
    assert np.abs(scores[1]).max() < 0.2


def test_every_head_is_in_the_loss_with_its_weight():
    c = labelled()
    losses = []
    for weight in (0.0, 1.0, 3.0):
        net = network(gl.ModelConfig(**(vars(CONFIG) | {"target_weight": weight})))
        losses.append(net.training_loss(net.graph(c)).item())
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]))
    assert losses[1] > losses[0]
    head = net.heads["displacement"]
    graph = net.graph(c)
    label = graph[label_of("displacement")]
    error = (head(net.features(graph), net.node_inputs(graph), graph.types) - label) / head.spread[graph.types][
        ..., None
    ]
    by_hand = sum(error[:, t].square().mean().item() for t in range(2))
    assert losses[1] - losses[0] == pytest.approx(by_hand)


def test_labels_are_seen_in_units_of_their_spread():
    c = labelled()
    head = network().heads["displacement"]
    for kind in (0, 1):
        expected = np.sqrt(np.square(c.mean_displacement[:, c.types == kind]).mean(axis=(1, 2)))
        assert head.spread[kind].numpy() == pytest.approx(expected)
    head.set_standardization([c.replace(mean_displacement=np.zeros((2, 300, 3)))])
    assert torch.equal(head.spread, torch.ones(2, 2))


def test_saved_and_loaded_it_predicts_the_same(tmp_path, net):
    save_model(net, tmp_path / "model.pt")
    other = gl.load_model(tmp_path / "model.pt")
    assert other.targets == ("propensity", "displacement")
    c = labelled(5)
    for target in other.targets:
        found = other.double().predict(c, target)
        assert np.allclose(found, net.predict(c, target), atol=1e-5 * np.abs(found).max())


def test_blocks_give_what_the_whole_gives(net):
    c = labelled(5)
    whole = net.predict(c, "displacement")
    assert np.abs(predict_in_blocks(net, c, 130, "displacement") - whole).max() < 1e-10 * np.abs(whole).max()


def test_a_decoder_that_is_fitted_anew_predicts_the_propensity_alone(net):
    refitted = refit_decoder(net, [labelled(1)], [labelled(2)])
    assert refitted.targets == ("propensity",)
    assert refitted.predict(labelled(3)).shape == (2, 300)
    assert net.targets == ("propensity", "displacement")


def test_heads_change_nothing_of_the_propensity():
    """The same weights without the head: the same prediction; and it has no more parameters than it says."""
    with_head, c = network(), labelled()
    without = gl.SE3GNN(gl.ModelConfig(**(vars(CONFIG) | {"targets": "propensity"}))).double().eval()
    weights = {name: value for name, value in with_head.state_dict().items() if not name.startswith("heads.")}
    without.load_state_dict(weights)
    assert np.array_equal(without.predict(c), with_head.predict(c))
    assert with_head.count_parameters() == without.count_parameters() | {"displacement": 2 * 2 * 3}


def test_what_cannot_be_predicted_is_refused(net):
    c = random_liquid(300)
    with pytest.raises(ValueError, match=r"target 'displacment'; expected .* did you mean 'displacement'"):
        net.predict(c, "displacment")
    with pytest.raises(ValueError, match=r"target 'displacement'; expected what this network predicts, propensity$"):
        predict_in_blocks(gl.SE3GNN(gl.ModelConfig(layers=1)), c, 10, "displacement")
    with pytest.raises(ValueError, match="a graph without mean_displacement"):
        net.training_loss(net.graph(c))
    with pytest.raises(ValueError, match="has no mean_displacement"):
        net.set_standardization([c])
    with pytest.raises(ValueError, match="scalars have no direction"):
        gl.SE3GNN(gl.ModelConfig(l_max=0, targets="propensity+displacement"))
    with pytest.raises(ValueError, match="l_max = 0; expected at least 1, which sees"):
        gl.ModelConfig(l_max=0, inputs="thermal+u_IS")
    with pytest.raises(ValueError, match="target_weight = -1"):
        gl.ModelConfig(target_weight=-1)
    with pytest.raises(ValueError, match="targets 'displacement'; expected one of propensity, "):
        parse_targets("displacement")


def test_each_head_can_be_asked_for():
    assert [parse_targets(f"propensity+{name}") for name in HEADS] == [(name,) for name in HEADS]
