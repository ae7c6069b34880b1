"""The GPU kernel: on a GPU where there is one, else in the emulator, which is stricter; ptxas reads what it says."""

import contextlib
import ctypes
import re
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from glasslit.equivariance.kernels import Coupling, RadialWeights, driver, ptx_gpu
from glasslit.equivariance.kernels.coupling import coefficients
from glasslit.equivariance.kernels.emulator import Emulator
from glasslit.equivariance.kernels.packing import Packing, packing, table
from glasslit.equivariance.kernels.plan import plan_of
from glasslit.equivariance.kernels.ptx import REGISTERS, VERSION, Writer
from tests.equivariance import test_kernels
from tests.equivariance.kernels.ptx_interpreter import Program
from tests.equivariance.test_kernels import COUPLINGS, GRAPHS, PAPER, assert_close, graph_of, liquid, random_inputs

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TRIANGLE = graph_of([(0, 1), (1, 0), (2, 1), (1, 2), (0, 2), (2, 0), *((3, k) for k in range(3))], 5)


@pytest.fixture(autouse=True)
def where_it_runs():
    with ptx_gpu.emulated():
        reason = ptx_gpu.unavailable(torch.zeros(1, device=DEVICE), PAPER)
        assert reason is None, reason
        yield


def gpu_results(inputs, graph, coupling):
    """Output and every gradient, from DEVICE, on the CPU."""
    h, Y, *weights = there = [x.detach().to(DEVICE).requires_grad_() for x in inputs]
    weights = weights[0] if len(weights) == 1 else RadialWeights(*weights)
    out = ptx_gpu.contract(h, Y, weights, plan_of(graph.clone().to(DEVICE), len(h)), coupling)
    flat = test_kernels.plan.from_blocks(out)
    generator = torch.Generator().manual_seed(99)
    direction = torch.randn(flat.shape, dtype=torch.float64, generator=generator).to(flat)
    return [x.cpu() for x in (flat.detach(), *torch.autograd.grad((flat * direction).sum(), there))]


def compare(graph, n_nodes, coupling, hidden=None, seed=0):
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        inputs = random_inputs(coupling, graph, n_nodes, dtype, hidden, seed)
        exact = [x.detach().double().requires_grad_() for x in inputs]
        expected = test_kernels.results("reference", exact, graph, coupling)
        assert_close(gpu_results(inputs, graph, coupling), expected, tolerance)


@pytest.mark.parametrize(
    ("coupling", "hidden"),
    [(c, h) for c in (*COUPLINGS, Coupling("40x0e+3x1e", 1)) for h in (None, 16, 5) if c.l_max < 3 or h != 5],
    ids=lambda value: value.irreps_in if isinstance(value, Coupling) else str(value),
)  # a GPU compiles for each: a second at l_max 3, some at 4
def test_equals_the_reference_with_every_gradient(coupling, hidden):
    compare(TRIANGLE, 5, coupling, hidden)


def test_wide_radial_network():
    compare(TRIANGLE, 5, COUPLINGS[3], hidden=33)
    assert packing(PAPER, 64).fits(double=False)
    assert not packing(PAPER, 128).fits(double=True)
    compare(TRIANGLE, 5, COUPLINGS[4], hidden=1600)  # more than a block's own memory holds: weights are stored
    assert not packing(COUPLINGS[4], 1600).fits(double=False)


@pytest.mark.parametrize("coupling", [COUPLINGS[0], PAPER], ids=lambda c: c.irreps_in)
def test_a_liquid_with_more_edges_than_one_block(coupling):
    graph = liquid(n=40)
    assert graph.num_edges > 200
    compare(graph, 40, coupling, hidden=16)


@pytest.mark.parametrize("hidden", [None, 16])
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_that_no_liquid_makes(name, hidden):
    compare(*GRAPHS[name], COUPLINGS[3], hidden)


@pytest.mark.parametrize("seed", range(3))
def test_random_graphs(seed):
    """Any directed graph, with isolated nodes."""
    generator = torch.Generator().manual_seed(seed)
    n_nodes, n_edges = [(3, 40), (70, 300), (64, 1)][seed]
    pairs = torch.randint(n_nodes, (n_edges, 2), generator=generator).tolist()
    compare(graph_of(pairs, n_nodes), n_nodes, Coupling("3x0e+3x1e+2x0e", 2), 16, seed)


