#!/usr/bin/env bash
# ASE 3.29.0: its own formats .traj, .json and .db drop arrays that a user has given to particles.
#
# Guess: `write("a.traj", atoms)` keeps what the Atoms object holds, as it is ASE's own format; what it cannot keep is
# an error or a warning.
# Wrong: an array of `atoms.set_array("propensity", ...)` is gone when the file is read, in all three, while `atoms.copy()`
# and extended XYZ carry it. .json and .db drop `atoms.info` as well, .traj keeps that. Nothing is said.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet ase==3.29.0 numpy==2.4.6
cd "$folder"

v/bin/python -W error - <<'PY'
import numpy as np
from ase import Atoms
from ase.io import read, write

atoms = Atoms("ArKr", positions=[[0, 0, 0], [1, 1, 1]], cell=[5, 5, 5], pbc=True, tags=[1, 2], info={"T": 0.44})
atoms.set_array("propensity", np.array([0.1, 0.2]))
assert "propensity" in atoms.copy().arrays
kept = {}
for ending in ("extxyz", "traj", "json", "db"):
    write(f"a.{ending}", atoms)
    back = read(f"a.{ending}")
    assert back.get_tags().tolist() == [1, 2]
    kept[ending] = ("propensity" in back.arrays, "T" in back.info)
    print(f".{ending} keeps the array: {kept[ending][0]}, info: {kept[ending][1]}")
assert kept.pop("extxyz") == (True, True)
assert kept == {"traj": (False, True), "json": (False, False), "db": (False, False)}, "it has changed"
PY
echo "ASE 3.29.0: an array of one's own is lost in .traj, .json and .db, silently; .json and .db lose atoms.info too."
