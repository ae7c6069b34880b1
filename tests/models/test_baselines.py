"""Baselines: what each claims to be, by independent computation; invariance with a control that lacks it."""

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.equivariance.so3 import cube_rotations, random_rotations
from glasslit.liquid.periodic import minimum_image
from glasslit.models.baselines import BASELINES, STRENGTHS, BaselineConfig, baseline
from glasslit.models.descriptors import coarse_grained
from glasslit.testing import assert_equivariant, equivariance_error, random_liquid, shuffle_labels

SMALL = {"width": 8, "steps": 2, "n_times": 2, "inputs": "thermal+E_IS"}
MESSAGE_PASSING = ("bapst", "botan", "egnn")


def moving(n=300, seed=0, **changes):
    """A made-up liquid whose mean displacements are known."""
    c = random_liquid(n, seed=seed)
    moved = np.random.default_rng(seed).normal(scale=0.1, size=(2, n, 3))
    return c.replace(mean_displacement=moved, **changes)


def untrained(name, configurations, dtype=torch.float64, **sizes):
    torch.manual_seed(0)
    net = baseline(name, **(SMALL | sizes)).to(dtype)
    net.set_standardization(configurations)
    with torch.no_grad():
        net.decoder.weight.normal_()  # of order one, so that an error would show
    return net.eval()


def turned_cluster(rotation):
    """Forty particles in the middle of a wide box, turned as a whole."""
    rng = np.random.default_rng(3)
    place = rng.normal(scale=1.2, size=(40, 3))
    return gl.Configuration(
        positions=place @ np.asarray(rotation).T + 25,
        types=np.arange(40) % 2,
        box=[50.0] * 3,
        times=[1.0, 2.0],
        propensity=rng.gamma(4.0, 0.1, size=(2, 40)),
        potential_energy_inherent=rng.normal(size=40),
        mean_displacement=rng.normal(size=(2, 40, 3)) @ np.asarray(rotation).T,
    )


@pytest.mark.parametrize("name", BASELINES)
def test_predictions_do_not_turn_but_for_the_networks_on_raw_vectors(name):
    upright = turned_cluster(np.eye(3))
    net = untrained(name, [upright])
    plain = net.predict(upright)
    off = [np.abs(net.predict(turned_cluster(r.numpy())) - plain).max() for r in random_rotations(3)]
    invariant = max(off) < 1e-9 * np.abs(plain).max()
    assert invariant == (name not in ("bapst", "botan"))
    if not invariant:
        assert min(off) > 1e-4 * np.abs(plain).max()


def test_displacements_of_egnn_turn_and_the_check_would_tell():
    c = moving()
    net = untrained("egnn", [c])
    graph = net.graph(c)
    assert_equivariant(lambda g: net.displaced(g)[1], graph, "1x1e")
    assert equivariance_error(lambda g: net.displaced(g)[1].abs(), graph, "1x1e") > 1e-2


def test_training_shows_bapst_the_48_turns_and_mirrorings_of_the_cube():
    c = moving()
    net = untrained("bapst", [c])
    graph = net.graph(c)
    net.train()
    seen = set()
    torch.manual_seed(0)
    for _ in range(600):
        (matrix,) = {tuple(m.flatten().tolist()) for m in [torch.linalg.lstsq(graph.vector, net._vectors(graph))[0]]}
        seen.add(tuple(np.round(2 * np.array(matrix)).astype(int)))  # vectors are in units of the cutoff, 2
    proper = {tuple(np.round(r.flatten().numpy()).astype(int)) for r in cube_rotations()}
    assert len(seen) == 48
    assert proper < seen


def test_messages_are_those_of_a_network_on_concatenated_inputs():
    """The edge block's first map is split in three; sums run over the neighbors of the receiver."""
    c = moving(60, box=np.full(3, 5.0))
    net = untrained("bapst", [c], steps=1)
    graph = net.graph(c)
    (j, i), n0 = graph.edge_index, net.encode_nodes(net.scalars(graph))
    e0 = net.encode_edges(graph.vector / 2)
    block = net.edge_block
    whole = torch.cat([block.edge.weight, block.sender.weight, block.receiver.weight], dim=1)
    joined = torch.cat([e0, e0, n0[j], n0[j], n0[i], n0[i]], dim=1)
    edges = block.rest(joined @ whole.T + block.edge.bias)
    received = torch.stack([edges[i == k].sum(dim=0) for k in range(60)])
    nodes = net.node_block(torch.cat([n0, n0, received], dim=1))
    found = net.latent(graph)
    assert torch.allclose(found[0], nodes)
    assert torch.allclose(found[1], edges)
    assert not torch.allclose(found[0], net.node_block(torch.cat([n0, n0, 0 * received], dim=1)))


