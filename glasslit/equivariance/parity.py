r"""Networks that know reflections: features are irreps of O(3), each with a degree l and a parity p.

The network of the paper keeps to rotations, SO(3), and carries all features as even
(:mod:`~glasslit.equivariance.so3`). Here the parity is a second selection rule:

.. math:: |l_1 - l_2| \le l \le l_1 + l_2, \\ p = p_1\, p_2, \\ p(Y^l) = (-1)^l .

A polar vector, such as a displacement, is ``1o``; an axial vector (pseudovector), such as a rotation's axis, is ``1e``.
The module is for small systems: a molecule, the cell of a crystal. It is written to be read, not to be fast.
"""

from __future__ import annotations

import math

import torch
from e3nn import o3
from torch import Tensor, nn

from .kernels.coupling import coefficients
from .so3 import spherical_harmonics, wigner_d


def without_parity(kind: o3.Irreps | str) -> o3.Irreps:
    """The same degrees, all carried as even: what is left of irreps of O(3) where only rotations count.

    Examples
    --------
    >>> without_parity("2x0o+1x1o+1x1e")
    2x0e+1x1e+1x1e
    """
    return o3.Irreps([(copies, (irrep.l, 1)) for copies, irrep in o3.Irreps(kind)])


def every_irrep(l_max: int) -> o3.Irreps:
    """One copy of each degree 0 ... l_max in each parity.

    Examples
    --------
    >>> every_irrep(1), every_irrep(4).dim
    (1x0e+1x0o+1x1e+1x1o, 50)
    """
    return o3.Irreps([(1, (degree, p)) for degree in range(l_max + 1) for p in (1, -1)])


def representation(kind: o3.Irreps | str, operation: Tensor) -> Tensor:
    r"""The matrix by which features turn under a rotation, a reflection or an inversion.

    .. math:: D^{l,p}(-R) = p\, D^l(R)

    for a proper rotation R.

    Parameters
    ----------
    kind : irreps
    operation : shape (3, 3), orthogonal

    Returns
    -------
    shape (kind.dim, kind.dim), block diagonal, in the dtype of ``operation``.

    Examples
    --------
    The inversion turns a polar vector round, and leaves an axial vector as it is.

    >>> representation("1x1o+1x1e", -torch.eye(3).double()).diagonal().round().tolist()
    [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]
    """
    improper = bool(torch.linalg.det(operation) < 0)
    proper = -operation if improper else operation
    known = {degree: wigner_d(degree, proper) for degree in {irrep.l for _, irrep in o3.Irreps(kind)}}
    return torch.block_diag(
        *[known[irrep.l] * (irrep.p if improper else 1) for copies, irrep in o3.Irreps(kind) for _ in range(copies)]
    )


