"""A user's own simulations: snapshots from whatever ASE reads, and labels from runs that share their start.

Lengths are in sigma_AA and times in Lennard-Jones units, as everywhere here; nothing is converted. ASE parses the
files. What it leaves out of LAMMPS dumps (image flags, dumps that say their units, columns named by masses) is seen to
on the way.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import ase
import ase.io
import numpy as np
from ase.io.formats import UnknownFileTypeError, filetype, ioformats, open_with_compression, string2index

from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import TYPE_NAMES, WAVE_NUMBER
from ..liquid.periodic import minimum_image

DUMP = "lammps-dump-text"
_T = TypeVar("_T")


def read_trajectory(
    path: str | Path,
    type_map: Mapping[int | str, str | int] | None = None,
    frames: int | slice | str = ":",
    *,
    format: str | None = None,
    **fields: Any,
) -> list[Configuration]:
    """Snapshots from a LAMMPS dump or data file, extended XYZ, or another format that ASE reads.

    Parameters
    ----------
    path : the file; ``.gz``, ``.bz2`` and ``.xz`` are unpacked on the way
    type_map : what each of the file's types is, such as ``{1: "A", 2: "B"}``. LAMMPS counts types from 1; other formats
        name elements or labels, such as ``{"H": "A", "He": "B"}``, which is what
        :meth:`~glasslit.Configuration.to_ase` makes of them
    frames : which: an index, a slice, or a string such as "-1" or "100:200:10"; all by default
    format : as ASE names it, where it cannot be told from the file
    fields : what the file does not say, such as ``temperature=0.44``

    Returns
    -------
    One configuration per frame, particles in the order of their ids where there are ids, unwrapped where there are
    image flags

    Raises
    ------
    ValueError
        If the file or a frame is missing, a type is not in the map, the box is triclinic or not periodic, units are not
        Lennard-Jones ones, or the number of particles changes.

    Examples
    --------
    >>> read_trajectory("liquid.dump", {1: "A", 2: "B"}, frames="-10:", temperature=0.44)  # doctest: +SKIP
    """
    return list(iterate_trajectory(path, type_map, frames, format=format, **fields))


def iterate_trajectory(
    path: str | Path,
    type_map: Mapping[int | str, str | int] | None = None,
    frames: int | slice | str = ":",
    *,
    format: str | None = None,
    **fields: Any,
) -> Iterator[Configuration]:
    """:func:`glasslit.read_trajectory`, frame by frame, so that a long one needs no memory. Parameters as there."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a trajectory: check the path")
    snapshots = partial(_snapshots, path, format or _format(path))
    first: tuple[int, int] | None = None
    for number, snapshot in pick_frames(snapshots, frames):
        where = f"{path.name}, frame {number}"
        try:
            atoms = snapshot()
        except KeyError as error:
            raise ValueError(
                f"{where}: ASE knows no {error}; expected elements, or letters in extended XYZ, which also has a box"
            ) from error
        except (ValueError, IndexError, RuntimeError, StopIteration) as error:
            raise ValueError(f"{where}: {error}") from error
        if first is None:
            first = (number, len(atoms))
        elif len(atoms) != first[1]:
            raise ValueError(
                f"{where}: {len(atoms)} particles, but {first[1]} in frame {first[0]}; expected the same number "
                "in all: read the frames apart"
            )
        elif not atoms.info.get("sorted", True):
            warnings.warn(f"{path}: no ids; particles may change places from frame to frame: dump id too", stacklevel=2)
        yield _configuration(atoms, type_map, where, fields)


