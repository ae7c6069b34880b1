"""A second device that the CPU plays, so that mistakes about devices show on any machine, with real numbers.

Tensors on it say that they are on "meta", a device that every build of PyTorch has; what they hold lies on the CPU. As
on a GPU, an operation that mixes both devices raises, NumPy cannot read them, and what Python reads is a wait for the
device: :attr:`Played.waits` lists those. Fake tensors on "cuda" would say less: they hold no numbers, so a training
would end at its first loss, and PyTorch built without CUDA ends the process in their backward pass.
"""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
CPU = torch.device("cpu")
COPIES = {"aten::_to_copy", "aten::copy_"}
"""The only operations that may take tensors of both devices."""
WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero",
         "aten::unique_dim", "aten::_unique2", "aten::repeat_interleave.Tensor"}  # fmt: skip
"""Operations whose result, or the size of it, the host has to wait for."""


class There(Tensor):
    """A tensor on the played device."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=DEVICE,
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return run(operation, args, kwargs or {}, [])

    def __reduce_ex__(self, protocol):
        return self.held.__reduce_ex__(protocol)  # in files it is a tensor like others, which are read to the CPU


def run(operation, args, kwargs, waits):
    """One operation: refused if it mixes devices, computed on the CPU, its results put where they belong."""
    name = operation.name().removesuffix(".default")
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    there = any(isinstance(t, There) for t in tensors)
    # As on a GPU, a number (no dimensions) may come from the CPU. So may an index, which then is copied: a wait.
    here = [t for t in tensors if not isinstance(t, There) and t.dim()]
    index = name.startswith(("aten::index.Tensor", "aten::index_put", "aten::_index_put_impl", "aten::_unsafe_index"))
    if there and here and name not in COPIES and not (index and isinstance(args[0], There)):
        kinds = ", ".join(f"{tuple(t.shape)} on {t.device.type}" for t in tensors)
        raise RuntimeError(f"{name}: expected all tensors to be on the same device; found {kinds}")
    wanted = kwargs.get("device")
    if wanted is not None:
        kwargs = kwargs | {"device": CPU}
        target = torch.device(wanted).type == DEVICE.type
    else:
        target = there if name != "aten::copy_" else isinstance(args[0], There)
    masks = index and any(t.dtype in (torch.bool, torch.uint8) for t in tree_leaves(args[1]) if isinstance(t, Tensor))
    crosses = name in COPIES and len({isinstance(t, There) for t in tensors} | {target}) > 1
    if (there and (name in WAITS or masks or (index and here))) or (crosses and tensors):
        frames = [f for f in traceback.extract_stack() if "glasslit" in Path(f.filename).parts]
        waits.append((name, f"{Path(frames[-1].filename).name} {frames[-1].name}" if frames else ""))
    inner_args, inner_kwargs = tree_map(lambda t: t.held if isinstance(t, There) else t, (args, kwargs))
    out = operation(*inner_args, **inner_kwargs)
    known = {id(t.held): t for t in tensors if isinstance(t, There)}  # what was written to stays the tensor it was

    def placed(t):
        return known[id(t)] if id(t) in known else There(t) if isinstance(t, Tensor) and target else t

    return tree_map(placed, out)


class _Made(TorchFunctionMode):
    """``torch.tensor`` for the played device, and ``tolist`` there, go by way of the CPU, as they do on a GPU."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or CPU) == DEVICE:
            return function(*args, **kwargs | {"device": CPU}).to(DEVICE)
        if function is Tensor.tolist and isinstance(args[0], There):
            return args[0].cpu().tolist()
        return function(*args, **kwargs)


class Played(TorchDispatchMode):
    """While it is entered, tensors can be made on the played device and moved there and back."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[tuple[str, str]] = []
        """Name of the operation, and the file and function of the package that called it, for each wait of the host."""
        self.made = _Made()

    def __enter__(self) -> Played:
        self.made.__enter__()
        return super().__enter__()

    def __exit__(self, *problem):
        super().__exit__(*problem)
        self.made.__exit__(*problem)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return run(operation, args, kwargs or {}, self.waits)
