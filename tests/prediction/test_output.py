"""The file of predictions: it survives a kill, and others read it."""

import re
import subprocess
import sys

import ase.io
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

import glasslit as gl
from glasslit.liquid.kob_andersen import TIME_GRIDS
from glasslit.prediction import PredictionFile, find_model, predicted_atoms
from glasslit.prediction.output import column
from glasslit.testing import random_liquid
from tests.common import ROOT, mixed


def frames(n=3):
    return [random_liquid(60, seed=seed) for seed in range(n)]


def test_a_killed_file_goes_on_after_the_last_whole_frame(tmp_path):
    whole = PredictionFile(tmp_path / "whole.extxyz", "task")
    for c in frames():
        whole.write(c.to_ase())
    whole.finish()
    killed = PredictionFile(tmp_path / "killed.extxyz", "task")
    for c in frames()[:2]:
        killed.write(c.to_ase())
    with killed.partial.open("r+b") as content:  # killed while it wrote the second
        content.truncate(killed.partial.stat().st_size - 100)
    again = PredictionFile(tmp_path / "killed.extxyz", "task")
    assert again.done == 1
    for c in frames()[again.done :]:
        again.write(c.to_ase())
    assert again.finish().read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
    assert not killed.partial.exists()


def test_an_unfinished_file_of_another_task_is_refused(tmp_path):
    PredictionFile(tmp_path / "a.extxyz", "task").write(frames()[0].to_ase())
    with pytest.raises(ValueError, match="unfinished prediction of other frames, at another temperature or"):
        PredictionFile(tmp_path / "a.extxyz", "another")


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """A liquid, what a network predicts for it, and the file of both, of two frames."""
    path = tmp_path_factory.mktemp("predicted") / "c.extxyz"
    c = mixed(gl.load("starter", T=0.56, split="test")[0])
    ids = np.random.default_rng(0).permutation(c.n_particles) + 1
    c = gl.Configuration(positions=c.positions, types=c.types, box=c.box, ids=ids, step=4200)
    model = find_model("thermal-T0.56")
    prediction = model.predict(c)
    out = PredictionFile(path, "task")
    for frame in range(2):
        out.write(predicted_atoms(c, model, prediction, frame))
    out.finish()
    return c, prediction, path


def test_names_of_columns_are_those_that_extended_xyz_allows():
    assert column(0.104) == "predicted_t0_104"
    assert column(52.0) == "predicted_t52"
    times = {t for grid in TIME_GRIDS.values() for t in grid}
    assert len({column(t) for t in times}) == len(times)
    assert all(re.fullmatch(r"[A-Za-z]\w*", column(t)) for t in (1e-5, 0.1, 1.3, 41200, 130000, 1e12))


def test_ase_reads_it(predicted):
    c, prediction, path = predicted
    frames = ase.io.read(path, ":")
    assert [atoms.info["frame"] for atoms in frames] == [0, 1]
    atoms = frames[1]
    assert atoms.info["step"] == 4200
    assert np.array_equal(atoms.arrays["id"], c.ids)
    assert np.allclose(atoms.arrays["predicted_t52"], prediction[-1], atol=1e-8)
    assert np.allclose(atoms.arrays["predicted_t0_104"], prediction[0], atol=1e-8)
    assert sorted(set(zip(c.types.tolist(), atoms.arrays["radius"].tolist(), strict=True))) == [(0, 0.5), (1, 0.44)]


def test_the_parser_of_the_format_s_own_definition_reads_it(predicted):
    """extxyz is strict: it refuses names with a dot, which the file had before."""
    extxyz = pytest.importorskip("extxyz")
    c, prediction, path = predicted
    first, second = extxyz.read_dicts(str(path))
    assert np.allclose(first.arrays["predicted_t52"], prediction[-1], atol=1e-8)
    assert np.array_equal(second.arrays["id"], c.ids)
    assert (second.info["step"], second.info["frame"]) == (4200, 1)
    wrong = path.with_name("dot.extxyz")
    wrong.write_text(path.read_text().replace("predicted_t0_104", "predicted_t0.104"))
    with pytest.raises(extxyz.cextxyz.ExtXYZError):
        extxyz.read_dicts(str(wrong))


def test_ovito_reads_it(predicted):
    io = pytest.importorskip("ovito.io", exc_type=ImportError, reason="OVITO is not installed, or has no libGL here")
    c, prediction, path = predicted
    data = io.import_file(str(path)).compute(0)
    assert np.array_equal(data.particles["Particle Identifier"], c.ids)
    assert np.allclose(data.particles["Radius"], np.where(c.types == 0, 0.5, 0.44))
    assert np.allclose(data.particles["predicted_t52"], prediction[-1], atol=1e-8)
    assert np.allclose(np.diag(data.cell[:, :3]), c.box)
    freud = pytest.importorskip("freud")
    neighbors = freud.locality.AABBQuery.from_system(data).query(
        data.particles.positions[...], {"r_max": 1.5, "exclude_ii": True}
    )
    found = np.bincount(neighbors.toNeighborList().query_point_indices, minlength=c.n_particles)
    ours = gl.neighbor_graph(c, cutoff=1.5)
    assert np.abs(found - np.bincount(ours.edge_index[1], minlength=c.n_particles)).sum() <= 2  # freud's are float32


def test_mdanalysis_and_chemfiles_read_it(predicted):
    c, prediction, path = predicted
    mda = pytest.importorskip("MDAnalysis")
    universe = mda.Universe(str(path), format="XYZ", topology_format="XYZ")
    assert np.allclose(universe.trajectory[1].positions, c.positions, atol=1e-5)
    assert universe.atoms.names.tolist() == ["H" if kind == 0 else "He" for kind in c.types]
    chemfiles = pytest.importorskip("chemfiles")
    frame = chemfiles.Trajectory(str(path), "r", "XYZ").read()
    assert np.allclose(frame.cell.lengths, c.box)
    assert np.allclose([atom["predicted_t52"] for atom in frame.atoms], prediction[-1], atol=1e-8)


def test_the_chapter_s_snippet_draws_mobility_in_ovito(predicted, tmp_path):
    """As it stands in *Your own liquid*, in a process of its own; OVITO draws with Vulkan, where there is one."""
    pytest.importorskip("ovito.io", exc_type=ImportError, reason="OVITO is not installed, or has no libGL here")
    cells = nbformat.read(ROOT / "book" / "your_own_liquid.ipynb", 4).cells
    (snippet,) = re.findall(r"```python\n(from ovito.*?)```", "\n".join(c.source for c in cells), re.S)
    (tmp_path / "predicted.extxyz").write_bytes(predicted[2].read_bytes())
    done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True)
    if "Vulkan" in done.stderr and done.returncode:
        pytest.skip("no Vulkan here; OVITO 3.17 draws with it: apt install libvulkan1 mesa-vulkan-drivers")
    assert done.returncode == 0, done.stderr
    image = plt.imread(tmp_path / "mobility.png")[..., :3]
    colors = {tuple((255 * c).astype(int) // 64) for c in image[::4, ::4].reshape(-1, 3)}
    assert len(colors) > 10, "particles of different mobility have different colors"
