"""The audit of tensor products finds one wrong path in one derivative, and passes what is right."""

import numpy as np
import pytest
import torch
from e3nn import o3
from torch_geometric.data import Data

import glasslit as gl
from glasslit.equivariance.kernels import Coupling, contract_scatter
from glasslit.equivariance.kernels.reference import tensor_product

OUTSIDE = {"shared_weights": False, "internal_weights": False}
PAPER = Coupling("8x0e+8x1e+8x2e+8x3e+3x0e", 3)


@pytest.fixture(scope="module")
def reference():
    torch.set_default_dtype(torch.float64)
    try:
        return o3.FullyConnectedTensorProduct("2x0e+1x1e", "1x0e+1x1e", "2x0e+1x1e", **OUTSIDE)
    finally:
        torch.set_default_dtype(torch.float32)


class Off(torch.autograd.Function):
    """The identity, whose gradient is scaled by numbers: 1 where it is right."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(scale)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None


class Once(torch.autograd.Function):
    """The identity, whose gradient cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient


def test_a_product_is_right_beside_itself(reference):
    table = gl.testing.assert_tensor_product(reference, reference)
    assert list(table.columns) == ["forward", "dx", "dy", "dw", "second"]
    assert table.index.tolist() == [
        "2x0e x 1x0e > 2x0e",
        "2x0e x 1x1e > 1x1e",
        "1x1e x 1x0e > 1x1e",
        "1x1e x 1x1e > 2x0e",
        "1x1e x 1x1e > 1x1e",
    ]
    assert (table < 1e-14).all(axis=None)


@pytest.mark.parametrize("wrong", ["x", "y", "w"])
def test_one_gradient_that_is_off_by_half_is_found_and_named(reference, wrong):
    """Of the weights, those of one path; its product stays right, and so do all other columns."""

    def product(x, y, w):
        given = {"x": x, "y": y, "w": w}
        scale = torch.ones_like(given[wrong])
        if wrong == "w":
            scale[:, -1] = 0.5
        else:
            scale *= 0.5
        return reference(
            **{"x": x, "y": y, "weight": w} | {{"w": "weight"}.get(wrong, wrong): Off.apply(given[wrong], scale)}
        )

    table = gl.testing.audit_tensor_product(product, reference)
    column = f"d{wrong}"
    where = table[column] > 1e-9
    assert where.sum() == (1 if wrong == "w" else 5)
    assert np.allclose(table[column][where], 0.5)
    assert (table.drop(columns=[column, "second"]) < 1e-14).all(axis=None)
    path = "1x1e x 1x1e > 1x1e" if wrong == "w" else ""
    with pytest.raises(AssertionError, match=rf"of path .*{path}.* is off by .* above 1e-09"):
        gl.testing.assert_tensor_product(product, reference)


def test_a_wrong_path_of_the_product_is_found(reference):
    def product(x, y, w):
        return reference(x, y, torch.cat([w[:, :-1], 1.5 * w[:, -1:]], dim=1))

    table = gl.testing.audit_tensor_product(product, reference)
    assert np.allclose(table.loc["1x1e x 1x1e > 1x1e"], 0.5, atol=0.01)
    assert (table.iloc[:-1] < 1e-14).all(axis=None)


def test_a_product_without_second_derivatives_is_told_of(reference):
    def product(x, y, w):
        return Once.apply(reference(x, y, w))

    table = gl.testing.audit_tensor_product(product, reference)
    assert table.second.isna().all()
    assert (table.drop(columns="second") < 1e-14).all(axis=None)
    with pytest.raises(AssertionError, match="no second derivatives"):
        gl.testing.assert_tensor_product(product, reference)


def test_couplings_that_e3nn_rounded_to_float32_are_found():
    product = o3.FullyConnectedTensorProduct("1x1e", "1x1e", "1x1e", **OUTSIDE).double()
    with pytest.raises(AssertionError, match=r"path 1x1e x 1x1e > 1x1e is off by 3\.6e-08"):
        gl.testing.assert_tensor_product(product, product)
    assert len(gl.testing.assert_tensor_product(product, product, tolerance=1e-6)) == 1


def test_shared_weights_and_other_modes():
    torch.set_default_dtype(torch.float64)
    try:
        paths = [(0, 0, 0, "uvw", True), (1, 0, 1, "uvu", True, 0.3)]
        shared = o3.TensorProduct("2x0e+3x1e", "1x0e", "4x0e+3x1e", paths, shared_weights=True, internal_weights=False)
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(gl.testing.assert_tensor_product(shared, shared)) == 2


@pytest.mark.parametrize(
    ("product", "message"),
    [
        (
            o3.FullyConnectedTensorProduct("1x0e", "1x0e", "1x0e"),
            "has weights of its own; expected internal_weights=False",
        ),
        (o3.ElementwiseTensorProduct("1x0e", "1x0e"), "path 1x0e x 1x0e > 1x0e has no weights"),
        (torch.nn.Identity(), "reference Identity; expected an e3nn.o3.TensorProduct"),
    ],
)
def test_a_reference_that_cannot_be_taken_apart_is_refused(product, message):
    with pytest.raises(ValueError, match=message):
        gl.testing.audit_tensor_product(product, product)


def test_another_shape_is_refused(reference):
    with pytest.raises(ValueError, match=r"returns shape \(7, 4\); expected \(7, 5\)"):
        gl.testing.audit_tensor_product(lambda x, y, w: reference(x, y, w)[:, 1:], reference)


@pytest.mark.parametrize("kernel", ["cpu", "reference"])
def test_this_package_s_kernels_pass(kernel):
    """All 38 paths of the paper's hidden layer."""
    product = gl.testing.gathered(
        lambda h, y, w, edges: contract_scatter(h, y, w, Data(edge_index=edges, num_nodes=len(h)), PAPER, kernel)
    )
    table = gl.testing.assert_tensor_product(product, tensor_product(PAPER, torch.float64, torch.device("cpu")), 1e-12)
    assert len(table) == len(PAPER.terms) == 38
