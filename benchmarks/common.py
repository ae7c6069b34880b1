"""What the benchmarks share: timing, memory, the machine's roofline, and the count of the work."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from e3nn import get_optimization_defaults, set_optimization_defaults

from glasslit.equivariance.kernels import Coupling
from glasslit.equivariance.kernels.coupling import coefficients
from glasslit.provenance import card

RESULTS = Path(__file__).parent / "results"


@contextmanager
def e3nn_as_plain_pytorch() -> Iterator[None]:
    """e3nn's products made here are plain PyTorch, which torch.compile can take; afterwards e3nn is as it was before.

    Not e3nn.util.jit.disable_e3nn_codegen: e3nn 0.6.0 with PyTorch 2.10 or newer is in the mode "eager", and at its end
    that one sets ``jit_script_fx`` to True, which e3nn/__init__.py takes for the mode "script": all that the process
    makes later is TorchScript. It restores nothing at all after an error (e3nn 0.5.6 too).
    """
    before = get_optimization_defaults()
    set_optimization_defaults(jit_script_fx=False)
    try:
        yield
    finally:
        mode = {name: before.pop(name) for name in ("jit_mode",) if name in before}  # e3nn 0.5 has none
        set_optimization_defaults(**before, **mode)  # one after the other: jit_script_fx changes the mode


def sync(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class Times(NamedTuple):
    """Seconds of one call: least and median on the wall, and processor time in user and system mode, all threads.

    A median tells of the machine's other work, too; where system time is large, memory was asked for and given back.
    """

    least: float
    median: float
    user: float
    system: float

    def row(self, name: str) -> dict[str, float]:
        """As columns of a table of results."""
        return {f"{name}_s": self.median, f"{name}_least_s": self.least} | {
            f"{name}_{key}_s": getattr(self, key) for key in ("user", "system")
        }


def timed(function: Callable[[], Any], device: str, repeats: int = 5, warmup: int = 1) -> Times:
    """Times of one call; on a GPU by CUDA events, and the processor's time is that of the host."""
    for _ in range(warmup):
        function()
    sync(device)
    taken, before = [], os.times()
    for _ in range(repeats):
        if device == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            function()
            end.record()
            torch.cuda.synchronize()
            taken.append(begin.elapsed_time(end) / 1e3)
        else:
            begun = time.perf_counter()
            function()
            taken.append(time.perf_counter() - begun)
    after = os.times()
    user, system = ((getattr(after, key) - getattr(before, key)) / repeats for key in ("user", "system"))
    return Times(min(taken), statistics.median(taken), user, system)


def in_turns(steps: dict[str, Callable[[], Any]], rounds: int, skipped: int = 2) -> dict[str, list[float]]:
    """Processor time of each of several functions, called in turns, so that a slow minute is unfair to none.

    The first rounds, which compile kernels and make plans, are not among the ``rounds`` that are returned.
    """
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + skipped):
        for name, step in steps.items():
            begun = time.process_time()
            step()
            if number >= skipped:
                taken[name].append(time.process_time() - begun)
    return taken


def seconds(function: Callable[[], Any], device: str, repeats: int = 5, warmup: int = 1) -> float:
    """Median time of one call."""
    return timed(function, device, repeats, warmup).median


KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**34), "MALLOC_TRIM_THRESHOLD_": str(2**36)}
"""Environment in which glibc keeps the memory that a process gave back, however large, for its next use.

Without it a library that allocates gigabytes in each call has the kernel find and clear them each time, which can be
more than half of the call.
"""


def in_kept_memory(script: str, arguments: list[str]) -> list[dict[str, Any]]:
    """The rows that a benchmark writes with these arguments, in a process of its own that keeps its memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, str(Path(__file__).with_name(script)), *arguments, "--rows", str(path)]
        subprocess.run(command, env=os.environ | KEPT, check=True, stdout=subprocess.DEVNULL)
        return json.loads(path.read_text())


INSTRUCTIONS = ("default", "avx2", "avx512")
"""Sets of instructions that PyTorch can be kept to."""


def cap_instructions(name: str | None) -> None:
    """Start this script again with PyTorch, and the package, kept to a set of instructions, as "avx2"."""
    if name and os.environ.get("ATEN_CPU_CAPABILITY") != name:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"ATEN_CPU_CAPABILITY": name})
    used = torch.backends.cpu.get_cpu_capability()
    if name and used.lower() != name:
        raise SystemExit(f"--instructions {name}: this processor has not got them; PyTorch uses {used}")


def first_use_seconds(preset: str) -> float:
    """What the first training step of a process takes longer than its second, at 100 particles: compiling, mostly."""
    code = (
        "import time, torch, glasslit as gl\n"
        "torch.manual_seed(0)\n"
        "graph = gl.neighbor_graph(gl.testing.random_liquid(100, n_times=10), 1.9)\n"
        f"config = gl.ModelConfig{preset}(inputs='thermal', n_times=10, cutoff=1.9)\n"
        "net = gl.SE3GNN(config)\n"
        "def step():\n"
        "    begun = time.perf_counter()\n"
        "    net.loss(graph, net.standardized(graph)).backward()\n"
        "    return time.perf_counter() - begun\n"
        "first = step()\n"
        "print(first - min(step() for _ in range(3)))\n"
    )
    done = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(3)]
    return min(float(each.stdout.split()[-1]) for each in done)


def _status(field: str) -> float:
    """A field of /proc/self/status, in bytes; nan where there is none."""
    try:
        line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(field))
    except OSError:
        return float("nan")
    return 1024 * float(line.split()[1])


def peak_memory(function: Callable[[], Any], device: str) -> tuple[float, float]:
    """(above what was held before the call, of the whole process), bytes, at the highest moment of one call."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before, float(torch.cuda.max_memory_allocated())
    gc.collect()
    if hasattr(
        libc := ctypes.CDLL(None), "malloc_trim"
    ):  # glibc: give back what is free, or it would hide what is used
        libc.malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the high-water mark
    except OSError:
        return float("nan"), float("nan")
    before = _status("VmRSS")
    function()
    highest = _status("VmHWM")
    return highest - before, highest


