"""Fixtures that several modules share. Nothing here computes what is under test."""

import gc
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: waiting threads leave the cores to other processes
if "PYTEST_XDIST_WORKER" in os.environ:  # a core for each worker; tests of threads set their number
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

import glasslit as gl
from glasslit.simulate.factory import Order, Recipe, lattice, produce
from glasslit.testing import random_liquid, write_glassbench
from tests.common import ROOT, STAND_INS, mixed

SLOW = {
    "cli/test_label",
    "cli/test_simulate",
    "cli/test_train",
    "equivariance/kernels/test_ptx_gpu",
    "learning/test_capture",
    "learning/test_prepared",
    "learning/test_pretrain",
    "learning/test_sweep",
    "learning/test_train",
    "learning/test_transfer",
    "models/test_baselines",
    "models/test_decoders",
    "models/test_heads",
    "simulate/test_factory",
    "simulate/test_lammps",
    "simulate/test_lanes",
    "simulate/test_protocol",
    "test_assignment",
    "test_cluster",
    "test_devices",
    "test_exercises",
    "test_faults",
    "test_forked_kernels",
    "test_notebook",
    "test_parallel",
    "test_starter",
    "test_viewer",
}
"""Files that simulate, emulate a GPU, train, execute notebooks or open a browser.
``-m "not slow"`` is for everyday work."""
SLOW_TESTS = {"test_in_the_simulator", "test_in_the_interpreter", "test_it_does_not_matter_which_name_comes_first"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what needs the built book, too."""
    for item in items:
        place = item.path.relative_to(ROOT).with_suffix("").as_posix().removeprefix("tests/")
        needs = {"built", "browser"} & set(getattr(item, "fixturenames", ()))
        if place in SLOW or item.name.split("[")[0] in SLOW_TESTS or needs:
            item.add_marker("slow")


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
def start():
    """A liquid in equilibrium, without its labels: where simulations begin."""
    c = mixed(gl.load("starter", T=0.50)[0])
    return gl.Configuration(positions=c.positions, types=c.types, box=c.box, temperature=0.5, split="train")


@pytest.fixture(scope="session")
def starts(tmp_path_factory):
    """Four small liquids, of a lattice each."""
    folder = tmp_path_factory.mktemp("starts")
    melt = Recipe(0.9, (0.01,), n_trajectories=2, segment=0.5, segments=1, melt=20.0)
    work = [Order(lattice(160, seed=k), melt, folder / str(k), k) for k in range(4)]
    return [gl.load(path)[0] for path in produce(work)]


@pytest.fixture(scope="session")
def glassbench_folder(tmp_path_factory):
    """T0.56/test with two configurations, 9 and 10: the order of numbers is not that of letters."""
    place = tmp_path_factory.mktemp("KA") / "T0.56" / "test"
    for number, c in enumerate(gl.load("standard", T=0.56, split="test"), start=9):
        write_glassbench(place, c, number, STAND_INS)
    return place


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    """Notebooks that are executed while a test runs find their kernel's libraries loaded: it is a fork.

    Through the environment, so that processes of their own (papermill, the command) find it as well.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "book" / "_ext"))
        import forked_kernels

        with forked_kernels.server() as path:
            if path is not None:
                folder = tmp_path_factory.mktemp("jupyter")
                forked_kernels.kernelspec(folder, path)
                patch.setenv("JUPYTER_PATH", str(folder))
            yield


@pytest.fixture(scope="session")
def browser():
    """Chromium, where one is installed."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium here; pages are not looked at in a browser")
    with (
        api.sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as opened,
    ):
        yield opened


def pytest_collection_finish() -> None:
    """What was imported and collected stays; Python's garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()
