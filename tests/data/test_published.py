import os
import pickle

import numpy as np
import pytest

import glasslit as gl


def bapst(tmp_path, name="made.pickle", protocol=3, **changes):
    """A pickle in Bapst's layout, times in disorder."""
    rng = np.random.default_rng(0)
    positions = rng.uniform(size=(12, 3)) * 8
    content = {
        "positions": positions,
        "types": np.array([0] * 9 + [1] * 3, dtype=np.int32),
        "box": np.full(3, 8.0),
        "time": list(np.linspace(0.5, 20, 40)),
        "time_indices": [30, 2, 10],
        "trajectory_target_positions": [positions + rng.normal(scale=s, size=(6, 12, 3)) for s in (0.3, 0.1, 0.2)],
        "metadata": {"temperature": 0.44, "pressure": 2.9, "fluid": "Kob Andersen"},
    } | changes
    path = tmp_path / name
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path, content


def test_published_bapst_pickle(published):
    path = published / "bapst" / "test_small.pickle"
    if not path.is_file():
        pytest.skip(f"no published Bapst file at {path}")
    (c,) = gl.read_published(path)
    assert len(c.times) == 10
    assert np.all(np.diff(c.times) > 0)
    assert (c.n_particles, c.n_trajectories, c.temperature) == (20, 30, 0.44)
    assert np.all(np.diff(c.propensity.mean(axis=1)) > 0)  # mobility grows with time, so labels moved with their times


def test_published_botan_means(published):
    first, second = gl.read_published(published / "botan_small" / "test")
    assert first.propensity.mean() == pytest.approx(0.44133, abs=5e-6)
    assert second.propensity.mean() == pytest.approx(0.50342, abs=5e-6)
    assert first.times.tolist() == [4120.0]
    assert (first.split, first.n_particles, np.sum(first.types == 0)) == ("test", 4096, 3277)
    assert first.density == pytest.approx(1.2)


def test_published_ceiling_and_scattering(published):
    """Values of the science page for these files: ceiling .935 pooled, .917 within (15 configurations; here 12)."""
    cs = gl.read_published(published / "botan_small" / "train") + gl.read_published(published / "botan_small" / "test")
    halves, types = [c.propensity_half for c in cs], [c.types for c in cs]
    assert gl.noise_ceiling(halves, types, "pooled")["A"][0] == pytest.approx(0.935, abs=0.01)
    assert gl.noise_ceiling(halves, types, "mean")["A"][0] == pytest.approx(0.917, abs=0.01)


def test_folder_is_read_in_natural_order(published):
    names = [c.name for c in gl.read_published(published / "botan_small" / "train")]
    assert names == [f"isoconfig_N4096T0.44_{k}_tc07" for k in range(1, 11)]


@pytest.mark.parametrize("protocol", [2, 3, 5])
def test_bapst_times_are_sorted_with_their_labels(tmp_path, protocol):
    path, content = bapst(tmp_path, protocol=protocol)
    (c,) = gl.read_published(path)
    assert np.allclose(c.times, np.array(content["time"])[[2, 10, 30]])
    expected = [
        np.linalg.norm(t - content["positions"], axis=-1).mean(0) for t in content["trajectory_target_positions"]
    ]
    assert np.allclose(c.propensity, np.array(expected)[[1, 2, 0]], rtol=1e-6)
    assert np.allclose(c.propensity_half.mean(0), c.propensity, rtol=1e-6)


def test_bapst_targets_lists_and_missing_trajectories(tmp_path):
    labels = np.arange(36.0).reshape(3, 12)
    path, content = bapst(tmp_path, targets=labels.tolist(), positions=bapst(tmp_path)[1]["positions"].tolist())
    (c,) = gl.read_published(path)
    assert np.array_equal(c.propensity, labels[[1, 2, 0]].astype(np.float32))
    path, _ = bapst(tmp_path, trajectory_target_positions=content["trajectory_target_positions"][:2])
    (c,) = gl.read_published(path)
    assert len(c.times) == 2  # trajectories may cover only the first of the times listed


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("where", ["root", "inside", "object array"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path, where):
    target = tmp_path / "bombed"
    bomb = Bomb(target)
    content = {"root": bomb, "inside": {"targets": [bomb]}, "object array": {"targets": np.array([bomb], dtype=object)}}
    path = tmp_path / "bomb.pickle"
    path.write_bytes(pickle.dumps(content[where]))
    with pytest.raises(ValueError, match=r"bomb\.pickle: .*(asks for (posix|nt)\.mkdir|expected plain numbers)"):
        gl.read_published(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())  # the bomb is a real one
    assert target.exists()


class Scripted:
    """Pickles as a call of one of NumPy's own makers, then a state that the real object would take."""

    def __init__(self, maker, arguments, state):
        self.parts = maker, arguments, state

    def __reduce__(self):
        return self.parts


def test_a_pickle_that_forges_pointers_is_refused(tmp_path):
    """NumPy's dtype takes object fields from a pickle unchecked; its array then follows plain bytes as pointers."""
    state = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)
    forged = Scripted(np.dtype, ("V8", False, True), state)
    for dtype in (forged, Scripted(np.dtype, ("f8", False, True), state), np.dtype("O")):
        path = tmp_path / "evil.pickle"
        content = Scripted(
            np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), dtype, False, b"A" * 8)
        )
        path.write_bytes(pickle.dumps({"targets": content}))
        with pytest.raises(ValueError, match=r"evil\.pickle: .*expected plain numbers"):
            gl.read_published(path)


