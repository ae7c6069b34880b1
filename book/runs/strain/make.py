"""Strained glasses, and the strains that relaxed weights read from them: what the chapter on relaxed weights shows.

    python book/runs/strain/make.py

Writes ``readings.json`` with a provenance card, and the three calibrated networks, beside this file. About four minutes
of one core. The chapter says what is done here, and why.

1. Calibration: training configurations of the starter set, distorted and strained at random, energies from the exact
   potential. A network learns them with its relaxed weights set to the strain that was applied.
2. Reading: test configurations, strained and run at their own temperature in the strained box. The network stays as it
   is, and five weights are fitted to the energies.
3. From zero: networks and relaxed weights that are trained together, on configurations of one strain.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

import glasslit as gl
from glasslit import provenance
from glasslit.equivariance.relaxed_weights import (
    read_weights,
    tensor_of,
    weights_of,
)
from glasslit.liquid.strain import (
    pure_shear,
    seen_in,
    strain_tensor,
    stretch,
    uniaxial,
)
from glasslit.models.potential import (
    Potential,
    PotentialConfig,
    exact,
    save_potential,
)
from glasslit.simulate import equilibrate
from glasslit.simulate.engines import make_engine

HERE = Path(__file__).resolve().parent
TEMPERATURES = (0.44, 0.47, 0.50, 0.56)
SEEDS = (0, 1, 2)
UNIT = 0.005  # a relaxed weight of 1 stands for this much of degree 2 in the strain, so that weights are of order 1
LARGEST = 0.06  # norm of the strain in calibration
DRAWS = 5  # of strains for each training configuration
EPOCHS = {"calibration": 6, "from zero": 30}  # both are 420 steps
RATE = 0.01
RUN = 1.0  # Lennard-Jones times at constant temperature after straining
CASES = {
    "none": np.ones(3),
    "x +0.1 %": uniaxial(0.001, "x"),
    "x +0.3 %": uniaxial(0.003, "x"),
    "x +1 %": uniaxial(0.01, "x"),
    "x +3 %": uniaxial(0.03, "x"),
    "z -1 %": uniaxial(-0.01, "z"),
    "z -3 %": uniaxial(-0.03, "z"),
    "shear x y 3 %": pure_shear(0.03, "x", "y"),
}
CONFIG = PotentialConfig(
    layers=1,
    channels=8,
    l_max=2,
    cutoff=2.0,
    n_basis=10,
    neighbors=40.0,
    relaxed=2,
)


def random_stretches(rng):
    """Of a random strain without change of volume, along the edges."""
    logarithms = rng.normal(size=3)
    logarithms -= logarithms.mean()
    return np.exp(
        logarithms / np.linalg.norm(logarithms) * rng.uniform(0, LARGEST)
    )


def weights_for(stretches):
    """The relaxed weights of a strain."""
    return weights_of(torch.tensor(strain_tensor(stretches))) / UNIT


def with_energies(configuration):
    return configuration.replace(
        potential_energy_thermal=exact(configuration)[0]
    )


def labelled_graph(net, configuration):
    graph = net.graph(configuration)
    graph.y = torch.tensor(
        configuration.potential_energy_thermal, dtype=torch.float32
    )
    return graph


def fit(net, graphs, epochs, seed, weights=None):
    """Train on energies; with ``weights``, one set for each graph, the relaxed ones are set and not learned."""
    energies = torch.cat([g.y for g in graphs])
    net.target_mean.fill_(energies.mean())
    net.scale.fill_(energies.std())
    learned = [
        p
        for name, p in net.named_parameters()
        if weights is None or name != "relaxed_weights"
    ]
    adam = torch.optim.Adam(learned, RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        adam, RATE, total_steps=epochs * len(graphs)
    )
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        for k in rng.permutation(len(graphs)):
            if weights is not None:
                with torch.no_grad():
                    net.relaxed_weights[3:] = weights[k]
            loss = (
                (net.energies(graphs[k], graphs[k].vector) - graphs[k].y)
                .square()
                .mean()
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
    return net.eval().requires_grad_(False)


def predictor(net, graph):
    def predict(weights):
        net.relaxed_weights[3:] = weights
        return net.energies(graph, graph.vector)

    return predict


def thermal(configurations, stretches, engine):
    """Strained, run in the strained box, with energies; and then seen as if the box were the old one."""
    found = []
    for number, c in enumerate(configurations):
        after = equilibrate(
            stretch(c, stretches),
            c.temperature,
            RUN,
            seed=number,
            engine=engine,
        )
        found.append(seen_in(with_energies(after), c.box))
    return found


def main():
    began = time.monotonic()
    tell = lambda text: print(
        f"{time.monotonic() - began:6.0f} s  {text}",
        file=sys.stderr,
        flush=True,
    )
    configurations = [c for t in TEMPERATURES for c in gl.load("starter", T=t)]
    train = [c for c in configurations if c.split == "train"]
    test = [c for c in configurations if c.split == "test"]
    engine = make_engine("lammps", "force-shifted", workers=1)
    shape = Potential(CONFIG)

    rng = np.random.default_rng(0)
    graphs, weights = [], []
    for c in train:
        for _ in range(DRAWS):
            distorted, stretches = (
                stretch(c, random_stretches(rng)),
                random_stretches(rng),
            )
            real = with_energies(stretch(distorted, stretches))
            graphs.append(labelled_graph(shape, seen_in(real, distorted.box)))
            weights.append(weights_for(stretches))
    tell(f"{len(graphs)} graphs for calibration")
    nets = {}
    for seed in SEEDS:
        torch.manual_seed(seed)
        nets[seed] = fit(
            Potential(CONFIG), graphs, EPOCHS["calibration"], seed, weights
        )
        tell(f"calibrated, seed {seed}")
    spread = float(torch.cat([g.y for g in graphs]).std())
    del graphs

    rows = []
    for case, stretches in CASES.items():
        graphs = [
            labelled_graph(shape, c) for c in thermal(test, stretches, engine)
        ]
        for seed, net in nets.items():
            for number, graph in enumerate(graphs):
                reading = read_weights(predictor(net, graph), graph.y)
                rows.append(
                    {
                        "case": case,
                        "seed": seed,
                        "configuration": number,
                        "strain": (tensor_of(reading.weights) * UNIT).tolist(),
                        "weights": (reading.weights * UNIT).tolist(),
                        "errors": (reading.errors * UNIT).tolist(),
                        "residual": reading.residual,
                    }
                )
        tell(f"read {case}")
    for seed, net in nets.items():
        with torch.no_grad():
            net.relaxed_weights.zero_()
        save_potential(net, HERE / f"seed{seed}.pt")

    zero = []
    for case in ("x +3 %", "none"):
        graphs = [
            labelled_graph(shape, c)
            for c in thermal(train, CASES[case], engine)
        ]
        for seed in SEEDS:
            torch.manual_seed(seed)
            net = fit(Potential(CONFIG), graphs, EPOCHS["from zero"], seed)
            error = torch.cat([net.energies(g, g.vector) - g.y for g in graphs])
            found = net.relaxed_weights.double()
            zero.append(
                {
                    "case": case,
                    "seed": seed,
                    "vector": found[:3].tolist(),
                    "tensor": tensor_of(found[3:]).tolist(),
                    "training_error": float(error.square().mean().sqrt()),
                }
            )
            tell(f"from zero: {case}, seed {seed}")

    parameters = {
        "data": "starter", "T": list(TEMPERATURES), "unit": UNIT, "largest": LARGEST, "draws": DRAWS, "epochs": EPOCHS,
        "rate": RATE, "run": RUN, "model": CONFIG.__dict__, "seeds": list(SEEDS),
        "cases": {case: stretches.tolist() for case, stretches in CASES.items()},
    }  # fmt: skip
    provenance.write_json(
        HERE / "readings.json",
        {
            "card": provenance.card(
                parameters,
                data=provenance.data_hash(
                    c.hash() for c in configurations
                ),
                device="cpu",
                seed=0,
                seconds=time.monotonic() - began,
            ),
            "energy_spread": spread,
            "readings": rows,
            "from_zero": zero,
        },
    )


if __name__ == "__main__":
    main()
