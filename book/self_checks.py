"""Self-checks as text: a question, its choices, and why each of them is right or wrong.

    :::{self-check} Which of these stays the same when the liquid is turned?
    - [ ] The vector to the nearest neighbor.

      It turns with the liquid: its components change.
    - [x] The distance to the nearest neighbor.

      A rotation keeps lengths.
    :::

The book shows it by the Sphinx extension ``_ext/self_check.py``, which also refuses what is incomplete. This module is
for plain notebooks, which know no directives, and needs nothing but Python.
"""

import re

TITLE = "Check yourself"
RIGHT, WRONG = "✓ Right.", "✗ Not quite."
"""How the answer to a choice begins: a mark and words, not a color alone."""
BLOCK = re.compile(
    r"^(:{3,}|`{3,})\{self-check\}[ \t]*([^\n]*)\n(.*?)^\1[ \t]*$", re.S | re.M
)
CHOICE = re.compile(r"^[-*+] \[([ xX])\][ \t]+", re.M)


def plain_self_check(text: str) -> str:
    """Markdown with each self-check written out for a notebook by itself: the choices as a list, the answers folded.

    Everything else stays as it is. The answers are HTML ``<details>``, which JupyterLab and Colab show without an
    extension, and which hide the answers until they are opened.

    >>> print(plain_self_check(":::{self-check} Is it?\\n- [x] Yes.\\n\\n  So it is.\\n- [ ] No.\\n\\n  It is.\\n:::"))
    **Check yourself.** Is it?
    <BLANKLINE>
    - **A.** Yes.
    - **B.** No.
    <BLANKLINE>
    <details><summary>Answer A</summary>
    <BLANKLINE>
    **✓ Right.** So it is.
    <BLANKLINE>
    </details>
    <details><summary>Answer B</summary>
    <BLANKLINE>
    **✗ Not quite.** It is.
    <BLANKLINE>
    </details>
    """
    return BLOCK.sub(_written_out, text)


def _written_out(found: re.Match) -> str:
    before, *parts = CHOICE.split(found[3])
    question = " ".join([found[2].strip(), before.strip()]).strip()
    lines, answers = [f"**{TITLE}.** {question}", ""], [""]
    for letter, mark, part in zip(
        "ABCDEFGHIJ", parts[::2], parts[1::2], strict=False
    ):
        choice, _, why = part.partition("\n\n")
        lines.append(f"- **{letter}.** {' '.join(choice.split())}")
        told = RIGHT if mark in "xX" else WRONG
        why = re.sub(r"^  ", "", why, flags=re.M).strip()
        answers.append(
            f"<details><summary>Answer {letter}</summary>\n\n**{told}** {why}\n\n</details>"
        )
    return "\n".join(lines + answers)
