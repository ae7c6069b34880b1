"""HOOMD-blue's GSD, through the library gsd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .snapshot import Options, Snapshot, refuse_second_box

_POSITION = 12  # bytes: three numbers in single precision, which GSD does not pack


def frames(path: Path, options: Options) -> Iterator[Callable[[], Snapshot]]:
    """Of each frame, what reads it.

    Raises
    ------
    ValueError
        If a box is said beside the file, or it is no GSD file of HOOMD-blue's; of each frame, if it has no particles,
        two dimensions, or numbers that are not finite.
    ModuleNotFoundError
        Without the library gsd.
    """
    refuse_second_box(options)
    try:
        import gsd.hoomd
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{path.name} is a GSD file, which needs gsd: pip install 'glasslit[formats]'"
        ) from error
    try:
        trajectory = gsd.hoomd.open(str(path), mode="r")
    except RuntimeError as error:
        raise ValueError(
            f"it is no GSD file of HOOMD-blue's ({error}); expected one, not packed: copy it again, or unpack it"
        ) from error
    for number in range(len(trajectory)):  # which stays open as long as one of these functions is kept
        yield partial(_read, trajectory, number)


def _read(trajectory: Any, number: int) -> Snapshot:
    """One frame. Particles are in the order of their tags in all of them."""
    try:
        _refuse_too_many(trajectory.file, number)
        frame = trajectory[number]
        step = int(frame.configuration.step)
    except (RuntimeError, OSError, KeyError, TypeError, MemoryError) as error:  # the last two where a size is damaged
        raise ValueError(f"gsd cannot read it ({error}); expected a whole frame: leave it out") from error
    count, particles, known = frame.particles.N, frame.particles, frame.configuration
    if not count:
        raise ValueError("no particles; expected at least one: leave this frame out")
    if known.dimensions != 3:
        raise ValueError(f"{known.dimensions} dimensions; expected 3: networks here know liquids in space")
    x, y, z, xy, xz, yz = np.asarray(known.box, dtype=np.float64)
    cell = np.array([[x, 0, 0], [xy * y, y, 0], [xz * z, yz * z, z]])
    if not np.all(np.isfinite(cell)) or min(x, y, z) <= 0:
        raise ValueError(f"box {known.box.tolist()}; expected three positive edge lengths")
    positions = np.asarray(particles.position, dtype=np.float64) + np.asarray(particles.image, dtype=np.float64) @ cell
    if not np.all(np.isfinite(positions)):
        tag = int(np.argmin(np.isfinite(positions).all(axis=1)))
        raise ValueError(
            f"particle {tag} is at {positions[tag].tolist()}; expected finite numbers: leave this frame out, the run "
            "may have failed before it"
        )
    kinds = np.asarray(particles.typeid, dtype=np.int64)
    if kinds.max() >= len(particles.types):
        raise ValueError(
            f"type {kinds.max()} of {len(particles.types)} types; expected a name for each: particles.types"
        )
    labels = np.array(particles.types, dtype=str)[kinds]
    return Snapshot(positions, labels, cell, ids=np.arange(count), step=step)


def _refuse_too_many(file: Any, number: int) -> None:
    """A ``ValueError`` for more particles than the file has room for: it is damaged."""
    for frame in (number, 0):  # what is as in the first frame is not written again
        if file.chunk_exists(frame=frame, name="particles/N"):
            count, size = int(file.read_chunk(frame=frame, name="particles/N")[0]), Path(file.name).stat().st_size
            if count * _POSITION > size:
                raise ValueError(
                    f"{count} particles in a file of {size} bytes; expected {_POSITION} bytes for each position: the "
                    "file is damaged, copy it again"
                )
            return
