"""What the GPU engine needs of its machine: is it there, does it compile, and if not, what mends it.

numba-cuda is two things: a Python package, and libraries of the CUDA toolkit that it looks for (NVVM compiles, NVRTC
and the runtime are asked for their versions). PyTorch's CUDA packages bring all of them but NVVM, and so an engine can
be imported, find its device and still compile nothing. ``check_device`` therefore compiles a kernel of one line.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from .fixed import SIMULATED

INSTALL = "pip install 'glasslit[gpu]'"
OLDER = "pip install 'glasslit[gpu-cu12]'"


def kernels() -> ModuleType:
    """:mod:`glasslit.simulate.gpu_code`, imported when an engine is made.

    Raises
    ------
    ImportError
        If numba-cuda, or a library that it needs, is not installed; the message says what installs it.
    """
    if find_spec("numba_cuda") is None:  # Numba has a numba.cuda of its own, which is not enough
        raise ModuleNotFoundError(f"simulating on a GPU needs numba-cuda, which is not installed here: {INSTALL}")
    try:
        from . import gpu_code
    except (
        AttributeError,
        RuntimeError,
    ) as error:  # numba.cuda asks for CUDA's runtime library as soon as it is imported
        raise explained(error) from error
    return gpu_code


def doubled(x: Any) -> None:
    """A kernel of one line."""
    x[0] *= 2


def check_device(cuda: ModuleType) -> None:
    """Nothing, where a kernel compiles and runs; else an error with its mend.

    Raises
    ------
    ValueError
        If there is no device.
    ImportError
        If what compiles is missing, or does not go with the NumPy installed here.
    RuntimeError
        If the driver is too old for what was compiled, or anything else is wrong.
    """
    if SIMULATED:
        return
    why = no_device()
    if why:
        raise ValueError(
            f"there is no CUDA device here ({why}); expected one: use the lane engine on CPUs (--engine lanes)"
        )
    try:
        result = _twice_one(cuda)
    except Exception as error:
        raise explained(error, versions()) from error
    if result != 2:
        raise RuntimeError(f"twice one is {result} on this GPU; expected 2: look at its driver with nvidia-smi")


@cache
def _twice_one(cuda: ModuleType) -> float:
    """Compiled and computed once in a process."""
    x = cuda.to_device(np.ones(1, np.float32))
    with quietly():
        cuda.jit(doubled)[1, 1](x)
    return float(x.copy_to_host()[0])


def no_device() -> str:
    """Why there is no device, in the driver's words; nothing where there is one.

    ``numba.cuda.is_available()`` is not asked: it also says no where a device is and NVVM is not.
    """
    from numba.cuda.cudadrv.driver import driver

    try:
        if driver.is_available:
            return "" if driver.get_device_count() else "the driver sees none"
    except Exception as error:  # the driver is there, but does not start
        return _first_line(str(error))
    return _first_line(driver.initialization_error)


def versions() -> tuple[tuple[int, int], tuple[int, int]] | None:
    """CUDA versions of driver and toolkit, None where they cannot be had."""
    try:
        from numba.cuda.cudadrv.driver import driver
        from numba.cuda.cudadrv.runtime import runtime

        return driver.get_version(), runtime.get_version()
    except Exception:
        return None


def explained(error: Exception, found: tuple[tuple[int, int], tuple[int, int]] | None = None) -> Exception:
    """What an error of numba-cuda means, in one sentence with the mend; ``found`` are :func:`versions`."""
    said = str(error)
    library = re.search(r"lib(nvvm|nvrtc|cudart|nvJitLink|device)\b|libNVVM", said)
    if isinstance(error, AttributeError) and "numpy" in said:
        return ImportError(
            f"numba-cuda {_installed('numba-cuda')} cannot compile with NumPy {np.__version__}, which is too new for "
            f"it ({said}): pip install 'numpy<2.5'"
        )
    if library and re.search(r"not (found|available)|Failure finding|cannot be found|No such file", said):
        return ImportError(
            f"numba-cuda does not find {library.group().lower()}, a library of the CUDA toolkit without which it "
            f"compiles nothing (PyTorch's CUDA packages do not bring all of them): {INSTALL}, or {OLDER} with a driver "
            "older than 580"
        )
    if (found and found[0][0] < found[1][0]) or re.search(
        r"UNSUPPORTED_PTX_VERSION|INSUFFICIENT_DRIVER|SYSTEM_DRIVER_MISMATCH|NO_BINARY_FOR_GPU|unsupported toolchain",
        said,
    ):
        those = " and ".join(".".join(map(str, v)) for v in found) if found else "unknown"
        return RuntimeError(
            f"the GPU's driver is older than the CUDA toolkit that compiles for it (CUDA versions: {those}): update "
            f"the driver, to 580 or later for CUDA 13, or {OLDER}"
        )
    return RuntimeError(
        f"numba-cuda cannot compile for this GPU ({type(error).__name__}: {_first_line(said)}): {INSTALL} installs "
        "what it is known to work with"
    )


@contextmanager
def quietly() -> Iterator[None]:
    """Without the remark that a small grid leaves a GPU idle: one system is one block, and that is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grid size .* under-utilization")
        yield


def allow_shared(kernel: Any, arguments: tuple[Any, ...], bytes_: int) -> None:
    """Let the kernel use more than the 48 KiB of dynamic shared memory that CUDA grants unasked.

    Numba has no public way to ask for it (github.com/NVIDIA/numba-cuda/issues/94).
    """
    from numba.cuda.cudadrv.driver import binding, driver

    compiled = kernel.specialize(*arguments) if not kernel.overloads else kernel
    for overload in compiled.overloads.values():
        function = overload._codelibrary.get_cufunc()
        attribute = binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        driver.cuKernelSetAttribute(attribute, bytes_, function.handle, function.device.id)


def _first_line(said: str | None) -> str:
    return next((line.strip().rstrip(".:") for line in (said or "").splitlines() if line.strip()), "no reason given")


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of an unknown version"
