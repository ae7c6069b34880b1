"""Fixtures that several modules share. Nothing here computes what is under test."""

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: waiting threads leave the cores to other processes

import pytest
import torch

import glasslit as gl
from glasslit.testing import random_liquid

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def published() -> Path:
    """Folder with real published files: $GLASSLIT_PUBLISHED, or ../shared/published beside the checkout."""
    folder = Path(os.environ.get("GLASSLIT_PUBLISHED", ROOT.parent / "shared" / "published"))
    if not (folder / "botan_small").is_dir():
        pytest.skip(f"no published configurations at {folder}; set GLASSLIT_PUBLISHED to where they are")
    return folder


@pytest.fixture
def liquid():
    return random_liquid(300, seed=1)


@pytest.fixture
def small_net():
    """An untrained network whose batch norms have seen data, float64, in evaluation mode."""
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(layers=3, channels=3, l_max=2, n_times=2)).double()
    net(gl.neighbor_graph(random_liquid(300, seed=2), inputs="thermal+E_IS", dtype=torch.float64))
    return net.eval()
