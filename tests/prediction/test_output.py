"""The file of predictions: it survives a kill, and others read it."""

import ase.io
import numpy as np
import pytest

import glasslit as gl
from glasslit.prediction import PredictionFile, find_model, predicted_atoms
from glasslit.testing import random_liquid


def frames(n=3):
    return [random_liquid(60, seed=seed) for seed in range(n)]


def test_a_killed_file_goes_on_after_the_last_whole_frame(tmp_path):
    whole = PredictionFile(tmp_path / "whole.extxyz", "task")
    for c in frames():
        whole.write(c.to_ase())
    whole.finish()
    killed = PredictionFile(tmp_path / "killed.extxyz", "task")
    for c in frames()[:2]:
        killed.write(c.to_ase())
    with killed.partial.open("r+b") as content:  # killed while it wrote the second
        content.truncate(killed.partial.stat().st_size - 100)
    again = PredictionFile(tmp_path / "killed.extxyz", "task")
    assert again.done == 1
    for c in frames()[again.done :]:
        again.write(c.to_ase())
    assert again.finish().read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
    assert not killed.partial.exists()


def test_an_unfinished_file_of_another_task_is_refused(tmp_path):
    PredictionFile(tmp_path / "a.extxyz", "task").write(frames()[0].to_ase())
    with pytest.raises(ValueError, match="unfinished prediction of other frames, at another temperature or"):
        PredictionFile(tmp_path / "a.extxyz", "another")


def test_predictions_are_columns_that_ase_reads(tmp_path):
    c = gl.load("starter", T=0.56, split="test")[0]
    model = find_model("thermal-T0.56")
    prediction = model.predict(c)
    ase.io.write(tmp_path / "c.extxyz", predicted_atoms(c, model, prediction))
    atoms = ase.io.read(tmp_path / "c.extxyz")
    assert np.allclose(atoms.arrays["predicted_t52"], prediction[-1], atol=1e-8)
    assert np.allclose(atoms.arrays["predicted_t0.104"], prediction[0], atol=1e-8)
