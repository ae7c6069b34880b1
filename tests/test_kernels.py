import pytest
import torch
from e3nn import o3

import glasslit as gl
from glasslit import so3
from glasslit.kernels import Coupling, contract_scatter
from glasslit.kernels.coupling import default_dtype
from glasslit.testing import random_liquid


def by_hand(h, Y, weights, graph, coupling):
    """The definition, path by path and coefficient by coefficient, with no tensor product in sight."""
    kinds, results, column = o3.Irreps(coupling.irreps_in), [], 0
    slices = kinds.slices()
    sender, receiver = graph.edge_index
    for slot, f, o in coupling.terms:
        copies, irrep = kinds[slot]
        features = h[:, slices[slot]].reshape(-1, copies, irrep.dim)[sender]
        with default_dtype(torch.float64):
            c = o3.wigner_3j(irrep.l, f, o, dtype=torch.float64)
        message = torch.einsum("eui,ej,ijk->euk", features, Y[:, f**2 : (f + 1) ** 2], c)
        message = (2 * o + 1) ** 0.5 * weights[:, column : column + copies, None] * message
        column += copies
        results.append(
            torch.zeros(len(h), message[0].numel(), dtype=h.dtype).index_add(0, receiver, message.flatten(1))
        )
    return torch.cat(results, dim=1)


@pytest.fixture(params=[("3x0e", 3), ("4x0e+4x1e+4x2e+4x3e+3x0e", 3), ("2x0e+2x1e+1x0e", 1), ("5x0e", 0)])
def problem(request):
    coupling = Coupling(*request.param)
    graph = gl.neighbor_graph(random_liquid(60, seed=3), cutoff=1.6, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(60, o3.Irreps(coupling.irreps_in).dim, dtype=torch.float64, generator=generator)
    weights = torch.randn(graph.num_edges, coupling.n_weights, dtype=torch.float64, generator=generator)
    return h, so3.spherical_harmonics(coupling.l_max, graph.vector), weights, graph, coupling


def test_reference_equals_the_definition_with_every_gradient(problem):
    h, Y, weights, graph, coupling = problem
    inputs = [x.clone().requires_grad_() for x in (h, Y, weights)]
    ours, expected = contract_scatter(*inputs, graph, coupling), by_hand(*inputs, graph, coupling)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)
    direction = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad((ours * direction).sum(), inputs),
        torch.autograd.grad((expected * direction).sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)


def test_float64_couplings_stay_exact_whatever_the_default_dtype(problem):
    """e3nn writes couplings at the default dtype (here float32); the package builds them in the input's."""
    h, Y, weights, graph, coupling = problem
    assert torch.get_default_dtype() == torch.float32
    h32 = contract_scatter(h.float(), Y.float(), weights.float(), graph, coupling)
    h64 = contract_scatter(h, Y, weights, graph, coupling)
    assert h32.dtype == torch.float32
    assert torch.allclose(h64, by_hand(h, Y, weights, graph, coupling), rtol=0, atol=1e-12)
    assert torch.get_default_dtype() == torch.float32


def test_nodes_without_neighbors_get_zeros():
    coupling = Coupling("2x0e+2x1e", 1)
    graph = gl.neighbor_graph(gl.Configuration(positions=[[1, 1, 1], [4, 4, 4]], types=[0, 1], box=[8, 8, 8]))
    result = contract_scatter(torch.randn(2, 8), torch.zeros(0, 4), torch.zeros(0, coupling.n_weights), graph, coupling)
    assert result.shape == (2, coupling.irreps_out.dim)
    assert not result.any()


def test_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match="kernel 'fast'; expected one of auto"):
        gl.ModelConfig(kernel="fast")
