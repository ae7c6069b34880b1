import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from glasslit import plotting, so3
from glasslit.plotting.sphere import NEGATIVE, _faces, _screen


def grid(rows=24, columns=48):
    theta, phi = np.mgrid[0 : np.pi : rows * 1j, 0 : 2 * np.pi : columns * 1j]
    return np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], -1)


def harmonics(l_max, directions):
    flat = so3.spherical_harmonics(l_max, torch.as_tensor(directions.reshape(-1, 3)))
    return flat.numpy().reshape(*directions.shape[:2], -1)


def test_the_screen_is_a_rotation_and_y_stands_upright():
    screen = _screen()
    assert np.allclose(screen @ screen.T, np.eye(3))
    assert np.isclose(np.linalg.det(screen), 1)
    assert screen[0, 1] == 0
    assert screen[1, 1] > 0.9


def test_there_is_a_shape_for_each_harmonic_in_its_place():
    directions = grid()
    figure = plotting.harmonic_shapes(directions, harmonics(3, directions))
    (axis,) = figure.axes
    places = [(m, degree) for degree in range(4) for m in range(-degree, degree + 1)]
    assert len(axis.collections) == len(places) == 16
    for shape, place in zip(axis.collections, places, strict=True):
        corners = np.concatenate([path.vertices for path in shape.get_paths()])
        assert np.linalg.norm(corners - place, axis=1).max() < 0.47, "it stays in its cell"
        assert np.linalg.norm(corners - place, axis=1).max() > 0.3, "and fills it"
    assert [text.get_text() for text in axis.get_yticklabels()] == [f"$l = {degree}$" for degree in range(4)]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["−3", "−2", "−1", "0", "1", "2", "3"]


def test_a_shape_is_colored_where_the_function_is_positive():
    directions = grid()
    x, y, z = np.moveaxis(directions, -1, 0)
    corners, light, positive = _faces(directions, y)  # a drop upward, a drop downward
    middle = corners.mean(1)
    clear = np.abs(middle[:, 1]) > 0.1
    assert np.array_equal(positive[clear], middle[clear, 1] > 0)
    assert ((light >= 0.55) & (light <= 1)).all()
    assert _faces(directions, 0 * x + 1)[2].all()
    assert not _faces(directions, -1 - 0 * z)[2].any()
    figure = plotting.harmonic_shapes(directions, np.stack([0 * x - 1, x, y, z], -1))
    gray = np.array(to_rgb(NEGATIVE))
    ball, *_, up = (np.asarray(figure.axes[0].collections[k].get_facecolor())[:, :3] for k in (0, 2))
    assert np.allclose(ball / ball[:, :1], gray / gray[0]), "negative everywhere: gray everywhere"
    assert np.ptp(up, axis=1).max() > 0.3 > np.ptp(up, axis=1).min(), "both colored and gray"


@pytest.mark.parametrize(("columns", "n"), [(48, 5), (48, 25), (47, 4)])
def test_harmonics_of_another_number_or_grid_are_refused(columns, n):
    with pytest.raises(ValueError, match=rf"values \(24, {columns}, {n}\); expected .* n = 1, 4, 9, 16 functions"):
        plotting.harmonic_shapes(grid(), np.ones((24, columns, n)))
