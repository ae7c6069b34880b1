import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.testing import assert_equivariant, equivariance_error, random_liquid, shuffle_labels


def moments(graph):
    """Sum of the vectors to the neighbors: turns as a vector."""
    receiver, a = graph.edge_index[1], graph.vector
    return torch.zeros(graph.num_nodes, 3, dtype=a.dtype).index_add(0, receiver, a)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_vector_passes_as_a_vector_and_as_nothing_else(dtype):
    graph = gl.neighbor_graph(random_liquid(100), dtype=dtype)
    assert_equivariant(moments, graph, "1x1e")
    with pytest.raises(AssertionError, match="rounding explains at most"):
        assert_equivariant(moments, graph, "3x0e")


def test_the_error_is_the_size_of_the_break():
    graph = gl.neighbor_graph(random_liquid(100), dtype=torch.float64)

    def leaning(g, by):
        return moments(g) + by * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64) * moments(g).abs().max()

    small, large = (equivariance_error(lambda g, by=by: leaning(g, by), graph, "1x1e") for by in (1e-6, 1e-3))
    assert small == pytest.approx(1e-6 * large / 1e-3, rel=0.01)
    assert large > 5e-4


def test_nan_and_zeros_do_not_pass():
    graph = gl.neighbor_graph(random_liquid(100), dtype=torch.float64)
    for factor in (float("nan"), 0.0):
        with pytest.raises(ValueError, match="expected finite numbers, not all of them zero"):
            assert_equivariant(lambda g, by=factor: by * moments(g), graph, "1x1e")

    def sometimes_nan(g):
        return moments(g) if g is graph else moments(g) * float("nan")

    with pytest.raises(AssertionError, match="equivariance error nan"):
        assert_equivariant(sometimes_nan, graph, "1x1e")


def test_random_liquids_differ_by_seed_and_repeat_by_seed():
    assert random_liquid(50, seed=1).hash() == random_liquid(50, seed=1).hash() != random_liquid(50, seed=2).hash()
    assert random_liquid(50, box=[4.0, 5.0, 6.0]).box.tolist() == [4.0, 5.0, 6.0]


def test_shuffled_labels_keep_each_type_its_values(liquid):
    shuffled = shuffle_labels(liquid, seed=1)
    for kind in (0, 1):
        ours, theirs = (np.sort(c.propensity[:, c.types == kind], axis=1) for c in (liquid, shuffled))
        assert np.array_equal(ours, theirs)
    assert not np.array_equal(liquid.propensity, shuffled.propensity)
    assert np.array_equal(liquid.positions, shuffled.positions)
    assert np.allclose(shuffled.propensity_half.mean(0), shuffled.propensity, rtol=1e-6)
