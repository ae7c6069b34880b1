import h5py
import numpy as np
import pytest

import glasslit as gl
from glasslit import store
from glasslit.data.store import ARRAYS, ATTRIBUTES, LazyConfigurations
from glasslit.liquid.periodic import minimum_image
from glasslit.testing import random_liquid


def with_covariances(c):
    """Covariances, and their halves, of runs that were never made."""
    half = 0.01 * np.random.default_rng(0).standard_normal(size=(2, *c.propensity.shape, 6))
    return c.replace(displacement_covariance=half.mean(axis=0), displacement_covariance_half=half)


@pytest.fixture
def file(tmp_path):
    cs = [
        with_covariances(random_liquid(60, seed=k)).replace(split=s, n_trajectories=8)
        for k, s in enumerate(["train", "train", "test"])
    ]
    return gl.save(tmp_path / "few.h5", cs, name="few", licence="MIT", citation="us"), cs


def test_round_trip_keeps_everything(file):
    path, cs = file
    for c, back in zip(cs, gl.load(path), strict=True):
        for field in (*ARRAYS, *ATTRIBUTES):
            assert np.array_equal(getattr(c, field), getattr(back, field)), field
    assert [c.name for c in gl.load(path)] == ["few/0.50/0000", "few/0.50/0001", "few/0.50/0002"]


def test_schema_of_the_file(file):
    with h5py.File(file[0]) as opened:
        assert opened.attrs["schema"] == "glasslit-configurations"
        assert opened.attrs["schema_version"] == 1
        assert {"name", "licence", "citation", "created"} <= set(opened.attrs)
        group = opened["0.50/0000"]
        assert {"box", "temperature", "density", "n_trajectories", "split", "glasslit_version", "git_revision"} <= set(
            group.attrs
        )
        assert group["propensity"].compression == "gzip"
        assert group["propensity"].shuffle


def test_split_and_temperature_are_chosen(file):
    path, _ = file
    assert len(gl.load(path, T=0.5, split="train")) == 2
    with pytest.raises(ValueError, match=r"T = 0\.44 is not in few\.h5; it holds T = 0\.50"):
        gl.load(path, T=0.44)
    with pytest.raises(ValueError, match="T = 'cold'; expected a number"):
        gl.load(path, T="cold")
    with pytest.raises(ValueError, match=r"T = 0\.501 is not"):
        gl.load(path, T=0.501)
    with pytest.raises(ValueError, match=r"has no configuration with .* split = 'val'"):
        gl.load(path, split="val")
    with pytest.raises(ValueError, match="expected one of train, val, test"):
        gl.load(path, split="Train")


def test_not_a_data_set(tmp_path, file):
    path, _ = file
    with pytest.raises(ValueError, match="shipped: starter"):
        gl.load("standart")
    truncated = tmp_path / "truncated.h5"
    truncated.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"truncated\.h5: not a readable HDF5"):
        gl.load(truncated)
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(ValueError, match="not a readable HDF5"):
        gl.load(text)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as opened:
        opened["x"] = np.zeros(3)
    with pytest.raises(ValueError, match="schema None version None; expected 'glasslit-configurations'"):
        gl.load(other)


def test_malformed_groups_are_named(tmp_path, file):
    def changed(name, change):
        path = tmp_path / name
        path.write_bytes(file[0].read_bytes())
        with h5py.File(path, "a") as opened:
            change(opened)
        return path

    assert len(gl.load(changed("notes.h5", lambda f: f.create_group("notes")))) == 3
    for name, change in {
        "a.h5": lambda f: f.__delitem__("0.50/0000/positions"),
        "b.h5": lambda f: f["0.50"].create_dataset("0009", data=[1.0]),
        "c.h5": lambda f: f["0.50/0000"].attrs.__setitem__("temperature", "cold"),
    }.items():
        with pytest.raises(ValueError, match=name[0] + r"\.h5: not a readable HDF5 file"):
            gl.load(changed(name, change))


def test_damaged_numbers_are_noticed(tmp_path, file):
    damaged = tmp_path / "damaged.h5"
    content = bytearray(file[0].read_bytes())
    with h5py.File(file[0]) as opened:
        dataset = opened["0.50/0001/positions"]
        start = dataset.id.get_chunk_info(0).byte_offset
    content[start + 100] ^= 0xFF
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match="not a readable HDF5"):
        gl.load(damaged)


