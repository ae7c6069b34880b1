r"""A learned potential: the layers of the propensity network predict an energy, and its gradient is the force.

The energy of a particle is a function of the rotation-invariant part of its features, that of the liquid is the sum
over particles, and the force is its negative gradient, by automatic differentiation: so forces turn with the liquid,
add up to zero, and do work that does not depend on the path. (Batzner et al., Nature Communications 13, 2453, 2022, do
so with such layers.) What differs from the propensity network is what a gradient asks for: functions that are smooth,
also where a neighbor leaves the cutoff.

A liquid and its mirror image have the same energy in the exact potential, and in a learned one with ``mirror_images``
and no relaxed weights.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from ..equivariance.convolution import Linear, SE3Convolution, bessel_basis, linear_of_many
from ..equivariance.kernels import check_kernel, contract
from ..equivariance.so3 import irreps, spherical_harmonics
from ..liquid.configuration import Configuration
from ..liquid.graph import neighbor_graph
from ..liquid.kob_andersen import TYPE_NAMES, interactions
from ..names import refuse_unknown_keywords
from ..writing import check_archive, write

POTENTIAL_FORMAT = "glasslit-potential-1"

# What is learned: a configuration's energies (N,), epsilon_AA, and forces (N, 3), epsilon_AA / sigma_AA.
Truth = Callable[[Configuration], tuple[np.ndarray, np.ndarray]]


def envelope(distance: Tensor, cutoff: float, power: int = 6) -> Tensor:
    r"""A polynomial that falls from 1 at distance 0 to 0 at the cutoff, with two derivatives that are 0 there.

    .. math:: u(x) = 1 - \tfrac{(p+1)(p+2)}{2} x^p \\ + p\,(p+2)\, x^{p+1} - \tfrac{p\,(p+1)}{2} x^{p+2}, \\ x = r / r_c

    (Gasteiger et al., ICLR 2020.)

    Parameters
    ----------
    distance : shape (E,), below the cutoff, sigma_AA
    cutoff : r_c, sigma_AA
    power : p

    Returns
    -------
    shape (E,)

    Examples
    --------
    >>> envelope(torch.tensor([0.0, 1.0, 2.0]), 2.0)
    tensor([1.0000, 0.8555, 0.0000])
    """
    x, p = distance / cutoff, power
    return 1 - x**p * ((p + 1) * (p + 2) / 2 - p * (p + 2) * x + p * (p + 1) / 2 * x**2)


@refuse_unknown_keywords
@dataclass(frozen=True)
class PotentialConfig:
    """Sizes of a learned potential.

    Parameters
    ----------
    layers : number of convolutions
    channels : copies of each degree l = 0 ... l_max
    l_max : highest degree
    cutoff : sigma_AA; the Kob-Andersen mixture's own is 2.5
    n_basis : Bessel functions
    hidden : width of the radial network
    readout : width of the network from invariants to the energy
    power : of the :func:`envelope`; 0 leaves it out, and energies jump where neighbors cross the cutoff
    neighbors : typical number of them, by whose square root sums over neighbors are divided
    relaxed : highest degree of weights that break the symmetry where the data do, 0 for none: ``relaxed_weights``
    mirror_images : whether products that are odd under reflection are left out: E(3) instead of SE(3)
    kernel : see :func:`glasslit.equivariance.kernels.select`

    Raises
    ------
    ValueError
        If a size is out of range or no number.
    """

    layers: int = 2
    channels: int = 8
    l_max: int = 2
    cutoff: float = 2.5
    n_basis: int = 16
    hidden: int = 32
    readout: int = 32
    power: int = 6
    neighbors: float = 78.0
    kernel: str = "auto"
    relaxed: int = 0
    mirror_images: bool = False

    def __post_init__(self) -> None:
        least = {"layers": 1, "channels": 1, "n_basis": 1, "hidden": 1, "readout": 1}
        for name, lowest in (least | {"l_max": 0, "power": 0, "relaxed": 0}).items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise ValueError(f"{name} = {value!r}; expected a whole number of at least {lowest}")
        for name, size in (("cutoff", self.cutoff), ("neighbors", self.neighbors)):
            if not isinstance(size, Real) or isinstance(size, bool) or not 0 < size < math.inf:
                raise ValueError(f"{name} = {size!r}; expected a positive, finite number")
            object.__setattr__(self, name, float(size))  # load_potential reads no numbers of NumPy's
        if self.power in (1, 2):
            raise ValueError(f"power = {self.power}; expected 3 or more, for smooth forces, or 0 for no envelope")
        if self.relaxed > self.l_max:
            raise ValueError(f"relaxed = {self.relaxed}; expected a whole number from 0 to l_max = {self.l_max}")
        if not isinstance(self.mirror_images, bool):
            raise ValueError(f"mirror_images = {self.mirror_images!r}; expected True or False")
        check_kernel(self.kernel)


class SmoothConvolution(SE3Convolution):
    """The convolution of the propensity network with a radial network that is smooth and has no memory of batches.

    SiLU stands in place of ReLU, without batch norm and dropout; weights are multiplied by the envelope.
    """

    def __init__(self, irreps_in: Any, config: PotentialConfig) -> None:
        sizes = config.channels, config.l_max, config.n_basis, config.hidden
        super().__init__(irreps_in, *sizes, 0.0, config.kernel, config.mirror_images)
        self.radial = nn.Sequential(
            Linear(config.n_basis, config.hidden), nn.SiLU(),
            Linear(config.hidden, config.hidden), nn.SiLU(),
        )  # fmt: skip
        self.last = nn.Linear(config.hidden, self.coupling.n_weights)

    def couple(self, h: Tensor, Y: Tensor, basis: Tensor, cut: Tensor, pair: Tensor, graph: Data) -> Tensor:
        """Features (N, irreps_in.dim) to (N, irreps_out.dim).

        Harmonics (E, (l_max + 1)^2) are those of edges; basis (P, N_b) and envelope (P, 1) those of pairs, and ``pair``
        says which an edge belongs to.
        """
        # (W x + b) u = [W, b] [x u, u]: the envelope multiplies 17 numbers of each edge, and not all weights.
        x = torch.cat([self.radial(basis) * cut, cut], dim=1)
        weights = linear_of_many(x, torch.cat([self.last.weight, self.last.bias[:, None]], dim=1))
        return self.mix(contract(h, Y, weights.index_select(0, pair), graph, self.coupling, self.kernel))


class Gate(nn.Module):
    """Scalars by SiLU; each copy of a higher degree times a number between 0 and 1 that scalars decide."""

    def __init__(self, channels: int, l_max: int) -> None:
        super().__init__()
        self.channels, self.l_max = channels, l_max
        self.gates = nn.Linear(channels, channels * l_max) if l_max else None

    def forward(self, h: Tensor) -> Tensor:
        """Features of channels copies of 0 ... l_max, shape (N, channels (l_max + 1)^2) -> the same."""
        sizes = [self.channels * (2 * degree + 1) for degree in range(self.l_max + 1)]
        scalars, *higher = h.split(sizes, dim=1)
        parts = [torch.nn.functional.silu(scalars)]
        gates = () if self.gates is None else torch.sigmoid(self.gates(scalars)).chunk(self.l_max, 1)
        for block, gate in zip(higher, gates, strict=True):
            parts.append((block.unflatten(1, (self.channels, -1)) * gate[:, :, None]).flatten(1))
        return torch.cat(parts, dim=1)


class Potential(nn.Module):
    """Positions in, energies and forces out.

    Parameters
    ----------
    config : :class:`PotentialConfig`

    Attributes
    ----------
    relaxed_weights : with ``config.relaxed``, one copy of each degree 1 ... ``config.relaxed``, zero at the start. They
        join the features of all particles before each convolution: turned together with the liquid they leave
        energies as they are, and else they break the symmetry.

    Examples
    --------
    >>> from glasslit.testing import random_liquid
    >>> energy, force = Potential().predict(random_liquid(300))
    >>> energy.shape, force.shape, bool(np.abs(force.sum(axis=0)).max() < 1e-4)
    ((300,), (300, 3), True)
    """

    target_mean: Tensor
    scale: Tensor
    relaxed_weights: Tensor | None

    def __init__(self, config: PotentialConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PotentialConfig()
        n_types = len(TYPE_NAMES)
        self.irreps = irreps(config.channels, config.l_max, config.mirror_images)
        self.embedding = nn.Linear(n_types, config.channels)
        self.convolutions, self.gates = nn.ModuleList(), nn.ModuleList()
        kinds = irreps(1, config.relaxed, config.mirror_images)[1:]  # degrees from 1 on
        self.relaxed_weights = nn.Parameter(torch.zeros(kinds.dim)) if config.relaxed else None
        incoming = irreps(config.channels, 0)
        for _ in range(config.layers):
            self.convolutions.append(SmoothConvolution(incoming + kinds, config))
            self.gates.append(Gate(config.channels, config.l_max))
            incoming = self.irreps
        invariants = len(self.irreps) * config.channels + n_types
        self.readout = nn.Sequential(nn.Linear(invariants, config.readout), nn.SiLU(), nn.Linear(config.readout, 1))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                # So that numbers keep their size through SiLU. PyTorch's own start is smaller, and forces, which are
                # gradients, stay near zero for many steps.
                nn.init.normal_(module.weight, std=1.7 / module.weight.shape[1] ** 0.5)
                nn.init.zeros_(module.bias)
        with torch.no_grad():  # training starts from the mean energy and forces of about zero
            cast(nn.Linear, self.readout[-1]).weight.mul_(0.1)
        self.register_buffer("target_mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def graph(self, configuration: Configuration) -> Data:
        """What the potential looks at, in its precision and on its device."""
        like = self.target_mean
        return neighbor_graph(configuration, self.config.cutoff, "thermal", like.dtype).to(like.device)

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration], truth: Truth | None = None) -> None:
        """Take mean energy per particle and root mean square of the forces' components from configurations.

        ``truth`` says energies and forces; by default it is :func:`exact`. Errors are those of :func:`labels`.
        """
        known = labels(configurations, truth, self.scale.dtype)
        self.target_mean.fill_(sum(float(e.sum()) for e, _ in known) / sum(len(e) for e, _ in known))
        self.scale.fill_(math.sqrt(float(np.mean(np.concatenate([f.ravel() for _, f in known]) ** 2))) or 1.0)

    def features(self, graph: Data, vector: Tensor) -> Tensor:
        """Features of each particle behind the last layer, shape (N, channels (l_max + 1)^2).

        Parameters
        ----------
        graph : of :meth:`graph`
        vector : shape (E, 3), from receiver to sender; may carry gradients
        """
        config = self.config
        # Both edges of a pair are as long, and their harmonics differ by the sign (-1)^l: half of the work is enough.
        first, pair, turned = pairs_of(graph.reverse)
        one_way = vector.index_select(0, first)
        distance = torch.linalg.vector_norm(one_way, dim=1)
        sign = torch.cat([torch.full((2 * degree + 1,), (-1.0) ** degree) for degree in range(config.l_max + 1)])
        signs = torch.where(turned[:, None], sign.to(vector), 1.0)
        harmonics = spherical_harmonics(config.l_max, one_way).index_select(0, pair) * signs
        basis = bessel_basis(distance, config.cutoff, config.n_basis)
        cut = envelope(distance, config.cutoff, config.power) if config.power else torch.ones_like(distance)
        cut = cut[:, None] / math.sqrt(config.neighbors)
        h: Tensor = self.embedding(graph.x)
        more = self.relaxed_weights
        for number, (convolution, gate) in enumerate(zip(self.convolutions, self.gates, strict=True)):
            joined = h if more is None else torch.cat([h, more.expand(len(h), -1)], dim=1)
            change = gate(cast(SmoothConvolution, convolution).couple(joined, harmonics, basis, cut, pair, graph))
            h = change if number == 0 else h + change
        return h

    def energies(self, graph: Data, vector: Tensor) -> Tensor:
        """Energy of each particle, shape (N,), epsilon_AA; parameters as those of :meth:`features`."""
        config, one_hot = self.config, graph.x
        h = self.features(graph, vector)
        scalars, *higher = h.split([config.channels * (2 * degree + 1) for degree in range(config.l_max + 1)], dim=1)
        squares = [block.unflatten(1, (config.channels, -1)).square().mean(dim=2) for block in higher]
        return self.target_mean + self.scale * self.readout(torch.cat([scalars, *squares, one_hot], dim=1))[:, 0]

    @torch.compiler.disable  # training differentiates forces, and compiled graphs cannot be differentiated twice
    def forward(self, graph: Data) -> tuple[Tensor, Tensor]:
        """Energies (N,), epsilon_AA, and forces (N, 3), epsilon_AA / sigma_AA; differentiable again in training."""
        with torch.enable_grad():
            vector = graph.vector.detach().requires_grad_()
            energy = self.energies(graph, vector)
            (slope,) = torch.autograd.grad(energy.sum(), vector, create_graph=self.training)
        force = self.summed(graph, slope)
        return (energy, force) if self.training else (energy.detach(), force.detach())

    def summed(self, graph: Data, slope: Tensor) -> Tensor:
        """Forces (N, 3) from the derivative of the whole energy by each edge's vector, (E, 3)."""
        sender, receiver = graph.edge_index
        return slope.new_zeros(len(graph.types), 3).index_add(0, receiver, slope).index_add(0, sender, -slope)

    def predict(self, configuration: Configuration) -> tuple[np.ndarray, np.ndarray]:
        """Energy of each particle, shape (N,), epsilon_AA, and force on it, shape (N, 3), epsilon_AA / sigma_AA.

        Raises
        ------
        ValueError
            If the box is shorter than twice the cutoff.
        """
        was_training = self.training
        self.eval()
        try:
            energy, force = self(self.graph(configuration))
        finally:
            self.train(was_training)
        return energy.cpu().numpy(), force.cpu().numpy()

    def count_parameters(self) -> int:
        """Trainable numbers."""
        return sum(p.numel() for p in self.parameters())


