"""Relaxed group convolution: equivariant with equal weights, turned by turned weights, and broken only by the data."""

import re

import numpy as np
import pytest
import torch

from glasslit.equivariance.relaxed import (
    RelaxedConvolution,
    RelaxedLifting,
    RelaxedNetwork,
    fourier_content,
    turn_features,
    turn_image,
    turn_weights,
    turning_errors,
)
from glasslit.testing import TOLERANCE

ROUNDING = TOLERANCE[torch.float64]
UNEQUAL = torch.tensor([[1.3, 0.8, 1.1, 0.9], [0.7, 1.2, 1.0, 0.6]], dtype=torch.float64)


class Unshifted(RelaxedConvolution):
    """Broken twin: the filters turn, and each reads the orientations in the same order."""

    def oriented(self, orientation):
        return turn_image(self.filters, orientation)


KINDS = {
    "lifting": (RelaxedLifting, turn_image),
    "convolution": (RelaxedConvolution, turn_features),
}


def layer_and_input(name, filters=2):
    torch.manual_seed(0)
    kind, turn_in = KINDS[name]
    between = () if turn_in is turn_image else (4,)
    inputs = torch.randn(2, 3, *between, 7, 7, dtype=torch.float64)
    return kind(3, 2, filters=filters).double(), inputs, turn_in


def pixels(*at, size=9):
    image = torch.zeros(1, 1, size, size, dtype=torch.float64)
    for row, column in at:
        image[0, 0, row, column] = 1
    return image


SQUARE = pixels((2, 2), (2, 6), (6, 2), (6, 6))
TARGETS = {
    "square": SQUARE,
    "rectangle": pixels((1, 3), (1, 5), (7, 3), (7, 5)),
    "neither": pixels((1, 3), (1, 7), (7, 3), (7, 5)),
}


def trained(target, seed=0, steps=20, broken=False, turned_filters=False):
    torch.manual_seed(seed)
    net = RelaxedNetwork(channels=4).double()
    for layer in net.layers[1:] if broken else []:
        layer.__class__ = Unshifted
    if turned_filters:
        net.layers[0].filters.data = turn_image(net.layers[0].filters.data, 1)
        net.layers[1].filters.data = net.layers[1].filters.data.roll(-1, dims=-3)
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(steps):
        loss = (net(SQUARE) - target).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return net


def content(net):
    return fourier_content(net.relaxed_weights()[:, 0])


@pytest.mark.parametrize("name", KINDS)
def test_equal_weights_are_equivariant_and_unequal_ones_are_not(name):
    layer, inputs, turn_in = layer_and_input(name)
    assert (turning_errors(layer, inputs, turn_in, turn_features) < ROUNDING).all()
    layer.relaxed.data = UNEQUAL.clone()
    assert (turning_errors(layer, inputs, turn_in, turn_features) > 0.01).all()


def test_weights_with_a_half_turn_keep_the_half_turn():
    layer, inputs, turn_in = layer_and_input("convolution")
    layer.relaxed.data = torch.tensor([[1.4, 0.6, 1.4, 0.6], [0.9, 1.2, 0.9, 1.2]], dtype=torch.float64)
    errors = turning_errors(layer, inputs, turn_in, turn_features)
    assert errors[1] < ROUNDING
    assert (errors[[0, 2]] > 0.01).all()


def test_a_broken_twin_fails_the_check():
    torch.manual_seed(0)
    layer, features = Unshifted(3, 2).double(), torch.randn(2, 3, 4, 7, 7, dtype=torch.float64)
    assert (turning_errors(layer, features, turn_features, turn_features) > 0.01).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("name", KINDS)
def test_turning_weights_and_input_together_turns_the_output(name, turns):
    layer, inputs, turn_in = layer_and_input(name)
    layer.relaxed.data = UNEQUAL.clone()
    plain = layer(inputs)
    layer.relaxed.data = turn_weights(UNEQUAL, turns)
    assert torch.allclose(layer(turn_in(inputs, turns)), turn_features(plain, turns), atol=1e-12)
    layer.relaxed.data = turn_weights(UNEQUAL, -turns)  # the wrong way
    wrong = (layer(turn_in(inputs, turns)) - turn_features(plain, turns)).abs().max()
    assert wrong < 1e-12 if turns == 2 else wrong > 0.01


@pytest.mark.parametrize("name", KINDS)
def test_layers_equal_loops_over_pixels_and_orientations(name):
    layer, inputs, _ = layer_and_input(name, filters=2)
    layer.relaxed.data = UNEQUAL.clone()
    found, edge = layer(inputs), inputs.shape[-1]
    padded = torch.nn.functional.pad(inputs, (1, 1, 1, 1))
    for g, row, column in [(0, 0, 0), (1, 3, 2), (2, 6, 6), (3, 5, 0)]:
        expected = torch.zeros(2, 2, dtype=torch.float64)
        for u, v in ((u, v) for u in (-1, 0, 1) for v in (-1, 0, 1)):
            a, b = u, v  # the offset turned back by g quarter turns: (row, column) -> (column, -row) is clockwise
            for _ in range(g):
                a, b = b, -a
            for one, weights in zip(layer.filters, UNEQUAL, strict=True):
                seen = padded[..., row + 1 + u, column + 1 + v]
                if name == "lifting":
                    expected += weights[g] * seen @ one[:, :, a + 1, b + 1].T
                    continue
                for h in range(4):
                    expected += weights[g] * seen[:, :, h] @ one[:, :, (h - g) % 4, a + 1, b + 1].T
        assert torch.allclose(found[:, :, g, row, column], expected, atol=1e-12), (g, row, column, edge)


