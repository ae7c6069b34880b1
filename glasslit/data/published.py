"""Published data sets of the field: read their files. The only module that unpickles anything.

Bapst et al. (2020) pickles, BOTAN (Shiba et al. 2023) and GlassBench (Jung et al. 2023) ``.npz`` files
become :class:`~glasslit.liquid.configuration.Configuration`; units are Lennard-Jones units in all three.
"""

from __future__ import annotations

import io
import itertools
import pickle
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from ..liquid.configuration import SPLITS, Configuration
from ..liquid.kob_andersen import DENSITY, TIME_GRIDS, energy_per_particle

GLASSBENCH = "Shiba et al. 2023 (GlassBench)"
"""``engine`` of configurations read from GlassBench's files."""

UnpicklingError = pickle.UnpicklingError
"""What PyTorch, too, raises for a file that it did not write; named here so that no other module has to know pickle."""


class _Dtype:
    """What a pickle gets for numpy.dtype: plain numbers and text only, and only their byte order may be set.

    The real one would let a file declare object fields, whose bytes NumPy then follows as pointers.
    """

    def __init__(self, name: str, *_: Any) -> None:
        self.value = np.dtype(name)
        if self.value.kind not in "biufSU":
            raise ValueError(f"it holds the dtype {name!r}; expected plain numbers")

    def __setstate__(self, state: tuple) -> None:
        if state[2:5] != (None, None, None):
            raise ValueError("it holds a structured dtype; expected plain numbers")
        if state[1] in "<>":
            self.value = self.value.newbyteorder(state[1])


class _Array:
    """What a pickle gets for numpy.ndarray: its bytes, read as plain numbers."""

    value: np.ndarray

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _from_bytes(raw, dtype, shape, "F" if fortran else "C").value

    @classmethod
    def of(cls, value: np.ndarray) -> _Array:
        array = cls()
        array.value = value
        return array


def _from_bytes(raw: Any, dtype: _Dtype, shape: tuple, order: Literal["C", "F"]) -> _Array:
    content = raw.encode("latin1") if isinstance(raw, str) else raw
    return _Array.of(np.frombuffer(content, dtype.value).reshape(shape, order=order))


def _scalar(dtype: _Dtype, raw: Any) -> Any:
    return _from_bytes(raw, dtype, (1,), "C").value[0]


class _ArraysOnly(pickle.Unpickler):
    """Admits arrays of plain numbers, containers, numbers and text; refuses every other name a pickle may call."""

    admitted: ClassVar[dict[str, Any]] = {
        "numpy.ndarray": _Array,
        "numpy.dtype": _Dtype,
        "numpy._core.multiarray._reconstruct": _Array,
        "numpy._core.multiarray.scalar": _scalar,
        "numpy._core.numeric._frombuffer": _from_bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}".replace("numpy.core.", "numpy._core.")
        if full in self.admitted:
            return self.admitted[full]
        if full == "_codecs.encode":  # how Python 2's protocols carry an array's bytes
            return _latin1
        raise ValueError(f"it asks for {module}.{name}, which is not an array or a plain container")


def _plain(content: Any) -> Any:
    """Containers with NumPy arrays in the place of the stand-ins."""
    if isinstance(content, _Array):
        return content.value
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return content


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"it asks for the codec {encoding!r}")
    return text.encode("latin1")


def read_published(path: str | Path) -> list[Configuration]:
    """Read a published file, or all of them in a folder.

    Parameters
    ----------
    path : a Bapst ``.pickle``, a BOTAN or GlassBench ``.npz``, or a folder of them. Folders are read in
        natural order (2 before 10); BOTAN files of one configuration at several times become one.

    Returns
    -------
    list of configurations; ``split`` follows from a parent folder named train, val or test.

    Raises
    ------
    ValueError
        If a file is missing, damaged, of no known kind, holds object arrays, or is a pickle that asks for
        anything but arrays and plain containers (it is refused before anything in it runs).
    """
    path = Path(path)
    if path.is_dir():
        return [read_together(files) for files in published_files(path)]
    if not path.is_file():
        raise ValueError(f"{path} is neither a file nor a folder; expected published data: check the path")
    return [_read(path)]


