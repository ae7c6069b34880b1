"""``contract_scatter`` in machine code made for this CPU and this coupling, on all of PyTorch's threads.

Bitwise repeatable, whatever the number of threads. How it computes is told in
:mod:`~glasslit.equivariance.kernels.codegen`.

Each process compiles anew what it uses: 0.2 s for the laptop preset, 0.4 s for the paper's network. Compiled
code is not kept on disk: reading it back safely would cost about as much, and stale machine code crashes.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from .autograd import Contract
from .coupling import Coupling, component_major
from .layout import Layout
from .plan import N_CHUNKS, Plan, Weights

L_MAX = 6
"""Highest degree compiled. Forward and backward compile in 0.4 s at l_max 3, 1.7 s at 4, 8 s at 5, 21 s at 6."""


@cache
def features() -> dict[str, bool]:
    """What instructions are used: those of this processor, but none that PyTorch was told not to use.

    ``ATEN_CPU_CAPABILITY=avx2`` in the environment, when PyTorch is first imported, caps both.
    """
    import llvmlite.binding as llvm

    found = dict(llvm.get_host_cpu_features())
    capability = torch.backends.cpu.get_cpu_capability()
    without = {"AVX2": ("avx512", "evex512", "avx10"), "DEFAULT": ("avx", "fma", "f16c", "vaes", "vpclmul", "evex512")}
    refused = without.get(capability, ()) if platform.machine().lower() in ("x86_64", "amd64") else ()
    return {name: there and not name.startswith(refused) for name, there in found.items()}


def target_machine() -> Any:
    """LLVM for this processor; a new one each time, for an engine owns its own.

    At its first level. The second one orders instructions once more after registers are chosen, which takes a third of
    the time that l_max 4 compiles and gains nothing: on a Zen 5 core all functions ran as fast without, to the same
    bits.
    """
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    flags = ",".join(f"{'+' if there else '-'}{name}" for name, there in sorted(features().items()))
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=flags, opt=1, codemodel="jitdefault"
    )


@cache
def compiled(layout: Layout, name: str) -> tuple[Any, Any]:
    """The engine that holds one function's code, and the function."""
    import llvmlite.binding as llvm

    from .codegen import generate

    machine = target_machine()
    with _without_collector():
        text = generate(layout, name)
    module = llvm.parse_assembly(text)
    module.verify()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine, ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address(name))


