"""The learned functions of distance: what the radial networks of a trained network give, path by path.

They are phi in Eqs. 18-20 of Pezzicoli et al. (2024), beside which a radial distribution function says how many
particles there are at a distance. What a prediction makes of a neighbor is :mod:`glasslit.learning.sensitivity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from ..equivariance.convolution import SE3Convolution, bessel_basis
from ..models.se3 import SE3GNN
from .sensitivity import check_network, evaluated


@dataclass(frozen=True)
class RadialFilter:
    """What the radial network of a layer gives for one path.

    Parameters
    ----------
    degrees : (l_in, l_filter, l_out)
    slot : which entry of the layer's incoming irreps is coupled
    values : shape (R, C), phi at each distance for each copy of the incoming feature
    mixed : shape (C, channels), what each copy counts in each outgoing channel: the weight of the map that mixes paths,
        with the weight and the running spread of the batch norm behind it
    """

    degrees: tuple[int, int, int]
    slot: int
    values: np.ndarray
    mixed: np.ndarray

    @property
    def strength(self) -> np.ndarray:
        """Shape (R,), root of the sum over copies and outgoing channels of (phi times what it counts) squared."""
        return np.sqrt(np.square(self.values) @ np.square(self.mixed).sum(axis=1))

    @property
    def outgoing(self) -> np.ndarray:
        """Shape (R, C, channels), the filter from each copy to each outgoing channel."""
        return self.values[:, :, None] * self.mixed


@torch.no_grad()
def radial_filters(net: SE3GNN, layer: int, distances: Sequence[float] | np.ndarray) -> list[RadialFilter]:
    """The learned functions of distance of a layer, one for each path.

    By themselves the values of phi have no scale, since the linear map and the batch norm that follow can undo any
    factor: ``strength`` has all three in it.

    Parameters
    ----------
    net : trained
    layer : its number, from 0
    distances : shape (R,), sigma_AA, above 0 and at most the cutoff

    Raises
    ------
    ValueError
        If the network is no SE3GNN, it has no such layer, or a distance is out of range.
    """
    check_network(net)
    if not 0 <= layer < net.config.layers:
        raise ValueError(f"layer {layer}; expected one from 0 to {net.config.layers - 1}, as the network has them")
    r = np.asarray(distances, dtype=np.float64)
    if r.ndim != 1 or not len(r) or not ((r > 0) & (r <= net.config.cutoff)).all():
        raise ValueError(f"distances {distances}; expected numbers above 0 and at most the cutoff, {net.config.cutoff}")
    convolution, norm = cast(SE3Convolution, net.convolutions[layer]), cast(Any, net.norms[layer])
    coupling, like = convolution.coupling, net.target_mean
    with evaluated(net):
        basis = bessel_basis(torch.as_tensor(r).to(like), net.config.cutoff, net.config.n_basis)
        phi = convolution.radial(basis).double().numpy()
    scale = ((norm.running_var + norm.eps).rsqrt() * norm.weight).double().numpy()
    matrices = _mixing_by_degree(convolution)
    found = []
    for (slot, l_filter, l_out), start, channel in zip(
        coupling.terms, coupling.weight_start, coupling.channel_start, strict=True
    ):
        copies, l_in = coupling.slots[slot]
        out = scale[l_out * net.config.channels : (l_out + 1) * net.config.channels]
        mixed = matrices[l_out][channel : channel + copies] * out
        found.append(RadialFilter((l_in, l_filter, l_out), slot, phi[:, start : start + copies], mixed))
    return found


def _mixing_by_degree(convolution: SE3Convolution) -> list[np.ndarray]:
    """The matrix (channels in, channels out) of each degree, with e3nn's factor."""
    mixing = cast(Any, convolution.mixing)
    instructions = [p for p in mixing.instructions if p.i_in >= 0]
    weights = list(mixing.weight_views(yield_instruction=False))
    return [float(p.path_weight) * w.double().numpy() for p, w in zip(instructions, weights, strict=True)]
