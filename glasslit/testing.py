"""Checks that users may run on their own layers: equivariance, with negative controls and tolerances; tensor products.

For layers of other packages, and for more than equivariance, see :class:`CheckedLayer` and :func:`check_layer`.

Every equivariance claim of the book stands beside one of the broken networks below, failing the same check.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from .equivariance.audit import assert_tensor_product, audit_tensor_product, gathered
from .equivariance.checked_layer import CheckedLayer, edges_within, point_graph
from .equivariance.checks import (
    CHECKS,
    assert_batch_as_single,
    assert_gradients,
    assert_layer,
    assert_mirror_images,
    assert_no_leak,
    assert_permutations,
    assert_precision,
    assert_rotations,
    assert_smooth_at_cutoff,
    assert_translations,
    check_layer,
)
from .equivariance.layer_errors import (
    batch_errors,
    cutoff_jumps,
    gradient_errors,
    leak_errors,
    mirror_errors,
    permutation_errors,
    precision_errors,
    rotation_errors,
    translation_errors,
)
from .equivariance.so3 import random_rotations, rotate
from .equivariance.twins import FAULTS, SmallLayer
from .liquid.configuration import Configuration
from .liquid.graph import NeighborGraph, required
from .liquid.kob_andersen import TIME_GRIDS, TYPE_NAMES
from .models.se3 import SE3GNN

__all__ = [
    "BROKEN",
    "CHECKS",
    "FAULTS",
    "TOLERANCE",
    "CheckedLayer",
    "ReluOnEverything",
    "SmallLayer",
    "assert_batch_as_single",
    "assert_equivariant",
    "assert_gradients",
    "assert_layer",
    "assert_mirror_images",
    "assert_no_leak",
    "assert_permutations",
    "assert_precision",
    "assert_rotations",
    "assert_smooth_at_cutoff",
    "assert_tensor_product",
    "assert_translations",
    "audit_tensor_product",
    "batch_errors",
    "batch_norm_per_component",
    "check_layer",
    "cutoff_jumps",
    "edges_within",
    "equivariance_error",
    "gathered",
    "gradient_errors",
    "leak_errors",
    "liquid_graph",
    "mirror_errors",
    "permutation_errors",
    "point_graph",
    "precision_errors",
    "predictions_when_turned",
    "random_liquid",
    "relu_on_vectors",
    "rotation_errors",
    "shuffle_labels",
    "swapped_axes",
    "translation_errors",
    "turn",
    "write_glassbench",
]

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest relative change that is put down to rounding. Eight layers of the paper's size show about 2e-15 and
5e-7, a broken network 1e-2 and more: the limits lie well between."""


def turn(graph: Data, rotation: Tensor) -> Data:
    """A graph whose vectors are turned: those of its edges, and those of its particles where it has any.

    Parameters
    ----------
    graph : left as it is
    rotation : shape (3, 3)
    """
    turned = graph.clone()
    for name in ("vector", "node_vector"):
        if name in graph:
            turned[name] = (graph[name].to(rotation.dtype) @ rotation.to(graph[name].device).T).to(graph[name].dtype)
    return turned


def equivariance_error(
    function: Callable[[Data], Tensor],
    graph: Data,
    irreps_out: o3.Irreps | str,
    rotations: Tensor | None = None,
) -> float:
    r"""How far a function of a graph is from turning with it.

    .. math:: \max_R \frac{\max|f(R\,x) - D(R) f(x)|}{\max|f(x)|}

    Parameters
    ----------
    function : graph -> features, shape (N, irreps_out.dim); in evaluation mode, without randomness
    graph : its ``vector`` (E, 3) is what is turned, and its ``node_vector`` (N, 3) where it has one
    irreps_out : how the features turn, e.g. ``net.irreps``, or "10x0e" for predictions at ten times
    rotations : shape (R, 3, 3); eight random ones by default

    Returns
    -------
    The largest relative error over all rotations.

    Raises
    ------
    ValueError
        If the output is not finite, or zero everywhere: such a check would show nothing.
    """
    kind = o3.Irreps(irreps_out)
    errors = []
    with torch.no_grad():
        plain = function(graph)
        scale = plain.abs().max()
        if not (torch.isfinite(scale) and scale > 0):
            raise ValueError(f"the largest output is {float(scale)}; expected finite numbers, not all of them zero")
        for rotation in random_rotations(8) if rotations is None else rotations:
            turned = turn(graph, rotation)
            errors.append((function(turned) - rotate(plain, kind, rotation)).abs().max() / scale)
    return float(torch.stack(errors).max())  # nan if any is


