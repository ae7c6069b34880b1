#!/usr/bin/env bash
# numba 0.68.1: compiled, np.var of float32 positions is 56 times too large, and the mean of twenty million ones is 0.84.
#
# Guess: np.sum, np.mean and np.var in a compiled function agree with NumPy's to the rounding of float32.
# Wrong: they add one number after the other in float32, where NumPy adds in pairs. A sum of ones stops at 16777216, so
# that the mean of twenty million is 0.84; and the variance of 100,000 numbers of variance 1 around 10000 is near 56,
# because the mean that is taken off is too far from the true one. With parallel=True the mean is 1. Nothing is said.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet numba==0.68.1 numpy==2.4.6
cd "$folder"

v/bin/python - <<'PY'
import numpy as np
from numba import njit


def mean(x):
    return np.mean(x)


def variance(x):
    return np.var(x)


ones = np.ones(20_000_000, np.float32)
positions = (1e4 + np.random.default_rng(0).standard_normal(100_000)).astype(np.float32)
means = [float(f(ones)) for f in (mean, njit(mean), njit(parallel=True)(mean))]
variances = [float(f(positions)) for f in (variance, njit(variance))]
print(f"mean of ones: NumPy {means[0]:.2f}, numba {means[1]:.2f}, numba with parallel=True {means[2]:.2f}")
print(f"variance around 10000: NumPy {variances[0]:.2f}, numba {variances[1]:.2f}")
assert means[0] == 1 and abs(variances[0] - 1) < 0.01
assert abs(means[1] - 16777216 / 20_000_000) < 1e-4, "it has changed"
assert variances[1] > 2, "it has changed"
PY
echo "numba 0.68.1: the mean of twenty million float32 ones is 0.84, a variance of 1 around 10000 is 56; NumPy has 1 and 1."
