"""Checks of arguments that are tensors: what came, what was expected, and what to do, in one sentence.

For relaxed layers and order parameters, whose functions take shapes that are easily mixed up.
"""

from __future__ import annotations

import math
from types import EllipsisType

import numpy as np
import torch
from torch import Tensor

Axis = int | str | EllipsisType
"""Of an expected shape: a length, a letter that stands for one length, or, at the beginning, any number of axes."""


def check_shape(name: str, shape: tuple[int, ...], *axes: Axis, advice: str = "") -> None:
    """Refuse a shape that is not the one expected.

    Parameters
    ----------
    name : what it is the shape of, for the message
    shape : what came
    axes : what is expected, e.g. (..., 4, "S", "S"); lengths are at least 1, but that of "batch" may be 0
    advice : end of the message

    Raises
    ------
    ValueError
        If the shape does not fit.

    Examples
    --------
    >>> check_shape("image", (2, 8, 8), ..., "S", "S")
    >>> check_shape("image", (2, 8, 9), ..., "S", "S", advice=", square images")
    Traceback (most recent call last):
    ValueError: image of shape (2, 8, 9); expected (..., S, S), square images
    """
    wanted = [axis for axis in axes if axis is not ...]
    fits = len(shape) == len(wanted) or (len(axes) > len(wanted) and len(shape) > len(wanted))
    lengths: dict[Axis, int] = {}
    for axis, length in zip(wanted, shape[len(shape) - len(wanted) :] if fits else (), strict=False):
        expected = axis if isinstance(axis, int) else lengths.setdefault(axis, length)
        fits = fits and length == expected and (length > 0 or axis == "batch")
    if not fits:
        raise ValueError(f"{name} of shape {shape}; expected {_written(axes)}{advice}")


def _written(axes: tuple[Axis, ...]) -> str:
    names = ["..." if axis is ... else str(axis) for axis in axes]
    return f"({names[0]},)" if len(names) == 1 else f"({', '.join(names)})"


def check_tensor(
    name: str,
    value: object,
    *axes: Axis,
    advice: str = "",
    like: tuple[Tensor, str] | None = None,
    finite: bool = False,
) -> None:
    """Refuse what is not the tensor that was expected.

    Parameters
    ----------
    name, axes, advice : as in :func:`check_shape`
    value : what came
    like : a tensor that has the expected dtype and device, and what to do where they differ; under autocast dtypes may
        differ, because it makes them the same
    finite : whether nan and infinite numbers are refused

    Raises
    ------
    ValueError
        If it is no tensor, or its shape, dtype, device or numbers are not those expected.
    """
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name} of type {type(value).__name__}; expected a tensor of shape {_written(axes)}: torch.as_tensor "
            "makes one of numbers or an array"
        )
    check_shape(name, tuple(value.shape), *axes, advice=advice)
    if like is not None:
        other, remedy = like
        if value.device != other.device or (
            value.dtype != other.dtype and not torch.is_autocast_enabled(value.device.type)
        ):
            raise ValueError(
                f"{name} of {value.dtype} on {value.device}; expected {other.dtype} on {other.device}: {remedy}"
            )
    if finite:
        check_finite(name, torch.isfinite(value))


def check_finite(name: str, finite: Tensor | np.ndarray) -> None:
    """Refuse numbers of which some are not finite, by a mask that is True where they are.

    Raises
    ------
    ValueError
        If the mask is False anywhere.
    """
    if not finite.all():
        raise ValueError(
            f"nan or infinite numbers in {name}, {int((~finite).sum())} of {math.prod(finite.shape)}; expected finite "
            "numbers: leave those out, or mend what they come from"
        )


def numbers(name: str, value: object, *axes: Axis, advice: str = "") -> np.ndarray:
    """Finite numbers of the expected shape, float64, from whatever NumPy or torch can read.

    Parameters
    ----------
    name, axes, advice : as in :func:`check_shape`
    value : what came

    Raises
    ------
    ValueError
        If they are no numbers, not finite, or of another shape.
    """
    try:
        found = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} = {value!r}; expected numbers of shape {_written(axes)}{advice}") from error
    check_shape(name, found.shape, *axes, advice=advice)
    check_finite(name, np.isfinite(found))
    return found


def check_whole(name: str, value: object, least: int | None = 1) -> None:
    """Refuse what is no whole number, or one below the least.

    Raises
    ------
    ValueError
        If it is, also for True and False.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or (least is not None and value < least):
        above = "" if least is None else f" of at least {least}"
        raise ValueError(f"{name} = {value!r}; expected a whole number{above}")


def check_positive(name: str, value: object) -> None:
    """Refuse what is no finite number above zero.

    Raises
    ------
    ValueError
        If it is none, also for True and False.
    """
    if isinstance(value, bool) or not (isinstance(value, int | float | np.number) and 0 < value < math.inf):
        raise ValueError(f"{name} = {value!r}; expected a finite number above 0")
