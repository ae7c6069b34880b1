"""The label factory: equilibrate, quench, and average over isoconfigurational runs.

:mod:`~glasslit.simulate.protocol` says what is done to one configuration, :mod:`~glasslit.simulate.factory` makes whole
data sets of them, and engines (:mod:`~glasslit.simulate.engines`) do the work: LAMMPS, a CPU's vector lanes, a GPU.
"""

from .protocol import Progress, collect, equilibrate, label, quench

__all__ = ["Progress", "collect", "equilibrate", "label", "quench"]
