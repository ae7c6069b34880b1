"""Relaxed group convolution on volumes: equivariant under the 48 symmetries of a cube, and broken only by the data."""

import itertools
import re

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from glasslit.equivariance.point_groups import irrep_content, octahedral_characters, octahedral_group, times_kept
from glasslit.equivariance.relaxed_volumes import RelaxedVolumeLifting, RelaxedVolumeNetwork, turn_volume
from glasslit.testing import TOLERANCE

ROUNDING = TOLERANCE[torch.float64]
ELEMENTS = octahedral_group()
CHARACTERS = octahedral_characters(ELEMENTS)
NUMBER = {tuple(g.ravel()): k for k, g in enumerate(ELEMENTS)}


class Unreflected(RelaxedVolumeLifting):
    """Broken twin: permutes the axes of its filters and forgets to reverse them."""

    def oriented(self, element):
        return turn_volume(self.filters, np.abs(element))


def volumes(*shape, seed=0):
    return torch.randn(*shape, 5, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def source_of(h):
    """Where the orientation g of turned features comes from: h^-1 g."""
    return [NUMBER[tuple((h.T @ g).ravel())] for g in ELEMENTS]


def turn_features(features, h):
    return turn_volume(features, h)[:, :, source_of(h)]


def errors(layer, inputs, turn_out):
    with torch.no_grad():
        plain = layer(inputs)
        off = [(layer(turn_volume(inputs, h)) - turn_out(plain, h)).abs().max() for h in ELEMENTS]
    return torch.stack(off) / plain.abs().max()


def lifting(kind=RelaxedVolumeLifting):
    torch.manual_seed(1)
    return kind(2, 3).double()


def test_volumes_turn_voxel_by_voxel():
    volume = volumes(1)[0]
    for g in ELEMENTS:
        turned = turn_volume(volume, g)
        for x in itertools.product((-2, 0, 1), repeat=3):
            back = g.T @ x
            assert turned[tuple(k + 2 for k in x)] == volume[tuple(int(k) + 2 for k in back)]
    one, other = ELEMENTS[11], ELEMENTS[30]
    assert torch.equal(turn_volume(turn_volume(volume, other), one), turn_volume(volume, one @ other))
    assert not torch.equal(turn_volume(volume, one @ other), turn_volume(volume, other @ one))


def test_equal_weights_are_equivariant_and_unequal_ones_are_not():
    layer, inputs = lifting(), volumes(1, 2)
    assert (errors(layer, inputs, turn_features) < ROUNDING).all()
    layer.relaxed.data = 1 + 0.3 * torch.rand(48, dtype=torch.float64)
    found = errors(layer, inputs, turn_features)
    assert found[0] < ROUNDING
    assert (found[1:] > 0.01).all()


def test_a_broken_twin_fails_the_check():
    found = errors(lifting(Unreflected), volumes(1, 2), turn_features)
    assert (found[[k for k, g in enumerate(ELEMENTS) if (g < 0).any()]] > 0.01).all()


def test_turning_weights_and_input_together_turns_the_output():
    layer, inputs = lifting(), volumes(1, 2)
    weights = 1 + 0.3 * torch.rand(48, dtype=torch.float64)
    layer.relaxed.data = weights
    plain = layer(inputs)
    for h in ELEMENTS[::7]:
        layer.relaxed.data = weights[source_of(h)]
        assert torch.allclose(layer(turn_volume(inputs, h)), turn_features(plain, h), atol=1e-12)


def test_the_network_is_equivariant_with_equal_weights_only():
    torch.manual_seed(0)
    net, inputs = RelaxedVolumeNetwork(2).double(), volumes(2, 1)
    assert (errors(net, inputs, turn_volume) < ROUNDING).all()
    net.lifting.relaxed.data = 1 + 0.3 * torch.rand(48, dtype=torch.float64)
    assert (errors(net, inputs, turn_volume)[1:] > 1e-3).all()


@pytest.mark.parametrize("polar", [(0, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 2, 3)])
def test_training_finds_what_a_polar_target_lacks(polar):
    """From a cube to a cube with a polar axis: only what the axis' stabilizer allows, and all of that."""
    torch.manual_seed(0)
    x = torch.stack(torch.meshgrid(*[torch.arange(-2.0, 3.0, dtype=torch.float64)] * 3, indexing="ij"), dim=-1)
    cube = torch.exp(-(x**4).sum(dim=-1) / 4)[None, None]
    target = cube * torch.exp(0.3 * x @ torch.tensor(polar, dtype=torch.float64))
    net = RelaxedVolumeNetwork(2).double()
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(15):
        loss = (net(cube) - target).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    found = irrep_content(net.lifting.relaxed.detach().numpy(), ELEMENTS, CHARACTERS)
    kept = times_kept(CHARACTERS, (ELEMENTS @ polar == polar).all(axis=1))
    assert {name for name, size in found.items() if size > 1e-10} == {name for name, n in kept.items() if n}


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="size = 2; expected an odd number"):
        RelaxedVolumeLifting(1, 2, size=2)
    with pytest.raises(ValueError, match="channels_out = 0; expected a whole number of at least 1"):
        RelaxedVolumeLifting(1, 0)
    for shape in ((1, 2, 5, 5, 5), (1, 1, 5, 5, 4), (1, 5, 5, 5)):
        with pytest.raises(ValueError, match=r"expected \(batch, 1, S, S, S\)"):
            RelaxedVolumeLifting(1, 2)(torch.zeros(shape))


