"""``contract_scatter`` with e3nn's ``TensorProduct``: the specification that faster kernels are held to.

Stores every message, (E, irreps_out.dim): about 0.9 GB for one layer of the paper's network on 4096
particles. Differentiable any number of times.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from e3nn import o3
from torch import Tensor

from ..so3 import irreps
from .coupling import Coupling, default_dtype
from .plan import Plan, Weights, dense, to_blocks


@lru_cache(maxsize=64)
def tensor_product(coupling: Coupling, dtype: torch.dtype, device: torch.device) -> o3.TensorProduct:
    """e3nn's product for a coupling, its constants exact in the given dtype.

    e3nn writes the Clebsch-Gordan coefficients at the default dtype of the moment of construction, so
    a product cast to float64 later would keep float32's rounding (7e-7).
    """
    with default_dtype(dtype):
        product = o3.TensorProduct(
            o3.Irreps(coupling.irreps_in),
            irreps(1, coupling.l_max, coupling.mirror_images),
            coupling.irreps_terms,
            [(slot, f, number, "uvu", True) for number, (slot, f, _) in enumerate(coupling.terms)],
            irrep_normalization="component",
            shared_weights=False,
            internal_weights=False,
        )
    return product.to(device=device)


def unavailable(h: Tensor, coupling: Coupling) -> str | None:
    """Why this kernel cannot take these tensors; None, for it takes all."""
    return None


def contract(h: Tensor, Y: Tensor, weights: Weights, plan: Plan, coupling: Coupling) -> tuple[Tensor, ...]:
    """See :func:`glasslit.equivariance.kernels.contract`."""
    product = tensor_product(coupling, h.dtype, h.device)
    # index_select, not h[sender]: the gradient of the latter adds in an order that differs from run to run.
    messages = product(h.index_select(0, plan.sender), Y, dense(weights))
    sums = messages.new_zeros(len(h), messages.shape[1]).index_add(0, plan.receiver, messages)
    return to_blocks(sums, coupling)
