"""Instructions of the GPU engine's inner loops, counted in machine code for an H100 or H200. Needs no GPU.

    python benchmarks/count_gpu_instructions.py [--package FOLDER --name NAME] [--out FILE.json]

numba-cuda compiles the kernels to PTX (``pip install 'glasslit[gpu]'``); ``ptxas`` assembles it and ``nvdisasm``
reads the machine code, both from Triton's wheel. The loop over pairs is the innermost one with a reciprocal root; the
loop over candidates, which makes the neighbor lists, is the innermost one that converts coordinates and takes no
root. Its count holds what is done with a candidate that is taken, too, which most are not. ``--package`` takes
another checkout, so that the counts of two versions stand side by side in one file.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

REGISTERS = 64


def signature(kernel, real):
    """Types of a kernel's arguments, by their names."""
    from numba import float32, float64, int32, int64, types, uint16, uint64
    from numba.cuda.random import xoroshiro128p_type

    def a(kind, dimensions):
        return types.Array(kind, dimensions, "C")

    names = kernel.py_func.__code__.co_varnames[: kernel.py_func.__code__.co_argcount]
    old = "first_of" in names  # before November 2026
    kinds = {
        "steps": int64, "dt": float32, "skin": float32, "keep": float32, "tolerance": float64, "heat": a(float32, 1),
        "x": a(int32, 3), "reference": a(int32, 3), "travelled": a(int64, 3), "scale": a(float64, 1),
        "table": a(float64 if old else real, 3), "limits": a(float32, 2), "border": int32, "rows": a(int32, 1),
        "first_of": a(int32, 1), "cells": a(int32, 1), "neighbors": a(uint16, 1), "words": a(uint64, 1),
        "counts": a(uint16, 3 if old else 1), "wrong": a(int32, 1), "random": a(xoroshiro128p_type, 1),
        "force": a(real, 3), "energy": a(real, 2), "parts": a(float64, 3), "state": a(float64, 2),
        "v": a(real if "tolerance" in names else float32, 3),
    }  # fmt: skip
    return tuple(kinds[name] for name in names)


def tools() -> tuple[str, str]:
    """ptxas and nvdisasm of Triton's wheel."""
    import triton

    folder = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    return str(folder / "ptxas"), str(folder / "nvdisasm")


def machine_code(kernel, real, fast: bool) -> tuple[list[str], dict[str, int]]:
    """Instructions and labels of a kernel, and what ptxas says of registers and spills."""
    from numba import cuda

    ptx, _ = cuda.compile_ptx(kernel.py_func, signature(kernel, real), cc=(9, 0), fastmath=fast)
    ptxas, nvdisasm = tools()
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(re.sub(r"^\.version \d\.\d", ".version 8.4", ptx, flags=re.M))
        command = [ptxas, "-arch=sm_90", "-v", f"--maxrregcount={REGISTERS}", str(source), "-o", str(binary)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        text = subprocess.run([nvdisasm, "-c", str(binary)], capture_output=True, text=True, check=True).stdout
    found = {
        "registers": int(re.findall(r"Used (\d+) registers", said)[-1]),
        "bytes spilled": int(re.findall(r"(\d+) bytes spill stores", said)[-1]),
    }
    lines = [re.sub(r"/\*.*?\*/", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith(".L_x") or line.endswith(";")], found


def loops(code: list[str]) -> list[list[str]]:
    """Bodies of loops: from a label to a branch back to it; short ones first."""
    places = {line.rstrip(":"): at for at, line in enumerate(code) if line.startswith(".L_x")}
    found = []
    for at, line in enumerate(code):
        target = re.search(r"BRA `\((\.L_x_\d+)\)", line)
        if target and places.get(target.group(1), at) < at:
            found.append([one for one in code[places[target.group(1)] : at + 1] if one.endswith(";")])
    return sorted(found, key=len)


def opcode(line: str) -> str:
    """The instruction without predicate and modifiers."""
    return re.sub(r"^@!?U?P\d+ ", "", line).split()[0].split(".")[0]


def summary(body: list[str], per: float) -> dict[str, float]:
    """Instructions of a loop for each of the ``per`` pairs that one turn of it works on."""
    codes = [opcode(line) for line in body]
    count = {
        name: codes.count(name) / per for name in ("LDS", "LDG", "MUFU", "I2FP", "I2F", "F2F", "DSETP", "BRA", "BSYNC")
    }
    return {"instructions": len(codes) / per, **{name: value for name, value in count.items() if value}}


def count_kernels(build) -> dict[str, dict]:
    """Counts of each kernel's loops."""
    import numpy as np
    from numba import float32, float64

    result = {}
    for name, real, kind, fast in (
        ("advance", np.float32, float32, True),
        ("fire", np.float32, float32, False),
        ("fire", np.float64, float64, False),
    ):
        code, found = machine_code(getattr(build(real, False), name), kind, fast)
        bodies = loops(code)
        roots = [
            b
            for b in bodies
            if any("MUFU.RSQ" in o or "MUFU.SQRT" in o for o in b) and sum("LDS" in o for o in b) >= 12
        ]
        turns = [b for b in bodies if any("I2F" in o for o in b) and not any("MUFU" in o or "STS" in o for o in b)]
        result[f"{name} {np.dtype(real).name}"] = found | {
            "loop over pairs": summary(roots[0], 4) if roots else None,
            "loop over candidates": summary(turns[0], sum("I2F" in o for o in turns[0]) / 3) if turns else None,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=Path, default=Path(__file__).parents[1], help="folder with another glasslit/")
    parser.add_argument("--name", default="now")
    parser.add_argument("--out", type=Path, help="JSON file; what others have put there stays")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.package))
    import numba.cuda.dispatcher as dispatcher

    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=(9, 0))  # whom device functions are for
    from glasslit.simulate import gpu_code

    counts = count_kernels(gpu_code.build)
    print(json.dumps(counts, indent=1))
    if arguments.out:
        kept = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        kept[arguments.name] = counts
        arguments.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
