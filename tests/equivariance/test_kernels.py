import gc
import logging
import os
import subprocess
import sys

import pytest
import torch
from e3nn import o3
from torch_geometric.data import Batch, Data

import glasslit as gl
from glasslit import kernels
from glasslit.equivariance.kernels import Coupling, RadialWeights, codegen, contract_scatter, cpu, plan
from glasslit.equivariance.kernels.coupling import coefficients, default_dtype
from glasslit.testing import random_liquid

PAPER = Coupling("8x0e+8x1e+8x2e+8x3e+3x0e", 3)
COUPLINGS = [
    Coupling("3x0e", 3),
    Coupling("4x0e+4x1e+4x2e+4x3e+3x0e", 3),
    PAPER,
    Coupling("2x0e+2x1e+1x0e", 1),
    Coupling("5x0e", 0),
    Coupling("5x0e+5x1e+12x2e+1x0e", 2),  # mixed multiplicities, above and below a vector's lanes
    Coupling("16x0e+9x1e", 1),
    Coupling("4x0e+4x1o+4x2e+3x0e+1x1o", 2, mirror_images=True),
    Coupling("4x0e+4x1e+4x2e+3x0e+1x1e", 2),  # with a vector of each particle beside the scalars
    Coupling("3x0e+1x1e", 3),
    Coupling("1x0e+1x1e+1x2e+1x3e+1x4e", 4),
]
FAST = ["cpu"]


def by_hand(h, Y, weights, graph, coupling):
    """The definition, path by path and coefficient by coefficient, with no tensor product in sight."""
    kinds, results, column = o3.Irreps(coupling.irreps_in), [], 0
    slices = kinds.slices()
    sender, receiver = graph.edge_index
    for slot, f, o in coupling.terms:
        copies, irrep = kinds[slot]
        features = h[:, slices[slot]].reshape(-1, copies, irrep.dim)[sender]
        with default_dtype(torch.float64):
            c = o3.wigner_3j(irrep.l, f, o, dtype=torch.float64)
        message = torch.einsum("eui,ej,ijk->euk", features, Y[:, f**2 : (f + 1) ** 2], c)
        message = (2 * o + 1) ** 0.5 * weights[:, column : column + copies, None] * message
        column += copies
        results.append(
            torch.zeros(len(h), message[0].numel(), dtype=h.dtype).index_add(0, receiver, message.flatten(1))
        )
    return torch.cat(results, dim=1)