@pytest.mark.parametrize("filters", [1, 3])
def test_weights_are_summed_over_filters(filters):
    layer, inputs, _ = layer_and_input("lifting", filters)
    layer.relaxed.data = torch.arange(4.0 * filters).reshape(filters, 4).double()
    alone = []
    for k in range(filters):
        single = RelaxedLifting(3, 2).double()
        single.filters.data, single.relaxed.data = layer.filters.data[k : k + 1], layer.relaxed.data[k : k + 1]
        alone.append(single(inputs))
    assert torch.allclose(layer(inputs), sum(alone), atol=1e-12)


def test_irreps_turn_as_they_should():
    weights = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    A, B, x, y = fourier_content(weights).unbind(-1)
    turned = fourier_content(turn_weights(weights, 1))
    assert torch.allclose(turned, torch.stack([A, -B, -y, x], dim=-1))
    back = (A[:, None] + B[:, None] * torch.tensor([1, -1, 1, -1])) / 4
    back = back + torch.stack([x, y, -x, -y], dim=-1) / 2
    assert torch.allclose(back, weights)


def test_training_keeps_what_input_and_target_share():
    found = {name: content(trained(target)).abs() for name, target in TARGETS.items()}
    assert (found["square"][:, 1:] < 1e-12).all()
    assert (found["rectangle"][:, 2:] < 1e-12).all()
    assert (found["rectangle"][:, 1] > 1e-3).all()
    assert (found["neither"][0, 1:] > 1e-3).all()
    image = torch.randn(1, 1, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = {name: turning_errors(trained(target), image) for name, target in TARGETS.items()}
    assert (errors["square"] < ROUNDING).all()
    assert errors["rectangle"][1] < ROUNDING < 1e-3 < errors["rectangle"][[0, 2]].min()
    assert (errors["neither"] > 1e-3).all()


def test_a_broken_twin_finds_what_is_not_there():
    found = content(trained(SQUARE, broken=True)).abs()
    assert (found[0, 1:] > 1e-4).all()


def test_a_turned_target_turns_the_weights():
    plain, turned = trained(TARGETS["neither"]), trained(turn_image(TARGETS["neither"], 1))
    assert torch.allclose(turn_weights(plain.relaxed_weights(), 1), turned.relaxed_weights(), atol=1e-9)


def test_the_sign_of_b_depends_on_how_filters_began():
    """Turned filters at the start, the same task: every content is the same but for the sign of B."""
    plain, turned = (content(trained(TARGETS["rectangle"], turned_filters=k))[0] for k in (False, True))
    assert torch.allclose(turned, plain * torch.tensor([1, -1, 1, 1]), atol=1e-9)
    assert plain[1].abs() > 1e-3


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="size = 4; expected an odd number"):
        RelaxedLifting(1, 2, size=4)
    with pytest.raises(ValueError, match="channels_in = 0; expected a whole number of at least 1"):
        RelaxedConvolution(0, 2)
    with pytest.raises(ValueError, match=r"of shape \(1, 1, 9, 8\); expected \(batch, 1, S, S\)"):
        RelaxedLifting(1, 2)(torch.zeros(1, 1, 9, 8))
    with pytest.raises(ValueError, match=r"expected \(batch, 3, 4, S, S\)"):
        RelaxedConvolution(3, 2)(torch.zeros(1, 3, 9, 9))
    with pytest.raises(ValueError, match="layers = 1; expected a whole number of at least 2"):
        RelaxedNetwork(layers=1)
    with pytest.raises(ValueError, match="one for each quarter turn"):
        fourier_content(torch.ones(3))
    with pytest.raises(ValueError, match="not all of them zero"):
        turning_errors(torch.zeros_like, torch.ones(1, 1, 3, 3))


