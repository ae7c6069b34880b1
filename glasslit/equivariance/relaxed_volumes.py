r"""Relaxed group convolution on volumes: a weight for each of the 48 symmetries of a cube.

What :mod:`~glasslit.equivariance.relaxed` does in the plane for quarter turns, here with the group O_h of
:func:`~glasslit.equivariance.point_groups.octahedral_group`. One lifting is enough to find which symmetries a target
lacks; convolutions of features on the group, as a deep network would need them, are not here. Volumes are cubes of
voxels.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .arguments import check_tensor, numbers
from .point_groups import octahedral_group
from .relaxed import CAST, check_filters

ORDER = 48
"""Number of elements of O_h."""


def turn_volume(volume: Tensor, element: ArrayLike) -> Tensor:
    r"""Volumes moved by a symmetry of the cube about their center, :math:`(g f)(x) = f(g^{-1} x)`.

    Parameters
    ----------
    volume : shape (..., S, S, S); the last three axes are x, y and z
    element : shape (3, 3), with one entry of 1 or -1 in each row and column

    Raises
    ------
    ValueError
        If the volumes are no tensor of cubes, or the element is no such matrix and would not lay voxels on voxels.
    """
    check_tensor("volume", volume, ..., "S", "S", "S", advice=", cubes of voxels")
    matrix = numbers("element", element, 3, 3)
    g = matrix.round()
    size = np.abs(g)
    if np.abs(matrix - g).max() > 1e-6 or (size.sum(axis=0) != 1).any() or (size.sum(axis=1) != 1).any():
        raise ValueError(
            f"element = {matrix.tolist()}; expected a rotation or reflection that lays the voxels on voxels, a matrix "
            "with one entry of 1 or -1 in each row and column and zeros elsewhere: take one of octahedral_group()"
        )
    source = size.argmax(axis=0)  # the axis that x, y and z go to
    reversed_axes = [axis - 3 for axis in range(3) if g[source[axis], axis] < 0]
    first = volume.ndim - 3
    order = [*range(first), *(first + int(axis) for axis in np.argsort(source))]
    return volume.flip(reversed_axes).permute(order)


class RelaxedVolumeLifting(nn.Module):
    r"""From volumes to features on the group O_h: a filter in 48 orientations, each with its weight.

    .. math:: F(x, g) = w(g) \\ \times \sum_y \psi\big(g^{-1}(y - x)\big)\, f(y)

    Parameters
    ----------
    channels_in, channels_out : numbers of channels
    size : voxels of a filter's edge, odd

    Raises
    ------
    ValueError
        If the size is even or a number is not whole or below one, or, when applied, if shape, dtype or device of the
        volumes do not fit.

    Examples
    --------
    >>> RelaxedVolumeLifting(1, 3)(torch.zeros(2, 1, 5, 5, 5)).shape
    torch.Size([2, 3, 48, 5, 5, 5])
    """

    def __init__(self, channels_in: int, channels_out: int, size: int = 3) -> None:
        super().__init__()
        check_filters(size, channels_in=channels_in, channels_out=channels_out)
        limit = 1 / math.sqrt(channels_in * size**3)
        self.filters = nn.Parameter(torch.empty(channels_out, channels_in, *[size] * 3).uniform_(-limit, limit))
        self.relaxed = nn.Parameter(torch.ones(ORDER))
        self.padding = size // 2
        self.elements = octahedral_group()

    def oriented(self, element: ArrayLike) -> Tensor:
        """All filters in one orientation, shape (out, in, size, size, size)."""
        return turn_volume(self.filters, element)

    def forward(self, volumes: Tensor) -> Tensor:
        """Volumes (batch, channels_in, S, S, S) -> features (batch, channels_out, 48, S, S, S)."""
        channels = self.filters.shape[1]
        check_tensor("input", volumes, "batch", channels, "S", "S", "S", like=(self.filters, CAST))
        bank = torch.stack([w * self.oriented(g) for w, g in zip(self.relaxed, self.elements, strict=True)], dim=1)
        features = nn.functional.conv3d(volumes, bank.flatten(0, 1), padding=self.padding)
        return features.unflatten(1, (-1, ORDER))


class RelaxedVolumeNetwork(nn.Module):
    """From a volume to a volume: a lifting, ReLU, a linear map of channels, and the mean over the group.

    Parameters
    ----------
    channels : between lifting and output
    size : voxels of a filter's edge, odd

    Raises
    ------
    ValueError
        As in :class:`RelaxedVolumeLifting`.

    Examples
    --------
    >>> RelaxedVolumeNetwork(2)(torch.zeros(1, 1, 5, 5, 5)).shape
    torch.Size([1, 1, 5, 5, 5])
    """

    def __init__(self, channels: int = 4, size: int = 3) -> None:
        super().__init__()
        self.lifting = RelaxedVolumeLifting(1, channels, size)
        self.bias = nn.Parameter(torch.zeros(channels))
        limit = 1 / math.sqrt(channels)
        self.mix = nn.Parameter(torch.empty(channels).uniform_(-limit, limit))

    def forward(self, volumes: Tensor) -> Tensor:
        """Volumes (batch, 1, S, S, S) -> volumes (batch, 1, S, S, S)."""
        h = torch.relu(self.lifting(volumes) + self.bias[:, None, None, None, None])
        return cast(Tensor, torch.einsum("c,ncgxyz->nxyz", self.mix, h)[:, None] / ORDER)
