"""Geometry of a periodic, orthorhombic box: the one place where coordinates wrap.

Every minimum-image vector and every pair search of the package comes from here.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


def wrap(positions: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Positions moved by whole boxes into [0, L).

    Parameters
    ----------
    positions : shape (N, 3), sigma_AA
    box : shape (3,), sigma_AA
        Edge lengths L.

    Returns
    -------
    shape (N, 3), float64, each coordinate in [0, L).
    """
    wrapped = np.mod(np.asarray(positions, dtype=np.float64), box)
    return np.where(wrapped >= box, 0.0, wrapped)  # np.mod(-1e-20, L) is L


def minimum_image(vectors: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The shortest periodic copy of each vector, shape (..., 3), sigma_AA.

    Examples
    --------
    >>> minimum_image(np.array([[9.0, 0.0, 0.0]]), np.array([10.0, 10.0, 10.0])).tolist()
    [[-1.0, 0.0, 0.0]]
    """
    return vectors - box * np.round(vectors / box)


def neighbor_pairs(positions: np.ndarray, box: np.ndarray, cutoff: float) -> np.ndarray:
    """Every unordered pair whose minimum-image distance is smaller than ``cutoff``.

    Parameters
    ----------
    positions : shape (N, 3), sigma_AA
    box : shape (3,), sigma_AA
    cutoff : float, sigma_AA

    Returns
    -------
    shape (P, 2), int64, i < j, sorted.

    Raises
    ------
    ValueError
        If an edge of the box is shorter than twice the cutoff: a particle would then meet
        two images of the same neighbor.
    """
    return neighbor_distances(positions, box, cutoff)[0]


def neighbor_distances(positions: np.ndarray, box: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of :func:`neighbor_pairs` and their minimum-image distances, shape (P,), sigma_AA."""
    if np.min(box) < 2 * cutoff:
        raise ValueError(
            f"box edges {np.round(box, 4).tolist()} with cutoff {cutoff}: an edge shorter than twice the cutoff lets a "
            f"particle meet two images of one neighbor; expected edges of at least {2 * cutoff}: use a smaller cutoff "
            "or a larger system"
        )
    wrapped = wrap(positions, box)
    if 4 / 3 * np.pi * cutoff**3 > np.prod(box) / 8:  # a tree leaves out too little to be worth it
        return _all_distances(wrapped, np.asarray(box), cutoff)
    found = cKDTree(wrapped, boxsize=box).query_pairs(cutoff, output_type="ndarray")
    key = np.sort(found[:, 0] * len(wrapped) + found[:, 1])  # one number sorts many times faster than two
    pairs = np.stack(np.divmod(key, len(wrapped)), axis=1)
    vectors = minimum_image(wrapped[pairs[:, 1]] - wrapped[pairs[:, 0]], box)
    square = np.einsum("pk,pk->p", vectors, vectors)
    inside = square < cutoff**2  # the tree includes the boundary
    return pairs[inside], np.sqrt(square[inside])


def _all_distances(wrapped: np.ndarray, box: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """The same by looking at every pair, some rows of the table of distances at a time."""
    rows, found = 256, []
    for begin in range(0, len(wrapped), rows):
        block = wrapped[begin : begin + rows]
        square = np.zeros((len(block), len(wrapped) - begin))
        for k in range(3):
            moved = wrapped[begin:, k] - block[:, k, None]
            square += minimum_image(moved, box[k]) ** 2
        i, j = np.nonzero(np.triu(square < cutoff**2, 1))
        found.append((np.stack([i, j], axis=1) + begin, np.sqrt(square[i, j])))
    pairs, distances = zip(*found, strict=True)
    return np.concatenate(pairs), np.concatenate(distances)


def space_filling_order(positions: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The particles along a curve that fills the box (Morton's): near on the curve is near in space.

    Parameters
    ----------
    positions : shape (N, 3), sigma_AA
    box : shape (3,), edges, sigma_AA

    Returns
    -------
    shape (N,), int64: each particle's number once.

    Source
    ------
    G. M. Morton, A computer oriented geodetic data base, IBM, 1966.
    """
    bits = min(20, max(1, int(np.ceil(np.log2(np.max(box))))))  # cells of about one particle
    cells = (np.mod(positions / box, 1.0) * 2**bits).astype(np.int64)
    key = np.zeros(len(positions), dtype=np.int64)
    for bit in range(bits):
        for axis in range(3):
            key |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(key, kind="stable")
