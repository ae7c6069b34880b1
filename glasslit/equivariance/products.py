r"""Symmetric products of a node's features with themselves, as in MACE (Batatia et al., NeurIPS 2022, Eqs. 10 and 11).

The result of a convolution is a sum over neighbors, each of which enters alone. A product of k such sums is a sum over
k neighbors at once, so that the angles between neighbors enter the features within one layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from .kernels.coupling import coefficients
from .so3 import irreps

MAX_ORDER = 3
"""Factors of a product, at most."""
BEGIN = 0.1
"""Spread of what a product adds at first, in units of the features: products of three have heavy tails."""
MAX_DEGREE = 4
"""Highest degree of features that are multiplied: of three factors with degrees up to 5 there are 8436 monomials."""
CHUNK = 2**19
"""Numbers of quadratic monomials that a CPU holds at once, so that they stay in its cache."""

Path = tuple[int, ...]


@lru_cache(maxsize=32)
def symmetric_paths(l_max: int, order: int, mirror_images: bool = False) -> tuple[Path, ...]:
    r"""Every independent way to couple ``order`` copies of the same features to a degree up to ``l_max``.

    Parameters
    ----------
    l_max : highest degree of the features and of the results
    order : 1, 2 or 3 factors
    mirror_images : whether products odd under reflection are left out: those whose degrees, of the factors and of the
        result, have an odd sum

    Returns
    -------
    Sorted by the degree l_O that comes out: ``(l, l_O)`` with l = l_O of one factor; ``(l_1, l_2, l_O)`` of two;
    ``(l_1, l_2, l_12, l_3, l_O)`` of three, where the first two are coupled to degree l_12, and the result is coupled
    with the third. Factors are sorted by degree, l_1 <= l_2 <= l_3. As all are the same features, some couplings give
    zero (two equal vectors have no cross product) and some a sum of others; these are left out.

    Examples
    --------
    >>> symmetric_paths(1, 2)
    ((0, 0, 0), (1, 1, 0), (0, 1, 1))
    >>> [len(symmetric_paths(3, order)) for order in (1, 2, 3)]
    [4, 18, 68]
    >>> [len(symmetric_paths(3, order, mirror_images=True)) for order in (1, 2, 3)]
    [4, 15, 49]
    """
    return tuple(path for path, _ in _polynomials(l_max, order, mirror_images))


def _candidates(l_max: int, order: int) -> Iterator[list[Path]]:
    """Paths that may depend on each other: those with the same factors and the same result."""
    for degrees in combinations_with_replacement(range(l_max + 1), order):
        for out in range(l_max + 1):
            if order == 1:
                yield [(*degrees, out)] if degrees[0] == out else []
            elif order == 2:
                one, two = degrees
                yield [(one, two, out)] if _couple(one, two, out) else []
            else:
                one, two, three = degrees
                between = range(two - one, one + two + 1)
                yield [(one, two, k, three, out) for k in between if _couple(k, three, out)]


def _couple(one: int, two: int, out: int) -> bool:
    """Whether two degrees couple to a third."""
    return abs(one - two) <= out <= one + two


def _coupled(path: Path) -> np.ndarray:
    """Coefficients of a path: shape (2 l_1 + 1, ..., 2 l_O + 1), one axis for each factor and one for the result."""
    if len(path) == 2:
        return np.eye(2 * path[0] + 1)
    if len(path) == 3:
        return coefficients(*path)
    one, two, between, three, out = path
    return np.tensordot(coefficients(one, two, between), coefficients(between, three, out), axes=(2, 0))


@lru_cache(maxsize=32)
def monomials(l_max: int, order: int) -> tuple[tuple[int, ...], ...]:
    """Products of ``order`` components of the features, each once: ascending tuples of their numbers, in order.

    Components are numbered as in harmonics: l^2 + m, from 0 to (l_max + 1)^2 - 1.
    """
    return tuple(combinations_with_replacement(range((l_max + 1) ** 2), order))


@lru_cache(maxsize=32)
def _polynomials(l_max: int, order: int, mirror_images: bool = False) -> tuple[tuple[Path, np.ndarray], ...]:
    """Each independent path and its coefficients, shape (2 l_O + 1, number of monomials), float64."""
    place = {monomial: k for k, monomial in enumerate(monomials(l_max, order))}
    found = []
    for paths in _candidates(l_max, order):
        basis: list[np.ndarray] = []
        for path in paths:
            values = _coupled(path)
            factors = path[:-1] if order < 3 else (path[0], path[1], path[3])
            if mirror_images and (sum(factors) + path[-1]) % 2:
                continue
            polynomial = np.zeros((2 * path[-1] + 1, len(place)))
            for index in zip(*np.nonzero(values), strict=True):
                components = sorted(degree**2 + int(m) for degree, m in zip(factors, index, strict=False))
                polynomial[index[-1], place[tuple(components)]] += values[index]
            new = polynomial.ravel()
            for known in basis:
                new = new - (known @ new) * known
            if np.linalg.norm(new) > 1e-8:
                basis.append(new / np.linalg.norm(new))
                found.append((path, polynomial))
    return tuple(sorted(found, key=lambda entry: (entry[0][-1], entry[0])))


@lru_cache(maxsize=64)
def _tables(
    l_max: int, order: int, mirror_images: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    """The polynomials of each degree l that comes out: shape (paths, (2 l + 1) * number of monomials)."""
    found = _polynomials(l_max, order, mirror_images)
    each = [np.stack([p.ravel() for path, p in found if path[-1] == out]) for out in range(l_max + 1)]
    return tuple(torch.as_tensor(table).to(device, dtype) for table in each)


def coupling_weights(weight: Tensor, l_max: int, order: int, mirror_images: bool = False) -> Tensor:
    """The polynomial of each channel and component, from the weights of its paths.

    Parameters
    ----------
    weight : shape (number of paths, C), in the order of :func:`symmetric_paths`
    l_max, order, mirror_images : as there

    Returns
    -------
    shape (C, (l_max + 1)^2, number of monomials), what each monomial counts
    """
    tables = _tables(l_max, order, mirror_images, weight.dtype, weight.device)
    parts = weight.split([len(table) for table in tables])
    blocks = [
        (part.T @ table).unflatten(1, (2 * out + 1, -1))
        for out, (part, table) in enumerate(zip(parts, tables, strict=True))
    ]
    return torch.cat(blocks, dim=1)


def polynomial(a: Tensor, second: Tensor, third: Tensor | None) -> Tensor:
    """What ``_Polynomial`` computes, as PyTorch differentiates it; every monomial is held."""
    d = a.shape[1]
    pairs = torch.cat([a[:, i : i + 1] * a[:, i:] for i in range(d)], dim=1)
    out = second @ pairs
    if third is not None:
        starts = _starts(d)
        out = out + third @ torch.cat([a[:, i : i + 1] * pairs[:, starts[i] :] for i in range(d)], dim=1)
    return out


def _starts(d: int) -> list[int]:
    """The place of the first pair (i, i) for each i, among pairs; those that begin with i or later come from there."""
    return [i * d - i * (i - 1) // 2 for i in range(d + 1)]


class _Polynomial(torch.autograd.Function):
    """Sums of products of two and of three components, each channel by itself, some nodes at a time.

    Of the features a (C, d, N) it makes their products in pairs, which matrices turn into results; the results of
    products of three are a_i times such results, so that there are never products of three in memory. In the backward
    pass pairs are made anew. ``second`` and ``third`` are shaped as :func:`coupling_weights` gives them.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, second: Tensor, third: Tensor | None) -> Tensor:
        ctx.save_for_backward(a, second, third)
        out = torch.empty_like(a)
        for part in _parts(a):
            x = a[:, :, part]
            pairs = _pairs(x)
            result = second @ pairs
            if third is not None:
                for i, (block, first) in enumerate(_blocks(third)):
                    result.addcmul_(block @ pairs[:, first:], x[:, i : i + 1])
            out[:, :, part] = result
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        a, second, third = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated once more: by way of the definition
            inputs = [t for t, wanted in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=True) if wanted]
            found = iter(torch.autograd.grad(polynomial(a, second, third), inputs, upstream, create_graph=True))
            return tuple(next(found) if wanted else None for wanted in ctx.needs_input_grad)
        da, dsecond = torch.empty_like(a), torch.zeros_like(second)
        dthird = None if third is None else torch.zeros_like(third)
        starts = _starts(a.shape[1])
        for part in _parts(a):
            x, above = a[:, :, part], upstream[:, :, part]
            pairs, dx = _pairs(x), torch.zeros_like(x)
            dsecond.baddbmm_(above, pairs.mT)
            dpairs = second.mT @ above
            if third is not None and dthird is not None:
                for i, ((block, first), (dblock, _)) in enumerate(zip(_blocks(third), _blocks(dthird), strict=True)):
                    tail = pairs[:, first:]
                    dx[:, i] = (above * (block @ tail)).sum(dim=1)
                    scaled = above * x[:, i : i + 1]
                    dblock.baddbmm_(scaled, tail.mT)
                    dpairs[:, first:] += block.mT @ scaled
            for i in range(a.shape[1]):
                block = dpairs[:, starts[i] : starts[i + 1]]
                dx[:, i:].addcmul_(block, x[:, i : i + 1])
                dx[:, i] += (block * x[:, i:]).sum(dim=1)
            da[:, :, part] = dx
        return da, dsecond, dthird


