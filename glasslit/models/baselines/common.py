"""What all baselines share: sizes, and a linear decoder for each type."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from ...liquid.graph import parse_inputs
from ..propensity import N_TYPES, PropensityNetwork


@dataclass(frozen=True)
class BaselineConfig:
    """Sizes of a baseline.

    Parameters
    ----------
    inputs : what it sees, one of :data:`glasslit.liquid.graph.INPUTS` without a vector
    n_times : number of times predicted at once
    cutoff : of the graph, sigma_AA
    width, steps : of its layers, and how often messages are passed (``bapst``, ``botan``, ``egnn``)
    edge_weight : part of BOTAN's loss that comes from edges
    shape_weight : weight of GlassMLP's terms for fluctuations and correlations

    Raises
    ------
    ValueError
        If a size is not positive, or a name is unknown.
    """

    inputs: str = "thermal+E_IS"
    n_times: int = 10
    cutoff: float = 2.0
    width: int = 64
    steps: int = 7
    edge_weight: float = 0.6
    shape_weight: float = 0.1

    def __post_init__(self) -> None:
        for name in ("n_times", "width", "steps"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise ValueError(f"{name} = {getattr(self, name)!r}; expected a whole number of at least 1")
        if not self.cutoff > 0 or not 0 <= self.edge_weight < 1 or not self.shape_weight >= 0:
            raise ValueError(
                f"cutoff = {self.cutoff}, edge_weight = {self.edge_weight}, shape_weight = {self.shape_weight}; "
                "expected cutoff > 0, 0 <= edge_weight < 1, shape_weight >= 0"
            )
        if parse_inputs(self.inputs).vector is not None:
            raise ValueError(
                f"inputs {self.inputs!r}; expected some without a vector: baselines see scalars only, so leave out the "
                "last part, or take network 'se3'"
            )


class Baseline(PropensityNetwork):
    """A network that turns particles into features, and those into propensities by a linear map for each type."""

    config: BaselineConfig

    def __init__(self, config: BaselineConfig, n_features: int) -> None:
        super().__init__(config)
        self.decoder = nn.Linear(n_features, N_TYPES * config.n_times)
        with torch.no_grad():
            self.decoder.weight.mul_(0.1)  # training starts near the mean prediction
            self.decoder.bias.zero_()

    def features(self, graph: Data) -> Tensor:
        """Numbers that describe each particle, shape (N, F)."""
        raise NotImplementedError(f"{type(self).__name__} does not say what describes a particle: define features")

    def decoded(self, features: Tensor, types: Tensor) -> Tensor:
        """Each particle's features by the map of its type, shape (N, T)."""
        every_type = self.decoder(features).view(len(features), N_TYPES, self.config.n_times)
        return every_type[torch.arange(len(types), device=types.device), types]

    def standardized(self, graph: Data) -> Tensor:
        """Prediction in units of the training labels' spread, per type and time; shape (N, T)."""
        return self.decoded(self.features(graph), graph.types)


def perceptron(n_in: int, *widths: int, last: bool = True, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear maps with an activation after each, or after each but the last."""
    parts: list[nn.Module] = []
    for k, width in enumerate(widths):
        parts += [nn.Linear(n_in, width)] + ([activation()] if last or k + 1 < len(widths) else [])
        n_in = width
    return nn.Sequential(*parts)
