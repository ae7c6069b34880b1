"""``glasslit data``."""

import pytest

import glasslit as gl
from glasslit.cli import main
from tests.data.test_checks import clean


def test_the_command_tells_what_a_set_holds_in_the_width_of_a_terminal(capsys):
    main(["data", "show", "standard"])
    lines = capsys.readouterr().out.splitlines()
    temperatures = sorted({c.temperature for c in gl.load("standard")})
    assert lines[0] == "T: " + ", ".join(f"{T:g}" for T in temperatures)
    assert "N: 4096" in lines
    (times,) = [line for line in lines if line.startswith("times")]
    assert times.split()[-4:] == ["0.104..52", "(7)", "0.032..16.5", "(7)"]
    assert max(len(line) for line in lines if not line.startswith("fields")) <= 100


def test_the_command_fails_where_a_check_does(tmp_path, capsys):
    good = clean(0.5)[:1]
    gl.save(tmp_path / "good.h5", good)
    main(["data", "check", str(tmp_path / "good.h5")])
    assert "FAIL" not in capsys.readouterr().out
    gl.save(tmp_path / "bad.h5", [good[0].replace(propensity_half=1.01 * good[0].propensity_half)])
    with pytest.raises(SystemExit) as end:
        main(["data", "check", str(tmp_path / "bad.h5")])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert "1 of" in err
    assert out.count("FAIL") == 1