def published_files(folder: str | Path) -> list[list[Path]]:
    """The files of each configuration in a folder, in natural order; several where each time has its own (BOTAN).

    Raises
    ------
    ValueError
        If there is none.
    """
    files = sorted((f for f in Path(folder).iterdir() if f.suffix in (".npz", ".pickle", ".pkl")), key=_natural)
    if not files:
        raise ValueError(f"{folder} holds no .npz or .pickle file; expected a folder of published configurations")
    return [list(group) for _, group in itertools.groupby(files, _name_without_time)]


def read_together(files: Sequence[Path]) -> Configuration:
    """The configuration that these files hold, with all its times.

    Raises
    ------
    ValueError
        As :func:`glasslit.read_published`, or if they start from different positions.
    """
    parts = [_read(f) for f in files]
    return parts[0] if len(parts) == 1 else _merge_times(_name_without_time(files[0]), parts)


def _name_without_time(path: Path) -> str:
    return re.sub(r"_tc\d+$", "", path.stem)


def _natural(path: Path) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def _read(path: Path) -> Configuration:
    try:
        content = _load_npz(path) if path.suffix == ".npz" else _load_pickle(path)
        if "trajectory_target_positions" in content or "targets" in content:
            reader: Callable[[Path, dict[str, Any]], dict[str, Any]] = _bapst
        elif "md_prop" in content:
            reader = _glassbench
        elif path.suffix == ".npz" and content["positions"].ndim == 3:
            reader = _botan
        else:
            raise ValueError(f"its entries {sorted(content)} fit no known kind")
        split = path.parent.name if path.parent.name in SPLITS else None
        return Configuration(name=path.stem, split=split, **reader(path, content))
    except Exception as error:  # whatever damaged or hostile bytes provoke in a parser
        raise ValueError(
            f"{path}: not a readable Bapst, BOTAN or GlassBench file: {type(error).__name__}: {error}; if it is cut or "
            "damaged: fetch it, or make it again"
        ) from error


def _load_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _load_pickle(path: Path) -> dict[str, Any]:
    content = _plain(_ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load())
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}; expected a dictionary")
    return content