def random_inputs(coupling, graph, n_nodes, dtype=torch.float64, hidden=None, seed=0):
    """h, Y and weights (or x, weight, bias), all with gradients; no harmonics of anything, any numbers do."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n_nodes, coupling.dim_in), (graph.num_edges, (coupling.l_max + 1) ** 2)]
    if hidden is None:
        shapes += [(graph.num_edges, coupling.n_weights)]
    else:
        shapes += [(graph.num_edges, hidden), (coupling.n_weights, hidden), (coupling.n_weights,)]
    return [torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def results(kernel, inputs, graph, coupling, direction=None):
    """Output and every gradient."""
    h, Y, *weights = inputs
    weights = weights[0] if len(weights) == 1 else RadialWeights(*weights)
    out = contract_scatter(h, Y, weights, graph, coupling, kernel)
    generator = torch.Generator().manual_seed(99)
    direction = torch.randn(out.shape, dtype=torch.float64, generator=generator).to(out)
    return [out.detach(), *torch.autograd.grad((out * direction).sum(), inputs)]


def assert_close(ours, expected, tolerance):
    """Relative to the largest number of each tensor."""
    for number, (a, b) in enumerate(zip(ours, expected, strict=True)):
        assert a.shape == b.shape
        if a.numel():
            error = float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))
            assert error <= tolerance, f"tensor {number}: relative error {error:.1e} above {tolerance:.0e}"


def liquid(dtype=torch.float64, n=60):
    return gl.neighbor_graph(random_liquid(n, seed=3), cutoff=1.6, dtype=dtype)


def graph_of(pairs, n_nodes):
    """Edges from (sender, receiver) pairs, sorted by receiver."""
    pairs = sorted(pairs, key=lambda pair: (pair[1], pair[0]))
    return Data(edge_index=torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, num_nodes=n_nodes)


@pytest.mark.parametrize("coupling", COUPLINGS, ids=lambda c: c.irreps_in)
def test_reference_equals_the_definition_with_every_gradient(coupling):
    graph = liquid()
    inputs = random_inputs(coupling, graph, 60)
    expected = by_hand(*inputs, graph, coupling)
    direction = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(99))
    expected = [expected.detach(), *torch.autograd.grad((expected * direction).sum(), inputs)]
    assert_close(results("reference", inputs, graph, coupling), expected, 1e-13)


@pytest.mark.parametrize(
    ("coupling", "hidden"),
    [(c, hidden) for c in COUPLINGS for hidden in (None, 16, 5) if c.l_max < 4 or hidden != 16],  # l = 4 compiles long
    ids=lambda value: value.irreps_in if isinstance(value, Coupling) else {None: "weights"}.get(value, f"mlp{value}"),
)
@pytest.mark.parametrize("kernel", FAST)
def test_fast_kernel_equals_the_reference_with_every_gradient(kernel, coupling, hidden):
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        graph = liquid(dtype)
        inputs = random_inputs(coupling, graph, 60, dtype, hidden)
        expected = results("reference", [x.double().detach().requires_grad_() for x in inputs], graph, coupling)
        assert_close(results(kernel, inputs, graph, coupling), expected, tolerance)


def term_columns(coupling, number):
    start = sum(coupling.slots[slot][0] for slot, _, _ in coupling.terms[:number])
    return slice(start, start + coupling.slots[coupling.terms[number][0]][0])


def one_path(kernel, number):
    """Output and gradients where only one term has weights; of the weights' gradient, that term's columns."""
    graph = graph_of([(0, 1), (1, 0), (2, 1), (3, 1), (1, 3), (0, 3)], 5)
    h, Y, weights = random_inputs(PAPER, graph, 5)
    columns = term_columns(PAPER, number)
    masked = torch.zeros_like(weights)
    masked[:, columns] = weights[:, columns]
    found = results(kernel, [h, Y, masked.detach().requires_grad_()], graph, PAPER)
    return [*found[:3], found[3][:, columns]]


def check_every_path(kernel):
    for number in range(len(PAPER.terms)):
        assert_close(one_path(kernel, number), one_path("reference", number), 1e-10)


@pytest.mark.parametrize("kernel", FAST)
def test_every_path_alone(kernel):
    """Each of the 38 terms against its own size: one wrong path cannot hide behind the others."""
    check_every_path(kernel)


@pytest.mark.parametrize("function", ["Forward", "Backward", "Harmonics"])
def test_one_wrong_path_in_the_generated_code_is_caught(monkeypatch, function):
    """The negative control: in one function the term (l_in 2, l_filter 1, l_out 3) is off by half."""
    wrong = PAPER.terms.index((2, 1, 3))
    right = codegen.FUNCTIONS[function.lower()]

    class Broken(right):
        def load(self, pointer, index, width):
            value = super().load(pointer, index, width)
            from_weights = getattr(index, "operands", [None, None])[1]
            if getattr(from_weights, "constant", None) == self.layout.coupling.weight_start[
                wrong
            ] and self.reading_weights(pointer):
                return self.b.fmul(value, self.constant(0.5, width))
            return value

        def weights_row(self, lane, edge):
            self.row = super().weights_row(lane, edge)
            return self.row

        def reading_weights(self, pointer):
            return pointer is getattr(self, "row", None)

    monkeypatch.setitem(codegen.FUNCTIONS, function.lower(), Broken)
    cpu.compiled.cache_clear()
    try:
        with pytest.raises(AssertionError, match="relative error"):
            check_every_path("cpu")
    finally:
        cpu.compiled.cache_clear()


GRAPHS = {
    "no edges": (graph_of([], 4), 4),
    "no nodes": (graph_of([], 0), 0),
    "one edge": (graph_of([(2, 0)], 3), 3),
    "one way only": (graph_of([(0, 1), (0, 2), (3, 2), (1, 2)], 5), 5),
    "an edge twice, and to itself": (graph_of([(0, 1), (0, 1), (1, 1), (1, 0)], 2), 2),
    "a star": (graph_of([(k, 0) for k in range(1, 40)] + [(0, k) for k in range(1, 40)], 45), 45),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("kernel", FAST)
def test_graphs_that_no_liquid_makes(kernel, name):
    graph, n_nodes = GRAPHS[name]
    for hidden in (None, 16):
        inputs = random_inputs(PAPER, graph, n_nodes, hidden=hidden)
        assert_close(results(kernel, inputs, graph, PAPER), results("reference", inputs, graph, PAPER), 1e-10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kernel", FAST)
def test_random_graphs(kernel, seed):
    """Any directed graph, with isolated nodes; more nodes than pieces of work, and fewer."""
    generator = torch.Generator().manual_seed(seed)
    n_nodes, n_edges = [(3, 40), (200, 900), (64, 1), (65, 300)][seed]
    pairs = torch.randint(n_nodes, (n_edges, 2), generator=generator).tolist()
    graph, coupling = graph_of(pairs, n_nodes), Coupling("3x0e+3x1e+2x0e", 2)
    inputs = random_inputs(coupling, graph, n_nodes, seed=seed)
    assert_close(results(kernel, inputs, graph, coupling), results("reference", inputs, graph, coupling), 1e-10)


@pytest.mark.parametrize("kernel", ["reference", *FAST])
def test_gradcheck_first_and_second_derivatives(kernel):
    coupling, graph = Coupling("2x0e+1x1e", 1), graph_of([(0, 1), (1, 0), (2, 1)], 4)

    def function(h, Y, x, weight, bias):
        return contract_scatter(h, Y, RadialWeights(x, weight, bias), graph, coupling, kernel)

    inputs = random_inputs(coupling, graph, 4, hidden=3)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def second(kernel, inputs, graph, coupling):
    """The gradients of a sum of all gradients, each times random numbers; by the upstream gradient, too."""
    h, Y, *weights = inputs
    weights = weights[0] if len(weights) == 1 else RadialWeights(*weights)
    out = contract_scatter(h, Y, weights, graph, coupling, kernel)
    generator = torch.Generator().manual_seed(98)
    upstream = torch.randn(out.shape, dtype=torch.float64, generator=generator).to(out).requires_grad_()
    first = torch.autograd.grad(out, inputs, upstream, create_graph=True)
    total = sum((g * torch.randn(g.shape, dtype=torch.float64, generator=generator).to(g)).sum() for g in first)
    return torch.autograd.grad(total, [*inputs, upstream])


@pytest.mark.parametrize("hidden", [None, 16])
@pytest.mark.parametrize("coupling", [PAPER, COUPLINGS[-3]], ids=lambda c: c.irreps_in)
@pytest.mark.parametrize("kernel", FAST)
def test_second_derivatives_are_the_engine_s_and_equal_the_reference_s(kernel, coupling, hidden, monkeypatch):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        graph = liquid(dtype)
        inputs = random_inputs(coupling, graph, 60, dtype, hidden)
        expected = second("reference", [x.double().detach().requires_grad_() for x in inputs], graph, coupling)
        with monkeypatch.context() as patch:
            patch.setattr(kernels.reference, "contract", None)
            assert_close(second(kernel, inputs, graph, coupling), expected, tolerance)


def test_gradients_of_what_is_needed_only():
    """Forces ask for the gradient of harmonics and weights alone; of each, what it depends on is differentiated."""
    coupling, graph = Coupling("2x0e+1x1e", 1), liquid()
    h, Y, weights = random_inputs(coupling, graph, 60)
    for wanted in ((1,), (0,), (1, 2)):
        found = {}
        for kernel in ("cpu", "reference"):
            inputs = [x.detach().requires_grad_(k in wanted) for k, x in enumerate((h, Y, weights))]
            out = contract_scatter(*inputs, graph, coupling, kernel)
            asked = [inputs[k] for k in wanted]
            first = torch.autograd.grad(out.sin().sum(), asked, create_graph=True)
            assert all(g.requires_grad for g in first)
            found[kernel] = torch.autograd.grad(sum(g.square().sum() for g in first), asked)
        assert_close(found["cpu"], found["reference"], 1e-12)


@pytest.mark.parametrize("hidden", [None, 16])
@pytest.mark.parametrize("kernel", FAST)
def test_results_are_bitwise_the_same_from_run_to_run_and_for_any_number_of_threads(kernel, hidden):
    graph = liquid(torch.float32, n=200)
    inputs = random_inputs(PAPER, graph, 200, torch.float32, hidden)
    threads, first = torch.get_num_threads(), results(kernel, inputs, graph, PAPER)
    try:
        for number in [threads] * 9 + [1, 2, 3, 7]:
            torch.set_num_threads(number)
            for a, b in zip(results(kernel, inputs, graph, PAPER), first, strict=True):
                assert torch.equal(a, b)
    finally:
        torch.set_num_threads(threads)


def test_float64_couplings_stay_exact_whatever_the_default_dtype():
    """e3nn writes couplings at the default dtype (here float32); the package builds them in the input's."""
    assert torch.get_default_dtype() == torch.float32
    coefficients.cache_clear()
    graph = liquid()
    for kernel in ("reference", "cpu"):
        h, Y, weights = random_inputs(PAPER, graph, 60)
        single = contract_scatter(h.float(), Y.float(), weights.float(), graph, PAPER, kernel)
        assert single.dtype == torch.float32
        double = contract_scatter(h, Y, weights, graph, PAPER, kernel)
        assert_close([double.detach()], [by_hand(h, Y, weights, graph, PAPER).detach()], 1e-13)
    assert torch.get_default_dtype() == torch.float32


