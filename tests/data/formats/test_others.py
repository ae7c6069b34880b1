"""What ASE reads without converting, against what it writes; everything else in a sentence."""

import gzip
import pickle
import re
import warnings

import ase
import ase.io
import numpy as np
import pytest
from ase.io.formats import ioformats

import glasslit as gl
from glasslit.data.formats.others import _BOHR, _CONVERTED, READ, frames, told_by_ase, unread
from glasslit.data.formats.snapshot import Options
from glasslit.testing import random_liquid
from tests.common import ROOT

CELL = np.array([6.1234, 7.2345, 8.3456])
ATOMS = ase.Atoms(
    "Ar2Kr2", [[1.2345, 2.3456, 3.4567], [4.1, 5.2, 6.3], [0.5, 0.6, 0.7], [3.3, 1.4, 5.5]], cell=CELL, pbc=True
)
WRITTEN = sorted(name for name in READ if ioformats[name].can_write)


def read(path, options=None, format=None):
    return [frame() for frame in frames(path, options or Options(), format)]


def read_some(path, format):
    """As whoever calls the readers does: a file without frames is refused there."""
    if not (found := read(path, format=format)):
        raise ValueError("a file without frames; expected some")
    return found


@pytest.mark.parametrize("name", WRITTEN)
def test_lengths_stay_as_they_stand_in_the_file(tmp_path, name):
    """The edge of the cell, or x of the first particle, is in the text as it was given; and so it is read."""
    path = tmp_path / f"some@0.45.{name}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with path.open("wb" if ioformats[name].isbinary else "w") as file:
            ase.io.write(str(file.name) if not ioformats[name].acceptsfd else file, ATOMS, format=name)
        content = path.read_bytes()
        assert b"1.234" in content or b"6.1234" in content
        (found,) = read(path, Options(box=CELL) if name in ("mol", "sdf") else None, name)
    assert np.allclose(found.positions - found.positions[0], ATOMS.positions - ATOMS.positions[0], atol=1e-3)
    assert np.allclose(np.linalg.norm(found.cell, axis=1), CELL, atol=1e-3)
    assert found.labels.tolist() == ["Ar", "Ar", "Kr", "Kr"]


def test_formats_are_ase_s_own():
    assert set(READ) <= set(ioformats)
    assert (_BOHR | set(_CONVERTED)) - {"runnerdata"} <= set(ioformats)  # which came with ASE 3.29
    assert not (_BOHR | set(_CONVERTED)) & set(READ)
    assert len(WRITTEN) > 15


@pytest.mark.parametrize(
    "name", ["gromacs", "gromos", "castep-md", "cube", "dmol-incoor", "struct", "sys", "turbomole"]
)
def test_ase_converts_what_is_refused(tmp_path, name):
    """The control of the test above: the same lengths are not in these files, or not as they are read."""
    path = tmp_path / "some.file"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ase.io.write(path, ATOMS, format=name)
    assert not any(word in path.read_bytes() for word in (b"1.234", b"6.123"))
    with pytest.raises(ValueError, match=r"nm, which readers turn|from Bohr into"):
        read(path, format=name)


def test_several_frames_packed_files_and_columns_of_types(tmp_path):
    path = tmp_path / "some.json"
    ase.io.write(path, [ATOMS, ATOMS], format="json")
    packed = tmp_path / "some.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for place in (path, packed):
        assert told_by_ase(place) == "json"
        assert [len(s.labels) for s in read(place)] == [4, 4]
    atoms = ATOMS.copy()
    atoms.set_array("type", np.array([1, 2, 2, 1]))
    path = tmp_path / "some.cfg"
    ase.io.write(path, atoms, format="cfg")
    assert read(path, format="cfg")[0].labels.tolist() == ["1", "2", "2", "1"]


def test_boxes(tmp_path):
    path = tmp_path / "some.traj"
    ase.io.write(path, ase.Atoms("Ar", [[1, 2, 3]]))
    (found,) = read(path, Options(box=CELL))
    assert np.array_equal(found.cell, np.diag(CELL))
    assert found.periodic.all()
    with pytest.raises(ValueError, match="no box in the file"):
        read(path)
    ase.io.write(path, ATOMS)
    with pytest.raises(ValueError, match="beside a file that says its box"):
        read(path, Options(box=CELL))
    for atoms, told in (
        (ase.Atoms("Ar", [[1, 2, 3]], cell=[5, 5, 0]), "expected three edge vectors of a box with a volume"),
        (ase.Atoms("Ar", [[1, 2, np.nan]], cell=[5, 5, 5]), "particle 0 is at"),
        (ase.Atoms(cell=[5, 5, 5]), "no particles; expected at least one"),
    ):
        ase.io.write(path, atoms)
        with pytest.raises(ValueError, match=told):
            read(path)
    ase.io.write(path, ase.Atoms("Ar", cell=[5, 5, 5], pbc=(1, 1, 0)))
    (found,) = read(path)
    assert found.periodic.tolist() == [True, True, False]


