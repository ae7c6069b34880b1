"""``glasslit train``: the training notebook with its parameters as options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.shipped import FETCHED, SHIPPED, no_such_data
from ..learning import template
from ..learning.parameters import PARAMETERS, Kind, check_parameters, understood
from ..writing import read_json
from .common import Log

DESCRIPTION = (
    "Train a network on simulated liquids and score it on configurations that it never saw. Executes the training "
    "notebook (book/train.ipynb) with papermill and leaves the executed notebook with learning curve, scores and "
    "pictures, and beside it a folder with metrics.json, history.csv, model.pt and card.json. Killed and started "
    "again, it goes on with the last finished epoch."
)
EXAMPLE = "glasslit train -T 0.44 -o runs/T0.44.ipynb"

_WORD = re.compile(r"[^\s,\[\]]+")
WORDS = {"None": "none", "True": "yes", "False": "no"}
"""How one types what Python writes otherwise."""
METAVARS = {float: "X", int: "N", str: "NAME"}


class _Flag(argparse.Action):
    """``--pictures``, ``--no-pictures``, ``--pictures no``: the text that the parameter is given."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        if option is not None and option.startswith(("--no-", "--no_")):
            if values is not None:
                parser.error(f"{option} {values}; expected {option} alone")
            values = "false"
        setattr(namespace, self.dest, "true" if values is None else values)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for: what the notebook's cell tagged ``parameters`` assigns."""
    parser.usage = "glasslit train [-T X ...] [-o FILE.ipynb] [--PARAMETER VALUE ...]"
    add = parser.add_argument
    add("-o", "--notebook", type=Path, metavar="FILE.ipynb", help="the executed notebook (default: runs/T0.44.ipynb, "
        "with the temperature that is asked for)")  # fmt: skip
    add("-f", "--from", dest="files", action="append", default=[], type=Path, metavar="FILE.yaml", help="a file of "
        "parameters, in lines such as T: 0.5; options given beside it count more")  # fmt: skip
    add("-p", dest="pairs", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter as "
        "papermill takes it")  # fmt: skip
    add("-y", dest="yaml", action="append", default=[], metavar="YAML", help='parameters as YAML: "times: [13, 412]"')
    group = parser.add_argument_group("parameters of the notebook")
    explained = ""
    for setting in template.settings(template.find_template()):
        kind, option = PARAMETERS[setting.name], option_of(setting.name)
        told = _told(setting, explained)
        if setting.comment:
            explained = option
        names = ["-T", "--T"] if setting.name == "T" else [option]
        many = {"nargs": "+"} if kind.many or kind.several else {}
        how: dict[str, Any] = {"dest": f"parameter {setting.name}", "default": argparse.SUPPRESS}
        if kind.type is bool:
            how |= {"action": _Flag, "nargs": "?", "metavar": "yes|no"}
            no = [f"--no-{option[2:]}", f"--no_{setting.name}"]
            group.add_argument(*no, **how | {"help": argparse.SUPPRESS})
            told = f"{told[:-1]}; {no[0]} is the same as {option} no)"
        else:
            how |= {"metavar": METAVARS[kind.type], **many}
        group.add_argument(*names, **how, help=told.replace("%", "%%"))
        if "_" in setting.name:  # as the notebook spells it
            group.add_argument(f"--{setting.name}", **how | {"help": argparse.SUPPRESS})


def option_of(name: str) -> str:
    """The option of a parameter."""
    return "-T" if name == "T" else f"--{name.replace('_', '-')}"


def _told(setting: template.Setting, explained: str) -> str:
    """A parameter's help: its comment in the notebook, without what concerns papermill, and its default value."""
    if setting.name == "out":
        return "folder of the results (default: beside the notebook, under its name)"
    comment, value = re.sub(r'[,;]? with papermill: -y "[^"]*"', "", setting.comment), setting.default
    if comment.startswith("or "):
        comment = f'"{value}" {comment}'
    if not comment and value is None and explained:
        comment = f"see {explained}"
    for word, typed in WORDS.items():
        comment = re.sub(rf"\b{word}\b", typed, comment)
    return f"{comment} (default: {WORDS.get(str(value), value)})".strip()


