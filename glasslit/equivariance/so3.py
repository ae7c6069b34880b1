r"""Rotations acting on features: the one place that states the conventions.

* An irrep of degree l acts on 2l + 1 real components, m = -l ... l in that order.
* The axis order is e3nn's: for l = 1 the components m = -1, 0, 1 are (x, y, z), so a vector is its
  own l = 1 feature and D^1(R) = R. (The polar axis is y; the usual z-axis tables call these
  components y, z, x.)
* Normalization is e3nn's "component": the squared components of Y^l sum to 2l + 1, so Y^0 = 1.
* Features are SO(3) features, as in the paper. Under reflections the layer's products with l_in + l_filter + l_out
  odd behave as pseudotensors; every irrep is carried with even parity (``0e, 1e, 2e, ...``) to say
  that reflections are not promised anything.
* Where ``mirror_images`` is asked for, features are O(3) features of natural parity (``0e, 1o, 2e, ...``): degree l
  has the parity (-1)^l of its harmonics, and those products are left out.
"""

from __future__ import annotations

import torch
from e3nn import o3
from scipy.spatial.transform import Rotation
from torch import Tensor


def paths(l_max: int, l_in: int | None = None, mirror_images: bool = False) -> list[tuple[int, int, int]]:
    """Every triplet (l_in, l_filter, l_out) that couples, none above ``l_max``.

    The selection rule is the triangle ``|l_in - l_filter| <= l_out <= l_in + l_filter``. Parity is a rule only where
    ``mirror_images`` asks for it: with natural parity l_in + l_filter + l_out has to be even, which leaves out the
    cross product of two vectors, for one. Otherwise products odd under reflection count.

    Examples
    --------
    >>> paths(1)
    [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1)]
    >>> len(paths(3)), len(paths(3, mirror_images=True))
    (34, 23)
    """
    return [
        (i, f, o)
        for i in (range(l_max + 1) if l_in is None else [l_in])
        for f in range(l_max + 1)
        for o in range(abs(i - f), min(i + f, l_max) + 1)
        if not (mirror_images and (i + f + o) % 2)
    ]


def parity_of(degree: int, mirror_images: bool) -> int:
    """The parity by which features of a degree are carried: natural, (-1)^l, or even where nothing is promised."""
    return (-1) ** degree if mirror_images else 1


def irreps(channels: int, l_max: int, mirror_images: bool = False) -> o3.Irreps:
    """``channels`` copies of each degree 0 ... l_max, e.g. 8x0e+8x1e+8x2e+8x3e, or 8x0e+8x1o+8x2e+8x3o."""
    return o3.Irreps([(channels, (degree, parity_of(degree, mirror_images))) for degree in range(l_max + 1)])


def spherical_harmonics(l_max: int, vectors: Tensor) -> Tensor:
    r"""Real spherical harmonics of the directions of vectors, degrees 0 ... l_max side by side.

    .. math:: Y^l(R a) = D^l(R)\, Y^l(a), \\ Y^l(-a) = (-1)^l\, Y^l(a)

    Parameters
    ----------
    l_max : int
    vectors : shape (..., 3), any length but zero

    Returns
    -------
    shape (..., (l_max + 1)^2), dimensionless, component normalization (Y^0 = 1).

    Examples
    --------
    >>> spherical_harmonics(1, torch.tensor([[0.0, 2.0, 0.0]]))
    tensor([[1.0000, 0.0000, 1.7321, 0.0000]])
    """
    return o3.spherical_harmonics(list(range(l_max + 1)), vectors, normalize=True, normalization="component")


