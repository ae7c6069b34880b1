"""What several test files share. Nothing here computes what is under test."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

import glasslit as gl
from glasslit.testing import random_liquid

ROOT = Path(__file__).resolve().parent.parent

SMALL = {"layers": 2, "channels": 2, "l_max": 1, "n_times": 2}
"""Sizes of a network that trains in a second."""

STAND_INS = {"BOTAN": 0.02, "SE3": 0.05}
"""Noise of what stands for published predictions."""


def learnable(seed, n=150):
    """A liquid whose labels follow from its structure: propensity grows with the number of close neighbors."""
    c = random_liquid(n, seed=seed)
    count = np.bincount(gl.neighbor_graph(c, cutoff=1.3).edge_index[1], minlength=n)
    labels = np.stack([1.0 + count, 2.0 - 0.1 * count])
    return c.replace(propensity=labels, propensity_half=np.stack([labels, labels]))


def mixed(c, seed=0):
    """The positions of a liquid with A and B in any order: the starter set lists all A first, simulations need not.

    Positions, types, inherent positions and energies, without labels.
    """
    order = np.random.default_rng(seed).permutation(c.n_particles)
    fields = ("inherent_positions", "potential_energy_thermal", "potential_energy_inherent")
    kept = {field: getattr(c, field)[order] for field in fields if getattr(c, field) is not None}
    return gl.Configuration(
        positions=c.positions[order], types=c.types[order], box=c.box, temperature=c.temperature, **kept
    )


def trained(train, val, epochs=3, seed=0, net=None, **settings):
    """A network of that size after some epochs, and their records; on the CPU unless a device is named."""
    torch.manual_seed(seed)
    net = net or gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal"))
    config = gl.TrainConfig(**{"epochs": epochs, "seed": seed, "device": "cpu"} | settings)
    records = list(gl.fit(net, train, val, config))
    return net, records


class InThreads(ThreadPoolExecutor):
    """Takes the place of a pool of processes, each of which would load the libraries for two seconds: one thread."""

    def __init__(self, *_, **__):
        super().__init__(1)


def files(folder):
    """When each file of a factory was written."""
    return {p: p.stat().st_mtime_ns for p in sorted(Path(folder).rglob("*")) if p.suffix in (".npz", ".h5")}


def content(path):
    """Hashes of what a data set holds."""
    return [c.hash() for c in gl.load(path)]


def python_calls(work):
    """How many Python functions a piece of work calls: its cost, by the code and not by a clock."""
    made = 0

    def count(frame, event, argument):
        nonlocal made
        made += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return made
