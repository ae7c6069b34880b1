"""Write the student edition: the chapters with exercises, without their solutions.

    python book/student.py course
    jupyter lab course

Open functions and checks stay; solutions, and the folded answers in the text, go. What the chapters read (results of
published runs and of benchmarks) is copied beside them. An existing folder is left alone: it may hold somebody's work.
"""

import argparse
import re
import shutil
from functools import cache
from pathlib import Path

import nbformat
from pybtex.database import parse_file

BOOK = Path(__file__).resolve().parent
ANSWER = re.compile(
    r"(`{3,}|:{3,})\{admonition\}[^\n]*\n:class: dropdown\n.*?\n\1\n?", re.S
)
HOW = re.compile(
    r" To do so, open the student\s+edition,\s+which\s+is\s+without\s+solutions[^;]*;[^.]*button[^.]*\."
)
GLUED = re.compile(r'glue\("([\w-]+)", (.*), display=False\)')


def title_of(name: str) -> str:
    """The heading of a page of the book."""
    path = BOOK / f"{name}.ipynb"
    if path.is_file():
        text = "\n".join(c.source for c in nbformat.read(path, 4).cells)
    else:
        text = (BOOK / f"{name}.md").read_text()
    return re.search(r"^# (.*)", text, re.M)[1]


@cache
def home_of(equation: str) -> str:
    """The heading of the chapter that has it."""
    for path in sorted(BOOK.glob("*.ipynb")):
        if any(
            f"$$ ({equation})" in c.source for c in nbformat.read(path, 4).cells
        ):
            return title_of(path.stem)
    raise ValueError(
        f"no chapter has the equation {equation}; expected one that does"
    )


def cited(keys: str) -> str:
    """Authors and years of entries of the bibliography."""
    entries, told = parse_file(BOOK / "references.bib").entries, []
    for key in keys.split(","):
        entry = entries[key.strip()]
        first, *others = entry.persons["author"]
        who = " ".join(first.last_names) + (" et al." if others else "")
        told.append(f"{who} ({entry.fields['year']})")
    return ", ".join(told)


def plain(text: str, there: set[str], labels: set[str]) -> str:
    """Markdown for a notebook by itself: links to notebooks that are there, citations and numbers written out."""

    def link(found: re.Match) -> str:
        name = found[1].split("/")[-1]
        title = title_of(found[1])
        return f"[{title}]({name}.ipynb)" if name in there else f"*{title}*"

    text = re.sub(r"\{doc\}`([\w/]+)`", link, text)
    for name in there:
        text = text.replace(f"]({name})", f"]({name}.ipynb)")
    text = re.sub(r"\{cite:[tp]\}`([^`]+)`", lambda m: cited(m[1]), text)
    text = re.sub(
        r"\{eq\}`(eq-[\w-]+)`",
        lambda m: (
            m[0] if m[1] in labels else f"(equation in *{home_of(m[1])}*)"
        ),
        text,
    )
    text = re.sub(r"(?<!\!)\[([^\]]+)\]\(runs/[^)]*\)", r"\1", text)
    text = re.sub(r"\{run\}`([^`<]*[^`<\s])(?:\s*<[^`>]*>)?`", r"\1", text)
    text = re.sub(
        r"\{glue:text\}`([\w-]+)[^`]*`", r"*\1* (printed above)", text
    )
    return HOW.sub("", text)


def without_solutions(
    notebook: nbformat.NotebookNode, there: set[str]
) -> nbformat.NotebookNode:
    """The notebook without solution cells and folded answers, to be read by itself among those that are there."""
    kept, everything = [], "\n".join(c.source for c in notebook.cells)
    labels = set(re.findall(r"^\$\$ \((eq-[\w-]+)\)", everything, re.M))
    for cell in notebook.cells:
        if "solution" in cell.metadata.get("tags", []):
            continue
        if cell.cell_type == "markdown":
            cell.source = plain(ANSWER.sub("", cell.source), there, labels)
        else:
            cell.source = GLUED.sub(r'print("\1:", \2)', cell.source)
            cell.source = cell.source.replace("from myst_nb import glue\n", "")
        cell.source = cell.source.replace("../benchmarks", "benchmarks")
        kept.append(cell)
    notebook.cells = kept
    return notebook


def write(folder: Path) -> list[Path]:
    """The student edition in a new folder; the chapters written."""
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists; expected a new folder: it may hold somebody's work"
        )
    folder.mkdir(parents=True)
    chapters, written = {}, []
    for path in sorted(BOOK.glob("*.ipynb")):
        notebook = nbformat.read(path, 4)
        tags = [
            tag for c in notebook.cells for tag in c.metadata.get("tags", [])
        ]
        if "exercise" in tags:
            chapters[path.stem] = notebook
    for name, notebook in chapters.items():
        written.append(folder / f"{name}.ipynb")
        nbformat.write(without_solutions(notebook, set(chapters)), written[-1])
    for read in (BOOK / "runs", BOOK.parent / "benchmarks"):
        shutil.copytree(
            read,
            folder / read.name,
            ignore=shutil.ignore_patterns("*.ipynb", "*.md", "__pycache__"),
        )
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new folder")
    try:
        written = write(parser.parse_args().folder)
    except FileExistsError as error:
        parser.exit(2, f"{error}\n")
    parser.exit(0, "".join(f"{path}\n" for path in written))


if __name__ == "__main__":
    main()
