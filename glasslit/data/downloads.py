"""Downloads of published data sets, checked against their checksums, kept in the user's cache folder."""

from __future__ import annotations

import errno
import re
import tarfile
import zipfile
from pathlib import Path

import pooch
import requests

BOTAN_URL = "https://raw.githubusercontent.com/h3-Open-BDEC/pyg_botan/6da560c/small_data/T0.44/"
BOTAN_FILES = {
    "test/isoconfig_N4096T0.44_401_tc07.npz": "dfefaa469e429e6ff0936579e69255e7df4f721c83042a0cc6ab25b1dcdf6184",
    "test/isoconfig_N4096T0.44_402_tc07.npz": "455937051b00da8374311b655a114d477cfc2e9ed6b582bd4ed407d064811ef8",
    "train/isoconfig_N4096T0.44_1_tc07.npz": "818fe7a85a2d5fa15dbf6b4a32fe2244ccc6c95ab57375ddceccfbf3e15bcb03",
    "train/isoconfig_N4096T0.44_2_tc07.npz": "c434148509b09ae3582b5b12d2a1c866510bf6bcda1000cb7c84eaa3adc2c81e",
    "train/isoconfig_N4096T0.44_3_tc07.npz": "cbe36e3dda27f2c52d57b46322dd8b4e92a52d369f5a683c18469d035200d0f4",
    "train/isoconfig_N4096T0.44_4_tc07.npz": "5dc178a06be59d61cf90b69d7072e2dc8f4433e0edf21bed8a3971f4363d73f6",
    "train/isoconfig_N4096T0.44_5_tc07.npz": "ce15d17f380e28c36e512ac66454fc2b6b26a210db0a4bdd259029100e75bf19",
    "train/isoconfig_N4096T0.44_6_tc07.npz": "bdde2cd8e21c847c2359dd4532e530507246f876dbe51a94afdf90b420cbe0c5",
    "train/isoconfig_N4096T0.44_7_tc07.npz": "115c2dfa7cb7b93410407f14925ef061f2c0b495b8b6e938812120ba2f9fa964",
    "train/isoconfig_N4096T0.44_8_tc07.npz": "3886cd45c38d568c20641c7f0025d940251fa829902ed1e524fc105c0f005b9d",
    "train/isoconfig_N4096T0.44_9_tc07.npz": "fba28fffd9cac0d51c3ffed8cb4525c346a551d07449d5bcd0614306a0fd5704",
    "train/isoconfig_N4096T0.44_10_tc07.npz": "57f03825f3ef0f484fa6e8d7c7d317fc0a16f58f160302e56000d1e4ebe85f89",
}
GLASSBENCH_DOI = "doi:10.5281/zenodo.10118191/"
GLASSBENCH_FILES = {"GlassBench.zip": "md5:82c83a7146eb749e13417e4350022417"}


def data_folder(folder: str | Path | None = None) -> Path:
    """Where downloaded data is kept: the folder, or by default the user's cache folder."""
    return Path(folder or pooch.os_cache("glasslit"))


def _fetch(base_url: str, files: dict[str, str], folder: Path) -> Path:
    """Download what is not there yet, with a progress bar; each file is checked, then put in place in one step."""
    keeper = pooch.create(path=folder, base_url=base_url, registry=files, retry_if_failed=2)
    for name in files:
        try:
            keeper.fetch(name, progressbar=True)
        except (requests.exceptions.RequestException, OSError) as error:
            closed = isinstance(error, PermissionError) or error.errno == errno.EROFS
            raise ConnectionError(
                f"{name} could not be fetched from {base_url} to {keeper.path} ({type(error).__name__}: {error}): "
                + ("name another folder, one that can be written." if closed else "are you online?")
                + " What was finished stays; call again to go on, or put the file there by hand"
            ) from error
    return Path(keeper.path)


def fetch_botan_small(folder: str | Path | None = None, base_url: str = BOTAN_URL) -> Path:
    """Download BOTAN's small set: T = 0.44, ten training and two test configurations, 39 MB.

    From github.com/h3-Open-BDEC/pyg_botan (Apache-2.0; Shiba et al., J. Chem. Phys. 158, 084503, 2023).

    Parameters
    ----------
    folder : where to; by default the user's cache folder
    base_url : for a mirror

    Returns
    -------
    A folder with ``train`` and ``test``, each for :func:`glasslit.read_published`.

    Raises
    ------
    ConnectionError
        If a file cannot be had; finished files stay.
    ValueError
        If a file's SHA-256 is not the published one.
    """
    return _fetch(base_url, BOTAN_FILES, data_folder(folder) / "botan_small")


def fetch_glassbench(temperature: float, folder: str | Path | None = None, base_url: str = GLASSBENCH_DOI) -> Path:
    """Download GlassBench (6 GB, once) and unpack its Kob-Andersen configurations at one temperature.

    From Zenodo, doi 10.5281/zenodo.10118191 (CC-BY-4.0; Jung et al., arXiv 2311.14752, 2023).

    Parameters
    ----------
    temperature : 0.44, 0.50, 0.56 or 0.64
    folder, base_url : as in :func:`fetch_botan_small`

    Returns
    -------
    A folder with ``train`` and ``test``, each for :func:`glasslit.read_published`.

    Raises
    ------
    ConnectionError
        If the file cannot be had.
    ValueError
        If its MD5 is not the published one, or it holds no such temperature.
    """
    place = data_folder(folder) / "glassbench"
    target = place / f"T{temperature:.2f}"
    if target.is_dir():
        return target
    _fetch(base_url, GLASSBENCH_FILES, place)
    names = re.compile(r"(?:.*/)?KA_models/T(\d+\.?\d*)\.tar\.gz")
    with zipfile.ZipFile(place / "GlassBench.zip") as archive:
        there = {float(found[1]): name for name in archive.namelist() if (found := names.fullmatch(name))}
        if temperature not in there:
            raise ValueError(f"GlassBench has no T = {temperature}; it holds {sorted(there)}")
        unpacked = place / f"T{temperature:.2f}.partial"
        with archive.open(there[temperature]) as stream, tarfile.open(fileobj=stream, mode="r|gz") as tar:
            tar.extractall(unpacked, filter="data")
    inner = next((f.parent for f in sorted(unpacked.rglob("train")) if f.is_dir()), unpacked)
    inner.rename(target)
    return target
