"""Checks of arguments: what fits passes, and what does not is named."""

import numpy as np
import pytest
import torch

from glasslit.equivariance.arguments import check_positive, check_shape, check_tensor, check_whole, numbers


@pytest.mark.parametrize(
    ("shape", "axes", "fits"),
    [
        ((5, 5), (..., "S", "S"), True),
        ((2, 3, 5, 5), (..., "S", "S"), True),
        ((5, 4), (..., "S", "S"), False),
        ((5,), (..., "S", "S"), False),
        ((3, 5, 5), ("S", "S"), False),
        ((0, 5, 5), ("batch", "S", "S"), True),
        ((2, 0, 0), ("batch", "S", "S"), False),
        ((4, 5, 5), (..., 4, "S", "S"), True),
        ((3, 5, 5), (..., 4, "S", "S"), False),
        ((), (...,), True),
    ],
)
def test_shapes(shape, axes, fits):
    if fits:
        check_shape("x", shape, *axes)
    else:
        with pytest.raises(ValueError, match=r"^x of shape .*; expected \("):
            check_shape("x", shape, *axes)


def test_tensors_and_numbers():
    x = torch.zeros(2, 3)
    check_tensor("x", x, 2, 3, like=(torch.zeros(1), "cast it"), finite=True)
    with pytest.raises(ValueError, match=r"x of type ndarray; expected a tensor of shape \(2, 3\)"):
        check_tensor("x", np.zeros((2, 3)), 2, 3)
    with pytest.raises(ValueError, match=r"x of torch.float32 on cpu; expected torch.float64 on cpu: cast it"):
        check_tensor("x", x, 2, 3, like=(torch.zeros(1, dtype=torch.float64), "cast it"))
    with pytest.raises(ValueError, match=r"nan or infinite numbers in x, 1 of 6"):
        check_tensor("x", torch.tensor([[0.0, torch.nan, 0], [0, 0, 0]]), 2, 3, finite=True)
    assert numbers("y", torch.ones(3), 3).dtype == np.float64
    for bad in ("text", [1, [2]], [1.0, np.inf], [1.0]):
        with pytest.raises(ValueError, match="y"):
            numbers("y", bad, 2)


@pytest.mark.parametrize("bad", [0, -1, True, 1.0, "1", None, np.nan])
def test_whole_numbers(bad):
    check_whole("n", np.int64(1))
    check_whole("n", -3, None)
    with pytest.raises(ValueError, match="expected a whole number of at least 1"):
        check_whole("n", bad)


@pytest.mark.parametrize("bad", [0, -1.0, True, np.inf, np.nan, "1", None])
def test_numbers_above_zero(bad):
    check_positive("a", np.float32(0.1))
    with pytest.raises(ValueError, match="expected a finite number above 0"):
        check_positive("a", bad)
