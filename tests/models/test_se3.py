import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

import glasslit as gl
from glasslit import so3
from glasslit.learning.transfer import refit_decoder
from glasslit.prediction import predict_in_blocks
from glasslit.testing import BROKEN, assert_equivariant, equivariance_error, random_liquid


def test_parameter_counts_of_the_paper():
    counts = gl.SE3GNN(gl.ModelConfig()).count_parameters()
    assert {k: counts[k] for k in ("radial", "mixing", "decoder")} == {"radial": 35664, "mixing": 16000, "decoder": 640}
    assert counts["radial"] + counts["mixing"] + counts["decoder"] == 52304
    assert counts["batch_norm"] == 8 * (32 + 8)


def test_parameter_counts_per_layer():
    first, *hidden = gl.SE3GNN(gl.ModelConfig()).convolutions
    assert first.coupling.n_weights == 12
    assert all(c.coupling.n_weights == 284 for c in hidden)
    count = {
        part: [sum(p.numel() for p in getattr(c, part).parameters()) for c in (first, *hidden)]
        for part in ("radial", "mixing")
    }
    assert count == {"radial": [412] + [5036] * 7, "mixing": [96] + [2272] * 7}


@pytest.mark.parametrize(("inputs", "total"), [("thermal+E_IS", 23_672), ("thermal", 23_000)])
def test_univariate_total_before_decoders(inputs, total):
    """The paper prints 23,210 for four channels; three scalar inputs give 23,672 and two give 23,000."""
    counts = gl.SE3GNN(gl.ModelConfig(channels=4, n_times=1, inputs=inputs)).count_parameters()
    assert counts["radial"] + counts["mixing"] == total


@pytest.mark.parametrize("l_max", [0, 1, 2, 3])
def test_hidden_features_turn_by_their_wigner_matrices(l_max):
    torch.manual_seed(l_max)
    net = gl.SE3GNN(gl.ModelConfig(layers=3, channels=3, l_max=l_max, n_times=2)).double()
    graph = gl.neighbor_graph(random_liquid(300), inputs="thermal+E_IS", dtype=torch.float64)
    net(graph)  # in training mode: batch norms take up statistics
    net.eval()
    assert_equivariant(net.features, graph, net.irreps)
    assert_equivariant(net.invariants, graph, f"{3 * (l_max + 1)}x0e")
    assert_equivariant(net, graph, "2x0e")


@pytest.fixture
def vector_net(liquid):
    """Like ``small_net``, with each particle's vector to its inherent position among its inputs."""
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(layers=2, channels=3, l_max=2, n_times=2, inputs="thermal+E_IS+u_IS")).double()
    net.set_standardization([liquid])
    net(net.graph(liquid))
    return net.eval()


class ComponentsAsScalars(gl.SE3GNN):
    """Negative control: sees the lengths of the components of each particle's vector, which depend on the axes."""

    def vectors(self, graph):
        return super().vectors(graph).abs()


def test_a_network_that_sees_vectors_turns_with_them(vector_net, liquid):
    graph = vector_net.graph(liquid)
    assert str(vector_net.irreps_inputs) == "3x0e+1x1e"
    assert_equivariant(vector_net.features, graph, vector_net.irreps)
    assert_equivariant(vector_net, graph, "2x0e")
    still = graph.clone()
    still.node_vector = torch.zeros_like(graph.node_vector)
    assert (vector_net(still) - vector_net(graph)).abs().max() > 1e-4  # it does look at them
    broken = ComponentsAsScalars(vector_net.config).double()
    broken.load_state_dict(vector_net.state_dict())
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(broken.eval(), graph, "2x0e")
    # Edges that turn while the vectors stay are no rotation either.
    turned = graph.clone()
    turned.vector = graph.vector @ so3.random_rotations(1)[0].to(graph.vector).T
    assert (vector_net(turned) - vector_net(graph)).abs().max() > 1e-6


def test_under_the_rotations_of_the_box_vectors_are_found_anew(vector_net, liquid):
    for rotation in so3.cube_rotations().numpy():
        turned = liquid.replace(
            positions=liquid.positions @ rotation.T, inherent_positions=liquid.inherent_positions @ rotation.T
        )
        assert relative_change(vector_net, liquid, turned) < 1e-10
    half = liquid.replace(positions=liquid.positions @ rotation.T)  # thermal positions turned, inherent ones not
    with pytest.raises(AssertionError):
        assert relative_change(vector_net, liquid, half) < 1e-10


