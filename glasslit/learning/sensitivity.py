r"""What a prediction of a trained network depends on: neighbors, particles far away, positions.

The messages of :class:`~glasslit.models.se3.SE3GNN` (Eqs. 18-20 of Pezzicoli et al., 2024) are multiplied by weights,
one for each edge and filter degree. With all weights 1 the network is what it was, with a weight 0 an edge is gone, and
the derivative with respect to a weight is the sensitivity to that edge. Nothing is trained here. What a prediction has
in common with quantities that have names is :mod:`glasslit.learning.surrogate`; what the layers make of a distance is
:mod:`glasslit.learning.filters`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch_geometric.data import Data

from ..models.se3 import SE3GNN


@dataclass(frozen=True)
class NeighborSensitivity:
    """How much predictions depend on the messages from each neighbor.

    Parameters
    ----------
    edges : shape (K,), numbers of the edges that end at the particles that were asked for
    gradient : shape (K, l_max + 1), the derivative of the receiver's prediction with respect to the weight of the
        message, filter degree by filter degree; in units of the spread of the training labels
    """

    edges: np.ndarray
    gradient: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Shape (K,), the derivative with respect to the weight of the whole message: the sum over degrees."""
        return self.gradient.sum(axis=1)


def weighted_prediction(net: SE3GNN, graph: Data, weights: Tensor) -> Tensor:
    r"""What a network predicts when the message along each edge is multiplied by a number, in all layers.

    .. math:: h'_i = \text{mix}\Big[\sum_j w^{l_F}_{ij}\, m^{l_F}_{ij}\Big]

    .. math:: m^{l_F}_{ij} = \varphi(|a_{ij}|)\, C\big(Y^{l_F}(\hat a_{ij}), h_j\big)

    Parameters
    ----------
    net : in evaluation mode, unless the statistics of batch norm are to be those of this graph
    graph : as ``net.graph(configuration)`` gives it
    weights : shape (E,), or (E, l_max + 1) with a weight for each filter degree; 1 leaves a message as it is

    Returns
    -------
    shape (N, T), in units of the spread of the training labels, as ``net.standardized(graph)``

    Raises
    ------
    ValueError
        If the network is no SE3GNN, or the weights have another shape.
    """
    check_network(net)
    degrees, edges = net.config.l_max + 1, graph.edge_index.shape[1]
    if tuple(weights.shape) not in ((edges,), (edges, degrees)):
        raise ValueError(
            f"weights of shape {tuple(weights.shape)}; expected ({edges},), one for each edge of the graph, or "
            f"({edges}, {degrees}), one for each filter degree, too"
        )
    harmonics, basis = net.edges(graph)
    each = weights[:, None] if weights.ndim == 1 else weights[:, _degree_of_component(net)]
    x, h = net.node_inputs(graph), None
    for number in range(net.config.layers):
        h = net.layer(number, h, x, (harmonics * each, basis), graph)
    assert h is not None
    return net.decoded(net.invariants_of(h), graph.types, graph.get("temperature"))


def neighbor_sensitivity(
    net: SE3GNN, graph: Data, particles: Sequence[int] | np.ndarray, time: int
) -> NeighborSensitivity:
    r"""The derivative of predictions with respect to the weights of the edges that end at their particles.

    .. math:: \frac{\partial \hat m_i}{\partial w^{l}_{ij}} \Big|_{w = 1}

    Particles that are too far apart for the edges of one to change the prediction of another share a pass through the
    network, so that the numbers are those of one particle at a time.

    Parameters
    ----------
    net, graph : as in :func:`weighted_prediction`; the network is evaluated, not trained
    particles : i, numbers of particles
    time : which of the network's times, by its place

    Raises
    ------
    ValueError
        If the network is no SE3GNN, or it has no such time.
    """
    _check_time(net, time)
    receiver = graph.edge_index[1].numpy()
    edges, found = [], []
    with evaluated(net):
        for group in groups_out_of_reach(graph, particles, net.config.layers - 1):
            weights = torch.ones(len(receiver), net.config.l_max + 1).to(graph.vector).requires_grad_()
            wanted = weighted_prediction(net, graph, weights)[group, time].sum()
            (gradient,) = torch.autograd.grad(wanted, weights)
            at = np.flatnonzero(np.isin(receiver, group))
            edges.append(at)
            found.append(gradient[at].numpy())
    return NeighborSensitivity(np.concatenate(edges), np.concatenate(found))