def from_isoconfigurational(
    initial: Configuration,
    finals: Sequence[Any] | np.ndarray,
    times: Sequence[float],
    *,
    wrapped: bool = False,
) -> Configuration:
    r"""Labels from runs that share their start and differ in their velocities.

    .. math:: \Delta_i(t) = \big\langle |x_i(t) - x_i(0)| \big\rangle_\text{runs}

    Parameters
    ----------
    initial : where all runs start
    finals : for each run what it came to at each time: positions of shape (T, N, 3), sigma_AA, or T configurations, in
        the particle order of ``initial``
    times : T of them, Lennard-Jones units, increasing
    wrapped : whether positions were folded back into the box; displacements are then taken by minimum image, which is
        wrong once particles move farther than half of it

    Returns
    -------
    ``initial`` with ``times``, ``propensity``, ``propensity_half`` (first and second half of the runs; from two runs
    on), ``mean_displacement``, ``msd``, ``self_scattering`` and ``n_trajectories``

    Raises
    ------
    ValueError
        If shapes do not fit, types differ, times are out of order, or positions look wrapped and are not said to be.
    """
    times = [float(t) for t in times]
    if not times or times[0] <= 0 or any(b <= a for a, b in pairwise(times)):
        raise ValueError(
            f"times {times}; expected positive, increasing times: sort them, and their positions with them"
        )
    if len(finals) == 0:
        raise ValueError("no runs; expected at least one: give their positions as finals")
    n, runs = initial.n_particles, []
    for k, run in enumerate(finals):
        if len(run) != len(times):
            raise ValueError(f"run {k} has {len(run)} snapshots; expected {len(times)}, one for each of times {times}")
        for c in run:
            if isinstance(c, Configuration) and not np.array_equal(c.types, initial.types):
                raise ValueError(
                    f"run {k}: types are not those of the start; expected the same particles in the same order: "
                    "sort them by their ids"
                )
        positions = np.asarray([c.positions if isinstance(c, Configuration) else c for c in run], dtype=np.float64)
        if positions.shape != (len(times), n, 3):
            raise ValueError(f"run {k} has positions of shape {positions.shape}; expected {(len(times), n, 3)}")
        moved = positions - initial.positions
        if wrapped:
            moved = minimum_image(moved, initial.box)
        runs.append(moved)
    displacements = np.stack(runs)
    far = np.abs(displacements).max(axis=(0, 1)) > 0.5 * initial.box
    if not wrapped and far.any() and np.all(np.ptp(displacements + initial.positions, axis=(0, 1, 2)) <= initial.box):
        raise ValueError(
            f"{int(far.any(axis=1).sum())} particles move by more than half of the box, and all positions lie in one "
            "box: they look wrapped; expected unwrapped ones (dump xu yu zu, or image flags), or say wrapped=True"
        )
    return initial.replace(**statistics(displacements, initial.types, times))


def statistics(displacements: np.ndarray, types: np.ndarray, times: Sequence[float]) -> dict[str, Any]:
    """What a configuration keeps of its runs.

    Parameters
    ----------
    displacements : shape (R, T, N, 3), sigma_AA
    types : shape (N,)
    times : T of them

    Returns
    -------
    Fields of :class:`~glasslit.Configuration`
    """
    displacements = np.asarray(displacements, dtype=np.float64)
    distance = np.linalg.norm(displacements, axis=-1)
    of_type = [types == k for k in range(len(TYPE_NAMES))]
    scattering = np.cos(WAVE_NUMBER * displacements).mean(axis=(0, 3))
    half = len(displacements) // 2

    def by_type(values: np.ndarray) -> np.ndarray:
        return np.stack([values[:, s].mean(axis=1) for s in of_type], axis=1)

    present = all(s.any() for s in of_type)
    return {
        "times": np.asarray(times, dtype=np.float64),
        "propensity": distance.mean(axis=0),
        "propensity_half": np.stack([distance[:half].mean(axis=0), distance[half:].mean(axis=0)]) if half else None,
        "mean_displacement": displacements.mean(axis=0),
        "msd": by_type((distance**2).mean(axis=0)) if present else None,
        "self_scattering": by_type(scattering) if present else None,
        "n_trajectories": len(displacements),
    }


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


def _snapshots(path: Path, format: str) -> Iterator[Callable[[], ase.Atoms]]:
    """Of each frame, what parses it."""
    if format == DUMP:
        with open_with_compression(str(path), "r") as lines:
            yield from (partial(_from_dump, block) for block in _blocks_of_dump(lines))
    elif format == "extxyz":
        with open_with_compression(str(path), "r") as lines:
            yield from (partial(_from_xyz, block) for block in _blocks_of_xyz(lines))
    else:
        for atoms in ase.io.iread(path, index=":", format=format):
            yield lambda atoms=atoms: atoms  # type: ignore[misc]


def _format(path: Path) -> str:
    """As ASE tells it, which takes LAMMPS data files for others."""
    with open_with_compression(str(path), "rb") as content:
        if re.search(rb"^\s*\d+\s+atoms\s*$", content.read(2000), re.MULTILINE):
            return "lammps-data"
    try:
        name = str(filetype(str(path)))
    except UnknownFileTypeError:
        name = ""
    if name not in ioformats:
        raise ValueError(
            f"{path}: not a format that ASE knows by its name or its beginning; expected a LAMMPS dump, extended XYZ "
            "or the like: give its format (--format lammps-data, format='lammps-data')"
        )
    return name


