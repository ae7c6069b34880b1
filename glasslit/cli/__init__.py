"""The command ``glasslit``: what one asks for from a terminal. The only room that talks to one.

Imports :mod:`glasslit.liquid`, :mod:`glasslit.data`, :mod:`glasslit.models`, :mod:`glasslit.simulate`,
:mod:`glasslit.learning` and :mod:`glasslit.prediction`; none imports it. Each command is a module with ``DESCRIPTION``,
``add_arguments(parser)`` and ``run(arguments)``, imported when it is asked for: ``glasslit --help`` needs neither
PyTorch nor NumPy. Start here; what commands share is in ``common``.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

from ..provenance import version

COMMANDS = {
    "label": "make propensities by molecular dynamics",
    "simulate": "make a data set: equilibrate, quench, label",
    "sweep": "execute a notebook for a table of parameters",
    "predict": "predict how far the particles of your own configurations will move",
    "compare": "score models beside the published ones on GlassBench's test files",
    "data": "say what a data set holds, and check it",
}
"""Modules of this room that are commands, and what each is for."""


def _whole(words: Sequence[str]) -> list[str]:
    """The words, with ranges that count from the end ("-10:") tied to their option, for which argparse takes them."""
    whole: list[str] = []
    for word in words:
        if whole and whole[-1].startswith("--") and re.fullmatch(r"-\d+(:-?\d*){1,2}", word):
            whole[-1] += f"={word}"
        else:
            whole.append(word)
    return whole


def main(words: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    words = _whole(sys.argv[1:] if words is None else words)
    parser = argparse.ArgumentParser(prog="glasslit", description="Rotation-equivariant networks for glassy liquids.")
    parser.add_argument("--version", action="version", version=f"glasslit {version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    asked = next((word for word in words if not word.startswith("-")), None)  # no option before it takes a value
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        if name == asked:
            module = import_module(f".{name}", __name__)
            command.description = module.DESCRIPTION
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    arguments = parser.parse_args(words)
    try:
        arguments.run(arguments)
    except (ValueError, RuntimeError, ModuleNotFoundError) as error:
        parser.exit(2, f"glasslit: {error}\n")
    except BrokenPipeError:  # whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        parser.exit(2, f"glasslit: {error}; what was finished is kept: the same command goes on once that is mended\n")
    except KeyboardInterrupt:
        parser.exit(130, "\nglasslit: interrupted; the same command goes on from here\n")
