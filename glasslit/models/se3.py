r"""The full network of Pezzicoli et al. (2024): Fig. 4, Eqs. 21-23.

Eight equivariant convolutions with ResNet sums, equivariant batch norm after each, and one linear
decoder per (time, particle type) on rotation-invariant numbers. Training is :mod:`glasslit.learning.train`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from ..equivariance.attention import EdgeScore
from ..equivariance.convolution import SE3Convolution, bessel_basis
from ..equivariance.kernels import check_kernel
from ..equivariance.products import SymmetricProduct, check_products
from ..equivariance.so3 import copies_and_degrees, invariants_of_copies, parity_of, spherical_harmonics
from ..liquid.configuration import Configuration
from ..liquid.graph import parse_inputs
from ..names import refuse_unknown_keywords, unknown_names
from .clock import check_time_unit, relaxation_time
from .decoders import DECODERS, Decoder, check_decoder, straight, temperature_of
from .heads import HEADS, PROPENSITY, parse_targets
from .norms import BatchNorm
from .propensity import Extra, PropensityNetwork, label_of


@refuse_unknown_keywords
@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network; the defaults are the paper's.

    Parameters
    ----------
    layers : number of convolutions
    channels : copies of each degree l = 0 ... l_max
    l_max : highest degree
    cutoff : of graph and radial basis alike, sigma_AA
    inputs : what the network sees, one of :data:`glasslit.liquid.graph.INPUTS`
    targets : what it predicts, one of :data:`glasslit.models.heads.TARGETS`
    target_weight : of each further target in the loss; the propensity counts 1
    decoder : from invariants to propensities, one of :data:`glasslit.models.decoders.DECODERS`; "linear" is the paper's
    products : factors of the products of features after each convolution, 1 (none, as in the paper), 2 or 3; see
        :class:`glasslit.equivariance.products.SymmetricProduct`
    attention : whether a score weights each message; see :class:`glasslit.equivariance.attention.EdgeScore`
    relaxed : highest degree of weights that break the symmetry where the data do, 0 for none, as in the paper; see
        :meth:`SE3GNN.node_inputs`
    mirror_images : whether the network knows that a mirror image moves as much: E(3) instead of the paper's SE(3).
        Features of degree l then have the parity (-1)^l, and products odd under reflection are left out. Relaxed
        weights break this symmetry as they do rotations; of degree 1 they are a polar vector, and never an axial one
    n_times : number of times predicted at once
    time_unit : in which it counts time, one of :data:`glasslit.models.clock.TIME_UNITS`: "LJ", or "tau_alpha" at each
        configuration's temperature, for training at several temperatures
    n_basis : Bessel functions
    hidden : width of the radial network
    dropout : in the radial network
    batch_norm_momentum : of the equivariant batch norm
    kernel : see :func:`glasslit.equivariance.kernels.select`

    Raises
    ------
    ValueError
        If a size is not positive, or a name is unknown.
    """

    layers: int = 8
    channels: int = 8
    l_max: int = 3
    cutoff: float = 2.0
    inputs: str = "thermal+E_IS"
    n_times: int = 10
    n_basis: int = 10
    hidden: int = 16
    dropout: float = 0.3
    batch_norm_momentum: float = 0.5
    kernel: str = "auto"
    targets: str = PROPENSITY
    target_weight: float = 1.0
    decoder: str = "linear"
    products: int = 1
    attention: bool = False
    time_unit: str = "LJ"
    relaxed: int = 0
    mirror_images: bool = False

    def __post_init__(self) -> None:
        for name in ("layers", "channels", "n_times", "n_basis", "hidden"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise ValueError(f"{name} = {getattr(self, name)!r}; expected a whole number of at least 1")
        if not (isinstance(self.l_max, int) and 0 <= self.l_max <= 11):
            raise ValueError(
                f"l_max = {self.l_max!r}; expected a whole number from 0 to 11, which is as far as e3nn goes"
            )
        if not (isinstance(self.target_weight, int | float) and self.target_weight >= 0):
            raise ValueError(f"target_weight = {self.target_weight!r}; expected a number of at least 0")
        parse_targets(self.targets)
        if not self.cutoff > 0 or not 0 <= self.dropout < 1 or not 0 < self.batch_norm_momentum <= 1:
            raise ValueError(
                f"cutoff = {self.cutoff}, dropout = {self.dropout}, batch_norm_momentum = {self.batch_norm_momentum}; "
                "expected cutoff > 0, 0 <= dropout < 1, 0 < batch_norm_momentum <= 1"
            )
        if parse_inputs(self.inputs).vector is not None and self.l_max == 0:
            raise ValueError(f"inputs {self.inputs!r} with l_max = 0; expected at least 1, which sees the vector")
        check_kernel(self.kernel)
        check_decoder(self.decoder)
        check_products(self.products, self.l_max)
        check_time_unit(self.time_unit)
        for name in ("attention", "mirror_images"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} = {getattr(self, name)!r}; expected True or False")
        if not (isinstance(self.relaxed, int) and 0 <= self.relaxed <= self.l_max):
            raise ValueError(f"relaxed = {self.relaxed!r}; expected a whole number from 0 to l_max = {self.l_max}")

    @classmethod
    def laptop(cls, **changes: Any) -> ModelConfig:
        """A small preset that trains in minutes on two CPU cores."""
        return cls(**({"layers": 3, "channels": 4, "l_max": 2} | changes))


class SE3GNN(PropensityNetwork):
    """Positions in, propensity out; turning the input turns the hidden features and changes no prediction.

    Parameters
    ----------
    config : :class:`ModelConfig`; the paper's by default

    Examples
    --------
    >>> net = SE3GNN()
    >>> {k: v for k, v in net.count_parameters().items() if k != "batch_norm"}
    {'radial': 35664, 'mixing': 16000, 'decoder': 640}
    """

    config: ModelConfig
    irreps: o3.Irreps
    decoder: Decoder

    def __init__(self, config: ModelConfig | None = None) -> None:
        config = config or ModelConfig()
        super().__init__(config)
        known = config.mirror_images
        inputs = [(self.n_scalars, (0, 1)), *([(1, (1, parity_of(1, known)))] if self.needs_vector else [])]
        relaxed = [(1, (degree, parity_of(degree, known))) for degree in range(1, config.relaxed + 1)]
        self.irreps_inputs = o3.Irreps([*inputs, *relaxed])
        if relaxed:
            self.relaxed_weights = nn.Parameter(torch.zeros(o3.Irreps(relaxed).dim))
        self.register_module("decoder", None)  # made last, but the first in the order of parameters, which files keep
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        incoming = self.irreps_inputs
        for _ in range(config.layers):
            convolution = SE3Convolution(
                incoming, config.channels, config.l_max, config.n_basis, config.hidden, config.dropout, config.kernel,
                known,
            )  # fmt: skip
            self.convolutions.append(convolution)
            self.norms.append(BatchNorm(convolution.irreps_out, momentum=config.batch_norm_momentum))
            incoming = convolution.irreps_out + self.irreps_inputs
        self.irreps = self.convolutions[-1].irreps_out
        self.kind = copies_and_degrees(self.irreps)
        self.n_invariants = config.channels * (config.l_max + 1)
        self.decoder = DECODERS[config.decoder](self.n_invariants, config.n_times)
        for name in parse_targets(config.targets):
            self.heads[name] = HEADS[name](self.irreps, self.irreps_inputs, config.n_times)
        # Drawn last: with the same seed, all else begins as in a network without them.
        self.products, self.scores = nn.ModuleList(), nn.ModuleList()
        for _ in range(config.layers if config.products > 1 else 0):
            norm = BatchNorm(self.irreps, momentum=config.batch_norm_momentum)
            product = SymmetricProduct(config.channels, config.l_max, config.products, known)
            self.products.append(nn.Sequential(norm, product))  # cubes of numbers that are not of order one run away
        kinds = [cast(SE3Convolution, c).coupling.irreps_in for c in self.convolutions]
        self.scores.extend(EdgeScore(kind, config.n_basis) for kind in kinds if config.attention)

    def node_inputs(self, graph: Data) -> Tensor:
        """Scalars of each particle, its vector where ``inputs`` names one, and the relaxed weights.

        Shape (N, self.irreps_inputs.dim). The relaxed weights, one copy of each degree 1 ... ``config.relaxed``, are
        the same for all particles. They couple with the harmonics as features do, so that they weight neighbors by
        their direction: a network whose relaxed weights are turned with the liquid predicts the same, and one whose
        relaxed weights stay where the liquid turns does not. At the start they are zero.
        """
        parts = [self.scalars(graph)]
        if self.needs_vector:
            parts.append(self.vectors(graph))
        if self.config.relaxed:
            parts.append(self.relaxed_weights.expand(len(graph.types), -1))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def features(self, graph: Data) -> Tensor:
        """Equivariant features of each particle after the last layer, shape (N, self.irreps.dim)."""
        x = self.node_inputs(graph)
        edges = self.edges(graph)
        h = None
        for number in range(self.config.layers):
            h = self.layer(number, h, x, edges, graph)
        assert h is not None
        return h

    def edges(self, graph: Data) -> tuple[Tensor, Tensor]:
        """What all layers know of the edges: harmonics (E, (l_max + 1)^2) and radial functions (E, N_b)."""
        harmonics = spherical_harmonics(self.config.l_max, graph.vector)
        distance = torch.linalg.vector_norm(graph.vector, dim=1)
        return harmonics, bessel_basis(distance, self.config.cutoff, self.config.n_basis)

    def layer(self, number: int, h: Tensor | None, x: Tensor, edges: tuple[Tensor, Tensor], graph: Data) -> Tensor:
        """Features after one layer, (N, self.irreps.dim), from those before it (None before the first) and inputs."""
        incoming = x if h is None else torch.cat([h, x], dim=1)
        harmonics, basis = edges
        if self.config.attention:  # a message is linear in its edge's harmonics
            harmonics = harmonics * self.scores[number](incoming, basis, graph)
        change = self.convolutions[number](incoming, harmonics, basis, graph)
        if self.config.products > 1:
            change = self.products[number](change)
        change = self.norms[number](change)
        return change if h is None else h + change

    def invariants(self, graph: Data) -> Tensor:
        """``[h^0, |h^1|, ..., |h^l_max|]`` of each particle, shape (N, channels (l_max + 1))."""
        return self.invariants_of(self.features(graph))

    def invariants_of(self, features: Tensor) -> Tensor:
        """The same, of features that are at hand."""
        return invariants_of_copies(features, self.kind)

    def tell(self, graph: Data, configuration: Configuration) -> Data:
        """As every network's, and the temperature of each particle's liquid where the decoder reads it."""
        if self.decoder.sees_temperature:
            graph.temperature = torch.full((graph.num_nodes,), temperature_of(configuration)).to(self.target_mean)
        return super().tell(graph, configuration)

    def standardized(self, graph: Data) -> Tensor:
        """Prediction in units of the training labels' spread, per type and time; shape (N, T)."""
        return self.decoded(self.invariants(graph), graph.types, graph.get("temperature"))

    def decoded(
        self, invariants: Tensor, types: Tensor, temperature: Tensor | None = None, clock: Tensor | None = None
    ) -> Tensor:
        """Each particle's invariants by the decoder of its type, shape (N, T); see :mod:`glasslit.models.decoders`."""
        return self.decoder(invariants, types, clock, temperature)

    def outputs(self, graph: Data) -> dict[str, Tensor]:
        """All targets by name, each of shape (N, T) or (N, T, components), in the units of its label."""
        return self.outputs_of(self.features(graph), self.node_inputs(graph), graph.types, graph.get("temperature"))

    def outputs_of(
        self, features: Tensor, inputs: Tensor, types: Tensor, temperature: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The same, of features and inputs that are at hand."""
        standardized = self.decoded(self.invariants_of(features), types, temperature)
        found = {PROPENSITY: self.target_mean[types] + self.target_std[types] * standardized}
        return found | {name: head(features, inputs, types) for name, head in self.further()}

    def training_loss(self, graph: Data, level_weight: float | None = None, extra: Extra | None = None) -> Tensor:
        """Squared error of the propensity, and of each further target with its weight."""
        features, inputs = self.features(graph), self.node_inputs(graph)
        prediction = self.decoded(self.invariants_of(features), graph.types, graph.get("temperature"))
        loss = self.loss(graph, prediction, level_weight, extra)
        for name, head in self.further():
            if label_of(name) not in graph:
                raise ValueError(
                    f"a graph without {head.field}; expected it for the target {name!r}: use labelled data"
                )
            error = head.loss(features, inputs, graph.types, graph[label_of(name)])
            loss = loss + self.config.target_weight * error
        return loss

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration]) -> None:
        """As every network's; the decoder learns which times and temperatures there are."""
        super().set_standardization(configurations)
        self.decoder.set_standardization(configurations)

    @torch.no_grad()
    def predict_at(self, configuration: Configuration, times: Sequence[float]) -> np.ndarray:
        """Propensity at times of one's choice, which a decoder that is a function of time can be asked for.

        Mean and spread of the propensity, which a network predicts deviations from, are taken from those at the times
        of training: the logarithms of both are straight lines in log t from each time to the next, and beyond the ends.

        Parameters
        ----------
        configuration : as for :meth:`~glasslit.models.propensity.PropensityNetwork.predict`
        times : positive, Lennard-Jones units

        Returns
        -------
        shape (number of times, N), sigma_AA

        Raises
        ------
        ValueError
            If the decoder has weights for each time and a time is none of these, a time is not positive, or the network
            was never trained.
        """
        asked = np.asarray(times, dtype=np.float64)
        if asked.ndim != 1 or not len(asked) or not np.all((asked > 0) & np.isfinite(asked)):
            raise ValueError(f"times = {times!r}; expected a list of positive numbers, Lennard-Jones units")
        if not np.isfinite(self.times).all():
            raise ValueError("the network has no times yet; expected a trained one: train it, or load_model one")
        if not self.decoder.continuous:
            known = self.times_at(configuration.temperature)
            apart = np.abs(asked[:, None] / known - 1)
            if np.any(apart.min(axis=1) > 1e-6):
                raise ValueError(
                    f"times {asked.tolist()}; decoder {self.config.decoder!r} predicts at {known.tolist()} only: "
                    "ask for these, or train with decoder 'film'"
                )
            return self.predict(configuration)[apart.argmin(axis=1)]
        if self.time_unit == "tau_alpha":
            asked = asked / relaxation_time(temperature_of(configuration))
        was_training = self.training
        self.eval()
        try:
            graph = self.graph(configuration)
            clock = self.decoder.reading(asked)
            found = self.decoded(self.invariants(graph), graph.types, graph.get("temperature"), clock)
        finally:
            self.train(was_training)
        scale = [
            torch.as_tensor(np.exp(straight(np.log(asked), np.log(self.times), np.log(values.cpu().double().numpy()))))
            for values in (self.target_mean.clamp_min(1e-12), self.target_std)
        ]
        mean, spread = (values.to(found)[graph.types] for values in scale)
        return (mean + spread * found).T.cpu().numpy()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Files of before there were several decoders hold the weights of the only one under its name."""
        if f"{prefix}decoder" in state_dict:
            state_dict[f"{prefix}decoder.weight"] = state_dict.pop(f"{prefix}decoder")
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def count_parameters(self) -> dict[str, int]:
        """Trainable numbers by part: radial, mixing, decoder, batch_norm (the equivariant one's weights), each head.

        Products, with the norms before them, and attention stand there if there are any.
        """

        def count(modules: Any) -> int:
            return sum(p.numel() for module in modules for p in module.parameters())

        further = {name: count([head]) for name, head in self.heads.items()}
        further |= {"products": count(self.products)} if self.config.products > 1 else {}
        further |= {"attention": count(self.scores)} if self.config.attention else {}
        further |= {"relaxed": self.relaxed_weights.numel()} if self.config.relaxed else {}
        return {
            "radial": count(c.radial for c in self.convolutions),
            "mixing": count(c.mixing for c in self.convolutions),
            "decoder": count([self.decoder]),
            "batch_norm": count(self.norms),
            **further,
        }


def config_to_dict(config: ModelConfig) -> dict[str, Any]:
    """Plain values of a config, for checkpoints."""
    return asdict(config)


def config_from_dict(values: dict[str, Any]) -> ModelConfig:
    """The reverse, refusing names that no :class:`ModelConfig` has."""
    known = [f.name for f in fields(ModelConfig)]
    if unknown := set(values) - set(known):
        raise ValueError(unknown_names(unknown, known, "model setting"))
    return ModelConfig(**values)
