#!/usr/bin/env bash
# ASE 3.29.0 places a LAMMPS dump's scaled coordinates elsewhere than the same dump's x y z.
#
# Guess: xs ys zs are fractions of the box from its lower corner (LAMMPS: x = xlo + xs (xhi - xlo)), so one snapshot
# written with x y z and with xs ys zs is read to the same positions.
# Wrong: where the box does not begin at 0, positions made of xs ys zs lack its lower corner, while x y z are taken as
# they stand. The corner is kept in both (`get_celldisp`), the same one. So positions of the two differ by it, and those
# of xs ys zs lie outside the box that the cell and its displacement describe. Nothing is said.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet ase==3.29.0 numpy==2.4.6
cd "$folder"

head_of_frame='ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
-5 5
-5 5
-5 5'
printf '%s\n' "$head_of_frame" 'ITEM: ATOMS id type x y z' '1 1 -4 0 0' '2 1 2 0 1' > plain.dump
printf '%s\n' "$head_of_frame" 'ITEM: ATOMS id type xs ys zs' '1 1 0.1 0.5 0.5' '2 1 0.7 0.5 0.6' > scaled.dump

v/bin/python - <<'PY'
import numpy as np
from ase.io import read

plain, scaled = (read(f"{name}.dump", format="lammps-dump-text") for name in ("plain", "scaled"))
for name, atoms in (("x y z", plain), ("xs ys zs", scaled)):
    print(f"{name}: positions {atoms.positions.tolist()}, lower corner {atoms.get_celldisp().ravel().tolist()}")
assert np.allclose(plain.positions, [[-4, 0, 0], [2, 0, 1]])
assert np.allclose(plain.get_celldisp().ravel(), -5) and np.allclose(scaled.get_celldisp().ravel(), -5)
assert np.allclose(scaled.positions, [[1, 5, 5], [7, 5, 6]]), "it has changed"
PY
echo "ASE 3.29.0: a particle at -4 0 0 in a box from -5 to 5 is read at -4 0 0 from x y z, at 1 5 5 from xs ys zs."
