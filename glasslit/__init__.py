"""Rotation-equivariant graph networks for glassy liquids: the package under the book.

Import as ``import glasslit as gl``. The public surface is what stands here.
"""

from . import testing
from .configuration import Configuration
from .graph import neighbor_graph
from .metrics import noise_ceiling, pearson
from .network import SE3GNN, ModelConfig
from .prepared import prepare_botan_small
from .provenance import version as _version
from .published import fetch_botan_small, fetch_glassbench, read_published
from .simulate import quench
from .store import load, save
from .train import TrainConfig, evaluate, fit, load_model, save_model

__version__ = _version()
__all__ = [
    "SE3GNN",
    "Configuration",
    "ModelConfig",
    "TrainConfig",
    "evaluate",
    "fetch_botan_small",
    "fetch_glassbench",
    "fit",
    "load",
    "load_model",
    "neighbor_graph",
    "noise_ceiling",
    "pearson",
    "prepare_botan_small",
    "quench",
    "read_published",
    "save",
    "save_model",
    "testing",
]
