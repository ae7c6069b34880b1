"""One training step (forward, backward, Adam) of the whole network, beside what a user would otherwise train.

    python benchmarks/bench_step.py [--sizes 1000 4096 16384] [--device cpu] [--cuda-graph]

With ``--cuda-graph`` each network has a second row, its step and its prediction recorded as CUDA graphs in the same
way; Adam is fused on a GPU for all. On a CPU each has a second row from a process that keeps the memory which it gave
back (common.KEPT), and "times faster" is over e3nn's product there. Medians, the least beside them. The reference is
the same network with e3nn's product. Where its messages do not fit into the free memory (26 kB an edge and layer), its
step is put together from the times of single layers, and the row says so.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path

import torch
from bench_layer import free_bytes
from common import INSTRUCTIONS, cap_instructions, in_kept_memory, machine, peak_memory, save, seconds, table, timed
from plain_gnn import BapstGNN, bapst_loss, botan_loss

import glasslit as gl
from glasslit.equivariance.convolution import SE3Convolution, bessel_basis
from glasslit.equivariance.so3 import spherical_harmonics
from glasslit.learning.capture import WARM_UP, Replayed, plainly
from glasslit.provenance import data_hash

REFERENCE_BYTES = 26_000  # of one layer, per edge
RECORDED = ", CUDA graph"
IN_KEPT = ", memory kept"


def liquid(n: int):
    return gl.testing.random_liquid(n, seed=0, density=1.27, n_times=10)


def step_of(net, backward, learning_rate: float, recorded: bool):
    """A training step: gradients by ``backward``, which is recorded if wanted, and Adam."""
    parameters = list(net.parameters())
    fused = True if parameters[0].device.type == "cuda" else None
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, fused=fused)
    run = Replayed() if recorded else plainly

    def gradients():
        optimizer.zero_grad()
        backward()
        return [p.grad for p in parameters]

    def step():
        for parameter, gradient in zip(parameters, run("step", gradients), strict=True):
            parameter.grad = gradient
        optimizer.step()

    return step


def free(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def se3_step(net, graph, recorded: bool = False):
    def backward():
        (net.standardized(graph) - net.standardize(graph)).square().sum(dim=1).mean().backward()

    return step_of(net, backward, 1e-3, recorded)


def gnn_step(net, graph, loss, recorded: bool = False):
    def backward():
        loss(net, graph).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)

    return step_of(net, backward, 1e-4, recorded)


def predicting(net, graph, recorded: bool = False):
    """One prediction, which leaves the network in training."""
    run = Replayed() if recorded else plainly

    def predict():
        net.eval()
        with torch.no_grad():
            run("prediction", lambda: net(graph))
        net.train()

    return predict


def reference_layers(graph, device: str, config: gl.ModelConfig) -> tuple[float, float]:
    """(prediction, training step) of the reference, from one first and one hidden layer, norms and decoder left out."""
    Y = spherical_harmonics(config.l_max, graph.vector)
    basis = bessel_basis(graph.vector.norm(dim=1), config.cutoff, config.n_basis)
    scalars, predict, train = "2x0e", 0.0, 0.0
    for kind, count in ((scalars, 1), (f"{gl.SE3GNN(config).irreps}+{scalars}", config.layers - 1)):
        layer = SE3Convolution(kind, config.channels, config.l_max, kernel="reference").to(device)
        h = torch.randn(graph.num_nodes, layer.coupling.dim_in, device=device, requires_grad=count > 1)

        def forward(layer=layer, h=h):
            with torch.no_grad():
                return layer(h, Y, basis, graph)

        def both(layer=layer, h=h):
            layer(h, Y, basis, graph).square().sum().backward()

        train += count * seconds(both, device, repeats=3)
        layer.eval()
        predict += count * seconds(forward, device, repeats=3)
        gc.collect()
    return predict, train


def rows_for(n: int, device: str, cuda_graph: bool = False) -> list[dict]:
    graph = gl.neighbor_graph(liquid(n)).to(device)
    graph.edge_y = torch.randn(graph.num_edges, device=device) * 0.1
    common = {"N": n, "edges": graph.num_edges}
    config, rows = gl.ModelConfig(inputs="thermal"), []

    def add(name: str, step, predict=None, repeats: int = 3, note: str = "") -> None:
        unrecorded = WARM_UP if name.endswith(RECORDED) else 0
        row = {"network": name, **common, **timed(step, device, repeats, 2 + unrecorded).row("step"), "note": note}
        row["predict_s"] = seconds(predict, device, repeats, 1 + unrecorded) if predict else None
        row["peak_bytes"], row["peak_process_bytes"] = peak_memory(step, device)
        if name.endswith(RECORDED):  # replays allocate nothing: what recordings keep
            row["peak_bytes"], row["peak_process_bytes"] = None, float(torch.cuda.memory_reserved())
        rows.append(row)
        print(table([row], COLUMNS).splitlines()[1], flush=True)

    def se3(name: str, kernel: str) -> None:
        if kernel == "auto" or config.layers * REFERENCE_BYTES * graph.num_edges < 0.8 * free_bytes(device):
            torch.manual_seed(0)
            net = gl.SE3GNN(gl.ModelConfig(inputs="thermal", kernel=kernel)).to(device)
            repeats = 7 if kernel == "auto" else 3
            for recorded in (False, True)[: 1 + cuda_graph]:
                free(device)
                step, predict = se3_step(net, graph, recorded), predicting(net, graph, recorded)
                add(name + RECORDED * recorded, step, predict, repeats)
        elif 2 * REFERENCE_BYTES * graph.num_edges < free_bytes(device):
            alone, step = reference_layers(graph, device, config)
            note = "sum over single layers: all eight do not fit"
            rows.append({"network": name, **common, "step_s": step, "predict_s": alone, "note": note})
        else:
            rows.append({"network": name, **common, "note": "does not fit into the free memory"})
        gc.collect()

    se3("SE3GNN", "auto")  # first: the memory of the process is then its own
    for name, net, loss in (
        ("BOTAN-style", BapstGNN(edge_target=True), botan_loss),
        ("Bapst-style", BapstGNN(), bapst_loss),
    ):
        net = net.to(device)
        if 26_000 * graph.num_edges > free_bytes(device):
            rows.append({"network": name, **common, "note": "does not fit into the free memory"})
            continue

        for recorded in (False, True)[: 1 + cuda_graph]:
            free(device)
            step, predict = gnn_step(net, graph, loss, recorded), predicting(net, graph, recorded)
            add(name + RECORDED * recorded, step, predict)
        gc.collect()
    se3("SE3GNN, e3nn's product", "reference")
    return rows


def compare(rows: list[dict]) -> None:
    """Ratios, over e3nn's product at its fairest."""
    times = {row["network"]: row for row in rows}
    ours, product = times["SE3GNN"], "SE3GNN, e3nn's product"
    reference = times.get(product + IN_KEPT, times[product])
    for row in rows:
        for key in ("step", "predict"):
            if row.get(f"{key}_s") and reference.get(f"{key}_s"):
                row[f"{key}_times_faster_than_e3nn"] = reference[f"{key}_s"] / row[f"{key}_s"]
            if row.get(f"{key}_s"):
                row[f"{key}_relative_to_SE3GNN"] = row[f"{key}_s"] / ours[f"{key}_s"]


