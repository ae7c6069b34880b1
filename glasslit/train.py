"""Training: one loop that fits on a page, checkpoints that survive a kill, models that load safely.

``fit`` yields one record per epoch and draws nothing; the caller prints or plots.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Batch, Data

from .baselines import BASELINES, STRENGTHS, BaselineConfig, Ridge
from .configuration import Configuration
from .graph import parse_inputs, required
from .kob_andersen import TYPE_NAMES
from .metrics import pearson
from .network import SE3GNN, config_from_dict, config_to_dict
from .propensity import PropensityNetwork, check_times
from .provenance import data_hash

MODEL_FORMAT = "glasslit-model-1"
CHECKPOINT_FORMAT = "glasslit-checkpoint-1"


@dataclass(frozen=True)
class TrainConfig:
    """How to train; optimizer defaults are the paper's.

    Parameters
    ----------
    epochs : passes over the training graphs
    learning_rate, betas, weight_decay : of Adam
    milestones : fractions of the epochs after which the learning rate is halved
    batch_size : graphs per step
    position_noise : standard deviation of Gaussian noise on the training positions, sigma_AA, drawn anew each epoch
    level_weight : None: errors are squared in units of the training set's spread. A number: in units of the spread
        within each configuration and type, whose mean error is set apart and counts that much
    seed : of the order of graphs, of dropout and of the noise
    device : "auto" (CUDA where there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps"
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
    position_noise: float = 0.0
    level_weight: float | None = None
    seed: int = 0
    device: str = "auto"
    checkpoint: str | Path | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} = {value!r}; expected a whole number of at least {least}")
        for name in ("learning_rate", "weight_decay", "position_noise", "level_weight"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and (value > 0 or (value == 0 and name != "learning_rate"))
            if not number and (name, value) != ("level_weight", None):
                allowed = {"learning_rate": "above 0", "level_weight": "of at least 0, or None"}.get(
                    name, "of at least 0"
                )
                raise ValueError(f"{name} = {value!r}; expected a number {allowed}")
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
    ``best`` tells whether it is the highest so far.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_rho: float
    learning_rate: float
    seconds: float
    best: bool


def resolve_device(device: str) -> torch.device:
    """The device that a name stands for; "auto" is CUDA if available, else the CPU (MPS only when asked: no float64).

    Raises
    ------
    ValueError
        If the name is unknown or the device is not there.
    """
    if device == "meta":
        raise ValueError("device 'meta' computes nothing; expected auto, cpu, or a device of this machine")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(1, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} ({error}); expected auto, cpu, or a device of this machine") from error
    return resolved


def _graph(net: PropensityNetwork, c: Configuration, noise: float) -> Data:
    """The graph of a configuration whose positions were moved a little."""
    field = parse_inputs(net.config.inputs)[0]
    positions = required(c, field)
    moved = positions + noise * torch.randn(positions.shape, dtype=torch.float64).numpy()
    return net.graph(c.replace(**{field: moved}))


@torch.no_grad()
def _validate(
    net: PropensityNetwork, graphs: list[Data], level_weight: float | None
) -> tuple[float, dict[str, np.ndarray]]:
    """Loss, and Pearson's correlation by type, shape (T,); nan where a label is constant counts as 0."""
    net.eval()
    predictions = [net.standardized(g) for g in graphs]  # within a type, standardizing does not change a correlation
    loss = float(np.mean([float(net.loss(g, p, level_weight)) for g, p in zip(graphs, predictions, strict=True)]))
    labels, types = [g.y.T.cpu().numpy() for g in graphs], [g.types.cpu().numpy() for g in graphs]
    rho = pearson([p.T.cpu().numpy() for p in predictions], labels, types)
    return loss, {kind: np.nan_to_num(values) for kind, values in rho.items()}


def fit(
    net: PropensityNetwork,
    train: Sequence[Configuration],
    val: Sequence[Configuration],
    config: TrainConfig | None = None,
    *,
    standardize: bool = True,
) -> Iterator[EpochRecord]:
    """Train a network; when the iterator ends it holds the weights with the best validation score.

    With ``config.checkpoint``, every finished epoch is saved. A training that was killed and is called
    again with the same network, data and settings goes on there; its finished epochs are yielded again,
    at once. On a CPU it ends with bitwise the weights of one that was left in peace (same machine, same
    number of threads); on a GPU sums are made in changing order, and it ends with the same up to rounding.
    The checkpoint stays at the end, so that nothing is lost before the model is saved: delete it then.

    Parameters
    ----------
    net : trained in place; labels and energies are standardized with the training set's mean and spread. A
        :class:`~glasslit.baselines.descriptive.Ridge` is solved in closed form, with a record for each strength
    train, val : labelled configurations with the same times; ``val`` chooses the epoch, nothing else
    config : :class:`TrainConfig`
    standardize : False keeps the mean and spread that the network has, as where a trained one is trained on

    Yields
    ------
    :class:`~glasslit.train.EpochRecord`

    Raises
    ------
    ValueError
        If a set is empty, times or labels do not fit the network, an input is missing, or the checkpoint
        belongs to another training.
    FloatingPointError
        If the loss is no longer a number.
    """
    config = config or TrainConfig()
    for name, chosen in (("training", train), ("validation", val)):
        if not chosen:
            raise ValueError(f"the {name} set is empty; expected at least one configuration")
    check_times([*train, *val], net.config.n_times)
    device = resolve_device(config.device)
    net.to(device)
    if standardize:
        net.set_standardization(train)
    train_graphs, val_graphs = [net.graph(c) for c in train], [net.graph(c) for c in val]
    optimizer = torch.optim.Adam(
        net.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [max(1, round(m * config.epochs)) for m in config.milestones], gamma=0.5
    )
    if isinstance(net, Ridge):
        yield from _fit_ridge(net, train_graphs, val_graphs)
        return
    identity = _identity(net, train, val, config)
    state = _resume(config.checkpoint, identity, net, optimizer, schedule)
    history: list[EpochRecord] = [EpochRecord(**r) for r in state["history"]]
    best, noise = state["best"], config.position_noise
    yield from history

    for epoch in range(len(history) + 1, config.epochs + 1):
        begun = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        net.train()
        losses = []
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # Seeded anew each epoch: what a resumed training draws does not depend on when it was killed.
            torch.manual_seed((config.seed << 20) + epoch)
            order = torch.randperm(len(train)).split(config.batch_size)
            for chosen in order:
                noisy = [_graph(net, train[k], noise) if noise else train_graphs[k] for k in chosen]
                batch = Batch.from_data_list(noisy)
                optimizer.zero_grad()
                loss = net.training_loss(batch, config.level_weight)
                if not torch.isfinite(loss):
                    raise FloatingPointError(f"the loss is {loss.item()} in epoch {epoch}: lower the learning rate")
                loss.backward()
                optimizer.step()
                losses.append(float(loss.detach()))
        schedule.step()
        val_loss, rho = _validate(net, val_graphs, config.level_weight)
        val_rho = float(rho[TYPE_NAMES[0]].mean())
        is_best = best is None or val_rho > max(r.val_rho for r in history)
        if is_best:
            best = {name: value.detach().clone() for name, value in net.state_dict().items()}
        record = EpochRecord(
            epoch, float(np.mean(losses)), val_loss, val_rho, rate, time.perf_counter() - begun, is_best
        )
        history.append(record)
        _save_checkpoint(config.checkpoint, identity, net, optimizer, schedule, history, best)
        yield record

    net.load_state_dict(best)
    net.eval()


def _fit_ridge(net: Ridge, train: list[Data], val: list[Data]) -> Iterator[EpochRecord]:
    """A record for each strength; at the end each (type, time) has the one that validates best."""
    begun = time.perf_counter()
    weights, history, scores = net.solutions(train), list[EpochRecord](), []
    for number, (strength, solution) in enumerate(zip(STRENGTHS, weights, strict=True), start=1):
        net.set_weights(solution)
        train_loss, _ = _validate(net, train, None)
        val_loss, rho = _validate(net, val, None)
        val_rho = float(rho[TYPE_NAMES[0]].mean())
        scores.append(np.stack([rho[kind] for kind in TYPE_NAMES]))
        best = not history or val_rho > max(r.val_rho for r in history)
        history.append(EpochRecord(number, train_loss, val_loss, val_rho, strength, time.perf_counter() - begun, best))
        begun = time.perf_counter()
        yield history[-1]
    chosen = torch.as_tensor(np.argmax(scores, axis=0))  # (types, T)
    net.set_weights(torch.take_along_dim(weights, chosen[None, :, :, None], dim=0)[0])
    net.eval()


def _identity(
    net: PropensityNetwork, train: Sequence[Configuration], val: Sequence[Configuration], config: TrainConfig
) -> str:
    """What must be equal for a checkpoint to belong to this training, as JSON."""
    settings = {k: v for k, v in asdict(config).items() if k not in ("checkpoint", "device")}
    return json.dumps(
        {
            "model": config_to_dict(net.config),
            "training": settings,
            "device type": resolve_device(config.device).type,
            "dtype": str(net.target_mean.dtype),
            "training data": data_hash(c.hash() for c in train),
            "validation data": data_hash(c.hash() for c in val),
            "initial weights": _weights_hash(net),
        },
        sort_keys=True,
    )


def _weights_hash(net: PropensityNetwork) -> str:
    digest = hashlib.sha256()
    for parameter in net.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _save_checkpoint(
    path: str | Path | None,
    identity: str,
    net: PropensityNetwork,
    optimizer: Any,
    schedule: Any,
    history: list,
    best: dict,
) -> None:
    if path is None:
        return
    content = {"format": CHECKPOINT_FORMAT, "identity": identity, "history": [asdict(r) for r in history], "best": best}
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    _save(path, content | state)


def _save(path: str | Path, content: dict[str, Any]) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(content, partial)
    partial.replace(path)


def _load(path: str | Path, kind: str) -> dict[str, Any]:
    """A file's content, read without running anything in it; a ``ValueError`` if it is not of the kind."""
    if not Path(path).is_file():
        raise ValueError(f"{path} is not a file; expected a {kind} file: check the path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is not a readable {kind} file ({reason}); it may be damaged: make it again"
        ) from error
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != kind:
        raise ValueError(f"{path} holds {found!r}; expected {kind!r}: was it written by this version of glasslit?")
    return content


def _resume(
    path: str | Path | None, identity: str, net: PropensityNetwork, optimizer: Any, schedule: Any
) -> dict[str, Any]:
    if path is None or not Path(path).exists():
        return {"history": [], "best": None}
    state = _load(path, CHECKPOINT_FORMAT)
    if set(state) != {"format", "identity", "net", "optimizer", "schedule", "history", "best"}:
        raise ValueError(f"{path} lacks parts of a checkpoint; delete it to begin anew")
    if state["identity"] != identity:
        before, now = json.loads(state["identity"]), json.loads(identity)
        differing = []
        for part in now:
            if isinstance(now[part], dict):
                changed = [k for k in now[part] if before[part].get(k) != now[part][k]]
                differing += [f"{part} {k} ({before[part].get(k)}, now {now[part][k]})" for k in changed]
            elif before[part] != now[part]:
                differing.append(part)
        raise ValueError(
            f"{path} is an unfinished training with another {' and another '.join(differing)}: finish it as it was, "
            "delete it to begin anew, or write elsewhere"
        )
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return state


def save_model(net: PropensityNetwork, path: str | Path) -> None:
    """Write weights, sizes, times and standardization to one file, for :func:`load_model`."""
    weights = {name: value.detach().cpu() for name, value in net.state_dict().items()}
    kinds = [name for name, kind in BASELINES.items() if type(net) is kind]
    about: dict[str, Any] = {"format": MODEL_FORMAT, "config": config_to_dict(net.config), "weights": weights}
    about["trained_on"] = net.trained_on
    _save(path, about | ({"baseline": kinds[0]} if kinds else {}))


def load_model(path: str | Path, device: str = "cpu") -> Any:
    """A trained network, ready to predict: an :class:`~glasslit.network.SE3GNN`, or one of the baselines.

    Parameters
    ----------
    path : a ``model.pt`` of a run; loaded without running code from it
    device : as in :class:`TrainConfig`

    Raises
    ------
    ValueError
        If the file is missing, damaged or not a model.
    """
    content = _load(path, MODEL_FORMAT)
    try:
        kind = content.get("baseline")
        net: PropensityNetwork = (
            BASELINES[kind](BaselineConfig(**content["config"]))
            if kind
            else SE3GNN(config_from_dict(content["config"]))
        )
        net.load_state_dict(content["weights"])
        net.trained_on = content.get("trained_on")
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path}: its weights do not fit its sizes ({error})") from error
    return net.to(resolve_device(device)).eval()
