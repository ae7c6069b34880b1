r"""The Kob-Andersen mixture: an 80:20 Lennard-Jones liquid that will not crystallize.

Holds the table of interactions, the three truncations found in published data, per-particle
energies and forces in PyTorch (differentiable), and the state points and time grids of the
field. Lengths in sigma_AA, energies in epsilon_AA, masses 1, k_B = 1.

Kob and Andersen, Phys. Rev. E 51, 4626 (1995).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from .periodic import neighbor_pairs

Potential = Literal["force-shifted", "energy-shifted", "unshifted"]
POTENTIALS: tuple[str, ...] = get_args(Potential)
"""The three published truncations, by name."""

TYPE_NAMES = ("A", "B")
SIGMA = ((1.0, 0.8), (0.8, 0.88))
EPSILON = ((1.0, 1.5), (1.5, 0.5))
CUTOFF = 2.5
DENSITY = 1.2
T_MCT = 0.435
"""Mode-coupling temperature, below which the liquid's dynamics turn activated."""

TAU_ALPHA = {0.44: 4120.0, 0.47: 700.0, 0.50: 217.0, 0.56: 52.0, 0.64: 16.5}
"""Relaxation time at each temperature (Shiba et al. 2023; 0.47 interpolated)."""

TIME_GRIDS = {
    0.44: (0.13, 1.3, 13.0, 130.0, 412.0, 1300.0, 4120.0, 13000.0, 41200.0, 130000.0),
    0.47: (0.12, 0.7, 2.2, 7.0, 22.0, 70.0, 220.0, 700.0),
    0.50: (0.108, 0.434, 2.17, 6.86, 21.7, 68.6, 217.0, 686.0, 2170.0, 6860.0),
    0.56: (0.104, 0.33, 0.99, 1.65, 5.2, 16.5, 52.0, 165.0, 520.0, 1650.0),
    0.64: (0.032, 0.1, 0.165, 0.52, 1.65, 5.2, 16.5, 52.0, 165.0, 520.0),
}
"""Times at which GlassBench (0.47: Bapst et al., abridged) states the propensity."""


GLASSBENCH_CEILING = {
    0.44: {
        0.13: 0.976,
        1.3: 0.975,
        13.0: 0.973,
        130.0: 0.971,
        412.0: 0.967,
        1300.0: 0.959,
        4120.0: 0.943,
        13000.0: 0.911,
    }
}
"""Published pooled noise ceilings of GlassBench on A particles, by temperature and time (Jung et al. 2023): its files
hold no half-ensembles."""

WAVE_NUMBER = 7.2
"""k of the self-intermediate scattering function, 1 / sigma_AA: the first peak of the structure factor."""


def check_potential(potential: str) -> str:
    """The name back, or a ``ValueError`` that lists the three truncations."""
    if potential not in POTENTIALS:
        raise ValueError(f"potential {potential!r}; expected one of {', '.join(POTENTIALS)}")
    return potential


def cutoffs(potential: str = "force-shifted") -> np.ndarray:
    """Cutoff distance of each pair of types, shape (2, 2), sigma_AA.

    2.5 sigma_ab, but an absolute 2.5 for the unshifted potential of Bapst et al. (2020).
    """
    check_potential(potential)
    return np.full((2, 2), CUTOFF) if potential == "unshifted" else CUTOFF * np.array(SIGMA)


def pair_energy(
    distance: Tensor, type_i: Tensor, type_j: Tensor, potential: str = "force-shifted", differentiate: bool = False
) -> Tensor:
    r"""Energy of each pair (or, with ``differentiate``, its derivative dV/dr).

    .. math:: V_{ab}(r) = 4\epsilon_{ab}[(\sigma_{ab}/r)^{12} - (\sigma_{ab}/r)^6]

    truncated at r_c as ``force-shifted``: V(r) - V(r_c) - (r - r_c) V'(r_c);
    ``energy-shifted``: V(r) - V(r_c); ``unshifted``: V(r).

    Parameters
    ----------
    distance : shape (P,), sigma_AA
    type_i, type_j : shape (P,), 0 = A, 1 = B
    potential : one of :data:`POTENTIALS`

    Returns
    -------
    shape (P,), epsilon_AA (or epsilon_AA / sigma_AA); zero beyond the cutoff.

    Raises
    ------
    ValueError
        If the potential's name is unknown.
    """
    table = distance.new_tensor
    sigma, epsilon = table(SIGMA)[type_i, type_j], table(EPSILON)[type_i, type_j]
    cutoff = table(cutoffs(potential))[type_i, type_j]

    def energy(r: Tensor) -> Tensor:
        s6 = (sigma / r) ** 6
        return 4 * epsilon * (s6 * s6 - s6)

    def slope(r: Tensor) -> Tensor:
        s6 = (sigma / r) ** 6
        return -24 * epsilon * (2 * s6 * s6 - s6) / r

    if differentiate:
        value = slope(distance) - (slope(cutoff) if potential == "force-shifted" else 0.0)
    else:
        value = energy(distance)
        if potential != "unshifted":
            value = value - energy(cutoff)
        if potential == "force-shifted":
            value = value - (distance - cutoff) * slope(cutoff)
    return torch.where(distance < cutoff, value, torch.zeros_like(value))


