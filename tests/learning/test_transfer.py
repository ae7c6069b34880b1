"""Transfer between temperatures: a trained network of the book on the starter data, and what the fits owe."""

import copy

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.learning.transfer import (
    fine_tune,
    matched_times,
    refit_decoder,
    transfer_fine_tune,
    transfer_refit,
    transfer_test,
)
from glasslit.testing import random_liquid, shuffle_labels
from tests.common import ROOT

SHORT = gl.TrainConfig(epochs=2, learning_rate=1e-4, device="cpu")


@pytest.fixture(scope="module")
def model():
    return gl.load_model(ROOT / "book" / "runs" / "T0.50" / "model.pt")


@pytest.fixture(scope="module")
def warm():
    """All splits at the next temperature, at three times."""
    return {
        s: [c.at_times([0.104, 1.65, 5.2]) for c in gl.load("starter", T=0.56, split=s)]
        for s in gl.configuration.SPLITS
    }


def mean_rho(model, configurations):
    predictions = [model.predict(c) for c in configurations]
    return gl.pearson(predictions, [c.propensity for c in configurations], [c.types for c in configurations])["A"]


def test_times_are_matched_by_their_part_of_tau_alpha():
    grids = gl.kob_andersen.TIME_GRIDS
    pairs = matched_times(grids[0.44], 0.44, grids[0.64], 0.64)
    assert [(grids[0.44][i], grids[0.64][j]) for i, j in pairs][:4] == [
        (130, 0.52),
        (412, 1.65),
        (1300, 5.2),
        (4120, 16.5),
    ]
    assert matched_times([1.0, 2.0], 0.56, [1.0, 2.0], 0.56) == [(0, 0), (1, 1)]
    assert matched_times([1.0], 0.56, [1.2], 0.56) == []
    assert matched_times([1.0, 1.05], 0.56, [1.04], 0.56) == [(1, 0)]  # one partner each
    assert matched_times([1.0], 1.0, [3.0], 2.0, {1.0: 10, 2.0: 30}) == [(0, 0)]
    with pytest.raises(ValueError, match=r"no tau_alpha for T = 1\.5; it is known for \[0\.44.*give tau_alpha"):
        matched_times([1.0], 1.5, [1.0], 0.44)


def test_a_decoder_fitted_anew_where_it_was_trained_is_as_good():
    """On the standard set: three test configurations of a thousand particles leave hundredths to chance."""
    trained = gl.load_model(ROOT / "book" / "runs" / "standard-thermal+E_IS-T0.64" / "model.pt")
    splits = {s: gl.load("standard", T=0.64, split=s) for s in gl.configuration.SPLITS}
    again = refit_decoder(trained, splits["train"], splits["val"])
    assert np.all(mean_rho(again, splits["test"]) > mean_rho(trained, splits["test"]) - 0.005)
    assert again.times.tolist() == trained.times.tolist()


def test_a_decoder_fitted_anew_beats_plain_transfer(model, warm):
    table = transfer_test({0.50: model}, warm["test"]).query("type == 'A'").set_index("time")
    anew = (
        transfer_refit({0.50: model}, [c for split in warm.values() for c in split])
        .query("type == 'A'")
        .set_index("time")
    )
    assert list(anew.index) == [0.104, 1.65, 5.2]
    assert list(table.index) == [0.104, 1.65, 5.2]
    assert (anew["mean"] > table["mean"]).all()
    assert (anew["ceiling"] > anew["mean"]).all()
    assert (anew["ceiling_pooled"] > anew["pooled"]).all()
    assert (anew.T_train == 0.50).all()
    assert (anew.T_test == 0.56).all()


def test_shuffled_labels_teach_a_decoder_nothing(model, warm):
    """Where all labels are dealt anew, each decoder fails on those of the test, too. Against true test labels they fail
    on average: a single one is some direction among the invariants, and those know of mobility, so any direction
    correlates a little, up or down. A true decoder is far outside of what chance gives."""
    found = []
    dealt = [shuffle_labels(c, seed=777 + i) for i, c in enumerate(warm["test"])]
    for k in range(10):
        train = [shuffle_labels(c, seed=10 * k + i) for i, c in enumerate(warm["train"][:2])]
        anew = refit_decoder(model, train, [shuffle_labels(c, seed=99 + k) for c in warm["val"]])
        found.append(mean_rho(anew, warm["test"]))
        assert np.abs(mean_rho(anew, dealt)).max() < 0.1
    true = mean_rho(refit_decoder(model, warm["train"][:2], warm["val"]), warm["test"])
    assert np.abs(np.mean(found, axis=0)).max() < 0.1
    assert (true > np.max(found, axis=0)).all()


def test_without_ridge_it_is_least_squares_with_a_constant(model, warm):
    train, test = warm["train"][:2], warm["test"][0]
    anew = refit_decoder(copy.deepcopy(model).double(), train, warm["val"], strengths=[0.0])
    with torch.no_grad():
        x = [
            model.double().invariants(gl.neighbor_graph(c, 2.0, model.config.inputs, torch.float64)).numpy()
            for c in (*train, test)
        ]
    model.float()
    x = [np.column_stack([v, np.ones(len(v))]) for v in x]
    expected = np.full((3, test.n_particles), np.nan)
    for kind in (0, 1):
        on = np.concatenate([c.types == kind for c in train])
        labels = np.concatenate([c.propensity.T for c in train])[on]
        weights = np.linalg.lstsq(np.concatenate(x[:2])[on], labels, rcond=None)[0]
        expected[:, test.types == kind] = (x[2][test.types == kind] @ weights).T
    assert np.allclose(anew.predict(test), expected, atol=1e-6)


