import math
from types import SimpleNamespace

import numpy as np
import pytest

from glasslit import plotting

TIMES = [0.1, 1.0, 10.0]


def scores(**of_a):
    return {"times": TIMES, "test": {name: {"pooled": [0.1, 0.2, 0.3], **of_a} for name in "AB"}}


def test_scores_that_are_missing_are_left_out_and_negative_ones_are_seen():
    figure = plotting.rho_against_time(scores(E_IS=[-0.4, None, 0.1]), tau_alpha=10.0)
    axis = figure.axes[0]
    assert {line.get_label() for line in axis.lines} >= {"network, pooled", "inherent energy alone"}
    assert "ceiling, pooled" not in {line.get_label() for line in axis.lines}
    assert axis.get_ylim()[0] < -0.4
    assert plotting.rho_against_time(scores()).axes[0].get_ylim()[0] == 0


def test_the_best_epoch_is_marked():
    history = [SimpleNamespace(epoch=k, train_loss=1 / k, val_loss=2 / k, val_rho=r) for k, r in ((1, 0.2), (2, 0.5))]
    figure = plotting.learning_curve(history, epochs=5)
    assert figure.axes[1].lines[1].get_xydata().tolist() == [[2, 0.5]]


def test_where_nothing_validates_nothing_is_drawn_of_it():
    nothing = {"val_loss": math.nan, "val_rho": math.nan}
    figure = plotting.learning_curve([SimpleNamespace(epoch=k, train_loss=1 / k, **nothing) for k in (1, 2)], epochs=5)
    assert [len(axis.lines) for axis in figure.axes] == [1, 0]
    assert figure.axes[1].texts[0].get_text() == "nothing validates"


@pytest.mark.parametrize("mark", [None, (0.5, "half")])
def test_curves_against_time_have_a_panel_for_each_type(mark):
    curves = {"T = 1": (np.array(TIMES), {"A": np.ones(3), "B": np.zeros(3)})}
    figure = plotting.against_time(curves, "height", mark=mark)
    assert [axis.get_title() for axis in figure.axes] == ["A particles", "B particles"]
    assert len(figure.axes[0].lines) == 1 + (mark is not None)


def test_predictions_are_drawn_against_labels_of_their_type():
    rng = np.random.default_rng(0)
    types, label = np.repeat([0, 1], [30, 10]), rng.normal(size=40)
    figure = plotting.scatter(label + 1, label, types, 10.0)
    for kind, axis in enumerate(figure.axes):
        x, y = axis.lines[1].get_xydata().T
        assert np.array_equal(x, label[types == kind])
        assert np.array_equal(y, x + 1)
