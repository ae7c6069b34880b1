"""The compiled half of :mod:`~glasslit.simulate.lanes`: loops by Numba, three vector pieces in LLVM's language.

LLVM does not vectorize over runs by itself (it cannot see that particles i and j are never the same), so
the pieces that work on whole vectors are written out. One vector holds one component of one
particle in all runs; arrays have shape (N, 3, LANES) and begin at a vector's alignment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .fixed import ALIGNMENT, LANES

DONE, RAN_AWAY = 0, 1
"""What :func:`advance` returns."""
_place, _number = types.intp, types.float32


@cache
def _say(message: str) -> None:
    logging.getLogger("glasslit.simulate").info(message)


def _jit(function: Callable[..., Any]) -> Any:
    """The function, compiled when it is first called, and kept in Numba's cache if there can be one."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        # A read-only installation without a home folder, and no $NUMBA_CACHE_DIR.
        _say(
            "the lane engine is compiled anew in each process, for some seconds: neither the package's __pycache__ "
            "nor the user's cache folder can be written; NUMBA_CACHE_DIR names another"
        )
        return numba.njit(**options)(function)


class _Vectors:
    """Vector instructions on top of an llvmlite builder. Products may fuse into sums, nothing else may change."""

    def __init__(self, builder: Any) -> None:
        self.b = builder
        self.int32, self.int64, self.float32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
        self.ints, self.floats = ir.VectorType(self.int32, LANES), ir.VectorType(self.float32, LANES)

    def splat(self, scalar: Any) -> Any:
        undefined = ir.Constant(self.floats, ir.Undefined)
        one = self.b.insert_element(undefined, scalar, self.int32(0))
        return self.b.shuffle_vector(one, undefined, ir.Constant(self.ints, [0] * LANES))

    def address(self, array: Any, particle: Any, kind: Any) -> list[Any]:
        """Where the three vectors of a particle are."""
        base = self.b.inttoptr(array, kind.as_pointer())
        first = self.b.mul(particle, self.int64(3))
        return [self.b.gep(base, [self.b.add(first, self.int64(k))]) for k in range(3)]

    def load(self, places: list[Any]) -> list[Any]:
        return [self.b.load(place, align=ALIGNMENT) for place in places]

    def store(self, values: list[Any], places: list[Any]) -> None:
        for value, place in zip(values, places, strict=True):
            self.b.store(value, place, align=ALIGNMENT)

    def difference(self, to: list[Any], start: list[Any], scale: list[Any]) -> list[Any]:
        """to - start as lengths; the subtraction wraps as the minimum image does."""
        return [
            self.mul(self.b.sitofp(self.b.sub(a, b), self.floats), s) for a, b, s in zip(to, start, scale, strict=True)
        ]

    def mul(self, a: Any, b: Any) -> Any:
        return self.b.fmul(a, b, flags=("contract",))

    def add(self, a: Any, b: Any) -> Any:
        return self.b.fadd(a, b, flags=("contract",))

    def sub(self, a: Any, b: Any) -> Any:
        return self.b.fsub(a, b, flags=("contract",))

    def squared(self, d: list[Any]) -> Any:
        return self.add(self.add(self.mul(d[0], d[0]), self.mul(d[1], d[1])), self.mul(d[2], d[2]))

    def call(self, name: str, *values: Any) -> Any:
        kind = ir.FunctionType(self.floats, [self.floats] * len(values))
        name = f"llvm.{name}.v{LANES}f32"
        function = self.b.module.globals.get(name) or ir.Function(self.b.module, kind, name)
        return self.b.call(function, values)

    def loop(self, first: Any, last: Any, starts: list[Any], body: Any) -> list[Any]:
        """``for k in range(first, last): values = body(k, values)``; the values at the end."""
        b, before = self.b, self.b.block
        inside, after = b.append_basic_block("inside"), b.append_basic_block("after")
        b.cbranch(b.icmp_signed("<", first, last), inside, after)
        b.position_at_end(inside)
        k = b.phi(self.int64)
        k.add_incoming(first, before)
        carried = [b.phi(value.type) for value in starts]
        for phi, value in zip(carried, starts, strict=True):
            phi.add_incoming(value, before)
        results = body(k, carried)
        following = b.add(k, self.int64(1))
        end = b.block
        for phi, value in zip((k, *carried), (following, *results), strict=True):
            phi.add_incoming(value, end)
        b.cbranch(b.icmp_signed("<", following, last), inside, after)
        b.position_at_end(after)
        out = [b.phi(value.type) for value in starts]
        for phi, start, result in zip(out, starts, results, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(result, end)
        return out


@intrinsic
def pair_forces(_, x, f, i, members, first, last, sx, sy, sz, c12, c6, cut2, slope):
    """Add the forces between i and ``members[first:last]``, all of one type, to both sides."""

    def code(context, builder, signature, arguments):
        x, f, i, members, first, last, *scalars = arguments
        w = _Vectors(builder)
        *scale, c12, c6, cut2, slope = [w.splat(scalar) for scalar in scalars]
        here, own = w.load(w.address(x, i, w.ints)), w.address(f, i, w.floats)
        numbers = builder.inttoptr(members, w.int32.as_pointer())

        def body(k: Any, forces: list[Any]) -> list[Any]:
            j = builder.sext(builder.load(builder.gep(numbers, [k])), w.int64)
            d = w.difference(w.load(w.address(x, j, w.ints)), here, scale)
            r2 = w.squared(d)
            inverse = builder.fdiv(w.splat(w.float32(1.0)), r2)
            s6 = w.mul(w.mul(inverse, inverse), inverse)
            g = w.mul(w.mul(s6, w.sub(c6, w.mul(c12, s6))), inverse)
            g = w.sub(g, w.mul(slope, w.call("sqrt", inverse)))
            g = builder.select(builder.fcmp_ordered("<", r2, cut2), g, ir.Constant(w.floats, [0.0] * LANES))
            pair = [w.mul(g, component) for component in d]
            other = w.address(f, j, w.floats)
            w.store([w.sub(a, p) for a, p in zip(w.load(other), pair, strict=True)], other)
            return [w.add(a, p) for a, p in zip(forces, pair, strict=True)]

        w.store(w.loop(first, last, w.load(own), body), own)
        return context.get_dummy_value()

    return types.void(*[_place] * 6, *[_number] * 7), code


@intrinsic
def near(_, x, i, j, sx, sy, sz, limit2):
    """Whether i and j are closer than the limit in any run."""

    def code(context, builder, signature, arguments):
        x, i, j, *scalars = arguments
        w = _Vectors(builder)
        *scale, limit2 = [w.splat(scalar) for scalar in scalars]
        d = w.difference(w.load(w.address(x, j, w.ints)), w.load(w.address(x, i, w.ints)), scale)
        close = builder.fcmp_ordered("<", w.squared(d), limit2)
        mask = ir.IntType(LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(close, mask), mask(0))

    return types.boolean(*[_place] * 3, *[_number] * 4), code


@intrinsic
def kick_drift(_, x, v, f, reference, n, half, px, py, pz, sx, sy, sz, limit2):
    """v += half f; x += p v; whether any particle of any run is further from its reference than the limit."""

    def code(context, builder, signature, arguments):
        x, v, f, reference, n, *scalars = arguments
        w = _Vectors(builder)
        half, *rest = [w.splat(scalar) for scalar in scalars]
        per_step, scale, limit2 = rest[:3], rest[3:6], rest[6]
        mask = ir.IntType(LANES)

        def body(i: Any, far: list[Any]) -> list[Any]:
            places = {a: w.address(a_, i, kind) for a, a_, kind in (("x", x, w.ints), ("v", v, w.floats))}
            velocity = [
                w.add(a, w.mul(half, b))
                for a, b in zip(w.load(places["v"]), w.load(w.address(f, i, w.floats)), strict=True)
            ]
            w.store(velocity, places["v"])
            steps = [
                builder.fptosi(w.call("rint", w.mul(a, b)), w.ints) for a, b in zip(velocity, per_step, strict=True)
            ]
            moved = [builder.add(a, b) for a, b in zip(w.load(places["x"]), steps, strict=True)]
            w.store(moved, places["x"])
            r2 = w.squared(w.difference(moved, w.load(w.address(reference, i, w.ints)), scale))
            beyond = builder.bitcast(builder.fcmp_unordered(">", r2, limit2), mask)
            return [builder.or_(far[0], beyond)]

        (far,) = w.loop(w.int64(0), n, [mask(0)], body)
        return builder.icmp_unsigned("!=", far, mask(0))

    return types.boolean(*[_place] * 5, *[_number] * 8), code


@_jit
def all_pairs(x, types, scale, limit2, first, members):
    """Half neighbor lists of all particles from all pairs; j > i, and so sorted by type."""
    count, at, n = 0, x.ctypes.data, len(x)
    for i in range(n):
        first[i, 0] = first[i, 1] = count
        for j in range(i + 1, n):
            limit = limit2[types[i], types[j]]
            if near(at, i, j, scale[0], scale[1], scale[2], limit):
                members[count] = j
                count += 1
                if types[j] == 0:
                    first[i, 1] = count
        first[i, 2] = count


@_jit
def prune(x, types, scale, limit2, first, members, kept_first, kept):
    """Of neighbor lists, what is closer than a shorter limit."""
    count, at, n = 0, x.ctypes.data, len(x)
    for i in range(n):
        kept_first[i, 0] = count
        for t in range(2):
            limit = limit2[types[i], t]
            for k in range(first[i, t], first[i, t + 1]):
                j = members[k]
                kept[count] = j
                count += near(at, i, np.int64(j), scale[0], scale[1], scale[2], limit)
            kept_first[i, t + 1] = count


@_jit
def forces(x, f, types, scale, table, first, members):
    """Forces on all particles, from the inner lists."""
    f[:] = 0
    at, to, list_ = x.ctypes.data, f.ctypes.data, members.ctypes.data
    for i in range(len(x)):
        for t in range(2):
            c12, c6, cut2, slope = table[types[i], t]
            pair_forces(
                at, to, i, list_, first[i, t], first[i, t + 1], scale[0], scale[1], scale[2], c12, c6, cut2, slope
            )


@_jit
def largest_move(x, reference, scale):
    """The square of the longest way from a reference, over all particles and runs."""
    largest = np.float32(0)
    for i in range(x.shape[0]):
        for lane in range(LANES):
            r2 = np.float32(0)
            for k in range(3):
                d = np.float32(np.int32(x[i, k, lane] - reference[i, k, lane])) * scale[k]
                r2 += d * d
            largest = max(largest, r2)
    return largest


@_jit
def relist(x, types, scale, outer_limit2, inner_limit2, room, travelled, references, outer, inner):
    """New inner lists, and new outer ones where they have to be; distances travelled are booked.

    Loops over flat arrays: LLVM needs ten seconds more to compile the same lines on arrays of three axes.
    """
    now, total = x.reshape(-1), travelled.reshape(-1)
    since_inner, since_outer = references[0].reshape(-1), references[1].reshape(-1)
    for k in range(now.size):
        total[k] += np.int32(now[k] - since_inner[k])
        since_inner[k] = now[k]
    if largest_move(x, references[1], scale) > room * room:
        all_pairs(x, types, scale, outer_limit2, outer[0], outer[1])
        for k in range(now.size):
            since_outer[k] = now[k]
    prune(x, types, scale, inner_limit2, outer[0], outer[1], inner[0], inner[1])


@_jit
def advance(steps, dt, skin, room, x, v, f, types, scale, table, limits, travelled, references, outer, inner):
    """Velocity Verlet; ``room`` is how far a particle may go before outer lists are out of date."""
    half, n = np.float32(dt / 2), len(x)
    px, py, pz = np.float32(dt / scale[0]), np.float32(dt / scale[1]), np.float32(dt / scale[2])
    near2, far2 = np.float32(0.25) * skin * skin, skin * skin
    at, speed, force, reference = x.ctypes.data, v.ctypes.data, f.ctypes.data, references[0].ctypes.data
    flat_v, flat_f = v.reshape(-1), f.reshape(-1)
    for _ in range(steps):
        if kick_drift(at, speed, force, reference, n, half, px, py, pz, scale[0], scale[1], scale[2], near2):
            if not largest_move(x, references[0], scale) <= far2:
                return RAN_AWAY
            relist(x, types, scale, limits[0], limits[1], room, travelled, references, outer, inner)
        forces(x, f, types, scale, table, inner[0], inner[1])
        for k in range(flat_v.size):
            flat_v[k] += half * flat_f[k]
    return DONE
