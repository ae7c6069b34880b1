"""Each configuration validates once, nothing is lost, and the test is not touched."""

import pickle

import pytest

import glasslit as gl
from glasslit.learning.folds import fold


@pytest.mark.parametrize(("n_train", "n_val"), [(8, 2), (12, 2), (3, 1), (5, 2), (7, 3), (1, 4)])
def test_each_validates_in_one_fold_and_teaches_in_the_others(n_train, n_val):
    train, val = [f"t{k}" for k in range(n_train)], [f"v{k}" for k in range(n_val)]
    parts = max(1, round(n_train / n_val))
    held = []
    for number in range(parts + 1):
        taught, validate = fold(train, val, number)
        assert sorted(taught + validate) == sorted(train + val)
        assert abs(len(validate) - n_val) <= max(1, n_val - n_train)
        held += validate
    assert sorted(held) == sorted(train + val)
    assert fold(train, val, 0) == (train, val)
    for wrong in (-1, parts + 1):
        with pytest.raises(ValueError, match=f"fold {wrong} of {n_train} training .* expected 0 to {parts}"):
            fold(train, val, wrong)


@pytest.mark.parametrize(("train", "val"), [([], ["a"]), (["a"], [])])
def test_an_empty_set_is_refused(train, val):
    with pytest.raises(ValueError, match="expected one of each or more"):
        fold(train, val, 1)


def test_lazy_sets_stay_lazy_and_give_the_same():
    sets = [gl.load("starter", T=0.44, split=s) for s in ("train", "val")]
    lazy = [gl.load("starter", T=0.44, split=s, lazy=True) for s in ("train", "val")]
    for plain, late in zip(fold(*sets, 1), fold(*lazy, 1), strict=True):
        assert "read when asked for" in repr(late)
        assert "read when asked for" in repr(late.map(lambda c: c))
        assert [c.hash() for c in pickle.loads(pickle.dumps(late))] == [c.hash() for c in plain]
    assert [c.hash() for c in fold(*sets, 1)[1]] == [sets[0][0].hash()]
