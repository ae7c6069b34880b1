"""Rows of words become columns, and columns numbers, or a sentence says which word is wrong."""

import numpy as np
import pytest

from glasslit.data.formats.rows import columns, numbers, whole_numbers

ROWS = ["A 1 0.1\n", "B\t2.0  1e-3\n", "longer -3 0.30000000000000004\n"]


@pytest.mark.parametrize(
    ("rows", "apart"),
    [
        (ROWS, None),
        ([*ROWS[:2], ROWS[2].replace("\n", " more\n")], None),
        ([row.replace("\n", " 9 8\n") for row in ROWS], None),
        ([",".join(row.split()) for row in ROWS], ","),
        ([",".join(row.split()) + ",more" * k for k, row in enumerate(ROWS)], ","),
    ],
)
def test_columns_and_exact_numbers(rows, apart):
    found = columns(rows, ["species", "n", "x"], apart)
    assert found["species"].tolist() == ["A", "B", "longer"]
    assert np.array_equal(numbers(found, ["x", "n"]), [[0.1, 1], [1e-3, 2], [0.1 + 0.2, -3]])
    whole = whole_numbers(found, ["n"])
    assert whole.tolist() == [[1], [2], [-3]]
    assert whole.dtype == np.int64
    assert numbers({"n": np.arange(3)}, ["n"]).tolist() == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (lambda: columns(ROWS, ["species", "n", "x", "y"]), "row 0 has 3 columns; expected 4, species n x y: mend"),
        (lambda: columns(["A\n", "\n"], ["species"]), "row 1 has 0 columns; expected 1, species"),
        (lambda: numbers(columns(ROWS, ["species"]), ["species"]), "species A; expected a number for each particle"),
        (lambda: numbers({"x": np.array(["1", "inf"])}, ["x"]), "x of row 1 is inf; expected finite numbers"),
        (lambda: numbers({"x": np.array([1, np.nan]), "id": [7, 8]}, ["x"]), "x of particle 8 is nan"),
        (lambda: whole_numbers(columns(ROWS, ["a", "b", "x"]), ["x"]), "x 0.1; expected whole numbers"),
        (lambda: whole_numbers({"id": np.array(["1", "1e300"])}, ["id"]), r"id 1e\+300; expected whole"),
        (
            lambda: whole_numbers({"id": np.array(["1", str(2**63)])}, ["id"]),
            r"id 9.22337e\+18; expected whole numbers",
        ),
    ],
)
def test_what_is_no_number_is_refused(run, told):
    with pytest.raises(ValueError, match=told):
        run()


@pytest.mark.parametrize("kind", [np.int64, str, object])
def test_large_whole_numbers_keep_all_their_digits(kind):
    """LAMMPS may be built with ids of 64 bits; neighbors among these are one floating-point number."""
    large = [2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
    words = np.array([str(i) for i in large] if kind is object else large, dtype=kind)
    assert len(set(np.array(large, dtype=float))) < len(large)
    assert whole_numbers({"id": words}, ["id"])[:, 0].tolist() == large
