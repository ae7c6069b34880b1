"""Predictions for configurations of any size, in memory that hardly grows with them.

A large configuration is gone through layer by layer and, within a layer, block by block: a block's particles need the
features that the layer before gave their neighbors, and nothing else. What is kept of the whole are features; of the
edges, what fits into :data:`KEPT`, the others being found anew for each layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..liquid.configuration import Configuration
from ..liquid.graph import NeighborGraph, parse_inputs, required
from ..liquid.periodic import minimum_image, wrap
from ..models.heads import PROPENSITY
from ..models.propensity import PropensityNetwork
from ..models.se3 import SE3GNN

BLOCK = 4096
"""Particles in a block: as many as a training configuration has."""
KEPT = 10**9
"""Bytes of edges that are kept from layer to layer: all of those of some 10^5 particles."""


def predict_in_blocks(
    model: PropensityNetwork, configuration: Configuration, particles: int = BLOCK, target: str = PROPENSITY
) -> np.ndarray:
    """As :meth:`~glasslit.models.propensity.PropensityNetwork.predict`, in memory that hardly grows with the edges.

    Parameters
    ----------
    model : an :class:`~glasslit.models.se3.SE3GNN`; another network is asked for the whole at once
    configuration : with the inputs that it needs
    particles : in a block; a configuration of fewer is one block
    target : one of ``model.targets``

    Returns
    -------
    shape (T, N), sigma_AA, in the configuration's particle order; (T, N, 3) of a target that is a vector,
    (T, N, 6) of one that is a symmetric matrix

    Raises
    ------
    ValueError
        If an input is missing, ``particles`` is not positive, the box is shorter than twice the cutoff, the network
        does not predict the target, or its predictions are not finite.
    """
    model.check_target(target)
    return predict_targets(model, configuration, particles)[target]


@torch.no_grad()
def predict_targets(
    model: PropensityNetwork, configuration: Configuration, particles: int = BLOCK
) -> dict[str, np.ndarray]:
    """All that a network predicts, by name, each as :func:`predict_in_blocks` returns it; parameters are its own."""
    if particles < 1:
        raise ValueError(f"particles = {particles}; expected at least 1 in a block")
    was_training = model.training
    model.eval()
    try:
        if isinstance(model, SE3GNN) and configuration.n_particles > particles:
            found = _in_blocks(model, configuration, particles)
        else:
            found = model.outputs(model.graph(configuration))
    finally:
        model.train(was_training)
    return model.as_arrays(found, configuration)


def _in_blocks(model: SE3GNN, configuration: Configuration, particles: int) -> dict[str, Tensor]:
    """All targets, each of shape (N, T, ...)."""
    like, c = model.target_mean, model.config
    told = model.nodes(configuration)
    x, types, temperature = model.node_inputs(told), told.types, told.get("temperature")
    blocks = list(_blocks(configuration, c.cutoff, c.inputs, particles))
    kept: dict[int, tuple[NeighborGraph, tuple[Tensor, Tensor]]] = {}
    held, h = 0, None
    for number in range(c.layers):
        new = torch.empty(configuration.n_particles, model.irreps.dim).to(like)
        for k, block in enumerate(blocks):
            if k in kept:
                graph, edges = kept[k]
            else:
                graph = block.graph(configuration, c.cutoff, c.inputs).to(like.device)
                edges = model.edges(graph.update({"vector": graph.vector.to(like.dtype)}))
                # kernels keep a copy of the edges' ends
                size = sum(t.nbytes for t in (*edges, graph.vector)) + 2 * graph.edge_index.nbytes
                if number == 0 and held + size <= KEPT:
                    kept[k], held = (graph, edges), held + size
            before = None if h is None else h[block.nodes]
            after = model.layer(number, before, x[block.nodes], edges, graph)
            new[block.nodes[: block.inside]] = after[: block.inside]
        h = new
    assert h is not None
    known = [h, x, types] if temperature is None else [h, x, types, temperature]
    outputs = [model.outputs_of(*part) for part in zip(*(values.split(particles) for values in known), strict=True)]
    return {name: torch.cat([found[name] for found in outputs]) for name in model.targets}


@dataclass(frozen=True)
class _Block:
    """Some particles that lie together, and their neighbors outside.

    Parameters
    ----------
    nodes : the particles, then the neighbors; shape (n,), numbers in the configuration
    inside : how many of ``nodes`` are of the block
    sender : of each edge, a place in ``nodes``; shape (E,), int32
    degree : edges into each particle of the block, whose edges follow each other; shape (inside,)
    """

    nodes: Tensor
    inside: int
    sender: np.ndarray
    degree: np.ndarray

    def graph(self, configuration: Configuration, cutoff: float, inputs: str) -> NeighborGraph:
        """Edges into the block."""
        positions = required(configuration, parse_inputs(inputs).positions)[self.nodes.numpy()]
        receiver = np.repeat(np.arange(self.inside), self.degree)
        vector = minimum_image(positions[self.sender] - positions[receiver], configuration.box)
        return NeighborGraph(
            edge_index=torch.as_tensor(np.stack([self.sender.astype(np.int64), receiver])),
            vector=torch.as_tensor(vector),
            num_nodes=len(self.nodes),
            cutoff=float(cutoff),
            inputs=inputs,
        )


def _blocks(configuration: Configuration, cutoff: float, inputs: str, particles: int) -> Iterator[_Block]:
    """The configuration in parts that are compact in space."""
    if np.min(configuration.box) < 2 * cutoff:
        raise ValueError(f"box edges {configuration.box.tolist()} with cutoff {cutoff}; expected at least {2 * cutoff}")
    place = wrap(required(configuration, parse_inputs(inputs).positions), configuration.box)
    tree = cKDTree(place, boxsize=configuration.box)
    for begin in range(0, len(place), particles):
        inside = tree.indices[begin : begin + particles]  # leaves of the tree, which follow each other in space
        part = cKDTree(place[inside], boxsize=configuration.box)
        pairs = part.sparse_distance_matrix(tree, cutoff, output_type="ndarray")
        pairs = pairs[(pairs["v"] < cutoff) & (pairs["j"] != inside[pairs["i"]])]
        # One number sorts faster than two: by receiver, then sender.
        receiver, sender = np.divmod(np.sort(pairs["i"] * len(place) + pairs["j"]), len(place))
        near = np.zeros(len(place), dtype=bool)
        near[sender] = True
        near[inside] = False
        around = np.flatnonzero(near)
        nodes = np.concatenate([inside, around])
        where = np.empty(len(place), dtype=np.int32)
        where[nodes] = np.arange(len(nodes), dtype=np.int32)
        degree = np.bincount(receiver, minlength=len(inside))
        yield _Block(torch.as_tensor(nodes), len(inside), where[sender], degree)
