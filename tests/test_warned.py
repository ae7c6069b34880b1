"""Warnings point at the caller, from any depth, whatever stands between."""

import warnings

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.warned import warn


def test_here():
    with pytest.warns(UserWarning, match="^so it is$") as found:
        warn("so it is")
    assert found[0].filename == __file__


def test_decorators_of_torch_are_passed():
    with pytest.warns(UserWarning, match="so it is") as found:
        torch.no_grad()(warn)("so it is")
    assert found[0].filename == __file__


def test_other_libraries_are_not_passed():
    """Who calls through another library sees that library's line, as Python counts."""
    with pytest.warns(UserWarning, match="so it is") as found:
        np.vectorize(warn, otypes=[object])(["so it is"])
    assert "numpy" in found[0].filename


def test_a_file_that_is_read(tmp_path):
    """The reader is a generator, and the warning arises frames below the call."""
    head = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
    (tmp_path / "x.dump").write_text(f"{head}ITEM: ATOMS type x y z\n1 1 1 1\n2 4 4 4\n")
    with pytest.warns(UserWarning, match="no particle ids") as found:
        list(gl.read_trajectory(tmp_path / "x.dump", type_map={"1": "A", "2": "B"}))
    assert found[0].filename == __file__


def test_once_for_a_line(recwarn):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        for _ in range(3):
            warn("again and again")
    assert len(found) == 1