def test_a_file_that_dropped_the_labels_of_a_configuration_says_so(tmp_path):
    liquid = random_liquid(20).replace(ids=np.arange(20))
    bare = gl.Configuration(positions=liquid.positions, types=liquid.types, box=liquid.box)
    path, whole = tmp_path / "liquid.traj", tmp_path / "liquid.xyz"
    ase.io.write(path, [liquid.to_ase()] * 2)
    with pytest.warns(
        UserWarning, match=r"liquid\.traj: its particles came from a configuration with .*propensity, .*, id,"
    ):
        assert len(gl.read_trajectory(path, {"H": "A", "He": "B"})) == 2
    given = {name: getattr(liquid, name) for name in ("times", "propensity")}
    with pytest.warns(UserWarning, match="came from a configuration with") as heard:
        (read_again, _) = gl.read_trajectory(path, {"H": "A", "He": "B"}, **given)
    assert np.array_equal(read_again.propensity, liquid.propensity)
    (told,) = [str(w.message) for w in heard if "came from" in str(w.message)]
    gone = told.split(", and have them no more")[0].split(" with ")[1].split(", ")
    assert "propensity_half" in gone, "not given"
    assert "propensity" not in gone, "given"
    ase.io.write(path, bare.to_ase())
    ase.io.write(whole, liquid.to_ase(), format="extxyz")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        gl.read_trajectory(path, {"H": "A", "He": "B"})
        gl.read_trajectory(whole, {"H": "A", "He": "B"})
    assert not [w for w in heard if "came from" in str(w.message)]


@pytest.mark.parametrize("name", sorted(READ))
@pytest.mark.parametrize(
    "content", [b"", b"made up\n", b"2\n\nAr 1 2 3\n", bytes(range(256)) * 4, b"{}", b"<a><b/></a>", b"1 2\n3 4\n" * 20]
)
def test_unsuitable_files_end_in_a_sentence(tmp_path, name, content):
    path = tmp_path / "some.file"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"^[^\n]*(; expected|no box)[^\n]*$"):
            read_some(path, name)


@pytest.mark.parametrize("suffix", [".traj", ".json", ".vasp"])
def test_cut_files(tmp_path, suffix):
    path = tmp_path / f"POSCAR{suffix}"
    ase.io.write(path, ATOMS)
    whole = path.read_bytes()
    for share in (0.2, 0.5, 0.8):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match=r"ASE cannot read it as|expected"):
            read_some(path, suffix[1:])
    packed = tmp_path / f"POSCAR{suffix}.gz"
    packed.write_bytes(gzip.compress(whole)[:-30])
    with pytest.raises(ValueError, match=r"ASE cannot read it as"):
        read(packed, format=suffix[1:])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.gro", "GROMACS's .gro: it keeps nm"),
        ("a.gro.gz", "GROMACS's .gro: it keeps nm"),
        ("a.XTC", "GROMACS's .xtc: it keeps nm"),
        ("a.trr", "GROMACS's .trr: it keeps nm"),
        (
            "a.dcd",
            "DCD, of CHARMM, NAMD or LAMMPS: it keeps positions, and neither types nor ids: write XYZ with MDAnalysis",
        ),
        ("a.nc", "NetCDF, of AMBER or LAMMPS: it is binary"),
        ("a.bin", "LAMMPS: its binary dumps .*: dump text"),
        ("a.lammpsbin", "LAMMPS: its binary dumps .*: dump text"),
        ("a.restart", "LAMMPS's restart"),
        ("a.gsd.gz", "HOOMD-blue's GSD, packed as .gz"),
        ("a.pkl", "a pickle: it may run code"),
    ],
)
def test_files_that_stay_unread(tmp_path, name, told):
    path = tmp_path / name
    assert told.split(":")[0] in unread(path)
    path.write_bytes(b"\x00\x01")
    with pytest.raises(ValueError, match=told):
        read(path)


@pytest.mark.parametrize("name", ["a.dump", "a.xyz", "a.gsd", "a.yaml", "a.data", "a.traj", "a"])
def test_other_names_say_nothing(tmp_path, name):
    assert unread(tmp_path / name) is None


@pytest.mark.parametrize("name", ["gpw", "db", "bundletrajectory", "postgresql", "netcdftrajectory", "nonsense", "py"])
def test_other_formats_are_refused_by_name(tmp_path, name):
    path = tmp_path / "some.file"
    path.write_text("x")
    with pytest.raises(ValueError, match="extended XYZ"):
        read(path, format=name)


