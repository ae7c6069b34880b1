"""``contract_scatter`` on an NVIDIA GPU: programs in PTX, compiled by the driver. See :mod:`.programs` for how.

It has never yet run on a GPU, and so "auto" does not take it: ask for ``kernel="ptx"``. What it should gain over
:mod:`glasslit.equivariance.kernels.gpu`, Triton's, is predicted in ``benchmarks/results/gpu_kernel_counts.json``.

Nothing is computed on the host and nothing read back to it, so a training step can be captured as a CUDA graph (after
a first step, which compiles). Bitwise repeatable. Inside ``emulated()`` the same programs run in NumPy on the CPU,
slowly: that is how they are tested where there is no GPU.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from . import driver, emulator, reference
from .autograd import Contract
from .coupling import Coupling
from .gradients import Backward, Harmonics
from .packing import Packing, packing, table
from .plan import Plan, RadialWeights, Weights, dense
from .programs import Forward, gather
from .ptx import TARGET, VERSION, WARP, Writer

L_MAX = 4
"""Highest degree compiled: sums over edges stay in registers."""
EDGE_BY_EDGE = ["sender", "receiver", "h", "Y", "w", "weight"]
POINTERS = {
    "forward": ["rows", "ends", "h", "Y", "w", "weight"],
    "backward": [*EDGE_BY_EDGE, "given", "dw", "dweight"],
    "harmonics": [*EDGE_BY_EDGE, "dY"],
    "gather": ["rows", "edges", "columns", "given", "dh"],
}
"""Names of each program's arguments that are tensors, in order; sums over neighbors, or their gradients, follow."""
INTEGERS = ["n_nodes", "n_edges"]
_on_the_cpu = False


@contextmanager
def emulated() -> Iterator[None]:
    """Let tensors on the CPU be taken, by the emulator."""
    global _on_the_cpu
    before, _on_the_cpu = _on_the_cpu, True
    try:
        yield
    finally:
        _on_the_cpu = before


def unavailable(h: Tensor, coupling: Coupling) -> str | None:
    """Why this kernel cannot take these tensors, or None if it can."""
    if h.device.type != "cuda" and not (_on_the_cpu and h.device.type == "cpu"):
        return f"tensors are on {h.device.type}"
    if type(h) not in (Tensor, torch.nn.Parameter):
        return f"{type(h).__name__} has no numbers in memory"
    if h.dtype not in (torch.float32, torch.float64):
        return f"{h.dtype} is neither float32 nor float64"
    if coupling.l_max > L_MAX:
        return f"l_max {coupling.l_max} is above {L_MAX}"
    return _fails_on(h.device) if h.device.type == "cuda" else None


@cache
def _fails_on(device: torch.device) -> str | None:
    """Compile and run a small problem once; what is wrong if that fails or gives other numbers than the reference."""
    if torch.version.hip:
        return "an AMD GPU does not know PTX"
    try:
        major, minor = torch.cuda.get_device_capability(device)
        if (major, minor) < TARGET:
            return f"compute capability {major}.{minor} is below {TARGET[0]}.{TARGET[1]}"
        error = error_of_a_small_problem(device)
    except (OSError, RuntimeError, AssertionError) as problem:
        return str(problem)
    if error < 1e-4:
        return None
    logging.getLogger("glasslit.kernels").warning(
        "the GPU kernel's results differ from the reference's by %.1e; it is not used. Please report this.", error
    )
    return f"its results differ from the reference's by {error:.1e} on this GPU"


