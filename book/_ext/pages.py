"""Sphinx extension: under each page with code, when it was executed, how long that took, and with what.

It also takes out the scripts of Thebe, which this book does not use (Jupyter Book adds them twice, a script error).
"""

import os
from datetime import datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

import nbformat


def told(app, name):
    """The sentence under a page, or nothing."""
    executed = getattr(app.env, "nb_metadata", {}).get(name, {})
    run = executed.get("exec_data")
    if run:
        date = datetime.fromtimestamp(run["mtime"])
        with_what = ", ".join(
            f"{package} {version(package)}"
            for package in ("glasslit", "torch", "e3nn")
        )
        return (
            f"Last executed on {date:%d %B %Y} in {run['runtime']:.0f} s, "
            f"with {with_what}."
        )
    path = Path(app.env.doc2path(name))
    if path.suffix == ".ipynb":  # a training run, stored with its outputs
        run = nbformat.read(path, 4).metadata.get("papermill")
        if run:
            date = datetime.fromisoformat(run["end_time"])
            return (
                f"Last executed on {date:%d %B %Y} in "
                f"{run['duration'] / 60:.0f} min; versions stand on its card."
            )
    return ""


def without_thebe(app, pagename, templatename, context, doctree):
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{script.filename} {script.attributes}"
    ]


def stamp(app, pagename, templatename, context, doctree):
    if doctree is not None and (text := told(app, pagename)):
        context["body"] += f'<p class="glasslit-stamp">{escape(text)}</p>'


def name_run(app, docname, source):
    """Runs are executions of one notebook; their pages get a heading of their own."""
    if "/runs/" in docname:
        name = docname.rsplit("/", 1)[1]
        source[0] = source[0].replace(
            "# A training run: from positions to mobility", f"# Run {name}"
        )


def setup(app):
    # Kernels inherit it: waiting threads leave the cores to others.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    app.connect("source-read", name_run)
    app.connect("html-page-context", stamp)
    app.connect("html-page-context", without_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
