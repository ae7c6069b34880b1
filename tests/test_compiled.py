"""Networks under ``torch.compile``: what is compiled agrees with what is not, in evaluation and in training.

PyTorch 2.13 ended in InternalTorchDynamoError: Dynamo walked into llvmlite's loader (0.50, binding/ffi.py: ``argument
of type '_lib_fn_wrapper' is not iterable``), and ``len()`` of an irrep of e3nn raised in its guards (0.6.0,
o3/_irreps.py: ``Irrep`` is a tuple whose ``__len__`` raises NotImplementedError). The backends here run the captured
operations as they are, which takes seconds; the one that writes C++, "inductor", needs a compiler and half a minute of
a processor for each network.
"""

import warnings

import pytest
import torch

import glasslit as gl
from glasslit.equivariance.kernels import Coupling, contract
from glasslit.equivariance.so3 import (
    copies_and_degrees,
    invariants,
    invariants_of_copies,
    irreps,
    spherical_harmonics,
)
from glasslit.models.potential import Potential, PotentialConfig

SMALL = {"layers": 2, "channels": 2, "l_max": 1, "n_times": 2, "cutoff": 1.5, "inputs": "thermal"}


@pytest.fixture(scope="module")
def liquid():
    return gl.testing.random_liquid(80, n_times=2, seed=1)


def labelled(net, configuration):
    net.set_standardization([configuration])
    graph = net.graph(configuration)
    graph.y = torch.tensor(configuration.propensity.T, dtype=torch.float32)
    return graph


def gradients(net, loss):
    """Of all parameters, after one step with a seed of its own, which dropout draws from."""
    net.train()
    net.zero_grad()
    torch.manual_seed(1)
    loss()
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


def assert_same(found, expected):
    assert len(found) == len(expected) > 5
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))
    assert max(float(b.abs().max()) for b in expected) > 0


@pytest.mark.parametrize(
    ("backend", "changes"),
    [
        ("eager", {"layers": 1, "inputs": "thermal+u_IS"}),
        ("aot_eager", {"layers": 1, "products": 2, "attention": True}),
    ],
)
def test_a_compiled_network_agrees_with_itself(liquid, backend, changes):
    """With dropout and batch norm."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL | changes))
    graph = labelled(net, liquid)
    compiled = torch.compile(net, backend=backend)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Dynamo detected a call to a `functools.lru_cache`")
        expected = gradients(net, lambda: net(graph).square().mean().backward())
        assert_same(gradients(net, lambda: compiled(graph).square().mean().backward()), expected)
        net.eval()
        with torch.no_grad():
            assert torch.allclose(compiled(graph), net(graph), rtol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["calls_captured"] > 20, "nothing was compiled"


def test_a_step_that_is_compiled_with_its_backward_pass(liquid):
    """Dynamo looks on while gradients are computed, and would walk into the engine there too."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    graph, coupling = gl.neighbor_graph(liquid, cutoff=1.5), Coupling("2x0e+2x1e", 1)
    h = torch.randn(80, coupling.dim_in, requires_grad=True)
    Y, weights = spherical_harmonics(1, graph.vector), torch.randn(graph.num_edges, coupling.n_weights)

    def step():
        loss = sum(block.square().sum() for block in contract(h.sin(), Y, weights, graph, coupling, "cpu"))
        loss.backward()

    found = []
    for run in (step, torch.compile(step, backend="eager")):
        h.grad = None
        run()
        found.append(h.grad)
    assert torch.allclose(*found, rtol=1e-6)
    assert float(found[0].abs().max()) > 0


def test_a_compiled_potential_agrees_with_itself():
    """Training differentiates its forces: that part of it stays as it is."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = Potential(PotentialConfig(layers=1, channels=2, l_max=1, cutoff=1.5))
    graph = net.graph(gl.testing.random_liquid(80, seed=1))
    compiled = torch.compile(net, backend="aot_eager")
    expected = gradients(net, lambda: sum(x.square().sum() for x in net(graph)).backward())
    assert_same(gradients(net, lambda: sum(x.square().sum() for x in compiled(graph)).backward()), expected)
    net.eval()
    for a, b in zip(compiled(graph), net(graph), strict=True):
        assert torch.equal(a, b)


def test_irreps_as_plain_numbers():
    kind = irreps(2, 2)
    assert copies_and_degrees(kind) == copies_and_degrees("2x0e+2x1e+2x2e") == ((2, 0), (2, 1), (2, 2))
    with pytest.raises(NotImplementedError):
        len(kind[0].ir)  # why they are taken: e3nn 0.6.0
    features = torch.randn(5, kind.dim)
    assert torch.equal(invariants_of_copies(features, copies_and_degrees(kind)), invariants(features, kind))
