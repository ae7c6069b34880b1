"""LAMMPS data files (``read_data``, ``write_data``): one frame, its box and atom style told in words.

Parsed here and not by ASE 3.29, which takes keywords with two blanks between them for unknown ones (and the box for a
cube of edge 1), overlooks units, and sorts ids without the type labels beside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from .lammps_columns import snapshot
from .opened import lines
from .snapshot import Options, Snapshot

STYLES = {
    "atomic": "id type x y z",
    "charge": "id type q x y z",
    "bond": "id mol type x y z",
    "angle": "id mol type x y z",
    "molecular": "id mol type x y z",
    "full": "id mol type q x y z",
    "sphere": "id type diameter density x y z",
    "bpm/sphere": "id mol type diameter density x y z",
    "ellipsoid": "id type ellipsoidflag density x y z",
    "dipole": "id type q x y z mux muy muz",
    "dpd": "id type theta x y z",
}
"""Columns of the section Atoms by atom style, as LAMMPS's manual has them; three image flags may follow."""
_BOUNDS = ("xlo xhi", "ylo yhi", "zlo zhi")
_GENERAL = ("avec", "bvec", "cvec", "abc origin")
_FLAGS = ("ix", "iy", "iz")


def frames(path: Path, options: Options) -> Iterator[Callable[[], Snapshot]]:
    """The one frame of a data file.

    Parameters
    ----------
    path : the file, packed or not
    options : with the atom style, where the file does not name it
    """
    yield partial(_parsed, list(lines(path)), options.atom_style)


def _parsed(content: list[str], style: str | None) -> Snapshot:
    first = content[0] if content else ""
    units = re.search(r"units\s*=\s*(\w+)", first)
    step = re.search(r"timestep\s*=\s*(\d+)", first)
    header, sections, comment = _divided(content[1:])
    box = _box(header)
    if "atoms" not in header or "Atoms" not in sections:
        raise ValueError(
            "no section Atoms, or no number of atoms before it; expected both: is it a data file of LAMMPS?"
        )
    count, rows = int(header["atoms"][0]), sections["Atoms"]
    if len(rows) != count:
        raise ValueError(
            f"it has {len(rows)} of {count} particles; expected all: the file ends early, or rows are commented out"
        )
    width = {len(row) for row in rows}
    columns = _columns(style or comment, width)
    table = dict(zip(columns, map(np.array, zip(*rows, strict=True)), strict=True))
    return snapshot(
        table, *box, periodic=np.ones(3, dtype=bool), step=int(step[1]) if step else None, units=units and units[1]
    )


def _divided(lines: list[str]) -> tuple[dict[str, list[str]], dict[str, list[list[str]]], str | None]:
    """Header keyword -> what stands before it; section -> rows of words; what stands behind "Atoms #"."""
    header: dict[str, list[str]] = {}
    sections: dict[str, list[list[str]]] = {}
    rows: list[list[str]] | None = None
    style = None
    for line in lines:
        content, _, comment = line.partition("#")
        words = content.split()
        if not words:
            continue
        if words[0][0].isalpha():  # rows and header lines begin with numbers
            name = " ".join(words)
            rows = sections.setdefault(name, [])
            if name == "Atoms" and comment.strip():
                style = comment.strip()
        elif rows is None:
            k = next((k for k, word in enumerate(words) if word[0].isalpha()), len(words))
            header[" ".join(words[k:])] = words[:k]
        else:
            rows.append(words)
    return header, sections, style


def _box(header: dict[str, list[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Lower and upper bounds, of the box around a tilted one, as dumps have it; tilt factors xy, xz, yz, or None."""
    if any(name in header for name in _GENERAL):
        raise ValueError(
            "a general triclinic box (avec, bvec, cvec); expected edges along x, y and z: write the data file without "
            "`triclinic/general`"
        )
    missing = [name for name in _BOUNDS if len(header.get(name, ())) != 2]
    if missing:
        raise ValueError(
            f"no line `{missing[0]}` in its header; expected the box: two numbers before each of {_BOUNDS}"
        )
    low, high = np.array([header[name] for name in _BOUNDS], dtype=np.float64).T
    if "xy xz yz" not in header:
        return low, high, None
    xy, xz, yz = tilt = np.array(header["xy xz yz"], dtype=np.float64)
    around = [0.0, xy, xz, xy + xz], [0.0, yz], [0.0]
    return low + [min(a) for a in around], high + [max(a) for a in around], tilt


def _columns(style: str | None, widths: set[int]) -> list[str]:
    """Names of the columns of rows that are so many words wide."""
    if len(widths) != 1:
        raise ValueError(f"rows of {' and '.join(map(str, sorted(widths)))} words; expected all alike: is a row cut?")
    (width,) = widths
    fit = {
        name: [*columns.split(), *flags]
        for name, columns in STYLES.items()
        for flags in ((), _FLAGS)
        if len(columns.split()) + len(flags) == width
    }
    if style is not None:
        if style not in STYLES:
            raise ValueError(
                f"atom style {style!r}; expected one of {', '.join(STYLES)}: write another file with one of them"
            )
        if style not in fit:
            raise ValueError(
                f"rows of {width} words with atom style {style!r}; expected {STYLES[style]}, and ix iy iz or not"
            )
        return fit[style]
    if set(fit) != {"atomic"}:
        raise ValueError(
            f"rows of {width} words, and no atom style behind `Atoms #`; "
            f"{'they fit ' + ', '.join(fit) if fit else 'they fit none of ' + ', '.join(STYLES)}: say which, as in "
            "--atom-style charge, atom_style='charge'"
        )
    return fit["atomic"]
