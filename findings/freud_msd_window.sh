#!/usr/bin/env bash
# freud 3.4.0: the mean squared displacement of particles that vibrate far from the origin comes out negative.
#
# Guess: `freud.msd.MSD` in its default mode "window", which takes unwrapped positions, gives the average over all pairs
# of frames, wherever the particles are: displacements do not depend on the origin.
# Wrong: it takes squares of positions, and differences of their sums, in single precision. At the origin the result is
# right. At 1000 it is several times too large at short lags and below zero at the longest, although the positions
# themselves, in single precision, still give the right answer by plain subtraction; mode="direct" does not suffer.
# Nothing is said. Unwrapped coordinates of a long run of a liquid are such positions.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet freud-analysis==3.4.0 numpy==2.4.6
cd "$folder"

v/bin/python - <<'PY'
import freud
import numpy as np

frames, particles = 64, 20
vibration = 0.1 * np.random.default_rng(0).standard_normal((frames, particles, 3))


def by_subtraction(positions):
    p = positions.astype(np.float32).astype(np.float64)
    return np.array([((p[lag:] - p[: frames - lag]) ** 2).sum(-1).mean() for lag in range(frames)])


for place in (0.0, 1000.0):
    positions = place + vibration
    expected = by_subtraction(positions)
    window = np.asarray(freud.msd.MSD(mode="window").compute(positions).msd)
    direct = np.asarray(freud.msd.MSD(mode="direct").compute(positions).msd)
    print(f"around {place}, lags 1, 20, 60: subtraction {expected[[1, 20, 60]].round(3)}, "
          f"window {window[[1, 20, 60]].round(3)}")
    first = ((positions - positions[0]) ** 2).sum(-1).mean(1)
    assert np.allclose(direct, first, rtol=1e-2, atol=1e-6)
    assert np.allclose(expected[1:], by_subtraction(vibration)[1:], rtol=1e-2)
    if place == 0:
        assert np.allclose(window[1:], expected[1:], rtol=1e-3)
    else:
        assert window.min() < -0.5 and window[1] > 1.5 * expected[1], "it has changed"
PY
echo "freud 3.4.0: the windowed MSD is 0.06 around the origin; around 1000 it is 0.28 at lag 1, and -4 at lag 60."
