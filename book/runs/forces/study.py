"""The stored study of *Forces* (learning curves, dynamics) and *Angles or depth?*

    python book/runs/forces/study.py [JOB ...]

Each job is kept in ``results.json`` when it is finished, with a card of its own,
and is not done again. Without names, all jobs are done, in the order of ``JOBS``.
Several of these may run at once, with different names.
The liquids are made first, 160 particles each, by the package's label factory.
"""

import fcntl
import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from ase.md.verlet import VelocityVerlet
from torch import nn

import glasslit as gl
from glasslit.learning.forces import fit_potential, force_errors
from glasslit.liquid.kob_andersen import SIGMA
from glasslit.liquid.structure import radial_distribution
from glasslit.models.potential import (
    Potential,
    PotentialConfig,
    exact,
    load_potential,
    save_potential,
)
from glasslit.names import did_you_mean
from glasslit.prediction.calculator import (
    KobAndersen,
    LearnedPotential,
    _Liquid,
)
from glasslit.provenance import card, data_hash, write_json
from glasslit.simulate.engines import make_engine
from glasslit.simulate.factory import lattice
from glasslit.simulate.protocol import maxwell_boltzmann

HERE = Path(__file__).resolve().parent
N, T = 160, 0.64
SPLITS = {"train": 8, "val": 4, "test": 8}
STEPS, EPOCH = 240, 24  # an epoch is as many steps, whatever the set
NUMBERS, DEGREES, SEEDS = (1, 2, 4, 8), (0, 1, 2), (0, 1, 2)
STRENGTH, REACH, COSINE = 4.0, 2.0, -1 / 3
TIMESTEP, EVERY = 0.005, 5


def make_liquids():
    """Configurations that share no past, written to ``liquids.h5``."""
    engine, made = make_engine("auto", "force-shifted"), []
    splits = [name for name, n in SPLITS.items() for _ in range(n)]
    for seed, split in enumerate(splits):
        start = lattice(N, seed=seed).replace(temperature=2.0, split=split)
        made.append(
            gl.simulate.equilibrate(
                start, T, 60.0, ramp=20.0, seed=seed, engine=engine
            )
        )
    gl.save(
        HERE / "liquids.h5",
        made,
        name="forces",
        licence="MIT",
        citation="glasslit",
    )


def liquids(split):
    return gl.load(HERE / "liquids.h5", split=split)


@torch.enable_grad()
def angles(configuration):
    r"""Energies and forces that depend on angles between neighbors.

    E_i = (lambda / 2) sum_{j, k != j} f(r_ij) f(r_ik) (cos theta_jik + 1/3)^2
    with f(r) = (1 - (r / 2)^2)^3 below r = 2.
    """
    c = configuration
    x = torch.tensor(c.positions, dtype=torch.float64, requires_grad=True)
    box = torch.tensor(c.box, dtype=torch.float64)
    apart = x[None] - x[:, None]
    apart = apart - box * torch.round(apart / box)
    squared = apart.square().sum(-1) + 9 * REACH**2 * torch.eye(len(x))
    i, j = torch.nonzero(squared < REACH**2, as_tuple=True)
    r = squared[i, j].sqrt()
    f = (1 - (r / REACH) ** 2) ** 3
    u = apart[i, j] / r[:, None]

    def over_neighbors(values):
        shape = (len(x), values.shape[1])
        return torch.zeros(shape, dtype=x.dtype).index_add(0, i, values)

    # The square of a sum over neighbors is a sum over pairs of them, in which
    # each neighbor is paired with itself, too: that part is taken away.
    f = f[:, None]
    outer = (u[:, :, None] * u[:, None]).flatten(1)
    zero, one, two = (
        over_neighbors(v).square().sum(1) for v in (f, f * u, f * outer)
    )
    itself = (1 - COSINE) ** 2 * over_neighbors(f**2)[:, 0]
    energy = two - 2 * COSINE * one + COSINE**2 * zero - itself
    energy = STRENGTH / 2 * energy
    (slope,) = torch.autograd.grad(energy.sum(), x)
    return energy.detach().numpy(), -slope.numpy()


def with_angles(configuration):
    """Kob-Andersen and :func:`angles` together."""
    pairs, more = exact(configuration), angles(configuration)
    return pairs[0] + more[0], pairs[1] + more[1]


TRUTHS = {"pairs": exact, "angles": with_angles}


