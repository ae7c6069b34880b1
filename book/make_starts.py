"""Make starting positions as those of the starter data set: one chain, cooled in steps from a molten lattice.

    python book/make_starts.py 3 runs/chain-3

The number seeds the chain. After each thousand time units a file is kept, from which a killed chain
goes on. Three quarters of an hour of one core. The configuration to use is the last one of each
temperature, 0.56 and below; chain 3 validates in the starter set.
"""

import argparse
from pathlib import Path

import glasslit as gl
from glasslit.simulate import equilibrate
from glasslit.simulate.factory import HOT, lattice
from glasslit.simulate.lammps import LammpsEngine

RAMP, SEGMENT = 300.0, 1000.0
STAYS = {
    HOT: 100.0,
    1.0: 100.0,
    0.70: 200.0,
    0.56: 500.0,  # here and below, what stands at the end of a stay is used
    0.50: 1500.0,
    0.47: 3500.0,
    0.44: 15000.0,
}


def chain(number: int, folder: Path) -> None:
    """Cool one chain; files that are there are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = LammpsEngine("force-shifted", workers=1)
    now = lattice(1000, seed=number)
    now = now.replace(
        positions=engine.minimize(now.positions, now.types, now.box)
    )
    seed = 1000 * number
    for temperature, stay in STAYS.items():
        ramp, begin = RAMP * (temperature != HOT), 0.0
        for end in [*range(int(SEGMENT), int(stay), int(SEGMENT)), stay]:
            seed += 1
            path = folder / f"T{temperature:.2f}-{end:05.0f}.h5"
            if path.is_file():
                now = gl.load(path)[0]
            else:
                now = equilibrate(
                    now,
                    temperature,
                    end - begin,
                    ramp=ramp,
                    seed=seed,
                    engine=engine,
                )
                gl.save(path, [now], name=f"chain {number}")
                print(path, flush=True)
            ramp, begin = 0.0, end


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chain", type=int, help="number of the chain, its seed")
    parser.add_argument("folder", type=Path, help="where its files are kept")
    arguments = parser.parse_args()
    chain(arguments.chain, arguments.folder)
