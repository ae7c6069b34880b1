"""A page for each student: what was right, what went wrong, points, and which chapters to read again.

The page holds no solutions. Of what a check said only sentences are shown that stand in the check, because an error that
a student's own code raises while it is checked could carry the numbers of the check.
"""

import ast
import re
from html import escape

from problems_base import Problem
from student import title_of

UNANSWERED = "not answered"
NO_NOTEBOOK = "no notebook came back"
UNREADABLE = "no notebook: "
ENDED = "the notebook ended its process"
ERRORS = {
    "KeyboardInterrupt": "It ran longer than the time limit for one cell. Look for a loop that does not end.",
    "TypeError": "The check stopped with a TypeError: the result has another form than asked, or is None, or the function takes other arguments.",
    "ValueError": "The check stopped with a ValueError: most often a shape or a number of values is not as asked.",
    "NameError": "The check stopped with a NameError: a name is used that the cell does not define. Run the notebook from the top in a new kernel.",
    "IndexError": "The check stopped with an IndexError: an index lies outside of an array.",
    "AttributeError": "The check stopped with an AttributeError: the result is of another kind than asked.",
}
STYLE = """:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.6rem; border-bottom: 1px solid gray; }"""


def sayable(problem: Problem) -> re.Pattern:
    """Everything that the assertions of its check can say.

    Sentences with values in them count only where students have the check, so that it hides nothing.
    """
    told = []
    for node in ast.walk(ast.parse(problem.check)):
        if isinstance(node, ast.Assert) and node.msg is not None:
            told.append(node.msg)
        elif isinstance(node, ast.Call) and (
            getattr(node.func, "id", "") in ("AssertionError", "refused")
        ):
            told += node.args
    patterns = []
    for message in told:
        parts = (
            message.values if isinstance(message, ast.JoinedStr) else [message]
        )
        known = (
            ast.Constant if problem.form else (ast.Constant, ast.FormattedValue)
        )
        if all(isinstance(p, known) for p in parts):
            patterns.append(
                "".join(
                    re.escape(" ".join(f"|{p.value}|".split())[1:-1])
                    if isinstance(p, ast.Constant)
                    else ".*"
                    for p in parts
                )
            )
    return re.compile("|".join(patterns) or "(?!)")


def sentence(wrong: str, problem: Problem) -> str:
    """What went wrong, for the student; ``wrong`` is what grading kept, ``problem`` the drawn one."""
    if not wrong:
        return "Right."
    if wrong == UNANSWERED:
        return "Not answered: the cell is as it was handed out, or the name is missing."
    if wrong == NO_NOTEBOOK:
        return "No notebook came back."
    if wrong.startswith(UNREADABLE):
        return "The file that came back is not a notebook that can be read."
    if wrong == ENDED:
        return "The notebook ended its own process, so that nothing could be checked."
    name, colon, _ = wrong.partition(":")
    if sayable(problem).fullmatch(wrong):
        return f"The check says: {wrong}."
    if colon and name.isidentifier() and name[0].isupper():
        other = "The check stopped with an error of the kind {}."
        return ERRORS.get(name, other.format(name))
    return "The answer is wrong."


def page(
    student: str, title: str, problems: list[Problem], wrong: dict[str, str]
) -> str:
    """HTML of one student's feedback; ``problems`` are the drawn ones, ``wrong`` says by name what went wrong."""
    rows, again = [], {}
    got = sum(p.points for p in problems if not wrong[p.name])
    for number, problem in enumerate(problems, start=1):
        failed = bool(wrong[problem.name])
        points = 0 if failed else problem.points
        told = escape(sentence(wrong[problem.name], problem))
        rows.append(
            f"<tr><td>{number}. {escape(problem.title)}</td>"
            f"<td>{points} of {problem.points}</td><td>{told}</td></tr>"
        )
        if failed:
            again.setdefault(problem.chapter, []).append(number)
    read = [
        f"<li>{escape(title_of(chapter))} (<code>{chapter}</code>), for problem{'s' * (len(numbers) > 1)} "
        f"{', '.join(map(str, numbers))}</li>"
        for chapter, numbers in again.items()
    ]
    whole = sum(p.points for p in problems)
    after = (
        f"<h2>What to read again</h2>\n<ul>\n{chr(10).join(read)}\n</ul>"
        if read
        else "<p>Everything is right.</p>"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}: {escape(student)}</title>
<style>
{STYLE}
</style>
</head>
<body>
<h1>{escape(title)}: {escape(student)}</h1>
<p><strong>{got} of {whole} points.</strong></p>
<table>
<thead><tr><th>Problem</th><th>Points</th><th>What the check found</th></tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table>
{after}
</body>
</html>
"""
