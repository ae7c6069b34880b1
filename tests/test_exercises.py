"""Exercises of the chapters: open functions, solutions, checks, and the student edition."""

import subprocess
import symtable
import sys

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch

from tests.common import ROOT

BOOK = ROOT / "book"
CHAPTERS = sorted(BOOK.glob("*.ipynb"))


def tagged(notebook, tag):
    return [k for k, cell in enumerate(notebook.cells) if tag in cell.metadata.get("tags", [])]


def names(source):
    """(names that a cell takes from outside, names that it defines)."""
    top = symtable.symtable(source, "cell", "exec")
    defined = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    taken = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    inner = list(top.get_children())
    while inner:
        scope = inner.pop()
        taken |= {s.get_name() for s in scope.get_symbols() if s.is_global()}
        inner += scope.get_children()
    return taken, defined


def needed(cells, wanted):
    """Of the cells, in order, those that define what the wanted sources use, or what such cells use.

    The last definition before the use is the one that is meant; a cell's own names it defines before it uses them.
    """
    kept, missing = [], set()
    for source in wanted:
        taken, defined = names(source)
        missing |= taken - defined
    for source in reversed(cells):
        taken, defined = names(source)
        if defined & missing:
            kept.append(source)
            missing = (missing | taken) - defined
    return kept[::-1]


@pytest.fixture
def as_in_a_fresh_notebook(monkeypatch):
    monkeypatch.chdir(BOOK)
    monkeypatch.setattr(sys, "path", [*sys.path])
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    with plt.rc_context():
        yield
    plt.close("all")
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.mark.parametrize("path", [p for p in CHAPTERS if tagged(nbformat.read(p, 4), "exercise")], ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_each_check_fails_before_the_exercise_is_solved_and_passes_after(path, as_in_a_fresh_notebook):
    """Each check after the open function, and, where that is quick, after the solution: the build of the book runs all
    of them. Other cells run where they are needed.
    """
    notebook = nbformat.read(path, 4)
    open_, solved, checks = (tagged(notebook, tag) for tag in ("exercise", "solution", "check"))
    assert solved == [k + 1 for k in open_]
    assert checks == [k + 2 for k in open_]
    source = {k: cell.source for k, cell in enumerate(notebook.cells) if cell.cell_type == "code"}
    own = {*open_, *solved, *checks}
    lesson = [text for k, text in source.items() if k not in own]
    space = {"__name__": "__main__"}
    for text in needed(lesson, [source[k] for k in sorted(own)]):
        exec(text, space)
    for k in open_:
        exec(source[k], space)
        before = dict(space)
        with pytest.raises((AssertionError, NotImplementedError, TypeError)):
            exec(source[k + 2], space)
        space.clear()
        space.update(before)
        exec(source[k + 1], space)
        if path.stem not in ("making_a_glass", "equivariance_checks"):
            exec(source[k + 2], space)


def test_the_student_edition_has_checks_and_no_solutions(tmp_path):
    command = [sys.executable, str(BOOK / "student.py"), str(tmp_path / "course")]
    subprocess.run(command, check=True, capture_output=True)
    written = sorted((tmp_path / "course").glob("*.ipynb"))
    assert [p.stem for p in written] == [p.stem for p in CHAPTERS if tagged(nbformat.read(p, 4), "exercise")]
    for path in written:
        whole, student = nbformat.read(BOOK / path.name, 4), nbformat.read(path, 4)
        nbformat.validate(student)
        assert not tagged(student, "solution")
        assert len(tagged(student, "exercise")) == len(tagged(student, "check")) == len(tagged(whole, "exercise"))
        text = "".join(c.source for c in student.cells)
        assert "../" not in text, "it reads from outside of its folder"
        for k in tagged(whole, "solution"):
            assert whole.cells[k].source not in text
        assert ":class: dropdown" in "".join(c.source for c in whole.cells)
        assert ":class: dropdown" not in text
        assert "## Summary" in text, "an answer ends where it should"
    mine = tmp_path / "course" / written[0].name
    mine.write_text("my work")
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2
    assert "expected a new folder" in again.stderr
    assert mine.read_text() == "my work"
