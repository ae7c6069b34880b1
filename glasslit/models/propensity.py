"""What every network of this package has: standardized labels and inputs, a loss, predictions in sigma_AA.

:class:`~glasslit.models.se3.SE3GNN` and the :mod:`~glasslit.models.baselines` say how particles become numbers; this
says what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from ..liquid.configuration import Configuration
from ..liquid.graph import neighbor_graph, node_graph, node_vectors, parse_inputs, required
from ..liquid.kob_andersen import TYPE_NAMES
from ..names import did_you_mean
from .clock import counted_in_parts, relaxation_time
from .conditions import check_predicted, conditions
from .heads import PROPENSITY, Head

N_TYPES = len(TYPE_NAMES)
# A further term of the loss: of a network, a graph with labels, and the standardized prediction, shape (N, T).
Extra = Callable[["PropensityNetwork", Data, Tensor], Tensor]
SCALES = ("energy_mean", "energy_std", "vector_std")
"""Buffers with the standardization of inputs; a network without vectors lacks the last."""


class PropensityNetwork(nn.Module):
    """Base of networks that predict propensities; a subclass defines :meth:`standardized`.

    Parameters
    ----------
    config : a dataclass with at least ``inputs``, ``cutoff`` and ``n_times``
    """

    label_times: Tensor
    target_mean: Tensor
    target_std: Tensor
    energy_mean: Tensor
    energy_std: Tensor
    vector_std: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        inputs = parse_inputs(config.inputs)
        self.needs_energy, self.needs_vector = inputs.energy is not None, inputs.vector is not None
        self.n_scalars = N_TYPES + self.needs_energy
        self.trained_on: dict[str, Any] | None = None
        self.heads = nn.ModuleDict()
        self.register_buffer("label_times", torch.full((config.n_times,), torch.nan))
        self.register_buffer("target_mean", torch.zeros(N_TYPES, config.n_times))
        self.register_buffer("target_std", torch.ones(N_TYPES, config.n_times))
        self.register_buffer("energy_mean", torch.zeros(N_TYPES))
        self.register_buffer("energy_std", torch.ones(N_TYPES))
        if self.needs_vector:  # so that files of networks that see no vector stay what they were
            self.register_buffer("vector_std", torch.ones(N_TYPES))

    @property
    def times(self) -> np.ndarray:
        """The times of the predictions, shape (T,), in ``time_unit``; nan before training."""
        return np.array([float(f"{t:.7g}") for t in self.label_times.tolist()])  # kept in single precision

    @property
    def time_unit(self) -> str:
        """One of :data:`glasslit.models.clock.TIME_UNITS`: "LJ", or "tau_alpha" of the configuration's temperature."""
        return getattr(self.config, "time_unit", "LJ")

    def times_at(self, temperature: float | None) -> np.ndarray:
        """The times of the predictions for a liquid, shape (T,), Lennard-Jones units.

        Parameters
        ----------
        temperature : epsilon_AA / k_B; of no account where times are counted in Lennard-Jones units

        Raises
        ------
        ValueError
            If times are parts of tau_alpha, and that is unknown.
        """
        if self.time_unit == "LJ":
            return self.times
        if temperature is None:
            raise ValueError("no temperature; the network counts time in tau_alpha of the liquid: give the temperature")
        return np.array([float(f"{t:.4g}") for t in self.times * relaxation_time(temperature)])

    def in_own_times(self, configurations: Sequence[Configuration]) -> Sequence[Configuration]:
        """Configurations with their times counted as the network does; as they are where it counts as they do.

        Raises
        ------
        ValueError
            If times are parts of tau_alpha, and those of a configuration are unknown or not the network's.
        """
        if self.time_unit == "LJ":
            return configurations
        return counted_in_parts(list(configurations), self.times if np.isfinite(self.times).all() else None)

    def graph(self, configuration: Configuration) -> Data:
        """What the network looks at, in its precision and on its device."""
        c, like = self.config, self.target_mean
        graph = neighbor_graph(configuration, c.cutoff, c.inputs, like.dtype)
        return self.tell(graph, configuration).to(like.device)

    def nodes(self, configuration: Configuration) -> Data:
        """The same without edges, for what is told of particles alone."""
        c, like = self.config, self.target_mean
        graph = node_graph(configuration, c.cutoff, c.inputs, like.dtype)
        return self.tell(graph, configuration).to(like.device)

    def tell(self, graph: Data, configuration: Configuration) -> Data:
        """Add to a graph what else the network needs to know: the labels of further targets, where there are any."""
        for name, head in self.further():
            if getattr(configuration, head.field) is not None:
                label = head.label(configuration).copy()
                graph[label_of(name)] = torch.as_tensor(label, dtype=self.target_mean.dtype)
        return graph

    def further(self) -> Iterator[tuple[str, Head]]:
        """Targets beside the propensity, each with its head."""
        for name, head in self.heads.items():
            yield name, cast(Head, head)

    @property
    def targets(self) -> tuple[str, ...]:
        """What :meth:`predict` can be asked for."""
        return (PROPENSITY, *self.heads)

    def outputs(self, graph: Data) -> dict[str, Tensor]:
        """All targets by name, each of shape (N, T) or (N, T, components), in the units of its label."""
        return {PROPENSITY: self(graph)}

    def scalars(self, graph: Data) -> Tensor:
        """Type one-hot and, where there is one, the standardized energy: shape (N, n_scalars).

        Raises
        ------
        ValueError
            If the graph was made with another cutoff or other inputs.
        """
        many = isinstance(graph.cutoff, Tensor)  # of a batch, one for each of its graphs
        cutoffs = graph.cutoff.flatten().tolist() if many else [float(graph.cutoff)]
        inputs = {graph.inputs} if isinstance(graph.inputs, str) else set(graph.inputs)
        config = self.config
        if any(abs(c - config.cutoff) > 1e-6 * config.cutoff for c in cutoffs) or inputs != {config.inputs}:
            raise ValueError(
                f"a graph with cutoff {sorted(set(cutoffs))} and inputs {sorted(inputs)}; the network was made for "
                f"{config.cutoff} and {config.inputs!r}: "
                f"build it with neighbor_graph(configuration, {config.cutoff}, {config.inputs!r})"
            )
        x = graph.x
        if self.needs_energy:
            energy = (x[:, -1] - self.energy_mean[graph.types]) / self.energy_std[graph.types]
            x = torch.cat([x[:, :-1], energy[:, None]], dim=1)
        return x

    def vectors(self, graph: Data) -> Tensor:
        """The vector of each particle in units of its spread, per type and component: shape (N, 3)."""
        return graph.node_vector / self.vector_std[graph.types][:, None]

    def standardized(self, graph: Data) -> Tensor:
        """Prediction in units of the training labels' spread, per type and time; shape (N, T)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to predict: define standardized(graph)")

    def forward(self, graph: Data) -> Tensor:
        """Propensity of each particle at each time, shape (N, T), sigma_AA."""
        return self.target_mean[graph.types] + self.target_std[graph.types] * self.standardized(graph)

    def standardize(self, graph: Data) -> Tensor:
        """The graph's labels in the units of :meth:`standardized`; shape (N, T)."""
        return (graph.y - self.target_mean[graph.types]) / self.target_std[graph.types]

    def loss(
        self, graph: Data, prediction: Tensor, level_weight: float | None = None, extra: Extra | None = None
    ) -> Tensor:
        """Squared error summed over times, averaged over particles, each (type, time) on its own scale.

        Parameters
        ----------
        graph : with labels
        prediction : as :meth:`standardized` gives it, shape (N, T)
        level_weight : see :class:`~glasslit.learning.train.TrainConfig`
        extra : what is added to it, from the network, the graph and the prediction, as
            :class:`glasslit.learning.losses.SmoothLoss`
        """
        if extra is not None:
            return self.loss(graph, prediction, level_weight) + extra(self, graph, prediction)
        labels = self.standardize(graph)
        error = prediction - labels
        if level_weight is None:
            return error.square().sum(dim=1).mean()
        group, groups = groups_of(graph)

        def mean(values: Tensor) -> Tensor:
            return group_means(values, group, groups)

        level, variance = mean(error), mean((labels - mean(labels)).square())
        scale = torch.where(variance > 1e-12, variance, 1.0)
        return (((error - level).square() + level_weight * level.square()) / scale).sum(dim=1).mean()

    def training_loss(self, graph: Data, level_weight: float | None = None, extra: Extra | None = None) -> Tensor:
        """What training makes small: :meth:`loss`, unless a network learns from more than the labels."""
        return self.loss(graph, self.standardized(graph), level_weight, extra)

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration]) -> None:
        """Take mean and spread of labels and inputs, per type, from training configurations, and note what they are.

        The latter is ``trained_on``, as :func:`glasslit.models.conditions.conditions` has it; None before.

        Raises
        ------
        ValueError
            If labels are missing, or their times differ between configurations or from ``n_times``.
        """
        times = check_times(configurations, self.config.n_times)
        _, energy, vector = parse_inputs(self.config.inputs)
        each = [
            (
                c.types,
                required(c, "propensity").T,
                required(c, energy) if energy else None,
                node_vectors(c, vector) if vector else None,
            )
            for c in configurations
        ]  # of configurations that are read when they are asked for, no more is held
        types = np.concatenate([t for t, _, _, _ in each])
        labels = np.concatenate([y for _, y, _, _ in each]).astype(np.float64)
        energies = np.concatenate([e for _, _, e, _ in each]).astype(np.float64) if energy else None
        vectors = np.concatenate([u for _, _, _, u in each]) if vector else None
        for k in range(N_TYPES):
            if np.any(types == k):
                self.target_mean[k] = torch.as_tensor(labels[types == k].mean(axis=0))
                self.target_std[k] = torch.as_tensor(_spread(labels[types == k]))
        self._scale_inputs(types, energies, vectors)
        for _, head in self.further():
            head.set_standardization(configurations)
        self.label_times.copy_(torch.tensor(times))
        self.trained_on = conditions(configurations, self.config.cutoff, self.config.inputs)

    @torch.no_grad()
    def set_input_standardization(self, configurations: Sequence[Configuration]) -> None:
        """Take mean and spread of the inputs alone, per type, from configurations that need no labels.

        Raises
        ------
        ValueError
            If there is no configuration, or an input is missing.
        """
        if not configurations:
            raise ValueError("no configurations; expected at least one, to take the scale of the inputs from")
        _, energy, vector = parse_inputs(self.config.inputs)
        types = np.concatenate([c.types for c in configurations])
        energies = [required(c, energy) for c in configurations] if energy else None
        vectors = [node_vectors(c, vector) for c in configurations] if vector else None
        self._scale_inputs(
            types,
            np.concatenate(energies).astype(np.float64) if energies else None,
            np.concatenate(vectors) if vectors else None,
        )

    def _scale_inputs(self, types: np.ndarray, energies: np.ndarray | None, vectors: np.ndarray | None) -> None:
        for k in range(N_TYPES):
            if not np.any(types == k):
                continue
            if energies is not None:
                self.energy_mean[k] = float(energies[types == k].mean())
                self.energy_std[k] = float(_spread(energies[types == k]))
            if vectors is not None:  # its mean is left: to take it away would turn with nothing
                length = float(np.sqrt(np.square(vectors[types == k]).mean()))
                self.vector_std[k] = length if length > 0 else 1.0

    @overload
    def predict(self, configuration: Configuration, target: str = PROPENSITY) -> np.ndarray: ...
    @overload
    def predict(self, configuration: Iterable[Configuration], target: str = PROPENSITY) -> list[np.ndarray]: ...
    @torch.no_grad()
    def predict(
        self, configuration: Configuration | Iterable[Configuration], target: str = PROPENSITY
    ) -> np.ndarray | list[np.ndarray]:
        """Propensity of each particle of a configuration, or of several, without their labels; or another target.

        Parameters
        ----------
        configuration : holds the positions, and the energy, that ``config.inputs`` names; or a list of such, whose
            sizes and boxes may differ
        target : one of ``self.targets``

        Returns
        -------
        shape (T, N), sigma_AA, in the configuration's particle order; times are ``self.times``; of "displacement" shape
        (T, N, 3); of "covariance" shape (T, N, 6), sigma_AA^2: xx, yy, zz, yz, xz, xy. Of a list: a list with one such
        array for each configuration, in the same order, equal to that of the configuration alone.

        Raises
        ------
        ValueError
            If an input is missing, the box is shorter than twice the cutoff, what came is no configuration, the
            network does not predict the target, or its predictions are not finite.

        Warns
        -----
        UserWarning
            If a prediction is farther than :data:`~glasslit.models.conditions.FAR` from the labels of the training.
        """
        self.check_target(target)
        several = configuration
        if isinstance(several, Configuration):
            several = [several]
        elif not isinstance(several, Iterable):
            raise ValueError(_no_configuration(several))
        was_training, found = self.training, []
        self.eval()
        try:
            for one in several:
                if not isinstance(one, Configuration):
                    raise ValueError(_no_configuration(one))
                found.append(self.as_arrays(self.outputs(self.graph(one)), one)[target])
        finally:
            self.train(was_training)
        return found[0] if isinstance(configuration, Configuration) else found

    def as_arrays(self, found: Mapping[str, Tensor], configuration: Configuration) -> dict[str, np.ndarray]:
        """What :meth:`outputs` found, as :meth:`predict` returns it, with its warning and its error if not finite."""
        types = torch.tensor(configuration.types, dtype=torch.long, device=self.target_mean.device)
        heads = dict(self.further())
        for name, values in found.items():
            if name == PROPENSITY:
                scaled = (values - self.target_mean[types]) / self.target_std[types]
            else:
                scaled = heads[name].scaled(values, types)
            check_predicted(configuration, name, values, scaled)
        return {name: values.transpose(0, 1).cpu().numpy() for name, values in found.items()}

    def check_target(self, target: str) -> None:
        """A ``ValueError`` if the network does not predict it."""
        if target not in self.targets:
            raise ValueError(
                f"target {target!r}; expected what this network predicts, {', '.join(self.targets)}"
                f"{did_you_mean(target, self.targets)}"
            )

    def count_parameters(self) -> dict[str, int]:
        """Trainable numbers by part."""
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        return {name: count for name, count in parts.items() if name != "heads" or count}