NOT_ONTO_VOXELS = {
    "45 degrees": Rotation.from_euler("z", 45, degrees=True).as_matrix(),
    "twice as large": 2 * np.eye(3),
    "nothing": np.zeros((3, 3)),
    "an axis twice": np.eye(3)[[0, 0, 2]],
    "sheared": np.eye(3) + np.eye(3, k=1),
    "a little off": np.eye(3) + 1e-3,
}


@pytest.mark.parametrize("element", NOT_ONTO_VOXELS.values(), ids=NOT_ONTO_VOXELS)
def test_volumes_are_only_moved_onto_their_voxels(element):
    with pytest.raises(ValueError, match="expected a rotation or reflection that lays the voxels on voxels, a matrix"):
        turn_volume(volumes(1), element)


def test_an_element_may_be_rounded_and_come_from_anywhere():
    turned, element = Rotation.from_euler("z", 90, degrees=True).as_matrix(), [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    assert (turned != element).any()
    for g in (turned, element, torch.tensor(turned, requires_grad=True)):
        assert torch.equal(turn_volume(volumes(1), g), turn_volume(volumes(1), np.array(element)))


OTHER_SHAPES_AND_TYPES = {
    "a matrix of the plane": (lambda: turn_volume(volumes(1), np.eye(2)), "element of shape (2, 2); expected (3, 3)"),
    "all elements": (lambda: turn_volume(volumes(1), ELEMENTS), "element of shape (48, 3, 3); expected (3, 3)"),
    "nan": (lambda: turn_volume(volumes(1), np.full((3, 3), np.nan)), "nan or infinite numbers in element, 9 of 9"),
    "words": (lambda: turn_volume(volumes(1), "C4"), "element = 'C4'; expected numbers of shape (3, 3)"),
    "no cube": (
        lambda: turn_volume(volumes(1)[..., 1:], np.eye(3)),
        "of shape (1, 5, 5, 4); expected (..., S, S, S)",
    ),
    "an image": (
        lambda: turn_volume(torch.ones(5, 5), np.eye(3)),
        "volume of shape (5, 5); expected (..., S, S, S)",
    ),
    "NumPy": (lambda: turn_volume(np.ones((5, 5, 5)), np.eye(3)), "volume of type ndarray; expected a tensor"),
    "float64": (
        lambda: RelaxedVolumeLifting(1, 2)(volumes(1, 1)),
        "input of torch.float64 on cpu; expected torch.float32 on cpu: input.to(layer.filters)",
    ),
    "a network, too": (
        lambda: RelaxedVolumeNetwork(2)(torch.ones(1, 1, 5, 5, 5, dtype=torch.int64)),
        "input of torch.int64 on cpu; expected torch.float32 on cpu: input.to(layer.filters)",
    ),
    "volumes of NumPy": (
        lambda: RelaxedVolumeNetwork(2)(np.ones((1, 1, 5, 5, 5))),
        "input of type ndarray; expected a tensor of shape (batch, 1, S, S, S)",
    ),
    "half a channel": (
        lambda: RelaxedVolumeNetwork(2.5),
        "channels_out = 2.5; expected a whole number of at least 1",
    ),
}


@pytest.mark.parametrize(("call", "told"), OTHER_SHAPES_AND_TYPES.values(), ids=OTHER_SHAPES_AND_TYPES)
def test_what_has_another_shape_or_type_is_refused(call, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        call()
