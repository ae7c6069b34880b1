"""The Triton kernel, second choice on a GPU: there where there is one, else in Triton's interpreter.

Few couplings and functions: each takes Triton a second to compile, and its interpreter longer to run.
"""

import os
import subprocess
import sys

import pytest
import torch

from glasslit.equivariance.kernels import Coupling, gpu
from tests.common import ROOT
from tests.equivariance.test_kernels import GRAPHS, PAPER, assert_close, graph_of, random_inputs, results

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
here = pytest.mark.skipif(
    gpu.unavailable(torch.zeros(1, device=DEVICE), PAPER) is not None,
    reason="no CUDA device; test_in_the_interpreter runs these in a process of their own",
)
TRIANGLE = graph_of([(0, 1), (1, 0), (2, 1), (1, 2), (0, 2), (2, 0), *((3, k) for k in range(3))], 5)


def compare(graph, n_nodes, coupling, hidden=None, single=DEVICE == "cuda"):
    """In the interpreter, where it shows little and takes as long again, single precision only where asked for."""
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5))[: 1 + single]:
        inputs = random_inputs(coupling, graph, n_nodes, dtype, hidden)
        there = [x.detach().to(DEVICE).requires_grad_() for x in inputs]
        expected = results("reference", [x.detach().double().requires_grad_() for x in inputs], graph, coupling)
        ours = results("gpu", there, graph.clone().to(DEVICE), coupling)
        assert_close([x.cpu() for x in ours], expected, tolerance)


SMALL = Coupling("2x0e+2x1e+1x0e+1x1e", 1)  # as where each particle has a vector, too


@here
@pytest.mark.parametrize("coupling", [SMALL, Coupling("3x0e+5x2e", 2), Coupling("40x0e+3x1e", 1)], ids=str)
def test_equals_the_reference_with_every_gradient(coupling):
    compare(TRIANGLE, 5, coupling)


@here
def test_takes_the_radial_network_too():
    compare(TRIANGLE, 5, SMALL, hidden=16, single=True)


@here
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_that_no_liquid_makes(name):
    compare(*GRAPHS[name], SMALL)


@here
def test_second_derivatives():
    coupling = Coupling("2x0e+1x1e" if DEVICE == "cuda" else "1x1e", 1)  # the interpreter is slow
    graph = graph_of([(0, 1), (1, 0), (2, 1)] if DEVICE == "cuda" else [(0, 1), (1, 0)], 3).to(DEVICE)
    inputs = [x.detach().to(DEVICE).requires_grad_() for x in random_inputs(coupling, graph, 3)]
    assert torch.autograd.gradgradcheck(lambda *x: gpu.contract(*x, _plan(graph), coupling), inputs)


@here
def test_results_are_bitwise_the_same_from_run_to_run():
    graph = TRIANGLE.clone().to(DEVICE)
    inputs = [x.detach().to(DEVICE).requires_grad_() for x in random_inputs(SMALL, TRIANGLE, 5, torch.float32)]
    first = results("gpu", inputs, graph, SMALL)
    for _ in range(9 if DEVICE == "cuda" else 1):
        assert all(torch.equal(a, b) for a, b in zip(results("gpu", inputs, graph, SMALL), first, strict=True))


def _plan(graph):
    from glasslit.equivariance.kernels.plan import plan_of

    return plan_of(graph, graph.num_nodes)


def test_in_the_interpreter():
    if DEVICE == "cuda" or os.environ.get("TRITON_INTERPRET"):
        pytest.skip("the tests above run here")
    pytest.importorskip("triton", reason="Triton is not installed; it has wheels for Linux only")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("kind", ["*fp32", "*fp64"])
def test_compiles_for_a_gpu_that_is_not_there(kind):
    """To PTX for compute capability 9.0; coefficients keep the precision of the tensors."""
    triton = pytest.importorskip("triton", reason="Triton is not installed; it has wheels for Linux only")
    if os.environ.get("TRITON_INTERPRET"):
        pytest.skip("the interpreter does not compile")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    for function, share in (("forward", 1), ("backward", 1), ("harmonics", 0)):
        code = gpu.compiled(SMALL, function, share)
        signature = {n: "*i64" if n in ("rows", "edges", "ends") else kind for n in code.arg_names}
        signature |= {"EDGES": "constexpr", "CHANNELS": "constexpr"}
        constants = {(code.arg_names.index("EDGES"),): 16, (code.arg_names.index("CHANNELS"),): 2}
        source = ASTSource(fn=code, signature=signature, constexprs=constants)
        done = triton.compile(
            source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1, "enable_fp_fusion": True}
        )
        assert ".visible .entry" in done.asm["ptx"]
        assert "atom." not in done.asm["ptx"]
        if kind == "*fp64":
            assert "1.2247448713915" in done.asm["ttir"] or "0.70710678118654" in done.asm["ttir"]
