"""Recorded steps: the logic around CUDA graphs with a stand-in that records PyTorch's operations on the CPU."""

import copy

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import glasslit as gl
from glasslit import parallel
from glasslit.learning import capture, train
from glasslit.learning.capture import CudaGraphs, Replayed, plainly, runner
from glasslit.models.baselines import baseline
from tests.common import SMALL, learnable


class Tape(TorchDispatchMode):
    """As a CUDA graph: what was launched is launched again on the same memory, and Python takes no part in it.

    Recording leaves no trace, and nothing may be read meanwhile.
    """

    def __init__(self, net):
        super().__init__()
        self.net, self.lines, self.recorded = net, [], 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.name() in ("aten::_local_scalar_dense", "aten::nonzero"):
            raise RuntimeError("operation not permitted when stream is capturing")
        out = operation(*args, **kwargs or {})
        self.lines.append((operation, args, kwargs or {}, out))
        return out

    def record(self, function):
        lines, self.lines = self.lines, []
        state, random = copy.deepcopy(self.net.state_dict()), torch.get_rng_state()
        with self:
            results = function()
        self.net.load_state_dict(state)
        torch.set_rng_state(random)
        mine, self.lines = self.lines, lines
        self.recorded += 1

        @torch.no_grad()
        def replay():
            for operation, args, kwargs, out in mine:
                again = operation(*args, **kwargs)
                for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.numel() and old.data_ptr() != new.data_ptr():
                        old.view_as(new).copy_(new)  # which lost a dimension of size 1 since, in place

        return replay, results


def network():
    torch.manual_seed(0)
    return gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal", kernel="reference"))


def fitted(net, **settings):
    configurations = [learnable(k) for k in range(4)]
    given = {"epochs": 5, "learning_rate": 0.01, "milestones": (0.4,), "device": "cpu"} | settings
    return list(gl.fit(net, configurations[:3], configurations[3:], gl.TrainConfig(**given)))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


SETTINGS = [{}, {"level_weight": 0.3}, {"smooth_terms": "local_variance+coarse_correlation"}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_recorded_steps_train_bitwise_the_same_network(monkeypatch, settings):
    """Dropout, both batch norms, a learning rate that is halved, the best epoch; three graphs of different sizes."""
    monkeypatch.setattr(parallel, "kept", lambda x, p: parallel.uniform(x) >= p)  # as on a GPU
    plain = network()
    expected = fitted(plain, **settings)
    net = network()
    tape = Tape(net)
    monkeypatch.setattr(train, "runner", lambda *_: Replayed(tape))
    records = fitted(net, **settings)
    assert tape.recorded == 4  # each graph once: three to train on, one to validate
    assert [(r.train_loss, r.val_loss, r.val_rho) for r in records] == [
        (r.train_loss, r.val_loss, r.val_rho) for r in expected
    ]
    assert same(net, plain)


def test_what_python_draws_is_recorded_once_and_for_all(monkeypatch):
    """The control, and why others than SE3GNN are refused: Bapst's input would always be turned as when recorded."""
    losses = []
    for recorded in (False, True):
        torch.manual_seed(0)
        net = baseline("bapst", width=8, steps=1, n_times=2, inputs="thermal")
        run = Replayed(Tape(net)) if recorded else plainly
        monkeypatch.setattr(train, "runner", lambda *_, run=run: run)
        losses.append([r.train_loss for r in fitted(net)])
    assert losses[0][0] == losses[1][0]
    assert losses[0][1:] != losses[1][1:]


def test_each_function_runs_then_is_recorded_then_replayed():
    calls, replays = [], []

    class Counting:
        def record(self, function):
            return lambda: replays.append(1), function()

    for warm_up, called, replayed in ((0, "abab", 4), (2, "abab", 4), (4, "abaaba", 2)):
        calls.clear()
        replays.clear()
        run = Replayed(Counting(), warm_up)
        for key in "abaaba":
            assert run(key, lambda key=key: calls.append(key) or key) == key
        assert "".join(calls) == called  # a recording calls the function, too
        assert len(replays) == replayed
    assert plainly("a", lambda: 3) == 3


def test_recordings_share_their_memory(monkeypatch):
    """CUDA graphs themselves cannot be made here: what they are asked for."""
    asked, entered = [], []

    class Graph:
        def replay(self):
            return "replayed"

        def pool(self):
            return "pool"

    class Recording:
        def __init__(self, graph, pool):
            asked.append(pool)

        def __enter__(self):
            entered.append(True)

        def __exit__(self, *problem):
            entered.append(False)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", Recording)
    graphs = CudaGraphs()
    for number in range(2):
        replay, results = graphs.record(lambda number=number: (number, entered[-1]))
        assert results == (number, True)
        assert replay() == "replayed"
    assert asked == [None, "pool"]
    assert not entered[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, r"on cpu; expected device = 'cuda'"),
        ({"device": torch.device("cuda"), "batch_size": 2}, r"with batch_size = 2; expected 1"),
        ({"device": torch.device("cuda"), "held": False}, r"with num_workers or position_noise"),
        ({"device": torch.device("cuda"), "net": baseline("bapst")}, r"for BapstGNN; expected SE3GNN"),
    ],
)
def test_recordings_are_refused_where_there_can_be_none(change, message):
    given = {"wanted": True, "net": network(), "device": torch.device("cpu"), "batch_size": 1, "held": True} | change
    with pytest.raises(ValueError, match=rf"cuda_graphs = True {message}.*or cuda_graphs = False"):
        runner(**given)
    assert runner(**given | {"wanted": False}) is plainly
    assert isinstance(capture.runner(True, network(), torch.device("cuda"), 1, True), Replayed)


def test_fit_refuses_them_on_the_cpu():
    with pytest.raises(ValueError, match="cuda_graphs = True on cpu"):
        fitted(network(), cuda_graphs=True)
    with pytest.raises(ValueError, match="cuda_graphs = 1; expected True or False"):
        gl.TrainConfig(cuda_graphs=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_on_a_gpu_recorded_steps_train_bitwise_the_same_network(settings):
    nets = [network() for _ in range(2)]
    records = [
        fitted(net, device="cuda", cuda_graphs=wanted, **settings)
        for net, wanted in zip(nets, (False, True), strict=True)
    ]
    assert [r.train_loss for r in records[0]] == [r.train_loss for r in records[1]]
    assert same(*nets)