def with_kept_memory(n: int, device: str, cuda_graph: bool) -> list[dict]:
    """The rows of one size; on a CPU again in a process that keeps its memory."""
    rows = rows_for(n, device, cuda_graph)
    if device == "cpu":
        for row in in_kept_memory("bench_step.py", ["--sizes", str(n), "--device", "cpu"]):
            rows.append(row | {"network": row["network"] + IN_KEPT})
            print(table(rows[-1:], COLUMNS).splitlines()[1], flush=True)
    compare(rows)
    return rows


COLUMNS = [
    "network", "N", "edges", "step_least_s", "step_s", "step_user_s", "step_system_s",
    "predict_s", "peak_bytes", "peak_process_bytes",
    "step_times_faster_than_e3nn", "predict_times_faster_than_e3nn", "step_relative_to_SE3GNN", "note",
]  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4096, 16384])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cuda-graph", action="store_true", help="rows with recorded steps too; needs a GPU")
    parser.add_argument(
        "--instructions", choices=INSTRUCTIONS, help="no others than these, as avx2 on a processor that has AVX-512"
    )
    parser.add_argument("--rows", type=Path, help="write the rows there and nothing else (for a process of its own)")
    chosen = parser.parse_args()
    cap_instructions(chosen.instructions)
    if chosen.cuda_graph and chosen.device != "cuda":
        parser.error(f"--cuda-graph with --device {chosen.device}; expected cuda")
    assert sum(p.numel() for p in BapstGNN().parameters()) == 62_401  # as published
    begun = time.perf_counter()
    print(machine())
    measured = rows_for if chosen.rows else with_kept_memory
    rows = [row for n in chosen.sizes for row in measured(n, chosen.device, chosen.cuda_graph)]
    print(table(rows, COLUMNS))
    if chosen.rows:
        chosen.rows.write_text(json.dumps(rows))
        raise SystemExit
    path = save(
        "step",
        chosen.device,
        {
            "settings": {k: v for k, v in vars(chosen).items() if k != "rows"},
            "data": data_hash(liquid(n).hash() for n in chosen.sizes),
            "seconds": time.perf_counter() - begun,
            "rows": rows,
        },
    )
    print(f"written: {path}")
