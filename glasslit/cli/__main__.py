"""``python -m glasslit.cli`` is the command ``glasslit``."""

from . import main

main()
