"""Networks that pass messages along edges: on raw vectors (Bapst, BOTAN), or equivariant with vectors only (EGNN)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from ...equivariance.convolution import bessel_basis
from ...liquid.configuration import Configuration
from ...liquid.graph import required
from ...liquid.periodic import minimum_image
from ..propensity import Extra
from .common import Baseline, BaselineConfig, perceptron

N_BASIS = 10
"""Radial functions that EGNN sees of a distance, as many as the paper's network sees."""


class _EdgeMLP(nn.Module):
    """An MLP on [edge, sender, receiver], its first map split in three so that particles are mapped once each."""

    def __init__(self, edge: int, node: int, width: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.edge, self.sender = nn.Linear(edge, width), nn.Linear(node, width, bias=False)
        self.receiver = nn.Linear(node, width, bias=False)
        self.rest = nn.Sequential(activation(), nn.Linear(width, width), activation())

    def forward(self, edges: Tensor, nodes: Tensor, edge_index: Tensor) -> Tensor:
        j, i = edge_index
        return self.rest(self.edge(edges) + self.sender(nodes)[j] + self.receiver(nodes)[i])


def _received(messages: Tensor, graph: Data) -> Tensor:
    """Messages added up at their receivers."""
    return messages.new_zeros(graph.num_nodes, messages.shape[1]).index_add_(0, graph.edge_index[1], messages)


class BapstGNN(Baseline):
    """Message passing on raw vectors between neighbors; symmetry is taught by turning the training input.

    Encoders, one block used ``steps`` times whose input always holds the encoded graph beside the latent one, sums over
    neighbors. In training each batch is turned by one of the 48 turns and mirrorings of the cube, drawn anew.
    """

    def __init__(self, config: BaselineConfig) -> None:
        width = config.width
        super().__init__(config, width)
        self.encode_nodes, self.encode_edges = perceptron(self.n_scalars, width, width), perceptron(3, width, width)
        self.edge_block = _EdgeMLP(2 * width, 2 * width, width, nn.ReLU)
        self.node_block = perceptron(3 * width, width, width)
        self.readout = perceptron(width, width, width)

    def _vectors(self, graph: Data) -> Tensor:
        vectors = graph.vector / self.config.cutoff
        if self.training:
            signs = (torch.randint(0, 2, (3,)) * 2 - 1).tolist()
            axes = torch.randperm(3).tolist()  # as numbers: tensors from the CPU would keep a GPU waiting
            vectors = torch.stack([sign * vectors[:, axis] for sign, axis in zip(signs, axes, strict=True)], dim=1)
        return vectors

    def latent(self, graph: Data) -> tuple[Tensor, Tensor]:
        """Nodes (N, width) and edges (E, width) after the last block."""
        nodes, edges = self.encode_nodes(self.scalars(graph)), self.encode_edges(self._vectors(graph))
        first_nodes, first_edges = nodes, edges
        for _ in range(self.config.steps):
            both = torch.cat([first_nodes, nodes], dim=1)
            edges = self.edge_block(torch.cat([first_edges, edges], dim=1), both, graph.edge_index)
            nodes = self.node_block(torch.cat([both, _received(edges, graph)], dim=1))
        return nodes, edges

    def features(self, graph: Data) -> Tensor:
        """Numbers that describe each particle, shape (N, width)."""
        return self.readout(self.latent(graph)[0])


class BotanGNN(BapstGNN):
    r""":class:`BapstGNN` that also learns how the distance to each neighbor changes, a target on edges.

    .. math:: \text{loss} = (1 - w)\, \text{node} + w\, \text{edge}, \quad w = 0.6

    The published target is the mean over runs of :math:`|r_{ij}(t)| - |r_{ij}(0)|`. Configurations keep no pairs of
    single runs, so here it is the change of the distance between the *mean* positions, from ``mean_displacement``.
    """

    edge_std: Tensor

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        self.edge_readout = perceptron(config.width, config.width, config.n_times, last=False)
        self.register_buffer("edge_std", torch.ones(config.n_times))

    def graph(self, configuration: Configuration) -> Data:
        """The neighbor graph, with ``edge_y`` (E, T), sigma_AA, where there are mean displacements."""
        graph = super().graph(configuration)
        moved = configuration.mean_displacement
        if moved is not None:
            j, i = graph.edge_index.cpu().numpy()
            now = minimum_image(configuration.positions[j] - configuration.positions[i], configuration.box)
            later = np.linalg.norm(now + moved[:, j] - moved[:, i], axis=-1)
            change = torch.as_tensor((later - np.linalg.norm(now, axis=-1)).T)
            graph.edge_y = change.to(graph.vector)
        return graph

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration]) -> None:
        """As in every network, and the spread of the target on edges.

        Raises
        ------
        ValueError
            If labels or mean displacements are missing.
        """
        super().set_standardization(configurations)
        for c in configurations:
            required(c, "mean_displacement")
        squares = [self.graph(c).edge_y.square().mean(dim=0) for c in configurations]
        self.edge_std.copy_(torch.stack(squares).mean(dim=0).sqrt().clamp_min(1e-12))

    def training_loss(self, graph: Data, level_weight: float | None = None, extra: Extra | None = None) -> Tensor:
        """Squared errors of nodes and of edges, weighted."""
        nodes, edges = self.latent(graph)
        on_nodes = self.loss(graph, self.decoded(self.readout(nodes), graph.types), level_weight, extra)
        on_edges = (self.edge_readout(edges) - graph.edge_y / self.edge_std).square().sum(dim=1).mean()
        return (1 - self.config.edge_weight) * on_nodes + self.config.edge_weight * on_edges


