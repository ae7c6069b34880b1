"""Ridge regression in closed form, for many strengths at once: what the ridge baseline and a new decoder both solve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def ridge_path(x: np.ndarray, y: np.ndarray, strengths: Sequence[float], intercept: bool = True) -> np.ndarray:
    r"""Weights for each strength, from one decomposition.

    .. math:: w = \big(\langle z z^T \rangle + \lambda\big)^{-1} \langle z\, y \rangle

    with z the columns of x in units of their spread; x and y are counted from their means, and the weights
    returned are for x itself.

    Parameters
    ----------
    x : shape (n, K)
    y : shape (n, T)
    strengths : the lambdas, S of them, none below 0
    intercept : False: x and y are counted from zero, and the spread is the root of the mean square

    Returns
    -------
    shape (S, T, K). Columns that do not vary get weight 0.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> ridge_path(x, 3 * x, [0.0, 1.0])[:, 0, 0]
    array([3. , 1.5])
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if intercept:
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    spread = np.sqrt(np.mean(x**2, axis=0))
    scale = np.where(spread > 0, spread, 1.0)
    z = x / scale
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    along = vectors.T @ (z.T @ y / len(z))
    values = np.clip(values, 1e-12 * values.max(initial=1.0), None)  # what does not vary cannot explain
    return np.stack([(vectors @ (along / (values + s)[:, None]) / scale[:, None]).T for s in strengths])
