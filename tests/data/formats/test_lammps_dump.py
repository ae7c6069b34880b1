"""Text dumps: in every frame its own box, columns by name, units once for all, and no particle lost."""

import bz2
import gzip
import lzma
import tracemalloc
from functools import partial

import numpy as np
import pytest

from glasslit.data.formats.lammps_dump import frames
from glasslit.data.formats.snapshot import Options

LOW, HIGH = np.array([1.0, -2.0, 0.5]), np.array([7.0, 5.0, 8.5])
PLACE = np.array([[1.2, -1.9, 0.6], [6.8, 4.9, 8.4], [4.0, 0.0, 3.3]])
IMAGE = np.array([[0, 0, 0], [1, -1, 0], [0, 2, -3]])


def text(rows, columns="id type x y z", *, step=0, low=LOW, high=HIGH, bounds=" pp pp pp", before=""):
    box = "".join(f"{a!r} {b!r}\n" for a, b in zip(low.tolist(), high.tolist(), strict=True))
    head = f"{before}ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\nITEM: BOX BOUNDS{bounds}\n"
    return head + box + f"ITEM: ATOMS {columns}\n" + "".join(f"{row}\n" for row in rows)


def rows_of(*columns):
    return [" ".join(map(str, row)) for row in zip(*(np.asarray(c).tolist() for c in columns), strict=True)]


def read(tmp_path, content, name="a.dump"):
    path = tmp_path / name
    (path.write_bytes if isinstance(content, bytes) else path.write_text)(content)
    return [frame() for frame in frames(path, Options())]


@pytest.mark.parametrize("form", ["", "s", "u", "su"])
def test_positions_are_where_the_box_is_in_each_frame(tmp_path, form):
    """A box that grows and moves: x = low + xs (high - low), each with its own bounds."""
    content = ""
    for k in range(3):
        low, edges = LOW + k, (HIGH - LOW) * (1 + 0.1 * k)
        place = low + (PLACE - LOW) / (HIGH - LOW) * edges
        given = (place - low) / edges if "s" in form else place
        content += text(
            rows_of([3, 1, 2], [1, 1, 2], *given[[2, 0, 1]].T),
            "id type " + " ".join(f"{x}{form}" for x in "xyz"),
            step=k,
            low=low,
            high=low + edges,
        )
    for k, snapshot in enumerate(read(tmp_path, content)):
        place = LOW + k + (PLACE - LOW) * (1 + 0.1 * k)
        assert np.allclose(snapshot.positions, place, atol=1e-12)
        assert np.allclose(np.diag(snapshot.cell), (HIGH - LOW) * (1 + 0.1 * k))
        assert snapshot.ids.tolist() == [1, 2, 3]
        assert snapshot.labels.tolist() == ["1", "2", "1"]
        assert snapshot.step == k


def test_image_flags_unwrap_and_half_of_them_are_refused(tmp_path):
    rows = rows_of([1, 2, 3], [1, 2, 1], *PLACE.T, *IMAGE.T)
    (snapshot,) = read(tmp_path, text(rows, "id type x y z ix iy iz"))
    assert np.allclose(snapshot.positions, PLACE + IMAGE * (HIGH - LOW))
    with pytest.raises(ValueError, match="image flags ix iy without the others; expected those of all directions"):
        read(tmp_path, text([row.rsplit(" ", 1)[0] for row in rows], "id type x y z ix iy"))


GOOD = text(rows_of([1, 2, 3], [1, 2, 1], *PLACE.T))


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace("\n", "\r\n").encode(),
        GOOD + "\n\n",
        "\n" + GOOD,
        GOOD + "# written by hand\n",
        GOOD.replace(" pp pp pp", ""),
        GOOD.replace("id type x", "id\ttype   x").replace("1 1 1.2", "1\t1  1.2"),
        GOOD.replace("ITEM: TIMESTEP", "ITEM: UNITS\nlj\nITEM: TIME\n0.5\nITEM: TIMESTEP"),
    ],
    ids=["windows", "blank end", "blank begin", "comment", "no boundaries", "tabs", "units and time"],
)
def test_what_editors_and_versions_do_to_a_file(tmp_path, content):
    (snapshot,) = read(tmp_path, content)
    assert np.allclose(snapshot.positions, PLACE)
    assert snapshot.labels.tolist() == ["1", "2", "1"]
    assert snapshot.periodic.all()


@pytest.mark.parametrize(
    ("columns", "labels"),
    [("id type x y z", ["big", "small", "big"]), ("id typelabel x y z", ["big", "small", "big"]),
     ("id element x y z", ["Si", "O", "Si"])],
)  # fmt: skip
def test_types_may_be_words(tmp_path, columns, labels):
    (snapshot,) = read(tmp_path, text(rows_of([1, 2, 3], labels, *PLACE.T), columns))
    assert snapshot.labels.tolist() == labels


