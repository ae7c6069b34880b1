"""What training leaves in files: trained networks, and the state that an unfinished training goes on from."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from ..data.published import UnpicklingError
from ..data.shipped import shipped_models
from ..liquid.configuration import Configuration
from ..models.baselines import BASELINES, BaselineConfig
from ..models.propensity import PropensityNetwork
from ..models.se3 import SE3GNN, config_from_dict, config_to_dict
from ..names import did_you_mean
from ..provenance import data_hash
from ..writing import check_archive, write

MODEL_FORMAT = "glasslit-model-1"
CHECKPOINT_FORMAT = "glasslit-checkpoint-1"


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


def training_identity(
    net: PropensityNetwork,
    train: Iterable[Configuration],
    val: Iterable[Configuration],
    settings: Mapping[str, Any],
    device: torch.device,
) -> str:
    """What must be equal for a checkpoint to belong to this training, as JSON."""
    return json.dumps(
        {
            "model": config_to_dict(net.config),
            "training": settings,
            "device type": device.type,
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


def save_checkpoint(
    path: str | Path | None,
    identity: str,
    net: PropensityNetwork,
    optimizer: Any,
    schedule: Any,
    history: list[dict[str, Any]],
    best: dict[str, Any],
) -> None:
    """Write the state of a training after an epoch; nothing where there is no path."""
    if path is None:
        return
    content = {"format": CHECKPOINT_FORMAT, "identity": identity, "history": history, "best": best}
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    _save(path, content | state)


def _save(path: str | Path, content: dict[str, Any]) -> None:
    made = io.BytesIO()  # where a disk is full, PyTorch's own writer says "unexpected pos"
    torch.save(content, made)
    write(path, made.getvalue())


def _load(path: str | Path, kind: str) -> dict[str, Any]:
    """A file's content, read without running anything in it; a ``ValueError`` if it is not of the kind."""
    if not Path(path).is_file():
        raise ValueError(f"{path} is not a file; expected a {kind} file: check the path")
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, BadZipFile, RuntimeError, EOFError, LookupError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, UnpicklingError):  # its text advises to run what is in the file
            reason = "it is none that PyTorch wrote, or holds more than numbers"
        raise ValueError(
            f"{path} is not a readable {kind} file ({reason}); it may be damaged: make it again"
        ) from error
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != kind:
        raise ValueError(f"{path} holds {found!r}; expected {kind!r}: was it written by this version of glasslit?")
    return content


def resume(
    path: str | Path | None,
    identity: str,
    net: PropensityNetwork,
    optimizer: Any,
    schedule: Any,
    defaults: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Set net, optimizer and schedule to where a training was; its "history" and "best", empty where there is none.

    ``defaults`` are those of the training settings: an older training had them where it knows no such setting.

    Raises
    ------
    ValueError
        If the file is damaged, or belongs to another training.
    """
    if path is None or not Path(path).exists():
        return {"history": [], "best": None}
    state = _load(path, CHECKPOINT_FORMAT)
    if set(state) != {"format", "identity", "net", "optimizer", "schedule", "history", "best"}:
        raise ValueError(f"{path} lacks parts of a checkpoint; delete it to begin anew")
    before, now = json.loads(state["identity"]), json.loads(identity)
    # A setting that came later had one value before: what is now its default.
    before["model"] = {f.name: f.default for f in fields(net.config)} | before["model"]
    before["training"] = json.loads(json.dumps(dict(defaults or {}))) | before["training"]
    if before != now:
        differing = []
        for part in now:
            if isinstance(now[part], dict):
                changed = [k for k in now[part] | before[part] if before[part].get(k) != now[part].get(k)]
                differing += [f"{part} {k} ({before[part].get(k)}, now {now[part].get(k)})" for k in changed]
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


def load_model(path: str | Path, device: str = "cpu") -> PropensityNetwork:
    """A trained network, ready to predict: an :class:`~glasslit.models.se3.SE3GNN`, or one of the baselines.

    Parameters
    ----------
    path : a ``model.pt`` of a run, or the folder with it, or the name of a network inside the package, of those that
        ``glasslit models`` lists; loaded without running code from it
    device : as in :class:`~glasslit.learning.train.TrainConfig`

    Raises
    ------
    ValueError
        If the file is missing, damaged or not a model.
    """
    path = _place(path)
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


def _place(name: str | Path) -> str | Path:
    """The file that is meant by the name of a network inside the package, by a run's folder, or by itself."""
    if not Path(name).is_file():
        if str(name) in (shipped := shipped_models()):
            return shipped[str(name)]
        if (inside := Path(name) / "model.pt").is_file():
            return inside
    return name


def find_model(name: str | Path) -> PropensityNetwork:
    """:func:`glasslit.load_model`, with an error that lists the networks inside the package.

    Raises
    ------
    ValueError
        If it is no file, no folder of a run and no name of such a network.
    """
    if not Path(_place(name)).is_file():
        shipped = shipped_models()
        raise ValueError(
            f"model {str(name)!r}; expected a file, the folder of a run, or one of "
            f"{', '.join(shipped)}{did_you_mean(name, shipped)}"
        )
    return load_model(name)
