"""What checks of a layer measure: symmetries, gradients, the cutoff, batches and number formats, as numbers.

Each function returns relative errors by what they belong to, such as irreps or parameters. Limits, and the
``assert_`` form of each, are in :mod:`~glasslit.equivariance.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from .checked_layer import CheckedLayer
from .parity import representation
from .so3 import random_rotations

Errors = dict[str, float]
ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest relative error that is put down to rounding, by number format."""
SMALL_BLOCK = 1e-3
"""Irreps smaller than this part of the largest output are measured by that part: their own size may be rounding."""
STEPS = (1e-4, 1e-5, 1e-6)
"""Of finite differences, relative. The best one counts: a wrong gradient is wrong in all, a kink is met by few."""
DERIVATIVES = ("value", "slope", "curvature")


def rotation_errors(layer: CheckedLayer, rotations: Tensor | None = None, seed: int = 0) -> Errors:
    r"""How far the output is from turning with the points.

    .. math:: \max_R \frac{\max|f(R\,x) - D(R) f(x)|}{\max|f(x)|}

    Parameters
    ----------
    layer : with its irreps
    rotations : shape (R, 3, 3); four random ones by default
    seed : of points and rotations

    Returns
    -------
    The relative error of each of the output's irreps.

    Raises
    ------
    ValueError
        If the output is zero everywhere or not finite, has another shape, or differs between two calls. This holds for
        all checks.
    """
    chosen = random_rotations(4, seed) if rotations is None else rotations
    return _when_turned(layer, chosen, seed)


def mirror_errors(layer: CheckedLayer, seed: int = 0) -> Errors:
    """How far the output is from what its irreps say under the inversion, x to -x: odd parity changes the sign.

    A mirror image is an inversion followed by half a turn, so that this check and that of rotations are enough for
    every mirror image. The errors are relative, for each of the output's irreps.
    """
    return _when_turned(layer, -torch.eye(3, dtype=torch.float64)[None], seed)


def translation_errors(layer: CheckedLayer, seed: int = 0) -> Errors:
    """How much the output changes if all points are shifted by a vector some cutoffs long, relative to its size."""
    graph = layer.points(seed)
    shift = 3 * layer.cutoff * random_rotations(1, seed)[0, 0]
    moved = layer.graph(graph.pos + shift, graph.x, graph.z)
    plain = layer.plain(graph)
    return _errors(layer, _quiet(layer, moved), plain)


def permutation_errors(layer: CheckedLayer, seed: int = 0) -> Errors:
    """How much the output changes, other than in its order, if the points are listed in another order."""
    graph = layer.points(seed)
    order = torch.randperm(layer.n, generator=torch.Generator().manual_seed(seed))
    listed = layer.graph(graph.pos[order], graph.x[order], graph.z[order])
    plain = layer.plain(graph)
    return _errors(layer, _quiet(layer, listed), plain if layer.per_graph else plain[order])


def cutoff_jumps(layer: CheckedLayer, order: int | None = None, seed: int = 0) -> Errors:
    r"""How much values and derivatives jump where a pair of points crosses the cutoff.

    One point is moved along the line to another. Six points on each side of the cutoff give a polynomial, and the two
    polynomials are compared at the cutoff. The smallest jump of three widths is taken: a true jump is there in each.

    Parameters
    ----------
    layer : with its cutoff
    order : how many derivatives are looked at, 0, 1 or 2; what the layer promises by default
    seed : of the points

    Returns
    -------
    The jump of ``value``, and of ``slope`` and ``curvature`` if asked for, in units of the largest output, and of the
    cutoff for lengths.

    Raises
    ------
    ValueError
        If the layer does not look at neighbors within the cutoff, or feels points beyond it: then its cutoff is
        another, and the check would look at the wrong place.
    """
    promised = 1 if layer.smooth is None else layer.smooth
    order = promised if order is None else order
    if order not in (0, 1, 2):
        raise ValueError(f"order = {order}; expected 0, 1 or 2")
    graph = layer.points(seed)
    size = layer.plain(graph).abs().max()
    _same_cutoff(layer, graph, float(size))
    still, moving = _lonely_pair(layer, graph)
    direction = graph.pos[moving] - graph.pos[still]
    direction = direction / direction.norm()

    def at(share: float) -> Tensor:
        pos = graph.pos.clone()
        pos[moving] = pos[still] + direction * layer.cutoff * (1 + share)
        return _quiet(layer, layer.graph(pos, graph.x, graph.z)).flatten()

    jumps = []
    for width in (1e-3, 3e-4, 1e-4):
        steps = np.arange(1, 7)
        powers = np.linalg.inv(steps[:, None] ** np.arange(6.0))[: order + 1]
        fit = torch.from_numpy(powers / width ** np.arange(order + 1)[:, None])
        outside = fit @ torch.stack([at(float(width * k)) for k in steps])
        inside = fit @ torch.stack([at(float(-width * k)) for k in steps])
        signs = torch.tensor([1.0, -1.0, 1.0])[: order + 1, None]  # inside, steps go backwards
        jumps.append((outside - signs * inside).abs().amax(dim=1) * torch.tensor([1.0, 1.0, 2.0])[: order + 1])
    smallest = torch.stack(jumps).amin(dim=0) / size
    return dict(zip(DERIVATIVES, smallest.tolist(), strict=False))


