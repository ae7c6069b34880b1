"""Files that ASE reads, of formats whose lengths it takes as they stand; and sentences for those that stay unread.

Which these are was found by writing with ASE 3.29 and looking for the lengths in the text. ASE's other readers convert
(from nm or Bohr), ask the file for a unit, or belong to programs that have no liquid of Lennard-Jones particles.
"""

from __future__ import annotations

import lzma
import re
import struct
import xml.etree.ElementTree
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.data import atomic_numbers
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from ...liquid.configuration import lost_arrays
from .opened import PACKED, suffix
from .snapshot import Options, Snapshot, cell_beside, refuse_second_box

READ = (
    "cfg", "cif", "dlp-history", "dlp4", "dmol-arc", "dmol-car", "gen", "gpumd", "json", "mol",
    "proteindatabank", "res", "rmc6f", "sdf", "traj", "vasp", "vasp-xdatcar", "xsd", "xsf",
)  # fmt: skip
"""ASE's names of formats that are read."""

_MEND = "write extended XYZ, with OVITO, MDAnalysis or chemfiles"
_NANOMETRES = f"it keeps nm, which readers turn into Å: {_MEND}, and divide lengths by ten where they were multiplied"
_BINARY = f"it is binary, and its reader is none of this package's: {_MEND}"
_DCD = (
    "it keeps positions, and neither types nor ids: write XYZ with MDAnalysis, which reads it beside a file that has "
    "the types (formats.md of the book has the lines), or let LAMMPS dump text, as in dump custom"
)
_DUMP = "its binary dumps do not reach this package with the names of their columns: dump text, as in dump custom"
_PICKLE = "it may run code when it is read: write extended XYZ, with ase.io.write, where you trust it"
_CONVERTED = {
    "gromacs": f"GROMACS's .gro: {_NANOMETRES}",
    "gromos": f"GROMOS's .g96: {_NANOMETRES}",
    "lammps-dump-binary": f"LAMMPS: {_DUMP}",
    "cp2k-dcd": f"DCD: {_DCD}",
    "netcdftrajectory": f"AMBER's NetCDF: {_BINARY}",
}
_BOHR = {
    "castep-geom", "castep-md", "cube", "dmol-incoor", "elk", "qbox", "runnerdata", "siesta-xv", "struct", "sys",
    "turbomole", "turbomole-gradient",
}  # fmt: skip
_SUFFIXES = {
    ".gro": _CONVERTED["gromacs"],
    ".g96": _CONVERTED["gromos"],
    ".xtc": f"GROMACS's .xtc: {_NANOMETRES}",
    ".trr": f"GROMACS's .trr: {_NANOMETRES}",
    ".tng": f"GROMACS's .tng: {_NANOMETRES}",
    ".tpr": f"GROMACS's .tpr: {_NANOMETRES}",
    ".dcd": f"DCD, of CHARMM, NAMD or LAMMPS: {_DCD}",
    ".nc": f"NetCDF, of AMBER or LAMMPS: {_BINARY}",
    ".ncdf": f"NetCDF, of AMBER or LAMMPS: {_BINARY}",
    ".netcdf": f"NetCDF, of AMBER or LAMMPS: {_BINARY}",
    ".h5md": f"H5MD: {_BINARY}",
    ".bin": f"LAMMPS: {_DUMP}",
    ".lammpsbin": f"LAMMPS: {_DUMP}",
    ".restart": "LAMMPS's restart: it is known to LAMMPS only: read_restart it there, and write_data or dump text",
    ".pkl": f"a pickle: {_PICKLE}",
    ".pickle": f"a pickle: {_PICKLE}",
}
_TROUBLE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, NameError, RuntimeError, TypeError,
    UnknownFileTypeError, ValueError, ase.io.ParseError, lzma.LZMAError, struct.error,
    xml.etree.ElementTree.ParseError, zlib.error,
)  # fmt: skip
"""What ASE's readers raise on files that are not what they expect."""


def unread(path: Path) -> str | None:
    """For a file whose name says that it stays unread, the sentence that says so; None for others."""
    packed, kind = path.suffix.lower() in PACKED, suffix(path)
    if kind == ".gsd" and packed:
        return f"HOOMD-blue's GSD, packed as {path.suffix}: its library opens plain files only: unpack it"
    return _SUFFIXES.get(kind)


