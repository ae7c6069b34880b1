r"""How sure a prediction is: what several methods state of the error of each particle's prediction.

Nothing is trained here: the methods use trained networks, and what they fit, they fit to training and validation
configurations. Whether what they state is so is the question of :mod:`~glasslit.learning.calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student_t

from ..liquid.configuration import Configuration
from ..liquid.graph import required
from ..liquid.kob_andersen import TYPE_NAMES
from ..models.propensity import check_times
from ..models.se3 import SE3GNN
from .calibration import noise_variance, squared_error
from .transfer import STRENGTHS

N_TYPES = len(TYPE_NAMES)


@dataclass(frozen=True)
class Stated:
    """What a method says of each particle: a prediction, and how far from it the truth is expected.

    Parameters
    ----------
    mean : shape (T, N), the prediction, sigma_AA
    variance : shape (T, N), expected squared error, sigma_AA^2
    degrees : of freedom of Student's t, a number or of shape (T, N); infinite for a normal distribution, few where the
        variance was itself estimated from few numbers

    Raises
    ------
    ValueError
        If the shapes do not agree, a variance is negative or not finite, or degrees are not above 0.
    """

    mean: np.ndarray
    variance: np.ndarray
    degrees: np.ndarray | float = np.inf

    def __post_init__(self) -> None:
        if np.ndim(self.mean) != 2 or np.shape(self.mean) != np.shape(self.variance):
            raise ValueError(
                f"mean of shape {np.shape(self.mean)}, variance of shape {np.shape(self.variance)}; "
                "expected (T, N) for both"
            )
        if not (np.all(np.isfinite(self.variance)) and np.all(self.variance >= 0) and np.all(self.degrees > 0)):
            raise ValueError(
                f"variances from {np.min(self.variance):g} to {np.max(self.variance):g}, degrees from "
                f"{np.min(self.degrees):g}; expected finite variances of at least 0 and degrees above 0"
            )

    def with_noise(self, noise: np.ndarray, types: np.ndarray) -> Stated:
        r"""The same for labels, which are noisy: the variances add up.

        Degrees of freedom are those of Welch and Satterthwaite. For a variance u with d degrees and a known one, v,
        they are d (1 + v / u)^2.

        Parameters
        ----------
        noise : shape (types, T), as :func:`~glasslit.learning.calibration.noise_variance` gives it
        types : shape (N,)
        """
        total = self.variance + noise[types].T
        with np.errstate(divide="ignore", invalid="ignore"):
            degrees = np.where(self.variance > 0, self.degrees * np.square(total / self.variance), np.inf)
        return Stated(self.mean, total, degrees)

    def levels(self, values: np.ndarray) -> np.ndarray:
        """Of the intervals around the mean, the part that the narrowest one which contains the value claims to hold.

        Where what is stated is true, these numbers are spread evenly from 0 to 1.

        Parameters
        ----------
        values : shape (T, N), sigma_AA

        Returns
        -------
        shape (T, N), from 0 to 1

        Examples
        --------
        >>> zero = np.zeros((1, 3))
        >>> Stated(zero, zero + 1).levels(np.array([[0.0, -1.0, 1.96]])).round(2)
        array([[0.  , 0.68, 0.95]])
        """
        if np.shape(values) != np.shape(self.mean):
            raise ValueError(f"values of shape {np.shape(values)}; expected that of the mean, {np.shape(self.mean)}")
        distance = np.abs(np.asarray(values, dtype=np.float64) - self.mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.where(distance > 0, distance / np.sqrt(self.variance), 0.0)
        return 1 - 2 * student_t.sf(distance, self.degrees)


def seed_ensemble(predictions: Sequence[np.ndarray]) -> Stated:
    r"""What several trainings of one setting say together of one configuration.

    .. math:: \bar p = \frac1M \sum_m p_m

    .. math:: u^2 = \Big(1 + \frac1M\Big) \frac{1}{M - 1} \sum_m (p_m - \bar p)^2

    with M - 1 degrees of freedom: this is true if the truth is one more draw from the distribution of which the
    predictions of the members are draws. What all members miss alike is not in it.

    Parameters
    ----------
    predictions : shape (T, N) for each member, sigma_AA; at least two

    Raises
    ------
    ValueError
        If there are fewer than two members, or shapes differ.

    Notes
    -----
    Lakshminarayanan, Pritzel and Blundell, NeurIPS 2017.
    """
    shapes = {np.shape(p) for p in predictions}
    if len(predictions) < 2 or len(shapes) != 1:
        raise ValueError(
            f"{len(predictions)} predictions of shapes {sorted(shapes)}; expected at least two of one shape, (T, N): "
            "a single training has no spread"
        )
    members = np.stack([np.asarray(p, dtype=np.float64) for p in predictions])
    n = len(members)
    return Stated(members.mean(axis=0), (1 + 1 / n) * members.var(axis=0, ddof=1), float(n - 1))


@dataclass(frozen=True)
class LinearPosterior:
    """What Bayesian linear regression knows after seeing data; made by :func:`bayesian_regression`.

    Parameters
    ----------
    center : shape (K,), means of the columns
    at_center : shape (T,), the prediction there
    weights : shape (T, K)
    covariance : shape (T, K, K), of the weights
    residual : shape (T,), variance of the labels about the plane
    degrees : shape (T,), of freedom, of which the residual variance was estimated
    n : number of data
    """

    center: np.ndarray
    at_center: np.ndarray
    weights: np.ndarray
    covariance: np.ndarray
    residual: np.ndarray
    degrees: np.ndarray
    n: int

    def mean(self, x: np.ndarray) -> np.ndarray:
        """The prediction at x (n, K), shape (T, n)."""
        return self.at_center[:, None] + self.weights @ (x - self.center).T

    def weight_variance(self, x: np.ndarray) -> np.ndarray:
        """Variance that the data leave to the plane itself at x (n, K), shape (T, n)."""
        z = x - self.center
        return self.residual[:, None] / self.n + np.einsum("nk,tkl,nl->tn", z, self.covariance, z, optimize=True)


def bayesian_regression(x: np.ndarray, y: np.ndarray, strengths: Sequence[float] | np.ndarray) -> LinearPosterior:
    r"""Bayesian linear regression in closed form.

    Labels are a plane and normal scatter, and the weights of columns z, counted from their means in units of their
    spreads, are normal beforehand with variance sigma^2 / (n lambda). Afterwards they have

    .. math:: \text{mean } (Z^T Z + n \lambda)^{-1} Z^T y

    .. math:: \text{covariance } \sigma^2 (Z^T Z + n \lambda)^{-1} .

    The scatter's variance sigma^2 is the sum of squared residuals over n - 1 - k, where k is the effective number of
    weights, the trace of :math:`Z^T Z (Z^T Z + n \lambda)^{-1}`.

    Parameters
    ----------
    x : shape (n, K)
    y : shape (n, T)
    strengths : lambda of each column of y, shape (T,), none below 0

    Raises
    ------
    ValueError
        If shapes do not agree, a strength is negative, or there are too few data.

    Notes
    -----
    Bishop, Pattern Recognition and Machine Learning, section 3.3.
    """
    x, y, strengths = (np.asarray(v, dtype=np.float64) for v in (x, y, strengths))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or strengths.shape != y.shape[1:]:
        raise ValueError(
            f"x of shape {x.shape}, y of shape {y.shape}, strengths of shape {strengths.shape}; expected (n, K), "
            "(n, T) and (T,)"
        )
    if np.any(strengths < 0):
        raise ValueError(f"strengths = {strengths.tolist()}; expected none below 0")
    n, center = len(x), x.mean(axis=0)
    scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    z, centered = (x - center) / scale, y - y.mean(axis=0)
    values, vectors = np.linalg.eigh(z.T @ z)
    floor = 1e-12 * values.max(initial=1.0)
    values = np.where(values > floor, values, 0.0)
    known = (values > 0) | (strengths[:, None] > 0)  # (T, K); along the others the data say nothing
    inverse = np.divide(1.0, values + n * strengths[:, None], out=np.zeros(known.shape), where=known)
    degrees = n - 1 - (values * inverse).sum(axis=1)
    if degrees.min() < 1:
        raise ValueError(
            f"{n} data for {x.shape[1]} columns; expected at least {x.shape[1] + 2}: "
            "fewer leave nothing to tell the scatter from"
        )
    weights = (vectors @ (inverse * (centered.T @ z @ vectors)).T).T  # (T, K), of z
    residual = np.square(centered - z @ weights.T).sum(axis=0) / degrees
    covariance = residual[:, None, None] * np.einsum("ik,tk,jk->tij", vectors, inverse, vectors)
    return LinearPosterior(
        center, y.mean(axis=0), weights / scale, covariance / np.outer(scale, scale), residual, degrees, n
    )


@dataclass(frozen=True)
class LastLayer:
    """A trained network whose last, linear step is Gaussian; made by :func:`last_layer`.

    Parameters
    ----------
    model : the network, of which the invariants are used
    posteriors : for each type, or None where training had none of it
    noise : shape (types, T), variance of the training labels' noise
    """

    model: SE3GNN
    posteriors: tuple[LinearPosterior | None, ...]
    noise: np.ndarray

    def state(self, configuration: Configuration) -> Stated:
        """Of each particle: the prediction, and the variance of its propensity, without noise of labels."""
        mean, weight = self._filled(configuration)
        own = [np.clip(p.residual - v, 0, None) if p else v for p, v in zip(self.posteriors, self.noise, strict=True)]
        return Stated(mean, np.stack(own)[configuration.types].T + weight)

    def weight_variance(self, configuration: Configuration) -> np.ndarray:
        """The part of it that the training data leave to the weights, shape (T, N), sigma_AA^2."""
        return self._filled(configuration)[1]

    def _filled(self, c: Configuration) -> tuple[np.ndarray, np.ndarray]:
        z = _invariants(self.model, c)
        found = np.full((2, self.noise.shape[1], len(z)), np.nan)
        for kind in np.unique(c.types):
            posterior, at = self.posteriors[kind], c.types == kind
            if posterior is None:
                raise ValueError(
                    f"{c!r} has particles of type {TYPE_NAMES[kind]}; expected types of the training configurations"
                )
            found[:, :, at] = posterior.mean(z[at]), posterior.weight_variance(z[at])
        return found[0], found[1]


def last_layer(
    model: SE3GNN,
    train: Sequence[Configuration],
    val: Sequence[Configuration],
    strengths: Sequence[float] = STRENGTHS,
) -> LastLayer:
    """Bayesian linear regression of labels on a trained network's invariants, for each type and time.

    Parameters
    ----------
    model : left as it is
    train : labelled configurations with half-ensembles, which give weights and scatter
    val : labelled configurations of the same times; of the strengths each type and time takes the one with the smallest
        squared error on them
    strengths : lambda of :func:`bayesian_regression`

    Raises
    ------
    ValueError
        If the network has no invariants, a set is empty, half-ensembles are missing, times differ, or as
        :func:`bayesian_regression`.
    """
    if not hasattr(model, "invariants"):
        raise ValueError(f"{type(model).__name__} has no invariants; expected an SE3GNN, whose last step is linear")
    if not train or not val or not len(strengths):
        raise ValueError(
            f"{len(train)} training and {len(val)} validation configurations, {len(strengths)} strengths; expected at "
            "least one of each"
        )
    check_times([*train, *val])
    noise, found = noise_variance(train), list[LinearPosterior | None]()
    seen, checked = ([(_invariants(model, c), c) for c in part] for part in (train, val))
    for kind in range(N_TYPES):
        (x, y), (x_val, y_val) = (
            (
                np.concatenate([z[c.types == kind] for z, c in part]),
                np.concatenate([required(c, "propensity")[:, c.types == kind].T for _, c in part]).astype(np.float64),
            )
            for part in (seen, checked)
        )
        if not len(x):
            found.append(None)
            continue
        tried = [bayesian_regression(x, y, np.full(y.shape[1], s)) for s in strengths]
        errors = [np.square(p.mean(x_val).T - y_val).sum(axis=0) for p in tried]
        found.append(bayesian_regression(x, y, np.asarray(strengths)[np.argmin(errors, axis=0)]))
    return LastLayer(model, tuple(found), noise)


def _invariants(model: SE3GNN, configuration: Configuration) -> np.ndarray:
    """Shape (N, K), in float64, with batch norms as they were left by training."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return model.invariants(model.graph(configuration)).double().cpu().numpy()
    finally:
        model.train(was_training)


