"""Structure: numbers of neighbors, radial distributions, regions of the box."""

import numpy as np
import pytest

import glasslit as gl
from glasslit.liquid.structure import local_density, spatial_blocks


def test_local_density_counts_neighbors(liquid):
    graph = gl.neighbor_graph(liquid)
    assert np.array_equal(local_density(liquid), np.bincount(graph.edge_index[1], minlength=300))


def test_blocks_are_equal_cubes_of_the_box():
    c = gl.testing.random_liquid(500, box=np.array([6.0, 7.0, 9.0]))
    moved = c.replace(positions=c.positions + np.array([6.0, -14.0, 27.0]), inherent_positions=None)
    blocks = spatial_blocks(c, 3)
    assert np.array_equal(spatial_blocks(moved, 3), blocks), "the box is periodic"
    assert set(blocks) == set(range(27))
    for block in range(27):
        corner = np.array([block // 9, block // 3 % 3, block % 3]) * c.box / 3
        inside = c.positions[blocks == block] - corner
        assert (inside >= 0).all()
        assert (inside < c.box / 3 + 1e-12).all()
    assert not spatial_blocks(c, 1).any()
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match="expected a whole number"):
            spatial_blocks(c, wrong)