def _pairs(positions: Tensor, types: Tensor, box: Tensor, potential: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pairs within the longest cutoff, with minimum-image vectors that stay differentiable."""
    longest = float(cutoffs(potential).max())
    pairs = neighbor_pairs(positions.detach().cpu().numpy(), box.detach().cpu().numpy(), longest)
    i, j = torch.as_tensor(pairs, device=positions.device).unbind(1)
    vector = positions[j] - positions[i]
    vector = vector - box * torch.round(vector.detach() / box)
    return i, j, vector, torch.linalg.vector_norm(vector, dim=1)


def energy_per_particle(positions: Tensor, types: Tensor, box: Tensor, potential: str = "force-shifted") -> Tensor:
    """Potential energy of each particle: half of every pair it takes part in.

    Parameters
    ----------
    positions : shape (N, 3), sigma_AA
        May carry gradients; float64 wanted where 1e-6 matters.
    types : shape (N,), 0 = A, 1 = B
    box : shape (3,), sigma_AA
    potential : one of :data:`POTENTIALS`

    Returns
    -------
    shape (N,), epsilon_AA. Its sum is the potential energy of the system.

    Raises
    ------
    ValueError
        If the box is shorter than twice the cutoff, or the potential's name is unknown.

    Examples
    --------
    Two A particles at the minimum of the potential, r = 2^(1/6):

    >>> x = torch.tensor([[0.0, 0.0, 0.0], [2 ** (1 / 6), 0.0, 0.0]], dtype=torch.float64)
    >>> box = torch.full((3,), 10.0, dtype=torch.float64)
    >>> energy_per_particle(x, torch.tensor([0, 0]), box, "unshifted")
    tensor([-0.5000, -0.5000], dtype=torch.float64)
    """
    types = types.long()
    i, j, _, distance = _pairs(positions, types, box, potential)
    half = 0.5 * pair_energy(distance, types[i], types[j], potential)
    return torch.zeros_like(positions[:, 0]).index_add(0, i, half).index_add(0, j, half)


def forces(positions: Tensor, types: Tensor, box: Tensor, potential: str = "force-shifted") -> Tensor:
    """Force on each particle, minus the gradient of the total energy, shape (N, 3), epsilon_AA / sigma_AA.

    Written from dV/dr, not from autograd: the tests hold the two against each other.
    Parameters and errors are those of :func:`energy_per_particle`.
    """
    return interactions(positions, types, box, potential)[1]


def interactions(
    positions: Tensor, types: Tensor, box: Tensor, potential: str = "force-shifted"
) -> tuple[Tensor, Tensor, Tensor]:
    """Energies, forces and virial from one search for neighbors.

    Parameters and errors are those of :func:`energy_per_particle`.

    Returns
    -------
    energy of each particle, shape (N,), epsilon_AA; force on it, shape (N, 3), epsilon_AA / sigma_AA; the derivative of
    the total energy by a strain of the box, shape (3, 3), epsilon_AA
    """
    types = types.long()
    i, j, vector, distance = _pairs(positions, types, box, potential)
    half = 0.5 * pair_energy(distance, types[i], types[j], potential)
    slope = pair_energy(distance, types[i], types[j], potential, differentiate=True)
    on_i = (slope / distance)[:, None] * vector
    energies = torch.zeros_like(positions[:, 0]).index_add(0, i, half).index_add(0, j, half)
    return energies, torch.zeros_like(positions).index_add(0, i, on_i).index_add(0, j, -on_i), vector.T @ on_i
