#!/usr/bin/env bash
# e3nn 0.6.0: Wigner matrices of float64 angles are right to seven digits only.
#
# Guess: `o3.wigner_D`, and `D_from_matrix` on it, of float64 input is right to float64: for l = 1 it is the rotation
# matrix itself.
# Wrong: it returns float64, orthogonal to 1e-12, and differs from the rotation by 1e-7. The generators are made in the
# default dtype and keep its rounding, whatever the dtype of the angles. A check of equivariance in float64 cannot go
# below that, and blames the layer. With `torch.set_default_dtype(torch.float64)` the difference is 1e-15. Spherical
# harmonics of float64 vectors are right to float64 either way.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet e3nn==0.6.0 torch==2.13.0 numpy==2.4.6
cd "$folder"

v/bin/python -W ignore - <<'PY'
import torch
from e3nn import o3


def off():
    """How far D of l = 1 is from the rotation, D of l = 2 from an orthogonal matrix, and what D says of Y from Y."""
    torch.manual_seed(0)
    rotation = o3.angles_to_matrix(*torch.tensor([0.3, 1.1, 2.5], dtype=torch.float64))
    first, second = (o3.Irrep(l, (-1) ** l).D_from_matrix(rotation) for l in (1, 2))
    assert first.dtype == second.dtype == torch.float64
    vectors = torch.randn(9, 3, dtype=torch.float64)
    turned, harmonics = (o3.spherical_harmonics(2, v, True) for v in (vectors @ rotation.T, vectors))
    return [float(d.abs().max()) for d in (
        first - rotation, second @ second.T - torch.eye(5, dtype=torch.float64), turned - harmonics @ second.T)]


single = off()
torch.set_default_dtype(torch.float64)
double = off()
for name, values in (("float32", single), ("float64", double)):
    print(f"default {name}: l = 1 off by {values[0]:.0e}, equivariance of l = 2 by {values[2]:.0e}, "
          f"D of l = 2 orthogonal to {values[1]:.0e}")
assert max(double) < 1e-13 and single[1] < 1e-11
assert single[0] > 1e-9 and single[2] > 1e-9, "it has changed"
PY
echo "e3nn 0.6.0: D of float64 angles is off by 1e-7 as long as the default dtype is float32, else by 1e-15."
