"""The periodic neighbor graph of a configuration, as PyTorch Geometric ``Data``.

Directed edges, sorted by receiver: ``edge_index[0]`` = sender j, ``edge_index[1]`` = receiver i,
``vector`` = x_j - x_i by minimum image (the paper's a_ij). The graph is symmetric; ``reverse`` is the
permutation that takes each edge to its reverse.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch_geometric.data import Data

from ..names import did_you_mean
from .configuration import Configuration
from .kob_andersen import TYPE_NAMES
from .periodic import minimum_image, neighbor_pairs, space_filling_order

POSITIONS = {"thermal": "positions", "IS": "inherent_positions"}
ENERGIES = {"E_thermal": "potential_energy_thermal", "E_IS": "potential_energy_inherent"}
VECTORS = {"u_IS": ("inherent_positions", "positions")}
"""Vectors of each particle, by name: to which position, from which."""
INPUTS = tuple(map("".join, product(POSITIONS, ("", *map("+{}".format, ENERGIES)), ("", *map("+{}".format, VECTORS)))))
"""What a network may look at: thermal or inherent positions, alone or with an energy and a vector of each particle."""


class Inputs(NamedTuple):
    """The fields of a configuration that the name of an input stands for; None where it names none.

    Parameters
    ----------
    positions : between which neighbors are found
    energy : of each particle
    vector : of each particle, as the fields of its end and of its start
    """

    positions: str
    energy: str | None
    vector: tuple[str, str] | None

    @property
    def fields(self) -> tuple[str, ...]:
        """All that a configuration has to have, each once."""
        named = (self.positions, self.energy, *(self.vector or ()))
        return tuple(dict.fromkeys(name for name in named if name is not None))


class NeighborGraph(Data):
    """PyG ``Data`` whose ``reverse`` counts edges, so that batching shifts it; its ``cutoff`` stays on the CPU."""

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return self.num_edges if key == "reverse" else super().__inc__(key, value, *args, **kwargs)

    def apply(self, func: Callable[[Any], Any], *args: str) -> NeighborGraph:
        """As PyG's, but for ``cutoff``, unless it is named: networks check it, and should not wait for a GPU."""
        names = args or [key for key in self.keys() if key != "cutoff"]
        return super().apply(func, *names) if names else self


def parse_inputs(inputs: str) -> Inputs:
    """What ``inputs`` stands for, as names of fields.

    Examples
    --------
    >>> parse_inputs("thermal+E_IS")
    Inputs(positions='positions', energy='potential_energy_inherent', vector=None)
    >>> parse_inputs("thermal+u_IS").fields
    ('positions', 'inherent_positions')

    Raises
    ------
    ValueError
        If the name is not one of :data:`~glasslit.liquid.graph.INPUTS`.
    """
    if inputs not in INPUTS:
        raise ValueError(f"inputs {inputs!r}; expected one of {', '.join(INPUTS)}{did_you_mean(inputs, INPUTS)}")
    positions, *named = inputs.split("+")
    energy = next((ENERGIES[name] for name in named if name in ENERGIES), None)
    return Inputs(POSITIONS[positions], energy, next((VECTORS[name] for name in named if name in VECTORS), None))


def required(configuration: Configuration, field: str) -> np.ndarray:
    """A field's value, or a ``ValueError`` that says how to obtain it where it is missing."""
    value = getattr(configuration, field)
    if value is None:
        mend = "glasslit.quench(configuration) computes it, or choose other inputs"
        if field.startswith(("propensity", "mean")):
            mend = "use labelled data"
        elif field.startswith("displacement_covariance"):
            mend = "`glasslit label --covariance` keeps it (or `simulate`), or from_isoconfigurational(covariance=True)"
        raise ValueError(f"{configuration!r} has no {field}; expected it here: {mend}")
    return value


def node_vectors(configuration: Configuration, vector: tuple[str, str]) -> np.ndarray:
    """A vector for each particle, by minimum image.

    Parameters
    ----------
    configuration : the particles
    vector : the fields of its end and of its start, as :func:`parse_inputs` has them

    Returns
    -------
    shape (N, 3), sigma_AA, float64

    Raises
    ------
    ValueError
        If the configuration lacks one of the two.
    """
    end, start = (required(configuration, field) for field in vector)
    return minimum_image(end - start, configuration.box)