def test_the_target_on_edges_is_a_change_of_distance():
    """Hand-solved: two particles 1 apart across the boundary; one moves away by 0.5, then sideways by 1."""
    c = gl.Configuration(
        positions=[[0.2, 0, 0], [9.2, 0, 0]],
        types=[0, 0],
        box=[10.0] * 3,
        times=[1.0, 2.0],
        propensity=np.ones((2, 2)),
        potential_energy_inherent=[0.0, 0.0],
        mean_displacement=[[[0.5, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 0]]],
    )
    graph = untrained("botan", [c]).graph(c)
    assert np.allclose(graph.edge_y, [[0.5, np.sqrt(2) - 1]] * 2)
    with pytest.raises(ValueError, match="has no mean_displacement"):
        untrained("botan", [c.replace(mean_displacement=None)])


def test_losses_of_nodes_and_edges_are_weighted():
    c = moving()
    losses = []
    for weight in (0.0, 0.6, 0.9999999):
        net = untrained("botan", [c], edge_weight=weight)
        losses.append(float(net.training_loss(net.graph(c)).detach()))
    on_nodes, mixed, on_edges = losses
    assert mixed == pytest.approx(0.4 * on_nodes + 0.6 * on_edges, rel=1e-5)
    same = untrained("bapst", [c])
    same.load_state_dict(net.state_dict(), strict=False)
    assert float(same.training_loss(same.graph(c)).detach()) == pytest.approx(on_nodes)


def test_coarse_graining_is_that_of_its_definition():
    c = random_liquid(1000, seed=5)
    value, lengths = c.potential_energy_inherent, (0.5, 2.0)
    found = coarse_grained(c, value, lengths, cutoff=3.0, field="inherent_positions")
    assert found.shape == (1000, 19)
    for i in (0, 17):
        vector = minimum_image(c.inherent_positions - c.inherent_positions[i], c.box)
        r = np.linalg.norm(vector, axis=1)
        near = (r < 3) & (np.arange(1000) != i)
        expected = [value[i]]
        for length in lengths:
            groups = [near & (c.types == 0), near & (c.types == 1), near]
            weights = [np.exp(-r[g] / length) for g in groups]
            means = [np.average(value[g], weights=w) for g, w in zip(groups, weights, strict=True)]
            expected += [w.sum() for w in weights] + means
            expected += [
                np.average((value[g] - m) ** 2, weights=w) for g, w, m in zip(groups, weights, means, strict=True)
            ]
        assert np.allclose(found[i], expected)
    with pytest.raises(ValueError, match=r"values of shape \(2,\); expected \(1000,\)"):
        coarse_grained(c, [1, 2], lengths)


