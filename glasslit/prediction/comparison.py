"""The field's benchmark: networks beside the published predictions that GlassBench's test files hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.published import published_predictions, read_published, with_energies
from ..learning.metrics import pearson
from ..liquid.configuration import Configuration
from ..liquid.graph import parse_inputs
from ..liquid.heterogeneity import chi4, correlation_length, overlap
from ..liquid.kob_andersen import GLASSBENCH_CEILING, TYPE_NAMES
from ..models.propensity import PropensityNetwork
from .blocks import predict_in_blocks


def compare(
    folder: str | Path,
    models: Mapping[str, PropensityNetwork] | None = None,
    *,
    threshold: float = 0.3,
) -> pd.DataFrame:
    """Scores of the predictions inside published test files, and of networks on the same configurations.

    Parameters
    ----------
    folder : of files as in GlassBench's ``test``, all of one temperature
    models : name -> network; scored at those of its times that the files have
    threshold : of the overlap, sigma_AA, for chi4 and the correlation length; published ones differ, so say which

    Returns
    -------
    One row for each model, time and type: ``mean`` (within configurations) and ``pooled`` correlation; ``chi4`` and the
    correlation length ``xi4`` (sigma_AA) of its predictions, and ``chi4_labels`` and ``xi4_labels`` (nan with a
    single configuration); and the published pooled ``ceiling`` for A where there is one

    Raises
    ------
    ValueError
        If temperatures, times or published models differ between files, or a network has no time in common with them.
    """
    files = _test_files(folder)
    labels: list[np.ndarray] = []
    configurations: list[Configuration] = []
    found: dict[str, list[np.ndarray]] = {}
    times, temperature = np.empty(0), None
    at: dict[str, tuple[list[int], list[int]]] = {}
    for number, path in enumerate(files):
        (c,), theirs = read_published(path), published_predictions(path)
        if number == 0:
            times, temperature = c.times, c.temperature
            at = {name: _common(name, net.times_at(temperature), times) for name, net in (models or {}).items()}
        elif c.temperature != temperature or not np.array_equal(c.times, times) or set(theirs) != set(found) - set(at):
            raise ValueError(
                f"{path}: T = {c.temperature}, {len(c.times)} times, predictions {sorted(theirs)}; expected those of "
                f"{files[0].name}: T = {temperature}, {len(times)} times, {sorted(set(found) - set(at))}"
            )
        labels.append(np.asarray(c.propensity))
        configurations.append(c)
        for name, prediction in theirs.items():
            found.setdefault(name, []).append(prediction)
        for name, net in (models or {}).items():
            if parse_inputs(net.config.inputs).energy:
                c = with_energies(c)
            whole = np.full_like(labels[-1], np.nan)
            mine, their = at[name]
            whole[their] = predict_in_blocks(net, c)[mine]
            found.setdefault(name, []).append(whole)
    if not found:
        raise ValueError(
            f"{folder}: its files hold no predictions, and no network is given; expected either: give --model, or the "
            "folder of test files"
        )
    return pd.DataFrame(_rows(found, labels, configurations, threshold))


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
    configurations: Sequence[Configuration],
    threshold: float,
) -> Iterator[dict[str, Any]]:
    types, times = [c.types for c in configurations], configurations[0].times
    ceiling = GLASSBENCH_CEILING.get(configurations[0].temperature or 0.0, {})
    of_labels = [_collective(labels, configurations, kind, threshold) for kind in range(len(TYPE_NAMES))]
    for name, predictions in found.items():
        known = np.flatnonzero(np.all([np.isfinite(p).all(axis=1) for p in predictions], axis=0))
        chosen = [p[known] for p in predictions], [y[known] for y in labels]
        scores = {how: pearson(*chosen, types, how) for how in ("mean", "pooled")}
        for kind, letter in enumerate(TYPE_NAMES):
            own = _collective(chosen[0], configurations, kind, threshold)
            for number, k in enumerate(known):
                row = {"model": name, "time": float(times[k]), "type": letter}
                row |= {how: float(score[letter][number]) for how, score in scores.items()}
                for column in own:
                    row |= {column: own[column][number], f"{column}_labels": of_labels[kind][column][k]}
                row["ceiling"] = ceiling.get(float(times[k]), float("nan")) if letter == "A" else float("nan")
                yield row


def _collective(
    fields: Sequence[np.ndarray],
    configurations: Sequence[Configuration],
    kind: int,
    threshold: float,
) -> dict[str, np.ndarray]:
    """chi4 and correlation length of mobility fields (T, N), of the particles of a type; shape (T,), nan where none."""
    at = [c.types == kind for c in configurations]
    unknown = np.full(len(fields[0]), np.nan)
    if len({int(a.sum()) for a in at}) > 1 or len(at) < 2:
        return {"chi4": unknown, "xi4": unknown}
    q = np.stack([overlap(f[:, a], threshold) for f, a in zip(fields, at, strict=True)])
    place, boxes = [c.positions[a] for c, a in zip(configurations, at, strict=True)], [c.box for c in configurations]
    return {"chi4": chi4(q), "xi4": correlation_length(q, place, boxes)}
