"""Graded work: problems differ from student to student, and points are given for what is right."""

import ast
import csv
import json
import shutil
import subprocess
import sys
import threading

import nbformat
import pytest

from tests.common import ROOT

pytestmark = pytest.mark.usefixtures("forked")

BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK))
import assignment  # noqa: E402
import feedback  # noqa: E402
import student  # noqa: E402
from assignment import as_function, grade, notebook_of, read_roster, write  # noqa: E402
from problems import PROBLEMS  # noqa: E402

STUDENTS = ("ada", "emmy", "hermann")


def run(*sources):
    space = {}
    for source in sources:
        exec(source, space)


def right(problem):
    return problem.solution, as_function(problem.name, problem.check)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_the_check_wants_the_solution_to_ones_own_problem(problem):
    mine, *others = (problem.drawn("key", student) for student in STUDENTS)
    for drawn in (mine, *others):
        run(*right(drawn))
        if drawn.form:
            run(drawn.solution, as_function(problem.name, drawn.form))
        with pytest.raises((AssertionError, NotImplementedError, TypeError)):
            run(drawn.open, as_function(problem.name, drawn.check))
        assert "$" not in drawn.open + drawn.check + drawn.solution
        assert problem.name in drawn.open
        assert (BOOK / f"{drawn.chapter}.ipynb").is_file()
    failed = 0
    for other in others:
        try:
            run(other.solution, as_function(problem.name, mine.check))
        except Exception:
            failed += 1
    assert failed == len(others), "another student's solution passes"


def test_problems_depend_on_key_and_student_and_on_nothing_else():
    def texts(key, student):
        mine = [problem.drawn(key, student) for problem in PROBLEMS]
        return [problem.text + problem.open for problem in mine]  # numbers may stand in the open cell

    assert texts("key", "ada") == texts("key", "ada")
    for other in (texts("another", "ada"), texts("key", "emmy")):
        assert sum(a == b for a, b in zip(texts("key", "ada"), other, strict=True)) <= 2


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("gate", "* v", "* v * (1 + 0.01 * v[:, :1])"),
        ("kernel", "line = np.outer(a, a)", "line = np.outer(a, a) * (1 + 0.01 * a[0])"),
        ("coupled", "return factor", "return -factor"),
        ("envelope", "r / ", "1.01 * r / "),
        ("displacement", "steps -= ", "_ = "),
        ("scattering", "2 * np.pi", "np.pi"),
        ("ceiling", "now**2", "now"),
        ("label", "(len(x) - 1)", "len(x)"),
        ("fire", "np.zeros_like(v)", "v"),
        ("in_si", "1e12", "1e9"),
        ("read", "if n_b * 5 != c.n_particles", "if False"),
        ("read", "> 0.01", "> 0.03"),
        ("read", "-1:", ":1"),
        ("scaled", "1 / 3", "1 / 2"),
        ("within_pooled", '("mean", "pooled")', '("pooled", "mean")'),
        ("blocks", "/ np.bincount(at)", ""),
        ("honest", "scores[-1][1]", "max(score for _, score in scores)"),
        ("optimism", "best.mean()", "3"),
        ("gain", "@ [-1, 1] @ [-1, 1]", "@ [1, 0] @ [1, 0]"),
        ("decoder", "(x[k] - center)", "x[k]"),
        ("susceptibility", "chi4(*halves)", "chi4(halves[0])"),
        ("shared", "(q - q.mean())[j]", "q[j]"),
        ("direction", "/ z.std(axis=0)", ""),
    ],
)
def test_a_solution_that_is_almost_right_gets_nothing(name, right, wrong):
    problem = next(p for p in PROBLEMS if p.name == name).drawn("key", "ada")
    assert right in problem.solution
    with pytest.raises(AssertionError):
        run(problem.solution.replace(right, wrong), as_function(problem.name, problem.check))


def test_whole_numbers_of_numpy_are_whole_numbers():
    for problem in (p.drawn("key", "ada") for p in PROBLEMS if p.name in ("frequencies", "n_products", "n_runs")):
        as_numpy = f"{problem.solution}\nimport numpy\n{problem.name} = numpy.array({problem.name})"
        run(as_numpy, as_function(problem.name, problem.form))
        run(as_numpy, as_function(problem.name, problem.check))


def hand_in(folder, name, answers):
    """What a student hands in: answers to the open cells, and checks edited, which changes nothing."""
    notebook, answers = nbformat.read(folder / f"{name}.ipynb", 4), iter(answers)
    for number, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        cell.source = "pass" if number % 2 else next(answers)
    nbformat.write(notebook, folder / f"{name}.ipynb")


