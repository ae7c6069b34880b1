"""One writer at a time: whoever writes results takes their place with a lock, and who comes second is told.

The lock is the operating system's (``flock``; ``LockFileEx`` on Windows) on a file beside the results. It ends with the
process that holds it, however that dies, so nothing has to be cleared away after a kill. Nor do workers outlive whoever
started them.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from filelock import FileLock, Timeout

from .warned import warn

_T = TypeVar("_T")

PATIENCE = 1.0
"""Seconds to wait for a lock: in so many the kernel notices that its papermill was killed, and ends."""
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
"""What a file system without locks answers."""


class OutputLock:
    """The right to write to one place, taken when it is made.

    Parameters
    ----------
    output : the file or folder that will be written, or its name; the lock is ``{output}.unfinished.lock`` beside it
    elsewhere : how to write to another place, for the message
    patience : seconds to wait for it; None: :data:`PATIENCE`

    Raises
    ------
    RuntimeError
        If another process holds it: names process, host and since when.

    Notes
    -----
    Who holds it already gets it again, so that a notebook's cell can be run twice. A forked process does not share it.
    Where the file system has no locks, a warning says so and there is none.
    """

    def __init__(self, output: str | Path, elsewhere: str = "name another", patience: float | None = None) -> None:
        self.path = Path(f"{output}.unfinished.lock")
        parents = self.path.absolute().parents
        self._made = [folder for folder in parents if not folder.exists()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(
            self.path, thread_local=False, is_singleton=True, fallback_to_soft=False, on_acquired=_sign
        )  # a soft lock would outlive a killed process
        try:
            self._lock.acquire(timeout=PATIENCE if patience is None else patience)
        except Timeout:
            raise RuntimeError(
                f"{output} is being written by {_holder(self.path)} ({self.path} is locked); expected one run at a "
                f"time: wait until it has ended, stop it, or {elsewhere}"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self.path.unlink(missing_ok=True)
            warn(f"no locks here ({error}): see that nothing else writes to {output}")

    def release(self) -> None:
        """Give it back and leave nothing: neither its file nor folders that were made for it and stayed empty."""
        if self._lock.is_locked:
            with suppress(PermissionError):  # on Windows an open file cannot go; there filelock removes it
                self.path.unlink(missing_ok=True)
            self._lock.release(force=True)
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:  # results are in it
                break

    def through(self, work: Iterable[_T]) -> Iterator[_T]:
        """What the work yields; whatever ends it early gives the lock back, its own end does not."""
        try:
            yield from work
        except BaseException:
            self.release()
            raise

    def __enter__(self) -> OutputLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _sign(file: int) -> None:
    """Write into the locked file who holds it."""
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    note = json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since})
    with suppress(OSError):  # on a full disk the lock holds all the same, and others are told "another process"
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, note.encode())


def _holder(path: Path) -> str:
    """Who holds it, in words."""
    try:
        note = json.loads(path.read_text())
        return f"process {note['process']} on {note['host']} since {note['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # on Windows what is locked cannot be read
        return "another process"


def end_with_parent(parent: int) -> None:
    """In a worker: end when the parent is gone (killed), instead of computing on for nobody."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
