#!/usr/bin/env bash
# One triclinic box in a GSD file, and MDAnalysis 2.11.0 and mdtraj 1.11.1.post2 read two others.
#
# Guess: the six numbers of a GSD box (Lx Ly Lz xy xz yz, tilts as fractions of the box) mean the same to every reader.
# Wrong: MDAnalysis keeps Lx Ly Lz as the lengths of the edges and takes the arc cosine of each tilt for an angle, in
# the order xy xz yz. mdtraj puts the numbers in rows where they belong in columns. Neither has the right edges or
# angles, they do not agree, and nothing is said. Boxes without tilts are read well by both. freud, which shares its
# definition with HOOMD-blue, has the right one.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet gsd==5.0.1 freud-analysis==3.4.0 MDAnalysis==2.11.0 mdtraj==1.11.1.post2 \
    numpy==2.4.6
cd "$folder"

v/bin/python -W ignore - <<'PY'
import freud
import gsd.hoomd
import MDAnalysis
import mdtraj
import numpy as np
from MDAnalysis.lib.mdamath import triclinic_box

told = {}
for name, tilts in (("straight", (0, 0, 0)), ("tilted", (0.3, -0.2, 0.25))):
    frame = gsd.hoomd.Frame()
    frame.particles.N, frame.particles.types, frame.particles.typeid = 1, ["A"], [0]
    frame.particles.position = [[1, 2, 3]]
    frame.configuration.box = [10, 11, 12, *tilts]
    with gsd.hoomd.open(f"{name}.gsd", "w") as file:
        file.append(frame)
    by_mdtraj = mdtraj.load(f"{name}.gsd")
    told[name] = {
        "freud": triclinic_box(*freud.box.Box.from_box(frame.configuration.box).to_matrix().T),
        "MDAnalysis": MDAnalysis.Universe(f"{name}.gsd").dimensions,
        "mdtraj": np.concatenate([by_mdtraj.unitcell_lengths[0], by_mdtraj.unitcell_angles[0]]),
    }
    for reader, box in told[name].items():
        print(f"{name}, {reader}: edges {np.round(box[:3], 2)}, angles {np.round(box[3:], 1)}")


def like(reader, box, name="tilted"):
    return np.allclose(told[name][reader], box, atol=0.02)


assert all(like(reader, [10, 11, 12, 90, 90, 90], "straight") for reader in told["straight"])
assert like("freud", [10, 11.48, 12.60, 80.02, 100.98, 73.30])
assert like("MDAnalysis", [10, 11, 12, 72.54, 101.54, 75.52]), "it has changed"
assert like("mdtraj", [10.80, 11.40, 12, 74.74, 102.84, 76.33]), "it has changed"
PY
echo "A GSD box with edges 10, 11.48, 12.60: MDAnalysis 2.11.0 has 10, 11, 12, mdtraj 1.11.1.post2 10.80, 11.40, 12."
