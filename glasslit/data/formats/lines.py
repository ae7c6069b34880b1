"""Lines of a file that may be packed, and what is said where it ends too early."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path

from .opened import opened


def lines(path: Path) -> Iterator[str]:
    """Lines as :func:`~glasslit.data.formats.opened.opened` gives them, up to where they can be read.

    Raises
    ------
    ValueError
        Where a packed file was cut, or is not what its suffix says.
    ModuleNotFoundError
        For ``.zst`` without the library zstandard.
    """
    spoilt: tuple[type[Exception], ...] = (zlib.error, lzma.LZMAError)
    with opened(path) as text:
        if path.suffix.lower() == ".zst":
            from zstandard import ZstdError

            spoilt = (*spoilt, ZstdError)
        try:
            yield from text
        except EOFError as error:
            raise ValueError(
                f"the file ends early ({error}); expected it whole: copy it again, or read only frames before its end"
            ) from error
        except spoilt as error:
            raise ValueError(_not_unpacked(path, error)) from error
        except OSError as error:
            if error.errno is not None:  # a disk that fails, say; gzip and bz2 give their own errors no number
                raise
            raise ValueError(_not_unpacked(path, error)) from error


def _not_unpacked(path: Path, error: Exception) -> str:
    return (
        f"it cannot be unpacked ({error}); expected {path.suffix}: copy it again, or rename it if it is not packed so"
    )
