"""Frames of extended XYZ: ``Lattice=`` and ``Properties=`` in the comment, which ASE's grammar takes apart.

Rows are read here rather than by ASE, which knows elements only, gives some columns other names, and takes ten times
as long.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

import ase
import numpy as np
from ase.data import chemical_symbols
from ase.io.extxyz import key_val_str_to_dict

from ...liquid.configuration import WRITER, Configuration
from .rows import columns, numbers, whole_numbers
from .snapshot import Options, Snapshot, cell_beside, refuse_second_box, sorted_by_id

_LABELS = ("species", "element", "type", "label", "Z")
_OF_TIMES = ("propensity", "propensity_half", "mean_displacement", "displacement_covariance",
             "displacement_covariance_half", "msd", "self_scattering")  # fmt: skip
_FIELDS = {field.name for field in fields(Configuration)} - {"positions", "types", "box", "ids", "step"}


def read(comment: str, rows: list[str], options: Options) -> Snapshot:
    """One frame.

    Parameters
    ----------
    comment : the line before the rows
    rows : lines of the particles

    Raises
    ------
    ValueError
        If the comment is not extended XYZ, columns are missing or hold no numbers, an id occurs twice, or the box is
        said twice or nowhere.
    """
    try:
        info: dict[str, Any] = key_val_str_to_dict(comment)
    except (ValueError, IndexError, RecursionError) as error:
        raise ValueError(
            f"a comment line that is not extended XYZ ({error}); expected pairs such as "
            'Lattice="9.4 0 0 0 9.4 0 0 0 9.4"'
        ) from error
    widths = _widths(str(info.get("Properties", "species:S:1:pos:R:3")))
    table = columns(rows, [entry for name in widths for entry in _entries(name, widths)])
    if widths.get("pos") != 3:
        raise ValueError(
            f"properties {', '.join(widths)}; expected positions among them: Properties=species:S:1:pos:R:3"
        )
    label = next((name for name in _LABELS if widths.get(name) == 1), None)
    if label is None:
        raise ValueError(f"properties {', '.join(widths)}; expected types among them: Properties=species:S:1:pos:R:3")
    order = np.arange(len(rows))
    ids = None
    if widths.get("id") == 1:  # OVITO's name
        ids = whole_numbers(table, ["id"])[:, 0]
        order = np.argsort(ids, kind="stable")
        table, ids = {name: column[order] for name, column in table.items()}, ids[order]
    cell, periodic = _cell(info, options)
    positions = numbers(table, _entries("pos", widths))
    if widths.get("map_shift") == 3:  # OVITO's name for image flags
        positions = positions + whole_numbers(table, _entries("map_shift", widths)) @ cell
    labels = table[label].astype(str)
    if label == "Z":
        atomic = whole_numbers(table, ["Z"])[:, 0]
        if np.any((atomic < 0) | (atomic >= len(chemical_symbols))):
            raise ValueError(f"Z from {atomic.min()} to {atomic.max()}; expected atomic numbers: use species for types")
        labels = np.array(chemical_symbols)[atomic]
    found = sorted_by_id(Snapshot(positions, labels, cell, periodic, ids, _step(info)))
    _add_own(found, info, table, widths, options.given)
    return found


def _widths(properties: str) -> dict[str, int]:
    """How many columns each property has, in their order."""
    parts = properties.split(":")
    names, kinds, counts = parts[::3], parts[1::3], parts[2::3]
    whole = len(parts) % 3 == 0 and all(kind in "RISL" and kind for kind in kinds)
    if not (whole and all(c.isascii() and c.isdecimal() and 0 < int(c) < 10**6 for c in counts)):
        raise ValueError(
            f"Properties={properties[:200]}; expected a name, a letter of RISL and a number of columns for each"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"Properties={properties[:200]}; expected each name once: rename the second")
    return dict(zip(names, map(int, counts), strict=True))


def _entries(name: str, widths: dict[str, int]) -> list[str]:
    """Names of a property's columns."""
    return [name] if widths[name] == 1 else [f"{name}[{k}]" for k in range(widths[name])]


def _cell(info: dict[str, Any], options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Edge vectors, and in which directions the box repeats: all, if nothing is said."""
    if "Lattice" not in info:
        if options.box is None:
            raise ValueError("no Lattice in the comment line; expected a box, there or beside the file: --box 9.41")
        return cell_beside(options), np.ones(3, dtype=bool)
    refuse_second_box(options)
    cell = np.array(info["Lattice"], dtype=np.float64).T  # ASE gives the vectors as columns
    if not np.all(np.isfinite(cell)) or abs(np.linalg.det(cell)) <= 0:
        raise ValueError(f"Lattice {cell.tolist()}; expected three edge vectors of a box with a volume")
    try:
        periodic = np.broadcast_to(np.asarray(info.get("pbc", True), dtype=bool), 3).copy()
    except ValueError as error:
        raise ValueError(f"pbc {info['pbc']}; expected three letters T or F") from error
    return cell, periodic


def _step(info: dict[str, Any]) -> int | None:
    """Time step; a ``timestep=0.005`` is something else."""
    for key, value in info.items():
        if key.lower() in ("step", "timestep") and isinstance(value, np.integer):
            return int(value)
    return None


def _add_own(
    found: Snapshot, info: dict[str, Any], table: dict[str, np.ndarray], widths: dict[str, int], said: Collection[str]
) -> None:
    """Fields that this package wrote. Other programs use their names (seed, potential) for things of their own."""
    labels = [name for name in _OF_TIMES if name in widths]
    own = info.get("writer") == WRITER or ("times" in info and "propensity" in widths)  # no mark in older files
    lost = [name for name in labels if name not in said]
    if lost and not (own and "times" in info):
        found.told.append(
            f"{', '.join(lost)} left out, because the times that they belong to are no longer in the comment line: "
            "another program has written it anew"
        )
    if not own:
        return
    given = _FIELDS if "times" in info else _FIELDS - set(_OF_TIMES)
    atoms = ase.Atoms(
        numbers=np.ones(len(found.positions)), positions=found.positions, cell=found.cell, pbc=found.periodic
    )
    atoms.info = {name: info[name] for name in given & set(info)}
    if "name" in info:
        atoms.info["name"] = str(info["name"])
    for name in given & set(widths):
        values = numbers(table, _entries(name, widths))
        atoms.set_array(name, values[:, 0] if values.shape[1] == 1 else values)
    try:
        configuration = Configuration.from_ase(atoms)
    except TypeError as error:  # an array where a number should be
        raise ValueError(f"fields that glasslit wrote are no longer what they were ({error})") from error
    known = {name: getattr(configuration, name) for name in given}
    found.fields = {name: value for name, value in known.items() if value is not None and np.size(value)}
    if not found.fields.get("name"):
        found.fields.pop("name", None)
