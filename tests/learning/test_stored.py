"""Comparison of stored runs: the error of a difference, the rule that decides, and predictions made once."""

import numpy as np
import pytest

import glasslit as gl
from glasslit.learning import stored
from glasslit.learning.evaluation import paired_gain
from glasslit.learning.stored import Gain, StoredRuns, gain_of_seeds
from glasslit.testing import random_liquid
from tests.common import learnable, trained

TIMES = np.array([1.0, 2.0])


def labelled(seed, n=300):
    rng = np.random.default_rng(seed)
    cs = [
        random_liquid(n, seed=seed + k).replace(times=TIMES, propensity=rng.gamma(2, 0.1, size=(2, n)))
        for k in range(2)
    ]
    return rng, cs


def noisy(rng, test, spread, seeds=3):
    return [[c.propensity + rng.normal(scale=spread, size=c.propensity.shape) for c in test] for _ in range(seeds)]


def test_mean_and_error_are_those_of_the_pairs():
    rng, test = labelled(0)
    first, second = noisy(rng, test, 0.3), noisy(rng, test, 0.2)
    found = gain_of_seeds(first, second, test, kind="B")
    pairs = [paired_gain(p, q, test)["B"] for p, q in zip(first, second, strict=True)]
    each = np.array([d for d, _ in pairs])
    assert np.array_equal(found.each, each)
    assert np.array_equal(found.times, TIMES)
    assert found.mean == pytest.approx(each.mean(axis=0))
    error = np.mean([e[0] for _, e in pairs])
    assert found.error[0] == pytest.approx(np.sqrt(error**2 + each[:, 0].var(ddof=1) / 3))
    one = gain_of_seeds(first[:1], second[:1], test, kind="B")
    assert one.error == pytest.approx(pairs[0][1])


def test_seeds_that_scatter_make_the_error_larger():
    rng, test = labelled(1)
    first = noisy(rng, test, 0.3)
    calm = noisy(rng, test, 0.2)
    wild = [noisy(rng, test, s, seeds=1)[0] for s in (0.05, 0.2, 0.8)]
    assert (gain_of_seeds(first, wild, test).error > 3 * gain_of_seeds(first, calm, test).error).all()


@pytest.mark.parametrize(("alike", "ratio"), [(True, 1.0), (False, 2.0)], ids=["alike", "independent"])
def test_the_error_is_the_spread_of_repeated_experiments_and_never_below(alike, ratio):
    """Two settings that are equally good, again and again. Where the seeds of a setting err alike, the error is the
    spread; where they err each by itself, it counts the test particles three times and is twice the spread.
    """

    def setting(rng, test):
        return noisy(rng, test, 0.15, seeds=1) * 3 if alike else noisy(rng, test, 0.15)

    gains, errors, decided = [], [], 0
    for k in range(60):
        rng, test = labelled(10 * k)
        gain = gain_of_seeds(setting(rng, test), setting(rng, test), test)
        gains += gain.mean.tolist()
        errors += gain.error.tolist()
        decided += int(gain.decided.sum())
    assert np.mean(errors) / np.std(gains) == pytest.approx(ratio, rel=0.2)
    assert decided <= 0.12 * len(gains), "what is luck is seldom taken for more"


@pytest.mark.parametrize(
    ("each", "error", "decided"),
    [
        ([0.1, 0.2, 0.3], 0.05, True),
        ([-0.1, -0.2, -0.3], 0.05, True),
        ([0.1, 0.2, 0.3], 0.15, False),  # within two errors
        ([-0.01, 0.3, 0.3], 0.05, False),  # one seed says the opposite
        ([0.0, 0.3, 0.3], 0.05, False),
        ([0.2], 0.05, False),  # one training decides nothing
        ([0.2, 0.2], 0.05, False),
    ],
)
def test_what_is_decided(each, error, decided):
    each = np.array(each)[:, None]
    assert Gain(TIMES[:1], each, each.mean(axis=0), np.array([error])).decided.tolist() == [decided]


