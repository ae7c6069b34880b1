import numpy as np
import pytest

import glasslit as gl
from glasslit import prepared


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