def run(arguments: argparse.Namespace) -> None:
    """Execute the notebook with a progress bar and say what came out."""
    notebook = template.find_template()
    given = parameters_of(arguments)
    temperature = given.get("T", {s.name: s.default for s in template.settings(notebook)}["T"])
    executed = _executed(arguments.notebook, given.get("out"), temperature)
    out = given.setdefault("out", str(executed.with_suffix("")))
    data = given.get("data", SHIPPED[0])
    if data not in SHIPPED + FETCHED and not Path(data).exists():
        raise ValueError(no_such_data(data))
    executed.parent.mkdir(parents=True, exist_ok=True)
    log = Log()
    with tqdm(bar_format="{bar:20}| {desc}", disable=None) as bar:

        def say(text: str, now: bool = False) -> None:
            bar.set_description_str(text)
            log.say(text, now)

        def show(epoch: int, epochs: int, state: str) -> None:
            bar.total, bar.n = epochs, epoch
            say(state if epoch < epochs else f"{epochs} epochs trained; scoring", now=epoch == epochs)

        say("reading data, making graphs", now=True)
        template.execute(notebook, executed, given, show)
        say("finished", now=True)
    for text in template.warnings_in(executed):
        tqdm.write(f"warning: {text}")
    tqdm.write(f"{executed}: the executed notebook; {out}{'' if out.endswith('/') else '/'}: model and scores")
    tqdm.write(_score(Path(out)))


def _executed(notebook: Path | None, out: str | None, temperature: float | list[float]) -> Path:
    """Where the executed notebook goes: as asked for, else beside the results."""
    each = temperature if isinstance(temperature, list) else [temperature]
    place = notebook or Path(out or f"runs/T{'+'.join(f'{float(t):.2f}' for t in each)}")
    if place.is_dir() and notebook is not None:
        raise ValueError(f"{place} is a folder; expected a file such as {place / 'run.ipynb'}")
    if notebook is not None and place.suffix not in ("", ".ipynb") and not place.suffix[1:].isdigit():
        raise ValueError(f"-o {place}; expected a notebook's name: {place.with_suffix('.ipynb')}")
    return place if place.suffix == ".ipynb" else place.with_name(place.name + ".ipynb")


def _score(out: Path) -> str:
    """The result in one sentence."""
    found = read_json(out / "metrics.json")
    scores = {name: values[-1] for name, values in found["test"]["A"].items()}
    unit = " tau_alpha" if found.get("time_unit") == "tau_alpha" else ""
    within, pooled = (
        f" (ceiling {scores[name]:.3f})" if scores.get(name) else "" for name in ("ceiling_within", "ceiling")
    )
    return (
        f"correlation with the test labels, A particles at t = {found['times'][-1]:g}{unit}: {scores['mean']:.3f} "
        f"within configurations{within}; {scores['pooled']:.3f} over all of them{pooled}"
    )


def parameters_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, checked: options count more than ``-p``, these more than ``-y``, these more than files.

    Raises
    ------
    ValueError
        If a file cannot be read, or a name or value is none that a parameter has; in the words of this command.
    """
    given: dict[str, Any] = {}
    for path in arguments.files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"--from {path} cannot be read ({error}); expected a file of lines such as T: 0.5"
            ) from error
        given |= template.read_yaml(text, str(path))
    for text in arguments.yaml:
        given |= template.read_yaml(text, f"-y {text!r}")
    given |= check_parameters(dict(arguments.pairs))
    for dest, value in vars(arguments).items():
        space, _, name = dest.partition(" ")
        if space == "parameter":
            given[name] = _meant(name, PARAMETERS[name], value)
    return given


def _meant(name: str, kind: Kind, value: str | Sequence[str]) -> Any:
    """What the words behind an option stand for."""
    if not isinstance(value, str):
        words = [word for each in value for word in _WORD.findall(each)]
        value = words[0] if len(words) == 1 and understood(kind, words[0])[0] else words
    fits, found = understood(kind, value)
    if not fits:
        said = value if isinstance(value, str) else " ".join(value)
        example = f"{option_of(name)} {' '.join(_WORD.findall(kind.example))}"
        if kind.type is bool:
            example = f"{option_of(name)} yes or {option_of(name)} no"
        raise ValueError(f"{option_of(name)} {said}; expected {kind}, as in {example}")
    return check_parameters({name: found})[name]