def _bapst(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    positions = np.asarray(content["positions"], dtype=np.float64)
    times = np.asarray(content["time"], dtype=np.float64)[np.asarray(content["time_indices"], dtype=int)]
    found: dict[str, Any] = {}
    if "targets" in content:
        labels = np.asarray(content["targets"], dtype=np.float64)
    else:
        targets = [np.asarray(t, dtype=np.float64) for t in content["trajectory_target_positions"]]
        distance = [np.linalg.norm(t - positions, axis=-1) for t in targets]  # each (runs, N)
        labels = np.stack([d.mean(axis=0) for d in distance])
        order = np.argsort(times[: len(labels)])
        found["mean_displacement"] = np.stack([(t - positions).mean(axis=0) for t in targets])[order]
        found["propensity_half"] = _halves(np.stack([distance[k] for k in order]))
        found["n_trajectories"] = len(distance[0])
    times = times[: len(labels)]  # trajectories may cover only the first times
    order = np.argsort(times)
    metadata = content.get("metadata", {})
    return found | {
        "positions": positions,
        "types": np.asarray(content["types"]),
        "box": np.asarray(content["box"]),
        "temperature": float(metadata["temperature"]) if "temperature" in metadata else None,
        "times": times[order],
        "propensity": labels[order],
        "potential": "unshifted",
        "engine": "Bapst et al. 2020",
    }


def _halves(distance: np.ndarray) -> np.ndarray | None:
    """Means over the first and the second half of the runs: (T, runs, N) -> (2, T, N); none for a single run."""
    half = distance.shape[1] // 2
    if half == 0:
        return None
    return np.stack([distance[:, :half].mean(axis=1), distance[:, half:].mean(axis=1)])


def _cubic_box(n: int) -> np.ndarray:
    return np.full(3, (n / DENSITY) ** (1 / 3))


def _grid(temperature: float) -> np.ndarray:
    if temperature not in TIME_GRIDS:
        raise ValueError(f"temperature {temperature} in the name; times are known for {sorted(TIME_GRIDS)}")
    return np.array(TIME_GRIDS[temperature])


def _botan(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    match = re.fullmatch(r"isoconfig_N\d+T(\d+\.\d+)_(\d+)_tc(\d+)", path.stem)
    if match is None:
        raise ValueError("its name is not isoconfig_N{particles}T{temperature}_{number}_tc{time}.npz")
    temperature, number = float(match[1]), int(match[3])
    grid = _grid(temperature)
    if not 1 <= number <= len(grid):
        raise ValueError(f"time number tc{number:02d} in the name; expected tc01 to tc{len(grid):02d}")
    initial = content["initial_positions"]
    displacement = content["positions"] - initial
    distance = np.linalg.norm(displacement, axis=-1)
    return {
        "positions": initial,
        "types": content["types"],
        "box": _cubic_box(len(initial)),
        "temperature": temperature,
        "times": grid[number - 1 : number],
        "propensity": distance.mean(axis=0)[None],
        "propensity_half": _halves(distance[None]),
        "mean_displacement": displacement.mean(axis=0)[None],
        "n_trajectories": len(distance),
        "potential": "force-shifted",
        "engine": "Shiba et al. 2023",
    }


def _glassbench(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    if content["initial_positions"].shape[-1] == 2:
        raise ValueError(
            "a two-dimensional liquid (KA2D); expected one of three dimensions: networks here know no other"
        )
    match = re.fullmatch(r"N\d+T(\d+\.\d+)_(\d+)", path.stem)
    if match is None:
        raise ValueError("its name is not N{particles}T{temperature}_{number}.npz")
    positions = content["initial_positions"]
    found = {
        "positions": positions,
        "types": np.asarray(content["types"]).astype(int) - 1,  # GlassBench counts types from 1
        "box": _cubic_box(len(positions)),
        "temperature": float(match[1]),
        "times": _grid(float(match[1])),
        "propensity": content["md_prop"],
        "potential": "force-shifted",
        "engine": GLASSBENCH,
    }
    if "initial_positions_inherent" in content:
        found["inherent_positions"] = content["initial_positions_inherent"]
    return found


def published_predictions(path: str | Path) -> dict[str, np.ndarray]:
    """What a GlassBench test file holds of other models' predictions: name -> shape (T, N), as it stands there.

    Every array of the labels' shape is one, but the labels themselves (``md_prop``) and the bond-breaking propensity
    (``bb_prop``).

    Raises
    ------
    ValueError
        If it is no such file.
    """
    path = Path(path)
    try:
        content = _load_npz(path)
        shape = content["md_prop"].shape
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a readable GlassBench file: {type(error).__name__}: {error}") from error
    return {
        name: np.asarray(array, dtype=np.float64)
        for name, array in content.items()
        if array.shape == shape and name not in ("md_prop", "bb_prop") and array.dtype.kind in "fiu"
    }


def _merge_times(name: str, parts: list[Configuration]) -> Configuration:
    """Join BOTAN files of one configuration into one with all its times."""
    parts = sorted(parts, key=lambda c: c.times[0])
    first = parts[0]
    if any(not np.array_equal(c.positions, first.positions) for c in parts):
        raise ValueError(f"files of {name} start from different positions; expected one start: separate the folders")
    joined = {f: [getattr(c, f) for c in parts] for f in ("propensity", "mean_displacement", "propensity_half")}
    halves = None if any(h is None for h in joined["propensity_half"]) else joined["propensity_half"]
    return first.replace(
        name=name,
        times=np.concatenate([c.times for c in parts]),
        propensity=np.concatenate(joined["propensity"]),
        mean_displacement=np.concatenate(joined["mean_displacement"]),
        propensity_half=None if halves is None else np.concatenate(halves, axis=1),
    )


def with_energies(configuration: Configuration) -> Configuration:
    """The configuration with the energies of the positions that it has, thermal and inherent, where they are missing.

    Published files hold inherent positions without energies. They are those of its ``potential``, force-shifted where
    it names none. Nothing is minimized here: see :func:`glasslit.quench` for that.
    """
    c, changes = configuration, {}
    potential = c.potential or "force-shifted"
    for positions, energy in (
        ("positions", "potential_energy_thermal"),
        ("inherent_positions", "potential_energy_inherent"),
    ):
        place = getattr(c, positions)
        if place is not None and getattr(c, energy) is None:
            given = torch.tensor(place), torch.tensor(c.types), torch.tensor(c.box)
            changes[energy] = energy_per_particle(*given, potential).numpy()
    return c.replace(**changes, potential=potential) if changes else c
