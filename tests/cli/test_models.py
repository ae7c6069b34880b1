"""``glasslit models``: what is inside the package."""

import json
import shutil

import pytest

import glasslit as gl
from glasslit.cli import main
from glasslit.data import shipped
from glasslit.data.shipped import shipped_models


def rows(told):
    header, *lines = told.splitlines()
    return {line.split()[0]: dict(zip(header.split(), line.split(), strict=False)) for line in lines}


def test_each_network_is_listed_with_what_it_is(capsys):
    main(["models"])
    told = capsys.readouterr().out
    found = rows(told)
    assert shipped_models().keys() <= found.keys()
    for name, path in shipped_models().items():
        net, row = gl.load_model(path), found[name]
        assert row["inputs"] == net.config.inputs
        assert row["T"] == name.rpartition("T")[2]
        assert int(row["parameters"]) == sum(p.numel() for p in net.parameters())
        assert ", ".join(f"{t:g}" for t in net.times) in told
        scores = json.loads(path.with_name(f"{name}.metrics.json").read_text())["test"]["A"]
        assert [float(row[key]) for key in ("within", "pooled", "ceiling")] == pytest.approx(
            [scores[key][-1] for key in ("mean", "pooled", "ceiling")], abs=5e-4
        )


def test_a_network_without_stored_scores_has_dashes(capsys, tmp_path, monkeypatch):
    (tmp_path / "data" / "models").mkdir(parents=True)
    shutil.copy(shipped_models()["thermal-T0.56"], tmp_path / "data" / "models" / "mine.pt")
    monkeypatch.setattr(shipped.resources, "files", lambda name: tmp_path)
    main(["models"])
    row = rows(capsys.readouterr().out)["mine"]
    assert (row["inputs"], row["within"], row["pooled"], row["ceiling"]) == ("thermal", "-", "-", "-")
