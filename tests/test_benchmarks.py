"""The benchmarks compute what they say, and their stored results are whole; nothing is timed here."""

import json
import sys
from functools import partial

import e3nn
import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit import so3
from glasslit.equivariance.kernels import Coupling
from glasslit.equivariance.kernels.plan import plan_of
from glasslit.models.decoders import DECODERS
from tests.common import ROOT

FOLDER = ROOT / "benchmarks"
sys.path.insert(0, str(FOLDER))
import audit_products  # noqa: E402
import bench_body  # noqa: E402
import bench_mirror  # noqa: E402
import bench_reading  # noqa: E402
import common  # noqa: E402
import peers  # noqa: E402
import plain_gnn  # noqa: E402
import steps  # noqa: E402


def test_the_five_steps_compute_the_same():
    coupling = Coupling("2x0e+3x1e+1x0e", 1)
    graph = gl.neighbor_graph(gl.testing.random_liquid(60, seed=1), cutoff=1.2)
    torch.manual_seed(0)
    h, w = torch.randn(60, coupling.dim_in), torch.randn(graph.num_edges, coupling.n_weights)
    Y, plan = so3.spherical_harmonics(1, graph.vector), plan_of(graph, 60)
    expected = steps.e3nn(h, Y, w, plan, coupling)
    for name in ("loops", "by_path", "in_blocks", "compiled"):
        for a, b in zip(getattr(steps, name)(h, Y, w, plan, coupling), expected, strict=True):
            assert torch.allclose(a, b, rtol=0, atol=1e-5 * float(b.abs().max())), name


def test_the_work_is_counted_right():
    """By hand for one channel, scalars and vectors: five paths."""
    forward = common.work(Coupling("1x0e+1x1e", 1), n_nodes=0, n_edges=1, hidden=0)["forward"]
    terms = 1 + 3 + 3 + 3 + 6  # 0x0->0, 0x1->1, 1x0->1, 1x1->0, 1x1->1
    outputs = 1 + 3 + 3 + 1 + 3
    assert forward.flops == 2 * (terms + terms + outputs)  # here each pair of components meets one component of Y
    assert forward.fraction(1.0, {"flops_per_s": forward.flops, "bytes_per_s": 1e30}) == pytest.approx(1)


def test_the_plain_network_has_the_published_number_of_weights():
    assert sum(p.numel() for p in plain_gnn.BapstGNN().parameters()) == 62_401


def test_plain_networks_take_a_step():
    graph = gl.neighbor_graph(gl.testing.random_liquid(60, seed=1), cutoff=1.6)
    graph.edge_y = torch.zeros(graph.num_edges)
    for edge_target, loss in ((False, plain_gnn.bapst_loss), (True, plain_gnn.botan_loss)):
        net = plain_gnn.BapstGNN(passes=2, edge_target=edge_target)
        loss(net, graph).backward()
        assert all(p.grad is not None for p in net.parameters())


def test_peers_that_are_here_agree_with_e3nn():
    coupling = Coupling("2x0e+2x1e+1x0e", 1)
    graph = gl.neighbor_graph(gl.testing.random_liquid(60, seed=1), cutoff=1.6)
    torch.manual_seed(0)
    inputs = [
        torch.randn(60, coupling.dim_in),
        so3.spherical_harmonics(1, graph.vector),
        torch.randn(graph.num_edges, 4),
    ]
    inputs += [torch.randn(coupling.n_weights, 4), torch.randn(coupling.n_weights)]
    found = dict(peers.available(graph, coupling, "cpu", ["e3nn", "glasslit", "OpenEquivariance"]))
    assert isinstance(found["OpenEquivariance"], str)  # needs a GPU, and says so
    ours, flat = found["glasslit"](*inputs), found["e3nn"](*inputs)
    from glasslit.equivariance.kernels.plan import from_blocks

    assert torch.allclose(from_blocks(ours), flat, rtol=0, atol=1e-5 * float(flat.abs().max()))


