#!/usr/bin/env bash
# One empty text in atoms.info, and ASE 3.29.0 writes an extended XYZ that neither it nor extxyz 0.4.6 reads back.
#
# Guess: a text without letters is written as name="", as texts with blanks are quoted, and comes back; extxyz, the
# format's own parser, refuses what is not in its grammar.
# Wrong: ASE writes `name= step=42` and reads its own file back as {'name': 'step=42'}: the next key is swallowed, and
# step is lost. extxyz does not refuse the line, it takes the file for a plain XYZ: the cell becomes zero, and every key
# is lost. Neither says a word.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet ase==3.29.0 extxyz==0.4.6 numpy==2.4.6
cd "$folder"

v/bin/python - <<'PY'
from pathlib import Path

import extxyz
from ase import Atoms
from ase.io import read, write

results = {}
for name in ("a", ""):
    atoms = Atoms("H", positions=[[1, 2, 3]], cell=[4, 4, 4], pbc=True, info={"name": name, "step": 42})
    write("name.xyz", atoms, format="extxyz")
    print("written:", Path("name.xyz").read_text().splitlines()[1])
    by_ase, by_extxyz = read("name.xyz", format="extxyz"), extxyz.read_dicts("name.xyz")
    results[name] = by_ase.info, by_extxyz.info, by_extxyz.cell.diagonal().tolist()
    print(f"  ASE reads {by_ase.info}; extxyz reads {by_extxyz.info} with edges {results[name][2]}")
assert results["a"] == ({"name": "a", "step": 42}, {"name": "a", "step": 42}, [4, 4, 4]), "it has changed"
assert results[""] == ({"name": "step=42"}, {}, [0, 0, 0]), "it has changed"
PY
echo "ASE 3.29.0 reads its own name= step=42 as name='step=42'; extxyz 0.4.6 drops every key and the cell."
