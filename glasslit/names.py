"""Names that are not known: which known name was probably meant. Every message that refuses a name ends with this."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar

_C = TypeVar("_C", bound=type)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of a message that refuses a name: the known names that look most like it, at most two.

    Parameters
    ----------
    name : what came; capitals do not count, nor the difference between "-" and "_"
    known : the names that would have been accepted

    Returns
    -------
    Text that begins with a semicolon; empty where no known name is similar.

    Examples
    --------
    >>> did_you_mean("startr", ["starter", "standard"])
    "; did you mean 'starter'?"
    >>> did_you_mean("LMAX", ["layers", "l_max"])
    "; did you mean 'l_max'?"
    >>> did_you_mean("water", ["starter", "standard"])
    ''
    """
    plain = {_plain(each): each for each in known if each != name}
    close = get_close_matches(_plain(str(name)), plain, n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(repr(plain[each]) for each in close)}?" if close else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def unknown_names(unknown: Iterable[str], known: Iterable[str], what: str) -> str:
    """A whole message about names that are not known.

    Examples
    --------
    >>> unknown_names(["epoch"], ["epochs", "seed"], "parameter")
    "unknown parameter epoch; expected some of epochs, seed; did you mean 'epochs'?"
    """
    wrong, right = sorted(unknown), list(known)
    hints = [did_you_mean(name, right) for name in wrong]
    told = f"unknown {what}{'s' * (len(wrong) > 1)} {', '.join(wrong)}; expected some of {', '.join(right)}"
    if len(wrong) == 1:
        return told + hints[0]
    meant = [f"{hint.removeprefix('; did you mean ').removesuffix('?')} for {name!r}"
             for name, hint in zip(wrong, hints, strict=True) if hint]  # fmt: skip
    return told + (f"; did you mean {', '.join(meant)}?" if meant else "")


def refuse_unknown_keywords(kind: _C) -> _C:
    """Decorate a dataclass: a keyword that is no field is a ``ValueError`` that suggests one, not a ``TypeError``."""
    known, make = [field.name for field in fields(kind) if field.init], kind.__init__  # type: ignore[misc]

    @wraps(make)
    def checked(self: Any, *given: Any, **named: Any) -> None:
        if unknown := named.keys() - set(known):
            raise ValueError(f"{kind.__name__}: {unknown_names(unknown, known, 'keyword')}")
        make(self, *given, **named)

    initialize: Callable[..., None] = checked
    kind.__init__ = initialize  # type: ignore[misc]
    return kind