@contextmanager
def _without_collector() -> Iterator[None]:
    """So many new objects make Python's garbage collector look through all of PyTorch's, for three times as long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@lru_cache(maxsize=64)
def _layout(coupling: Coupling, dtype: torch.dtype, hidden: int) -> Layout:
    return Layout(coupling, dtype == torch.float64, hidden, wide=features().get("avx512f", False))


@cache
def _pool(process: int, n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="glasslit")


def run(layout: Layout, name: str, n_nodes: int, tensors: dict[str, Tensor | None]) -> None:
    """Call one function on all threads; each takes the next piece of work until none is left."""
    _, function = compiled(layout, name)
    counter = ctypes.c_int64(0)
    values = {"counter": ctypes.addressof(counter), "n_nodes": n_nodes, "n_chunks": N_CHUNKS}
    arguments = (ctypes.c_int64 * len(layout.arguments[name]))()
    for k, key in enumerate(layout.arguments[name]):
        tensor = tensors.get(key)
        arguments[k] = values[key] if key in values else 0 if tensor is None else tensor.data_ptr()
    address = ctypes.addressof(arguments)
    n_threads = torch.get_num_threads()
    held = (arguments, counter, tensors)  # by the workers too: they may outlive an interrupted caller
    others = [_pool(os.getpid(), n_threads).submit(_work, function, address, held) for _ in range(n_threads - 1)]
    function(address)
    for other in others:
        other.result()


def _work(function: Any, address: int, held: object) -> None:
    function(address)


def unavailable(h: Tensor, coupling: Coupling) -> str | None:
    """Why this kernel cannot take these tensors, or None if it can."""
    if h.device.type != "cpu":
        return f"tensors are on {h.device.type}"
    if h.dtype not in (torch.float32, torch.float64):
        return f"{h.dtype} is neither float32 nor float64"
    if coupling.l_max > L_MAX:
        return f"l_max {coupling.l_max} is above {L_MAX}"
    return _no_llvm()


@cache
def _no_llvm() -> str | None:
    try:
        target_machine()
    except (ImportError, RuntimeError, OSError) as error:
        return f"llvmlite does not work here ({error})"
    return None


def contract(h: Tensor, Y: Tensor, weights: Weights, plan: Plan, coupling: Coupling) -> tuple[Tensor, ...]:
    """See :func:`glasslit.equivariance.kernels.contract`."""
    parts = (weights, None, None) if isinstance(weights, Tensor) else weights
    return Contract.apply(h, Y, *parts, plan, coupling, sys.modules[__name__])


def forward(
    h: Tensor, Y: Tensor, w: Tensor, weight: Tensor | None, bias: Tensor | None, plan: Plan, coupling: Coupling
) -> tuple[Tensor, ...]:
    """The sums over neighbors, by degree; ``w`` are the weights, or the x of ReLU(x weight^T + bias)."""
    layout = _layout(coupling, h.dtype, 0 if weight is None else weight.shape[1])
    blocks = tuple(h.new_empty(len(h), 2 * o + 1, width) for o, width in enumerate(coupling.widths))
    tensors = _prepare(layout, h, Y, w, weight, bias) | _entering(plan)
    run(layout, "forward", len(h), tensors | {f"out{o}": block for o, block in enumerate(blocks)})
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
    layout = _layout(coupling, h.dtype, 0 if weight is None else weight.shape[1])
    tensors = _prepare(layout, h, Y, w, weight, bias) | {f"out{o}": block for o, block in enumerate(upstream)}
    dh = dY = dw = dweight = dbias = None
    if any(needed[k] for k in (0, 2, 3, 4)):
        dw = torch.empty_like(tensors["w"])
        sums = plan.sums
        partial = h.new_empty(sums.n_rows, layout.dim_padded)
        results = {"dw": dw, "bases": sums.first, "sums": sums.of_edge, "partial": partial}
        if weight is not None:
            dweight = h.new_zeros(N_CHUNKS, layout.hidden_padded, layout.weights_padded)
            dbias = h.new_zeros(N_CHUNKS, layout.weights_padded)
            results |= {"dweight": dweight, "dbias": dbias}
        run(layout, "backward", len(h), tensors | results | _entering(plan))
        dh = h.new_empty(len(h), layout.dim_padded)
        run(layout, "collect", len(h), {"dh": dh, "table": sums.of_node, "partial": partial})
        dh = dh.index_select(1, component_major(coupling, h.device, inverse=True))
        if dweight is not None and dbias is not None:
            dw = dw[:, : layout.hidden]
            dweight = dweight.sum(0)[: layout.hidden, : coupling.n_weights].T
            dbias = dbias.sum(0)[: coupling.n_weights]
    if needed[1]:
        dY = torch.zeros_like(tensors["Y"])
        run(layout, "harmonics", len(h), tensors | {"dY": dY} | _entering(plan))
    return dh, dY, dw, dweight, dbias


def _entering(plan: Plan) -> dict[str, Tensor]:
    return {"walk": plan.walk, "rows": plan.rows, "edges": plan.entering, "ends": plan.sender}


def _prepare(
    layout: Layout, h: Tensor, Y: Tensor, w: Tensor, weight: Tensor | None, bias: Tensor | None
) -> dict[str, Any]:
    """The inputs as the machine code reads them: contiguous, padded, features component by component."""
    tensors = {
        "h": h.detach().index_select(1, component_major(layout.coupling, h.device)),
        "Y": Y.detach().contiguous(),
        "w": w.detach().contiguous(),
    }
    if weight is not None and bias is not None:
        extra = layout.hidden_padded - layout.hidden
        if extra:
            tensors["w"] = torch.nn.functional.pad(tensors["w"], (0, extra))
        padding = (0, extra, 0, layout.weights_padded - layout.coupling.n_weights)
        tensors["weight_t"] = torch.nn.functional.pad(weight.detach(), padding).contiguous()
        tensors["weight"] = tensors["weight_t"].T.contiguous()
        tensors["bias"] = torch.nn.functional.pad(bias.detach(), padding[2:])
    return tensors
