"""Data files: header keywords however they are spaced, every atom style by name, a box or a refusal."""

import numpy as np
import pytest

from glasslit.data.formats.lammps_data import STYLES, frames
from glasslit.data.formats.snapshot import Options

PLACE = np.array([[1.1, 2.2, 3.3], [4.4, 5.5, 6.6], [5.05, 0.55, 7.75]])
BOX = "0 6 xlo xhi\n0 7 ylo yhi\n-1 7 zlo zhi\n"
ROWS = "2 1 4.4 5.5 6.6\n1 1 1.1 2.2 3.3\n3 2 5.05 0.55 7.75\n"


def text(first="by hand", count="3 atoms", box=BOX, more="", atoms="Atoms # atomic\n\n", rows=ROWS, after=""):
    return f"{first}\n\n{count}\n2 atom types\n\n{box}{more}\n{atoms}{rows}{after}"


def read(tmp_path, content, style=None):
    path = tmp_path / "a@0.45.data"
    (path.write_bytes if isinstance(content, bytes) else path.write_text)(content)
    (frame,) = frames(path, Options(atom_style=style))
    return frame()


@pytest.mark.parametrize(
    "content",
    [
        text(),
        text(box=BOX.replace("lo ", "lo   ")),
        text(box=BOX.replace("lo ", "lo\t").replace(" xlo", "\txlo")),
        text(count="  3   atoms   # of a mixture"),
        text(count="3\tatoms"),
        text(atoms="Atoms  # atomic\n\n\n\n"),
        text(atoms="Atoms\n\n"),
        text(rows=ROWS.replace("\n", "   # a particle\n")),
        text(rows=ROWS.replace("\n", "\n\n")),
        text(after="\nVelocities\n\n1 0 0 0\n2 0 0 0\n3 0 0 0\n", more="\nMasses\n\n1 1.0\n2 1.0\n"),
        text().replace("\n", "\r\n").encode(),
    ],
)
def test_however_it_is_spaced(tmp_path, content):
    snapshot = read(tmp_path, content)
    assert np.allclose(snapshot.positions, PLACE)
    assert np.allclose(np.diag(snapshot.cell), [6, 7, 8])
    assert snapshot.ids.tolist() == [1, 2, 3]
    assert snapshot.labels.tolist() == ["1", "1", "2"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("flags", [False, True])
@pytest.mark.parametrize("told", ["in the file", "beside it"])
def test_every_atom_style_by_its_name(tmp_path, style, flags, told):
    """What stands in other columns (charges, diameters, molecules) is no position and no type."""
    columns, rows = STYLES[style].split(), []
    for i, (kind, place) in enumerate(zip((1, 1, 2), PLACE, strict=True), start=1):
        values = {name: str(7 + k) for k, name in enumerate(columns)} | {"id": str(i), "type": str(kind)}
        values |= dict(zip("xyz", map(str, place), strict=True))
        rows.append(" ".join([*(values[name] for name in columns), *(["0", "1", "-1"] if flags else [])]))
    head = f"Atoms # {style}\n\n" if told == "in the file" else "Atoms\n\n"
    content = text(atoms=head, rows="\n".join(rows) + "\n")
    snapshot = read(tmp_path, content, None if told == "in the file" else style)
    assert np.allclose(snapshot.positions, PLACE + (np.array([0, 7, -8]) if flags else 0))
    assert snapshot.labels.tolist() == ["1", "1", "2"]


def test_type_labels_go_with_their_particles(tmp_path):
    """Rows in another order than ids: a label belongs to its row."""
    labels = "\nAtom Type Labels\n\n1 big\n2 small\n"
    snapshot = read(tmp_path, text(more=labels, rows="3 small 5.05 0.55 7.75\n1 big 1.1 2.2 3.3\n2 big 4.4 5.5 6.6\n"))
    assert snapshot.labels.tolist() == ["big", "big", "small"]
    assert np.allclose(snapshot.positions, PLACE)


def test_what_write_data_tells_in_its_first_line(tmp_path):
    first = "LAMMPS data file via write_data, version 1 Jan 2025, timestep = 500, units = lj"
    assert read(tmp_path, text(first)).step == 500
    with pytest.raises(ValueError, match="units metal; expected lj"):
        read(tmp_path, text(first.replace("lj", "metal")))


def test_a_tilted_box_keeps_its_tilt(tmp_path):
    for between in (" ", "  ", "\t"):
        snapshot = read(tmp_path, text(more=f"1.5 0 0 xy{between}xz{between}yz\n"))
        assert np.allclose(snapshot.cell, [[6, 0, 0], [1.5, 7, 0], [0, 0, 8]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text(box=""), "no line `xlo xhi` in its header; expected the box"),
        (text(box=BOX.replace("0 7 ylo yhi\n", "")), "no line `ylo yhi`"),
        (text(box=BOX.replace("0 7 ylo", "7 ylo")), "no line `ylo yhi`"),
        (text(atoms="", rows=""), "no section Atoms"),
        (text(count=""), "no section Atoms, or no number of atoms"),
        (text(rows=ROWS[:-24]), "it has 2 of 3 particles"),
        (text(rows=ROWS.replace("\n1 1", "\n#1 1")), "it has 2 of 3 particles; .* rows are commented out"),
        (text(rows=ROWS.replace(" 7.75", "")), "rows of 4 and 5 words; expected all alike"),
        (text(rows=ROWS.replace("7.75", "high")), "'?high"),
        (
            text(atoms="Atoms\n\n", rows="1 1 0.0 1 2 3\n2 1 0.0 4 5 6\n3 2 0 5 0 7\n"),
            "they fit charge, bond, .*--atom-style",
        ),
        (text(atoms="Atoms # charge\n\n"), "rows of 5 words with atom style 'charge'; expected id type q x y z"),
        (text(atoms="Atoms # peri\n\n"), "atom style 'peri'; expected one of atomic, charge"),
        (text(box="6 0 0 avec\n0 7 0 bvec\n0 0 8 cvec\n0 0 0 abc origin\n"), "a general triclinic box"),
    ],
)
def test_what_is_missing_or_damaged_is_refused_in_a_sentence(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)