def assert_equivariant(
    function: Callable[[Data], Tensor],
    graph: Data,
    irreps_out: o3.Irreps | str,
    rotations: Tensor | None = None,
    tolerance: float | None = None,
) -> None:
    """Raise ``AssertionError`` if a function of a graph does not turn with it.

    Parameters are those of :func:`equivariance_error`; the tolerance follows from the graph's dtype
    (:data:`TOLERANCE`) unless given.

    Examples
    --------
    The sum of the neighbors' vectors turns as a vector; their componentwise absolute value does not.

    >>> from glasslit import neighbor_graph
    >>> graph = neighbor_graph(random_liquid(100), dtype=torch.float64)
    >>> def total(g):
    ...     return torch.zeros(100, 3, dtype=g.vector.dtype).index_add(0, g.edge_index[1], g.vector)
    >>> assert_equivariant(total, graph, "1x1e")
    >>> assert_equivariant(lambda g: total(g).abs(), graph, "1x1e")
    Traceback (most recent call last):
    AssertionError: ...
    """
    limit = TOLERANCE[graph.vector.dtype] if tolerance is None else tolerance
    error = equivariance_error(function, graph, irreps_out, rotations)
    if not error <= limit:  # nan fails too
        raise AssertionError(f"relative equivariance error {error:.1e}; rounding explains at most {limit:.0e}")


def liquid_graph(graph: Data, cutoff: float) -> NeighborGraph:
    """The points of a :class:`CheckedLayer` as a liquid in open space, for networks of this package.

    Parameters
    ----------
    graph : of :func:`point_graph`; ``z`` says which points are A (0) and which are B (1)
    cutoff : that of graph and network

    Returns
    -------
    As :func:`glasslit.neighbor_graph`, with inputs "thermal". Gradients flow through ``vector`` to the positions.

    Examples
    --------
    >>> from glasslit import ModelConfig
    >>> net = SE3GNN(ModelConfig(layers=2, channels=2, l_max=1, n_times=2, inputs="thermal"))
    >>> layer = CheckedLayer(
    ...     net, "", net.irreps, 2.0, lambda net, g: net.features(liquid_graph(g, 2.0)), smooth=None
    ... )
    >>> bool(check_layer(layer).passes.all())
    True
    """
    sender, receiver = graph.edge_index
    n = len(graph.pos)
    return NeighborGraph(
        x=torch.nn.functional.one_hot(graph.z, len(TYPE_NAMES)).to(graph.pos),
        types=graph.z,
        edge_index=graph.edge_index,
        vector=graph.vector,
        reverse=torch.searchsorted(receiver * n + sender, sender * n + receiver),  # edges are sorted by these numbers
        walk_index=torch.arange(n),
        num_nodes=n,
        cutoff=float(cutoff),
        inputs="thermal",
    )


def predictions_when_turned(net: Any, configuration: Configuration, turns: Any) -> np.ndarray:
    """What a network predicts for a liquid that is turned, with its box, about the z axis.

    The network sees no more of a liquid than its neighbors' vectors, and these are turned: so any angle may be asked
    for, not only the quarter turns that lay a periodic cube on itself.

    Parameters
    ----------
    net : a network whose ``graph(configuration)`` is what it looks at, such as :class:`~glasslit.SE3GNN`
    configuration : the liquid
    turns : shape (R,), degrees, counterclockwise seen from above

    Returns
    -------
    shape (R, T, N), sigma_AA

    Examples
    --------
    >>> from glasslit import ModelConfig
    >>> net = SE3GNN(ModelConfig(layers=2, channels=2, n_times=2))
    >>> predictions_when_turned(net, random_liquid(100), [0, 45, 90]).shape
    (3, 2, 100)
    """
    was_training = net.training
    net.eval()
    try:
        graph = net.graph(configuration)
        predictions = []
        for angle in np.deg2rad(np.asarray(turns, dtype=float)):
            c, s = np.cos(angle), np.sin(angle)
            rotation = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64, device=graph.vector.device)
            with torch.no_grad():
                predictions.append(net(turn(graph, rotation)).T.cpu().numpy())
    finally:
        net.train(was_training)
    return np.stack(predictions)


class ReluOnEverything(nn.Module):
    """Negative control: ReLU on each component, which keeps scalars and breaks vectors."""

    def __init__(self, wrapped: nn.Module) -> None:
        super().__init__()
        self.wrapped = wrapped

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.relu(self.wrapped(*inputs))


def relu_on_vectors(net: SE3GNN) -> SE3GNN:
    """A broken copy: ReLU on every component after the first layer, l > 0 included."""
    broken = copy.deepcopy(net)
    broken.norms[0] = ReluOnEverything(broken.norms[0])
    return broken


def batch_norm_per_component(net: SE3GNN) -> SE3GNN:
    """A broken copy: an ordinary batch norm, each component with its own mean and spread, after the first layer.

    The fresh norm does nothing in evaluation mode, and the break is invisible, until it has seen one
    batch in training mode.
    """
    broken = copy.deepcopy(net)
    broken.norms[0] = nn.BatchNorm1d(net.irreps.dim, momentum=0.5).to(net.target_mean)
    return broken.train(net.training)


