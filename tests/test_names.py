"""A name that nobody has is refused with the one that was meant, wherever such a name is refused."""

import dataclasses
import inspect
import pickle
import re

import pytest

import glasslit as gl
from glasslit.learning.checkpoint import find_model
from glasslit.learning.parameters import check_parameters
from glasslit.models.se3 import config_from_dict
from glasslit.names import did_you_mean, unknown_names

KNOWN = ["starter", "standard", "botan-small"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("startr", "; did you mean 'starter'?"),
        ("STARTER", "; did you mean 'starter'?"),
        ("botan_small", "; did you mean 'botan-small'?"),
        ("water", ""),
        ("", ""),
        ("starter", ""),  # what is known is not misspelled
        (7, ""),
    ],
)
def test_the_nearest_name_is_suggested_and_only_a_near_one(name, told):
    assert did_you_mean(name, KNOWN) == told


def test_two_names_may_be_as_near():
    assert did_you_mean("thermal-T0.5", ["thermal-T0.56", "thermal-T0.58", "IS"]).count("'") == 4


def test_several_unknown_names_are_told_apart():
    told = unknown_names({"sed", "epoch", "x"}, ["epochs", "seed"], "parameter")
    assert told == (
        "unknown parameters epoch, sed, x; expected some of epochs, seed; "
        "did you mean 'epochs' for 'epoch', 'seed' for 'sed'?"
    )
    assert unknown_names(["x", "y"], ["seed"], "name") == "unknown names x, y; expected some of seed"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gl.load("startr"), "did you mean 'starter'?"),
        (lambda: gl.load("standart", T=0.56), "did you mean 'standard'?"),
        (lambda: gl.load("starter", split="tset"), "did you mean 'test'?"),
        (lambda: find_model("thermal-T0.66"), "did you mean 'thermal-T0.64' or 'thermal-T0.56'?"),
        (lambda: find_model("thermal+e_is-t0.56"), "did you mean 'thermal+E_IS-T0.56'"),
        (lambda: gl.ModelConfig(inputs="thermal+EIS"), "did you mean 'thermal+E_IS'"),
        (lambda: gl.ModelConfig(layer=3), "ModelConfig: unknown keyword layer; expected some of layers, channels"),
        (lambda: gl.ModelConfig(layer=3), "did you mean 'layers'?"),
        (lambda: gl.ModelConfig.laptop(lmax=3), "did you mean 'l_max'?"),
        (lambda: gl.TrainConfig(epoch=3), "TrainConfig: unknown keyword epoch; expected some of epochs"),
        (lambda: gl.TrainConfig.laptop(learningrate=3), "did you mean 'learning_rate'?"),
        (lambda: dataclasses.replace(gl.TrainConfig(), sed=3), "did you mean 'seed'?"),
        (lambda: config_from_dict({"chanels": 3}), "did you mean 'channels'?"),
        (lambda: gl.baselines.baseline("botam"), "did you mean 'botan'?"),
        (lambda: gl.baselines.baseline("egnn", widht=3), "did you mean 'width'?"),
        (lambda: check_parameters({"epoch": 3}), "did you mean 'epochs'?"),
        (lambda: check_parameters({"network": "se"}), "network 'se'; expected one of se3, ridge"),
        (lambda: check_parameters({"network": "se"}), "did you mean 'se3'?"),
        (lambda: check_parameters({"preset": "labtop"}), "did you mean 'laptop'?"),
        (lambda: check_parameters({"inputs": "is"}), "did you mean 'IS'?"),
    ],
)
def test_wherever_a_name_is_refused_the_nearest_is_suggested(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("kind", [gl.ModelConfig, gl.TrainConfig])
def test_a_config_is_as_before_but_for_unknown_keywords(kind):
    """Positions, names, copies, pickles and the signature that editors show."""
    first = dataclasses.fields(kind)[0].name
    assert (
        kind(5)
        == kind(**{first: 5})
        == dataclasses.replace(kind(), **{first: 5})
        == pickle.loads(pickle.dumps(kind(5)))
    )
    assert list(inspect.signature(kind).parameters) == [field.name for field in dataclasses.fields(kind)]
    with pytest.raises(TypeError, match="multiple values"):
        kind(5, **{first: 5})
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), first, 3)
