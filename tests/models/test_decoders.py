"""Decoders: the paper's is what it was; those that are functions of time answer at any time, and learn from it."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import laguerre as numpy_laguerre
from torch_geometric.data import Batch

import glasslit as gl
from glasslit.learning.checkpoint import save_model
from glasslit.learning.transfer import refit_decoder
from glasslit.liquid.structure import local_density
from glasslit.models.decoders import DECODERS, RANGE, laguerre_functions, straight
from glasslit.prediction import predict_in_blocks
from glasslit.testing import assert_equivariant, random_liquid

CONTINUOUS = [name for name, kind in DECODERS.items() if kind.continuous]
TIMES = np.array([0.1, 1.0, 10.0, 100.0])


def labelled(seed=0, temperature=0.5, n=300, times=TIMES):
    """A made-up liquid whose propensity grows with time, and in which the number of neighbors counts ever more."""
    c = random_liquid(n, seed=seed)
    near = local_density(c, 1.4) - local_density(c, 1.4).mean()
    grown = np.log10(times)[:, None] + 2
    return c.replace(times=times, propensity=grown + 0.05 * grown * near, propensity_half=None, temperature=temperature)


def network(decoder, dtype=torch.float64, n_times=4, configurations=None, **sizes):
    torch.manual_seed(0)
    config = {"layers": 2, "channels": 3, "l_max": 1, "inputs": "thermal", "n_times": n_times, "decoder": decoder}
    net = gl.SE3GNN(gl.ModelConfig(**(config | sizes))).to(dtype)
    configurations = configurations or [labelled(0, 0.45), labelled(1, 0.55)]
    net.set_standardization(configurations)
    torch.manual_seed(0)  # whatever the decoder drew, batch norms see the same dropout
    net(net.graph(configurations[0]))
    with torch.no_grad():
        for parameter in net.decoder.parameters():
            parameter.normal_()
    return net.eval()


@pytest.fixture(params=DECODERS)
def net(request):
    return network(request.param)


def test_each_predicts_invariantly_with_the_decoder_of_each_type(net):
    c = labelled()
    graph = net.graph(c)
    assert_equivariant(net, graph, f"{len(TIMES)}x0e")
    before = net.predict(c)
    assert before.shape == (4, 300)
    with torch.no_grad():
        net.decoder.weight[1] += 1.0
    assert np.array_equal(np.any(net.predict(c) != before, axis=0), c.types == 1)


def test_the_paper_s_decoder_by_hand():
    net, c = network("linear"), labelled()
    with torch.no_grad():
        z = net.invariants(net.graph(c)).numpy()
    found = net.predict(c)
    for i in (0, int(np.argmax(c.types))):
        kind = int(c.types[i])
        by_hand = [net.decoder.weight[kind, t].detach().numpy() @ z[i] for t in range(4)]
        assert found[:, i] == pytest.approx(net.target_mean[kind].numpy() + net.target_std[kind].numpy() * by_hand)


def test_laguerre_functions_are_those_of_numpy_and_orthonormal():
    x = torch.linspace(0, 60, 6001, dtype=torch.float64)
    found = laguerre_functions(x, 5)
    for n in range(5):
        expected = numpy_laguerre.lagval(x.numpy(), [0] * n + [1]) * np.exp(-x.numpy() / 2)
        assert found[n].numpy() == pytest.approx(expected, abs=1e-12)
    products = torch.trapezoid(found[:, None] * found[None], x, dim=-1)
    assert (products - torch.eye(5)).abs().max() < 1e-3


def test_laguerre_weights_by_hand():
    net, c = network("laguerre"), labelled()
    with torch.no_grad():
        z, weight = net.invariants(net.graph(c)), net.decoder.weight
        x = torch.tensor([0.0, RANGE / 3, 2 * RANGE / 3, RANGE], dtype=torch.float64)  # the times' logarithms are even
        by_hand = torch.einsum("tn,ink,ik->it", laguerre_functions(x, 5).T, weight[c.types], z)
        assert torch.allclose(net.standardized(net.graph(c)), by_hand)


@pytest.mark.parametrize("decoder", CONTINUOUS)
def test_at_the_times_of_training_it_is_the_prediction(decoder):
    net, c = network(decoder), labelled()
    assert net.predict_at(c, TIMES) == pytest.approx(net.predict(c), rel=1e-6)
    assert net.predict_at(c, TIMES[[2, 0]]) == pytest.approx(net.predict(c)[[2, 0]], rel=1e-6)


@pytest.mark.parametrize("decoder", CONTINUOUS)
def test_between_times_it_goes_smoothly_and_knows_its_training_only_through_it(decoder):
    net, c = network(decoder), labelled()
    near = net.predict_at(c, [1.0, 1.0001, 3.0])
    assert np.abs(near[1] - near[0]).max() < 1e-2 * np.abs(near[2] - near[0]).max()
    assert np.isfinite(net.predict_at(c, [0.01, 1000.0])).all()  # beyond the ends, whatever that is worth


def test_levels_between_times_are_straight_lines_in_the_logarithm():
    """With weights of zero the prediction is the mean alone."""
    net, c = network("film"), labelled()
    with torch.no_grad():
        for parameter in net.decoder.parameters():
            parameter.zero_()
    mean = net.target_mean[0].numpy()
    found = net.predict_at(c, [10**0.5, 1000.0])[:, c.types == 0]
    assert found[0] == pytest.approx(math.sqrt(mean[1] * mean[2]), rel=1e-5)
    assert found[1] == pytest.approx(mean[3] ** 2 / mean[2], rel=1e-5)


def test_straight_lines_of_one_time_are_constant():
    assert straight(np.array([-1.0, 5.0]), np.array([0.0]), np.array([[2.0], [3.0]])).tolist() == [[2, 2], [3, 3]]
    assert network("film", n_times=1, configurations=[labelled(times=TIMES[:1])]).predict_at(labelled(), [5.0]).shape


@pytest.mark.parametrize("decoder", CONTINUOUS)
def test_it_learns_a_time_that_it_has_not_seen(decoder):
    """Of what grows with log t, the time in the middle left out."""
    times = 10 ** np.linspace(-1, 2, 7)
    seen = np.delete(times, 3)
    train, val, test = ([labelled(k, times=times)] for k in range(3))
    train, val = ([c.at_times(seen.tolist()) for c in chosen] for chosen in (train, val))
    torch.manual_seed(0)
    sizes = {"layers": 1, "channels": 4, "l_max": 0, "inputs": "thermal", "n_times": 6, "dropout": 0.0}
    net = gl.SE3GNN(gl.ModelConfig(**sizes, decoder=decoder))
    list(gl.fit(net, train, val, gl.TrainConfig(epochs=80, learning_rate=0.02)))
    found, (c,) = net.predict_at(test[0], [times[3]]), test
    assert gl.pearson(found, c.propensity[3:4], c.types)["A"][0] > 0.9
    shuffled = np.random.default_rng(0).permutation(300)
    assert gl.pearson(found[:, shuffled], c.propensity[3:4], c.types)["A"][0] < 0.5


def test_the_temperature_is_read_where_the_decoder_says_so():
    cold, warm = labelled(0, 0.45), labelled(0, 0.55)
    for decoder in DECODERS:
        net = network(decoder)
        same = np.array_equal(net.predict(cold), net.predict(warm))
        assert same != DECODERS[decoder].sees_temperature
    net = network("film+T")
    batch = Batch.from_data_list([net.graph(cold), net.graph(warm)])
    together = net(batch).detach()
    assert torch.allclose(together[:300].T, torch.as_tensor(net.predict(cold)))
    assert torch.allclose(together[300:].T, torch.as_tensor(net.predict(warm)))
    assert np.abs(net.predict_at(cold, TIMES) - net.predict(cold)).max() < 1e-6 * np.abs(net.predict(cold)).max()
    with pytest.raises(ValueError, match="has no temperature, which the network reads"):
        net.predict(cold.replace(temperature=None))
    with pytest.raises(ValueError, match=r"no temperature; .* net\.graph\(configuration\)"):
        net(gl.neighbor_graph(cold, dtype=torch.float64))


def test_it_learns_what_the_temperature_changes():
    """Neighbors count for at one temperature and against at the other: to be learned only by who knows which it is."""

    def turned(seed, temperature):
        c = labelled(seed, temperature)
        mean = c.propensity.mean(axis=1, keepdims=True)
        return c.replace(propensity=mean + (1 if temperature < 0.5 else -1) * (c.propensity - mean))

    train, val = [turned(k, t) for k in (0, 1) for t in (0.45, 0.55)], [turned(2, t) for t in (0.45, 0.55)]
    rho = {}
    for decoder in ("film", "film+T"):
        torch.manual_seed(0)
        sizes = {"layers": 1, "channels": 4, "l_max": 0, "inputs": "thermal", "n_times": 4, "dropout": 0.0}
        net = gl.SE3GNN(gl.ModelConfig(**sizes, decoder=decoder))
        list(gl.fit(net, train, val, gl.TrainConfig(epochs=80, learning_rate=0.005)))
        found = gl.pearson([net.predict(c) for c in val], [c.propensity for c in val], [c.types for c in val])
        rho[decoder] = found["A"].mean()
    assert rho["film+T"] > 0.5
    assert abs(rho["film"]) < 0.2


def test_saved_loaded_and_in_blocks_it_is_the_same(tmp_path, net):
    c = labelled(5)
    save_model(net, tmp_path / "model.pt")
    other = gl.load_model(tmp_path / "model.pt")
    assert type(other.decoder) is type(net.decoder)
    whole = net.predict(c)
    assert np.abs(other.predict(c) - whole).max() < 1e-4 * np.abs(whole).max()
    assert np.abs(predict_in_blocks(net, c, 130) - whole).max() < 1e-10 * np.abs(whole).max()


def test_fitted_anew_it_is_the_paper_s(net):
    """Whatever the decoder was, the features are the same, and so is what is fitted to them."""
    c, found = labelled(3), []
    for each in (net, network("linear")):
        refitted = refit_decoder(each, [labelled(1)], [labelled(2)])
        assert refitted.config.decoder == "linear"
        assert refitted.times == pytest.approx(TIMES)
        found.append(refitted.predict(c))
    assert np.array_equal(*found)


def test_times_that_nobody_can_predict_are_refused():
    net, c = network("linear"), labelled()
    assert np.array_equal(net.predict_at(c, [10.0]), net.predict(c)[2:3])
    with pytest.raises(ValueError, match=r"times \[5\.0\]; decoder 'linear' predicts at .* 'film'"):
        net.predict_at(c, [5.0])
    for decoder in DECODERS:
        with pytest.raises(ValueError, match="the network has no times yet"):
            gl.SE3GNN(gl.ModelConfig(layers=1, inputs="thermal", decoder=decoder)).predict_at(c, [5.0])
    for times in ([], [0.0], [-1.0], 3.0, [np.nan], [np.inf]):
        with pytest.raises(ValueError, match="expected a list of positive numbers"):
            net.predict_at(c, times)
    with pytest.raises(ValueError, match=r"decoder 'flim'; expected one of linear, .*did you mean 'film'"):
        gl.ModelConfig(decoder="flim")
