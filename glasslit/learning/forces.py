"""Training of a learned potential on energies and forces, and its errors.

The labels are exact and cost nothing: those of the Kob-Andersen potential that the configurations were made with, or
of any other function that tells energies and forces.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from .. import parallel
from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import TYPE_NAMES
from ..models.potential import Potential, PotentialConfig, Truth, check_learned, labels
from .capture import plainly
from .checkpoint import resolve_device
from .graphs import Graphs
from .train import EpochRecord, TrainConfig, epochs


class _Student(nn.Module):
    """A potential with the loss of energies and forces, as one module for checkpoints and optimizer."""

    def __init__(self, potential: Potential, energy_weight: float) -> None:
        super().__init__()
        self.potential, self.energy_weight = potential, energy_weight

    @property
    def config(self) -> PotentialConfig:
        return self.potential.config

    @property
    def target_mean(self) -> Tensor:
        return self.potential.target_mean

    def forward(self, graph: Data) -> Tensor:
        """The loss of a batch, see :func:`fit_potential`."""
        energy, force = self.potential(graph)
        loss = ((force - graph.force) / self.potential.scale).square().mean()
        if not self.energy_weight:
            return loss
        batch = graph.batch if graph.batch is not None else torch.zeros_like(graph.types)
        count = int(batch[-1]) + 1
        error = torch.zeros(count).to(energy).index_add(0, batch, energy - graph.energy)
        n = torch.bincount(batch, minlength=count)
        return loss + self.energy_weight * (error / n).square().mean() / self.potential.scale**2


def fit_potential(
    potential: Potential,
    train: Sequence[Configuration],
    val: Sequence[Configuration],
    config: TrainConfig | None = None,
    energy_weight: float = 10.0,
    truth: Truth | None = None,
) -> Iterator[EpochRecord]:
    r"""Train a potential; when the iterator ends it holds the weights whose forces are best on ``val``.

    As :func:`glasslit.fit` in all else: a killed training goes on from its checkpoint, on a CPU to the same bits, and
    finished epochs are yielded again. With N particles, and s the root mean square of the training forces' components,
    the loss is

    .. math:: \frac{1}{3 N s^2} \sum_i |F_i - F_i^*|^2

    plus :math:`\lambda / s^2` times the square of the mean of :math:`E_i - E_i^*`.

    The energy per particle counts, and not the whole energy, whose error in the first steps would hide the forces'.

    Parameters
    ----------
    potential : trained in place; scales are those of ``train``
    train, val : configurations; without ``truth`` they have to say which Kob-Andersen potential they were made with
    config : how to train; of the loss it holds nothing
    energy_weight : lambda
    truth : from a configuration to energies (N,), of which the sum counts, and forces (N, 3); by default
        :func:`glasslit.models.potential.exact`

    Yields
    ------
    :class:`~glasslit.learning.train.EpochRecord`; ``val_rho`` is the part of the forces' squares that is explained,
    :math:`1 - \sum |F - F^*|^2 / \sum |F^*|^2`

    Raises
    ------
    ValueError
        If ``potential`` is no Potential, a set is empty or no list of configurations, a configuration does not say its
        potential, ``truth`` says of one anything but finite numbers of these shapes, all forces of ``val`` are zero, a
        setting does not belong here, or the checkpoint belongs to another training.
    """
    check_learned(potential)
    config = TrainConfig() if config is None else config
    if not isinstance(config, TrainConfig):
        raise ValueError(f"config of type {type(config).__name__}; expected a TrainConfig, or None for its defaults")
    _check_set("training", train)
    _check_set("validation", val)
    foreign = {"level_weight": None, "smooth_terms": None, "position_noise": 0.0, "cuda_graphs": False}
    if wrong := {k: getattr(config, k) for k, v in foreign.items() if getattr(config, k) != v}:
        raise ValueError(f"{wrong} in the training of a potential; expected {foreign}, which it makes no use of")
    if not isinstance(energy_weight, Real) or isinstance(energy_weight, bool) or not 0 <= energy_weight < math.inf:
        raise ValueError(f"energy_weight = {energy_weight!r}; expected a finite number of at least 0")
    if parallel.several():
        raise ValueError(f"a potential in {parallel.world()[1]} processes; expected one")
    potential.to(resolve_device(config.device))
    potential.set_standardization(train, truth)
    like = potential.scale
    seen = [torch.as_tensor(f).to(like) for _, f in labels(val, truth, like.dtype)]
    squares = sum(float(f.square().sum()) for f in seen)
    if not 0 < squares < math.inf:
        raise ValueError(
            f"the squares of the forces on the validation configurations add up to {squares} in {like.dtype}; expected "
            "a positive, finite number, of which a part can be explained: give configurations with other forces"
        )
    student = _Student(potential, energy_weight)
    tell = partial(_tell, truth=truth)
    graphs = Graphs(potential, train, config.num_workers, config.seed, tell=tell)
    unseen = Graphs(potential, val, config.num_workers, config.seed, tell=tell)
    about: dict[str, Any] = {"energy_weight": float(energy_weight)}
    if truth is not None:  # a checkpoint that learned something else is not continued
        about["truth"] = hashlib.sha256(b"".join(np.asarray(v).tobytes() for v in truth(train[0]))).hexdigest()[:12]

    def validate() -> tuple[float, float]:
        potential.eval()
        missed = 0.0
        for graph in unseen.batches([[k] for k in range(len(val))]):
            missed += float((potential(graph)[1] - graph.force).square().sum())
        return missed / squares, 1 - missed / squares

    yield from epochs(student, student, graphs, val, validate, config, plainly, about)


def _tell(graph: Data, configuration: Configuration, noise: np.ndarray | None, truth: Truth | None = None) -> None:
    ((energy, force),) = labels([configuration], truth, graph.vector.dtype)
    graph.energy, graph.force = (torch.as_tensor(v).to(graph.vector) for v in (energy, force))


def _check_set(name: str, chosen: Any) -> None:
    """A ``ValueError`` if a set is empty, or cannot be gone through again and again; of what is in it: ``labels``."""
    if not (hasattr(chosen, "__len__") and hasattr(chosen, "__getitem__")):
        raise ValueError(
            f"the {name} set is a {type(chosen).__name__}; expected a list of configurations, as [configuration]"
        )
    if not len(chosen):
        raise ValueError(f"the {name} set is empty; expected at least one configuration")


def force_errors(potential: Potential, test: Sequence[Configuration], truth: Truth | None = None) -> dict[str, Any]:
    """Errors of a potential on configurations that took no part in training.

    Parameters
    ----------
    potential : a trained one
    test : configurations; without ``truth`` they have to say their potential
    truth : as in :func:`fit_potential`

    Returns
    -------
    {"force": root mean square error of the forces' components, "relative": the same over the root mean square of the
    exact ones, "A": ..., "B": ... (relative, of each type; nan where the exact ones of that type are all zero),
    "energy": root mean square error of the energy per particle}; epsilon_AA and sigma_AA

    Raises
    ------
    ValueError
        If ``potential`` is no Potential, there is no list of configurations, one does not say its potential, ``truth``
        says of one anything but finite numbers of these shapes, or all forces are zero.
    """
    check_learned(potential)
    _check_set("test", test)
    known, found = labels(test, truth), [potential.predict(c) for c in test]
    types = np.concatenate([c.types for c in test])
    true, made = (np.concatenate([f for _, f in values]) for values in (known, found))

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt(np.square(values).mean()))

    def relative(at: Any) -> float:
        size = rms(true[at])
        return rms((made - true)[at]) / size if size else math.nan

    if not 0 < rms(true) < math.inf:
        raise ValueError(
            f"the forces on the test configurations have a root mean square of {rms(true)}; expected one above 0, "
            "to which errors are relative: give configurations with other forces, or another truth"
        )
    of_type = {name: types == k for k, name in enumerate(TYPE_NAMES) if np.any(types == k)}
    energies = [float(np.mean(e) - np.mean(e_true)) for (e, _), (e_true, _) in zip(found, known, strict=True)]
    return {
        "force": rms(made - true),
        "relative": relative(...),
        **{name: relative(at) for name, at in of_type.items()},
        "energy": rms(np.array(energies)),
    }
