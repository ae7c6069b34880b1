#!/usr/bin/env bash
# MDAnalysis 2.11.0, mdtraj 1.11.1.post2 and pymatgen-core 2026.10.16 refuse a LAMMPS dump that says its units and time.
#
# Guess: the items UNITS and TIME, which `dump_modify units yes time yes` adds (the first of them once, ahead of the
# first frame), are read, or passed over by readers that have no use for them.
# Wrong: the three count lines, and take what comes first for the time step. Each refuses the whole file with a message
# that names no item (invalid literal for int: '0.025', or 'lj'). ASE and chemfiles read it, and chemfiles has the time.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet MDAnalysis==2.11.0 mdtraj==1.11.1.post2 pymatgen-core==2026.10.16 \
    ase==3.29.0 chemfiles==0.10.4 numpy==2.4.6
cd "$folder"

head_of_frame='ITEM: TIMESTEP
5
ITEM: NUMBER OF ATOMS
1
ITEM: BOX BOUNDS pp pp pp
0 4
0 4
0 4
ITEM: ATOMS id type x y z
1 1 1 2 3'
printf '%s\n' "$head_of_frame" > plain.lammpstrj
printf '%s\n' 'ITEM: UNITS' lj 'ITEM: TIME' 0.025 "$head_of_frame" > units.lammpstrj

v/bin/python -W ignore - <<'PY'
import chemfiles
import MDAnalysis
import mdtraj
import numpy as np
from ase.io import read
from pymatgen.io.lammps.outputs import parse_lammps_dumps



def by_chemfiles(name):
    frame = chemfiles.Trajectory(name, "r", "LAMMPS").read()
    return np.array(frame.positions), frame["time"] if "time" in frame.list_properties() else None


topology = mdtraj.Topology()
topology.add_atom("A", mdtraj.element.argon, topology.add_residue("A", topology.add_chain()))
readers = {
    "ASE": lambda name: read(name, format="lammps-dump-text").positions,
    "chemfiles": lambda name: by_chemfiles(name)[0],
    "MDAnalysis": lambda name: MDAnalysis.Universe(
        name, format="LAMMPSDUMP", topology_format="LAMMPSDUMP").atoms.positions.copy(),
    "mdtraj": lambda name: 10 * mdtraj.load_lammpstrj(name, top=topology).xyz[0],
    "pymatgen": lambda name: next(iter(parse_lammps_dumps(name))).data[["x", "y", "z"]].to_numpy(),
}
refused = []
for reader, positions in readers.items():
    assert np.allclose(positions("plain.lammpstrj"), [[1, 2, 3]], atol=1e-6), reader
    try:
        assert np.allclose(positions("units.lammpstrj"), [[1, 2, 3]])
        print(f"{reader}: read")
    except (ValueError, OSError) as error:
        refused.append(reader)
        print(f"{reader}: {type(error).__name__}: {str(error).splitlines()[-1]}")
assert by_chemfiles("units.lammpstrj")[1] == 0.025
assert refused == ["MDAnalysis", "mdtraj", "pymatgen"], "it has changed"
PY
echo "A LAMMPS dump with its units and time: ASE and chemfiles read it; MDAnalysis, mdtraj and pymatgen refuse it whole."
