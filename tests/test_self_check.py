"""Self-checks of the chapters: how the directive shows them, what it refuses, and plain notebooks' form of them."""

import re
import subprocess
import sys

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.common import ROOT

sys.path.append(str(ROOT / "book"))
from self_checks import BLOCK, plain_self_check

GOOD = """# Page

:::{self-check} Which of these, for $x > 0$,
stays the same when the **liquid** is turned?

Think of `Q`.

- [ ] The vector $\\mathbf{r}$ to the *nearest* neighbor.

  It turns with the liquid; see {ref}`below <here>`.

  ```python
  assert True
  ```
- [x] The distance.

  $$|Qr| = |r|$$
:::

(here)=
## Below

The end.
"""


def build(folder, text, builder="html"):
    """Warnings of a book of one page, and the folder of what was made."""
    source, out = folder / "source", folder / builder
    source.mkdir(exist_ok=True)
    (source / "index.md").write_text(text)
    (source / "conf.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        "extensions = ['myst_parser', 'self_check']\n"
        f"html_static_path = [{str(ROOT / 'book' / '_static')!r}]\n"
        "myst_enable_extensions = ['colon_fence', 'dollarmath', 'tasklist']\nhtml_theme = 'basic'\n"
    )
    command = [sys.executable, "-m", "sphinx", "-E", "-W", "--keep-going", "-q", "-b", builder, source, out]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr, out


def test_each_choice_opens_and_tells_why(tmp_path):
    failed, told, out = build(tmp_path, GOOD)
    assert (failed, told) == (0, "")
    page = BeautifulSoup((out / "index.html").read_text(), "html.parser")
    (check,) = page.select(".glasslit-self-check")
    assert page.find(id=check["aria-labelledby"]).get_text() == "Check yourself"
    said = [p.get_text() for p in check.find_all("p", recursive=False)]
    assert said[1].startswith("Which of these, for ")
    assert said[1].endswith("stays the same when the liquid is turned?")
    assert said[2] == "Think of Q."
    wrong, right = check.select("details")
    assert wrong.select_one("summary .math")
    assert wrong.select_one("summary em").get_text() == "nearest"
    assert wrong.select_one("summary").get_text().startswith("The vector")
    answer = wrong.select_one("summary + div")
    assert answer.get_text().strip().startswith("✗ Not quite. It turns with the liquid")
    assert answer.select_one("a[href='#here'], a[href='#below']")
    assert answer.select_one("pre")
    assert right.select_one("summary + div").get_text().strip().startswith("✓ Right.")
    assert right.select_one("div.math")
    assert not check.select("input, script")
    assert not page.select("details[open]")
    assert page.select('link[href*="self_check.css"]')


@pytest.mark.parametrize("builder", ["latex", "text", "singlehtml"])
def test_other_formats_show_choices_with_their_answers(tmp_path, builder):
    failed, told, out = build(tmp_path, GOOD, builder)
    assert (failed, told) == (0, "")
    (made,) = [f for f in out.iterdir() if f.suffix in (".tex", ".txt", ".html")]
    text = made.read_text()
    places = [text.index(part) for part in ("Which of these", "The vector", "Not quite.", "The distance.", "Right.")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("- [x] The distance", "- [ ] The distance", "no choice is right"),
        ("- [x] The distance.\n\n  $$|Qr| = |r|$$\n", "", "found 1 choice, expected at least two"),
        ("\n\n  $$|Qr| = |r|$$", "", "choice 2 does not say why"),
        ("\n\n  $$|Qr| = |r|$$", "\n  It is kept.", "choice 2 does not say why"),
        ("- [x] The", "- [] The", r"choice 2 is '\[\] The distance"),
        ("$$\n:::", "$$\n\nAnd more text.\n:::", "expected one, at the end"),
    ],
)
def test_what_is_incomplete_is_an_error_with_file_and_line(tmp_path, old, new, message):
    assert GOOD.count(old) == 1
    failed, told, _ = build(tmp_path, GOOD.replace(old, new))
    assert failed
    (line,) = [line for line in told.splitlines() if "self-check:" in line]
    assert "index.md:3: " in line
    assert re.search(message, line), line


def test_in_plain_notebooks_answers_are_folded():
    text = plain_self_check(GOOD)
    assert "self-check}" not in text
    assert text.startswith("# Page\n")
    assert text.endswith("## Below\n\nThe end.\n")
    assert "**Check yourself.** Which of these, for $x > 0$, stays the same" in text
    open_text = text[: text.index("<details>")]
    assert "- **A.** The vector $\\mathbf{r}$ to the *nearest* neighbor.\n- **B.** The distance." in open_text
    assert "Not quite" not in open_text
    assert "Right." not in open_text
    first, second = text.split("</details>")[:2]
    assert "**✗ Not quite.** It turns with the liquid" in first
    assert "\n```python\nassert True\n```\n" in first
    assert "**✓ Right.** $$|Qr| = |r|$$" in second
    assert plain_self_check("No check here.\n\n- [ ] A task") == "No check here.\n\n- [ ] A task"
    assert plain_self_check(GOOD.replace(":::", "````")) == text


def checks_in(path):
    """How many self-checks a chapter has: a notebook's text cells, or a Markdown page."""
    if path.suffix == ".md":
        return len(BLOCK.findall(path.read_text()))
    cells = nbformat.read(path, 4).cells
    return sum(len(BLOCK.findall(cell.source)) for cell in cells if cell.cell_type == "markdown")


def test_self_checks_of_a_chapter_are_counted(tmp_path):
    page, chapter = tmp_path / "page.md", tmp_path / "chapter.ipynb"
    page.write_text(GOOD + "\n" + GOOD.replace(":::", "::::"))
    cells = [new_markdown_cell(GOOD), new_code_cell(GOOD), new_markdown_cell(GOOD), new_markdown_cell("# No check")]
    nbformat.write(new_notebook(cells=cells), chapter)
    assert (checks_in(page), checks_in(chapter)) == (2, 2)


PARTS = {"Start", "Foundations", "The network", "Results", "Symmetry beyond the glass", "Use and make"}


def chapters_with_checks():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    assert {part["caption"] for part in parts} >= PARTS
    files = [c["file"] for part in parts if part["caption"] in PARTS for c in part["chapters"]]
    return [path for path in (ROOT / f"{file}.ipynb" for file in files) if path.is_file()]


@pytest.mark.parametrize("path", chapters_with_checks(), ids=lambda path: path.stem)
def test_each_chapter_has_two_or_three_self_checks(path):
    assert 2 <= checks_in(path) <= 3
