r"""Pretraining: features that are learned from structures without labels, for networks that see few labels later.

A task asks for something that every structure tells by itself (:data:`glasslit.models.heads.PRETEXTS`): the noise that
was put on its positions, an energy of each particle, or the vector to its inherent position. No simulation is needed
beyond the structures. The network that learns the propensity afterwards takes over the features alone
(:func:`features_from`); its decoder is new.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data

from .. import parallel
from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import TYPE_NAMES
from ..locks import OutputLock
from ..models.heads import PRETEXTS, Head
from ..models.se3 import SE3GNN, ModelConfig
from ..names import did_you_mean
from .capture import runner
from .checkpoint import resolve_device, save_model, training_identity
from .graphs import Graphs
from .metrics import pearson
from .train import ELSEWHERE, EpochRecord, TrainConfig, epochs
from .vectors import component_correlation

NOISE = 0.05
"""sigma_AA: half of how far thermal motion takes a particle from its inherent position, about."""
NOT_FEATURES = ("decoder", "heads.", "target_", "label_times")
"""How what a network has beside features and the scale of its inputs begins, in its state."""
FREE = ("n_times", "targets", "target_weight", "decoder", "dropout", "batch_norm_momentum", "kernel")
"""Settings in which a network may differ from the one whose features it takes."""
PATIENCE = 24 * 3600.0
"""Seconds to wait for another run that makes the same pretrained network."""


def check_task(task: str, inputs: str) -> str:
    """The name of a task, if a network with these inputs has something to learn from it.

    Parameters
    ----------
    task : of :data:`glasslit.models.heads.PRETEXTS`
    inputs : of the network, one of :data:`glasslit.liquid.graph.INPUTS`

    Examples
    --------
    >>> check_task("E_IS", "thermal+E_thermal")
    'E_IS'

    Raises
    ------
    ValueError
        If there is no such task, or its answer is among the inputs.
    """
    if task not in PRETEXTS:
        raise ValueError(f"task {task!r}; expected one of {', '.join(PRETEXTS)}{did_you_mean(task, PRETEXTS)}")
    if told := set(PRETEXTS[task].given_by) & set(inputs.split("+")):
        others = [name for name, kind in PRETEXTS.items() if not set(kind.given_by) & set(inputs.split("+"))]
        raise ValueError(
            f"task {task!r} with inputs {inputs!r}; expected inputs without {', '.join(told)}, which hold the answer: "
            f"choose other inputs, or one of {', '.join(others)}"
        )
    return task


class _Student(nn.Module):
    """A network with the head of a task, as one module for checkpoints and optimizer."""

    def __init__(self, net: SE3GNN, head: Head) -> None:
        super().__init__()
        self.net, self.head = net, head

    @property
    def config(self) -> ModelConfig:
        return self.net.config

    @property
    def target_mean(self) -> Tensor:
        return self.net.target_mean

    def forward(self, graph: Data) -> Tensor:
        """The loss of a batch."""
        return self.head.loss(self.net.features(graph), self.net.node_inputs(graph), graph.types, graph.pretext)

    def answers(self, graph: Data) -> tuple[Tensor, np.ndarray, np.ndarray, np.ndarray]:
        """Loss, prediction and label, both (1, N, components), and types."""
        inputs = self.net.features(graph), self.net.node_inputs(graph), graph.types
        arrays = (self.head(*inputs).transpose(0, 1), graph.pretext.transpose(0, 1), graph.types)
        return self.head.loss(*inputs, graph.pretext), *(a.cpu().numpy() for a in arrays)

    @torch.no_grad()
    def scores(self, graphs: Callable[[], Iterator[Data]]) -> tuple[float, float]:
        """Mean loss, and the correlation on A particles within configurations; 0 where it is not defined."""
        self.eval()
        losses, predictions, labels, types = zip(*map(self.answers, graphs()), strict=True)
        if o3.Irreps(self.head.irreps).lmax == 0:
            predictions, labels = ([each[..., 0] for each in values] for values in (predictions, labels))
            rho = pearson(predictions, labels, types)
        else:
            rho = component_correlation(predictions, labels, types)
        return float(torch.stack(losses).mean()), float(np.nan_to_num(rho[TYPE_NAMES[0]]).mean())


def _tell(head: Head, graph: Data, configuration: Configuration, noise: np.ndarray | None) -> None:
    graph.pretext = torch.as_tensor(head.label_seen(configuration, noise).copy()).to(graph.vector)


def pretrain(
    net: SE3GNN,
    train: Sequence[Configuration],
    val: Sequence[Configuration],
    task: str = "noise",
    config: TrainConfig | None = None,
    noise: float = NOISE,
) -> Iterator[EpochRecord]:
    """Train a network's features on a task; when the iterator ends it holds those of the best epoch.

    As :func:`glasslit.fit` in all else: validation chooses the epoch, a killed training goes on from its checkpoint, on
    a CPU to the same bits, and finished epochs are yielded again. The head of the task is thrown away; decoder and
    further targets stay as they are.

    Parameters
    ----------
    net : trained in place; its inputs are standardized with mean and spread of ``train``
    train, val : configurations, which need no labels beyond what the task asks for
    task : of :data:`glasslit.models.heads.PRETEXTS`
    config : how to train; its loss is the task's, so that it takes no terms of others
    noise : standard deviation of the noise that is to be found, sigma_AA, drawn anew in each epoch from the seed; see
        :class:`glasslit.models.heads.Noise`. Validation has noise of its own, the same in all epochs. Other tasks make
        no use of it

    Yields
    ------
    :class:`~glasslit.learning.train.EpochRecord`; ``val_rho`` is the correlation of what is predicted with what is
    asked for (of components where it is a vector), on A particles, within configurations

    Raises
    ------
    ValueError
        If a set is empty, the answer is among the inputs, a field is missing, a setting does not belong here, or the
        checkpoint belongs to another training.
    """
    config = config or TrainConfig()
    if not isinstance(net, SE3GNN):
        raise ValueError(f"pretraining of a {type(net).__name__}; expected SE3GNN, whose features a head can read")
    for name, chosen in (("training", train), ("validation", val)):
        if not chosen:
            raise ValueError(f"the {name} set is empty; expected at least one configuration")
    if (config.level_weight, config.smooth_terms) != (None, None):
        raise ValueError(
            f"level_weight = {config.level_weight} and smooth_terms = {config.smooth_terms!r} in pretraining; expected "
            "None: its loss is that of its task"
        )
    if parallel.several():
        raise ValueError(
            f"pretraining in {parallel.world()[1]} processes; expected one: pretrain first, and start from it"
        )
    student = _student(net, task, config.seed)
    if student.head.needs_noise and not noise > 0:
        raise ValueError(f"noise = {noise!r} for the task {task!r}; expected a length above 0, sigma_AA")
    device = resolve_device(config.device)
    student.to(device)
    net.set_input_standardization(train)
    student.head.set_standardization(train)
    spread, tell = noise if student.head.needs_noise else config.position_noise, partial(_tell, student.head)
    graphs = Graphs(net, train, config.num_workers, config.seed, spread, tell)
    kept = noise if student.head.needs_noise else 0.0
    unseen = Graphs(net, val, config.num_workers, config.seed, kept, tell, fixed=True)
    run = runner(config.cuda_graphs, net, device, config.batch_size, graphs.held is not None)
    validate = partial(student.scores, partial(unseen.batches, [[k] for k in range(len(val))]))
    yield from epochs(student, student, graphs, val, validate, config, run, {"task": task, "noise": spread})


def _student(net: SE3GNN, task: str, seed: int) -> _Student:
    """The network with a new head, whose first weights depend on the seed alone."""
    kind = PRETEXTS[check_task(task, net.config.inputs)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = kind(net.irreps, net.irreps_inputs, 1)
    return _Student(net, head.to(net.target_mean))


def features_from(net: SE3GNN, pretrained: SE3GNN) -> SE3GNN:
    """Give a network the features of another and the scale of its inputs; decoder and further targets stay its own.

    Train it with ``glasslit.fit(..., standardize="labels")``: the features know inputs in the units of the
    configurations that they were learned from, and other units would be other inputs.

    Parameters
    ----------
    net : changed in place
    pretrained : after :func:`pretrain`, or any trained network

    Returns
    -------
    ``net``

    Raises
    ------
    ValueError
        If one of them is a baseline, or they differ in inputs or sizes.
    """
    for each in (net, pretrained):
        if not isinstance(each, SE3GNN):
            raise ValueError(f"features of a {type(each).__name__}; expected two networks of the kind SE3GNN")
    names = [f.name for f in fields(ModelConfig) if f.name not in FREE]
    differ = {k: (getattr(pretrained.config, k), getattr(net.config, k)) for k in names}
    told = [f"{name} = {then!r}, here {now!r}" for name, (then, now) in differ.items() if then != now]
    if told:
        raise ValueError(f"a network with {'; '.join(told)}; expected the same, to start from its features")
    state = {k: v for k, v in pretrained.state_dict().items() if not k.startswith(NOT_FEATURES)}
    own = {k for k in net.state_dict() if not k.startswith(NOT_FEATURES)}
    assert set(state) == own
    net.load_state_dict(state, strict=False)
    return net


def pretrained(
    net: SE3GNN,
    train: Sequence[Configuration],
    val: Sequence[Configuration],
    task: str,
    config: TrainConfig,
    folder: str | Path,
    noise: float = NOISE,
    watch: Callable[[EpochRecord], Any] | None = None,
) -> Path:
    """The file of a pretrained network, made where it is not there: once for all runs that begin with the same.

    Runs beside each other wait for the one that makes it; a killed one goes on.

    Parameters
    ----------
    net : left as it is; says sizes and first weights
    train, val, task, config, noise : as for :func:`pretrain`; ``config.checkpoint`` is not used
    folder : where such files are kept; the name is that of the task, and of a hash of all that matters
    watch : is called with each epoch's record, if it is made now

    Returns
    -------
    The file's path, for :func:`glasslit.load_model` and :func:`features_from`.

    Raises
    ------
    ValueError
        As :func:`pretrain`.
    """
    check_task(task, net.config.inputs)
    settings = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in ELSEWHERE}
    identity = training_identity(net, train, val, settings | {"task": task, "noise": noise}, net.target_mean.device)
    path = Path(folder) / f"{task}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.pt"
    if path.is_file():
        return path
    with OutputLock(path, "name another folder", patience=PATIENCE):
        if not path.is_file():
            learner, unfinished = copy.deepcopy(net), path.with_suffix(".unfinished.pt")
            for record in pretrain(learner, train, val, task, replace(config, checkpoint=unfinished), noise):
                if watch is not None:
                    watch(record)
            save_model(learner, path)
            unfinished.unlink(missing_ok=True)
    return path
