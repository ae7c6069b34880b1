r"""Order parameters by gradients (Smidt, Geiger, Miller, Phys. Rev. Research 3, L012002, 2021).

An equivariant network cannot give an output that has less symmetry than its input. To learn such an output it needs
one more input, the order parameter, that has the lower symmetry. Offer an input of every irrep, all zero, and take the
gradient of the loss: at zero it names the irreps, and the components, that lower the loss.

This module holds the gradient, the symmetry of small structures, and the selection rule that says, without a network,
which components the gradient may have.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from e3nn import o3
from torch import Tensor

from .parity import representation
from .so3 import cube_rotations


def zero_input_gradient(loss: Callable[[Tensor], Tensor], kind: o3.Irreps | str, sites: int = 1) -> Tensor:
    r"""The gradient of a loss with respect to inputs that are zero.

    .. math:: g = \partial L / \partial t \,\big|_{t = 0}

    Parameters
    ----------
    loss : t, shape (sites, kind.dim), float64 -> a number
    kind : irreps of the input, e.g. ``every_irrep(4)``
    sites : how many places have an input of their own

    Returns
    -------
    shape (sites, kind.dim)

    Raises
    ------
    ValueError
        If the loss does not depend on the input at all, not even through weights that happen to be zero.

    Examples
    --------
    >>> zero_input_gradient(lambda t: (t - 1).square().sum(), "1x1o").tolist()
    [[-2.0, -2.0, -2.0]]
    """
    zero = torch.zeros(sites, o3.Irreps(kind).dim, dtype=torch.float64, requires_grad=True)
    value = loss(zero)
    if not value.requires_grad:
        raise ValueError("the loss does not depend on the input; expected a function of t, e.g. loss(t) = f(net(x, t))")
    (gradient,) = torch.autograd.grad(value, zero, allow_unused=True)
    if gradient is None:
        raise ValueError("the loss depends on weights, but not on the input; expected a function of t")
    return gradient


def strengths(values: Tensor, kind: o3.Irreps | str) -> dict[str, float]:
    """How large the part of each irrep is: the norm over all sites, copies and components.

    Examples
    --------
    >>> strengths(torch.tensor([[0.0, 3.0, 0.0, 4.0]]), "1x0e+1x1o")
    {'0e': 0.0, '1o': 5.0}
    """
    irreps = o3.Irreps(kind)
    parts = zip(irreps, values.split([part.dim for part in irreps], dim=-1), strict=True)
    squares: dict[str, float] = {}
    for (_, irrep), part in parts:
        squares[str(irrep)] = squares.get(str(irrep), 0.0) + float(part.square().sum())
    return {name: value**0.5 for name, value in squares.items()}


def cube_operations() -> Tensor:
    """The 48 rotations and reflections that map a cube to itself, shape (48, 3, 3), float64."""
    turns = cube_rotations()
    return torch.cat([turns, -turns])


def symmetries(
    points: np.ndarray,
    kinds: np.ndarray | None = None,
    vectors: np.ndarray | None = None,
    box: np.ndarray | None = None,
    tolerance: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """The operations of a cube, with translations in a periodic box, that map a structure to itself.

    Operations that no cube has, such as a turn by 60 degrees, are not looked for.

    Parameters
    ----------
    points : shape (N, 3). Without a box, their mean is the fixed point.
    kinds : shape (N,), integers; what is mapped to each other is of one kind. All alike by default.
    vectors : shape (N, 3), polar vectors on the points, such as displacements, that must be mapped to each other, too
    box : shape (3,), edges of a periodic box; a finite body by default
    tolerance : largest distance between a mapped point and the point it is mapped to

    Returns
    -------
    operations : shape (G, 3, 3), float64
    permutations : shape (G, N), int64; operation g moves point j to where point ``permutations[g, j]`` is

    Examples
    --------
    A square has 16 (with the reflection in its plane), a rectangle 8.

    >>> corners = np.array([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    >>> len(symmetries(corners)[0]), len(symmetries(corners * [2, 1, 1])[0])
    (16, 8)
    """
    points = np.asarray(points, dtype=float)
    kinds = np.zeros(len(points), dtype=int) if kinds is None else np.asarray(kinds)
    vectors = np.zeros_like(points) if vectors is None else np.asarray(vectors, dtype=float)
    if box is None:
        points = points - points.mean(axis=0)
    rarest = min(set(kinds.tolist()), key=lambda kind: (kinds == kind).sum())
    mates = np.flatnonzero(kinds == rarest)
    operations, permutations = [], []
    for operation in cube_operations().numpy():
        turned, carried = points @ operation.T, vectors @ operation.T
        shifts = np.zeros((1, 3)) if box is None else points[mates] - turned[mates[0]]
        for shift in shifts:
            apart = (turned + shift)[:, None] - points
            if box is not None:
                apart -= box * np.round(apart / box)
            fits = (np.abs(apart).max(axis=2) < tolerance) & (kinds[:, None] == kinds)
            fits &= np.abs(carried[:, None] - vectors).max(axis=2) < tolerance
            if fits.any(axis=1).all():
                operations.append(torch.from_numpy(operation))
                permutations.append(torch.from_numpy(fits.argmax(axis=1)))
    return torch.stack(operations), torch.stack(permutations)


def moved(values: Tensor, matrix: Tensor, permutation: Tensor | None = None) -> Tensor:
    """What an operation makes of features: each is turned, and goes where its point goes.

    Parameters
    ----------
    values : shape (N, dim)
    matrix : shape (dim, dim), from :func:`~glasslit.equivariance.parity.representation`
    permutation : shape (N,); features that belong to no point stay where they are
    """
    turned = values @ matrix.T
    if permutation is None:
        return turned
    result = torch.empty_like(turned)
    result[permutation] = turned
    return result


def allowed_directions(
    residual: Tensor,
    kind: o3.Irreps | str,
    operations: Tensor,
    permutations: Tensor,
    sites: Tensor | None = None,
    probes: int = 12,
    seed: int = 0,
) -> Tensor:
    r"""The selection rule: where the gradient at zero inputs can point, for *any* equivariant network.

    An operation a of the structure's symmetry group G acts on the inputs by :math:`D_t(a)`, and on displacements of the
    points by :math:`D_x(a)`. The derivative of the output with respect to the input, at zero, is a linear map J that
    intertwines the two, :math:`J D_t(a) = D_x(a) J`. The transpose of any such map is the mean of some linear map M
    over the group, so the gradient is, up to a factor,

    .. math:: g = \frac{1}{|G|} \sum_{a} D_t(a)\, M\, D_x(a)^{-1} r

    with the residual r = target - output. The space of all such g is found from random M.

    Parameters
    ----------
    residual : shape (N, 3), polar vectors: what the network without the input gets wrong
    kind : irreps of the input
    operations, permutations : the symmetry of the structure, from :func:`symmetries`
    sites : the points that have an input, each its own; None: one input, the same for all points
    probes : number of random M; the space found has at most so many dimensions
    seed : decides the M

    Returns
    -------
    shape (dimensions, number of sites or 1, kind.dim): an orthonormal basis

    Raises
    ------
    ValueError
        If the sites are not mapped to each other, or ``probes`` is too small to be sure that the basis is complete.

    Examples
    --------
    The corners of a square shall move to those of a rectangle. Of all inputs of degree 2, one component can bring that
    about: x^2 - y^2, if the axis of the square is e3nn's polar axis, y.

    >>> corners = np.array([[1.0, 0, 1], [-1, 0, 1], [-1, 0, -1], [1, 0, -1]])
    >>> residual = torch.tensor(corners * [1, 0, -1])
    >>> allowed_directions(residual, "1x2e", *symmetries(corners)).abs().round(decimals=6).tolist()
    [[[0.0, 0.0, 0.0, 0.0, 1.0]]]
    >>> len(allowed_directions(residual, "1x0e+1x1e+1x0o+1x1o+1x2o", *symmetries(corners)))
    0
    """
    irreps = o3.Irreps(kind)
    count = 1 if sites is None else len(sites)
    places = None
    if sites is not None:
        number = torch.full((permutations.shape[1],), -1)
        number[sites] = torch.arange(count)
        places = number[permutations[:, sites]]
        if (places < 0).any():
            raise ValueError(
                "an operation moves a site to a point that is none; expected all points of a kind as sites"
            )
    generator = torch.Generator().manual_seed(seed)
    probe = torch.randn(probes, count * irreps.dim, residual.numel(), generator=generator, dtype=torch.float64)
    total = torch.zeros(probes, count, irreps.dim, dtype=torch.float64)
    known: dict[bytes, Tensor] = {}
    for k, (operation, permutation) in enumerate(zip(operations, permutations, strict=True)):
        back = (residual @ operation)[permutation]  # the inverse operation, applied to polar vectors
        matrix = known.setdefault(operation.numpy().tobytes(), representation(irreps, operation))
        values = (probe @ back.flatten()).unflatten(1, (count, irreps.dim)) @ matrix.T
        if places is None:
            total += values
        else:
            total[:, places[k]] += values
    _, sizes, basis = torch.linalg.svd((total / len(operations)).flatten(1), full_matrices=False)
    found = int((sizes > 1e-9 * float(residual.abs().max())).sum())
    if found == min(probes, count * irreps.dim) and probes < count * irreps.dim:
        raise ValueError(f"probes={probes} found {found} directions, and there may be more; expected a larger number")
    return basis[:found].unflatten(1, (count, irreps.dim))
