"""Sensitivities: gradients against removals, particles taken out of the liquid, the bound of the receptive field."""

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import shortest_path

import glasslit as gl
from glasslit.equivariance.so3 import random_rotations
from glasslit.learning import sensitivity
from glasslit.learning.sensitivity import (
    displacement_gradient,
    groups_out_of_reach,
    hops,
    neighbor_removal,
    neighbor_sensitivity,
    particle_displacement,
    particle_removal,
    radius_of_share,
    weighted_prediction,
)
from glasslit.liquid.periodic import minimum_image
from glasslit.models.baselines import baseline
from glasslit.testing import random_liquid, turn

LAYERS, CUTOFF = 2, 1.4


def network(inputs="thermal", layers=LAYERS, seed=0, **sizes):
    """Weights at random, statistics of the batch norms as after some training; in double precision."""
    torch.manual_seed(seed)
    sizes = {"channels": 2, "l_max": 2, "n_times": 2} | sizes
    net = gl.SE3GNN(gl.ModelConfig(layers=layers, cutoff=CUTOFF, inputs=inputs, dropout=0.0, **sizes)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        net.train()
        net.standardized(net.graph(random_liquid(300, seed=9)))
    return net.eval()


@pytest.fixture(scope="module")
def case():
    c, net = random_liquid(600, seed=1), network()
    return c, net, net.graph(c)


def test_weights_of_one_change_nothing_and_others_do(case):
    _, net, graph = case
    plain = net.standardized(graph)
    edges = graph.edge_index.shape[1]
    for shape in ((edges,), (edges, 3)):
        ones = torch.ones(shape, dtype=torch.float64)
        assert torch.equal(weighted_prediction(net, graph, ones), plain)
        assert (weighted_prediction(net, graph, 0.9 * ones) - plain).abs().max() > 1e-3


def test_a_particle_that_nobody_sees_is_a_liquid_without_it(case):
    c, net, graph = case
    for particle in (0, 17):
        change = particle_removal(net, graph, [particle])[0]
        stay = np.delete(np.arange(c.n_particles), particle)
        rest = gl.Configuration(positions=c.positions[stay], types=c.types[stay], box=c.box)
        with torch.no_grad():
            expected = (net.standardized(net.graph(rest)) - net.standardized(graph)[stay]).T.numpy()
        assert np.abs(change[:, stay] - expected).max() < 1e-10
        assert np.abs(expected).max() > 1e-2
        assert np.isnan(change[:, particle]).all()


def test_gradient_and_removal_agree_for_small_perturbations_and_only_there(case):
    _, net, graph = case
    found = neighbor_sensitivity(net, graph, [3, 40, 41, 200], time=1)
    assert set(graph.edge_index[1][found.edges].tolist()) == {3, 40, 41, 200}
    assert found.gradient.shape == (len(found.edges), 3)
    scale = np.abs(found.total).max()

    def off(kept):
        slope = neighbor_removal(net, graph, found.edges, 1, kept) / (kept - 1)
        return np.abs(slope - found.total).max() / scale

    assert off(1 - 1e-6) < 1e-4
    assert 5 < off(1 - 1e-2) / off(1 - 1e-3) < 20  # what is left out is of second order
    assert off(0.0) > 100 * off(1 - 1e-3)
    other_time = neighbor_sensitivity(net, graph, [3, 40, 41, 200], time=0)
    assert np.abs(other_time.total - found.total).max() > 0.1 * scale


def test_degrees_are_told_apart(case):
    _, net, graph = case
    found = neighbor_sensitivity(net, graph, [5], time=0)
    ones = torch.ones(graph.edge_index.shape[1], 3, dtype=torch.float64)
    with torch.no_grad():
        for degree in range(3):
            weights = ones.clone()
            weights[found.edges[0], degree] -= 1e-6
            change = weighted_prediction(net, graph, weights)[5, 0] - net.standardized(graph)[5, 0]
            assert float(change) / -1e-6 == pytest.approx(found.gradient[0, degree], rel=1e-3, abs=1e-7)


def test_particles_that_share_a_pass_do_not_disturb_each_other(case, monkeypatch):
    _, net, graph = case
    near = graph.edge_index[0][graph.edge_index[1] == 7][:3].tolist()
    chosen = [7, *near, 300, 400]
    together = neighbor_sensitivity(net, graph, chosen, time=0)

    def alone(found):
        return max(
            np.abs(found.gradient[np.isin(found.edges, one.edges)] - one.gradient).max()
            for one in (neighbor_sensitivity(net, graph, [i], time=0) for i in chosen)
        )

    expected = alone(together)
    assert expected < 1e-12
    monkeypatch.setattr(sensitivity, "groups_out_of_reach", lambda g, particles, steps: [np.sort(particles)])
    careless = neighbor_sensitivity(net, graph, chosen, time=0)
    assert alone(careless) > 1e-3


def test_groups_are_as_far_apart_as_they_should_be(case):
    _, _, graph = case
    asked = np.arange(0, 600, 5)
    groups = groups_out_of_reach(graph, asked, 2)
    assert sorted(np.concatenate(groups)) == asked.tolist()
    assert 1 < len(groups) < len(asked)
    for group in groups:
        for i in group[:3]:
            assert (hops(graph, i, 2)[group] > 2).sum() == len(group) - 1


def test_hops_against_scipy(case):
    _, _, graph = case
    expected = shortest_path(sensitivity._adjacency(graph), unweighted=True, indices=[4])[0]
    assert hops(graph, 4, 3).tolist() == np.minimum(expected, 4).tolist()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_receptive_field_ends_at_layers_times_cutoff(layers):
    """Neither removal nor displacement is felt along more edges than there are layers; the last one is used."""
    c, net = random_liquid(700, seed=2), network(layers=layers)
    graph = net.graph(c)
    steps, distance = (
        hops(graph, 11, layers + 1),
        np.linalg.norm(minimum_image(c.positions - c.positions[11], c.box), axis=1),
    )
    responses = {
        "removed": np.abs(particle_removal(net, graph, [11])[0]).max(axis=0),
        "displaced": np.abs(particle_displacement(net, graph, [11], np.full((1, 3), 0.02))[0]).max(axis=0),
        "gradient": np.linalg.norm(displacement_gradient(net, graph, 11, 0), axis=1),
    }
    for name, response in responses.items():
        assert (response[steps > layers] == 0).all(), name
        assert (response[distance > layers * CUTOFF] == 0).all(), name
        assert np.nanmax(response[steps == layers]) > 0, name
    assert (distance > layers * CUTOFF).any()


def test_statistics_of_the_whole_box_break_the_bound():
    """The control: in training mode the batch norms average over all particles, and everybody sees everybody."""
    c, net = random_liquid(700, seed=2), network()
    graph = net.graph(c)
    far = hops(graph, 11, LAYERS + 1) > LAYERS
    weights = torch.ones(graph.edge_index.shape[1], dtype=torch.float64)
    weights[graph.edge_index[0] == 11] = 0
    with torch.no_grad():
        for training in (False, True):
            net.train(training)
            before, after = (weighted_prediction(net, graph, w) for w in (torch.ones_like(weights), weights))
            assert bool(((after - before)[far] == 0).all()) != training
    net.train()
    particle_removal(net, graph, [11])
    assert net.training  # as it was


def test_displacement_gradient_is_that_of_the_configuration(case):
    c, net, graph = case
    gradient = displacement_gradient(net, graph, 20, 1)
    assert np.abs(gradient.sum(axis=0)).max() < 1e-10
    step = 1e-5
    for j in (20, int(graph.edge_index[0][graph.edge_index[1] == 20][0])):
        for axis in range(3):
            found = []
            for sign in (1, -1):
                x = c.positions.copy()
                x[j, axis] += sign * step
                found.append(net.predict(c.replace(positions=x))[1, 20])
            assert (found[0] - found[1]) / (2 * step) == pytest.approx(gradient[j, axis], rel=1e-4, abs=1e-7)
    moved = particle_displacement(net, graph, [20], np.array([[step, 0, 0]]))[0, 1, 20]
    assert moved / step == pytest.approx(gradient[20, 0], rel=1e-2, abs=1e-6)


def test_displacement_gradient_turns_with_the_liquid(case):
    _, net, graph = case
    plain = displacement_gradient(net, graph, 20, 1)
    for rotation in random_rotations(3):
        turned = displacement_gradient(net, turn(graph, rotation), 20, 1)
        assert np.abs(turned - plain @ rotation.double().numpy().T).max() < 1e-10 * np.abs(plain).max()
        assert np.abs(turned - plain).max() > 1e-2 * np.abs(plain).max()


def test_radius_of_share():
    r, c = np.array([3.0, 1.0, 2.0, 9.0]), np.array([1.0, 2.0, 2.0, 0.0])
    assert radius_of_share(r, c, 0.4) == 1.0
    assert radius_of_share(r, c, 0.8) == 2.0
    assert radius_of_share(r, c, 0.95) == radius_of_share(r, c, 1) == 3.0
    for distance, response, share in ((r, c, 0), (r, c, 1.1), (r[:2], c, 0.5)):
        with pytest.raises(ValueError, match="expected a share above 0"):
            radius_of_share(distance, response, share)
    with pytest.raises(ValueError, match="expected at least one"):
        radius_of_share(r, 0 * c, 0.5)


def test_what_cannot_be_meant_is_refused(case):
    _, net, graph = case
    with pytest.raises(ValueError, match=r"weights of shape \(3,\); expected"):
        weighted_prediction(net, graph, torch.ones(3))
    with pytest.raises(ValueError, match="time 2; expected the place of one of the network's 2 times"):
        neighbor_sensitivity(net, graph, [0], time=2)
    with pytest.raises(ValueError, match="steps of shape"):
        particle_displacement(net, graph, [0, 1], np.zeros((1, 3)))
    with pytest.raises(ValueError, match="a BapstGNN; expected an SE3GNN"):
        particle_removal(baseline("bapst", n_times=2), graph, [0])
