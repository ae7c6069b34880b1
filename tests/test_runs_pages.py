"""Pages of training runs: the role that links them, what they are made of, and what is stored for them."""

import importlib.util
import json
import re
import shutil
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

import glasslit as gl
from glasslit.data.shipped import SHIPPED
from glasslit.learning.evaluation import _ceilings
from tests.common import ROOT
from tests.test_book import broken_links

BOOK = ROOT / "book"


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = found  # where its data classes look for themselves
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def runs():
    yield module(BOOK / "_ext" / "runs.py")
    del sys.modules["runs"]


def test_a_run_is_found_by_its_path_or_its_last_part(runs):
    there = ["T0.44", "T0.50", "lmax/lmax1-seed0", "depth/again", "lmax/again"]
    assert runs.named("T0.44", there) == "T0.44"
    assert runs.named("lmax/lmax1-seed0", there) == runs.named("lmax1-seed0", there) == "lmax/lmax1-seed0"
    with pytest.raises(ValueError, match=r"no run 'T044' in book/runs; did you mean 'T0\.44'\?"):
        runs.named("T044", there)
    with pytest.raises(ValueError, match=r"did you mean 'lmax/lmax1-seed0'\?"):
        runs.named("lmax1-seed", there)
    with pytest.raises(ValueError, match=r"'again' could be each of \['depth/again', 'lmax/again'\]"):
        runs.named("again", there)
    with pytest.raises(ValueError, match=r"no run 'quite another' in book/runs$"):
        runs.named("quite another", there)


def test_every_run_has_a_group_and_chapters_that_are_there(runs):
    found = runs.found_runs(BOOK / "runs")
    assert len(found) > 90
    assert all(run.notebook.is_file() for run in found.values())
    assert {run.group for run in found.values()} == set(runs.GROUPS)
    toc = (ROOT / "_toc.yml").read_text()
    for title, chapters in runs.GROUPS.values():
        assert chapters, title
        for chapter in chapters:
            assert re.search(rf"file: book/{chapter}$", toc, re.M), f"{chapter}, which runs.GROUPS names for {title}"
    with pytest.raises(ValueError, match=r"run 'other/a'; expected a name that begins with one of"):
        runs.Run("other/a", BOOK).group  # noqa: B018


def test_what_is_said_of_a_run_stands_in_its_notebook_and_card(runs):
    found = runs.found_runs(BOOK / "runs")
    about = found["T0.44"].about()
    assert about["configurations"] == len(gl.load("starter", T=0.44, split="train", lazy=True))
    assert (about["network"], about["layers"], about["l_max"], about["seed"]) == ("se3, laptop", 3, 2, 0)
    assert found["ntrain/ntrain2-seed1"].about()["configurations"] == 2
    assert found["ntrain/ntrain2-seed1"].about()["seed"] == 1
    assert found["baselines/ridge-seed0"].about()["network"] == "ridge"
    assert found["baselines/ridge-seed0"].about()["l_max"] is None
    for run in found.values():
        if runs.validates(run.history):
            assert runs.best_of(run.history)["val_rho"] == max(row["val_rho"] for row in run.history)
        else:
            assert run.card["parameters"]["fold"] == "all"
            assert runs.best_of(run.history) == run.history[-1]
        assert all(run.about()[key] is not None for key in ("configurations", "epochs", "minutes", "T"))


def test_a_run_in_which_nothing_validates_says_so(runs, tmp_path):
    """History as pandas writes it, with nothing in the place of a score."""
    known = runs.found_runs(BOOK / "runs")["T0.44"]
    shutil.copytree(known.folder, tmp_path / "T0.44")
    shutil.copy(known.notebook, tmp_path / "T0.44.ipynb")
    history = pd.read_csv(known.folder / "history.csv").assign(val_loss=np.nan, val_rho=np.nan, best=True)
    history.to_csv(tmp_path / "T0.44" / "history.csv", index=False)
    run = runs.Run("T0.44", tmp_path / "T0.44.ipynb")
    assert not runs.validates(run.history)
    assert runs.validates(known.history)
    assert "400 epochs, the last kept; nothing validates" in runs.one_line(run)
    assert "the best on validation (number" in runs.one_line(known)
    curves = runs.Curves()
    for each, shown in ((run, False), (known, True)):
        curves.draw(each.history, tmp_path)
        assert curves.loss.axes[0].get_legend().get_texts()[1].get_visible() == shown


def test_what_else_a_run_was_given_stands_on_its_page(runs):
    found = runs.found_runs(BOOK / "runs")
    line = runs.one_line(found["pretrain/E_IS-ntrain1-epochs360-seed0"])
    assert line.endswith("; also given: pretrain = E_IS, pretrain_epochs = 30.")
    assert "also given" not in runs.one_line(found["T0.44"])
    other = runs.also_given(found["body/layers1-channels4-lmax2-products3-attentionFalse-seed0"])
    assert sorted(other) == ["attention = False", "channels = 4", "products = 3"]


KEPT = ("T0.44", "depth/depth1-seed0", "standard-thermal+E_IS-T0.56")