@pytest.fixture
def e3nn_options():
    """Of PyTorch, too, which ``compiled_e3nn_layer`` sets. PyTorch's own ``patch`` puts an option back; pytest 9.2.0's
    ``monkeypatch`` deletes it instead (``findings/pytest_torch_option.sh``), and nothing compiles from there on.
    """
    before = e3nn.get_optimization_defaults()
    with torch._functorch.config.patch(donated_buffer=torch._functorch.config.donated_buffer):
        yield before
    e3nn.set_optimization_defaults(**before)


def test_peers_leave_e3nn_as_it_was(e3nn_options):
    """e3nn 0.6.0 with PyTorch 2.10 or newer makes plain modules (mode "eager"; e3nn/__init__.py). Its own
    disable_e3nn_codegen (util/jit.py) left the process in the mode "script", and what came after was another e3nn."""
    coupling = Coupling("1x0e+1x1e", 1)
    graph = gl.neighbor_graph(gl.testing.random_liquid(60, seed=1), cutoff=1.2)
    for mode in ("eager", "script") if "jit_mode" in e3nn_options else (None,):
        e3nn.set_optimization_defaults(**{"jit_mode": mode} if mode else {})
        before = e3nn.get_optimization_defaults()
        peers.compiled_e3nn_layer(graph, coupling, "cpu")
        assert e3nn.get_optimization_defaults() == before
        made = audit_products.e3nn_uncompiled(parity=False)
        assert not any(isinstance(module, torch.jit.ScriptModule) for module in made.modules())
        assert e3nn.get_optimization_defaults() == before
        with pytest.raises(ZeroDivisionError), common.e3nn_as_plain_pytorch():
            raise ZeroDivisionError
        assert e3nn.get_optimization_defaults() == before


@pytest.mark.parametrize("format", bench_reading.FORMATS)
def test_readers_read_the_same(tmp_path, format):
    """Each particle at the same place in the box, whichever reads."""
    start = gl.testing.random_liquid(60, seed=1)
    bench_reading.write(tmp_path, start, 3)
    path = tmp_path / bench_reading.FORMATS[format]
    ours, *others = (list(read(path, format)) for read in bench_reading.READERS[format].values())
    assert np.abs(ours[0].positions - start.positions).max() < 1e-4  # %g
    assert np.abs(ours[2].positions - start.positions).max() > 0.1
    for theirs in others:
        for c, atoms in zip(ours, theirs, strict=True):
            order = np.argsort(atoms.arrays["id"]) if "id" in atoms.arrays else slice(None)
            between = c.positions - atoms.positions[order]
            assert np.abs(between - c.box * np.round(between / c.box)).max() < 1e-6
            assert np.array_equal(c.types + 1, atoms.numbers[order])
    for reader in bench_reading.READERS[format]:
        bench_reading.run_through(tmp_path, format, reader)