def test_vectors_are_seen_in_units_of_their_spread(vector_net, liquid):
    seen = vector_net.vectors(vector_net.graph(liquid))
    for kind in (0, 1):
        assert float(seen[liquid.types == kind].square().mean()) == pytest.approx(1.0)
    still = liquid.replace(inherent_positions=liquid.positions)
    vector_net.set_standardization([still])
    assert np.isfinite(vector_net.predict(still)).all()


def test_files_without_inherent_positions_are_refused(vector_net, liquid):
    with pytest.raises(ValueError, match=r"has no inherent_positions; .*glasslit\.quench"):
        vector_net.predict(liquid.replace(inherent_positions=None))
    with pytest.raises(ValueError, match="a graph with cutoff"):
        vector_net(gl.neighbor_graph(liquid, inputs="thermal+E_IS", dtype=torch.float64))


def test_networks_that_see_no_vector_are_what_they_were():
    names = gl.SE3GNN(gl.ModelConfig(layers=1)).state_dict()
    assert "vector_std" not in names
    assert "vector_std" in gl.SE3GNN(gl.ModelConfig(layers=1, inputs="thermal+u_IS")).state_dict()


def test_float32_rounds_and_does_not_break():
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(layers=3, channels=4, n_times=2))
    graph = gl.neighbor_graph(random_liquid(300), inputs="thermal+E_IS")
    net(graph)
    net.eval()
    assert_equivariant(net.features, graph, net.irreps)
    assert equivariance_error(net.features, graph, net.irreps) > 1e-9  # it did compute in float32


@pytest.mark.parametrize("name", BROKEN)
def test_broken_networks_fail_the_same_assertion(small_net, name):
    """Negative controls, after one batch in training mode, in features and in predictions."""
    graph = gl.neighbor_graph(random_liquid(300, seed=2), inputs="thermal+E_IS", dtype=torch.float64)
    broken = BROKEN[name](small_net)
    broken.train()
    broken(graph)
    broken.eval()
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(broken.features, graph, broken.irreps)
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(broken, graph, "2x0e")
    assert equivariance_error(broken, graph, "2x0e") > 1e-3  # broken symmetry is no matter of rounding
    assert_equivariant(small_net, graph, "2x0e")


def test_a_fresh_batch_norm_hides_the_break(small_net):
    graph = gl.neighbor_graph(random_liquid(300, seed=2), inputs="thermal+E_IS", dtype=torch.float64)
    assert_equivariant(BROKEN["batch_norm_per_component"](small_net), graph, "2x0e")


def relative_change(net, before, after, order=slice(None)):
    a, b = net.predict(before)[:, order], net.predict(after)
    return np.abs(a - b).max() / np.abs(a).max()


def test_periodic_configuration_under_the_rotations_a_cube_admits(small_net, liquid):
    for rotation in so3.cube_rotations().numpy():
        turned = liquid.replace(positions=liquid.positions @ rotation.T)
        assert relative_change(small_net, liquid, turned) < 1e-10
    mirrored = liquid.replace(positions=liquid.positions * [1, 1, -1])
    assert relative_change(small_net, liquid, mirrored) > 1e-6  # SO(3) only: mirror images may differ


def test_translation_wrapping_and_permutation(small_net, liquid):
    rng = np.random.default_rng(0)
    assert (
        relative_change(small_net, liquid, liquid.replace(positions=liquid.positions + np.array([0.3, -7.7, 100.1])))
        < 1e-10
    )
    images = liquid.positions + liquid.box * rng.integers(-2, 3, size=liquid.positions.shape)
    assert relative_change(small_net, liquid, liquid.replace(positions=images)) < 1e-10
    order = rng.permutation(liquid.n_particles)
    per_particle = ("positions", "inherent_positions", "types", "potential_energy_thermal", "potential_energy_inherent")
    shuffled = liquid.replace(
        **{f: getattr(liquid, f)[order] for f in per_particle},
        propensity=liquid.propensity[:, order],
        propensity_half=liquid.propensity_half[..., order],
    )
    assert relative_change(small_net, liquid, shuffled, order) < 1e-10
    moved = liquid.replace(positions=liquid.positions + rng.normal(scale=1e-3, size=liquid.positions.shape))
    assert relative_change(small_net, liquid, moved) > 1e-6  # the check sees a change where there is one


