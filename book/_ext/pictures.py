"""Sphinx extension: pictures with two layouts show the one that fits the screen.

`glasslit.plotting.use` makes SVG files that hold a second, narrow layout. Here it becomes a file of its own, which
telephones load instead. Wide pictures without one are marked: a telephone shows them in a place that scrolls, since
their words could not be read when they are shrunk to its width.
"""

import re
from pathlib import Path

import imagesize
from docutils import nodes

from glasslit.plotting.screens import taken_apart

WIDE = 640
"""Pixels."""
TELEPHONE = "(max-width: 40rem)"
IMAGE = re.compile(r'<img [^>]*class="[^"]*glasslit-two[^"]*"[^>]*>')


def mark(app, doctree, docname):
    for image in doctree.findall(nodes.image):
        path = Path(app.srcdir, image["uri"].lstrip("/"))
        if not path.is_file():
            continue
        if path.suffix == ".svg" and taken_apart(path.read_text())[1]:
            image["classes"].append("glasslit-two")
        elif imagesize.get(path)[0] > WIDE:
            image["classes"].append("glasslit-wide")


def offer(app, pagename, templatename, context, doctree):
    """The narrow picture before the wide one, for screens up to the width of a telephone."""

    def both(found):
        source = re.search(r'src="([^"]*)\.svg"', found[0])[1]
        return f'<picture><source media="{TELEPHONE}" srcset="{source}-narrow.svg">{found[0]}</picture>'

    if doctree is not None:
        context["body"] = IMAGE.sub(both, context["body"])


def split(app, error):
    if error is None and app.builder.format == "html":
        for path in Path(app.outdir, "_images").glob("*.svg"):
            wide, narrow = taken_apart(path.read_text())
            if narrow is not None:
                path.with_name(f"{path.stem}-narrow.svg").write_text(narrow)
                path.write_text(wide)


def setup(app):
    app.connect("doctree-resolved", mark)
    app.connect("html-page-context", offer)
    app.connect("build-finished", split)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
