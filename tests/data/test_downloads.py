"""Downloads, from a server on this machine: what is damaged is fetched again, what is wrong refused."""

import hashlib
import io
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

import glasslit as gl
from glasslit import downloads
from glasslit.data.downloads import BOTAN_FILES, fetch_botan_small
from tests.data.test_published import glassbench


@pytest.fixture
def server(published):
    """The published files behind HTTP on this machine."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(published / "botan_small"))
    handler.func.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def test_fetch_checks_hashes_and_keeps_what_it_has(server, tmp_path):
    damaged = tmp_path / "botan_small" / "test" / "isoconfig_N4096T0.44_401_tc07.npz"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"half a download")
    folder = fetch_botan_small(tmp_path, base_url=server)
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.npz")) == sorted(BOTAN_FILES)
    assert gl.read_published(folder / "test")[0].propensity.mean() == pytest.approx(0.44133, abs=5e-6)
    assert fetch_botan_small(tmp_path, base_url="http://127.0.0.1:9/") == folder  # all there: nothing is asked for


def test_fetch_refuses_a_wrong_file(published, tmp_path):
    for name in BOTAN_FILES:
        wrong = tmp_path / "mirror" / name
        wrong.parent.mkdir(parents=True, exist_ok=True)
        wrong.write_bytes(b"something else")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        with pytest.raises(ValueError, match="hash"):
            fetch_botan_small(tmp_path / "cache", base_url=f"http://127.0.0.1:{running.server_port}/")
        running.shutdown()
    assert not list((tmp_path / "cache").rglob("*.npz"))


def test_fetch_glassbench_unpacks_one_temperature(tmp_path, monkeypatch):
    """A zip in GlassBench's layout, made here, with its own MD5 in the registry."""
    made = glassbench(tmp_path)
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        for split in ("train", "test"):
            tar.add(made, arcname=f"T0.50/{split}/{made.name}")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with zipfile.ZipFile(mirror / "GlassBench.zip", "w") as archive:
        archive.writestr("GlassBench/KA_models/T0.50.tar.gz", inner.getvalue())
        archive.writestr("GlassBench/KA_models/T0.44.tar.gz", inner.getvalue())
    md5 = hashlib.md5((mirror / "GlassBench.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(downloads, "GLASSBENCH_FILES", {"GlassBench.zip": f"md5:{md5}"})
    handler = partial(SimpleHTTPRequestHandler, directory=str(mirror))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}/"
        folder = gl.fetch_glassbench(0.50, tmp_path / "cache", base_url=url)
        running.shutdown()
    assert [c.split for s in ("train", "test") for c in gl.read_published(folder / s)] == ["train", "test"]
    assert gl.fetch_glassbench(0.50, tmp_path / "cache", base_url="http://127.0.0.1:9/") == folder
    with pytest.raises(ValueError, match=r"no T = 0\.3; it holds \[0\.44, 0\.5\]"):
        gl.fetch_glassbench(0.3, tmp_path / "cache", base_url="http://127.0.0.1:9/")


def test_offline_is_said_clearly(tmp_path):
    with pytest.raises(ConnectionError, match=r"could not be fetched from .*are you online\?"):
        fetch_botan_small(tmp_path, base_url="http://127.0.0.1:9/")


def test_a_folder_that_cannot_be_written_is_said_to_be_one(tmp_path, monkeypatch):
    """As in a read-only installation without a home folder; permissions do not stop root, so they are played."""

    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(downloads.pooch.utils.os, "makedirs", refused)
    with pytest.raises(ConnectionError, match=r"could not create .*: name another folder, one that can be written\."):
        fetch_botan_small(tmp_path / "closed", base_url="http://127.0.0.1:9/")
