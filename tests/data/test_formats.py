"""What holds of readers of all formats: the same liquid from each, or a refusal that is a ``ValueError``.

Liquids and files are drawn by Hypothesis and written by :mod:`tests.data.writers`, which does not know the readers.
"""

import bz2
import gzip
import lzma
import re
import warnings

import ase.io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glasslit as gl
from glasslit.data.formats import others
from glasslit.data.formats.lammps_data import STYLES
from glasslit.data.trajectory import READERS, read_trajectory
from glasslit.liquid.configuration import Configuration
from tests.common import ROOT
from tests.data.writers import (
    BOX,
    FLAGS,
    ROWS,
    SIDES,
    TILT,
    TWICE,
    UNITS,
    WRITERS,
    Frame,
    Liquid,
    Written,
    data_file,
    extended_xyz,
    gsd_file,
    liquids,
    text_dump,
    yaml_dump,
)

OWN = {"H": "A", "He": "B"}
PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda raw: pytest.importorskip("zstandard").ZstdCompressor().compress(raw),
}
each_text_format = pytest.mark.parametrize("kind", WRITERS)
few = settings(max_examples=40, deadline=None, derandomize=True)  # the same files in each run of the tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all examples of a test; each writes over the file of the one before."""
    return tmp_path_factory.mktemp("formats")


def read(folder, written, packed="", content=None):
    """Configurations of a file, and the warnings about it."""
    path = folder / f"{written.name}{packed}"
    path.write_bytes(PACK[packed](written.content) if content is None else content)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = read_trajectory(path, written.type_map, **written.beside)
    return found, [str(w.message) for w in told]


def liquid_for(kind, **more):
    """Liquids that a format can hold: a data file has one frame, bare XYZ one box for all frames."""
    return liquids(most=1 if kind == "data file" else 3, fixed_box=kind == "bare XYZ", **more)


def assert_same(found, told, written, liquid):
    """All that the file says, particle by particle; without ids, that was said too, once."""
    assert len(found) == len(liquid.frames)
    order = np.arange(len(liquid.ids)) if written.ids is None else np.argsort(written.ids)
    for c, place, frame in zip(found, written.positions, liquid.frames, strict=True):
        assert np.allclose(c.positions, place[order], rtol=0, atol=written.atol)
        assert np.array_equal(c.types, liquid.types[order])
        assert np.allclose(c.box, frame.edges, rtol=1e-6 if written.atol > 1e-6 else 1e-12)
        assert (c.ids is None) == (written.ids is None)
        assert c.ids is None or c.ids.tolist() == sorted(written.ids.tolist())
        assert c.step == (frame.step if written.has_step else None)
    assert [bool(re.search("no particle ids", sentence)) for sentence in told] == [True] * (written.ids is None)


@few
@given(data=st.data(), packed=st.sampled_from(sorted(PACK)))
@each_text_format
def test_a_liquid_is_the_same_in_every_variant_of_a_format(folder, kind, data, packed):
    writer, _ = WRITERS[kind]
    liquid = data.draw(liquid_for(kind))
    written = writer(data.draw, liquid)
    assert_same(*read(folder, written, packed), written, liquid)


@few
@given(data=st.data())
def test_a_liquid_is_the_same_in_gsd(folder, data):
    pytest.importorskip("gsd.hoomd", reason="pip install 'glasslit[formats]'")
    liquid = data.draw(liquids())
    written = gsd_file(data.draw, liquid, folder / "liquid.gsd")
    assert_same(*read(folder, written), written, liquid)


@few
@given(data=st.data(), with_ids=st.booleans(), labels=st.booleans())
def test_a_liquid_is_the_same_in_what_this_package_writes(folder, data, with_ids, labels):
    """Extended XYZ by way of ASE, which keeps eight decimals; rows are shuffled where there are ids."""
    liquid, path = data.draw(liquids(ids=np.arange)), folder / "own.extxyz"
    order = np.array(data.draw(st.permutations(range(len(liquid.ids))))) if with_ids else np.arange(len(liquid.ids))
    made = [
        Configuration(
            positions=f.unwrapped[order],
            types=liquid.types[order],
            box=f.edges,
            ids=7 * order if with_ids else None,
            step=f.step,
            **({"times": [1.5], "propensity": order[None].astype(float)} if labels else {}),
        )
        for f in liquid.frames
    ]
    ase.io.write(path, [c.to_ase() for c in made])
    written = Written(
        path.name,
        path.read_bytes(),
        [f.unwrapped for f in liquid.frames],
        OWN,
        7 * liquid.ids if with_ids else None,
        atol=1e-7,
    )
    found, told = read(folder, written)
    assert_same(found, told, written, liquid)
    for c in found:
        assert not labels or c.propensity.tolist() == [liquid.ids.tolist()]


MISTAKES = [(kind, spoil) for kind, (_, spoils) in WRITERS.items() for spoil in spoils]
REFUSED = {
    UNITS: "expected lj", TILT: "triclinic|expected a RectangularSimulationBox", SIDES: "not periodic|three positive",
    FLAGS: "without the others|words with atom style|rows of .* words, and no atom style", TWICE: "occurs twice",
    ROWS: "particles; expected all|columns; expected|expected whole numbers|triclinic|has no data|particle row",
    BOX: "expected the box|expected a box|no box",
}  # fmt: skip