def wigner_d(degree: int, rotation: Tensor) -> Tensor:
    """The matrix D^l(R) by which irrep l turns: the one with Y^l(R a) = D^l(R) Y^l(a) for all a.

    Found from that very equation on fixed directions (least squares, exact to rounding), so it needs no
    angles and loses no precision near the poles.

    Parameters
    ----------
    degree : l
    rotation : shape (3, 3), proper rotation

    Returns
    -------
    shape (2l + 1, 2l + 1), orthogonal, in the dtype of ``rotation``.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(8 * (degree + 1), 3, generator=generator, dtype=torch.float64)
    component = slice(degree**2, (degree + 1) ** 2)
    before = spherical_harmonics(degree, directions)[:, component]
    after = spherical_harmonics(degree, directions @ rotation.detach().cpu().double().T)[:, component]
    return torch.linalg.lstsq(before, after).solution.T.to(rotation)


def rotate(features: Tensor, kind: o3.Irreps, rotation: Tensor) -> Tensor:
    """Turn features of the given irreps: each copy of degree l is multiplied by D^l(R).

    Parameters
    ----------
    features : shape (..., kind.dim)
    kind : e3nn irreps, e.g. ``o3.Irreps("8x0e+8x1e")``
    rotation : shape (3, 3)
    """
    parts = []
    for (copies, irrep), part in zip(kind, features.split([mul_ir.dim for mul_ir in kind], dim=-1), strict=True):
        matrix = wigner_d(irrep.l, rotation).to(part)
        turned = part.reshape(*part.shape[:-1], copies, irrep.dim) @ matrix.T
        parts.append(turned.reshape(part.shape))
    return torch.cat(parts, dim=-1)


def copies_and_degrees(kind: o3.Irreps | str) -> tuple[tuple[int, int], ...]:
    """e3nn irreps as plain numbers: (copies, degree) of each entry.

    What a network reads in its forward pass are these, taken when it is made. ``torch.compile`` watches all that is
    read there, and asks tuples for their length, which an irrep of e3nn refuses: ``Irrep.__len__`` raises
    NotImplementedError (e3nn 0.5.6 and 0.6.0, with PyTorch 2.13).

    Examples
    --------
    >>> copies_and_degrees("8x0e+4x2e")
    ((8, 0), (4, 2))
    """
    return tuple((int(copies), int(irrep.l)) for copies, irrep in o3.Irreps(kind))


def invariants(features: Tensor, kind: o3.Irreps | str) -> Tensor:
    """What of features no rotation changes: scalars as they are, and the length of each copy of a higher degree.

    Parameters
    ----------
    features : shape (N, kind.dim)
    kind : e3nn irreps

    Returns
    -------
    shape (N, number of copies of all degrees)
    """
    return invariants_of_copies(features, copies_and_degrees(kind))


def invariants_of_copies(features: Tensor, kind: tuple[tuple[int, int], ...]) -> Tensor:
    """The same for irreps as :func:`copies_and_degrees` gives them."""
    sizes = [copies * (2 * degree + 1) for copies, degree in kind]
    parts = []
    for (copies, degree), block in zip(kind, features.split(sizes, dim=1), strict=True):
        vectors = block.reshape(len(block), copies, 2 * degree + 1)
        parts.append(vectors[..., 0] if degree == 0 else torch.linalg.vector_norm(vectors, dim=-1))
    return torch.cat(parts, dim=1)


def symmetric_to_irreps(entries: Tensor) -> Tensor:
    r"""A symmetric matrix as irreps 0e + 2e: the trace, and the traceless part, which is of degree two.

    The first number is the trace divided by the root of three, and does not change when the liquid turns; the other
    five turn as harmonics of degree two. The squares of all six sum to those of the nine entries.

    .. math:: c(R\, C\, R^\mathsf{T}) = \big(D^0(R) \oplus D^2(R)\big)\, c(C)

    Parameters
    ----------
    entries : shape (..., 6): xx, yy, zz, yz, xz, xy

    Returns
    -------
    shape (..., 6)

    Examples
    --------
    >>> symmetric_to_irreps(torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])).tolist()[1:]
    [0.0, 0.0, 0.0, 0.0, 0.0]
    """
    xx, yy, zz, yz, xz, xy = entries.unbind(-1)
    root = 2**0.5
    parts = [(xx + yy + zz) / 3**0.5, root * xz, root * xy, (2 * yy - xx - zz) / 6**0.5, root * yz, (zz - xx) / root]
    return torch.stack(parts, dim=-1)


def irreps_to_symmetric(numbers: Tensor) -> Tensor:
    """The reverse of :func:`symmetric_to_irreps`.

    Examples
    --------
    >>> entries = torch.arange(6, dtype=torch.float64)
    >>> torch.allclose(irreps_to_symmetric(symmetric_to_irreps(entries)), entries)
    True
    """
    trace, xz, xy, along_y, yz, across_y = numbers.unbind(-1)
    root, third, sixth = 2**0.5, trace / 3**0.5, along_y / 6**0.5
    diagonal = [third - sixth - across_y / root, third + 2 * sixth, third - sixth + across_y / root]
    return torch.stack([*diagonal, yz / root, xz / root, xy / root], dim=-1)


def random_rotations(count: int, seed: int = 0) -> Tensor:
    """Uniform random proper rotations, shape (count, 3, 3), float64."""
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())


def cube_rotations() -> Tensor:
    """The 24 proper rotations that map a cube to itself, shape (24, 3, 3), float64.

    They are the only rotations a cubic periodic box admits.
    """
    return torch.from_numpy(Rotation.create_group("O").as_matrix().round())
