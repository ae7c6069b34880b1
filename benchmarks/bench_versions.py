"""A training step of the paper's network on a CPU, in this checkout and in another one of the package.

    git worktree add ../before 056e2d5
    python benchmarks/bench_versions.py ../before [--instructions avx2] [--pairs 7]

The two take turns, each in a process of its own, so that a machine whose speed drifts is unfair to neither; the ratio
is taken pair by pair. One process takes four steps and reports the least and the median. Where the other checkout's
kernel does not heed ``ATEN_CPU_CAPABILITY``, it is kept to the same instructions here, from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import INSTRUCTIONS, cap_instructions, save, table

import glasslit as gl
from glasslit.provenance import data_hash

STEPS = 4
CHILD = """
import json, os, statistics, sys, time
import torch
import glasslit as gl
from pathlib import Path
try:
    from glasslit.equivariance.kernels import cpu
except ImportError:
    from glasslit.kernels import cpu
assert Path(gl.__file__).resolve().is_relative_to(Path(sys.argv[1]).resolve()), gl.__file__
if os.environ.get("ATEN_CPU_CAPABILITY") == "avx2" and not hasattr(cpu, "features"):
    import llvmlite.binding as llvm

    def target_machine():
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features()
        for name in features:
            features[name] = features[name] and not name.startswith(("avx512", "evex512", "avx10"))
        target = llvm.Target.from_default_triple()
        return target.create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=2, codemodel="jitdefault"
        )

    cpu.target_machine = target_machine
torch.manual_seed(0)
graph = gl.neighbor_graph(gl.testing.random_liquid(int(sys.argv[2]), seed=0, density=1.27, n_times=10))
net = gl.SE3GNN(gl.ModelConfig(inputs="thermal"))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
taken = []
for number in range(int(sys.argv[3]) + 1):
    begun = time.perf_counter()
    optimizer.zero_grad()
    loss = net.loss(graph, net.standardized(graph))
    loss.backward()
    optimizer.step()
    taken.append(time.perf_counter() - begun)
print(json.dumps([min(taken[1:]), statistics.median(taken[1:]), float(loss)]))
"""


def once(checkout: Path, n: int) -> tuple[float, float, float]:
    """(least, median, last loss) of the steps of one process."""
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, "-c", CHILD, str(checkout), str(n), str(STEPS)]
    done = subprocess.run(command, env=environment, cwd=checkout, check=True, capture_output=True, text=True)
    least, median, loss = json.loads(done.stdout.splitlines()[-1])
    return least, median, loss


def revision(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="another checkout")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument(
        "--instructions", choices=INSTRUCTIONS, help="no others than these, as avx2 on a processor that has AVX-512"
    )
    chosen = parser.parse_args()
    cap_instructions(chosen.instructions)
    here, begun, rows = Path(__file__).parents[1], time.perf_counter(), []
    for pair in range(chosen.pairs + 1):
        others, ours = once(chosen.other, chosen.size), once(here, chosen.size)
        row = {"N": chosen.size, "step_s": ours[1], "other_s": others[1], "ratio": others[1] / ours[1]}
        row |= {"least_s": ours[0], "other_least_s": others[0], "least_ratio": others[0] / ours[0]}
        if pair:  # the first warms the disk
            rows.append(row)
            print(table([row], list(row)), flush=True)
    ratios = {key: statistics.median(row[key] for row in rows) for key in ("ratio", "least_ratio")}
    print("median of the ratios:", ratios)
    path = save(
        "versions",
        "cpu",
        {
            "settings": {"size": chosen.size, "pairs": chosen.pairs, "instructions": chosen.instructions},
            "data": data_hash([gl.testing.random_liquid(chosen.size, seed=0, density=1.27, n_times=10).hash()]),
            "seconds": time.perf_counter() - begun,
            "other_revision": revision(chosen.other),
            **ratios,
            "rows": rows,
        },
    )
    print(f"written: {path}")
