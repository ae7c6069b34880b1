"""Rotation-equivariant graph networks for glassy liquids: the package under the book.

Import as ``import glasslit as gl``. The public surface is what stands in ``__init__.pyi``, which editors and type
checkers read; each name is imported where it is first used. ``dir(gl)`` lists its functions and classes; modules
(``gl.plotting``, ``gl.testing``, ``gl.metrics``) are found by their names. Rooms from the ground up:
:mod:`glasslit.liquid`; :mod:`glasslit.data`, :mod:`glasslit.equivariance`; :mod:`glasslit.models`,
:mod:`glasslit.simulate`; :mod:`glasslit.learning`, :mod:`glasslit.testing`; :mod:`glasslit.prediction`; and
``glasslit.cli``, the command.
"""

import lazy_loader

from . import aliases as _aliases

_public, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
_aliases.install()


def __dir__() -> list[str]:
    """What one calls: functions and classes of the public surface, and the version. Modules are not listed."""
    return [*_aliases.functions_and_classes(), "__version__"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from .provenance import version

        return version()
    return _aliases.module(name) if name in _aliases.ALIASES else _public(name)
