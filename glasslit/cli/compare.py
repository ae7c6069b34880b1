"""``glasslit compare``: networks beside the published predictions of GlassBench."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from ..writing import write
from .common import save_figure

DESCRIPTION = (
    "Correlations, chi4 and correlation length of the predictions in GlassBench's test files, and of your networks."
)
EXAMPLE = "glasslit compare KA_models/T0.56/test --model thermal+E_IS-T0.56 --figure comparison.svg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add = parser.add_argument
    add("folder", type=Path, help="test files of one temperature (glasslit.fetch_glassbench downloads them)")
    add(
        "--model",
        action="append",
        default=[],
        help="a model.pt, or the name of a network in the package; repeat for more",
    )
    add("--threshold", type=float, default=0.3, help="of the overlap for chi4 (default: %(default)s)")
    add("-o", "--out", type=Path, help="a .csv file for the whole table")
    add("--figure", type=Path, help="a file for the figure: scores, chi4, correlation length")


def run(arguments: argparse.Namespace) -> None:
    """Print the table; write it and draw it where asked to."""
    from ..learning.checkpoint import find_model
    from ..prediction.comparison import compare

    models = {name: find_model(name) for name in arguments.model}
    table = compare(arguments.folder, models, threshold=arguments.threshold)
    if arguments.out:
        write(arguments.out, table.to_csv(index=False))
    if arguments.figure:
        from .. import plotting

        save_figure(plotting.comparison(table), arguments.figure)
    of_a = table[table.type == "A"]
    of_a = of_a.assign(score=of_a.pooled.map("{:.3f}".format) + "/" + of_a["mean"].map("{:.3f}".format))
    wide = of_a.pivot(index="time", columns="model", values="score")
    if of_a.ceiling.notna().any():
        wide = wide.join(of_a.groupby("time").ceiling.first())
    tqdm.write(f"A particles, pooled/mean correlation\n{wide.to_string()}")
    tqdm.write("chi4, correlation lengths and B particles: -o writes a .csv file, --figure draws them")
