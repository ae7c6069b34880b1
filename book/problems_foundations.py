"""Graded problems of the foundations and of the network: symmetry, harmonics, products, kernels, the layer."""

from math import gcd

from problems_base import Problem


def two_frequencies(random):
    pairs = [
        (a, b) for a in range(2, 9) for b in range(2, 9) if a % b and b % a
    ]
    a, b = random.choice(pairs)
    return {
        "a": a,
        "b": b,
        "p": b // gcd(a, b),
        "q": a // gcd(a, b),
        "degree": (a + b) // gcd(a, b),
    }


def a_product(random):
    degrees = range(1, 6)
    even = [
        (a, b, c)
        for a in degrees
        for b in degrees
        for c in degrees
        if abs(a - b) <= c <= a + b
        and (a + b + c) % 2 == 0
        and len({a, b, c}) == 3
    ]
    return dict(zip("abc", random.choice(even), strict=True))


FOUNDATIONS = (
    Problem(
        "gate",
        "symmetry_in_graphs",
        "A gate",
        2,
        lambda random: {
            "low": random.randint(1, 9) / 10,
            "high": random.randint(11, 39) / 10,
            "middle": random.randint(-30, 30) / 10,
        },
        r"""
Write a map of numbers $$s$$ and arrows $$\mathbf v$$ to arrows that commutes with rotations. For very negative $$s$$ it
multiplies the arrow by $low, for very large $$s$$ by $high, at $$s = $middle$$ by the mean of the two, and it
increases in between.
""",
        '''
def gate(s, v):
    """Numbers (n, 1) and arrows (n, 2) -> arrows (n, 2)."""
    raise NotImplementedError
''',
        """
import torch

s = torch.linspace(-60, 60, 81, dtype=torch.float64)[:, None] + $middle
v = torch.randn(81, 2, dtype=torch.float64)
out = gate(s, v)
factor = (out * v).sum(1) / (v * v).sum(1)
assert torch.allclose(out, factor[:, None] * v), "the direction changed"
assert (factor.diff() > -1e-9).all(), "it does not increase"
ends = torch.tensor([$low, ($low + $high) / 2, $high], dtype=torch.float64)
found = [round(float(f), 4) for f in factor[[0, 40, 80]]]
assert torch.allclose(factor[[0, 40, 80]], ends, atol=1e-6), f"factors {found} at low, middle and high s"
R = torch.tensor([[0.28, -0.96], [0.96, 0.28]], dtype=torch.float64)
assert torch.allclose(gate(s, v @ R.T), out @ R.T), "it does not commute"
""",
        """
def gate(s, v):
    import torch

    return ($low + ($high - $low) * torch.sigmoid(s - $middle)) * v
""",
    ),
    Problem(
        "neighborhoods",
        "symmetry_in_graphs",
        "What a sum of arrows cannot see",
        2,
        lambda random: {
            "n": random.randint(5, 10),
            "radius": random.randint(6, 19) / 10,
        },
        r"""
Find two neighborhoods of $n neighbors each, all at distance $radius from the center, no two neighbors closer than 0.05
to each other, whose arrows sum to zero in both, and which are not the same up to a rotation or a mirror.
""",
        '''
def neighborhoods():
    """Two arrays of shape ($n, 3)."""
    raise NotImplementedError
''',
        """
import numpy as np
from scipy.spatial.distance import pdist

between = []
for around in neighborhoods():
    around = np.asarray(around, dtype=float)
    assert around.shape == ($n, 3), f"shape {around.shape}"
    assert np.allclose(np.linalg.norm(around, axis=1), $radius), "not all at that distance"
    assert np.allclose(around.sum(0), 0), "the arrows do not sum to zero"
    assert pdist(around).min() > 0.05, "two neighbors are too close"
    between.append(np.sort(pdist(around)))
assert len(between) == 2, "not two neighborhoods"
assert np.abs(between[0] - between[1]).max() > 1e-3, "the same up to a rotation or a mirror"
""",
        """
def neighborhoods():
    import numpy as np

    def ring(angles):
        angles = np.radians(angles)
        return $radius * np.stack(
            [np.cos(angles), np.sin(angles), 0 * angles], axis=1
        )

    regular = np.arange($n) * 360 / $n
    first = [0, 120, 240] if $n % 2 else [0, 180]
    pairs = [
        (130 + 12 * k, 310 + 12 * k) for k in range(($n - len(first)) // 2)
    ]
    return ring(regular), ring(np.array([*first, *sum(pairs, ())]))
""",
    ),
    Problem(
        "frequencies",
        "irreps_in_the_plane",
        "Which frequencies?",
        1,
        lambda random: {
            "n": (n := random.randint(7, 13)),
            "q": random.randint(1, (n - 1) // 2),
            "top": random.randint(16, 30),
        },
        r"""
Around a particle, $n neighbors sit at the corners of a regular polygon. Neighbor $$k$$ counts with the weight
$$\cos(2\pi \cdot $q\, k / $n)$$. Which of the frequencies $$m = 0, \dots, $top$$ of the density are not zero?
""",
        "frequencies = None  # a list of whole numbers",
        """
import numpy as np

k = np.arange($n)
weight, angle = np.cos(2 * np.pi * $q * k / $n), 0.7 + 2 * np.pi * k / $n
z = [abs(np.sum(weight * np.exp(1j * m * angle))) for m in range($top + 1)]
expected = [m for m, size in enumerate(z) if size > 1e-9]
assert sorted(int(m) for m in frequencies) == expected, "not these frequencies"
""",
        "frequencies = [m for m in range($top + 1) if (m - $q) % $n == 0 or (m + $q) % $n == 0]",
        "assert all(int(m) == m for m in frequencies), 'whole numbers are expected'",
    ),
    Problem(
        "invariant",
        "irreps_in_the_plane",
        "An invariant of two",
        3,
        two_frequencies,
        r"""
Two features $$x$$ and $$y$$ are complex numbers of frequency $a and $b: a rotation by $$\alpha$$ multiplies them by
$$e^{i\, $a \alpha}$$ and $$e^{i\, $b \alpha}$$. Write a real polynomial of both, invariant under rotations, that notices
the angle between them, of the lowest degree possible. (Lengths alone do not notice it.)
""",
        '''
def invariant(x, y):
    """Complex arrays (n,) and (n,) -> real array (n,)."""
    raise NotImplementedError
''',
        """
import numpy as np

rng = np.random.default_rng()
x, y = rng.normal(size=(2, 50, 2)) @ [1, 1j]
alpha = rng.uniform(0, 2 * np.pi, size=50)
before = invariant(x, y)
assert np.isrealobj(before), "not real"
assert np.allclose(invariant(x * np.exp($a * 1j * alpha), y * np.exp($b * 1j * alpha)), before), "not invariant"
assert not np.allclose(invariant(x, y * np.exp(1j * alpha)), before), "it sees lengths only"
assert np.allclose(invariant(2 * x, 2 * y), 2**$degree * before), "not of the lowest degree"
""",
        """
def invariant(x, y):
    return (x**$p * y.conj() ** $q).real
""",
    ),
    Problem(
        "largest",
        "spherical_harmonics",
        "The most ordered particle",
        2,
        lambda random: {
            "degree": random.choice([3, 4, 5, 6, 7, 8]),
            "cutoff": random.choice([1.3, 1.35, 1.4, 1.45, 1.5]),
            "T": random.choice([0.44, 0.47, 0.50, 0.56]),
            "k": random.randint(0, 2),
        },
        r"""
In `gl.load("starter", T=$T, split="train")[$k]`, which particle has the largest bond-order parameter $$q_{$degree}$$, counting
neighbors of both types up to distance $cutoff?
""",
        "largest = None  # its index, from 0",
        """
import glasslit as gl
from glasslit import descriptors

liquid = gl.load("starter", T=$T, split="train")[$k]
q = descriptors.bond_order(liquid, [$degree], cutoff=$cutoff)
assert largest == int(q[:, 0].argmax()), "not this particle"
""",
        """
import glasslit as gl
from glasslit import descriptors

liquid = gl.load("starter", T=$T, split="train")[$k]
largest = int(
    descriptors.bond_order(liquid, [$degree], cutoff=$cutoff)[:, 0].argmax()
)
""",
        "assert 0 <= largest < 1000, 'an index from 0 to 999 is expected'",
    ),
    Problem(
        "coupled",
        "clebsch_gordan",
        "From two harmonics a third",
        3,
        a_product,
        r"""
Up to a factor, the degree $c part of the product of $$Y^{$a}(\hat a)$$ and $$Y^{$b}(\hat a)$$ is $$Y^{$c}(\hat a)$$. Write the product
with the right factor and sign, in this book's conventions.
""",
        '''
def coupled(Y_a, Y_b):
    """Y of degree $a (n, 2 * $a + 1) and of degree $b -> Y of degree $c."""
    raise NotImplementedError
''',
        """
import torch
from glasslit import so3

unit = torch.nn.functional.normalize(torch.randn(40, 3, dtype=torch.float64), dim=1)
Y = so3.spherical_harmonics(5, unit)
part = lambda degree: Y[:, degree**2 : (degree + 1) ** 2]
out = torch.as_tensor(coupled(part($a), part($b)))
assert torch.allclose(out.double(), part($c), atol=1e-5), "not Y of degree $c"
""",
        """
def coupled(Y_a, Y_b):
    import torch
    from e3nn import o3
    from glasslit import so3

    table = o3.wigner_3j($a, $b, $c, dtype=torch.float64)
    north = so3.spherical_harmonics(5, torch.tensor([[0.6, 0.0, 0.8]], dtype=torch.float64))[0]
    part = lambda degree: north[degree**2 : (degree + 1) ** 2]
    there = torch.einsum("abc,a,b->c", table, part($a), part($b))
    factor = (there @ part($c)) / (there @ there)
    return factor * torch.einsum("abc,na,nb->nc", table, Y_a, Y_b)
""",
    ),
    Problem(
        "n_products",
        "clebsch_gordan",
        "Counting products",
        2,
        lambda random: {
            "zero": random.randint(2, 9),
            "one": random.randint(2, 9),
            "two": random.randint(2, 9),
            "edge": random.randint(2, 4),
            "out": random.randint(1, 3),
        },
        r"""
$zero channels of degree 0, $one of degree 1 and $two of degree 2 come into a layer. Edges carry harmonics up to degree $edge, results up
to degree $out are kept. How many products (a path and a channel) are there, channel-wise? And how many of them respect
mirrors, if a feature of degree $$l$$ has parity $$(-1)^l$$?
""",
        "n_products = None  # (all, those that respect mirrors)",
        """
channels, every, even = ($zero, $one, $two), 0, 0
for i, count in enumerate(channels):
    for f in range($edge + 1):
        for o in range($out + 1):
            if abs(i - f) <= o <= i + f:
                every += count
                even += count * ((i + f + o) % 2 == 0)
assert tuple(n_products) == (every, even), "not these two numbers"
""",
        """
kept = [
    (count, i + f + o)
    for i, count in enumerate(($zero, $one, $two))
    for f in range($edge + 1)
    for o in range(abs(i - f), min(i + f, $out) + 1)
]
n_products = (
    sum(count for count, _ in kept),
    sum(count for count, total in kept if total % 2 == 0),
)
""",
        "assert len(n_products) == 2 and all(int(n) == n for n in n_products), 'two whole numbers are expected'",
    ),
    Problem(
        "kernel",
        "kernel_constraint",
        "A kernel to order",
        3,
        lambda random: {
            "along": random.choice([-1, 1]) * random.randint(11, 29) / 10,
            "across": random.randint(3, 9) / 10,
            "angle": random.choice([-1, 1]) * random.randint(10, 80),
        },
        r"""
Write the kernel $$\kappa(\hat{\mathbf a})$$ from degree 1 to degree 1 that multiplies arrows along $$\hat{\mathbf a}$$ by $along, and arrows across
$$\hat{\mathbf a}$$ by $across, turning the latter by $angle degrees around $$\hat{\mathbf a}$$ (right-hand rule). Components in the order $$x, y, z$$.
""",
        '''
def kernel(a):
    """Unit vector (3,) -> matrix (3, 3)."""
    raise NotImplementedError
''',
        """
import numpy as np
from scipy.spatial.transform import Rotation

for R in Rotation.random(10).as_matrix():
    a, across = R @ [0.0, 0, 1], R @ [1.0, 0, 0]
    turned = Rotation.from_rotvec(np.radians($angle) * a).apply(across)
    K = np.asarray(kernel(a))
    assert np.allclose(K @ a, $along * a), "along the edge"
    assert np.allclose(K @ across, $across * turned), "across the edge"
    assert np.allclose(kernel(R @ a), R @ K @ R.T), "not equivariant"
""",
        """
def kernel(a):
    import numpy as np

    x, y, z = a
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    line = np.outer(a, a)
    angle = np.radians($angle)
    plane = np.cos(angle) * (np.eye(3) - line) + np.sin(angle) * cross
    return $along * line + $across * plane
""",
    ),
    Problem(
        "envelope",
        "the_layer",
        "An envelope",
        3,
        lambda random: {
            "cutoff": random.randint(15, 35) / 10,
            "flat": random.randint(1, 3),
            "smooth": random.randint(1, 3),
        },
        r"""
Write a smooth envelope $$u(r)$$ with $$u(0) = 1$$ whose derivatives up to order $flat vanish at $$r = 0$$, and that vanishes at $$r_c = $cutoff$$ together with
its derivatives up to order $smooth, but not with the next one.
""",
        '''
def envelope(r):
    """Tensor of distances -> tensor; differentiable."""
    raise NotImplementedError
''',
        """
import torch


def derivatives(at, count):
    r = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    values = [envelope(r)]
    for _ in range(count):
        (slope,) = torch.autograd.grad(values[-1], r, create_graph=True)
        values.append(slope)
    return torch.stack([v.detach() for v in values])


start, end = derivatives(1e-7, $flat), derivatives($cutoff, $smooth + 1)
assert torch.allclose(start, torch.eye($flat + 1, dtype=torch.float64)[0], atol=1e-4), f"u and its derivatives at 0: {start.tolist()}"
assert (end[:-1].abs() < 1e-7).all(), f"u and its derivatives at the cutoff: {end.tolist()}"
assert end[-1].abs() > 1e-3, "one derivative too many vanishes"
""",
        """
def envelope(r):
    import numpy as np

    n = $flat + $smooth + 2  # conditions, and so coefficients
    rows, values = [], []
    for order in range($flat + 1):
        rows.append([np.polyval(np.polyder(c, order), 0.0) for c in np.eye(n)])
        values.append(float(order == 0))
    for order in range($smooth + 1):
        rows.append([np.polyval(np.polyder(c, order), 1.0) for c in np.eye(n)])
        values.append(0.0)
    total = 0
    for c in np.linalg.solve(rows, values):
        total = total * (r / $cutoff) + c
    return total
""",
    ),
    Problem(
        "hides",
        "equivariance_checks",
        "A mutant that hides",
        3,
        lambda random: {"n": random.randint(3, 12)},
        r"""
Write a map of arrows in the plane that commutes with rotations by $$360 / $n$$ degrees, and with no rotation by less.
""",
        '''
def hides(v):
    """Arrows (n, 2) -> arrows (n, 2), tensors."""
    raise NotImplementedError
''',
        """
from math import pi

import torch


def error(angle):
    c, s = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
    R = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    before = hides(v) @ R.T
    return float((hides(v @ R.T) - before).abs().max() / before.abs().max())


v = torch.randn(200, 2, dtype=torch.float64)
v = v / v.norm(dim=1, keepdim=True) * (0.5 + torch.rand(200, 1, dtype=torch.float64))
assert hides(v).shape == v.shape, "another shape"
assert error(2 * pi / $n) < 1e-5, "it does not commute where it should"
for part in (2, 3, 1.7, 5):
    assert error(2 * pi / $n / part) > 1e-2, f"it commutes with 360 / ($n * {part})"
""",
        """
def hides(v):
    import torch

    angle = torch.atan2(v[:, 1], v[:, 0])
    return v * (1 + 0.5 * torch.cos($n * angle))[:, None]
""",
    ),
    Problem(
        "n_numbers",
        "the_full_network",
        "Without odd paths",
        2,
        lambda random: {
            "layers": random.randint(2, 9),
            "channels": random.randint(3, 16),
            "l_max": random.randint(1, 3),
            "times": random.randint(3, 12),
        },
        r"""
Somebody drops from the network all paths whose degrees have an odd sum. How many trainable numbers are left, batch
norms apart, with $layers layers, $channels channels, $$l_{\max} = $l_max$$, three scalars in, hidden width 16, ten basis functions and $times times?
""",
        "n_numbers = None  # a whole number",
        """
from glasslit import so3

even = sum(sum(path) % 2 == 0 for path in so3.paths($l_max))
total = 2 * $times * $channels * ($l_max + 1)
for layer in range($layers):
    phi = 3 * ($l_max + 1) + ($channels * even if layer else 0)
    total += 10 * 16 + 16 + 2 * 16 + 16 * phi + phi + phi * $channels
assert n_numbers == total, "not this number"
""",
        """
import glasslit as gl
from glasslit import so3

parts = gl.SE3GNN(
    gl.ModelConfig(
        layers=$layers,
        channels=$channels,
        l_max=$l_max,
        inputs="thermal+E_IS",
        n_times=$times,
    )
).count_parameters()
odd = sum(sum(path) % 2 for path in so3.paths($l_max))
lost = ($layers - 1) * $channels * odd * (16 + 1 + $channels)
n_numbers = sum(parts.values()) - parts["batch_norm"] - lost
""",
        "assert int(n_numbers) == n_numbers, 'a whole number is expected'",
    ),
)
