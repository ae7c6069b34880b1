"""Batch scripts: as far as one machine allows, with stand-ins for what a cluster has."""

import json
import os
import subprocess

import nbformat
import pytest

from tests.common import ROOT

SCRIPTS = sorted((ROOT / "cluster").glob("*.sbatch"))


@pytest.fixture
def stand_ins(tmp_path):
    """A folder of commands that only say how they were called."""
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "activate").write_text(f'export PATH="{folder}:$PATH"\n')
    (folder / "papermill").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (folder / "papermill").chmod(0o755)
    (folder / "srun").write_text('#!/bin/bash\nexec "$@"\n')
    (folder / "srun").chmod(0o755)
    return folder.parent


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_valid_bash_and_ask_for_what_they_use(path):
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text()
    assert "#SBATCH --time=" in text
    assert "#SBATCH --mem" in text


def test_each_task_of_the_array_is_another_run(stand_ins):
    parameters = next(
        c.source
        for c in nbformat.read(ROOT / "book" / "train.ipynb", 4).cells
        if "parameters" in c.metadata.get("tags", [])
    )
    seen = set()
    for task in range(9):
        environment = os.environ | {"SLURM_ARRAY_TASK_ID": str(task), "GLASSLIT_VENV": str(stand_ins)}
        words = subprocess.run(
            ["bash", ROOT / "cluster" / "train.sbatch"],
            env=environment,
            cwd=ROOT,
            text=True,
            capture_output=True,
            check=True,
        ).stdout.split()
        assert words[0] == "book/train.ipynb"
        given = {words[k + 1]: words[k + 2] for k, word in enumerate(words) if word == "-p"}
        assert words[1] == f"{given['out']}.ipynb"
        for name in given:
            assert f"\n{name} = " in f"\n{parameters}"
        seen.add((given["T"], given["seed"], given["out"]))
    assert len(seen) == len({out for *_, out in seen}) == 9


def test_each_process_executes_the_notebook_and_one_keeps_it(stand_ins, tmp_path):
    """torchrun itself; papermill only says how it was called. tests/test_prepared.py lets such processes train."""
    (stand_ins / "bin" / "papermill").write_text(
        f'#!/bin/bash\nprintf "%s\\n" "$WORLD_SIZE" "$OMP_NUM_THREADS" "$@" > "{tmp_path}/$RANK.txt"\n'
    )
    environment = os.environ | {"GLASSLIT_VENV": str(stand_ins), "SLURM_CPUS_PER_TASK": "4", "NAME": "mine"}
    words = ["bash", ROOT / "cluster" / "processes.sbatch", "2", "-p", "T", "0.44", "-p", "data", "a folder"]
    done = subprocess.run(words, env=environment, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"{rank}.txt").read_text().splitlines() for rank in (0, 1))
    assert first[:2] == second[:2] == ["2", "2"]
    called = "book/train.ipynb runs/mine.ipynb -p out runs/mine -p T 0.44 -p data"
    assert first[2:] == [*called.split(), "a folder"]
    assert second[2] == "book/train.ipynb"
    assert not second[3].startswith("runs/")
    assert second[4:] == first[4:]


def test_a_sweep_runs_on_the_workers_of_a_scheduler(stand_ins, tmp_path):
    """The script as it is, srun replaced by a plain call: two tiny notebooks, executed by a Dask worker."""
    pytest.importorskip("distributed")
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("seed = 0\nout = ''", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("seed ** 2"),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, tmp_path / "tiny.ipynb")
    (tmp_path / "runs").mkdir()
    (tmp_path / "tiny.toml").write_text(
        'notebook = "tiny.ipynb"\nfolder = "done"\nname = "seed{seed}"\nmemory = 0.5\n[all]\n[each]\nseed = [0, 1]\n'
    )
    done = subprocess.run(
        ["bash", ROOT / "cluster" / "sweep.sbatch", "tiny.toml"],
        env=os.environ | {"GLASSLIT_VENV": str(stand_ins)},
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        executed = json.loads((tmp_path / "done" / f"seed{seed}.ipynb").read_text())
        assert executed["metadata"]["papermill"]["parameters"]["seed"] == seed
    assert not list((tmp_path / "runs").glob("scheduler-*")), "the scheduler's file is removed"
