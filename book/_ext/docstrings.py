"""Sphinx extension: descriptions in docstrings are shown as sentences, not as types.

numpydoc takes what stands after "name :" for a type, and the first line under "Returns" for another. The docstrings
of this package have descriptions in both places, which may go on in the next line. Shown as types they would be
bold, and broken where the line of the source ends. Here the two pieces are joined: a name, if there is one, then its
description.
"""

import re

from docutils import nodes

SECTIONS = {
    "Parameters",
    "Other Parameters",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Warns",
}
SHAPE = re.compile(r"(same )?shape\b.{0,60}[^.;:,]|int|float|str|bool")
"""Short types, after which a new sentence begins."""


def text_of(node):
    """The inline parts of a term or paragraph, without the name before them."""
    return [
        child.deepcopy()
        for child in node.children
        if not isinstance(child, (nodes.strong, nodes.classifier))
    ]


def description(item, section):
    """The name, and one definition whose first paragraph holds all that is said in the term and in the definition."""
    term = item.next_node(nodes.term)
    old = item.next_node(nodes.definition)
    if section in ("Raises", "Warns"):
        name = [nodes.strong("", "", *text_of(term))]
        first = []
    else:
        name = [c for c in term.children if isinstance(c, nodes.strong)]
        first = [] if name else text_of(term)
    for classifier in item.findall(nodes.classifier):
        first += [child.deepcopy() for child in classifier.children]
    rest = [  # numpydoc puts a comment where there is no description
        child
        for child in (old.children if old is not None else [])
        if not isinstance(child, nodes.comment)
    ]
    if rest and isinstance(rest[0], nodes.paragraph):
        said = "".join(part.astext() for part in first)
        if first:
            first.append(nodes.Text(". " if SHAPE.fullmatch(said) else " "))
        first += [child.deepcopy() for child in rest.pop(0).children]
    paragraph = nodes.paragraph("", "", *first)
    new = nodes.definition("", *([paragraph] if first else []), *rest)
    return name, new


def after(pieces, more):
    """What follows a piece without a name: its paragraph goes on with the next one, unless its sentence has ended."""
    last = pieces[-1] if pieces else None
    goes_on = (
        isinstance(last, nodes.paragraph)
        and more
        and isinstance(more[0], nodes.paragraph)
        and not last.astext().endswith((".", "!", "?"))
    )
    if not goes_on:
        return [*pieces, *more]
    last += [nodes.Text(" "), *more[0].children]
    return [*pieces, *more[1:]]


def join(app, doctree):
    for field in doctree.findall(nodes.field):
        title, body = field.children
        section = title.astext().strip()
        if section not in SECTIONS:
            continue
        pieces = []
        for child in list(body.children):
            if not isinstance(child, nodes.definition_list):
                pieces.append(child)
                continue
            for item in child.children:
                name, new = description(item, section)
                if not name:
                    pieces = after(pieces, new.children)
                    continue
                if not (
                    pieces and isinstance(pieces[-1], nodes.definition_list)
                ):
                    pieces.append(
                        nodes.definition_list(classes=["glasslit-described"])
                    )
                term = nodes.term("", "", *[n.deepcopy() for n in name])
                pieces[-1] += nodes.definition_list_item("", term, new)
        body.children = []
        body += pieces


def setup(app):
    app.connect("doctree-read", join)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
