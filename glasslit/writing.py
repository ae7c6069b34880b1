"""Files that are whole or not there, whatever ends their writer: a kill, a full disk, an error of its own.

What is written goes to a file beside its place, which takes the name in one step when it is finished. An earlier file
of that name stays as it was until then. Everything in this package that writes files does it with this module.
"""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""What a full disk answers, and a limit on the size of files or on what a user may store."""


@contextmanager
def whole(path: str | Path, *, together: bool = False) -> Iterator[Path]:
    """A place for the content of a file: what the block writes there takes the file's name when the block ends.

    Parameters
    ----------
    path : the file; its folder is made
    together : other processes may write the same file at the same time, so each uses a name of its own, with the number
        of the process. What a killed process leaves under such a name is not cleared away; what it leaves otherwise is
        written over by the next one

    Yields
    ------
    The path to write to. If the block raises an error, nothing is left there and an earlier file is as it was.

    Raises
    ------
    OSError
        If there is no room for it: names the file and says what to do.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole(Path(folder, "points.csv")) as partial:
    ...         _ = partial.write_text("ada,5")
    ...     [p.name for p in Path(folder).iterdir()]
    ['points.csv']
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial" if together else f"{path.name}.partial")
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def write(path: str | Path, content: bytes | str, *, together: bool = False) -> None:
    """A file with this content, text in UTF-8; options and errors as for :func:`whole`."""
    with whole(path, together=together) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def room_for(path: str | Path) -> Iterator[None]:
    """The error of a full disk, which names no file by itself, says in a sentence what could not be written.

    Raises
    ------
    OSError
        With the same ``errno``.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in NO_ROOM or "could not be written" in str(error):
            raise
        raise OSError(
            error.errno,
            f"{os.strerror(error.errno)}: {path} could not be written; what was there before is kept: make room and do "
            "the same again, or write elsewhere",
        ) from error


def read_json(path: str | Path, mend: str = "delete it, and make it again") -> Any:
    """What a JSON file holds.

    Parameters
    ----------
    path : the file
    mend : what to do if it is damaged, for the message

    Raises
    ------
    ValueError
        If it is cut or damaged: names the file.
    OSError
        If it is not there or must not be read.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # bytes that are no text are a ValueError, too
        raise ValueError(f"{path} is not readable JSON ({error}); it may be half written or damaged: {mend}") from error


def check_archive(path: str | Path) -> None:
    """Compare the parts of a zip archive, which PyTorch's files are, with their checksums: PyTorch itself does not.

    ``torch.load`` of PyTorch 2.13 reads a file in which a block of zeros takes the place of weights, as it is left
    where the power fails, without an error.

    Raises
    ------
    zipfile.BadZipFile
        If it is none, is cut, or a part is not what was written.
    """
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of its part {damaged} is wrong")
