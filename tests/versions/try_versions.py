"""The tests with the lowest versions that ``pyproject.toml`` declares, and with the newest that there are.

    python tests/versions/try_versions.py lowest --python python3.11
    python tests/versions/try_versions.py newest --python python3.11 --torch 2.13.0

Each command makes an environment in a temporary folder with ``uv`` (``pip install uv``), runs the tests there with one
worker, writes what it found into ``results.json`` beside this file, and removes the environment. Wheels only: where a
Python has no wheel of the lowest version, the next one is taken, and the result names it. ``--torch`` keeps PyTorch at
one version; a CPU build is taken where uv finds one (``UV_FIND_LINKS`` or ``UV_INDEX`` say where), else that of PyPI.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
WHEELS = ("--only-binary", ":all:")
EXTRAS = ("md", "cluster", "formats")
"""What is installed beside the package's own requirements."""
TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "nbformat", "beautifulsoup4")
"""Of the extra ``test``; the readers that tests compare with, and the book's programs, are left out."""
QUICK = (
    "data", "equivariance/test_convolution.py", "equivariance/test_so3.py", "learning", "liquid", "models", "plotting",
    "prediction",
)  # fmt: skip
"""Folders and files of tests; the others are about the book, the house rules, the command, and pure algebra."""
LEFT_OUT = (
    "data/test_checks.py", "data/test_downloads.py", "data/test_formats.py", "learning/test_checkpoint.py",
    "liquid/test_heterogeneity.py",
)  # fmt: skip
"""Of these, what takes long."""
ALSO = (
    "tests/learning/test_train.py::test_same_seed_same_weights_other_seed_other_weights",
    "tests/learning/test_sweep.py::test_failing_runs_are_told_and_the_others_finish",
    "tests/learning/test_checkpoint.py::test_shipped_networks_predict_what_they_did_before_modules_moved"
    "[glasslit/data/models/thermal-T0.56.pt]",
    "tests/learning/test_checkpoint.py::test_a_model_file_that_would_run_code_does_not",
    "tests/models/test_baselines.py::test_ridge_solves_its_normal_equations",
    "tests/simulate/test_lammps.py::test_free_run_keeps_its_energy",
    "tests/simulate/test_lanes.py::test_trajectories_are_those_of_lammps",
)
"""Of what is slow: training, papermill, stored networks, LAMMPS and Numba."""


def requirements() -> list[str]:
    """Of the package, of some extras and of the tools: with the limits of ``pyproject.toml``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in optional[extra])]
    return sorted({*lines, *(line for line in optional["test"] if name_of(line) in TOOLS)})


def name_of(requirement: str) -> str:
    """As package indexes write it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def lowest_of(requirement: str) -> str | None:
    """The version that is the lower limit."""
    found = re.search(r">=\s*([\w.]+)", requirement)
    return found and found[1]


def same(one: str, other: str) -> bool:
    """6 and 6.0, or 2.13.0 and 2.13.0+cpu."""
    parts = [re.sub(r"(\.0)+$", "", version.split("+")[0]) for version in (one, other)]
    return parts[0] == parts[1]


def run(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], text=True, **more)  # type: ignore[call-overload]


