"""``Configuration``: one snapshot of a liquid with what is known about it, checked once at the door.

Everything downstream (graphs, training, metrics, simulation) may trust a ``Configuration``;
shapes, units, finiteness and particle types are validated here and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import ase
import numpy as np
from scipy.spatial import cKDTree

from ..warned import warn
from .kob_andersen import TYPE_NAMES, check_potential
from .periodic import wrap

SPLITS = ("train", "val", "test")
_PARTICLE_AXIS = {
    "inherent_positions": 0,
    "potential_energy_thermal": 0,
    "potential_energy_inherent": 0,
    "propensity": 1,
    "mean_displacement": 1,
    "displacement_covariance": 1,
    "propensity_half": 2,
    "displacement_covariance_half": 2,
}  # fields with a number or more for each particle, and which axis of theirs counts particles
_OF_ALL = ("temperature", "times", "msd", "self_scattering", "equilibration", "n_trajectories", "potential", "split",
           "seed", "engine", "name", "step")  # fmt: skip
_LATER = ("ids", "step", "displacement_covariance", "displacement_covariance_half")
"""Fields that came later: where they are None, hashes are what they were without them."""
VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
"""Rows and columns of the six numbers of a symmetric matrix, in Voigt's order: xx, yy, zz, yz, xz, xy."""
WRITER = "glasslit"
"""What ``atoms.info["writer"]`` says of ASE ``Atoms``, and of extended XYZ made of them, that this package wrote."""
_COINCIDENT = 1e-6  # sigma_AA: two centers closer than this are the same spot


