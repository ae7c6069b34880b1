"""XYZ: a number of particles, a comment, a row for each. What the rest means, programs write into the comment.

Extended XYZ is read by :mod:`~glasslit.data.formats.xyz_extended`; here are atooms, RUMD, and files that say nothing,
such as LAMMPS's ``dump xyz``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from . import xyz_extended
from .opened import lines
from .rows import columns, numbers, whole_numbers
from .snapshot import Options, Snapshot, cell_beside, refuse_second_box

_LABELS = ("species", "name", "type", "id")  # for atooms, id is another word for species
_WIDE = ("position", "pos", "position_unfolded", "velocity", "vel")
_NARROW = (*_LABELS, "x", "y", "z", "vx", "vy", "vz", "mass", "radius", "diameter", "tag", "neighbors")


def frames(path: Path, options: Options) -> Iterator[Callable[[], Snapshot]]:
    """Of each frame, what reads it.

    Raises
    ------
    ValueError
        Where a number of particles is expected and something else stands, or the file cannot be unpacked to its end; of
        each frame, if it is not whole, columns are missing or hold no numbers, or the box is said twice or nowhere.
    """
    rest = lines(path)
    for line in rest:
        word = line.strip().removeprefix("\ufeff")  # Windows editors begin a file with it
        if not word:
            continue
        if not (word.isascii() and word.isdecimal()):
            raise ValueError(
                f"{word[:40]!r} where a number of particles should be; expected XYZ, with as many rows in each frame "
                "as its first line says"
            )
        yield partial(_read, int(word), list(islice(rest, int(word) + 1)), options)


def _read(count: int, block: list[str], options: Options) -> Snapshot:
    """One frame: its comment, and as many rows as there are particles."""
    if len(block) <= count:
        raise ValueError(
            f"it has {max(len(block) - 1, 0)} of {count} particles; expected all: the file ends early, leave this "
            "frame out"
        )
    if not count:
        raise ValueError("no particles; expected at least one: leave this frame out")
    comment, rows = block[0], block[1:]
    if re.search(r"\b(Lattice|Properties)\s*=", comment):
        return xyz_extended.read(comment, rows, options)
    keys = _keys(comment)
    if {"ioformat", "boxLengths", "sim_box"} & set(keys):
        return _of_rumd(keys, rows, options)
    if {"columns", "cell"} & set(keys):
        return _of_atooms(keys, rows, options)
    table = columns(rows, ["the particle's type", "x", "y", "z"])
    step = next((value for key, value in keys.items() if key.lower() in ("step", "timestep")), "")
    return Snapshot(
        numbers(table, ["x", "y", "z"]),
        table["the particle's type"].astype(str),
        cell_beside(options),
        step=_step(step),
    )


def _keys(comment: str) -> dict[str, str]:
    """What a comment says with = or :, as atooms understands it: blanks around these signs and commas mean nothing."""
    close = re.sub(r"\s*,\s*", ",", re.sub(r"\s*[=:]\s*", ":", comment))
    return {key: value.strip(",") for key, value in re.findall(r"([^\s:]+):(\S+)", close)}


def _step(word: str) -> int | None:
    return int(word) if re.fullmatch(r"[+-]?\d+", word, re.ASCII) else None


def _of_atooms(keys: dict[str, str], rows: list[str], options: Options) -> Snapshot:
    """With ``step:0 columns:species,position cell:6.0,7.0,8.0``; types may be any words."""
    names = [name.removeprefix("particle.") for name in keys.get("columns", "species,position").split(",")]
    expanded = [f"{name}[{k}]" if name in _WIDE else name for name in names for k in range(3 if name in _WIDE else 1)]
    label = next((name for name in _LABELS if name in names), None)
    place = next(
        (p for p in (_entries("position_unfolded"), _entries("position"), _entries("pos"), ["x", "y", "z"])
         if set(p) <= set(expanded)),
        None,
    )  # fmt: skip
    if label is None or place is None:
        raise ValueError(
            f"columns {','.join(names)}; expected a type and a position of each particle: columns:species,position"
        )
    needed = expanded[: max(expanded.index(name) for name in (label, *place)) + 1]
    strange = [name for name in needed if name.partition("[")[0] not in _WIDE + _NARROW]
    if strange and len(rows[0].split()) != len(expanded):  # vectors of three numbers have one name
        raise ValueError(
            f"{len(rows[0].split())} columns for {','.join(names)}, where {strange[0]} may be one or more; expected "
            "type and position before it: columns:species,position"
        )
    table = columns(rows, needed)
    if "cell" in keys:
        refuse_second_box(options)
        cell = _edges("cell", keys["cell"].split(","))
    else:
        cell = cell_beside(options)
    return Snapshot(numbers(table, place), table[label].astype(str), cell, step=_step(keys.get("step", "")))


def _entries(name: str) -> list[str]:
    return [f"{name}[{k}]" for k in range(3)]


def _of_rumd(keys: dict[str, str], rows: list[str], options: Options) -> Snapshot:
    """With ``columns=type,x,y,z,imx,imy,imz``, and ``boxLengths=`` (ioformat 1) or ``sim_box=`` (ioformat 2)."""
    names = keys.get("columns", "").split(",")
    if not {"type", "x", "y", "z"} <= set(names):
        raise ValueError(f"columns {','.join(names)}; expected type, x, y and z among them, as RUMD writes them")
    images = [name for name in ("imx", "imy", "imz") if name in names]
    if images and len(images) < 3:
        raise ValueError(f"images {','.join(images)} without the others; expected imx, imy and imz, or none of them")
    refuse_second_box(options)
    if "boxLengths" in keys:
        cell = _edges("boxLengths", keys["boxLengths"].split(","))
    elif "sim_box" in keys:
        kind, *edges = keys["sim_box"].split(",")
        if kind != "RectangularSimulationBox":
            raise ValueError(f"a {kind}; expected a RectangularSimulationBox, which is periodic along x, y and z")
        cell = _edges("sim_box", edges)
    else:
        raise ValueError("neither boxLengths nor sim_box in the comment line; expected a box, as RUMD writes it")
    table = columns(rows, names)
    positions = numbers(table, ["x", "y", "z"])  # between -L/2 and L/2
    if images:
        positions = positions + whole_numbers(table, images) @ cell
    return Snapshot(positions, table["type"].astype(str), cell, step=_step(keys.get("timeStepIndex", "")))


def _edges(key: str, words: Sequence[str]) -> np.ndarray:
    """Edge vectors of a box whose three lengths stand in the comment, shape (3, 3)."""
    try:
        edges = np.array(words, dtype=np.float64)
    except ValueError:
        edges = np.zeros(0)
    if edges.shape != (3,) or not np.all(np.isfinite(edges)) or np.any(edges <= 0):
        raise ValueError(f"{key} {','.join(words)}; expected three positive edge lengths: simulations in 3 dimensions")
    return np.diag(edges)
