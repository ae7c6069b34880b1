"""Write the student edition: the chapters with exercises, without their solutions.

    python book/student.py course
    jupyter lab course

Open functions and checks stay; solutions, and the folded answers in the text, go. What the chapters read (results of
published runs and of benchmarks) is copied beside them. An existing folder is left alone: it may hold somebody's work.
"""

import argparse
import re
import shutil
from pathlib import Path

import nbformat

BOOK = Path(__file__).resolve().parent
ANSWER = re.compile(
    r"(`{3,}|:{3,})\{admonition\}[^\n]*\n:class: dropdown\n.*?\n\1\n?", re.S
)


def without_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without solution cells and folded answers."""
    kept = []
    for cell in notebook.cells:
        if "solution" in cell.metadata.get("tags", []):
            continue
        if cell.cell_type == "markdown":
            cell.source = ANSWER.sub("", cell.source)
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
    written = []
    for path in sorted(BOOK.glob("*.ipynb")):
        notebook = nbformat.read(path, 4)
        tags = [
            tag for c in notebook.cells for tag in c.metadata.get("tags", [])
        ]
        if "exercise" in tags:
            written.append(folder / path.name)
            nbformat.write(without_solutions(notebook), written[-1])
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
