"""Training: one loop that fits on a page, for one process or several.

``fit`` yields one record per epoch and draws nothing; the caller prints or plots.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import Data

from .. import parallel
from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import TYPE_NAMES
from ..models.baselines import STRENGTHS, Ridge
from ..models.propensity import SCALES, Extra, PropensityNetwork, check_times
from ..models.se3 import SE3GNN
from ..names import refuse_unknown_keywords
from .capture import plainly, runner
from .checkpoint import resolve_device, resume, save_checkpoint, training_identity
from .graphs import Graphs, names_dead_workers
from .losses import SmoothLoss, check_smooth_terms
from .metrics import pearson

ELSEWHERE = ("checkpoint", "device", "num_workers", "cuda_graphs")
"""Settings that say where and how a training is computed, not what."""


@refuse_unknown_keywords
@dataclass(frozen=True)
class TrainConfig:
    """How to train; optimizer defaults are the paper's.

    Parameters
    ----------
    epochs : passes over the training graphs
    learning_rate, betas, weight_decay : of Adam
    milestones : fractions of the epochs after which the learning rate is halved
    batch_size : graphs per step, of all processes together
    num_workers : None: graphs are made once and held in memory, 6 MB for each configuration of 4096 particles. A
        number: made anew for each step, by so many processes ahead of it; 0 makes them in between
    position_noise : standard deviation of Gaussian noise on the training positions, sigma_AA, drawn anew each epoch
    level_weight : None: errors are squared in units of the training set's spread. A number: in units of the spread
        within each configuration and type, whose mean error is set apart and counts that much
    smooth_terms : terms of the loss against over-smoothing, one of :data:`glasslit.learning.losses.NAMES`, or None
    smooth_weight, smooth_length : of each of these terms in the loss; of its coarse-graining, sigma_AA
    seed : of the order of graphs, of dropout and of the noise
    device : "auto" (CUDA where there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps"
    cuda_graphs : record the step of each configuration as a CUDA graph (:mod:`glasslit.learning.capture`): the same
        numbers in less time, where Python is slower than the GPU. An SE3GNN, one process, ``batch_size`` 1, held graphs
    checkpoint : file that an unfinished training resumes from; None keeps nothing

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    epochs: int = 100
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.99, 0.999)
    weight_decay: float = 1e-7
    milestones: tuple[float, ...] = (0.5, 0.7, 0.9)
    batch_size: int = 1
    num_workers: int | None = None
    position_noise: float = 0.0
    level_weight: float | None = None
    smooth_terms: str | None = None
    smooth_weight: float = 1.0
    smooth_length: float = 1.0
    seed: int = 0
    device: str = "auto"
    cuda_graphs: bool = False
    checkpoint: str | Path | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("num_workers", 0)):
            value = getattr(self, name)
            if (name, value) != ("num_workers", None) and (not isinstance(value, int) or value < least):
                raise ValueError(f"{name} = {value!r}; expected a whole number of at least {least}")
        positive = {"learning_rate": "above 0", "smooth_length": "above 0"}
        for name in (*positive, "weight_decay", "position_noise", "level_weight", "smooth_weight"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and (value > 0 or (value == 0 and name not in positive))
            if not number and (name, value) != ("level_weight", None):
                allowed = (positive | {"level_weight": "of at least 0, or None"}).get(name, "of at least 0")
                raise ValueError(f"{name} = {value!r}; expected a number {allowed}")
        if not isinstance(self.cuda_graphs, bool):
            raise ValueError(f"cuda_graphs = {self.cuda_graphs!r}; expected True or False")
        check_smooth_terms(self.smooth_terms)
        betas = self.betas if isinstance(self.betas, list | tuple) else ()
        if len(betas) != 2 or not all(isinstance(b, int | float) and 0 <= b < 1 for b in betas):
            raise ValueError(f"betas = {self.betas!r}; expected two numbers from 0 to less than 1, as (0.99, 0.999)")

    @classmethod
    def laptop(cls, **changes: Any) -> TrainConfig:
        """Goes with ``ModelConfig.laptop()`` and a handful of configurations."""
        return cls(**({"epochs": 400, "learning_rate": 0.01} | changes))


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch brought: losses summed over times (in standardized units), validation score, seconds.

    ``val_rho`` is Pearson's correlation on A particles, within configurations, averaged over times;
    ``best`` tells whether it is the highest so far. Where nothing validates, both of ``val_`` are nan, and each epoch
    is the best so far.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_rho: float
    learning_rate: float
    seconds: float
    best: bool


class _Loss(nn.Module):
    """What training makes small, as a module: several processes add its gradients up."""

    def __init__(self, net: PropensityNetwork, level_weight: float | None, extra: Extra | None = None) -> None:
        super().__init__()
        self.net, self.level_weight, self.extra = net, level_weight, extra

    def forward(self, batch: Data) -> Tensor:
        return self.net.training_loss(batch, self.level_weight, self.extra)


class _Step:
    """Gradients of a batch and a step of the optimizer, in which nothing waits for a GPU.

    Parameters
    ----------
    loss_of : a batch's loss
    optimizer : Adam
    run : :class:`~glasslit.learning.capture.Replayed`, or what calls plainly
    """

    def __init__(self, loss_of: nn.Module, optimizer: torch.optim.Optimizer, run: Any) -> None:
        self.loss_of, self.optimizer, self.run = loss_of, optimizer, run
        self.parameters = list(loss_of.parameters())

    def gradients(self, batch: Data) -> tuple[Tensor, list[Tensor | None]]:
        """The loss, of all processes together, and the gradient of each parameter."""
        self.optimizer.zero_grad()
        loss = self.loss_of(batch)
        if parallel.several():
            # Of all particles of the batch, those that this process has: DDP takes the mean over processes.
            part = batch.num_nodes / int(parallel.total(torch.tensor(batch.num_nodes, device=loss.device)))
            whole = parallel.total(part * loss.detach())
            (parallel.world()[1] * part * loss).backward()
        else:
            whole = loss.detach()
            loss.backward()
        return whole, [p.grad for p in self.parameters]

    def __call__(self, batch: Data) -> Tensor:
        """The loss before the step, a tensor without dimensions."""
        whole, gradients = self.run(("training", id(batch)), partial(self.gradients, batch))
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient  # each recording has its own
        self.optimizer.step()
        return whole.clone()


def adam(net: nn.Module, config: TrainConfig) -> torch.optim.Adam:
    """The optimizer: on a GPU all parameters in one launch, on a CPU PyTorch's plain loop."""
    parameters = list(net.parameters())
    return torch.optim.Adam(
        parameters,
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True if parameters[0].device.type == "cuda" else None,
    )


@torch.no_grad()
def _validate(
    net: PropensityNetwork, graphs: Iterable[Data], level_weight: float | None, run: Any = plainly
) -> tuple[float, dict[str, np.ndarray]]:
    """Loss, and Pearson's correlation by type, shape (T,); nan where a label is constant counts as 0.

    Over the graphs of all processes.
    """
    net.eval()
    found = []
    for g in graphs:
        p = run(("validation", id(g)), partial(net.standardized, g))
        found.append((net.loss(g, p, level_weight), p.T, g.y.T, g.types))
    # Read when all is on its way. Within a type, standardizing does not change a correlation.
    part = [(float(loss), *(x.cpu().numpy() for x in arrays)) for loss, *arrays in found]
    losses, predictions, labels, types = zip(*parallel.gathered(part), strict=True)
    rho = pearson(predictions, labels, types)
    return float(np.mean(losses)), {kind: np.nan_to_num(values) for kind, values in rho.items()}


def _check_processes(net: PropensityNetwork, n_train: int, batch_size: int) -> None:
    """Refuse what several processes cannot do as one would."""
    size = parallel.world()[1]
    if size == 1:
        return
    if not isinstance(net, SE3GNN):
        raise ValueError(f"{type(net).__name__} with {size} processes; expected one: only SE3GNN trains in several")
    last = n_train % batch_size or batch_size
    if min(last, n_train) < size:
        raise ValueError(
            f"batch_size = {batch_size}, {n_train} training configurations: a last batch of {min(last, n_train)} for "
            f"{size} processes; expected one configuration or more for each: choose another batch_size or n_train"
        )


def fit(
    net: PropensityNetwork,
    train: Sequence[Configuration],
    val: Sequence[Configuration] | None,
    config: TrainConfig | None = None,
    *,
    standardize: bool | str = True,
) -> Iterator[EpochRecord]:
    """Train a network; when the iterator ends it holds the weights with the best validation score.

    With ``config.checkpoint``, every finished epoch is saved. A training that was killed and is called
    again with the same network, data and settings goes on there; its finished epochs are yielded again,
    at once. The checkpoint stays at the end, so that nothing is lost before the model is saved: delete it then.

    On a CPU, two trainings with one seed end with the same bits, and so does one that was killed and went on, where
    versions, instructions and number of threads are the same. With others they differ by rounding, which grows from
    step to step. On a GPU the paper's network adds in an order that stays, too: two trainings with one seed ended with
    the same bits on an NVIDIA H200, seen once, at 845c5e4, before the step was made faster. Baselines, ``attention``,
    ``products`` and ``kernel="reference"`` add there in an order that changes. The page *What repeats to the bit* has
    tests and sizes.

    Where the caller has joined a process group of PyTorch's (``torch.distributed.init_process_group()`` under
    ``torchrun``), each batch is shared out among its processes, and all end with the same network: that of one process
    with the same ``batch_size``, up to rounding. All have to call it with the same arguments; the first writes the
    checkpoint.

    Parameters
    ----------
    net : trained in place; labels and energies are standardized with the training set's mean and spread. A
        :class:`~glasslit.models.baselines.descriptive.Ridge` is solved in closed form, with a record for each strength
    train, val : labelled configurations with the same times, such as lists or what ``load(..., lazy=True)`` returns;
        ``val`` chooses the epoch, nothing else; where it is None, nothing validates, and the last epoch is kept. Where
        the network counts time in tau_alpha, they may be of several temperatures, with times that are the same parts of
        it (:func:`glasslit.models.clock.at_common_parts`)
    config : :class:`TrainConfig`
    standardize : False keeps the mean and spread that the network has, as where a trained one is trained on; "labels"
        keeps those of the inputs, as where the features come from a network that saw other configurations

    Yields
    ------
    :class:`~glasslit.learning.train.EpochRecord`

    Raises
    ------
    ValueError
        If a set is empty, times or labels do not fit the network, an input is missing, the checkpoint
        belongs to another training, or nothing validates and the network is a Ridge, whose strength that chooses.
    FloatingPointError
        If the loss is no longer a number; told at the end of the epoch, which then is not in the checkpoint.
    RuntimeError
        If a process that makes graphs (``num_workers``) has died: says how to go on.
    OSError
        If there is no room for the checkpoint; the one of the epoch before is kept.
    """
    config = config or TrainConfig()
    if not train or (val is not None and (isinstance(val, TrainConfig) or not val)):
        came = "training set is empty" if not train else f"validation set is {val if val else 'empty'}"
        more = "" if not train else ", or None, where nothing validates: fit(net, train, None, config)"
        raise ValueError(f"the {came}; expected at least one configuration{more}")
    if val is None and isinstance(net, Ridge):
        raise ValueError("a Ridge and nothing that validates; expected configurations that choose its strength")
    train, val = net.in_own_times(train), None if val is None else net.in_own_times(val)
    check_times(train, net.config.n_times)
    check_times(itertools.chain(train[:1], val or ()), net.config.n_times)
    _check_processes(net, len(train), config.batch_size)
    smooth = check_smooth_terms(config.smooth_terms)
    extra = SmoothLoss(smooth, config.smooth_weight, config.smooth_length) if smooth else None
    if extra is not None and isinstance(net, Ridge):
        raise ValueError(f"smooth_terms = {config.smooth_terms!r} with a Ridge; expected None: it takes no steps")
    device = resolve_device(config.device)
    net.to(device)
    kept = {name: getattr(net, name).clone() for name in SCALES if hasattr(net, name)}
    if standardize:
        net.set_standardization(train)
    if standardize == "labels":
        for name, value in kept.items():
            getattr(net, name).copy_(value)
    tell = extra.tell if extra is not None else None
    graphs = Graphs(net, train, config.num_workers, config.seed, config.position_noise, tell)
    unseen = Graphs(net, val or [], config.num_workers, config.seed)
    run = runner(config.cuda_graphs, net, device, config.batch_size, graphs.held is not None)
    own = [[k] for k in parallel.share(range(len(val or ())))]
    if isinstance(net, Ridge):
        seen, held = ([known[0, k] for k in range(len(known))] for known in (graphs, unseen))
        yield from _fit_ridge(net, seen, held, config.level_weight)
        return
    loss_of: nn.Module = _Loss(net, config.level_weight, extra)
    if parallel.several():
        loss_of = DistributedDataParallel(loss_of, broadcast_buffers=False)  # they are the same already

    def validate() -> tuple[float, float]:
        loss, rho = _validate(net, unseen.batches(own), config.level_weight, run)
        return loss, float(rho[TYPE_NAMES[0]].mean())

    yield from epochs(net, loss_of, graphs, val or (), validate if val else None, config, run)


@names_dead_workers
def epochs(
    net: Any,
    loss_of: nn.Module,
    graphs: Graphs,
    val: Sequence[Configuration],
    validate: Callable[[], tuple[float, float]] | None,
    config: TrainConfig,
    run: Any,
    about: Mapping[str, Any] | None = None,
) -> Iterator[EpochRecord]:
    """The loop itself: what :func:`glasslit.fit` and :func:`glasslit.learning.pretrain.pretrain` have in common.

    Parameters
    ----------
    net : what is trained and kept in the checkpoint, with the ``config`` and the ``target_mean`` of a network
    loss_of : of a batch, with the same parameters
    graphs : of the training configurations
    val : the validation configurations
    validate : their loss and score; None where nothing validates
    config : how to train
    run : see :func:`glasslit.learning.capture.runner`
    about : what else must be the same for a checkpoint to belong to this training

    Yields
    ------
    :class:`~glasslit.learning.train.EpochRecord`; at the end ``net`` holds the weights of the best epoch
    """
    device, n_train = net.target_mean.device, len(graphs)
    optimizer = adam(loss_of, config)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [max(1, round(m * config.epochs)) for m in config.milestones], gamma=0.5
    )
    settings = {name: value for name, value in asdict(config).items() if name not in ELSEWHERE} | dict(about or {})
    identity = training_identity(net, graphs.configurations, val, settings, device)
    known = {f.name: f.default for f in fields(config) if f.name not in ELSEWHERE}
    state = resume(config.checkpoint, identity, net, optimizer, schedule, known)
    history: list[EpochRecord] = [EpochRecord(**r) for r in state["history"]]
    best = state["best"]
    step = _Step(loss_of, optimizer, run)
    yield from history

    for epoch in range(len(history) + 1, config.epochs + 1):
        begun = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        net.train()
        losses: list[Tensor] = []
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # Seeded anew each epoch: what a resumed training draws does not depend on when it was killed.
            torch.manual_seed((config.seed << 20) + epoch)
            order = [parallel.share(each.tolist()) for each in torch.randperm(n_train).split(config.batch_size)]
            for batch in graphs.batches(order, epoch):
                losses.append(step(batch))
        values = torch.stack(losses).tolist()  # read once an epoch: a GPU is not kept waiting for each
        if not np.isfinite(values).all():
            whole = next(v for v in values if not np.isfinite(v))
            raise FloatingPointError(f"the loss is {whole} in epoch {epoch}: lower the learning rate")
        schedule.step()
        val_loss, val_rho = validate() if validate else (math.nan, math.nan)
        is_best = best is None or validate is None or val_rho > max(r.val_rho for r in history)
        if is_best:
            best = {name: value.detach().clone() for name, value in net.state_dict().items()}
        record = EpochRecord(
            epoch, float(np.mean(values)), val_loss, val_rho, rate, time.perf_counter() - begun, is_best
        )
        history.append(record)
        if parallel.world()[0] == 0:
            done = [asdict(r) for r in history]
            save_checkpoint(config.checkpoint, identity, net, optimizer, schedule, done, best)
        yield record

    net.load_state_dict(best)
    net.eval()


