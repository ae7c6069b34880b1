"""Sphinx extension: under each page with code, when it was executed, how long that took, and with what.

It also takes out the scripts of Thebe, which this book does not use (Jupyter Book adds them twice, a script error).
"""

import os
from datetime import datetime
from html import escape
from importlib.metadata import version


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


def setup(app):
    # Kernels inherit it: waiting threads leave the cores to others.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    app.connect("html-page-context", stamp)
    app.connect("html-page-context", without_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