@dataclass(frozen=True)
class ErrorByPrediction:
    """How large the error is where the prediction is so high; made by :func:`error_by_prediction`.

    Parameters
    ----------
    predicted : shape (types, T, bins), mean predictions of groups of particles, increasing, sigma_AA
    squared : shape (types, T, bins), mean squared errors there, sigma_AA^2
    """

    predicted: np.ndarray
    squared: np.ndarray

    def state(self, prediction: np.ndarray, types: np.ndarray) -> Stated:
        """Of each particle: the prediction (T, N), and its variance on straight lines from one group to the next."""
        variance = np.full(np.shape(prediction), np.nan)
        for kind in np.unique(types):
            at = types == kind
            for k, values in enumerate(prediction):
                variance[k, at] = np.interp(values[at], self.predicted[kind, k], self.squared[kind, k])
        return Stated(np.asarray(prediction, dtype=np.float64), variance)


def error_by_prediction(
    predictions: Sequence[np.ndarray], configurations: Sequence[Configuration], bins: int = 10
) -> ErrorByPrediction:
    """Mean squared errors, without noise of labels, of particles with like predictions, for each type and time.

    Parameters
    ----------
    predictions : shape (T, N) for each configuration, sigma_AA
    configurations : that the network was not trained on, and that are not to be tested on; with half-ensembles
    bins : groups, with as many particles each

    Raises
    ------
    ValueError
        If there are fewer particles of a type than groups, half-ensembles are missing, or shapes do not agree.
    """
    errors = np.concatenate([squared_error(p, c) for p, c in zip(predictions, configurations, strict=True)], axis=1)
    values, types = np.concatenate(predictions, axis=1), np.concatenate([c.types for c in configurations])
    found = np.full((2, N_TYPES, len(values), bins), np.nan)
    for kind in np.unique(types):
        at = types == kind
        if not 0 < bins <= at.sum():
            raise ValueError(f"{at.sum()} particles of type {TYPE_NAMES[kind]} in {bins} groups; expected one in each")
        order = np.argsort(values[:, at], axis=1)
        for number, source in enumerate((values, errors)):
            groups = np.array_split(np.take_along_axis(source[:, at], order, axis=1), bins, axis=1)
            found[number, kind] = np.stack([g.mean(axis=1) for g in groups], axis=1)
    return ErrorByPrediction(found[0], np.clip(found[1], 0, None))
