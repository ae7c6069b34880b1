"""Write the student edition: the chapters with exercises in the order of the book, without their solutions.

    python book/student.py course
    jupyter lab course/00_start_here.ipynb

Files are numbered in the order in which they are read; the first is a plan with minutes, prerequisites and links. Open
functions and checks stay; solutions and the folded answers in the text go; answers of self-checks are folded. Code that
the book hides is folded, too. What the chapters read (results of published runs and of benchmarks) is copied beside
them. ``--colab`` keeps the cell that fetches the book on Colab. An existing folder is left alone: it may hold somebody's
work.
"""

import argparse
import ast
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from self_checks import plain_self_check

BOOK = Path(__file__).resolve().parent
START = "00_start_here.ipynb"
ANSWER = re.compile(
    r"(`{3,}|:{3,})\{admonition\}[^\n]*\n:class: dropdown\n.*?\n\1\n?", re.S
)
GLUED = re.compile(r'glue\("([\w-]+)", (.*), display=False\)')
HIDDEN = {"hide-input", "remove-input", "remove-cell", "hide-cell"}
"""Tags of cells whose code the book does not show at first."""
PLAN = """# Start here

This folder holds the chapters of *Where will a glass flow?* that have exercises, in the order in which they are read,
without the solutions. All of them together take about {hours} hours.

**How to do an exercise.** An exercise has two cells. The first is open: replace `raise NotImplementedError(...)` by your
code and run the cell. The second cell is the check: run it. As long as the exercise is not solved the check stops with an
error that says what is wrong; when it runs through, the exercise is solved. Run all cells above first, since exercises use
what the chapter has defined. If you do only a few exercises, do those marked *core*. Solutions are in the built book.

**How to check what you have understood.** Each *Check yourself* asks a question with a few choices. Decide first; then open
the answer to your choice with a click.

**Folded code.** Code that loads data or draws a figure is folded into one line that ends in three dots: click on the line to
see it.

## The plan

{plan}

A chapter in italics has no exercises and so no file here: read it in the built book.

## Does it run?

Run the next cell with *Shift* and *Enter*. It should print one line that describes a liquid of 1000 particles. If it stops with
an error instead, the package is not installed in the Python that runs this notebook:
`pip install -c constraints.txt -e ".[course]"` in the folder of the project installs it.
"""


@dataclass(frozen=True)
class Frame:
    """What a chapter says about itself: its title, how long it takes, which chapters it needs and which help."""

    title: str
    minutes: int
    must: tuple[str, ...]
    may: tuple[str, ...]


def contents() -> dict[str, str]:
    """Pages of the book in its order, {name: caption of its part}, from ``_toc.yml``; pages in folders are left out."""
    found: dict[str, str] = {}

    def collect(entries: list[dict], part: str) -> None:
        for entry in entries:
            path = Path(entry.get("file", ""))
            if path.parent == Path("book"):
                found[path.stem] = part
            collect(entry.get("sections", []), part)

    toc = yaml.safe_load((BOOK.parent / "_toc.yml").read_text())
    for part in toc["parts"]:
        collect(part["chapters"], part["caption"])
    return found


@cache
def markdown_of(name: str) -> str:
    """The text of a page of the book, code left out."""
    path = BOOK / f"{name}.ipynb"
    if path.is_file():
        cells = nbformat.read(path, 4).cells
        return "\n".join(c.source for c in cells if c.cell_type == "markdown")
    return (BOOK / f"{name}.md").read_text()


def title_of(name: str) -> str:
    """The heading of a page of the book."""
    return re.search(r"^# (.*)", markdown_of(name), re.M)[1]


def frame_of(name: str) -> Frame | None:
    """What a chapter says about itself; None for a page that names no prerequisites."""
    found = re.search(
        r"\*\*Prerequisites\.\*\*(.*?)\*\*Time\.\*\*\D*(\d+)",
        markdown_of(name),
        re.S,
    )
    if not found:
        return None
    links = lambda part: tuple(
        re.findall(r"(?:\{doc\}`|\[\]\()(?:[^`<]+ <)?(\w+)", part)
    )
    must, _, may = found[1].partition("elpful")
    return Frame(title_of(name), int(found[2]), links(must), links(may))


def has_exercises(notebook: nbformat.NotebookNode) -> bool:
    return any("exercise" in c.metadata.get("tags", []) for c in notebook.cells)


