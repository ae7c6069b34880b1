"""Graded problems of the physics: moving in a periodic box, labels and their noise, making a glass, reading files."""

from math import exp

from problems_base import Problem


def edges(random):
    return [random.randint(70, 130) / 10 for _ in range(3)]


def a_relaxation(random):
    """A plateau, and a stretched exponential that leaves it, at times from 0.1 to 10000."""
    plateau = random.randint(65, 90) / 100
    tau, beta = random.randint(60, 900), random.randint(55, 85) / 100
    times = [round(0.1 * 10 ** (k / 3), 3) for k in range(16)]
    f = [
        round(
            (1 - plateau) * exp(-((t / 0.15) ** 2))
            + plateau * exp(-((t / tau) ** beta)),
            4,
        )
        for t in times
    ]
    low = random.randint(20, 50) / 100
    return {"times": times, "f": f, "level": low}


def a_box_in_nanometers(random):
    """As often as not at the density of the data sets; otherwise some percent beside it."""
    n, sigma = random.randint(5, 80) * 100, random.randint(300, 420) / 1000
    density = 1.2 * random.choice([1.0, 1.0, 0.93, 0.97, 1.03, 1.07])
    edge = round(sigma * (n / density) ** (1 / 3), 4)
    return {"n": n, "sigma": sigma, "edge": edge}


