"""Triton source of the fused convolution on a GPU, written out for one coupling.

Three functions, as on the CPU: "forward", the sum over neighbors; "backward", its gradient with respect to features
and weights; "harmonics", its gradient with respect to Y.

* One program, of one warp, owns one node and one share of the terms: those of one l_out forward, those of one slot of h
  backward. Shares read disjoint weights and write disjoint results, so nothing is read twice but h and Y, and nothing
  is added by two programs: no atomics, bitwise repeatable.
* A warp's 32 threads are several edges x the channels (4 x 8 in the paper's network); sums over the node's edges stay
  in registers until its last edge.
* The coupling is straight-line code; each thread contracts the coefficients with Y itself, which costs less than
  sharing them.
"""

from __future__ import annotations

from collections.abc import Sequence

from .coupling import Coupling

HEADER = """
@triton.jit
def {name}({arguments}, EDGES: tl.constexpr, CHANNELS: tl.constexpr):
    node = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    lane = tl.arange(0, EDGES)[:, None]
    row = tl.load(rows + node)
    stop = tl.load(rows + node + 1)
"""
LOOP = """    for start in range(row, stop, EDGES):
        place = start + lane
        there = place < stop
        edge = tl.load(edges + place, mask=there, other=0)
        other = tl.load(ends + edge, mask=there, other=0)
"""


def shares(coupling: Coupling, function: str) -> list[list[int]]:
    """The terms that one program works on: by l_out forward, by slot backward; all of them for the harmonics."""
    terms = coupling.terms
    if function == "forward":
        return [[t for t, term in enumerate(terms) if term[2] == o] for o in range(coupling.l_max + 1)]
    if function == "backward":
        return [[t for t, term in enumerate(terms) if term[0] == slot] for slot in range(len(coupling.slots))]
    return [list(range(len(terms)))]


def _factor(row: Sequence[tuple[int, float]]) -> str:
    """An entry of K: the coefficients with the components of Y."""
    return "(" + " + ".join(f"{value!r} * y{m}" for m, value in row) + ")"


def generate(coupling: Coupling, function: str, share: int) -> str:
    """Source of one function for one share of the terms; its name is ``function`` and the share's number."""
    return {"forward": _forward, "backward": _backward, "harmonics": _harmonics}[function](coupling, share)


def _read_harmonics(coupling: Coupling, terms: Sequence[int]) -> str:
    degrees = sorted({coupling.terms[t][1] for t in terms})
    n = (coupling.l_max + 1) ** 2
    return "".join(
        f"        y{m} = tl.load(Y + edge * {n} + {m}, mask=there, other=0.0)\n"
        for f in degrees for m in range(f**2, (f + 1) ** 2)
    )  # fmt: skip


def _read_features(coupling: Coupling, slot: int, node: str, indent: str) -> str:
    mul, degree = coupling.slots[slot]
    start = coupling.slot_start[slot]
    mask = "c < {mul}" if node == "node" else f"there & (c < {mul})"
    return "".join(
        f"{indent}h{slot}_{m} = tl.load(h + {node} * {coupling.dim_in} + {start + m * mul} + c, "
        f"mask={mask.format(mul=mul)}, other=0.0)\n"
        for m in range(2 * degree + 1)
    )


def _forward(coupling: Coupling, share: int) -> str:
    terms = shares(coupling, "forward")[share]
    weight, column = coupling.weight_start, coupling.channel_start
    o, width = share, coupling.widths[share]
    code = HEADER.format(name=f"forward{share}", arguments="h, Y, w, rows, edges, ends, out")
    for t in terms:
        for m in range(2 * o + 1):
            code += f"    sum{t}_{m} = tl.zeros([EDGES, CHANNELS], dtype=h.dtype.element_ty)\n"
    code += LOOP + _read_harmonics(coupling, terms)
    for slot in dict.fromkeys(coupling.terms[t][0] for t in terms):
        mul = coupling.slots[slot][0]
        code += _read_features(coupling, slot, "other", "        ")
        for t in (t for t in terms if coupling.terms[t][0] == slot):
            code += f"        w{t} = tl.load(w + edge * {coupling.n_weights} + {weight[t]} + c, "
            code += f"mask=there & (c < {mul}), other=0.0)\n"
            products: dict[int, list[str]] = {}
            for m_in, m_out, row in coupling.entries(t):
                products.setdefault(m_out, []).append(f"{_factor(row)} * h{slot}_{m_in}")
            for m_out, parts in products.items():
                code += f"        sum{t}_{m_out} += w{t} * ({' + '.join(parts)})\n"
    for t in terms:
        mul = coupling.slots[coupling.terms[t][0]][0]
        for m in range(2 * o + 1):
            code += f"    tl.store(out + node * {(2 * o + 1) * width} + {m * width + column[t]} + c, "
            code += f"tl.sum(sum{t}_{m}, axis=0)[None, :], mask=c < {mul})\n"
    return code


