"""What an engine takes and offers, and what engines do alike.

An engine knows nothing of protocols, files or other engines' kernels; a new one needs no more than this module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Run:
    """One free run: where every particle starts, how fast, and when to look.

    positions, velocities of shape (N, 3); types (N,); box (3,); times (T,).
    """

    positions: np.ndarray
    velocities: np.ndarray
    types: np.ndarray
    box: np.ndarray
    times: np.ndarray

    def digest(self, potential: str, timestep: float) -> str:
        """SHA-256 of all that decides the outcome."""
        sha = hashlib.sha256(f"{potential} {timestep!r}".encode())
        for array in (self.positions, self.velocities, self.types, self.box, self.times):
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()


System = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Positions, types, box and velocities."""


class Engine(Protocol):
    """What an engine offers; :class:`~glasslit.simulate.lammps.LammpsEngine` is one."""

    potential: str
    timestep: float

    @property
    def name(self) -> str: ...
    def minimize(
        self, positions: np.ndarray, types: np.ndarray, box: np.ndarray, tolerance: float = ...
    ) -> np.ndarray: ...
    def thermalize(
        self,
        positions: np.ndarray,
        types: np.ndarray,
        box: np.ndarray,
        velocities: np.ndarray,
        temperatures: tuple[float, float],
        duration: float,
        damping: float = ...,
    ) -> tuple[np.ndarray, np.ndarray]: ...
    def thermalize_many(
        self, systems: Sequence[System], temperatures: tuple[float, float], duration: float
    ) -> Iterable[tuple[np.ndarray, np.ndarray]]: ...
    def run(self, runs: Sequence[Run], keep: Path | None = ...) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (number of the run, displacements); ``keep`` is a folder for runs that are under way, if it helps."""


def whole_steps(duration: float, longest: float) -> tuple[int, float]:
    """Number and length of steps that are no longer than the longest allowed and end exactly at ``duration``."""
    steps = max(1, int(np.ceil(duration / longest - 1e-9)))
    return steps, float(duration / steps)


def alike(keys: Sequence[Sequence[np.ndarray]], most: int) -> list[list[int]]:
    """Numbers of those whose arrays are equal, no more than ``most`` together."""
    groups: dict[bytes, list[int]] = {}
    for number, arrays in enumerate(keys):
        sha = hashlib.sha256()
        for array in arrays:
            sha.update(np.ascontiguousarray(array).tobytes())
        groups.setdefault(sha.digest(), []).append(number)
    return [group[k : k + most] for group in groups.values() for k in range(0, len(group), most)]


def ran_away(distance: float) -> RuntimeError:
    """What to raise when a particle moved further in one step than a neighbor list bears."""
    return RuntimeError(
        f"a particle moved more than {distance:g} sigma_AA in one step; expected a start without overlapping particles "
        "and a time step that collisions bear: quench it first, or take shorter steps"
    )