NOT_TURNED = {
    "five weights": (lambda: turn_weights(torch.ones(5), 1), "weights of shape (5,); expected (..., 4), one for"),
    "eight weights": (lambda: fourier_content(torch.ones(8)), "weights of shape (8,); expected (..., 4), one for"),
    "weights of NumPy": (lambda: turn_weights(np.ones(4), 1), "weights of type ndarray; expected a tensor of shape"),
    "half a turn of weights": (lambda: turn_weights(torch.ones(4), 0.5), "turns = 0.5; expected a whole number"),
    "no axis of the group": (
        lambda: turn_features(torch.ones(2, 1, 8, 8), 1),
        "features of shape (2, 1, 8, 8); expected (..., 4, S, S), an image for each quarter turn; turn_image turns",
    ),
    "one image": (lambda: turn_features(torch.ones(8, 8), 1), "of shape (8, 8); expected (..., 4, S, S)"),
    "features not square": (lambda: turn_features(torch.ones(4, 8, 7), 2), "of shape (4, 8, 7); expected (..., 4,"),
    "image not square": (lambda: turn_image(torch.ones(8, 7), 1), "image of shape (8, 7); expected (..., S, S)"),
    "a row": (lambda: turn_image(torch.ones(8), 1), "image of shape (8,); expected (..., S, S), square images"),
    "image of NumPy": (lambda: turn_image(np.ones((8, 8)), 1), "image of type ndarray; expected a tensor"),
    "half a turn": (lambda: turn_image(torch.ones(8, 8), 0.5), "turns = 0.5; expected a whole number"),
}


@pytest.mark.parametrize(("call", "told"), NOT_TURNED.values(), ids=NOT_TURNED)
def test_what_cannot_be_turned_is_refused(call, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        call()


NOT_OF_THE_FILTERS = {
    "float64": (torch.Tensor.double, "input of torch.float64 on cpu; expected torch.float32 on cpu: input.to("),
    "whole numbers": (torch.Tensor.long, "input of torch.int64 on cpu; expected torch.float32 on cpu: input.to("),
    "another device": (lambda f: f.to("meta"), "input of torch.float32 on meta; expected torch.float32 on cpu"),
    "NumPy": (torch.Tensor.numpy, "input of type ndarray; expected a tensor of shape (batch, 3, "),
    "another axis": (lambda f: f[None], "S, S), square images"),
    "no pixels": (lambda f: f[..., :0, :0], "S, S), square images"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("change", "told"), NOT_OF_THE_FILTERS.values(), ids=NOT_OF_THE_FILTERS)
def test_layers_refuse_what_does_not_fit_their_filters(name, change, told):
    layer, inputs, _ = layer_and_input(name)
    layer, inputs = layer.float(), inputs.float()
    assert layer(inputs[:0]).shape == (0, 2, 4, 7, 7), "an empty batch is no mistake"
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(inputs.bfloat16()).dtype == torch.bfloat16, "autocast makes them fit"
    with pytest.raises(ValueError, match=re.escape(told)):
        layer(change(inputs))


@pytest.mark.parametrize("kind", [RelaxedLifting, RelaxedConvolution])
@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"size": 3.0}, "size = 3.0; expected a whole number of at least 1"),
        ({"size": -1}, "size = -1; expected a whole number of at least 1"),
        ({"filters": 1.5}, "filters = 1.5; expected a whole number of at least 1"),
        ({"channels_in": "2"}, "channels_in = '2'; expected a whole number of at least 1"),
        ({"channels_out": True}, "channels_out = True; expected a whole number of at least 1"),
    ],
)
def test_numbers_of_layers_are_whole(kind, numbers, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        kind(**{"channels_in": 1, "channels_out": 2} | numbers)


OUTPUTS_NOT_TURNED = {
    "pooled": (lambda f: f.mean((-1, -2)), "the output of shape (2, 3); expected (..., S, S): a layer that pools"),
    "pooled, square by chance": (
        lambda f: f[:, :2].mean((-1, -2)),
        "the output of shape (2, 2) for inputs of shape (2, 3, 8, 8); expected the input's axes before those that "
        "turn: a layer that pools",
    ),
    "a number": (torch.mean, "the output of shape (); expected (..., S, S): a layer that pools"),
    "one axis pooled": (lambda f: f.mean(-1, keepdim=True), "the output of shape (2, 3, 8, 1); expected (..., S,"),
    "a tuple": (lambda f: (f, f), "the output of type tuple; expected a tensor of shape (..., S, S)"),
    "an empty batch": (lambda f: f[:0], "the largest output is 0.0; expected finite numbers, not all of them zero"),
    "another shape for turned images": (
        lambda f: f if f[0, 0, 0, 0] == 0 else f[:1],
        "the output for a turned input of shape (1, 3, 8, 8); expected (2, 3, 8, 8), that of the turned output",
    ),
}


@pytest.mark.parametrize(("layer", "told"), OUTPUTS_NOT_TURNED.values(), ids=OUTPUTS_NOT_TURNED)
def test_outputs_that_cannot_be_turned_are_refused(layer, told):
    inputs = torch.arange(384.0).reshape(2, 3, 8, 8)
    with pytest.raises(ValueError, match=re.escape(told)):
        turning_errors(layer, inputs)


def test_pooling_that_leaves_an_image_is_checked():
    features = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    pool = torch.nn.AvgPool2d(2)
    assert (turning_errors(lambda f: pool(f.mean(2)), features, turn_features) < 1e-6).all()
    assert (turning_errors(lambda f: pool(f.mean((1, 2)))[:, None, 1:, 1:], features, turn_features) > 0.1).all()
    with pytest.raises(ValueError, match=r"inputs of type ndarray; expected a tensor of shape \(\.\.\., 4, S, S\)"):
        turning_errors(lambda f: f, features.numpy(), turn_features, turn_features)
