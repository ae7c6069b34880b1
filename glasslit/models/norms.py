"""The batch norm of equivariant features: e3nn's, with few operations and over all processes that train together."""

from __future__ import annotations

from typing import Any

import e3nn.nn
import torch
from e3nn import o3
from torch import Tensor
from torch.func import functional_call

from .. import parallel
from ..equivariance.so3 import copies_and_degrees


class BatchNorm(e3nn.nn.BatchNorm):
    """e3nn's equivariant batch norm, over the particles of all processes that train together.

    e3nn goes through it degree by degree, in some 120 small operations with their gradients. Here all degrees are
    normalized at once: in training the same up to rounding, in evaluation bit for bit.
    """

    feature: Tensor
    members: Tensor
    places: Tensor
    sizes: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, irreps: o3.Irreps | str, momentum: float = 0.1) -> None:
        super().__init__(o3.Irreps(irreps), momentum=momentum)
        self.kind = copies_and_degrees(self.irreps)
        sizes = torch.tensor([2 * degree + 1 for copies, degree in self.kind for _ in range(copies)])  # of each copy
        scalar = torch.tensor([k.ir.is_scalar() for k in self.irreps for _ in range(k.mul)])
        feature = torch.arange(len(sizes)).repeat_interleave(sizes)  # that each column belongs to
        members = torch.eye(len(sizes))[feature].T.contiguous()  # whole numbers, which are exact in any precision
        known = {"feature": feature, "members": members, "places": members[scalar], "sizes": sizes.to(members)}
        for name, value in known.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """h (N, irreps.dim), normalized."""
        if not self.training:
            scale = ((self.running_var + self.eps).pow(-0.5) * self.weight).index_select(0, self.feature)
            return (h - self.running_mean @ self.places) * scale + self.bias @ self.places
        if not parallel.several():
            out, mean, variance = _Normalized.apply(h, self.weight, self.bias, self)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance, self.momentum)
            return out
        dims = [copies * (2 * degree + 1) for copies, degree in self.kind]
        scalar = (self.sizes == 1).index_select(0, self.feature)
        center = parallel.mean(h) * scalar
        blocks = parallel.mean((h - center).square()).split(dims)
        norm = torch.cat([b.reshape(k[0], -1).mean(dim=1) for b, k in zip(blocks, self.kind, strict=True)])
        statistics = {"running_mean": center[scalar], "running_var": norm}
        with torch.no_grad():
            for name, value in statistics.items():
                getattr(self, name).lerp_(value, self.momentum)
        self.eval()  # what e3nn does with running statistics, done with these
        try:
            return functional_call(self, statistics, (h,))
        finally:
            self.train()


class _Normalized(torch.autograd.Function):
    """Features less the mean of their scalars, in units of their spread, with weight and bias; mean and variance."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, norm: BatchNorm) -> tuple[Tensor, Tensor, Tensor]:
        mean = norm.places @ h.mean(dim=0)
        centered = h - mean @ norm.places
        squares = torch.linalg.vector_norm(centered, dim=0).square()
        variance = (norm.members @ squares) / (len(h) * norm.sizes)
        inverse = (variance + norm.eps).rsqrt()
        scale = (inverse * weight).index_select(0, norm.feature)
        ctx.save_for_backward(h, weight, bias, centered, inverse, scale)
        ctx.norm = norm
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return torch.addcmul(bias @ norm.places, centered, scale), mean, variance

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: Tensor) -> tuple[Tensor | None, ...]:
        if upstream is None:
            return None, None, None, None
        h, weight, bias, centered, inverse, scale = ctx.saved_tensors
        norm = ctx.norm
        if torch.is_grad_enabled():  # to be differentiated once more: by way of the definition
            inputs = [t for t, wanted in zip((h, weight, bias), ctx.needs_input_grad, strict=False) if wanted]
            out = _normalized(h, weight, bias, norm)
            found = iter(torch.autograd.grad(out, inputs, upstream, create_graph=True))
            return (*(next(found) if wanted else None for wanted in ctx.needs_input_grad[:3]), None)
        along = norm.members @ (upstream * centered).sum(dim=0)
        total = upstream.sum(dim=0)
        on_scalars = norm.places @ total
        pull = along * weight * inverse.pow(3) / (len(h) * norm.sizes)
        shift = (on_scalars / len(h)) @ norm.places * scale
        dh = torch.addcmul(-shift, upstream, scale).addcmul_(centered, pull.index_select(0, norm.feature), value=-1)
        return dh, along * inverse, on_scalars, None


def _normalized(h: Tensor, weight: Tensor, bias: Tensor, norm: BatchNorm) -> Tensor:
    """What :class:`_Normalized` computes, as PyTorch differentiates it."""
    centered = h - norm.places @ h.mean(dim=0) @ norm.places
    variance = norm.members @ centered.square().mean(dim=0) / norm.sizes
    scale = ((variance + norm.eps).rsqrt() * weight).index_select(0, norm.feature)
    return centered * scale + bias @ norm.places