def test_numbers_of_trainings_have_to_agree():
    rng, test = labelled(2)
    three = noisy(rng, test, 0.2)
    for first, second in ((three, three[:2]), ([], [])):
        with pytest.raises(ValueError, match="expected the same number of both"):
            gain_of_seeds(first, second, test)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder, test = tmp_path_factory.mktemp("runs"), [learnable(8), learnable(9)]
    models = {}
    for seed in range(3):
        for epochs in (1, 6):
            name = f"epochs{epochs}-seed{seed}"
            models[name], _ = trained([learnable(0)], [learnable(1)], epochs=epochs, seed=seed)
            (folder / name).mkdir()
            gl.save_model(models[name], folder / name / "model.pt")
    return folder, models, test


def test_stored_runs_predict_as_their_networks(runs, monkeypatch):
    folder, models, test = runs
    stored_runs = StoredRuns(folder, test)
    found, direct = stored_runs.predictions("epochs6-seed0"), [models["epochs6-seed0"].predict(c) for c in test]
    for p, q, c in zip(found, direct, test, strict=True):
        for kind in (0, 1):
            for t in (0, 1):
                assert np.corrcoef(p[t, c.types == kind], q[t, c.types == kind])[0, 1] == pytest.approx(1, abs=1e-5)
    monkeypatch.setattr(stored, "load_model", lambda path: pytest.fail("a network was loaded twice"))
    assert stored_runs.predictions("epochs6-seed0") is found


def test_gain_of_stored_runs_is_that_of_their_predictions(runs):
    folder, models, test = runs
    few, many = ([f"epochs{n}-seed{s}" for s in range(3)] for n in (1, 6))
    found = StoredRuns(folder, test).gain(few, many)
    direct = gain_of_seeds(*([[models[n].predict(c) for c in test] for n in names] for names in (few, many)), test)
    assert found.mean == pytest.approx(direct.mean, abs=1e-5)
    assert found.error == pytest.approx(direct.error, abs=1e-5)
    assert np.array_equal(found.times, test[0].times)


def test_times_are_chosen_by_their_value(runs):
    folder, _, test = runs
    stored_runs, last = StoredRuns(folder, test), float(test[0].times[-1])
    whole = stored_runs.predictions("epochs1-seed0")
    assert np.array_equal(stored_runs.predictions("epochs1-seed0", [last])[1], whole[1][-1:])
    names = [f"epochs{n}-seed0" for n in (1, 6)]
    one = stored_runs.gain(names[:1], names[1:], times=[last])
    assert one.mean == pytest.approx(stored_runs.gain(names[:1], names[1:]).mean[-1:])
    assert one.times.tolist() == [last]
    with pytest.raises(ValueError, match=r"expected .* among them"):
        stored_runs.predictions("epochs1-seed0", [12345.0])


def test_what_was_predicted_is_kept_for_others_that_ask_the_same(runs, tmp_path, monkeypatch):
    folder, _, test = runs
    name, original = "epochs6-seed0", stored.load_model
    made = StoredRuns(folder, test, tmp_path).predictions(name)
    (kept,) = tmp_path.iterdir()
    monkeypatch.setenv("GLASSLIT_STORED_PREDICTIONS", str(tmp_path))
    monkeypatch.setattr(stored, "load_model", lambda path: pytest.fail("predicted again"))
    again = StoredRuns(folder, test)
    assert all(np.array_equal(p, q) for p, q in zip(again.predictions(name), made, strict=True))
    assert again.predictions(name, [float(test[0].times[-1])])[0].shape[0] == 1
    monkeypatch.setattr(stored, "load_model", original)
    other = StoredRuns(folder, test[:1]).predictions(name)  # other configurations are another question
    assert np.array_equal(other[0], made[0])
    StoredRuns(folder, test).predictions("epochs6-seed1")  # and so is another network
    assert len(list(tmp_path.iterdir())) == 3
    assert kept.suffix == ".npz"
