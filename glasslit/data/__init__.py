"""Reading and writing files: our own data sets, published ones, downloads, trajectories of other programs, and checks
of what a data set holds. The data sets and networks that ship with the package lie here, too.

Imports :mod:`glasslit.liquid`. Start with :mod:`~glasslit.data.store`, our own format. It alone knows h5py, and
:mod:`~glasslit.data.published` alone unpickles.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["checks", "downloads", "formats", "isoconfigurational", "published", "shipped", "store", "trajectory"]
)
