"""Modules under the names that they had before there were rooms: ``glasslit.metrics`` is ``glasslit.learning.metrics``.

Scripts, notebooks and pickles that were written then go on working: an import of the old name gives the module itself,
not a copy of it. Nothing inside the package uses these names.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ALIASES = {
    "baselines": "models.baselines",
    "checkpoint": "learning.checkpoint",
    "checks": "data.checks",
    "comparison": "prediction.comparison",
    "conditions": "models.conditions",
    "configuration": "liquid.configuration",
    "descriptors": "models.descriptors",
    "downloads": "data.downloads",
    "evaluation": "learning.evaluation",
    "graph": "liquid.graph",
    "heterogeneity": "liquid.heterogeneity",
    "kernels": "equivariance.kernels",
    "kob_andersen": "liquid.kob_andersen",
    "layer": "equivariance.convolution",
    "metrics": "learning.metrics",
    "network": "models.se3",
    "periodic": "liquid.periodic",
    "prepared": "learning.prepared",
    "propensity": "models.propensity",
    "published": "data.published",
    "ridge": "models.ridge",
    "so3": "equivariance.so3",
    "store": "data.store",
    "sweep": "learning.sweep",
    "train": "learning.train",
    "trajectory": "data.trajectory",
    "transfer": "learning.transfer",
}
"""Old name -> where the module is now, both inside the package."""


class _Finder:
    """Finds and loads old names, those inside of moved packages as well (``glasslit.kernels.plan``)."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        first, dot, rest = name.partition(".")
        if package != __package__ or first not in ALIASES:
            return None
        origin = f"{package}.{ALIASES[first]}{dot}{rest}"
        return ModuleSpec(fullname, self, origin=origin)  # type: ignore[arg-type]  # has what a loader needs

    def create_module(self, spec: ModuleSpec) -> None:
        """None: an empty one will do."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that is meant in the place of the empty one."""
        spec = module.__spec__
        assert spec is not None
        assert spec.origin is not None
        sys.modules[spec.name] = import_module(spec.origin)


def module(name: str) -> ModuleType:
    """The module of an old name."""
    return import_module(f"{__package__}.{ALIASES[name]}")


def functions_and_classes() -> list[str]:
    """Names of the public surface that are no modules, in alphabetical order, without importing any of them.

    They are what ``__init__.pyi`` takes from a file (``from .data.store import load``); modules it takes from a folder
    (``from .data import store``).
    """
    here = Path(__file__).parent
    found = []
    for node in ast.parse((here / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and not (here / node.module.replace(".", "/")).is_dir():
            found += [alias.asname or alias.name for alias in node.names]
    return sorted(found)


def install() -> None:
    """Let imports find the old names; before others do, which would load modules of moved packages a second time."""
    if not any(type(finder) is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