def test_each_strength_is_chosen_on_validation(model, warm):
    strengths = [1e-6, 1e-2, 10.0]
    chosen = mean_rho(refit_decoder(model, warm["train"], warm["val"], strengths), warm["val"])
    single = [mean_rho(refit_decoder(model, warm["train"], warm["val"], [s]), warm["val"]) for s in strengths]
    assert np.ptp(single, axis=0).max() > 1e-3, "strengths make a difference"
    assert np.allclose(chosen, np.max(single, axis=0), atol=1e-5)


def test_the_representation_is_frozen_and_the_model_left_alone(model, warm):
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    anew = refit_decoder(model, warm["train"], warm["val"])
    assert torch.equal(torch.get_rng_state(), state)
    assert list(anew.state_dict()) == list(before)
    graph = gl.neighbor_graph(warm["test"][0], 2.0, model.config.inputs)
    with torch.no_grad():
        assert torch.equal(anew.features(graph), model.features(graph))
    assert anew.times.tolist() == [0.104, 1.65, 5.2]
    tuned = fine_tune(model, warm["train"][:1], warm["val"], gl.TrainConfig(epochs=1, learning_rate=1e-3, device="cpu"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert tuned.config.n_times == 3


def test_fine_tuning_is_kept_only_where_validation_gains(model, warm):
    train, val, records = warm["train"][:2], warm["val"], []
    torch.manual_seed(0)
    raw = gl.SE3GNN(gl.ModelConfig(layers=1, channels=2, l_max=1, n_times=3, dropout=0.0))
    raw.set_standardization(train)
    start = refit_decoder(raw, train, val)
    good = fine_tune(raw, train, val, gl.TrainConfig(epochs=8, learning_rate=0.02, device="cpu"), records.append)
    assert [r.epoch for r in records] == list(range(1, 9))
    assert mean_rho(good, val).mean() == pytest.approx(max(r.val_rho for r in records), abs=1e-5)
    assert mean_rho(good, val).mean() > mean_rho(start, val).mean()
    bad = fine_tune(raw, train, val, gl.TrainConfig(epochs=1, learning_rate=5.0, device="cpu"))
    assert all(torch.equal(a, b) for a, b in zip(bad.state_dict().values(), start.state_dict().values(), strict=True))
    warmer = fine_tune(model, train, val, SHORT)
    assert torch.equal(warmer.energy_mean, model.energy_mean), "inputs stay as the network was trained to see them"


def test_tables_say_what_was_scored(model, warm):
    both = [*gl.load("starter", T=0.50, split="test"), *warm["test"]]
    table = transfer_test({0.50: model}, both)
    assert list(table) == ["T_train", "T_test", "time", "part", "type", "mean", "pooled", "ceiling", "ceiling_pooled"]
    assert table.T_test.tolist() == [0.50] * 14 + [0.56] * 6
    (row,) = table.query("T_test == 0.56 and time == 5.2 and type == 'B'").to_dict("records")
    assert row["part"] == pytest.approx(0.1)
    at = model.times.tolist().index(21.7)  # a tenth of tau_alpha at T = 0.50
    predictions, labels, types = zip(
        *[(model.predict(c)[[at]], c.propensity[[2]], c.types) for c in warm["test"]], strict=True
    )
    assert row["pooled"] == pytest.approx(gl.pearson(predictions, labels, types, "pooled")["B"][0])
    tuned = transfer_fine_tune({0.50: model}, [warm["train"][0], *warm["val"], *warm["test"]], config=SHORT)
    assert list(tuned) == list(table)
    assert tuned["mean"].notna().all()


def test_bad_input_is_named(model, warm):
    with pytest.raises(ValueError, match=r"no test configurations for T in \[0\.56\]"):
        transfer_test({0.50: model}, warm["train"])
    with pytest.raises(ValueError, match="has no temperature"):
        transfer_test({0.50: model}, [random_liquid(300).replace(temperature=None)])
    with pytest.raises(ValueError, match="the validation set is empty"):
        refit_decoder(model, warm["train"], [])
    with pytest.raises(ValueError, match="none below 0"):
        refit_decoder(model, warm["train"], warm["val"], strengths=[-1.0])
    with pytest.raises(ValueError, match="times differ"):
        refit_decoder(model, warm["train"], gl.load("starter", T=0.56, split="val"))
    with pytest.raises(ValueError, match="has no potential_energy_inherent"):
        refit_decoder(model, [warm["train"][0].replace(potential_energy_inherent=None)], warm["val"])


def test_fit_can_keep_the_standardization(warm):
    net = gl.SE3GNN(gl.ModelConfig(layers=1, channels=2, l_max=1, n_times=3))
    for keep in (True, False):
        once = gl.TrainConfig(epochs=1, device="cpu")
        list(gl.fit(net, warm["train"][:1], warm["val"], once, standardize=not keep))
        assert torch.isnan(net.label_times).all() == keep
        assert torch.equal(net.target_mean, torch.zeros(2, 3)) == keep


def test_networks_share_graphs_only_where_they_look_at_the_same():
    """One decoder reads the temperature, which the graphs of the other do not hold."""
    (c,) = gl.load("starter", T=0.56, split="val")
    configurations = [c.replace(split=split) for split in ("train", "val", "test")]
    models = {}
    for source, decoder in ((0.56, "linear"), (0.50, "film+T")):
        torch.manual_seed(0)
        config = gl.ModelConfig(layers=1, channels=2, l_max=0, n_times=len(c.times), inputs="thermal", decoder=decoder)
        models[source] = gl.SE3GNN(config)
        models[source].set_standardization(configurations[:1])
    assert set(transfer_test(models, configurations, {0.56: 52.0, 0.50: 52.0}).T_train) == {0.56, 0.50}
