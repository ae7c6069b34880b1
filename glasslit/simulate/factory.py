r"""The factory: from a starting configuration to a finished, labelled one, and many of them side by side.

One configuration is one piece of work that depends on nothing else. Its steps leave files (frames of
the equilibration, runs, the quench, the result), so that whoever takes it up again, in this process or on
another machine, goes on where the last one stopped.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..configuration import Configuration
from .protocol import WAVE_NUMBER, Engine, _check_box, _energies, _read, _write, maxwell_boltzmann


def settle(
    start: Configuration, temperature: float, segment: float, segments: int, folder: Path, seed: int, engine: Engine
) -> Configuration:
    """Equilibrate in segments (NVT), a file for each; resumable.

    Parameters
    ----------
    start : where to begin; fresh velocities are drawn
    temperature : epsilon_AA / k_B
    segment, segments : duration of each segment, Lennard-Jones time units, and their number
    folder : where the frames are kept
    seed : velocities follow from it and from the start's positions

    Returns
    -------
    A configuration without labels. Its ``equilibration`` has one row for each segment: time, potential energy per
    particle at its end, F_s(k = 7.2) of A between its ends.
    """
    _check_box(start.box, engine.potential)
    content = hashlib.sha256(start.positions.tobytes() + start.types.tobytes() + start.box.tobytes()).hexdigest()
    digest = f"{content} {temperature!r} {segment!r} {seed} {engine.potential} {engine.timestep!r}"
    positions = start.positions
    rng = np.random.default_rng([seed, int(content[:16], 16)])
    velocities = maxwell_boltzmann(start.n_particles, temperature, rng)
    record = []
    for number in range(segments):
        path = folder / f"frame{number:02d}.npz"
        kept = _read(path)
        if kept is None or str(kept["digest"]) != digest:
            after, velocities = engine.thermalize(
                positions, start.types, start.box, velocities, (temperature, temperature), segment
            )
            _write(path, positions=after, velocities=velocities, digest=digest, engine=engine.name)
        else:
            after, velocities = kept["positions"], kept["velocities"]
        moved = (after - positions)[start.types == 0]
        energy = _energies(after, start, engine.potential).mean()
        record.append([(number + 1) * segment, energy, np.cos(WAVE_NUMBER * moved).mean()])
        positions = after
    return Configuration(
        positions=positions,
        types=start.types,
        box=start.box,
        temperature=temperature,
        potential=engine.potential,
        equilibration=np.array(record),
        engine=engine.name,
    )
