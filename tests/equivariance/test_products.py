"""Symmetric products: as many as there are, equal to loops over e3nn's symbols, and turning with the liquid."""

from itertools import combinations, permutations, product

import numpy as np
import pytest
import torch
from e3nn import o3

import glasslit as gl
from glasslit import so3
from glasslit.equivariance import products
from glasslit.equivariance.convolution import bessel_basis
from glasslit.equivariance.products import (
    SymmetricProduct,
    check_products,
    coupling_weights,
    monomials,
    polynomial,
    symmetric_paths,
)
from glasslit.testing import assert_equivariant, random_liquid


@pytest.mark.parametrize("l_max", range(5))
def test_there_are_as_many_paths_as_group_theory_says(l_max):
    """How often each degree is among symmetric powers, from the characters of rotations by an angle."""
    angle = 2 * np.pi * (np.arange(64) + 0.5) / 64  # exact: the integrand holds no frequency above 5 l_max

    def character(degree, angle):
        return np.sin((degree + 0.5) * angle) / np.sin(angle / 2)

    def of_features(angle):
        return sum(character(degree, angle) for degree in range(l_max + 1))

    one, two, three = (of_features(k * angle) for k in (1, 2, 3))
    powers = {1: one, 2: (one**2 + two) / 2, 3: (one**3 + 3 * one * two + 2 * three) / 6}
    for order, power in powers.items():
        found = [path[-1] for path in symmetric_paths(l_max, order)]
        expected = [np.mean(power * character(out, angle) * (1 - np.cos(angle))) for out in range(l_max + 1)]
        assert [found.count(out) for out in range(l_max + 1)] == pytest.approx(expected, abs=1e-6)


def symbol(*degrees):
    return o3.wigner_3j(*degrees, dtype=torch.float64).numpy() * (2 * degrees[2] + 1) ** 0.5


def coupled(path, factors):
    """A path's coupling of given features, (l_max + 1)^2 numbers each, by loops over components."""
    out = np.zeros(2 * path[-1] + 1)
    parts = [lambda l, f=f: f[l**2 : (l + 1) ** 2] for f in factors]  # noqa: E741
    if len(path) == 2:
        return parts[0](path[0])
    if len(path) == 3:
        table = symbol(*path)
        for a, b, m in product(*(range(n) for n in table.shape)):
            out[m] += table[a, b, m] * parts[0](path[0])[a] * parts[1](path[1])[b]
        return out
    one, two, between, three, last = path
    first, second = symbol(one, two, between), symbol(between, three, last)
    for a, b, k in product(*(range(n) for n in first.shape)):
        for c, m in product(range(2 * three + 1), range(2 * last + 1)):
            value = first[a, b, k] * second[k, c, m]
            out[m] += value * parts[0](one)[a] * parts[1](two)[b] * parts[2](three)[c]
    return out


def random_features(n, channels, l_max, seed=0):
    """(N, dim) as e3nn orders them, and the same numbers as (N, C, (l_max + 1)^2)."""
    generator = torch.Generator().manual_seed(seed)
    blocks = [torch.randn(n, channels, 2 * k + 1, generator=generator, dtype=torch.float64) for k in range(l_max + 1)]
    return torch.cat([b.flatten(1) for b in blocks], dim=1), torch.cat(blocks, dim=2)


@pytest.mark.parametrize(("l_max", "order", "channels"), [(0, 3, 2), (1, 3, 2), (2, 2, 3), (2, 3, 2)])
def test_products_equal_a_loop_over_wigner_3j(l_max, order, channels):
    torch.manual_seed(l_max)
    layer = SymmetricProduct(channels, l_max, order).double()
    features, parts = random_features(2, channels, l_max)
    with torch.no_grad():
        layer.first.normal_()
        found = layer(features)
    weights = [layer.first, layer.second, layer.third][:order]
    expected = np.zeros(parts.shape)
    for k, weight in enumerate(weights, start=1):
        for number, path in enumerate(symmetric_paths(l_max, k)):
            for i, c in product(range(2), range(channels)):
                a, out = parts[i, c].numpy(), path[-1]
                value = coupled(path, [a] * k) * weight[number, c].item()
                expected[i, :, out**2 : (out + 1) ** 2] += layer.mixing[out, :, c].detach().numpy()[:, None] * value
    sizes = [2 * k + 1 for k in range(l_max + 1)]
    flat = torch.cat([p.flatten(1) for p in torch.as_tensor(expected).split(sizes, dim=2)], dim=1)
    assert torch.allclose(found, flat, rtol=0, atol=1e-12 * float(flat.abs().max()))


@pytest.mark.parametrize("order", [2, 3])
def test_products_are_symmetric_in_their_factors(order):
    """The form of several features that belongs to a product of equal ones is the mean over all orders of factors."""
    l_max, generator = 2, np.random.default_rng(0)
    factors = generator.normal(size=(order, 9))
    for number, path in enumerate(symmetric_paths(l_max, order)):
        weight = torch.zeros(len(symmetric_paths(l_max, order)), 1, dtype=torch.float64)
        weight[number] = 1.0
        table = coupling_weights(weight, l_max, order)[0]

        def value(a, table=table):
            return table @ torch.tensor([np.prod(a[list(m)]) for m in monomials(l_max, order)])

        # Polarization: sums of some of the factors, with signs.
        form = sum(
            (-1) ** (order - size) * value(sum(chosen))
            for size in range(1, order + 1)
            for chosen in combinations(factors, size)
        )
        mean = np.mean([coupled(path, chosen) for chosen in permutations(factors)], axis=0)
        found = form.numpy() / len(list(permutations(factors)))
        assert found[path[-1] ** 2 : (path[-1] + 1) ** 2] == pytest.approx(mean, abs=1e-12)
        assert np.abs(mean).max() > 1e-3  # none of them is zero


