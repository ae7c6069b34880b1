"""Networks for several temperatures count time in each liquid's tau_alpha, and tell it in Lennard-Jones units."""

import numpy as np
import pytest

import glasslit as gl
from glasslit.learning.checkpoint import load_model, save_model
from glasslit.learning.stored import StoredRuns
from glasslit.learning.transfer import refit_decoder, transfer_test
from glasslit.models.clock import at_common_parts, counted_in_parts, parts_of, places, relaxation_time
from glasslit.prediction import predict_in_blocks, predicted_atoms
from glasslit.testing import random_liquid


def liquid(temperature, times, seed=0, n=200):
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.gamma(2.0, 0.1, size=(len(times), n)), axis=0)
    halves = np.stack([0.98 * labels, 1.02 * labels])
    c = random_liquid(n, seed=seed)
    return c.replace(times=times, propensity=labels, propensity_half=halves, temperature=temperature, split="test")


COLD = [1.3, 412.0, 4120.0]  # 0.0003, 0.1, 1 of 4120
HOT = [0.33, 5.2, 52.0]  # 0.006, 0.1, 1 of 52


@pytest.fixture(scope="module")
def both():
    return [liquid(0.44, COLD), liquid(0.56, HOT, seed=1)]


def network(decoder="film+T", **settings):
    small = {"layers": 1, "channels": 2, "l_max": 1, "inputs": "thermal", "n_times": 2, "decoder": decoder}
    return gl.SE3GNN(gl.ModelConfig(**(small | {"time_unit": "tau_alpha"} | settings)))


@pytest.fixture(scope="module")
def trained(both):
    net = network()
    cut = at_common_parts(both)
    records = list(gl.fit(net, cut, cut, gl.TrainConfig(epochs=2, device="cpu")))
    assert len(records) == 2
    return net


def test_common_parts_and_their_labels(both):
    cold, hot = at_common_parts(both)
    assert cold.times.tolist() == [412.0, 4120.0]
    assert hot.times.tolist() == [5.2, 52.0]
    assert np.array_equal(hot.propensity, both[1].propensity[1:])
    first, second = counted_in_parts([cold, hot])
    assert np.allclose(first.times, [0.1, 1.0])
    assert np.array_equal(first.times, second.times)
    assert np.array_equal(first.propensity, cold.propensity)


def test_places_within_a_tenth():
    assert places(np.array([0.01, 0.1, 1.0]), np.array([0.108, 0.95])).tolist() == [1, 2]
    assert places(np.array([0.01, 0.1, 1.0]), np.array([0.115])) is None
    assert places(np.array([0.1, 1.0]), np.array([0.098, 0.102])) is None, "one time stands for one part"


@pytest.mark.parametrize(
    ("configurations", "message"),
    [
        ([], "no configurations"),
        ([liquid(None, HOT)], "has no temperature"),
        ([liquid(0.53, HOT)], r"no tau_alpha for T = 0\.53; it is known for \[0\.44"),
        (
            [liquid(0.44, [1.3]), liquid(0.56, [52.0])],
            r"no part of tau_alpha in common \(T = 0\.44: \[0\.0003\]; T = 0\.56",
        ),
        ([liquid(0.56, [50.0, 52.0]), liquid(0.44, [4120.0])], "several times stand for one part"),
    ],
)
def test_what_has_no_common_parts_is_refused(configurations, message):
    with pytest.raises(ValueError, match=message):
        at_common_parts(configurations)


def test_configurations_at_other_parts_are_refused(both, trained):
    with pytest.raises(
        ValueError, match=r"labels at parts \[0\.0003, 0\.1, 1\.0\] of tau_alpha, the others at \[0\.1, 1\.0\]"
    ):
        gl.evaluate(trained, both, both)
    with pytest.raises(ValueError, match=r"at_common_parts"):
        next(gl.fit(network(n_times=3), both, both, gl.TrainConfig(epochs=1, device="cpu")))
    with pytest.raises(ValueError, match=r"time_unit 'hours'; expected one of LJ, tau_alpha"):
        network(time_unit="hours")


def test_a_trained_network_tells_times_in_each_liquids_units(both, trained, tmp_path):
    assert np.allclose(trained.times, [0.1, 1.0])
    assert trained.times_at(0.56).tolist() == [5.2, 52.0]
    assert trained.times_at(0.44).tolist() == [412.0, 4120.0]
    with pytest.raises(ValueError, match="no temperature; the network counts time in tau_alpha"):
        trained.times_at(None)
    hot = both[1]
    atoms = predicted_atoms(hot, trained, trained.predict(hot))
    assert {"predicted_t5_2", "predicted_t52"} <= set(atoms.arrays)
    save_model(trained, tmp_path / "run" / "model.pt")
    again = load_model(tmp_path / "run")
    assert again.time_unit == "tau_alpha"
    assert np.array_equal(again.predict(hot), trained.predict(hot))
    assert np.allclose(predict_in_blocks(again, hot, 64), trained.predict(hot), atol=1e-5)
    stored = StoredRuns(tmp_path, [at_common_parts(both)[1]])
    assert len(stored.predictions("run", [5.2])[0]) == 1


def test_predict_at_asks_in_lennard_jones_units(both, trained):
    cold, hot = both
    assert np.allclose(trained.predict_at(hot, [5.2, 52.0]), trained.predict(hot), atol=1e-5)
    assert np.allclose(trained.predict_at(cold, [412.0, 4120.0]), trained.predict(cold), atol=1e-5)
    between = trained.predict_at(hot, [16.5])
    assert not np.allclose(between, trained.predict(hot)[:1])
    with pytest.raises(ValueError, match="has no temperature"):
        trained.predict_at(hot.replace(temperature=None), [5.2])


def test_the_temperature_changes_the_prediction_only_where_it_is_told(both):
    cut = at_common_parts(both)
    for decoder, told in (("film", False), ("film+T", True)):
        net = network(decoder)
        list(gl.fit(net, cut, cut, gl.TrainConfig(epochs=1, device="cpu")))
        as_hot = cut[0].replace(temperature=0.56, times=HOT[1:])
        assert np.allclose(net.predict(as_hot), net.predict(cut[0])) != told


def test_scores_say_in_which_unit_times_are(both, trained):
    cut = at_common_parts(both)
    assert gl.evaluate(trained, cut, cut)["time_unit"] == "tau_alpha"
    plain = network("linear", time_unit="LJ")
    list(gl.fit(plain, cut[:1], cut[:1], gl.TrainConfig(epochs=1, device="cpu")))
    assert "time_unit" not in gl.evaluate(plain, cut[:1], cut[:1])


def test_transfer_of_such_a_network(both, trained):
    cut = at_common_parts(both)
    table = transfer_test({0.44: trained}, cut)
    assert set(table[table.T_test == 0.56].time) == {5.2, 52.0}
    refitted = refit_decoder(trained, cut[1:], cut[1:])
    assert refitted.time_unit == "LJ"
    assert refitted.times.tolist() == [5.2, 52.0]


def test_relaxation_times_of_ones_own():
    assert relaxation_time(0.6, {0.6: 30.0}) == 30.0
    assert np.allclose(parts_of(liquid(0.64, [1.65, 16.5])), [0.1, 1.0])
