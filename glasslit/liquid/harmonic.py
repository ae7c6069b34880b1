r"""The harmonic liquid: how particles scatter over runs where the energy is a quadratic form.

Runs that start at the same positions with velocities drawn anew differ by their velocities alone. As long as forces are
linear in the displacements, the covariance of a particle's displacement follows from the second derivatives of the
energy, without a simulation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .configuration import VOIGT, Configuration
from .kob_andersen import cutoffs, pair_energy
from .periodic import minimum_image, neighbor_pairs


def hessian(positions: np.ndarray, types: np.ndarray, box: np.ndarray, potential: str = "force-shifted") -> np.ndarray:
    r"""Second derivatives of the potential energy by the coordinates.

    A pair at distance r, with the unit vector n from one to the other, adds

    .. math:: K = V''(r)\, n n^\mathsf{T} + \frac{V'(r)}{r} \big(1 - n n^\mathsf{T}\big)

    to the blocks of each of the two with itself, and -K to those of one with the other. What jumps at the cutoff,
    V'' and (unless the potential is force-shifted) V', is left out.

    Parameters
    ----------
    positions : shape (N, 3), sigma_AA
    types : shape (N,), 0 = A, 1 = B
    box : shape (3,), sigma_AA
    potential : one of :data:`~glasslit.liquid.kob_andersen.POTENTIALS`

    Returns
    -------
    shape (N, 3, N, 3), epsilon_AA / sigma_AA^2; 72 N^2 bytes

    Raises
    ------
    ValueError
        If the box is shorter than twice the cutoff, or the potential's name is unknown.

    Examples
    --------
    Two A particles at the minimum of the potential, along x: the energy is curved along the line between them.

    >>> two = np.array([[0.0, 0.0, 0.0], [2 ** (1 / 6), 0.0, 0.0]])
    >>> hessian(two, np.array([0, 0]), np.full(3, 10.0), "unshifted")[0, :, 0].round(3).diagonal() + 0.0
    array([57.146,  0.   ,  0.   ])
    """
    n = len(positions)
    i, j = neighbor_pairs(positions, box, float(cutoffs(potential).max())).T
    vector = minimum_image(positions[j] - positions[i], box)
    distance = torch.linalg.vector_norm(torch.tensor(vector), dim=1).requires_grad_()
    kinds = torch.tensor(types.astype(np.int64))
    slope = pair_energy(distance, kinds[i], kinds[j], potential, differentiate=True)
    (curvature,) = torch.autograd.grad(slope.sum(), distance)
    r = distance.detach().numpy()[:, None, None]
    along = vector[:, :, None] * vector[:, None, :] / r**2
    k = curvature.numpy()[:, None, None] * along + slope.detach().numpy()[:, None, None] / r * (np.eye(3) - along)
    found = np.zeros((n, 3, n, 3))
    found[i, :, j] = found[j, :, i] = -k
    own = np.zeros((n, 3, 3))
    np.add.at(own, i, k)
    np.add.at(own, j, k)
    found[np.arange(n), :, np.arange(n)] = own
    return found


def harmonic_covariance(
    configuration: Configuration, times: Sequence[float], field: str = "inherent_positions"
) -> np.ndarray:
    r"""Covariance of each particle's displacement over runs, where the energy is expanded to second order.

    With the eigenvectors e of the Hessian and their eigenvalues omega^2, at masses of 1,

    .. math:: C_i(t) = k_B T \sum_\omega e_i\, e_i^\mathsf{T}\, \frac{\sin^2 \omega t}{\omega^2}

    which begins as

    .. math:: C_i(t) = k_B T \big(t^2 - \tfrac{1}{3} t^4 H_{ii} + \dots\big)

    Where omega^2 is negative, as it may be away from a minimum, the sine becomes a hyperbolic one. It is exact in the
    limit of short times for an expansion about the positions where the runs start (``field="positions"``); about the
    inherent structure it describes vibrations in the cage.

    Parameters
    ----------
    configuration : with a temperature; its ``potential``, or force-shifted where it names none
    times : T of them, Lennard-Jones units
    field : where to expand, "inherent_positions" or "positions"

    Returns
    -------
    shape (T, N, 6), sigma_AA^2: xx, yy, zz, yz, xz, xy. All eigenvectors are needed, which takes some seconds at
    N = 1000 and eight times as long at twice as many

    Raises
    ------
    ValueError
        If temperature or positions are missing, or the box is shorter than twice the cutoff.

    Notes
    -----
    Widmer-Cooper and Harrowell, Phys. Rev. Lett. 96, 185701 (2006), on what such short-time motion says of propensity.
    """
    c = configuration
    positions = {"positions": c.positions, "inherent_positions": c.inherent_positions}.get(field)
    if positions is None or c.temperature is None:
        raise ValueError(
            f"{c!r} with field {field!r}; expected a temperature, and 'positions' or 'inherent_positions' that are "
            "there: glasslit.quench(configuration) computes the latter"
        )
    n = c.n_particles
    curved = hessian(positions, c.types, c.box, c.potential or "force-shifted")
    square, vectors = np.linalg.eigh(curved.reshape(3 * n, 3 * n))
    parts = vectors.reshape(n, 3, 3 * n)
    rate = np.sqrt(np.maximum(np.abs(square), 1e-12))
    found = np.empty((len(times), n, 6))
    for t, time in enumerate(times):
        swing = np.where(square < 0, np.sinh(np.minimum(rate * time, 300)), np.sin(rate * time)) / rate
        matrices = (parts * swing**2) @ parts.transpose(0, 2, 1)  # (N, 3, 3)
        found[t] = c.temperature * matrices[:, VOIGT[0], VOIGT[1]]
    return found
