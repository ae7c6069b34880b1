"""Terms against over-smoothing: by hand on small graphs, by finite differences, and on too smooth predictions."""

import pickle

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

import glasslit as gl
from glasslit.equivariance.so3 import random_rotations
from glasslit.learning import losses
from glasslit.learning.losses import SMOOTH_TERMS, Neighborhoods, SmoothLoss, check_smooth_terms
from glasslit.testing import random_liquid
from tests.common import SMALL, learnable, trained

TERMS = tuple(SMOOTH_TERMS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def in_a_row(types=(0, 0, 1, 0), spacing=1.0):
    """Particles in a row, each connected to the next alone: 0 - 1 - 2 - 3."""
    positions = np.column_stack([spacing * np.arange(len(types)) + 1, *2 * [np.full(len(types), 5.0)]])
    c = gl.Configuration(positions=positions, types=list(types), box=[10.0] * 3)
    return gl.neighbor_graph(c, cutoff=1.5 * spacing, dtype=torch.float64)


def patterned(seed=0, n=400, wave=0.7, noise=0.0, amplitude=1.0):
    """A liquid whose true propensity is a wave through the box and a number of each particle; labels with noise."""
    c, rng = random_liquid(n, seed=seed), np.random.default_rng(seed)
    truth = np.sin(2 * np.pi * c.positions[:, 0] / c.box[0]) + wave * rng.normal(size=n)
    truth = amplitude * np.stack([truth, 2 - truth])
    halves = truth + noise * rng.normal(size=(2, *truth.shape))
    return c.replace(propensity=halves.mean(axis=0), propensity_half=halves), truth


class Plain(torch.nn.Module):
    """Stands for a network: labels count in their own units."""

    def standardize(self, graph):
        return graph.y

    target_mean = torch.zeros(2, 2, dtype=torch.float64)
    target_std = torch.ones(2, 2, dtype=torch.float64)


def told(c, extra):
    graph = gl.neighbor_graph(c, dtype=torch.float64)
    extra.tell(graph, c)
    return graph


def loss_of(terms, c, prediction, length=1.0):
    extra = SmoothLoss(terms, 1.0, length)
    return float(extra(Plain(), told(c, extra), torch.tensor(np.array(prediction)).T))


def test_neighborhoods_by_hand():
    graph = in_a_row()
    x = torch.tensor([[1.0], [4.0], [7.0], [100.0]], dtype=torch.float64)
    assert Neighborhoods(graph).means(x).flatten().tolist() == [2.5, 2.5, 7.0, 100.0]  # 2 is a B, 3 has no A beside it
    w = np.exp(-1 / 0.5)
    expected = [(1 + 4 * w) / (1 + w), (4 + w) / (1 + w), 7.0, 100.0]
    assert Neighborhoods(graph, 0.5).means(x).flatten().tolist() == pytest.approx(expected)


def test_local_variance_by_hand():
    """A at 0, 1, 3: prediction 1, 3 and 8, halves of the labels (0, 0), (2, 4), (5, 5)."""
    graph, zero = in_a_row(), torch.zeros(4, 1, dtype=torch.float64)
    p = torch.tensor([[1.0], [3.0], [0.0], [8.0]], dtype=torch.float64)
    halves = torch.tensor([[[0.0], [0.0]], [[2.0], [4.0]], [[0.0], [0.0]], [[5.0], [5.0]]], dtype=torch.float64)
    found = SMOOTH_TERMS["local_variance"](1.0)(graph, p, zero, halves).flatten().tolist()
    of_prediction = (1.0 + 1.0 + 0.0) / 3  # 0 and 1 share a neighborhood of two, in which 1 and 3 have the variance 1
    of_labels = (2.0 + 2.0 + 0.0) / 3  # 8 / 2 - 1 * 2
    assert found == pytest.approx([(of_prediction - of_labels) ** 2] * 2 + [0.0] + [(of_prediction - of_labels) ** 2])


def test_coarse_correlation_by_hand():
    graph = in_a_row(types=(0, 0, 0, 0))
    p, y = (torch.tensor([values], dtype=torch.float64).T for values in ([1.0, 4.0, 2.0, 0.0], [0.0, 1.0, 3.0, 1.0]))
    w = np.exp(-1 / 2.0)
    rows = np.array([[1, w, 0, 0], [w, 1, w, 0], [0, w, 1, w], [0, 0, w, 1]])
    rows /= rows.sum(axis=1, keepdims=True)
    expected = 1 - np.corrcoef(rows @ p.numpy()[:, 0], rows @ y.numpy()[:, 0])[0, 1]
    found = SMOOTH_TERMS["coarse_correlation"](2.0)(graph, p, y, None)
    assert found.flatten().tolist() == pytest.approx([expected] * 4, rel=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_gradients_by_finite_differences(name):
    c, _ = patterned(n=150, noise=0.3)
    extra = SmoothLoss([name], 1.3, 0.8)
    graph = told(c, extra)
    p = torch.randn(150, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    direction = torch.randn(5, 150, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(extra(Plain(), graph, p), p)
    for step in direction:
        up, down = (float(extra(Plain(), graph, p.detach() + sign * 1e-5 * step)) for sign in (1, -1))
        assert float((gradient * step).sum()) == pytest.approx((up - down) / 2e-5, rel=1e-6, abs=1e-9)
    assert gradient.abs().max() > 1e-4


def test_the_gradient_of_neighborhoods_reaches_all_members():
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    graph = in_a_row(types=(0, 0, 0, 1))
    assert torch.autograd.gradcheck(lambda v: Neighborhoods(graph, 0.7).means(v), x)
    assert torch.autograd.gradgradcheck(lambda v: Neighborhoods(graph, 0.7).means(v).square(), x)


@pytest.mark.parametrize("noise", [0.0, 0.8])
def test_a_prediction_that_is_too_smooth_is_punished_and_the_right_one_is_not(noise):
    c, truth = patterned(n=1000, noise=noise)
    around = Neighborhoods(gl.neighbor_graph(c, dtype=torch.float64))
    smooth = around.means(torch.as_tensor(truth).T).T.numpy()
    right, too_smooth, labels = (loss_of(["local_variance"], c, p) for p in (truth, smooth, c.propensity))
    assert right < 0.05 * too_smooth
    if noise:  # the labels vary more than what is to be learned of them, by noise that is not to be learned
        assert labels > 5 * right
        variance_of_labels = loss_of(["local_variance"], c.replace(propensity_half=np.stack([c.propensity] * 2)), truth)
        assert variance_of_labels > 5 * right, "without halves, noise would be taken for signal"


def test_noise_that_neighbors_share_is_not_taken_for_signal():
    """In one run neighbors move together: half of the noise is that of the cell a particle is in."""
    c, truth = patterned(n=1000)
    cell = (np.floor(c.positions / 1.5) % 7).astype(int) @ [49, 7, 1]
    rng = np.random.default_rng(3)
    halves = truth + 0.6 * rng.normal(size=(2, 1, 343))[..., cell] + 0.6 * rng.normal(size=(2, 1, 1000))
    noisy = c.replace(propensity=halves.mean(axis=0), propensity_half=halves)
    around = Neighborhoods(gl.neighbor_graph(c, dtype=torch.float64))
    smooth = around.means(torch.as_tensor(truth).T).T.numpy()
    assert loss_of(["local_variance"], noisy, truth) < 0.1 * loss_of(["local_variance"], noisy, smooth)


def test_the_large_scale_counts_for_the_coarse_correlation():
    c, truth = patterned(n=1000)
    rng = np.random.default_rng(5)
    wrong_place = truth[:, rng.permutation(1000)]
    rough = truth + 0.5 * rng.normal(size=truth.shape)
    right, roughened, elsewhere = (loss_of(["coarse_correlation"], c, p) for p in (truth, rough, wrong_place))
    assert right < 1e-4
    assert right < roughened < 0.4 * elsewhere
    assert loss_of(["coarse_correlation"], c, 3 * truth + 1) < 1e-4  # level and scale are the squared error's
    assert loss_of(["coarse_correlation"], c, 0 * truth) == pytest.approx(2.0)  # one for each time, and no nan


@pytest.mark.parametrize("name", TERMS)
def test_a_batch_is_the_mean_of_its_graphs(name):
    """Configurations of other sizes too: each counts as its particles do, as in the squared error."""
    extra, net = SmoothLoss([name], 1.0, 1.0), Plain()
    graphs = [told(patterned(seed=k, n=n, noise=0.2)[0], extra) for k, n in enumerate((150, 220, 300))]
    predictions = [torch.randn(g.num_nodes, 2, dtype=torch.float64) for g in graphs]
    each = [float(extra(net, g, p)) * g.num_nodes for g, p in zip(graphs, predictions, strict=True)]
    together = float(extra(net, Batch.from_data_list(graphs), torch.cat(predictions)))
    assert together == pytest.approx(sum(each) / 670, rel=1e-12)


@pytest.mark.parametrize("name", TERMS)
def test_a_turned_liquid_has_the_same_loss(name):
    c, _ = patterned(n=150, noise=0.2)
    extra, p = SmoothLoss([name], 1.0, 1.0), torch.randn(150, 2, dtype=torch.float64)
    graph = told(c, extra)
    plain = float(extra(Plain(), graph, p))
    graph.vector = graph.vector @ random_rotations(1)[0].double().T
    assert float(extra(Plain(), graph, p)) == pytest.approx(plain, rel=1e-12)


def test_terms_count_with_their_weight_and_are_added_up():
    c, _ = patterned(noise=0.2)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal")).double()
    net.set_standardization([c])
    graphs, found = [], {}
    for terms in (("local_variance",), ("coarse_correlation",), TERMS):
        for weight in (1.0, 2.0):
            extra = SmoothLoss(terms, weight, 1.0)
            graph = net.graph(c)
            extra.tell(graph, c)
            graphs.append(graph)
            prediction = net.standardize(graph).square()
            found[terms, weight] = float(net.loss(graph, prediction, None, extra) - net.loss(graph, prediction))
    one, other = found[("local_variance",), 1.0], found[("coarse_correlation",), 1.0]
    assert min(one, other) > 0.01
    assert found[TERMS, 1.0] == pytest.approx(one + other)
    assert found[TERMS, 2.0] == pytest.approx(2 * (one + other))


def test_labels_are_compared_in_units_of_their_spread():
    """A liquid that moves ten times as far has the same loss; a standardized prediction of its labels has none."""
    found = []
    for amplitude in (1.0, 10.0):
        c, _ = patterned(amplitude=amplitude)
        net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal")).double()
        net.set_standardization([c])
        extra = SmoothLoss(["local_variance"], 1.0, 1.0)
        graph = net.graph(c)
        extra.tell(graph, c)
        labels = net.standardize(graph)
        found.append([float(extra(net, graph, labels)), float(extra(net, graph, 0.5 * labels))])
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert found[0][0] < 1e-6 < 0.01 < found[0][1]


class Knowing:
    """Predicts the labels."""

    def predict(self, c):
        return c.propensity


def local_variance(net, configurations):
    around = [Neighborhoods(gl.neighbor_graph(c)) for c in configurations]
    fields = [torch.as_tensor(np.ascontiguousarray(net.predict(c).T)) for c in configurations]
    return np.mean(
        [float((a.means(p.square()) - a.means(p).square()).mean()) for a, p in zip(around, fields, strict=True)]
    )


def untold(seed):
    """Labels of which half follows from the structure; the rest is no noise, both halves of the runs have it."""
    c = learnable(seed)
    rest = c.propensity.std(axis=1, keepdims=True) * np.random.default_rng(seed).normal(size=c.propensity.shape)
    labels = c.propensity + rest
    return c.replace(propensity=labels, propensity_half=np.stack([labels, labels]))


def test_training_with_a_term_smooths_less():
    """After the last epoch, on the training set: which epoch validates best is another matter."""
    train, found = [untold(0)], []
    for more in ({}, {"smooth_terms": "local_variance", "smooth_weight": 10.0}):
        torch.manual_seed(0)
        net = gl.SE3GNN(gl.ModelConfig(**SMALL | {"layers": 1}, inputs="thermal", dropout=0.0))
        config = gl.TrainConfig(epochs=60, learning_rate=0.05, device="cpu", **more)
        *_, last = (local_variance(net, train) for _ in gl.fit(net, train, train, config))
        found.append(last / local_variance(Knowing(), train))
    assert found[0] < 0.75
    assert 0.8 < found[1] < 1.2


def test_defaults_change_nothing_and_workers_and_checkpoints_take_terms(tmp_path):
    train, val = [learnable(k) for k in range(3)], [learnable(9)]
    plain, _ = trained(train, val)
    zero, _ = trained(train, val, smooth_terms="+".join(TERMS), smooth_weight=0.0)
    same = [
        torch.allclose(a, b, rtol=1e-5)
        for a, b in zip(plain.state_dict().values(), zero.state_dict().values(), strict=True)
    ]
    assert all(same)
    settings = {"smooth_terms": "local_variance", "batch_size": 2}
    held, _ = trained(train, val, **settings)
    made, _ = trained(train, val, num_workers=2, **settings)
    assert all(torch.equal(a, b) for a, b in zip(held.state_dict().values(), made.state_dict().values(), strict=True))
    trained(train, val, checkpoint=tmp_path / "a.pt", **settings)
    with pytest.raises(ValueError, match=r"another training smooth_terms \(local_variance, now None\)"):
        trained(train, val, checkpoint=tmp_path / "a.pt", batch_size=2)
    with pytest.raises(ValueError, match=r"another training smooth_length \(1.0, now 2.0\)"):
        trained(train, val, checkpoint=tmp_path / "a.pt", smooth_length=2.0, **settings)


@pytest.mark.parametrize("name", ["bapst", "botan", "mlp"])
def test_baselines_take_terms(name):
    c, _ = patterned(n=900)
    c = c.replace(mean_displacement=np.zeros((2, 900, 3)))
    net = gl.baselines.baseline(name, n_times=2, steps=1, width=8)
    net.set_standardization([c])
    graph, seen = net.graph(c), []

    def extra(told_net, told_graph, prediction):
        seen.append((told_net, told_graph, tuple(prediction.shape)))
        return prediction.new_tensor(100.0)

    net.eval()
    plain, more = (net.training_loss(graph, None, added).item() for added in (None, extra))
    assert seen == [(net, graph, (900, 2))]
    assert more - plain == pytest.approx(100 * (1 - net.config.edge_weight if name == "botan" else 1), rel=1e-4)


def test_a_baseline_without_steps_refuses_terms():
    train, val = [learnable(0)], [learnable(1)]
    ridge = gl.baselines.baseline("ridge", inputs="thermal", n_times=2)
    with pytest.raises(ValueError, match="with a Ridge; expected None"):
        trained(train, val, net=ridge, smooth_terms="coarse_correlation")


def test_what_is_missing_or_unknown_is_refused():
    c = learnable(0).replace(propensity_half=None)
    with pytest.raises(ValueError, match=r"has no propensity_half; expected it.*take 'coarse_correlation' alone"):
        trained([c], [c], smooth_terms="local_variance")
    trained([c], [c], epochs=1, smooth_terms="coarse_correlation")
    with pytest.raises(ValueError, match=r"smooth_terms 'local'; expected None or one of local_variance, "):
        gl.TrainConfig(smooth_terms="local")
    for bad in ({"smooth_weight": -1.0}, {"smooth_weight": None}, {"smooth_length": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} = .*; expected a number"):
            gl.TrainConfig(**bad)
    assert [check_smooth_terms(name) for name in losses.NAMES] == [(TERMS[0],), (TERMS[1],), TERMS]
    assert pickle.loads(pickle.dumps(SmoothLoss(TERMS, 2.0, 1.0))).weight == 2.0  # it goes to workers
