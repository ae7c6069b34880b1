"""Several processes that train one network: who they are, and sums over all of them.

PyTorch's process group, if there is one (:func:`join` makes it under ``torchrun``); a single process otherwise.
Whatever is normalized or drawn at random is normalized and drawn as if the graphs of all processes were one batch, so
that the number of processes does not change what is trained.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

_T = TypeVar("_T")


def world() -> tuple[int, int]:
    """Number of this process, from 0, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def join(device: str = "auto") -> None:
    """Join the processes that ``torchrun`` started, each with a GPU of its own where there are GPUs.

    Does nothing in a process that was not started so, or has joined already.

    Parameters
    ----------
    device : as in :class:`~glasslit.learning.train.TrainConfig`
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    gpu = torch.cuda.is_available() and device in ("auto", "cuda")
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(days=1))


def leave() -> None:
    """The other end of :func:`join`."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def first(prepare: Callable[[], _T]) -> _T:
    """What ``prepare`` returns, called in one process before it is in the others, which then find all prepared."""
    if not several():
        return prepare()
    if world()[0] == 0:
        prepare()
    dist.barrier()
    return prepare()


def several() -> bool:
    """Whether there is more than this process."""
    return world()[1] > 1


def share(items: Sequence[_T]) -> Sequence[_T]:
    """This process's part of a list that all have: neighbors stay together, parts differ by one at most."""
    rank, size = world()
    return items[len(items) * rank // size : len(items) * (rank + 1) // size]


def gathered(part: Sequence[_T]) -> list[_T]:
    """The parts of all processes, one after the other."""
    size = world()[1]
    if size == 1:
        return list(part)
    parts: list[Any] = [None] * size
    dist.all_gather_object(parts, list(part))
    return [item for each in parts for item in each]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        summed = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)  # what each process makes of the sum


def total(x: Tensor) -> Tensor:
    """Sum over all processes, which has gradients: those of all processes come back to each."""
    return _Sum.apply(x) if several() else x


def mean(x: Tensor) -> Tensor:
    """Mean over the rows of all processes, shape ``x.shape[1:]``."""
    count = total(torch.tensor(len(x), device=x.device, dtype=x.dtype))
    return total(x.sum(dim=0)) / count


def uniform(x: Tensor) -> Tensor:
    """Random numbers from 0 to 1 in the shape of x: rows of what one process would draw for the rows of all.

    Random states of all processes have to agree, and agree afterwards.
    """
    rows, before = _rows_of_all(x)
    return torch.rand(rows, *x.shape[1:], dtype=x.dtype, device=x.device)[before : before + len(x)]


def kept(x: Tensor, p: float) -> Tensor:
    """True with probability 1 - p in the shape of x: rows of what one process would draw, as :func:`uniform`.

    On a CPU 16 random bits decide on each number, so that p is kept to 8e-6. They come from a generator of NumPy's that
    is seeded by PyTorch's: PyTorch's own draws 53 or 24 bits for each, one thread at a time, and takes much longer.
    """
    if x.device.type != "cpu":
        return uniform(x) >= p
    rows, before = _rows_of_all(x)
    each = x[:1].numel() if len(x) else 0
    seed = int(torch.randint(2**62, (1,)))
    bits = np.random.SFC64(seed).random_raw(-(-rows * each // 4)).view(np.uint16)
    mine = bits[before * each : (before + len(x)) * each] >= round(p * 2**16)
    return torch.from_numpy(mine).reshape(x.shape)


def _rows_of_all(x: Tensor) -> tuple[int, int]:
    """(rows of all processes, rows of those before this one)."""
    rank, size = world()
    if size == 1:
        return len(x), 0
    counts = [torch.zeros(1, device=x.device, dtype=torch.int64) for _ in range(size)]
    dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
    rows = [int(c) for c in counts]
    return sum(rows), sum(rows[:rank])