def test_each_type_has_its_own_decoder(small_net, liquid):
    before = small_net.predict(liquid)
    with torch.no_grad():
        small_net.decoder.weight[1] += 1.0
    changed = np.any(small_net.predict(liquid) != before, axis=0)
    assert np.array_equal(changed, liquid.types == 1)


def test_second_derivatives_exist(small_net, liquid):
    graph = gl.neighbor_graph(liquid, inputs="thermal+E_IS", dtype=torch.float64)
    graph.vector.requires_grad_()
    (gradient,) = torch.autograd.grad(small_net(graph).sum(), graph.vector, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), graph.vector)
    assert torch.isfinite(second).all()
    assert second.abs().max() > 0


@pytest.mark.parametrize(
    "change",
    [
        *({"layers": 0}, {"channels": 2.5}, {"l_max": -1}, {"cutoff": 0}, {"dropout": 1.0}, {"inputs": "x"}),
        *({"products": 0}, {"products": 4}, {"products": 2, "l_max": 5}, {"attention": 1}),
    ],
)
def test_bad_sizes_are_refused(change):
    with pytest.raises(ValueError, match="expected"):
        gl.ModelConfig(**change)


def test_a_batch_gives_what_its_graphs_give(small_net):
    graphs = [gl.neighbor_graph(random_liquid(200, seed=k), inputs="thermal+E_IS", dtype=torch.float64) for k in (0, 1)]
    together = small_net(Batch.from_data_list(graphs))
    assert torch.allclose(together, torch.cat([small_net(g) for g in graphs]), rtol=0, atol=1e-12)
    other = gl.neighbor_graph(random_liquid(200), 1.5, "thermal+E_IS", dtype=torch.float64)
    with pytest.raises(ValueError, match="cutoff"):
        small_net(Batch.from_data_list([graphs[0], other]))


@pytest.mark.parametrize("layers", [1, 4])
def test_without_angular_features_a_network_sees_distances_only(layers):
    """Three particles in a row and three in a bend: each has the same distances to those in its reach, and so have its
    neighbors, to any depth, as the outer two are out of each other's reach. Only angles tell the two apart."""
    box = np.full(3, 12.0)
    bend = 1.5 * np.array([np.cos(2.2), np.sin(2.2), 0.0])
    assert np.linalg.norm(bend - [1.5, 0, 0]) > 2.0
    ends = {"row": [[1.5, 0, 0], [-1.5, 0, 0]], "bend": [[1.5, 0, 0], bend]}
    environments = {
        name: gl.Configuration(positions=np.array([[0, 0, 0], *two]) + 6, types=[0, 1, 1], box=box)
        for name, two in ends.items()
    }
    for l_max in (0, 1, 2):
        torch.manual_seed(1)  # not every untrained radial function is above zero at this distance
        config = gl.ModelConfig(layers=layers, channels=4, l_max=l_max, n_times=2, inputs="thermal")
        net = gl.SE3GNN(config).double()
        net(gl.neighbor_graph(random_liquid(300, seed=2), dtype=torch.float64))  # batch norms see data
        row, bent = (net.eval().predict(c)[:, 0] for c in environments.values())
        assert np.allclose(row, bent, rtol=0, atol=1e-12) == (l_max == 0)
        assert (np.abs(row - bent).max() > 1e-4) == (l_max > 0)


def test_a_step_keeps_no_weight_of_an_edge():
    """For the backward pass: of the edges 16 numbers a layer, a few times, where the radial network gives 284."""
    c = random_liquid(200)
    net = gl.SE3GNN(gl.ModelConfig(layers=3, inputs="thermal", n_times=2))
    graph = net.graph(c)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = net.training_loss(graph)
    loss.backward()
    of_edges = [t for t in kept.values() if t.shape[:1] == (graph.num_edges,)]
    assert max(t[0].numel() for t in of_edges) == 16
    once, each_layer = 16 + 10, 3 * 16  # harmonics and radial functions; after ReLU, the mask, after dropout
    assert sum(t[0].numel() for t in of_edges) <= once + 3 * each_layer