def test_numbers_of_types_win_over_letters(tmp_path):
    rows = rows_of([1, 2, 3], ["A", "A", "A"], [1, 2, 1], *PLACE.T)
    (snapshot,) = read(tmp_path, text(rows, "id element type x y z"))
    assert snapshot.labels.tolist() == ["1", "2", "1"]


def test_units_are_told_once_and_hold_for_all_frames(tmp_path):
    path = tmp_path / "a.dump"
    path.write_text(text(rows_of([1, 2, 3], [1, 2, 1], *PLACE.T), before="ITEM: UNITS\nmetal\n") + GOOD)
    for frame in frames(path, Options()):
        with pytest.raises(ValueError, match="units metal; expected lj"):
            frame()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[: GOOD.index("3 1 4.0")], "it has 1 of 3 particles; expected all: the file ends early"),
        (GOOD[:-8], "it has 2 of 3 particles"),
        (GOOD[: GOOD.index("ITEM: BOX")], "it has TIMESTEP, NUMBER and no more; expected a whole frame"),
        (GOOD.replace("\n3\nITEM: BOX", "\n2\nITEM: BOX"), "'3 1 4.0 0.0 3.3' where ITEM: TIMESTEP should be"),
        (GOOD.replace("\n3\nITEM: BOX", "\n4\nITEM: BOX") + GOOD, "it has 3 of 4 particles"),
        (GOOD.replace("2 2 6.8", "#2 2 6.8"), "'#2'"),
        (GOOD.replace("2 2 6.8", "2 2"), "particle row 1 has 4 words, '2 2 4.9 8.4'; expected 5: id type"),
        (GOOD.replace("6.8", "nan"), "x of particle 2 is nan; expected finite"),
        (GOOD.replace("6.8", "six"), "'six'"),
        (GOOD.replace("\n2 2", "\n1 2"), "id 1 occurs twice"),
        (GOOD.replace("ITEM: TIMESTEP\n0\n", "ITEM: TIMESTEP\n"), "'' below ITEM: TIMESTEP; expected a whole number"),
        (GOOD.replace("ITEM: TIMESTEP\n0\n", "ITEM: TIMESTEP\n0.5\n"), "'0.5' below ITEM: TIMESTEP"),
        (GOOD.replace("1.0 7.0\n", "1.0 7.0\n1.0 7.0\n"), "a box of 4 lines; expected three"),
        (GOOD.replace("1.0 7.0\n", ""), "a box of 2 lines; expected three"),
        (GOOD.replace("1.0 7.0", "7.0 1.0"), "expected a second bound above the first"),
        ("notes\n" + GOOD, "'notes' where ITEM: TIMESTEP should be"),
        (GOOD.replace("BOUNDS pp", "BOUNDS abc origin pp"), "a general triclinic box"),
    ],
)
def test_a_damaged_frame_is_refused_in_a_sentence(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize("name", ["a.dump.gz", "a.dump.xz", "a.dump.bz2", "a.dump.zst"])
def test_a_cut_archive_gives_its_whole_frames_first(tmp_path, name):
    rng = np.random.default_rng(0)  # numbers that do not pack well, so that frames come one after the other
    content = "".join(text(rows_of([1, 2, 3], [1, 2, 1], *rng.uniform(1, 4, (3, 3)))) for _ in range(4000)).encode()
    if name.endswith("zst"):
        zstandard = pytest.importorskip("zstandard", reason="pip install 'glasslit[formats]'")
        packed = zstandard.ZstdCompressor().compress(content)
    else:
        pack = {"gz": gzip.compress, "xz": lzma.compress, "bz2": partial(bz2.compress, compresslevel=1)}[name[7:]]
        packed = pack(content)
    assert len(read(tmp_path, packed, name)) == 4000
    (tmp_path / name).write_bytes(packed[: len(packed) // 2])
    whole, rest = [], frames(tmp_path / name, Options())
    with pytest.raises(ValueError, match="the file ends early"):
        whole += (frame() for frame in rest)
    assert 500 < len(whole) < 3500


def test_one_frame_is_in_memory_at_a_time(tmp_path):
    path, rng = tmp_path / "a.dump", np.random.default_rng(0)
    with path.open("w") as out:
        for k in range(40):
            out.write(text(rows_of(np.arange(4096), np.ones(4096, int), *rng.uniform(1, 4, (3, 4096))), step=k))
    size = path.stat().st_size / 40
    tracemalloc.start()
    for frame in frames(path, Options()):
        frame()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * size
