"""Training steps recorded as CUDA graphs: what a step launches on a GPU is launched at once, not kernel by kernel.

A step of the paper's network is some thousand launches, and a GPU works through them faster than Python sends them.
Each configuration has a recording of its own, as its number of edges is its own. Padding all to the largest would need
one recording, but a mean over edges would have to know which of them are padding, and sums over another number of rows
are rounded in another way: so a recorded step is bit for bit the step that was recorded. Recordings share the memory of
one step, as only one of them runs at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

import torch

from .. import parallel
from ..models.propensity import PropensityNetwork
from ..models.se3 import SE3GNN

_T = TypeVar("_T")

WARM_UP = 3
"""Calls before anything is recorded: TorchScript, in which e3nn's harmonics are, compiles at one of its first three."""


class Recorder(Protocol):
    """What can record."""

    def record(self, function: Callable[[], _T]) -> tuple[Callable[[], Any], _T]:
        """What runs the function's work again, and the tensors to which every run writes; may leave the work undone."""
        ...


class CudaGraphs:
    """Recordings as CUDA graphs. Recording does no work; a replay draws its random numbers from PyTorch's state."""

    def __init__(self) -> None:
        self.pool: Any = None

    def record(self, function: Callable[[], _T]) -> tuple[Callable[[], Any], _T]:
        """See :class:`Recorder`."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            results = function()
        self.pool = graph.pool()
        return graph.replay, results


class Replayed:
    """Functions by key: the first call of each runs it, the second records it, and from then on it is replayed.

    The first call is real work, and makes what may not be made while recording: compiled kernels, plans of graphs,
    workspaces. Results of a replay lie where those of the last one lay.

    Parameters
    ----------
    recorder : by default CUDA graphs
    warm_up : calls, of all keys together, before anything is recorded
    """

    def __init__(self, recorder: Recorder | None = None, warm_up: int = WARM_UP) -> None:
        self.recorder: Recorder = recorder or CudaGraphs()
        self.calls_left = warm_up
        self.made: dict[Hashable, tuple[Callable[[], Any], Any] | None] = {}

    def __call__(self, key: Hashable, function: Callable[[], _T]) -> _T:
        """What the function returns; it takes all that changes between its calls from tensors that stay in place."""
        if key not in self.made or self.calls_left > 0:
            self.calls_left -= 1
            self.made[key] = None
            return function()
        made = self.made[key]
        if made is None:
            made = self.made[key] = self.recorder.record(function)
        replay, results = made
        replay()
        return results


def plainly(key: Hashable, function: Callable[[], _T]) -> _T:
    """As :class:`Replayed`, for where nothing is recorded: the function is called."""
    return function()


def runner(wanted: bool, net: PropensityNetwork, device: torch.device, batch_size: int, held: bool) -> Any:
    """:class:`Replayed` or :func:`plainly`.

    Parameters
    ----------
    wanted : ``cuda_graphs`` of :class:`~glasslit.learning.train.TrainConfig`
    net, device, batch_size : what trains, where, on how many configurations at once
    held : whether graphs are made once and stay in memory

    Raises
    ------
    ValueError
        If recordings are wanted where there can be none.
    """
    if not wanted:
        return plainly
    reasons = {
        f"on {device.type}; expected device = 'cuda'": device.type != "cuda",
        f"for {type(net).__name__}; expected SE3GNN: others draw numbers on the CPU in each step": (
            not isinstance(net, SE3GNN)
        ),
        f"with batch_size = {batch_size}; expected 1: each configuration has its recording": batch_size != 1,
        "with num_workers or position_noise; expected graphs that stay in memory": not held,
        f"in {parallel.world()[1]} processes; expected one": parallel.several(),
    }
    for reason, applies in reasons.items():
        if applies:
            raise ValueError(f"cuda_graphs = True {reason}, or cuda_graphs = False")
    return Replayed()
