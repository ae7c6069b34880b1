"""Files of other programs, a module for each kind: frames as they stand in the file, before anything is made of them.

Each has ``frames(path, options)``, which yields for each frame a function that reads it into a
:class:`~glasslit.data.formats.snapshot.Snapshot`: those that nobody asks for are not parsed.
:mod:`~glasslit.data.trajectory` tells kinds apart, and makes configurations of snapshots.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "hoomd",
        "lammps_columns",
        "lammps_data",
        "lammps_dump",
        "lammps_yaml",
        "opened",
        "others",
        "rows",
        "snapshot",
        "xyz",
        "xyz_extended",
    ],
)
