r"""The SE(3)-equivariant convolution, Eqs. 18-20 of Pezzicoli et al. (2024), and its radial functions.

.. math::
    h'^{\,l_O}_{i} = \text{mix}\Big[\sum_{j} \varphi(|a_{ij}|)\, C^{l_O}_{l_I l_F}
    \big(Y^{l_F}(\hat a_{ij}),\, h_j^{l_I}\big)\Big]

phi is a small network on a Bessel basis; mix is a linear map over paths and channels, one per degree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn.functional import linear
from torch_geometric.data import Data

from .. import parallel
from .kernels import Coupling, RadialWeights, contract
from .so3 import irreps


def bessel_basis(distance: Tensor, cutoff: float, n_basis: int) -> Tensor:
    r"""Radial Bessel functions, zero at the cutoff.

    .. math:: B_n(r) = \sqrt{2 / r_c}\; \sin(n \pi r / r_c) / r, \\ n = 1 \ldots N_b

    (Gasteiger et al., ICLR 2020.)

    Parameters
    ----------
    distance : shape (E,), sigma_AA, positive
    cutoff : r_c, sigma_AA
    n_basis : N_b

    Returns
    -------
    shape (E, N_b), sigma_AA^(-3/2)

    Examples
    --------
    >>> bessel_basis(torch.tensor([1.0]), cutoff=2.0, n_basis=2)
    tensor([[ 1.0000e+00, -8.7423e-08]])
    """
    n = torch.arange(1, n_basis + 1, device=distance.device, dtype=distance.dtype)
    return math.sqrt(2 / cutoff) * torch.sin(n * math.pi / cutoff * distance[:, None]) / distance[:, None]


class _Linear(torch.autograd.Function):
    """x W^T + b of many rows and few columns, with the gradient of W as a product of few rows.

    PyTorch's own gradient asks for the transpose of that product, at which BLAS libraries are two to four times as slow
    when one side has a hundred thousand rows and the other sixteen or eight columns.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows, upstream = x.flatten(0, -2), gradient.flatten(0, -2)
        wide = weight.shape[1] > weight.shape[0]
        change = upstream.T @ rows if wide else (rows.T @ upstream).T
        return (
            gradient @ weight if ctx.needs_input_grad[0] else None,
            change if ctx.needs_input_grad[1] else None,
            upstream.sum(dim=0) if ctx.biased and ctx.needs_input_grad[2] else None,
        )


