"""What compiled kernels share: their place in PyTorch's automatic differentiation."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import reference
from .coupling import Coupling
from .plan import Plan, RadialWeights


class Contract(torch.autograd.Function):
    """Forward and backward by an engine: :mod:`~glasslit.equivariance.kernels.cpu` or one of those of GPUs.

    Where a gradient is itself to be differentiated (``create_graph=True``), it is made with the reference.
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
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        h, Y, w, weight, bias = ctx.saved_tensors
        needed = ctx.needs_input_grad[:5]
        if torch.is_grad_enabled():
            inputs = [tensor for tensor, wanted in zip(ctx.saved_tensors, needed, strict=True) if wanted]
            weights = w if weight is None or bias is None else RadialWeights(w, weight, bias)
            blocks = reference.contract(h, Y, weights, ctx.plan, ctx.coupling)
            found = iter(torch.autograd.grad(blocks, inputs, upstream, create_graph=True))
            gradients = tuple(next(found) if wanted else None for wanted in needed)
        else:
            upstream = tuple(gradient.contiguous() for gradient in upstream)
            gradients = ctx.engine.backward(upstream, h, Y, w, weight, bias, ctx.plan, ctx.coupling, needed)
        return (*gradients, None, None, None)
