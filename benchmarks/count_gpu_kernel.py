"""The GPU kernel counted without a GPU: registers, instructions, bytes, time to compile, and a prediction from them.

    python benchmarks/count_gpu_kernel.py [--nodes 4096] [--edges 166776]

Programs are compiled for compute capability 9.0 by the assembler in Triton's wheel, and not run. Beside them the
package's second kernel, in Triton, whose times on an H200 are known (see ``KNOWN``). The prediction is called so: the
time in which that card could issue the instructions, or move the bytes to and from its memory, whichever is longer, and
that time multiplied by what the Triton kernel took beyond its own bound. Written to results/gpu_kernel_counts.json.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from common import RESULTS, table

from glasslit.equivariance.kernels import Coupling, gpu, ptx_gpu
from glasslit.equivariance.kernels.packing import EDGES, Packing
from glasslit.equivariance.kernels.ptx import WARP, Writer
from glasslit.equivariance.kernels.tritongen import shares
from glasslit.provenance import card, data_hash, write_json

COUPLINGS = {"first": Coupling("3x0e", 3), "hidden": Coupling("8x0e+8x1e+8x2e+8x3e+3x0e", 3)}
HIDDEN = 16
CARD = {"multiprocessors": 132, "issued_per_clock": 4, "clock_hz": 1.755e9, "bytes_per_s": 4.15e12}
"""An H200: four warp instructions a clock on each multiprocessor; clock by the data sheet, copy bandwidth measured."""
KNOWN = {"forward": 191.7e-6, "backward": 767.4e-6}
"""Seconds on an H200 of the Triton kernel's functions, all shares together, one hidden layer, N = 4096 (845c5e4)."""
OPERATIONS = ("FFMA", "FMUL", "FADD", "LDG", "STG", "LDS", "STS", "LDL", "STL", "SHFL", "ATOM", "RED")


