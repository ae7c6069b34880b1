"""What a network was trained on, and what lies outside of it."""

import numpy as np
import pytest

import glasslit as gl
from glasslit.models.conditions import conditions, outside


def test_conditions_are_ranges_and_outside_says_what_is_not_in_them():
    cold, hot = gl.load("starter", T=0.44, split="train")[0], gl.load("starter", T=0.56, split="train")[0]
    known = conditions([cold, hot], 2.0, "thermal")
    assert known["temperature"] == [0.44, 0.56]
    assert known["density"] == pytest.approx([1.2, 1.2], rel=1e-3)
    degrees = np.bincount(gl.neighbor_graph(cold).edge_index[1].numpy(), minlength=1000)
    low, high = known["neighbors of A"]
    assert low <= degrees[cold.types == 0].mean() <= high
    assert outside(known, cold.replace(temperature=0.5), 2.0, "thermal") == {}
    thin = cold.replace(positions=cold.positions * 1.05, box=cold.box * 1.05, temperature=0.7, inherent_positions=None)
    told = outside(known, thin, 2.0, "thermal")
    assert set(told) == {"temperature", "density", "neighbors of A", "neighbors of B"}
    assert told["density"] == "1.037 per sigma_AA^3; trained from 1.2 to 1.2"
    atoms = cold.replace(positions=cold.positions * 3.405, box=cold.box * 3.405, inherent_positions=None)
    with pytest.raises(ValueError, match=r"density of 0\.0304 .* are lengths in units of sigma_AA"):
        outside(known, atoms, 2.0, "thermal")
    gas = cold.replace(positions=np.random.default_rng(0).uniform(size=(1000, 3)) * cold.box, inherent_positions=None)
    with pytest.raises(ValueError, match=r"\d+ pairs of particles closer than 0\.5 sigma_AA, the closest at 0\."):
        outside(known, gas, 2.0, "thermal")
    types = cold.types.copy()
    types[np.flatnonzero(types == 0)[:30]] = 1
    assert "fraction of B" in outside(known, cold.replace(types=types), 2.0, "thermal")
    with pytest.raises(ValueError, match=r"fraction of B of 0\.8.*are A and B exchanged"):
        outside(known, cold.replace(types=1 - cold.types), 2.0, "thermal")


def test_what_a_network_was_trained_on_is_kept(tmp_path):
    split = {s: gl.load("starter", T=0.56, split=s) for s in ("train", "val")}
    net = gl.SE3GNN(gl.ModelConfig.laptop(n_times=7, layers=1, channels=1, l_max=0))
    assert net.trained_on is None
    list(gl.fit(net, split["train"], split["val"], gl.TrainConfig(epochs=1, device="cpu")))
    assert net.trained_on == conditions(split["train"], 2.0, "thermal+E_IS")
    gl.save_model(net, tmp_path / "model.pt")
    assert gl.load_model(tmp_path / "model.pt").trained_on == net.trained_on
    cold = {s: gl.load("starter", T=0.50, split=s) for s in ("train", "val")}
    refitted = gl.transfer.refit_decoder(net, cold["train"], cold["val"])
    assert refitted.trained_on["temperature"] == [0.5, 0.5]
    assert net.trained_on["temperature"] == [0.56, 0.56]