def test_ridge_solves_its_normal_equations():
    """Beside least squares on rows to which the penalty was appended, another way to the same weights."""
    c = random_liquid(1000, seed=2)
    net = untrained("ridge", [c])
    graph = net.graph(c)
    weights, biases = net.solutions([graph])
    assert not biases.any(), "rows and labels are counted from their means"
    x, y = net.scaled(graph).numpy(), net.standardize(graph).numpy()
    for kind in (0, 1):
        own = c.types == kind
        for s in (0, 6, len(STRENGTHS) - 1):
            penalty = np.sqrt(STRENGTHS[s] * own.sum()) * np.eye(x.shape[1])
            expected = np.linalg.lstsq(
                np.vstack([x[own], penalty]), np.vstack([y[own], np.zeros((x.shape[1], 2))]), rcond=None
            )[0]
            assert np.allclose(weights[s, kind].numpy(), expected.T, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("level_weight", [0.0, 0.3, 1.0])
def test_ridge_with_a_level_weight_minimizes_that_loss(level_weight):
    """At the solution of the weakest ridge every direction is uphill, in the loss that networks are trained with."""
    liquids = [random_liquid(1000, seed=seed) for seed in range(2)]
    train = [c.replace(propensity=c.propensity * (1 + k) + k) for k, c in enumerate(liquids)]
    net = untrained("ridge", train)
    graphs = [net.graph(c) for c in train]

    def loss(level_weight=level_weight):
        net.zero_grad()
        found = sum(net.loss(g, net.standardized(g), level_weight) for g in graphs)
        found.backward()
        return found.item()

    weights, biases = net.solutions(graphs, level_weight)
    weights, biases = weights[0], biases[0]
    net.set_weights(weights, biases)
    least = loss()
    slope = max(float(p.grad.abs().max()) for p in net.decoder.parameters())
    assert slope < 5e-3, "the ridge is weak, but not zero"
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        step, bias = (0.1 * torch.randn(v.shape, generator=generator) for v in (weights, biases))
        net.set_weights(weights + step * weights.std(), biases + bias * (level_weight > 0))
        assert loss() > least
    net.set_weights(*(v[0] for v in net.solutions(graphs)))
    assert loss() > least, "what is best in another loss is worse in this one"


def planted(seed, n=1000):
    """Labels that follow from the energies of the neighbors, and a little noise."""
    c, rng = random_liquid(n, seed=seed), np.random.default_rng(seed)
    around = coarse_grained(c, c.potential_energy_inherent, [2.0], cutoff=2.0)[:, 6]
    around = (around - around.mean()) / around.std()
    label = np.stack([5 + around, 5 - 0.5 * around]) + rng.normal(scale=0.1, size=(2, n))
    return c.replace(propensity=label, propensity_half=None)


@pytest.mark.parametrize(("name", "rate"), [("ridge", 0.01), ("mlp", 0.01), ("egnn", 0.01), ("bapst", 0.003)])
def test_learns_what_can_be_learned(name, rate):
    train, val, test = [planted(0), planted(1)], [planted(2)], planted(3)
    torch.manual_seed(0)
    net = baseline(name, **SMALL)
    records = list(gl.fit(net, train, val, gl.TrainConfig(epochs=40, learning_rate=rate, device="cpu")))
    rho = gl.pearson(net.predict(test), test.propensity, test.types)["A"]
    assert (rho > 0.6).all(), rho  # 800 particles: chance is 0.04
    assert max(r.val_rho for r in records) > 0.6
    assert [r.epoch for r in records] == list(range(1, len(records) + 1))


def test_ridge_learns_nothing_from_shuffled_labels_and_chooses_on_validation_only():
    train, val, test = ([shuffle_labels(planted(k), seed=k)] for k in range(3))
    net = baseline("ridge", **SMALL)
    records = list(gl.fit(net, train, val, gl.TrainConfig(device="cpu")))
    rho = gl.pearson([net.predict(c) for c in test], [c.propensity for c in test], [c.types for c in test])["A"]
    assert np.abs(rho).max() < 0.15  # 800 particles: 0.035 is one standard error
    assert [r.learning_rate for r in records] == list(STRENGTHS)
    again = baseline("ridge", **SMALL)
    list(gl.fit(again, train, test, gl.TrainConfig(device="cpu")))  # other validation, other choice
    assert not torch.equal(again.decoder.weight, net.decoder.weight)


@pytest.mark.parametrize("name", BASELINES)
def test_saved_and_loaded_it_predicts_the_same(name, tmp_path):
    c = moving(1000)
    net = untrained(name, [c], torch.float32)
    gl.save_model(net, tmp_path / "model.pt")
    loaded = gl.load_model(tmp_path / "model.pt")
    assert type(loaded) is BASELINES[name]
    assert loaded.config == net.config
    assert np.array_equal(loaded.predict(c), net.predict(c))
    assert np.array_equal(loaded.times, c.times)


@pytest.mark.parametrize("name", MESSAGE_PASSING)
def test_graphs_of_a_batch_do_not_see_each_other(name):
    from torch_geometric.data import Batch

    first, second = moving(), moving(350, seed=1)
    net = untrained(name, [first, second])
    graphs = [net.graph(first), net.graph(second)]
    together = net(Batch.from_data_list(graphs))
    assert torch.allclose(together, torch.cat([net(g) for g in graphs]))


def test_sizes_are_those_of_the_publications_or_stated():
    """Bapst et al. have 62,401 weights for one time and type; ours decode two types and ten times."""
    net = baseline("bapst", n_times=10)
    assert sum(net.count_parameters().values()) - net.count_parameters()["decoder"] == pytest.approx(62_401, rel=0.02)
    mlp = baseline("mlp", n_times=1)
    assert sum(mlp.count_parameters().values()) < 540


def test_wrong_input_is_told():
    with pytest.raises(ValueError, match=r"baseline 'botam'; expected one of ridge, bapst, botan, egnn, mlp"):
        baseline("botam")
    with pytest.raises(ValueError, match=r"'l_max'; expected those of BaselineConfig"):
        baseline("egnn", l_max=2)
    with pytest.raises(ValueError, match=r"width = 0; expected a whole number of at least 1"):
        BaselineConfig(width=0)
    with pytest.raises(ValueError, match=r"edge_weight = 1\.5.*expected cutoff > 0"):
        BaselineConfig(edge_weight=1.5)
    with pytest.raises(ValueError, match=r"inputs 'IS'; expected some with an energy"):
        baseline("mlp", inputs="IS")
    graph = gl.neighbor_graph(moving(), 1.9)
    with pytest.raises(ValueError, match=r"the network was made for 2\.0 and 'thermal\+E_IS'"):
        baseline("egnn", **SMALL)(graph)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_refuse_inputs_that_hold_a_vector(name):
    with pytest.raises(ValueError, match="baselines see scalars only"):
        baseline(name, inputs="thermal+E_IS+u_IS")