def uv() -> list[str]:
    """The command, or a sentence that says how to get it."""
    if path := shutil.which("uv"):
        return [path]
    if run([sys.executable, "-m", "uv", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "uv"]
    raise SystemExit("uv is not installed; it resolves for the lowest versions: pip install uv")


def install(which: str, python: str, torch: str | None, folder: Path) -> dict[str, str]:
    """Make the environment; versions of what was asked for, by name."""
    lines = requirements() + ([f"torch=={torch}"] if torch else [])
    (folder / "asked.txt").write_text("\n".join(lines) + "\n")
    interpreter = folder / "v" / "bin" / "python"
    run([*uv(), "venv", "--quiet", "--python", python, folder / "v"], check=True)
    into = [*uv(), "pip", "install", "--quiet", "--python", interpreter]
    if which == "lowest":  # each alone; uv, asked for all at once, goes up from PyTorch 2.6 to 2.7 without need
        each = [*uv(), "pip", "compile", "--quiet", "--no-deps", "--resolution", "lowest-direct", *WHEELS]
        options = ["--no-annotate", "--no-header", "--python", interpreter]
        pins = run([*each, *options, folder / "asked.txt"], check=True, capture_output=True).stdout
        (folder / "asked.txt").write_text(pins)
    run([*into, *WHEELS, "-r", folder / "asked.txt"], check=True)
    run([*into, "--no-deps", ROOT], check=True)
    listed = run([*uv(), "pip", "freeze", "--python", interpreter], check=True, capture_output=True).stdout
    there = {name_of(line): line.split("==")[1] for line in listed.splitlines() if "==" in line}
    return {name: there[name] for name in sorted({name_of(line) for line in lines})}


def tests(folder: Path, places: Sequence[str]) -> dict[str, object]:
    """Counts of the tests, and the names of those that fail with what they say."""
    interpreter = folder / "v" / "bin" / "python"
    common = [interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={ROOT}"]
    common.append("--continue-on-collection-errors")
    ignored = [f"--ignore={ROOT / 'tests' / path}" for path in LEFT_OUT]
    folders = [f"tests/{name}" for name in places]
    calls = {"quick": ["-m", "not slow", *ignored, *folders], "slow": list(ALSO)}
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    found: dict[str, object] = dict.fromkeys(("passed", "failed", "skipped"), 0)
    failures: dict[str, str] = {}
    for name, call in calls.items():
        report = folder / f"{name}.xml"
        done = run([*common, f"--junitxml={report}", *call], cwd=ROOT, env=environment, capture_output=True)
        if not report.exists():
            failures[f"pytest, {name}"] = (done.stdout + done.stderr)[-2000:]
            continue
        (folder / f"{name}.log").write_text(done.stdout + done.stderr)
        for case in ElementTree.parse(report).iter("testcase"):
            wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
            kind = "failed" if wrong is not None else "skipped" if case.find("skipped") is not None else "passed"
            found[kind] += 1  # type: ignore[operator]
            if wrong is not None:
                failures[f"{case.get('classname')}::{case.get('name')}"] = (wrong.get("message") or "")[:500]
    return found | {"failures": failures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["lowest", "newest"])
    parser.add_argument("--python", default=sys.executable, help="the interpreter")
    parser.add_argument("--torch", help="the version of PyTorch, where not the lowest or the newest is meant")
    parser.add_argument(
        "--folder", type=Path, help="where the environment is made; by default where temporary files go"
    )
    parser.add_argument("--only", nargs="+", choices=QUICK, default=QUICK, help="some of the quick tests")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="versions-", dir=chosen.folder) as name:
        folder = Path(name)
        versions = install(chosen.which, chosen.python, chosen.torch, folder)
        declared = {name_of(line): lowest_of(line) for line in requirements()}
        asks = [folder / "v" / "bin" / "python", "-c", "import platform; print(platform.python_version())"]
        found = {
            "set": chosen.which,
            "python": run(asks, check=True, capture_output=True).stdout.strip(),
            "date": datetime.now(UTC).date().isoformat(),
            "versions": versions,
            "not_the_lowest": {
                name: declared[name]
                for name, version in versions.items()
                if chosen.which == "lowest" and declared[name] and not same(declared[name], version)
            },
        }
        print(json.dumps(found, indent=1), flush=True)
        found |= {"quick": list(chosen.only)} | tests(folder, chosen.only)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["processor_seconds"] = round(used.ru_utime + used.ru_stime)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = [row for row in known if (row["set"], row["python"]) != (found["set"], found["python"])]
    rows = sorted([*rows, found], key=lambda row: (row["set"], [int(part) for part in row["python"].split(".")]))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print({key: found[key] for key in ("passed", "failed", "skipped", "failures", "processor_seconds")})


if __name__ == "__main__":
    main()
