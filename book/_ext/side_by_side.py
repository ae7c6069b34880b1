"""Sphinx extension: chapters are executed side by side before the pages are read, as many at once as there are cores.

MyST-NB executes one after the other. Here what is not in its cache yet is executed first, and put there; MyST-NB then
finds it. Their kernels are forks of one process that has imported the libraries (`forked_kernels`). A chapter that fails is left to MyST-NB, which executes it again and reports it as ever.
``GLASSLIT_BUILD_WORKERS`` says how many at once, at most four by default; 1 leaves it all to MyST-NB.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import forked_kernels
import nbformat
import prompts
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from sphinx.util import logging

log = logging.getLogger(__name__)


def workers():
    given = os.environ.get("GLASSLIT_BUILD_WORKERS", "")
    if given and not (given.isdigit() and int(given) >= 1):
        raise ValueError(
            f"GLASSLIT_BUILD_WORKERS={given}; expected a whole number, at least 1"
        )
    return int(given or min(4, os.cpu_count() or 1))


def to_execute(app, docnames):
    """Paths and notebooks among the documents that execution is meant for."""
    for name in docnames:
        path = Path(app.env.doc2path(name))
        if path.suffix == ".ipynb":
            # as MyST-NB reads it: its cache compares metadata, too
            notebook = nbformat.reads(prompts.with_buttons(path.read_text()), 4)
            if (
                notebook.metadata.get("mystnb", {}).get("execution_mode")
                != "off"
            ):
                yield path, notebook


LONG = (
    "making_a_glass",
    "against_the_field",
    "transfer",
    "label_factory",
    "ablations",
    "inputs_and_vectors",
    "fields",
    "smoothness",
    "making_it_fast",
    "what_we_found",
    "equivariance_checks",
    "data_card",
)
"""Chapters that take long, the longest first, so that none of them runs alone at the end. One whose predictions others
make as well (`SHARED`) stands behind those, and finds them made."""


def turn(found):
    """When a chapter is executed: those of `LONG` first, then large ones, which tend to take longer than small ones."""
    path, _ = found
    place = LONG.index(path.stem) if path.stem in LONG else len(LONG)
    return place, -path.stat().st_size


def execute(app, env, docnames):
    number = workers()
    if number == 1 or app.config.nb_execution_mode != "cache":
        return
    cache = get_cache(
        app.config.nb_execution_cache_path
        or Path(app.outdir).parent / ".jupyter_cache"
    )
    waiting = []
    for path, notebook in sorted(to_execute(app, docnames), key=turn):
        try:
            cache.match_cache_notebook(notebook)
        except KeyError:
            waiting.append((path, notebook))
    if not waiting:
        return
    # Kernels inherit it: each takes its share of the cores.
    share = str(max(1, (os.cpu_count() or 1) // number))
    before = {name: os.environ.get(name) for name in (*THREADS, SHARED)}
    os.environ.update(dict.fromkeys(THREADS, share))
    try:
        with (
            tempfile.TemporaryDirectory(prefix="glasslit-book-") as shared,
            forked_kernels.manager_class() as manager,
            ThreadPoolExecutor(number) as pool,
        ):
            os.environ[SHARED] = shared
            kernels = {"kernel_manager_class": manager} if manager else {}
            begun = {
                pool.submit(
                    single_nb_execution,
                    notebook,
                    cwd=str(path.parent),
                    timeout=app.config.nb_execution_timeout,
                    allow_errors=False,
                    **kernels,
                ): path
                for path, notebook in waiting
            }
            for done, future in enumerate(as_completed(begun), start=1):
                path, result = begun[future], future.result()
                where = f"[{done} of {len(begun)}] {path.name}"
                if result.err is not None:
                    log.info(f"{where} failed, and will be executed again")
                    continue
                log.info(f"{where} executed in {result.time:.0f} s")
                cache.cache_notebook_bundle(
                    CacheBundleIn(
                        result.nb,
                        str(path),
                        data={"execution_seconds": result.time},
                    ),
                    check_validity=False,
                    overwrite=True,
                )
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


SHARED = "GLASSLIT_STORED_PREDICTIONS"
"""Where chapters of one build find what another has predicted with a stored network."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def setup(app):
    app.connect("env-before-read-docs", execute)
    return {"parallel_read_safe": True}
