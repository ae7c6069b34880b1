"""Predictions in a file: extended XYZ, where OVITO and ASE read them, and which a killed run goes on with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import ase.io
import numpy as np

from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import SIGMA
from ..models.heads import PROPENSITY
from ..models.propensity import PropensityNetwork
from ..writing import room_for

RADII = np.diag(SIGMA) / 2
"""sigma_AA: of A and of B, half the distance at which two of them begin to repel each other."""


def column(time: float, target: str = PROPENSITY) -> str:
    """The name of the column of predictions at a time, Lennard-Jones units: letters, digits and underscores.

    Extended XYZ allows no others; a decimal point becomes an underscore.

    Examples
    --------
    >>> column(0.104), column(130000.0)
    ('predicted_t0_104', 'predicted_t130000')
    >>> column(52.0, "displacement")
    'predicted_displacement_t52'
    """
    named = "predicted_t" if target == PROPENSITY else f"predicted_{target}_t"
    return named + np.format_float_positional(time, precision=6, fractional=False, trim="-").replace(".", "_")


def predicted_atoms(
    configuration: Configuration,
    model: PropensityNetwork,
    prediction: np.ndarray | Mapping[str, np.ndarray],
    frame: int | None = None,
) -> ase.Atoms:
    """The configuration as ASE ``Atoms`` with what was predicted.

    Parameters
    ----------
    configuration : as it was predicted
    model : whose times are predicted; in Lennard-Jones units at the configuration's temperature
    prediction : shape (T, N), sigma_AA; or several such by the names of targets, of vectors (T, N, 3), of
        symmetric matrices (T, N, 6)
    frame : its number in what was read

    Returns
    -------
    ``Atoms`` with an array for each target and time, sigma_AA, named by :func:`column`; with ``radius`` (A and B are
    written as H and He, which programs draw the wrong way round); with ``id``, ``step`` and ``frame`` where they are
    known
    """
    atoms = configuration.to_ase()
    atoms.set_array("radius", RADII[configuration.types])
    if frame is not None:
        atoms.info["frame"] = frame
    for target, of_target in (prediction if isinstance(prediction, Mapping) else {PROPENSITY: prediction}).items():
        for t, values in zip(model.times_at(configuration.temperature), of_target, strict=True):
            atoms.set_array(column(float(t), target), np.asarray(values, dtype=np.float64))
    return atoms


class PredictionFile:
    """Extended XYZ that grows frame by frame: a killed run goes on after the last whole one.

    Parameters
    ----------
    path : what it is called once it is whole; until then ".unfinished" is added
    task : what makes the frames; an unfinished file of another task is refused

    Raises
    ------
    ValueError
        If the file exists, has another ending than .extxyz or .xyz, or there is an unfinished one of another task.
    """

    def __init__(self, path: str | Path, task: str) -> None:
        self.path = Path(path)
        if self.path.suffix not in (".extxyz", ".xyz"):
            raise ValueError(f"{path}: extended XYZ is written; expected a name that ends in .extxyz or .xyz")
        if self.path.exists():
            raise ValueError(f"{path} exists; expected a new name, so that nothing is lost: delete it, or name another")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.partial = self.path.with_name(self.path.name + ".unfinished")
        self.task = hashlib.sha256(task.encode()).hexdigest()[:16]
        self.done = 0
        if self.partial.is_file():
            self._go_on()

    def _go_on(self) -> None:
        whole = 0
        with self.partial.open("r+b") as content:
            while (first := content.readline()).strip().isdigit():
                header = content.readline()
                if not header.endswith(b"\n"):  # cut: by a full disk, say
                    break
                if f"task={self.task}".encode() not in header:
                    raise ValueError(
                        f"{self.partial} is an unfinished prediction of other frames, at another temperature or by "
                        "another model; expected the same: finish it as it was, or delete it"
                    )
                rows = list(islice(content, int(first)))
                if len(rows) < int(first) or not rows[-1].endswith(b"\n"):
                    break
                whole, self.done = content.tell(), self.done + 1
            content.truncate(whole)

    def write(self, atoms: ase.Atoms) -> None:
        """Append a frame.

        Raises
        ------
        OSError
            If there is no room for it; the frames before it are kept.
        """
        atoms.info["task"] = self.task
        with room_for(self.path):
            ase.io.write(self.partial, atoms, format="extxyz", append=True)
        self.done += 1

    def finish(self) -> Path:
        """Give it its name."""
        self.partial.replace(self.path)
        return self.path
