#!/usr/bin/env bash
# ASE 3.29.0 reads the velocities of an AMBER trajectory 98 times too fast, and gives its own positions units of a speed.
#
# Guess: NetCDF trajectories follow AMBER's convention, as the module says of itself: velocities are in Å/ps, with the
# unit beside them, and ASE converts them to its own unit and back, as it does for GROMACS.
# Wrong: the numbers are taken as they stand, so that 1 Å/ps is read as 98.2 Å/ps, and a temperature made of them is
# almost ten thousand times too high. On the way out the velocities have no unit, and the attribute that was meant for
# them lands on the positions: `coordinates` of a file with velocities is in "Angstrom/Femtosecond". Nothing is said.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet ase==3.29.0 chemfiles==0.10.4 netCDF4==1.7.5.1.post1 numpy==2.4.6
cd "$folder"

v/bin/python - <<'PY'
import chemfiles
import netCDF4
import numpy as np
from ase import Atoms, units
from ase.io.netcdftrajectory import NetCDFTrajectory

ANGSTROM_PER_PICOSECOND = units.Ang / (1000 * units.fs)
frame = chemfiles.Frame()
frame.cell = chemfiles.UnitCell([10, 11, 12])
frame.add_velocities()
frame.add_atom(chemfiles.Atom("Ar"), [1, 2, 3], [1.0, -2.0, 0.5])  # Å, Å/ps
with chemfiles.Trajectory("amber.nc", "w") as file:
    file.write(frame)
with netCDF4.Dataset("amber.nc") as file:
    print("the file:", file.Conventions, "| velocities in", file["velocities"].units)
    assert file.Conventions == "AMBER" and file["velocities"].units == "angstrom/picosecond"
    assert np.allclose(file["velocities"][0], [[1, -2, 0.5]])
with chemfiles.Trajectory("amber.nc") as file:
    frame = file.read()
    assert np.allclose(np.array(frame.velocities), [[1, -2, 0.5]], atol=1e-4)
read = NetCDFTrajectory("amber.nc", "r")[0].get_velocities() / ANGSTROM_PER_PICOSECOND
print("ASE reads", read.round(1).tolist(), "Å/ps")
assert np.allclose(read, np.array([[1, -2, 0.5]]) / ANGSTROM_PER_PICOSECOND, rtol=1e-3), "it has changed"

atoms = Atoms("Ar", positions=[[1, 2, 3]], cell=[10, 11, 12], pbc=True)
atoms.set_velocities([[1, -2, 0.5]])
writer = NetCDFTrajectory("ase.nc", "w", atoms)
writer.write()
writer.close()
with netCDF4.Dataset("ase.nc") as file:
    print("written by ASE:", file.Conventions, "| coordinates in", file["coordinates"].units, "| velocities in",
          getattr(file["velocities"], "units", "nothing"))
    assert file["coordinates"].units == "Angstrom/Femtosecond", "it has changed"
    assert not hasattr(file["velocities"], "units"), "it has changed"
PY
echo "ASE 3.29.0: 1 Å/ps in an AMBER file is read as 98.2 Å/ps; written by ASE, coordinates are in Angstrom/Femtosecond."