def test_nothing_is_written_when_refused(tmp_path):
    with pytest.raises(ValueError, match="no configurations"):
        gl.save(tmp_path / "a.h5", [])
    with pytest.raises(ValueError, match="has no temperature"):
        gl.save(tmp_path / "a.h5", [random_liquid(50), random_liquid(50).replace(temperature=None)])
    with pytest.raises(ValueError, match=r"T = 0\.435; the schema files temperatures under two decimals"):
        gl.save(tmp_path / "a.h5", [random_liquid(50).replace(temperature=0.435)])
    assert list(tmp_path.iterdir()) == []


def with_all_digits(c):
    """The configuration as a simulation leaves it: the shipped sets are rounded already."""
    rng = np.random.default_rng(0)
    fields = {
        field: getattr(c, field) + rng.uniform(-0.5, 0.5, getattr(c, field).shape) * 10.0**-decimals
        for field, decimals in store.DECIMALS.items()
        if getattr(c, field) is not None
    }
    fields["propensity_half"][1] = 2 * fields["propensity"] - fields["propensity_half"][0]
    return c.replace(**fields)


def test_compact_files_keep_what_matters(tmp_path):
    """Each number within half a step, the second half-ensemble within one and a half; well below half the size."""
    before = [with_all_digits(c) for c in gl.load("starter", T=0.5)[:3]]
    whole = gl.save(tmp_path / "whole.h5", before)
    small = gl.save(tmp_path / "small.h5", before, compact=True)
    assert small.stat().st_size < 0.45 * whole.stat().st_size
    for old, new in zip(before, gl.load(small), strict=True):
        for field, decimals in store.DECIMALS.items():
            if getattr(old, field) is None:
                continue
            a, b = getattr(old, field).astype(float), getattr(new, field).astype(float)
            if "positions" in field:
                a, b = minimum_image(b - a, old.box), 0
            if field == "propensity_half":
                assert np.abs(a[1] - b[1]).max() < 1.51 * 10**-decimals + 1e-6
                a, b = a[0], b[0]
            error = np.abs(a - b).max()
            assert 0 < error < 0.51 * 10**-decimals + 1e-6, field
        assert new.positions.min() >= 0
        assert np.all(new.positions <= new.box)
        apart = [np.linalg.norm(c.inherent_positions - c.positions, axis=1).max() for c in (old, new)]
        assert apart[0] == pytest.approx(apart[1], abs=1e-4)  # the quenched particle is still beside the thermal one
        assert np.array_equal(old.times, new.times)
        assert (old.split, old.n_trajectories, old.engine) == (new.split, new.n_trajectories, new.engine)


def test_compact_files_round_covariances(tmp_path):
    """Of all runs and of both halves, which do not follow from each other."""
    before = with_covariances(random_liquid(60))
    (after,) = gl.load(gl.save(tmp_path / "small.h5", [before], compact=True))
    for field in ("displacement_covariance", "displacement_covariance_half"):
        assert 0 < np.abs(getattr(before, field) - getattr(after, field)).max() < 0.51e-5, field


def test_a_standard_temperature_that_is_not_there_says_how_to_make_it():
    with pytest.raises(ValueError, match=r"standard data set, which holds T = .*glasslit simulate .* -T 0\.90 "):
        gl.load("standard", T=0.9)


def test_lazy_configurations_are_a_sequence_that_holds_nothing():
    lazy = gl.load("starter", T=0.50, lazy=True)
    eager = gl.load("starter", T=0.50)
    assert isinstance(lazy, LazyConfigurations)
    assert [c.hash() for c in lazy] == [c.hash() for c in eager]
    assert lazy[0] is not lazy[0]
    assert [c.hash() for c in lazy[2:4]] == [c.hash() for c in eager[2:4]]
    assert lazy[-1].name == eager[-1].name
    short = lazy.map(lambda c: c.at_times([217]))
    assert len(short) == len(eager)
    assert short[1].times.tolist() == [217]
    with pytest.raises(IndexError):
        lazy[len(eager)]
