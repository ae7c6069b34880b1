"""Names of the package from before it had rooms: what scripts, notebooks and pickles of then ask for is still there."""

import json
import pickle
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

import glasslit as gl
from glasslit.aliases import ALIASES
from tests.common import ROOT

SURFACE = json.loads((ROOT / "tests" / "golden" / "surface.json").read_text())


@pytest.mark.parametrize("name", SURFACE)
def test_every_name_is_found_by_attribute_and_by_import(name):
    """gl.metrics.pearson, from glasslit.metrics import pearson, import glasslit.kernels.plan."""
    if name == "simulate.gpu":
        pytest.importorskip("numba_cuda", reason="pip install 'glasslit[gpu]'")
    module = import_module(f"glasslit.{name}".rstrip("."))
    place = gl
    for part in name.split(".") if name else []:
        place = getattr(place, part)
    assert place is module
    assert [known for known in SURFACE[name] if not hasattr(module, known)] == []


@pytest.mark.parametrize("old", ALIASES)
def test_an_old_name_is_the_module_and_no_copy_of_it(old):
    """Two copies of a class are two classes: what one makes the other would not know."""
    now = import_module(f"glasslit.{ALIASES[old]}")
    assert import_module(f"glasslit.{old}") is now
    assert sys.modules[f"glasslit.{old}"] is now
    assert now.__name__ == now.__spec__.name == f"glasslit.{ALIASES[old]}"
    assert getattr(gl, old) is now


def test_it_does_not_matter_which_name_comes_first():
    for first, second in (("kernels.plan", "equivariance.kernels.plan"), ("models.se3", "network")):
        code = f"import glasslit.{first}, glasslit.{second}; assert glasslit.{first} is glasslit.{second}"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_pickles_of_then_are_read():
    """A class is pickled by the name of its module."""
    c = gl.testing.random_liquid(20)
    then = pickle.dumps(c, protocol=0).replace(b"glasslit.liquid.configuration", b"glasslit.configuration")
    assert b"glasslit.configuration" in then
    assert pickle.loads(then).hash() == c.hash()


def test_names_that_never_were_are_not_found():
    assert find_spec("glasslit.nothing") is None
    with pytest.raises(ModuleNotFoundError, match=r"glasslit\.equivariance\.kernels\.nothing"):
        import_module("glasslit.kernels.nothing")
    with pytest.raises(AttributeError, match="nothing"):
        _ = gl.nothing
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from glasslit.metrics import nothing")


def test_the_version_is_that_of_the_distribution():
    assert gl.__version__ == gl.provenance.version()
