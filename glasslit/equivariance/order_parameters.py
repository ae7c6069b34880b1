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

from .arguments import check_positive, check_shape, check_tensor, check_whole, numbers
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
        If the loss does not depend on the input at all, not even through weights that happen to be zero; if it is no
        tensor of one finite number, or its gradient is not finite; if there are no sites, or the irreps hold nothing.

    Notes
    -----
    Gradients are switched on for the loss, also where ``torch.no_grad`` is around.

    Examples
    --------
    >>> zero_input_gradient(lambda t: (t - 1).square().sum(), "1x1o").tolist()
    [[-2.0, -2.0, -2.0]]
    """
    check_whole("sites", sites)
    with torch.inference_mode(False), torch.enable_grad():
        zero = torch.zeros(sites, _irreps(kind).dim, dtype=torch.float64, requires_grad=True)
        value = loss(zero)
        if not isinstance(value, Tensor) or value.numel() != 1:
            came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
            raise ValueError(
                f"the loss is of {came}; expected a tensor of one number: without item(), float() or NumPy, and with "
                "mean() or sum() at the end"
            )
        check_tensor("the loss", value, ..., finite=True)
        if not value.requires_grad:
            raise ValueError(
                "the loss does not depend on the input; expected a function of t, e.g. loss(t) = f(net(x, t)), without "
                "detach() or torch.no_grad in it"
            )
        (gradient,) = torch.autograd.grad(value, zero, allow_unused=True)
    if gradient is None:
        raise ValueError("the loss depends on weights, but not on the input; expected a function of t")
    check_tensor("the gradient at zero (a norm or a root has none there)", gradient, ..., finite=True)
    return gradient


def _irreps(kind: o3.Irreps | str) -> o3.Irreps:
    """Irreps that hold something."""
    try:
        irreps = o3.Irreps(kind)
    except (TypeError, ValueError) as error:
        raise ValueError(f"kind = {kind!r}; expected irreps, e.g. '1x0e+2x1o' or every_irrep(4)") from error
    if irreps.dim == 0:
        raise ValueError(f"kind = {kind!r}; expected irreps that are not empty, e.g. '1x0e+2x1o' or every_irrep(4)")
    return irreps


def strengths(values: Tensor, kind: o3.Irreps | str) -> dict[str, float]:
    """How large the part of each irrep is: the norm over all sites, copies and components.

    Parameters
    ----------
    values : shape (..., kind.dim)
    kind : irreps of the values

    Raises
    ------
    ValueError
        If the values are no tensor of such a shape, or the irreps hold nothing.

    Examples
    --------
    >>> strengths(torch.tensor([[0.0, 3.0, 0.0, 4.0]]), "1x0e+1x1o")
    {'0e': 0.0, '1o': 5.0}
    """
    irreps = _irreps(kind)
    check_tensor("values", values, ..., irreps.dim, advice=f", that of {irreps}")
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
    kinds : shape (N,), integers or names; what is mapped to each other is of one kind. All alike by default.
    vectors : shape (N, 3), polar vectors on the points, such as displacements, that must be mapped to each other, too
    box : shape (3,), edges of a periodic box; a finite body by default
    tolerance : largest distance between a mapped point and the point it is mapped to

    Returns
    -------
    operations : shape (G, 3, 3), float64
    permutations : shape (G, N), int64; operation g moves point j to where point ``permutations[g, j]`` is

    Raises
    ------
    ValueError
        If shapes do not fit, numbers are not finite, there are no points, an edge of the box or the tolerance is not
        positive, or two points are so near to each other that they cannot be told apart.

    Examples
    --------
    A square has 16 (with the reflection in its plane), a rectangle 8.

    >>> corners = np.array([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    >>> len(symmetries(corners)[0]), len(symmetries(corners * [2, 1, 1])[0])
    (16, 8)
    """
    points = numbers("points", points, "N", 3)
    kinds = np.zeros(len(points), dtype=int) if kinds is None else np.asarray(kinds)
    check_shape("kinds", kinds.shape, len(points), advice=", one for each point")
    if (kinds != kinds).any():
        raise ValueError(
            "kinds with nan, which is like nothing; expected integers or names: give unknown ones a number"
        )
    vectors = np.zeros_like(points) if vectors is None else numbers("vectors", vectors, len(points), 3)
    edges = None if box is None else numbers("box", box, 3, advice=", its edges: np.full(3, L) for a cube")
    for edge in [] if edges is None else edges.tolist():
        check_positive("an edge of the box", edge)
    check_positive("tolerance", tolerance)
    if edges is None:
        points = points - points.mean(axis=0)

    def fits(turned: np.ndarray, carried: np.ndarray, within: float) -> np.ndarray:
        """Whether each point, turned, lies on each of the points, shape (N, N)."""
        apart = turned[:, None] - points
        if edges is not None:
            apart -= edges * np.round(apart / edges)
        alike = (np.abs(apart).max(axis=2) < within) & (kinds[:, None] == kinds)
        return alike & (np.abs(carried[:, None] - vectors).max(axis=2) < within)

    near = np.argwhere(np.triu(fits(points, vectors, 2 * tolerance), 1))
    if len(near):
        raise ValueError(
            f"points {near[0, 0]} and {near[0, 1]} of one kind, less than twice the tolerance of {tolerance} apart; "
            "expected points that can be told apart: give each point once, or lower the tolerance"
        )
    rarest = min(set(kinds.tolist()), key=lambda kind: (kinds == kind).sum())
    mates = np.flatnonzero(kinds == rarest)
    operations, permutations = [], []
    for operation in cube_operations().numpy():
        if edges is not None and np.abs(np.abs(operation) @ edges - edges).max() >= tolerance:
            continue  # the box itself is not mapped to itself
        turned, carried = points @ operation.T, vectors @ operation.T
        shifts = np.zeros((1, 3)) if edges is None else points[mates] - turned[mates[0]]
        for shift in shifts:
            found = fits(turned + shift, carried, tolerance)
            if found.any(axis=1).all():
                operations.append(torch.from_numpy(operation))
                permutations.append(torch.from_numpy(found.argmax(axis=1)))
    return torch.stack(operations), torch.stack(permutations)