def test_damaged_bytes_anywhere_give_a_value_error(tmp_path):
    """Thirty random changes of single bytes in each kind of file: read or refused, never another error."""
    rng = np.random.default_rng(0)
    compressed = tmp_path / "N60T0.50_9.npz"
    with np.load(glassbench(tmp_path)) as content:
        np.savez_compressed(compressed, **content)
    for original in (compressed, bapst(tmp_path)[0]):
        for _ in range(30):
            content = bytearray(original.read_bytes())
            content[rng.integers(len(content))] ^= int(rng.integers(1, 256))
            path = tmp_path / "damaged" / original.name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            try:
                gl.read_published(path)
            except ValueError as error:
                assert original.name in str(error)  # noqa: PT017


def test_a_single_run_has_no_halves(tmp_path):
    _, content = bapst(tmp_path)
    path, _ = bapst(tmp_path, trajectory_target_positions=[t[:1] for t in content["trajectory_target_positions"]])
    (c,) = gl.read_published(path)
    assert (c.n_trajectories, c.propensity_half) == (1, None)


@pytest.mark.parametrize(
    "name", ["builtins.eval", "os.system", "numpy.load", "numpy.core.multiarray.fromfile", "_codecs.decode"]
)
def test_names_that_are_no_arrays_are_refused(tmp_path, name):
    module, _, attribute = name.rpartition(".")
    path = tmp_path / "a.pickle"
    path.write_bytes(b"\x80\x03c" + module.encode() + b"\n" + attribute.encode() + b"\n.")
    with pytest.raises(ValueError, match="not an array or a plain container"):
        gl.read_published(path)


def glassbench(tmp_path, types=(1, 2)):
    rng = np.random.default_rng(1)
    n = 60
    path = tmp_path / "test" / "N60T0.50_7.npz"
    path.parent.mkdir(exist_ok=True)
    positions = rng.uniform(size=(n, 3)) * (n / 1.2) ** (1 / 3)
    np.savez(
        path,
        types=rng.choice(types, size=n),
        initial_positions=positions,
        initial_positions_inherent=positions + 0.01,
        md_prop=rng.uniform(size=(10, n)),
        bb_prop=rng.uniform(size=(10, n)),
    )
    return path


def test_glassbench_counts_types_from_one(tmp_path):
    (c,) = gl.read_published(glassbench(tmp_path))
    assert set(c.types) == {0, 1}
    assert (c.temperature, c.split, len(c.times)) == (0.5, "test", 10)
    assert c.inherent_positions is not None
    assert c.density == pytest.approx(1.2)
    with pytest.raises(ValueError, match="types"):
        gl.read_published(glassbench(tmp_path, types=(1, 3)))


def test_botan_files_of_one_start_are_joined_in_time(tmp_path):
    rng = np.random.default_rng(2)
    start = rng.uniform(size=(30, 3)) * 25 ** (1 / 3)
    final = {k: start + rng.normal(scale=0.1 * k, size=(4, 30, 3)) for k in (1, 7)}
    for k, positions in final.items():
        np.savez(
            tmp_path / f"isoconfig_N30T0.44_5_tc{k:02d}.npz",
            types=np.arange(30) % 2,
            initial_positions=start,
            positions=positions,
        )
    (c,) = gl.read_published(tmp_path)
    assert c.times.tolist() == [0.13, 4120.0]
    for row, k in enumerate((1, 7)):
        assert np.allclose(c.propensity[row], np.linalg.norm(final[k] - start, axis=-1).mean(0), rtol=1e-6)
    assert c.propensity_half.shape == (2, 2, 30)


def test_object_arrays_and_damage_are_refused(tmp_path):
    objects = tmp_path / "isoconfig_N1T0.44_1_tc01.npz"
    np.savez(objects, types=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"tc01\.npz: .*Object arrays"):
        gl.read_published(objects)
    whole = glassbench(tmp_path).read_bytes()
    cut = tmp_path / "N60T0.50_8.npz"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"N60T0\.50_8\.npz"):
        gl.read_published(cut)
    path, _ = bapst(tmp_path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"made\.pickle"):
        gl.read_published(path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"holds no \.npz or \.pickle"):
        gl.read_published(empty)
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        gl.read_published(tmp_path / "nowhere")


def test_two_dimensional_files_are_named_as_such(tmp_path):
    """GlassBench has a second liquid, in the plane."""
    path = tmp_path / "N10T0.50_1.npz"
    np.savez(path, initial_positions=np.zeros((10, 2)), types=np.ones(10), md_prop=np.ones((10, 10)))
    with pytest.raises(ValueError, match=r"a two-dimensional liquid .*; expected one of three dimensions"):
        gl.read_published(path)
