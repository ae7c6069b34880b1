import numpy as np
import pytest

from glasslit import plotting
from glasslit.liquid.periodic import wrap


@pytest.fixture
def seen(liquid):
    return wrap(liquid.positions, liquid.box), liquid.box, liquid.types


def test_a_slice_shows_the_rank_within_the_type_of_what_lies_in_it(seen):
    positions, box, types = seen
    values = np.random.default_rng(0).normal(size=len(types))
    figure = plotting.slices(positions, box, types, {"one": values, "twice": 2 * values})
    inside = np.abs(positions[:, 2] - box[2] / 2) < 1.0
    one, twice = (axis.collections[0] for axis in figure.axes[:2])
    assert len(one.get_array()) == inside.sum()
    assert np.array_equal(one.get_array(), twice.get_array()), "ranks do not know the scale"
    order = np.argsort(positions[inside, 2])
    for kind in (0, 1):
        mine = types[inside][order] == kind
        shown, true = np.asarray(one.get_array())[mine], values[inside][order][mine]
        assert np.array_equal(np.argsort(shown), np.argsort(true))


@pytest.mark.parametrize("panels", [1, 2, 3, 4])
def test_slices_are_no_wider_than_the_page_shows(seen, panels):
    positions, box, types = seen
    figure = plotting.slices(positions, box, types, {f"{k}": positions[:, 0] for k in range(panels)})
    assert figure.get_figwidth() <= 7.0


def test_a_marked_particle_has_its_ring_in_every_panel(seen):
    positions, box, types = seen
    values = np.arange(len(types))
    inside = np.abs(positions[:, 2] - box[2] / 2) < 1.0
    marked, outside = int(np.flatnonzero(inside)[0]), int(np.flatnonzero(~inside)[0])
    moved = wrap(positions + np.array([1.0, 2.0, 0.0]), box)
    panels = {"here": (positions, values), "there": (moved, values)}
    figure = plotting.slice_pair(panels, box, types, marked=marked)
    for axis, (place, _) in zip(figure.axes, panels.values(), strict=False):
        particles, *rings = axis.collections
        assert len(rings) == 2, "a ring and its light rim"
        for ring in rings:
            assert np.allclose(ring.get_offsets(), place[marked, :2])
            assert ring.get_zorder() > particles.get_zorder()
    assert len(plotting.slices(positions, box, types, {"one": values}, marked=marked).axes[0].collections) == 3
    assert len(plotting.slices(positions, box, types, {"one": values}).axes[0].collections) == 1
    for wrong in (outside, len(types), -1):
        with pytest.raises(ValueError, match=f"marked particle {wrong} is not in the slice of panel 'one'; expected"):
            plotting.slices(positions, box, types, {"one": values}, marked=wrong)


def test_pictures_of_a_liquid_draw_each_particle(seen):
    positions, box, types = seen
    whole = plotting.box_3d(positions, box, types)
    assert len(whole.axes[0].collections[0].get_offsets()) == len(types)
    thin = plotting.slice_by_type(positions, box, types, thickness=1.0)
    assert len(thin.axes[0].collections[0].get_offsets()) == (np.abs(positions[:, 2] - box[2] / 2) < 0.5).sum()


def test_pair_correlations_have_a_panel_for_each_pair():
    r = np.linspace(0.1, 4, 30)
    curves = {f"T = {k}": {pair: np.ones(30) for pair in ("AA", "AB", "BB")} for k in range(3)}
    figure = plotting.radial_distribution(r, curves)
    assert [axis.get_title() for axis in figure.axes] == ["A around A", "A around B", "B around B"]
    assert all(len(axis.lines) == 4 for axis in figure.axes)