@settings(few, max_examples=15)
@given(data=st.data())
@pytest.mark.parametrize(("kind", "spoil"), MISTAKES, ids=[f"{spoil}, {kind}" for kind, spoil in MISTAKES])
def test_a_file_that_does_not_say_enough_is_refused(folder, kind, spoil, data):
    """The same files as above, each with one mistake."""
    writer, _ = WRITERS[kind]
    liquid = data.draw(liquid_for(kind, least=2))
    with pytest.raises(ValueError, match=REFUSED[spoil]) as refused:
        read(folder, writer(data.draw, liquid, spoil))
    assert "liquid." in str(refused.value)


ODD = "0123456789.-+eE#:=,[]{}'\"&*!|%@\\ \t\n\r\0xnaé"


def mutated(data, content, lines):
    """The text with one of ``lines`` lost or told twice, or one character of it changed, lost or told twice."""
    text = content.decode().splitlines(keepends=True)
    number = data.draw(st.sampled_from(lines))
    line, kind = text[number], data.draw(st.sampled_from(["no line", "line twice", "other", "lost", "twice"]))
    k = data.draw(st.integers(0, len(line.rstrip("\r\n"))))
    new = {
        "no line": "",
        "line twice": line + line,
        "other": line[:k] + data.draw(st.sampled_from(ODD)) + line[k + 1 :],
    }
    new |= {"lost": line[:k] + line[k + 1 :], "twice": line[: k + 1] + line[k:]}
    return "".join([*text[:number], new[kind], *text[number + 1 :]]).encode(), kind


def assert_readable_or_refused(folder, written, content, packed=""):
    """What is read, or None; never an error of another kind, and the file's name in the sentence."""
    try:
        return read(folder, written, packed, content)[0]
    except ValueError as error:
        refused = str(error)
    assert written.name in refused
    return None


@settings(few, max_examples=100)
@given(data=st.data())
@each_text_format
def test_a_row_that_is_changed_changes_its_particle_only(folder, kind, data):
    """A row that is lost or twice there is refused; else all other particles, boxes and steps are what they were."""
    liquid = data.draw(liquid_for(kind))
    written = WRITERS[kind][0](data.draw, liquid)
    before, _ = read(folder, written)
    count = len(written.content.decode().splitlines())
    rows = sorted(set(range(count)) - set(written.header))
    content, change = mutated(data, written.content, rows)
    found = assert_readable_or_refused(folder, written, content)
    assert found is None or "line" not in change
    if found is None:
        return
    assert len(found) == len(before)
    differ = 0
    for c, b in zip(found, before, strict=True):
        assert np.array_equal(c.box, b.box)
        assert c.step == b.step
        known = {(*p, t, i) for p, t, i in zip(b.positions.tolist(), b.types, _ids(b), strict=True)}
        new = {(*p, t, i) for p, t, i in zip(c.positions.tolist(), c.types, _ids(c), strict=True)}
        differ += len(known - new)
        assert len(c.positions) == len(b.positions)
    assert differ <= 1


def _ids(c):
    """What tells particles apart."""
    return range(c.n_particles) if c.ids is None else c.ids.tolist()


@settings(few, max_examples=100)
@given(data=st.data())
@each_text_format
def test_a_header_that_is_changed_is_read_or_refused(folder, kind, data):
    """One character may make it say something else, such as another edge of the box, but never lose a particle or a
    frame. A line that is lost or twice there may cost the time step, and nothing else."""
    liquid = data.draw(liquid_for(kind))
    written = WRITERS[kind][0](data.draw, liquid)
    before, _ = read(folder, written)
    content, change = mutated(data, written.content, written.header)
    found = assert_readable_or_refused(folder, written, content)
    if found is None:
        return
    assert [c.n_particles for c in found] == [len(liquid.ids)] * len(liquid.frames)
    for c, b in zip(found, before, strict=True):
        if "line" in change:
            assert np.array_equal(c.positions, b.positions)
            assert np.array_equal(c.types, b.types)
            assert np.array_equal(c.box, b.box)
            assert _ids(c) == _ids(b)
            assert c.step in (b.step, None)


PACKED = sorted(set(PACK) - {""})


@settings(few, max_examples=40)
@given(data=st.data(), kind=st.sampled_from(sorted(WRITERS)))
@pytest.mark.parametrize("packed", PACKED)
def test_a_packed_file_that_is_spoilt_is_the_same_or_refused(folder, packed, kind, data):
    """Bytes lost at its end, or one of them changed. Archives of .zst carry no sum that would tell of a change."""
    liquid = data.draw(liquid_for(kind))
    written = WRITERS[kind][0](data.draw, liquid)
    before, _ = read(folder, written)
    whole = bytearray(PACK[packed](written.content))
    k = data.draw(st.integers(0, len(whole) - 1))
    if cut := data.draw(st.booleans()):
        del whole[k:]
    else:
        whole[k] ^= data.draw(st.integers(1, 255))
    found = assert_readable_or_refused(folder, written, bytes(whole), packed)
    if packed != ".zst" or cut:
        assert found is None or [c.hash() for c in found] == [c.hash() for c in before]