def told_by_ase(path: Path) -> str | None:
    """ASE's name of a file's format, by its name or its beginning; None where it knows none."""
    try:
        name = str(filetype(str(path)))  # which is the suffix where nothing else is found
    except (UnknownFileTypeError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return None
    except OSError as error:
        if error.errno is not None:  # of the disk; a file that is not packed as its name says has no number
            raise
        return None
    return name if name in ioformats else None


def frames(path: Path, options: Options, format: str | None = None) -> Iterator[Callable[[], Snapshot]]:
    """Of each frame, what makes a snapshot of it. ASE parses the frames one after the other.

    Parameters
    ----------
    format : as ASE names it; told from the file by default

    Raises
    ------
    ValueError
        If the format is none of :data:`READ`, or ASE cannot read the file; of each frame, if the box is said twice or
        nowhere.
    """
    name = format or told_by_ase(path)
    if name not in READ:
        told = (unread(path) if format not in ioformats else None) or _CONVERTED.get(str(name))
        if told is None and name in _BOHR:
            told = f"{name}: ASE turns its lengths from Bohr into Å, and nothing is converted here: {_MEND}"
        raise ValueError(
            told
            or f"format {name or 'unknown'}; expected a LAMMPS dump or data file, XYZ, GSD, or one of "
            f"{', '.join(READ)}: {_MEND}"
        )
    if path.suffix.lower() == ".zst":
        raise ValueError("ASE does not unpack .zst; expected the file as it is, or as .gz: unpack it with zstd -d")
    images = ase.io.iread(str(path), index=":", format=name, do_not_split_by_at_sign=True)
    while True:
        try:
            atoms = next(images, None)
        except _TROUBLE as error:
            raise ValueError(_sentence(name, error)) from error
        except OSError as error:
            if error.errno is not None:  # of the disk; ASE's own have no number
                raise
            raise ValueError(_sentence(name, error)) from error
        if atoms is None:
            return
        yield partial(_read, atoms, options)


def _sentence(name: str, error: Exception) -> str:
    told = " ".join(str(error).split())[:200]
    if (label := _no_element(name, error)) is not None:
        return (
            f"particles of type {label!r}, and ASE reads chemical elements only as {name}; expected elements: call "
            "types by two of these, such as H and He, or write extended XYZ, whose types may be any words"
        )
    return (
        f"ASE cannot read it as {name} ({type(error).__name__}: {told}); expected a whole file of this format: copy it "
        f"again, or say which it is, as in --format extxyz"
    )


def _no_element(name: str, error: Exception) -> str | None:
    """The type that ASE did not find among its elements, where this is what went wrong.

    A look-up by the name of an element ends in ``KeyError: 'A'``, and in a PDB file in ``KeyError: 'Could not parse
    species from label A.'`` (ASE 3.23 to 3.29: ase/symbols.py, ase/io/espresso.py).
    """
    if not isinstance(error, KeyError) or ioformats[name].isbinary or name == "json":
        return None
    found = re.fullmatch(r"(?:Could not parse species from label )?([^\W\d]\w{0,7})\.?", str(error.args[0]))
    return found[1] if found and found[1] not in atomic_numbers else None


def _read(atoms: ase.Atoms, options: Options) -> Snapshot:
    """A snapshot of what ASE has read."""
    if not len(atoms):
        raise ValueError("no particles; expected at least one: leave this frame out")
    own = next((atoms.arrays[name] for name in ("label", "type") if name in atoms.arrays), None)
    labels = np.asarray(atoms.get_chemical_symbols() if own is None else own).astype(str)
    if own is not None and own.dtype.kind == "f" and np.array_equal(own, own.round()):
        labels = own.astype(np.int64).astype(str)  # columns of AtomEye's .cfg have no whole numbers
    positions = np.asarray(atoms.positions, dtype=np.float64)
    if not np.all(np.isfinite(positions)):
        row = int(np.argmin(np.isfinite(positions).all(axis=1)))
        raise ValueError(
            f"particle {row} is at {positions[row].tolist()}; expected finite numbers: leave this frame out"
        )
    lost = lost_arrays(atoms, options.given)
    told = [] if lost is None else [f"its particles {lost}"]
    if not np.any(atoms.cell.array):
        return Snapshot(positions, labels, cell_beside(options), told=told)
    refuse_second_box(options)
    if not np.all(np.isfinite(atoms.cell.array)) or atoms.cell.rank < 3:
        raise ValueError(f"cell {atoms.cell.array.tolist()}; expected three edge vectors of a box with a volume")
    cell, periodic = np.array(atoms.cell.array, dtype=np.float64), np.array(atoms.pbc, dtype=bool)
    return Snapshot(positions, labels, cell, periodic, told=told)
