"""Checks of any layer: each finds the twin that is broken for it, and no check finds anything else."""

import pytest
import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from torch import nn
from torch_geometric.nn.models import SchNet

import glasslit as gl
from glasslit import testing
from glasslit.models.potential import Potential, PotentialConfig
from glasslit.testing import CHECKS, FAULTS, CheckedLayer, SmallLayer, check_layer, edges_within, liquid_graph

ASSERTS = {
    "rotations": testing.assert_rotations,
    "mirror images": testing.assert_mirror_images,
    "translations": testing.assert_translations,
    "permutations": testing.assert_permutations,
    "cutoff": testing.assert_smooth_at_cutoff,
    "gradients": testing.assert_gradients,
    "leak": testing.assert_no_leak,
    "precision": testing.assert_precision,
    "batch": testing.assert_batch_as_single,
}
MEASURES = {
    "rotations": testing.rotation_errors,
    "mirror images": testing.mirror_errors,
    "translations": testing.translation_errors,
    "permutations": testing.permutation_errors,
    "cutoff": testing.cutoff_jumps,
    "gradients": testing.gradient_errors,
    "leak": testing.leak_errors,
    "precision": testing.precision_errors,
    "batch": testing.batch_errors,
}


def small(fault=None, module=SmallLayer, seed=0, **settings):
    torch.manual_seed(seed)
    promises = {"mirror_images": True, "smooth": 2} | settings
    return CheckedLayer(module(fault=fault), "3x0e", "2x0e+1x1o", 2.0, **promises)


def failing(layer, **settings):
    table = check_layer(layer, **settings)
    return list(table.index[~table.passes.astype(bool)])


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_each_check_finds_its_twin_and_nothing_else(fault):
    for seed in range(3):
        layer = small(fault, seed=seed)
        for name, check in ASSERTS.items():
            if name == fault:
                with pytest.raises(AssertionError, match=f"^SmallLayer, {name}: error .* To mend it: "):
                    check(layer, seed=seed)
            else:
                check(layer, seed=seed)


def test_the_table_holds_what_the_functions_return():
    assert set(ASSERTS) == set(MEASURES) == set(CHECKS) == set(FAULTS)
    layer = small("gradients")
    table = check_layer(layer)
    assert list(table.index) == list(CHECKS)
    for name, row in table.iterrows():
        errors = MEASURES[name](layer)
        assert row.error == pytest.approx(CHECKS[name].worst(errors)[1], abs=1e-9)  # beside its own limit
        assert any(row.error == pytest.approx(error, abs=1e-9) for error in errors.values())
        assert CHECKS[name].measure is MEASURES[name]
    with pytest.raises(AssertionError, match=r"gradients: error .* of positions, expected at most 1e-06\. To") as told:
        testing.assert_layer(layer)
    assert "detach()" in str(told.value)
    testing.assert_layer(layer, leave_out=["gradients"])
    for fault in ("mirror images", "cutoff"):  # run where they are promised
        assert fault not in check_layer(small(fault, mirror_images=False, smooth=None)).index


def test_a_tolerance_of_ones_own_moves_the_limit():
    layer = small("rotations")
    (error,) = [e for name, e in testing.rotation_errors(layer).items() if name == "1x1o"]
    testing.assert_rotations(layer, tolerance=1.01 * error)
    with pytest.raises(AssertionError):
        testing.assert_rotations(layer, tolerance=0.99 * error)


class Changed(SmallLayer):
    """Something else is done with the output."""

    def broken(self, out, graph):
        return self.fault(out, graph, self)

    def __init__(self, fault):
        super().__init__()
        self.fault = fault


def changed(fault, **settings):
    return small(fault, Changed, **settings)


class HalfTheSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight):
        return weight.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 0.5 * gradient


def test_a_wrong_gradient_of_one_parameter_is_named():
    class Fused(nn.Module):
        def __init__(self, fault=None):
            super().__init__()
            self.inner, self.factor = SmallLayer(), nn.Parameter(torch.tensor(2.0))

        def forward(self, graph):
            return self.inner(graph) * HalfTheSlope.apply(self.factor)

    layer = small(module=Fused)
    errors = testing.gradient_errors(layer)
    assert [name for name, error in errors.items() if error > 1e-6] == ["factor"]
    assert errors["factor"] == pytest.approx(0.5)
    assert failing(layer) == ["gradients"]


