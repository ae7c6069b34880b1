"""Limits in pyproject.toml keep out the versions that are known not to work, and the page of versions names them."""

import inspect
import json
import re
import tomllib
import warnings

import e3nn
import pytest
import torch
import torch_geometric.nn.pool.select.base as select_base
from packaging.requirements import Requirement
from packaging.version import Version

from glasslit.equivariance.kernels import Coupling
from glasslit.equivariance.kernels.reference import tensor_product
from tests.common import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REFUSED = {"h5py": ["3.10.0"], "pandas": ["2.1.0"], "ase": ["3.26.0", "3.23.0"], "numpy": ["2.5.0"]}
"""Tried beside NumPy 2.0.0 and 2.4.6 on Python 3.11, November 2026; for NumPy 2.5: findings/numba_cuda_numpy25.sh."""
TAKEN = {"h5py": "3.11.0", "pandas": "2.2.2", "ase": "3.27.0", "numpy": "2.4.6"}
"""The lowest that work, or the highest."""


def asked(extra=None):
    """Requirements by name: of the package, or of one of its extras."""
    project = PROJECT["project"]
    lines = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return {r.name.lower(): r for r in map(Requirement, lines)}


@pytest.mark.parametrize("name", REFUSED)
def test_limits_keep_out_what_does_not_work(name):
    limits = asked("gpu" if name == "numpy" else None)[name].specifier
    assert TAKEN[name] in limits
    assert not [version for version in REFUSED[name] if version in limits]


def test_the_page_names_what_is_kept_out():
    cells = json.loads((ROOT / "book/versions.ipynb").read_text())["cells"]
    (text,) = ("".join(c["source"]) for c in cells if "Versions that do not work" in "".join(c["source"]))
    named = " ".join(re.findall(r"^\| (?!versions|-)(.*?) \|", text, re.M)).lower()
    for name, versions in REFUSED.items():
        for version in versions:
            assert re.search(rf"{name} {re.escape(version.removesuffix('.0'))}\b", named), (name, version)


def test_pinned_versions_are_within_the_limits():
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
    for name, requirement in asked().items():
        if name in pinned:
            assert Version(pinned[name]) in requirement.specifier, name


def test_the_one_warning_that_is_ignored_still_comes():
    """PyTorch Geometric 2.8.1 makes TorchScript while it is imported, which PyTorch 2.10 or newer warns of."""
    *_, ignored = PROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"]
    assert ignored.startswith("ignore:.*torch.jit.script")
    assert "torch.jit.script" in inspect.getsource(select_base), "nothing to ignore: take it out of pyproject.toml"


@pytest.mark.skipif("jit_mode" not in e3nn.get_optimization_defaults(), reason="e3nn 0.5 makes TorchScript")
def test_products_of_e3nn_make_no_torchscript():
    """e3nn 0.6.0 (e3nn/__init__.py) makes no TorchScript with PyTorch 2.10 or newer, where it is deprecated."""
    tensor_product.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        tensor_product(Coupling("1x0e+1x1e", 1), torch.float32, torch.device("cpu"))
