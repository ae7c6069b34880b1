"""Text of a file, unpacked on the way: ``.gz``, ``.bz2``, ``.xz``, ``.zst``."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
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
        with io.TextIOWrapper(stream, encoding="utf-8", errors="replace") as text:
            yield text