PHYSICS = (
    Problem(
        "displacement",
        "glass_and_mobility",
        "How far, in a periodic box",
        3,
        lambda random: {"box": edges(random), "lag": random.randint(2, 19)},
        r"""
A simulation writes frames in which every particle is put back into the box, whose edges are $box. From one frame to the next no particle
moves by more than a quarter of an edge. Write the mean squared displacement over $lag frames: follow each particle through the walls, and
average over all particles and over all pairs of frames that are $lag apart.
""",
        '''
def displacement(frames):
    """Positions (frames, particles, 3), inside the box -> one number."""
    raise NotImplementedError
''',
        """
import numpy as np

rng, box = np.random.default_rng(), np.array($box)
steps = rng.uniform(-0.06, 0.1, size=(40, 30, 3)) * box
x = rng.random((1, 30, 3)) * box + np.concatenate([np.zeros((1, 30, 3)), steps.cumsum(axis=0)])
expected = np.mean([((x[k + $lag] - x[k]) ** 2).sum(axis=-1) for k in range(len(x) - $lag)])
found = float(displacement(x % box))
assert abs(found / np.mean(((x[$lag:] % box - x[:-$lag] % box) ** 2).sum(axis=-1)) - 1) > 1e-3, "jumps through the walls are counted"
assert np.isclose(found, expected), "not the mean squared displacement over $lag frames"
""",
        """
def displacement(frames):
    import numpy as np

    steps = np.diff(frames, axis=0)
    steps -= np.array($box) * np.round(steps / np.array($box))
    moved = np.concatenate([np.zeros_like(frames[:1]), steps.cumsum(axis=0)])
    return ((moved[$lag:] - moved[: -$lag]) ** 2).sum(axis=-1).mean()
""",
    ),
    Problem(
        "scattering",
        "glass_and_mobility",
        "Waves do not see the walls",
        2,
        lambda random: {"box": edges(random), "n": random.randint(3, 24)},
        r"""
The self-intermediate scattering function is $$F_s(\mathbf k, t) = \langle \cos(\mathbf k \cdot (\mathbf x_i(t) - \mathbf x_i(0))) \rangle$$, the mean being over
particles. In a box with edges $box the three wave vectors along $$x$$, $$y$$ and $$z$$ that have $n wave lengths to an edge fit: they do not see whether a particle was
put back into the box. Write $$F_s$$ as its mean over these three wave vectors.
""",
        '''
def scattering(start, end):
    """Positions (n, 3) at two times -> one number."""
    raise NotImplementedError
''',
        """
import numpy as np

rng, box = np.random.default_rng(), np.array($box)
start = rng.random((200, 3)) * box
moved = rng.normal(scale=0.15 * box / $n, size=start.shape)
expected = np.mean([np.cos(2 * np.pi * $n / box[a] * moved[:, a]).mean() for a in range(3)])
found = float(scattering(start, start + moved))
assert np.isclose(scattering(start, start), 1), "it does not begin at 1"
assert np.isclose(found, expected), "not the mean over the three wave vectors"
assert np.isclose(scattering(start, (start + moved) % box), found), "it sees the walls"
""",
        """
def scattering(start, end):
    import numpy as np

    k = 2 * np.pi * $n / np.array($box)
    return np.cos(k * (end - start)).mean()
""",
    ),
    Problem(
        "ceiling",
        "glass_and_mobility",
        "A ceiling for fewer runs",
        2,
        lambda random: {
            "T": random.choice([0.44, 0.47, 0.50, 0.56]),
            "k": random.randint(1, 6),
            "times": random.randint(2, 12),
            "kind": random.choice("AB"),
        },
        r"""
Take the $kind particles of all configurations in `gl.load("starter", T=$T, split="test")` together (*pooled*), at the time with index $k. From the two halves
of the runs, `propensity_half`, estimate the correlation of the true propensity with a label that has $times times fewer runs than all of theirs.
""",
        "ceiling = None  # a number, to three digits",
        """
import numpy as np
import glasslit as gl

test = gl.load("starter", T=$T, split="test")
one, two = np.concatenate([c.propensity_half[:, $k, c.types == "AB".index("$kind")] for c in test], axis=1).astype(float)
r = np.corrcoef(one, two)[0, 1]
noise = (1 / r - 1) / 2 * $times
assert abs(ceiling * np.sqrt(1 + noise) - 1) < 0.002, "not this number"
""",
        """
import glasslit as gl

test = gl.load("starter", T=$T, split="test")
halves, types = [c.propensity_half for c in test], [c.types for c in test]
now = gl.noise_ceiling(halves, types, "pooled")["$kind"][$k]
ceiling = (1 + (1 / now**2 - 1) * $times) ** -0.5
""",
        "assert 0 < float(ceiling) < 1, 'a number between 0 and 1 is expected'",
    ),
    Problem(
        "relaxed_at",
        "making_a_glass",
        "When is it relaxed?",
        2,
        a_relaxation,
        r"""
The cell below has a scattering function $$F_s(t)$$. At what time does it fall to $level for the last time? Interpolate linearly in the logarithm of time.
""",
        """
times = $times
F_s = $f

relaxed_at = None  # a number, to three digits
""",
        """
import numpy as np

t, f = np.log($times), np.array($f)
k = np.flatnonzero((f[:-1] >= $level) & (f[1:] < $level))[-1]
expected = np.exp(t[k] + (t[k + 1] - t[k]) * (f[k] - $level) / (f[k] - f[k + 1]))
assert abs(relaxed_at / expected - 1) < 0.005, "not this time"
""",
        """
import numpy as np

times, F_s = np.array($times), np.array($f)
relaxed_at = np.exp(np.interp(-$level, -F_s, np.log(times)))
""",
        "assert float(relaxed_at) > 0, 'a time is expected'",
    ),
    Problem(
        "label",
        "making_a_glass",
        "One label, and how sure it is",
        3,
        lambda random: {
            "seed": random.randint(1000, 9999),
            "runs": random.randint(12, 40),
            "size": random.randint(20, 60) / 100,
            "percent": random.choice([1, 2, 3, 4]),
        },
        r"""
The cell below draws where one particle went in $runs runs of an isoconfigurational ensemble. What is its propensity, what is the standard error of it
(from the spread of the runs, divided by $$n - 1$$), and how many runs would it take, with this spread, until the standard error is at most $percent percent of the propensity?
""",
        """
import numpy as np

moved = $size * np.random.default_rng($seed).normal(size=($runs, 3))  # sigma_AA

label = None  # (propensity, its standard error, runs: a whole number)
""",
        """
import math
import numpy as np

x = np.linalg.norm($size * np.random.default_rng($seed).normal(size=($runs, 3)), axis=1)
m, spread = x.mean(), x.std(ddof=1)
assert abs(label[0] / m - 1) < 0.002, "not the propensity"
assert abs(label[1] / (spread / math.sqrt($runs)) - 1) < 0.005, "not its standard error"
assert int(label[2]) == math.ceil((spread / (m * $percent / 100)) ** 2), "not this number of runs"
""",
        """
import numpy as np

moved = $size * np.random.default_rng($seed).normal(size=($runs, 3))
x = np.linalg.norm(moved, axis=1)
spread = np.sqrt(((x - x.mean()) ** 2).sum() / (len(x) - 1))
runs = 1
while spread / np.sqrt(runs) > x.mean() * $percent / 100:
    runs += 1
label = (x.mean(), spread / np.sqrt(len(x)), runs)
""",
        "assert len(label) == 3 and int(label[2]) == label[2], 'two numbers and a whole number are expected'",
    ),
    Problem(
        "fire",
        "making_a_glass",
        "Downhill with inertia",
        2,
        lambda random: {
            "start": random.randint(80, 199) / 1000,
            "shrink": random.randint(900, 995) / 1000,
        },
        r"""
FIRE, the minimizer behind a quench, looks at the power $$P = \sum_i \mathbf F_i \cdot \mathbf v_i$$. Where $$P > 0$$ it turns the velocities of all particles together towards the forces,
$$\mathbf v \to (1 - \alpha) \mathbf v + \alpha\, |\mathbf v|\, \mathbf F / |\mathbf F|$$ with lengths over all particles and components, and then multiplies $$\alpha$$ by $shrink. Otherwise it stops all particles
and sets $$\alpha$$ to $start. Write this step.
""",
        '''
def fire(v, F, alpha):
    """Arrays (n, 3) and (n, 3), a number -> new velocities, new alpha."""
    raise NotImplementedError
''',
        """
import numpy as np

rng = np.random.default_rng()
v, F = rng.normal(size=(2, 20, 3))
F = F if (F * v).sum() > 0 else -F
new, alpha = fire(v.copy(), F.copy(), 0.07)
assert np.allclose(new, 0.93 * v + 0.07 * np.linalg.norm(v) * F / np.linalg.norm(F)), "velocities while it goes downhill"
assert np.isclose(alpha, 0.07 * $shrink), "alpha while it goes downhill"
new, alpha = fire(v.copy(), -F, 0.07)
assert np.allclose(new, 0) and np.shape(new) == v.shape, "velocities when it goes uphill"
assert np.isclose(alpha, $start), "alpha when it goes uphill"
""",
        """
def fire(v, F, alpha):
    import numpy as np

    if (F * v).sum() > 0:
        along = np.linalg.norm(v) * F / np.linalg.norm(F)
        return (1 - alpha) * v + alpha * along, alpha * $shrink
    return np.zeros_like(v), $start
""",
    ),
    Problem(
        "in_si",
        "making_a_glass",
        "In kelvin and picoseconds",
        2,
        lambda random: {
            "epsilon": random.randint(90, 240),
            "sigma": random.randint(300, 420) / 1000,
            "mass": random.randint(20, 120),
            "T": random.choice([0.44, 0.47, 0.50, 0.56, 0.64]),
            "t": random.randint(20, 4000),
        },
        r"""
A mixture is modelled with $$\epsilon_{AA} / k_B = $epsilon$$ K, $$\sigma_{AA} = $sigma$$ nm and particles of $mass atomic mass units. Which temperature is $$T = $T$$, in kelvin, and how long is a time of
$t Lennard-Jones units, in picoseconds? ($$k_B = 1.380649 \cdot 10^{-23}$$ J/K; the atomic mass unit is $$1.66054 \cdot 10^{-27}$$ kg.)
""",
        "in_si = None  # (kelvin, picoseconds), to three digits",
        """
import math

kelvin, picoseconds = in_si
unit = $sigma * 1e-9 * math.sqrt($mass * 1.66054e-27 / ($epsilon * 1.380649e-23)) * 1e12
assert abs(kelvin / ($T * $epsilon) - 1) < 0.005, "not this temperature"
assert abs(picoseconds / ($t * unit) - 1) < 0.005, "not this time"
""",
        """
from scipy.constants import Boltzmann, atomic_mass

speed = ($epsilon * Boltzmann / ($mass * atomic_mass)) ** 0.5  # m / s
in_si = ($T * $epsilon, $t * $sigma * 1e-9 / speed * 1e12)
""",
        "assert len(in_si) == 2 and min(map(float, in_si)) > 0, 'two positive numbers are expected'",
    ),
    Problem(
        "read",
        "your_own_liquid",
        "Read it, or refuse it",
        3,
        lambda random: {
            "a": (labels := random.sample(range(1, 10), 2))[0],
            "b": labels[1],
            "density": random.randint(105, 135) / 100,
        },
        r"""
Somebody's LAMMPS dumps call A particles $a and B particles $b; there are four A for each B, and $density particles in a volume of 1. Write a function that reads the last frame of such a file, and raises a
`ValueError` that tells what came and what was expected, if the proportion is another (were the types exchanged?) or if the density is off by more than one percent.
""",
        '''
def read(path):
    """The path of a dump -> gl.Configuration, or ValueError."""
    raise NotImplementedError
''',
        """
import tempfile
from pathlib import Path

import numpy as np


def dump(kinds, edge):
    rng, lines = np.random.default_rng(), []
    for step in (0, 100):
        x = rng.random((len(kinds), 3)) * edge
        lines += ["ITEM: TIMESTEP", step, "ITEM: NUMBER OF ATOMS", len(kinds), "ITEM: BOX BOUNDS pp pp pp"]
        lines += [f"0 {edge}"] * 3 + ["ITEM: ATOMS id type x y z"]
        lines += [f"{k + 1} {kind} {p[0]} {p[1]} {p[2]}" for k, (kind, p) in enumerate(zip(kinds, x))]
    return "\\n".join(map(str, lines)) + "\\n", x


def refused(text, why):
    path.write_text(text)
    try:
        read(path)
    except ValueError as error:
        assert len(str(error)) > 20, f"{why}: the error says too little"
    else:
        raise AssertionError(f"{why}: it was read")


path = Path(tempfile.mkdtemp()) / "liquid.dump"
edge, kinds = (250 / $density) ** (1 / 3), [$a] * 200 + [$b] * 50
np.random.default_rng().shuffle(kinds)
text, x = dump(kinds, edge)
path.write_text(text)
c = read(path)
assert np.allclose(c.positions, x, atol=1e-4), "not the positions of the last frame"
assert [int(t) for t in c.types] == [int(k == $b) for k in kinds], "not the types"
refused(dump([$a + $b - k for k in kinds], edge)[0], "exchanged types")
refused(dump([$a] * 225 + [$b] * 25, edge)[0], "another proportion")
refused(dump(kinds, 1.006 * edge)[0], "too low a density")
refused(dump(kinds, edge / 1.006)[0], "too high a density")
""",
        """
def read(path):
    import glasslit as gl

    (c,) = gl.read_trajectory(path, {$a: "A", $b: "B"}, frames="-1:")
    n_b, density = int(c.types.sum()), c.n_particles / float(c.box.prod())
    if n_b * 5 != c.n_particles:
        raise ValueError(f"{n_b} B of {c.n_particles}; expected one in five")
    if abs(density / $density - 1) > 0.01:
        raise ValueError(f"density {density:.3f}; expected $density")
    return c
""",
    ),
    Problem(
        "scaled",
        "data_card",
        "The wrong unit of length",
        2,
        a_box_in_nanometers,
        r"""
A file has $n particles in a cube whose edge is $edge, and its writer says that lengths are in nanometers, with $$\sigma_{AA} = $sigma$$ nm. What are the edge in units of $$\sigma_{AA}$$ and the density in
units of $$\sigma_{AA}^{-3}$$, and is this the density of the data sets of this book, 1.2, to one percent?
""",
        "scaled = None  # (edge, density, True or False), numbers to three digits",
        """
edge = $edge / $sigma
density = $n / edge**3
assert abs(scaled[0] / edge - 1) < 0.002, "not this edge"
assert abs(scaled[1] / density - 1) < 0.005, "not this density"
assert bool(scaled[2]) == (abs(density / 1.2 - 1) < 0.01), "is it that density, or not?"
""",
        """
volume = ($edge / $sigma) ** 3
scaled = (volume ** (1 / 3), $n / volume, 1.188 < $n / volume < 1.212)
""",
        "assert len(scaled) == 3 and isinstance(scaled[2], bool), 'two numbers, and True or False, are expected'",
    ),
)
