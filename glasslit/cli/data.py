"""``glasslit data``: what a data set holds, and whether it can be true."""

from __future__ import annotations

import argparse

from tqdm import tqdm

DESCRIPTION = (
    "Shows what a data set holds, temperature by temperature; or checks it against what is known of the liquid: "
    "energies, forces, displacements, equilibrium, and whether its splits are strangers."
)
EXAMPLE = "glasslit data check starter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("what", nargs="?", choices=["show", "check"], default="show", help="(default: show)")
    parser.add_argument("data", help="'starter', 'standard' or an .h5 file")


def run(arguments: argparse.Namespace) -> None:
    """Show or check it."""
    from ..data.checks import check_data, describe
    from ..data.store import load

    found = load(arguments.data)
    table = describe(found).T
    alike = table.nunique(axis=1) == 1  # told once, so that the table fits a terminal
    for name, value in (("T", ", ".join(f"{t:g}" for t in table.columns)), *table[alike].iloc[:, 0].items()):
        tqdm.write(f"{name}: {value}")
    if not alike.all():
        tqdm.write(table[~alike].to_string())
    if arguments.what == "check":
        checks = check_data(found)
        for check in sorted(checks, key=lambda check: check.holds):
            at = "" if check.temperature is None else f", T = {check.temperature:.2f}"
            judged = check.tolerance == check.tolerance  # some numbers are only stated
            word = ("ok  " if check.holds else "FAIL") if judged else "    "
            expected = f" (expected {check.expected:.4g} +- {check.tolerance:.2g}, {check.source})" if judged else ""
            tqdm.write(f"{word} {check.name}{at}: {check.found:.4g}{expected}")
        failed = sum(not check.holds for check in checks)
        if failed:
            raise ValueError(f"{failed} of {len(checks)} checks fail")
