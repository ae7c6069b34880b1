"""The field's benchmark: networks beside the published predictions that GlassBench's test files hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .graph import parse_inputs
from .heterogeneity import chi4, overlap
from .kob_andersen import GLASSBENCH_CEILING, TYPE_NAMES
from .metrics import pearson
from .prediction import predict_in_blocks
from .propensity import PropensityNetwork
from .published import published_predictions, read_published, with_energies


def compare(
    folder: str | Path, models: Mapping[str, PropensityNetwork] | None = None, *, threshold: float = 0.3
) -> pd.DataFrame:
    """Scores of the predictions inside published test files, and of networks on the same configurations.

    Parameters
    ----------
    folder : of files as in GlassBench's ``test``, all of one temperature
    models : name -> network; scored at those of its times that the files have
    threshold : of the overlap, sigma_AA, for chi4; published ones differ, so say which

    Returns
    -------
    One row for each model, time and type: ``mean`` (within configurations) and ``pooled`` correlation, ``chi4`` of its
    predictions and ``chi4_labels`` (nan with a single configuration), and the published pooled ``ceiling`` for A where
    there is one

    Raises
    ------
    ValueError
        If temperatures, times or published models differ between files, or a network has no time in common with them.
    """
    files = _test_files(folder)
    labels: list[np.ndarray] = []
    types: list[np.ndarray] = []
    found: dict[str, list[np.ndarray]] = {}
    times, temperature = np.empty(0), None
    at: dict[str, tuple[list[int], list[int]]] = {}
    for number, path in enumerate(files):
        (c,), theirs = read_published(path), published_predictions(path)
        if number == 0:
            times, temperature = c.times, c.temperature
            at = {name: _common(name, net.times, times) for name, net in (models or {}).items()}
        elif c.temperature != temperature or not np.array_equal(c.times, times) or set(theirs) != set(found) - set(at):
            raise ValueError(
                f"{path}: T = {c.temperature}, {len(c.times)} times, predictions {sorted(theirs)}; expected those of "
                f"{files[0].name}: T = {temperature}, {len(times)} times, {sorted(set(found) - set(at))}"
            )
        labels.append(np.asarray(c.propensity))
        types.append(c.types)
        for name, prediction in theirs.items():
            found.setdefault(name, []).append(prediction)
        for name, net in (models or {}).items():
            if parse_inputs(net.config.inputs)[1]:
                c = with_energies(c)
            whole = np.full_like(labels[-1], np.nan)
            mine, their = at[name]
            whole[their] = predict_in_blocks(net, c)[mine]
            found.setdefault(name, []).append(whole)
    return pd.DataFrame(_rows(found, labels, types, times, temperature, threshold))


def _test_files(folder: str | Path) -> list[Path]:
    folder = Path(folder)
    folder = folder / "test" if (folder / "test").is_dir() else folder
    files = sorted(folder.glob("*.npz"), key=lambda p: (len(p.name), p.name))
    if not files:
        raise ValueError(
            f"{folder} holds no .npz file; expected GlassBench's test files: give the folder of one temperature"
        )
    return files


def _common(name: str, mine: np.ndarray, theirs: np.ndarray) -> tuple[list[int], list[int]]:
    """Places of common times in both."""
    pairs = [(i, j) for i, t in enumerate(mine) for j, u in enumerate(theirs) if np.isclose(t, u, rtol=0.01, atol=0)]
    if not pairs:
        raise ValueError(
            f"model {name!r} predicts at {mine.tolist()}, the files have {theirs.tolist()}; expected a time in "
            "common: was it trained for another temperature?"
        )
    return [i for i, _ in pairs], [j for _, j in pairs]


def _rows(
    found: Mapping[str, Sequence[np.ndarray]],
    labels: Sequence[np.ndarray],
    types: Sequence[np.ndarray],
    times: np.ndarray,
    temperature: float | None,
    threshold: float,
) -> Iterator[dict[str, Any]]:
    for name, predictions in found.items():
        known = np.flatnonzero(np.all([np.isfinite(p).all(axis=1) for p in predictions], axis=0))
        chosen = [p[known] for p in predictions], [y[known] for y in labels]
        scores = {how: pearson(*chosen, types, how) for how in ("mean", "pooled")}
        for number, k in enumerate(known):
            for kind, letter in enumerate(TYPE_NAMES):
                row = {"model": name, "time": float(times[k]), "type": letter}
                row |= {how: float(score[letter][number]) for how, score in scores.items()}
                for column, fields in (("chi4", chosen[0]), ("chi4_labels", chosen[1])):
                    of_type = [overlap(f[number][t == kind], threshold) for f, t in zip(fields, types, strict=True)]
                    alike = len({len(q) for q in of_type}) == 1 and len(of_type) > 1
                    row[column] = float(chi4(np.stack(of_type))) if alike else float("nan")
                published = GLASSBENCH_CEILING.get(temperature or 0.0, {}).get(float(times[k]), float("nan"))
                row["ceiling"] = published if letter == "A" else float("nan")
                yield row
