"""Rotation-equivariant graph networks for glassy liquids: the package under the book.

Import as ``import glasslit as gl``. The public surface is what stands in ``__init__.pyi``, which editors and
type checkers read; each name is imported where it is first used.
"""

import lazy_loader

from .provenance import version as _version

__version__ = _version()
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
