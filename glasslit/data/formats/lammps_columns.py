"""Named columns of a LAMMPS dump as a snapshot, whether the dump is text or YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .rows import numbers, whole_numbers
from .snapshot import Snapshot, sorted_by_id

_FORMS = ("xu yu zu", "xsu ysu zsu", "x y z", "xs ys zs")  # the first that is there: unwrapped ones say more
_FLAGS = ("ix", "iy", "iz")
_TYPES = ("type", "typelabel", "element")  # letters of elements may be missing or made up, where there are types


def snapshot(
    columns: Mapping[str, np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    tilt: np.ndarray | None,
    periodic: np.ndarray,
    step: int | None,
    units: str | None,
) -> Snapshot:
    """A frame of a dump: positions unwrapped where the columns say how, particles in the order of their ids.

    Parameters
    ----------
    columns : each of shape (N,), by the names that LAMMPS gives them; numbers or text
    low, high : shape (3,), bounds of the box as the dump gives them; of a tilted box, those of the box around it
    tilt : shape (3,), the factors xy, xz, yz; None for a box that is not tilted
    periodic : shape (3,), whether the box repeats in each direction
    step : time step
    units : as the dump says, None where it does not

    Raises
    ------
    ValueError
        If units are not Lennard-Jones ones; if positions or types are missing, image flags stand for some directions
        only, a number is not finite or no number, an id occurs twice, or the box has no volume.
    """
    if units is not None and units != "lj":
        raise ValueError(
            f"units {units}; expected lj: divide lengths by sigma_AA, and dump them without dump_modify units yes"
        )
    low, cell = _cell(np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64), tilt)
    labels = labels_of(columns)
    if not len(labels):
        raise ValueError("no particles; expected at least one: leave this frame out")
    form = next((form.split() for form in _FORMS if set(form.split()) <= set(columns)), None)
    if form is None:
        raise ValueError(
            f"columns {' '.join(columns)}; expected positions, all three of {', or '.join(_FORMS)}: dump id type x y z"
        )
    positions = numbers(columns, form)
    if "s" in form[0]:
        positions = low + positions @ cell
    if "u" not in form[0] and (flags := [flag for flag in _FLAGS if flag in columns]):
        if len(flags) < 3:
            raise ValueError(
                f"image flags {' '.join(flags)} without the others; expected those of all directions or none: "
                "dump id type x y z ix iy iz"
            )
        positions = positions + whole_numbers(columns, _FLAGS) @ cell
    ids = whole_numbers(columns, ["id"])[:, 0] if "id" in columns else None
    return sorted_by_id(Snapshot(positions, labels, cell, np.asarray(periodic, dtype=bool), ids, step))


def labels_of(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the columns call each particle's type, shape (N,), text: by ``type``, ``typelabel`` or ``element``.

    Raises
    ------
    ValueError
        If none of them is there, or a type is no whole number and no word.
    """
    name = next((name for name in _TYPES if name in columns), None)
    if name is None:
        raise ValueError(f"columns {' '.join(columns)}; expected types too: dump id type x y z")
    values = np.asarray(columns[name])
    if values.dtype.kind not in "iuf":
        words = values.astype(str)
        if np.any(words == ""):  # LAMMPS of July 2025 leaves typelabel empty in dumps of style yaml
            raise ValueError(f"{name} is empty in row {np.argmax(words == '')}; expected types: dump id type x y z")
        return words
    kinds, which = np.unique(values, return_inverse=True)
    wrong = ~np.isfinite(kinds) | (kinds != np.floor(kinds))
    if np.any(wrong):
        raise ValueError(f"{name} {kinds[wrong][0]:g}; expected whole numbers or words: dump id type x y z")
    return np.array([str(int(kind)) for kind in kinds], dtype=str)[which]


def _cell(
    low: np.ndarray, high: np.ndarray, tilt: Sequence[float] | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Where the box begins, and its edge vectors, shapes (3,) and (3, 3)."""
    xy, xz, yz = (0.0, 0.0, 0.0) if tilt is None else (float(t) for t in tilt)
    low = low - np.array([min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0])
    high = high - np.array([max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0])
    edges = high - low
    for k, edge in enumerate(edges):
        if not (np.isfinite(edge) and edge > 0):
            raise ValueError(
                f"a box from {low[k]:g} to {high[k]:g} along {'xyz'[k]}; expected a second bound above the first: "
                "compare the file with the simulation's box"
            )
    return low, np.array([[edges[0], 0.0, 0.0], [xy, edges[1], 0.0], [xz, yz, edges[2]]])
