import json
import os
import subprocess
import sys
from itertools import count

import numpy as np
import pandas as pd
import papermill
import pytest

import glasslit as gl
from glasslit import prepared
from glasslit.liquid.kob_andersen import GLASSBENCH_CEILING, TIME_GRIDS
from glasslit.testing import write_glassbench
from tests.common import ROOT

TEMPLATE = ROOT / "book" / "train.ipynb"


class FakeEngine:
    """Moves nobody, and counts."""

    potential, calls, dies_at = "force-shifted", 0, None

    def __init__(self, potential):
        assert potential == self.potential

    def minimize(self, positions, types, box):
        FakeEngine.calls += 1
        if FakeEngine.calls == FakeEngine.dies_at:
            raise KeyboardInterrupt
        return positions + 0.01


@pytest.fixture
def folder(published, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "LammpsEngine", FakeEngine)
    FakeEngine.calls, FakeEngine.dies_at = 0, None
    for split in ("train", "test"):
        (tmp_path / "botan_small" / split).mkdir(parents=True)
        for path in (published / "botan_small" / split).iterdir():
            (tmp_path / "botan_small" / split / path.name).symlink_to(path)
    return tmp_path


def test_botan_small_is_split_as_stated_and_made_once(folder):
    path = gl.prepare_botan_small(folder)
    assert FakeEngine.calls == 12
    assert gl.prepare_botan_small(folder) == path
    assert FakeEngine.calls == 12
    counts = {split: len(gl.load(path, T=0.44, split=split)) for split in ("train", "val", "test")}
    assert counts == {"train": 8, "val": 2, "test": 2}
    test = gl.load(path, split="test")
    raw = gl.read_published(folder / "botan_small" / "test")
    for ready, published in zip(test, raw, strict=True):
        assert np.array_equal(ready.positions, published.positions)
        assert np.allclose(ready.propensity, published.propensity, rtol=1e-6)
        assert ready.times.tolist() == [4120]
        assert ready.potential_energy_thermal.mean() == pytest.approx(-6.212, abs=0.03)  # the published level


def test_a_killed_preparation_repeats_no_quench(folder):
    FakeEngine.dies_at = 5
    with pytest.raises(KeyboardInterrupt):
        gl.prepare_botan_small(folder)
    assert not (folder / "botan-small.h5").exists()
    gl.prepare_botan_small(folder)
    assert FakeEngine.calls == 13


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """KA_models/T0.50 and T0.44 as GlassBench unpacks, of starter configurations: 1, 2, 10, 11 and 401, 402."""
    root = tmp_path_factory.mktemp("GlassBench") / "KA_models"
    for T in (0.50, 0.44):
        numbers = {"train": iter((1, 2, 10, 11)), "val": iter(()), "test": iter((401, 402))}
        for c in gl.load("starter", T=T):
            number = next(numbers[c.split], None)
            if number:
                write_glassbench(root / f"T{T:.2f}" / c.split, c, number, {"BOTAN": 0.1})
    return root


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where prepared files go in a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_published_folder_becomes_one_file(benchmark, cache):
    path = gl.prepare_published(benchmark, T=0.50)
    assert path.is_relative_to(cache)
    split = {name: gl.load(path, T=0.50, split=name, lazy=True) for name in ("train", "val", "test")}
    assert {name: len(chosen) for name, chosen in split.items()} == {"train": 3, "val": 1, "test": 2}
    raw = gl.read_published(benchmark / "T0.50" / "train")
    for ours, theirs in zip([*split["train"], *split["val"]], raw, strict=True):  # 2 before 10; the last validates
        assert np.array_equal(ours.positions, theirs.positions)
        assert np.array_equal(ours.propensity, theirs.propensity)
        assert ours.times.tolist() == list(TIME_GRIDS[0.50])
        assert ours.density == pytest.approx(1.2)
    starter = gl.load("starter", T=0.50, split="train")[0]
    of_starter = split["train"][0]
    for energy in ("potential_energy_thermal", "potential_energy_inherent"):  # files have none
        assert np.abs(getattr(of_starter, energy) - getattr(starter, energy)).max() < 5e-3  # rounded in the data set


def test_it_is_made_once_and_again_when_the_folder_changes(benchmark, cache, monkeypatch):
    path = gl.prepare_published(benchmark / "T0.50")
    stamp = path.stat().st_mtime_ns
    assert gl.prepare_published(benchmark / "T0.50", T=0.50) == path
    assert path.stat().st_mtime_ns == stamp
    extra = benchmark / "T0.50" / "train" / "N1000T0.50_12.npz"
    write_glassbench(extra.parent, gl.load("starter", T=0.50, split="val")[0], 12)
    try:
        changed = gl.prepare_published(benchmark / "T0.50")
        assert changed != path
        assert len(gl.load(changed, split="train")) == 4
    finally:
        extra.unlink()
    calls = count()

    def dies(c):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return c

    monkeypatch.setattr(prepared, "with_energies", dies)
    with pytest.raises(KeyboardInterrupt):
        gl.prepare_published(benchmark / "T0.44")
    assert not list(cache.rglob("T0.44*")), "half a file would be taken for a whole one"


