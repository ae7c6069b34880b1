r"""What a network predicts of each particle beside its propensity: one head for each further target.

A head reads the equivariant features of the last layer, so that it may answer with a vector as well as with a number.
``ModelConfig.targets`` names the heads of a network; training, checkpoints and prediction ask each for what they need
and know none by its name. A new head is a subclass of :class:`Head` in :data:`HEADS`, or in :data:`PRETEXTS` if its
label comes with the structure and needs no simulation: such heads teach features before there are labels
(:mod:`glasslit.learning.pretrain`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

from ..equivariance.so3 import copies_and_degrees, invariants_of_copies, irreps_to_symmetric, symmetric_to_irreps
from ..liquid.configuration import Configuration
from ..liquid.graph import VECTORS, node_vectors, required
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

    name: str
    """Of the target."""
    field: str
    """Of :class:`~glasslit.Configuration`, with the label."""
    given_by: tuple[str, ...] = ()
    """Inputs that hold the label: a network that sees one of them has nothing to learn from it."""
    needs_noise = False
    """Whether it learns from noise that is put on the positions."""
    irreps: str
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

    def label_seen(self, configuration: Configuration, noise: np.ndarray | None) -> np.ndarray:
        """What is to be learned where noise is on the positions: by default what the configuration says without it.

        Parameters
        ----------
        configuration : without the noise
        noise : shape (N, 3), in units of its standard deviation; None where there is none

        Returns
        -------
        shape (N, T, irreps.dim)
        """
        return self.label(configuration)

    def scaled(self, label: Tensor, types: Tensor) -> Tensor:
        """A label in the units of :meth:`standardized`; shape (N, T, irreps.dim)."""
        return label / self.spread[types][..., None]

    def forward(self, features: Tensor, inputs: Tensor, types: Tensor) -> Tensor:
        """Prediction in the units of the label, shape (N, T, irreps.dim)."""
        return self.spread[types][..., None] * self.standardized(features, inputs, types)

    def loss(self, features: Tensor, inputs: Tensor, types: Tensor, label: Tensor) -> Tensor:
        """Squared error in units of the spread: mean over components and particles, summed over times."""
        error = self.standardized(features, inputs, types) - self.scaled(label, types)
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


class VectorHead(Head):
    r"""Base of heads that predict a vector of each particle at each time; a subclass defines the label.

    .. math:: d_i(t) = \sum_c w^{t}_{c}\, h^{1}_{i,c} + \sum_k v^{t}_k\, u_{i,k}

    with h^1 the vectors of the last layer, u the vectors among the inputs, and one set of weights for each time and
    type. A sum of vectors with weights that are numbers turns as they do; there is no constant term, which would be a
    direction of its own.

    Raises
    ------
    ValueError
        If the features hold no vectors (l_max = 0).
    """

    irreps = "1x1e"
    of_features: Tensor
    of_inputs: Tensor

    def __init__(self, irreps_features: o3.Irreps, irreps_inputs: o3.Irreps, n_times: int) -> None:
        super().__init__(irreps_features, irreps_inputs, n_times)
        if 1 not in o3.Irreps(irreps_features).ls:
            raise ValueError(
                f"target {self.name!r} with l_max = 0; expected l_max of at least 1: scalars have no direction"
            )
        where = [_columns(irreps_features, 1), _columns(irreps_inputs, 1)]
        for name, columns in zip(("of_features", "of_inputs"), where, strict=True):
            self.register_buffer(name, torch.tensor(columns, dtype=torch.long), persistent=False)
        n_vectors = sum(map(len, where)) // 3
        self.weight = nn.Parameter(0.1 / n_vectors**0.5 * torch.randn(len(TYPE_NAMES), n_times, n_vectors))

    def standardized(self, features: Tensor, inputs: Tensor, types: Tensor) -> Tensor:
        """A sum of vectors for each time, shape (N, T, 3)."""
        parts = [features.index_select(1, self.of_features), inputs.index_select(1, self.of_inputs)]
        vectors = torch.cat(parts, dim=1).unflatten(1, (-1, 3))
        return _of_own_type(torch.einsum("nvx,stv->nstx", vectors, self.weight), types)


class Displacement(VectorHead):
    """The mean displacement vector of each particle, sigma_AA: where it goes, and not only how far."""

    name = "displacement"
    field = "mean_displacement"

    def label(self, configuration: Configuration) -> np.ndarray:
        """The mean displacement over the runs, shape (N, T, 3)."""
        return required(configuration, self.field).transpose(1, 0, 2)


class Covariance(Head):
    r"""The covariance of each particle's displacement over the runs, sigma_AA^2: how it scatters in each direction.

    .. math:: C_i(t) = \big\langle (d - \langle d \rangle)(d - \langle d \rangle)^\mathsf{T} \big\rangle_\text{runs}

    A symmetric matrix has two parts that turn by themselves: its trace, a number, and what is left without it, which is
    of degree two (:func:`~glasslit.equivariance.so3.symmetric_to_irreps`). The trace is read off the invariants of the
    last layer, and the other part, for each time and type, is a sum of the last layer's features of degree two. It has
    no constant term, which would be a direction of its own. Labels and predictions are the entries xx, yy, zz, yz, xz,
    xy of the matrix. A covariance is positive definite, and a prediction need not be.

    Raises
    ------
    ValueError
        If the features hold none of degree two (l_max below 2).
    """

    name = "covariance"
    field = "displacement_covariance"
    irreps = "1x0e+1x2e"
    center: Tensor
    of_features: Tensor

    def __init__(self, irreps_features: o3.Irreps, irreps_inputs: o3.Irreps, n_times: int) -> None:
        super().__init__(irreps_features, irreps_inputs, n_times)
        kinds = o3.Irreps(irreps_features)
        if 2 not in kinds.ls:
            raise ValueError(
                f"target {self.name!r} with l_max = {kinds.lmax}; expected l_max of at least 2: what is left of a "
                "symmetric matrix without its trace is of degree 2"
            )
        self.kind = copies_and_degrees(kinds)
        self.register_buffer("of_features", torch.tensor(_columns(kinds, 2), dtype=torch.long), persistent=False)
        shape = (len(TYPE_NAMES), n_times)
        self.spread = torch.ones(*shape, 6)
        self.register_buffer("center", torch.zeros(*shape, 6))
        n_invariants, n_tensors = sum(copies for copies, _ in self.kind), len(self.of_features) // 5
        self.trace_weight = nn.Parameter(0.1 / n_invariants**0.5 * torch.randn(*shape, n_invariants))
        self.weight = nn.Parameter(0.1 / n_tensors**0.5 * torch.randn(*shape, n_tensors))

    def label(self, configuration: Configuration) -> np.ndarray:
        """The covariance over the runs, shape (N, T, 6)."""
        return required(configuration, self.field).transpose(1, 0, 2)

    def standardized(self, features: Tensor, inputs: Tensor, types: Tensor) -> Tensor:
        """Trace and traceless part as irreps 0e + 2e, for each time, shape (N, T, 6)."""
        numbers = invariants_of_copies(features, self.kind)
        tensors = features.index_select(1, self.of_features).unflatten(1, (-1, 5))
        trace = torch.einsum("nv,stv->nst", numbers, self.trace_weight)[..., None]
        rest = torch.einsum("nvx,stv->nstx", tensors, self.weight)
        return _of_own_type(torch.cat([trace, rest], dim=3), types)

    def scaled(self, label: Tensor, types: Tensor) -> Tensor:
        """A label as irreps, the trace counted from its mean, each in units of its spread; shape (N, T, 6)."""
        return (symmetric_to_irreps(label) - self.center[types]) / self.spread[types]

    def forward(self, features: Tensor, inputs: Tensor, types: Tensor) -> Tensor:
        """The six entries of the matrix, sigma_AA^2, shape (N, T, 6)."""
        irreps = self.center[types] + self.spread[types] * self.standardized(features, inputs, types)
        return irreps_to_symmetric(irreps)

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration]) -> None:
        """Mean and spread of the trace, and root mean square of the five others, per type and time."""
        types = np.concatenate([c.types for c in configurations])
        entries = np.concatenate([self.label(c) for c in configurations]).astype(np.float64)
        labels = symmetric_to_irreps(torch.from_numpy(entries)).numpy()
        for kind in np.unique(types):
            own = labels[types == kind]
            center = np.zeros_like(own[0])
            center[:, 0] = own[:, :, 0].mean(axis=0)
            square = np.square(own - center).mean(axis=0)  # (T, 6)
            square[:, 1:] = square[:, 1:].mean(axis=1, keepdims=True)  # one number for what turns into each other
            found = np.sqrt(square)
            self.center[kind] = torch.as_tensor(center)
            self.spread[kind] = torch.as_tensor(np.where(found > 1e-12 * (1 + np.abs(center)), found, 1.0))


class InherentDisplacement(VectorHead):
    """The vector from each particle to its inherent position, sigma_AA."""

    name = "u_IS"
    field = "inherent_positions"
    given_by = ("u_IS",)

    def label(self, configuration: Configuration) -> np.ndarray:
        """The vector, by minimum image, shape (N, 1, 3)."""
        return node_vectors(configuration, VECTORS["u_IS"])[:, None]


class Noise(VectorHead):
    r"""The Gaussian noise that was put on the positions, in units of its standard deviation s.

    Each coordinate of each particle gets a normal number of its own. Of all predictions that depend on the noisy
    positions x' alone, the one with the smallest squared error is the mean of the noise, given x', and (Tweedie's
    formula; Vincent, Neural Computation 23, 1661, 2011)

    .. math:: \langle \varepsilon \,|\, x' \rangle = - s \, \nabla \log p_s(x')

    .. math:: p_s(x') \propto \int p(x) \, e^{-|x' - x|^2 / 2 s^2} \, dx

    Thermal positions in equilibrium are draws from the Boltzmann distribution p. What is learned is therefore the score
    of a *smoothed* Boltzmann distribution, and not of that itself, which is the force in units of the temperature,
    F / k_B T. Both agree as s goes to 0: where s is small against the distances over which a particle's cage pushes
    back, about 0.1 sigma_AA. There are two more differences. A network sees a particle's surroundings alone, so that it
    learns the score of these, averaged over everything further away; and given energies are conditions, as in
    p(x | E). Inherent positions are no draws from the Boltzmann distribution: minima have no volume, and the score of
    their smoothed distribution has no limit as s goes to 0. There the network learns the way back to the minimum.

    The vector to the inherent position, taken from where the noise has moved a particle, holds the noise.
    """

    name = "noise"
    field = "positions"
    given_by = ("u_IS",)
    needs_noise = True

    def label(self, configuration: Configuration) -> np.ndarray:
        """Refused: a configuration alone does not know the noise."""
        raise ValueError("the noise is no property of a configuration; expected label_seen(configuration, noise)")

    def label_seen(self, configuration: Configuration, noise: np.ndarray | None) -> np.ndarray:
        """The noise, shape (N, 1, 3)."""
        if noise is None:
            raise ValueError("no noise on the positions; expected some, to be found again: choose noise above 0")
        return noise[:, None]

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration]) -> None:
        """Nothing to do: the unit is the noise's own standard deviation."""