class EGNN(Baseline):
    """Equivariant with vectors only: messages know distances, and each particle carries a displacement that they move.

    The displacement turns with the input; later distances are those between displaced particles. It starts at zero.
    Distances enter as Bessel functions, as in the paper's network; the published network takes their squares.
    """

    def __init__(self, config: BaselineConfig) -> None:
        width = config.width
        super().__init__(config, width)
        self.encode = nn.Linear(self.n_scalars, width)
        self.messages = nn.ModuleList(_EdgeMLP(2 * N_BASIS, width, width, nn.SiLU) for _ in range(config.steps))
        self.updates = nn.ModuleList(
            perceptron(2 * width, width, width, last=False, activation=nn.SiLU) for _ in range(config.steps)
        )
        pulls = [nn.Linear(width, 1, bias=False) for _ in range(config.steps)]
        for pull in pulls:
            nn.init.xavier_uniform_(pull.weight, gain=1e-2)
        self.pulls = nn.ModuleList(pulls)

    def _radial(self, vectors: Tensor) -> Tensor:
        distance = (vectors.square().sum(dim=1) + 1e-12).sqrt()  # displaced particles may meet
        return bessel_basis(distance, self.config.cutoff, N_BASIS)

    def displaced(self, graph: Data) -> tuple[Tensor, Tensor]:
        """Features (N, width) and displacements (N, 3), sigma_AA, which turn with the input."""
        h = self.encode(self.scalars(graph))
        u = graph.vector.new_zeros(graph.num_nodes, 3)
        j, i = graph.edge_index
        first = self._radial(graph.vector)
        some = 1 / 40  # about the number of neighbors, so that sums are of order one
        for message, update, pull in zip(self.messages, self.updates, self.pulls, strict=True):
            vector = graph.vector + u[j] - u[i]
            m = message(torch.cat([self._radial(vector), first], dim=1), h, graph.edge_index)
            u = u + some * _received(vector * pull(m), graph)
            h = h + update(torch.cat([h, some * _received(m, graph)], dim=1))
        return h, u

    def features(self, graph: Data) -> Tensor:
        """Numbers that describe each particle, shape (N, width)."""
        return self.displaced(graph)[0]