def gradient_errors(layer: CheckedLayer, seed: int = 0) -> Errors:
    r"""How far automatic differentiation is from finite differences.

    A random sum of the outputs is differentiated along random directions of positions, of features and of each
    parameter alone: the error of one parameter hides behind the others where all are measured together.

    Returns
    -------
    The relative error for ``positions``, ``features`` and each parameter by its name. Derivatives that are smaller than
    1e-5 of the output are measured by that.
    """
    graph = layer.points(seed)
    plain = layer.plain(graph)
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(plain.shape, dtype=torch.float64, generator=generator)
    size = float((mix * plain).abs().sum())
    module = layer.at(torch.float64)
    pos, x = graph.pos.clone().requires_grad_(), graph.x.clone().requires_grad_()
    inputs = {"positions": pos} | ({"features": x} if x.shape[1] else {})
    if isinstance(module, nn.Module):
        inputs |= {name: value for name, value in module.named_parameters() if value.requires_grad}

    def total() -> Tensor:
        return (mix * layer(layer.graph(pos, x, graph.z))).sum()

    found = total()
    gradients: Iterable[Tensor | None] = [None] * len(inputs)
    if found.requires_grad:
        gradients = torch.autograd.grad(found, list(inputs.values()), allow_unused=True)
    errors = {}
    for (name, value), gradient in zip(inputs.items(), gradients, strict=True):
        unit = layer.cutoff if name == "positions" else float(value.detach().square().mean().sqrt()) or 1.0
        worst = 0.0
        for _ in range(2):
            direction = torch.randn(value.shape, dtype=torch.float64, generator=generator) * unit
            direction = direction / direction.abs().max().clamp_min(1e-300) * unit
            mine = 0.0 if gradient is None else float((gradient * direction).sum())
            differences = (_along(total, value, direction, step) for step in STEPS)
            worst = max(worst, _best(mine, differences, 1e-5 * size))
        errors[name] = worst
    return errors


def leak_errors(layer: CheckedLayer, seed: int = 0) -> Errors:
    """How much the output for one graph depends on the other graphs of its batch.

    Returns
    -------
    ``values``: how much the output for the middle one of three graphs changes if the other two are exchanged for graphs
    of as many points, relative to its size. ``gradients of positions`` and ``gradients of features``: the derivative of
    that output by those of other graphs, relative to the derivative by its own.
    """
    batch = layer.points(seed, graphs=3)
    exchanged, mine = layer.points(seed + 7, graphs=3), batch.batch == 1
    pos, x, z = (torch.where(_as(mine, batch[k]), batch[k], exchanged[k]) for k in ("pos", "x", "z"))
    rows = torch.tensor([False, True, False]) if layer.per_graph else mine
    plain = layer.plain(batch)[rows]
    other = _quiet(layer, layer.graph(pos, x, z, batch.batch))[rows]
    found = {"values": max(_errors(layer, other, plain).values())}
    inputs = {"positions": batch.pos.clone().requires_grad_(), "features": batch.x.clone().requires_grad_()}
    out = layer(layer.graph(inputs["positions"], inputs["features"], batch.z, batch.batch))[rows]
    mix = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    if out.requires_grad:
        gradients = torch.autograd.grad((mix * out).sum(), list(inputs.values()), allow_unused=True)
        for name, gradient in zip(inputs, gradients, strict=True):
            if gradient is not None and gradient.numel():
                own = gradient[mine].abs().max().clamp_min(SMALL_BLOCK * float(plain.abs().max()))
                found[f"gradients of {name}"] = float(gradient[~mine].abs().max() / own)
    return found


def precision_errors(layer: CheckedLayer, seed: int = 0) -> Errors:
    """How far the output in float32 is from that in float64, with the same weights and inputs.

    Returns
    -------
    The relative error of each of the output's irreps; infinity, with the reason for its name, if the layer stops in
    float32 or returns another number format than it was given.
    """
    graph = layer.points(seed)
    plain = layer.plain(graph)
    try:
        single = _quiet(layer, layer.graph(graph.pos.float(), graph.x.float(), graph.z))
    except RuntimeError as error:
        return {f"the call in float32, which stops ({error})": np.inf}
    for out, dtype in ((plain, torch.float64), (single, torch.float32)):
        if out.dtype != dtype:
            return {f"the number format: {str(out.dtype)[6:]} out of {str(dtype)[6:]}": np.inf}
    return _errors(layer, single.double(), plain)