def error_of_a_small_problem(device: torch.device) -> float:
    """Largest relative difference, in single precision, to the reference in double: sums, and gradients but of Y."""
    generator = torch.Generator().manual_seed(0)
    coupling, receiver = Coupling("8x0e+2x1e", 1), torch.arange(6).repeat_interleave(5)
    shapes = [(6, coupling.dim_in), (30, 4), (30, 3), (coupling.n_weights, 3), (coupling.n_weights,)]
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
        sender = torch.randint(6, receiver.shape, generator=generator)
        inputs = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
        plan = Plan(
            sender.to(device), receiver.to(device), torch.arange(0, 31, 5).to(device), None, torch.arange(6).to(device)
        )
        with torch.enable_grad():
            exact = [value.double().requires_grad_() for value in inputs]
            expected = reference.contract(exact[0], exact[1], RadialWeights(*exact[2:]), plan, coupling)
            changes = torch.autograd.grad([block.square().sum() for block in expected], [exact[0], *exact[2:]])
        h, Y, x, weight, bias = inputs
        blocks = forward(h, Y, x, weight, bias, plan, coupling)
        upstream = tuple(2 * block.detach().float() for block in expected)
        found = backward(upstream, h, Y, x, weight, bias, plan, coupling, (True, False, True, True, True))
        ours = [*blocks, *(change for change in found if change is not None)]
        pairs = zip(ours, [*expected, *changes], strict=True)
        return max(float(((a - b).abs().max() / b.abs().max()).detach()) for a, b in pairs)


def pointers(packed: Packing, function: str) -> list[str]:
    """Names of a program's arguments that are tensors, in order."""
    outs = [f"out{o}" for o in range(packed.coupling.l_max + 1)] if function != "gather" else []
    return POINTERS[function] + outs


def write(machine: Any, packed: Packing, function: str) -> None:
    """One of the programs, on a machine: a writer or an emulator."""
    if function == "gather":
        gather(machine, packed)
        return
    program = {"forward": Forward, "backward": Backward, "harmonics": Harmonics}[function]
    for share in packed.shares(function):
        low, high = machine.less(share.first - 1, machine.block_y), share.first + share.blocks
        for _ in machine.when(machine.both(low, machine.less(machine.block_y, high))):
            program(machine, packed, share).run()


def text(packed: Packing, function: str, double: bool) -> str:
    """One program in PTX."""
    writer = Writer(function, pointers(packed, function), INTEGERS, double)
    write(writer, packed, function)
    return VERSION + writer.text()


@lru_cache(maxsize=256)
def compiled(packed: Packing, function: str, double: bool, device: torch.device) -> Any:
    """One program in a GPU's machine code."""
    return driver.load(text(packed, function, double), function, device)


def run(packed: Packing, function: str, n_nodes: int, n_edges: int, tensors: dict[str, Tensor | None]) -> None:
    """Launch one program."""
    grid = packed.grid(function, n_nodes, n_edges)
    if 0 in grid:
        return
    names = pointers(packed, function)
    first = next(value for value in tensors.values() if value is not None and value.is_floating_point())
    device, double = first.device, first.dtype == torch.float64
    if device.type == "cpu":
        given = {name: first[:0] if (value := tensors.get(name)) is None else value for name in names}
        sizes = dict(zip(INTEGERS, (n_nodes, n_edges), strict=True))
        emulator.emulate(lambda machine: write(machine, packed, function), grid, given, sizes, double)
        return
    places = [0 if (value := tensors.get(name)) is None else value.data_ptr() for name in names]
    driver.launch(compiled(packed, function, double, device), grid, WARP, places, [n_nodes, n_edges], device)


def contract(h: Tensor, Y: Tensor, weights: Weights, plan: Plan, coupling: Coupling) -> tuple[Tensor, ...]:
    """See :func:`glasslit.equivariance.kernels.contract`."""
    if not isinstance(weights, Tensor) and not packing(coupling, weights.x.shape[1]).fits(h.dtype == torch.float64):
        weights = dense(weights)
    parts = (weights, None, None) if isinstance(weights, Tensor) else weights
    return Contract.apply(h, Y, *parts, plan, coupling, sys.modules[__name__])


