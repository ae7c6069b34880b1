"""What a graded problem is: a text, an open cell and a check, drawn anew for each student."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from string import Template


@dataclass(frozen=True)
class Problem:
    """One problem. In its texts ``$name`` stands for a drawn value, and ``$$`` for a dollar sign.

    Parameters
    ----------
    name : the name that the open cell defines, and that the check reads
    chapter : file of the book that teaches it, and that a student who failed should read again
    title, points : as the student sees them
    draw : values by name, from a generator of random numbers that key, student and problem fix
    text, open, check, solution : Markdown, and three pieces of Python
    form : what students see instead of a check that would give the answer away, such as "a whole number is expected"
    """

    name: str
    chapter: str
    title: str
    points: int
    draw: Callable[[Random], dict]
    text: str
    open: str
    check: str
    solution: str
    form: str | None = None

    def drawn(self, key: str, student: str) -> "Problem":
        """This problem with the values of one student, who cannot tell those of others without the key."""
        values = self.draw(Random(f"{key}/{student}/{self.name}"))
        fill = lambda text: text and Template(text).substitute(values).strip()
        return replace(
            self,
            text=fill(self.text),
            open=fill(self.open),
            check=fill(self.check),
            solution=fill(self.solution),
            form=fill(self.form),
        )
