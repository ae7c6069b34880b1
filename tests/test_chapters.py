"""Chapters as their readers meet them: little code in sight, and buttons that say what they do."""

import re

import nbformat
import pytest
import yaml

from tests.common import ROOT

BOOK = ROOT / "book"
FOLDED = {"remove-cell", "hide-cell", "remove-input", "hide-input"}
"""Tags of cells whose code a reader does not see, or only after a click."""


def chapters():
    """Notebooks of the table of contents, in its order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    names = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [path for name in names if (path := ROOT / f"{name}.ipynb").is_file()]


def lines_in_sight(cells):
    """Numbers of lines of code that show at once, for each cell that does."""
    seen = [c for c in cells if c.cell_type == "code" and not FOLDED & set(c.metadata.get("tags", []))]
    return [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in seen]


@pytest.mark.parametrize("path", chapters(), ids=lambda p: p.stem)
def test_what_is_in_sight_is_what_a_chapter_teaches(path):
    found = lines_in_sight(nbformat.read(path, 4).cells)
    assert sum(found) <= 120
    assert max(found, default=0) <= 20


def test_lines_in_sight_are_counted():
    cell = nbformat.v4.new_code_cell("a = 1\n\nb = 2")
    folded = nbformat.v4.new_code_cell("c = 3", metadata={"tags": ["hide-input"]})
    assert lines_in_sight([cell, folded, nbformat.v4.new_markdown_cell("text")]) == [2]


@pytest.mark.parametrize("path", chapters(), ids=lambda p: p.stem)
def test_imports_and_plots_are_folded(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code" and not FOLDED & set(cell.metadata.get("tags", [])):
            assert "plotting.use()" not in cell.source
            assert "figure" not in cell.metadata.get("mystnb", {}) or lines_in_sight([cell])[0] <= 5, cell.source
            assert not re.search(r"\bplt\.subplots\(", cell.source), cell.source


def test_buttons_say_what_they_show(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    import prompts

    cell = lambda **metadata: {"cell_type": "code", "metadata": metadata}  # noqa: E731
    assert prompts.kind(cell(tags=["solution", "hide-cell"])) == "solution"
    assert prompts.kind(cell(tags=["check", "hide-input"])) == "check"
    assert prompts.kind(cell(tags=["hide-input"], mystnb={"figure": {"name": "fig-x"}})) == "figure"
    assert prompts.kind(cell(tags=["hide-input"])) == "code"
    assert prompts.PROMPTS["solution"][0] == "Solution"
    assert prompts.PROMPTS["figure"][0] == "Show the code of this figure"
