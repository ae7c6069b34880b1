"""What trains and predicts, away from the CPU: on a device that the CPU plays, and on a GPU where there is one.

Other tests name the CPU wherever a network is trained, and are the same on every machine. Here is what devices change.
"""

import contextlib

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch_geometric.data import Batch, Data

import glasslit as gl
from glasslit.learning import checkpoint, pretrain, train
from glasslit.learning.capture import plainly
from glasslit.learning.losses import SMOOTH_TERMS, SmoothLoss
from glasslit.learning.transfer import fine_tune, refit_decoder, transfer_fine_tune, transfer_refit, transfer_test
from glasslit.models.baselines import BASELINES, baseline
from glasslit.models.heads import PRETEXTS
from glasslit.models.norms import BatchNorm
from glasslit.prediction import predict_in_blocks
from tests.common import SMALL, learnable
from tests.played import DEVICE, Played

DEVICES = ["played", *(["cuda"] if torch.cuda.is_available() else [])]
SIZES = {"width": 8, "steps": 2, "n_times": 2, "inputs": "thermal+E_IS"}


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch):
    """The name of a device, for ``TrainConfig``."""
    if request.param != "played":
        yield request.param
        return
    known = checkpoint.resolve_device
    for module in (checkpoint, pretrain, train):
        monkeypatch.setattr(module, "resolve_device", lambda name: DEVICE if name == "played" else known(name))
    with Played():
        yield "played"


@contextlib.contextmanager
def no_waiting(device):
    """What is inside may not make the host wait for the device."""
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    else:
        with Played() as inside:
            yield
        assert inside.waits == []


def network(name="SE3GNN", **changes):
    """In double precision and without dropout, whose random numbers are those of the device."""
    torch.manual_seed(0)
    if name == "SE3GNN":
        return gl.SE3GNN(gl.ModelConfig(**(SMALL | {"dropout": 0.0} | changes))).double()
    return baseline(name, **SIZES).double()


def liquids(name="SE3GNN"):
    """Three configurations; some descriptors look so far that they need a thousand particles."""
    n = 1000 if name in ("ridge", "mlp") else 150
    rng = np.random.default_rng(0)
    return [learnable(k, n=n).replace(mean_displacement=rng.normal(scale=0.1, size=(2, n, 3))) for k in range(3)]


def trained(device, name="SE3GNN", net=None, **settings):
    net, (*training, val) = net or network(name), liquids(name)
    given = {"epochs": 2, "learning_rate": 0.01, "device": device} | settings
    return net, list(gl.fit(net, training, [val], gl.TrainConfig(**given)))


def test_the_played_device_is_as_strict_as_a_gpu():
    with Played() as mode:
        there = torch.arange(6.0, device=DEVICE).reshape(2, 3).requires_grad_()
        (there * 2).square().sum().backward()
        assert there.grad.device == DEVICE
        assert torch.equal(there.grad.cpu(), 8 * torch.arange(6.0).reshape(2, 3))
        for mixed in (lambda: there + torch.ones(3), lambda: torch.cat([there, torch.ones(1, 3)]),
                      lambda: torch.ones(3) @ there.T, lambda: torch.ones(3)[there.argmax(dim=1)]):  # fmt: skip
            with pytest.raises(RuntimeError, match="expected all tensors to be on the same device"):
                mixed()
        with pytest.raises(RuntimeError, match="numpy"):
            there.detach().numpy()
        assert (there + torch.tensor(1.0)).device == DEVICE  # a number may come from the CPU
        mode.waits.clear()
        for waiting in (lambda: float(there.sum()), lambda: there[there > 2], lambda: there.cpu(),
                        lambda: there[torch.tensor([0])], lambda: torch.ones(2).to(DEVICE),
                        lambda: torch.tensor([1.0], device=DEVICE), lambda: bool((there > 2).all())):  # fmt: skip
            before = len(mode.waits)
            waiting()
            assert len(mode.waits) > before
        before = len(mode.waits)
        (there * 2 + torch.zeros(2, 3, device=DEVICE)).sum(dim=0)[torch.arange(2, device=DEVICE)]
        assert len(mode.waits) == before


