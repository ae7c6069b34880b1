"""The convolution around its kernel: radial functions, dropout, mixing."""

import pytest
import torch

from glasslit import so3
from glasslit.equivariance.convolution import SE3Convolution, _Linear, bessel_basis
from glasslit.equivariance.kernels import contract_scatter
from glasslit.equivariance.kernels.plan import from_blocks
from tests.equivariance.test_kernels import PAPER, assert_close, liquid


def test_a_layer_does_what_its_modules_say():
    """Fast or not, the same numbers as calling radial network, product and e3nn's Linear one after the other."""
    graph = liquid(torch.float32, n=200)
    Y = so3.spherical_harmonics(3, graph.vector)
    basis = bessel_basis(graph.vector.norm(dim=1), 1.6, 10)
    torch.manual_seed(0)
    layer = SE3Convolution(PAPER.irreps_in, channels=8, l_max=3)
    h = torch.randn(200, PAPER.dim_in)
    gradients = {}
    for kernel in ("plain", "reference", "auto"):
        layer.zero_grad()
        torch.manual_seed(1)  # of dropout
        if kernel == "plain":
            out = layer.mixing(contract_scatter(h, Y, layer.radial(basis), graph, PAPER, "reference"))
        else:
            layer.kernel = kernel
            out = layer(h, Y, basis, graph)
        out.square().sum().backward()
        gradients[kernel] = [out.detach(), *(p.grad.clone() for p in layer.parameters())]
    assert_close(gradients["reference"], gradients["plain"], 1e-5)
    assert_close(gradients["auto"], gradients["plain"], 2e-5)


def test_dropout_keeps_the_stated_share_and_the_mean():
    dropout = SE3Convolution("2x0e", 4, 1, dropout=0.3).radial[3]
    x = torch.ones(200_000)
    torch.manual_seed(0)
    dropped = dropout(x)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert float((dropped > 0).float().mean()) == pytest.approx(0.7, abs=5 * (0.21 / 200_000) ** 0.5)
    assert torch.equal(dropout.eval()(x), x)


def test_bessel_basis_is_orthonormal_and_ends_at_the_cutoff():
    r = torch.linspace(0, 2, 20_001, dtype=torch.float64)[1:]
    basis = bessel_basis(r, 2.0, 10)
    overlap = torch.trapezoid(basis.T[:, None] * basis.T[None] * r**2, r)
    assert torch.allclose(overlap, torch.eye(10).double(), atol=2e-3)
    assert torch.allclose(basis[-1], torch.zeros(10).double(), atol=1e-14)


def test_mixing_is_e3nns_linear_map_and_so_are_its_derivatives():
    torch.manual_seed(0)
    layer = SE3Convolution("2x0e+3x1e", channels=4, l_max=2).double()
    widths = layer.coupling.widths
    blocks = [torch.randn(5, 2 * o + 1, w, dtype=torch.float64).requires_grad_() for o, w in enumerate(widths)]
    inputs = [layer.mixing.weight, *blocks]
    direction = torch.randn(5, layer.irreps_out.dim, dtype=torch.float64)
    found = []
    for out in (layer.mix(tuple(blocks)), layer.mixing(from_blocks(tuple(blocks)))):
        found.append([out, *torch.autograd.grad((out * direction).sum(), inputs, retain_graph=True)])
    assert_close(*found, 1e-13)
    small = [block[:2].detach().requires_grad_() for block in blocks]
    assert torch.autograd.gradcheck(lambda *b: layer.mix(b), small)
    assert torch.autograd.gradgradcheck(lambda *b: layer.mix(b), small)
    with torch.no_grad():
        assert list(layer.state_dict()) == list(SE3Convolution("2x0e+3x1e", 4, 2).state_dict())
    assert "places" not in layer.state_dict()


def test_the_linear_map_of_many_rows_has_its_own_gradients_first_and_second():
    generator = torch.Generator().manual_seed(0)
    for out in (2, 9):  # narrower than its input, and wider
        shapes = (6, 3, 5), (out, 5), (out,)
        inputs = [torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in shapes]
        assert torch.equal(_Linear.apply(*inputs), torch.nn.functional.linear(*inputs))
        assert torch.autograd.gradcheck(_Linear.apply, inputs)
        assert torch.autograd.gradgradcheck(_Linear.apply, inputs)
        assert torch.autograd.gradcheck(lambda x, w: _Linear.apply(x, w, None), inputs[:2])
