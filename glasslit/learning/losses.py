r"""Terms of the loss against over-smoothing: what the squared error does not see of a prediction's pattern in space.

A network that minimizes the squared error predicts the mean of what the labels may be, given what it sees, and so
varies less from neighbor to neighbor than they do. Each term here compares one property of the pattern with that of the
labels, for each configuration, type and time, in units of the training labels' spread. ``TrainConfig.smooth_terms``
names those that training takes; a new one is a subclass of :class:`SmoothTerm` in :data:`SMOOTH_TERMS`.

The neighborhood of a particle is the particle itself with the particles of its type that the graph connects it to.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from ..liquid.configuration import Configuration
from ..liquid.graph import required
from ..models.propensity import PropensityNetwork, group_means, groups_of
from ..names import did_you_mean

FLOOR = 1e-6
"""Added to variances in a denominator, in units of the labels' variance: a prediction may be the same everywhere."""


class Neighborhoods:
    r"""Weighted means over the neighborhood of each particle; the graph carries their gradients to all its members.

    .. math:: \bar{x}_i = \sum_{j \in N(i)} w_{ij} x_j \Big/ \sum_{j \in N(i)} w_{ij}

    .. math:: w_{ij} = e^{-r_{ij} / \ell}, \quad r_{ii} = 0

    Parameters
    ----------
    graph : as :func:`glasslit.neighbor_graph` makes it, or a batch of such: its edges are sorted by receiver, and each
        has its reverse
    length : l, sigma_AA; None weighs all members alike. What is beyond the graph's cutoff does not count
    """

    def __init__(self, graph: Data, length: float | None = None) -> None:
        sender, receiver = graph.edge_index
        weight = (graph.types[sender] == graph.types[receiver]).to(graph.vector)
        if length is not None:
            weight = weight * torch.exp(-torch.linalg.vector_norm(graph.vector, dim=1) / length)
        # Where the edges of each particle begin; a GPU is not asked how many there are, which would mean to wait.
        begin = torch.searchsorted(receiver.contiguous(), torch.arange(len(graph.types) + 1, device=receiver.device))
        self.edges = weight[:, None], sender, begin
        self.total = 1 + self.neighbor_sums(graph.vector.new_ones(len(graph.types), 1))

    def neighbor_sums(self, values: Tensor) -> Tensor:
        """Weighted sums over the neighborhood without the particle itself; shape (N, K), as the values."""
        return _NeighborSums.apply(values, *self.edges)

    def means(self, values: Tensor) -> Tensor:
        """Weighted means over the neighborhood; shape (N, K), as the values."""
        return (values + self.neighbor_sums(values)) / self.total


class _NeighborSums(torch.autograd.Function):
    """Sums over neighbors with weights that are the same from j to i as from i to j: then so is the gradient.

    Edges are added up in their order, on a GPU too, so that results stay the same from run to run.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, sender: Tensor, begin: Tensor) -> Tensor:
        ctx.save_for_backward(weight, sender, begin)
        return torch.segment_reduce(values[sender] * weight, "sum", offsets=begin, axis=0, unsafe=True, initial=0.0)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        return _NeighborSums.apply(upstream.contiguous(), *ctx.saved_tensors), None, None, None


class SmoothTerm:
    """Base of the terms; a subclass is called with a graph and returns what each particle adds to the loss.

    Parameters
    ----------
    length : of coarse-graining, sigma_AA
    """

    needs_halves = False
    """Whether it has to know the labels from each half of the runs, which tell how noisy they are."""

    def __init__(self, length: float) -> None:
        self.length = length

    def __call__(self, graph: Data, prediction: Tensor, labels: Tensor, halves: Tensor | None) -> Tensor:
        """What each particle adds at each time: the same for all particles of a type in a configuration.

        Parameters
        ----------
        graph : with edges, or a batch of such
        prediction, labels : shape (N, T), in units of the training labels' spread, counted from their mean
        halves : shape (N, 2, T), the labels from each half of the runs in the same units

        Returns
        -------
        shape (N, T), dimensionless
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it compares: define __call__")


class LocalVariance(SmoothTerm):
    r"""How much a prediction varies within neighborhoods, compared with how much the labels do.

    .. math:: (V_p - V_y)^2, \\
        V_p = \big\langle \overline{p^2}_i - \bar{p}_i^{\,2} \big\rangle_i, \qquad
        V_y = \big\langle \overline{a b}_i - \bar{a}_i \bar{b}_i \big\rangle_i

    with means over neighborhoods in which all members count alike, and then over the particles of a type. The labels a
    and b come from the two halves of the runs. The noise of one is independent of that of the other, so that it is not
    in their covariance, although it is in the variance of either; and this holds, too, where neighbors move together in
    each run and so share their noise. A negative V_y, which noise can make of a small one, counts as 0.
    """

    needs_halves = True

    def __call__(self, graph: Data, prediction: Tensor, labels: Tensor, halves: Tensor | None) -> Tensor:
        """See :class:`SmoothTerm`."""
        assert halves is not None
        a, b = halves.unbind(dim=1)
        around = Neighborhoods(graph)
        products = [prediction.square(), a * b]
        p, a, b, pp, ab = around.means(torch.cat([prediction, a, b, *products], dim=1)).chunk(5, dim=1)
        found, wanted = group_means(torch.cat([pp - p.square(), ab - a * b], dim=1), *groups_of(graph)).chunk(2, dim=1)
        return (found - wanted.clamp_min(0)).square()


