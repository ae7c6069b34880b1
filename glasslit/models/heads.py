r"""What a network predicts of each particle beside its propensity: one head for each further target.

A head reads the equivariant features of the last layer, so that it may answer with a vector as well as with a number.
``ModelConfig.targets`` names the heads of a network; training, checkpoints and prediction ask each for what they need
and know none by its name. A new head is a subclass of :class:`Head` in :data:`HEADS`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

from ..liquid.configuration import Configuration
from ..liquid.graph import required
from ..liquid.kob_andersen import TYPE_NAMES
from ..names import did_you_mean

PROPENSITY = "propensity"
"""What every network predicts."""


class Head(nn.Module):
    """Base of what is predicted beside the propensity; a subclass defines :meth:`label` and :meth:`standardized`.

    Parameters
    ----------
    irreps_features : of the last layer
    irreps_inputs : of what the network is given of each particle
    n_times : number of times predicted at once
    """

    field: str
    """Of :class:`~glasslit.Configuration`, with the label."""
    irreps: o3.Irreps
    """How the prediction at one time turns with the liquid."""
    spread: Tensor

    def __init__(self, irreps_features: o3.Irreps, irreps_inputs: o3.Irreps, n_times: int) -> None:
        super().__init__()
        self.register_buffer("spread", torch.ones(len(TYPE_NAMES), n_times))

    def label(self, configuration: Configuration) -> np.ndarray:
        """What a configuration says of its particles: shape (N, T, irreps.dim)."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it learns from: define label")

    def standardized(self, features: Tensor, inputs: Tensor, types: Tensor) -> Tensor:
        """Prediction in units of the training labels' spread, per type and time; shape (N, T, irreps.dim)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to predict: define standardized")

    def forward(self, features: Tensor, inputs: Tensor, types: Tensor) -> Tensor:
        """Prediction in the units of the label, shape (N, T, irreps.dim)."""
        return self.spread[types][..., None] * self.standardized(features, inputs, types)

    def loss(self, features: Tensor, inputs: Tensor, types: Tensor, label: Tensor) -> Tensor:
        """Squared error in units of the spread: mean over components and particles, summed over times."""
        error = self.standardized(features, inputs, types) - label / self.spread[types][..., None]
        return error.square().mean(dim=2).sum(dim=1).mean()

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration]) -> None:
        """Take the root mean square of the labels' components, per type and time, from training configurations."""
        square = np.zeros(tuple(self.spread.shape))
        count = np.zeros((len(square), 1))
        for c in configurations:
            values = np.square(self.label(c).astype(np.float64)).mean(axis=2)  # (N, T)
            for kind in range(len(square)):
                square[kind] += values[c.types == kind].sum(axis=0)
                count[kind] += np.sum(c.types == kind)
        found = np.sqrt(square / np.maximum(count, 1))
        self.spread.copy_(torch.as_tensor(np.where(found > 0, found, 1.0)))


class Displacement(Head):
    r"""The mean displacement vector of each particle, sigma_AA: where it goes, and not only how far.

    .. math:: d_i(t) = \sum_c w^{t}_{c}\, h^{1}_{i,c} + \sum_k v^{t}_k\, u_{i,k}

    with h^1 the vectors of the last layer, u the vectors among the inputs, and one set of weights for each time and
    type. A sum of vectors with weights that are numbers turns as they do; there is no constant term, which would be a
    direction of its own.

    Raises
    ------
    ValueError
        If the features hold no vectors (l_max = 0).
    """

    field = "mean_displacement"
    irreps = o3.Irreps("1x1e")

    def __init__(self, irreps_features: o3.Irreps, irreps_inputs: o3.Irreps, n_times: int) -> None:
        super().__init__(irreps_features, irreps_inputs, n_times)
        if o3.Irreps(irreps_features).count("1e") == 0:
            raise ValueError(
                "target 'displacement' with l_max = 0; expected l_max of at least 1: scalars have no direction"
            )
        self.where = [_vectors(irreps_features), _vectors(irreps_inputs)]
        n_vectors = sum(len(columns) for columns in self.where) // 3
        self.weight = nn.Parameter(0.1 / n_vectors**0.5 * torch.randn(len(TYPE_NAMES), n_times, n_vectors))

    def label(self, configuration: Configuration) -> np.ndarray:
        """The mean displacement over the runs, shape (N, T, 3)."""
        return required(configuration, self.field).transpose(1, 0, 2)

    def standardized(self, features: Tensor, inputs: Tensor, types: Tensor) -> Tensor:
        """A sum of vectors for each time, shape (N, T, 3)."""
        parts = [part[:, columns] for part, columns in zip((features, inputs), self.where, strict=True)]
        vectors = torch.cat(parts, dim=1).unflatten(1, (-1, 3))
        every_type = torch.einsum("nvx,stv->nstx", vectors, self.weight)
        own = types[:, None, None, None].expand(-1, 1, *every_type.shape[2:])
        return every_type.gather(1, own)[:, 0]


def _vectors(irreps: o3.Irreps) -> list[int]:
    """Columns of the vectors, three after three."""
    kinds = o3.Irreps(irreps)
    return [
        k
        for part, kind in zip(kinds.slices(), kinds, strict=True)
        if kind.ir.l == 1
        for k in range(part.start, part.stop)
    ]


HEADS: dict[str, type[Head]] = {"displacement": Displacement}
"""By the name of the target."""
TARGETS = (PROPENSITY, *(f"{PROPENSITY}+{name}" for name in HEADS))
"""What a network may predict: the propensity, alone or with one further target."""


def parse_targets(targets: str) -> tuple[str, ...]:
    """Names of the heads that ``targets`` asks for.

    Examples
    --------
    >>> parse_targets("propensity"), parse_targets("propensity+displacement")
    ((), ('displacement',))

    Raises
    ------
    ValueError
        If the name is not one of :data:`~glasslit.models.heads.TARGETS`.
    """
    if targets not in TARGETS:
        raise ValueError(f"targets {targets!r}; expected one of {', '.join(TARGETS)}{did_you_mean(targets, TARGETS)}")
    return tuple(targets.split("+")[1:])