def file_names() -> dict[str, str]:
    """Files of the student edition in order, {name of the chapter: numbered file}."""
    order = list(contents())
    names = [
        path.stem
        for path in sorted(BOOK.glob("*.ipynb"))
        if has_exercises(nbformat.read(path, 4))
    ]
    names.sort(key=lambda n: order.index(n) if n in order else len(order))
    return {n: f"{k:02d}_{n}.ipynb" for k, n in enumerate(names, start=1)}


@cache
def home_of(label: str) -> str:
    """The heading of the chapter that has an equation or a figure with that label."""
    for path in sorted(BOOK.glob("*.ipynb")):
        for c in nbformat.read(path, 4).cells:
            figure = c.metadata.get("mystnb", {}).get("figure", {})
            if f"$$ ({label})" in c.source or figure.get("name") == label:
                return title_of(path.stem)
    raise ValueError(
        f"no chapter has {label}; expected the label of an equation or of a figure"
    )


@cache
def cited(keys: str) -> str:
    """Authors and years of entries of the bibliography."""
    from pybtex.database import parse_file  # comes with the book, not on Colab
    from pybtex.richtext import Text

    entries, told = parse_file(BOOK / "references.bib").entries, []
    for key in keys.split(","):
        entry = entries[key.strip()]
        first, *others = entry.persons["author"]
        who = str(Text.from_latex(" ".join(first.last_names)))
        who += " et al." if others else ""
        told.append(f"{who} ({entry.fields['year']})")
    return ", ".join(told)


def linked(text: str, there: dict[str, str]) -> str:
    """Links to pages of the book: to the numbered file if the edition has it, otherwise the title in italics."""

    def link(name: str, words: str, otherwise: str) -> str:
        if not ((BOOK / f"{name}.ipynb").is_file() or name in contents()):
            return otherwise
        words = words or title_of(name)
        return f"[{words}]({there[name]})" if name in there else f"*{words}*"

    text = re.sub(
        r"(?<!\!)\[([^\]]*)\]\((\w+)(?:\.ipynb|\.md)?\)",
        lambda m: link(m[2], m[1], m[0]),
        text,
    )

    def in_a_folder(m: re.Match) -> str:
        page = (BOOK / f"{m[2]}.md").is_file()
        return f"*{m[1] or title_of(m[2])}*" if page else m[0]

    return re.sub(
        r"\{doc\}`(?:([^`<]+) <)?([\w./]+?)>?`",
        lambda m: link(m[2].split("/")[-1], m[1] or "", in_a_folder(m)),
        text,
    )


def without_how(text: str) -> str:
    """The head of the exercises without the sentences that send a reader of the book to the student edition."""

    def kept(found: re.Match) -> str:
        sentences = re.split(r"(?<=[.!?])\s+", found[2])
        there = [s for s in sentences if "student edition" not in s]
        return found[1] + " ".join(there)

    text = re.sub(r"student\s+edition", "student edition", text)
    return re.sub(
        r"(^## Exercises\n+)(.+?)(?=\n\n|\Z)", kept, text, flags=re.S | re.M
    )


def plain(
    text: str,
    there: dict[str, str],
    labels: set[str] = frozenset(),
    figures: dict[str, int] | None = None,
) -> str:
    """Markdown for a notebook by itself: links to notebooks that are there; what only the book knows is written out."""
    figures = figures or {}
    text = plain_self_check(without_how(text))
    # without empty lines between them jupyterlab-myst shows the last answer unfolded
    text = text.replace("</details>\n<details>", "</details>\n\n<details>")
    text = linked(text, there)
    text = re.sub(r"\{cite:[tp]\}`([^`]+)`", lambda m: cited(m[1]), text)
    elsewhere = lambda kind, m: f"({kind} in *{home_of(m[1])}*)"
    text = re.sub(
        r"\{eq\}`(eq-[\w-]+)`",
        lambda m: m[0] if m[1] in labels else elsewhere("equation", m),
        text,
    )
    text = re.sub(
        r"\{numref\}`(fig-[\w-]+)`",
        lambda m: (
            f"Figure {figures[m[1]]}"
            if m[1] in figures
            else elsewhere("figure", m)
        ),
        text,
    )
    text = re.sub(r"(?<!\!)\[([^\]]+)\]\(runs/[^)]*\)", r"\1", text)
    for role in ("run", "term", r"py:\w+", "download", "ref"):
        text = re.sub(
            rf"\{{{role}\}}`(?:([^`<]+?) <[^`>]+>|([^`]+))`",
            lambda m: m[1] or m[2],
            text,
        )
    return re.sub(
        r"\{glue:text\}`([\w-]+)[^`]*`", r"*\1* (printed above)", text
    )


