"""A box is said once: in the file, or beside it."""

import numpy as np
import pytest

from glasslit.data.formats.snapshot import Options, cell_beside, refuse_second_box


def test_a_box_beside_the_file():
    assert np.array_equal(cell_beside(Options(box=np.array([6, 7.5, 8]))), np.diag([6, 7.5, 8]))
    refuse_second_box(Options())


@pytest.mark.parametrize("edges", [[6, 7], [6, 7, 0], [6, 7, np.nan], [6, 7, -8]])
def test_what_is_no_box_is_refused(edges):
    with pytest.raises(ValueError, match="expected three positive edge lengths"):
        cell_beside(Options(box=np.array(edges)))


def test_no_box_and_two_boxes_are_refused():
    with pytest.raises(ValueError, match="no box in the file; expected its edge lengths beside it"):
        cell_beside(Options())
    with pytest.raises(ValueError, match=r"box \[6, 7, 8\] beside a file that says its box"):
        refuse_second_box(Options(box=np.array([6, 7, 8])))
