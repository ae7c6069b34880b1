"""``glasslit predict``: how far the particles of somebody's own configurations will move."""

from __future__ import annotations

import argparse
import hashlib
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..data.shipped import shipped_models
from .common import POTENTIALS, Log, save_figure, times_of

if TYPE_CHECKING:
    import numpy as np

    from ..liquid.configuration import Configuration

DESCRIPTION = (
    "Predict the propensity of every particle, at every time of the model, and write extended XYZ. Killed and started "
    "again, it goes on after the last whole frame."
)
EXAMPLE = "glasslit predict liquid.dump -o predicted.extxyz --model thermal-T0.56 --type-map 1=A,2=B -T 0.56"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    add = parser.add_argument
    add(
        "input",
        type=Path,
        nargs="+",
        help="LAMMPS dumps or data files, the XYZ family, GSD, what else ASE reads, published .npz and .pickle files, "
        ".h5 files",
    )
    add("-o", "--out", type=Path, required=True, help="the .extxyz file to write")
    add("--model", required=True, help=f"a model.pt, or a name: {', '.join(shipped_models())}")
    add("--type-map", help="what the file's types are, as in 1=A,2=B")
    add("--frames", default=":", help="which of each file, as in -1 or 100:200:10 (default: all)")
    add("--format", help="as ASE names it, where it cannot be told from the file")
    add("--box", type=float, nargs="+", help="edge of a cube, or three edges, where the format has no box (plain XYZ)")
    add("--atom-style", help="of LAMMPS data files that do not name it, such as charge")
    add(
        "-T", "--temperature", type=float, help="of the configurations, epsilon_AA / k_B; only to compare with training"
    )
    add("--potential", choices=POTENTIALS, default="force-shifted", help="to quench with (default: %(default)s)")
    add("--picture", type=Path, help="also draw the first frame's prediction at the longest time")


def run(arguments: argparse.Namespace) -> None:
    """Predict frame by frame, alone at the output."""
    from ..locks import OutputLock

    with OutputLock(arguments.out):
        _predict(arguments)


def _predict(arguments: argparse.Namespace) -> None:
    from ..liquid.graph import parse_inputs
    from ..models.conditions import outside
    from ..prediction import PredictionFile, find_model, predict_targets, predicted_atoms
    from ..simulate import quench

    model = find_model(arguments.model)
    needed = parse_inputs(model.config.inputs).fields
    weights = hashlib.sha256()
    for _, value in sorted(model.state_dict().items()):
        weights.update(value.numpy().tobytes())
    sources = [(str(path.resolve()), path.stat().st_mtime_ns if path.is_file() else 0) for path in arguments.input]
    about = (sources, arguments.frames, arguments.type_map, arguments.format, arguments.box, arguments.atom_style,
             arguments.potential, arguments.temperature, weights.hexdigest())  # fmt: skip
    out, known = PredictionFile(arguments.out, repr(about)), model.trained_on or {}
    told: set[str] = set()
    log = Log()
    with warnings.catch_warnings(), tqdm(unit="frame", delay=1, disable=None) as bar:

        def show(message: Warning | str, *_: Any, **__: Any) -> None:
            kind = str(message).partition(": ")[2] or str(message)  # what is true of many frames is told of the first
            if kind not in told:
                told.add(kind)
                bar.write(f"warning: {message}")

        warnings.showwarning = show
        warnings.filterwarnings("ignore", message=".*no particle ids")  # frames are not compared with each other here
        for number, c in enumerate(_frames(arguments)):
            if number < out.done:
                bar.update()
                continue
            if arguments.temperature is not None:
                c = c.replace(temperature=arguments.temperature)
            if any(getattr(c, name) is None for name in needed):
                outside(known, c, model.config.cutoff, "thermal")  # refuses another liquid before it is quenched
                bar.set_postfix_str("quenching")
                c = quench(c, arguments.potential)
                bar.set_postfix_str("")
            if c.temperature is None and "temperature" not in told:
                bar.write("warning: no temperature is given (-T): it is not compared with that of the training")
                told.add("temperature")
            off = outside(known, c, model.config.cutoff, model.config.inputs)
            for name in sorted(off.keys() - told):
                bar.write(f"warning: {c.name}: {name} {off[name]}: the model knows no such liquid")
            told |= off.keys()
            prediction = predict_targets(model, c)
            if number == 0 and arguments.picture:  # before the frame is there: after a kill, frames are skipped
                last = model.times_at(c.temperature)[-1]
                _picture(arguments.picture, c, f"predicted, t = {last:g}", prediction["propensity"][-1])
            out.write(predicted_atoms(c, model, prediction, frame=number))
            bar.update()
            log.say(f"{number + 1} frame{'s' * (number > 0)} predicted")
    frames, targets = f"{out.done} frame{'s' * (out.done != 1)}", ", ".join(model.targets)
    tqdm.write(f"{out.finish()}: {frames}, {targets} at t = {times_of(model)}")


def _frames(arguments: argparse.Namespace) -> Iterator[Configuration]:
    """Of the inputs, whatever they are, one after the other."""
    from ..data.published import read_published
    from ..data.store import load
    from ..data.trajectory import iterate_trajectory, pick_frames

    type_map: dict[int | str, str | int] = {}
    for pair in (arguments.type_map or "").split(",") if arguments.type_map else []:
        name, equals, kind = pair.partition("=")
        if not equals:
            raise ValueError(f"--type-map {arguments.type_map}; expected pairs such as 1=A,2=B")
        type_map[name.strip()] = kind.strip()
    said = {"format": arguments.format, "box": arguments.box, "atom_style": arguments.atom_style}
    for path in arguments.input:
        if path.suffix in (".h5", ".hdf5"):
            yield from (c for _, c in pick_frames(partial(load, path), arguments.frames))
        elif path.is_dir() or path.suffix in (".npz", ".pickle", ".pkl"):
            yield from (c for _, c in pick_frames(partial(read_published, path), arguments.frames))
        else:
            yield from iterate_trajectory(path, type_map, arguments.frames, **said)


def _picture(path: Path, c: Configuration, title: str, values: np.ndarray) -> None:
    import matplotlib as mpl

    from .. import plotting
    from ..liquid.periodic import wrap

    with mpl.rc_context(plotting.STYLE):
        save_figure(plotting.slices(wrap(c.positions, c.box), c.box, c.types, {title: values}), path)
