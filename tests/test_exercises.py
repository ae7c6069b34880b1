"""Exercises of the chapters: open functions, solutions, checks, and the student edition."""

import builtins
import re
import subprocess
import symtable
import sys
from itertools import chain

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch

from tests.common import ROOT

BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK))
import student  # noqa: E402

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


SLOW_LESSONS = {
    "against_the_field",
    "label_factory",
    "making_a_glass",
    "making_it_fast",
    "order_parameter",
    "your_own_liquid",
}
"""Chapters whose exercises go on from seconds of simulation or of predictions; the build of the book has all of it."""
EXERCISES = {p.stem: p for p in CHAPTERS if tagged(nbformat.read(p, 4), "exercise")}


def parts(path):
    """Cells of a chapter by place: those of the lesson, and for each exercise (open, solution, check)."""
    notebook = nbformat.read(path, 4)
    open_, solved, checks = (tagged(notebook, tag) for tag in ("exercise", "solution", "check"))
    assert solved == [k + 1 for k in open_]
    assert checks == [k + 2 for k in open_]
    source = {k: cell.source for k, cell in enumerate(notebook.cells) if cell.cell_type == "code"}
    exercises = [tuple(source.pop(k + place) for place in range(3)) for k in open_]
    return list(source.values()), exercises


@pytest.mark.parametrize("chapter", [name for name in EXERCISES if name not in SLOW_LESSONS])
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_each_check_fails_before_the_exercise_is_solved_and_passes_after(chapter, as_in_a_fresh_notebook):
    """Each check after the open function, and after the solution. Other cells run where they are needed."""
    lesson, exercises = parts(EXERCISES[chapter])
    space = {"__name__": "__main__"}
    for text in needed(lesson, chain.from_iterable(exercises)):
        exec(text, space)
    for open_, solution, check in exercises:
        exec(open_, space)
        before = dict(space)
        with pytest.raises((AssertionError, NotImplementedError, TypeError)):
            exec(check, space)
        space.clear()
        space.update(before)
        exec(solution, space)
        exec(check, space)


class StandIn:
    """For whatever a lesson computes: can be called, counted with and gone through, and is compared with nothing."""

    __name__ = "stand-in"

    def of_it(self, *_, **__):
        return self

    __getattr__ = __getitem__ = __call__ = __add__ = __radd__ = __sub__ = __mul__ = __rmul__ = __truediv__ = of_it

    def __iter__(self):
        yield self