def moved(values: Tensor, matrix: Tensor, permutation: Tensor | None = None) -> Tensor:
    """What an operation makes of features: each is turned, and goes where its point goes.

    Parameters
    ----------
    values : shape (N, dim)
    matrix : shape (dim, dim), from :func:`~glasslit.equivariance.parity.representation`
    permutation : shape (N,); features that belong to no point stay where they are

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, or the permutation does not name each point once.
    """
    check_tensor("values", values, "N", "dim")
    dim = values.shape[1]
    check_tensor("matrix", matrix, dim, dim, like=(values, "make both of one dtype, on one device"))
    if permutation is not None:
        _check_permutations("permutation", permutation, len(values))
    turned = values @ matrix.T
    if permutation is None:
        return turned
    result = torch.empty_like(turned)
    result[permutation] = turned
    return result


def _check_permutations(name: str, value: Tensor, *shape: int) -> None:
    check_tensor(name, value, *shape, advice=", a number for each point")
    if not (value.dtype == torch.int64 and (value.sort().values == torch.arange(shape[-1], device=value.device)).all()):
        raise ValueError(
            f"{name} of {value.dtype} naming a point twice or not at all; expected each of 0 to {shape[-1] - 1} once "
            "in a row, torch.int64: take those of symmetries()"
        )


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
        If the sites are not mapped to each other, or ``probes`` is too small to be sure that the basis is complete. If
        shapes do not fit, residual or operations are not float64 on the CPU (in float32 rounding would count as
        directions), operations are not orthogonal, or sites are named twice or are no points.

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
    irreps = _irreps(kind)
    check_whole("probes", probes)
    check_whole("seed", seed, None)
    exact = (torch.zeros((), dtype=torch.float64), "compute it so, for rounding of float32 would count as directions")
    check_tensor("residual", residual, "N", 3, like=exact, finite=True)
    check_tensor("operations", operations, "G", 3, 3, like=exact, finite=True)
    if (operations @ operations.mT - torch.eye(3, dtype=torch.float64)).abs().max() > 1e-6:
        raise ValueError("operations that are not orthogonal; expected rotations and reflections: use symmetries()")
    _check_permutations("permutations", permutations, len(operations), len(residual))
    count, places = 1, None
    if sites is not None:
        sites = torch.as_tensor(sites)
        check_tensor("sites", sites, "S", like=(permutations, "give numbers of points, e.g. torch.tensor([0, 1])"))
        if sites.min() < 0 or sites.max() >= len(residual) or len(sites.unique()) < len(sites):
            raise ValueError(
                f"sites = {sites.tolist()}; expected numbers of points, 0 to {len(residual) - 1}, each at most once"
            )
        count = len(sites)
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