def test_unknown_kernel_is_refused():
    with pytest.raises(ValueError, match="kernel 'fast'; expected one of auto, "):
        gl.ModelConfig(kernel="fast")


def test_tensors_that_do_not_belong_together_are_refused():
    graph = liquid()
    h, Y, weights = (x.detach() for x in random_inputs(PAPER, graph, 60))
    with pytest.raises(ValueError, match=r"h of shape \(60, 130\); expected \(60, 131\)"):
        contract_scatter(h[:, 1:], Y, weights, graph, PAPER)
    with pytest.raises(ValueError, match=r"Y of shape .*; expected"):
        contract_scatter(h, Y[1:], weights, graph, PAPER)
    with pytest.raises(ValueError, match=r"weights of shape .*; expected"):
        contract_scatter(h, Y, weights[:, :3], graph, PAPER)
    with pytest.raises(ValueError, match=r"weights\.bias of shape .*; expected \(284,\)"):
        contract_scatter(h, Y, RadialWeights(weights[:, :16], weights[:284, :16], weights[0, :3]), graph, PAPER)
    with pytest.raises(ValueError, match=r"weights is torch\.float32 on cpu, h is torch\.float64"):
        contract_scatter(h, Y, weights.float(), graph, PAPER)
    with pytest.raises(ValueError, match="edges between nodes 0 and 59; the graph has 50 nodes"):
        contract_scatter(h[:50], Y, weights, graph, PAPER)