def test_folders_that_do_not_fit_are_refused(benchmark, cache, tmp_path):
    with pytest.raises(ValueError, match=r"holds T0\.44, T0\.50; expected one for T = None"):
        gl.prepare_published(benchmark)
    with pytest.raises(ValueError, match=r"expected one for T = 0\.56"):
        gl.prepare_published(benchmark, T=0.56)
    with pytest.raises(ValueError, match="no folders train and test"):
        gl.prepare_published(tmp_path)
    with pytest.raises(ValueError, match=r"has T = 0\.5; expected T = 0\.56"):
        gl.prepare_published(benchmark / "T0.50", T=0.56)
    (c,) = gl.load("starter", T=0.50, split="test")[:1]
    write_glassbench(tmp_path / "alone" / "train", c, 1)
    write_glassbench(tmp_path / "alone" / "test", c, 401)
    with pytest.raises(ValueError, match="holds one configuration; expected two"):
        gl.prepare_published(tmp_path / "alone")
    (tmp_path / "alone" / "train" / "N1000T0.50_2.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"N1000T0\.50_2\.npz: not a readable"):
        gl.prepare_published(tmp_path / "alone")


def test_bapst_folders_are_quenched_on_demand(published, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "LammpsEngine", FakeEngine)
    monkeypatch.setattr(FakeEngine, "potential", "unshifted")
    FakeEngine.calls, FakeEngine.dies_at = 0, 3
    for split, numbers in (("train", (1, 2, 3)), ("test", (4,))):
        (tmp_path / "temperature_044" / split).mkdir(parents=True)
        for number in numbers:
            target = tmp_path / "temperature_044" / split / f"test_{number}.pickle"
            target.symlink_to(published / "bapst" / "test_small.pickle")
    bare = gl.prepare_published(tmp_path, T=0.44)
    (test,) = gl.load(bare, split="test")
    assert test.potential_energy_thermal is not None
    assert test.potential_energy_inherent is None
    with pytest.raises(KeyboardInterrupt):
        gl.prepare_published(tmp_path, T=0.44, quench=True)
    (test,) = gl.load(gl.prepare_published(tmp_path, T=0.44, quench=True), split="test")
    assert test.potential_energy_inherent is not None
    assert FakeEngine.calls == 5  # four, and the one that died
    assert test.potential == "unshifted"


def test_scores_on_glassbench_stand_beside_the_published_ceiling(benchmark, cache):
    """Its files hold no halves of the runs."""
    split = {s: gl.load(gl.prepare_published(benchmark, T=0.44), split=s, lazy=True) for s in ("train", "test")}
    net = gl.SE3GNN(gl.ModelConfig(layers=1, channels=2, l_max=1))
    net.set_standardization(split["train"])
    found = gl.evaluate(net, split["train"], split["test"])["test"]
    expected = [GLASSBENCH_CEILING[0.44].get(t) for t in TIME_GRIDS[0.44]]
    assert found["A"]["ceiling"] == expected
    assert found["B"]["ceiling"] == [None] * 10
    assert "ceiling_within" not in found["A"]  # nobody has published it
    assert all(v is not None for v in found["A"]["E_IS"])
    elsewhere = [c.replace(engine="another") for c in split["test"]]
    assert "ceiling" not in gl.evaluate(net, split["train"], elsewhere)["test"]["A"]


SIZES = {"layers": 1, "channels": 2, "l_max": 1}
TINY = SIZES | {"T": 0.50, "epochs": 3, "times": [21.7, 217.0], "batch_size": 3, "device": "cpu"}


def test_the_notebook_trains_on_a_folder_in_one_process_or_two(benchmark, cache, tmp_path):
    """papermill as it is called, then under torchrun, graphs made by a worker: the same loss before the first step.

    After it single precision parts them: where a gradient is zero up to rounding, as of a shift before a batch norm,
    Adam takes a step of full length in rounding's direction, which the number of threads changes too. That whole
    trainings agree is shown in double precision, in tests/test_parallel.py.
    """
    given = TINY | {"data": str(benchmark), "pictures": False}
    papermill.execute_notebook(
        TEMPLATE, tmp_path / "one.ipynb", given | {"out": "runs/one"}, cwd=str(tmp_path), progress_bar=False
    )
    words = [
        w for k, v in (given | {"out": "runs/two", "num_workers": 1}).items() for w in ("-y", f"{k}: {json.dumps(v)}")
    ]
    (tmp_path / "two.sh").write_text(f'exec papermill --cwd "{tmp_path}" "{TEMPLATE}" "two.$RANK.ipynb" "$@"\n')
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    done = subprocess.run(
        [*torchrun, "bash", "two.sh", *words], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (pd.read_csv(tmp_path / "runs" / name / "history.csv") for name in ("one", "two"))
    assert one.train_loss[0] == pytest.approx(two.train_loss[0], rel=1e-5)  # of all three graphs, masks included
    assert np.allclose(one.train_loss, two.train_loss, rtol=0.01)
    assert one.train_loss[0] > 1.02 * one.train_loss[2]
    files = ["card.json", "history.csv", "metrics.json", "model.pt"]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["one", "two"]
    assert [sorted(p.name for p in (tmp_path / "runs" / name).iterdir()) for name in ("one", "two")] == [files, files]
    cards = [json.loads((tmp_path / "runs" / name / "card.json").read_text()) for name in ("one", "two")]
    assert cards[0]["data_sha256"] == cards[1]["data_sha256"]
    assert [card["parameters"]["processes"] for card in cards] == [1, 2]
