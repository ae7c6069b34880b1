"""Warnings that point at the line of the user's program, however deep inside the package they arise."""

from __future__ import annotations

import inspect
import warnings
from importlib.util import find_spec
from pathlib import Path

_INSIDE = [Path(__file__).parent]
if (_torch := find_spec("torch")) is not None and _torch.origin is not None:  # its decorators stand around predictions
    _INSIDE.append(Path(_torch.origin).parent)


def warn(message: str) -> None:
    """A ``UserWarning`` from the nearest caller that is neither this package nor torch.

    Python counts the frames of a warning from where it arises; here a sentence may come from functions of different
    depth. The place also decides how often a warning is shown: once for each line that calls, by default.

    Parameters
    ----------
    message : what was found, and what the user can do
    """
    frame, level = inspect.currentframe(), 1
    while frame is not None and _is_inside(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level - (frame is None))


def _is_inside(file: str) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in _INSIDE)
