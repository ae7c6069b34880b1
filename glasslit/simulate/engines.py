"""Which engines there are, and one of them by its name.

``lanes`` (:class:`~glasslit.simulate.lanes.LaneEngine`) advances sixteen runs in the vector lanes of one core, ``gpu``
(:class:`~glasslit.simulate.gpu.GpuEngine`) one system on each multiprocessor, ``lammps``
(:class:`~glasslit.simulate.lammps.LammpsEngine`) one run on each core, and is what the others are held to. What an
engine takes and offers is :class:`~glasslit.simulate.run.Engine`.
"""

from __future__ import annotations

import torch

from ..locks import end_with_parent as end_with_parent
from .run import Engine
from .run import Run as Run
from .run import System as System
from .run import alike as alike
from .run import ran_away as ran_away
from .run import whole_steps as whole_steps

ENGINES = ("auto", "lanes", "lammps", "gpu")
"""Engines by name; "auto" is "gpu" where there is one, else "lanes"."""


def resolve(name: str) -> str:
    """Which engine a name means here: "auto" is "gpu" or "lanes".

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in ENGINES:
        raise ValueError(f"engine {name!r}; expected one of {', '.join(ENGINES)}")
    return ("gpu" if torch.cuda.is_available() else "lanes") if name == "auto" else name


def make_engine(name: str, potential: str, workers: int | None = None) -> Engine:
    """An engine by its name.

    Raises
    ------
    ValueError
        If the name is unknown, or asks for a GPU where there is none.
    ModuleNotFoundError
        If what it needs is not installed.
    """
    name = resolve(name)
    if name == "gpu":
        from .gpu import GpuEngine

        return GpuEngine(potential)
    if name == "lanes":
        from .lanes import LaneEngine

        return LaneEngine(potential, workers=workers)
    from .lammps import LammpsEngine

    return LammpsEngine(potential, workers=workers)
