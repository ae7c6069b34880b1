r"""Transfer: what a network that was trained at one temperature knows of another (Figs. 9 and 10 of the paper).

Three ways, each a function that returns a table: the network as it is, its decoder fitted anew, all of it trained on.
The training and validation configurations of a temperature fit and choose; its test configurations are only scored.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.fx import GraphModule
from torch_geometric.data import Data

from ..liquid.configuration import Configuration
from ..liquid.graph import required
from ..liquid.kob_andersen import TAU_ALPHA, TYPE_NAMES
from ..models.clock import SAME_PART, relaxation_time
from ..models.conditions import conditions
from ..models.decoders import PerTime
from ..models.heads import PROPENSITY
from ..models.propensity import check_times
from ..models.ridge import ridge_path
from ..models.se3 import SE3GNN
from .metrics import noise_ceiling, pearson
from .train import EpochRecord, TrainConfig, fit

STRENGTHS = tuple(10.0 ** np.arange(-8, 2))
"""Ridge strengths to choose from, relative to the mean variance of the invariants."""


def matched_times(
    times: Sequence[float],
    temperature: float,
    other_times: Sequence[float],
    other_temperature: float,
    tau_alpha: Mapping[float, float] = TAU_ALPHA,
) -> list[tuple[int, int]]:
    r"""Which times at two temperatures are the same part of the relaxation time: t / tau_alpha(T) agree.

    Parameters
    ----------
    times, other_times : increasing, Lennard-Jones units
    temperature, other_temperature : where they belong
    tau_alpha : relaxation time of each temperature, by default the published ones

    Returns
    -------
    Pairs (position in ``times``, position in ``other_times``) whose parts differ by less than
    :data:`glasslit.models.clock.SAME_PART`, increasing; each time is in at most one pair.

    Raises
    ------
    ValueError
        If ``tau_alpha`` lacks a temperature.

    Examples
    --------
    >>> matched_times([130.0, 412.0, 4120.0], 0.44, [5.2, 16.5, 52.0], 0.56)
    [(1, 0), (2, 2)]
    """
    parts = []
    for t, at in ((times, temperature), (other_times, other_temperature)):
        parts.append(np.log(np.asarray(t, dtype=np.float64) / relaxation_time(at, tau_alpha)))
    apart = np.abs(parts[0][:, None] - parts[1][None, :])
    pairs = []
    for i, row in enumerate(apart):
        j = int(row.argmin())
        if row[j] < np.log(SAME_PART) and int(apart[:, j].argmin()) == i:
            pairs.append((i, j))
    return pairs


def refit_decoder(
    model: SE3GNN,
    train: Sequence[Configuration],
    val: Sequence[Configuration],
    strengths: Sequence[float] = STRENGTHS,
) -> SE3GNN:
    r"""The representation frozen, each (time, type) decoder fitted anew by ridge regression, in closed form.

    With z the invariants of the training particles of one type, each in units of its own spread, and y their label,

    .. math:: w = \Big( \langle z z^T \rangle + \lambda \Big)^{-1} \langle z\, y \rangle

    around both means. Of the strengths, each (time, type) takes the one whose predictions correlate best with the
    validation labels. Energies enter as the network was trained to see them.

    Parameters
    ----------
    model : left as it is
    train, val : labelled configurations with the same times, which need not be the model's
    strengths : lambda, at least one, none below 0

    Returns
    -------
    A network with the same features that predicts the propensity, and nothing else, at the times of ``train``.

    Raises
    ------
    ValueError
        If a set is empty, times or labels do not agree, an input is missing, or a strength is below 0.
    """
    return _refitted(model, train, val, strengths, model.graph)


def _refitted(
    model: SE3GNN,
    train: Sequence[Configuration],
    val: Sequence[Configuration],
    strengths: Sequence[float],
    graph: Callable[[Configuration], Data],
) -> SE3GNN:
    """:func:`refit_decoder`, with graphs from somewhere."""
    for name, chosen in (("training", train), ("validation", val)):
        if not chosen:
            raise ValueError(f"the {name} set is empty; expected at least one configuration")
    if not len(strengths) or min(strengths) < 0:
        raise ValueError(f"strengths = {list(strengths)}; expected at least one number, none below 0")
    times = check_times([*train, *val])
    state = {
        "weight": np.zeros((len(TYPE_NAMES), len(times), model.n_invariants)),
        "label_times": np.array(times),
        "target_mean": np.zeros((len(TYPE_NAMES), len(times))),
        "target_std": np.ones((len(TYPE_NAMES), len(times))),
    }
    seen, checked = [[(_invariants(model, graph(c)), c) for c in chosen] for chosen in (train, val)]
    for kind in range(len(TYPE_NAMES)):
        x = np.concatenate([z[c.types == kind] for z, c in seen])
        if not len(x):
            continue
        y = np.concatenate([required(c, "propensity").T[c.types == kind] for _, c in seen]).astype(np.float64)
        tried = ridge_path(x, y, strengths)
        scores = np.zeros((len(strengths), len(times)))
        for features, c in checked:
            at = c.types == kind
            if at.sum() > 1:
                for k, weights in enumerate(tried):
                    rho = pearson(weights @ features[at].T, required(c, "propensity")[:, at], np.zeros(at.sum()))
                    scores[k] += np.nan_to_num(rho[TYPE_NAMES[0]])
        best = tried[scores.argmax(axis=0), np.arange(len(times))]  # (T, K)
        spread = np.where(y.std(axis=0) > 0, y.std(axis=0), 1.0)
        state["weight"][kind] = best / spread[:, None]
        state["target_std"][kind] = spread
        state["target_mean"][kind] = y.mean(axis=0) - best @ x.mean(axis=0)  # the decoder has no constant of its own
    refitted = _copied(model).eval()
    refitted.config = replace(model.config, n_times=len(times), targets=PROPENSITY, decoder="linear", time_unit="LJ")
    refitted.heads = torch.nn.ModuleDict()  # further targets are not fitted anew
    refitted.trained_on = conditions(train, model.config.cutoff, model.config.inputs)
    with torch.random.fork_rng(devices=[]):  # its first weights are not used
        refitted.decoder = PerTime(model.n_invariants, len(times)).to(model.target_mean)
    for name, value in state.items():
        tensor = torch.as_tensor(value).to(model.target_mean)
        if name == "weight":
            refitted.decoder.weight = torch.nn.Parameter(tensor)
        else:
            setattr(refitted, name, tensor)
    return refitted


def fine_tune(
    model: SE3GNN,
    train: Sequence[Configuration],
    val: Sequence[Configuration],
    config: TrainConfig | None = None,
    watch: Callable[[EpochRecord], Any] | None = None,
) -> SE3GNN:
    """The decoder fitted anew, then everything trained on; ``val`` chooses the epoch, and whether any was worth it.

    Parameters
    ----------
    model : left as it is
    train, val : labelled configurations with the same times, which need not be the model's
    config : by default 30 epochs at a learning rate of 3e-4
    watch : is called with each epoch's record

    Returns
    -------
    The network with the best validation score: of one of the epochs, or the one with the new decoder only.

    Raises
    ------
    ValueError
        As :func:`refit_decoder` and :func:`glasslit.fit`.
    """
    start = refit_decoder(model, train, val)
    tuned = _copied(start)
    types, labels = [c.types for c in val], [required(c, "propensity") for c in val]
    best = float(np.nan_to_num(pearson([start.predict(c) for c in val], labels, types)[TYPE_NAMES[0]]).mean())
    better = False
    for record in fit(tuned, train, val, config or TrainConfig(epochs=30, learning_rate=3e-4), standardize=False):
        better |= record.val_rho > best
        if watch:
            watch(record)
    return tuned if better else start


def transfer_test(
    models: Mapping[float, SE3GNN],
    configurations: Sequence[Configuration],
    tau_alpha: Mapping[float, float] = TAU_ALPHA,
) -> pd.DataFrame:
    """Networks as they are, scored at every temperature, where their times are the same part of tau_alpha.

    Parameters
    ----------
    models : temperature of training -> network
    configurations : labelled, of any temperatures, with their splits; the test configurations are used
    tau_alpha : relaxation times

    Returns
    -------
    One row for each pair of temperatures, matched time and type: ``T_train``, ``T_test``, ``time`` and ``part`` of
    tau_alpha where it is tested, ``type``, and Pearson's correlation ``mean`` (within
    configurations) and ``pooled``, with the noise ceilings of both, ``ceiling`` and ``ceiling_pooled`` (nan without
    half-ensembles).

    Raises
    ------
    ValueError
        If there is no test configuration, one has no temperature, or a relaxation time is unknown.
    """
    rows: list[dict[str, Any]] = []
    graphs = _Graphs()
    for source, model in models.items():
        for target, split in _by_temperature(configurations).items():
            own, there = model.times_at(source).tolist(), split["test"][0].times.tolist()
            pairs = matched_times(own, source, there, target, tau_alpha)
            if pairs:
                at, to = map(list, zip(*pairs, strict=True))
                test = [c.at_times(c.times[to].tolist()) for c in split["test"]]
                predictions = [_predicted(model, graphs(model, c))[at] for c in split["test"]]
                rows += _rows(predictions, test, source, target, tau_alpha)
    return pd.DataFrame(rows)


def transfer_refit(
    models: Mapping[float, SE3GNN],
    configurations: Sequence[Configuration],
    tau_alpha: Mapping[float, float] = TAU_ALPHA,
    strengths: Sequence[float] = STRENGTHS,
) -> pd.DataFrame:
    """As :func:`transfer_test`, with decoders fitted anew at each temperature, for all of its times."""
    return _transferred(
        lambda model, train, val, graph: _refitted(model, train, val, strengths, graph),
        models,
        configurations,
        tau_alpha,
    )


def transfer_fine_tune(
    models: Mapping[float, SE3GNN],
    configurations: Sequence[Configuration],
    tau_alpha: Mapping[float, float] = TAU_ALPHA,
    config: TrainConfig | None = None,
) -> pd.DataFrame:
    """As :func:`transfer_refit`, with everything trained on afterwards (:func:`fine_tune`)."""
    return _transferred(
        lambda model, train, val, _: fine_tune(model, train, val, config), models, configurations, tau_alpha
    )


def _transferred(
    adapt: Callable[[SE3GNN, list[Configuration], list[Configuration], Callable[[Configuration], Data]], SE3GNN],
    models: Mapping[float, SE3GNN],
    configurations: Sequence[Configuration],
    tau_alpha: Mapping[float, float],
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    graphs = _Graphs()
    for source, model in models.items():
        for target, split in _by_temperature(configurations).items():
            adapted = adapt(model, split["train"], split["val"], partial(graphs, model))
            predictions = [_predicted(adapted, graphs(adapted, c)) for c in split["test"]]
            rows += _rows(predictions, split["test"], source, target, tau_alpha)
    return pd.DataFrame(rows)


def _by_temperature(configurations: Sequence[Configuration]) -> dict[float, dict[str, list[Configuration]]]:
    """Temperature -> split -> configurations, with at least one to test."""
    found: dict[float, dict[str, list[Configuration]]] = {}
    for c in configurations:
        if c.temperature is None:
            raise ValueError(f"{c!r} has no temperature; expected one: configuration.replace(temperature=...)")
        found.setdefault(round(c.temperature, 2), {"train": [], "val": [], "test": []})[c.split or "train"].append(c)
    untested = [t for t, split in found.items() if not split["test"]]
    if untested or not found:
        raise ValueError(f"no test configurations for T in {untested}; expected configurations of all splits")
    return dict(sorted(found.items()))


def _rows(
    predictions: list[np.ndarray],
    test: list[Configuration],
    source: float,
    target: float,
    tau_alpha: Mapping[float, float],
) -> list[dict[str, Any]]:
    labels, types = [required(c, "propensity") for c in test], [c.types for c in test]
    scores = {name: pearson(predictions, labels, types, name) for name in ("mean", "pooled")}
    if all(c.propensity_half is not None for c in test):
        halves = [required(c, "propensity_half") for c in test]
        scores["ceiling"] = noise_ceiling(halves, types)
        scores["ceiling_pooled"] = noise_ceiling(halves, types, "pooled")
    return [
        {
            "T_train": source,
            "T_test": target,
            "time": float(time),
            "part": float(time / tau_alpha[target]) if target in tau_alpha else float("nan"),
            "type": kind,
            **{
                name: float(scores[name][kind][k]) if name in scores else float("nan")
                for name in ("mean", "pooled", "ceiling", "ceiling_pooled")
            },
        }
        for k, time in enumerate(test[0].times)
        for kind in TYPE_NAMES
    ]


class _Graphs:
    """Graphs of configurations, made once for all networks that look at the same."""

    def __init__(self) -> None:
        self._made: dict[Any, tuple[Configuration, Data]] = {}  # which keeps the configuration, and so its number

    def __call__(self, model: SE3GNN, c: Configuration) -> Data:
        like = model.target_mean
        looks = (model.config.cutoff, model.config.inputs, model.config.targets, model.config.decoder)
        key = (id(c), looks, like.dtype, like.device)
        if key not in self._made:
            self._made[key] = c, model.graph(c)
        return self._made[key][1]


def _copied(model: SE3GNN) -> SE3GNN:
    """A network of its own. Compiled code, which holds no numbers and takes long to copy, is shared."""
    shared = [m for m in model.modules() if isinstance(m, GraphModule) and not m.state_dict()]
    return copy.deepcopy(model, {id(module): module for module in shared})


@contextmanager
def _evaluating(model: SE3GNN) -> Iterator[None]:
    """Batch norms use what they learned while the block runs, without gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _invariants(model: SE3GNN, graph: Data) -> np.ndarray:
    """Shape (N, channels (l_max + 1)), in float64."""
    with _evaluating(model):
        return model.invariants(graph).double().cpu().numpy()


def _predicted(model: SE3GNN, graph: Data) -> np.ndarray:
    """What ``predict`` returns for the graph's configuration, shape (T, N)."""
    with _evaluating(model):
        return model(graph).T.cpu().numpy()
