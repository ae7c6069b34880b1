"""What all readers share: rows in the order of ids, and a box said beside a file."""

import numpy as np
import pytest

from glasslit.data.formats.snapshot import Options, Snapshot, cell_beside, refuse_second_box, sorted_by_id


def test_rows_follow_their_ids():
    place = np.arange(9.0).reshape(3, 3)
    snapshot = Snapshot(place, np.array(["a", "b", "c"]), np.eye(3), ids=np.array([7, 2, 5]))
    found = sorted_by_id(snapshot)
    assert found.ids.tolist() == [2, 5, 7]
    assert found.labels.tolist() == ["b", "c", "a"]
    assert np.array_equal(found.positions, place[[1, 2, 0]])
    without = Snapshot(place, np.array(["a", "b", "c"]), np.eye(3))
    assert np.array_equal(sorted_by_id(without).positions, place)
    with pytest.raises(ValueError, match="id 5 occurs twice; expected each once"):
        sorted_by_id(Snapshot(place, snapshot.labels, np.eye(3), ids=np.array([5, 2, 5])))


def test_a_box_is_said_once():
    options = Options(box=np.array([6.0, 7.0, 8.0]))
    assert np.array_equal(cell_beside(options), np.diag([6.0, 7.0, 8.0]))
    with pytest.raises(ValueError, match=r"beside a file that says its box; expected one of the two"):
        refuse_second_box(options)
    refuse_second_box(Options())
    with pytest.raises(ValueError, match=r"no box in the file; expected .* --box 9\.41"):
        cell_beside(Options())
    for wrong in ([6.0, 7.0], [6.0, 7.0, -8.0], [6.0, 7.0, np.inf]):
        with pytest.raises(ValueError, match="expected three positive edge lengths"):
            cell_beside(Options(box=np.array(wrong)))