def roofline(device: str) -> dict[str, float]:
    """Peak arithmetic (a large matrix product, float32) and bandwidth (a large copy) of this machine, now."""
    n = 8192 if device == "cuda" else 2048
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    copied = torch.empty(2**28 if device == "cuda" else 2**26, device=device)
    source = torch.ones_like(copied)
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    flops = 2 * n**3 / seconds(lambda: a @ b, device, repeats=9, warmup=2)
    torch.backends.cuda.matmul.allow_tf32 = allowed
    bandwidth = 2 * 4 * copied.numel() / seconds(lambda: copied.copy_(source), device, repeats=9, warmup=2)
    return {"flops_per_s": flops, "bytes_per_s": bandwidth}


@dataclass(frozen=True)
class Work:
    """What one layer has to compute and to move, at least."""

    flops: float
    bytes: float

    def fraction(self, taken: float, roof: dict[str, float]) -> float:
        """Of the speed that the machine's roofline allows for this work."""
        return max(self.flops / roof["flops_per_s"], self.bytes / roof["bytes_per_s"]) / taken


def work(coupling: Coupling, n_nodes: int, n_edges: int, hidden: int, stored_weights: bool = False) -> dict[str, Work]:
    """Multiply-adds counted as two; weights recomputed in the backward pass unless they are stored.

    Forward: the coefficients with Y (once per edge), K with the channels of h, times weights, and the weights from
    the hidden layer of the radial network. Backward with respect to h, weights and the radial network's last map.
    """
    pairs = terms = outputs = inputs = 0
    for slot, f, o in coupling.terms:
        mul, degree = coupling.slots[slot]
        values = coefficients(degree, f, o)
        terms += (values != 0).sum()
        pairs += (values != 0).any(axis=1).sum() * mul
        outputs += (2 * o + 1) * mul
        inputs += (2 * degree + 1) * mul
    radial = hidden * coupling.n_weights
    moved = hidden + (coupling.l_max + 1) ** 2 + 4  # per edge: x, Y, two indices of 8 bytes
    weights = coupling.n_weights if stored_weights else 0
    per_node = coupling.dim_in + sum((2 * o + 1) * w for o, w in enumerate(coupling.widths))
    return {
        "forward": Work(
            float(2 * n_edges * (terms + pairs + outputs + radial)),
            4.0 * (n_edges * (moved + 2 * weights) + n_nodes * per_node),
        ),
        "backward": Work(
            float(2 * n_edges * (terms + pairs + 2 * inputs + (2 if stored_weights else 3) * radial)),
            4.0 * (n_edges * (moved + hidden + 3 * weights) + n_nodes * (per_node + coupling.dim_in)),
        ),
    }


def save(name: str, device: str, content: dict[str, Any]) -> Path:
    """``results/<name>_<device>.json`` with a card of the machine."""
    made = card(content.pop("settings"), data=content.pop("data"), device=device, seed=0, seconds=content["seconds"])
    RESULTS.mkdir(exist_ok=True)
    if device == "cpu":
        capped = os.environ.get("ATEN_CPU_CAPABILITY")
        place = f"cpu-{capped}" if capped else "cpu"
    else:
        place = torch.cuda.get_device_name().lower().replace(" ", "-")
    path = RESULTS / f"{name}_{place}.json"
    of_machine = {"threads": torch.get_num_threads(), "instructions": torch.backends.cpu.get_cpu_capability()}
    path.write_text(json.dumps({"card": made, **of_machine, **content}, indent=1) + "\n")
    return path


def machine() -> str:
    """One line for the table's head."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def table(rows: list[dict[str, Any]], columns: list[str]) -> str:
    """Plain text, one line per row."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return "–" if value != value else f"{value:.3g}"
        return "–" if value is None else str(value)

    cells = [columns, *[[cell(row.get(c)) for c in columns] for row in rows]]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in cells)