def test_points_for_what_comes_back(tmp_path, monkeypatch):
    names = [*STUDENTS, "neighbor", "absent", "torn", "binary", "list", "silent", "leaves", "gone"]
    folder, out = tmp_path / "homework", tmp_path / "points.csv"
    problems = [p for p in PROBLEMS if p.name in ("frequencies", "invariant", "n_runs", "apart")]
    monkeypatch.setattr(assignment, "SECONDS", 4)
    write(names, folder, problems, "key", "Homework")
    solved = {name: [p.drawn("key", name).solution for p in problems] for name in STUDENTS}
    hangs = [own if p.points == 1 else "while True: pass" for p, own in zip(problems, solved["emmy"], strict=True)]
    hand_in(folder, "ada", solved["ada"])
    hand_in(folder, "emmy", hangs)
    hand_in(folder, "neighbor", solved["ada"])
    hand_in(folder, "silent", ["frequencies = 7", "def invariant(x, y): raise AssertionError", *["pass"] * 2])
    hand_in(folder, "leaves", ["frequencies = 7", "def invariant(x, y): raise SystemExit", *["pass"] * 2])
    hand_in(folder, "gone", ["import os; os._exit(1)"] * len(problems))
    (folder / "absent.ipynb").unlink()
    (folder / "torn.ipynb").write_text('{"cells": [')
    (folder / "binary.ipynb").write_bytes(b"\xff\xfe")
    (folder / "list.ipynb").write_text("[]")
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    grade(folder, "key", out, workers=3)
    whole = sum(p.points for p in problems)
    ones = sum(p.points for p in problems if p.points == 1)
    assert 0 < ones < whole
    with out.open() as file:
        points = {row["name"]: int(row["points"]) for row in csv.DictReader(file)}
    expected = {
        "ada": whole,
        "emmy": ones,
        "hermann": 0,
        "neighbor": 0,
        "absent": 0,
        "torn": 0,
        "gone": 0,
        "binary": 0,
        "list": 0,
        "silent": 0,
        "leaves": 0,
    }
    assert points == expected

    def told(name):
        return json.loads((folder / "points" / f"{name}.json").read_text())["wrong"]

    assert set(told("hermann").values()) == {"not answered"}
    assert set(told("absent").values()) == {"no notebook came back"}
    assert all(why.startswith("no notebook: ") for name in ("torn", "binary", "list") for why in told(name).values())
    assert set(told("gone").values()) == {"the notebook ended its process"}
    assert told("neighbor")["frequencies"] == "not these frequencies"
    assert "KeyboardInterrupt" in "".join(told("emmy").values()) or "not answered" in told("emmy").values()

    pages = {name: (folder / "feedback" / f"{name}.html").read_text() for name in names}
    for name, text in pages.items():
        assert f"{points[name]} of {whole} points" in text
        assert ("What to read again" in text) == (points[name] < whole)
        read_again = {p.chapter for p in problems if told(name)[p.name]}
        assert {p.chapter for p in problems if f"<code>{p.chapter}</code>" in text} == read_again
    assert "Everything is right" in pages["ada"]
    assert "Not answered" in pages["hermann"]
    assert "The check says: not these frequencies." in pages["neighbor"]
    assert "ran longer than the time limit" in pages["emmy"] or "Not answered" in pages["emmy"]

    few = {"names": ["ada", "neighbor", "silent"]}
    told_alone = json.loads((alone / "assignment.json").read_text()) | few
    (alone / "assignment.json").write_text(json.dumps(told_alone))
    grade(alone, "key", tmp_path / "alone.csv", workers=1)  # one after the other: the same, byte by byte
    for name in told_alone["names"]:
        for made in (f"points/{name}.json", f"feedback/{name}.html"):
            assert (alone / made).read_bytes() == (folder / made).read_bytes()

    kept = {path: path.read_bytes() for path in (folder / "points").iterdir()}
    with pytest.raises(ValueError, match="0 workers; expected at least 1"):
        grade(folder, "key", out, workers=0)
    with pytest.raises(ValueError, match="not the key with which"):
        grade(folder, "another", out)
    with pytest.raises(ValueError, match="is no folder"):
        grade(folder, "key", tmp_path / "nowhere" / "points.csv")
    assert kept == {path: path.read_bytes() for path in (folder / "points").iterdir()}

    run_again = []

    def graded(path, student, *rest):
        run_again.append(student)
        return dict.fromkeys((p.name for p in problems), "")

    monkeypatch.setattr(assignment, "graded", graded)
    hand_in(folder, "hermann", solved["hermann"])
    grade(folder, "key", out)
    assert run_again == ["hermann"], "what is graded is kept, what changed is graded again"


def test_the_whole_notebook_runs_with_its_solutions():
    """As a student who did everything sees it: all checks below the cells pass."""
    notebook = notebook_of("ada", list(PROBLEMS), "key", "Everything")
    nbformat.validate(notebook)
    cells = [c.source for c in notebook.cells if c.cell_type == "code"]
    assert len(cells) == 2 * len(PROBLEMS)
    space = {}
    for problem, check in zip(PROBLEMS, cells[1::2], strict=True):
        exec(problem.drawn("key", "ada").solution, space)
        exec(check, space)


