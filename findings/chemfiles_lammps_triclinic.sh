#!/usr/bin/env bash
# chemfiles 0.10.4 reads a LAMMPS dump's triclinic box too large: it takes the box around the box.
#
# Guess: of `ITEM: BOX BOUNDS xy xz yz` a reader takes the tilts off the bounds, as the manual of LAMMPS says (bounds
# are those of the box that encloses the sheared one), and so finds the vectors that the run had.
# Wrong: the differences of the bounds become the diagonal of the cell. Edges of 10, 11.4 and 12.4 are read as 15, 13.8
# and 12.4, angles are others, and the volume is 1.84 times the true one: densities, minimum images and g(r) are wrong.
# Nothing is said. Positions are right, and a LAMMPS data file of the same box is read well.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet chemfiles==0.10.4 ase==3.29.0 numpy==2.4.6
cd "$folder"

# a = (10, 0, 0), b = (3, 11, 0), c = (-2, 2.5, 12): the bounds are as LAMMPS writes them
cat > sheared.dump <<'DUMP'
ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
1
ITEM: BOX BOUNDS xy xz yz pp pp pp
-2 13 3
0 13.5 -2
0 12 2.5
ITEM: ATOMS id type x y z
1 1 1 2 3
DUMP
cat > sheared.data <<'DATA'
one particle in the same box

1 atoms
1 atom types

0 10 xlo xhi
0 11 ylo yhi
0 12 zlo zhi
3 -2 2.5 xy xz yz

Masses

1 1

Atoms # atomic

1 1 1 2 3
DATA

v/bin/python - <<'PY'
import chemfiles
import numpy as np
from ase.io import read

cell = np.array([[10.0, 0, 0], [3, 11, 0], [-2, 2.5, 12]])
dump = chemfiles.Trajectory("sheared.dump", "r", "LAMMPS").read()
data = chemfiles.Trajectory("sheared.data", "r", "LAMMPS Data").read()
by_ase = read("sheared.dump", format="lammps-dump-text")
for name, volume in (("ASE", by_ase.get_volume()), ("chemfiles", dump.cell.volume)):
    print(f"the dump by {name}: volume {volume:.0f}")
print(f"chemfiles: edges of the dump {np.round(dump.cell.lengths, 1)}, of the data file {np.round(data.cell.lengths, 1)}")
assert np.allclose(by_ase.cell, cell) and np.allclose(data.cell.matrix, cell.T)
assert np.allclose(np.array(dump.positions), [[1, 2, 3]])
assert np.allclose(dump.cell.matrix, [[15, 3, -2], [0, 13.5, 2.5], [0, 0, 12]]), "it has changed"
PY
echo "chemfiles 0.10.4: a LAMMPS box with edges 10, 11.4, 12.4 is read with 15, 13.8, 12.4, and 1.84 times the volume."