def test_edges_that_are_not_sorted_by_receiver_are_refused():
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    inputs = [x.detach() for x in random_inputs(PAPER, graph, 2)]
    with pytest.raises(ValueError, match="not sorted by receiver"):
        contract_scatter(*inputs, graph, PAPER)


def test_a_graph_that_was_written_to_is_read_again():
    graph = graph_of([(0, 1), (1, 2)], 3)
    inputs = random_inputs(PAPER, graph, 3)
    before = results("cpu", inputs, graph, PAPER)[0]
    graph.edge_index[0, 0] = 2
    after = results("cpu", inputs, graph, PAPER)[0]
    assert not torch.equal(before, after)
    assert_close([after], results("reference", inputs, graph, PAPER)[:1], 1e-10)


def test_plans_do_not_outlive_their_graphs():
    """Batching makes a new edge_index at each training step: what is kept for one must go with it."""
    graph, before = liquid(), len(plan._plans)
    for _ in range(3):
        batch = Batch.from_data_list([graph])
        plan.plan_of(batch, 60)
        assert len(plan._plans) == before + 1
        del batch
        gc.collect()
        assert len(plan._plans) == before


@pytest.mark.parametrize("reverse", [True, False])
def test_the_plan_of_a_batch_is_joined_from_those_of_its_graphs(monkeypatch, reverse):
    graphs = [liquid(n=n) for n in (60, 90, 40)]
    if not reverse:
        del graphs[1].reverse
    graphs = [*graphs, gl.liquid.graph.NeighborGraph(edge_index=torch.zeros(2, 0, dtype=torch.int64), num_nodes=3)]
    graphs[-1].update({"reverse": torch.zeros(0, dtype=torch.int64)})
    names = ("edge_index", "num_nodes", "reverse", "walk_index")
    shared = [Data(**{k: g[k] for k in names if k in g}) for g in graphs]
    edge_index = torch.cat([g.edge_index + shift for g, shift in zip(shared, (0, 60, 150, 190), strict=True)], dim=1)
    made = plan._make_plan(edge_index, 193, None, None)
    batch = Data(edge_index=edge_index)
    plan.join_plans(batch, shared)
    monkeypatch.setattr(plan, "_make_plan", None)  # it is known: nothing is read
    found = plan.plan_of(batch, 193)
    for name in ("sender", "receiver", "rows"):
        assert torch.equal(getattr(found, name), getattr(made, name))
    assert (found.reverse is not None) == reverse
    assert found.walk.sort().values.tolist() == list(range(193))
    assert [int(w.max()) for w in found.walk.split([60, 90, 40, 3])] == [59, 149, 189, 192]
    if reverse:
        assert torch.equal(found.sender[found.reverse], found.receiver)
        assert torch.equal(found.receiver[found.reverse], found.sender)
        assert sorted(found.reverse.tolist()) == list(range(edge_index.shape[1]))


