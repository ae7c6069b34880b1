"""Files of arrays that are whole or not there: what a killed factory goes on from."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..writing import whole


def write(path: Path, **arrays: Any) -> None:
    """An .npz that is whole or not there."""
    with whole(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def read(path: Path) -> dict[str, np.ndarray] | None:
    """Its content; None if it is not there or damaged, and so has to be made (again)."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
