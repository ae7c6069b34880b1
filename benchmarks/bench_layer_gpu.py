"""One hidden layer on a GPU: both kernels, plain and as a CUDA graph, and the first call on a cold cache.

    python benchmarks/bench_layer_gpu.py [--nodes 4096] [--registers 128 144 168 200 255]

Weights come as in the network, from the 16 numbers an edge that the radial network hands over. Errors are relative to
the reference in double precision. The package's own kernel is timed with several limits of registers per thread: the
one in kernels/ptx.py was chosen from counts. Under two minutes; written to results/gpu_layer_<card>.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

if __name__ == "__main__":  # before PyTorch starts: empty caches for compiled programs
    folder = tempfile.TemporaryDirectory()
    os.environ |= {"CUDA_CACHE_PATH": folder.name + "/driver", "TRITON_CACHE_DIR": folder.name + "/triton"}

import torch
from bench_layer import COUPLING, problem
from common import machine, peak_memory, save, seconds, table

from glasslit.equivariance.kernels import KERNELS, RadialWeights, ptx, ptx_gpu
from glasslit.equivariance.kernels.plan import plan_of
from glasslit.provenance import data_hash


def layer(name: str, graph, Y, inputs):
    """The layer's sums by one kernel, as the network calls it."""
    h, x, weight, bias = inputs
    return KERNELS[name].contract(h, Y, RadialWeights(x, weight, bias), plan_of(graph, len(h)), COUPLING)


def step(name: str, graph, Y, inputs, upstream):
    """Forward and backward: the sums and the four gradients of a training step."""
    blocks = layer(name, graph, Y, inputs)
    return [block.detach() for block in blocks], torch.autograd.grad(blocks, inputs, upstream)


def errors(found, exact) -> list[float]:
    flat = [[*blocks, *gradients] for blocks, gradients in (found, exact)]
    return [float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(*flat, strict=True)]


def as_a_graph(function) -> float:
    """Seconds of one replay of a captured call."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        function()
    return seconds(captured.replay, "cuda", repeats=20, warmup=3)


def measure(name: str, graph, Y, inputs, upstream, exact) -> dict:
    """Everything about one kernel."""
    begun = time.perf_counter()
    found = step(name, graph, Y, inputs, upstream)
    torch.cuda.synchronize()
    row = {
        "kernel": name,
        "N": len(inputs[0]),
        "edges": graph.num_edges,
        "first_call_s": time.perf_counter() - begun,
        "error": max(errors(found, exact)),
    }
    with torch.no_grad():
        row["forward_s"] = seconds(lambda: layer(name, graph, Y, inputs), "cuda", repeats=20, warmup=3)
    row["both_s"] = seconds(lambda: step(name, graph, Y, inputs, upstream), "cuda", repeats=20, warmup=3)
    row["backward_s"] = row["both_s"] - row["forward_s"]
    row["graph_s"] = as_a_graph(lambda: step(name, graph, Y, inputs, upstream))
    row["peak_bytes"] = peak_memory(lambda: step(name, graph, Y, inputs, upstream), "cuda")[0]
    again = step(name, graph, Y, inputs, upstream)
    row["same_bits"] = all(
        torch.equal(a, b) for a, b in zip([*found[0], *found[1]], [*again[0], *again[1]], strict=True)
    )
    return row


def run(n: int, limits: list[int]) -> list[dict]:
    _, graph, Y, named = problem(n, "cuda")
    inputs = list(named.values())
    reason = ptx_gpu.unavailable(inputs[0], COUPLING)
    print("the package's own kernel:", reason or "checks itself and agrees with the reference")
    doubles = [value.detach().double().requires_grad_() for value in inputs]
    with torch.no_grad():
        shapes = [block.shape for block in layer("reference", graph, Y.double(), doubles)]
    upstream = [torch.randn(shape, device="cuda") for shape in shapes]
    exact = step("reference", graph, Y.double(), doubles, [value.double() for value in upstream])
    rows = []
    for limit in [] if reason else limits:
        ptx.REGISTERS = limit
        ptx_gpu.compiled.cache_clear()
        rows.append(measure("ptx", graph, Y, inputs, upstream, exact) | {"registers": limit})
        print(table(rows[-1:], COLUMNS).splitlines()[1], flush=True)
    rows.append(measure("gpu", graph, Y, inputs, upstream, exact))
    return rows


COLUMNS = ["kernel", "registers", "first_call_s", "forward_s", "backward_s", "both_s", "graph_s", "peak_bytes", "error",
           "same_bits"]  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4096)
    parser.add_argument("--registers", type=int, nargs="+", default=[ptx.REGISTERS, 128, 144, 200, 255])
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device; expected one: counts that need none are made by count_gpu_kernel.py")
    begun = time.perf_counter()
    print(machine())
    rows = run(chosen.nodes, chosen.registers)
    print(table(rows, COLUMNS))
    content = {
        "settings": vars(chosen),
        "data": data_hash([problem(chosen.nodes, "cpu")[0].hash()]),
        "seconds": time.perf_counter() - begun,
        "rows": rows,
    }
    print(f"written: {save('gpu_layer', 'cuda', content)}")
    folder.cleanup()
