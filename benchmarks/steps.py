"""Five ways to compute the same sums, from the definition to the fused kernel, for the chapter "Making it fast".

Each takes h (N, dim), Y (E, (l_max + 1)^2), weights (E, n_weights), a plan of the edges and a coupling, and returns one
(N, 2l + 1, channels) for each degree.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from glasslit.equivariance.kernels import Coupling, cpu, reference
from glasslit.equivariance.kernels.coupling import coefficients
from glasslit.equivariance.kernels.plan import Plan


def loops(h, Y, weights, plan, coupling, n_edges=None):
    """Eq. 18 as written: all pairs of components, of each channel, path and edge."""
    out = [torch.zeros(len(h), 2 * o + 1, w) for o, w in enumerate(coupling.widths)]
    out = [block.tolist() for block in out]
    h, Y, weights = h.tolist(), Y[:n_edges].tolist(), weights[:n_edges].tolist()
    sender, receiver = plan.sender.tolist(), plan.receiver.tolist()
    for e in range(len(Y)):
        j, i = sender[e], receiver[e]
        for t, (slot, f, o) in enumerate(coupling.terms):
            mul, l = coupling.slots[slot]  # noqa: E741
            c = coefficients(l, f, o).tolist()
            first, start = coupling.slot_start[slot], coupling.weight_start[t]
            dims = range(2 * l + 1), range(2 * f + 1), range(2 * o + 1)
            for u, a, b, m in product(range(mul), *dims):
                feature = h[j][first + u * (2 * l + 1) + a]
                coupled = c[a][b][m] * feature * Y[e][f**2 + b]
                channel = coupling.channel_start[t] + u
                out[o][i][m][channel] += weights[e][start + u] * coupled
    return tuple(torch.tensor(block) for block in out)


def _slots(h: Tensor, coupling: Coupling) -> list[Tensor]:
    """h of each slot, (N, copies, 2l + 1)."""
    shapes = [(mul, 2 * degree + 1) for mul, degree in coupling.slots]
    parts = h.split([mul * dim for mul, dim in shapes], dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]


def _terms(weights: Tensor, coupling: Coupling) -> list:
    """(term, slot, its weights, its coefficients) of each term."""
    shares = weights.split([coupling.slots[slot][0] for slot, _, _ in coupling.terms], dim=1)
    tables = [coefficients(coupling.slots[slot][1], f, o) for slot, f, o in coupling.terms]
    return [
        (term, term[0], share, torch.as_tensor(table, dtype=weights.dtype))
        for term, share, table in zip(coupling.terms, shares, tables, strict=True)
    ]


def by_path(h, Y, weights, plan, coupling):
    """One einsum for each path, all edges at once; every message is stored."""
    sent = [part.index_select(0, plan.sender) for part in _slots(h, coupling)]
    found = [[] for _ in coupling.widths]
    for (_, f, o), slot, w, c in _terms(weights, coupling):
        y = Y[:, f**2 : (f + 1) ** 2]
        message = torch.einsum("eua,eb,abm,eu->emu", sent[slot], y, c, w)
        sums = message.new_zeros(len(h), *message.shape[1:])
        found[o].append(sums.index_add(0, plan.receiver, message))
    return tuple(torch.cat(blocks, dim=2) for blocks in found)


def e3nn(h: Tensor, Y: Tensor, weights: Tensor, plan: Plan, coupling: Coupling) -> tuple[Tensor, ...]:
    """e3nn's TensorProduct; every message is stored."""
    return reference.contract(h, Y, weights, plan, coupling)


def in_blocks(h, Y, weights, plan, coupling):
    """Coefficients with Y first, shared by all channels; few nodes at a time."""
    slots, terms, rows = _slots(h, coupling), _terms(weights, coupling), []
    for first in range(0, len(h), 128):
        last = min(first + 128, len(h))
        edges = slice(int(plan.rows[first]), int(plan.rows[last]))
        sent = [part.index_select(0, plan.sender[edges]) for part in slots]
        found = [[] for _ in coupling.widths]
        for (_, f, o), slot, w, c in terms:
            matrix = torch.einsum("eb,abm->eam", Y[edges, f**2 : (f + 1) ** 2], c)
            message = w[edges, None] * (sent[slot] @ matrix).transpose(1, 2)
            sums = message.new_zeros(last - first, *message.shape[1:])
            here = plan.receiver[edges] - first
            found[o].append(sums.index_add(0, here, message))
        rows.append([torch.cat(blocks, dim=2) for blocks in found])
    return tuple(torch.cat(blocks) for blocks in zip(*rows, strict=True))


def compiled(h: Tensor, Y: Tensor, weights: Tensor, plan: Plan, coupling: Coupling) -> tuple[Tensor, ...]:
    """The package's machine code: channels in vectors, sums in the cache, nothing stored."""
    return cpu.contract(h, Y, weights, plan, coupling)