class ScalarHead(Head):
    """Base of heads that predict a number of each particle, linearly from its invariants; a subclass says which field.

    The label is counted from its mean over the training particles of a type.
    """

    irreps = "1x0e"
    center: Tensor

    def __init__(self, irreps_features: o3.Irreps, irreps_inputs: o3.Irreps, n_times: int) -> None:
        super().__init__(irreps_features, irreps_inputs, n_times)
        self.irreps_features = o3.Irreps(irreps_features)
        self.kind = copies_and_degrees(self.irreps_features)
        n_invariants = sum(copies for copies, _ in self.kind)
        self.weight = nn.Parameter(0.1 / n_invariants**0.5 * torch.randn(len(TYPE_NAMES), n_invariants))
        self.register_buffer("center", torch.zeros(len(TYPE_NAMES), n_times))

    def label(self, configuration: Configuration) -> np.ndarray:
        """The number, shape (N, 1, 1)."""
        return required(configuration, self.field)[:, None, None]

    def standardized(self, features: Tensor, inputs: Tensor, types: Tensor) -> Tensor:
        """Shape (N, 1, 1)."""
        # Of both types, of which each particle takes its own. The gradient of self.weight[types] is added up by a CPU's
        # threads in an order of their own (PyTorch 2.13), and would not be the same from run to run.
        both = (invariants_of_copies(features, self.kind)[:, None] * self.weight).sum(dim=2)
        return both.gather(1, types[:, None])[:, :, None]

    def scaled(self, label: Tensor, types: Tensor) -> Tensor:
        """As every head's, counted from the mean."""
        return super().scaled(label - self.center[types][..., None], types)

    def forward(self, features: Tensor, inputs: Tensor, types: Tensor) -> Tensor:
        """As every head's, counted from zero."""
        return self.center[types][..., None] + super().forward(features, inputs, types)

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration]) -> None:
        """Take mean and spread of the labels, per type, from training configurations."""
        labels = np.concatenate([self.label(c)[:, 0, 0] for c in configurations]).astype(np.float64)
        types = np.concatenate([c.types for c in configurations])
        for kind in np.unique(types):
            self.center[kind] = float(labels[types == kind].mean())
            spread = float(labels[types == kind].std())
            self.spread[kind] = spread if spread > 1e-12 * (1 + abs(float(self.center[kind]))) else 1.0


