"""Sphinx extension: published training runs are linked, each with a page of its own, and are no chapters.

``{run}`T0.44` `` in a chapter leads to the page of ``book/runs/T0.44``; ``{run}`the text <T0.44>` `` does, with a text.
A run is named by its path below ``book/runs``, or by its last part where no other run has the same.
"""

from difflib import get_close_matches
from pathlib import Path

from docutils import nodes
from sphinx.roles import XRefRole
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

log = logging.getLogger(__name__)
RUNS = "book/runs"


def found_runs(folder):
    """Finished runs below a folder, {name: path of the executed notebook}, in order."""
    folder = Path(folder)
    cards = [path.parent for path in folder.rglob("card.json")]
    return {
        path.relative_to(folder).as_posix(): path.with_name(
            f"{path.name}.ipynb"
        )
        for path in sorted(cards)
    }


def named(name, runs):
    """The run that a chapter means.

    Raises
    ------
    ValueError
        If there is none, or several.
    """
    if name in runs:
        return name
    meant = [run for run in runs if run.rsplit("/", 1)[-1] == name]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ValueError(f"run {name!r} is one of {meant}; write its folder")
    short = {run.rsplit("/", 1)[-1]: run for run in runs}
    close = get_close_matches(name, [*runs, *short], n=1)
    hint = f"; did you mean {short.get(close[0], close[0])!r}?" if close else ""
    raise ValueError(f"no run {name!r} below {RUNS}{hint}")


def resolve(app, env, node, contnode):
    """The link of the role, which no domain of Sphinx knows."""
    if node["reftype"] != "run":
        return None
    try:
        name = named(node["reftarget"], found_runs(Path(app.srcdir, RUNS)))
    except ValueError as error:
        log.warning(f"{error}", location=node, type="ref", subtype="run")
        return contnode
    if app.builder.format != "html":
        return contnode
    there = app.builder.get_target_uri(f"{RUNS}/{name}")
    here = app.builder.get_target_uri(node["refdoc"])
    link = nodes.reference(
        "", "", contnode, refuri=relative_uri(here, there), internal=True
    )
    link["reftitle"] = f"run {name}"
    return link


def setup(app):
    app.add_role("run", XRefRole(innernodeclass=nodes.inline))
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
