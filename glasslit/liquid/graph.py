"""The periodic neighbor graph of a configuration, as PyTorch Geometric ``Data``.

Directed edges, sorted by receiver: ``edge_index[0]`` = sender j, ``edge_index[1]`` = receiver i,
``vector`` = x_j - x_i by minimum image (the paper's a_ij). The graph is symmetric; ``reverse`` is the
permutation that takes each edge to its reverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from ..names import did_you_mean
from .configuration import Configuration
from .kob_andersen import TYPE_NAMES
from .periodic import minimum_image, neighbor_pairs, space_filling_order

POSITIONS = {"thermal": "positions", "IS": "inherent_positions"}
ENERGIES = {"E_thermal": "potential_energy_thermal", "E_IS": "potential_energy_inherent"}
INPUTS = tuple(p + e for p in POSITIONS for e in ("", *(f"+{name}" for name in ENERGIES)))
"""What a network may look at: thermal or inherent positions, alone or with one energy per particle."""


class NeighborGraph(Data):
    """PyG ``Data`` whose ``reverse`` counts edges, so that batching shifts it; its ``cutoff`` stays on the CPU."""

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return self.num_edges if key == "reverse" else super().__inc__(key, value, *args, **kwargs)

    def apply(self, func: Callable[[Any], Any], *args: str) -> NeighborGraph:
        """As PyG's, but for ``cutoff``, unless it is named: networks check it, and should not wait for a GPU."""
        names = args or [key for key in self.keys() if key != "cutoff"]
        return super().apply(func, *names) if names else self


def parse_inputs(inputs: str) -> tuple[str, str | None]:
    """Field names of the positions and of the energy (or None) that ``inputs`` stands for.

    Examples
    --------
    >>> parse_inputs("thermal+E_IS")
    ('positions', 'potential_energy_inherent')

    Raises
    ------
    ValueError
        If the name is not one of :data:`~glasslit.liquid.graph.INPUTS`.
    """
    if inputs not in INPUTS:
        raise ValueError(f"inputs {inputs!r}; expected one of {', '.join(INPUTS)}{did_you_mean(inputs, INPUTS)}")
    positions, _, energy = inputs.partition("+")
    return POSITIONS[positions], ENERGIES[energy] if energy else None


def required(configuration: Configuration, field: str) -> np.ndarray:
    """A field's value, or a ``ValueError`` that says how to obtain it where it is missing."""
    value = getattr(configuration, field)
    if value is None:
        mend = (
            "use labelled data"
            if field.startswith(("propensity", "mean"))
            else "glasslit.quench(configuration) computes it, or choose other inputs"
        )
        raise ValueError(f"{configuration!r} has no {field}; expected it here: {mend}")
    return value


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
        "+E_thermal" or "+E_IS"
    dtype : of vectors, energies and labels (the geometry is computed in float64)

    Returns
    -------
    PyG ``Data`` with ``x`` (N, 2 or 3): one-hot type, then the energy if asked for, epsilon_AA, not
    standardized; ``types`` (N,); ``edge_index`` (2, E), sorted by receiver, then sender; ``vector``
    (E, 3), sigma_AA; ``reverse`` (E,); ``walk_index`` (N,), the particles in an order that keeps neighbors together
    (it says nothing but where a CPU finds its data soonest); ``cutoff`` and ``inputs``; and ``y`` (N, T), sigma_AA,
    if there are labels.

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
    field, energy = parse_inputs(inputs)
    if not cutoff > 0:
        raise ValueError(f"cutoff {cutoff}; expected a positive length")
    positions = required(configuration, field)
    one_hot = np.eye(len(TYPE_NAMES))[configuration.types]
    x = one_hot if energy is None else np.column_stack([one_hot, required(configuration, energy)])
    pairs = neighbor_pairs(positions, configuration.box, cutoff)
    sender = np.concatenate([pairs[:, 0], pairs[:, 1]])
    receiver = np.concatenate([pairs[:, 1], pairs[:, 0]])
    order = np.argsort(receiver * configuration.n_particles + sender)  # one number sorts faster than two
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    reverse = place[(order + len(pairs)) % max(1, 2 * len(pairs))]
    sender, receiver = sender[order], receiver[order]
    vector = minimum_image(positions[sender] - positions[receiver], configuration.box)
    graph = NeighborGraph(
        x=torch.as_tensor(x, dtype=dtype),
        types=torch.as_tensor(configuration.types.astype(np.int64)),
        edge_index=torch.as_tensor(np.stack([sender, receiver])),
        vector=torch.as_tensor(vector, dtype=dtype),
        reverse=torch.as_tensor(reverse),
        walk_index=torch.as_tensor(space_filling_order(positions, configuration.box)),
        num_nodes=configuration.n_particles,
        cutoff=float(cutoff),
        inputs=inputs,
    )
    if configuration.propensity is not None:
        graph.y = torch.as_tensor(configuration.propensity.T.copy(), dtype=dtype)
    return graph
