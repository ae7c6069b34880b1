"""Graded problems of the results: errors and comparisons, choosing, decoders, collective motion, order."""

from problems_base import Problem


def two_variants(random):
    """Scores of two variants of a network that share their seeds, and so part of their luck."""
    n, gain = random.randint(5, 9), random.randint(4, 20) / 1000
    luck = [random.gauss(0.6, 0.02) for _ in range(n)]
    return {
        "first": [round(x + random.gauss(0, 0.006), 4) for x in luck],
        "second": [round(x + gain + random.gauss(0, 0.006), 4) for x in luck],
        "n": n,
    }


def a_search(random):
    """Validation and test scores of many runs, whose best are two different ones."""
    n = random.randint(8, 14)
    while True:
        good = [random.gauss(0.6, 0.02) for _ in range(n)]
        val, test = (
            [round(x + random.gauss(0, 0.02), 4) for x in good] for _ in "vt"
        )
        if val.count(max(val)) == 1 and test[val.index(max(val))] < max(test):
            return {"val": val, "test": test, "n": n}


RESULTS = (
    Problem(
        "n_runs",
        "honest_evaluation",
        "More runs",
        1,
        lambda random: {
            "runs": random.choice([8, 10, 12, 16, 20]),
            "now": random.randint(550, 800) / 1000,
            "wanted": random.randint(880, 970) / 1000,
        },
        r"""
Labels from $runs runs have a noise ceiling of $now. How many runs does a ceiling of at least $wanted take?
""",
        "n_runs = None  # a whole number",
        """
import math

noise = lambda rho: 1 / rho**2 - 1
assert n_runs == math.ceil($runs * noise($now) / noise($wanted)), "not this number"
""",
        """
n_runs = $runs
while (1 + (1 / $now**2 - 1) * $runs / n_runs) ** -0.5 < $wanted:
    n_runs += 1
""",
        "assert int(n_runs) == n_runs, 'a whole number is expected'",
    ),
    Problem(
        "apart",
        "honest_evaluation",
        "How far apart?",
        2,
        lambda random: {
            "one": (one := random.randint(550, 700)) / 1000,
            "other": (one + random.randint(12, 60)) / 1000,
            "e1": random.randint(12, 30) / 1000,
            "e2": random.randint(12, 30) / 1000,
            "c": random.randint(50, 95) / 100,
        },
        r"""
Two models have test correlations $one and $other. A bootstrap over configurations gives errors of $e1 and $e2, and over its draws
the two scores have a correlation of $c. How many standard errors is their difference away from zero?
""",
        "apart = None  # a number, to three digits",
        """
error = ($e1**2 + $e2**2 - 2 * $c * $e1 * $e2) ** 0.5
assert abs(apart / (($other - $one) / error) - 1) < 0.005, "not this number"
""",
        """
import numpy as np

spread = np.array([[$e1**2, $c * $e1 * $e2], [$c * $e1 * $e2, $e2**2]])
apart = ($other - $one) / np.sqrt([1, -1] @ spread @ [1, -1])
""",
        "assert float(apart) > 0, 'a positive number is expected'",
    ),
    Problem(
        "within_pooled",
        "honest_evaluation",
        "Within, or pooled?",
        2,
        lambda random: {
            "T": random.choice([0.44, 0.47, 0.50, 0.56]),
            "k": random.randint(1, 6),
            "kind": random.choice("AB"),
            "cutoff": random.randint(14, 26) / 10,
        },
        r"""
For the $kind particles of `gl.load("starter", T=$T, split="test")`, at the time with index $k, correlate the propensity with the local density (`metrics.local_density`, cutoff $cutoff): once within
each configuration, averaged over configurations, and once pooled, all configurations together.
""",
        "within_pooled = None  # (within, pooled), to three decimals",
        """
import numpy as np
import glasslit as gl
from glasslit import metrics

x, y = [], []
for c in gl.load("starter", T=$T, split="test"):
    of = c.types == "AB".index("$kind")
    x.append(metrics.local_density(c, cutoff=$cutoff)[of])
    y.append(c.propensity[$k, of])
within = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(x, y)])
pooled = np.corrcoef(np.concatenate(x), np.concatenate(y))[0, 1]
assert abs(within_pooled[0] - within) < 0.0011, "not the correlation within"
assert abs(within_pooled[1] - pooled) < 0.0011, "not the pooled correlation"
""",
        """
import numpy as np
import glasslit as gl
from glasslit import metrics

test = gl.load("starter", T=$T, split="test")
given = [
    np.tile(metrics.local_density(c, cutoff=$cutoff), (len(c.times), 1))
    for c in test
]
labels, types = [c.propensity for c in test], [c.types for c in test]
within_pooled = tuple(
    gl.pearson(given, labels, types, how)["$kind"][$k]
    for how in ("mean", "pooled")
)
""",
        "assert len(within_pooled) == 2 and all(-1 <= float(r) <= 1 for r in within_pooled), 'two correlations are expected'",
    ),
    Problem(
        "blocks",
        "honest_evaluation",
        "Neighbors are no independent witnesses",
        3,
        lambda random: {
            "T": random.choice([0.44, 0.47, 0.50, 0.56]),
            "j": random.randint(0, 5),
            "k": random.randint(1, 6),
            "edge": random.randint(2, 4),
        },
        r"""
In `gl.load("starter", T=$T)[$j]`, what is the standard error of the mean propensity of all particles, at the time with index $k, if every particle counts as independent? And if
only cubes do: cut the box into $$$edge \times $edge \times $edge$$ of them (`metrics.spatial_blocks`), and take the standard error of the mean over the cubes' means. Variances divide by $$n - 1$$.
""",
        "blocks = None  # (particles, cubes), to three digits",
        """
import numpy as np
import glasslit as gl

c = gl.load("starter", T=$T)[$j]
m = c.propensity[$k].astype(float)
cell = np.floor(c.positions % c.box / c.box * $edge).astype(int).clip(0, $edge - 1)
cubes = {}
for place, value in zip(map(tuple, cell), m):
    cubes.setdefault(place, []).append(value)
means = [np.mean(values) for values in cubes.values()]
assert abs(blocks[0] / (m.std(ddof=1) / len(m) ** 0.5) - 1) < 0.005, "not the error of independent particles"
assert abs(blocks[1] / (np.std(means, ddof=1) / len(means) ** 0.5) - 1) < 0.005, "not the error of independent cubes"
""",
        """
import numpy as np
import glasslit as gl
from scipy.stats import sem
from glasslit import metrics

c = gl.load("starter", T=$T)[$j]
m, at = c.propensity[$k], metrics.spatial_blocks(c, $edge)
blocks = (sem(m), sem(np.bincount(at, m) / np.bincount(at)))
""",
        "assert len(blocks) == 2 and min(map(float, blocks)) > 0, 'two positive numbers are expected'",
    ),
    Problem(
        "honest",
        "honest_evaluation",
        "Chosen on what?",
        2,
        a_search,
        r"""
$n networks were trained with different settings; the cell below has the scores of each on the validation and on the test configurations. One network is to be published. Which score may be reported for it?
And by how much would the reported number be higher, had the choice been made on the test configurations?
""",
        """
validation = $val
test = $test

honest = None  # (score to report, how much higher)
""",
        """
val, test = $val, $test
score = test[val.index(max(val))]
assert abs(honest[0] - score) < 1e-6, "not the score that may be reported"
assert abs(honest[1] - (max(test) - score)) < 1e-6, "not how much higher"
""",
        """
scores = sorted(zip($val, $test, strict=True))
honest = (scores[-1][1], max($test) - scores[-1][1])
""",
        "assert len(honest) == 2 and float(honest[1]) >= 0, 'a score, and a number that is not negative, are expected'",
    ),
    Problem(
        "optimism",
        "honest_evaluation",
        "The best of many",
        2,
        lambda random: {
            "n": random.randint(3, 40),
            "error": random.randint(8, 40) / 1000,
        },
        r"""
$n networks are equally good. Their test scores differ by chance only: they are independent and normal with a standard deviation of $error. By how much, on average, is the best test score above what these networks are
worth?
""",
        "optimism = None  # a number, to two digits",
        """
import numpy as np
from scipy.stats import norm

z = np.linspace(-9, 9, 20001)
expected = $error * np.sum(z * $n * norm.pdf(z) * norm.cdf(z) ** ($n - 1)) * (z[1] - z[0])
assert abs(optimism / expected - 1) < 0.02, "not this number"
""",
        """
import numpy as np

best = np.random.default_rng(0).normal(size=(100_000, $n)).max(axis=1)
optimism = $error * best.mean()
""",
        "assert float(optimism) > 0, 'a positive number is expected'",
    ),
    Problem(
        "gain",
        "ablations",
        "The same seeds",
        2,
        two_variants,
        r"""
Two variants of a network were trained with the same $n seeds each; the cell below has their scores, in the order of the seeds. How much better is the second, what is the standard error of that difference if the
runs are paired by their seeds, and what would it be if the pairs were ignored? Variances divide by $$n - 1$$.
""",
        """
first = $first
second = $second

gain = None  # (difference, error if paired, error if not), to three digits
""",
        """
from statistics import mean, stdev, variance

first, second = $first, $second
apart = [b - a for a, b in zip(first, second)]
assert abs(gain[0] / mean(apart) - 1) < 0.005, "not the difference"
assert abs(gain[1] / (stdev(apart) / $n**0.5) - 1) < 0.005, "not the error of the paired difference"
loose = ((variance(first) + variance(second)) / $n) ** 0.5
assert abs(gain[2] / loose - 1) < 0.005, "not the error without pairs"
""",
        """
import numpy as np

spread = np.cov($first, $second)  # divides by n - 1
paired, loose = spread @ [-1, 1] @ [-1, 1], np.trace(spread)
difference = np.mean($second) - np.mean($first)
gain = (difference, (paired / $n) ** 0.5, (loose / $n) ** 0.5)
""",
        "assert len(gain) == 3 and min(map(float, gain[1:])) > 0, 'a difference and two errors are expected'",
    ),
    Problem(
        "decoder",
        "transfer",
        "A new decoder",
        3,
        lambda random: {
            "seed": random.randint(1000, 9999),
            "features": random.randint(20, 40),
            "level": random.randint(-30, 30) / 10,
            "noise": random.randint(15, 30) / 10,
        },
        r"""
The cell below has features and labels for training, validation and test. Fit a linear decoder with a constant (which is not penalized) by ridge regression on the training part: minimize the mean of the squared
errors plus $$\lambda$$ times the sum of the squared weights, the features as they are. Choose $$\lambda$$ among `strengths` by the mean squared error on the validation part. Which one is it, and what is the mean squared error on the test part?
""",
        """
import numpy as np

rng = np.random.default_rng($seed)
x = rng.normal(size=(3, 60, $features))  # training, validation, test
y = x @ rng.normal(size=$features) / 3 + $level + $noise * rng.normal(size=(3, 60))
strengths = [0.001, 0.01, 0.1, 1.0, 10.0]

decoder = None  # (strength, error on the test part to three digits)
""",
        """
import numpy as np

rng = np.random.default_rng($seed)
x = rng.normal(size=(3, 60, $features))
y = x @ rng.normal(size=$features) / 3 + $level + $noise * rng.normal(size=(3, 60))
z = np.concatenate([x, np.ones((3, 60, 1))], axis=2)
free = np.diag([1.0] * $features + [0.0])
errors = {}
for strength in (0.001, 0.01, 0.1, 1.0, 10.0):
    w = np.linalg.solve(z[0].T @ z[0] / 60 + strength * free, z[0].T @ y[0] / 60)
    errors[strength] = ((z @ w - y) ** 2).mean(axis=1)
best = min(errors, key=lambda strength: errors[strength][1])
assert abs(decoder[0] / best - 1) < 1e-6, "not the strength that validation chooses"
assert abs(decoder[1] / errors[best][2] - 1) < 0.005, "not the error on the test part"
""",
        """
import numpy as np

rng = np.random.default_rng($seed)
x = rng.normal(size=(3, 60, $features))
y = x @ rng.normal(size=$features) / 3 + $level + $noise * rng.normal(size=(3, 60))
center, level = x[0].mean(axis=0), y[0].mean()
u, s, v = np.linalg.svd(x[0] - center, full_matrices=False)
found = []
for strength in (0.001, 0.01, 0.1, 1.0, 10.0):
    w = v.T @ (s / (s**2 + 60 * strength) * (u.T @ (y[0] - level)))
    val, test = (
        np.mean(((x[k] - center) @ w + level - y[k]) ** 2) for k in (1, 2)
    )
    found.append((val, strength, test))
decoder = min(found)[1:]
""",
        "assert len(decoder) == 2 and decoder[0] in (0.001, 0.01, 0.1, 1.0, 10.0), 'one of the strengths, and an error, are expected'",
    ),
    Problem(
        "susceptibility",
        "fields",
        "Collective, or noisy?",
        3,
        lambda random: {
            "T": random.choice([0.44, 0.47, 0.50, 0.56]),
            "k": random.randint(1, 6),
            "percent": random.randint(20, 90),
        },
        r"""
Take all configurations of `gl.load("starter", T=$T)`, the time with index $k, and particles of both types. A particle stays, $$q_i = 1$$, if its propensity is below $$a$$, the percentile $percent (`np.percentile`) of the propensities of all these
particles; otherwise $$q_i = 0$$. What is $$\chi_4$$ over configurations (population variance, times $$N$$), once with the propensity of all runs, and once as the covariance between the two halves of the runs, each with the same $$a$$?
""",
        "susceptibility = None  # (all runs, between the halves), to three digits",
        """
import numpy as np
import glasslit as gl

cs = gl.load("starter", T=$T)
m = np.stack([c.propensity[$k] for c in cs])
a = np.percentile(m, $percent)
Q = (m < a).mean(axis=1)
one, two = np.stack([c.propensity_half[:, $k] < a for c in cs]).mean(axis=2).T
expected = 1000 * np.var(Q), 1000 * np.mean((one - one.mean()) * (two - two.mean()))
for found, wanted, which in zip(susceptibility, expected, ("of all runs", "between the halves")):
    assert abs(found - wanted) < 0.005 * max(abs(wanted), 0.1), f"not chi4 {which}"
""",
        """
import numpy as np
import glasslit as gl
from glasslit.liquid import heterogeneity

cs = gl.load("starter", T=$T)
a = np.percentile([c.propensity[$k] for c in cs], $percent)
q = heterogeneity.overlap([c.propensity[$k] for c in cs], a)
halves = [
    heterogeneity.overlap([c.propensity_half[h, $k] for c in cs], a)
    for h in (0, 1)
]
susceptibility = (heterogeneity.chi4(q), heterogeneity.chi4(*halves))
""",
        "assert len(susceptibility) == 2 and float(susceptibility[0]) >= 0, 'two numbers are expected, the first not negative'",
    ),
    Problem(
        "shared",
        "fields",
        "Do they share their fate?",
        3,
        lambda random: {
            "T": random.choice([0.44, 0.47, 0.50, 0.56]),
            "j": random.randint(0, 2),
            "k": random.randint(3, 6),
            "low": (low := random.randint(9, 25) / 10),
            "high": round(low + random.randint(4, 12) / 10, 1),
            "percent": random.randint(30, 80),
        },
        r"""
In `gl.load("starter", T=$T, split="train")[$j]`, at the time with index $k, a particle stays ($$q_i = 1$$) if its propensity is below the percentile $percent of all; otherwise $$q_i = 0$$. What is the mean of $$\delta q_i\, \delta q_j$$, $$\delta q_i = q_i - \langle q \rangle$$,
over all pairs of particles whose distance, by the minimum image, is between $low and $high? (It is $$G_4(r) / g(r)$$ in that shell.)
""",
        "shared = None  # a number, to three digits",
        """
import numpy as np
import glasslit as gl

c = gl.load("starter", T=$T, split="train")[$j]
d = (c.positions[:, None] - c.positions[None]).astype(float)
d = np.linalg.norm(d - c.box * np.round(d / c.box), axis=-1)
q = (c.propensity[$k] < np.percentile(c.propensity[$k], $percent)).astype(float)
near = (d > $low) & (d < $high)
q -= q.mean()
expected = (q[:, None] * q[None])[near].mean()
assert abs(shared - expected) < max(0.005 * abs(expected), 2e-5), "not this number"
""",
        """
import numpy as np
import glasslit as gl
from glasslit.liquid.periodic import neighbor_distances

c = gl.load("starter", T=$T, split="train")[$j]
m = c.propensity[$k]
q = 1.0 * (m < np.percentile(m, $percent))
pairs, r = neighbor_distances(c.positions, c.box, $high)
i, j = pairs[r > $low].T
shared = np.mean((q - q.mean())[i] * (q - q.mean())[j])
""",
        "assert -1 < float(shared) < 1, 'a number between -1 and 1 is expected'",
    ),
    Problem(
        "direction",
        "order_parameter",
        "One direction",
        3,
        lambda random: {
            "T": random.choice([0.44, 0.47, 0.50, 0.56]),
            "j": random.randint(0, 2),
            "k": random.randint(3, 6),
            "degrees": sorted(random.sample(range(2, 9), 4)),
            "cutoff": random.choice([1.3, 1.35, 1.4, 1.45, 1.5]),
        },
        r"""
In `gl.load("starter", T=$T, split="train")[$j]`, take the bond-order parameters of degrees $degrees of the A particles (`descriptors.bond_order`, cutoff $cutoff, neighbors of both types), and bring each to mean 0 and variance 1. Which share of the
variance lies along their first principal direction, and how large is the correlation (without its sign) of that coordinate with the propensity at the time with index $k?
""",
        "direction = None  # (share, correlation), to three decimals",
        """
import numpy as np
import glasslit as gl
from glasslit import descriptors

c = gl.load("starter", T=$T, split="train")[$j]
q = np.asarray(descriptors.bond_order(c, $degrees, cutoff=$cutoff), dtype=float)[c.types == 0]
z = (q - q.mean(axis=0)) / q.std(axis=0)
values, vectors = np.linalg.eigh(np.corrcoef(z.T))
r = np.corrcoef(z @ vectors[:, -1], c.propensity[$k, c.types == 0])[0, 1]
assert abs(direction[0] - values[-1] / 4) < 0.0011, "not this share"
assert abs(direction[1] - abs(r)) < 0.0011, "not this correlation"
""",
        """
import numpy as np
import glasslit as gl
from glasslit import descriptors

c = gl.load("starter", T=$T, split="train")[$j]
q = np.asarray(descriptors.bond_order(c, $degrees, cutoff=$cutoff))
z = q[c.types == 0]
z = (z - z.mean(axis=0)) / z.std(axis=0)
u, s, _ = np.linalg.svd(z, full_matrices=False)
r = np.corrcoef(u[:, 0], c.propensity[$k][c.types == 0])[0, 1]
direction = (s[0] ** 2 / (s**2).sum(), abs(r))
""",
        "assert len(direction) == 2 and all(0 <= float(x) <= 1 for x in direction), 'two numbers between 0 and 1 are expected'",
    ),
)
