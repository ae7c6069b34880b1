"""One hidden layer of the paper's network: the package beside every peer that is installed, in one process.

    python benchmarks/bench_layer.py [--sizes 1000 4096 16384] [--device cpu] [--instructions avx2]

Times are medians, with the least beside them, and processor time in user and system mode apart; forward alone (no
gradients), then backward; memory is the highest moment of forward and backward above what was held before. "of
roofline": how near to what this machine's measured arithmetic and bandwidth allow, for the work that has to be done
(common.work). e3nn stands there twice on a CPU: as it is, and, in a process of its own, with the memory kept that it
gives back (common.KEPT); "times faster" is over the second, its fairest. A peer that does not fit into the memory that
is free is left out.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path

import torch
from common import (
    INSTRUCTIONS,
    cap_instructions,
    first_use_seconds,
    in_kept_memory,
    machine,
    peak_memory,
    roofline,
    save,
    sync,
    table,
    timed,
    work,
)
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

    found = timed(forward, device, repeats).row("forward")
    times, upstream = backward_times(lambda: layer(h, Y, x, weight, bias), inputs, device, repeats)
    found |= times.row("backward")

    def both():
        blocks = layer(h, Y, x, weight, bias)
        torch.autograd.grad(blocks, list(inputs.values()), upstream)

    found["peak_bytes"] = peak_memory(both, device)[0]
    return found


def backward_times(forward, inputs, device: str, repeats: int):
    """(times of the backward pass alone, the upstream gradient that it began with)."""
    out = forward()
    upstream = [torch.randn_like(block) for block in out] if isinstance(out, tuple) else torch.randn_like(out)
    taken = timed(lambda: torch.autograd.grad(out, list(inputs.values()), upstream, retain_graph=True), device, repeats)
    return taken, upstream


def free_bytes(device: str) -> float:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * float(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except OSError:
        return float("inf")


def layers(n: int, names: list[str], device: str, roof: dict[str, float], keep: bool = True) -> list[dict]:
    _, graph, Y, inputs = problem(n, device)
    rows: list[dict] = []
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
        rows.append(row)
        print(table([row], COLUMNS).splitlines()[1], flush=True)
        gc.collect()
        if name == "e3nn" and device == "cpu" and keep and "forward_s" in row:
            (kept,) = in_kept_memory("bench_layer.py", ["--sizes", str(n), "--peers", "e3nn", "--device", "cpu"])
            rows.append(kept | {"layer": "e3nn, memory kept"})
            print(table(rows[-1:], COLUMNS).splitlines()[1], flush=True)
    found = {row["layer"]: row for row in rows if "forward_s" in row}
    reference = found.get("e3nn, memory kept", found.get("e3nn"))
    for row in rows:
        if reference and "forward_s" in row:
            for part in ("forward", "backward"):
                row[f"{part}_times_faster_than_e3nn"] = reference[f"{part}_s"] / row[f"{part}_s"]
    return rows


COLUMNS = [
    "layer", "N", "edges", "forward_least_s", "forward_s", "forward_user_s", "forward_system_s", "backward_least_s",
    "backward_s", "backward_user_s", "backward_system_s", "peak_bytes", "forward_times_faster_than_e3nn",
    "backward_times_faster_than_e3nn", "roofline_forward", "roofline_backward", "note",
]  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4096, 16384])
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--instructions", choices=INSTRUCTIONS, help="no others than these, as avx2 on a processor that has AVX-512"
    )
    parser.add_argument("--rows", type=Path, help="write the rows there and nothing else (for a process of its own)")
    chosen = parser.parse_args()
    cap_instructions(chosen.instructions)
    begun = time.perf_counter()
    roof = roofline(chosen.device)
    print(f"{machine()}: {roof['flops_per_s'] / 1e9:.0f} Gflop/s, {roof['bytes_per_s'] / 1e9:.1f} GB/s")
    rows = [row for n in chosen.sizes for row in layers(n, chosen.peers, chosen.device, roof, chosen.rows is None)]
    sync(chosen.device)
    print(table(rows, COLUMNS))
    if chosen.rows:
        chosen.rows.write_text(json.dumps(rows))
        raise SystemExit
    first_use = {"laptop": first_use_seconds(".laptop"), "paper": first_use_seconds("")}
    print("first step of a process, beyond what a step takes:", first_use)
    path = save(
        "layer",
        chosen.device,
        {
            "settings": {k: v for k, v in vars(chosen).items() if k != "rows"},
            "data": data_hash(problem(n, "cpu")[0].hash() for n in chosen.sizes),
            "seconds": time.perf_counter() - begun,
            "roofline": roof,
            "first_use_s": first_use,
            "rows": rows,
        },
    )
    print(f"written: {path}")
