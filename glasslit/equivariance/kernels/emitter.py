"""Building blocks for writing machine code with llvmlite: vectors, multiply-adds, loops that carry registers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

I64, POINTER = ir.IntType(64), ir.PointerType()


class Emitter:
    """One function under construction: ``void name(const int64_t *arguments)``."""

    def __init__(self, module: ir.Module, name: str, arguments: list[str], double: bool) -> None:
        self.scalar = ir.DoubleType() if double else ir.FloatType()
        self.size = 8 if double else 4
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER]), name)
        self.b = ir.IRBuilder(function.append_basic_block())
        self.arguments = {
            key: self.b.load(self.address(function.args[0], n, I64), typ=I64) for n, key in enumerate(arguments)
        }
        for key, value in self.arguments.items():
            if not key.startswith("n_"):
                self.arguments[key] = self.b.inttoptr(value, POINTER)

    def vector(self, width: int) -> ir.Type:
        return ir.VectorType(self.scalar, width)

    def address(self, pointer: Any, index: Any, kind: ir.Type | None = None) -> Any:
        index = ir.Constant(I64, index) if isinstance(index, int) else index
        return self.b.gep(pointer, [index], source_etype=kind or self.scalar)

    def integer(self, pointer: Any, index: Any) -> Any:
        return self.b.load(self.address(pointer, index, I64), typ=I64)

    def load(self, pointer: Any, index: Any, width: int) -> Any:
        return self.b.load(self.address(pointer, index), typ=self.vector(width), align=self.size)

    def store(self, value: Any, pointer: Any, index: Any) -> None:
        self.b.store(value, self.address(pointer, index), align=self.size)

    def prefetch(self, pointer: Any, index: Any, write: bool = False) -> None:
        """Ask for a line of memory, to be read (or written) soon."""
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [POINTER, number, number, number])
        function = self.b.module.globals.get("llvm.prefetch.p0") or ir.Function(self.b.module, kind, "llvm.prefetch.p0")
        second_level, data = 2, 1
        self.b.call(function, [self.address(pointer, index), *(number(n) for n in (int(write), second_level, data))])

    def splat(self, pointer: Any, index: Any, width: int) -> Any:
        """One number from memory in every lane."""
        value = self.b.load(self.address(pointer, index), typ=self.scalar)
        kind = self.vector(width)
        single = self.b.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
        return self.b.shuffle_vector(single, ir.Constant(kind, ir.Undefined), lanes)

    def constant(self, value: float, width: int) -> Any:
        return ir.Constant(self.vector(width), [value] * width)

    def fma(self, a: Any, b: Any, c: Any, sign: int = 1) -> Any:
        """sign a b + c; c may be None for zero."""
        if c is None:
            product = self.b.fmul(a, b)
            return product if sign > 0 else self.b.fneg(product)
        name = f"llvm.fmuladd.v{a.type.count}f{8 * self.size}"
        function = self.b.module.globals.get(name) or ir.Function(
            self.b.module, ir.FunctionType(a.type, [a.type] * 3), name
        )
        return self.b.call(function, [a if sign > 0 else self.b.fneg(a), b, c])

    def times(self, index: Any, factor: int) -> Any:
        return self.b.mul(index, ir.Constant(I64, factor))

    def plus(self, index: Any, number: Any) -> Any:
        return self.b.add(index, ir.Constant(I64, number) if isinstance(number, int) else number)

    def at_most(self, number: Any, limit: int) -> Any:
        """The smaller of a number and a limit."""
        bound = ir.Constant(I64, limit)
        return self.b.select(self.b.icmp_signed("<", number, bound), number, bound)

    def positive_part(self, value: Any) -> Any:
        zero = self.constant(0.0, value.type.count)
        return self.b.select(self.b.fcmp_ordered("<", value, zero), zero, value)  # keeps nan, as torch does

    def buffer(self, count: int, kind: ir.Type | None = None) -> Any:
        """Scratch memory on the stack, one cache line aligned."""
        place = self.b.alloca(ir.ArrayType(kind or self.scalar, count))
        place.align = 64
        place.type = POINTER  # llvmlite still gives it a typed one
        return place

    @contextmanager
    def chunks(self) -> Iterator[tuple[Any, Any, Any]]:
        """The body of the function: (number, first node, last node + 1) of each chunk that this thread gets hold of."""
        b, a = self.b, self.arguments
        take, work, done = (b.append_basic_block() for _ in range(3))
        b.branch(take)
        b.position_at_end(take)
        chunk = b.atomic_rmw("add", a["counter"], ir.Constant(I64, 1), "monotonic")
        b.cbranch(b.icmp_signed("<", chunk, a["n_chunks"]), work, done)
        b.position_at_end(done)
        b.ret_void()
        b.position_at_end(work)
        first, last = (b.sdiv(b.mul(c, a["n_nodes"]), a["n_chunks"]) for c in (chunk, self.plus(chunk, 1)))
        yield chunk, first, last
        b.branch(take)

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int = 1, carry: list | None = None) -> Iterator[Any]:
        """``for i in range(start, stop, step)``; values in ``carry`` pass from turn to turn in registers."""
        carry = [] if carry is None else carry
        start, stop = (ir.Constant(I64, n) if isinstance(n, int) else n for n in (start, stop))
        before, head = self.b.block, self.b.append_basic_block()
        body, after = self.b.append_basic_block(), self.b.append_basic_block()
        self.b.branch(head)
        self.b.position_at_end(head)
        index = self.b.phi(I64)
        index.add_incoming(start, before)
        carried = [self.b.phi(value.type) for value in carry]
        for phi, value in zip(carried, carry, strict=True):
            phi.add_incoming(value, before)
        self.b.cbranch(self.b.icmp_signed("<", index, stop), body, after)
        self.b.position_at_end(body)
        carry[:] = carried
        yield index
        index.add_incoming(self.plus(index, step), self.b.block)
        for phi, value in zip(carried, carry, strict=True):
            phi.add_incoming(value, self.b.block)
        self.b.branch(head)
        self.b.position_at_end(after)
        carry[:] = carried
