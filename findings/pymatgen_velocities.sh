#!/usr/bin/env bash
# pymatgen-core 2026.10.16: structures with velocities become ASE atoms at rest.
#
# Guess: `AseAtomsAdaptor.get_atoms` of a POSCAR with velocities (Å/fs) gives atoms that move, with momenta in ASE's
# units; or it drops them with a word.
# Wrong: the velocities arrive in Å/fs as an array called "velocities", which ASE does not know: `get_velocities` is
# zero, and so is the temperature. Nothing is said. ASE's own reader of the same file has them, in its unit.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet pymatgen-core==2026.10.16 ase==3.29.0 numpy==2.4.6
cd "$folder"

cat > POSCAR <<'POSCAR'
two atoms that move
1.0
10 0 0
0 10 0
0 0 10
Ar
2
Cartesian
1 2 3
4 5 6

0.002 0.000 0.001
0.000 -0.003 0.000
POSCAR

v/bin/python -W error::UserWarning - <<'PY'
import numpy as np
from ase import units
from ase.io import read
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar

structure = Poscar.from_file("POSCAR").structure
in_file = np.array([[0.002, 0, 0.001], [0, -0.003, 0]])  # Å/fs
by_ase, by_pymatgen = read("POSCAR", format="vasp"), AseAtomsAdaptor.get_atoms(structure)
for name, atoms in (("ASE", by_ase), ("pymatgen", by_pymatgen)):
    print(f"{name}: temperature {atoms.get_temperature():.0f} K, arrays {sorted(atoms.arrays)}")
assert np.allclose(structure.site_properties["velocities"], in_file)
assert np.allclose(by_ase.get_velocities() * units.fs, in_file) and by_ase.get_temperature() > 1
assert np.allclose(by_pymatgen.arrays["velocities"], in_file)
assert not by_pymatgen.get_velocities().any() and by_pymatgen.get_temperature() == 0, "it has changed"
PY
echo "pymatgen-core 2026.10.16: a POSCAR with velocities becomes ASE atoms at 0 K; ASE's own reader has their temperature."
