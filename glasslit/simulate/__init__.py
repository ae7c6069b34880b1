"""The label factory: equilibrate, quench, and average over isoconfigurational runs.

Imports :mod:`glasslit.liquid` and :mod:`glasslit.data`. Start with :mod:`~glasslit.simulate.protocol`, what is done to
one configuration; :mod:`~glasslit.simulate.factory` makes whole data sets so. Engines do the work, each as
:mod:`~glasslit.simulate.run` asks: LAMMPS, a CPU's vector lanes, a GPU (:mod:`~glasslit.simulate.engines` names them).
"""

import lazy_loader

from .protocol import Progress, collect, equilibrate, label, quench

__all__ = ["Progress", "collect", "equilibrate", "label", "quench"]
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__, ["engines", "factory", "files", "fixed", "gpu", "gpu_setup", "lammps", "lanes", "protocol", "run"]
)
