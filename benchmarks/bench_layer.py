"""One hidden layer of the paper's network: the package beside every peer that is installed, in one process.

    python benchmarks/bench_layer.py [--sizes 1000 4096 16384] [--device cpu]

Times are medians; forward alone (no gradients), then backward; memory is the highest moment of forward and backward
above what was held before. "of roofline": how near to what this machine's measured arithmetic and bandwidth allow, for
the work that has to be done (common.work). A peer that does not fit into the memory that is free is left out.
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path

import torch
from common import machine, peak_memory, roofline, save, seconds, sync, table, work
from peers import PEERS, available

import glasslit as gl
from glasslit import so3
from glasslit.equivariance.kernels import Coupling
from glasslit.provenance import data_hash

COUPLING, HIDDEN = Coupling("8x0e+8x1e+8x2e+8x3e+3x0e", 3), 16
BYTES_PER_EDGE = {"e3nn": 26_000, "e3nn + torch.compile": 26_000, "cuEquivariance": 40_000}  # forward and backward


def problem(n: int, device: str):
    """A made-up liquid with the 40 neighbors of a real one, and random features."""
    configuration = gl.testing.random_liquid(n, seed=0, density=1.27)
    graph = gl.neighbor_graph(configuration).to(device)
    torch.manual_seed(0)
    inputs = {
        "h": torch.randn(n, COUPLING.dim_in),
        "x": torch.randn(graph.num_edges, HIDDEN),
        "weight": torch.randn(COUPLING.n_weights, HIDDEN) / HIDDEN**0.5,
        "bias": torch.randn(COUPLING.n_weights) * 0.1,
    }
    inputs = {name: value.to(device).requires_grad_() for name, value in inputs.items()}
    return configuration, graph, so3.spherical_harmonics(COUPLING.l_max, graph.vector), inputs


def measure(layer, inputs, Y, device: str, repeats: int) -> dict[str, float]:
    """Forward and backward times and memory."""
    h, x, weight, bias = inputs.values()

    def forward():
        with torch.no_grad():
            return layer(h, Y, x, weight, bias)

    found = {"forward_s": seconds(forward, device, repeats)}
    found["backward_s"], upstream = backward_seconds(lambda: layer(h, Y, x, weight, bias), inputs, device, repeats)

    def both():
        blocks = layer(h, Y, x, weight, bias)
        torch.autograd.grad(blocks, list(inputs.values()), upstream)

    found["peak_bytes"] = peak_memory(both, device)[0]
    return found


def backward_seconds(forward, inputs, device: str, repeats: int):
    """(time of the backward pass alone, the upstream gradient that it began with)."""
    out = forward()
    upstream = [torch.randn_like(block) for block in out] if isinstance(out, tuple) else torch.randn_like(out)
    taken = seconds(
        lambda: torch.autograd.grad(out, list(inputs.values()), upstream, retain_graph=True), device, repeats
    )
    return taken, upstream


def free_bytes(device: str) -> float:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * float(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except OSError:
        return float("inf")


def layers(n: int, names: list[str], device: str, roof: dict[str, float]) -> list[dict]:
    _, graph, Y, inputs = problem(n, device)
    rows, reference = [], None
    needed = work(COUPLING, n, graph.num_edges, HIDDEN)
    for name, layer in available(graph, COUPLING, device, names):
        row = {"layer": name, "N": n, "edges": graph.num_edges}
        if isinstance(layer, str):
            row["note"] = layer
        elif BYTES_PER_EDGE.get(name, 0) * graph.num_edges > free_bytes(device):
            row["note"] = "does not fit into the free memory"
        else:
            found = measure(layer, inputs, Y, device, repeats=3 if name != "glasslit" and device == "cpu" else 9)
            row |= found
            row["roofline_forward"] = needed["forward"].fraction(found["forward_s"], roof)
            row["roofline_backward"] = needed["backward"].fraction(found["backward_s"], roof)
            reference = found if name == "e3nn" else reference
        rows.append(row)
        print(table([row], COLUMNS).splitlines()[1], flush=True)
        gc.collect()
    for row in rows:
        if reference and "forward_s" in row:
            for part in ("forward", "backward"):
                row[f"{part}_times_faster_than_e3nn"] = reference[f"{part}_s"] / row[f"{part}_s"]
    return rows


COLUMNS = [
    "layer", "N", "edges", "forward_s", "backward_s", "peak_bytes", "forward_times_faster_than_e3nn",
    "backward_times_faster_than_e3nn", "roofline_forward", "roofline_backward", "note",
]  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4096, 16384])
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args()
    begun = time.perf_counter()
    roof = roofline(chosen.device)
    print(f"{machine()}: {roof['flops_per_s'] / 1e9:.0f} Gflop/s, {roof['bytes_per_s'] / 1e9:.1f} GB/s")
    rows = [row for n in chosen.sizes for row in layers(n, chosen.peers, chosen.device, roof)]
    sync(chosen.device)
    print(table(rows, COLUMNS))
    path = save(
        "layer",
        chosen.device,
        {
            "settings": vars(chosen),
            "data": data_hash(problem(n, "cpu")[0].hash() for n in chosen.sizes),
            "seconds": time.perf_counter() - begun,
            "roofline": roof,
            "rows": rows,
        },
    )
    print(f"written: {path}")
