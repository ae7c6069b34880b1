"""The networks that a user would otherwise train, written plainly: they know distances by heart, not rotations.

Bapst et al. (Nature Physics 16, 448, 2020): 7 message passings with shared weights, MLPs of two layers of 64, the
encoders' output concatenated at each pass, sums over neighbors; 62,401 parameters. BOTAN (Shiba et al., J. Chem. Phys.
158, 084503, 2023): the same with a second target, the change of each edge's length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.data import Data


def mlp(n_in: int, n_out: int | None = None) -> nn.Sequential:
    layers = [nn.Linear(n_in, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.Linear(64, n_out)] if n_out else []))


class BapstGNN(nn.Module):
    """Type of each particle and vector of each edge in, one mobility out."""

    def __init__(self, passes: int = 7, edge_target: bool = False) -> None:
        super().__init__()
        self.passes = passes
        self.encode_node, self.encode_edge = mlp(1), mlp(3)
        self.update_edge, self.update_node = mlp(6 * 64), mlp(3 * 64)
        self.decode_node = mlp(64, 1)
        self.decode_edge = mlp(64, 1) if edge_target else None

    def forward(self, graph: Data) -> tuple[Tensor, Tensor | None]:
        sender, receiver = graph.edge_index
        first_node, first_edge = self.encode_node(graph.types[:, None].float()), self.encode_edge(graph.vector)
        node, edge = first_node, first_edge
        for _ in range(self.passes):
            both = torch.cat([node, first_node], dim=1)
            edge = self.update_edge(
                torch.cat([edge, first_edge, both.index_select(0, sender), both.index_select(0, receiver)], dim=1)
            )
            heard = torch.zeros_like(node).index_add(0, receiver, edge)
            node = self.update_node(torch.cat([both, heard], dim=1))
        return self.decode_node(node)[:, 0], None if self.decode_edge is None else self.decode_edge(edge)[:, 0]


def bapst_loss(net: BapstGNN, graph: Data) -> Tensor:
    return (net(graph)[0] - graph.y[:, 0]).square().mean()


def botan_loss(net: BapstGNN, graph: Data) -> Tensor:
    node, edge = net(graph)
    assert edge is not None
    return 0.4 * (node - graph.y[:, 0]).square().mean() + 0.6 * (edge - graph.edge_y).square().mean()
