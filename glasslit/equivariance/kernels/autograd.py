r"""What compiled kernels share: their place in PyTorch's automatic differentiation, to any order.

The sums over neighbors are linear in the features h, in the harmonics Y and in the weights w: they are C(h, Y, w). So
all derivatives are sums of the same three kinds, of which engines compute two: C itself, and the gradients of
:math:`S(g, h, Y, w) = g \cdot C(h, Y, w)` with respect to h, Y and w. A gradient that is differentiated once more, in
the directions v_h, v_Y and v_w, brings

.. math:: g \cdot [\, C(v_h, Y, w) + C(h, v_Y, w) + C(h, Y, v_w) \,]

whose gradients are again those of S, with one argument replaced by its direction.

``torch.compile`` stays outside: a step that is compiled with its ``backward()`` calls these functions while Dynamo
looks on, which would walk into the engines, and cannot (PyTorch 2.13 with llvmlite 0.50).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from .coupling import Coupling
from .plan import Plan

Parts = tuple[Tensor | None, ...]


class Contract(torch.autograd.Function):
    """Forward and backward by an engine: :mod:`~glasslit.equivariance.kernels.cpu` or one of those of GPUs.

    Where a gradient is itself to be differentiated (``create_graph=True``), weights that come as a radial network's
    last layer are computed and kept, as numbers for each edge; the engine does the rest (:class:`Gradients`).
    """

    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        Y: Tensor,
        w: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        plan: Plan,
        coupling: Coupling,
        engine: ModuleType,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(h, Y, w, weight, bias)
        ctx.plan, ctx.coupling, ctx.engine = plan, coupling, engine
        return engine.forward(h, Y, w, weight, bias, plan, coupling)

    @staticmethod
    @torch.compiler.disable
    def backward(ctx: Any, *upstream: Tensor) -> Parts:
        h, Y, w, weight, bias = ctx.saved_tensors
        needed = ctx.needs_input_grad[:5]
        about = (ctx.plan, ctx.coupling, ctx.engine)
        if not torch.is_grad_enabled():
            upstream = tuple(gradient.contiguous() for gradient in upstream)
            return (*ctx.engine.backward(upstream, h, Y, w, weight, bias, *about[:2], needed), None, None, None)
        radial = None if weight is None or bias is None else linear(w, weight, bias).relu()
        of_weights = any(needed[2:])
        plain = w if radial is None else radial
        dh, dY, dw = Gradients.apply((*needed[:2], of_weights), *about, h, Y, plain, *upstream)
        found: list[Tensor | None] = [dw, None, None]
        if radial is not None and of_weights:
            wanted = [x for x, needs in zip((w, weight, bias), needed[2:], strict=True) if needs]
            given = iter(torch.autograd.grad(radial, wanted, dw, create_graph=True))
            found = [next(given) if needs else None for needs in needed[2:]]
        return (dh, dY, *found, None, None, None)


class Gradients(torch.autograd.Function):
    """The gradients of a contraction with weights (E, n_weights), as a function that can be differentiated again.

    Takes what is needed of h, Y and w as three booleans, then plan, coupling and engine, h, Y, w and the blocks of the
    upstream gradient; returns the gradients of h, Y and w, None where none is needed.
    """

    @staticmethod
    def forward(
        ctx: Any,
        needed: tuple[bool, bool, bool],
        plan: Plan,
        coupling: Coupling,
        engine: ModuleType,
        h: Tensor,
        Y: Tensor,
        w: Tensor,
        *upstream: Tensor,
    ) -> Parts:
        ctx.save_for_backward(h, Y, w, *upstream)
        ctx.about = (plan, coupling, engine)
        ctx.set_materialize_grads(False)
        upstream = tuple(gradient.contiguous() for gradient in upstream)
        found = engine.backward(upstream, h, Y, w, None, None, plan, coupling, (*needed, False, False))
        return tuple(value if wanted else None for value, wanted in zip(found[:3], needed, strict=True))

    @staticmethod
    @torch.compiler.disable
    def backward(ctx: Any, *directions: Tensor | None) -> Parts:
        h, Y, w, *upstream = ctx.saved_tensors
        needs, of_upstream = ctx.needs_input_grad[4:7], any(ctx.needs_input_grad[7:])
        blocks: list[Tensor | None] = [None] * len(upstream)
        totals: list[Tensor | None] = [None, None, None]
        for place, direction in enumerate(directions):
            if direction is None:
                continue
            arguments = [h, Y, w]
            arguments[place] = direction
            if of_upstream:
                made = Contract.apply(*arguments, None, None, *ctx.about)
                blocks = [_sum(old, new) for old, new in zip(blocks, made, strict=True)]
            asked = tuple(needs[k] and k != place for k in range(3))
            if any(asked):
                found = Gradients.apply(asked, *ctx.about, *arguments, *upstream)
                totals = [_sum(old, new) for old, new in zip(totals, found, strict=True)]
        return (None, None, None, None, *totals, *blocks)


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return first if second is None else second if first is None else first + second
