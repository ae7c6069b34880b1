"""Networks that know mirror images, E(3) instead of the paper's SE(3), and what must not pass for one."""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.equivariance import convolution
from glasslit.equivariance.kernels import Coupling
from glasslit.equivariance.parity import representation
from glasslit.testing import assert_equivariant, random_liquid
from tests.models.test_se3 import relative_change, with_body

MIRRORED = [{}, {"products": 3, "attention": True}, {"l_max": 3, "targets": "propensity+displacement"}]


@pytest.fixture
def liquid():
    c = random_liquid(300, seed=1)
    u = c.inherent_positions - c.positions
    return c.replace(mean_displacement=np.stack([u, 2 * u]))


def inverted(c):
    """The mirror image of a liquid: a reflection, followed by half a turn."""
    return c.replace(positions=-c.positions, inherent_positions=-c.inherent_positions)


def change_under_inversion(net, c):
    """Largest deviation of the features of the mirror image from what their irreps say, over the features' spread."""
    with torch.no_grad():
        there, back = (net.features(net.graph(x)) for x in (c, inverted(c)))
    expected = there @ representation(net.irreps, -torch.eye(3, dtype=torch.float64)).T
    return float((back - expected).abs().max() / there.std())


@pytest.mark.parametrize("sizes", MIRRORED)
def test_a_mirror_image_moves_as_much_where_the_network_knows_it(sizes, liquid):
    net = with_body(liquid, inputs="thermal+E_IS+u_IS", mirror_images=True, **sizes)
    graph = net.graph(liquid)
    assert_equivariant(net.features, graph, net.irreps)
    assert change_under_inversion(net, liquid) < 1e-10
    for mirror in ([1, 1, -1], [-1, 1, 1], [-1, -1, -1]):
        image = liquid.replace(
            positions=liquid.positions * mirror, inherent_positions=liquid.inherent_positions * mirror
        )
        assert relative_change(net, liquid, image) < 1e-10
        if "displacement" in net.targets:
            expected = net.predict(liquid, target="displacement") * mirror
            assert np.abs(net.predict(image, target="displacement") - expected).max() < 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize("sizes", MIRRORED)
def test_the_papers_network_does_not_know_mirror_images(sizes, liquid):
    """Negative control; by rotations it turns as it should."""
    net = with_body(liquid, inputs="thermal+E_IS+u_IS", **sizes)
    assert_equivariant(net.features, net.graph(liquid), net.irreps)
    assert change_under_inversion(net, liquid) > 1e-3
    assert relative_change(net, liquid, inverted(liquid)) > 1e-6


@dataclass(frozen=True)
class OneTooMany(Coupling):
    """With the cross product of two vectors, which is odd under reflection, back in the list."""

    @cached_property
    def terms(self):
        crossed = [(slot, 1, 1) for slot, (_, degree) in enumerate(self.slots) if degree == 1]
        return tuple(sorted([*super().terms, *crossed], key=lambda term: (term[2], term[0], term[1])))


def test_one_product_too_many_forgets_mirror_images(monkeypatch, liquid):
    """Negative control; it turns as it should."""
    monkeypatch.setattr(convolution, "Coupling", OneTooMany)
    net = with_body(liquid, inputs="thermal+E_IS+u_IS", mirror_images=True)
    assert_equivariant(net.features, net.graph(liquid), net.irreps)
    assert change_under_inversion(net, liquid) > 1e-3


def test_a_network_that_knows_mirror_images_has_fewer_weights_and_its_own_irreps(tmp_path, liquid):
    plain, known = (gl.SE3GNN(gl.ModelConfig(mirror_images=m)) for m in (False, True))
    assert str(known.irreps) == "8x0e+8x1o+8x2e+8x3o"
    counts = [net.count_parameters() for net in (plain, known)]
    assert counts[1]["radial"] < 0.75 * counts[0]["radial"]
    assert counts[1]["decoder"] == counts[0]["decoder"]
    net = with_body(liquid, torch.float32, mirror_images=True)
    gl.save_model(net, tmp_path / "model.pt")
    again = gl.load_model(tmp_path / "model.pt")
    assert again.config.mirror_images
    assert np.array_equal(again.predict(liquid), net.predict(liquid))
    with pytest.raises(ValueError, match="mirror_images = 'no'; expected True or False"):
        convolution.SE3Convolution("2x0e", 2, 1, mirror_images="no")
    with pytest.raises(ValueError, match=re.escape("irreps 2x0e+2x1e with 1e; expected natural parity")):
        convolution.SE3Convolution("2x0e+2x1e", 2, 1, mirror_images=True)