def cpu_seconds() -> float:
    """Of this process and those it waited for: what compiling costs, whatever else the machine does."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def tool(name: str) -> str:
    import triton

    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name)


def told(cubin: Path) -> dict:
    """Registers, memory and instructions of a compiled program."""
    used = subprocess.run([tool("cuobjdump"), "-res-usage", str(cubin)], capture_output=True, text=True).stdout
    code = subprocess.run([tool("cuobjdump"), "-sass", str(cubin)], capture_output=True, text=True).stdout
    names = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)", code)
    found = Counter(names)
    number = {key: int(re.search(rf"{key}:(\d+)", used).group(1)) for key in ("REG", "STACK", "SHARED")}
    return {
        "registers": number["REG"],
        "stack_bytes": number["STACK"],
        "shared_bytes": number["SHARED"],
        "instructions": len(names),
        **{name: found[name] for name in OPERATIONS},
    }


def in_ptx(coupling: Coupling, function: str, folder: Path) -> dict:
    """One of the package's programs."""
    begun = cpu_seconds()
    text = ptx_gpu.text(Packing(coupling, HIDDEN), function, double=False)
    written = cpu_seconds() - begun
    source, cubin = folder / f"{function}.ptx", folder / f"{function}{coupling.dim_in}.cubin"
    source.write_text(text)
    begun = cpu_seconds()
    command = [tool("ptxas"), "-v", "-arch=sm_90", str(source), "-o", str(cubin)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    taken = cpu_seconds() - begun
    spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill", said))
    return {"write_cpu_s": written, "compile_cpu_s": taken, "spilled_bytes": spilled, **told(cubin)}


def in_triton(coupling: Coupling, function: str, share: int, folder: Path) -> dict:
    """One function of the Triton kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    channels = 1 << (max(mul for mul, _ in coupling.slots) - 1).bit_length()
    code = gpu.compiled(coupling, function, share)
    names = code.arg_names
    kinds = {n: "*i64" if n in ("rows", "edges", "ends") else "*fp32" for n in names}
    kinds |= {"EDGES": "constexpr", "CHANNELS": "constexpr"}
    given = {(names.index("EDGES"),): WARP // channels, (names.index("CHANNELS"),): channels}
    aligned = {(n,): [["tt.divisibility", 16]] for n, name in enumerate(names) if kinds[name] != "constexpr"}
    begun = cpu_seconds()
    done = triton.compile(
        ASTSource(fn=code, signature=kinds, constexprs=given, attrs=aligned),
        target=GPUTarget("cuda", 90, WARP),
        options={"num_warps": 1, "enable_fp_fusion": True},
    )
    taken = cpu_seconds() - begun
    (folder / "triton.cubin").write_bytes(done.asm["cubin"])
    return {"compile_cpu_s": taken, **told(folder / "triton.cubin")}


class Lines(list):
    """A program's lines; counts how often each is run in one step of the loop over edges."""

    def __init__(self) -> None:
        super().__init__()
        self.in_step, self.times, self.found = False, 1, Counter()

    def append(self, line: str) -> None:
        word = line.split(" ")[1] if line.startswith("@") else line.split(" ")[0]
        if self.in_step and not word.startswith(("mov", "neg")) and not word.endswith(":"):  # those cost nothing
            kind = word.split(".")[0]
            self.found[".".join(word.split(".")[:2]) if kind in ("ld", "st") else kind] += self.times
        super().append(line)

    def __iadd__(self, lines):
        for line in lines:
            self.append(line)
        return self


class Counting(Writer):
    """Writes a share's program and counts what a warp does for one step: 16 or 32 edges."""

    def __init__(self, packed: Packing, function: str) -> None:
        super().__init__(function, ptx_gpu.pointers(packed, function), ptx_gpu.INTEGERS, double=False)
        self.lines = Lines()

    def loop(self, start, stop, step):
        inner = isinstance(start, int) and isinstance(stop, int)
        times = -(-(stop - start) // step) if inner else 1
        self.lines.times *= times
        before, self.lines.in_step = self.lines.in_step, True
        yield from super().loop(start, stop, step)
        self.lines.times //= times
        self.lines.in_step = before


def warp_instructions(packed: Packing, function: str, n_edges: int) -> Counter[str]:
    """What all warps do for all edges; forward, the threads of a node wait for its last edge: 13 % more steps."""
    total: Counter[str] = Counter()
    program = {"forward": ptx_gpu.Forward, "backward": ptx_gpu.Backward, "harmonics": ptx_gpu.Harmonics}[function]
    for share in packed.shares(function):
        machine = Counting(packed, function)
        program(machine, packed, share).run()
        steps = share.blocks * n_edges * share.quads / WARP * (1.13 if function == "forward" else 1.0)
        for kind, count in machine.lines.found.items():
            total[kind] += round(count * steps)
    return total


def moved_bytes(packed: Packing, n_nodes: int, n_edges: int) -> dict[str, int]:
    """To and from memory, each tensor once for each kernel that reads or writes it; what caches may save is saved."""
    coupling, hidden = packed.coupling, packed.hidden_padded
    result = sum((2 * o + 1) * width for o, width in enumerate(coupling.widths))
    edge_inputs = hidden + (coupling.l_max + 1) ** 2 + 4  # x, Y, two indices of eight bytes
    prepared = coupling.dim_in + packed.row  # h, and its padded copy
    n_shares, blocks = packed.grid("backward", n_nodes, n_edges)[1], -(-n_edges // EDGES)
    maps = (hidden + 1) * packed.weights_padded
    numbers = {
        "forward": n_nodes * (prepared + packed.row + result) + n_edges * edge_inputs,
        "backward": n_nodes * (prepared + packed.row + result)
        + n_edges * (edge_inputs + packed.row + n_shares * hidden)
        + blocks * maps,
        "gather": n_edges * (packed.row + 2) + n_nodes * coupling.dim_in,
        "sums": n_edges * (n_shares + 1) * hidden + blocks * maps,
    }
    return {name: 4 * value for name, value in numbers.items()}


def bound(instructions: float, n_bytes: float) -> float:
    """Seconds that the card needs at least."""
    issue = instructions / (CARD["issued_per_clock"] * CARD["multiprocessors"] * CARD["clock_hz"])
    return max(issue, n_bytes / CARD["bytes_per_s"])


def predict(n_nodes: int, n_edges: int, triton_rows: list[dict]) -> list[dict]:
    """Of one hidden layer; between the bound and the bound times what the Triton kernel took beyond its own."""
    packed, rows = Packing(COUPLINGS["hidden"], HIDDEN), []
    bytes_of = moved_bytes(packed, n_nodes, n_edges)
    for function in ("forward", "backward"):
        before = sum(r["instructions"] for r in triton_rows if r["function"].startswith(function)) * n_edges / 4 * 1.07
        beyond = KNOWN[function] / bound(before, 0)
        counted = warp_instructions(packed, function, n_edges)
        extra = sum(bytes_of[name] for name in ("gather", "sums")) if function == "backward" else 0
        least = bound(counted.total(), bytes_of[function]) + extra / CARD["bytes_per_s"]
        rows.append(
            {
                "function": function,
                "warp_instructions": counted.total(),
                "by_kind": dict(counted),
                "bytes": bytes_of[function] + extra,
                "bound_s": least,
                "triton_beyond_its_bound": beyond,
                "prediction_s": [least, least * beyond],
            }
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4096)
    parser.add_argument("--edges", type=int, default=166_776)
    chosen = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TRITON_CACHE_DIR"] = str(folder / "cache")
        rows, first_step = [], 0.0
        for label, coupling in COUPLINGS.items():
            for function in ("forward", "backward", "gather", "harmonics"):
                row = {"kernel": "ptx", "coupling": label, "function": function} | in_ptx(coupling, function, folder)
                first_step += (row["write_cpu_s"] + row["compile_cpu_s"]) * (function != "harmonics")
                rows.append(row)
        triton_first_step = of_harmonics = 0.0
        for label, coupling in COUPLINGS.items():
            for function in ("forward", "backward", "harmonics"):
                for share in range(len(shares(coupling, function))):
                    row = {"kernel": "triton", "coupling": label, "function": f"{function}{share}"}
                    rows.append(row | in_triton(coupling, function, share, folder))
                    triton_first_step += rows[-1]["compile_cpu_s"] * (function != "harmonics")
                    of_harmonics += rows[-1]["compile_cpu_s"] * (function == "harmonics")
        predicted = predict(
            chosen.nodes, chosen.edges, [r for r in rows if (r["kernel"], r["coupling"]) == ("triton", "hidden")]
        )
    columns = ["kernel", "coupling", "function", "compile_cpu_s", "registers", "spilled_bytes", "shared_bytes",
               "instructions", "FFMA", "LDG", "STG", "LDS", "SHFL"]  # fmt: skip
    print(table(rows, columns))
    print(f"first step, compiling, CPU time: {first_step:.2f} s; Triton {triton_first_step:.2f} s")
    print(f"gradient of Y for forces, compiling with Triton, CPU time: {of_harmonics:.2f} s")
    for row in predicted:
        low, high = (1e3 * value for value in row["prediction_s"])
        print(f"prediction, not measured: {row['function']} of a hidden layer {low:.3f} to {high:.3f} ms")
    seconds = time.perf_counter() - begun
    made = card(vars(chosen), data=data_hash([]), device="cpu", seed=0, seconds=seconds)
    content = {
        "card": made,
        "compiled_for": "compute capability 9.0; compiled by ptxas, not run on a GPU",
        "first_step_compile_cpu_s": {"ptx": first_step, "triton": triton_first_step},
        "harmonics_compile_cpu_s": {"triton": of_harmonics},
        "assumed_card": CARD,
        "rows": rows,
        "prediction": predicted,
    }
    write_json(RESULTS / "gpu_kernel_counts.json", content)
    print(f"written: {RESULTS / 'gpu_kernel_counts.json'}")
