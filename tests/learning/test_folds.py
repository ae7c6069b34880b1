"""Each configuration validates once, nothing is lost, relatives are told of, and the test is not touched."""

import pickle
import warnings

import pytest

import glasslit as gl
from glasslit.learning.folds import ALL, fold
from glasslit.testing import random_liquid

LIQUIDS = [random_liquid(60, seed=k).replace(name=f"liquid {k}") for k in range(14)]


@pytest.mark.parametrize(("n_train", "n_val"), [(8, 2), (12, 2), (3, 1), (5, 2), (7, 3), (1, 4)])
def test_each_validates_in_one_fold_and_teaches_in_the_others(n_train, n_val):
    train, val = LIQUIDS[:n_train], LIQUIDS[n_train : n_train + n_val]
    everything = sorted(c.name for c in train + val)
    parts = max(1, round(n_train / n_val))
    held = []
    for number in range(parts + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # these are strangers
            taught, validate = fold(train, val, number)
        assert sorted(c.name for c in taught + validate) == everything
        assert abs(len(validate) - n_val) <= max(1, n_val - n_train)
        held += [c.name for c in validate]
    assert sorted(held) == everything
    assert fold(train, val, 0) == (train, val)
    for wrong in (-1, parts + 1, 1.0, "1", True, None):
        with pytest.raises(ValueError, match=f"fold = {wrong!r}; expected a whole number from 0 to {parts}, as there"):
            fold(train, val, wrong)


def test_all_teach_and_none_validates():
    assert fold(LIQUIDS[:8], LIQUIDS[8:10], ALL) == (LIQUIDS[:10], [])
    sets = [gl.load("starter", T=0.44, split=s, lazy=True) for s in ("train", "val")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing validates beside a relative
        taught, validate = fold(*sets, ALL)
    assert "read when asked for" in repr(taught)
    assert [c.hash() for c in pickle.loads(pickle.dumps(taught))] == [c.hash() for some in sets for c in some]
    assert len(validate) == len(list(validate)) == len(validate.map(lambda c: c)) == 0


@pytest.mark.parametrize(("train", "val"), [([], LIQUIDS[:1]), (LIQUIDS[:1], [])])
def test_an_empty_set_is_refused(train, val):
    with pytest.raises(ValueError, match="expected at least one of each"):
        fold(train, val, 1)


@pytest.mark.filterwarnings("ignore:.*of one simulation")
def test_lazy_sets_stay_lazy_and_give_the_same():
    sets = [gl.load("starter", T=0.44, split=s) for s in ("train", "val")]
    lazy = [gl.load("starter", T=0.44, split=s, lazy=True) for s in ("train", "val")]
    for plain, late in zip(fold(*sets, 1), fold(*lazy, 1), strict=True):
        assert "read when asked for" in repr(late)
        assert "read when asked for" in repr(late.map(lambda c: c))
        assert [c.hash() for c in pickle.loads(pickle.dumps(late))] == [c.hash() for c in plain]
    assert [c.hash() for c in fold(*sets, 1)[1]] == [sets[0][0].hash()]


def test_relatives_are_told_of():
    """The starter set's training configurations follow each other in one simulation; what validates is a stranger."""
    sets = [gl.load("starter", T=0.44, split=s) for s in ("train", "val")]
    with pytest.warns(UserWarning, match=r"fold 2: .* shares \d+\.\d% .*one simulation.* Fold 0") as found:
        fold(*sets, 2)
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fold(*sets, 0)


def test_published_configurations_are_strangers(published):
    train = gl.read_published(published / "botan_small" / "train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [len(part) for part in fold(train[:8], train[8:], 3)] == [8, 2]
