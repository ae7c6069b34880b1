"""Sphinx extension: what stands on the button of a folded cell says what is behind it.

A solution, the code of a figure, a check, or other code. Chapters need not repeat it in the metadata of each cell.
"""

import json

PROMPTS = {
    "solution": ("Solution", "Hide the solution"),
    "figure": ("Show the code of this figure", "Hide the code of this figure"),
    "check": ("Show the check", "Hide the check"),
    "code": ("Show the code", "Hide the code"),
}


def kind(cell):
    """What a cell holds, of the keys of PROMPTS."""
    tags = cell["metadata"].get("tags", [])
    for tag in ("solution", "check"):
        if tag in tags:
            return tag
    return (
        "figure" if "figure" in cell["metadata"].get("mystnb", {}) else "code"
    )


def with_buttons(text):
    """The text of a notebook, its cells with what stands on their buttons."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            show, hide = PROMPTS[kind(cell)]
            look = cell["metadata"].setdefault("mystnb", {})
            look.setdefault("code_prompt_show", show)
            look.setdefault("code_prompt_hide", hide)
    return json.dumps(notebook)


def name_buttons(app, docname, source):
    if str(app.env.doc2path(docname)).endswith(".ipynb"):
        source[0] = with_buttons(source[0])


def setup(app):
    app.connect("source-read", name_buttons)
    return {"parallel_read_safe": True}