@dataclass(frozen=True, eq=False, kw_only=True)
class Configuration:
    """Positions of N particles, and the labels and energies that belong to them.

    Field names, shapes and units are those of the HDF5 schema (:mod:`glasslit.data.store`). Arrays are
    copied and read-only. Fields that a source does not provide are ``None`` (``times`` is empty).

    Parameters
    ----------
    positions : shape (N, 3), sigma_AA
        Thermal positions; may lie outside the box (unwrapped).
    types : shape (N,)
        0 = A, 1 = B.
    box : shape (3,), sigma_AA
        Edge lengths of the periodic box.
    temperature : float, epsilon_AA / k_B
    times : shape (T,), Lennard-Jones time units, increasing
    propensity : shape (T, N), sigma_AA
        Mean over isoconfigurational runs of each particle's displacement at each time.
    inherent_positions : shape (N, 3), sigma_AA
        The inherent structure (local minimum of the energy) below ``positions``.
    potential_energy_thermal, potential_energy_inherent : shape (N,), epsilon_AA
    mean_displacement : shape (T, N, 3), sigma_AA
        Mean displacement vector over the runs.
    displacement_covariance : shape (T, N, 6), sigma_AA^2
        Covariance of each particle's displacement over the runs, divided by their number less one: xx, yy, zz, yz, xz,
        xy (Voigt's order).
    propensity_half : shape (2, T, N), sigma_AA
        Propensity from each half of the runs; its noise sets the noise ceiling.
    displacement_covariance_half : shape (2, T, N, 6), sigma_AA^2
        The covariance of each half of the runs, about the mean of this half, for the same purpose.
    msd, self_scattering : shape (T, 2), sigma_AA^2 and dimensionless
        Mean squared displacement and F_s(k = 7.2, t) of A and B, averaged over the runs.
    equilibration : shape (S, 3)
        One row for each segment of the run that equilibrated it: time at its end, potential energy per particle
        there, F_s(k = 7.2) of A between its two ends.
    n_trajectories : int
        Number of isoconfigurational runs behind the labels.
    ids : shape (N,)
        What the simulation calls its particles, whole numbers, each once: what tells them from each other in two files.
    step : int
        Time step of the simulation that it was taken at.
    potential, split, seed, engine, name
        Truncation of the potential; "train", "val" or "test"; seed of the label factory; what
        simulated it; where it came from.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, a type is unknown, a box edge is not
        positive, times do not increase, an id occurs twice, or two particles sit on one spot.

    Examples
    --------
    >>> c = Configuration(positions=[[0, 0, 0], [1, 1, 1]], types=[0, 1], box=[5, 5, 5])
    >>> c
    Configuration(N=2 (1 A, 1 B), box=[5.0, 5.0, 5.0], density=0.016)
    """

    positions: np.ndarray
    types: np.ndarray
    box: np.ndarray
    temperature: float | None = None
    times: np.ndarray = ()  # type: ignore[assignment]  # becomes an empty array
    propensity: np.ndarray | None = None
    inherent_positions: np.ndarray | None = None
    potential_energy_thermal: np.ndarray | None = None
    potential_energy_inherent: np.ndarray | None = None
    mean_displacement: np.ndarray | None = None
    displacement_covariance: np.ndarray | None = None
    propensity_half: np.ndarray | None = None
    displacement_covariance_half: np.ndarray | None = None
    msd: np.ndarray | None = None
    self_scattering: np.ndarray | None = None
    equilibration: np.ndarray | None = None
    ids: np.ndarray | None = None
    step: int | None = None
    n_trajectories: int | None = None
    potential: str | None = None
    split: str | None = None
    seed: int | None = None
    engine: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        where = f"configuration {self.name!r}" if self.name else "configuration"
        set_ = object.__setattr__
        positions = _array(where, "positions", self.positions, np.float64)
        if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) == 0:
            raise ValueError(f"{where}: positions have shape {positions.shape}; expected (N, 3) with N of at least 1")
        n = len(positions)
        times = _array(where, "times", self.times, np.float64)
        if times.ndim != 1:
            raise ValueError(f"{where}: times have shape {times.shape}; expected (T,)")
        if np.any(times <= 0) or np.any(np.diff(times) <= 0):
            raise ValueError(f"{where}: times {times.tolist()}; expected positive, increasing times: sort them")
        t = len(times)
        set_(self, "positions", positions)
        set_(self, "times", times)
        set_(self, "box", self._checked(where, "box", (3,), np.float64))
        if np.any(self.box <= 0):
            raise ValueError(f"{where}: box edges {self.box.tolist()}; expected three positive lengths")
        types = np.asarray(self.types)
        if types.shape != (n,) or not np.all(np.isin(types, range(len(TYPE_NAMES)))):
            found = np.unique(types).tolist() if types.shape == (n,) else f"of shape {types.shape}"
            raise ValueError(
                f"{where}: types {found} for {n} particles; expected shape ({n},) with 0 = A and 1 = B "
                "(files that count from 1 need 1 subtracted)"
            )
        set_(self, "types", _frozen(types.astype(np.int8)))
        for field, shape in {
            "inherent_positions": (n, 3),
            "potential_energy_thermal": (n,),
            "potential_energy_inherent": (n,),
            "propensity": (t, n),
            "mean_displacement": (t, n, 3),
            "displacement_covariance": (t, n, 6),
            "propensity_half": (2, t, n),
            "displacement_covariance_half": (2, t, n, 6),
            "msd": (t, 2),
            "self_scattering": (t, 2),
        }.items():
            if getattr(self, field) is not None:
                dtype = np.float64 if field == "inherent_positions" else np.float32
                set_(self, field, self._checked(where, field, shape, dtype))
        if self.equilibration is not None:
            segments = len(np.atleast_1d(self.equilibration))
            set_(self, "equilibration", self._checked(where, "equilibration", (segments, 3), np.float64))
        if self.ids is not None:
            ids = np.asarray(self.ids)
            if ids.shape != (n,) or not np.all(ids == ids.astype(np.int64)) or len(np.unique(ids)) != n:
                raise ValueError(f"{where}: ids of shape {ids.shape}; expected ({n},), whole numbers, each once")
            set_(self, "ids", _frozen(ids.astype(np.int64)))
        for field, kind in {"temperature": float, "n_trajectories": int, "seed": int, "step": int}.items():
            if getattr(self, field) is not None:
                set_(self, field, kind(getattr(self, field)))
        if self.temperature is not None and not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"{where}: temperature {self.temperature}; expected a positive number")
        if self.potential is not None:
            check_potential(self.potential)
        if self.split is not None and self.split not in SPLITS:
            raise ValueError(f"{where}: split {self.split!r}; expected one of {', '.join(SPLITS)}")
        for field in ("positions", "inherent_positions"):
            self._refuse_coincident(where, field)

    def _checked(self, where: str, field: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        value = _array(where, field, getattr(self, field), dtype)
        if value.shape != shape:
            raise ValueError(f"{where}: {field} has shape {value.shape}; expected {shape} to fit positions and times")
        return value

    def _refuse_coincident(self, where: str, field: str) -> None:
        positions = getattr(self, field)
        if positions is None:
            return
        pairs = cKDTree(wrap(positions, self.box), boxsize=self.box).query_pairs(_COINCIDENT, output_type="ndarray")
        if len(pairs):
            i, j = sorted(pairs[0].tolist())
            raise ValueError(
                f"{where}: {field} of particles {i} and {j} coincide; expected distinct spots: "
                "remove the duplicate particle or check that the box is the right one"
            )

    def __repr__(self) -> str:
        counts = ", ".join(f"{np.sum(self.types == k)} {name}" for k, name in enumerate(TYPE_NAMES))
        parts = [f"N={self.n_particles} ({counts})", f"box={np.round(self.box, 3).tolist()}"]
        parts.append(f"density={self.density:.4g}")
        if self.temperature is not None:
            parts.append(f"T={self.temperature:g}")
        if len(self.times):
            parts.append(f"times={len(self.times)} up to {self.times[-1]:g}")
        if self.split:
            parts.append(f"split={self.split}")
        return f"Configuration({', '.join(parts)})"

    @property
    def n_particles(self) -> int:
        """Number of particles N."""
        return len(self.positions)

    @property
    def density(self) -> float:
        """Particles per sigma_AA^3."""
        return float(self.n_particles / np.prod(self.box))

    def replace(self, **changes: Any) -> Configuration:
        """A new, newly checked configuration with some fields changed."""
        return replace(self, **changes)

    def at_times(self, times: Sequence[float]) -> Configuration:
        """The configuration with labels at some of its times only, in increasing order.

        Raises
        ------
        ValueError
            If a time is not among ``self.times`` (to one part in a million).
        """
        wanted = np.unique(np.asarray(times, dtype=np.float64))
        close = np.isclose(self.times[None, :], wanted[:, None], rtol=1e-6, atol=0)
        if len(wanted) == 0 or not np.all(close.any(axis=1)):
            raise ValueError(f"times {wanted.tolist()}; expected some of {self.times.tolist()}")
        at = close.argmax(axis=1)
        each = ("times", "propensity", "mean_displacement", "displacement_covariance", "msd", "self_scattering")
        changes = {field: getattr(self, field)[at] for field in each if getattr(self, field) is not None}
        for field in ("propensity_half", "displacement_covariance_half"):
            if getattr(self, field) is not None:
                changes[field] = getattr(self, field)[:, at]
        return self.replace(**changes)

    def hash(self) -> str:
        """SHA-256 of every array and attribute but the name: equal for equal content, whatever file it came from."""
        digest = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "name" or (field.name in _LATER and value is None):
                continue
            digest.update(field.name.encode())
            digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
        return digest.hexdigest()

    def to_ase(self) -> ase.Atoms:
        """The snapshot as ASE ``Atoms``; types A and B appear as the elements H and He (numbers 1 and 2).

        Whatever is known goes along under its own name (ids as "id"): what belongs to particles into ``atoms.arrays``,
        with the particle first and the other axes in one, (N, T) for the propensity, (N, 3T) and (N, 2T) for mean
        displacements and half-ensembles, (N, 6T) for covariances; the rest into ``atoms.info``. Extended XYZ keeps all
        of it, with eight decimals. ASE's own formats do not: ``.traj`` drops the arrays, propensity and ids among them,
        and ``.json`` and ``.db`` drop ``atoms.info`` as well, without a warning (ASE 3.29,
        ``findings/ase_traj_arrays.sh``). ``info["arrays"]`` names the arrays, so that :meth:`from_ase` sees what is
        gone.
        """
        atoms = ase.Atoms(numbers=self.types + 1, positions=self.positions, cell=self.box, pbc=True)
        for field, axis in _PARTICLE_AXIS.items():
            value = getattr(self, field)
            if value is not None:
                first = np.moveaxis(value, axis, 0)
                atoms.set_array(field, first.reshape(len(first), -1) if value.ndim > 1 else first)
        if self.ids is not None:
            atoms.set_array("id", self.ids)
        atoms.info["writer"] = WRITER
        own = [name for name in atoms.arrays if name not in ("numbers", "positions")]
        if own:
            atoms.info["arrays"] = " ".join(own)
        for field in _OF_ALL:
            value = getattr(self, field)
            if value is None or np.size(value) == 0 or str(value) == "":  # "name=" would swallow the word after it
                continue
            atoms.info[field] = value.tolist() if isinstance(value, np.ndarray) else value
        return atoms

    @classmethod
    def from_ase(cls, atoms: ase.Atoms, **fields_: Any) -> Configuration:
        """The reverse of :meth:`to_ase`; further fields are given by name.

        Warns where arrays of :meth:`to_ase` are gone, as after ASE's ``.traj``.

        Raises
        ------
        ValueError
            If the cell is not orthorhombic and periodic, or an atomic number is not 1 (A) or 2 (B).
        """
        cell = np.asarray(atoms.cell)
        if not np.all(atoms.pbc) or np.abs(cell - np.diag(np.diag(cell))).max() > 1e-12:
            raise ValueError(
                f"an ASE cell {cell.tolist()} with pbc {atoms.pbc.tolist()}; expected a periodic, orthorhombic box"
            )
        types = types_of(atoms.numbers)
        if (told := lost_arrays(atoms, fields_)) is not None:
            warn(f"these Atoms {told}")
        found: dict[str, Any] = {field: atoms.info[field] for field in _OF_ALL if field in atoms.info}
        for field, axes in {"times": 1, "msd": 2, "self_scattering": 2, "equilibration": 2}.items():
            if field in found:  # a single row comes back from a file without its first axis
                found[field] = np.array(found[field], ndmin=axes)
        if "id" in atoms.arrays:
            found["ids"] = atoms.arrays["id"]
        shapes = {"propensity": (-1,), "mean_displacement": (-1, 3), "propensity_half": (2, -1)}
        shapes |= {"displacement_covariance": (-1, 6), "displacement_covariance_half": (2, -1, 6)}
        for field, axis in _PARTICLE_AXIS.items():
            if field in atoms.arrays:
                value = atoms.arrays[field]
                shape = shapes.get(field, value.shape[1:])
                found[field] = np.moveaxis(value.reshape(len(atoms), *shape), 0, axis)
        return cls(positions=atoms.positions, types=types, box=np.diag(cell), **(found | fields_))


def lost_arrays(atoms: ase.Atoms, given: Collection[str] = ()) -> str | None:
    """Which arrays of :meth:`glasslit.Configuration.to_ase` are gone and not given anew, in words; None if none are."""
    had = str(atoms.info.get("arrays", "")).split() if atoms.info.get("writer") == WRITER else []
    ours = {"id", *_PARTICLE_AXIS}  # whatever else stands there was not written by to_ase
    gone = [name for name in had if name in ours and name not in atoms.arrays and name not in given]
    if not gone:
        return None
    return (
        f"came from a configuration with {', '.join(gone)}, and have them no more; a file of ASE's own, such as .traj, "
        "drops them: use extended XYZ, or glasslit.save"
    )


def types_of(numbers: np.ndarray) -> np.ndarray:
    """Types, shape (N,), from atomic numbers, as ``Configuration.to_ase`` writes them.

    Raises
    ------
    ValueError
        If a number is not 1 (A) or 2 (B).
    """
    if not np.all(np.isin(numbers, (1, 2))):
        raise ValueError(
            f"atomic numbers {np.unique(numbers).tolist()}; expected 1 (type A) and 2 (type B): renumber them"
        )
    return np.asarray(numbers, dtype=np.int64) - 1


def _frozen(array: np.ndarray) -> np.ndarray:
    copy = array.copy(order="C")
    copy.flags.writeable = False
    return copy


def _array(where: str, field: str, value: Any, dtype: type) -> np.ndarray:
    try:
        array: np.ndarray = np.asarray(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {field} is not an array of numbers ({error})") from None
    if not np.all(np.isfinite(array)):
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(f"{where}: {field} holds {array[tuple(bad)]} at index {bad}; expected finite numbers")
    return _frozen(array)