def test_faults_that_real_layers_have():
    def centered(out, graph, layer):  # over the batch, where it should be over each graph
        return out * (1 + (graph.x - graph.x.mean(dim=0)).square().sum(dim=1, keepdim=True))

    with pytest.raises(
        AssertionError, match=r"leak: error .* of values, .*; also too large: gradients of features\. To"
    ):
        testing.assert_no_leak(changed(centered))
    assert set(failing(changed(centered))) == {"leak", "batch"}
    leaks = testing.leak_errors(changed(centered))
    assert leaks["values"] > 1e-3
    assert leaks["gradients of features"] > 1e-3
    assert leaks["gradients of positions"] == 0

    def cancelled(out, graph, layer):
        return (out + 1e4) - 1e4

    assert "precision" in failing(changed(cancelled))

    def fixed(out, graph, layer):
        return out.double()

    (told,) = testing.precision_errors(changed(fixed))
    assert told == "the number format: float64 out of float32"
    (told,) = testing.precision_errors(changed(lambda out, *_: out @ torch.eye(5, dtype=torch.float64)))
    assert told.startswith("the call in float32, which stops")

    def capped(pos, cutoff, batch):
        """Four neighbors at most, the first of the list."""
        sender, receiver = edges_within(pos, cutoff, batch)
        place = torch.arange(len(receiver)) - torch.searchsorted(receiver, receiver)
        return torch.stack([sender, receiver])[:, place < 4]

    layer = schnet(capped)
    with pytest.raises(AssertionError, match="largest number of neighbors drops some by their order"):
        testing.assert_permutations(layer)


def test_a_fresh_batch_norm_does_not_hide():
    class Normed(nn.Module):
        def __init__(self, fault=None):
            super().__init__()
            self.inner, self.norm = SmallLayer(), nn.BatchNorm1d(5)

        def forward(self, graph):
            return self.norm(self.inner(graph))

    assert set(failing(small(module=Normed))) == {"rotations", "mirror images"}


def test_the_module_that_is_passed_in_stays_as_it_is():
    class Normed(SmallLayer):
        def __init__(self, fault=None):
            super().__init__(fault=fault)
            self.norm = nn.BatchNorm1d(3)

        def forward(self, graph):
            graph.x = self.norm(graph.x)
            return super().forward(graph)

    module = Normed()
    kept, random = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    check_layer(CheckedLayer(module, "3x0e", "2x0e+1x1o", 2.0))
    assert module.training
    assert all(torch.equal(kept[k], v) and v.dtype == kept[k].dtype for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_points_are_the_same_in_both_formats_and_none_is_at_the_cutoff():
    layer = small()
    for seed in range(5):
        graph = layer.points(seed, graphs=2)
        assert torch.equal(graph.pos.float().double(), graph.pos)
        assert torch.equal(graph.x.float().double(), graph.x)
        assert len(graph.pos) == layer.n + layer.n + 1
        sender, receiver = graph.edge_index
        assert torch.equal(graph.batch[sender], graph.batch[receiver])
        assert torch.equal(graph.vector, graph.pos[sender] - graph.pos[receiver])
        one = graph.pos[graph.batch == 0]
        assert (torch.pdist(one) / layer.cutoff - 1).abs().min() > 1e-3
        brute = {(j, i) for i in range(len(one)) for j in range(len(one)) if i != j and (one[i] - one[j]).norm() < 2}
        assert brute == {(int(j), int(i)) for j, i in graph.edge_index.T if graph.batch[i] == 0}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda out, *_: out[:, 1:], r"shape \(\d+, 4\); expected \(\d+, 5\)"),
        (lambda out, *_: (out, out), "returns tuple; expected a tensor"),
        (lambda out, *_: 0 * out, "largest output of Changed is 0.0"),
        (lambda out, *_: out / 0, "largest output of Changed is (inf|nan)"),
        (lambda out, graph, _: out + graph.x.mul_(2)[:, :1], "Changed writes into graph.x"),
        (lambda out, *_: out + torch.rand(5), "two calls of Changed on one input differ"),
    ],
)
def test_what_cannot_be_compared_is_refused(fault, told):
    for check in ASSERTS.values():
        with pytest.raises(ValueError, match=told):
            check(changed(fault))


def test_nan_in_one_place_fails():
    layer = changed(lambda out, graph, _: out + torch.where(graph.pos.norm(dim=1).sum() > 50, float("nan"), 0.0))
    with pytest.raises(AssertionError, match="translations: error nan"):
        testing.assert_translations(layer)


def test_a_cutoff_that_is_not_the_layers_is_refused():
    torch.manual_seed(0)
    wide = lambda module, g: module(testing.point_graph(g.pos, g.x, g.z, 2.0, g.batch))  # noqa: E731
    with pytest.raises(ValueError, match="expected no change beyond cutoff = 1"):
        testing.cutoff_jumps(CheckedLayer(SmallLayer(), "3x0e", "2x0e+1x1o", 1.0, wide))
    with pytest.raises(ValueError, match="expected that it looks at neighbors"):
        testing.cutoff_jumps(CheckedLayer(lambda g: g.x, "3x0e", "3x0e", 1.0))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"cutoff": 0.0}, "expected positive lengths"),
        ({"spacing": -1.0}, "expected positive lengths"),
        ({"n": 3}, "6 to 200 points"),
        ({"n": 2000}, "6 to 200 points"),
        ({"smooth": 3}, "expected 0, 1 or 2 derivatives"),
        ({"module": 3}, "expected an nn.Module or a function"),
        ({"n": 200}, "lower n = 200"),
    ],
)
def test_bad_settings_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        CheckedLayer(
            **{"module": SmallLayer(), "irreps_in": "3x0e", "irreps_out": "5x0e", "cutoff": 2.0} | settings
        ).points()


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="leave_out names rotation; expected names of rotations,"):
        check_layer(small(), leave_out=["rotation"])
    with pytest.raises(ValueError, match="expected None or one of rotations,"):
        SmallLayer(fault="rotation")
    with pytest.raises(ValueError, match="order = 3"):
        testing.cutoff_jumps(small(), order=3)