class ParityConvolution(nn.Module):
    r"""A convolution on irreps of O(3), with radial functions that are sums of Gaussians.

    .. math:: h'_i = W h_i + \frac{1}{\sqrt{n}} \sum_{j} \sum_{b, \mathrm{paths}} \\
       w_b\, R_b(r_{ij})\, \big(h_j \otimes Y^{l}(\hat r_{ij})\big)

    Parameters
    ----------
    irreps_in, irreps_out : what it takes and gives
    l_filter : highest degree of the harmonics
    radial : number of Gaussians R_b
    parity : whether a harmonic of degree l has the parity (-1)^l. Without it all harmonics count as even: with features
        that are all even, the layer keeps to rotations only.
    generator : draws the weights
    """

    def __init__(
        self,
        irreps_in: o3.Irreps,
        irreps_out: o3.Irreps,
        l_filter: int,
        radial: int,
        parity: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        harmonics = [o3.Irrep(degree, (-1) ** degree if parity else 1) for degree in range(l_filter + 1)]
        self.paths = [
            (i, degree, o)
            for o, (_, after) in enumerate(irreps_out)
            for i, (_, before) in enumerate(irreps_in)
            for degree, harmonic in enumerate(harmonics)
            if after in before * harmonic
        ]
        self.kept = [
            (i, o) for o, (_, after) in enumerate(irreps_out) for i, (_, ir) in enumerate(irreps_in) if ir == after
        ]
        fan_in = [sum(irreps_in[i].mul for i, _, p in self.paths if p == o) for o in range(len(irreps_out))]

        def drawn(shape: tuple[int, ...], inputs: int) -> nn.Parameter:
            values = torch.randn(shape, generator=generator, dtype=torch.float64)
            return nn.Parameter(values / math.sqrt(inputs))

        self.weights = nn.ParameterList(
            [drawn((radial, irreps_in[i].mul, irreps_out[o].mul), fan_in[o]) for i, _, o in self.paths]
        )
        self.self_weights = nn.ParameterList(
            [drawn((irreps_in[i].mul, irreps_out[o].mul), irreps_in[i].mul) for i, o in self.kept]
        )
        for k, (i, degree, o) in enumerate(self.paths):
            values = coefficients(irreps_in[i].ir.l, degree, irreps_out[o].ir.l)
            self.register_buffer(f"coupling_{k}", torch.from_numpy(values), persistent=False)

    def forward(self, h: Tensor, edges: Tensor, harmonics: Tensor, gaussians: Tensor) -> Tensor:
        """Features of shape (N, irreps_in.dim) -> (N, irreps_out.dim); harmonics (E, K), Gaussians (E, B)."""
        n = len(h)
        around = (gaussians[:, :, None] * harmonics[:, None, :]).flatten(1)  # (E, B K)
        density = h.new_zeros(n, around.shape[1], h.shape[1])
        density = density.index_add(0, edges[1], around[:, :, None] * h[edges[0], None, :])
        density = density.reshape(n, gaussians.shape[1], harmonics.shape[1], -1) * (n / max(edges.shape[1], 1)) ** 0.5
        out = [h.new_zeros(n, copies, irrep.dim) for copies, irrep in self.irreps_out]
        slices = self.irreps_in.slices()
        for k, ((i, degree, o), weight) in enumerate(zip(self.paths, self.weights, strict=True)):
            copies, irrep = self.irreps_in[i]
            part = density[:, :, degree**2 : (degree + 1) ** 2, slices[i]].unflatten(-1, (copies, irrep.dim))
            mixed = torch.einsum("nbfui,buw->nwif", part, weight)
            out[o] = out[o] + torch.einsum("nwif,ifo->nwo", mixed, getattr(self, f"coupling_{k}"))
        for (i, o), weight in zip(self.kept, self.self_weights, strict=True):
            copies, irrep = self.irreps_in[i]
            part = h[:, slices[i]].unflatten(-1, (copies, irrep.dim))
            out[o] = out[o] + torch.einsum("nui,uw->nwi", part, weight)
        return torch.cat([part.flatten(1) for part in out], dim=1)


class ParityNetwork(nn.Module):
    """A small network that is equivariant under rotations and reflections.

    Between the convolutions, even scalars go through SiLU and odd ones through tanh, which keeps the parity. Each copy
    of a higher degree is multiplied by the sigmoid of an even scalar of its own. Weights are float64.

    Parameters
    ----------
    irreps_in, irreps_out : features of each node, before and after
    hidden : features between the convolutions
    layers : number of convolutions
    l_filter : highest degree of the harmonics
    cutoff : the Gaussians stand at equal distances from 0 to this length
    radial : number of Gaussians
    parity : False for a network that knows rotations only, SO(3): all irreps are then taken without their parity
    seed : decides the weights

    Raises
    ------
    ValueError
        If there is no layer, or no hidden feature that is an even scalar.

    Examples
    --------
    >>> net = ParityNetwork("1x0e", "1x1o", cutoff=1.5)
    >>> points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]).double()
    >>> edges = torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])
    >>> net(torch.ones(3, 1).double(), edges, points[edges[0]] - points[edges[1]]).shape
    torch.Size([3, 3])
    """

    def __init__(
        self,
        irreps_in: o3.Irreps | str,
        irreps_out: o3.Irreps | str = "1x1o",
        hidden: o3.Irreps | str = "8x0e+4x0o+4x1e+4x1o+4x2e+4x2o",
        layers: int = 2,
        l_filter: int = 3,
        cutoff: float = 1.0,
        radial: int = 4,
        parity: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers={layers}; expected at least one convolution")
        if layers > 1 and not any(irrep == o3.Irrep("0e") for _, irrep in o3.Irreps(hidden)):
            raise ValueError(f"hidden={hidden} has no even scalars; add some, e.g. 8x0e, for the gates to come from")
        known = o3.Irreps if parity else without_parity
        self.irreps_in, self.irreps_out, self.hidden = known(irreps_in), known(irreps_out), known(hidden)
        self.l_filter, self.cutoff, self.radial = l_filter, cutoff, radial
        gated = sum(copies for copies, irrep in self.hidden if irrep.l > 0)
        between = self.hidden + o3.Irreps([(gated, (0, 1))])
        generator = torch.Generator().manual_seed(seed)
        sizes = [self.irreps_in, *[self.hidden] * (layers - 1)]
        results = [*[between] * (layers - 1), self.irreps_out]
        self.convolutions = nn.ModuleList(
            [
                ParityConvolution(before, after, l_filter, radial, parity, generator)
                for before, after in zip(sizes, results, strict=True)
            ]
        )

    def gate(self, h: Tensor) -> Tensor:
        """The nonlinearity: (N, hidden and gates) -> (N, hidden)."""
        features, gates = h.split([self.hidden.dim, h.shape[1] - self.hidden.dim], dim=1)
        gates, used, parts = torch.sigmoid(gates), 0, []
        for (copies, irrep), where in zip(self.hidden, self.hidden.slices(), strict=True):
            part = features[:, where]
            if irrep.l == 0:
                parts.append(torch.nn.functional.silu(part) if irrep.p == 1 else torch.tanh(part))
            else:
                opened = gates[:, used : used + copies, None] * part.unflatten(-1, (copies, irrep.dim))
                parts.append(opened.flatten(1))
                used += copies
        return torch.cat(parts, dim=1)

    def forward(self, h: Tensor, edges: Tensor, vectors: Tensor) -> Tensor:
        """Features of all nodes, after all convolutions.

        Parameters
        ----------
        h : shape (N, irreps_in.dim), float64
        edges : shape (2, E), sender and receiver
        vectors : shape (E, 3), from the receiver to the sender

        Returns
        -------
        shape (N, irreps_out.dim)
        """
        harmonics = spherical_harmonics(self.l_filter, vectors)
        centers = torch.linspace(0, self.cutoff, self.radial + 1, dtype=vectors.dtype)[1:]
        distances = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        gaussians = torch.exp(-((self.radial * (distances - centers) / self.cutoff) ** 2))
        for k, convolution in enumerate(self.convolutions):
            h = convolution(self.gate(h) if k else h, edges, harmonics, gaussians)
        return h