class DirectForces(Potential):
    """The same layers, whose last vectors are read as forces: no energy."""

    def __init__(self, config):
        super().__init__(config)
        self.reading = nn.Linear(config.channels, 1, bias=False)

    def forward(self, graph):
        c = self.config.channels
        h = self.features(graph, graph.vector)
        vectors = h[:, c : 4 * c].unflatten(1, (c, 3))
        force = self.scale * self.reading(vectors.transpose(1, 2))[:, :, 0]
        force = force - force.mean(dim=0)  # the liquid as a whole stays
        energy = self.target_mean.expand(len(force))
        return (
            (energy, force)
            if self.training
            else (energy.detach(), force.detach())
        )


class DirectCalculator(_Liquid):
    """Forces of :class:`DirectForces`, and the exact energies beside them."""

    def __init__(self, potential, **keywords):
        super().__init__(**keywords)
        self.potential = potential.eval()

    def computed(self, configuration):
        _, force = self.potential.predict(configuration)
        c = configuration.replace(potential="force-shifted")
        return exact(c)[0], force, np.zeros((3, 3))


def wall(c):
    """Energies and forces of a wall inside of 0.95 sigma, where no pair is.

    30 (d / r)^12 (1 - (r / d)^2)^3 below d = 0.95 sigma_ab, for each pair.
    """
    apart = c.positions[None] - c.positions[:, None]
    apart -= c.box * np.round(apart / c.box)
    r = np.linalg.norm(apart, axis=2) + 9 * np.eye(len(apart))
    x = r / (0.95 * np.array(SIGMA)[c.types[:, None], c.types[None]])
    inside = np.where(x < 1, 1 - x**2, 0)
    energy = 30 * inside**3 / x**12
    slope = -energy * 12 / r - 180 * inside**2 / x**12 * x**2 / r
    force = (slope / r)[:, :, None] * apart
    return energy.sum(axis=1) / 2, force.sum(axis=1)


class Walled(_Liquid):
    """Another calculator with :func:`wall` added to it."""

    def __init__(self, calculator, **keywords):
        super().__init__(**keywords)
        self.inner = calculator

    def computed(self, configuration):
        energies, forces, virial = self.inner.computed(configuration)
        more = wall(configuration)
        return energies + more[0], forces + more[1], virial


def train(job, truth, n, seed, direct=False, **sizes):
    """One training: its errors on the test configurations, scored once."""
    chosen, val = liquids("train")[:n], liquids("val")
    config = PotentialConfig(**sizes)
    torch.manual_seed(seed)
    net = (DirectForces if direct else Potential)(config)
    settings = gl.TrainConfig(
        epochs=STEPS // EPOCH,
        learning_rate=0.01,
        betas=(0.9, 0.999),
        milestones=(0.5, 0.7, 0.9),
        seed=seed,
        device="cpu",
    )
    repeated = [chosen[k % n] for k in range(EPOCH)]
    records = list(
        fit_potential(
            net,
            repeated,
            val,
            settings,
            energy_weight=0.0 if direct else 10.0,
            truth=TRUTHS[truth],
        )
    )
    if job in KEPT:
        save_potential(net, HERE / f"{job}.pt")
    return {
        "truth": truth,
        "n_train": n,
        "seed": seed,
        "steps": STEPS,
        "parameters": net.count_parameters(),
        "sizes": asdict(config),
        "val": [float(np.sqrt(max(1 - r.val_rho, 0))) for r in records],
        "train_errors": force_errors(net, chosen, TRUTHS[truth]),
        "test_errors": force_errors(net, liquids("test"), TRUTHS[truth]),
    }


def learned(job, kind=Potential):
    """A kept network, in double precision."""
    path = HERE / f"{job}.pt"
    if kind is Potential:
        return load_potential(path).double()
    state = torch.load(path, weights_only=True)
    net = kind(PotentialConfig(**state["config"]))
    net.load_state_dict(state["weights"])
    return net.double().eval()


