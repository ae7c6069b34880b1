#!/usr/bin/env bash
# ASE 3.29.0 gives particles of a LAMMPS data file with type labels the types of other particles.
#
# Guess: where a data file names types by labels (`Atom Type Labels`, and labels in the rows of `Atoms`), a reader that
# puts particles in the order of their ids carries each label along with its particle.
# Wrong: ids and positions are sorted, labels stay in the order of rows. Nothing is said. Only `sort_by_id=False` pairs
# them rightly, and the array "type" is all zero either way. Rows out of order are what LAMMPS itself writes
# (`write_data FILE types labels`), which puts particles in the order of its own memory.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet ase==3.29.0 numpy==2.4.6
cd "$folder"

cat > labels.data <<'DATA'
three particles: the third is He

3 atoms
2 atom types

0 4 xlo xhi
0 4 ylo yhi
0 4 zlo zhi

Atom Type Labels

1 H
2 He

Atoms # atomic

3 He 3.0 0.0 0.0
1 H 1.0 0.0 0.0
2 H 2.0 0.0 0.0
DATA

v/bin/python - <<'PY'
from ase.io import read

written = {1: "H", 2: "H", 3: "He"}
by_default = read("labels.data", format="lammps-data", units="metal")
unsorted = read("labels.data", format="lammps-data", units="metal", sort_by_id=False)
for name, atoms in (("by default", by_default), ("sort_by_id=False", unsorted)):
    print(f"{name}: ids {atoms.arrays['id'].tolist()}, x {atoms.positions[:, 0].tolist()}, "
          f"species {atoms.get_chemical_symbols()}, type {atoms.arrays['type'].tolist()}")
print("written:", written)


def species(atoms):
    return dict(zip(atoms.arrays["id"].tolist(), atoms.get_chemical_symbols(), strict=True))


assert by_default.arrays["id"].tolist() == [1, 2, 3] and by_default.positions[:, 0].tolist() == [1.0, 2.0, 3.0]
assert species(by_default) == {1: "He", 2: "H", 3: "H"}, "it has changed"
assert species(unsorted) == written, "it has changed"
assert not by_default.arrays["type"].any() and not unsorted.arrays["type"].any(), "it has changed"
PY
echo "ASE 3.29.0: particle 3 is He in the file; by default particle 1 is read as He and particle 3 as H, silently."