@pytest.mark.parametrize("wrong", [[0, 0, 2, 3], [-3, 0, 3, 2], [1, 0, 3, 9], [1, 0]])
def test_a_wrong_reverse_is_not_believed(wrong):
    graph = graph_of([(0, 1), (1, 0), (0, 1), (1, 0)], 2)
    graph.reverse = torch.tensor(wrong)
    inputs = random_inputs(PAPER, graph, 2)
    assert_close(results("cpu", inputs, graph, PAPER), results("reference", inputs, graph, PAPER), 1e-10)


def test_edges_of_other_integers_and_inference_mode():
    graph = graph_of([(0, 1), (1, 0), (2, 1)], 3)
    inputs = random_inputs(PAPER, graph, 3)
    expected = results("reference", inputs, graph, PAPER)
    small = Data(edge_index=graph.edge_index.int(), num_nodes=3)
    assert_close(results("cpu", inputs, small, PAPER), expected, 1e-10)
    with torch.inference_mode():
        made_here = Data(edge_index=graph.edge_index.clone(), num_nodes=3)
        assert_close([contract_scatter(*inputs, made_here, PAPER)], expected[:1], 1e-10)


def test_auto_takes_the_reference_where_nothing_else_can_and_says_so_once(caplog):
    graph, coupling = graph_of([(0, 1)], 2), Coupling("1x0e", 1)
    inputs = [x.detach().bfloat16() for x in random_inputs(coupling, graph, 2)]
    kernels._say.cache_clear()
    with caplog.at_level(logging.INFO, "glasslit"):
        for _ in range(2):
            assert kernels.select("auto", inputs[0], coupling) == "reference"
        assert kernels.select("auto", inputs[0].float(), coupling) == "cpu"
    reasons = [record.getMessage() for record in caplog.records]
    assert len(reasons) == 2
    assert "kernel reference for cpu" in reasons[0]
    assert "cpu: torch.bfloat16 is neither float32 nor float64" in reasons[0]
    with pytest.raises(ValueError, match=r"kernel 'cpu' cannot be used here: torch\.bfloat16"):
        kernels.select("cpu", inputs[0], coupling)
    with pytest.raises(ValueError, match="l_max 11 is above"):
        kernels.select("cpu", inputs[0].float(), Coupling("1x0e", 11))


def test_without_llvm_auto_falls_back(monkeypatch):
    def broken():
        raise ImportError("no llvmlite")

    monkeypatch.setattr(cpu, "target_machine", broken)
    cpu._no_llvm.cache_clear()
    try:
        assert kernels.select("auto", torch.zeros(1), PAPER) == "reference"
        with pytest.raises(ValueError, match="llvmlite does not work here"):
            kernels.select("cpu", torch.zeros(1), PAPER)
    finally:
        cpu._no_llvm.cache_clear()


