"""Sphinx extension: forget cached executions when the package, its data, the benchmarks or the published runs changed.

The notebook cache is keyed on a notebook's own cells; a chapter would keep old outputs after a change of the
code it imports or of the results it reads.
"""

import hashlib
import shutil
from pathlib import Path

from glasslit import provenance


def check(app, config):
    cache = Path(
        config.nb_execution_cache_path
        or Path(app.outdir).parent / ".jupyter_cache"
    )
    stamp = cache / "glasslit_source_hash"
    digest = hashlib.sha256(provenance.source_hash().encode())
    for folder in ("benchmarks", "book/runs", "glasslit"):
        for path in sorted(Path(app.srcdir, folder).rglob("*")):
            digest.update(
                path.read_bytes()
                if path.suffix in (".py", ".json", ".csv", ".js", ".css")
                else b""
            )
    now = digest.hexdigest()
    if cache.is_dir() and (not stamp.is_file() or stamp.read_text() != now):
        shutil.rmtree(cache)
    cache.mkdir(parents=True, exist_ok=True)
    stamp.write_text(now)


def setup(app):
    app.connect("config-inited", check)
    return {"parallel_read_safe": True}