@pytest.mark.parametrize("path", sorted((FOLDER / "results").glob("*.json")), ids=lambda p: p.stem)
def test_stored_results_carry_their_card(path):
    stored = json.loads(path.read_text())
    assert "+" not in stored["card"]["git_revision"], "stored results are made from a committed state"
    assert stored["rows"]
    if path.stem.startswith("body"):
        assert [row["cost"] for row in stored["rows"] if row["network"] == "laptop"] == [1]
        assert all(row["cost"] == np.median(row["costs"]) > 0 for row in stored["rows"])
        return
    if path.stem.startswith("mirror"):
        assert {row["network"] for row in stored["rows"]} == {"laptop", "paper"}
        assert all(row["cost"] == np.median(row["costs"]) > 0 for row in stored["rows"])
        assert all(row["weights"] < row["weights_without"] for row in stored["rows"])
        return
    if path.stem.startswith("bits"):
        assert all(row["difference"] == 0 for row in stored["rows"] if row["change"] in ("again", "together"))
        assert any(row["difference"] > 0 for row in stored["rows"])
        return
    if path.stem.startswith("engines"):
        assert {row["T"] for row in stored["rows"]} == {0.56, 0.64}
        return
    if path.stem == "gpu_kernel_counts":
        assert "not run" in stored["compiled_for"]
        assert all(row["ATOM"] == row["RED"] == 0 for row in stored["rows"])
        assert all(
            row["registers"] <= 168 and row["spilled_bytes"] < 256 for row in stored["rows"] if row["kernel"] == "ptx"
        )
        return
    if path.stem.startswith("audit"):
        for row in stored["rows"]:
            worst = max(row[column] for column in ("forward", "dx", "dy", "dw", "second"))
            assert (worst < 1e-14) != ("cast" in row["implementation"]), row
        return
    if path.stem.startswith("decoders"):
        assert {row["decoder"] for row in stored["rows"]} == set(DECODERS)
        assert next(row["cost"] for row in stored["rows"] if row["decoder"] == "linear") == 1
        return
    if path.stem.startswith("forces"):
        assert [row["l_max"] for row in stored["rows"]] == [1, 2, 3]
        assert all(row["times faster"] == np.median(row["ratios"]) > 1 for row in stored["rows"])
        assert all(row["apart"] < 1e-5 for row in stored["rows"])
        return
    sizes = {row["N"] for row in stored["rows"]}
    if path.stem.startswith("gpu_counts"):
        assert sizes == {1000, 4096}
        assert all(0 < row["minimum"]["largest force"] < 1e-5 for row in stored["rows"])
        for loop in ("loop over pairs", "loop over candidates"):
            then, now = (stored[f"instructions, {name}"]["advance float32"][loop] for name in ("845c5e4", "now"))
            assert now["instructions"] < then["instructions"]
        return
    if path.stem.startswith("gpu_layer"):
        assert all(row["error"] < 1e-5 and row["same_bits"] for row in stored["rows"])
        return
    if path.stem.startswith("simulate"):
        assert sizes == {1000, 4096}
        assert all(row["particle-steps/s"] > 0 for row in stored["rows"])
        return
    if path.stem.startswith("predict"):
        for row in stored["rows"]:
            assert row["N"] == 27 * 4096, row
            assert row["relative_difference"] < 1e-5, row
            assert row["blocks_GB"] < min(3, row["whole_GB"]), row
        return
    if path.stem.startswith("reading"):
        assert sizes == {4096}
        assert {row["format"] for row in stored["rows"]} == set(bench_reading.FORMATS)
        assert all(0 < row["least_s"] <= row["median_s"] for row in stored["rows"])
        return
    if path.stem.startswith("streaming"):
        assert sizes == {4096}
        assert len({row["train_loss"] for row in stored["rows"]}) == 1, "whoever makes the graphs"
        held, *others = (row["process_GB"] for row in stored["rows"])
        assert max(others) < held
        return
    if path.stem.startswith("versions"):
        assert stored["other_revision"] != stored["card"]["git_revision"]
        assert stored["ratio"] == np.median([row["ratio"] for row in stored["rows"]])
        assert all(row["ratio"] == row["other_s"] / row["step_s"] for row in stored["rows"])
        return
    if path.stem.startswith("layer_cpu"):
        fair = {row["N"]: row for row in stored["rows"] if row["layer"] == "e3nn, memory kept"}
        assert set(fair) == sizes
        for row in stored["rows"]:
            of = fair[row["N"]]["forward_s"] / row["forward_s"]
            assert row["forward_times_faster_than_e3nn"] == pytest.approx(of), "over e3nn at its fairest"
    expected = {"steps": {1000}, "layer_nvidia-h200": {4096}, "step_nvidia-h200": {4096}}
    assert sizes == expected.get(path.stem.removesuffix("_cpu"), {1000, 4096})
    assert all("note" in row or row.get("forward_s") or row.get("step_s") for row in stored["rows"])


@pytest.mark.parametrize("path", sorted((FOLDER / "results").glob("engines_*.json")), ids=lambda p: p.stem)
def test_engines_sample_the_same_dynamics(path):
    """Differences in units of their errors: about 1 on average, no point far out. One run is one sample, points of a
    curve are not, so the root mean square over a curve may reach 2."""
    stored = json.loads(path.read_text())
    curves = [row for row in stored["rows"] if "largest" in row]
    assert len(curves) == 6
    for row in curves:
        assert row["rms of difference / error"] < 2, row
        assert row["largest"] < 4, row
    for row in stored["rows"]:
        if "across engines" in row:
            assert abs(row["across engines"] - row["within one"]) < 0.05, row


