"""A layer of any package, together with what checks have to know about it, and made-up points to try it on.

The checks themselves are in :mod:`~glasslit.equivariance.checks`. They see every layer as a function from a graph to a
tensor. One argument, ``call``, makes the signature of any module fit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

MARGIN = 1e-3
"""No two made-up points are as far apart as the cutoff, within this part of it, so that rounding changes no edge."""
REPEATED = 1e-10
"""Two calls on one input may differ by this part of the output: libraries may add up in another order."""


def edges_within(pos: Tensor, cutoff: float, batch: Tensor | None = None) -> Tensor:
    """All pairs of points of one graph that are closer than the cutoff, in both directions, without a periodic box.

    Parameters
    ----------
    pos : shape (N, 3)
    cutoff : in the unit of ``pos``
    batch : shape (N,), the number of each point's graph; all points belong to one graph by default

    Returns
    -------
    shape (2, E): sender and receiver of each edge, sorted by receiver, then by sender. All distances are computed, so
    the function is meant for some hundred points.

    Examples
    --------
    >>> edges_within(torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]]), cutoff=1.5)
    tensor([[1, 0],
            [0, 1]])
    """
    near = torch.linalg.vector_norm(pos.detach()[:, None] - pos.detach(), dim=2) < cutoff
    near.fill_diagonal_(False)
    if batch is not None:
        near &= batch[:, None] == batch
    receiver, sender = near.nonzero(as_tuple=True)
    return torch.stack([sender, receiver])


def point_graph(pos: Tensor, x: Tensor, z: Tensor, cutoff: float, batch: Tensor | None = None) -> Data:
    """The graph that a layer under test is given, as PyTorch Geometric ``Data``.

    Parameters
    ----------
    pos : shape (N, 3), positions
    x : shape (N, irreps_in.dim), features of the points
    z : shape (N,), a whole number for each point, its kind
    cutoff : points closer than this share an edge
    batch : shape (N,), the number of each point's graph; all points belong to one graph by default

    Returns
    -------
    ``Data`` with ``pos``, ``x``, ``z``, ``batch``; ``edge_index`` (2, E), sender and receiver, sorted by receiver; and
    ``vector`` (E, 3), from receiver to sender. Gradients flow through ``vector`` to ``pos``.
    """
    batch = torch.zeros(len(pos), dtype=torch.int64) if batch is None else batch
    edges = edges_within(pos, cutoff, batch)
    vector = pos.index_select(0, edges[0]) - pos.index_select(0, edges[1])
    return Data(pos=pos, x=x, z=z, batch=batch, edge_index=edges, vector=vector)


class CheckedLayer:
    """A layer, or a whole network, with what the checks have to know about it.

    The checks work on copies in evaluation mode, on the CPU. The module that is passed in stays as it is. Where a
    module has running statistics, as batch norm has, the copy sees one batch in training mode first: a fresh batch
    norm does nothing in evaluation mode, and would pass every check.

    Parameters
    ----------
    module : an ``nn.Module``, or a plain function without weights
    irreps_in : how the features ``graph.x`` turn, in e3nn's notation, e.g. "4x0e+2x1o"; "" for no features
    irreps_out : how the output turns
    cutoff : points closer than this are neighbors; in the unit of positions
    call : ``call(module, graph)`` returns the output, of shape (N, irreps_out.dim); ``module(graph)`` by default. The
        graph is that of :func:`point_graph`
    per_graph : whether the output has one row for each graph, shape (number of graphs, irreps_out.dim)
    mirror_images : whether the layer promises something for mirror images. Then parities of irreps are checked, too
    smooth : how many derivatives are promised to be continuous where a neighbor crosses the cutoff. 0 promises
        continuous values, 1 slopes as well, 2 curvatures as well. None promises nothing
    n : number of made-up points
    spacing : about the distance of nearest neighbors; half the cutoff by default
    n_types : ``graph.z`` takes the values 0 ... n_types - 1

    Raises
    ------
    ValueError
        If the module is neither a function nor a module, or a number is out of range.

    Examples
    --------
    A layer of another signature, which takes vectors and both ends of each edge:

    >>> def total(vector, receiver, n):
    ...     return vector.new_zeros(n, 3).index_add(0, receiver, vector)
    >>> layer = CheckedLayer(
    ...     total, "", "1x1o", cutoff=2.0, call=lambda total, g: total(g.vector, g.edge_index[1], len(g.pos))
    ... )
    >>> layer(layer.points()).shape
    torch.Size([14, 3])
    """

    def __init__(
        self,
        module: Callable[..., Any],
        irreps_in: o3.Irreps | str,
        irreps_out: o3.Irreps | str,
        cutoff: float,
        call: Callable[[Any, Data], Tensor] | None = None,
        *,
        per_graph: bool = False,
        mirror_images: bool = False,
        smooth: int | None = 1,
        n: int = 14,
        spacing: float | None = None,
        n_types: int = 2,
    ) -> None:
        if not callable(module):
            raise ValueError(f"module {module!r}; expected an nn.Module or a function")
        if not cutoff > 0 or (spacing is not None and not spacing > 0):
            raise ValueError(f"cutoff = {cutoff}, spacing = {spacing}; expected positive lengths")
        if not 6 <= n <= 200 or n_types < 1:
            raise ValueError(f"n = {n}, n_types = {n_types}; expected 6 to 200 points and at least 1 type")
        if smooth not in (None, 0, 1, 2):
            raise ValueError(f"smooth = {smooth!r}; expected 0, 1 or 2 derivatives, or None for no promise")
        self.irreps_in, self.irreps_out = o3.Irreps(irreps_in), o3.Irreps(irreps_out)
        self.cutoff, self.n, self.n_types = float(cutoff), n, n_types
        self.spacing = self.cutoff / 2 if spacing is None else float(spacing)
        self.call = (lambda module, graph: module(graph)) if call is None else call
        self.per_graph, self.mirror_images, self.smooth = per_graph, mirror_images, smooth
        self.name = type(module).__name__ if isinstance(module, nn.Module) else getattr(module, "__name__", "function")
        self._copies: dict[torch.dtype, Any] = {}
        if isinstance(module, nn.Module):
            exact = copy.deepcopy(module).cpu().double().eval()
            self._copies[torch.float64] = exact
            if any("running" in name for name, _ in exact.named_buffers()):
                with torch.random.fork_rng(devices=[]):
                    self.call(exact.train(), self.points(graphs=3))
                exact.eval()
        else:
            self._copies = {torch.float64: module, torch.float32: module}

    def at(self, dtype: torch.dtype) -> Any:
        """The copy of the module in a number format."""
        if dtype not in self._copies:
            self._copies[dtype] = copy.deepcopy(self._copies[torch.float64]).to(dtype)
        return self._copies[dtype]

    def points(self, seed: int = 0, graphs: int = 1, sizes: Sequence[int] | None = None) -> Data:
        """Made-up points with random features and types, float64: a piece of a jittered lattice for each graph.

        Their numbers are exact in float32 as well, so that both formats see the same input.

        Parameters
        ----------
        seed : of the first graph; those after it have the seeds after it
        graphs : number of graphs
        sizes : points of each graph; n, n + 1, ... by default
        """
        sizes = [self.n + k for k in range(graphs)] if sizes is None else list(sizes)
        made = [self._drawn(seed + number, size) for number, size in enumerate(sizes)]
        pos, x, z = (torch.cat(parts) for parts in zip(*made, strict=True))
        batch = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        return self.graph(pos, x, z, batch)

    def graph(self, pos: Tensor, x: Tensor, z: Tensor, batch: Tensor | None = None) -> Data:
        """:func:`point_graph` with the layer's cutoff."""
        return point_graph(pos, x, z, self.cutoff, batch)

    def __call__(self, graph: Data) -> Tensor:
        """The layer's output in the number format of ``graph.pos``.

        Raises
        ------
        ValueError
            If the output is no tensor of the shape that was declared.
        """
        out = self.call(self.at(graph.pos.dtype), copy.copy(graph))  # a layer may hang results on its graph
        rows = int(graph.batch.max()) + 1 if self.per_graph else len(graph.pos)
        if not isinstance(out, Tensor):
            raise ValueError(f"{self.name} returns {type(out).__name__}; expected a tensor: pick one output in call")
        if out.shape != (rows, self.irreps_out.dim):
            raise ValueError(
                f"{self.name} returns shape {tuple(out.shape)}; expected {(rows, self.irreps_out.dim)}, a row for each "
                f"{'graph' if self.per_graph else 'point'} of irreps {self.irreps_out}: mend irreps_out, per_graph or "
                "call"
            )
        return out

    def plain(self, graph: Data) -> Tensor:
        """The output without gradients, if it can be compared with anything.

        Raises
        ------
        ValueError
            If the output is zero everywhere or not finite, differs between two calls on the same input, or the layer
            writes into its input.
        """
        given = graph.clone()
        with torch.no_grad():
            out, again = self(graph), self(graph)
        if touched := [name for name in ("pos", "x", "z", "vector") if not torch.equal(graph[name], given[name])]:
            raise ValueError(
                f"{self.name} writes into graph.{touched[0]}; expected an input that stays as it is: use "
                "operations that make new tensors, without += or a method that ends in _"
            )
        size = float(out.abs().max())
        if not (np.isfinite(size) and size > 0):
            raise ValueError(
                f"the largest output of {self.name} is {size}; expected finite numbers, not all of them zero: a check "
                "would compare nothing with nothing. Give the last layer weights other than zero"
            )
        if not float((out - again).abs().max()) <= REPEATED * size:
            raise ValueError(
                f"two calls of {self.name} on one input differ by {float((out - again).abs().max()):.1e}; expected the "
                "same numbers in evaluation mode: switch dropout or noise off there"
            )
        return out

    def _drawn(self, seed: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng(seed)
        edge = int(np.ceil(n ** (1 / 3)))
        sites = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        sites = sites[rng.permutation(len(sites))[:n]]
        x = torch.from_numpy(rng.normal(size=(n, self.irreps_in.dim))).float().double()
        z = torch.from_numpy(rng.integers(self.n_types, size=n))
        for _ in range(300):
            places = (sites - (edge - 1) / 2 + rng.uniform(-0.3, 0.3, size=(n, 3))) * self.spacing
            pos = torch.from_numpy(places).float().double()
            if float((torch.pdist(pos) / self.cutoff - 1).abs().min()) > MARGIN:
                return pos, x, z
        raise ValueError(
            f"no {n} points found of which no two are apart by about the cutoff; expected fewer points, about 14: "
            f"lower n = {self.n}"
        )
