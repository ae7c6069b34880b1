"""No gradient of a network is summed in an order that threads decide.

The gradient of ``values[numbers]`` is ``index_put_(accumulate=True)``, which adds float32 numbers on a CPU with several
threads in whatever order they come (PyTorch 2.13, aten/src/ATen/native/cpu/IndexKernel.cpp); that of ``index_select``
is ``index_add_``, which goes through the rows one after the other.
"""

import pytest
import torch

import glasslit as gl
from glasslit.models.decoders import DECODERS
from glasslit.models.heads import HEADS, PRETEXTS
from glasslit.models.potential import Potential, PotentialConfig

SMALL = {"layers": 2, "channels": 2, "l_max": 1, "n_times": 2, "cutoff": 1.5, "inputs": "thermal"}


def operations(result):
    """Names of all that a result was computed with, where there are gradients."""
    seen, todo = set(), [result.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [before for before, _ in node.next_functions]
    return {node.name() for node in seen}


def assert_repeatable(result):
    found = operations(result)
    assert len(found) > 5
    assert not {name for name in found if name.startswith(("IndexBackward", "IndexPutBackward"))}, found


def test_the_gradient_that_is_not_taken():
    values = torch.ones(3, 2, requires_grad=True)
    assert "IndexBackward0" in operations(values[torch.tensor([0, 0])].sum())


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("changes", [{"kernel": "reference"}, {"attention": True, "products": 2}])
def test_networks_and_heads(decoder, changes):
    liquid = gl.testing.random_liquid(80, n_times=2, seed=1)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL | changes, decoder=decoder))
    net.set_standardization([liquid])
    graph = net.graph(liquid)
    graph.y = torch.tensor(liquid.propensity.T, dtype=torch.float32)
    assert_repeatable(net.training_loss(graph))
    net = gl.SE3GNN(gl.ModelConfig(**SMALL | changes | {"l_max": 2}, decoder=decoder))  # all heads can read it
    graph = net.graph(liquid)
    features = net.features(graph)
    for name, kind in (HEADS | PRETEXTS).items():
        head = kind(net.irreps, net.irreps_inputs, 2 if name in HEADS else 1)
        assert_repeatable(head(features, net.node_inputs(graph), graph.types))


def test_potentials():
    net = Potential(PotentialConfig(layers=1, channels=2, l_max=1, cutoff=1.5))
    for result in net(net.graph(gl.testing.random_liquid(80, seed=1))):
        assert_repeatable(result)