def label_of(target: str) -> str:
    """Where a graph holds the label of a target that is not the propensity."""
    return f"label_{target}"


def _no_configuration(value: Any) -> str:
    return (
        f"predict was given {value!r}; expected a Configuration or a list of them, as glasslit.load or "
        "glasslit.read_trajectory give it"
    )


def groups_of(graph: Data) -> tuple[Tensor, int]:
    """Which type of which configuration each particle is, as a number of shape (N,), and how many such there are."""
    if graph.batch is None:
        return graph.types, N_TYPES
    return graph.types + N_TYPES * graph.batch, N_TYPES * graph.num_graphs


def group_means(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean over the rows of each group, in the place of each row; shape of the values."""
    if values.device.type == "cpu":
        return scatter(values, group, dim_size=groups, reduce="mean")[group]
    # Elsewhere adding up by index goes in an order that changes, and the number of groups is not read: it is told.
    member = (group[:, None] == torch.arange(groups, device=group.device)).to(values)
    return member @ ((member.T @ values) / member.sum(dim=0).clamp_min(1)[:, None])


def _spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation over particles, 1 where everything is equal."""
    spread = values.std(axis=0)
    return np.where(spread > 1e-12 * (1 + np.abs(values).max(axis=0)), spread, 1.0)


def check_times(configurations: Iterable[Configuration], n_times: int | None = None) -> np.ndarray:
    """The times that all configurations share, shape (T,).

    Raises
    ------
    ValueError
        If there is no configuration, or times differ between them or in number from ``n_times``.
    """
    times: np.ndarray | None = None
    for c in configurations:
        if times is None:
            times = c.times
        if len(c.times) != len(times) or not np.allclose(c.times, times, rtol=1e-6, atol=0):
            raise ValueError(f"times differ: {times.tolist()} and {c.times.tolist()}; expected the same in all")
    if times is None:
        raise ValueError("no configurations; expected at least one: is the split empty?")
    if n_times is not None and len(times) != n_times:
        raise ValueError(f"labels at {len(times)} times, {times.tolist()}; the network has n_times = {n_times}")
    return times