def test_predictions_and_gradients_of_the_network_do_not_depend_on_the_kernel():
    graph = gl.neighbor_graph(random_liquid(120, seed=5), inputs="thermal", dtype=torch.float64)
    found = {}
    for kernel in ("reference", "auto"):
        torch.manual_seed(0)
        net = gl.SE3GNN(gl.ModelConfig(layers=3, inputs="thermal", n_times=2, kernel=kernel)).double()
        torch.manual_seed(1)
        out = net(graph)
        out.square().sum().backward()
        found[kernel] = [out.detach(), *(p.grad for p in net.parameters())]
    assert_close(found["auto"], found["reference"], 1e-9)


@pytest.mark.parametrize("walk", ["given", "backwards", "too short", "a node twice", "a list", "none"])
def test_the_order_of_the_walk_changes_nothing_but_rounding(walk):
    """Sums of a node's edges keep their bits; a walk that does not name each node once is not believed."""
    graph = liquid(torch.float32, n=200)
    inputs = random_inputs(PAPER, graph, 200, torch.float32, 16)
    expected = results("cpu", inputs, graph, PAPER)
    other, given = graph.clone(), graph.walk_index
    known = {
        "given": given, "backwards": given.flip(0), "too short": given[1:], "a node twice": given.clone(),
        "a list": given.tolist(), "none": None,
    }  # fmt: skip
    known["a node twice"][0] = given[1]
    if known[walk] is None:
        del other.walk_index
    else:
        other.walk_index = known[walk]
    found = results("cpu", inputs, other, PAPER)
    believed = plan.plan_of(other, 200).walk
    assert torch.equal(believed, known[walk] if walk in ("given", "backwards") else torch.arange(200))
    assert torch.equal(found[0], expected[0])
    assert_close(found, expected, 1e-5)


def test_the_sums_of_the_backward_pass_have_a_row_for_each_chunk_and_sender():
    graph = liquid(n=200)
    known = plan.plan_of(graph, 200)
    sums, place = known.sums, torch.empty(200, dtype=torch.int64)
    place[known.walk] = torch.arange(200)
    bounds = [200 * c // plan.N_CHUNKS for c in range(plan.N_CHUNKS + 1)]
    rows = {}
    for e, (sender, receiver) in enumerate(graph.edge_index.T.tolist()):
        chunk = next(c for c in range(plan.N_CHUNKS) if bounds[c] <= place[receiver] < bounds[c + 1])
        row = int(sums.of_edge[e])
        assert sums.first[chunk] <= row < sums.first[chunk + 1]
        assert sums.of_node[sender, chunk] == row
        assert rows.setdefault(row, (chunk, sender)) == (chunk, sender)
    assert len(rows) == sums.n_rows == int(sums.first[-1]) == int((sums.of_node >= 0).sum())


@pytest.mark.parametrize("coupling", [PAPER, COUPLINGS[5], Coupling("3x0e", 3)], ids=lambda c: c.irreps_in)
def test_wide_and_narrow_registers_compute_the_same(monkeypatch, coupling):
    """As on processors with AVX-512 and without: sums in the same bits forward, gradients to rounding."""
    graph, found = liquid(torch.float32), {}
    inputs = random_inputs(coupling, graph, 60, torch.float32, 16)
    expected = results("reference", [x.double().detach().requires_grad_() for x in inputs], graph, coupling)
    for width in (False, True):
        monkeypatch.setattr(
            cpu, "_layout", lambda c, dtype, hidden, w=width: cpu.Layout(c, dtype == torch.float64, hidden, wide=w)
        )
        cpu.compiled.cache_clear()
        found[width] = results("cpu", inputs, graph, coupling)
    cpu.compiled.cache_clear()
    assert torch.equal(found[True][0], found[False][0])
    for width in (False, True):
        assert_close(found[width], expected, 1e-5)


def test_instructions_can_be_capped():
    code = (
        "import torch\nfrom glasslit.equivariance.kernels import cpu\n"
        "print(sorted(k for k, there in cpu.features().items() if there and k.startswith(('avx512', 'avx'))))\n"
        "print(cpu._layout(cpu.Coupling('8x0e', 1), torch.float32, 16).wide)"
    )
    for cap, refused in (("avx2", "avx512"), ("default", "avx")):
        environment = os.environ | {"ATEN_CPU_CAPABILITY": cap}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert f"'{refused}" not in done.stdout
        assert done.stdout.splitlines()[-1] == "8"
