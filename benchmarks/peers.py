"""Other libraries' ways to the same layer. Each is used where it is installed; each asserts that it really ran.

A peer is a function of (h, Y, x, weight, bias) to the sums over neighbors, before mixing. Numbers are compared with
e3nn's for all but cuEquivariance, whose products are scaled and ordered in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from common import e3nn_as_plain_pytorch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data

from glasslit.equivariance.kernels import Coupling, RadialWeights, contract, select
from glasslit.equivariance.kernels.plan import plan_of
from glasslit.equivariance.kernels.reference import tensor_product
from glasslit.equivariance.so3 import irreps

Layer = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor | tuple[Tensor, ...]]


OPTIONS = {"irrep_normalization": "component", "shared_weights": False, "internal_weights": False}


def instructions(coupling: Coupling) -> tuple:
    """The coupling as arguments of e3nn's TensorProduct, and of what copies its interface."""
    paths = [(slot, f, number, "uvu", True) for number, (slot, f, _) in enumerate(coupling.terms)]
    return (
        o3.Irreps(coupling.irreps_in),
        irreps(1, coupling.l_max, coupling.mirror_images),
        coupling.irreps_terms,
        paths,
    )


def radial(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.nn.functional.linear(x, weight, bias).relu()


def e3nn_layer(graph: Data, coupling: Coupling, device: str, product: Callable | None = None) -> Layer:
    sender, receiver = graph.edge_index
    if product is None:
        product = tensor_product(coupling, torch.float32, torch.device(device))

    def layer(h: Tensor, Y: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        messages = product(h.index_select(0, sender), Y, radial(x, weight, bias))
        return messages.new_zeros(len(h), messages.shape[1]).index_add(0, receiver, messages)

    return layer


def compiled_e3nn_layer(graph: Data, coupling: Coupling, device: str) -> Layer:
    import torch._functorch.config

    torch._functorch.config.donated_buffer = False  # or the backward pass could be timed only once
    with e3nn_as_plain_pytorch():  # TorchScript and torch.compile do not go together
        product = o3.TensorProduct(*instructions(coupling), **OPTIONS).to(device)
    return e3nn_layer(graph, coupling, device, torch.compile(product, fullgraph=True))


def glasslit_layer(graph: Data, coupling: Coupling, device: str) -> Layer:
    taken = select("auto", torch.zeros(1, device=device), coupling)
    assert taken == {"cpu": "cpu", "cuda": "gpu"}[device], f"kernel {taken} on {device}"

    def layer(h: Tensor, Y: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        return contract(h, Y, RadialWeights(x, weight, bias), graph, coupling, taken)

    return layer


def cuequivariance_layer(graph: Data, coupling: Coupling, device: str) -> Layer:
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    sender, receiver = graph.edge_index
    mul = coupling.slots[0][0]
    slots = "+".join(f"{mul}x{degree}" for _, degree in coupling.slots)  # the extra scalars padded to as many channels
    with cue.assume(cue.SO3, cue.ir_mul):
        product = cue.descriptors.channelwise_tensor_product(
            cue.Irreps("SO3", slots),
            cue.Irreps("SO3", "+".join(f"1x{f}" for f in range(coupling.l_max + 1))),
            cue.Irreps("SO3", "+".join(f"{o}" for o in range(coupling.l_max + 1))),
        )
    method = "uniform_1d" if device == "cuda" else "naive"
    polynomial = product.flatten_coefficient_modes().squeeze_modes().polynomial
    n_weights, dim = polynomial.inputs[0].size, polynomial.outputs[0].size
    assert n_weights == mul * len(coupling.terms), (n_weights, len(coupling.terms))
    run = cuet.SegmentedPolynomial(polynomial, method=method).to(device)
    assert method in type(run.m).__name__.lower() or method in str(getattr(run, "method", method)), type(run.m)
    extra = n_weights - coupling.n_weights
    columns = polynomial.inputs[1].size - coupling.dim_in

    def layer(h: Tensor, Y: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        padded_weight = torch.nn.functional.pad(weight, (0, 0, 0, extra))
        w = radial(x, padded_weight, torch.nn.functional.pad(bias, (0, extra)))
        node = torch.nn.functional.pad(h, (0, columns))
        shape = node.new_empty(len(h), dim)
        return run([w, node, Y], {1: sender}, {0: shape}, {0: receiver})[0]

    return layer


def openequivariance_layer(graph: Data, coupling: Coupling, device: str) -> Layer:
    import openequivariance as oeq

    if device != "cuda":
        raise ImportError("OpenEquivariance needs a GPU")
    sender, receiver = graph.edge_index
    problem = oeq.TPProblem(*instructions(coupling), **OPTIONS)
    convolution = oeq.TensorProductConv(problem, torch_op=True, deterministic=True)
    assert convolution.deterministic
    leaving = plan_of(graph, graph.num_nodes).leaving

    def layer(h: Tensor, Y: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolution.forward(h, Y, radial(x, weight, bias), receiver, sender, leaving)

    return layer


PEERS: dict[str, Callable[[Data, Coupling, str], Layer]] = {
    "glasslit": glasslit_layer,
    "e3nn": e3nn_layer,
    "e3nn + torch.compile": compiled_e3nn_layer,
    "cuEquivariance": cuequivariance_layer,
    "OpenEquivariance": openequivariance_layer,
}


def available(graph: Data, coupling: Coupling, device: str, names: list[str]) -> Iterator[tuple[str, Layer | str]]:
    """(name, layer), or (name, why it is not here)."""
    for name in names:
        try:
            yield name, PEERS[name](graph, coupling, device)
        except ImportError as error:
            yield name, f"not here: {error}"
