#!/usr/bin/env bash
# pymatgen-core 2026.10.16 reads a LAMMPS dump of a general triclinic box as a small rectangular one.
#
# Guess: `ITEM: BOX BOUNDS abc origin` (three edges and the origin, since LAMMPS of 2024) is read as such, or refused.
# Wrong: the first two numbers of each edge are taken for the lower and upper bound of an axis, all others are dropped.
# Edges of 8.1, 10.1 and 12.1 become a rectangular box of 7 by 8.6 by 1.4, and nothing is said. ASE reads it rightly.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet pymatgen-core==2026.10.16 ase==3.29.0 numpy==2.4.6
cd "$folder"

cat > general.dump <<'DUMP'
ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS abc origin pp pp pp
8.0 1.0 0.6 0.0
1.4 10.0 0.4 0.0
0.2 -1.2 12.0 0.0
ITEM: ATOMS id type x y z
1 1 0 0 0
2 1 2.4 2.45 3.25
DUMP

v/bin/python -W ignore - <<'PY'
import numpy as np
from ase.io import read
from pymatgen.io.lammps.outputs import parse_lammps_dumps

(dump,) = parse_lammps_dumps("general.dump")
lattice, cell = dump.box.to_lattice(), read("general.dump", format="lammps-dump-text").cell
print(f"ASE: edges {cell.lengths().round(1)}, angles {cell.angles().round(1)}, volume {cell.volume:.0f}")
print(f"pymatgen: edges {np.round(lattice.abc, 1)}, angles {np.round(lattice.angles, 1)}, volume {lattice.volume:.0f}")
assert np.allclose(cell, [[8, 1, 0.6], [1.4, 10, 0.4], [0.2, -1.2, 12]])
assert np.allclose(lattice.abc, [7, 8.6, 1.4]) and np.allclose(lattice.angles, 90), "it has changed"
PY
echo "pymatgen-core 2026.10.16: edges of 8.1, 10.1, 12.1 in a dump of a general box are read as 7, 8.6, 1.4 at right angles."
