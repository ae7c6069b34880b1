"""``glasslit runs``: what a folder of trainings holds, whatever state it is in."""

import json
import os
import re
import shutil
import time

import pandas as pd
import pytest

from glasslit.cli import main
from glasslit.cli.runs import COLUMNS, look, ordered
from tests.common import ROOT

PUBLISHED = ROOT / "book" / "runs"


@pytest.fixture
def folder(tmp_path):
    """Three published runs, one of them in a folder of a sweep."""
    for name in ("T0.50", "T0.44", "depth/depth1-seed0"):
        (tmp_path / name).mkdir(parents=True)
        for part in ("card.json", "metrics.json", "history.csv"):
            shutil.copy(PUBLISHED / name / part, tmp_path / name / part)
    return tmp_path


def listed(words, capsys):
    main(["runs", *map(str, words)])
    return capsys.readouterr().out


def table(told):
    """The rows of the printed table, each with what is told once above it: value by column, in order."""
    lines = told.splitlines()
    top = next(k for k, line in enumerate(lines) if line.startswith("name "))
    header = lines[top].split()
    alike = dict(pair.split(": ") for line in lines[:top] for pair in line.split(", "))
    rows = [line.split() for line in lines[top + 1 :]]
    return [alike | dict(zip(header, row, strict=False)) for row in rows if re.fullmatch(r"\d\d:\d\d", row[-1])]


def test_every_run_is_listed_with_what_its_files_say(folder, capsys):
    rows = {row["name"]: row for row in table(listed([folder], capsys))}
    assert list(rows) == ["T0.44", "T0.50", "depth/depth1-seed0"]
    for name, row in rows.items():
        assert set(row) == set(COLUMNS) - {"fold"}
        card, metrics = (json.loads((folder / name / f"{part}.json").read_text()) for part in ("card", "metrics"))
        given, scores = card["parameters"], metrics["test"]["A"]
        assert (row["inputs"], row["network"], row["data"]) == (given["inputs"], "se3", given["data"])
        assert (int(row["epochs"]), int(row["seed"])) == (given["training"]["epochs"], given["seed"])
        assert (float(row["T"]), float(row["time"])) == (given["T"], metrics["times"][-1])
        found = [float(row[key]) for key in ("within", "pooled", "ceiling", "ceiling_within")]
        stored = [scores[key][-1] for key in ("mean", "pooled", "ceiling", "ceiling_within")]
        assert found == pytest.approx(stored, abs=5e-4)
        history = pd.read_csv(folder / name / "history.csv")
        assert float(row["validation"]) == pytest.approx(history.val_rho.max(), abs=5e-4)
        assert float(row["minutes"]) == pytest.approx(card["wall_seconds"] / 60, abs=0.06)
        assert card["date"].startswith(row["date"])


def test_what_all_runs_share_is_told_once(capsys):
    told = listed([PUBLISHED / "depth"], capsys).splitlines()
    assert told[0] == "T: 0.56, data: standard, inputs: thermal+E_IS, network: se3, epochs: 60, time: 52"
    expected = ["name", "seed", "validation", "within", "ceiling_within", "pooled", "ceiling", "minutes", "date"]
    assert told[1].split() == expected


@pytest.mark.parametrize("column", COLUMNS)
def test_the_table_is_sorted_by_any_column(folder, capsys, column):
    rows = look(folder).finished
    expected = [row["name"] for row in sorted(rows, key=lambda row: row[column] or 0)]
    if column in ("validation", "within", "pooled"):
        expected.reverse()
    found = [row["name"] for row in table(listed([folder, "--sort", column], capsys))]
    assert found == expected
    known = [row[column] for row in rows]
    if len(set(known)) == len(known):
        found = [row["name"] for row in table(listed([folder, "--sort", column, "--reverse"], capsys))]
        assert found == expected[::-1]


def test_the_ceiling_within_configurations_is_shown_where_it_is_stored(folder, capsys):
    path = folder / "T0.44" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"]["A"]["ceiling_within"] = [0.125 for _ in metrics["times"]]
    path.write_text(json.dumps(metrics))
    (row,) = [row for row in table(listed([folder], capsys)) if row["name"] == "T0.44"]
    assert row["ceiling_within"] == "0.125"


def test_folds_are_told_apart_and_a_run_without_history_is_listed(folder, capsys):
    path = folder / "T0.44" / "card.json"
    card = json.loads(path.read_text())
    card["parameters"]["fold"] = 2
    path.write_text(json.dumps(card))
    (folder / "T0.50" / "history.csv").unlink()
    rows = {row["name"]: row for row in table(listed([folder], capsys))}
    assert [rows[name]["fold"] for name in ("T0.44", "T0.50")] == ["2", "-"]
    assert [rows[name]["validation"] == "-" for name in ("T0.44", "T0.50")] == [False, True]


def test_what_has_no_value_comes_last():
    rows = [{"name": "a", "ceiling": None}, {"name": "b", "ceiling": 0.5}, {"name": "c", "ceiling": 0.1}]
    assert [row["name"] for row in ordered(rows, "ceiling")] == ["c", "b", "a"]
    assert [row["name"] for row in ordered(rows, "ceiling", reverse=True)] == ["b", "c", "a"]


def test_a_run_without_a_ceiling_has_a_dash(folder, capsys):
    path = folder / "T0.44" / "metrics.json"
    metrics = json.loads(path.read_text())
    for scores in metrics["test"].values():
        del scores["ceiling"]
    path.write_text(json.dumps(metrics))
    assert [row["ceiling"] for row in table(listed([folder], capsys)) if row["name"] == "T0.44"] == ["-"]


def test_unfinished_and_damaged_runs_are_named(folder, capsys):
    (folder / "half.unfinished.csv").write_text("epoch,train_loss\n1,0.5\n2,0.4\n")
    (folder / "half.unfinished.pt").write_bytes(b"")
    (folder / "young.unfinished.pt").write_bytes(b"")
    (folder / "T0.50" / "card.json").write_text("{")
    (folder / "depth" / "depth1-seed0" / "card.json").unlink()
    for path in folder.glob("*.unfinished.*"):
        os.utime(path, (time.time() - 300, time.time() - 300))
    told = listed([folder], capsys)
    assert f"{folder / 'half'}: unfinished, at epoch 2 5 minutes ago" in told
    assert f"{folder / 'young'}: unfinished, at an epoch that is not known" in told
    card = folder / "T0.50" / "card.json"
    assert f"{folder / 'T0.50'}: its files cannot be read (ValueError: {card} is not readable JSON" in told
    assert f"{folder / 'depth' / 'depth1-seed0'}: its files cannot be read (FileNotFoundError" in told
    assert [row["name"] for row in table(told)] == ["T0.44"]


def test_where_there_is_none_it_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, message in (
        (["runs", str(tmp_path)], "no runs in"),
        (["runs"], "runs is not a folder; expected one with runs in it, as glasslit train leaves them"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_every_published_run_is_read():
    found = look(PUBLISHED)
    assert len(found.finished) == len(list(PUBLISHED.rglob("metrics.json")))
    assert not found.damaged
