"""Parameters of ``book/train.ipynb``: what type each has, and what papermill makes of what one types.

Of what stands behind ``-p``, papermill understands numbers, ``True``, ``False`` and ``None``; all else stays text:
``false`` (which is true, as all text is that is not empty), ``null``, ``[13, 52]``. YAML (``-y``, ``-f``) understands
these, but takes ``1e-3`` for text and a key ``on`` for ``True``. Here such text is taken as it is meant, where it can
be meant in one way only, or refused.
"""

from __future__ import annotations

import ast
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

from ..names import did_you_mean, unknown_names

BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""Booleans as YAML writes them, in small letters."""
NOTHING = {"none", "null", "~", ""}
"""None as Python and YAML write it, in small letters."""
NO_PARAMETERS = {"In", "Out", "get_ipython", "exit", "quit", "open"}
"""Names that IPython puts beside a notebook's own."""
INPUTS = tuple(p + e + u for p in ("thermal", "IS") for e in ("", "+E_thermal", "+E_IS") for u in ("", "+u_IS"))
"""As :data:`glasslit.liquid.graph.INPUTS`, which a command that only shows its help should not load PyTorch for."""
TARGETS = ("propensity", "propensity+displacement", "propensity+covariance")
"""As :data:`glasslit.models.heads.TARGETS`, for the same reason."""
DECODERS = ("linear", "laguerre", "film", "film+T")
"""As :data:`glasslit.models.decoders.DECODERS`, for the same reason."""
SMOOTH_TERMS = ("local_variance", "coarse_correlation", "local_variance+coarse_correlation")
"""As :data:`glasslit.learning.losses.NAMES`, for the same reason."""
TASKS = ("noise", "E_thermal", "E_IS", "u_IS")
"""As :data:`glasslit.models.heads.PRETEXTS`, for the same reason."""
NETWORKS = ("se3", "ridge", "bapst", "botan", "egnn", "mlp")
"""The paper's network and :data:`glasslit.models.baselines.BASELINES`, for the same reason."""


@dataclass(frozen=True)
class Kind:
    """What a parameter can be.

    Parameters
    ----------
    type : bool, int (whole numbers), float (numbers) or str (text); of a list: of each of its values
    example : a value as one writes it
    none : whether it can be None
    words : what it can be besides
    many : whether it is a list; a number says how long
    several : whether a list of them, of at least two, can stand in its place
    names : if given, the only values that there are
    least : if given, the smallest number that makes sense
    """

    type: type
    example: str
    none: bool = False
    words: tuple[str, ...] = ()
    many: bool | int = False
    several: bool = False
    names: tuple[str, ...] = ()
    least: float | None = None

    def __str__(self) -> str:
        one, several = {
            bool: ("True or False", "truth values"),
            int: ("a whole number", "whole numbers"),
            float: ("a number", "numbers"),
            str: ("text", "words"),
        }[self.type]
        if self.many:
            one = f"a list of {several}" if self.many is True else f"a list of {self.many} {several}"
        if self.least is not None:
            one += f" of at least {self.least:g}"
        if self.several:
            one += f" or a list of different {several}"
        return " or ".join([one, *(repr(word) for word in self.words), *(["None"] if self.none else [])])


PARAMETERS = {
    "T": Kind(float, "0.44", several=True),
    "data": Kind(str, "starter"),
    "inputs": Kind(str, "thermal+E_IS", names=INPUTS),
    "targets": Kind(str, "propensity", names=TARGETS),
    "decoder": Kind(str, "film", names=DECODERS),
    "products": Kind(int, "2"),
    "attention": Kind(bool, "True"),
    "mirror_images": Kind(bool, "True"),
    "network": Kind(str, "se3", names=NETWORKS),
    "preset": Kind(str, "auto", names=("auto", "laptop", "paper")),
    "layers": Kind(int, "4", none=True, least=1),
    "channels": Kind(int, "4", none=True, least=1),
    "l_max": Kind(int, "2", none=True, least=0),
    "times": Kind(float, "[13, 412]", none=True, many=True),
    "n_train": Kind(int, "4", none=True, least=1),
    "fold": Kind(int, "1", least=0, words=("all",)),
    "epochs": Kind(int, "60", none=True, least=1),
    "learning_rate": Kind(float, "0.001", none=True),
    "betas": Kind(float, "[0.9, 0.999]", none=True, many=2),
    "batch_size": Kind(int, "1", least=1),
    "num_workers": Kind(int, "2", none=True, words=("auto",), least=0),
    "position_noise": Kind(float, "0.01", least=0),
    "level_weight": Kind(float, "0.1", none=True, least=0),
    "smooth_terms": Kind(str, "local_variance", none=True, names=SMOOTH_TERMS),
    "smooth_weight": Kind(float, "1", least=0),
    "smooth_length": Kind(float, "1", least=0),
    "pretrain": Kind(str, "noise", none=True, names=TASKS),
    "pretrain_epochs": Kind(int, "60", none=True, least=1),
    "pretrain_noise": Kind(float, "0.05", least=0),
    "start_from": Kind(str, "runs/NAME", none=True),
    "seed": Kind(int, "0", least=0),
    "device": Kind(str, "cpu"),
    "shuffle_labels": Kind(bool, "True"),
    "pictures": Kind(bool, "False"),
    "out": Kind(str, "runs/NAME", none=True),
}
"""What each parameter of the notebook can be, in the notebook's order. Whether values go together is checked where they
are used."""


