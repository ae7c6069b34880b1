"""Two processes that train one network, joined by gloo, beside one process with the same batches."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import e3nn.nn
import pytest
import torch

import glasslit as gl
from glasslit import parallel
from glasslit.equivariance.convolution import BatchNorm1d
from glasslit.models.norms import BatchNorm
from tests.common import ROOT, learnable

SETTINGS = {"device": "cpu", "epochs": 4, "learning_rate": 0.01}
NOISE = {"batch_size": 4, "position_noise": 0.02}
WORKERS = """
import json, sys
import torch
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
dist.init_process_group("gloo")
from tests.test_parallel import sums_and_norms, training
jobs = json.loads(sys.argv[3])
found = {name: training(given) for name, given in jobs.items()} | {"sums": sums_and_norms()}
json.dump(found, open(f"{sys.argv[2]}/{dist.get_rank()}.json", "w"))
dist.destroy_process_group()
"""
"""What each process runs that ``torchrun`` starts: all jobs one after the other, for starting takes longest."""


def training(given):
    """Records of a training, or why it is refused, and the weights after it; of this process's part of the graphs."""
    train, val = [learnable(k, n=150 + 20 * k) for k in range(7)], [learnable(8), learnable(9), learnable(10)]
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(layers=3, channels=2, l_max=2, n_times=2, inputs="thermal")).double()
    try:
        records = [vars(r) for r in gl.fit(net, train, val, gl.TrainConfig(**SETTINGS, **given))]
    except ValueError as error:
        records = [str(error)]
    return {"records": records, "weights": {k: v.tolist() for k, v in net.state_dict().items()}}


def sums_and_norms():
    """What a process has of five rows of numbers, two in the first process and three in the second."""
    rank, _ = parallel.world()
    rows = torch.arange(35.0, dtype=torch.float64).reshape(5, 7).sin()
    mine = rows[:2] if rank == 0 else rows[2:]
    mine = mine.clone().requires_grad_()
    found = {"share": list(parallel.share(range(5))), "gathered": parallel.gathered([rank, 10 * rank])}
    torch.manual_seed(3)
    found["uniform"], found["kept"] = parallel.uniform(mine).tolist(), parallel.kept(mine, 0.3).tolist()
    found["after"] = torch.rand(2).tolist()
    for name, norm in (("plain", BatchNorm1d(7)), ("equivariant", BatchNorm("1x0e+2x1e", momentum=0.5))):
        norm = norm.double()
        out = norm(mine)
        weight = (torch.arange(7.0, dtype=torch.float64) + 1).cos()
        (gradient,) = torch.autograd.grad((out.pow(3) * weight).sum(), mine)
        found[name] = [out.tolist(), gradient.tolist(), norm.running_mean.tolist(), norm.running_var.tolist()]
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By job, what one process has, and what each of two has of the same.

    One process is this one. The two run after it, so that they find the checkpoint of a training that has ended.
    """
    folder = tmp_path_factory.mktemp("parallel")
    path = folder / "unfinished.pt"
    killed = {"batch_size": 4, "checkpoint": str(path)}
    with one_thread():
        one = {"noise": training(NOISE), "other": training(NOISE | {"batch_size": 2}), "killed": training(killed)}
    content, stamp = torch.load(path, weights_only=True), path.stat().st_mtime_ns
    jobs = {"noise": NOISE | {"num_workers": 1}, "killed": killed, "refused": {"batch_size": 3}}
    (folder / "script.py").write_text(WORKERS)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [*torchrun, folder / "script.py", ROOT, folder, json.dumps(jobs)]
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(w) for w in words], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    two = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    return {
        "one": json.loads(json.dumps(one)),
        "two": {name: [each[name] for each in two] for name in two[0]},
        "content": content,
        "rewritten": path.stat().st_mtime_ns != stamp,
    }


@contextmanager
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def flat(values):
    return torch.cat([torch.as_tensor(v, dtype=torch.float64).flatten() for v in values])


def test_two_processes_train_the_network_of_one(found):
    """Dropout, both batch norms, noise, batches of three (two and one), a last one of four: in float64, to rounding."""
    one, both = found["one"]["noise"], found["two"]["noise"]
    assert both[0]["weights"] == both[1]["weights"]
    for name in ("train_loss", "val_loss", "val_rho"):
        curve, expected = (flat([r[name] for r in each["records"]]) for each in (both[0], one))
        assert len(curve) == 4
        assert torch.allclose(curve, expected, rtol=1e-9, atol=1e-9), name  # of order one, but for the correlation
    for name, value in one["weights"].items():
        assert torch.allclose(flat([both[0]["weights"][name]]), flat([value]), rtol=1e-6, atol=1e-9), name
    other = found["one"]["other"]  # a control
    assert abs(other["records"][0]["train_loss"] / one["records"][0]["train_loss"] - 1) > 1e-3


def test_two_processes_go_on_where_one_was_killed(found):
    """The checkpoint is the same whoever trains."""
    assert len(found["content"]["history"]) == 4
    for each in found["two"]["killed"]:
        assert each == found["one"]["killed"]  # all epochs were there
    assert not found["rewritten"]


def test_a_batch_without_a_graph_for_each_process_is_refused(found):
    for each in found["two"]["refused"]:
        (message,) = each["records"]
        assert "batch_size = 3, 7 training configurations: a last batch of 1 for 2 processes" in message


def test_sums_norms_and_random_numbers_are_those_of_one_process(found):
    both = found["two"]["sums"]
    assert [b["share"] for b in both] == [[0, 1], [2, 3, 4]]
    assert both[0]["gathered"] == both[1]["gathered"] == [0, 0, 1, 10]
    torch.manual_seed(3)
    assert both[0]["uniform"] + both[1]["uniform"] == torch.rand(5, 7, dtype=torch.float64).tolist()
    assert both[0]["kept"] + both[1]["kept"] == parallel.kept(torch.empty(5, 7), 0.3).tolist()
    assert both[0]["after"] == both[1]["after"] == torch.rand(2).tolist()
    rows = torch.arange(35.0, dtype=torch.float64).reshape(5, 7).sin().requires_grad_()
    weight = (torch.arange(7.0, dtype=torch.float64) + 1).cos()
    for name, norm in (
        ("plain", torch.nn.BatchNorm1d(7)),
        ("equivariant", e3nn.nn.BatchNorm("1x0e+2x1e", momentum=0.5)),
    ):
        norm = norm.double()
        out = norm(rows)
        (gradient,) = torch.autograd.grad((out.pow(3) * weight).sum(), rows)
        for k, expected in enumerate((out, gradient)):
            joined = flat([both[0][name][k], both[1][name][k]])
            assert torch.allclose(joined, expected.detach().flatten(), rtol=1e-10, atol=1e-12), (name, k)
        for k, expected in enumerate((norm.running_mean, norm.running_var), start=2):
            assert both[0][name][k] == both[1][name][k]
            assert torch.allclose(flat([both[0][name][k]]), expected, rtol=1e-12), (name, k)


def test_one_process_alone_changes_nothing():
    assert parallel.world() == (0, 1)
    x = torch.randn(6, 4)
    assert parallel.total(x) is x
    assert list(parallel.share(range(3))) == parallel.gathered(range(3)) == [0, 1, 2]
    torch.manual_seed(1)
    mine, theirs = BatchNorm1d(4), torch.nn.BatchNorm1d(4)
    assert torch.equal(mine(x), theirs(x))
    with pytest.raises(ValueError, match="num_workers = -1"):
        gl.TrainConfig(num_workers=-1)