WITH_IDS = {"text dump": text_dump, "yaml dump": yaml_dump, "data file": data_file, "extended XYZ": extended_xyz}
RUNS, TIMES = 2, [1.0, 4.0]


def snapshots(draw, kind, liquid, folder, name):
    """Each frame of a liquid in a file of its own, as one format has it; read again. Whether they are unwrapped."""
    found, unwrapped = [], []
    for number, frame in enumerate(liquid.frames):
        one = Liquid(liquid.types, liquid.ids, [frame])
        if kind == "GSD":
            written = gsd_file(draw, one, folder / f"{name}{number}.gsd")
        elif kind == "own":
            order = np.array(draw(st.permutations(range(len(liquid.ids)))))
            c = Configuration(
                positions=frame.unwrapped[order], types=liquid.types[order], box=frame.edges, ids=liquid.ids[order]
            )
            path = folder / f"{name}{number}.extxyz"
            ase.io.write(path, c.to_ase())
            written = Written(path.name, path.read_bytes(), [frame.unwrapped], OWN, liquid.ids)
        else:
            written = WITH_IDS[kind](draw, one, with_ids=True)
        (c,), _ = read(folder, written)
        found.append(c)
        unwrapped.append(np.allclose(written.positions[0], frame.unwrapped, atol=1e-6))
    return found, all(unwrapped)


def moved(start, step, rng, reach):
    """The same liquid later; its center of mass rests, and no particle goes beyond a share of half of the box."""
    way = rng.uniform(-1, 1, start.inside.shape) * reach * start.edges / 2
    place = start.unwrapped + way - way.mean(axis=0)
    image = np.floor((place - start.low) / start.edges).astype(int)
    return Frame(start.low, start.edges, place - image * start.edges, image, step)


def folds(initial, finals):
    """Whether the files say that a particle went farther than any did."""
    ways = np.array([[c.positions[np.argsort(c.ids)] - initial.positions for c in run] for run in finals])
    return bool(np.any(np.abs(ways) > initial.box / 2))


@settings(few, max_examples=12)
@given(data=st.data(), reach=st.floats(0.01, 0.14))
@pytest.mark.parametrize("end", [*WITH_IDS, "own", "GSD"])
@pytest.mark.parametrize("begin", [*WITH_IDS, "own", "GSD"])
def test_labels_are_the_same_whatever_the_formats_of_start_and_ends(folder, begin, end, data, reach):
    """Two runs, two times, a file for each snapshot. Labels are those of the arrays; where some positions were folded,
    that has to be said, and is not passed over."""
    start = data.draw(liquids(most=1, least=3, ids=np.arange, centered=True))
    (first,), rng = start.frames, np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    ends = [[moved(first, 100 * (k + 1), rng, reach) for k in range(len(TIMES))] for _ in range(RUNS)]
    ways = np.array([[f.unwrapped - first.unwrapped for f in run] for run in ends])
    distance = np.linalg.norm(ways, axis=-1)
    (initial,), unwrapped = snapshots(data.draw, begin, start, folder, "start")
    finals = []
    for number, run in enumerate(ends):
        found, whole = snapshots(data.draw, end, Liquid(start.types, start.ids, run), folder, f"end{number}-")
        finals.append(found)
        unwrapped = unwrapped and whole
    if unwrapped or not folds(initial, finals):
        labelled = gl.from_isoconfigurational(initial, finals, TIMES)
    else:
        with pytest.raises(ValueError, match=r"look folded|move together"):
            gl.from_isoconfigurational(initial, finals, TIMES)
        labelled = gl.from_isoconfigurational(initial, finals, TIMES, wrapped=True)
    assert labelled.ids.tolist() == start.ids.tolist()
    assert np.allclose(labelled.propensity, distance.mean(axis=0), atol=2e-5)
    assert np.allclose(labelled.mean_displacement, ways.mean(axis=0), atol=2e-5)
    assert np.allclose(labelled.propensity_half, distance, atol=2e-5)
    if set(start.types.tolist()) == {0, 1}:
        msd = [[(distance[:, t, start.types == k] ** 2).mean() for k in (0, 1)] for t in range(len(TIMES))]
        assert np.allclose(labelled.msd, msd, atol=2e-4)
    assert labelled.n_trajectories == RUNS


def test_the_page_of_formats_names_what_is_read_and_what_stays_unread():
    """Names for --format, suffixes that are refused, and those that are unpacked on the way."""
    words = set(re.findall(r"`([^`]+)`", (ROOT / "book" / "formats.md").read_text()))
    assert set(READERS) <= words
    assert set(others.READ) <= words
    assert set(others._SUFFIXES) <= words
    assert set(PACKED) <= words
    assert set(others._CONVERTED) <= words
    assert set(STYLES) <= words
