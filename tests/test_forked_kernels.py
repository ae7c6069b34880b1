"""Kernels that are forks of one process: they run what any kernel runs, each apart from the others."""

import os
import sys
from ast import literal_eval
from contextlib import ExitStack

import pytest
from jupyter_cache.executors.utils import single_nb_execution
from nbformat.v4 import new_code_cell, new_notebook

from tests.common import ROOT

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or sys.platform == "darwin", reason="kernels are started the usual way here"
)


@pytest.fixture(scope="module")
def forked_kernels():
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    import forked_kernels

    yield forked_kernels
    sys.path.remove(str(ROOT / "book" / "_ext"))


@pytest.fixture(scope="module")
def block():
    """A block in which kernels are forks; the last test of this file ends it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def manager(forked_kernels, block):
    return block.enter_context(forked_kernels.manager_class())


def executed(manager, folder, *sources, **options):
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    options = {"timeout": 60, "allow_errors": False} | options
    return single_nb_execution(notebook, cwd=str(folder), kernel_manager_class=manager, **options)


def texts(result):
    return [[o.get("text") or o.get("data", {}).get("text/plain") for o in cell.outputs] for cell in result.nb.cells]


def test_a_chapter_runs_in_its_folder_with_the_environment_of_now(manager, tmp_path, monkeypatch):
    monkeypatch.setenv("GLASSLIT_SAYS", "this")
    source = "import os, subprocess, sys; os.getcwd(), os.environ['GLASSLIT_SAYS']"
    process = "subprocess.run([sys.executable, '-c', 'raise SystemExit(3)']).returncode"
    result = executed(manager, tmp_path, source, process)
    assert result.err is None
    ((told,), status) = texts(result)
    assert literal_eval(told) == (str(tmp_path), "this")
    assert status == ["3"]


def test_kernels_know_nothing_of_each_other(manager, tmp_path):
    first = executed(manager, tmp_path, "import glasslit as gl, torch; gl.left = torch.rand(1); 'torch' in globals()")
    second = executed(manager, tmp_path, "import glasslit as gl; hasattr(gl, 'left'), 'torch' in globals()")
    assert texts(first) == [["True"]]
    assert texts(second) == [["(False, False)"]]


def test_figures_are_shown_as_in_any_kernel(manager, tmp_path):
    source = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"
    result = executed(manager, tmp_path, source)
    assert "image/png" in result.nb.cells[0].outputs[0].data


def test_errors_long_cells_and_dead_kernels_are_told(manager, tmp_path):
    from nbclient.exceptions import DeadKernelError

    assert "ZeroDivisionError" in str(executed(manager, tmp_path, "1 / 0").err)
    assert executed(manager, tmp_path, "import time; time.sleep(60)", timeout=1).err is not None
    with pytest.raises(DeadKernelError):
        executed(manager, tmp_path, "import os; os._exit(3)")


def test_when_the_block_ends_no_process_is_left(manager, block, tmp_path):
    told = texts(executed(manager, tmp_path, "import os; os.getpid(), os.getppid()"))
    block.close()
    for number in literal_eval(told[0][0]):
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