class ThermalEnergy(ScalarHead):
    """The potential energy of each particle where it is, epsilon_AA."""

    name = "E_thermal"
    field = "potential_energy_thermal"
    given_by = ("E_thermal",)


class InherentEnergy(ScalarHead):
    """The potential energy of each particle in the inherent structure, epsilon_AA."""

    name = "E_IS"
    field = "potential_energy_inherent"
    given_by = ("E_IS",)


def _of_own_type(every_type: Tensor, types: Tensor) -> Tensor:
    """Of what is said of all types, shape (N, types, T, ...), each particle's own, shape (N, T, ...)."""
    own = types.reshape(-1, *[1] * (every_type.dim() - 1)).expand(-1, 1, *every_type.shape[2:])
    return every_type.gather(1, own)[:, 0]


def _columns(irreps: o3.Irreps, degree: int) -> list[int]:
    """Columns of the features of a degree, copy after copy."""
    kinds = o3.Irreps(irreps)
    return [
        k
        for part, kind in zip(kinds.slices(), kinds, strict=True)
        if kind.ir.l == degree
        for k in range(part.start, part.stop)
    ]


HEADS: dict[str, type[Head]] = {kind.name: kind for kind in (Displacement, Covariance)}
"""By the name of the target."""
PRETEXTS: dict[str, type[Head]] = {
    kind.name: kind for kind in (Noise, ThermalEnergy, InherentEnergy, InherentDisplacement)
}
"""By name: heads whose labels need no simulation."""
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