def without_solutions(
    notebook: nbformat.NotebookNode,
    there: dict[str, str],
    colab: bool = False,
) -> nbformat.NotebookNode:
    """The notebook without solution cells and folded answers, to be read by itself among those that are there."""
    kept, everything = [], "\n".join(c.source for c in notebook.cells)
    labels = set(re.findall(r"^\$\$ \((eq-[\w-]+)\)", everything, re.M))
    captioned = [
        c.metadata["mystnb"]["figure"]
        for c in notebook.cells
        if c.metadata.get("mystnb", {}).get("figure", {}).get("caption")
    ]
    figures = {f.get("name"): k for k, f in enumerate(captioned, start=1)}
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", []))
        fetches = "google.colab" in cell.source
        if "solution" in tags or (fetches and not colab):
            continue
        if cell.cell_type == "markdown":
            text = ANSWER.sub("", cell.source)
            cell.source = plain(text, there, labels, figures)
        else:
            cell.source = GLUED.sub(r'print("\1:", \2)', cell.source)
            cell.source = cell.source.replace("from myst_nb import glue\n", "")
            if tags & HIDDEN:
                cell.metadata["jupyter"] = {"source_hidden": True}
        cell.source = cell.source.replace("../benchmarks", "benchmarks")
        kept.append(cell)
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if figure.get("caption"):
            number = captioned.index(figure) + 1
            told = plain(figure["caption"], there, labels, figures)
            kept.append(new_markdown_cell(f"*Figure {number}.* {told}"))
    for number, cell in enumerate(kept):
        cell["id"] = f"cell-{number}"  # the same edition from the same book
    notebook.cells = kept
    return notebook


def start_page(there: dict[str, str]) -> nbformat.NotebookNode:
    """The plan of the course: files in order, with minutes and what each needs."""
    title = lambda name: title_of(name).split(":")[0]
    rows, last, minutes = [], None, 0
    for name, part in contents().items():
        frame = frame_of(name)
        if frame is None:
            continue
        if part != last:
            rows += [
                *([""] if rows else []),
                f"**{part}**",
                "",
                "| file | minutes | needs |",
                "|---|---|---|",
            ]
            last = part
        shown = (
            f"[{there[name][:2]} {title(name)}]({there[name]})"
            if name in there
            else f"*{title(name)}*"
        )
        needs = ", ".join(map(title, frame.must)) or "–"
        rows.append(f"| {shown} | {frame.minutes} | {needs} |")
        minutes += frame.minutes
    text = PLAN.format(hours=round(minutes / 60), plan="\n".join(rows))
    about, check = text.split("## Does it run?")
    cells = [
        new_markdown_cell(about.rstrip()),
        new_markdown_cell(f"## Does it run?{check}".rstrip()),
        new_code_cell('import glasslit as gl\n\ngl.load("starter")[0]'),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def modules_of(sources: list[str]) -> set[Path]:
    """Modules that lie beside the chapters and that these, or such modules, import."""
    found: set[Path] = set()
    waiting = [ast.parse(source) for source in sources]
    while waiting:
        for node in ast.walk(waiting.pop()):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                path = BOOK / f"{name.split('.')[0]}.py"
                if path.is_file() and path not in found:
                    found.add(path)
                    waiting.append(ast.parse(path.read_text()))
    return found


def write(folder: Path, colab: bool = False) -> list[Path]:
    """The student edition in a new folder; the files written, in order."""
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists; expected a new folder: it may hold somebody's work"
        )
    folder.mkdir(parents=True)
    there, sources = file_names(), []
    written = [folder / START]
    nbformat.write(start_page(there), written[0])
    for name, file in there.items():
        notebook = nbformat.read(BOOK / f"{name}.ipynb", 4)
        notebook = without_solutions(notebook, there, colab)
        sources += [c.source for c in notebook.cells if c.cell_type == "code"]
        written.append(folder / file)
        nbformat.write(notebook, written[-1])
    for module in modules_of(sources):
        shutil.copy(module, folder)
    for read in (BOOK / "runs", BOOK.parent / "benchmarks"):
        shutil.copytree(
            read,
            folder / read.name,
            ignore=shutil.ignore_patterns("*.ipynb", "*.md", "__pycache__"),
        )
    return written


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument(
        "--colab",
        action="store_true",
        help="keep the cell that fetches the book on Colab",
    )
    given = parser.parse_args()
    try:
        written = write(given.folder, given.colab)
    except FileExistsError as error:
        parser.exit(2, f"{error}\n")
    for path in written:
        print(path)
    print(f"open it: jupyter lab {written[0]}")


if __name__ == "__main__":
    main()
