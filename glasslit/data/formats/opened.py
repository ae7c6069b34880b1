"""Text of a file, unpacked on the way (``.gz``, ``.bz2``, ``.xz``, ``.zst``); a sentence where it ends too early."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

PACKED = (".gz", ".bz2", ".xz", ".zst")


def suffix(path: Path) -> str:
    """Of the file as it is unpacked, such as ".dump" of liquid.dump.gz."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() in PACKED else path.suffix.lower()


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """The file's text, line by line; ends of lines of any system.

    Raises
    ------
    ModuleNotFoundError
        For ``.zst`` without the library zstandard.
    """
    kind = path.suffix.lower()
    with path.open("rb") as raw:
        if kind == ".zst":
            try:
                import zstandard
            except ImportError as error:
                raise ModuleNotFoundError(
                    f"{path.name} is packed with Zstandard, which needs zstandard: pip install 'glasslit[formats]'"
                ) from error
            stream: IO[bytes] = cast(
                IO[bytes], zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
            )
        else:
            unpack: dict[str, Callable[[IO[bytes]], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
            stream = unpack[kind](raw) if kind in unpack else raw
        with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace") as text:
            yield text


def lines(path: Path) -> Iterator[str]:
    """Lines as :func:`opened` gives them, up to where they can be read.

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
