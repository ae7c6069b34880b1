"""Reading trajectories frame by frame: glasslit beside ASE on the same files, time and memory.

    python benchmarks/bench_reading.py [--frames 100] [--repeats 5] [--folder FOLDER]

A LAMMPS text dump (id type x y z ix iy iz, rows in an order that changes, as LAMMPS writes them) and an extended XYZ
(by ASE itself) of the same snapshots of 4096 particles. Nothing is kept of a frame once it has been read. ASE's
``ase.io.iread`` reads extended XYZ frame by frame, but makes all frames of a dump before it hands out the first: there
the generator beneath is measured, too, which does not. Readers take turns, whose times have a minimum and a median;
peaks are of processes of their own.

It is not quite the same that they do: of a dump ASE leaves out the image flags, so that its positions stay wrapped, and
does not look whether a particle is missing; glasslit unwraps and checks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase.io.lammpsrun import iread_lammps_dump_text
from common import machine, peak_memory, save, table

import glasslit as gl
from glasslit.data.trajectory import iterate_trajectory
from glasslit.provenance import data_hash

FORMATS = {"lammps-dump-text": "liquid.dump", "extxyz": "liquid.extxyz"}
TYPES: dict[str, dict[int | str, str | int]] = {
    "lammps-dump-text": {1: "A", 2: "B"},
    "extxyz": {"H": "A", "He": "B"},
}


def write(folder: Path, start: gl.Configuration, frames: int) -> None:
    """A walk that begins at the configuration, in both formats."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, positions, box = np.random.default_rng(0), start.positions.copy(), start.box
    ids = np.arange(1, start.n_particles + 1)
    bounds = "".join(f"0 {edge:.16g}\n" for edge in box)
    with open(folder / FORMATS["lammps-dump-text"], "w") as dump, open(folder / FORMATS["extxyz"], "w") as xyz:
        for step in range(frames):
            order = rng.permutation(start.n_particles)
            images = np.floor(positions / box).astype(int)
            columns = (ids, start.types + 1, positions - images * box, images)
            dump.write(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{start.n_particles}\n")
            dump.write(f"ITEM: BOX BOUNDS pp pp pp\n{bounds}ITEM: ATOMS id type x y z ix iy iz\n")
            np.savetxt(dump, np.column_stack(columns)[order], fmt="%d %d %g %g %g %d %d %d")  # %g: as LAMMPS does
            atoms = ase.Atoms(numbers=start.types + 1, positions=positions, cell=box, pbc=True, info={"step": step})
            atoms.set_array("id", ids)
            ase.io.write(xyz, atoms[order], format="extxyz")
            positions += rng.normal(scale=0.1, size=positions.shape)


def by_glasslit(path: Path, format: str) -> Iterator[gl.Configuration]:
    return iterate_trajectory(path, TYPES[format])


def by_ase(path: Path, format: str) -> Iterator[ase.Atoms]:
    return ase.io.iread(path, index=":", format=format)


def by_generator(path: Path, format: str) -> Iterator[ase.Atoms]:
    with open(path) as file:
        yield from iread_lammps_dump_text(file, index=slice(None))


Reader = Callable[[Path, str], Iterator[Any]]
READERS: dict[str, dict[str, Reader]] = {
    "lammps-dump-text": {"glasslit": by_glasslit, "ase.io.iread": by_ase, "iread_lammps_dump_text": by_generator},
    "extxyz": {"glasslit": by_glasslit, "ase.io.iread": by_ase},
}


def run_through(folder: Path, format: str, reader: str) -> None:
    """Read all frames and keep none."""
    deque(READERS[format][reader](folder / FORMATS[format], format), maxlen=0)


def alone(folder: str, format: str, reader: str) -> None:
    """Peak of this process, printed."""
    with tempfile.TemporaryDirectory() as small:
        write(Path(small), gl.testing.random_liquid(50, seed=1), 2)
        run_through(Path(small), format, reader)  # imports what is imported at first use
    print(json.dumps(peak_memory(lambda: run_through(Path(folder), format, reader), "cpu")))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files go, 40 MB (default: a temporary folder)")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        return alone(*arguments.alone)
    begun, rows = time.time(), []
    start = gl.load("standard", T=0.56, split="test")[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        write(folder, start, arguments.frames)
        for format, name in FORMATS.items():
            taken: dict[str, list[float]] = {reader: [] for reader in READERS[format]}
            for _ in range(arguments.repeats):
                for reader, times in taken.items():
                    before = time.perf_counter()
                    run_through(folder, format, reader)
                    times.append(time.perf_counter() - before)
            for reader, times in taken.items():
                words = [sys.executable, __file__, "--alone", str(folder), format, reader]
                told = subprocess.run(words, capture_output=True, text=True, check=True)
                above, process = json.loads(told.stdout.splitlines()[-1])
                row = {"format": format, "reader": reader, "N": start.n_particles, "frames": arguments.frames}
                row |= {"file_MB": (folder / name).stat().st_size / 1e6, "least_s": min(times)}
                row |= {"median_s": statistics.median(times), "ratio_to_glasslit": min(times) / min(taken["glasslit"])}
                row |= {"above_MB": above / 1e6, "process_MB": process / 1e6}
                rows.append(row)
        print(table(rows, list(rows[0])), flush=True)
    content = {
        "settings": {"frames": arguments.frames, "repeats": arguments.repeats, "ase": ase.__version__},
        "data": data_hash([start.hash()]),
        "seconds": time.time() - begun,
        "rows": rows,
    }
    print(machine(), save("reading", "cpu", content), sep="\n")


if __name__ == "__main__":
    main()