class CoarseCorrelation(SmoothTerm):
    r"""How well a prediction that is averaged over neighborhoods follows labels that are averaged in the same way.

    .. math:: 1 - \frac{\langle \delta\bar{p}_i \, \delta\bar{y}_i \rangle_i}
        {\sqrt{\langle \delta\bar{p}_i^{\,2} \rangle_i \langle \delta\bar{y}_i^{\,2} \rangle_i}}

    with the weights of :class:`Neighborhoods` and deviations from the mean over the particles of a type in a
    configuration. Noise of the labels lowers the correlation of all predictions by one factor, which changes neither
    their order nor the direction of the gradient; so it is left in, and a perfect prediction keeps a small rest.
    """

    def __call__(self, graph: Data, prediction: Tensor, labels: Tensor, halves: Tensor | None) -> Tensor:
        """See :class:`SmoothTerm`."""
        group, groups = groups_of(graph)
        coarse = Neighborhoods(graph, self.length).means(torch.cat([prediction, labels], dim=1))
        p, y = (coarse - group_means(coarse, group, groups)).chunk(2, dim=1)
        products = torch.cat([p * y, p.square(), y.square()], dim=1)
        py, pp, yy = group_means(products, group, groups).chunk(3, dim=1)
        return 1 - py / ((pp + FLOOR) * (yy + FLOOR)).sqrt()


SMOOTH_TERMS: dict[str, type[SmoothTerm]] = {"local_variance": LocalVariance, "coarse_correlation": CoarseCorrelation}
"""By name."""
NAMES = tuple("+".join(some) for n in range(1, len(SMOOTH_TERMS) + 1) for some in combinations(SMOOTH_TERMS, n))
"""What ``TrainConfig.smooth_terms`` may be besides None."""


def check_smooth_terms(terms: str | None) -> tuple[str, ...]:
    """The names in ``smooth_terms``.

    Examples
    --------
    >>> check_smooth_terms("local_variance+coarse_correlation"), check_smooth_terms(None)
    (('local_variance', 'coarse_correlation'), ())

    Raises
    ------
    ValueError
        If it is not None and not one of :data:`~glasslit.learning.losses.NAMES`.
    """
    if terms is None:
        return ()
    if terms not in NAMES:
        raise ValueError(
            f"smooth_terms {terms!r}; expected None or one of {', '.join(NAMES)}{did_you_mean(terms, NAMES)}"
        )
    return tuple(terms.split("+"))


class SmoothLoss:
    """The terms that a training takes, each with the same weight, as what is added to the squared error.

    Parameters
    ----------
    terms : names of :data:`~glasslit.learning.losses.SMOOTH_TERMS`
    weight : of each term; the squared error counts 1
    length : of coarse-graining, sigma_AA
    """

    def __init__(self, terms: Sequence[str], weight: float, length: float) -> None:
        self.terms, self.weight = [SMOOTH_TERMS[name](length) for name in terms], weight

    def tell(self, graph: Data, configuration: Configuration, noise: np.ndarray | None = None) -> None:
        """Add to a graph what the terms have to know of its configuration.

        Raises
        ------
        ValueError
            If a term needs labels from each half of the runs, and the configuration has none.
        """
        if any(term.needs_halves for term in self.terms):
            if configuration.propensity_half is None:
                raise ValueError(
                    f"{configuration!r} has no propensity_half; expected it, as the term 'local_variance' has to know "
                    "the noise of the labels: label with glasslit label, or take 'coarse_correlation' alone"
                )
            halves = np.ascontiguousarray(required(configuration, "propensity_half").transpose(2, 0, 1))
            graph.y_half = torch.as_tensor(halves).to(graph.y)

    def __call__(self, net: PropensityNetwork, graph: Data, prediction: Tensor) -> Tensor:
        """What the terms add to the loss: summed over times, averaged over particles.

        Parameters
        ----------
        net : says how labels are standardized
        graph : with labels, and with what :meth:`tell` adds; or a batch of such
        prediction : as the network's ``standardized`` gives it, shape (N, T)
        """
        labels, halves = net.standardize(graph), graph.get("y_half")
        if halves is not None:
            mean, std = (values[graph.types][:, None] for values in (net.target_mean, net.target_std))
            halves = (halves - mean) / std
        each = [term(graph, prediction, labels, halves).sum(dim=1).mean() for term in self.terms]
        return self.weight * torch.stack(each).sum()