BODY = [{"products": 2}, {"products": 3}, {"attention": True}, {"products": 3, "attention": True}]


def with_body(liquid, dtype=torch.float64, **sizes):
    """An untrained network with products or attention, its batch norms with something learned."""
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(**({"layers": 2, "channels": 3, "l_max": 2, "n_times": 2} | sizes))).to(dtype)
    net.set_standardization([liquid])
    with torch.no_grad():
        net.decoder.weight.normal_()
        for _ in range(3):
            net(net.graph(liquid))
    return net.eval()


@pytest.mark.parametrize("sizes", BODY)
def test_products_and_attention_turn_with_the_liquid(sizes, liquid):
    net = with_body(liquid, inputs="thermal+E_IS+u_IS", **sizes)
    graph = net.graph(liquid)
    assert_equivariant(net.features, graph, net.irreps)
    assert_equivariant(net, graph, "2x0e")
    order = np.random.default_rng(0).permutation(liquid.n_particles)
    names = ("positions", "inherent_positions", "types", "potential_energy_inherent")
    shuffled = liquid.replace(
        **{name: getattr(liquid, name)[order] for name in names},
        potential_energy_thermal=None, propensity=None, propensity_half=None,
    )  # fmt: skip
    assert relative_change(net, liquid, shuffled, order) < 1e-10
    for name in BROKEN:
        broken = BROKEN[name](net)
        broken.train()
        broken(graph)
        with pytest.raises(AssertionError, match="relative equivariance error"):
            assert_equivariant(broken.eval(), graph, "2x0e")


def test_products_of_components_are_no_products_of_vectors(liquid):
    """Negative control: each component times itself."""
    net = with_body(liquid, products=2)
    net.products[0] = torch.nn.Sequential(net.products[0], Squared())
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(net, net.graph(liquid), "2x0e")


class Squared(torch.nn.Module):
    def forward(self, x):
        return x.square()


@pytest.mark.parametrize("sizes", BODY)
def test_all_else_begins_as_without_products_and_attention(sizes):
    torch.manual_seed(5)
    plain = gl.SE3GNN(gl.ModelConfig(layers=2)).state_dict()
    torch.manual_seed(5)
    more = gl.SE3GNN(gl.ModelConfig(layers=2, **sizes)).state_dict()
    assert [name for name in more if name in plain] == list(plain)
    assert all(torch.allclose(more[name], plain[name], rtol=0, atol=0, equal_nan=True) for name in plain)
    assert not [name for name in plain if name.startswith(("products", "scores"))]
    assert {name.split(".")[0] for name in more.keys() - plain.keys()} == {
        {"products": "products", "attention": "scores"}[name] for name in sizes
    }


@pytest.mark.parametrize("sizes", BODY)
def test_every_weight_of_products_and_attention_is_counted_and_learns(sizes, liquid):
    net = with_body(liquid, **sizes).train()
    counts = net.count_parameters()
    assert sum(counts.values()) == sum(p.numel() for p in net.parameters())
    assert counts.keys() - {"radial", "mixing", "decoder", "batch_norm"} == set(sizes)
    net.training_loss(net.graph(liquid)).backward()
    for name, parameter in net.named_parameters():
        if name.startswith(("products", "scores")):
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("sizes", BODY)
def test_products_and_attention_in_batches_and_blocks_and_files(tmp_path, sizes, liquid):
    net = with_body(liquid, **sizes)
    others = [liquid, random_liquid(200, seed=7)]
    together = net(Batch.from_data_list([net.graph(c) for c in others]))
    assert torch.allclose(together, torch.cat([net(net.graph(c)) for c in others]), rtol=0, atol=1e-11)
    whole = net.predict(liquid)
    assert np.abs(predict_in_blocks(net, liquid, 70) - whole).max() < 1e-11 * np.abs(whole).max()
    gl.save_model(net.float(), tmp_path / "model.pt")
    again = gl.load_model(tmp_path / "model.pt")
    assert again.config == net.config
    assert np.array_equal(again.predict(liquid), net.predict(liquid))
    refitted = refit_decoder(net, [liquid], [random_liquid(300, seed=8)])
    graph = net.graph(liquid)
    assert torch.equal(refitted.features(graph), net.features(graph))


