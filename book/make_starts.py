"""Make starting positions as those of the starter data set: one chain, cooled in steps from a molten lattice.

    python book/make_starts.py 3 runs/chain-3

The number seeds the chain. After each thousand time units a file is kept, from which a killed chain
goes on. Three quarters of an hour of one core as far as the first configuration at T = 0.44; the
configurations to use are those at the times in KEPT, counted from the end of a ramp.
"""

import argparse
from pathlib import Path

import glasslit as gl
from glasslit.simulate import equilibrate
from glasslit.simulate.factory import HOT, lattice
from glasslit.simulate.lammps import LammpsEngine

RAMP = 300.0
STAYS = {1.0: 100.0, 0.70: 200.0}  # only passed through
KEPT = {
    0.56: (500.0,),
    0.50: (1500.0,),
    0.47: (3500.0,),
    0.44: (15000.0,),
}
SEGMENT = 1000.0


def segments(temperature: float) -> list[tuple[float, float]]:
    """(time after the ramp at the end, duration) of each piece of a stay."""
    marks = sorted(KEPT.get(temperature, (STAYS.get(temperature, 100.0),)))
    ends = sorted({*marks, *range(1000, int(marks[-1]), int(SEGMENT))})
    return [
        (end, end - begin)
        for begin, end in zip([0.0, *ends], ends, strict=False)
    ]


def chain(number: int, folder: Path) -> None:
    """Cool one chain; files that are there are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = LammpsEngine("force-shifted", workers=1)
    now = lattice(1000, seed=number)
    now = now.replace(
        positions=engine.minimize(now.positions, now.types, now.box)
    )
    seed = 1000 * number
    for temperature in (HOT, *STAYS, *KEPT):
        for time, duration in segments(temperature):
            seed += 1
            path = folder / f"T{temperature:.2f}-{time:05.0f}.h5"
            if path.is_file():
                now = gl.load(path)[0]
                continue
            arrives = time == segments(temperature)[0][0]
            ramp = RAMP if arrives and temperature != HOT else 0.0
            now = equilibrate(
                now, temperature, duration, ramp=ramp, seed=seed, engine=engine
            )
            gl.save(path, [now], name=f"chain {number}")
            print(path, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chain", type=int, help="number of the chain, its seed")
    parser.add_argument("folder", type=Path, help="where its files are kept")
    arguments = parser.parse_args()
    chain(arguments.chain, arguments.folder)