def test_unknown_files_are_refused(tmp_path):
    path = tmp_path / "some.thing"
    packed = tmp_path / "some.thing.gz"
    for place in (path, packed):
        place.write_text("nothing in particular\n")
    assert told_by_ase(path) is None
    assert told_by_ase(packed) is None
    with pytest.raises(
        ValueError, match="format unknown; expected a LAMMPS dump or data file, XYZ, GSD, or one of cfg"
    ):
        read(path)
    with pytest.raises(ValueError, match=r"ASE does not unpack \.zst"):
        read(tmp_path / "some.json.zst", format="json")


PDB = """CRYST1    6.000    6.000    6.000  90.00  90.00  90.00 P 1           1
ATOM      1    A MOL     1       0.000   0.000   0.000  1.00  0.00           A
ATOM      2    B MOL     1       1.000   1.000   1.000  1.00  0.00           B
END
"""
POSCAR = "made\n1.0\n6 0 0\n0 6 0\n0 0 6\n{}\n1 1\nCartesian\n0 0 0\n1 1 1\n"
XDATCAR = "made\n1.0\n6 0 0\n0 6 0\n0 0 6\n{}\n1 1\nDirect configuration=     1\n0 0 0\n.1 .1 .1\n"


@pytest.mark.parametrize("frames_asked", [":", "-1"])
@pytest.mark.parametrize(
    ("name", "content"),
    [("POSCAR", POSCAR.format("A B")), ("XDATCAR", XDATCAR.format("A B")), ("liquid.pdb", PDB)],
    ids=["POSCAR", "XDATCAR", "PDB"],
)
def test_types_that_are_no_elements_are_told_from_damaged_files(tmp_path, name, content, frames_asked):
    """ASE 3.29 looks words up in its table of elements, while frames are counted too: KeyError: 'A'."""
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=r"particles of type 'A', and ASE reads chemical elements only.*H and He"):
        gl.read_trajectory(path, {"A": "A", "B": "B"}, frames_asked)
    path.write_text(content.replace("A B", "H He").replace(" A", " H").replace(" B", "HE"))
    with pytest.warns(UserWarning, match="no particle ids"):
        (found,) = gl.read_trajectory(path, {"H": "A", "He": "B"}, frames_asked)
    assert found.types.tolist() == [0, 1]
    assert found.box.tolist() == [6, 6, 6]


def test_a_damaged_file_is_not_taken_for_one_with_other_types(tmp_path):
    """ASE 3.29 looks for the name of an atom in an empty word: IndexError."""
    path = tmp_path / "liquid.pdb"
    path.write_text("\n".join(line[:12] + 4 * " " + line[16:54] for line in PDB.splitlines()) + "\n")
    with pytest.raises(ValueError, match=r"ASE cannot read it as proteindatabank \(IndexError.*expected a whole file"):
        read(path)
    path = tmp_path / "some.json"
    path.write_text('{"1": {}, "ids": [1], "nextid": 2}')
    with pytest.raises(ValueError, match=r"ASE cannot read it as json"):
        read(path)


def test_the_lines_for_dcd_in_the_book(tmp_path, monkeypatch):
    """As they stand on the page: types come from the data file, positions from each frame."""
    mda = pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed: pip install MDAnalysis")
    (lines,) = re.findall(r"```python\n(import MDAnalysis\n.*?)```", (ROOT / "book/formats.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    atoms = "".join(f"{k + 1} {1 + k % 2} {k} {k} {k}\n" for k in range(5))
    box = "".join(f"0 6 {x}lo {x}hi\n" for x in "xyz")
    (tmp_path / "liquid.data").write_text(f"made\n\n5 atoms\n2 atom types\n\n{box}\nAtoms # atomic\n\n{atoms}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = mda.Universe("liquid.data", topology_format="DATA", atom_style="id type x y z")
        with mda.Writer("liquid.dcd", n_atoms=5) as writer:
            for _ in range(3):
                universe.atoms.positions += 0.1
                writer.write(universe.atoms)
        exec(lines, {})
        found = gl.read_trajectory("liquid.xyz", {1: "A", 2: "B"}, box=6.0)
    assert len(found) == 3
    assert found[0].types.tolist() == [0, 1, 0, 1, 0]
    assert np.allclose(found[-1].positions[0], 0.3, atol=1e-4)
    with pytest.raises(ValueError, match="DCD, of CHARMM, NAMD or LAMMPS"):
        gl.read_trajectory("liquid.dcd", {1: "A", 2: "B"}, format="dcd")


class Runs:
    """Of a pickle, what would run."""

    def __reduce__(self):
        return (exec, ("open('ran', 'w').close()",))


@pytest.mark.parametrize("name", READ)
def test_no_reader_runs_code_of_a_file(tmp_path, monkeypatch, name):
    """Old trajectories of ASE were pickles."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "some.traj"
    for head in (b"", b"PickleTrajectory"):
        path.write_bytes(head + pickle.dumps(Runs()))
        with pytest.raises(ValueError, match="expected"):
            read_some(path, name)
        assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Runs()))
    assert (tmp_path / "ran").exists(), "the control: this pickle does run"
