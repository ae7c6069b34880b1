"""``Snapshot``: one frame as its file has it, and what was said beside the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Options:
    """What is said beside a file, because it does not say so itself.

    Parameters
    ----------
    box : edge lengths, shape (3,), sigma_AA; for formats without a box
    atom_style : LAMMPS's, for data files that do not name it
    given : names of fields of :class:`~glasslit.Configuration` that are said; no file misses these
    """

    box: np.ndarray | None = None
    atom_style: str | None = None
    given: frozenset[str] = frozenset()


@dataclass
class Snapshot:
    """One frame. Particles are in the order of their ids, where there are ids.

    Parameters
    ----------
    positions : shape (N, 3), in the file's units, unwrapped where the file says how
    labels : shape (N,), text: what the file calls each particle's type
    cell : shape (3, 3), edge vectors
    periodic : shape (3,), whether it repeats in each direction
    ids : shape (N,), increasing; None where the file has none
    step : time step of the simulation
    fields : what this package itself wrote into the file, by the names of :class:`~glasslit.Configuration`
    told : sentences about the frame that whoever reads it should hear once
    """

    positions: np.ndarray
    labels: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray = field(default_factory=lambda: np.ones(3, dtype=bool))
    ids: np.ndarray | None = None
    step: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)


def sorted_by_id(snapshot: Snapshot) -> Snapshot:
    """The snapshot with its rows in the order of their ids.

    Raises
    ------
    ValueError
        If an id occurs twice.
    """
    if snapshot.ids is None:
        return snapshot
    order = np.argsort(snapshot.ids, kind="stable")
    ids = snapshot.ids[order]
    twice = np.flatnonzero(ids[1:] == ids[:-1])
    if len(twice):
        raise ValueError(
            f"id {ids[twice[0]]} occurs twice; expected each once: join dumps of processors frame by frame"
        )
    snapshot.ids, snapshot.positions, snapshot.labels = ids, snapshot.positions[order], snapshot.labels[order]
    return snapshot


def cell_beside(options: Options) -> np.ndarray:
    """Edge vectors of the box that was said beside a file which has none, shape (3, 3), sigma_AA.

    Raises
    ------
    ValueError
        If none was said, or what was said is no box.
    """
    if options.box is None:
        raise ValueError("no box in the file; expected its edge lengths beside it: --box 9.41, or box=9.41")
    edges = np.asarray(options.box, dtype=np.float64)
    if edges.shape != (3,) or not np.all(np.isfinite(edges)) or np.any(edges <= 0):
        raise ValueError(f"box {edges.tolist()}; expected three positive edge lengths: --box 9.41, or box=9.41")
    return np.diag(edges)


def refuse_second_box(options: Options) -> None:
    """For frames that say their box.

    Raises
    ------
    ValueError
        If one was said beside the file as well.
    """
    if options.box is not None:
        raise ValueError(
            f"box {np.asarray(options.box).tolist()} beside a file that says its box; expected one of the two: leave "
            "--box or box= out"
        )
