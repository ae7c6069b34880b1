"""LAMMPS text dumps (``dump custom``, ``dump atom``), frame by frame.

Parsed here and not by ASE 3.29, which forgets where the box begins when it scales positions, and overlooks image flags,
units that are told once for all frames, and types that are words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from .lammps_columns import snapshot
from .opened import lines
from .rows import each_once
from .snapshot import Options, Snapshot

_Header = dict[str, tuple[str, list[str]]]  # "BOX" -> what stands behind its name, the lines below it
_KINDS = (
    {"id": "i8", "typelabel": "U32", "element": "U32"}
    | {f"{x}{form}": "f8" for x in "xyz" for form in ("", "u", "s", "su")}
    | {"ix": "i8", "iy": "i8", "iz": "i8"}
)
_BEFORE = {"UNITS", "TIME"}  # what may stand before a frame


def frames(path: Path, options: Options) -> Iterator[Callable[[], Snapshot]]:
    """Of each frame, what reads it, also of one that is cut.

    Parameters
    ----------
    path : the file, packed or not
    options : nothing of it is needed

    Raises
    ------
    ValueError
        Where a packed file ends early; of each frame, if it is not whole, or its columns do not tell what is needed.
    """
    units, header, name = None, _Header(), ""
    rest = lines(path)
    for line in rest:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "ITEM:":
            name = words[1] if len(words) > 1 else ""
            if name == "TIMESTEP":
                if header.keys() - _BEFORE:
                    yield partial(_parsed, header, [], units)
                header = {}
            header[name] = (" ".join(words[2:]), [])
            if name == "ATOMS":
                yield partial(_parsed, header, list(islice(rest, _count(header))), units)
                header, name = {}, ""
        elif name:
            header[name][1].append(line)
            if name == "UNITS":  # told once, for all frames that follow
                units = line.strip()
        else:
            yield partial(_stray, line.strip())
            return
    if header.keys() - _BEFORE:
        yield partial(_parsed, header, [], units)


def _stray(line: str) -> Snapshot:
    raise ValueError(
        f"{line[:60]!r} where ITEM: TIMESTEP should be; expected a dump of LAMMPS, with as many rows in a frame as it "
        "says"
    )


def _count(header: _Header) -> int:
    try:
        return max(int(header["NUMBER"][1][0]), 0)
    except (KeyError, IndexError, ValueError):
        return 0


def _parsed(header: _Header, rows: list[str], units: str | None) -> Snapshot:
    if not {"TIMESTEP", "NUMBER", "BOX", "ATOMS"} <= set(header):
        raise ValueError(
            f"it has {', '.join(header)} and no more; expected a whole frame: the file ends early, leave it out"
        )
    columns, count = header["ATOMS"][0].split(), _count(header)
    each_once(columns)
    cut = len(rows) != count or not rows or len(rows[-1].split()) < len(columns)
    whole = next((k for k, row in enumerate(rows) if row.startswith("ITEM:")), max(len(rows) - 1, 0))
    if cut or (count and whole < count - 1):
        raise ValueError(f"it has {whole} of {count} particles; expected all: the file ends early, leave it out")
    try:
        table = _table(rows, columns, "i8")
    except ValueError:
        table = _table(rows, columns, "U32")  # types may be words
    box = _box(*header["BOX"])
    told = [line.strip() for line in header["TIMESTEP"][1]]
    if len(told) != 1 or not re.fullmatch(r"[+-]?\d+", told[0], re.ASCII):
        raise ValueError(
            f"{' '.join(told)[:60]!r} below ITEM: TIMESTEP; expected a whole number: mend it, or leave this frame out"
        )
    return snapshot(table, *box, step=int(told[0]), units=units)


def _table(rows: list[str], columns: list[str], types: str) -> dict[str, np.ndarray]:
    """Columns by name. What nobody needs is read as one letter, whatever it is."""
    kinds = [(f"{k}", types if name == "type" else _KINDS.get(name, "U1")) for k, name in enumerate(columns)]
    try:
        table = np.loadtxt(rows, dtype=kinds, comments=None, ndmin=1)
    except ValueError as error:
        for k, words in enumerate(map(str.split, rows)):
            if len(words) != len(columns):
                raise ValueError(
                    f"particle row {k} has {len(words)} words, {' '.join(words)[:60]!r}; expected {len(columns)}: "
                    f"{' '.join(columns)}"
                ) from error
        raise ValueError(f"{str(error).rstrip('.')}; expected for each particle: {' '.join(columns)}") from error
    return {name: table[f"{k}"] for k, name in enumerate(columns)}


def _box(told: str, lines: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """Lower and upper bounds, of the box around a tilted one; tilt factors or None; which directions are periodic."""
    words = told.split()[1:]  # behind BOUNDS
    if len(lines) != 3:  # one told twice would pass for the next direction's
        raise ValueError(f"a box of {len(lines)} lines; expected three, with a lower and an upper bound in each")
    edges = np.array([line.split() for line in lines], dtype=np.float64)
    flags = [word for word in words if len(word) == 2 and set(word) <= set("pfsm")]
    if words[:1] == ["abc"] or edges.shape == (3, 4):
        raise ValueError("a general triclinic box; expected edges along x, y and z: dump_modify triclinic/general no")
    if edges.shape not in ((3, 2), (3, 3)):
        raise ValueError(f"a box of {edges.size} numbers; expected lower and upper bounds in each of three directions")
    if {"xy", "xz", "yz"} & set(words) and edges.shape == (3, 2):
        raise ValueError(
            f"a box {' '.join(words)} without tilt factors; expected them behind the bounds, three numbers a line"
        )
    tilt = edges[:, 2] if edges.shape[1] == 3 else None
    periodic = [flag == "pp" for flag in flags] if len(flags) == 3 else [True] * 3  # dumps of before 2009 do not say
    return edges[:, 0], edges[:, 1], tilt, np.array(periodic)
