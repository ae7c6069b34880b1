r"""From rotation-invariant numbers to propensities: how a network says when, and at which temperature.

The paper's decoder has one set of weights for each time (Eq. 23), and so knows nothing of the times in between. The
others have one set for all times, as functions of log t: they may be asked at any time. ``ModelConfig.decoder`` names
the decoder; a new one is a subclass of :class:`Decoder` in :data:`DECODERS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
import torch
from torch import Tensor, nn

from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import TYPE_NAMES
from ..names import did_you_mean

N_TYPES = len(TYPE_NAMES)


class Decoder(nn.Module):
    """Base of decoders; a subclass defines :meth:`forward`.

    Parameters
    ----------
    n_invariants : numbers that describe a particle
    n_times : number of times in training
    """

    continuous = True
    """Whether it answers at times between those of training, too."""
    sees_temperature = False
    """Whether it has to be told the temperature of each particle's liquid."""
    clock: Tensor
    origin: Tensor
    span: Tensor

    def __init__(self, n_invariants: int, n_times: int) -> None:
        super().__init__()
        if self.continuous:  # what the paper's decoder has no use for is not in its files
            self.register_buffer("clock", torch.linspace(-1, 1, n_times) if n_times > 1 else torch.zeros(1))
            self.register_buffer("origin", torch.zeros(()))
            self.register_buffer("span", torch.ones(()))

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration]) -> None:
        """Take the range of log t from training configurations: the clock is -1 at the first time and 1 at the last."""
        if self.continuous:
            first, last = (log(configurations[0].times[k]) for k in (0, -1))
            self.origin.fill_((first + last) / 2)
            self.span.fill_((last - first) / 2 if last > first else 1.0)
            self.clock.copy_(self.reading(configurations[0].times))

    def reading(self, times: Sequence[float] | np.ndarray) -> Tensor:
        """The clock at some times, Lennard-Jones units; shape (T,)."""
        logarithms = torch.as_tensor(np.log(np.asarray(times, dtype=np.float64)))
        return ((logarithms - self.origin.double().cpu()) / self.span.double().cpu()).to(self.clock)

    def forward(self, invariants: Tensor, types: Tensor, clock: Tensor | None, temperature: Tensor | None) -> Tensor:
        """Predictions in units of the training labels' spread, per type and time.

        Parameters
        ----------
        invariants : shape (N, n_invariants)
        types : shape (N,)
        clock : shape (T,), as :meth:`reading` gives it; None stands for the times of training
        temperature : shape (N,), epsilon_AA / k_B; None where the decoder does not see it

        Returns
        -------
        shape (N, T)
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how to decode: define forward")


def _small(n_inputs: int, *shape: int) -> nn.Parameter:
    # Small at first, so that training starts from the mean prediction and not from noise several spreads wide.
    return nn.Parameter(0.1 / n_inputs**0.5 * torch.randn(*shape))


def _own(every_type: Tensor, types: Tensor) -> Tensor:
    """Of shape (N, types, T) the row of each particle's type, shape (N, T)."""
    return every_type.gather(1, types[:, None, None].expand(-1, 1, every_type.shape[2]))[:, 0]


class PerTime(Decoder):
    """The paper's: one linear map for each time and type (Eq. 23)."""

    continuous = False

    def __init__(self, n_invariants: int, n_times: int) -> None:
        super().__init__(n_invariants, n_times)
        self.weight = _small(n_invariants, N_TYPES, n_times, n_invariants)

    def forward(self, invariants: Tensor, types: Tensor, clock: Tensor | None, temperature: Tensor | None) -> Tensor:
        """See :meth:`Decoder.forward`; the times are those of training."""
        return _own(torch.einsum("nk,stk->nst", invariants, self.weight), types)


class Laguerre(Decoder):
    r"""Weights of each type that are sums of Laguerre functions of log t.

    .. math:: w_k(t) = \sum_{n < \text{orders}} c_{nk} \, L_n(x) \, e^{-x/2}

    with x = 0 at the first time of training and :data:`RANGE` at the last.
    """

    orders = 5

    def __init__(self, n_invariants: int, n_times: int) -> None:
        super().__init__(n_invariants, n_times)
        self.weight = _small(n_invariants, N_TYPES, self.orders, n_invariants)

    def forward(self, invariants: Tensor, types: Tensor, clock: Tensor | None, temperature: Tensor | None) -> Tensor:
        """See :meth:`Decoder.forward`."""
        functions = laguerre_functions(RANGE / 2 * (1 + (self.clock if clock is None else clock)), self.orders)
        weight = torch.einsum("nt,snk->stk", functions, self.weight)
        return _own(torch.einsum("nk,stk->nst", invariants, weight), types)


RANGE = 6.0
"""Of the argument of Laguerre functions, from the first time of training to the last."""