def every_path_alone(numbers):
    graph = graph_of([(0, 1), (1, 0), (2, 1), (3, 1), (1, 3), (0, 3)], 5)
    inputs = random_inputs(PAPER, graph, 5)
    for number in numbers:
        columns = test_kernels.term_columns(PAPER, number)
        masked = torch.zeros_like(inputs[2])
        masked[:, columns] = inputs[2][:, columns]
        given = [*inputs[:2], masked.detach().requires_grad_()]
        ours = gpu_results(given, graph, PAPER)
        expected = test_kernels.results("reference", given, graph, PAPER)
        assert_close([*ours[:3], ours[3][:, columns]], [*expected[:3], expected[3][:, columns]], 1e-10)


def test_every_path_alone():
    """Each of the 38 terms against its own size: one wrong path cannot hide behind the others."""
    every_path_alone(range(len(PAPER.terms)))


@pytest.mark.parametrize("program", ["Forward", "Backward", "Harmonics"])
def test_one_wrong_path_in_a_program_is_caught(monkeypatch, program):
    """The negative control: in one program the term (l_in 2, l_filter 1, l_out 3) is off by half."""
    if DEVICE == "cuda":
        pytest.skip("compiled programs are kept; the emulator shows it")
    right, wrong = getattr(ptx_gpu, program), PAPER.terms.index((2, 1, 3))

    class Broken(right):
        def weights(self, edge):
            found = super().weights(edge)
            if wrong in found:
                found[wrong] = [self.m.mul(value, self.m.number(0.5)) for value in found[wrong]]
            return found

    monkeypatch.setattr(ptx_gpu, program, Broken)
    with pytest.raises(AssertionError, match="relative error"):
        every_path_alone([wrong])


def test_second_derivatives():
    coupling, graph = Coupling("2x0e+1x1e", 1), graph_of([(0, 1), (1, 0), (2, 1)], 4).to(DEVICE)
    inputs = [x.detach().to(DEVICE).requires_grad_() for x in random_inputs(coupling, graph.cpu(), 4, hidden=3)]
    plan = plan_of(graph.to(DEVICE), 4)

    def function(h, Y, *radial):
        return ptx_gpu.contract(h, Y, RadialWeights(*radial), plan, coupling)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("hidden", [None, 16])
def test_results_are_bitwise_the_same_from_run_to_run(hidden):
    graph = liquid(torch.float32, n=40)
    inputs = random_inputs(PAPER, graph, 40, torch.float32, hidden)
    first = gpu_results(inputs, graph, PAPER)
    for _ in range(9 if DEVICE == "cuda" else 1):
        assert all(torch.equal(a, b) for a, b in zip(gpu_results(inputs, graph, PAPER), first, strict=True))


def test_gradients_that_nobody_asked_for_are_not_made():
    h, Y, *radial = random_inputs(COUPLINGS[3], TRIANGLE, 5, hidden=4)
    wanted = [x.detach().to(DEVICE).requires_grad_(n != 1) for n, x in enumerate((h, Y, *radial))]
    plan = plan_of(TRIANGLE.clone().to(DEVICE), 5)
    blocks = ptx_gpu.contract(wanted[0], wanted[1], RadialWeights(*wanted[2:]), plan, COUPLINGS[3])
    sum(block.sum() for block in blocks).backward()
    assert wanted[1].grad is None
    assert all(x.grad is not None for n, x in enumerate(wanted) if n != 1)


class LargestTensor(TorchDispatchMode):
    """How many numbers the largest new tensor has."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


def test_no_tensor_holds_all_weights():
    """Not forward, not backward: an edge costs its share of dh (136 numbers), not 284 weights."""
    graph = liquid(torch.float32, n=60)
    inputs = random_inputs(PAPER, graph, 60, torch.float32, hidden=16)
    with LargestTensor() as mode:
        gpu_results(inputs, graph, PAPER)
    assert 0 < mode.largest < graph.num_edges * PAPER.n_weights / 2


def test_views_at_odd_places_and_unsorted_columns_are_copied_first():
    graph, coupling = TRIANGLE, COUPLINGS[3]
    inputs = random_inputs(coupling, graph, 5, torch.float32, hidden=4)
    expected = gpu_results(inputs, graph, coupling)
    shifted = [torch.cat([x.new_zeros(1), x.detach().flatten()])[1:].view(x.shape) for x in inputs]
    turned = [x.detach().T.contiguous().T if x.ndim == 2 else x.detach() for x in inputs]
    for given in (shifted, turned):
        assert all(torch.equal(a, b) for a, b in zip(gpu_results(given, graph, coupling), expected, strict=True))


def test_packing_names_every_weight_once():
    for coupling in (*COUPLINGS, Coupling("40x0e+3x1e", 1), Coupling("12x1e", 2)):
        for hidden in (16, 5):
            packed, device = packing(coupling, hidden), torch.device("cpu")
            flat = torch.arange(1, coupling.n_weights * (hidden + 1) + 1)
            stored = torch.cat([flat, flat.new_zeros(1)])[table(packed, "map", device)]
            assert torch.equal(stored[table(packed, "gradient", device)], flat)
            assert (stored > 0).sum() == len(flat)
            columns = table(packed, "columns", device)
            assert torch.equal(columns[columns >= 0].sort().values, torch.arange(coupling.dim_in))


# Programs as PTX.

FUNCTIONS = ("forward", "backward", "harmonics", "gather")


def ptxas():
    """The assembler in Triton's wheel."""
    backend = pytest.importorskip("triton.backends.nvidia", reason="Triton is not installed; its wheels bring ptxas")
    return Path(next(iter(backend.__path__))) / "bin" / "ptxas"


