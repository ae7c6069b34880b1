"""GSD as HOOMD-blue writes it, through gsd itself."""

import builtins

import numpy as np
import pytest

from glasslit.data.formats.hoomd import frames
from glasslit.data.formats.snapshot import Options

gsd = pytest.importorskip("gsd")
hoomd = pytest.importorskip("gsd.hoomd")


def frame(step=100, box=(6, 7, 8, 0, 0, 0), **more):
    f = hoomd.Frame()
    f.configuration.step, f.configuration.box = step, list(box)
    f.configuration.dimensions = more.pop("dimensions", 3)
    f.particles.N = 3
    f.particles.position = [[1, 2, 3], [-2.5, 3, -3.5], [0.25, 0, 0]]
    f.particles.types, f.particles.typeid = ["A", "Bq"], [0, 1, 0]
    f.particles.image = [[0, 0, 0], [-1, 0, 1], [0, 0, 0]]
    for name, value in more.items():
        setattr(f.particles, name, value)
    return f


def read(tmp_path, *written, options=None):
    path = tmp_path / "some.gsd"
    with hoomd.open(str(path), "w") as file:
        for f in written:
            file.append(f)
    return [f() for f in list(frames(path, options or Options()))]


def test_frames(tmp_path):
    """What does not change is written once; a later frame has it all the same."""
    found = read(tmp_path, frame(), frame(200, position=np.zeros((3, 3)), image=np.ones((3, 3))))
    assert [s.step for s in found] == [100, 200]
    assert found[0].positions.tolist() == [[1, 2, 3], [-8.5, 3, 4.5], [0.25, 0, 0]]
    assert found[1].positions.tolist() == [[6, 7, 8]] * 3
    for s in found:
        assert s.labels.tolist() == ["A", "Bq", "A"]
        assert np.array_equal(s.cell, np.diag([6, 7, 8]))
        assert s.ids.tolist() == [0, 1, 2]
        assert s.periodic.all()


def test_defaults_of_gsd(tmp_path):
    (found,) = read(tmp_path, frame(image=None, types=None, typeid=None))
    assert found.positions[1].tolist() == [-2.5, 3, -3.5]
    assert found.labels.tolist() == ["A"] * 3


def test_a_tilted_box(tmp_path):
    """Its factors are ratios, of edge y or z: HOOMD-blue's are not LAMMPS's."""
    (found,) = read(tmp_path, frame(box=(6, 7, 8, 0.5, 0.25, -0.5)))
    assert found.cell.tolist() == [[6, 0, 0], [3.5, 7, 0], [2, -4, 8]]
    assert found.positions[1].tolist() == [-2.5 - 6 + 2, 3 - 4, -3.5 + 8]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"dimensions": 2}, "2 dimensions; expected 3"),
        ({"N": 0, "position": None, "image": None, "typeid": None}, "no particles; expected at least one"),
        ({"box": (6, 7, 0, 0, 0, 0)}, "expected three positive edge lengths"),
        (
            {"position": [[1, 2, 3], [1, np.nan, 2], [0, 0, 0]]},
            r"particle 1 is at \[-5.0, nan, 10.0\]; expected finite",
        ),
        ({"typeid": [0, 1, 2]}, "type 2 of 2 types; expected a name for each"),
    ],
)
def test_what_is_no_liquid_in_a_box_is_refused(tmp_path, more, told):
    with pytest.raises(ValueError, match=told):
        read(tmp_path, frame(**more))


def test_other_files(tmp_path):
    path = tmp_path / "some.gsd"
    for content in (b"", b"3\n\nA 1 2 3\n", b"\x1f\x8b" + bytes(300)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="it is no GSD file of HOOMD-blue's"):
            list(frames(path, Options()))
    gsd.fl.open(str(path), "w", application="other", schema="other", schema_version=[1, 0]).close()
    with pytest.raises(ValueError, match="it is no GSD file of HOOMD-blue's"):
        list(frames(path, Options()))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("particles/N", [3000], "3000 particles in a file of .* bytes; expected 12 bytes for each position"),
        ("particles/N", [[3, 3]], "gsd cannot read it"),
        ("configuration/step", [[3, 3]], "gsd cannot read it"),
    ],
)
def test_a_size_that_is_damaged(tmp_path, name, value, told):
    """Small ones: the frame is refused before gsd reads it."""
    path = tmp_path / "some.gsd"
    version = {"application": "HOOMD-blue", "schema": "hoomd", "schema_version": [1, 4]}
    with gsd.fl.open(str(path), "w", **version) as file:
        file.write_chunk(name, np.array(value, dtype=np.uint32))
        file.end_frame()
    (found,) = frames(path, Options())
    with pytest.raises(ValueError, match=told):
        found()


def test_a_cut_file(tmp_path):
    read(tmp_path, *(frame(k, position=np.random.default_rng(k).random((3, 3))) for k in range(50)))
    path = tmp_path / "some.gsd"
    whole = path.read_bytes()
    for share in (0.1, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match=r"it is no GSD file of HOOMD-blue's|gsd cannot read it"):
            [f() for f in frames(path, Options())]


def test_a_second_box_is_refused(tmp_path):
    with pytest.raises(ValueError, match="beside a file that says its box"):
        read(tmp_path, frame(), options=Options(box=np.ones(3)))


def test_without_gsd_there_is_a_sentence(tmp_path, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("gsd"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"some\.gsd is a GSD file, which needs gsd: pip install"):
        list(frames(tmp_path / "some.gsd", Options()))