def _fit_ridge(net: Ridge, train: list[Data], val: list[Data], level_weight: float | None) -> Iterator[EpochRecord]:
    """A record for each strength; at the end each (type, time) has the one that validates best."""
    begun = time.perf_counter()
    (weights, biases), history, scores = net.solutions(train, level_weight), list[EpochRecord](), []
    for number, (strength, *solution) in enumerate(zip(STRENGTHS, weights, biases, strict=True), start=1):
        net.set_weights(*solution)
        train_loss, _ = _validate(net, train, level_weight)
        val_loss, rho = _validate(net, val, level_weight)
        val_rho = float(rho[TYPE_NAMES[0]].mean())
        scores.append(np.stack([rho[kind] for kind in TYPE_NAMES]))
        best = not history or val_rho > max(r.val_rho for r in history)
        history.append(EpochRecord(number, train_loss, val_loss, val_rho, strength, time.perf_counter() - begun, best))
        begun = time.perf_counter()
        yield history[-1]
    chosen = torch.as_tensor(np.argmax(scores, axis=0))  # (types, T)
    net.set_weights(
        torch.take_along_dim(weights, chosen[None, :, :, None], dim=0)[0],
        torch.take_along_dim(biases, chosen[None], dim=0)[0],
    )
    net.eval()
