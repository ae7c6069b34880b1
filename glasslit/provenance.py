"""The provenance card: what produced a result, so that it can be produced again.

A card holds parameters, versions, git revision, data hash, device, seed, wall time and date,
and is written beside every run (``card.json``).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .writing import write

PACKAGES = ("glasslit", "torch", "torch-geometric", "e3nn", "llvmlite", "numpy", "scipy", "h5py")


@functools.cache
def version() -> str:
    """Version of the installed package, "0+unknown" if it runs uninstalled."""
    try:
        return importlib.metadata.version("glasslit")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


def git_revision() -> str:
    """Commit of the checkout that holds this package, "+changes" behind it if files differ, else "unknown"."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return "unknown"

    def git(*words: str) -> str:
        # `git status` would write what it saw to .git/index: killed, or without room, it leaves .git/index.lock behind,
        # and no commit can be made before that is deleted.
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.strip()

    try:
        revision = git("rev-parse", "HEAD")
        return revision + ("+changes" if git("status", "--porcelain", "--", "glasslit", "book/train.ipynb") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def data_hash(hashes: Iterable[str]) -> str:
    """One SHA-256 for many configurations (order counts): hash of their own hashes."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def source_hash() -> str:
    """SHA-256 of the package's Python and data files: what a result page compares to know that it is stale."""
    digest = hashlib.sha256()
    folder = Path(__file__).resolve().parent
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.h5")]):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def device_name(device: str) -> str:
    """What a reader would call the device: the GPU's name with its driver, or the processor with its thread count."""
    import torch

    if device.startswith("cuda"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
        except (OSError, subprocess.SubprocessError, IndexError):
            driver = "unknown"
        return f"{torch.cuda.get_device_name(device)} (CUDA {torch.version.cuda}, driver {driver})"
    return f"{device}, {platform.machine()}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"


def card(parameters: Mapping[str, Any], *, data: str, device: str, seed: int, seconds: float) -> dict[str, Any]:
    """The provenance card of a run, as plain JSON values.

    Parameters
    ----------
    parameters : every parameter of the run, by name
    data : SHA-256 of the data (:func:`data_hash`)
    device : e.g. "cpu", "cuda"
    seed : int
    seconds : wall time of the training, in s

    Returns
    -------
    dict with keys parameters, versions, git_revision, source_hash, data_sha256, device, seed,
    wall_seconds, date.
    """
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return {
        "parameters": json.loads(json.dumps(dict(parameters), default=str)),
        "versions": {"python": platform.python_version(), **installed},
        "git_revision": git_revision(),
        "source_hash": source_hash(),
        "data_sha256": data,
        "device": device_name(device),
        "seed": seed,
        "wall_seconds": round(seconds, 1),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON so that a reader never sees half a file; errors as :func:`glasslit.writing.whole`."""
    write(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
