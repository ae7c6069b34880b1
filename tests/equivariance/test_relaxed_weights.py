"""Weights of degree 2 as tensors, and the fit that reads them."""

import math
import re

import numpy as np
import pytest
import torch

from glasslit.equivariance.relaxed_weights import read_weights, tensor_of, weights_of
from glasslit.equivariance.so3 import random_rotations, spherical_harmonics, wigner_d


def symmetric(seed=0):
    t = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    t = t + t.T
    return t - torch.eye(3) * t.trace() / 3


def test_weights_and_tensor_are_the_same_function_of_direction():
    t, n = symmetric(), random_rotations(20)[:, 0]
    along = torch.einsum("ni,ij,nj->n", n, t, n)
    assert torch.allclose(spherical_harmonics(2, n)[:, 4:] @ weights_of(t), along, atol=1e-12)
    assert torch.allclose(tensor_of(weights_of(t)), t, atol=1e-12)
    assert torch.allclose(weights_of(t + torch.eye(3)), weights_of(t), atol=1e-12), "the trace is of degree 0"
    weights = torch.randn(4, 5, dtype=torch.float64)
    assert torch.allclose(weights_of(tensor_of(weights)), weights, atol=1e-12)


def test_the_tensor_turns_as_the_weights_do():
    rotation = random_rotations(1, seed=1)[0]
    turned = tensor_of(wigner_d(2, rotation) @ weights_of(symmetric()))
    assert torch.allclose(turned, rotation @ symmetric() @ rotation.T, atol=1e-12)


def test_a_broken_twin_does_not_turn():
    """Components in an order that is not e3nn's."""
    rotation = random_rotations(1, seed=1)[0]

    def twin(weights):
        return tensor_of(weights.flip(-1))

    turned = twin(wigner_d(2, rotation) @ weights_of(symmetric()))
    assert not torch.allclose(turned, rotation @ twin(weights_of(symmetric())) @ rotation.T, atol=1e-2)


def test_readings_are_right_within_the_errors_that_they_state():
    """A function that is not linear, with noise: the spread over many fits is the stated error."""
    generator = torch.Generator().manual_seed(0)
    slopes = torch.randn(400, 5, generator=generator)
    truth = torch.tensor([1.0, -0.5, 0.0, 0.3, 2.0])

    def predict(t):
        return slopes @ t + 0.02 * (slopes @ t).square()

    clean = predict(truth)
    noise = torch.randn(60, 400, generator=generator) * 0.5
    found = [read_weights(predict, clean + n, step=0.01) for n in noise]
    off = torch.stack([(r.weights - truth) / r.errors for r in found])
    assert 0.85 < off.std() < 1.15
    assert off.mean(dim=0).abs().max() < 4 / 60**0.5
    assert abs(found[0].residual - 0.5) < 0.1
    assert torch.allclose(read_weights(predict, clean, steps=6).weights, truth.double(), atol=1e-4)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"weights of shape \(8,\); expected \(\.\.\., 5\)"):
        tensor_of(torch.zeros(8))
    with pytest.raises(ValueError, match=r"tensor of shape \(5,\); expected \(\.\.\., 3, 3\)"):
        weights_of(torch.zeros(5))
    with pytest.raises(ValueError, match="not symmetric"):
        weights_of(torch.tensor([[0.0, 1, 0], [0, 0, 0], [0, 0, 0]]))
    with pytest.raises(ValueError, match="expected more targets than weights"):
        read_weights(lambda t: t, torch.zeros(5))
    with pytest.raises(ValueError, match="does not depend on one of the weights"):
        read_weights(lambda t: t[0] * torch.ones(9), torch.zeros(9))
    with pytest.raises(ValueError, match=r"predictions of shape \(8,\); expected \(9,\), the shape of the target"):
        read_weights(lambda t: t[0] * torch.ones(8), torch.zeros(9))


SLOPES = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))


NOT_READ = {
    "no steps": ({"steps": 0}, "steps = 0; expected a whole number of at least 1"),
    "half a step": ({"steps": 0.5}, "steps = 0.5; expected a whole number of at least 1"),
    "no weights": ({"size": 0}, "size = 0; expected a whole number of at least 1"),
    "a step of 0": ({"step": 0}, "step = 0; expected a finite number above 0"),
    "a step of nan": ({"step": math.nan}, "step = nan; expected a finite number above 0"),
    "a step in words": ({"step": "0.1"}, "step = '0.1'; expected a finite number above 0"),
    "a target with nan": (
        {"target": torch.tensor([math.nan, *range(8)])},
        "nan or infinite numbers in target, 1 of 9; expected finite numbers: leave those out, or mend",
    ),
    "a target of two axes": ({"target": torch.zeros(9, 1)}, "target of shape (9, 1); expected (P,)"),
    "a target of no axis": ({"target": torch.tensor(1.0)}, "target of shape (); expected (P,)"),
    "a target of NumPy": ({"target": np.zeros(9)}, "target of type ndarray; expected a tensor of shape (P,)"),
    "predictions of nan": (
        {"predict": lambda t: SLOPES @ t * math.nan},
        "nan or infinite numbers in predictions, 9 of 9; expected finite numbers",
    ),
    "predictions of NumPy": (
        {"predict": lambda t: (SLOPES @ t).numpy()},
        "predictions of type ndarray; expected a tensor of shape (9,)",
    ),
}


@pytest.mark.parametrize(("given", "told"), NOT_READ.values(), ids=NOT_READ)
def test_a_reading_of_what_cannot_be_read_is_refused(given, told):
    right = {"predict": lambda t: SLOPES @ t, "target": SLOPES.sum(1)}
    assert torch.allclose(read_weights(**right).weights, torch.ones(5).double(), atol=1e-4)
    with pytest.raises(ValueError, match=re.escape(told)):
        read_weights(**right | given)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: tensor_of(np.zeros(5)), "weights of type ndarray; expected a tensor of shape (..., 5)"),
        (lambda: weights_of(np.eye(3)), "tensor of type ndarray; expected a tensor of shape (..., 3, 3)"),
        (lambda: weights_of(torch.full((3, 3), math.nan)), "nan or infinite numbers in tensor, 9 of 9"),
    ],
)
def test_tensors_and_weights_are_finite_tensors(call, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        call()