class E3nnLayer(nn.Module):
    """The convolution of e3nn's guide."""

    def __init__(self, irreps_in, irreps_out, cutoff):
        super().__init__()
        self.cutoff, self.harmonics = cutoff, o3.Irreps.spherical_harmonics(2)
        self.product = o3.FullyConnectedTensorProduct(
            irreps_in, self.harmonics, irreps_out, shared_weights=False, internal_weights=False
        )
        self.radial = e3nn_nn.FullyConnectedNet([8, 16, self.product.weight_numel], nn.functional.silu)

    def forward(self, x, edges, vector):
        harmonics = o3.spherical_harmonics(self.harmonics, vector, normalize=True, normalization="component")
        basis = soft_one_hot_linspace(vector.norm(dim=1), 0.0, self.cutoff, 8, basis="smooth_finite", cutoff=True)
        messages = self.product(x[edges[0]], harmonics, self.radial(basis))
        return messages.new_zeros(len(x), messages.shape[1]).index_add(0, edges[1], messages)


def e3nn_layer(dtype, irreps_out="2x0e+1x1o+1x1e", declared=None):
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        layer = E3nnLayer("2x0e+1x1o", irreps_out, 2.0)
    finally:
        torch.set_default_dtype(before)
    return CheckedLayer(
        layer, "2x0e+1x1o", declared or irreps_out, 2.0, lambda m, g: m(g.x, g.edge_index, g.vector),
        mirror_images=True, smooth=2,
    )  # fmt: skip


def test_a_layer_of_e3nn():
    testing.assert_layer(e3nn_layer(torch.float64))
    with pytest.raises(AssertionError, match=r"set_default_dtype\(torch.float64\)"):
        testing.assert_rotations(e3nn_layer(torch.float32))
    assert failing(e3nn_layer(torch.float64, declared="2x0e+1x1e+1x1o")) == ["mirror images"]


def schnet(edges=edges_within, smooth=1):
    def interactions(pos, batch):
        sender, receiver = found = edges(pos, 4.0, batch)
        return found, (pos[sender] - pos[receiver]).norm(dim=1)

    torch.manual_seed(0)
    net = SchNet(16, 16, num_interactions=2, num_gaussians=10, cutoff=4.0, interaction_graph=interactions)
    call = lambda net, g: net(g.z + 1, g.pos, g.batch)  # noqa: E731
    return CheckedLayer(net, "", "1x0e", 4.0, call, per_graph=True, mirror_images=True, smooth=smooth)


def test_schnet_of_torch_geometric_and_its_cutoff_of_one_derivative():
    testing.assert_layer(schnet())
    with pytest.raises(AssertionError, match="of curvature, expected at most 1e-04"):
        testing.assert_smooth_at_cutoff(schnet(smooth=2))


def test_a_leak_between_outputs_of_graphs():
    layer = schnet()
    right = layer.call
    layer.call = lambda net, g: right(net, g) * (1 + right(net, g).mean().square())
    assert failing(layer) == ["leak", "batch"]
    layer.call = lambda net, g: right(net, g) * len(g.pos)  # counts the points of all graphs
    assert failing(layer) == ["batch"]


def test_the_network_of_this_package():
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(layers=2, channels=2, l_max=2, n_times=2, inputs="thermal"))
    call = lambda net, g: net.features(liquid_graph(g, 2.0))  # noqa: E731
    testing.assert_layer(CheckedLayer(net, "", net.irreps, 2.0, call, smooth=None))
    assert (
        testing.cutoff_jumps(CheckedLayer(net, "", net.irreps, 2.0, call))["slope"] > 1e-3
    )  # of which it promises nothing
    for broken in testing.BROKEN.values():
        layer = CheckedLayer(broken(net), "", net.irreps, 2.0, call, smooth=None)
        assert failing(layer) == ["rotations"]


def test_the_learned_potential():
    def energies(net, g):
        return net.energies(liquid_graph(g, 2.5), g.vector)[:, None]

    def checked(call, irreps, smooth, **settings):
        torch.manual_seed(0)
        return CheckedLayer(Potential(PotentialConfig(channels=2, **settings)), "", irreps, 2.5, call, smooth=smooth)

    testing.assert_layer(checked(energies, "1x0e", smooth=2))
    testing.assert_layer(
        checked(lambda net, g: net(liquid_graph(g, 2.5))[1], "1x1o", smooth=1), leave_out=["gradients"]
    )
    assert failing(checked(energies, "1x0e", smooth=2, power=0)) == ["cutoff"]
    (mirrored,) = testing.mirror_errors(checked(energies, "1x0e", smooth=2)).values()
    assert mirrored > 1e-8, "it keeps mirror images: say so in its docstring"
