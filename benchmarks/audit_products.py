"""The audit of tensor products, run on every public implementation that is installed here.

    python benchmarks/audit_products.py

glasslit.equivariance.audit measures each path and each derivative alone, in float64, against e3nn's product made in
float64. The couplings are those of a hidden layer with four channels: of this package's layer, whose features carry no
parity, and of a layer with parity, as other packages have it. A row of the table is the largest error over the paths.
What is not installed is named with the reason: pip install cuequivariance-torch for one more.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from importlib.metadata import version

import torch
from common import e3nn_as_plain_pytorch, machine, save, table
from e3nn import o3
from torch_geometric.data import Data

from glasslit.equivariance.audit import COLUMNS, Product, audit_tensor_product, gathered
from glasslit.equivariance.kernels import Coupling, contract_scatter

OURS = Coupling("4x0e+4x1e+4x2e+4x3e+3x0e", 3)
FEATURES, FILTERS = "4x0e+4x1o+4x2e+4x3o", "1x0e+1x1o+1x2e+1x3o"


@contextmanager
def doubles():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def arguments(parity: bool) -> tuple:
    """Of e3nn's TensorProduct: paths sorted by their result."""
    if not parity:
        paths = [(slot, f, number, "uvu", True) for number, (slot, f, _) in enumerate(OURS.terms)]
        filters = "+".join(f"1x{degree}e" for degree in range(OURS.l_max + 1))
        return o3.Irreps(OURS.irreps_in), o3.Irreps(filters), OURS.irreps_terms, paths
    first, second = o3.Irreps(FEATURES), o3.Irreps(FILTERS)
    found = [
        (mul, irrep, i, j)
        for i, (mul, one) in enumerate(first)
        for j, (_, other) in enumerate(second)
        for irrep in one * other
        if irrep in first
    ]
    out, order, _ = o3.Irreps([(mul, irrep) for mul, irrep, _, _ in found]).sort()
    paths = sorted((i, j, order[k], "uvu", True) for k, (_, _, i, j) in enumerate(found))
    return first, second, out, sorted(paths, key=lambda path: path[2])


def product(parity: bool) -> o3.TensorProduct:
    return o3.TensorProduct(*arguments(parity), shared_weights=False, internal_weights=False)


def e3nn_as_it_is(parity: bool) -> Product:
    with doubles():
        return product(parity)


def e3nn_cast(parity: bool) -> Product:
    return product(parity).double()


def e3nn_uncompiled(parity: bool) -> Product:
    with doubles(), e3nn_as_plain_pytorch():
        return product(parity)


def ours(kernel: str) -> Callable[[bool], Product]:
    def make(parity: bool) -> Product:
        if parity:
            raise ImportError("has no parity")
        return gathered(
            lambda h, y, w, edges: contract_scatter(h, y, w, Data(edge_index=edges, num_nodes=len(h)), OURS, kernel)
        )

    return make


def cuequivariance(parity: bool) -> Product:
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    if not parity:
        raise ImportError("orders features of equal degree otherwise")
    kinds = [cue.Irreps("O3", text) for text in (FEATURES, FILTERS)]
    made = cuet.ChannelWiseTensorProduct(
        *kinds, [irrep for _, irrep in kinds[0]], layout=cue.mul_ir, shared_weights=False, internal_weights=False,
        dtype=torch.float64, math_dtype=torch.float64, method="naive",
    )  # fmt: skip
    return lambda x, y, w: made(x, y, w)


def nequip_scatter(parity: bool) -> Product:
    from nequip.nn._tp_scatter_base import TensorProductScatter

    first, second, out, paths = arguments(parity)
    with doubles():
        made = TensorProductScatter(first, second, out, paths)
    return gathered(lambda h, y, w, edges: made(h, y, w, edges[1], edges[0]))


IMPLEMENTATIONS: dict[str, tuple[str, Callable[[bool], Product]]] = {
    "e3nn, made in float64": ("e3nn", e3nn_as_it_is),
    "e3nn, made in float32 and cast": ("e3nn", e3nn_cast),
    "e3nn, code not compiled": ("e3nn", e3nn_uncompiled),
    "glasslit, machine code": ("glasslit", ours("cpu")),
    "glasslit, reference": ("glasslit", ours("reference")),
    "cuEquivariance, ChannelWiseTensorProduct": ("cuequivariance-torch", cuequivariance),
    "NequIP, TensorProductScatter": ("nequip", nequip_scatter),
}


def audit() -> list[dict]:
    """One row for each implementation and kind of layer."""
    rows = []
    for name, (package, make) in IMPLEMENTATIONS.items():
        for parity in (False, True):
            reference = e3nn_as_it_is(parity)
            row = {"implementation": name, "features": "O(3)" if parity else "SO(3)"}
            try:
                found = audit_tensor_product(make(parity), reference)
            except ImportError as error:
                print(f"{name}, {row['features']}: left out ({error})")
                continue
            worst = found.max(axis=1).idxmax()
            row |= {"version": version(package), "paths": len(found)}
            row |= {column: float(found[column].max()) for column in COLUMNS} | {"worst": worst}
            rows.append(row)
    return rows


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    begun = time.perf_counter()
    print(machine())
    rows = audit()
    shown = [row | {column: f"{row[column]:.0e}" for column in COLUMNS} for row in rows]
    print(table(shown, ["implementation", "features", "version", "paths", *COLUMNS, "worst"]))
    about = {"settings": {"seed": 0}, "data": "", "seconds": time.perf_counter() - begun, "rows": rows}
    print(save("audit", "cpu", about))