def check_parameters(given: Mapping[Any, Any], *, among_others: bool = False) -> dict[str, Any]:
    """The parameters, each of the type that it is meant to have.

    Parameters
    ----------
    given : value by name, such as a notebook's ``globals()``; names that begin with an underscore and IPython's own
        are passed over
    among_others : whether names that are no parameters are passed over too, as in a notebook that has run already

    Returns
    -------
    Value by name, in the order of :data:`PARAMETERS`: text that stands for a truth value, a number or None is one.

    Raises
    ------
    ValueError
        If a name is no parameter, or a value is none that it can have: says what came, what was expected, and how
        papermill takes it.

    Examples
    --------
    >>> check_parameters({"shuffle_labels": "false", "T": "0.5", "times": None})
    {'T': 0.5, 'times': None, 'shuffle_labels': False}
    """
    if wrong := [name for name in given if not isinstance(name, str)]:
        raise ValueError(f"a parameter is called {wrong[0]!r}, which is no text; {_SOME}{_YAML}")
    named = {name for name in given if not name.startswith("_")} - NO_PARAMETERS
    if not among_others and (unknown := named - PARAMETERS.keys()):
        raise ValueError(unknown_names(unknown, PARAMETERS, "parameter"))
    return {name: check_parameter(name, given[name]) for name in PARAMETERS if name in given}


_SOME = f"expected some of {', '.join(PARAMETERS)}"
_YAML = " (YAML takes on, off, yes and no for True and False, and digits for numbers, also where a name stands)"


def check_parameter(name: str, value: Any) -> Any:
    """One value, of the type that the parameter is meant to have; as in :func:`check_parameters`."""
    kind = PARAMETERS[name]
    fits, found = understood(kind, value)
    if not fits:
        raise ValueError(f"{name} = {value!r}; expected {kind}{_mend(name, kind, value)}")
    if kind.least is not None and isinstance(found, int | float) and found < kind.least:
        raise ValueError(f"{name} = {value!r}; expected {kind}")
    if kind.names and found is not None and found not in kind.names:
        expected = f"expected one of {', '.join(kind.names)}"
        raise ValueError(f"{name} {found!r}; {expected}{did_you_mean(found, kind.names)}")
    return found


def understood(kind: Kind, value: Any) -> tuple[bool, Any]:
    """Whether a value is of a kind or can only be meant to be, and what it is then."""
    text = value.strip() if isinstance(value, str) else None
    if kind.none and (value is None or (text is not None and text.lower() in NOTHING)):
        return True, None
    if text in kind.words:
        return True, text
    if kind.several and isinstance(value, list | tuple):
        fits, found = understood(replace(kind, many=True, several=False), value)
        return fits and len(set(found)) == len(found), found[0] if fits and len(found) == 1 else found
    if not kind.many:
        return _one(kind.type, value)
    if isinstance(value, list | tuple) and (len(value) == kind.many if kind.many is not True else len(value) > 0):
        each = [_one(kind.type, item) for item in value]
        return all(good for good, _ in each), [item for _, item in each]
    return False, None


def _one(wanted: type, value: Any) -> tuple[bool, Any]:
    """Whether a single value is of a type or can only be meant to be, and what it is then."""
    if wanted is str:
        is_text = isinstance(value, str | os.PathLike) and os.fspath(value) != ""
        return is_text, os.fspath(value) if is_text else None
    if wanted is bool:
        found = BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else value
        return isinstance(found, bool), found
    number: Any = _number(value) if isinstance(value, str) else value
    is_number = isinstance(number, Real) and not isinstance(number, bool) and math.isfinite(number)
    if not is_number or (wanted is int and not float(number).is_integer()):
        return False, None
    return True, int(number) if wanted is int or isinstance(number, Integral) else float(number)


def _number(text: str) -> int | float | None:
    """The number that a text is, None if it is none."""
    for make in (int, float):
        try:
            return make(text)
        except ValueError:
            continue
    return None


def _mend(name: str, kind: Kind, value: Any) -> str:
    """How to write it, as papermill takes it."""
    listed = kind.many or (kind.several and isinstance(value, str) and bool(re.search(r"[\s,]", value.strip())))
    if listed:
        items = re.split(r"[\s,]+", value.strip("[]() ")) if isinstance(value, str) else [str(value)]
        meant = kind.many is True or kind.several or len(items) == kind.many
        meant = meant and all(_one(kind.type, item)[0] for item in items)
        example = f"[{', '.join(items)}]" if meant else kind.example
        return f', which papermill takes with -y: -y "{name}: {example}"'
    if kind.type is str and isinstance(value, bool | int | float):
        return f", which papermill takes with -r, whatever it looks like: -r {name} {value}"
    return f", as in -p {name} {kind.example}"


def watch_names() -> None:
    """Have IPython refuse in a sentence what papermill writes where a parameter's name is none; nothing elsewhere.

    papermill turns parameters into a cell of assignments. With ``-y "on: yes"`` that cell is ``True = True``, which
    Python cannot read, so that no later cell would have a chance to say what is wrong.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None and _refuse_names not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(_refuse_names)


def _refuse_names(lines: list[str]) -> list[str]:
    """The lines of a cell; a ``ValueError`` if it is papermill's and assigns to what is no name."""
    if lines and lines[0].strip() == "# Parameters":
        try:
            ast.parse("".join(lines))
        except SyntaxError as error:
            line = lines[min(error.lineno or 1, len(lines)) - 1].strip()
            name = line.partition(" = ")[0]
            raise ValueError(f"a parameter is called {name}, which is no name; {_SOME}{_YAML}") from None
    return lines