@pytest.mark.parametrize("name", ["SE3GNN", *BASELINES])
def test_a_training_is_that_of_the_cpu(device, name):
    """Forward, loss, backward, optimizer, validation, prediction."""
    there, records = trained(device, name)
    net = network(name)
    net._known = getattr(there, "_known", None)  # descriptors, which take seconds
    here, expected = trained("cpu", name, net)
    assert there.target_mean.device.type != "cpu"
    for field in ("train_loss", "val_loss", "val_rho"):
        assert [getattr(r, field) for r in records] == pytest.approx([getattr(r, field) for r in expected], rel=1e-7)
    c = liquids(name)[0]
    assert there.predict(c) == pytest.approx(here.predict(c), rel=1e-7)


@pytest.mark.parametrize(
    "settings",
    [{"level_weight": 0.3}, {"batch_size": 2}, {"batch_size": 2, "level_weight": 0.3}, {"position_noise": 0.02},
     {"num_workers": 0}, {"batch_size": 2, "smooth_terms": "local_variance+coarse_correlation"}],
    ids=str,
)  # fmt: skip
def test_so_it_is_with_other_settings(device, settings):
    found, expected = (trained(where, **settings)[1] for where in (device, "cpu"))
    assert [r.train_loss for r in found] == pytest.approx([r.train_loss for r in expected], rel=1e-7)
    assert [r.val_rho for r in found] == pytest.approx([r.val_rho for r in expected], rel=1e-7)


@pytest.mark.parametrize("task", PRETEXTS)
def test_pretraining_is_that_of_the_cpu(device, task):
    """Three of four tasks ask for what a configuration says, one for noise."""
    first, second, _ = liquids()
    found = []
    for where in (device, "cpu"):
        net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal", dropout=0.0)).double()
        net.load_state_dict(found[0][1] if found else net.state_dict())
        initial = {name: value.clone() for name, value in net.state_dict().items()}
        config = gl.TrainConfig(epochs=2, device=where)
        found.append((list(pretrain.pretrain(net, [first], [second], task, config)), initial))
    for field in ("train_loss", "val_loss", "val_rho"):
        there, here = ([getattr(r, field) for r in records] for records, _ in found)
        assert there == pytest.approx(here, rel=1e-7)


def test_dropout_draws_on_the_device(device):
    losses = [[r.train_loss for r in trained(device, net=network(dropout=dropout))[1]] for dropout in (0.3, 0.3, 0.0)]
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[2][0]


def test_predictions_in_blocks_and_of_batches(device):
    there, _ = trained(device)
    c = liquids()[0]
    expected = there.predict(c)
    assert predict_in_blocks(there, c, 40) == pytest.approx(expected, rel=1e-7)
    graphs = [there.graph(c) for c in liquids()]
    with torch.no_grad():
        together = there(Batch.from_data_list(graphs)).cpu()
        moved = there(Batch.from_data_list([g.to("cpu") for g in map(Data.clone, graphs)]).to(there.target_mean.device))
    assert torch.allclose(together, moved.cpu(), rtol=1e-9)
    assert torch.allclose(together[: c.n_particles].T, torch.as_tensor(expected), rtol=1e-7)