@pytest.mark.parametrize(
    ("roster", "message"),
    [("", "is empty"), ("ada\nada\n", "more than once"), ("../ada\n", "expected names of letters")],
)
def test_a_roster_that_cannot_be_meant_is_refused(tmp_path, roster, message):
    (tmp_path / "roster.txt").write_text(roster)
    with pytest.raises(ValueError, match=message):
        read_roster(tmp_path / "roster.txt")


def test_the_command(tmp_path):
    (tmp_path / "roster.txt").write_text("ada\nemmy\n\n")

    def command(*arguments):
        return subprocess.run(
            [sys.executable, str(BOOK / "assignment.py"), *arguments], cwd=tmp_path, capture_output=True, text=True
        )

    done = command("write", "roster.txt", "homework", "--chapters", "the_layer")
    assert done.returncode == 0, done.stderr
    assert "2 notebooks of 1 problems" in done.stdout
    assert "key, which grading needs" in done.stdout
    assert sorted(p.name for p in (tmp_path / "homework").iterdir()) == ["ada.ipynb", "assignment.json", "emmy.ipynb"]
    again = command("write", "roster.txt", "homework")
    assert again.returncode == 2
    assert "expected a new folder" in again.stderr
    wrong = command("write", "roster.txt", "other", "--chapters", "the_liar")
    assert wrong.returncode == 2
    assert "no problems for 'the_liar'; expected chapters among " in wrong.stderr
    assert all(f" {p.chapter}" in wrong.stderr for p in PROBLEMS)
    assert not (tmp_path / "other").exists()
    none = command("grade", "other", "--key", "x")
    assert none.returncode == 2
    assert none.stderr.startswith("other has no assignment.json")


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_feedback_says_what_the_check_says_and_never_what_a_student_makes_it_say(problem):
    mine = problem.drawn("key", "ada")
    assert feedback.sentence("", mine) == "Right."
    messages = [n.msg.value for n in ast.walk(ast.parse(mine.check)) if isinstance(getattr(n, "msg", 0), ast.Constant)]
    assert messages or "{" in mine.check
    for message in messages:
        assert message in feedback.sentence(message, mine)
    for smuggled in ("expected was 0.3217", "ValueError: 0.3217", "AssertionError: 0.3217", "0.3217"):
        assert "0.3217" not in feedback.sentence(smuggled, mine)
    page = feedback.page("ada", "<Homework>", [mine], {mine.name: "TypeError: <b>"})
    assert "<Homework>" not in page
    assert "<b>" not in page
    assert mine.solution not in page


def test_problems_are_in_the_order_of_the_book_and_in_more_than_its_foundations():
    order = [chapter for chapter in student.contents() if chapter in {p.chapter for p in PROBLEMS}]
    assert list(dict.fromkeys(p.chapter for p in PROBLEMS)) == order
    experiments = "glass_and_mobility making_a_glass data_card your_own_liquid honest_evaluation ablations transfer"
    assert {*experiments.split(), "fields", "order_parameter"} <= set(order)
    assert len({p.name for p in PROBLEMS}) == len(PROBLEMS)


def test_notebooks_are_graded_side_by_side(tmp_path, monkeypatch):
    """As many at a time as workers: each waits here until as many have begun."""
    together = threading.Barrier(3)

    def graded(*given):
        together.wait(timeout=30)
        return {p.name: "" for p in PROBLEMS}

    monkeypatch.setattr(assignment, "graded", graded)
    write([*STUDENTS], tmp_path / "homework", list(PROBLEMS), "key", "Homework")
    grade(tmp_path / "homework", "key", tmp_path / "points.csv", workers=3)
    assert not together.broken


def test_grading_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    names, begun = [*STUDENTS], []

    def graded(path, name, *given):
        if name == "emmy" and begun.count("emmy") == 0:
            begun.append(name)
            raise KeyboardInterrupt
        begun.append(name)
        return {p.name: "" for p in PROBLEMS}

    monkeypatch.setattr(assignment, "graded", graded)
    write(names, tmp_path / "homework", list(PROBLEMS), "key", "Homework")
    with pytest.raises(KeyboardInterrupt):
        grade(tmp_path / "homework", "key", tmp_path / "points.csv", workers=1)
    assert not (tmp_path / "points.csv").exists()
    grade(tmp_path / "homework", "key", tmp_path / "points.csv", workers=1)
    assert begun.count("ada") == 1, "what was graded is kept"
    assert begun.count("emmy") == 2
    assert (tmp_path / "points.csv").read_text().count("\n") == 4
