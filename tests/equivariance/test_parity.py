import pytest
import torch
from e3nn import o3
from torch_geometric.data import Data

from glasslit.equivariance.order_parameters import cube_operations
from glasslit.equivariance.parity import ParityNetwork, every_irrep, representation, without_parity
from glasslit.equivariance.so3 import random_rotations, spherical_harmonics
from glasslit.testing import ReluOnEverything, assert_equivariant

KIND = every_irrep(2)


def cluster(n=6, seed=0):
    """A cloud of points in which each sees each other, with a vector on each."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    edges = torch.tensor([(j, i) for i in range(n) for j in range(n) if i != j]).T
    node_vector = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return Data(edge_index=edges, vector=points[edges[0]] - points[edges[1]], node_vector=node_vector, num_nodes=n)


def error(net, operation, parity=True):
    """Largest relative change of net(D x) against D net(x), with every irrep as input and as output."""
    known = o3.Irreps if parity else without_parity
    graph, kind = cluster(), known(KIND)
    h = torch.randn(6, kind.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    d = representation(kind, operation)
    plain = net(h, graph.edge_index, graph.vector)
    turned = net(h @ d.T, graph.edge_index, graph.vector @ operation.T)
    return float(((turned - plain @ d.T).abs().max() / plain.abs().max()).detach())


@pytest.mark.parametrize("l_max", [1, 4])
def test_representations_multiply_like_their_operations(l_max):
    kind = every_irrep(l_max)
    r, s = random_rotations(2)
    for one in (r, -r):
        for two in (s, -s):
            product = representation(kind, one) @ representation(kind, two)
            assert torch.allclose(product, representation(kind, one @ two), atol=1e-12)


def test_harmonics_have_the_parity_of_their_degree():
    kind = o3.Irreps([(1, (degree, (-1) ** degree)) for degree in range(5)])
    points = torch.randn(7, 3, dtype=torch.float64)
    for operation in cube_operations()[::5]:
        turned = spherical_harmonics(4, points) @ representation(kind, operation).T
        assert torch.allclose(spherical_harmonics(4, points @ operation.T), turned, atol=1e-12)


def test_cross_products_are_axial():
    a, b = torch.randn(2, 5, 3, dtype=torch.float64)
    for operation in (*cube_operations()[::7], -random_rotations(1)[0]):
        polar, axial = (representation(kind, operation) for kind in ("1x1o", "1x1e"))
        assert torch.allclose(torch.cross(a @ polar.T, b @ polar.T, dim=1), torch.cross(a, b, dim=1) @ axial.T)


def test_the_network_turns_with_its_input_and_a_broken_one_does_not():
    net = ParityNetwork("1x0e+1x1o", "2x1o", cutoff=3.0)
    function = lambda g: net(torch.cat([torch.ones(6, 1).double(), g.node_vector], dim=1), g.edge_index, g.vector)  # noqa: E731
    assert_equivariant(function, cluster(), "2x1o")
    net.convolutions[0] = ReluOnEverything(net.convolutions[0])
    with pytest.raises(AssertionError, match="equivariance error"):
        assert_equivariant(function, cluster(), "2x1o")


@pytest.mark.parametrize("name", ["turn", "inversion", "mirror"])
def test_reflections_are_kept_with_parity_and_not_without(name):
    r = random_rotations(1, seed=3)[0]
    operation = {"turn": r, "inversion": -torch.eye(3).double(), "mirror": -r}[name]
    with_parity = ParityNetwork(KIND, KIND, cutoff=3.0)
    rotations_only = ParityNetwork(KIND, KIND, cutoff=3.0, parity=False)
    assert error(with_parity, operation) < 1e-12
    if name == "turn":
        assert error(rotations_only, operation, parity=False) < 1e-12
    else:
        assert error(rotations_only, operation, parity=False) > 1e-2
    with_parity.convolutions[0] = ReluOnEverything(with_parity.convolutions[0])
    assert error(with_parity, operation) > 1e-2


def test_seeds_decide_the_weights_and_nothing_else_is_drawn():
    before = torch.initial_seed(), torch.get_rng_state()
    one, same, other = (ParityNetwork("1x0e", seed=seed) for seed in (0, 0, 1))
    assert (torch.initial_seed(), torch.get_rng_state().tolist()) == (before[0], before[1].tolist())
    weights = [next(net.parameters()) for net in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_impossible_networks_are_refused():
    with pytest.raises(ValueError, match="layers=0; expected at least one"):
        ParityNetwork("1x0e", layers=0)
    with pytest.raises(ValueError, match="no even scalars"):
        ParityNetwork("1x0e", hidden="2x0o+2x1o")