def test_the_sweep_of_body_order_quotes_what_is_stored():
    """Costs and parameters in its comments; the networks measured are those of the sweeps."""
    rows = json.loads((FOLDER / "results" / "body_cpu.json").read_text())["rows"]
    told, found = bench_body.comments(rows)
    assert told == found
    configs = bench_body.networks(len(gl.load("standard", T=0.56, split="train")[0].times))
    assert {row["network"] for row in rows} == set(configs)
    for row in rows[::4]:  # a network takes half a second to make
        config = configs[row["network"]]
        assert bench_body.sizes_of(config) == {name: row[name] for name in bench_body.SIZES}
        assert gl.SE3GNN(config).count_parameters() == row["parts"]


def test_a_cost_is_that_of_a_step_over_the_laptop_network_s(monkeypatch):
    sizes = {"layers": 1, "channels": 2, "l_max": 1, "n_times": 2, "inputs": bench_body.INPUTS}
    few = {"laptop": gl.ModelConfig(**sizes), "other": gl.ModelConfig(**sizes, products=2)}
    monkeypatch.setattr(bench_body, "networks", lambda n_times: few)
    rows = bench_body.measure(1, gl.testing.random_liquid(100, n_times=2), 2)
    assert [row["network"] for row in rows] == list(few)
    assert next(row for row in rows if row["network"] == "laptop")["cost"] == 1
    assert all(row["parameters"] == sum(row["parts"].values()) for row in rows)


def test_networks_with_and_without_mirror_images_take_their_steps_in_turns():
    rows = bench_mirror.measure(
        2, gl.testing.random_liquid(100, n_times=2), {"small": partial(gl.ModelConfig, layers=2, channels=2, l_max=1)}
    )
    assert [row["network"] for row in rows] == ["small"]
    assert rows[0]["weights"] < rows[0]["weights_without"]
    assert len(rows[0]["costs"]) == 2


def test_running_and_changelog_quote_what_is_stored():
    stored = {
        name: json.loads((FOLDER / f"results/{name}.json").read_text())
        for name in (
            "layer_cpu",
            "step_cpu",
            "versions_cpu",
            "versions_cpu-avx2",
            "layer_nvidia-h200",
            "step_nvidia-h200",
        )
    }
    running, changelog = (" ".join((ROOT / f"{name}.md").read_text().split()) for name in ("book/running", "CHANGELOG"))

    def both(name, layer):
        (row,) = (r for r in stored[name]["rows"] if r["layer"] == layer and r["N"] == 4096)
        return row["forward_s"] + row["backward_s"]

    ours = both("layer_cpu", "glasslit")
    fair, plain = (f"{both('layer_cpu', name) / ours:.0f}" for name in ("e3nn, memory kept", "e3nn"))
    first, gpu = stored["layer_cpu"]["first_use_s"], stored["step_nvidia-h200"]["recorded"][0]
    (step,) = (r for r in stored["step_cpu"]["rows"] if r["network"] == "SE3GNN" and r["N"] == 4096)
    on_h200 = both("layer_nvidia-h200", "e3nn") / both("layer_nvidia-h200", "glasslit")
    for sentence in (
        f"{first['laptop']:.1f} s for the laptop preset, {first['paper']:.1f} s for the paper's network",
        f"are {fair} times as fast as e3nn's, where e3nn's process keeps its memory, and {plain} times where it does",
        f"A training step takes {step['step_s']:.1f} s",
        f"a layer was {on_h200:.0f} times as fast as e3nn's",
        f"training step took {1e3 * gpu['step_s']:.0f} ms, {1e3 * gpu['step_in_cuda_graph_s']:.1f} as one CUDA graph",
    ):
        assert sentence in running
    wide, narrow = (1 / stored[f"versions_cpu{which}"]["ratio"] for which in ("", "-avx2"))
    assert f"takes {wide:.2f} (AVX-512) and {narrow:.2f} (AVX2) of its time before" in changelog
    assert f"{fair} times (forward and backward of a hidden layer). The ratio over e3nn as it is, {plain}," in changelog
