"""``python -m glasslit`` is the command ``glasslit``."""

from .cli import main

main()