def linear_of_many(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear`` for many rows: x (E, in), weight (out, in), bias (out,) -> (E, out)."""
    return cast(Tensor, _Linear.apply(x, weight, bias))


class Linear(nn.Linear):
    """PyTorch's linear map, for many rows."""

    def forward(self, x: Tensor) -> Tensor:
        """x (E, in_features) -> (E, out_features)."""
        return linear_of_many(x, self.weight, self.bias)


class Dropout(nn.Dropout):
    """PyTorch's dropout with its mask from :func:`glasslit.parallel.kept`.

    With one random number for each of 16 numbers per edge, drawing them was a fifth of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x with entries set to zero at random and the others enlarged, in training; x itself in evaluation."""
        if not self.training or self.p == 0:
            return x
        return x * _mask(x, self.p)


@torch.compiler.disable
def _mask(x: Tensor, p: float) -> Tensor:
    """What dropout multiplies x with.

    Dynamo would turn NumPy's random bits into PyTorch's, which do not compare numbers of 16 bits: with PyTorch 2.13
    ``torch.compile`` ended in NotImplementedError ("ge_cpu" not implemented for 'UInt16').
    """
    return parallel.kept(x, p).to(x.dtype).mul_(1 / (1 - p))


class BatchNorm1d(nn.BatchNorm1d):
    """PyTorch's batch norm, over the edges of all processes that train together (its own does this on GPUs only)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (E, features) with each feature normalized."""
        if not (self.training and parallel.several()):
            return super().forward(x)
        mean = parallel.mean(x)
        variance = parallel.mean((x - mean).square())
        n = parallel.total(torch.tensor(len(x), device=x.device, dtype=x.dtype))
        with torch.no_grad():
            momentum = cast(float, self.momentum)
            cast(Tensor, self.running_mean).lerp_(mean, momentum)
            cast(Tensor, self.running_var).lerp_(variance * n / (n - 1), momentum)
            cast(Tensor, self.num_batches_tracked).add_(1)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


def radial_mlp(n_basis: int, hidden: int, n_weights: int, dropout: float) -> nn.Sequential:
    """phi = ReLU(W2 Dropout(BN(ReLU(W1 B + b1))) + b2): from N_b basis values to one weight per (path, channel)."""
    return nn.Sequential(
        Linear(n_basis, hidden),
        nn.ReLU(inplace=True),  # of what nobody else looks at: fresh memory costs more than the comparison
        BatchNorm1d(hidden),
        Dropout(dropout),
        nn.Linear(hidden, n_weights),
        nn.ReLU(),
    )


@torch.compiler.assume_constant_result  # torch.compile looks past the cache, and warns of it
def _repeated(factors: tuple[tuple[float, int], ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Each number as often as is said beside it, exact in the given precision."""
    return _made_once(factors, dtype, device)


@lru_cache(maxsize=64)
def _made_once(factors: tuple[tuple[float, int], ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.cat([torch.full((count,), value, dtype=torch.float64) for value, count in factors]).to(device, dtype)


class _Mixed(torch.autograd.Function):
    """The blocks (N, 2l + 1, channels in), each times its matrix, as e3nn orders features; few and large operations.

    ``weight`` holds the matrices (channels in, channels out) one after the other; ``places`` says which of the
    products, component by component, stands in each of e3nn's columns.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, places: Tensor, *blocks: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *blocks)
        matrices = _matrices(weight, blocks)
        products = [(b.flatten(0, 1) @ m).view(len(b), -1) for b, m in zip(blocks, matrices, strict=True)]
        return torch.cat(products, dim=1).index_select(1, places)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        weight, *blocks = ctx.saved_tensors
        matrices = _matrices(weight, blocks)
        shapes = [(m.shape[1], b.shape[1]) for b, m in zip(blocks, matrices, strict=True)]
        parts = upstream.split([channels * size for channels, size in shapes], dim=1)
        wide = all(b.shape[2] > channels for b, (channels, _) in zip(blocks, shapes, strict=True))  # as in _Linear
        on_blocks, on_weight = [], []
        for block, matrix, part, shape in zip(blocks, matrices, parts, shapes, strict=True):
            above = part.unflatten(1, shape).transpose(1, 2).reshape(-1, shape[0])
            on_blocks.append((above @ matrix.T).view_as(block))
            rows = block.flatten(0, 1)
            on_weight.append(above.T @ rows if wide else rows.T @ above)
        whole = torch.cat(on_weight, dim=1).T if wide else torch.cat(on_weight)
        return (whole.flatten(), None, *on_blocks)


def _matrices(weight: Tensor, blocks: Sequence[Tensor]) -> list[Tensor]:
    """One for each block; all have as many channels out."""
    channels = [block.shape[2] for block in blocks]
    return list(weight.view(sum(channels), -1).split(channels))


class SE3Convolution(nn.Module):
    """One equivariant convolution: radial weights, coupling, sum over neighbors, mixing.

    Parameters
    ----------
    irreps_in : e3nn irreps of the incoming features
    channels : copies of each degree that come out
    l_max : highest degree of harmonics and results
    n_basis, hidden, dropout : of the radial network
    kernel : see :func:`glasslit.equivariance.kernels.select`
    mirror_images : whether the layer is equivariant under reflections, too, O(3) instead of SO(3): then incoming
        irreps need natural parity, 0e, 1o, 2e, ..., and products odd under reflection are left out

    Examples
    --------
    >>> convolution = SE3Convolution("3x0e", channels=8, l_max=3)
    >>> convolution.irreps_out, convolution.coupling.n_weights
    (8x0e+8x1e+8x2e+8x3e, 12)
    >>> SE3Convolution("3x0e+1x1o", channels=8, l_max=3, mirror_images=True).irreps_out
    8x0e+8x1o+8x2e+8x3o
    """

    places: Tensor

    def __init__(
        self,
        irreps_in: o3.Irreps | str,
        channels: int,
        l_max: int,
        n_basis: int = 10,
        hidden: int = 16,
        dropout: float = 0.3,
        kernel: str = "auto",
        mirror_images: bool = False,
    ) -> None:
        super().__init__()
        self.coupling = Coupling(str(o3.Irreps(irreps_in)), l_max, mirror_images)
        self.irreps_out = irreps(channels, l_max, mirror_images)
        self.kernel = kernel
        self.radial = radial_mlp(n_basis, hidden, self.coupling.n_weights, dropout)
        # Its weights are used below and its own program is not, so it need not be searched for the best order of sums:
        # that took two thirds of the time in which a network is made or loaded.
        self.mixing = o3.Linear(self.coupling.irreps_out, self.irreps_out, _optimize_einsums=False)
        self.factors = tuple((float(p.path_weight), math.prod(p.path_shape)) for p in self.mixing.instructions)
        # Columns are e3nn's, copy by copy; products come component by component.
        parts = torch.arange(self.irreps_out.dim).split([kind.dim for kind in self.irreps_out])
        of_degree = [part.reshape(k.mul, k.ir.dim).T.flatten() for part, k in zip(parts, self.irreps_out, strict=True)]
        self.register_buffer("places", torch.cat(of_degree).argsort(), persistent=False)

    def forward(self, h: Tensor, Y: Tensor, basis: Tensor, graph: Data) -> Tensor:
        """Features (N, irreps_in.dim), harmonics (E, (l_max+1)^2), basis (E, N_b) -> (N, irreps_out.dim)."""
        # The last map of phi, from 16 numbers per edge to 284, is left to the kernel, which need not store them.
        last = cast(nn.Linear, self.radial[-2])
        weights = RadialWeights(self.radial[:-2](basis), last.weight, last.bias)
        messages = contract(h, Y, weights, graph, self.coupling, self.kernel)
        return self.mix(messages)

    def mix(self, messages: tuple[Tensor, ...]) -> Tensor:
        """``self.mixing`` applied component by component: the same map, without e3nn's copies of the messages."""
        weight = cast(Tensor, self.mixing.weight)
        return _Mixed.apply(weight * _repeated(self.factors, weight.dtype, weight.device), self.places, *messages)