def forward(
    h: Tensor, Y: Tensor, w: Tensor, weight: Tensor | None, bias: Tensor | None, plan: Plan, coupling: Coupling
) -> tuple[Tensor, ...]:
    """The sums over neighbors, by degree; ``w`` are the weights, or the x of ReLU(x weight^T + bias)."""
    packed = packing(coupling, 0 if weight is None else weight.shape[1])
    blocks = tuple(h.new_empty(len(h), 2 * o + 1, width) for o, width in enumerate(coupling.widths))
    tensors = _prepare(packed, h, Y, w, weight, bias) | {"rows": plan.rows, "ends": plan.sender}
    run(packed, "forward", len(h), len(Y), tensors | {f"out{o}": block for o, block in enumerate(blocks)})
    return blocks


def backward(
    upstream: tuple[Tensor, ...],
    h: Tensor,
    Y: Tensor,
    w: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    plan: Plan,
    coupling: Coupling,
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients with respect to h, Y, w, weight and bias; None where there is none or none is needed."""
    packed, sizes = packing(coupling, 0 if weight is None else weight.shape[1]), (len(h), len(Y))
    tensors = _prepare(packed, h, Y, w, weight, bias) | {"sender": plan.sender, "receiver": plan.receiver}
    tensors |= {f"out{o}": _aligned(block) for o, block in enumerate(upstream)}
    dh = dY = dw = dweight = dbias = None
    if any(needed[k] for k in (0, 2, 3, 4)):
        given = h.new_empty(len(Y), packed.row)
        columns, rows = packed.grid("backward", *sizes)
        results: dict[str, Tensor | None] = {"given": given}
        if weight is None:
            results["dw"] = dw = torch.empty_like(w, memory_format=torch.contiguous_format)
        else:
            parts = h.new_empty(rows, len(Y), packed.hidden_padded)
            maps = h.new_empty(columns, (packed.hidden_padded + 1) * packed.weights_padded)
            results |= {"dw": parts, "dweight": maps}
        run(packed, "backward", *sizes, tensors | results)
        dh = _gather(packed, given, plan, h)
        if weight is not None:
            dw = parts.sum(0)[:, : packed.hidden]
            both = maps.sum(0).index_select(0, table(packed, "gradient", h.device))
            dweight, dbias = both[: weight.numel()].view_as(weight), both[weight.numel() :]
    if needed[1]:
        dY = h.new_empty(packed.grid("harmonics", *sizes)[1], *Y.shape)
        run(packed, "harmonics", *sizes, tensors | {"dY": dY})
        dY = dY.sum(0)
    return dh, dY, dw, dweight, dbias


def _gather(packed: Packing, given: Tensor, plan: Plan, h: Tensor) -> Tensor:
    """Sum over the edges that leave each node."""
    dh = torch.empty_like(h, memory_format=torch.contiguous_format)
    edges: dict[str, Tensor | None] = {
        "rows": plan.leaving_rows,
        "edges": plan.leaving,
        "columns": table(packed, "columns", h.device),
    }
    run(packed, "gather", len(h), len(given), {"given": given, "dh": dh, **edges})
    return dh


def _prepare(
    packed: Packing, h: Tensor, Y: Tensor, w: Tensor, weight: Tensor | None, bias: Tensor | None
) -> dict[str, Tensor | None]:
    """The inputs as the programs read them: contiguous, padded, at multiples of 16 bytes."""
    features = h.detach().index_select(1, table(packed, "features", h.device))
    tensors: dict[str, Tensor | None] = {"h": features, "Y": _aligned(Y.detach())}
    if weight is None or bias is None:
        return tensors | {"w": _aligned(w.detach())}
    if packed.hidden_padded > packed.hidden:
        w = torch.nn.functional.pad(w, (0, packed.hidden_padded - packed.hidden))
    flat = torch.cat([weight.detach().reshape(-1), bias.detach(), h.new_zeros(1)])
    return tensors | {"w": _aligned(w.detach()), "weight": flat.index_select(0, table(packed, "map", h.device))}


def _aligned(tensor: Tensor) -> Tensor:
    """Contiguous, and beginning at a multiple of 16 bytes; a copy only where it is not."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()
