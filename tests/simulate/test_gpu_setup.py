"""Installing for a GPU: what the extra asks for, that it compiles, and what is said where it does not."""

import re
import tomllib
import warnings
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glasslit.simulate import gpu_setup
from glasslit.simulate.fixed import SIMULATED
from glasslit.simulate.gpu_setup import explained
from tests.common import ROOT


def extras():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_extras_ask_for_a_compiler_and_for_a_numpy_that_it_knows():
    for name, cuda in (("gpu", "cu13"), ("gpu-cu12", "cu12"), ("chapters", "cu13")):
        asked = extras()[name]
        assert [one for one in asked if one.startswith("numba-cuda")] == [f"numba-cuda[{cuda}]>=0.30"]
        assert "numpy<2.5" in asked
    assert "'glasslit[gpu]'" in gpu_setup.INSTALL
    assert "'glasslit[gpu-cu12]'" in gpu_setup.OLDER


def compiler():
    """Whether numba-cuda finds what it compiles with."""
    if find_spec("numba_cuda") is None or SIMULATED:
        return False
    try:
        from cuda import pathfinder

        return all(pathfinder.load_nvidia_dynamic_lib(name) for name in ("nvvm", "nvrtc", "cudart"))
    except (ImportError, RuntimeError):
        return False


compiles = pytest.mark.skipif(not compiler(), reason="NVVM or NVRTC is missing: pip install 'glasslit[gpu]'")


@compiles
def test_a_kernel_of_one_line_compiles():
    from numba import cuda, float32

    ptx, _ = cuda.compile_ptx(gpu_setup.doubled, (float32[::1],), cc=(9, 0))
    assert ".target sm_90" in ptx


@compiles
@pytest.mark.parametrize(("name", "precision"), [("advance", np.float32), ("fire", np.float32), ("fire", np.float64)])
def test_the_kernels_compile_for_a_gpu_that_is_not_here(monkeypatch, name, precision):
    """As far as PTX: types agree, and roots are taken in the precision of the forces."""
    import numba.cuda.dispatcher
    from numba import cuda, float32, float64, int32, int64, types, uint16, uint64
    from numba.cuda.random import xoroshiro128p_type

    from glasslit.simulate import gpu_code

    device = SimpleNamespace(compute_capability=(9, 0))
    monkeypatch.setattr(numba.cuda.dispatcher, "get_current_device", lambda: device)
    real = float32 if precision is np.float32 else float64
    kernel = getattr(gpu_code.build(precision, False), name)
    code = kernel.py_func.__code__

    def a(kind, dimensions):
        return types.Array(kind, dimensions, "C")

    kinds = {
        "steps": int64, "dt": float32, "skin": float32, "keep": float32, "tolerance": float64, "heat": a(float32, 1),
        "x": a(int32, 3), "reference": a(int32, 3), "travelled": a(int64, 3), "scale": a(float64, 1),
        "table": a(real, 3), "limits": a(float32, 2), "border": int32, "rows": a(int32, 1), "cells": a(int32, 1),
        "words": a(uint64, 1), "counts": a(uint16, 1), "wrong": a(int32, 1), "random": a(xoroshiro128p_type, 1),
        "parts": a(float64, 3), "state": a(float64, 2), "v": a(real, 3),
    }  # fmt: skip
    signature = tuple(kinds[argument] for argument in code.co_varnames[: code.co_argcount])
    ptx, _ = cuda.compile_ptx(kernel.py_func, signature, cc=(9, 0), fastmath=name == "advance")
    assert re.search(rf"rsqrt\.approx(\.ftz)?\.f{np.finfo(precision).bits}", ptx)


NUMPY = AttributeError("module 'numpy' has no attribute 'row_stack'")
NVVM = RuntimeError('Failure finding "libnvvm.so.4 or libnvvm.so": No such file: libnvvm.so.4 or libnvvm.so')
PTX = RuntimeError("[222] Call to cuLinkCreate results in CUDA_ERROR_UNSUPPORTED_PTX_VERSION")


