import json
import os
import subprocess

from glasslit import provenance


def test_card_is_plain_json_and_complete():
    card = provenance.card({"T": 0.44, "times": None}, data="abc", device="cpu", seed=3, seconds=12.345)
    assert json.loads(json.dumps(card)) == card
    keys = "parameters versions git_revision source_hash data_sha256 device seed wall_seconds date"
    assert set(card) == set(keys.split())
    assert card["parameters"] == {"T": 0.44, "times": None}
    assert {"python", "torch", "e3nn", "numpy", "glasslit"} <= set(card["versions"])
    assert card["wall_seconds"] == 12.3


def test_asking_for_the_revision_leaves_the_checkout_alone(tmp_path, monkeypatch):
    """`git status` by itself writes .git/index anew where a file's time has changed; killed, it leaves a lock."""
    place = tmp_path / "checkout"
    (place / "glasslit").mkdir(parents=True)
    module, index = place / "glasslit" / "provenance.py", place / ".git" / "index"
    module.write_text("")

    def git(*words):
        command = ["git", "-C", str(place), "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
        subprocess.run(command, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    os.utime(module, (1e9, 1e9))
    monkeypatch.setattr(provenance, "__file__", str(module))
    before = index.read_bytes()
    assert len(provenance.git_revision()) == 40
    assert index.read_bytes() == before
    git("status")  # the control
    assert index.read_bytes() != before


def test_data_hash_depends_on_content_and_order():
    assert provenance.data_hash(["a", "b"]) == provenance.data_hash(iter(["a", "b"]))
    assert provenance.data_hash(["a", "b"]) != provenance.data_hash(["b", "a"])


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    provenance.write_json(path, {"x": 1})
    try:
        provenance.write_json(path, {"x": float("nan")})
    except ValueError:
        pass
    else:
        raise AssertionError("NaN is no JSON")
    assert json.loads(path.read_text()) == {"x": 1}
