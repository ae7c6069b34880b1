"""Reads PTX as its manual says and runs it in NumPy: a second opinion on what the package's writer writes down.

It knows the few instructions that the GPU kernel uses and nothing of how they came about. Each thread of a warp has its
own place in the program; the threads furthest behind go first, so those that parted meet where they can.
"""

import re
import struct

import numpy as np

LANES = np.arange(32)
INTEGERS = {"s32": np.int32, "u32": np.uint32, "b32": np.uint32, "u64": np.uint64, "b64": np.uint64}
FLOATS = {"f32": np.float32, "f64": np.float64}


class Program:
    """One ``.entry`` of a module."""

    def __init__(self, text):
        self.parameters = re.findall(r"\.param \.u(64|32) (\w+)", text.split("\n.maxntid")[0])
        body = text[text.index("{\n") + 2 : text.rindex("}")].split("\n")
        self.shared = int((re.findall(r"\.shared \.align 16 \.b8 tile\[(\d+)\];", text) or ["0"])[0])
        self.code, self.labels = [], {}
        for line in (line.strip() for line in body):
            if line.endswith(":"):
                self.labels[line[:-1]] = len(self.code)
            elif line and not line.startswith("."):
                self.code.append(self.parse(line))

    @staticmethod
    def parse(line):
        guard, rest = re.fullmatch(r"(?:@(!?%p\d+) )?(.*);", line).groups()
        name, _, operands = rest.partition(" ")
        operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", operands)
        return guard, name.split("."), operands

    def run(self, grid, arguments, memory):
        """``arguments`` by name; ``memory``: (first address, array of bytes) of each tensor."""
        for y in range(grid[1]):
            for x in range(grid[0]):
                Warp(self, (x, y), arguments, memory).run()


