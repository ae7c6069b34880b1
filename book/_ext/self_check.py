"""Sphinx extension: the directive ``self-check``, a question with choices that tell why they are right or wrong.

    :::{self-check} Which of these stays the same when the liquid is turned?
    - [ ] The vector to the nearest neighbor.

      It turns with the liquid: its components change.
    - [x] The distance to the nearest neighbor.

      A rotation keeps lengths.
    :::

The question may go on in text before the list. The first paragraph of a choice is the choice, the rest says why. In
HTML each choice is a ``<details>`` element, which opens by mouse, touch and keyboard and needs no script; in other
formats the answers stand below their choices. A self-check that is incomplete is an error with its file and line.
"""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).parents[1]))
from self_checks import RIGHT, TITLE, WRONG

CSS = "self_check.css"


class self_check(nodes.General, nodes.Element):
    """Holds what the question says, then choices."""


class self_check_choice(nodes.General, nodes.Element):
    """Holds a self_check_text and a self_check_answer."""


class self_check_text(nodes.General, nodes.TextElement):
    """What is on offer."""


class self_check_answer(nodes.General, nodes.Element):
    """Why it is right or wrong; the first paragraph begins with the verdict."""


class SelfCheck(SphinxDirective):
    """Reads a question and a list of tasks, ``[x]`` for what is right."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self):
        words, messages = self.state.inline_text(
            self.arguments[0].strip(), self.lineno
        )
        content = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, content)
        lists = [n for n in content if isinstance(n, nodes.bullet_list)]
        if len(lists) != 1 or content[-1] is not lists[0]:
            raise self.error(
                f"self-check: found {len(lists)} lists of choices, expected one, at the end, after the question"
            )
        before = content.children[:-1]
        if before and self.arguments[0].strip()[-1] not in ".?!:":
            # the sentence goes on in the next line
            words = [*words, nodes.Text(" "), *before.pop(0).children]
        check = self_check("", nodes.paragraph("", "", *words), *before)
        self.set_source_info(check)
        check += [
            self.choice(item, number)
            for number, item in enumerate(lists[0], start=1)
        ]
        choices = list(check.findall(self_check_choice))
        if len(choices) < 2:
            raise self.error(
                f"self-check: found {len(choices)} choice, expected at least two"
            )
        if not any(choice["right"] for choice in choices):
            raise self.error(
                "self-check: no choice is right, expected one or more that begin with [x]"
            )
        return [check, *messages]

    def choice(self, item, number):
        first = item[0] if len(item) else None
        box = first[0] if first is not None and len(first) else None
        if not (
            isinstance(first, nodes.paragraph)
            and isinstance(box, nodes.raw)
            and "task-list-item-checkbox" in box.astext()
        ):
            raise self.error(
                f"self-check: choice {number} is {item.astext()[:40]!r}, expected one that begins with [ ] or [x] "
                "(MyST's extension tasklist reads it)"
            )
        if len(item) < 2:
            raise self.error(
                f"self-check: choice {number} does not say why; write it as a paragraph of its own below the choice, "
                "after an empty line, indented by two spaces"
            )
        right = "checked=" in box.astext()
        rest = first.children[1:]
        if isinstance(rest[0], nodes.Text):
            rest[0] = nodes.Text(rest[0].lstrip())
        answer = self_check_answer("", *item.children[1:])
        verdict = nodes.strong("", RIGHT if right else WRONG)
        if isinstance(answer[0], nodes.paragraph):
            answer[0].insert(0, [verdict, nodes.Text(" ")])
        else:
            answer.insert(0, nodes.paragraph("", "", verdict))
        return self_check_choice(
            "", self_check_text("", "", *rest), answer, right=right
        )


def visit_check(self, node):
    name = f"self-check-{self.document.settings.env.new_serialno('self-check')}"
    self.body.append(
        f'<div class="glasslit-self-check" role="group" aria-labelledby="{name}">\n'
        f'<p class="glasslit-self-check-title" id="{name}">{TITLE}</p>\n'
    )


def visit_choice(self, node):
    kind = "right" if node["right"] else "wrong"
    self.body.append(f'<details class="glasslit-choice {kind}">\n')


def opening(text):
    return lambda self, node: self.body.append(text)


def as_list(app, doctree, docname):
    """For other formats than HTML: nodes that they know."""
    if app.builder.format == "html":
        return
    for check in list(doctree.findall(self_check)):
        title = nodes.paragraph("", "", nodes.strong("", TITLE))
        items = nodes.bullet_list()
        for choice in check.findall(self_check_choice):
            text, answer = choice.children
            items += nodes.list_item(
                "",
                nodes.paragraph("", "", *text.children),
                *answer.children,
            )
        kept = [n for n in check if not isinstance(n, self_check_choice)]
        check.replace_self([title, *kept, items])


def setup(app):
    app.add_directive("self-check", SelfCheck)
    close = opening("</div>\n")
    app.add_node(self_check, html=(visit_check, close))
    app.add_node(
        self_check_choice, html=(visit_choice, opening("</details>\n"))
    )
    app.add_node(
        self_check_text,
        html=(opening("<summary>"), opening("</summary>\n")),
    )
    app.add_node(
        self_check_answer,
        html=(opening('<div class="glasslit-answer">\n'), close),
    )
    app.connect("doctree-resolved", as_list)
    app.add_css_file(CSS)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
