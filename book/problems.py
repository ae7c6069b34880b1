"""A bank of problems for grading: each is drawn anew for each student, so that public solutions do not solve it.

What a problem is, :mod:`problems_base` says. An open cell defines one name. Checks are functions of that name alone:
they import what they use, and draw their own random input. Where the answer is a number the check would give it away;
students see a check of its form instead (``form``). Problems are in the order of the book.
"""

from problems_base import Problem
from problems_foundations import FOUNDATIONS
from problems_physics import PHYSICS
from problems_results import RESULTS
from student import contents

_ORDER = [*contents()]
PROBLEMS: tuple[Problem, ...] = tuple(
    sorted(
        (*FOUNDATIONS, *PHYSICS, *RESULTS),
        key=lambda p: _ORDER.index(p.chapter),
    )
)
