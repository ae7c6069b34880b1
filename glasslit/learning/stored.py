"""Comparison of stored runs: the same test particles, several seeds, an error for the difference, and a rule.

A run is a folder with ``model.pt``. Nothing is trained here and nothing is chosen.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from ..liquid.configuration import Configuration
from ..writing import whole
from .checkpoint import load_model
from .evaluation import paired_gain


@dataclass(frozen=True)
class Gain:
    """By how much one network predicts better than another.

    Parameters
    ----------
    times : shape (T,), Lennard-Jones units
    each : shape (S, T), the difference of the correlations within configurations, seed by seed
    mean : shape (T,), its mean over seeds
    error : shape (T,), the standard error of the mean: of the regions that happen to be in the test configurations, and
        of the seeds
    """

    times: np.ndarray
    each: np.ndarray
    mean: np.ndarray
    error: np.ndarray

    @property
    def decided(self) -> np.ndarray:
        """The book's rule, shape (T,): at least three seeds, all of one sign, and a mean beyond twice its error."""
        one_sign = np.abs(np.sign(self.each).sum(axis=0)) == len(self.each)
        return (np.abs(self.mean) > 2 * self.error) & one_sign & (len(self.each) >= 3)


def gain_of_seeds(
    first: Sequence[Sequence[np.ndarray]],
    second: Sequence[Sequence[np.ndarray]],
    test: Sequence[Configuration],
    kind: str = "A",
    compare: Callable[..., dict[str, tuple[np.ndarray, np.ndarray]]] = paired_gain,
) -> Gain:
    r"""How much better the second network is than the first, from several trainings of each.

    Trainings of the same place in the two sequences are compared on the same particles
    (:func:`~glasslit.learning.evaluation.paired_gain`). With S pairs of trainings, the error is

    .. math:: \sqrt{ \overline{e}^2 + s^2 / S }

    where e is the error that drawing regions gives, averaged over the pairs, and s the standard deviation of the
    differences between the pairs. With a single pair, s is unknown and counted as 0. It is the error where the
    trainings of one setting err alike, and up to twice too large where each of three errs by itself; never too small.

    Parameters
    ----------
    first, second : predictions of each training, shape (T, N) for each test configuration
    test : labelled configurations
    kind : "A" or "B", the type of the particles
    compare : what compares two predictions and says by how much the second is better, with an error; it is given
        ``kinds``, the type of the particles; of covariances
        :func:`glasslit.learning.tensors.paired_tensor_gain`; for the share of an error, whose logarithm then stands in
        the place of the difference, :func:`glasslit.learning.evaluation.paired_removal`

    Raises
    ------
    ValueError
        If there is no training, if there is not the same number of both, or as ``paired_gain``.

    Examples
    --------
    >>> from glasslit.testing import random_liquid
    >>> rng = np.random.default_rng(0)
    >>> c = random_liquid(400, seed=1).replace(times=[1.0, 2.0], propensity=rng.gamma(2, 0.1, size=(2, 400)))
    >>> near, far = ([[c.propensity + s * rng.normal(size=(2, 400))] for _ in range(3)] for s in (0.05, 0.3))
    >>> gain = gain_of_seeds(far, near, [c])
    >>> bool(gain.mean[0] > 0.3), gain.decided.tolist()
    (True, [True, True])
    """
    if not 0 < len(first) == len(second):
        raise ValueError(
            f"{len(first)} and {len(second)} trainings; expected the same number of both, at least one: "
            "leave out the seeds that only one of them has"
        )
    pairs = [compare(p, q, test, kinds=(kind,))[kind] for p, q in zip(first, second, strict=True)]
    each, errors = (np.array(values) for values in zip(*pairs, strict=True))
    between = each.std(axis=0, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.zeros(each.shape[1])
    return Gain(np.asarray(test[0].times), each, each.mean(axis=0), np.hypot(errors.mean(axis=0), between))


class StoredRuns:
    """Predictions of stored networks for one set of test configurations, each made once.

    Parameters
    ----------
    folder : holds the folders of the runs
    test : labelled configurations of the same times
    kept : a folder where predictions are kept, for other processes that ask for the same network on the same
        configurations; by default the one that the environment names in ``GLASSLIT_STORED_PREDICTIONS``, if any.
        A build of the book names one that lives as long as the build, so that chapters share what they predict.
    """

    def __init__(self, folder: str | Path, test: Sequence[Configuration], kept: str | Path | None = None) -> None:
        self.folder, self.test = Path(folder), list(test)
        kept = kept or os.environ.get("GLASSLIT_STORED_PREDICTIONS")
        self.kept = Path(kept) if kept else None
        self._graphs: dict[Any, list[Any]] = {}
        self._predictions: dict[str, tuple[np.ndarray, list[np.ndarray]]] = {}

    def predictions(self, name: str, times: Sequence[float] | None = None) -> list[np.ndarray]:
        """What a run predicts, in units of the spread of its training labels.

        Within a type these numbers differ from propensities by a factor and a shift, which no correlation sees.

        Parameters
        ----------
        name : of the run's folder, below ``folder``
        times : Lennard-Jones units, by default all of the run

        Returns
        -------
        shape (T, N) for each test configuration

        Raises
        ------
        ValueError
            If the run does not predict one of the times.
        """
        if name not in self._predictions:
            self._predictions[name] = self._read(name) or self._made(name)
        known, made = self._predictions[name]
        if times is None:
            return made
        at = [np.flatnonzero(np.isclose(known, t, rtol=1e-6)) for t in times]
        if not all(len(k) == 1 for k in at):
            raise ValueError(f"run {name} predicts at times {known.tolist()}; expected {list(times)} among them")
        return [p[np.concatenate(at)] for p in made]

    def _made(self, name: str) -> tuple[np.ndarray, list[np.ndarray]]:
        model = load_model(self.folder / name / "model.pt")
        kind = type(model).__name__
        looks = (model.config.cutoff, model.config.inputs, getattr(model.config, "decoder", None))
        key = (kind, *looks) if kind == "SE3GNN" else (kind, repr(model.config))
        if key not in self._graphs:
            self._graphs[key] = [model.graph(c) for c in self.test]
        with torch.no_grad():
            made = [model.standardized(graph).T.numpy() for graph in self._graphs[key]]
        times = model.times_at(self.test[0].temperature)
        if (path := self._path(name)) is not None:
            with whole(path, together=True) as partial, partial.open("wb") as file:
                np.savez(file, times, *made)
        return times, made

    def _path(self, name: str) -> Path | None:
        """Where these predictions are kept: a name for this network and these configurations."""
        if self.kept is None:
            return None
        digest = hashlib.sha256((self.folder / name / "model.pt").read_bytes())
        for c in self.test:
            digest.update(c.hash().encode())
        return self.kept / f"{digest.hexdigest()}.npz"

    def _read(self, name: str) -> tuple[np.ndarray, list[np.ndarray]] | None:
        path = self._path(name)
        if path is None or not path.is_file():
            return None
        try:
            with path.open("rb") as raw, np.load(raw) as file:
                times, *made = (file[key] for key in file.files)
        except (OSError, ValueError, EOFError, BadZipFile):  # damaged: predicted again
            return None
        return times, made

    def gain(
        self, first: Sequence[str], second: Sequence[str], times: Sequence[float] | None = None, kind: str = "A"
    ) -> Gain:
        """:func:`gain_of_seeds` of the second group of runs over the first.

        Parameters
        ----------
        first, second : names of runs, seed by seed
        times : where to compare, by default at all times of the test configurations
        kind : type of the particles

        Raises
        ------
        ValueError
            If a run does not predict one of the times, or as :func:`gain_of_seeds`.
        """
        asked = self.test[0].times.tolist() if times is None else list(times)
        test = self.test if times is None else [c.at_times(asked) for c in self.test]
        return gain_of_seeds(
            [self.predictions(n, asked) for n in first], [self.predictions(n, asked) for n in second], test, kind
        )