def test_transfer_goes_on_where_the_network_is(device):
    """Every kind of transfer, of a network that training left on the device."""
    (there, _), (here, _) = trained(device), trained("cpu")
    every = [c.replace(split=s, temperature=0.56) for c, s in zip(liquids(), ("train", "val", "test"), strict=True)]
    split = {c.split: [c] for c in every}
    short = {w: gl.TrainConfig(epochs=1, device=w) for w in (device, "cpu")}
    found = []
    for net, where in ((there, device), (here, "cpu")):
        refitted = refit_decoder(net, split["train"], split["val"])
        assert refitted.decoder.weight.device == net.decoder.weight.device
        tuned = fine_tune(net, split["train"], split["val"], short[where])
        tables = [
            transfer_test({0.56: net}, every),
            transfer_refit({0.56: net}, every),
            transfer_fine_tune({0.56: net}, every, config=short[where]),
        ]
        predictions = [m.predict(every[2]) for m in (refitted, tuned)]
        found.append((predictions, np.concatenate([t["mean"] for t in tables])))
    assert np.allclose(found[0][0], found[1][0], rtol=1e-5)
    assert np.allclose(found[0][1], found[1][1], rtol=1e-5)


def test_scores_of_a_network_that_is_there(device):
    (there, _), (here, _) = trained(device), trained("cpu")
    train, *test = liquids()
    found, expected = (gl.evaluate(net, [train], test)["test"]["A"] for net in (there, here))
    assert found["mean"] == pytest.approx(expected["mean"], rel=1e-6)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # on the played device it is none
def test_an_interrupted_training_goes_on_there(device, tmp_path):
    *training, val = liquids()
    config = gl.TrainConfig(epochs=3, device=device, checkpoint=tmp_path / "unfinished.pt")
    running = gl.fit(network(), training, [val], config)
    next(running)
    running.close()
    resumed, whole = network(), network()
    records = list(gl.fit(resumed, training, [val], config))
    expected = list(gl.fit(whole, training, [val], gl.TrainConfig(epochs=3, device=device)))
    assert [r.train_loss for r in records] == pytest.approx([r.train_loss for r in expected], rel=1e-9)
    gl.save_model(resumed, tmp_path / "model.pt")
    assert gl.load_model(tmp_path / "model.pt").predict(val) == pytest.approx(resumed.predict(val), rel=1e-4)  # single


@pytest.mark.parametrize(("level_weight", "terms"), [(None, ()), (0.3, ()), (None, tuple(SMOOTH_TERMS))])
def test_a_step_does_not_wait_for_the_device(device, level_weight, terms):
    """After the first step on a graph, which reads its edges once: forward, loss, backward, optimizer."""
    net = network(dropout=0.3).to(train.resolve_device(device))
    graph, config = net.graph(liquids()[0]), gl.TrainConfig(level_weight=level_weight)
    extra = SmoothLoss(terms, 1.0, 1.0) if terms else None
    if extra is not None:
        extra.tell(graph, liquids()[0])
    step = train._Step(train._Loss(net, level_weight, extra), train.adam(net, config), plainly)
    step(graph)
    with no_waiting(device):
        step(graph)
    net.eval()
    with torch.no_grad(), no_waiting(device):
        net(graph)


def test_an_epoch_waits_as_often_for_three_graphs_as_for_one():
    """The loss is read at its end; and the control: a batch that is made anew has to be read."""
    known = train.resolve_device
    waits = {}
    for n, batch_size in ((1, 1), (3, 1), (4, 2)):
        with Played() as mode, pytest.MonkeyPatch.context() as patch:
            patch.setattr(train, "resolve_device", lambda name: DEVICE)
            config = gl.TrainConfig(epochs=2, batch_size=batch_size)
            running = gl.fit(network(), [learnable(k) for k in range(n)], [learnable(9)], config)
            next(running)
            mode.waits.clear()
            next(running)
            waits[n] = [name for name, where in mode.waits if "checkpoint" not in where]
    assert train.resolve_device is known
    assert waits[1] == waits[3]
    assert len(waits[4]) > len(waits[3])


