"""Five ways to the same sums (steps.py), forward, for the chapter "Making it fast".

python benchmarks/bench_steps.py [--size 1000]
"""

from __future__ import annotations

import argparse
import time

import steps
from bench_layer import COUPLING, problem
from common import machine, peak_memory, save, seconds, table

from glasslit.equivariance.kernels.plan import RadialWeights, dense, plan_of
from glasslit.provenance import data_hash


def five_steps(n: int) -> list[dict]:
    """The chapter's five ways; the loops are timed on twenty edges and multiplied up."""
    _, graph, Y, inputs = problem(n, "cpu")
    plan = plan_of(graph, n)
    weights = dense(RadialWeights(inputs["x"], inputs["weight"], inputs["bias"])).detach()
    h = inputs["h"].detach()
    expected = steps.compiled(h, Y, weights, plan, COUPLING)
    rows = []
    for name in ("loops", "by_path", "e3nn", "in_blocks", "compiled"):
        function = getattr(steps, name)
        if name == "loops":
            few, begun = 20, time.perf_counter()
            function(h, Y, weights, plan, COUPLING, n_edges=few)
            taken = (time.perf_counter() - begun) / few * graph.num_edges
            rows.append({"step": name, "N": n, "edges": graph.num_edges, "forward_s": taken, "peak_bytes": None})
            continue
        ours = function(h, Y, weights, plan, COUPLING)
        for a, b in zip(ours, expected, strict=True):
            assert float((a - b).abs().max() / b.abs().max()) < 1e-5, name
        taken = seconds(lambda f=function: f(h, Y, weights, plan, COUPLING), "cpu", repeats=5)
        peak = peak_memory(lambda f=function: f(h, Y, weights, plan, COUPLING), "cpu")[0]
        rows.append({"step": name, "N": n, "edges": graph.num_edges, "forward_s": taken, "peak_bytes": peak})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000)
    chosen = parser.parse_args()
    begun = time.perf_counter()
    print(machine())
    rows = five_steps(chosen.size)
    print(table(rows, ["step", "N", "edges", "forward_s", "peak_bytes"]))
    path = save(
        "steps",
        "cpu",
        {
            "settings": vars(chosen),
            "data": data_hash([problem(chosen.size, "cpu")[0].hash()]),
            "seconds": time.perf_counter() - begun,
            "rows": rows,
        },
    )
    print(f"written: {path}")