@pytest.mark.parametrize("chapter", sorted(SLOW_LESSONS))
def test_each_check_of_a_slow_lesson_fails_before_the_exercise_is_solved(chapter):
    """With stand-ins for what the lesson computes: the check goes as far as the open function, and breaks off there.

    Before that and after the solution, with what the lesson does compute, the build of the book runs each of them.
    """
    _, exercises = parts(EXERCISES[chapter])
    for number, (open_, _, check) in enumerate(exercises, start=1):
        space = dict.fromkeys(names(check)[0] - {*vars(builtins)}, StandIn())
        exec(open_, space)
        with pytest.raises(NotImplementedError, match=f"^exercise {number}$"):
            exec(check, space)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The student edition, as the command writes it; and the command."""
    folder = tmp_path_factory.mktemp("student") / "course"
    command = [sys.executable, str(BOOK / "student.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder, command


def test_the_student_edition_has_checks_and_no_solutions(course):
    folder, command = course
    written = sorted(folder.glob("*.ipynb"))[1:]
    chapters = {p.stem for p in CHAPTERS if tagged(nbformat.read(p, 4), "exercise")}
    assert {p.stem[3:] for p in written} == chapters
    for path in written:
        whole, student = nbformat.read(BOOK / path.name[3:], 4), nbformat.read(path, 4)
        nbformat.validate(student)
        assert not tagged(student, "solution")
        assert len(tagged(student, "exercise")) == len(tagged(student, "check")) == len(tagged(whole, "exercise"))
        text = "".join(c.source for c in student.cells)
        assert "../" not in text, "it reads from outside of its folder"
        for k in tagged(whole, "solution"):
            assert whole.cells[k].source not in text
        assert ":class: dropdown" in "".join(c.source for c in whole.cells)
        assert ":class: dropdown" not in text
        assert "{self-check}" not in text
        assert "google.colab" not in text
        assert "student edition" not in " ".join(text.split())
        assert "## Summary" in text, "an answer ends where it should"
        for cell in student.cells:
            hidden = {"hide-input", "hide-cell", "remove-input", "remove-cell"} & {*cell.metadata.get("tags", [])}
            assert bool(hidden) == cell.metadata.get("jupyter", {}).get("source_hidden", False)
    mine = folder / written[0].name
    before = mine.read_bytes()
    mine.write_text("my work")
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2
    assert "expected a new folder" in again.stderr
    assert mine.read_text() == "my work"
    mine.write_bytes(before)


def test_files_of_the_student_edition_stand_in_the_order_of_the_book_after_a_plan(course):
    folder, _ = course
    start, *written = sorted(p.name for p in folder.glob("*.ipynb"))
    assert start == "00_start_here.ipynb"
    assert [name[:2] for name in written] == [f"{k:02d}" for k in range(1, len(written) + 1)]
    order = re.findall(r"file: book/(\w+)$", (ROOT / "_toc.yml").read_text(), re.M)
    places = [order.index(name[3:-6]) for name in written]
    assert places == sorted(places)
    plan = nbformat.read(folder / start, 4)
    nbformat.validate(plan)
    text = "".join(c.source for c in plan.cells)
    assert re.findall(r"\]\((\w+\.ipynb)\)", text) == written, "a link to each file, in order"
    for row in (line for line in text.splitlines() if ".ipynb)" in line):
        name = re.search(r"\((\w+)\.ipynb\)", row)[1]
        minutes = re.search(r"\*\*Time\.\*\*\D*(\d+)", student.markdown_of(name[3:]))[1]
        assert row.split("|")[2].strip() == minutes
    (check,) = (c.source for c in plan.cells if c.cell_type == "code")
    exec(check, {})


def test_links_between_chapters_of_the_student_edition_lead_to_files_that_are_there(course):
    folder, _ = course
    found = 0
    for path in folder.glob("*.ipynb"):
        text = "\n".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown")
        assert not re.search(r"\{(?:doc|run|numref|term|cite:[pt]|glue:text|py:\w+)\}`", text), path
        for link in re.findall(r"(?<!\!)\[[^\]]+\]\(([\w./-]+)\)", text):
            assert (folder / link).is_file(), (path.name, link)
            found += 1
    assert found > 40


def test_colabs_cell_is_there_on_request(tmp_path):
    for path in student.write(tmp_path / "course", colab=True)[1:]:
        first = next(c for c in nbformat.read(path, 4).cells if c.cell_type == "code")
        assert "google.colab" in first.source


def test_what_only_the_book_knows_is_written_out():
    there = {"first_look": "01_first_look.ipynb"}

    def plain(text, **more):
        return student.plain(text, there, **more)

    look = student.title_of("first_look")
    assert plain("See {run}`the run <T0.44>` and {run}`T0.50`.") == "See the run and T0.50."
    assert plain("{doc}`first_look`") == f"[{look}](01_first_look.ipynb)"
    assert plain("{doc}`a look <first_look>`") == "[a look](01_first_look.ipynb)"
    assert plain("[](first_look), [a look](first_look)") == plain("{doc}`first_look`, {doc}`a look <first_look>`")
    assert plain("{doc}`data_card`") == f"*{student.title_of('data_card')}*"
    assert plain("{doc}`../book/data_card`") == plain("[](data_card)") == plain("{doc}`data_card`")
    assert plain("{doc}`api/equivariance`") == f"*{student.title_of('api/equivariance')}*"
    assert plain("{cite:t}`schutt2018`") == "Schütt et al. (2018)"
    assert plain("{term}`seed`") == "seed"
    assert plain("{numref}`fig-a`", figures={"fig-a": 3}) == "Figure 3"
    assert plain("{numref}`fig-glass-gr`") == f"(figure in *{student.title_of('glass_and_mobility')}*)"
    assert plain("{eq}`eq-a`", labels={"eq-a"}) == "{eq}`eq-a`", "jupyterlab-myst shows it"
    with pytest.raises(ValueError, match="no chapter has fig-nowhere"):
        plain("{numref}`fig-nowhere`")
    assert (
        plain(
            "## Exercises\n\nWrite it. To do so, open the student\nedition (README); here not. Do *core*.\n\n**1.** So."
        )
        == "## Exercises\n\nWrite it. Do *core*.\n\n**1.** So."
    )


def test_answers_of_self_checks_are_folded():
    text = student.plain(
        "Before.\n\n:::{self-check} Which is it?\n- [ ] This.\n\n  Because one.\n- [x] That, see {doc}`first_look`.\n\n"
        "  Because two.\n:::\n\nAfter.",
        {},
    )
    shown = re.sub(r"<details>.*?</details>", "", text, flags=re.S)
    assert "Because" in text
    assert "Because" not in shown
    for part in ("Before.", "Which is it?", "This.", "That, see *First look", "After."):
        assert part in shown
    assert "</details>\n<details>" not in text, "jupyterlab-myst would unfold the second"
    assert "[x]" not in text, "which choice is right is an answer, too"