@pytest.mark.parametrize(
    ("error", "found", "kind", "message"),
    [
        (
            NUMPY,
            None,
            ImportError,
            r"cannot compile with NumPy \S+, which is too new.*row_stack.*pip install 'numpy<2.5'",
        ),
        (
            NVVM,
            ((13, 0), (13, 0)),
            ImportError,
            r"does not find libnvvm.*pip install 'glasslit\[gpu\]', or .*gpu-cu12.*580",
        ),
        (RuntimeError(str(NVVM).replace("nvvm", "nvrtc")), None, ImportError, r"does not find libnvrtc"),
        (PTX, None, RuntimeError, r"driver is older than the CUDA toolkit.*unknown.*580.*'glasslit\[gpu-cu12\]'"),
        (RuntimeError("invalid image"), ((12, 8), (13, 2)), RuntimeError, r"older .*\(CUDA versions: 12.8 and 13.2\)"),
        (
            RuntimeError("\n first. \n second"),
            ((13, 0), (13, 0)),
            RuntimeError,
            r"\(RuntimeError: first\): pip install",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_with_its_mend(error, found, kind, message):
    result = explained(error, found)
    assert type(result) is kind
    with pytest.raises(kind, match=message):
        raise result


@pytest.fixture
def device(monkeypatch):
    """A device that is there and whose compiler raises what the test says."""
    if SIMULATED:
        pytest.skip("for the real numba-cuda")

    class Cuda:
        error = None

        def to_device(self, x):
            self.x = x.copy()
            return SimpleNamespace(copy_to_host=lambda: self.x)

        def jit(self, function):
            cuda = self

            class Kernel:
                def __getitem__(self, grid):
                    def launch(x):
                        if cuda.error:
                            raise cuda.error
                        warnings.warn("Grid size 1 will likely result in GPU under-utilization", stacklevel=1)
                        function(cuda.x)

                    return launch

            return Kernel()

    monkeypatch.setattr(gpu_setup, "no_device", lambda: "")
    monkeypatch.setattr(gpu_setup, "versions", lambda: ((12, 4), (13, 0)))
    return Cuda()


def test_an_engine_compiles_something_before_it_says_that_it_is_there(device):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that a small grid leaves a GPU idle is nobody's concern here
        gpu_setup.check_device(device)
    assert device.x.tolist() == [2.0]


@pytest.mark.parametrize(("error", "message"), [(NUMPY, "numpy<2.5"), (NVVM, "libnvvm"), (PTX, "12.4 and 13.0")])
def test_a_device_whose_compiler_fails_is_refused(device, error, message):
    device.error = error
    with pytest.raises((ImportError, RuntimeError), match=message) as raised:
        gpu_setup.check_device(device)
    assert raised.value.__cause__ is error


def test_other_warnings_are_heard():
    with pytest.warns(UserWarning, match="something else"), gpu_setup.quietly():
        warnings.warn("something else", stacklevel=1)


def test_without_a_device_the_driver_is_asked_why(monkeypatch):
    monkeypatch.setattr(gpu_setup, "SIMULATED", False)
    monkeypatch.setattr(gpu_setup, "no_device", lambda: "CUDA driver library cannot be found")
    with pytest.raises(ValueError, match=r"no CUDA device here \(CUDA driver library cannot be found\).*lane engine"):
        gpu_setup.check_device(SimpleNamespace())


@pytest.mark.skipif(torch.cuda.is_available() or SIMULATED, reason="for machines without a GPU")
@compiles
def test_this_machine_has_none():
    assert "cannot be found" in gpu_setup.no_device() or "no CUDA-capable device" in gpu_setup.no_device()


def test_a_toolkit_that_is_missing_at_import_is_named(monkeypatch):
    """numba.cuda asks for CUDA's runtime library while it is imported."""
    import builtins

    original = builtins.__import__

    def refuse(name, globals=None, locals=None, fromlist=(), level=0):
        if "gpu_code" in (fromlist or ()):
            raise RuntimeError('Failure finding "libcudart.so.13 or libcudart.so.12": No such file')
        return original(name, globals, locals, fromlist, level)

    monkeypatch.setattr(gpu_setup, "find_spec", lambda name: True)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"does not find libcudart.*pip install 'glasslit\[gpu\]'"):
        gpu_setup.kernels()
