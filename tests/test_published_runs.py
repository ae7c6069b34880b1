"""The stored runs on published data: what is said of them together is what their networks and labels give."""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest

import glasslit as gl
from tests.common import ROOT

RUNS = ROOT / "book" / "runs"


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("compare_published", RUNS / "published" / "compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stored():
    return json.loads((RUNS / "published" / "comparison.json").read_text())


def test_it_is_made_from_these_runs_and_their_data_in_a_committed_state(compare, stored):
    assert "+" not in stored["card"]["git_revision"] != "unknown"
    assert set(stored["runs"]) == set(compare.INPUTS)
    for inputs, found in stored["runs"].items():
        for seed in compare.SEEDS:
            run = RUNS / compare.run_of(inputs, seed)
            metrics, card = (json.loads((run / f"{file}.json").read_text()) for file in ("metrics", "card"))
            if run.parent.name == "published":  # the others were made before, from a quench on another machine
                assert card["data_sha256"] == stored["card"]["data_sha256"]
            assert np.mean(found["test"][seed]) == pytest.approx(metrics["test"]["A"]["mean"][0], abs=1e-5)
            best = max(float(line.split(",")[3]) for line in (run / "history.csv").read_text().splitlines()[1:])
            assert np.mean(found["val"][seed]) == pytest.approx(best, abs=1e-3), "the epoch was chosen on validation"


def test_differences_are_those_of_the_scores_and_the_choice_is_made_on_validation(compare, stored):
    score = {inputs: np.mean(found["test"], axis=1) for inputs, found in stored["runs"].items()}
    assert len(stored["gains"]) == len(compare.COMPARED)
    for name, gain in stored["gains"].items():
        first, second = name.split(" -> ")
        assert gain["each"] == pytest.approx((score[second] - score[first]).tolist(), abs=1e-6)
        assert gain["mean"] == pytest.approx(np.mean(gain["each"]), abs=1e-9)
        assert gain["error"] > np.std(gain["each"], ddof=1) / 3**0.5
    for inputs, gain in stored["gains of ensembles"].items():
        of_mean = np.mean(stored["ensembles"][inputs]["test"])
        assert gain["each"] == pytest.approx((of_mean - score[inputs]).tolist(), abs=1e-6)
    on_validation = {name: np.mean(found["val"]) for name, found in stored["ensembles"].items()}
    assert set(on_validation) == {*compare.INPUTS, compare.ALL, compare.SELECTED}
    assert stored["chosen"] == max(on_validation, key=on_validation.get)


def test_models_on_hand_made_numbers_have_the_scores_of_their_runs(compare, stored):
    vector = np.mean(stored["runs"]["thermal+E_IS+u_IS"]["test"], axis=1)
    assert len(stored["descriptors"]) == len(compare.DESCRIPTORS) * len(compare.DESCRIBED)
    for group, found in stored["descriptors"].items():
        network, inputs = group.split(", ")
        assert len(found["names"]) == dict(compare.DESCRIPTORS)[network]
        for name, scores in zip(found["names"], found["test"], strict=True):
            metrics, card = (json.loads((RUNS / name / f"{file}.json").read_text()) for file in ("metrics", "card"))
            assert card["data_sha256"] == stored["card"]["data_sha256"]
            assert card["parameters"]["model"]["inputs"] == inputs
            assert card["parameters"]["training"]["level_weight"] == 0.3, "the loss of the networks"
            assert np.mean(scores) == pytest.approx(metrics["test"]["A"]["mean"][0], abs=1e-5)
        gain = found["network's gain"]
        assert gain["each"] == pytest.approx((vector - np.mean(found["test"], axis=1)).tolist(), abs=1e-6)


def test_the_selected_ensemble_is_made_of_published_runs_and_each_configuration_was_left_out(compare, stored):
    known = {name for names in stored["names"].values() for name in names}
    known |= {name for found in stored["descriptors"].values() for name in found["names"]}
    assert set(stored["selected"]) <= known
    found = {name: np.mean(scores["val"]) for name, scores in stored["ensembles"].items()}
    single = [np.mean(scores) for runs in stored["runs"].values() for scores in runs["val"]]
    assert found[compare.SELECTED] >= max(single), "selection begins with the best one, and each step is an improvement"
    assert len(stored["left out"]) == 12 == len({*stored["left out"]})


def test_selection_takes_what_helps_and_leaves_what_does_not(compare):
    """Two networks whose errors cancel, a weaker one that adds nothing, and one that knows nothing."""
    (c,) = gl.load("starter", T=0.50, split="test")[:1]
    one = [c.at_times(c.times[-1:])]
    label, rng = one[0].propensity, np.random.default_rng(0)
    noise, other = rng.normal(scale=label.std(), size=(2, *label.shape))
    candidates = {"plus": [label + noise], "minus": [label - noise], "worse": [label + 4 * noise], "none": [other]}
    taken = compare.select(candidates, one)
    assert sorted(taken) == ["minus", "plus"]
    assert compare.scores(compare.mean([candidates[name] for name in taken]), one) == pytest.approx([1])


@pytest.fixture(scope="module")
def folded():
    return json.loads((RUNS / "published" / "cross_validation.json").read_text())


def test_in_a_cross_validation_each_configuration_is_held_out_once(folded, stored):
    """A fold's two configurations have the scores that chose its epoch; the test scores are those of the run."""
    assert "+" not in folded["card"]["git_revision"] != "unknown"
    assert folded["card"]["data_sha256"] == stored["card"]["data_sha256"]
    assert len(set(folded["configurations"])) == 10
    pairs = [(8, 9), (0, 1), (2, 3), (4, 5), (6, 7)]  # fold 0 is the data's own choice: the last two
    hashes = set()
    for setting, names in folded["names"].items():
        for number, (name, pair) in enumerate(zip(names, pairs, strict=True)):
            card, metrics = (json.loads((RUNS / name / f"{file}.json").read_text()) for file in ("card", "metrics"))
            assert card["parameters"].get("fold", 0) == number
            hashes.add((number, card["data_sha256"]))
            history = pd.read_csv(RUNS / name / "history.csv")
            held = np.mean([folded["held out"][setting][k] for k in pair])
            if "ridge" in setting:  # one time: the strength that is best there
                assert held == pytest.approx(history.val_rho.max(), abs=1e-3)
            else:
                assert held == pytest.approx(history[history.best].val_rho.iloc[-1], abs=1e-3)
            assert np.mean(folded["one network"][setting][number]) == pytest.approx(
                metrics["test"]["A"]["mean"][0], abs=1e-5
            )
    assert len(hashes) == len(pairs), (
        "the folds learned from different configurations, all settings of a fold from the same"
    )


def test_differences_of_a_cross_validation_are_those_of_its_scores(folded):
    held = {name: np.array(scores) for name, scores in folded["held out"].items()}
    assert set(folded["selected"]) <= set(folded["names"]) == set(held) - {"selected"}
    for name, lead in folded["leads"].items():
        second, first = name.split(" over ")
        each = held[second] - held[first]
        assert lead["mean"] == pytest.approx(each.mean(), abs=1e-9)
        assert lead["error"] == pytest.approx(each.std(ddof=1) / 10**0.5, abs=1e-9)
    single = [held[name].mean() for name in folded["names"]]
    assert held["selected"].mean() >= max(single), "selection begins with the best one"


def test_networks_of_thermal_positions_give_the_stored_scores(compare, stored, published):
    """The published files themselves; the other inputs need a quench first."""
    test = gl.read_published(published / "botan_small" / "test")
    runs = compare.StoredRuns(RUNS, test)
    for seed in compare.SEEDS:
        found = compare.scores(runs.predictions(compare.run_of("thermal", seed)), test)
        assert found == pytest.approx(stored["runs"]["thermal"]["test"][seed], abs=1e-4)


def test_a_score_is_a_correlation_on_a_particles_and_an_ensemble_a_mean(compare):
    test = gl.load("starter", T=0.50, split="test")[:2]
    labels = [c.propensity[-1:] for c in test]
    last = [c.at_times(c.times[-1:]) for c in test]
    wrong_on_b = [np.where(c.types == 0, 3 * p + 1, -p) for c, p in zip(test, labels, strict=True)]
    assert compare.scores(wrong_on_b, last) == pytest.approx([1, 1])
    both = compare.mean([labels, wrong_on_b])
    for one, p, q in zip(both, labels, wrong_on_b, strict=True):
        assert np.allclose(one, (p + q) / 2)


def test_where_all_ten_teach_nothing_validates_and_the_test_is_the_same(folded):
    found, seen = folded["ten teach"], set()
    assert len(found["names"]) == 2
    for setting, names in found["names"].items():
        assert len(names) == len(found["one network"][setting]) == 3
        for name, scores in zip(names, found["one network"][setting], strict=True):
            card, metrics = (json.loads((RUNS / name / f"{file}.json").read_text()) for file in ("card", "metrics"))
            assert card["parameters"]["fold"] == "all"
            assert card["parameters"]["model"]["inputs"] == setting
            assert card["parameters"]["training"]["epochs"] == 40, "as in the folds"
            assert pd.read_csv(RUNS / name / "history.csv").val_rho.isna().all()
            assert np.mean(scores) == pytest.approx(metrics["test"]["A"]["mean"][0], abs=1e-5)
            seen.add(card["data_sha256"])
        assert np.mean(found["three"][setting]) > np.median(np.mean(found["one network"][setting], axis=1))
    assert len(seen) == 1
    assert set(found["with the folds"]) == {*found["names"], "selected, ten teach"}