@torch.no_grad()
def neighbor_removal(
    net: SE3GNN, graph: Data, edges: Sequence[int] | np.ndarray, time: int, kept: float = 0.0
) -> np.ndarray:
    """By how much the prediction of an edge's receiver changes when the edge is removed, or weakened.

    Parameters
    ----------
    net, graph, time : as in :func:`neighbor_sensitivity`
    edges : numbers of edges; each is removed by itself
    kept : the weight that is left of each message; 0 removes the edge

    Returns
    -------
    shape (len(edges),), prediction without the edge less prediction with it, in units of the spread of the training
    labels. For a weight of nearly 1 this is (kept - 1) times the sensitivity.

    Raises
    ------
    ValueError
        As :func:`neighbor_sensitivity`.
    """
    _check_time(net, time)
    chosen, receiver = np.asarray(edges), graph.edge_index[1].numpy()
    change = np.full(len(chosen), np.nan)
    with evaluated(net):
        ones = torch.ones(len(receiver)).to(graph.vector)
        before = weighted_prediction(net, graph, ones)[:, time]
        rest = np.arange(len(chosen))
        while len(rest):  # one edge for each receiver, of receivers that do not see each other's edges
            _, first = np.unique(receiver[chosen[rest]], return_index=True)
            group = groups_out_of_reach(graph, receiver[chosen[rest[first]]], net.config.layers - 1)[0]
            now = rest[first[np.isin(receiver[chosen[rest[first]]], group)]]
            weights = ones.clone()
            weights[chosen[now]] = kept
            after = weighted_prediction(net, graph, weights)[:, time]
            change[now] = (after - before)[receiver[chosen[now]]].numpy()
            rest = np.setdiff1d(rest, now)
    return change


@torch.no_grad()
def particle_removal(net: SE3GNN, graph: Data, particles: Sequence[int] | np.ndarray, kept: float = 0.0) -> np.ndarray:
    """By how much all predictions change when nobody sees a particle any more.

    For all other particles this is the change that taking the particle out of the liquid makes, while their own inputs
    (energies, vectors) stay what they were.

    Parameters
    ----------
    net, graph : as in :func:`weighted_prediction`; the network is evaluated, not trained
    particles : numbers of particles; each is removed by itself
    kept : the weight that is left of each message from it; 0 removes the particle

    Returns
    -------
    shape (len(particles), T, N), in units of the spread of the training labels; nan for the particle itself

    Raises
    ------
    ValueError
        If the network is no SE3GNN.
    """
    check_network(net)
    changes = []
    with evaluated(net):
        ones = torch.ones(graph.edge_index.shape[1]).to(graph.vector)
        before = weighted_prediction(net, graph, ones)
        for particle in particles:
            weights = torch.where(graph.edge_index[0] == int(particle), kept, ones)
            change = (weighted_prediction(net, graph, weights) - before).T.numpy()
            change[:, particle] = np.nan
            changes.append(change)
    return np.array(changes)


