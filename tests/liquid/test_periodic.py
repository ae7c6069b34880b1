import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasslit.liquid.periodic import minimum_image, neighbor_distances, neighbor_pairs, space_filling_order, wrap


def brute_force(positions, box, cutoff):
    i, j = np.triu_indices(len(positions), 1)
    best = np.full(len(i), np.inf)
    for shift in np.ndindex(3, 3, 3):
        vector = positions[j] - positions[i] + (np.array(shift) - 1) * box
        best = np.minimum(best, np.linalg.norm(vector, axis=1))
    return np.stack([i, j], axis=1)[best < cutoff]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), edges=st.tuples(*[st.floats(4.0, 9.0)] * 3))
def test_pairs_equal_brute_force(seed, n, edges):
    box = np.array(edges)
    positions = np.random.default_rng(seed).uniform(size=(n, 3)) * box
    assert np.array_equal(neighbor_pairs(positions, box, 2.0), brute_force(positions, box, 2.0))


@pytest.mark.parametrize("cutoff", [1.0, 2.9])  # by a tree, by looking at every pair in blocks of rows
def test_pairs_and_distances_of_many_particles_equal_brute_force(cutoff):
    box = np.array([6.0, 6.5, 7.0])
    positions = np.random.default_rng(1).uniform(-5, 12, size=(600, 3))
    pairs, distances = neighbor_distances(positions, box, cutoff)
    assert np.array_equal(pairs, brute_force(wrap(positions, box), box, cutoff))
    vectors = minimum_image(positions[pairs[:, 1]] - positions[pairs[:, 0]], box)
    assert np.allclose(distances, np.linalg.norm(vectors, axis=1), rtol=1e-12)


def test_a_pair_exactly_at_the_cutoff_is_no_edge():
    box = np.full(3, 10.0)
    assert len(neighbor_pairs(np.array([[0.0, 0, 0], [2.0, 0, 0]]), box, 2.0)) == 0
    assert len(neighbor_pairs(np.array([[0.0, 0, 0], [np.nextafter(2.0, 0), 0, 0]]), box, 2.0)) == 1


def test_wrap_stays_inside_for_tiny_negative_numbers():
    box = np.array([3.0, 4.0, 5.0])
    wrapped = wrap(np.array([[-1e-20, 4.0, -5.0], [-3.1, 9.0, 12.0]]), box)
    assert np.all((wrapped >= 0) & (wrapped < box))
    assert np.allclose(wrapped, [[0, 0, 0], [2.9, 1.0, 2.0]])


def test_minimum_image_is_the_shortest():
    box = np.array([3.0, 4.0, 5.0])
    vectors = np.random.default_rng(0).uniform(-20, 20, size=(100, 3))
    short = minimum_image(vectors, box)
    assert np.all(np.abs(short) <= box / 2 + 1e-12)
    assert np.allclose((vectors - short) / box, np.round((vectors - short) / box))


def test_small_box_is_refused():
    with pytest.raises(ValueError, match=r"box edges \[3\.9, 9\.0, 9\.0\].*at least 4\.0.*smaller cutoff"):
        neighbor_pairs(np.zeros((1, 3)), np.array([3.9, 9, 9]), 2.0)


def test_neighbors_on_the_space_filling_curve_are_neighbors_in_space():
    box = np.array([9.0, 10.0, 11.0])
    positions = np.random.default_rng(0).uniform(-1, 2, size=(1000, 3)) * box  # outside of the box, too
    order = space_filling_order(positions, box)
    assert np.array_equal(np.sort(order), np.arange(1000))

    def apart(numbers):
        between = minimum_image(np.diff(positions[numbers], axis=0), box)
        return np.linalg.norm(between, axis=1).mean()

    assert apart(order) < 0.5 * apart(np.arange(1000))
    assert len(space_filling_order(positions[:0], box)) == 0
