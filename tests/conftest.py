"""Fixtures that several modules share. Nothing here computes what is under test."""

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: waiting threads leave the cores to other processes

import numpy as np
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


@pytest.fixture(scope="session")
def write_glassbench():
    """Writes a configuration of ours as a file in GlassBench's layout, with stand-ins for others' predictions."""

    def write(folder, c, number, noise=None):
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(number)
        labels = rng.uniform(size=(10, c.n_particles))  # of no meaning at the times that ours lack
        labels[: len(c.times)] = c.propensity
        np.savez(
            folder / f"N{c.n_particles}T{c.temperature:.2f}_{number}.npz",
            types=c.types + 1,
            initial_positions=c.positions,
            initial_positions_inherent=c.inherent_positions,
            initial_positions_cage=c.inherent_positions,
            md_prop=labels,
            bb_prop=rng.uniform(size=labels.shape),
            **{name: labels + rng.normal(scale=s, size=labels.shape) for name, s in (noise or {}).items()},
        )

    return write
