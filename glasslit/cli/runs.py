"""``glasslit runs``: what was trained, with scores."""

from __future__ import annotations

import argparse
import csv
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..writing import read_json
from .common import table

DESCRIPTION = (
    "List the trainings in a folder and in the folders inside it: what each was trained on and how, its correlation "
    "with the validation labels, which chose its epoch, and with the test labels of A particles at its longest time "
    "(within configurations, and pooled over all of them), the ceiling that the noise of the labels puts on these, "
    "and when and for how many minutes it was trained. Unfinished trainings are named with their epoch."
)
EXAMPLE = "glasslit runs runs --sort within"

COLUMNS = {
    "name": "folder of the run",
    "T": "temperature",
    "data": "what it was trained on",
    "inputs": "what the network looks at",
    "network": "its kind",
    "epochs": "of training",
    "seed": "of the run",
    "fold": "of a cross-validation",
    "time": "the longest time",
    "validation": "correlation within the configurations that chose the epoch, averaged over times",
    "within": "correlation within configurations",
    "ceiling_within": "what a perfect predictor would reach by that score",
    "pooled": "correlation over all configurations together",
    "ceiling": "what a perfect predictor would reach by that score",
    "minutes": "of training",
    "date": "when it ended",
}
"""Columns of the table, each of which it can be sorted by."""
SETTINGS = ("T", "data", "inputs", "network", "epochs", "seed", "fold", "time")
BEST_FIRST = ("validation", "within", "pooled")
DIGITS = {
    "T": "{:.2f}",
    "time": "{:g}",
    "validation": "{:.3f}",
    "within": "{:.3f}",
    "pooled": "{:.3f}",
    "ceiling": "{:.3f}",
    "ceiling_within": "{:.3f}",
    "minutes": "{:.1f}",
}


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Parameters
    ----------
    finished : a row for each run: value by column, None where the run's files do not tell
    unfinished : a sentence for each unfinished run
    damaged : a sentence for each run whose files cannot be read
    """

    finished: list[dict[str, Any]] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add = parser.add_argument
    add("folder", nargs="?", type=Path, default=Path("runs"), help="where to look (default: %(default)s)")
    add("--sort", choices=COLUMNS, default="name", metavar="COLUMN", help=f"by {', '.join(COLUMNS)} (default: name); "
        "scores with the highest first")  # fmt: skip
    add("--reverse", action="store_true", help="in the opposite order")


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    found = look(arguments.folder)
    if not (found.finished or found.unfinished or found.damaged):
        raise ValueError(
            f"no runs in {arguments.folder}; expected folders with metrics.json and card.json, which glasslit train "
            "leaves: name another folder, or train a network"
        )
    if found.finished:
        rows = ordered(found.finished, arguments.sort, arguments.reverse)
        texts = [{name: _text(name, row[name]) for name in COLUMNS} for row in rows]
        alike = {
            name: texts[0][name]
            for name in SETTINGS
            if len(texts) > 1 and len({text[name] for text in texts}) == 1 and texts[0][name] != "-"
        }
        if alike:  # told once, so that the table fits a terminal
            tqdm.write(", ".join(f"{name}: {value}" for name, value in alike.items()))
        shown = [name for name in COLUMNS if name not in alike and any(text[name] != "-" for text in texts)]
        tqdm.write(table(shown, [[text[name] for name in shown] for text in texts]))
        tqdm.write(
            "validation: correlation on A particles within the validation configurations, averaged over the times; "
            "within, pooled: correlations with the test labels of A particles at the longest time; ceilings: what "
            "labels as noisy as these allow a perfect predictor, by each of the two scores"
        )
    for sentence in found.unfinished + found.damaged:
        tqdm.write(sentence)


def look(folder: Path) -> Found:
    """The runs in a folder and in those below it.

    Raises
    ------
    ValueError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; expected one with runs in it, as glasslit train leaves them")
    found = Found()
    for path in sorted(folder.rglob("metrics.json")):
        name = path.parent.relative_to(folder).as_posix()
        try:
            found.finished.append(_row(name if name != "." else folder.name, path.parent))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            found.damaged.append(f"{path.parent}: its files cannot be read ({type(error).__name__}: {error})")
    endings = (".unfinished.csv", ".unfinished.pt")
    begun = {p.with_name(p.name.removesuffix(end)) for end in endings for p in folder.rglob(f"*{end}")}
    found.unfinished.extend(_unfinished(run) for run in sorted(begun))
    return found


def _row(name: str, place: Path) -> dict[str, Any]:
    from ..learning.sweep import validation_score

    card, metrics = (read_json(place / f"{part}.json") for part in ("card", "metrics"))
    given, scores = card["parameters"], metrics["test"]["A"]
    return {
        "name": name,
        "T": given["T"],
        "data": Path(given["data"]).name,
        "inputs": given["inputs"],
        "network": given.get("network", "se3"),
        "epochs": given["training"]["epochs"],
        "seed": given["seed"],
        "fold": given.get("fold") or None,
        "time": metrics["times"][-1],
        "validation": None if math.isnan(validation := validation_score(place)) else validation,
        "within": scores["mean"][-1],
        "pooled": scores["pooled"][-1],
        "ceiling": (scores.get("ceiling") or [None])[-1],
        "ceiling_within": (scores.get("ceiling_within") or [None])[-1],
        "minutes": card["wall_seconds"] / 60,
        "date": card["date"][:16].replace("T", " "),
    }


def _unfinished(run: Path) -> str:
    """What is known of a run that has begun and not ended."""
    history, checkpoint = (Path(f"{run}.unfinished.{ending}") for ending in ("csv", "pt"))
    kept = max(p.stat().st_mtime for p in (history, checkpoint) if p.exists())
    epoch = "an epoch that is not known"
    if history.exists():
        with history.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("epoch")]
        epoch = f"epoch {rows[-1]['epoch']}" if rows else epoch
    minutes = max(0.0, time.time() - kept) / 60
    return f"{run}: unfinished, at {epoch} {minutes:.0f} minutes ago; the same command goes on with it"


def ordered(rows: list[dict[str, Any]], column: str, reverse: bool = False) -> list[dict[str, Any]]:
    """Rows sorted by a column, scores with the highest first, those without a value last."""
    known = [row for row in rows if row[column] is not None]
    return [
        *sorted(known, key=lambda row: _several(row[column]), reverse=(column in BEST_FIRST) != reverse),
        *(row for row in rows if row[column] is None),
    ]


def _text(name: str, value: Any) -> str:
    return "-" if value is None else "+".join(DIGITS.get(name, "{}").format(each) for each in _several(value))


def _several(value: Any) -> list[Any]:
    """A value in a list, or the list that it is: a network may have been trained at several temperatures."""
    return value if isinstance(value, list) else [value]
