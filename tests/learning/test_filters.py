"""Learned functions of distance, against the layer that uses them."""

import numpy as np
import pytest
import torch

from glasslit.learning.filters import radial_filters
from glasslit.testing import random_liquid
from tests.learning.test_sensitivity import CUTOFF, network


def test_filters_make_up_the_first_layer():
    """Messages rebuilt from the filters are what the layer gives, but for what batch norm adds to scalars."""
    net = network()
    graph = net.graph(random_liquid(300, seed=1))
    x, edges = net.node_inputs(graph), net.edges(graph)
    with torch.no_grad():
        expected = net.layer(0, None, x, edges, graph)
    distance = graph.vector.norm(dim=1).numpy()
    sender, receiver = graph.edge_index.numpy()
    filters = radial_filters(net, 0, distance)
    assert [f.degrees for f in filters] == [(0, 0, 0), (0, 1, 1), (0, 2, 2)]
    blocks = expected.split([k.dim for k in net.irreps], dim=1)
    for degree, (f, block) in enumerate(zip(filters, blocks, strict=True)):
        harmonics = edges[0].numpy()[:, degree**2 : (degree + 1) ** 2]
        message = np.einsum("eic,ei->ec", f.outgoing, x.numpy()[sender])
        total = np.zeros((len(x), net.config.channels, 2 * degree + 1))
        np.add.at(total, receiver, message[:, :, None] * harmonics[:, None])
        rest = block.numpy() - total.reshape(len(x), -1)
        assert np.abs(rest - rest[0] * (degree == 0)).max() < 1e-10
        assert np.abs(total).max() > 1e-2
        assert f.strength == pytest.approx(np.sqrt(np.square(f.outgoing).sum(axis=(1, 2))))


def test_filters_of_later_layers_have_every_path_once():
    net = network()
    filters = radial_filters(net, 1, [0.9, 1.2])
    coupling = net.convolutions[1].coupling
    assert sum(f.values.shape[1] for f in filters) == coupling.n_weights
    assert len({(f.slot, f.degrees) for f in filters}) == len(filters) == len(coupling.terms)
    assert all(f.mixed.shape == (f.values.shape[1], net.config.channels) for f in filters)


def test_what_cannot_be_meant_is_refused():
    net = network()
    with pytest.raises(ValueError, match="layer 2; expected one from 0 to 1"):
        radial_filters(net, 2, [1.0])
    with pytest.raises(ValueError, match="at most the cutoff"):
        radial_filters(net, 0, [CUTOFF + 0.1])
