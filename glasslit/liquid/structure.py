r"""Structure: how particles lie around each other, and in which part of the box.

Radial distribution functions, numbers of neighbors, regions. What a model sees of the structure is
:mod:`glasslit.models.descriptors`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .configuration import Configuration
from .kob_andersen import TYPE_NAMES
from .periodic import neighbor_distances, neighbor_pairs, wrap


def local_density(configuration: Configuration, cutoff: float = 2.0, field: str = "positions") -> np.ndarray:
    """Number of particles closer than ``cutoff`` to each particle, shape (N,): a trivial predictor."""
    pairs = neighbor_pairs(getattr(configuration, field), configuration.box, cutoff)
    return np.bincount(pairs.ravel(), minlength=configuration.n_particles).astype(np.float64)


def radial_distribution(
    configurations: Sequence[Configuration], r_max: float, bins: int, field: str = "positions"
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    r"""How much more often than in an ideal gas two particles of given types lie at a distance r.

    .. math:: g_{ab}(r) = \frac{V}{N_{ab}} \Big\langle \sum_{i \in a,\, j \in b}
        \frac{\delta(r - r_{ij})}{4 \pi r^2} \Big\rangle

    with the sum over the N_ab distinct pairs of an a and a b particle (N_a (N_a - 1) / 2 of them for
    a = b), r_ij by minimum image, and the mean over configurations. The delta is a bin of width
    r_max / bins, its volume exact: an ideal gas gives 1 in every bin, on average.

    Parameters
    ----------
    configurations : at least one
    r_max : sigma_AA; at most half of the shortest box edge
    bins : number of bins between 0 and r_max
    field : "positions" (thermal) or "inherent_positions"

    Returns
    -------
    r : shape (bins,), sigma_AA, centers of the bins
    g : {"AA": shape (bins,), "AB": ..., "BB": ...}, dimensionless; nan where no configuration has such a pair

    Raises
    ------
    ValueError
        If there is no configuration, one lacks the field, r_max exceeds half a box edge, or bins is below 1.

    Notes
    -----
    Hansen and McDonald, Theory of Simple Liquids, chapter 2; for this mixture Kob and Andersen,
    Phys. Rev. E 51, 4626 (1995).

    Examples
    --------
    The one pair of this box, at r = 1.05, fills a shell of volume (4 pi / 3)(1.1^3 - 1^3):

    >>> c = Configuration(positions=[[0, 0, 0], [0, 0, 1.05]], types=[0, 0], box=[10, 10, 10])
    >>> r, g = radial_distribution([c], r_max=2.0, bins=20)
    >>> round(float(r[10]), 3), round(float(g["AA"][10] * 4 / 3 * np.pi * (1.1**3 - 1)), 6)
    (1.05, 1000.0)
    >>> g["AA"].nonzero()[0].tolist(), bool(np.isnan(g["BB"]).all())
    ([10], True)
    """
    if not configurations or bins < 1:
        raise ValueError(f"{len(configurations)} configurations, {bins} bins; expected at least one of each")
    edges = np.linspace(0.0, r_max, bins + 1)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    names = [a + b for k, a in enumerate(TYPE_NAMES) for b in TYPE_NAMES[k:]]
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for c in configurations:
        positions = getattr(c, field)
        if positions is None:
            raise ValueError(f"{c!r} has no {field}; expected it here: glasslit.quench(configuration) computes it")
        pairs, distance = neighbor_distances(positions, c.box, r_max)
        kind = c.types[pairs].sum(axis=1)
        a, b = np.bincount(c.types, minlength=len(TYPE_NAMES)).tolist()
        for k, (name, count) in enumerate(zip(names, (a * (a - 1) / 2, a * b, b * (b - 1) / 2), strict=True)):
            if count:
                found[name].append(np.histogram(distance[kind == k], edges)[0] / (count * shell / np.prod(c.box)))
    return (edges[1:] + edges[:-1]) / 2, {
        name: np.mean(each, axis=0) if each else np.full(bins, np.nan) for name, each in found.items()
    }


def spatial_blocks(configuration: Configuration, per_edge: int = 2) -> np.ndarray:
    """In which cube of the box each particle is, for a bootstrap that draws regions instead of particles.

    Neighbors have like propensities, so particles drawn one by one make errors too small.

    Parameters
    ----------
    configuration : positions and box
    per_edge : cubes along an edge

    Returns
    -------
    shape (N,), whole numbers from 0 to per_edge^3 - 1

    Raises
    ------
    ValueError
        If ``per_edge`` is not a whole number of at least 1.

    Examples
    --------
    >>> from glasslit.testing import random_liquid
    >>> sorted(set(spatial_blocks(random_liquid(200)).tolist()))
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    if not (isinstance(per_edge, int) and per_edge >= 1):
        raise ValueError(f"per_edge = {per_edge!r}; expected a whole number of at least 1")
    place = (wrap(configuration.positions, configuration.box) / configuration.box * per_edge).astype(int)
    return np.minimum(place, per_edge - 1) @ [per_edge**2, per_edge, 1]