def laguerre_functions(x: Tensor, orders: int) -> Tensor:
    """L_n(x) exp(-x / 2) for n = 0 ... orders - 1, orthonormal on x > 0; a row for each, of the shape of x.

    Examples
    --------
    >>> laguerre_functions(torch.tensor([0.0]), 3).flatten()
    tensor([1., 1., 1.])
    """
    found = [torch.ones_like(x), 1 - x]
    for n in range(1, orders - 1):
        found.append(((2 * n + 1 - x) * found[n] - n * found[n - 1]) / (n + 1))
    return torch.stack(found[:orders]) * torch.exp(-x / 2)


class FiLM(Decoder):
    r"""Feature-wise linear modulation: a small network reads the clock, and scales and shifts each invariant.

    .. math:: w_{s} \cdot \big[ (1 + \gamma(\tau)) \odot z + \beta(\tau) \big]

    (Perez et al., AAAI 2018.) Weights w belong to the type, and each type has its own gamma and beta.
    """

    width = 16

    def __init__(self, n_invariants: int, n_times: int) -> None:
        super().__init__(n_invariants, n_times)
        self.weight = _small(n_invariants, N_TYPES, n_invariants)
        self.modulation = nn.Sequential(
            nn.Linear(1 + self.sees_temperature, self.width),
            nn.SiLU(),
            nn.Linear(self.width, self.width),
            nn.SiLU(),
            nn.Linear(self.width, 2 * N_TYPES * n_invariants),
        )

    def read(self, clock: Tensor, temperature: Tensor | None, n: int) -> Tensor:
        """What the modulation reads: shape (1, T, 1), one reading for all particles."""
        return clock[None, :, None]

    def forward(self, invariants: Tensor, types: Tensor, clock: Tensor | None, temperature: Tensor | None) -> Tensor:
        """See :meth:`Decoder.forward`."""
        read = self.read(self.clock if clock is None else clock, temperature, len(invariants))
        gamma, beta = self.modulation(read).unflatten(-1, (2, N_TYPES, -1)).unbind(-3)  # (1 or N, T, types, K)
        weights = ((1 + gamma) * self.weight).expand(len(invariants), -1, -1, -1)
        shift = torch.einsum("ntsk,sk->nst", beta, self.weight)
        return _own(torch.einsum("nk,ntsk->nst", invariants, weights) + shift, types)


class FiLMWithTemperature(FiLM):
    """:class:`FiLM` that reads the temperature beside the clock, for training at several temperatures at once."""

    sees_temperature = True
    center: Tensor
    width_of_range: Tensor

    def __init__(self, n_invariants: int, n_times: int) -> None:
        super().__init__(n_invariants, n_times)
        self.register_buffer("center", torch.tensor(0.5))
        self.register_buffer("width_of_range", torch.tensor(0.1))

    @torch.no_grad()
    def set_standardization(self, configurations: Sequence[Configuration]) -> None:
        """Take the ranges of log t and of the temperature from training configurations.

        Raises
        ------
        ValueError
            If a configuration has no temperature.
        """
        super().set_standardization(configurations)
        values = [temperature_of(c) for c in configurations]
        self.center.fill_((min(values) + max(values)) / 2)
        self.width_of_range.fill_((max(values) - min(values)) / 2 or 0.1)

    def read(self, clock: Tensor, temperature: Tensor | None, n: int) -> Tensor:
        """Clock and temperature, shape (N, T, 2)."""
        if temperature is None:
            raise ValueError("no temperature; this decoder reads it: make the graph with net.graph(configuration)")
        told = ((temperature - self.center) / self.width_of_range)[:, None].expand(-1, len(clock))
        return torch.stack([clock.expand(n, -1), told.to(clock)], dim=-1)


def temperature_of(configuration: Configuration) -> float:
    """A configuration's temperature, or a ``ValueError`` that says how to give it one."""
    if configuration.temperature is None:
        raise ValueError(
            f"{configuration!r} has no temperature, which the network reads: give it one, with "
            "configuration.replace(temperature=...) or the option -T"
        )
    return configuration.temperature


def straight(x: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Straight lines through known values, the outer ones going on beyond the ends.

    Parameters
    ----------
    x : shape (n,)
    known : shape (K,), increasing
    values : shape (..., K)

    Returns
    -------
    shape (..., n)

    Examples
    --------
    >>> straight(np.array([0.5, 3.0]), np.array([0.0, 1.0, 2.0]), np.array([0.0, 2.0, 3.0]))
    array([1., 4.])
    """
    if len(known) == 1:
        return np.repeat(values, len(x), axis=-1)
    k = np.clip(np.searchsorted(known, x) - 1, 0, len(known) - 2)
    part = (x - known[k]) / (known[k + 1] - known[k])
    return (1 - part) * values[..., k] + part * values[..., k + 1]


DECODERS: dict[str, type[Decoder]] = {
    "linear": PerTime,
    "laguerre": Laguerre,
    "film": FiLM,
    "film+T": FiLMWithTemperature,
}
"""By name."""


def check_decoder(decoder: str) -> str:
    """The name, if there is a decoder of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if decoder not in DECODERS:
        raise ValueError(f"decoder {decoder!r}; expected one of {', '.join(DECODERS)}{did_you_mean(decoder, DECODERS)}")
    return decoder
