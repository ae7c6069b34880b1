"""Names of the package from before it had rooms: what scripts, notebooks and pickles of then ask for is still there."""

import inspect
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
    """An old name before the new one, then a new name before the old one, each the first of its modules."""
    code = "import sys\n"
    for first, second in (("kernels.plan", "equivariance.kernels.plan"), ("models.se3", "network")):
        code += f"assert not {{'glasslit.{first}', 'glasslit.{second}'}} & set(sys.modules)\n"
        code += f"import glasslit.{first}, glasslit.{second}; assert glasslit.{first} is glasslit.{second}\n"
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


def test_what_is_listed_is_what_one_calls():
    """``gl.<TAB>``: functions and classes, all that the public surface has; modules are found by name, not listed."""
    listed = dir(gl)
    assert all(inspect.isclass(getattr(gl, n)) or inspect.isfunction(getattr(gl, n)) for n in listed if n[0] != "_")
    assert {n for n in listed if n[0] != "_"} == {n for n in gl.__all__ if not inspect.ismodule(getattr(gl, n))}
    assert [n for n in listed if n[0] == "_"] == ["__version__"]
    modules = {n for n in gl.__all__ if inspect.ismodule(getattr(gl, n))}
    assert {"plotting", "testing", "metrics", "learning"} <= modules
    assert not modules & set(listed)


@pytest.mark.parametrize("use_jedi", [False, True])
def test_ipython_completes_names_of_the_package(use_jedi):
    """In a process that has not imported anything of it but the package."""
    code = f"""
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
import glasslit as gl
shell = InteractiveShell.instance(user_ns={{"gl": gl}})
shell.Completer.use_jedi = {use_jedi}
with provisionalcompleter():
    print("FOUND", *[c.text.lstrip(".") for c in shell.Completer.completions("gl.", 3)])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.rpartition("FOUND ")[2].split()) == set(dir(gl)) - {"__version__"}


def test_listing_imports_nothing():
    code = "import sys, glasslit as gl; assert 'load' in dir(gl); assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_version_is_that_of_the_distribution():
    assert gl.__version__ == gl.provenance.version()
