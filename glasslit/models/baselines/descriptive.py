"""Models on numbers that were thought up beforehand: ridge regression, and a very small network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from ...liquid.configuration import Configuration
from ...liquid.graph import parse_inputs, required
from ..descriptors import averaged, bond_order, coarse_grained, radial_densities
from ..propensity import N_TYPES, Extra
from ..ridge import ridge_path
from .common import Baseline, BaselineConfig, perceptron

LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Of coarse-graining, sigma_AA."""
STRENGTHS = tuple(10.0**k for k in np.arange(-4, 1.1, 0.5))
"""Of the ridge, in units of the descriptors' variance."""


class _OnDescriptors(Baseline):
    """A baseline whose input is a row of numbers per particle, in units of the training set's spread of its type."""

    row_mean: Tensor
    row_std: Tensor

    def __init__(self, config: BaselineConfig, n_rows: int, n_features: int) -> None:
        super().__init__(config, n_features)
        self.register_buffer("row_mean", torch.zeros(N_TYPES, n_rows))
        self.register_buffer("row_std", torch.ones(N_TYPES, n_rows))
        self._known: dict[str, np.ndarray] = {}

    def rows(self, configuration: Configuration) -> np.ndarray:
        """The numbers, shape (N, n_rows)."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its numbers are: define rows")

    def _rows_of(self, configuration: Configuration) -> np.ndarray:
        """:meth:`rows`, which may take seconds, once for each configuration."""
        key = configuration.hash()
        if key not in self._known:
            self._known[key] = self.rows(configuration)
        return self._known[key]

    def graph(self, configuration: Configuration) -> Data:
        """The neighbor graph with ``rows`` (N, n_rows)."""
        graph = super().graph(configuration)
        graph.rows = torch.as_tensor(self._rows_of(configuration)).to(graph.vector)
        return graph

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration]) -> None:
        """As in every network, and mean and spread of the numbers."""
        super().set_standardization(configurations)
        rows = np.concatenate([self._rows_of(c) for c in configurations])
        types = np.concatenate([c.types for c in configurations])
        for k in range(N_TYPES):
            if np.any(types == k):
                own = rows[types == k]
                self.row_mean[k] = torch.as_tensor(own.mean(axis=0))
                spread = own.std(axis=0)
                self.row_std[k] = torch.as_tensor(np.where(spread > 1e-9, spread, 1.0))

    def scaled(self, graph: Data) -> Tensor:
        """The numbers in units of their spread, shape (N, n_rows)."""
        self.scalars(graph)  # refuses a graph of other inputs
        return (graph.rows - self.row_mean[graph.types]) / self.row_std[graph.types]


class GlassMLP(_OnDescriptors):
    r"""A few hundred weights on densities and energies that are coarse-grained over several lengths L.

    For each type, and both together, within 4.5 of a particle:

    .. math:: \rho = \sum_j e^{-r_{ij}/L}, \\
              \bar e = \sum_j e_j e^{-r_{ij}/L} \Big/ \rho, \\
              \overline{(e - \bar e)^2}

    To the squared error the loss adds, for each type and time, the squared error of the variance of the predictions and
    of their correlation between neighbors, as an average over noise makes predictions too smooth. The published
    network has other lengths, perimeters of Voronoi cells too, and one set of weights per time.
    """

    def __init__(self, config: BaselineConfig) -> None:
        if parse_inputs(config.inputs).energy is None:
            raise ValueError(f"inputs {config.inputs!r}; expected some with an energy, which this network averages")
        super().__init__(config, 1 + 9 * len(LENGTHS), 10)
        self.bottleneck = perceptron(1 + 9 * len(LENGTHS), 3, 10, 10, activation=nn.ELU)

    def rows(self, configuration: Configuration) -> np.ndarray:
        """Own energy, then density, energy and its variance by length and type; shape (N, 37)."""
        field, energy, _ = parse_inputs(self.config.inputs)
        return coarse_grained(configuration, required(configuration, str(energy)), LENGTHS, field=field)

    def features(self, graph: Data) -> Tensor:
        """Numbers that describe each particle, shape (N, 10)."""
        return self.bottleneck(self.scaled(graph))

    def training_loss(self, graph: Data, level_weight: float | None = None, extra: Extra | None = None) -> Tensor:
        """Squared error, and how far fluctuations and correlations are from those of the labels."""
        prediction, labels = self.standardized(graph), self.standardize(graph)
        j, i = graph.edge_index
        shape = prediction.new_zeros(())
        for k in range(N_TYPES):
            of, near = graph.types == k, (graph.types[i] == k) & (graph.types[j] == k)
            found, wanted = (v - v[of].mean(dim=0) for v in (prediction, labels))
            shape = shape + (found[of].square().mean(dim=0) - wanted[of].square().mean(dim=0)).square().sum()
            together = [(v[i[near]] * v[j[near]]).mean(dim=0) for v in (found, wanted)]
            shape = shape + (together[0] - together[1]).square().sum()
        return self.loss(graph, prediction, level_weight, extra) + self.config.shape_weight * shape


class Ridge(_OnDescriptors):
    """Linear regression on radial densities and bond-order parameters, with averages over neighbors, once and twice.

    Radial densities of both types at 43 distances from 0.8 to 4.2, bond order of degrees 1 to 11 at 16 distances from
    1.0 to 2.5, and the energy where ``inputs`` names one; averages by
    :func:`~glasslit.models.descriptors.averaged` within 2.3.
    """

    def __init__(self, config: BaselineConfig) -> None:
        n_rows = 3 * (2 * 43 + 16 * 11 + (parse_inputs(config.inputs).energy is not None))
        super().__init__(config, n_rows, n_rows)

    def rows(self, configuration: Configuration) -> np.ndarray:
        """Three generations of descriptors, shape (N, 3 F)."""
        c, (field, energy, _) = configuration, parse_inputs(self.config.inputs)
        shells = [
            radial_densities(c, centers.tolist(), width, field)
            for centers, width in (
                (np.arange(0.8, 1.99, 0.05), 0.025),
                (np.arange(2.0, 2.99, 0.1), 0.05),
                (np.arange(3.0, 4.25, 0.15), 0.1),
            )
        ]
        order = bond_order(c, range(1, 12), centers=np.arange(1.0, 2.55, 0.1).tolist(), field=field).reshape(
            c.n_particles, -1
        )
        extra = [np.asarray(required(c, energy), dtype=np.float64)[:, None]] if energy else []
        generations = [np.concatenate([*shells, order, *extra], axis=1)]
        for _ in range(2):
            generations.append(averaged(generations[-1], c, 2.3, 1, field))
        return np.concatenate(generations, axis=1)

    def features(self, graph: Data) -> Tensor:
        """The descriptors, in units of their spread."""
        return self.scaled(graph)

    @torch.no_grad()
    def solutions(self, graphs: Sequence[Data], level_weight: float | None = None) -> tuple[Tensor, Tensor]:
        r"""Weights and biases in closed form for each of :data:`STRENGTHS`.

        With a level weight w, errors are counted as in :meth:`glasslit.models.propensity.PropensityNetwork.loss`: for
        each configuration c, type and time, with the spread of the labels :math:`\sigma_c`, rows and labels are

        .. math:: \big(x_i - \bar x_c + \sqrt w\, (\bar x_c - \bar x)\big) / \sigma_c

        Parameters
        ----------
        graphs : with labels
        level_weight : see :class:`~glasslit.learning.train.TrainConfig`

        Returns
        -------
        shapes (S, types, T, rows) and (S, types, T)
        """
        n_times = self.config.n_times
        weights = torch.zeros(len(STRENGTHS), N_TYPES, n_times, self.row_mean.shape[1])
        biases = torch.zeros(weights.shape[:-1])
        for k in range(N_TYPES):
            x, y = (
                [part(g)[g.types == k].cpu().numpy().astype(np.float64) for g in graphs if bool((g.types == k).any())]
                for part in (self.scaled, self.standardize)
            )
            if not x:
                continue
            if level_weight is None:
                weights[:, k] = torch.as_tensor(ridge_path(np.concatenate(x), np.concatenate(y), STRENGTHS))
                continue
            for t in range(n_times):
                of_time = [v[:, t] for v in y]
                rows, row = _levelled(x, of_time, level_weight)
                targets, label = _levelled([v[:, None] for v in of_time], of_time, level_weight)
                found = ridge_path(rows, targets, STRENGTHS, intercept=False)[:, 0]
                weights[:, k, t] = torch.as_tensor(found)
                biases[:, k, t] = torch.as_tensor(label - found @ row)
        return weights, biases

    @torch.no_grad()
    def set_weights(self, weights: Tensor, biases: Tensor) -> None:
        """Take weights of shape (types, T, rows) and biases of shape (types, T)."""
        self.decoder.weight.copy_(weights.flatten(0, 1))
        self.decoder.bias.copy_(biases.flatten())


def _levelled(
    values: Sequence[np.ndarray], labels: Sequence[np.ndarray], level_weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Values (n, K) of each configuration as :meth:`Ridge.solutions` counts them, and the level that they begin at."""
    variance = [label.var() for label in labels]
    scale = np.array([v if v > 1e-12 else 1.0 for v in variance])
    levels, counts = np.stack([v.mean(axis=0) for v in values]), np.array([len(v) for v in values])
    begin = np.average(levels, axis=0, weights=counts / scale)
    counted = [
        (v - level + np.sqrt(level_weight) * (level - begin)) / np.sqrt(s)
        for v, level, s in zip(values, levels, scale, strict=True)
    ]
    return np.concatenate(counted), begin
