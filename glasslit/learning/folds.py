"""Cross-validation: the configurations that validate change places with those that are learned from."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.checks import shared_places
from ..data.store import LazyConfigurations
from ..liquid.configuration import Configuration
from ..warned import warn

ALL = "all"
"""In the place of a fold's number: all teach, and none validates."""


def fold(
    train: Sequence[Configuration], val: Sequence[Configuration], number: int | str
) -> tuple[Sequence[Configuration], Sequence[Configuration]]:
    """Training and validation configurations of one fold of a cross-validation.

    Fold 0 is the data set's own choice. For the others the training configurations are cut, in their order, into parts
    that are as large as the validation set, or nearly so; fold k validates on the k-th of them, and learns from the
    rest and from what validated before. So each configuration validates in one fold. The test has no part in this.

    When a cross-validation has chosen the settings, :data:`ALL` in the place of a number lets all of them teach; then
    none validates.

    It says something about new liquids only where configurations are strangers, as the published ones are. Those of one
    simulation, which follow each other by little time, are relatives: the training configurations of the starter set
    are. There a warning tells which of them validates beside a relative that is learned from.

    Parameters
    ----------
    train, val : as :func:`glasslit.load` returns them, lazy or not
    number : of the fold, from 0; or :data:`ALL`

    Returns
    -------
    Both, lists if both were; otherwise read when they are asked for. Of :data:`ALL` the second is empty

    Raises
    ------
    ValueError
        If a set is empty, or there is no such fold: says how many there are.

    Warns
    -----
    UserWarning
        If a configuration that validates shares places with one that is learned from
        (:func:`glasslit.data.checks.shared_places`).

    Examples
    --------
    >>> from glasslit.testing import random_liquid
    >>> train, val = [random_liquid(200, seed=k) for k in range(4)], [random_liquid(200, seed=k) for k in (4, 5)]
    >>> learned_from, validates = fold(train, val, 1)
    >>> validates == train[:2], learned_from == train[2:] + val
    (True, True)
    """
    if not (len(train) and len(val)):
        told = f"{len(train)} training and {len(val)} validation configurations"
        raise ValueError(f"{told}; expected at least one of each")
    parts = max(1, round(len(train) / len(val)))
    if number == ALL:
        together = LazyConfigurations([(some, k) for some in (train, val) for k in range(len(some))], _read)
        lists = isinstance(train, list) and isinstance(val, list)
        return (list(together), []) if lists else (together, LazyConfigurations([], _read))
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= parts:
        raise ValueError(
            f"fold = {number!r}; expected a whole number from 0 to {parts}, as there are {len(train)} training and "
            f"{len(val)} validation configurations, or {ALL!r}"
        )
    if number == 0:
        return train, val
    begin, end = ((number + k) * len(train) // parts for k in (-1, 0))
    taught = [*((train, k) for k in range(len(train)) if not begin <= k < end), *((val, k) for k in range(len(val)))]
    held = [(train, k) for k in range(begin, end)]
    learned_from, validates = LazyConfigurations(taught, _read), LazyConfigurations(held, _read)
    _tell_relatives(learned_from, validates, number)
    if isinstance(train, list) and isinstance(val, list):
        return list(learned_from), list(validates)
    return learned_from, validates


def _tell_relatives(learned_from: Sequence[Configuration], validates: Sequence[Configuration], number: int) -> None:
    """A warning with the closest pair, if any are relatives; each is read once."""
    held, closest = list(validates), None
    for one in learned_from:
        for other in held:
            found = shared_places(one, other)
            if found is not None and found[0] > found[2] and (closest is None or found[0] > closest[0]):
                closest = found[0], found[2], other.name or "a configuration", one.name or "one"
    if closest is not None:
        shared, most, other_name, one_name = closest
        warn(
            f"fold {number}: {other_name} validates and shares {shared:.1%} of its places with {one_name}, which is "
            f"learned from (strangers: at most {most:.1%}): they are of one simulation, so that its score says little "
            "about a new liquid. Fold 0 is the choice of the data set"
        )


def _read(item: tuple[Sequence[Configuration], int]) -> Configuration:
    """In this form, which other processes can be given."""
    return item[0][item[1]]