def density(graph, channels, l_max):
    """Sums of harmonics over neighbors, each channel with a radial function: features that turn."""
    basis = bessel_basis(torch.linalg.vector_norm(graph.vector, dim=1), 2.0, channels)
    Y = so3.spherical_harmonics(l_max, graph.vector)
    blocks = [Y[:, k**2 : (k + 1) ** 2] for k in range(l_max + 1)]
    edges = torch.cat([(basis[:, :, None] * b[:, None]).flatten(1) for b in blocks], dim=1)
    return edges.new_zeros(graph.num_nodes, edges.shape[1]).index_add(0, graph.edge_index[1], edges) / 10


def one_sign_wrong(monkeypatch, l_max, order):
    """Negative control: in one of the tables one coefficient has the wrong sign."""
    right = products._tables

    def wrong(*arguments):
        tables = [table.clone() for table in right(*arguments)]
        if arguments[:2] == (l_max, order):
            table = tables[-1]
            k = int(table[0].abs().argmax())
            table[0, k] *= -1
        return tuple(tables)

    monkeypatch.setattr(products, "_tables", wrong)


@pytest.mark.parametrize(("l_max", "order"), [(1, 3), (2, 2), (2, 3), (3, 3)])
def test_products_turn_with_the_liquid(monkeypatch, l_max, order):
    torch.manual_seed(0)
    layer = SymmetricProduct(3, l_max, order).double()
    graph = gl.neighbor_graph(random_liquid(100, seed=2), dtype=torch.float64)
    assert_equivariant(lambda g: layer(density(g, 3, l_max)), graph, layer.irreps)
    one_sign_wrong(monkeypatch, l_max, order)
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(lambda g: layer(density(g, 3, l_max)), graph, layer.irreps)


def test_particles_in_another_order_have_the_same_products():
    layer = SymmetricProduct(3, 2, 3).double()
    features, _ = random_features(40, 3, 2)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(layer(features[order]), layer(features)[order], rtol=0, atol=1e-12)
    assert layer(features[:0]).shape == (0, 27)


def tensors(l_max, order, channels=2, n=5):
    torch.manual_seed(0)
    d = (l_max + 1) ** 2
    a = torch.randn(channels, d, n, dtype=torch.float64, requires_grad=True)
    shapes = [(channels, d, len(monomials(l_max, k))) for k in (2, 3)[: order - 1]]
    weights = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    return a, weights[0], weights[1] if order == 3 else None


@pytest.mark.parametrize("order", [2, 3])
def test_first_and_second_derivatives(order):
    def of(*given):
        return products._Polynomial.apply(given[0], given[1], given[2] if order == 3 else None)

    inputs = [t for t in tensors(1, order, n=3) if t is not None]
    assert torch.autograd.gradcheck(of, inputs)
    assert torch.autograd.gradgradcheck(of, inputs)


def test_it_does_not_matter_how_many_nodes_are_taken_at_once(monkeypatch):
    inputs = tensors(2, 3, n=300)
    assert len(products._parts(inputs[0])) == 1
    whole = torch.autograd.grad(products._Polynomial.apply(*inputs).square().sum(), inputs)
    monkeypatch.setattr(products, "CHUNK", 1)
    assert len(products._parts(inputs[0])) == 5
    parts = torch.autograd.grad(products._Polynomial.apply(*inputs).square().sum(), inputs)
    assert torch.allclose(products._Polynomial.apply(*inputs), polynomial(*inputs), rtol=0, atol=1e-11)
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10 * float(one.abs().max()))


@pytest.mark.parametrize("order", [2, 3])
def test_scalars_see_angles(order):
    """The same two distances, in a row and in a bend: sums over neighbors have the same scalars, their products not."""
    bend = [np.cos(2.2), np.sin(2.2), 0.0]
    ends = torch.tensor([[[1.0, 0, 0], [-1.0, 0, 0]], [[1.0, 0, 0], bend]], dtype=torch.float64)
    features = so3.spherical_harmonics(2, ends).sum(dim=1)  # one channel
    layer = SymmetricProduct(1, 2, order).double()
    row, bent = layer(features)[:, 0].tolist()
    assert features[0, 0] == features[1, 0]
    assert abs(row - bent) > 1e-3


def test_impossible_products_are_refused():
    with pytest.raises(ValueError, match="products = 4; expected a number of factors"):
        SymmetricProduct(2, 1, 4)
    with pytest.raises(ValueError, match="a product of one factor"):
        SymmetricProduct(2, 1, 1)
    with pytest.raises(ValueError, match="products = True"):
        check_products(True, 1)
    with pytest.raises(ValueError, match="l_max of at most 4"):
        check_products(2, 5)
    check_products(1, 11)
