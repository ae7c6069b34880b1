"""What all networks have: standardization, loss, predictions that leave no trace."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

import glasslit as gl
from glasslit.prediction import predict_in_blocks
from glasslit.testing import random_liquid
from tests.common import ROOT, SMALL, learnable


def test_standardization_comes_from_the_given_configurations():
    cs = [random_liquid(100, seed=k) for k in range(3)]
    net = gl.SE3GNN(gl.ModelConfig(layers=1, channels=2, l_max=1, n_times=2))
    net.set_standardization(cs)
    a = np.concatenate([c.propensity[:, c.types == 0] for c in cs], axis=1)
    assert np.allclose(net.target_mean[0], a.mean(1), rtol=1e-5)
    assert np.allclose(net.target_std[0], a.std(1), rtol=1e-5)
    energy = np.concatenate([c.potential_energy_inherent[c.types == 1] for c in cs])
    assert float(net.energy_mean[1]) == pytest.approx(energy.mean(), rel=1e-5)
    assert net.times.tolist() == [1.0, 10.0]


def test_predict_does_not_read_labels_or_leave_a_trace(small_net, liquid):
    bare = gl.Configuration(
        positions=liquid.positions,
        types=liquid.types,
        box=liquid.box,
        potential_energy_inherent=liquid.potential_energy_inherent,
    )
    small_net.set_standardization([liquid])
    small_net.train()
    state = {k: v.clone() for k, v in small_net.state_dict().items()}
    assert np.array_equal(small_net.predict(bare), small_net.predict(liquid))
    assert small_net.training
    assert all(torch.equal(v, state[k]) for k, v in small_net.state_dict().items())
    with pytest.raises(ValueError, match="has no potential_energy_inherent"):
        small_net.predict(bare.replace(potential_energy_inherent=None))


@pytest.mark.parametrize("together", [list, tuple, iter])
def test_several_configurations_are_predicted_one_by_one(small_net, together):
    """Of different sizes; each as alone, bit for bit, and the network is left in the mode in which it was."""
    several = [random_liquid(n, seed=n) for n in (300, 250, 320)]
    small_net.train()
    found = small_net.predict(together(several))
    assert small_net.training
    assert type(found) is list
    assert [p.shape for p in found] == [(2, 300), (2, 250), (2, 320)]
    assert all(np.array_equal(p, small_net.predict(c)) for p, c in zip(found, several, strict=True))
    assert small_net.predict([]) == []


def test_a_data_set_that_is_read_when_asked_for_is_predicted(tmp_path):
    several = [random_liquid(300, seed=k) for k in range(2)]
    lazy = gl.load(gl.save(tmp_path / "some.h5", several), lazy=True)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL))
    assert [p.tolist() for p in net.predict(lazy)] == [net.predict(c).tolist() for c in lazy]


@pytest.mark.parametrize("wrong", [3, None, "starter", ["starter"], [None]])
def test_what_is_no_configuration_is_refused(small_net, wrong):
    small_net.train()
    with pytest.raises(ValueError, match=r"predict was given .*; expected a Configuration or a list of them"):
        small_net.predict(wrong)
    assert small_net.training


def test_a_graph_of_another_kind_is_refused(small_net, liquid):
    for cutoff, inputs in ((2.0, "thermal"), (2.0, "IS+E_thermal"), (1.5, "thermal+E_IS")):
        with pytest.raises(ValueError, match=r"build it with neighbor_graph\(configuration, 2\.0, 'thermal\+E_IS'\)"):
            small_net(gl.neighbor_graph(liquid, cutoff, inputs, dtype=torch.float64))


@pytest.mark.parametrize("level_weight", [0.0, 0.3])
def test_loss_within_configurations_against_loops(level_weight):
    """Two configurations in one batch, one of them with a label that is constant among its B particles."""
    train = [learnable(0), learnable(1)]
    labels = train[1].propensity.copy()
    labels[1, train[1].types == 1] = 3.0
    train[1] = train[1].replace(propensity=labels, propensity_half=None)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal")).double().eval()
    net.set_standardization(train)
    graphs = [gl.neighbor_graph(c, dtype=torch.float64) for c in train]
    batch = Batch.from_data_list(graphs)
    prediction = torch.randn(batch.num_nodes, 2, dtype=torch.float64)
    expected = 0.0
    for g, p in zip(graphs, prediction.split([g.num_nodes for g in graphs]), strict=True):
        y = net.standardize(g)
        for kind in (0, 1):
            for t in (0, 1):
                error, label = (p - y)[g.types == kind, t].numpy(), y[g.types == kind, t].numpy()
                scale = label.var() if label.std() > 1e-6 else 1.0
                expected += len(label) * (error.var() + level_weight * error.mean() ** 2) / scale
    loss = net.loss(batch, prediction, level_weight)
    assert float(loss) == pytest.approx(expected / batch.num_nodes, rel=1e-12)


def test_without_weight_the_level_of_a_configuration_does_not_count():
    graph = gl.neighbor_graph(learnable(0), dtype=torch.float64)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal")).double()
    net.set_standardization([learnable(0)])
    prediction = torch.randn(graph.num_nodes, 2, dtype=torch.float64)
    a, b = (float(net.loss(graph, p, 0.0)) for p in (prediction, prediction + 7.0))
    assert a == pytest.approx(b, rel=1e-12)
    assert float(net.loss(graph, prediction + 7.0, None)) > 10 * float(net.loss(graph, prediction, None))


@pytest.mark.parametrize("in_blocks", [False, True])
def test_predictions_that_are_not_finite_are_refused_and_absurd_ones_told_of(small_net, liquid, in_blocks, recwarn):
    def predict():
        return predict_in_blocks(small_net, liquid, particles=100) if in_blocks else small_net.predict(liquid)

    farthest = np.abs(predict()).max()  # of an untrained network the labels' mean is 0 and their spread 1
    weight = small_net.decoder.weight.detach().clone()
    small_net.decoder.weight.data = weight * (900 / farthest)
    predict()
    assert not [w for w in recwarn if "spreads" in str(w.message)]
    small_net.decoder.weight.data = weight * (1100 / farthest)
    with pytest.warns(UserWarning, match="more than 1000 spreads") as told:
        predict()
    assert told[0].filename == __file__  # points at the caller
    assert str(told[0].message).startswith("random liquid" if liquid.name else "Configuration("), "which one it is"
    small_net.target_mean[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"propensity predicted for \d+ particles is not finite"):
        predict()


@pytest.mark.parametrize("target", ["displacement", "covariance"])
def test_other_targets_are_held_to_it_too(liquid, target):
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL | {"l_max": 2}, targets=f"propensity+{target}"))
    net.train()(net.graph(liquid))  # batch norms see data
    net.eval()
    assert np.abs(net.predict(liquid, target=target)).max() < 1000
    head = dict(net.further())[target]
    head.weight.data *= 1e7
    with pytest.warns(UserWarning, match=f"the {target} is predicted more than 1000 spreads"):
        net.predict(liquid, target=target)


def test_random_positions_are_no_liquid_to_ridge():
    """Descriptors that were hardly ever nonzero in training gave predictions of 1e13 in silence."""
    net = gl.load_model(ROOT / "book/runs/baselines/ridge-seed0/model.pt")
    with pytest.warns(UserWarning, match="knows no such liquid"):
        net.predict(random_liquid(1000))
