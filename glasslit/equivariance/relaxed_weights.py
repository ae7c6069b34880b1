r"""Relaxed weights that are no scalars: what they mean as tensors, and how to read them from data.

A network for rotations has scalar weights. If it is given a few weights more that turn as features of degree
l = 1, 2, ... do, it can break the symmetry where the data ask for it (Hofgard et al. 2024, arXiv 2407.20471). Networks
have them as ``relaxed_weights``: :class:`glasslit.SE3GNN` and :class:`glasslit.models.potential.Potential`, by
``relaxed=2`` in their settings.

The five weights of degree 2 are a traceless symmetric tensor T, such as a strain, by

.. math:: \hat n^\mathsf{T}\, T\, \hat n = \sum_{m} \theta_m\, Y^2_m(\hat n)

for all directions n. Here are both ways of this equation, and a fit of the weights alone, with a network that stays as
it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .arguments import check_positive, check_tensor, check_whole
from .so3 import irreps_to_symmetric, symmetric_to_irreps

_SIZE = 7.5**0.5
"""Of a matrix T whose n^T T n is one harmonic: the squares of five harmonics sum to 5, of five T of size 1 to 2/3."""
_ROWS, _COLUMNS = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)  # of xx, yy, zz, yz, xz, xy
_PLACES = ((0, 5, 4), (5, 1, 3), (4, 3, 2))  # of the nine elements among these six


def tensor_of(weights: Tensor) -> Tensor:
    """The traceless symmetric tensor that five weights of degree 2 are.

    Parameters
    ----------
    weights : shape (..., 5), m = -2 ... 2 in e3nn's order

    Returns
    -------
    shape (..., 3, 3); axes x, y, z

    Raises
    ------
    ValueError
        If the weights are no tensor of such a shape.

    Examples
    --------
    >>> tensor_of(weights_of(torch.diag(torch.tensor([2.0, -1.0, -1.0])))).diagonal().round(decimals=4).float()
    tensor([ 2., -1., -1.])
    """
    check_tensor("weights", weights, ..., 5, advice=", those of degree 2 alone")
    traceless = torch.cat([torch.zeros_like(weights[..., :1]), _SIZE * weights], dim=-1)
    return irreps_to_symmetric(traceless)[..., torch.tensor(_PLACES)]


def weights_of(tensor: Tensor) -> Tensor:
    """The five weights of degree 2 of a symmetric tensor; its trace, which is of degree 0, is left out.

    Parameters
    ----------
    tensor : shape (..., 3, 3), symmetric

    Returns
    -------
    shape (..., 5)

    Raises
    ------
    ValueError
        If the shape is another, or the tensor is not symmetric or not finite.
    """
    check_tensor("tensor", tensor, ..., 3, 3, finite=True)
    if not torch.allclose(tensor, tensor.mT, atol=1e-6 * float(tensor.abs().max())):
        raise ValueError("a tensor that is not symmetric; expected a symmetric one, e.g. (T + T.mT) / 2")
    return symmetric_to_irreps(tensor[..., _ROWS, _COLUMNS])[..., 1:] / _SIZE


@dataclass(frozen=True)
class Reading:
    """Weights that were read: ``weights`` and their standard ``errors``, both of shape (K,), and what is left over.

    ``residual`` is the root mean square of target minus prediction, in the target's unit. The errors hold if what is
    left over is independent from particle to particle. Where neighbors share it, true errors are larger.
    """

    weights: Tensor
    errors: Tensor
    residual: float


def read_weights(
    predict: Callable[[Tensor], Tensor], target: Tensor, size: int = 5, steps: int = 3, step: float = 0.05
) -> Reading:
    r"""Least-squares fit of a few weights, with all others of a network left as they are.

    Gauss-Newton steps from zero, with the derivatives J as differences:

    .. math:: \theta \leftarrow \theta + (J^\mathsf{T} J)^{-1} J^\mathsf{T} \big(y - f(\theta)\big)

    Parameters
    ----------
    predict : weights, shape (K,), float32 -> predictions f, shape (P,), all that are compared
    target : y, shape (P,)
    size : number of weights K, fewer than P
    steps : how often to solve the linearized problem
    step : by how much a weight is changed for a derivative; small beside the weights in training

    Returns
    -------
    :class:`Reading`, float64

    Raises
    ------
    ValueError
        If target or prediction are no tensor (P,) of finite numbers, there are not more targets than weights, the
        prediction does not depend on one of the weights, or on a sum of them, ``size`` or ``steps`` is no whole number
        of at least 1, or ``step`` is not positive.

    Examples
    --------
    >>> a, y = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), torch.tensor([3.0, 8.0, 7.0])
    >>> read_weights(lambda t: a @ t, y, size=2).weights.round(decimals=3)
    tensor([3., 4.], dtype=torch.float64)
    """
    check_whole("size", size)
    check_whole("steps", steps)
    check_positive("step", step)
    check_tensor("target", target, "P", finite=True)
    y = target.detach().double()
    if not len(y) > size:
        raise ValueError(f"{len(y)} targets for {size} weights; expected more targets than weights")

    def at(weights: Tensor) -> Tensor:
        with torch.no_grad():
            found = predict(weights.float())
        check_tensor("predictions", found, *y.shape, advice=", the shape of the target", finite=True)
        return found.double()

    weights = torch.zeros(size, dtype=torch.float64)
    for _ in range(steps):
        here = at(weights)
        slopes = torch.stack([(at(weights + step * one) - here) / step for one in torch.eye(size).double()], dim=1)
        sizes = torch.linalg.svdvals(slopes)
        if not sizes[-1] > 1e-6 * sizes[0]:
            raise ValueError(
                "the prediction does not depend on one of the weights, or on a sum of them; expected a network that "
                "was trained with weights that are not zero"
            )
        weights = weights + torch.linalg.lstsq(slopes, (y - here)[:, None]).solution[:, 0]
    left = y - at(weights)
    variance = left.square().sum() / (len(y) - size)
    errors = (variance * torch.linalg.inv(slopes.T @ slopes).diagonal()).sqrt()
    return Reading(weights, errors, float(left.square().mean().sqrt()))