def _read_upstream(coupling: Coupling, t: int, node: str) -> str:
    column = coupling.channel_start[t]
    slot, _, o = coupling.terms[t]
    mul, width = coupling.slots[slot][0], coupling.widths[o]
    mask = f"c < {mul}" if node == "node" else f"there & (c < {mul})"
    return "".join(
        f"        g{t}_{m} = tl.load(out{o} + {node} * {(2 * o + 1) * width} + {m * width + column} + c, "
        f"mask={mask}, other=0.0)\n"
        for m in range(2 * o + 1)
    )


def _backward(coupling: Coupling, share: int) -> str:
    terms, slot = shares(coupling, "backward")[share], share
    mul, degree = coupling.slots[slot]
    start, weight = coupling.slot_start, coupling.weight_start
    out = ", ".join(f"out{o}" for o in range(coupling.l_max + 1))
    code = HEADER.format(name=f"backward{share}", arguments=f"h, Y, w, rows, edges, ends, {out}, dh, dw")
    code += _read_features(coupling, slot, "node", "    ")
    for m in range(2 * degree + 1):
        code += f"    d{m} = tl.zeros([EDGES, CHANNELS], dtype=h.dtype.element_ty)\n"
    code += LOOP + _read_harmonics(coupling, terms)
    for t in terms:
        code += _read_upstream(coupling, t, "other")
        at = f"edge * {coupling.n_weights} + {weight[t]} + c"
        code += f"        w{t} = tl.load(w + {at}, mask=there & (c < {mul}), other=0.0)\n"
        turned: dict[int, list[str]] = {}
        for m_in, m_out, row in coupling.entries(t):
            turned.setdefault(m_in, []).append(f"{_factor(row)} * g{t}_{m_out}")
        for m_in, parts in turned.items():
            code += f"        k{t}_{m_in} = {' + '.join(parts)}\n"
            code += f"        d{m_in} += w{t} * k{t}_{m_in}\n"
        change = " + ".join(f"h{slot}_{m_in} * k{t}_{m_in}" for m_in in turned)
        code += f"        tl.store(dw + {at}, {change}, mask=there & (c < {mul}))\n"
    for m in range(2 * degree + 1):
        code += f"    tl.store(dh + node * {coupling.dim_in} + {start[slot] + m * mul} + c, "
        code += f"tl.sum(d{m}, axis=0)[None, :], mask=c < {mul})\n"
    return code


def _harmonics(coupling: Coupling, share: int) -> str:
    """Channels are summed within the program, so all of them must lie in one block."""
    terms = shares(coupling, "harmonics")[share]
    weight, n = coupling.weight_start, (coupling.l_max + 1) ** 2
    out = ", ".join(f"out{o}" for o in range(coupling.l_max + 1))
    code = HEADER.format(name=f"harmonics{share}", arguments=f"h, Y, w, rows, edges, ends, {out}, dY")
    code += LOOP
    for m in range(n):
        code += f"        d{m} = tl.zeros([EDGES, CHANNELS], dtype=h.dtype.element_ty)\n"
    for slot in dict.fromkeys(coupling.terms[t][0] for t in terms):
        mul = coupling.slots[slot][0]
        code += _read_features(coupling, slot, "other", "        ")
        for t in (t for t in terms if coupling.terms[t][0] == slot):
            code += _read_upstream(coupling, t, "node")
            code += f"        w{t} = tl.load(w + edge * {coupling.n_weights} + {weight[t]} + c, "
            code += f"mask=there & (c < {mul}), other=0.0)\n"
            for m_in, m_out, row in coupling.entries(t):
                code += f"        p = w{t} * g{t}_{m_out} * h{slot}_{m_in}\n"
                for m, value in row:
                    code += f"        d{m} += {value!r} * p\n"
    for m in range(n):
        code += f"        tl.store(dY + edge * {n} + {m}, tl.sum(d{m}, axis=1)[:, None], mask=there)\n"
    return code
