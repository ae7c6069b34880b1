"""Writes GPU programs as PTX, NVIDIA's virtual instruction set, one instruction for each call.

A program is a Python function that calls the methods of a machine. This machine writes down what is called;
that of :mod:`~glasslit.equivariance.kernels.emulator` does it at once in NumPy, for all threads together, which is how
the programs are tested where there is no GPU. Both know the same few operations:

* A program runs in blocks of one warp, 32 threads in step. Integers have 32 bits, addresses 64; numbers are all of
  one precision.
* Results are new registers, but for ``Writer.variable``, which ``Writer.assign`` writes to: what loops carry.
* ``for i in machine.loop(...)`` and ``for _ in machine.when(...)`` run their body in the threads that take part. Where
  threads may have parted, ``Writer.sync`` brings them together before they exchange anything.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence

WARP = 32
"""Threads of a block."""
REGISTERS = 168
"""Of a thread, at most, in single precision: so 12 warps fit a multiprocessor of 65,536."""
TARGET = (7, 5)
"""Lowest compute capability; CUDA 13 compiles for none below."""
VERSION = """.version 7.0
.target sm_75
.address_size 64
"""


class Writer:
    """One program under construction.

    Parameters
    ----------
    name : of the program
    pointers, integers : names of its arguments: addresses, then 32-bit integers, in this order
    double : float64 instead of float32
    """

    def __init__(self, name: str, pointers: Sequence[str], integers: Sequence[str], double: bool) -> None:
        self.name, self.double = name, double
        self.size, self.kind = (8, "f64") if double else (4, "f32")
        self.lines: list[str] = []
        self.used: Counter[str] = Counter()
        self.n_labels, self.shared_bytes = 0, 0
        self.parameters = [f".param .u64 {p}" for p in pointers] + [f".param .u32 {i}" for i in integers]
        self.arguments: dict[str, str] = {}
        for p in pointers:
            self.arguments[p] = self._make("rd", f"ld.param.u64 {{}}, [{p}];")
        for i in integers:
            self.arguments[i] = self._make("r", f"ld.param.u32 {{}}, [{i}];")
        self.lane = self._make("r", "mov.u32 {}, %tid.x;")
        self.block_x = self._make("r", "mov.u32 {}, %ctaid.x;")
        self.block_y = self._make("r", "mov.u32 {}, %ctaid.y;")

    def text(self) -> str:
        """The program; :data:`VERSION` goes before the first of a module."""
        prefix = {"f": f".{self.kind}", "r": ".b32", "rd": ".b64", "p": ".pred"}
        declared = [f".reg {prefix[kind]} %{kind}<{count}>;" for kind, count in sorted(self.used.items())]
        if self.shared_bytes:
            declared.append(f".shared .align 16 .b8 tile[{self.shared_bytes}];")
        limit = "" if self.double else f".maxnreg {REGISTERS}\n"
        body = "\n".join(["{", *declared, *self.lines, "ret;", "}"])
        return f".visible .entry {self.name}({', '.join(self.parameters)})\n.maxntid {WARP}, 1, 1\n{limit}{body}\n"

    def _register(self, kind: str) -> str:
        self.used[kind] += 1
        return f"%{kind}{self.used[kind] - 1}"

    def _make(self, kind: str, instruction: str) -> str:
        register = self._register(kind)
        self.lines.append(instruction.replace("{}", register, 1))
        return register

    def _label(self) -> str:
        self.n_labels += 1
        return f"{self.name}_{self.n_labels}"

    # Numbers.

    def number(self, value: float) -> str:
        """A constant, to the last bit."""
        if self.double:
            return f"0d{struct.pack('>d', value).hex().upper()}"
        return f"0f{struct.pack('>f', value).hex().upper()}"

    def mul(self, a: str, b: str) -> str:
        return self._make("f", f"mul.rn.{self.kind} {{}}, {a}, {b};")

    def add(self, a: str, b: str) -> str:
        return self._make("f", f"add.rn.{self.kind} {{}}, {a}, {b};")

    def fma(self, a: str, b: str, c: str | None) -> str:
        """a b + c, rounded once; a b where c is None."""
        if c is None:
            return self.mul(a, b)
        return self._make("f", f"fma.rn.{self.kind} {{}}, {a}, {b}, {c};")

    def neg(self, a: str) -> str:
        return self._make("f", f"neg.{self.kind} {{}}, {a};")

    def select(self, condition: str, a: str, b: str) -> str:
        """a where the condition holds, else b."""
        return self._make("f", f"selp.{self.kind} {{}}, {a}, {b}, {condition};")

    def variable(self, value: float) -> str:
        return self._make("f", f"mov.{self.kind} {{}}, {self.number(value)};")

    def assign(self, variable: str, value: str) -> None:
        self.lines.append(f"mov.{self.kind} {variable}, {value};")

    def accumulate(self, variable: str, a: str, b: str) -> None:
        """variable += a b."""
        self.lines.append(f"fma.rn.{self.kind} {variable}, {a}, {b}, {variable};")

    def not_positive(self, a: str) -> str:
        """Whether a <= 0; not so for what is no number."""
        return self._make("p", f"setp.le.{self.kind} {{}}, {a}, {self.number(0.0)};")

    def other_lane(self, a: str, bits: int) -> str:
        """The number that the thread with these bits of its number turned holds."""
        if not self.double:
            return self._make("f", f"shfl.sync.bfly.b32 {{}}, {a}, {bits}, 31, 0xffffffff;")
        low, high, low2, high2 = (self._register("r") for _ in range(4))
        self.lines.append(f"mov.b64 {{{low}, {high}}}, {a};")
        for source, target in ((low, low2), (high, high2)):
            self.lines.append(f"shfl.sync.bfly.b32 {target}, {source}, {bits}, 31, 0xffffffff;")
        return self._make("f", f"mov.b64 {{}}, {{{low2}, {high2}}};")

    # Integers, conditions and addresses; integers of the program may be Python's.

    def iadd(self, a: str | int, b: str | int) -> str:
        return self._make("r", f"add.s32 {{}}, {a}, {b};")

    def imul(self, a: str | int, b: str | int) -> str:
        return self._make("r", f"mul.lo.s32 {{}}, {a}, {b};")

    def imin(self, a: str | int, b: str | int) -> str:
        return self._make("r", f"min.s32 {{}}, {a}, {b};")

    def iand(self, a: str, b: int) -> str:
        return self._make("r", f"and.b32 {{}}, {a}, {b};")

    def shift(self, a: str, bits: int) -> str:
        """a / 2^bits, rounded down."""
        return self._make("r", f"shr.u32 {{}}, {a}, {bits};")

    def less(self, a: str | int, b: str | int) -> str:
        return self._make("p", f"setp.lt.s32 {{}}, {a}, {b};")

    def equal(self, a: str | int, b: str | int) -> str:
        return self._make("p", f"setp.eq.s32 {{}}, {a}, {b};")

    def both(self, a: str, b: str) -> str:
        return self._make("p", f"and.pred {{}}, {a}, {b};")

    def address(self, base: str, index: str, scale: int = 1) -> str:
        """``scale`` numbers, ``index`` times, behind ``base``."""
        return self._make("rd", f"mad.wide.s32 {{}}, {index}, {scale * self.size}, {base};")

    # Memory. Places are numbers behind an address.

    def load(self, base: str, place: int = 0, count: int = 1, kept: bool = True) -> list[str]:
        """``count`` numbers, 1 or 4; four lie at a multiple of 16 bytes.

        ``kept``: nobody writes there meanwhile. ptxas takes such loads out of loops, into registers that may be scarce.
        """
        space = "ld.global.nc" if kept else "ld.global"
        return self._load(space, base, place, count)

    def store(self, base: str, place: int, values: Sequence[str], condition: str | None = None) -> None:
        """One number or four, where the condition holds."""
        self._store("st.global", base, place, values, condition)

    def load_index(self, base: str, index: str) -> str:
        """A 64-bit integer of an array; what it holds fits into 32."""
        place = self._make("rd", f"mad.wide.s32 {{}}, {index}, 8, {base};")
        return self._make("r", f"ld.global.nc.u32 {{}}, [{place}];")

    def tile_address(self, index: str) -> str:
        """A place in the block's own memory."""
        start = self._make("r", "mov.u32 {}, tile;")
        return self._make("r", f"mad.lo.s32 {{}}, {index}, {self.size}, {start};")

    def tile_load(self, base: str, place: int, count: int = 1) -> list[str]:
        return self._load("ld.shared", base, place, count)

    def tile_store(self, base: str, place: int, values: Sequence[str]) -> None:
        self._store("st.shared", base, place, values, None)

    def tile_reserve(self, numbers: int) -> None:
        """The block's own memory holds at least so many numbers."""
        self.shared_bytes = max(self.shared_bytes, numbers * self.size)

    def _pieces(self, count: int) -> list[int]:
        return [1] if count == 1 else [2] * (count // 2) if self.double else [4] * (count // 4)

    def _load(self, space: str, base: str, place: int, count: int) -> list[str]:
        found: list[str] = []
        for width in self._pieces(count):
            registers, at = [self._register("f") for _ in range(width)], self.size * (place + len(found))
            vector = "" if width == 1 else f".v{width}"
            into = registers[0] if width == 1 else f"{{{', '.join(registers)}}}"
            self.lines.append(f"{space}{vector}.{self.kind} {into}, [{base}+{at}];")
            found += registers
        return found

    def _store(self, space: str, base: str, place: int, values: Sequence[str], condition: str | None) -> None:
        done, guard = 0, f"@{condition} " if condition else ""
        for width in self._pieces(len(values)):
            part, at = values[done : done + width], self.size * (place + done)
            vector = "" if width == 1 else f".v{width}"
            what = part[0] if width == 1 else f"{{{', '.join(part)}}}"
            self.lines.append(f"{guard}{space}{vector}.{self.kind} [{base}+{at}], {what};")
            done += width

    # Control.

    def loop(self, start: str | int, stop: str | int, step: int) -> Iterator[str]:
        """start, start + step, ... below stop; each thread has its own."""
        counter, done = self._make("r", f"mov.u32 {{}}, {start};"), self._register("p")
        again, end = self._label(), self._label()
        self.lines += [f"{again}:", f"setp.ge.s32 {done}, {counter}, {stop};", f"@{done} bra {end};"]
        yield counter
        self.lines += [f"add.s32 {counter}, {counter}, {step};", f"bra {again};", f"{end}:"]

    def when(self, condition: str) -> Iterator[None]:
        """The body once, in the threads where the condition holds."""
        end = self._label()
        self.lines.append(f"@!{condition} bra {end};")
        yield None
        self.lines.append(f"{end}:")

    def sync(self) -> None:
        """All threads of the warp come here, and see what the others stored."""
        self.lines.append("bar.warp.sync 0xffffffff;")