class Warp:
    def __init__(self, program, block, arguments, memory):
        self.program, self.block, self.arguments, self.memory = program, block, arguments, memory
        self.registers, self.tile = {}, np.zeros(program.shared, dtype=np.uint8)

    def run(self):
        place, end = np.zeros(32, dtype=int), len(self.program.code)
        while (place < end).any():
            here = place.min()
            lanes = place == here
            guard, name, operands = self.program.code[here]
            place[lanes] += 1
            if guard:
                lanes = lanes & (self.registers[guard.lstrip("!")] != guard.startswith("!"))
            if name[0] == "bra":
                place[lanes] = self.program.labels[operands[0]]
            elif name[0] == "ret":
                place[lanes] = end
            elif name[0] == "bar" or (name[0] == "shfl" and operands[-1] == "0xffffffff"):
                assert lanes.all(), "a warp's threads meet while some are elsewhere"
            if name[0] not in ("bra", "ret", "bar") and lanes.any():
                self.step(name, operands, lanes)

    def value(self, text, kind):
        """An operand, 32 numbers."""
        dtype = FLOATS.get(kind) or INTEGERS[kind]
        if text.startswith(("0f", "0d")):
            number = struct.unpack(">f" if text[1] == "f" else ">d", bytes.fromhex(text[2:]))[0]
            return np.full(32, number, dtype=dtype)
        special = {"%tid.x": LANES, "%ctaid.x": self.block[0], "%ctaid.y": self.block[1], "tile": 0}
        if text in special:
            return np.broadcast_to(np.asarray(special[text]).astype(dtype), 32)
        if text.startswith("%"):
            return self.registers[text].view(dtype)
        return np.full(32, int(text)).astype(dtype)

    def write(self, register, value, lanes):
        value = np.broadcast_to(value, 32)
        before = self.registers.get(register)
        if before is None:
            before = np.zeros(32, dtype=value.dtype)
        self.registers[register] = np.where(lanes, value, before.view(value.dtype))

    def step(self, name, operands, lanes):
        operation, kind, a = name[0], name[-1], operands
        if operation == "ld" and name[1] == "param":
            number = self.arguments[a[1].strip("[]")]
            self.write(a[0], np.full(32, number).astype(INTEGERS[kind]), lanes)
        elif operation in ("ld", "st"):
            self.move(operation, name, a, lanes)
        elif operation == "mov" and a[0].startswith("{"):
            parts = self.value(a[1], "b64").copy().view(np.uint32).reshape(32, 2)
            for n, register in enumerate(a[0].strip("{}").split(", ")):
                self.write(register, parts[:, n].copy(), lanes)
        elif operation == "mov" and a[1].startswith("{"):
            low, high = (self.value(register, "b32") for register in a[1].strip("{}").split(", "))
            self.write(a[0], np.stack([low, high], axis=1).copy().view(np.float64).reshape(32), lanes)
        elif operation == "shfl":
            assert name[1:] == ["sync", "bfly", "b32"]
            assert a[3:] == ["31", "0xffffffff"]
            found = self.registers[a[1]]
            self.write(a[0], found[LANES ^ int(a[2])], lanes)
        elif operation == "setp":
            left, right = self.value(a[1], kind), self.value(a[2], kind)
            compare = {"lt": np.less, "le": np.less_equal, "eq": np.equal, "ge": np.greater_equal}[name[1]]
            self.write(a[0], compare(left, right), lanes)
        elif operation == "selp":
            chosen = np.where(self.registers[a[3]], self.value(a[1], kind), self.value(a[2], kind))
            self.write(a[0], chosen, lanes)
        elif kind == "pred":
            self.write(a[0], self.registers[a[1]] & self.registers[a[2]], lanes)
        elif operation == "mad" and name[1] == "wide":
            factors = [self.value(register, "s32").astype(np.int64) for register in a[1:3]]
            self.write(a[0], (factors[0] * factors[1]).view(np.uint64) + self.value(a[3], "u64"), lanes)
        else:
            values = [self.value(text, kind) for text in a[1:]]
            compute = {
                "mov": lambda x: x, "neg": lambda x: -x, "add": lambda x, y: x + y, "mul": lambda x, y: x * y,
                "fma": lambda x, y, z: x * y + z, "mad": lambda x, y, z: x * y + z, "min": np.minimum,
                "and": np.bitwise_and, "shr": np.right_shift,
            }[operation]  # fmt: skip
            self.write(a[0], compute(*values), lanes)

    def move(self, operation, name, operands, lanes):
        place, registers = operands[::-1] if operation == "ld" else operands
        kind, width = name[-1], next((int(part[1]) for part in name if part in ("v2", "v4")), 1)
        dtype = np.dtype(FLOATS.get(kind) or INTEGERS[kind])
        base, _, offset = place.strip("[]").partition("+")
        shared = name[1] == "shared"
        addresses = self.value(base, "u32" if shared else "u64").astype(np.int64) + int(offset or 0)
        for lane in np.flatnonzero(lanes):
            address = int(addresses[lane])
            assert address % (width * dtype.itemsize) == 0
            for n, register in enumerate(registers.strip("{}").split(", ")):
                cell = self.cell(address + n * dtype.itemsize, dtype.itemsize, shared)
                if operation == "ld":
                    if register not in self.registers or self.registers[register].dtype.itemsize != dtype.itemsize:
                        self.registers[register] = np.zeros(32, dtype=dtype)
                    self.registers[register] = self.registers[register].view(dtype).copy()
                    self.registers[register][lane] = cell.view(dtype)[0]
                else:
                    cell[:] = self.value(register, kind)[lane : lane + 1].copy().view(np.uint8)

    def cell(self, address, size, shared):
        """The bytes at an address."""
        if shared:
            assert 0 <= address <= len(self.tile) - size
            return self.tile[address : address + size]
        for first, data in self.memory:
            if first <= address <= first + len(data) - size:
                return data[address - first : address - first + size]
        raise AssertionError("outside of all tensors")