def small_book(folder, text):
    """A book of two pages and three runs; the folder of its pages, and what Sphinx warned of."""
    source, ext = folder / "source", str(BOOK / "_ext")
    for name in KEPT:
        shutil.copytree(BOOK / "runs" / name, source / "book" / "runs" / name)
        shutil.copy(BOOK / "runs" / f"{name}.ipynb", source / "book" / "runs" / f"{name}.ipynb")
    (source / "book" / "all_runs.md").write_text("# All runs\n\n```{all-runs}\n```\n")
    (source / "index.md").write_text(f"# Book\n\n{text}\n\n```{{toctree}}\nbook/all_runs\n```\n")
    settings = {"extensions": ["myst_parser", "runs"], "exclude_patterns": ["book/runs"], "root_doc": "index"}
    settings |= {"html_static_path": [str(BOOK / "_static")], "html_theme": "basic"}
    warned = (folder / "warnings").open("w")
    sys.path.insert(0, ext)
    try:
        with warned, docutils_namespace():
            out = folder / "html"
            Sphinx(source, None, out, folder / "trees", "html", settings, status=None, warning=warned).build()
    finally:
        sys.path.remove(ext)
    return out, (folder / "warnings").read_text()


def test_links_lead_to_pages_that_are_no_documents(tmp_path, runs):
    text = "{run}`T0.44`, {run}`one layer <depth1-seed0>` and {run}`standard-thermal+E_IS-T0.56`"
    html, warned = small_book(tmp_path, text)
    assert warned == ""
    index = (html / "index.html").read_text()
    assert '<a class="reference internal" href="book/runs/depth/depth1-seed0.html">' in index
    assert 'href="book/runs/standard-thermal%2BE_IS-T0.56.html"' in index
    assert broken_links(html) == []
    page = html / "book" / "runs" / "depth" / "depth1-seed0.html"
    assert "Last executed on" in page.read_text()
    assert "runs.css" in page.read_text()
    assert "runs/T0.44" not in re.sub(r"\s", "", (html / "searchindex.js").read_text().split('"terms"')[0])
    page.with_suffix(".ipynb").unlink()
    (html / "book" / "runs" / "T0.44" / "loss.svg").unlink()
    assert broken_links(html) == [("T0.44.html", "T0.44/loss.svg"), (page.name, "depth1-seed0.ipynb")]


def test_a_link_to_a_run_that_is_not_there_is_a_warning(tmp_path, runs):
    _, warned = small_book(tmp_path, "{run}`T0.45`")
    assert "index.md" in warned
    assert "no run 'T0.45' in book/runs; did you mean 'T0.44'?" in warned


def test_the_student_edition_keeps_the_words_of_links_to_runs(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    import student

    text = "at {run}`T = 0.50 <T0.50>` and {run}`depth/depth1-seed0`, [here](runs/T0.44), ![a](runs/a.png)"
    assert student.plain(text, set(), set()) == "at T = 0.50 and depth/depth1-seed0, here, ![a](runs/a.png)"


def test_chapters_link_runs_by_the_role():
    for path in [*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")]:
        text = path.read_text()
        if path.suffix == ".ipynb":
            text = "\n".join(c.source for c in nbformat.reads(text, 4).cells if c.cell_type == "markdown")
        assert not re.search(r"(?<!!)\]\((?:\.\./book/)?runs/", text), f"{path.name}: write {{run}}`text <NAME>`"


def test_stored_ceilings_are_those_of_the_labels():
    """Of each set of test configurations that is shipped; those within configurations were added later."""
    add, seen = module(BOOK / "runs" / "add_ceilings.py"), {}
    for path in sorted((BOOK / "runs").rglob("metrics.json")):
        metrics = json.loads(path.read_text())
        parameters = json.loads(path.with_name("card.json").read_text())["parameters"]
        assert list(metrics["test"]["A"])[:4] == ["mean", "pooled", "ceiling", "ceiling_within"]
        if parameters["data"] not in SHIPPED:  # which has to be fetched, or made
            continue
        key = (parameters["data"], str(parameters["T"]), *metrics["times"])
        if key not in seen:
            seen[key] = _ceilings([c.at_times(metrics["times"]) for c in add.labelled(parameters, None)])
        for kind, scores in metrics["test"].items():
            for name, found in seen[key].items():
                np.testing.assert_allclose(scores[name], found[kind], rtol=1e-6)
    assert len(seen) > 5


def test_a_ceiling_is_added_once_and_only_beside_its_own_labels(tmp_path):
    add = module(BOOK / "runs" / "add_ceilings.py")
    shutil.copytree(BOOK / "runs" / "T0.44", tmp_path / "run")
    path = tmp_path / "run" / "metrics.json"
    stored = path.read_bytes()
    assert not add.add(path)
    old = json.loads(stored)
    for scores in old["test"].values():
        del scores["ceiling_within"]
    path.write_text(json.dumps(old))
    assert add.add(path)
    again = json.loads(path.read_bytes())
    assert list(again) == list(json.loads(stored))
    for kind, scores in json.loads(stored)["test"].items():
        assert list(again["test"][kind]) == list(scores)
        for key, values in scores.items():  # the last bits are the processor's, which adds in an order of its own
            assert again["test"][kind][key] == pytest.approx(values, rel=1e-12)
    old["test"]["B"]["ceiling"][0] += 0.001
    path.write_text(json.dumps(old))
    with pytest.raises(AssertionError, match="these are not its labels"):
        add.add(path)
