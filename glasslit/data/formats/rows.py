"""Rows of words as columns of words, and columns of words as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np


def each_once(names: Sequence[str]) -> None:
    """For columns that are looked up by their names.

    Raises
    ------
    ValueError
        If two have the same one: which is meant?
    """
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise ValueError(
            f"two columns {twice} in {' '.join(names)}; expected each name once: rename or drop one of them"
        )


def columns(rows: Sequence[str], names: Sequence[str], apart: str | None = None) -> dict[str, np.ndarray]:
    """Named columns of rows which all have at least so many words; words beyond are left out.

    Parameters
    ----------
    rows : N of them, text
    names : of the columns
    apart : what stands between words; blanks by default

    Returns
    -------
    Words of each column, shape (N,); as objects, because an array of text is as wide as its longest word

    Raises
    ------
    ValueError
        If a row has fewer words, or a name occurs twice.
    """
    each_once(names)
    counts = [len(row.split(apart)) for row in rows]  # a list for each row, kept, would wake the garbage collector
    few = next((k for k, count in enumerate(counts) if count < len(names)), None)
    if few is not None:
        raise ValueError(
            f"row {few} has {counts[few]} columns; expected {len(names)}, {' '.join(names)}: mend it, or the number of "
            "particles, or leave this frame out"
        )
    width = counts[0]
    if all(count == width for count in counts):
        words = (apart or " ").join(rows).split(apart)
        return {name: np.array(words[k::width], dtype=object) for k, name in enumerate(names)}
    split = [row.split(apart) for row in rows]
    return {name: np.array([row[k] for row in split], dtype=object) for k, name in enumerate(names)}


def numbers(columns: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Finite numbers of some columns side by side, shape (N, len(names)).

    Parameters
    ----------
    columns : each of shape (N,), numbers or words; one named "id" serves to name particles in errors
    names : of the wanted ones

    Raises
    ------
    ValueError
        If a word is no number, or a number is not finite.
    """
    found = np.empty((len(columns[names[0]]), len(names)))
    for k, name in enumerate(names):
        try:
            found[:, k] = columns[name]
        except (TypeError, ValueError):
            word = next(value for value in columns[name] if not _is_number(value))
            raise ValueError(
                f"{name} {word!s:.40}; expected a number for each particle: mend it, or leave this frame out"
            ) from None
    if not np.all(np.isfinite(found)):
        row, k = np.argwhere(~np.isfinite(found))[0]
        which = f"particle {columns['id'][row]}" if "id" in columns and "id" not in names else f"row {row}"
        raise ValueError(
            f"{names[k]} of {which} is {found[row, k]}; expected finite numbers: leave this frame out, the run may "
            "have failed before it"
        )
    return found


def whole_numbers(columns: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """The same for whole numbers, shape (N, len(names)), int64.

    Raises
    ------
    ValueError
        If a number is not whole, or larger than one may be that is written with a point or an exponent.
    """
    return np.stack([_whole(columns, name) for name in names], axis=1)


def _whole(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """One of these columns. Ids of LAMMPS have up to 63 bits, of which floating-point numbers keep 53."""
    column = columns[name]
    if column.dtype.kind == "i":
        return column.astype(np.int64)
    if column.dtype.kind in "OU":
        with suppress(TypeError, ValueError, OverflowError):
            return np.array([int(str(word)) for word in column.tolist()], dtype=np.int64)
    found = numbers(columns, [name])[:, 0]
    wrong = (found != np.floor(found)) | (np.abs(found) > 2**53)
    if np.any(wrong):
        raise ValueError(f"{name} {found[wrong][0]:g}; expected whole numbers: is it the column that its name says?")
    return found.astype(np.int64)


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
