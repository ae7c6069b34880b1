"""The HDF5 schema: one file per data set, one group per configuration. The only module that knows h5py.

``/{T:.2f}/{index:04d}`` holds the fields of a :class:`~glasslit.configuration.Configuration`:
arrays as datasets, the rest as attributes. Files are written beside their place and renamed, so
a killed writer leaves nothing half-written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .configuration import SPLITS, Configuration
from .provenance import git_revision, version

SCHEMA = "glasslit-configurations"
SCHEMA_VERSION = 1
SHIPPED = ("starter",)
"""Names of the data sets inside the package."""

ARRAYS = (
    "positions",
    "inherent_positions",
    "types",
    "potential_energy_thermal",
    "potential_energy_inherent",
    "times",
    "propensity",
    "mean_displacement",
    "propensity_half",
    "msd",
    "self_scattering",
    "equilibration",
)
_TEMPERATURE = re.compile(r"\d+\.\d\d")
ATTRIBUTES = ("box", "temperature", "n_trajectories", "potential", "split", "seed", "engine")


def save(
    path: str | Path,
    configurations: Sequence[Configuration],
    *,
    name: str | None = None,
    licence: str = "unstated",
    citation: str = "unstated",
) -> Path:
    """Write configurations to one HDF5 file.

    Parameters
    ----------
    path : where to; an existing file is replaced at the end, in one step
    configurations : each with a temperature
    name, licence, citation : attributes of the file; the name is the file's stem unless given

    Returns
    -------
    The path.

    Raises
    ------
    ValueError
        If there is no configuration or one has no temperature. Nothing is written then.

    Examples
    --------
    >>> import tempfile
    >>> c = Configuration(positions=[[0, 0, 0], [1, 1, 1]], types=[0, 1], box=[5, 5, 5], temperature=0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(save(folder + "/two.h5", [c]))
    [Configuration(N=2 (1 A, 1 B), box=[5.0, 5.0, 5.0], density=0.016, T=0.5)]
    """
    path = Path(path)
    if not configurations:
        raise ValueError(f"no configurations for {path}; expected at least one")
    for number, configuration in enumerate(configurations):
        if configuration.temperature is None:
            raise ValueError(f"configuration {number} has no temperature; expected one: use .replace(temperature=...)")
        if abs(round(configuration.temperature, 2) - configuration.temperature) > 1e-9:
            raise ValueError(
                f"configuration {number} has T = {configuration.temperature}; the schema files temperatures under two "
                "decimals: round it"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    count: dict[str, int] = {}
    try:
        with h5py.File(partial, "w") as file:
            file.attrs.update(
                {
                    "schema": SCHEMA,
                    "schema_version": SCHEMA_VERSION,
                    "name": name or path.stem,
                    "licence": licence,
                    "citation": citation,
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                }
            )
            for configuration in configurations:
                at = f"{configuration.temperature:.2f}"
                index = count[at] = count.get(at, -1) + 1
                group = file.create_group(f"{at}/{index:04d}")
                for field in ARRAYS:
                    value = getattr(configuration, field)
                    if value is not None:
                        group.create_dataset(field, data=value, **_storage(value))
                for field in ATTRIBUTES:
                    value = getattr(configuration, field)
                    if value is not None:
                        group.attrs[field] = value
                group.attrs["density"] = configuration.density
                group.attrs["glasslit_version"] = version()
                group.attrs["git_revision"] = git_revision()
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
    return path


def _storage(value: np.ndarray) -> dict[str, Any]:
    if value.size == 0:
        return {}
    return {"chunks": value.shape, "shuffle": True, "compression": "gzip", "compression_opts": 9, "fletcher32": True}


def load(name: str | Path, T: float | None = None, split: str | None = None) -> list[Configuration]:
    """Configurations of a data set.

    Parameters
    ----------
    name : "starter" (inside the package), or the path of an ``.h5`` file
    T : temperature, epsilon_AA / k_B; all of them if left out
    split : "train", "val" or "test"; all of them if left out

    Returns
    -------
    list of :class:`~glasslit.configuration.Configuration`, by temperature and index.

    Raises
    ------
    ValueError
        If the file is missing, truncated, not HDF5 or of another schema; if T is not in it (the
        message lists what is); if the split is unknown or empty.

    Examples
    --------
    >>> load("starter", T=0.50, split="train")[0]
    Configuration(N=1000 (800 A, 200 B), box=[9.41, 9.41, 9.41], density=1.2, T=0.5, times=7 up to 217, split=train)
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split {split!r}; expected one of {', '.join(SPLITS)}")
    if T is not None and not isinstance(T, int | float):
        raise ValueError(f"T = {T!r}; expected a number")
    path = _resolve(name)
    found = []
    try:
        with h5py.File(path, "r") as file:
            _check_schema(path, file)
            keys = sorted((key for key in file if _TEMPERATURE.fullmatch(key)), key=float)
            if T is not None:
                wanted = f"{T:.2f}"
                if wanted not in keys or abs(float(wanted) - T) > 1e-9:
                    raise ValueError(f"T = {T} is not in {path.name}; it holds T = {', '.join(keys)}")
                keys = [wanted]
            for key in keys:
                for index in sorted(file[key]):
                    group = file[f"{key}/{index}"]
                    if split is None or group.attrs.get("split") == split:
                        found.append(_read(group, f"{file.attrs['name']}/{key}/{index}"))
    except (OSError, LookupError, RuntimeError, TypeError, AttributeError, _Damaged) as error:
        raise ValueError(
            f"{path}: not a readable HDF5 file of configurations ({error}); it may be truncated or of another kind: "
            "fetch or make it again"
        ) from error
    if not found:
        raise ValueError(f"{path.name} has no configuration with T = {T}, split = {split!r}; leave one of them out")
    return found


class _Damaged(Exception):
    """A group does not hold a configuration; :func:`load` says of which file."""


def _resolve(name: str | Path) -> Path:
    if str(name) in SHIPPED:
        return Path(str(resources.files("glasslit") / "data" / f"{name}.h5"))
    path = Path(name)
    if not path.is_file():
        raise ValueError(
            f"data {str(name)!r} is neither a file nor a shipped data set; shipped: {', '.join(SHIPPED)}; "
            "expected one of these, the path of an .h5 file, or, in book/train.ipynb, 'botan-small' "
            "(elsewhere: glasslit.prepare_botan_small())"
        )
    return path


def _check_schema(path: Path, file: h5py.File) -> None:
    schema, number = file.attrs.get("schema"), file.attrs.get("schema_version")
    if schema != SCHEMA or number != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema {schema!r} version {number}; expected {SCHEMA!r} version {SCHEMA_VERSION}: "
            "write the file with glasslit.save"
        )


def _read(group: h5py.Group, name: str) -> Configuration:
    values: dict[str, Any] = {field: group[field][()] for field in ARRAYS if field in group}
    for field in ATTRIBUTES:
        if field in group.attrs:
            value = group.attrs[field]
            values[field] = value.item() if isinstance(value, np.generic) else value
    try:
        return Configuration(name=name, **values)
    except ValueError as error:
        raise _Damaged(error) from error
