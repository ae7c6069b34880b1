"""Cross-validation: the configurations that validate change places with those that are learned from."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.store import LazyConfigurations
from ..liquid.configuration import Configuration


def fold(
    train: Sequence[Configuration], val: Sequence[Configuration], number: int
) -> tuple[Sequence[Configuration], Sequence[Configuration]]:
    """Training and validation configurations of one fold of a cross-validation.

    Fold 0 is the data set's own choice. For the others the training configurations are cut, in their order, into parts
    that are as large as the validation set, or nearly so; fold k validates on the k-th of them, and learns from the
    rest and from what validated before. So each configuration validates in one fold. The test has no part in this.

    It says something about new liquids only where configurations are independent. Those of one simulation, which
    follow each other by little time, belong into one part together.

    Parameters
    ----------
    train, val : as :func:`glasslit.load` returns them, lazy or not
    number : of the fold, from 0

    Returns
    -------
    Both, lists if both were; otherwise read when they are asked for

    Raises
    ------
    ValueError
        If a set is empty, or there is no such fold: says how many there are.

    Examples
    --------
    >>> fold(["1", "2", "3", "4"], ["5", "6"], 1)
    (['3', '4', '5', '6'], ['1', '2'])
    """
    if not (len(train) and len(val)):
        raise ValueError(
            f"{len(train)} training and {len(val)} validation configurations; expected at least one of each"
        )
    parts = max(1, round(len(train) / len(val)))
    if not 0 <= number <= parts:
        raise ValueError(
            f"fold {number} of {len(train)} training and {len(val)} validation configurations; expected 0 to {parts}"
        )
    if number == 0:
        return train, val
    begin, end = ((number + k) * len(train) // parts for k in (-1, 0))
    taught = [*((train, k) for k in range(len(train)) if not begin <= k < end), *((val, k) for k in range(len(val)))]
    held = [(train, k) for k in range(begin, end)]
    if isinstance(train, list) and isinstance(val, list):
        return [_read(item) for item in taught], [_read(item) for item in held]
    return LazyConfigurations(taught, _read), LazyConfigurations(held, _read)


def _read(item: tuple[Sequence[Configuration], int]) -> Configuration:
    """In this form, which other processes can be given."""
    return item[0][item[1]]