@torch.no_grad()
def particle_displacement(
    net: SE3GNN, graph: Data, particles: Sequence[int] | np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """By how much all predictions change when a particle is displaced.

    The edges stay what they are, and so do the inputs of each particle (energies, vectors): a step should be small.

    Parameters
    ----------
    net, graph, particles : as in :func:`particle_removal`
    steps : shape (len(particles), 3), sigma_AA

    Returns
    -------
    shape (len(particles), T, N), in units of the spread of the training labels

    Raises
    ------
    ValueError
        If the network is no SE3GNN, or there is not one step for each particle.
    """
    check_network(net)
    if np.shape(steps) != (len(particles), 3):
        raise ValueError(f"steps of shape {np.shape(steps)}; expected ({len(particles)}, 3), one for each particle")
    changes, moved = [], graph.clone()
    sender, receiver = graph.edge_index
    with evaluated(net):
        before = net.standardized(graph)
        for particle, step in zip(particles, steps, strict=True):
            sign = (sender == int(particle)).to(graph.vector) - (receiver == int(particle)).to(graph.vector)
            moved.vector = graph.vector + sign[:, None] * torch.as_tensor(step).to(graph.vector)
            changes.append((net.standardized(moved) - before).T.numpy())
    return np.array(changes)


def displacement_gradient(net: SE3GNN, graph: Data, particle: int, time: int) -> np.ndarray:
    r"""How one particle's prediction changes when each of the particles is displaced a little.

    .. math:: \frac{\partial \hat m_i}{\partial \mathbf r_j}

    The edges stay what they are, and so do the inputs of each particle (energies, vectors).

    Parameters
    ----------
    net, graph, time : as in :func:`neighbor_sensitivity`
    particle : i

    Returns
    -------
    shape (N, 3), in units of the spread of the training labels, per sigma_AA. The rows sum to zero: to displace all
    particles alike changes nothing.

    Raises
    ------
    ValueError
        As :func:`neighbor_sensitivity`.
    """
    _check_time(net, time)
    moved = graph.clone()
    moved.vector = graph.vector.detach().clone().requires_grad_()
    with evaluated(net):
        (gradient,) = torch.autograd.grad(net.standardized(moved)[particle, time], moved.vector)
    sender, receiver = graph.edge_index
    found = torch.zeros(len(graph.types), 3).to(gradient)
    return found.index_add(0, sender, gradient).index_add(0, receiver, -gradient).numpy()


def hops(graph: Data, particle: int, most: int) -> np.ndarray:
    """Along how many edges each particle is reached from one of them, shape (N,); ``most + 1`` stands for more.

    Parameters
    ----------
    graph : its ``edge_index`` counts, which has every edge in both directions
    particle : where to start
    most : where to stop, at least 0
    """
    table = _adjacency(graph)
    found = np.full(table.shape[0], most + 1)
    found[particle] = 0
    near = found == 0
    for step in range(1, most + 1):
        near = (table @ near.astype(np.float32)) > 0
        found[near & (found > step)] = step
    return found


def groups_out_of_reach(graph: Data, particles: Sequence[int] | np.ndarray, steps: int) -> list[np.ndarray]:
    """Particles in groups whose members are all more than ``steps`` edges apart, few groups rather than many.

    Parameters
    ----------
    graph : as in :func:`hops`
    particles : numbers of particles, each once
    steps : at least 0

    Returns
    -------
    arrays of numbers of particles, which together hold each of those asked for
    """
    rest, groups = np.asarray(particles, dtype=np.int64), []
    table = _adjacency(graph)
    while len(rest):
        covered, group = np.zeros(table.shape[0], dtype=bool), []
        for particle in rest:
            if covered[particle]:
                continue
            group.append(particle)
            near = np.zeros(table.shape[0], dtype=np.float32)
            near[particle] = 1
            for _ in range(steps):
                near = np.minimum(near + table @ near, 1)
            covered |= near > 0
            covered[particle] = True
        groups.append(np.array(group))
        rest = rest[~np.isin(rest, group)]
    return groups


def radius_of_share(distance: np.ndarray, response: np.ndarray, share: float) -> float:
    r"""The radius of the ball that holds a share of the squared response.

    .. math:: \sum_{r_j \le R} c_j^2 \ge s \sum_j c_j^2

    Parameters
    ----------
    distance : r_j, shape (n,), sigma_AA
    response : c_j, shape (n,), of any unit
    share : s, above 0 and at most 1

    Returns
    -------
    R, sigma_AA; the smallest for which the inequality holds. A share of 1 gives the largest distance with any response.

    Raises
    ------
    ValueError
        If the share is out of range, shapes differ, or there is no response at all.

    Examples
    --------
    >>> radius_of_share(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 1.0, -0.1, 0.0]), 0.95)
    2.0
    """
    r, square = np.asarray(distance, dtype=np.float64), np.square(np.asarray(response, dtype=np.float64))
    if not 0 < share <= 1 or r.shape != square.shape or r.ndim != 1:
        raise ValueError(
            f"share {share}, distances of shape {r.shape}, responses of shape {square.shape}; "
            "expected a share above 0 and at most 1, and one response for each distance"
        )
    if not square.sum() > 0:
        raise ValueError(f"{len(r)} responses, none above 0; expected at least one: is the particle too far away?")
    order = np.argsort(r)
    held = np.cumsum(square[order])
    if share == 1:
        return float(r[square > 0].max())
    return float(r[order][np.searchsorted(held, share * held[-1])])


def _degree_of_component(net: SE3GNN) -> Tensor:
    """Of each harmonic its degree, shape ((l_max + 1)^2,)."""
    degrees = torch.arange(net.config.l_max + 1, device=net.target_mean.device)
    return degrees.repeat_interleave(2 * degrees + 1)


def _adjacency(graph: Data) -> csr_array:
    sender, receiver = graph.edge_index.numpy()
    n = len(graph.types)
    return csr_array((np.ones(len(sender), dtype=np.float32), (receiver, sender)), shape=(n, n))


@contextmanager
def evaluated(net: nn.Module) -> Iterator[None]:
    """A network in evaluation mode, for a moment."""
    was_training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(was_training)


def check_network(net: Any) -> None:
    """A ``ValueError`` if the messages of a network are not known edge by edge."""
    if not isinstance(net, SE3GNN):
        raise ValueError(
            f"a {type(net).__name__}; expected an SE3GNN, whose messages are known edge by edge: load a run of it"
        )


def _check_time(net: Any, time: int) -> None:
    check_network(net)
    if not 0 <= time < net.config.n_times:
        raise ValueError(f"time {time}; expected the place of one of the network's {net.config.n_times} times, from 0")
