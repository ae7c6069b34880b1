#!/usr/bin/env bash
# ASE 3.29.0: the frame-by-frame reader of extended XYZ stops at ten particles.
#
# Guess: `ase.io.extxyz.iread_xyz` (public, in `__all__`) yields one by one the frames that `read_xyz` reads, so it is
# the way to a long trajectory that asks for no memory.
# Wrong: of the number of particles it takes the first digit. Frames of 9 particles are read, of 10 it ends with a
# ValueError about the first element's name, on a file that ASE itself has written and `ase.io.iread` reads.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet ase==3.29.0 numpy==2.4.6
cd "$folder"

v/bin/python - <<'PY'
import ase.io
import ase.io.extxyz
import numpy as np

assert "iread_xyz" in ase.io.extxyz.__all__
for count in (9, 10):
    atoms = ase.Atoms(f"H{count}", positions=np.arange(3.0 * count).reshape(count, 3), cell=[99, 99, 99], pbc=True)
    ase.io.write("liquid.xyz", [atoms, atoms], format="extxyz")
    by_iread = [len(frame) for frame in ase.io.iread("liquid.xyz", index=":", format="extxyz")]
    with open("liquid.xyz") as file:
        try:
            by_iread_xyz = [len(frame) for frame in ase.io.extxyz.iread_xyz(file, index=slice(None))]
        except ValueError as error:
            by_iread_xyz = f"ValueError: {error}"
    print(f"two frames of {count} particles: ase.io.iread {by_iread}, iread_xyz {by_iread_xyz}")
    assert by_iread == [count, count]
    expected = [9, 9] if count == 9 else "ValueError: invalid literal for int() with base 10: 'H'"
    assert by_iread_xyz == expected, "it has changed"
PY
echo "ASE 3.29.0: iread_xyz reads frames of 9 particles; of 10: ValueError: invalid literal for int() with base 10: 'H'."
