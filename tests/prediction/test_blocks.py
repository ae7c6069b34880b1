"""Predictions in blocks: they give what the whole gives, and refuse what it refuses."""

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.models.baselines import baseline
from glasslit.prediction import predict_in_blocks
from glasslit.testing import random_liquid


def network(c, **sizes):
    """Untrained, its batch norms with something learned, its outputs of order one."""
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(**({"layers": 3, "channels": 2, "l_max": 2, "n_times": len(c.times)} | sizes)))
    net.set_standardization([c])
    with torch.no_grad():
        net.decoder.weight.normal_()
        net.train()
        for _ in range(3):
            net(net.graph(c))
    return net.eval()


def tiled(c, times):
    """The liquid beside copies of itself: no particle would know."""
    shifts = np.stack(np.meshgrid(*[np.arange(n) for n in times], indexing="ij"), axis=-1).reshape(-1, 3) * c.box
    return gl.Configuration(
        positions=(c.positions[None] + shifts[:, None]).reshape(-1, 3),
        types=np.tile(c.types, len(shifts)),
        box=c.box * times,
        potential_energy_inherent=np.tile(c.potential_energy_inherent, len(shifts)),
    )


@pytest.mark.parametrize("kept", [10**9, 3 * 10**6, 0], ids=["all kept", "some kept", "none kept"])
@pytest.mark.parametrize("particles", [1, 130, 999])
@pytest.mark.parametrize("inputs", ["thermal+E_IS", "IS", "thermal+u_IS"])
def test_blocks_give_what_the_whole_gives(monkeypatch, inputs, particles, kept):
    monkeypatch.setattr(gl.prediction.blocks, "KEPT", kept)
    c = gl.load("starter", T=0.56, split="test")[0]
    if particles == 1:  # a thousand blocks would take long
        c = random_liquid(90, n_times=2)
    net = network(c, inputs=inputs)
    whole = net.predict(c)
    assert np.abs(predict_in_blocks(net, c, particles) - whole).max() < 1e-5 * np.abs(whole).max()


def test_a_block_without_its_neighbors_would_be_noticed(monkeypatch):
    """The control: what comes from outside the block is replaced by nothing."""
    c = gl.load("starter", T=0.56, split="test")[0]
    net = network(c)
    whole = net.predict(c)
    inside = gl.prediction.blocks._Block.graph

    def cut(self, *arguments):
        graph = inside(self, *arguments)
        own = graph.edge_index[0] < self.inside
        graph.edge_index, graph.vector = graph.edge_index[:, own], graph.vector[own]
        return graph

    monkeypatch.setattr(gl.prediction.blocks._Block, "graph", cut)
    assert np.abs(predict_in_blocks(net, c, 300) - whole).max() > 1e-2 * np.abs(whole).max()


def test_copies_of_a_liquid_are_predicted_as_the_liquid():
    c = gl.load("starter", T=0.56, split="test")[0]
    net = network(c, inputs="thermal+E_IS")
    once, many = net.predict(c), predict_in_blocks(net, tiled(c, (2, 1, 3)), 700)
    assert many.shape == (7, 6000)
    assert np.allclose(many.reshape(7, 6, 1000), once[:, None], rtol=0, atol=1e-5 * np.abs(once).max())


def test_float64_and_other_networks():
    c = random_liquid(300, n_times=2)
    net = network(c).double()
    assert np.allclose(predict_in_blocks(net, c, 100), net.predict(c), rtol=1e-12)
    other = baseline("egnn", inputs="thermal", n_times=2, width=8, steps=2)
    other.set_standardization([c])
    assert np.array_equal(predict_in_blocks(other, c, 100), other.eval().predict(c))


def test_blocks_refuse_what_the_whole_refuses():
    c = random_liquid(300, n_times=2)
    net = network(c, inputs="thermal+E_IS")
    with pytest.raises(ValueError, match="particles = 0; expected at least 1"):
        predict_in_blocks(net, c, 0)
    with pytest.raises(ValueError, match="has no potential_energy_inherent"):
        predict_in_blocks(net, c.replace(potential_energy_inherent=None), 100)
    small = c.replace(box=[3.9, *c.box[1:]], inherent_positions=None)
    with pytest.raises(ValueError, match="expected at least 4"):
        predict_in_blocks(net, small, 100)
