"""Five ways to compute the same sums, from the definition to the fused kernel, for the chapter "Making it fast".

Each takes h (N, dim), Y (E, (l_max + 1)^2), weights (E, n_weights), a plan of the edges and a coupling, and returns one
(N, 2l + 1, channels) for each degree.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from glasslit.kernels import Coupling, cpu, reference
from glasslit.kernels.coupling import coefficients
from glasslit.kernels.plan import Plan


def loops(h: Tensor, Y: Tensor, weights: Tensor, plan: Plan, coupling: Coupling, n_edges: int | None = None):
    """Eq. 18 as written: for each edge, path and channel, over all pairs of components."""
    out = [torch.zeros(len(h), 2 * o + 1, width).tolist() for o, width in enumerate(coupling.widths)]
    h, Y, weights = h.tolist(), Y.tolist(), weights.tolist()
    sender, receiver = plan.sender.tolist(), plan.receiver.tolist()
    starts = [0]
    for mul, degree in coupling.slots:
        starts.append(starts[-1] + mul * (2 * degree + 1))
    for e in range(len(sender) if n_edges is None else n_edges):
        number, column = 0, [0] * (coupling.l_max + 1)
        for slot, f, o in coupling.terms:
            mul, degree = coupling.slots[slot]
            c = coefficients(degree, f, o).tolist()
            for u, a, b, m in product(range(mul), range(2 * degree + 1), range(2 * f + 1), range(2 * o + 1)):
                feature = h[sender[e]][starts[slot] + u * (2 * degree + 1) + a]
                change = weights[e][number + u] * c[a][b][m] * feature * Y[e][f**2 + b]
                out[o][receiver[e]][m][column[o] + u] += change
            number += mul
            column[o] += mul
    return tuple(torch.tensor(block) for block in out)


def _slots(h: Tensor, coupling: Coupling) -> list[Tensor]:
    """h of each slot, (N, copies, 2l + 1)."""
    shapes = [(mul, 2 * degree + 1) for mul, degree in coupling.slots]
    parts = h.split([mul * dim for mul, dim in shapes], dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]


def by_path(h: Tensor, Y: Tensor, weights: Tensor, plan: Plan, coupling: Coupling) -> tuple[Tensor, ...]:
    """One einsum for each path, all edges at once; every message is stored."""
    sent = [part.index_select(0, plan.sender) for part in _slots(h, coupling)]
    shares = weights.split([coupling.slots[slot][0] for slot, _, _ in coupling.terms], dim=1)
    found: list[list[Tensor]] = [[] for _ in range(coupling.l_max + 1)]
    for (slot, f, o), w in zip(coupling.terms, shares, strict=True):
        c = torch.as_tensor(coefficients(coupling.slots[slot][1], f, o), dtype=h.dtype)
        message = torch.einsum("eua,eb,abm,eu->emu", sent[slot], Y[:, f**2 : (f + 1) ** 2], c, w)
        found[o].append(message.new_zeros(len(h), *message.shape[1:]).index_add(0, plan.receiver, message))
    return tuple(torch.cat(blocks, dim=2) for blocks in found)


def e3nn(h: Tensor, Y: Tensor, weights: Tensor, plan: Plan, coupling: Coupling) -> tuple[Tensor, ...]:
    """e3nn's TensorProduct; every message is stored."""
    return reference.contract(h, Y, weights, plan, coupling)


def in_blocks(h: Tensor, Y: Tensor, weights: Tensor, plan: Plan, coupling: Coupling) -> tuple[Tensor, ...]:
    """The coefficients with Y first, shared by all channels; and few nodes at a time, so messages stay small."""
    slots = _slots(h, coupling)
    shares = weights.split([coupling.slots[slot][0] for slot, _, _ in coupling.terms], dim=1)
    tables = [torch.as_tensor(coefficients(coupling.slots[s][1], f, o), dtype=h.dtype) for s, f, o in coupling.terms]
    rows = []
    for first in range(0, len(h), 128):
        last = min(first + 128, len(h))
        edges = slice(int(plan.rows[first]), int(plan.rows[last]))
        sent = [part.index_select(0, plan.sender[edges]) for part in slots]
        found: list[list[Tensor]] = [[] for _ in range(coupling.l_max + 1)]
        for (slot, f, o), w, c in zip(coupling.terms, shares, tables, strict=True):
            matrix = torch.einsum("eb,abm->eam", Y[edges, f**2 : (f + 1) ** 2], c)
            message = w[edges, None] * (sent[slot] @ matrix).transpose(1, 2)
            sums = message.new_zeros(last - first, *message.shape[1:])
            found[o].append(sums.index_add(0, plan.receiver[edges] - first, message))
        rows.append([torch.cat(blocks, dim=2) for blocks in found])
    return tuple(torch.cat(blocks) for blocks in zip(*rows, strict=True))


def compiled(h: Tensor, Y: Tensor, weights: Tensor, plan: Plan, coupling: Coupling) -> tuple[Tensor, ...]:
    """The package's machine code: channels in vectors, sums in the cache, nothing stored."""
    return cpu.contract(h, Y, weights, plan, coupling)
