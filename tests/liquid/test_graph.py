import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch

import glasslit as gl
from glasslit.liquid.graph import INPUTS, parse_inputs
from glasslit.testing import random_liquid


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(40, 200))
def test_graph_is_symmetric_sorted_and_reversible(seed, n):
    graph = gl.neighbor_graph(random_liquid(n, seed=seed), cutoff=1.5, dtype=torch.float64)
    sender, receiver = graph.edge_index
    assert torch.equal(graph.edge_index, graph.edge_index[:, np.lexsort((sender, receiver))])
    assert torch.equal(graph.edge_index[:, graph.reverse], graph.edge_index.flip(0))
    assert torch.equal(graph.vector[graph.reverse], -graph.vector)
    assert torch.equal(graph.reverse[graph.reverse], torch.arange(graph.num_edges))
    assert float(graph.vector.norm(dim=1).max()) < 1.5


def test_vector_points_from_receiver_to_sender():
    c = gl.Configuration(positions=[[0.5, 2, 2], [1.5, 2, 2]], types=[0, 1], box=[8, 8, 8])
    graph = gl.neighbor_graph(c)
    assert graph.edge_index.tolist() == [[1, 0], [0, 1]]
    assert graph.vector.tolist() == [[1, 0, 0], [-1, 0, 0]]


def test_published_edge_count(published):
    (c,) = gl.read_published(published / "botan_small" / "test" / "isoconfig_N4096T0.44_401_tc07.npz")
    assert gl.neighbor_graph(c, cutoff=2.0).num_edges == 166_240


@pytest.mark.parametrize("inputs", INPUTS)
def test_inputs_are_what_they_say(liquid, inputs):
    graph = gl.neighbor_graph(liquid, inputs=inputs)
    assert graph.x[:, :2].argmax(dim=1).tolist() == liquid.types.tolist()
    positions = liquid.inherent_positions if inputs.startswith("IS") else liquid.positions
    expected = gl.neighbor_graph(liquid.replace(positions=positions))
    assert torch.equal(graph.vector, expected.vector)
    if "+E" in inputs:
        energy = liquid.potential_energy_inherent if "E_IS" in inputs else liquid.potential_energy_thermal
        assert np.array_equal(graph.x[:, 2].numpy(), energy)
    else:
        assert graph.x.shape[1] == 2
    assert ("node_vector" in graph) == inputs.endswith("u_IS")
    if "node_vector" in graph:
        moved = liquid.inherent_positions - liquid.positions
        assert np.allclose(graph.node_vector.numpy(), moved, atol=1e-7)


def test_the_vector_to_the_inherent_position_takes_the_nearest_image(liquid):
    """Whichever image a file gives; and it turns with the liquid."""
    expected = gl.neighbor_graph(liquid, inputs="thermal+u_IS", dtype=torch.float64).node_vector
    assert expected.norm(dim=1).max() < 0.1
    images = np.random.default_rng(0).integers(-2, 3, size=liquid.positions.shape) * liquid.box
    elsewhere = liquid.replace(inherent_positions=liquid.inherent_positions + images)
    found = gl.neighbor_graph(elsewhere, inputs="thermal+u_IS", dtype=torch.float64).node_vector
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("inputs", "fields"),
    [
        ("thermal", ("positions",)),
        ("IS+E_thermal", ("inherent_positions", "potential_energy_thermal")),
        ("thermal+E_IS+u_IS", ("positions", "potential_energy_inherent", "inherent_positions")),
        ("IS+u_IS", ("inherent_positions", "positions")),
    ],
)
def test_fields_that_a_name_stands_for(inputs, fields):
    assert parse_inputs(inputs).fields == fields


def test_missing_input_says_how_to_mend(liquid):
    bare = liquid.replace(inherent_positions=None, potential_energy_inherent=None)
    for inputs in ("IS", "thermal+E_IS", "thermal+u_IS"):
        with pytest.raises(ValueError, match=r"has no .*glasslit\.quench"):
            gl.neighbor_graph(bare, inputs=inputs)
    with pytest.raises(ValueError, match=r"inputs 'E_IS'; expected one of thermal"):
        gl.neighbor_graph(liquid, inputs="E_IS")


def test_small_box_is_refused():
    with pytest.raises(ValueError, match="two images"):
        gl.neighbor_graph(random_liquid(30, box=[3.9, 4.0, 4.0]), cutoff=2.0)


def test_batch_shifts_reverse_by_edges(liquid):
    graphs = [gl.neighbor_graph(random_liquid(200, seed=k)) for k in (0, 1)]
    batch = Batch.from_data_list(graphs)
    assert torch.equal(batch.edge_index[:, batch.reverse], batch.edge_index.flip(0))


def test_a_lonely_particle_has_no_edges():
    graph = gl.neighbor_graph(gl.Configuration(positions=[[1, 1, 1]], types=[0], box=[5, 5, 5]))
    assert graph.num_edges == 0
    assert graph.num_nodes == 1
