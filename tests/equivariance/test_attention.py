"""Scores of edges: numbers between 0 and 1 that no rotation changes and that weight messages."""

import pytest
import torch

import glasslit as gl
from glasslit import so3
from glasslit.equivariance import attention
from glasslit.equivariance.attention import EdgeScore
from glasslit.equivariance.convolution import SE3Convolution, bessel_basis
from glasslit.testing import assert_equivariant, random_liquid

CHANNELS, L_MAX = 3, 2
IRREPS = "3x0e+3x1e+3x2e+2x0e"


@pytest.fixture
def graph():
    return gl.neighbor_graph(random_liquid(100, seed=2), dtype=torch.float64)


def features(graph):
    """Sums of harmonics over neighbors, which turn, and two numbers of each particle, which do not."""
    Y = so3.spherical_harmonics(L_MAX, graph.vector)
    basis = bessel_basis(torch.linalg.vector_norm(graph.vector, dim=1), 2.0, CHANNELS)
    blocks = [(basis[:, :, None] * Y[:, None, k**2 : (k + 1) ** 2]).flatten(1) for k in range(L_MAX + 1)]
    edges = torch.cat([*blocks, basis[:, :2]], dim=1)
    return edges.new_zeros(graph.num_nodes, edges.shape[1]).index_add(0, graph.edge_index[1], edges) / 10


def radial(graph):
    return bessel_basis(torch.linalg.vector_norm(graph.vector, dim=1), 2.0, 10)


def scores(score, graph):
    return score(features(graph), radial(graph), graph)


@pytest.fixture
def score():
    torch.manual_seed(0)
    return EdgeScore(IRREPS, n_basis=10).double()


def first_components(h, kind):
    """Negative control: of each copy its first component, which depends on the axes."""
    parts = zip(kind, h.split([copies * (2 * degree + 1) for copies, degree in kind], dim=1), strict=True)
    return torch.cat([block.reshape(len(h), copies, -1)[..., 0] for (copies, _), block in parts], dim=1)


def test_scores_do_not_turn_and_weighted_messages_do(monkeypatch, score, graph):
    convolution = SE3Convolution(IRREPS, CHANNELS, L_MAX).double().eval()

    def layer(g):
        harmonics = so3.spherical_harmonics(L_MAX, g.vector) * scores(score, g)
        return convolution(features(g), harmonics, radial(g), g)

    assert_equivariant(lambda g: scores(score, g), graph, "1x0e")
    assert_equivariant(layer, graph, convolution.irreps_out)
    monkeypatch.setattr(attention, "invariants_of_copies", first_components)
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(lambda g: scores(score, g), graph, "1x0e")
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(layer, graph, convolution.irreps_out)


def test_scores_by_hand(score, graph):
    found, h, basis = scores(score.requires_grad_(False), graph), features(graph), radial(graph)
    assert found.shape == (graph.num_edges, 1)
    assert 0 < found.min() < found.max() < 1
    lengths = [h[:, 3 + 3 * c : 6 + 3 * c].norm(dim=1) for c in range(3)]
    lengths += [h[:, 12 + 5 * c : 17 + 5 * c].norm(dim=1) for c in range(3)]
    z = torch.cat([h[:, :3], torch.stack(lengths, dim=1), h[:, 27:]], dim=1)
    for e in (0, 17, graph.num_edges - 1):
        j, i = graph.edge_index[:, e].tolist()
        hidden = score.receiver.weight @ z[i] + score.sender.weight @ z[j]
        hidden = (hidden + score.radial.weight @ basis[e] + score.radial.bias).relu()
        by_hand = 1 / (1 + torch.exp(-(score.last.weight[0] @ hidden + score.last.bias[0])))
        assert float(found[e, 0]) == pytest.approx(float(by_hand), rel=1e-12)


@pytest.mark.parametrize("kernel", ["cpu", "reference"])
def test_a_neighbor_whose_score_is_zero_is_not_there(graph, kernel):
    torch.manual_seed(0)
    convolution = SE3Convolution(IRREPS, CHANNELS, L_MAX, kernel=kernel).double().eval()
    harmonics, kept = so3.spherical_harmonics(L_MAX, graph.vector), graph.edge_index[0] != 7
    weighted = convolution(features(graph), harmonics * kept[:, None], radial(graph), graph)
    cut = graph.clone()
    cut.edge_index, cut.reverse = graph.edge_index[:, kept], None
    removed = convolution(features(graph), harmonics[kept], radial(graph)[kept], cut)
    assert torch.allclose(weighted, removed, rtol=0, atol=1e-12)
    whole = convolution(features(graph), harmonics, radial(graph), graph)
    assert (whole - removed).abs().max() > 1e-3


def test_kernels_give_scores_the_gradient_that_the_reference_gives(score, graph):
    gradients = []
    for kernel in ("cpu", "reference"):
        torch.manual_seed(0)
        convolution = SE3Convolution(IRREPS, CHANNELS, L_MAX, kernel=kernel).double().eval()
        harmonics = so3.spherical_harmonics(L_MAX, graph.vector) * scores(score, graph)
        out = convolution(features(graph), harmonics, radial(graph), graph)
        gradients.append(torch.autograd.grad(out.square().sum(), list(score.parameters())))
    for one, other in zip(*gradients, strict=True):
        assert other.abs().max() > 0
        assert torch.allclose(one, other, rtol=0, atol=1e-10 * float(other.abs().max()))
