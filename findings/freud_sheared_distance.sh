#!/usr/bin/env bash
# freud 3.4.0 and chemfiles 0.10.4: the distance of two particles in a sheared box is not that of the nearest images.
#
# Guess: a periodic distance is the shortest one. freud's documentation says that wrapping a vector is the minimum image
# convention, and chemfiles' that its distance accounts for periodic boundaries.
# Wrong: both bring each fraction of the vector into -1/2 to 1/2, which finds the nearest image only where box vectors
# are at right angles, or where the particles are nearer than half of the box's least height. In a box sheared by half
# an edge (the most that LAMMPS allows by default) two particles 5.55 apart are told to be 8.11 apart, by `Box.wrap`,
# `Box.compute_distances` and `Frame.distance` alike. ASE and MDAnalysis search the neighboring images, and find 5.55.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet freud-analysis==3.4.0 chemfiles==0.10.4 ase==3.29.0 MDAnalysis==2.11.0 \
    numpy==2.4.6
cd "$folder"

v/bin/python -W ignore - <<'PY'
import chemfiles
import freud
import numpy as np
from ase import Atoms
from MDAnalysis.lib.distances import calc_bonds
from MDAnalysis.lib.mdamath import triclinic_box

cell = np.array([[10.0, 0, 0], [5, 10, 0], [0, 0, 10]])
pair = np.array([[0.0, 0, 0], [6.75, 4.5, 0]])  # the second is 0.45 a + 0.45 b; minus a, it is nearer
shortest = min(np.linalg.norm(pair[1] + i * cell[0] + j * cell[1]) for i in range(-2, 3) for j in range(-2, 3))

box = freud.box.Box(10, 10, 10, 0.5, 0, 0)
assert np.allclose(box.to_matrix(), cell.T)
assert "minimum image convention" in " ".join(freud.box.Box.wrap.__doc__.split())
frame = chemfiles.Frame()
frame.cell = chemfiles.UnitCell(cell.T.tolist())
for position in pair:
    frame.add_atom(chemfiles.Atom("A"), position.tolist())
assert np.allclose(frame.cell.matrix, cell.T)

told = {
    "ASE": Atoms("H2", positions=pair, cell=cell, pbc=True).get_distance(0, 1, mic=True),
    "MDAnalysis": float(calc_bonds(pair[0], pair[1], box=triclinic_box(*cell))),
    "freud's compute_distances": float(box.compute_distances(pair[:1], pair[1:])[0]),
    "freud's wrap": float(np.linalg.norm(box.wrap(pair[1] - pair[0]))),
    "chemfiles": frame.distance(0, 1),
}
print(f"shortest of the images: {shortest:.2f}")
for name, distance in told.items():
    print(f"{name}: {distance:.2f}")
    expected = shortest if name in ("ASE", "MDAnalysis") else np.linalg.norm(pair[1] - pair[0])
    assert abs(distance - expected) < 1e-3, "it has changed"
PY
echo "freud 3.4.0 and chemfiles 0.10.4: two particles whose nearest images are 5.55 apart are told to be 8.11 apart."
