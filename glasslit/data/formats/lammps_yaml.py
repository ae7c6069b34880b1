"""LAMMPS dumps of style yaml: a document for each frame.

Documents are loaded as words (PyYAML's base loader), which makes no objects, and no truth value of an element "Yes".
Rows of particles as LAMMPS writes them, one a line, go around PyYAML: it takes 0.1 s for those of 4096 particles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .lammps_columns import snapshot
from .opened import lines
from .rows import columns, each_once
from .snapshot import Options, Snapshot, refuse_second_box

_ROW = re.compile(r"\s*- \[([^\[\]'\"#]*?),?\s*\]\s*")
_KEY = re.compile(r"['\"]?(\w+)['\"]?\s*:")
_KEYS = ("natoms", "boundary", "box", "keywords", "data")


def frames(path: Path, options: Options) -> Iterator[Callable[[], Snapshot]]:
    """Of each document, what reads it.

    Raises
    ------
    ValueError
        If a box is said beside the file, or the file cannot be unpacked to its end; of each frame, if it is not whole,
        not YAML as LAMMPS writes it, or its columns are refused (:mod:`~glasslit.data.formats.lammps_columns`).
    ModuleNotFoundError
        Without PyYAML.
    """
    refuse_second_box(options)
    try:
        import yaml  # noqa: F401
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{path.name} is YAML, which needs PyYAML: pip install 'glasslit[formats]'"
        ) from error
    for document in _documents(path):
        yield partial(_read, document)


def _documents(path: Path) -> Iterator[list[str]]:
    """Lines of each document, without the marks between them."""
    document: list[str] = []
    for line in lines(path):
        if line.startswith(("---", "...")):
            if document:
                yield document
            document = [line[3:]] if line[3:].strip() else []
        elif line.strip() and not line.startswith("#"):
            document.append(line)
    if document:
        yield document


def _read(document: list[str]) -> Snapshot:
    """One frame."""
    begin = next((k for k, line in enumerate(document) if line.startswith("data:")), len(document))
    rows = [_ROW.fullmatch(line) for line in document[begin + 1 :]]
    plain = bool(rows) and None not in rows
    keys = [key[1] for line in document[: begin + 1 if plain else None] if (key := _KEY.match(line))]
    if twice := [key for k, key in enumerate(keys) if key in keys[:k]]:  # PyYAML takes the last
        raise ValueError(
            f"{twice[0]} stands there twice; expected each key once in a frame: put a line of three dashes between "
            "two frames"
        )
    if plain:
        known = _loaded(document[:begin])
        known["data"] = [row[1].replace(" ", "") for row in rows if row]
    else:
        known = _loaded(document)
    missing = [key for key in _KEYS if not known.get(key)]
    if missing:
        raise ValueError(
            f"it has no {', '.join(missing)}; expected a whole frame as LAMMPS writes it with dump yaml: if the file "
            "ends early, leave this frame out"
        )
    names, table = _words(known, "keywords"), known["data"]
    try:
        expected, step = int(known["natoms"]), int(known["timestep"]) if "timestep" in known else None
    except (TypeError, ValueError) as error:
        raise ValueError(f"natoms or timestep is no whole number ({error}); expected what LAMMPS writes") from error
    if len(table) != expected:
        raise ValueError(
            f"it has {len(table)} of {expected} particles; expected all: if the file ends early, leave this frame out"
        )
    low, high, tilt = _box(known["box"])
    sides = _words(known, "boundary")
    if len(sides) != 6:
        raise ValueError(f"boundary {' '.join(sides)}; expected six letters, such as p, p, p, p, p, p")
    periodic = np.array(sides).reshape(3, 2) == "p"
    return snapshot(_columns(table, names), low, high, tilt, periodic.all(axis=1), step, known.get("units"))


def _columns(table: list[Any], names: list[str]) -> dict[str, np.ndarray]:
    """Of rows that are text with commas in it, or lists, as PyYAML makes them."""
    each_once(names)
    if all(isinstance(row, str) for row in table):
        if any(row.count(",") >= len(names) for row in table):
            raise ValueError(f"rows of data with more than {len(names)} columns; expected one for each of {names}")
        return columns(table, names, ",")
    if not all(isinstance(row, list) and len(row) == len(names) for row in table):
        raise ValueError(f"rows of data without {len(names)} columns; expected one for each of {names}")
    return {name: np.array([row[k] for row in table], dtype=object) for k, name in enumerate(names)}


def _loaded(document: list[str]) -> dict[str, Any]:
    """Of one document, words, lists of them and mappings."""
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # PyYAML may have been built without the library in C
    try:
        known = yaml.load("".join(document), Loader=loader)
    except yaml.YAMLError as error:
        told = getattr(error, "problem", None) or "see its documentation"
        raise ValueError(
            f"no YAML as LAMMPS writes it ({told}); expected a whole frame: if the file ends early, leave it out"
        ) from error
    if not isinstance(known, dict):
        raise ValueError("no keys such as natoms and box; expected a frame as LAMMPS writes it with dump yaml")
    return known


def _words(known: dict[str, Any], key: str) -> list[str]:
    """A list without lists in it; LAMMPS ends its lists with a comma."""
    found = known[key]
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise ValueError(f"{key} is no list of words; expected what LAMMPS writes with dump yaml")
    return found


def _box(rows: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Lower bounds, upper bounds, tilt factors if there are, shape (3,) each."""
    try:
        bounds = np.array(rows[:3], dtype=np.float64)
        tilt = np.array(rows[3], dtype=np.float64) if len(rows) == 4 else None
    except (TypeError, ValueError) as error:
        raise ValueError(f"box {rows}; expected numbers, a lower and an upper bound for each direction") from error
    if bounds.shape != (3, 2) or len(rows) > 4 or (tilt is not None and tilt.shape != (3,)):
        raise ValueError(
            f"box {rows}; expected a lower and an upper bound for each direction, and tilts of a tilted one"
        )
    return bounds[:, 0], bounds[:, 1], tilt