def test_a_loss_that_is_no_number_is_told_at_the_end_of_the_epoch_and_not_kept(device, tmp_path, monkeypatch):
    path = tmp_path / "unfinished.pt"
    config = gl.TrainConfig(epochs=3, device=device, checkpoint=path)
    net = network()
    running = gl.fit(net, [learnable(0), learnable(1)], [learnable(2)], config)
    next(running)
    kept = torch.load(path, weights_only=True)
    with torch.no_grad():
        net.decoder.weight[0, 0, 0] = torch.inf
    with pytest.raises(FloatingPointError, match=r"the loss is (inf|nan) in epoch 2: lower the learning rate"):
        next(running)
    after = torch.load(path, weights_only=True)
    assert len(after["history"]) == len(kept["history"]) == 1
    assert all(torch.isfinite(value).all() for name, value in after["net"].items() if name != "label_times")


def test_the_optimizer_is_fused_on_a_gpu_only():
    config = gl.TrainConfig()
    assert train.adam(network(), config).defaults["fused"] is None
    with FakeTensorMode():
        there = torch.nn.ParameterList([torch.empty(3, device="cuda")])
        optimizer = train.adam(there, config)
    assert optimizer.defaults["fused"] is True
    assert optimizer.defaults["betas"] == config.betas
    assert optimizer.defaults["weight_decay"] == config.weight_decay


def test_graphs_keep_their_cutoff_on_the_cpu(device):
    """Alone and in batches, wherever they are moved; graphs that hold it there are read, and checked as well."""
    place = train.resolve_device(device)
    net = network().to(place)
    graphs = [gl.neighbor_graph(c, inputs="thermal+E_IS", dtype=torch.float64).to(place) for c in liquids()]
    assert graphs[0].cutoff == 2.0
    assert graphs[0].vector.device == graphs[0].clone().reverse.device == place
    batch = Batch.from_data_list([g.to("cpu") for g in map(Data.clone, graphs)]).to(place)
    assert batch.cutoff.device.type == "cpu"
    assert batch.batch.device == place
    net.eval()
    with torch.no_grad():
        expected = net(batch).cpu()
        old = Data(**batch.to_dict()).update({"cutoff": batch.cutoff.to(place)})
        assert torch.equal(net(old).cpu(), expected)
        with pytest.raises(ValueError, match=r"a graph with cutoff \[1\.5\]"):
            net(old.update({"cutoff": torch.full((3,), 1.5, device=place)}))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_batch_norm_there_is_that_of_e3nn(device, dtype):
    """Output, running statistics and gradients; in evaluation bit for bit, on the CPU too."""
    from e3nn.nn import BatchNorm as Theirs

    torch.manual_seed(0)
    irreps, rows, direction = "3x0e+2x1e+4x2e", torch.randn(200, 29, dtype=dtype) * 3 + 1, torch.randn(200, 29)
    theirs, ours = Theirs(irreps, momentum=0.5).to(dtype), BatchNorm(irreps, momentum=0.5).to(dtype)
    with torch.no_grad():
        theirs.weight.uniform_(0.5, 2)
        theirs.bias.normal_()
        theirs.running_mean.normal_()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.eval()(rows), theirs.eval()(rows))
    found = []
    place = train.resolve_device(device)
    for norm, where in ((theirs.train(), torch.device("cpu")), (ours.train().to(place), place)):
        x = rows.to(where).requires_grad_()
        out = norm(x)
        gradients = torch.autograd.grad((out * direction.to(x)).sum(), [x, norm.weight, norm.bias])
        found.append([t.detach().cpu() for t in (out, norm.running_mean, norm.running_var, *gradients)])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=(1e-12 if dtype == torch.float64 else 1e-5) * float(a.abs().max()))


def test_gradients_of_batch_norm_by_differences():
    """First and second, of the one that GPUs use, on the CPU."""
    from glasslit.models.norms import _Normalized

    norm = BatchNorm("3x0e+2x1e").double()
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in ((6, 9), (5,), (3,))]
    assert torch.autograd.gradcheck(lambda *x: _Normalized.apply(*x, norm)[0], inputs)
    assert torch.autograd.gradgradcheck(lambda *x: _Normalized.apply(*x, norm)[0], inputs)
