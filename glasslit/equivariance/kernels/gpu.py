"""``contract_scatter`` on a GPU, with Triton. See :mod:`.tritongen` for how it computes.

The weights of all edges are stored (187 MB a layer at paper size); messages are not. Triton keeps compiled code in
its own cache on disk. With ``TRITON_INTERPRET=1`` in the environment before Triton is first imported, the same source
runs on the CPU, slowly: that is how it is tested where there is no GPU.
"""

from __future__ import annotations

import linecache
import sys
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from .autograd import Contract
from .coupling import Coupling, component_major
from .plan import Plan, Weights, dense

L_MAX = 4
"""Highest degree compiled: sums over edges stay in registers."""
THREADS = 32
"""Of one program: one warp."""


@cache
def _triton() -> Any:
    """Triton and its language, or the reason why not, as text."""
    try:
        import triton
        import triton.language
    except ImportError as error:
        return f"Triton is not installed ({error})"
    return triton


def _interpreted() -> bool:
    triton = _triton()
    return not isinstance(triton, str) and bool(triton.knobs.runtime.interpret)


def unavailable(h: Tensor, coupling: Coupling) -> str | None:
    """Why this kernel cannot take these tensors, or None if it can."""
    if isinstance(_triton(), str):
        return _triton()
    if h.device.type != "cuda" and not _interpreted():
        return f"tensors are on {h.device.type}"
    if type(h) not in (Tensor, torch.nn.Parameter):
        return f"{type(h).__name__} has no numbers in memory"
    if h.dtype not in (torch.float32, torch.float64):
        return f"{h.dtype} is neither float32 nor float64"
    if coupling.l_max > L_MAX:
        return f"l_max {coupling.l_max} is above {L_MAX}"
    return None


@lru_cache(maxsize=256)
def compiled(coupling: Coupling, function: str, share: int) -> Any:
    """One function, for Triton to compile at its first call."""
    from .tritongen import generate

    source = generate(coupling, function, share)
    # Triton reads a function's source from its file; linecache is where Python looks for files that are none.
    name = f"<glasslit {function}{share} of {coupling}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    triton = _triton()
    namespace: dict[str, Any] = {"triton": triton, "tl": triton.language, "__name__": __name__}
    exec(compile(source, name, "exec"), namespace)
    return namespace[f"{function}{share}"]


def run(coupling: Coupling, function: str, n_nodes: int, arguments: list[list[Tensor]]) -> None:
    """Launch one function, share by share; one list of arguments for each."""
    widest = max(mul for mul, _ in coupling.slots)
    channels = 1 << (widest - 1).bit_length()
    blocks = 1
    if function != "harmonics" and channels > THREADS:
        channels, blocks = THREADS, -(-widest // THREADS)
    if n_nodes == 0:
        return
    for share, tensors in enumerate(arguments):
        compiled(coupling, function, share)[(n_nodes, blocks)](
            *tensors,
            EDGES=max(1, THREADS // channels),
            CHANNELS=channels,
            num_warps=1,
            enable_fp_fusion=True,
        )


def contract(h: Tensor, Y: Tensor, weights: Weights, plan: Plan, coupling: Coupling) -> tuple[Tensor, ...]:
    """See :func:`glasslit.equivariance.kernels.contract`."""
    return Contract.apply(h, Y, dense(weights), None, None, plan, coupling, sys.modules[__name__])


def forward(
    h: Tensor, Y: Tensor, w: Tensor, weight: None, bias: None, plan: Plan, coupling: Coupling
) -> tuple[Tensor, ...]:
    """The sums over neighbors, by degree."""
    blocks = tuple(h.new_empty(len(h), 2 * o + 1, width) for o, width in enumerate(coupling.widths))
    common = _prepare(coupling, h, Y, w)
    run(coupling, "forward", len(h), [[*common, plan.rows, plan.entering, plan.sender, block] for block in blocks])
    return blocks


def backward(
    upstream: tuple[Tensor, ...],
    h: Tensor,
    Y: Tensor,
    w: Tensor,
    weight: None,
    bias: None,
    plan: Plan,
    coupling: Coupling,
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients with respect to h, Y and w; None where none is needed."""
    common = _prepare(coupling, h, Y, w)
    dh = dY = dw = None
    if needed[0] or needed[2]:
        dh, dw = h.new_zeros(len(h), coupling.dim_in), torch.empty_like(common[2])
        edges = [plan.leaving_rows, plan.leaving, plan.receiver]
        run(coupling, "backward", len(h), [[*common, *edges, *upstream, dh, dw]] * len(coupling.slots))
        dh = dh.index_select(1, component_major(coupling, h.device, inverse=True))
    if needed[1]:
        dY = torch.empty_like(common[1])
        edges = [plan.rows, plan.entering, plan.sender]
        run(coupling, "harmonics", len(h), [[*common, *edges, *upstream, dY]])
    return dh, dY, dw, None, None


def _prepare(coupling: Coupling, h: Tensor, Y: Tensor, w: Tensor) -> list[Tensor]:
    """h component by component, Y and w, contiguous."""
    return [
        h.detach().index_select(1, component_major(coupling, h.device)),
        Y.detach().contiguous(),
        w.detach().contiguous(),
    ]
