"""NVIDIA's driver, as far as it takes to run a program written in PTX: load it, launch it on PyTorch's stream."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import torch


@cache
def library() -> Any:
    """The driver's library.

    Raises
    ------
    OSError
        If there is none.
    """
    loaded = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    pointer, integer = ctypes.c_void_p, ctypes.c_uint
    loaded.cuModuleLoadDataEx.argtypes = [pointer, ctypes.c_char_p, integer, pointer, pointer]
    loaded.cuModuleGetFunction.argtypes = [pointer, pointer, ctypes.c_char_p]
    loaded.cuLaunchKernel.argtypes = [pointer, *[integer] * 7, pointer, pointer, pointer]
    loaded.cuGetErrorString.argtypes = [ctypes.c_int, pointer]
    loaded.cuCtxGetCurrent.argtypes = [pointer]
    loaded.cuCtxSetCurrent.argtypes = [pointer]
    loaded.cuDeviceGet.argtypes = [pointer, ctypes.c_int]
    loaded.cuDevicePrimaryCtxRetain.argtypes = [pointer, ctypes.c_int]
    return loaded


def check(code: int, doing: str) -> None:
    """A ``RuntimeError`` that says what went wrong, if something did."""
    if code:
        text = ctypes.c_char_p()
        library().cuGetErrorString(code, ctypes.byref(text))
        reason = text.value.decode() if text.value else "unknown"
        raise RuntimeError(f"{doing}: the CUDA driver answers {reason} ({code})")


def enter_context() -> None:
    """Make the context that PyTorch uses the current one of this thread, where a new thread has none yet."""
    context, device = ctypes.c_void_p(), ctypes.c_int()
    check(library().cuCtxGetCurrent(ctypes.byref(context)), "asking for the context")
    if not context.value:
        check(library().cuDeviceGet(ctypes.byref(device), torch.cuda.current_device()), "asking for the device")
        check(library().cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "taking the device's context")
        check(library().cuCtxSetCurrent(context), "entering the device's context")


def load(text: str, name: str, device: torch.device) -> Any:
    """Compile a module of PTX for a device, and find one program in it. The driver keeps what it compiled on disk."""
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    with torch.cuda.device(device):
        enter_context()
        code = library().cuModuleLoadDataEx(ctypes.byref(module), text.encode(), 0, None, None)
    check(code, "compiling the GPU kernel")
    check(library().cuModuleGetFunction(ctypes.byref(function), module, name.encode()), f"finding {name}")
    return function


def launch(
    function: Any, grid: tuple[int, int], threads: int, pointers: list[int], integers: list[int], device: torch.device
) -> None:
    """Run a program on PyTorch's current stream; returns at once, and may be captured in a CUDA graph."""
    arguments = [ctypes.c_uint64(p) for p in pointers] + [ctypes.c_int32(i) for i in integers]
    places = (ctypes.c_void_p * len(arguments))(*[ctypes.addressof(a) for a in arguments])
    with torch.cuda.device(device):
        enter_context()
        stream = torch.cuda.current_stream().cuda_stream
        code = library().cuLaunchKernel(function, grid[0], grid[1], 1, threads, 1, 1, 0, stream, places, None)
    check(code, "launching the GPU kernel")