def neighbor_graph(
    configuration: Configuration,
    cutoff: float = 2.0,
    inputs: str = "thermal",
    dtype: torch.dtype = torch.float32,
) -> NeighborGraph:
    """Graph with an edge in each direction between particles closer than ``cutoff``.

    Parameters
    ----------
    configuration : the particles
    cutoff : sigma_AA; 2.0 gives about 40 neighbors at density 1.2
    inputs : one of :data:`~glasslit.liquid.graph.INPUTS`: "thermal" or "IS" positions, each alone or with
        "+E_thermal" or "+E_IS", and then with "+u_IS", the vector from each particle to its inherent position
    dtype : of vectors, energies and labels (the geometry is computed in float64)

    Returns
    -------
    PyG ``Data`` with ``x`` (N, 2 or 3): one-hot type, then the energy if asked for, epsilon_AA, not
    standardized; ``node_vector`` (N, 3) if asked for, sigma_AA, not standardized; ``types`` (N,); ``edge_index``
    (2, E), sorted by receiver, then sender; ``vector`` (E, 3), sigma_AA; ``reverse`` (E,); ``walk_index`` (N,), the
    particles in an order that keeps neighbors together (it says nothing but where a CPU finds its data soonest);
    ``cutoff`` and ``inputs``; and ``y`` (N, T), sigma_AA, if there are labels.

    Raises
    ------
    ValueError
        If a box edge is shorter than twice the cutoff, ``inputs`` is unknown, or the configuration lacks
        what it names.

    Examples
    --------
    >>> from glasslit import load
    >>> graph = neighbor_graph(load("starter", T=0.50, split="test")[0])
    >>> graph.x.shape, graph.vector.norm(dim=1).max() < 2.0
    (torch.Size([1000, 2]), tensor(True))
    """
    graph = node_graph(configuration, cutoff, inputs, dtype)
    positions = required(configuration, parse_inputs(inputs).positions)
    pairs = neighbor_pairs(positions, configuration.box, cutoff)
    sender = np.concatenate([pairs[:, 0], pairs[:, 1]])
    receiver = np.concatenate([pairs[:, 1], pairs[:, 0]])
    order = np.argsort(receiver * configuration.n_particles + sender)  # one number sorts faster than two
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    reverse = place[(order + len(pairs)) % max(1, 2 * len(pairs))]
    sender, receiver = sender[order], receiver[order]
    vector = minimum_image(positions[sender] - positions[receiver], configuration.box)
    graph.edge_index = torch.as_tensor(np.stack([sender, receiver]))
    graph.vector = torch.as_tensor(vector, dtype=dtype)
    graph.reverse = torch.as_tensor(reverse)
    graph.walk_index = torch.as_tensor(space_filling_order(positions, configuration.box))
    return graph


def node_graph(
    configuration: Configuration,
    cutoff: float = 2.0,
    inputs: str = "thermal",
    dtype: torch.dtype = torch.float32,
) -> NeighborGraph:
    """What :func:`glasslit.neighbor_graph` says of the particles, without edges; parameters and errors are its own."""
    _, energy, node_vector = parse_inputs(inputs)
    if not cutoff > 0:
        raise ValueError(f"cutoff {cutoff}; expected a positive length")
    one_hot = np.eye(len(TYPE_NAMES))[configuration.types]
    x = one_hot if energy is None else np.column_stack([one_hot, required(configuration, energy)])
    graph = NeighborGraph(
        x=torch.as_tensor(x, dtype=dtype),
        types=torch.as_tensor(configuration.types.astype(np.int64)),
        num_nodes=configuration.n_particles,
        cutoff=float(cutoff),
        inputs=inputs,
    )
    if node_vector is not None:
        graph.node_vector = torch.as_tensor(node_vectors(configuration, node_vector), dtype=dtype)
    if configuration.propensity is not None:
        graph.y = torch.as_tensor(configuration.propensity.T.copy(), dtype=dtype)
    return graph
