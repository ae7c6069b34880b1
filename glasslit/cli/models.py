"""``glasslit models``: the trained networks inside the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from ..writing import read_json
from .common import table, times_of

DESCRIPTION = (
    "List the trained networks inside the package, which --model of predict and compare know by name: what they "
    "look at, at which temperature they were trained, at which times they predict, how many parameters they have, "
    "and how well they predict."
)
EXAMPLE = "glasslit models"

SCORES = {"within": "mean", "ceiling_within": "ceiling_within", "pooled": "pooled", "ceiling": "ceiling"}
"""Columns of the table, and what they are called in ``metrics.json``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing can be asked for."""


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    from ..data.shipped import shipped_models
    from ..learning.checkpoint import load_model

    rows = []
    for name, path in shipped_models().items():
        net = load_model(path)
        known = net.trained_on or {}
        temperatures = dict.fromkeys(f"{t:.2f}" for t in known.get("temperature") or ())
        about = [net.config.inputs, " to ".join(temperatures) or "-", str(sum(net.count_parameters().values()))]
        rows.append([name, *about, *_scores(path), times_of(net)])
    header = ["name", "inputs", "T", "parameters", *SCORES, "times"]
    shown = [k for k in range(len(header)) if any(row[k] != "-" for row in rows) or header[k] != "ceiling_within"]
    tqdm.write(table([header[k] for k in shown], [[row[k] for k in shown] for row in rows]))
    tqdm.write(
        "within, pooled: correlation with the test labels of A particles at the longest time, within configurations\n"
        "and over all of them; ceilings: what labels as noisy as these allow a perfect predictor, by each of the two.\n"
        "T is in epsilon_AA / k_B, times are in Lennard-Jones units. To use one: glasslit predict ... --model "
        f"{rows[0][0]}"
    )


def _scores(path: Path) -> list[str]:
    """The scores that were stored with a network, at its longest time; dashes where there are none."""
    stored = path.with_name(path.name.removesuffix(".pt") + ".metrics.json")
    found = read_json(stored)["test"]["A"] if stored.is_file() else {}
    return [f"{found[name][-1]:.3f}" if found.get(name) else "-" for name in SCORES.values()]