def test_second_derivatives_of_products_and_attention(liquid):
    net = with_body(liquid, products=3, attention=True)
    graph = net.graph(liquid)
    graph.vector.requires_grad_()
    (gradient,) = torch.autograd.grad(net(graph).sum(), graph.vector, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), graph.vector)
    assert torch.isfinite(second).all()
    assert second.abs().max() > 0


def test_a_training_with_products_and_attention_goes_on_where_it_stopped(tmp_path):
    """Bit for bit as one that was not interrupted."""
    splits = [[random_liquid(150, seed=k)] for k in (0, 1)]

    def trained(epochs, checkpoint):
        torch.manual_seed(0)
        net = gl.SE3GNN(gl.ModelConfig(layers=2, channels=2, l_max=1, n_times=2, products=3, attention=True))
        config = gl.TrainConfig(epochs=3, device="cpu", checkpoint=checkpoint)
        records = [record.train_loss for record, _ in zip(gl.fit(net, *splits, config), range(epochs), strict=False)]
        return net, records

    net, records = trained(3, None)
    trained(2, tmp_path / "unfinished.pt")
    again, found = trained(3, tmp_path / "unfinished.pt")
    assert found == records
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def relaxed(liquid, degree=2, **sizes):
    """A network whose relaxed weights are not zero, and its graph of a liquid."""
    torch.manual_seed(0)
    config = {"layers": 2, "channels": 2, "l_max": 2, "inputs": "thermal", "n_times": 2, "relaxed": degree}
    net = gl.SE3GNN(gl.ModelConfig(**(config | sizes))).double()
    assert not net.relaxed_weights.any()
    with torch.no_grad():
        net.relaxed_weights.copy_(torch.randn(net.relaxed_weights.shape, dtype=torch.float64))
    return net.eval(), net.graph(liquid)


def of_turned_weights(net, rotation):
    """A copy whose relaxed weights turn along with the liquid."""
    copied = gl.SE3GNN(net.config).double()
    copied.load_state_dict(net.state_dict())
    kinds = net.irreps_inputs[-net.config.relaxed :]
    with torch.no_grad():
        copied.relaxed_weights.copy_(so3.rotate(net.relaxed_weights[None], kinds, rotation)[0])
    return copied.eval()


@pytest.mark.parametrize("degree", [1, 2])
def test_relaxed_weights_break_the_symmetry_unless_they_turn_too(liquid, degree):
    net, graph = relaxed(liquid, degree)
    rotation = so3.random_rotations(1, seed=1)[0]
    turned = graph.clone()
    turned.vector = graph.vector @ rotation.T
    before = net(graph)
    change = (of_turned_weights(net, rotation)(turned) - before).abs().max()
    assert change < 1e-11 * before.abs().max()
    assert (net(turned) - before).abs().max() > 1e-3 * before.abs().max()
    with torch.no_grad():
        net.relaxed_weights.zero_()
    assert_equivariant(net, graph, "2x0e")


def test_relaxed_weights_that_are_zero_have_a_gradient(liquid):
    """So that they leave zero where the data ask for it."""
    net, graph = relaxed(liquid)
    with torch.no_grad():
        net.relaxed_weights.zero_()
    (gradient,) = torch.autograd.grad(net(graph)[:, 0] @ graph.vector.new_ones(len(graph.types)), net.relaxed_weights)
    assert gradient[3:].abs().max() > 0


def test_relaxed_weights_go_through_files_blocks_and_counts(liquid, tmp_path):
    net, _ = relaxed(liquid)
    gl.save_model(net, tmp_path / "model.pt")
    again = gl.load_model(tmp_path / "model.pt")
    assert torch.allclose(again.relaxed_weights.double(), net.relaxed_weights)
    assert np.allclose(again.predict(liquid), net.predict(liquid), rtol=1e-4, atol=1e-6)
    assert np.allclose(predict_in_blocks(net, liquid, 64), net.predict(liquid), rtol=1e-10)
    assert net.count_parameters()["relaxed"] == 8
    assert str(net.irreps_inputs) == "2x0e+1x1e+1x2e"
    for wrong in (-1, 3, 1.5):
        with pytest.raises(ValueError, match="expected a whole number from 0 to l_max = 2"):
            gl.ModelConfig(l_max=2, relaxed=wrong)
