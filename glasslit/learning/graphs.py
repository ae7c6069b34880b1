"""The graphs of a set of configurations as training takes them: noise on positions, batches, workers that make them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch_geometric.data import Batch, Data

from ..equivariance.kernels.plan import join_plans
from ..liquid.configuration import Configuration
from ..liquid.graph import parse_inputs, required
from ..models.potential import Potential
from ..models.propensity import PropensityNetwork
from ..models.se3 import SE3GNN

# Adds to a graph what a loss needs to know: of the configuration, and of the noise on its positions in units of its
# standard deviation, shape (N, 3), None where there is none.
Tell = Callable[[Data, Configuration, np.ndarray | None], None]
_P = ParamSpec("_P")
_T = TypeVar("_T")


def names_dead_workers(loop: Callable[_P, Iterator[_T]]) -> Callable[_P, Iterator[_T]]:
    """A generator that says how to go on where one of the processes that make graphs has died.

    PyTorch 2.13 says "DataLoader worker (pid 1234) is killed by signal" or "exited unexpectedly", wherever the process
    that trains is at that moment. A batch that it is about to take from a process that has died ends in the connection
    to that process: ConnectionResetError, or EOFError.
    """

    @wraps(loop)
    def watched(*given: _P.args, **named: _P.kwargs) -> Iterator[_T]:
        try:
            yield from loop(*given, **named)
        except (RuntimeError, ConnectionError, EOFError) as error:
            told: Exception = error
            if not isinstance(error, RuntimeError):
                try:  # PyTorch's own word comes by a signal, at any moment: let it come here, and not to the caller
                    time.sleep(1.0)
                except RuntimeError as later:
                    told = later
            elif not str(error).startswith("DataLoader worker (pid"):
                raise
            reason = (str(told) or type(told).__name__).splitlines()[0]
            raise RuntimeError(
                f"a process that makes graphs has died, for want of memory perhaps ({reason}); with a checkpoint the "
                "same call goes on after the last finished epoch: take a smaller num_workers, or None"
            ) from told

    return watched


class Graphs:
    """The graphs of a set of configurations: held in memory, or made when they are needed.

    Parameters
    ----------
    net : says what graphs it looks at
    configurations : the set
    num_workers, seed : of :class:`~glasslit.learning.train.TrainConfig`
    noise : standard deviation on the positions, sigma_AA, drawn anew in each epoch
    tell : is called with each graph, to add what a loss needs
    fixed : noise is that of epoch 0 in every epoch, as for validation, so that these graphs are held, too
    """

    def __init__(
        self,
        net: PropensityNetwork | Potential,
        configurations: Sequence[Configuration],
        num_workers: int | None,
        seed: int,
        noise: float = 0.0,
        tell: Tell | None = None,
        fixed: bool = False,
    ) -> None:
        self.configurations, self.num_workers, self.seed, self.noise = configurations, num_workers, seed, noise
        self.device, self.tell = net.target_mean.device, tell
        self.net = net
        held = num_workers is None and (fixed or not noise)
        self.held = [self.made(0, k) for k in range(len(configurations))] if held else None
        self.net = copy.deepcopy(net).to("cpu" if num_workers else self.device)  # workers see no GPU

    def __len__(self) -> int:
        return len(self.configurations)

    def __getitem__(self, which: tuple[int, int]) -> Data:
        """The graph of an epoch and a configuration, by their numbers; noise depends on these and the seed alone."""
        return self.held[which[1]] if self.held is not None else self.made(*which)

    def made(self, epoch: int, k: int) -> Data:
        """The same, made anew."""
        c, drawn = self.configurations[k], None
        if self.noise:
            field = parse_inputs(cast(PropensityNetwork, self.net).config.inputs).positions
            positions = required(c, field)
            drawn = np.random.default_rng([self.seed, epoch, k]).normal(scale=self.noise, size=positions.shape)
            c = c.replace(**{field: positions + drawn})
        graph = self.net.graph(c)
        if self.tell is not None:
            self.tell(graph, self.configurations[k], None if drawn is None else drawn / self.noise)
        return graph

    def batches(self, chosen: Sequence[Sequence[int]], epoch: int = 0) -> Iterator[Data]:
        """One batch of graphs for each list of numbers; where that is one, the graph itself, which keeps its plan."""
        numbers = [[(epoch, k) for k in each] for each in chosen]
        if not self.num_workers:
            for each in numbers:
                graphs = [self[which] for which in each]
                batch = _together(graphs)
                if self.held is not None and len(graphs) > 1 and isinstance(self.net, SE3GNN):
                    join_plans(batch, graphs)
                yield batch
            return
        loader: DataLoader[Data] = DataLoader(
            self,  # type: ignore[arg-type]
            batch_sampler=numbers,
            collate_fn=_together,
            num_workers=self.num_workers,
            generator=torch.Generator(),  # its own: what training draws does not depend on who makes graphs
        )
        for batch in loader:
            yield batch.to(self.device)


def _together(graphs: list[Data]) -> Data:
    if len(graphs) == 1:
        return graphs[0]
    return Batch.from_data_list(graphs).to(graphs[0].vector.device)  # PyG makes some of it on the CPU, but for CUDA