def pairs_of(reverse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """From each edge's reverse, shape (E,): one edge of each pair (P,), the pair of each edge, and which is the other.

    Examples
    --------
    >>> pairs_of(torch.tensor([1, 0, 3, 2]))
    (tensor([0, 2]), tensor([0, 0, 1, 1]), tensor([False,  True, False,  True]))
    """
    numbers = torch.arange(len(reverse), device=reverse.device)
    turned = reverse < numbers
    first = numbers[~turned]
    pair = torch.empty_like(numbers)
    pair[first] = torch.arange(len(first), device=reverse.device)
    return first, pair.index_copy(0, reverse[first], pair[first]), turned


def exact(configuration: Configuration) -> tuple[np.ndarray, np.ndarray]:
    """Energy of each particle and force on it in the configuration's own Kob-Andersen potential, float64.

    Raises
    ------
    ValueError
        If the configuration does not say which of the three published truncations is its own.
    """
    if configuration.potential is None:
        raise ValueError(
            f"{configuration!r} does not say its potential; expected force-shifted, energy-shifted or unshifted: "
            "configuration.replace(potential=...)"
        )
    positions, box = (torch.tensor(v, dtype=torch.float64) for v in (configuration.positions, configuration.box))
    types = torch.tensor(configuration.types, dtype=torch.int64)
    energies, forces, _ = interactions(positions, types, box, configuration.potential)
    return energies.numpy(), forces.numpy()


def labels(
    configurations: Iterable[Configuration], truth: Truth | None = None, dtype: torch.dtype = torch.float64
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Energies (N,) and forces (N, 3) of each configuration, float64, as ``truth`` says, by default :func:`exact`.

    Raises
    ------
    ValueError
        If there are no configurations, or ``truth`` says anything but numbers of these shapes, finite in ``dtype``.
    """
    if not isinstance(configurations, Iterable):
        raise ValueError(f"a {type(configurations).__name__}; expected a list of configurations: [configuration]")
    if not callable(truth := exact if truth is None else truth):
        raise ValueError(f"truth = {truth!r}; expected a function of a configuration, or None for the exact potential")
    if not (known := [_labels_of(c, truth, torch.finfo(dtype).max) for c in configurations]):
        raise ValueError("no configurations; expected at least one")
    return known


@torch.enable_grad()  # truth may differentiate an energy
def _labels_of(c: Configuration, truth: Truth, largest: float) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(c, Configuration):
        raise ValueError(f"a {type(c).__name__} in the list; expected configurations, as glasslit.load gives them")
    said, expected = truth(c), f"expected energies ({c.n_particles},) and forces ({c.n_particles}, 3): return both"
    try:
        energies, forces = (np.asarray(v).astype(np.float64, casting="same_kind") for v in said)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor with gradients
        raise ValueError(f"truth gave a {type(said).__name__} that is no two arrays ({error}); {expected}") from None
    if (energies.shape, forces.shape) != (c.types.shape, c.positions.shape):
        raise ValueError(f"truth gave energies {energies.shape} and forces {forces.shape}; {expected}")
    for name, values in (("energies", energies), ("forces", forces)):
        if len(bad := np.argwhere(~(np.abs(values) <= largest))):
            raise ValueError(
                f"truth gave {values[tuple(bad[0])]} at {bad[0].tolist()} of the {name}; expected finite numbers of at "
                f"most {largest:.3g}: mend truth, or leave out this configuration if two of its particles overlap"
            )
    return energies, forces


def check_learned(potential: Any) -> Potential:
    """The potential back, or a ``ValueError`` if it is no :class:`Potential`."""
    if not isinstance(potential, Potential):
        came = repr(potential) if isinstance(potential, str | type | None) else f"a {type(potential).__name__}"
        raise ValueError(f"{came}; expected a learned potential: Potential(config), or load_potential(path)")
    return potential


def save_potential(potential: Potential, path: str | Path) -> None:
    """Write sizes, weights and scale to one file, for :func:`load_potential`; errors as :func:`check_learned`."""
    weights = {name: value.detach().cpu() for name, value in check_learned(potential).state_dict().items()}
    made = io.BytesIO()
    torch.save({"format": POTENTIAL_FORMAT, "config": asdict(potential.config), "weights": weights}, made)
    write(path, made.getvalue())


def load_potential(path: str | Path, device: str = "cpu") -> Potential:
    """A trained potential, ready to predict; loaded without running code from the file.

    Raises
    ------
    ValueError
        If there is no such file, or it holds something else.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is not there; expected a file of save_potential")
    try:
        check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        raise ValueError(f"{path} cannot be read ({type(e).__name__}); expected a file of save_potential") from e
    if not isinstance(state, dict) or state.get("format") != POTENTIAL_FORMAT:
        raise ValueError(f"{path} is no learned potential; expected a file of save_potential")
    potential = Potential(PotentialConfig(**state["config"])).to(state["weights"]["target_mean"].dtype)
    potential.load_state_dict(state["weights"])
    return potential.to(device).eval()