def dynamics(job, calculator, seed=0, steps=1000):
    """A run at constant energy: energies, mean squared displacement, g(r)."""
    calculator = calculator()  # its network may be a job before this one
    start = liquids("test")[0]
    atoms = start.to_ase()
    atoms.set_masses(np.ones(len(atoms)))
    rng = np.random.default_rng(seed)
    atoms.set_velocities(maxwell_boltzmann(len(atoms), T, rng))
    atoms.calc = calculator
    verlet = VelocityVerlet(atoms, timestep=TIMESTEP)
    begun, rows, seen = atoms.get_positions(), [], []
    a = start.types == 0

    def watch():
        c = start.replace(positions=atoms.get_positions())
        moved = np.square(atoms.get_positions() - begun).sum(axis=1)
        rows.append(
            [
                verlet.get_number_of_steps() * TIMESTEP,
                atoms.get_kinetic_energy() / len(atoms),
                atoms.get_potential_energy() / len(atoms),
                float(exact(c)[0].mean()),
                float(moved[a].mean()),
            ]
        )
        seen.append(c)

    verlet.attach(watch, interval=EVERY)
    verlet.run(steps)
    r, g = radial_distribution(seen[len(seen) // 5 :], 2.5, 50)
    columns = ("time", "kinetic", "own", "exact", "msd_A")
    return {
        "timestep": TIMESTEP,
        **dict(zip(columns, np.array(rows).T.tolist(), strict=True)),
        "r": r.tolist(),
        "g_AA": g["AA"].tolist(),
        "g_AB": g["AB"].tolist(),
    }


LEARNED = "pairs-lmax1-ntrain8-seed0"
KEPT = (LEARNED, "no-envelope", "direct")
SIZES = {"layers": 2, "channels": 8}


def curve(truth, numbers=NUMBERS, seeds=SEEDS):
    return {
        f"{truth}-lmax{degree}-ntrain{n}-seed{seed}": partial(
            train, truth=truth, n=n, seed=seed, l_max=degree, **SIZES
        )
        for seed in seeds
        for degree in DEGREES
        for n in numbers
    }


# Angles or depth: widths for about as many parameters, where one channel is
# not too much already.
PARAMETERS, DEPTHS = 16_000, (1, 2, 4, 8)


def width(layers, l_max):
    """The number of channels that comes nearest to PARAMETERS, or None."""

    def count(channels):
        config = PotentialConfig(layers, channels, l_max)
        return Potential(config).count_parameters()

    few = 1
    while count(few + 1) < PARAMETERS:
        few += 1
    best = min((few, few + 1), key=lambda c: abs(count(c) - PARAMETERS))
    return best if abs(count(best) / PARAMETERS - 1) < 0.15 else None


def trade(truth, layers, l_max, seed):
    """One training at a fixed number of parameters."""

    def run(job):
        sizes = {"channels": width(layers, l_max), "layers": layers}
        return train(job, truth, 8, seed, l_max=l_max, **sizes)

    return run


# There is no width for 8 convolutions of degree 3.
TRADES = {
    f"{truth}-layers{layers}-lmax{l_max}-seed{seed}": trade(
        truth, layers, l_max, seed
    )
    for seed in SEEDS
    for truth in TRUTHS
    for layers in DEPTHS
    for l_max in (0, 1, 2, 3)
    if (layers, l_max) != (8, 3)
}

one = partial(train, truth="pairs", n=8, seed=0, l_max=1, **SIZES)
nets = {
    "learned": lambda: LearnedPotential(learned(LEARNED)),
    "direct": lambda: DirectCalculator(learned("direct", DirectForces)),
    "no-envelope": lambda: LearnedPotential(learned("no-envelope")),
}


def behind_a_wall(net):
    calculator = net()
    calculator.potential.float()  # twice as fast, and precise enough
    return Walled(calculator)


walled = {
    f"walled-{name}": partial(
        dynamics, calculator=partial(behind_a_wall, net), steps=600
    )
    for name, net in nets.items()
}
JOBS = (
    curve("pairs", seeds=(0,))
    | {
        "no-envelope": partial(one, power=0),
        "direct": partial(one, direct=True),
    }
    | {
        "dynamics-exact": partial(dynamics, calculator=KobAndersen),
        "dynamics-learned": partial(dynamics, calculator=nets["learned"]),
        "dynamics-direct": partial(dynamics, calculator=nets["direct"]),
    }
    | walled
    | curve("pairs")
    | curve("angles", (8,), (0,))
    | curve("angles", (1, 8))
    | curve("angles")
    | TRADES
)


def main(names):
    if unknown := [name for name in names if name not in JOBS]:
        told = "".join(did_you_mean(name, JOBS) for name in unknown)
        sys.exit(f"no job {', '.join(unknown)}; expected one of {len(JOBS)}, such as {next(iter(JOBS))}{told}")
    torch.set_num_threads(1)
    path = HERE / "results.json"
    if not (HERE / "liquids.h5").exists():
        make_liquids()
    data = data_hash(c.hash() for s in SPLITS for c in liquids(s))
    found = json.loads(path.read_text()) if path.exists() else {}
    for job in names or JOBS:
        if job in found:
            continue
        begun, spent = time.perf_counter(), time.process_time()
        result = JOBS[job](job)
        seconds = time.perf_counter() - begun
        about = card(
            {"job": job},
            data=data,
            device="cpu",
            seed=result.get("seed", 0),
            seconds=seconds,
        )
        about["cpu_seconds"] = round(time.process_time() - spent, 1)
        with open(HERE / "results.unfinished.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # others may have written since
            found = json.loads(path.read_text()) if path.exists() else {}
            found[job] = {"card": about, **result}
            write_json(path, found)
        print(job, about["cpu_seconds"], "s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