def swapped_axes(net: SE3GNN) -> SE3GNN:
    """A broken copy: the first layer sees x and y of each harmonic of l = 1 exchanged, a wrong axis order."""
    broken = copy.deepcopy(net)
    convolution = broken.convolutions[0]

    def exchange(module: nn.Module, inputs: tuple) -> tuple:
        h, harmonics, *rest = inputs
        order = torch.arange(harmonics.shape[1], device=harmonics.device)
        order[1], order[2] = 2, 1
        return (h, harmonics[:, order], *rest)

    convolution.register_forward_pre_hook(exchange)
    return broken


BROKEN = {
    "relu_on_vectors": relu_on_vectors,
    "batch_norm_per_component": batch_norm_per_component,
    "swapped_axes": swapped_axes,
}
"""Negative controls by name: each takes a network (l_max >= 1) and returns a broken copy."""


def random_liquid(
    n: int = 200, seed: int = 0, density: float = 1.2, box: np.ndarray | None = None, n_times: int = 2
) -> Configuration:
    """A made-up liquid with made-up labels, for tests: a jittered lattice, 80 % A, never two particles on one spot.

    Parameters
    ----------
    n : number of particles
    seed : decides everything
    density : particles per sigma_AA^3, unless ``box`` gives the edges
    n_times : number of label times

    Returns
    -------
    A configuration with every optional field that a network or a score may ask for.
    """
    rng = np.random.default_rng(seed)
    edges = np.full(3, (n / density) ** (1 / 3)) if box is None else np.asarray(box, dtype=float)
    per_edge = int(np.ceil(n ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    sites = sites[rng.permutation(len(sites))[:n]]
    positions = (sites + 0.5 + rng.uniform(-0.3, 0.3, size=(n, 3))) * edges / per_edge
    half = rng.gamma(4.0, 0.1, size=(2, n_times, n))
    return Configuration(
        positions=positions,
        inherent_positions=positions + rng.normal(scale=0.01, size=(n, 3)),
        types=(rng.permutation(n) >= round(0.8 * n)).astype(int),
        box=edges,
        temperature=0.5,
        times=10.0 ** np.arange(n_times),
        propensity=half.mean(axis=0),
        propensity_half=half,
        potential_energy_thermal=rng.normal(-6.0, 1.0, size=n),
        potential_energy_inherent=rng.normal(-7.0, 1.0, size=n),
    )


def shuffle_labels(configuration: Configuration, seed: int = 0) -> Configuration:
    """The configuration with its labels dealt out anew among particles of a type.

    What is learned from such labels must not predict other shuffled labels: a control against leaks.
    """
    rng = np.random.default_rng(seed)
    order = np.arange(configuration.n_particles)
    for kind in (0, 1):
        chosen = np.flatnonzero(configuration.types == kind)
        order[chosen] = rng.permutation(chosen)
    changes = {
        field: getattr(configuration, field)[..., order]
        for field in ("propensity", "propensity_half")
        if getattr(configuration, field) is not None
    }
    for field in ("mean_displacement", "displacement_covariance"):
        if getattr(configuration, field) is not None:
            changes[field] = getattr(configuration, field)[:, order]
    if configuration.displacement_covariance_half is not None:
        changes["displacement_covariance_half"] = configuration.displacement_covariance_half[:, :, order]
    return configuration.replace(**changes)


def write_glassbench(
    folder: str | Path, configuration: Configuration, number: int, noise: Mapping[str, float] | None = None
) -> Path:
    """Write a configuration as a file in GlassBench's layout, to try out what reads such files.

    Parameters
    ----------
    folder : such as "T0.56/test"; made if it is not there
    configuration : with inherent positions, labels, and a temperature of GlassBench's
    number : the last part of the file's name. It also seeds: labels at times that the configuration lacks are random
    noise : name -> standard deviation, sigma_AA: stand-ins for models' predictions, the labels with noise on them

    Returns
    -------
    The file's path.
    """
    c, place = configuration, Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    labels = rng.uniform(size=(len(TIME_GRIDS[c.temperature or 0.0]), c.n_particles))
    labels[: len(c.times)] = required(c, "propensity")
    inherent = required(c, "inherent_positions")
    path = place / f"N{c.n_particles}T{c.temperature:.2f}_{number}.npz"
    predictions: Any = {name: labels + rng.normal(scale=s, size=labels.shape) for name, s in (noise or {}).items()}
    np.savez(
        path,
        types=c.types + 1,  # counted from 1 there
        initial_positions=c.positions,
        initial_positions_inherent=inherent,
        initial_positions_cage=inherent,
        md_prop=labels,
        bb_prop=rng.uniform(size=labels.shape),
        **predictions,
    )
    return path
