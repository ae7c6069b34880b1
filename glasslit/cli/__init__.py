"""The command ``glasslit``: what one asks for from a terminal. The only room that talks to one.

Imports :mod:`glasslit.liquid`, :mod:`glasslit.data`, :mod:`glasslit.models`, :mod:`glasslit.simulate`,
:mod:`glasslit.learning` and :mod:`glasslit.prediction`; none imports it. Each command is a module with ``DESCRIPTION``,
``EXAMPLE``, ``add_arguments(parser)`` and ``run(arguments)``, imported when it is asked for; what computes is imported
when it runs, so that no ``--help`` loads PyTorch or NumPy. Start here; what commands share is in ``common``.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module

from ..names import did_you_mean
from ..provenance import version

COMMANDS = {
    "predict": "predict how far the particles of your own configurations will move",
    "train": "train a network and score it; leaves an executed notebook",
    "runs": "list what was trained, with scores",
    "models": "list the trained networks inside the package",
    "simulate": "make a data set: equilibrate, quench, label",
    "label": "make propensities by molecular dynamics",
    "sweep": "execute a notebook for a table of parameters",
    "compare": "score models beside the published ones on GlassBench's test files",
    "data": "say what a data set holds, and check it",
}
"""Modules of this room that are commands, and what each is for; in the order of the help."""


def _whole(words: Sequence[str]) -> list[str]:
    """The words, with ranges that count from the end ("-10:") tied to their option, for which argparse takes them."""
    whole: list[str] = []
    for word in words:
        if whole and whole[-1].startswith("--") and re.fullmatch(r"-\d+(:-?\d*){1,2}", word):
            whole[-1] += f"={word}"
        else:
            whole.append(word)
    return whole


class _Parser(argparse.ArgumentParser):
    """argparse's, with a suggestion where a choice of an option is misspelled."""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += did_you_mean(value, map(str, action.choices or ()))
            raise


def _parsers(asked: str | None) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser | None]:
    """The command's parser, and that of the command which is asked for."""
    width = max(40, shutil.get_terminal_size().columns - 2)
    layout = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="glasslit",
        description="Rotation-equivariant networks for glassy liquids.",
        epilog="examples:\n  glasslit train -T 0.44\n  glasslit predict liquid.dump -o predicted.extxyz --model "
        "thermal-T0.56 --type-map 1=A,2=B\n\nglasslit COMMAND --help explains a command, with an example.",
        formatter_class=layout,
    )
    parser.add_argument("--version", action="version", version=f"glasslit {version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    chosen = None
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, formatter_class=layout)
        if name == asked:
            module, chosen = import_module(f".{name}", __name__), command
            command.description = textwrap.fill(module.DESCRIPTION, width)
            command.epilog = f"example:\n  {module.EXAMPLE}"
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser, chosen


def _parsed(words: Sequence[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """The command's parser, and what the words mean."""
    asked = next((word for word in words if not word.startswith("-")), None)  # no option before it takes a value
    parser, command = _parsers(asked)
    if asked is not None and command is None:
        parser.error(f"no command {asked!r}; expected one of {', '.join(COMMANDS)}{did_you_mean(asked, COMMANDS)}")
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        command = command or parser
        shown = [action for action in command._actions if action.help != argparse.SUPPRESS]
        known = [name for action in shown for name in action.option_strings if name.startswith("--")]
        options = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        hints = "".join(did_you_mean(word, known) for word in options)
        command.error(f"unrecognized arguments: {' '.join(unknown)}{hints}")
    return parser, arguments


def main(words: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    parser, arguments = _parsed(_whole(sys.argv[1:] if words is None else words))
    try:
        arguments.run(arguments)
    except (ValueError, RuntimeError, ModuleNotFoundError) as error:
        parser.exit(2, f"glasslit: {error}\n")
    except BrokenPipeError:  # whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        parser.exit(2, f"glasslit: {error}; what was finished is kept: the same command goes on once that is mended\n")
    except KeyboardInterrupt:
        # The interrupt may leave a task of nbclient behind, whose kernel is gone: nobody has to read its traceback.
        logging.getLogger("asyncio").disabled = True
        parser.exit(130, "\nglasslit: interrupted; the same command goes on from here\n")
