"""The HDF5 schema: one file per data set, one group per configuration. The only module that knows h5py.

``/{T:.2f}/{index:04d}`` holds the fields of a :class:`~glasslit.liquid.configuration.Configuration`:
arrays as datasets, the rest as attributes. Files are written beside their place and renamed, so
a killed writer leaves nothing half-written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Literal, overload

import h5py
import numpy as np

from ..liquid.configuration import SPLITS, Configuration
from ..liquid.periodic import wrap
from ..names import did_you_mean
from ..provenance import git_revision, version
from ..writing import whole
from .shipped import SHIPPED as SHIPPED
from .shipped import no_such_data
from .shipped import shipped_models as shipped_models

SCHEMA = "glasslit-configurations"
SCHEMA_VERSION = 1
DECIMALS = {
    "positions": 5,
    "inherent_positions": 5,
    "potential_energy_thermal": 4,
    "potential_energy_inherent": 4,
    "propensity": 3,
    "propensity_half": 3,
    "mean_displacement": 3,
    "displacement_covariance": 5,
    "displacement_covariance_half": 5,
}
"""Digits after the point that a compact file keeps. Rounding to steps of d adds a noise of d / sqrt(12): 0.0003 to
propensities and mean displacements, whose own noise with 32 runs is 0.003 at the shortest time and 0.01 to 0.07 later;
3e-6 to covariances, whose own noise is 3e-4 at t = 0.05 and more later;
3e-6 to positions, a hundred-thousandth of a vibration, which moves the energy of a particle by some 1e-4."""

ARRAYS = (
    "positions",
    "inherent_positions",
    "types",
    "potential_energy_thermal",
    "potential_energy_inherent",
    "times",
    "propensity",
    "mean_displacement",
    "displacement_covariance",
    "propensity_half",
    "displacement_covariance_half",
    "msd",
    "self_scattering",
    "equilibration",
    "ids",
)
_TEMPERATURE = re.compile(r"\d+\.\d\d")
ATTRIBUTES = ("box", "temperature", "n_trajectories", "potential", "split", "seed", "engine", "step")


def save(
    path: str | Path,
    configurations: Iterable[Configuration],
    *,
    name: str | None = None,
    licence: str = "unstated",
    citation: str = "unstated",
    compact: bool = False,
) -> Path:
    """Write configurations to one HDF5 file.

    Parameters
    ----------
    path : where to; an existing file is replaced at the end, in one step
    configurations : each with a temperature; of an iterator no more than one is held at a time
    name, licence, citation : attributes of the file; the name is the file's stem unless given
    compact : a third of the size: numbers rounded to :data:`~glasslit.data.store.DECIMALS`, positions moved into the
        box, of the two half-ensembles only the first (the second follows from the mean)

    Returns
    -------
    The path.

    Raises
    ------
    ValueError
        If there is no configuration or one has no temperature. Nothing is written then.
    OSError
        If there is no room: names the file, says what to do.

    Examples
    --------
    >>> import tempfile
    >>> c = Configuration(positions=[[0, 0, 0], [1, 1, 1]], types=[0, 1], box=[5, 5, 5], temperature=0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load(save(folder + "/two.h5", [c]))
    [Configuration(N=2 (1 A, 1 B), box=[5.0, 5.0, 5.0], density=0.016, T=0.5)]
    """
    path = Path(path)
    count: dict[str, int] = {}
    with whole(path) as partial, _Disk(partial) as disk, h5py.File(disk, "w") as file:
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
        for number, configuration in enumerate(configurations):
            at = _filed_under(number, configuration)
            index = count[at] = count.get(at, -1) + 1
            group = file.create_group(f"{at}/{index:04d}")
            for field in ARRAYS:
                value = getattr(configuration, field)
                if value is not None:
                    if compact:
                        value = _compact(configuration, field, value)
                    group.create_dataset(field, data=value, **_storage(value, DECIMALS.get(field) if compact else None))
            for field in ATTRIBUTES:
                value = getattr(configuration, field)
                if value is not None:
                    group.attrs[field] = value
            group.attrs["density"] = configuration.density
            group.attrs["glasslit_version"] = version()
            group.attrs["git_revision"] = git_revision()
            disk.check()
        if not count:
            raise ValueError(f"no configurations for {path}; expected at least one")
    return path


class _Disk:
    """A file that HDF5 writes to, and that never tells HDF5 of a write which failed: :meth:`check` raises its error.

    HDF5 2.0 (h5py 3.16) cannot close a file whose writing failed. It keeps the file open, and its second attempt, when
    Python ends, is a segmentation fault.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._error: OSError | None = None

    def _tried(self, do: Callable[..., Any], *given: Any) -> Any:
        try:
            return do(*given)
        except OSError as error:
            self._error = self._error or error
            return 0

    def check(self) -> None:
        """Raise the error of the first write that failed."""
        if self._error is not None:
            raise self._error

    def __enter__(self) -> _Disk:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._tried(self._file.close)
        if kind is None or issubclass(kind, OSError | RuntimeError):  # what HDF5 says of a file that lacks parts
            self.check()

    def write(self, content: Any) -> int:
        return self._tried(self._file.write, content)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._tried(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._tried(self._file.tell)

    def read(self, size: int = -1) -> Any:  # h5py asks whether there is such a method
        return self._tried(self._file.read, size)

    def readinto(self, content: Any) -> int:
        return self._tried(self._file.readinto, content)

    def truncate(self, size: int) -> int:
        return self._tried(self._file.truncate, size)

    def flush(self) -> None:
        self._tried(self._file.flush)


def _filed_under(number: int, configuration: Configuration) -> str:
    """The name of a configuration's temperature in a file."""
    if configuration.temperature is None:
        raise ValueError(f"configuration {number} has no temperature; expected one: use .replace(temperature=...)")
    if abs(round(configuration.temperature, 2) - configuration.temperature) > 1e-9:
        raise ValueError(
            f"configuration {number} has T = {configuration.temperature}; the schema files temperatures under two "
            "decimals: round it"
        )
    return f"{configuration.temperature:.2f}"


def _storage(value: np.ndarray, decimals: int | None = None) -> dict[str, Any]:
    if value.size == 0:
        return {}
    common = {"compression": "gzip", "compression_opts": 9}
    if decimals is None:
        return {"chunks": value.shape, "shuffle": True, "fletcher32": True, **common}
    per_particle = 2 if value.shape[-1] in (3, 6) else 1  # components of a vector or of a symmetric matrix
    times = value.ndim - per_particle  # axes before: a chunk, and so a range of its own, for each of them
    chunks = (1,) * times + value.shape[times:]
    return {"chunks": chunks, "scaleoffset": decimals, "fillvalue": 1e30, **common}  # filled with 0, numbers near 0 go


def _compact(c: Configuration, field: str, value: np.ndarray) -> np.ndarray:
    """What a compact file holds of a field."""
    if field in ("positions", "inherent_positions"):
        return value + (wrap(c.positions, c.box) - c.positions)
    return value[:1] if field == "propensity_half" else value


class LazyConfigurations(Sequence[Configuration]):
    """Configurations that are read when they are asked for, each time anew: as many as a disk holds, none in memory.

    Parameters
    ----------
    items : what each is read from
    read : makes a configuration of an item; other processes get copies of it (where they are started afresh, not
        forked, it has to be a function of a module or a ``functools.partial`` of one)
    """

    def __init__(self, items: Sequence[Any], read: Callable[[Any], Configuration]) -> None:
        self._items, self._read = items, read

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, at: int) -> Configuration: ...
    @overload
    def __getitem__(self, at: slice) -> LazyConfigurations: ...
    def __getitem__(self, at: int | slice) -> Configuration | LazyConfigurations:
        if isinstance(at, slice):
            return LazyConfigurations(self._items[at], self._read)
        return self._read(self._items[at])

    def __repr__(self) -> str:
        return f"LazyConfigurations({len(self)}, read when asked for)"

    def map(self, change: Callable[[Configuration], Configuration]) -> LazyConfigurations:
        """Those that ``change`` makes of these, when they are asked for."""
        return LazyConfigurations(self, change)


@overload
def load(
    name: str | Path, T: float | None = None, split: str | None = None, *, lazy: Literal[False] = False
) -> list[Configuration]: ...
@overload
def load(
    name: str | Path, T: float | None = None, split: str | None = None, *, lazy: Literal[True]
) -> LazyConfigurations: ...
def load(
    name: str | Path, T: float | None = None, split: str | None = None, *, lazy: bool = False
) -> list[Configuration] | LazyConfigurations:
    """Configurations of a data set.

    Parameters
    ----------
    name : "starter" or "standard" (inside the package), or the path of an ``.h5`` file
    T : temperature, epsilon_AA / k_B; all of them if left out
    split : "train", "val" or "test"; all of them if left out
    lazy : read each when it is asked for, every time: for sets that should not be in memory

    Returns
    -------
    list of :class:`~glasslit.Configuration`, by temperature and index; if lazy, a sequence of them.

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
        raise ValueError(f"split {split!r}; expected one of {', '.join(SPLITS)}{did_you_mean(split, SPLITS)}")
    if T is not None and not isinstance(T, int | float):
        raise ValueError(f"T = {T!r}; expected a number")
    found = [(path, place) for path in _resolve(name, T) for place in _places(path, T, split)]
    if not found:
        raise ValueError(f"{name} has no configuration with T = {T}, split = {split!r}; leave one of them out")
    configurations = LazyConfigurations(found, _load_one)
    return configurations if lazy else list(configurations)


def _places(path: Path, T: float | None, split: str | None) -> list[str]:
    """Groups of a file that have a temperature and a split."""
    with _reading(path) as file:
        _check_schema(path, file)
        keys = sorted((key for key in file if _TEMPERATURE.fullmatch(key)), key=float)
        if T is not None:
            wanted = f"{T:.2f}"
            if wanted not in keys or abs(float(wanted) - T) > 1e-9:
                raise ValueError(f"T = {T} is not in {path.name}; it holds T = {', '.join(keys)}")
            keys = [wanted]
        places = [f"{key}/{index}" for key in keys for index in sorted(file[key])]
        return [p for p in places if split is None or file[p].attrs.get("split") == split]


def _load_one(where: tuple[Path, str]) -> Configuration:
    path, place = where
    with _reading(path) as file:
        return _read(file[place], f"{file.attrs['name']}/{place}")


@contextmanager
def _reading(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (BlockingIOError, PermissionError) as error:
        held = isinstance(error, BlockingIOError)
        raise ValueError(
            f"{path} "
            + ("is open for writing in another process" if held else "must not be read by this user")
            + f" ({error}); expected a finished file that can be read: "
            + ("wait until that process has ended" if held else "change its permissions, or copy it")
        ) from error
    except (OSError, LookupError, RuntimeError, TypeError, AttributeError, _Damaged) as error:
        raise ValueError(
            f"{path}: not a readable HDF5 file of configurations ({error}); it may be truncated or of another kind: "
            "fetch or make it again"
        ) from error


class _Damaged(Exception):
    """A group does not hold a configuration; :func:`load` says of which file."""


def _resolve(name: str | Path, T: float | None) -> list[Path]:
    data = Path(str(resources.files("glasslit"))) / "data"
    if str(name) == "starter":
        return [data / "starter.h5"]
    if str(name) == "standard":
        files = {path.stem: path for path in sorted((data / "standard").glob("*.h5"))}
        if T is None:
            return list(files.values())
        if f"{T:.2f}" not in files:
            raise ValueError(
                f"T = {T} is not in the standard data set, which holds T = {', '.join(files)} so far; to make it "
                f"(minutes on a GPU, hours on a CPU): glasslit simulate --starts botan-small -T {T:.2f} --seed 2024 "
                f"--compact -o standard-{T:.2f}.h5, and load that file"
            )
        return [files[f"{T:.2f}"]]
    path = Path(name)
    if not path.is_file():
        raise ValueError(no_such_data(name))
    return [path]


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
    half = values.get("propensity_half")
    if half is not None and len(half) == 1:
        values["propensity_half"] = np.concatenate([half, 2 * values["propensity"][None] - half])
    try:
        return Configuration(name=name, **values)
    except ValueError as error:
        raise _Damaged(error) from error