def batch_errors(layer: CheckedLayer, seed: int = 0) -> Errors:
    """How far the output for three graphs of different sizes in one batch is from the output for each alone."""
    sizes = [layer.n, layer.n + 2, layer.n - 3]
    together = layer.plain(layer.points(seed, sizes=sizes))
    alone = [_quiet(layer, layer.points(seed + number, sizes=[size])) for number, size in enumerate(sizes)]
    return _errors(layer, torch.cat(alone), together)


def _quiet(layer: CheckedLayer, graph: Data) -> Tensor:
    with torch.no_grad():
        return layer(graph)


def _when_turned(layer: CheckedLayer, operations: Tensor, seed: int) -> Errors:
    graph = layer.points(seed)
    plain, found = layer.plain(graph), []
    for operation in operations.double():
        x = graph.x @ representation(layer.irreps_in, operation).T if graph.x.shape[1] else graph.x
        turned = _quiet(layer, layer.graph(graph.pos @ operation.T, x, graph.z))
        found.append(_errors(layer, turned, plain @ representation(layer.irreps_out, operation).T))
    return {name: float(np.max([errors[name] for errors in found])) for name in found[0]}


def _errors(layer: CheckedLayer, one: Tensor, other: Tensor) -> Errors:
    """Largest difference of each irrep over its size."""
    least, found = SMALL_BLOCK * other.abs().max(), dict[str, float]()
    for kind, place in zip(layer.irreps_out, layer.irreps_out.slices(), strict=True):
        error = (one[:, place] - other[:, place]).abs().max() / other[:, place].abs().max().clamp_min(least)
        found[str(kind)] = float(np.maximum(found.get(str(kind), 0.0), float(error)))
    return found


def _as(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (like.ndim - 1))


def _along(total: Callable[[], Tensor], value: Tensor, direction: Tensor, step: float) -> float:
    """Central difference of a sum along a direction of one of its inputs, which is as before afterwards."""
    kept, found = value.detach().clone(), []
    with torch.no_grad():
        for sign in (1, -1):
            value.copy_(kept + sign * step * direction)
            found.append(float(total()))
        value.copy_(kept)
    return (found[0] - found[1]) / (2 * step)


def _best(mine: float, differences: Iterator[float], least: float) -> float:
    """The smallest relative error of several finite differences; no more of them than are needed."""
    smallest = np.inf
    for known in differences:
        error = abs(mine - known) / max(abs(mine), abs(known), least)
        smallest = min(smallest, error) if np.isfinite(error) else smallest
        if smallest < 1e-8:
            break
    return float(smallest)


def _same_cutoff(layer: CheckedLayer, graph: Data, size: float) -> None:
    """Refuse a layer whose cutoff is another than it says."""
    others = torch.arange(layer.n) != 0
    rows = torch.tensor([True]) if layer.per_graph else others
    corner, out = graph.pos[1:].amax(dim=0), []
    for factor in (1.02, 2.5):
        pos = graph.pos.clone()
        pos[0] = corner + torch.tensor([factor * layer.cutoff, 0, 0], dtype=torch.float64)
        out.append(_quiet(layer, layer.graph(pos, graph.x, graph.z))[rows])
    beyond = float((out[0] - out[1]).abs().max()) / size
    if not beyond <= ROUNDING[torch.float64]:
        raise ValueError(
            f"{layer.name} changes by {beyond:.1e} where a point moves from 1.02 to 2.5 cutoffs; expected no change "
            f"beyond cutoff = {layer.cutoff:g}: name the layer's own cutoff, or smooth=None if it has none"
        )
    if not float((_quiet(layer, graph)[rows] - out[1]).abs().max()) / size > 1e-8:
        raise ValueError(
            f"{layer.name} does not change where a point comes within cutoff = {layer.cutoff:g}; expected that it "
            "looks at neighbors: name the layer's own cutoff, or smooth=None if it has no neighbors"
        )


def _lonely_pair(layer: CheckedLayer, graph: Data) -> tuple[int, int]:
    """Two points so that one of them crosses the cutoff from the other, and nothing else does."""
    for still in range(layer.n):
        for moving in range(layer.n):
            if still == moving:
                continue
            line = graph.pos[moving] - graph.pos[still]
            place = graph.pos[still] + line / line.norm() * layer.cutoff
            rest = torch.tensor([k not in (still, moving) for k in range(layer.n)])
            far = (graph.pos[rest] - place).norm(dim=1)
            if far.min() > 0.4 * layer.spacing and (far / layer.cutoff - 1).abs().min() > 0.02:
                return still, moving
    raise ValueError(f"no pair of {layer.n} points can cross the cutoff alone; expected fewer points: lower n")