def _parts(a: Tensor) -> list[slice]:
    """Some nodes after the others, on a CPU; all at once elsewhere."""
    channels, d, n = a.shape
    size = max(64, CHUNK // (channels * d * (d + 1) // 2)) if a.device.type == "cpu" else max(n, 1)
    return [slice(k, min(k + size, n)) for k in range(0, n, size)]


def _pairs(x: Tensor) -> Tensor:
    """Products in pairs, shape (C, d (d + 1) / 2, n), in the order of :func:`monomials`."""
    channels, d, n = x.shape
    starts = _starts(d)
    pairs = x.new_empty(channels, starts[-1], n)
    for i in range(d):
        torch.mul(x[:, i:], x[:, i : i + 1], out=pairs[:, starts[i] : starts[i + 1]])
    return pairs


def _blocks(third: Tensor) -> list[tuple[Tensor, int]]:
    """For each component i what its products with pairs count, (C, d, pairs), and the first of these pairs."""
    d, n_pairs = third.shape[1], third.shape[1] * (third.shape[1] + 1) // 2
    starts = _starts(d)
    sizes = [n_pairs - starts[i] for i in range(d)]
    return list(zip(third.split(sizes, dim=2), starts, strict=False))


def check_products(order: int, l_max: int) -> None:
    """A ``ValueError`` unless ``order`` is 1, 2 or 3, and 1 where degrees are higher than :data:`MAX_DEGREE`."""
    if isinstance(order, bool) or order not in range(1, MAX_ORDER + 1):
        raise ValueError(f"products = {order!r}; expected a number of factors: 1 (no products), 2 or {MAX_ORDER}")
    if order > 1 and l_max > MAX_DEGREE:
        raise ValueError(
            f"products = {order} with l_max = {l_max}; expected l_max of at most {MAX_DEGREE}, or products = 1"
        )


class SymmetricProduct(nn.Module):
    r"""Features with their symmetric products, mixed over channels; each channel is multiplied with itself only.

    .. math:: B_{i,c}^{l} = \sum_{c'} W^{l}_{c c'} \sum_{k=1}^{\nu} \sum_{\eta} w^{\eta}_{c'}\, P^{\eta}_{i,c'}

    .. math:: P^{\eta}_{i,c} = \big(\underbrace{A_{i,c} \otimes \cdots \otimes A_{i,c}}_{k}\big)^{\eta}_{l}

    with one weight for each channel and each path :math:`\eta` of :func:`symmetric_paths`. Couplings are those of the
    convolution, sqrt(2 l_O + 1) times e3nn's Wigner 3j symbols, and those odd under reflection are among them unless
    ``mirror_images`` says otherwise.

    Parameters
    ----------
    channels : copies of each degree 0 ... l_max
    l_max : highest degree of features and results, at most :data:`MAX_DEGREE`
    order : nu, the number of factors, 2 or 3
    mirror_images : whether features have natural parity, and products odd under reflection are left out

    Raises
    ------
    ValueError
        If the order is neither 2 nor 3, or l_max is above :data:`MAX_DEGREE`.

    Examples
    --------
    >>> product = SymmetricProduct(channels=4, l_max=2, order=3)
    >>> {name: tuple(p.shape) for name, p in product.named_parameters()}
    {'first': (3, 4), 'second': (9, 4), 'third': (19, 4), 'mixing': (3, 4, 4)}
    """

    degree: Tensor

    def __init__(self, channels: int, l_max: int, order: int, mirror_images: bool = False) -> None:
        super().__init__()
        check_products(order, l_max)
        if order == 1:
            raise ValueError(f"a product of one factor; expected 2 or {MAX_ORDER} factors, or no product at all")
        self.channels, self.l_max, self.order, self.mirror_images = channels, l_max, order, mirror_images
        self.irreps = irreps(channels, l_max, mirror_images)
        self.first = nn.Parameter(torch.ones(l_max + 1, channels))
        self.second = nn.Parameter(_initial(l_max, 2, channels, mirror_images))
        third = nn.Parameter(_initial(l_max, 3, channels, mirror_images)) if order == 3 else None
        self.register_parameter("third", third)
        self.mixing = nn.Parameter(torch.randn(l_max + 1, channels, channels) / channels**0.5)
        degrees = torch.arange(l_max + 1)
        self.register_buffer("degree", degrees.repeat_interleave(2 * degrees + 1), persistent=False)

    @torch.compiler.disable  # polynomials are made and kept by Python, which Dynamo would do anew in every graph
    def forward(self, a: Tensor) -> Tensor:
        """Features (N, irreps.dim) -> (N, irreps.dim)."""
        sizes = [2 * degree + 1 for degree in range(self.l_max + 1)]
        blocks = a.split([self.channels * size for size in sizes], dim=1)
        parts = [b.unflatten(1, (-1, size)).permute(1, 2, 0) for b, size in zip(blocks, sizes, strict=True)]
        x = torch.cat(parts, dim=1)  # (C, (l_max + 1)^2, N)
        second = coupling_weights(self.second, self.l_max, 2, self.mirror_images)
        third = cast(Tensor | None, self.third)
        if third is not None:
            third = coupling_weights(third, self.l_max, 3, self.mirror_images)
        products = cast(Tensor, _Polynomial.apply(x, second, third))
        products = products + x * self.first.T.index_select(1, self.degree)[:, :, None]
        mixed = [
            (matrix @ part.flatten(1)).view_as(part).permute(2, 0, 1).flatten(1)
            for matrix, part in zip(self.mixing, products.split(sizes, dim=1), strict=True)
        ]
        return torch.cat(mixed, dim=1)


def _initial(l_max: int, order: int, channels: int, mirror_images: bool) -> Tensor:
    """Weights at random, smaller where more paths lead to a degree, and small beside the one of the features."""
    outs = [path[-1] for path in symmetric_paths(l_max, order, mirror_images)]
    scale = torch.tensor([BEGIN * outs.count(out) ** -0.5 for out in outs], dtype=torch.get_default_dtype())
    return scale[:, None] * torch.randn(len(outs), channels)