def assembled(text, tmp_path):
    """What ptxas says of a module compiled for compute capability 9.0."""
    (tmp_path / "module.ptx").write_text(text)
    command = [str(ptxas()), "-v", "-arch=sm_90", str(tmp_path / "module.ptx"), "-o", str(tmp_path / "module.cubin")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


@pytest.mark.parametrize("hidden", [0, 16])
@pytest.mark.parametrize("double", [False, True])
def test_compiles_for_a_gpu_that_is_not_there(double, hidden, tmp_path):
    """No atomic addition anywhere; coefficients keep the precision of the tensors."""
    packed = Packing(Coupling("5x0e+2x1e+1x0e", 1), hidden)
    texts = [ptx_gpu.text(packed, function, double) for function in FUNCTIONS]
    said = assembled(VERSION + "".join(text.removeprefix(VERSION) for text in texts), tmp_path)
    assert said.count("Compiling entry function") == 4
    whole = "".join(texts)
    assert not re.search(r"\b(atom|red)\b", whole)
    coefficient = abs(coefficients(1, 1, 1)[0, 1, 2])
    assert (f"0d{struct.pack('>d', coefficient).hex()}".lower() in whole.lower()) == double
    assert (f"0f{struct.pack('>f', coefficient).hex()}".lower() in whole.lower()) != double


def test_registers_of_the_papers_network(tmp_path):
    """In single precision: what a thread holds fits the registers that let 12 warps run on a multiprocessor."""
    for function in FUNCTIONS:
        said = assembled(ptx_gpu.text(Packing(PAPER, 16), function, False), tmp_path)
        registers, spilled = (int(said.split(word)[0].split()[-1]) for word in (" registers", " bytes spill stores"))
        assert registers <= REGISTERS
        assert spilled <= 128, f"{function}: {spilled} bytes of registers go to memory"


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("coupling", [Coupling("5x0e+2x1e", 1), Coupling("3x0e", 1), PAPER], ids=str)
def test_what_is_written_means_what_is_emulated(monkeypatch, coupling, double):
    """All four programs once more, from their PTX, by an interpreter that knows nothing of how it was written."""
    if DEVICE == "cuda":
        pytest.skip("a GPU reads PTX itself")
    programs = []

    def interpret(write, grid, tensors, integers, double):
        names = [*tensors, *integers]
        function = next(f for f in FUNCTIONS if names[:-2] == ptx_gpu.pointers(packing(coupling, hidden), f))
        program = Program(ptx_gpu.text(packing(coupling, hidden), function, double).removeprefix(VERSION))
        assert [name for _, name in program.parameters] == names
        memory, arguments = [], dict(integers)
        for n, (name, tensor) in enumerate(tensors.items(), start=1):
            arguments[name] = n << 32
            memory.append((n << 32, tensor.detach().numpy().reshape(-1).view("uint8")))
        program.run(grid, arguments, memory)
        programs.append(function)

    for hidden in (0, 5, 16):
        graph = graph_of([(0, 1), (1, 0), (2, 1), (0, 2), (1, 2)], 4)
        inputs = random_inputs(coupling, graph, 4, torch.float64 if double else torch.float32, hidden or None)
        expected = gpu_results(inputs, graph, coupling)
        with monkeypatch.context() as patch:
            patch.setattr(ptx_gpu.emulator, "emulate", interpret)
            assert_close(gpu_results(inputs, graph, coupling), expected, 1e-14 if double else 1e-6)
    assert set(programs) == set(FUNCTIONS)


def test_writer_and_emulator_know_the_same_operations():
    def operations(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert operations(Writer) - {"text"} == operations(Emulator)


# The emulator is stricter than a GPU.


def machine(n_blocks=1, **tensors):
    return Emulator(tensors, {}, n_blocks, 0, True)


def test_emulator_refuses_what_a_gpu_would_do_silently():
    m = machine(a=torch.zeros(32, dtype=torch.float64))
    each = m.address(m.arguments["a"], m.lane)
    with pytest.raises(AssertionError, match="outside of the tensor"):
        m.load(each, 1)
    with pytest.raises(AssertionError, match="outside of the tensor"):
        m.store(m.address(m.arguments["a"], m.iadd(m.lane, -1)), 0, [m.number(1.0)])
    with pytest.raises(AssertionError, match="no multiple of 16 bytes"):
        m.load(m.address(m.arguments["a"], m.iand(m.lane, 1)), 0, 4)
    with pytest.raises(AssertionError, match="two threads write"):
        m.store(m.address(m.arguments["a"], m.iand(m.lane, 1)), 0, [m.lane * 1.0])
    for _ in m.when(m.less(m.lane, 7)):
        with pytest.raises(AssertionError, match="elsewhere"):
            m.other_lane(m.lane, 1)
        m.store(each, 0, [m.number(3.0)])
    assert m.memory[0].tolist() == [3.0] * 7 + [0.0] * 25


def test_loops_of_different_length():
    m = machine(a=torch.zeros(32, dtype=torch.float64))
    total = m.variable(0.0)
    for i in m.loop(0, m.lane, 2):
        m.assign(total, m.add(total, i))
    m.store(m.address(m.arguments["a"], m.lane), 0, [total])
    assert m.memory[0].tolist() == [sum(range(0, lane, 2)) for lane in range(32)]


# The driver, as far as it can be tested without one.


def test_arguments_reach_the_driver_in_order(monkeypatch):
    seen = {}

    def launch(function, x, y, z, threads, *rest):
        places = rest[4]
        read = [ctypes.c_uint64.from_address(places[n]).value for n in range(2)]
        seen["call"] = (function, x, y, z, threads, rest[:4], read, ctypes.c_int32.from_address(places[2]).value)
        return 0

    def current(context):
        context._obj.value = seen.get("context")
        return 0

    def retain(context, device):
        context._obj.value = 5 + device.value
        return 0

    def name_device(device, number):
        device._obj.value = 10 * number
        return 0

    stream, library = SimpleNamespace(cuda_stream=77), SimpleNamespace(cuLaunchKernel=launch, cuCtxGetCurrent=current)
    library.cuDeviceGet, library.cuDevicePrimaryCtxRetain = name_device, retain
    library.cuCtxSetCurrent = lambda context: seen.update(context=context.value) or 0
    monkeypatch.setattr(driver, "library", lambda: library)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    driver.launch("program", (5, 3), 32, [2**40 + 1, 2**33], [-7], torch.device("cuda"))
    assert seen["call"] == ("program", 5, 3, 1, 32, (1, 1, 0, 77), [2**40 + 1, 2**33], -7)
    assert seen["context"] == 25  # of device 2, entered because this thread had none


def test_what_the_driver_refuses_is_said(monkeypatch):
    def explain(code, text):
        ctypes.cast(text, ctypes.POINTER(ctypes.c_char_p))[0] = b"out of memory"

    monkeypatch.setattr(driver, "library", lambda: SimpleNamespace(cuGetErrorString=explain))
    with pytest.raises(RuntimeError, match=r"launching: the CUDA driver answers out of memory \(2\)"):
        driver.check(2, "launching")


def test_the_kernel_checks_itself_before_it_is_used(monkeypatch, caplog):
    """Other numbers than the reference's, no driver, an old GPU: the reason is told, and another kernel is taken."""
    assert ptx_gpu.error_of_a_small_problem(torch.device(DEVICE)) < 1e-5
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    check = ptx_gpu._fails_on.__wrapped__
    monkeypatch.setattr(ptx_gpu, "error_of_a_small_problem", lambda device: 0.5)
    assert "differ from the reference's by 5.0e-01" in check(torch.device("cuda"))
    assert "Please report" in caplog.text
    monkeypatch.setattr(ptx_gpu, "error_of_a_small_problem", lambda device: float("nan"))
    assert "differ" in check(torch.device("cuda"))

    def no_driver(device):
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ptx_gpu, "error_of_a_small_problem", no_driver)
    assert "cannot open" in check(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert check(torch.device("cuda")) == "compute capability 6.1 is below 7.5"


def test_what_it_cannot_take():
    h = torch.zeros(1, device=DEVICE)
    assert "l_max 5 is above 4" in ptx_gpu.unavailable(h, Coupling("1x0e", 5))
    assert "neither float32 nor float64" in ptx_gpu.unavailable(h.half(), PAPER)
    assert "tensors are on meta" in ptx_gpu.unavailable(h.to("meta"), PAPER)
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        assert "no numbers in memory" in ptx_gpu.unavailable(torch.zeros(1, device="cuda"), PAPER)