def _blocks_of_dump(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines of each frame; what stands before its time step belongs to it."""
    block: list[str] = []
    in_atoms = False
    for line in lines:
        if line.startswith("ITEM:"):
            if in_atoms:
                yield block
                block = []
            in_atoms = line.startswith("ITEM: ATOMS")
        block.append(line)
    if block:
        yield block


def _from_dump(block: list[str]) -> ase.Atoms:
    """A frame of a dump, sorted by id. Image flags are added, columns that ASE would mistake for elements renamed."""
    at = {line.split()[1]: k for k, line in enumerate(block) if line.startswith("ITEM:") and len(line.split()) > 1}
    if "UNITS" in at and block[at["UNITS"] + 1].strip() != "lj":
        raise ValueError(
            f"units {block[at['UNITS'] + 1].strip()}; expected lj: divide lengths by sigma_AA, leave ITEM: UNITS out"
        )
    if not {"TIMESTEP", "NUMBER", "BOX", "ATOMS"} <= set(at):
        raise ValueError(
            f"it has {', '.join(at)} and no more; expected a whole frame: the file ends early, leave it out"
        )
    begin, n = at["ATOMS"], int(block[at["NUMBER"] + 1])
    columns, rows = block[begin].split()[2:], block[begin + 1 :]
    if len(rows) != n or not rows or len(rows[-1].split()) != len(columns):
        raise ValueError(
            f"it has {max(len(rows) - 1, 0)} of {n} particles; expected all: the file ends early, leave it out"
        )
    if "element" in columns and "type" in columns:  # letters may be no elements
        k = columns.index("element")
        rows = [" ".join(row[:k] + row[k + 1 :]) + "\n" for row in map(str.split, rows)]
        columns.remove("element")
    if not {"type", "element"} & set(columns):
        raise ValueError(f"columns {' '.join(columns)}; expected types too: dump id type x y z")
    labels: list[str] = []
    if "element" in columns:  # without a type: the letters are the types
        k = columns.index("element")
        split = [row.split() for row in rows]
        labels = sorted({row[k] for row in split})
        rows = [" ".join([*row[:k], str(labels.index(row[k]) + 1), *row[k + 1 :]]) + "\n" for row in split]
        columns[k] = "type"
    unwrapped = "xu" in columns or "xsu" in columns
    ignored = ({"x", "y", "z", "xs", "ys", "zs"} if unwrapped else set()) | {"mass"}
    flags = [] if unwrapped else [f for f in ("ix", "iy", "iz") if f in columns]
    named = [f"i_{c}" if c in flags else f"c_{c}" if c in ignored else c for c in columns]
    text = "".join([*block[at["TIMESTEP"] : begin], f"ITEM: ATOMS {' '.join(named)}\n", *rows])
    atoms = cast(ase.Atoms, ase.io.read(io.StringIO(text), format=DUMP))
    if labels:
        atoms.set_array("label", np.array(labels)[atoms.arrays["type"] - 1])
    if "id" in columns:
        ids = sorted(int(row.split(maxsplit=columns.index("id") + 1)[columns.index("id")]) for row in rows)
        twice = next((a for a, b in pairwise(ids) if a == b), None)
        if twice is not None:
            raise ValueError(f"id {twice} occurs twice; expected each once: join dumps of processors frame by frame")
    for k, flag in enumerate(("ix", "iy", "iz")):
        if flag in flags:
            atoms.positions += np.outer(atoms.arrays[f"i_{flag}"], atoms.cell[k])
    atoms.info["sorted"] = "id" in columns
    return atoms


def _blocks_of_xyz(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines of each frame."""
    lines = iter(lines)
    for line in lines:
        if line.strip():
            if not line.strip().isdecimal():
                yield [line]
                return
            yield [line, *islice(lines, int(line) + 1)]


def _from_xyz(block: list[str]) -> ase.Atoms:
    """A frame of extended XYZ, whose species may be labels that are no elements."""
    if not block[0].strip().isdecimal():
        raise ValueError(f"{block[0].strip()[:40]!r} where a number of particles should be; expected extended XYZ")
    if len(block) < int(block[0]) + 2:
        raise ValueError(
            f"it has {max(len(block) - 2, 0)} of {int(block[0])} particles; expected all: the file ends early, leave "
            "this frame out"
        )
    header = re.sub(r"(Properties=\S*?)species:S:1", r"\1label:S:1", block[1])
    return cast(ase.Atoms, ase.io.read(io.StringIO("".join([block[0], header, *block[2:]])), format="extxyz"))


def _configuration(
    atoms: ase.Atoms, type_map: Mapping[int | str, str | int] | None, where: str, fields: dict[str, Any]
) -> Configuration:
    """A snapshot with its types as ``type_map`` says."""
    own = next((atoms.arrays[name] for name in ("label", "type") if name in atoms.arrays), None)
    labels = np.asarray(atoms.get_chemical_symbols() if own is None else own).astype(str)
    names, counts = np.unique(labels, return_counts=True)
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
    cell = np.asarray(atoms.cell)
    if np.abs(cell - np.diag(np.diag(cell))).max() > 1e-9:
        raise ValueError(
            f"{where}: a triclinic cell {cell.round(6).tolist()}; expected a box with edges along x, y and z: "
            "neighbors are found across such faces only"
        )
    if not np.all(atoms.pbc):
        raise ValueError(
            f"{where}: not periodic in {', '.join('xyz'[k] for k in range(3) if not atoms.pbc[k])}; expected a box "
            "that is periodic in all directions: a network that knows the bulk says nothing of surfaces"
        )
    atoms.numbers = np.array([meant[known[label]] for label in names])[np.searchsorted(names, labels)] + 1
    return Configuration.from_ase(atoms, **({"name": atoms.info.get("name") or where} | fields))
