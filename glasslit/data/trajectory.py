"""A user's own simulations: configurations from the files of other programs.

Lengths are in sigma_AA and times in Lennard-Jones units, as everywhere here; nothing is converted. Readers of each kind
of file are in :mod:`~glasslit.data.formats`; this tells kinds apart, follows particles from frame to frame, and gives
types their meaning. Labels of runs that share their start are :mod:`~glasslit.data.isoconfigurational`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as fields_of
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from ase.io.formats import string2index

from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import TYPE_NAMES
from ..warned import warn
from .formats import hoomd, lammps_data, lammps_dump, lammps_yaml, others, xyz
from .formats.opened import lines as lines_of
from .formats.opened import suffix
from .formats.snapshot import Options, Snapshot
from .isoconfigurational import from_isoconfigurational as from_isoconfigurational
from .isoconfigurational import statistics as statistics

DUMP = "lammps-dump-text"
READERS: dict[str, ModuleType] = {
    DUMP: lammps_dump,
    "lammps-dump-yaml": lammps_yaml,
    "lammps-data": lammps_data,
    "extxyz": xyz,
    "xyz": xyz,
    "gsd": hoomd,
}
"""Formats by the names that ASE gives them; what is not among them is read by ASE."""
_T = TypeVar("_T")


def read_trajectory(
    path: str | Path,
    type_map: Mapping[int | str, str | int] | None = None,
    frames: int | slice | str = ":",
    *,
    format: str | None = None,
    box: float | Sequence[float] | None = None,
    atom_style: str | None = None,
    **fields: Any,
) -> list[Configuration]:
    """Snapshots from a LAMMPS dump or data file, the XYZ family, GSD, or another format that ASE reads.

    Parameters
    ----------
    path : the file; ``.gz``, ``.bz2``, ``.xz`` and ``.zst`` are unpacked on the way
    type_map : what each of the file's types is, such as ``{1: "A", 2: "B"}``. LAMMPS counts types from 1; other formats
        name elements or labels, such as ``{"H": "A", "He": "B"}``, which is what
        :meth:`~glasslit.Configuration.to_ase` makes of them
    frames : which: an index, a slice, or a string such as "-1" or "100:200:10"; all by default
    format : as ASE names it, where it cannot be told from the file
    box : edge length of a cube, or three of them, sigma_AA; for formats without a box
    atom_style : of a LAMMPS data file that does not name it, such as "charge"
    fields : what the file does not say, such as ``temperature=0.44``

    Returns
    -------
    One configuration per frame, particles in the order of their ids where there are ids, unwrapped where there are
    image flags

    Raises
    ------
    ValueError
        If the file or a frame is missing or damaged, a type is not in the map, the box is missing, triclinic or not
        periodic, units are not Lennard-Jones ones, or the number or the ids of the particles change.
    ModuleNotFoundError
        If the format needs a library that is not installed.

    Warns
    -----
    UserWarning
        Once for a file: if it has no ids, so that particles are told apart by their rows; if time steps do not
        increase; if columns of it mean nothing without something that was lost; if it is a file of ASE's own that
        dropped the labels or ids of a configuration.

    Examples
    --------
    >>> read_trajectory("liquid.dump", {1: "A", 2: "B"}, frames="-10:", temperature=0.44)  # doctest: +SKIP
    """
    return list(iterate_trajectory(path, type_map, frames, format=format, box=box, atom_style=atom_style, **fields))


def iterate_trajectory(
    path: str | Path,
    type_map: Mapping[int | str, str | int] | None = None,
    frames: int | slice | str = ":",
    *,
    format: str | None = None,
    box: float | Sequence[float] | None = None,
    atom_style: str | None = None,
    **fields: Any,
) -> Iterator[Configuration]:
    """:func:`glasslit.read_trajectory`, frame by frame, so that a long one needs no memory. Parameters as there."""
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ValueError(f"{path}: {what}; expected a trajectory: check the path")
    unknown = set(fields) - {f.name for f in fields_of(Configuration)} | set(fields) & {"positions", "types", "ids"}
    if unknown:
        raise ValueError(
            f"{', '.join(sorted(unknown))}: no fields that a file leaves open; expected such as temperature=0.44"
        )
    options = Options(_edges(box), atom_style, frozenset(fields))
    first: tuple[int, Snapshot] | None = None
    step, told = None, set[str]()
    for number, read in _named(path, partial(pick_frames, _frames(path, format, options), frames)):
        where = f"{path.name}, frame {number}"
        try:
            snapshot = read()
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        first = first or (number, snapshot)
        _same_particles(snapshot, where, *first)
        sentences = list(snapshot.told)
        if snapshot.ids is None:
            sentences.append(
                "no particle ids; particles are told apart by their rows, which may change places: write ids (dump id)"
            )
        if step is not None and snapshot.step is not None and snapshot.step <= step:
            sentences.append(
                f"time step {snapshot.step} comes after {step}: are frames repeated, or files of two runs joined?"
            )
        step = snapshot.step
        for sentence in sentences:
            kind = sentence.translate(str.maketrans("", "", "0123456789"))
            if kind not in told:  # once for a file
                told.add(kind)
                warn(f"{path}: {sentence}")
        yield _configuration(snapshot, type_map, where, fields)


def _edges(box: float | Sequence[float] | None) -> np.ndarray | None:
    """Three edges of what was given as a box."""
    if box is None:
        return None
    edges = np.asarray(box, dtype=np.float64).ravel()
    edges = np.repeat(edges, 3) if len(edges) == 1 else edges
    if edges.shape != (3,) or not np.all(np.isfinite(edges) & (edges > 0)):
        raise ValueError(f"box = {box}; expected the edge of a cube or three edges, positive, in sigma_AA")
    return edges


def _frames(path: Path, format: str | None, options: Options) -> Callable[[], Iterable[Callable[[], Snapshot]]]:
    """What yields, for each frame, what reads it."""
    name = format or recognized(path)
    reader = READERS.get(name)
    if options.box is not None and reader not in (xyz, None):  # of ASE's formats some have no box
        raise ValueError(
            f"{path}: a box is given, and the format {name} has one of its own; expected one: leave box out"
        )
    if options.atom_style is not None and reader is not lammps_data:
        raise ValueError(
            f"{path}: an atom style is given, and the format is {name}; expected a LAMMPS data file: leave it out"
        )
    read = partial(reader.frames, path, options) if reader else partial(others.frames, path, options, name)
    return partial(_named, path, read)


def _named(path: Path, read: Callable[[], Iterable[_T]]) -> Iterator[_T]:
    """What ``read()`` yields; errors between two frames with the name of the file."""
    try:
        yield from read()
    except ValueError as error:
        if str(error).startswith(path.name):
            raise
        raise ValueError(f"{path.name}: {error}") from error


def recognized(path: Path) -> str:
    """The format of a file, by what it begins with, or else by its name; as ASE calls it.

    Raises
    ------
    ValueError
        If it is one that is not read, with the way to convert it, or no known one.
    """
    if sentence := others.unread(path):
        raise ValueError(f"{path.name}: {sentence}")
    if suffix(path) == ".gsd":
        return "gsd"
    lines: list[str] = []
    try:
        for line in islice(lines_of(path), 200):
            lines += [line] if line.strip() else []
    except ValueError as error:  # what is cut begins all the same
        if not lines:
            raise ValueError(f"{path.name}: {error}") from error
    if not lines and path.stat().st_size == 0:
        raise ValueError(f"{path}: an empty file; expected a trajectory: copy it again")
    begin = lines[0].strip() if lines else ""
    if begin.startswith("ITEM:"):
        return DUMP
    if begin == "---" and any(line.startswith("keywords:") for line in lines):
        return "lammps-dump-yaml"
    if begin.isdecimal():
        return "extxyz" if len(lines) > 1 and "Lattice=" in lines[1] else "xyz"
    if any(re.match(r"\s*\d+\s+atoms\s*(#.*)?$", line) for line in lines):  # ASE takes some for others
        return "lammps-data"
    if name := others.told_by_ase(path):
        return name
    raise ValueError(
        f"{path}: not a format that is known by its name or its beginning; expected a LAMMPS dump, extended XYZ or the "
        "like: give its format (--format lammps-data, format='lammps-data')"
    )


def _same_particles(snapshot: Snapshot, where: str, number: int, first: Snapshot) -> None:
    """A ``ValueError`` if a frame has other particles than the first one, ``number``."""
    if len(snapshot.positions) != len(first.positions):
        raise ValueError(
            f"{where}: {len(snapshot.positions)} particles, but {len(first.positions)} in frame {number}; expected the "
            "same number in all: read the frames apart"
        )
    if (snapshot.ids is None) != (first.ids is None) or not np.array_equal(snapshot.ids, first.ids):  # type: ignore[arg-type]
        raise ValueError(
            f"{where}: its ids are not those of frame {number}; expected the same particles in all: read the frames "
            "apart"
        )


def pick_frames(snapshots: Callable[[], Iterable[_T]], frames: int | slice | str) -> Iterator[tuple[int, _T]]:
    """The wanted ones of what ``snapshots()`` yields, with their numbers.

    Parameters
    ----------
    snapshots : called again where frames are counted from the end
    frames : as in :func:`glasslit.read_trajectory`

    Raises
    ------
    ValueError
        If there are no such frames.
    """
    try:
        asked = string2index(frames) if isinstance(frames, str) else frames
    except ValueError:
        asked = None
    if isinstance(asked, np.integer | int):
        asked = slice(int(asked), int(asked) + 1 or None)
    if not isinstance(asked, slice) or (asked.step or 1) < 1:
        raise ValueError(f"frames {frames!r}; expected an index, a slice, or a string such as '-1' or '100:200:10'")
    if any(v is not None and v < 0 for v in (asked.start, asked.stop)):  # counted from the end
        total = sum(1 for _ in snapshots())
        start, stop, step = asked.indices(total)
        asked = slice(start, stop, step)
    found = -1
    for number, snapshot in enumerate(islice(snapshots(), asked.stop)):
        if number >= (asked.start or 0) and (number - (asked.start or 0)) % (asked.step or 1) == 0:
            found = number
            yield number, snapshot
    if found < 0:
        total = sum(1 for _ in snapshots())
        if not total:
            raise ValueError("a file without frames; expected a trajectory: is it the right file, and its format?")
        raise ValueError(f"frames {frames!r} of a file that has {total}; expected some of 0 to {total - 1}")


def _configuration(
    snapshot: Snapshot, type_map: Mapping[int | str, str | int] | None, where: str, fields: dict[str, Any]
) -> Configuration:
    """A snapshot with its types as ``type_map`` says."""
    names, which, counts = np.unique(snapshot.labels, return_inverse=True, return_counts=True)
    told = ", ".join(f"{name} ({count})" for name, count in zip(names, counts, strict=True))
    known = {str(key): str(value) for key, value in (type_map or {}).items()}
    if not known and set(names) <= set(TYPE_NAMES):
        known = {name: name for name in TYPE_NAMES}
    meant = {name: k for k, name in enumerate(TYPE_NAMES)} | {str(k): k for k in range(len(TYPE_NAMES))}
    if not set(names) <= set(known) or not set(known.values()) <= set(meant):
        raise ValueError(
            f"{where}: type map {','.join(f'{k}={v}' for k, v in known.items()) or 'empty'} for types {told}; expected "
            "every type to be A or B, as in "
            f"{','.join(f'{n}={t}' for n, t in zip(names, TYPE_NAMES, strict=False))}"
        )
    if np.abs(snapshot.cell - np.diag(np.diag(snapshot.cell))).max() > 1e-9:
        raise ValueError(
            f"{where}: a triclinic cell {snapshot.cell.round(6).tolist()}; expected a box with edges along x, y and z: "
            "neighbors are found across such faces only"
        )
    if not np.all(snapshot.periodic):
        raise ValueError(
            f"{where}: not periodic in {', '.join(x for x, p in zip('xyz', snapshot.periodic, strict=True) if not p)}; "
            "expected a box that is periodic in all directions: a network that knows the bulk says nothing of surfaces"
        )
    of_frame = {
        "positions": snapshot.positions,
        "types": np.array([meant[known[name]] for name in names])[which],
        "box": np.diag(snapshot.cell),
        "ids": snapshot.ids,
        "step": snapshot.step,
    }
    return Configuration(**({"name": where} | snapshot.fields | of_frame | fields))
