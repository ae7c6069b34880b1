"""The book: how its sources are stored, what its result pages owe, and that it builds from nothing."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import imagesize
import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from docutils import nodes
from docutils.core import publish_doctree
from numpydoc.docscrape_sphinx import SphinxDocString
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import glasslit as gl
from glasslit import plotting, provenance
from glasslit.data.shipped import FETCHED, SHIPPED
from glasslit.learning.sweep import read_sweep
from glasslit.models.clock import at_common_parts
from glasslit.plotting.screens import drawn
from tests.common import ROOT

BOOK = ROOT / "book"
pytestmark = pytest.mark.timeout(3000)  # a build takes 8 minutes of two idle cores, and more than 20 on a busy machine
CHAPTERS = sorted(p for p in BOOK.glob("*.ipynb"))
RUNS = sorted(p for p in (BOOK / "runs").rglob("*.ipynb") if p.name[0] != ".")  # those are under way, or failed


def outputs(notebook):
    return [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapters_are_stored_without_outputs(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert not outputs(notebook)
    assert all(c.execution_count is None for c in notebook.cells if c.cell_type == "code")


@pytest.mark.parametrize("path", [*CHAPTERS, *RUNS], ids=lambda p: p.stem)
def test_every_plot_has_alt_text_and_every_figure_of_a_chapter_a_caption(path):
    for cell in nbformat.read(path, 4).cells:
        drawing = r"^figure$|^plotting\.(?!use\b)|curve\.update|plt\.show\(\)|^roofline\("
        if cell.cell_type == "code" and re.search(drawing, cell.source, re.M):
            look = cell.metadata.get("mystnb", {})
            assert len(look.get("image", {}).get("alt", "")) > 30, cell.source
            result = path in RUNS or path.stem == "train"  # whose text stands beside its figures
            assert result or len(look.get("figure", {}).get("caption", "")) > 30, cell.source


@cache
def sweep_runs():
    """Of all sweeps; several may put their runs into one folder."""
    return [run for path in sorted((ROOT / "sweeps").glob("*.toml")) for run in read_sweep(path)]


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_runs_finished_and_carry_their_card(path):
    notebook = nbformat.read(path, 4)
    assert notebook.metadata.papermill.exception is None
    assert outputs(notebook)
    assert not any(o.output_type == "error" for o in outputs(notebook))
    assert not any("papermill-error-cell-tag" in c.metadata.get("tags", []) for c in notebook.cells)
    assert notebook.metadata.mystnb.execution_mode == "off"
    folder = path.with_suffix("")
    assert {p.name for p in folder.iterdir()} == {"card.json", "history.csv", "metrics.json", "model.pt"}
    card = json.loads((folder / "card.json").read_text())
    parameters, metrics = card["parameters"], json.loads((folder / "metrics.json").read_text())
    assert parameters["out"] == path.stem
    if path.parent.name != "runs":  # named, and made, as the sweep says
        (run,) = [r for r in sweep_runs() if r.name == path.stem and r.folder.resolve() == path.parent.resolve()]
        assert run.finished()
    elif parameters["data"] == "starter":
        assert f"T{parameters['T']:.2f}" in path.stem
        assert set(metrics["times"]) <= set(gl.load("starter", T=parameters["T"])[0].times)
    else:
        assert path.stem.startswith(f"{parameters['data']}-{parameters['inputs']}")
        assert parameters["data"] != "standard" or path.stem.endswith(f"T{parameters['T']:.2f}")
    assert gl.load_model(folder / "model.pt").times.tolist() == metrics["times"]
    assert "+" not in card["git_revision"], "published runs are made from a committed state"
    for key in ("parameters", "versions", "git_revision", "source_hash", "data_sha256", "device", "date"):
        assert card[key], key


def test_runs_of_an_earlier_state_of_the_package_are_counted():
    hashes = [json.loads((path.with_suffix("") / "card.json").read_text())["source_hash"] for path in RUNS]
    earlier = sum(one != provenance.source_hash() for one in hashes)
    if earlier:  # one warning, not one for each
        warnings.warn(
            f"{earlier} of {len(RUNS)} published runs were made with an earlier state of the package, which their "
            "cards name",
            stacklevel=1,
        )


HARDLY_LEARNED = {"layers1-lmax3-seed0": "layers1-lmax3-rate0.003-seed0"}
"""Runs that are there to show that a learning rate is too high, and the run with a lower one."""


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_published_runs_beat_both_trivial_predictors_and_stay_below_the_ceiling(path):
    scores = json.loads((path.with_suffix("") / "metrics.json").read_text())["test"]["A"]
    longest = {name: values[-1] for name, values in scores.items()}
    if path.stem in HARDLY_LEARNED:
        lower = path.with_name(HARDLY_LEARNED[path.stem]) / "metrics.json"
        assert longest["pooled"] < json.loads(lower.read_text())["test"]["A"]["pooled"][-1]
    else:
        assert longest["pooled"] > max(longest["density"], longest["E_IS"])
    assert longest["pooled"] < longest["ceiling"]
    assert longest["mean"] < longest["ceiling_within"]


def split_hash(parameters):
    """Of the configurations that a run with these parameters reads."""
    several = parameters["T"] if isinstance(parameters["T"], list) else [parameters["T"]]
    names = ("train", "val", "test")
    split = {name: [c for t in several for c in gl.load(parameters["data"], T=t, split=name)] for name in names}
    if len(several) > 1:
        common = iter(at_common_parts([c for name in names for c in split[name]]))
        split = {name: [next(common) for _ in split[name]] for name in names}
    split["train"] = split["train"][: parameters.get("n_train")]
    if times := parameters.get("times"):
        split = {name: [c.at_times(times) for c in chosen] for name, chosen in split.items()}
    return provenance.data_hash(c.hash() for chosen in split.values() for c in chosen)


def test_all_runs_read_the_splits_that_the_data_have():
    """Training, validation and test configurations: the same ones, in these roles, behind each number of the book."""
    read = {}
    for path in RUNS:
        card = json.loads((path.with_suffix("") / "card.json").read_text())
        key = tuple(str(card["parameters"].get(name)) for name in ("data", "T", "n_train", "times"))
        read.setdefault(key, (card["parameters"], {}))[1][path.stem] = card["data_sha256"]
    assert len(read) > 5
    for (data, *_), (parameters, hashes) in read.items():
        if data in FETCHED:
            continue  # quenched on each machine, in its own last bits: tests/test_published_runs.py compares scores
        assert len(set(hashes.values())) == 1, hashes
        if data in SHIPPED:  # others have to be made first
            assert set(hashes.values()) == {split_hash(parameters)}, hashes


def test_prose_of_result_pages_holds_no_numbers_of_its_own():
    """Decimals in the prose must be parameters in code; results are computed or glued."""
    for path in [BOOK / "train.ipynb", *RUNS]:  # pages that quote published numbers, with their source, are not meant
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "markdown":
                prose = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.S)
                assert not re.search(r"\d\.\d", prose), prose


def test_table_of_contents_names_every_page():
    toc = (ROOT / "_toc.yml").read_text()
    named = set(re.findall(r"(?:root|file): (\S+)", toc))
    assert "glob:" not in toc
    pages = {p.relative_to(ROOT).with_suffix("").as_posix() for p in CHAPTERS if p.stem != "train"}
    assert pages <= named
    assert all(list(ROOT.glob(f"{name}.*")) for name in named)
    assert not any(name.startswith("book/runs/") for name in named)  # evidence, one click from its number


def test_ci_runs_the_readme_command_verbatim():
    blocks = re.findall(r"^```bash\n(.*?)\n```", (ROOT / "README.md").read_text(), re.S | re.M)
    assert all("\n" not in block for block in blocks)  # each command alone in its block
    (command,) = [b for b in blocks if "pytest" in b]
    assert command in (ROOT / ".ci" / "run").read_text()
    (main_job,) = [b for b in blocks if "papermill" in b]
    assert main_job.endswith("papermill book/train.ipynb runs/T0.44.ipynb -p T 0.44")


def test_readme_is_a_front_door():
    """At most 600 words, the page for lecturers linked, no link that leads nowhere."""
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 600
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert all((ROOT / link).exists() for link in links if not link.startswith("https:"))
    assert "book/for_instructors.ipynb" in links


def test_python_of_readme_runs():
    """All ten lines, with one epoch in the place of twenty."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    assert "epochs=20" in code
    names = {}
    exec(code.replace("epochs=20", "epochs=1"), names)
    first = names["test"][0]
    assert names["propensity"].shape == (len(first.times), first.n_particles)
    assert len(names["scores"]["mean"]) == len(first.times)


def test_each_chapter_begins_with_the_cell_that_fetches_the_book_on_colab(monkeypatch):
    """All alike, from the repository that the buttons name; elsewhere it does nothing."""
    home = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    first = set()
    for path in CHAPTERS:
        if path.stem != "train":  # papermill's; it is no page
            cell = next(c for c in nbformat.read(path, 4).cells if c.cell_type == "code")
            assert cell.metadata.tags == ["remove-cell"], path
            first.add(cell.source)
    (source,) = first
    ran, went = [], []
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    monkeypatch.setattr(os, "chdir", went.append)
    exec(source, {})
    assert not ran
    assert not went
    monkeypatch.setitem(sys.modules, "google.colab", None)
    exec(source, {})
    assert ran[0] == ["git", "clone", "--depth", "1", home]
    assert ran[1][-1] == f"./{home.rsplit('/', 1)[1]}[chapters]"
    assert went == ["/content", f"/content/{home.rsplit('/', 1)[1]}/book"]


def brought(requirement, seen):
    """Collect the names, with extras, of all distributions that come with a requirement."""
    wanted = Requirement(requirement)
    key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
    if key not in seen:
        seen.add(key)
        for line in requires(wanted.name) or []:
            marker = Requirement(line).marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted.extras or {""}):
                brought(line.split(";")[0], seen)


def test_the_extra_of_the_chapters_brings_what_they_import():
    """On Colab and Binder nothing else is installed."""
    folders = (BOOK, ROOT / "benchmarks", *(p for p in (BOOK / "runs").iterdir() if p.is_dir()))
    seen, beside = set(), {p.stem for folder in folders for p in folder.glob("*.py")} | {"glasslit"}
    brought("glasslit[chapters]", seen)
    installed, there = {name for name, _ in seen}, packages_distributions()
    assert "numpy" in installed
    assert "jupyter-book" not in installed
    for path in CHAPTERS:
        for cell in (c for c in nbformat.read(path, 4).cells if c.cell_type == "code"):
            for node in ast.walk(ast.parse(cell.source)):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                for name in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - beside:
                    assert {canonicalize_name(d) for d in there[name]} & installed, (path.name, name)


def test_the_pages_of_docstrings_have_every_module_and_every_public_name():
    """Each module and each public name once, on a page for its room; the page before them lists the public names."""
    pages = {p: p.read_text() for p in sorted((BOOK / "api").glob("*.md"))}
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "glasslit").rglob("*.py")}
    modules = {m.removesuffix(".__init__") for m in modules} - {"glasslit"}
    modules = {m for m in modules if m.split(".")[1] not in ("cli", "__main__")}  # which is told by --help
    told = [name for text in pages.values() for name in re.findall(r"^\.\. automodule:: (\S+)", text, re.M)]
    assert sorted(told) == sorted(modules)
    public = sorted(name for name in gl.__all__ if not inspect.ismodule(getattr(gl, name)))
    shown = [n for text in pages.values() for n in re.findall(r"^\.\. auto(?:class|function):: (\w+)$", text, re.M)]
    assert sorted(shown) == public
    first = (BOOK / "api.md").read_text()
    listed = re.findall(r"\.\. autosummary::\n\n((?:   \w+\n)+)", first)
    assert sorted(name for block in listed for name in block.split()) == public
    assert set(re.findall(r"{doc}`api/(\w+)`", first)) == {p.stem for p in pages}
    for text in pages.values():  # a public name stands with the module that it comes from
        module = ""
        for line in text.splitlines():
            if found := re.match(r"\.\. automodule:: (\S+)", line):
                module = found[1]
            elif found := re.match(r"\.\. auto(?:class|function):: (\w+)$", line):
                assert getattr(gl, found[1]).__module__ == module, line


def test_descriptions_in_docstrings_are_shown_as_sentences(monkeypatch):
    """numpydoc makes types of them; the book's extension joins what belongs together."""
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    import docstrings

    text = """Meaning.

    Parameters
    ----------
    path : the file; folders are read
        in natural order
    box : shape (3,), sigma_AA
        Edge lengths.

    Returns
    -------
    list of files, by
    number and by name

    Raises
    ------
    ValueError
        If there is none.
    """
    tree = publish_doctree(str(SphinxDocString(inspect.cleandoc(text))))
    assert len(list(tree.findall(nodes.classifier))) == 2, "as numpydoc leaves it"
    docstrings.join(None, tree)
    items = {i.next_node(nodes.term).astext(): i for i in tree.findall(nodes.definition_list_item)}
    said = {name: item.next_node(nodes.definition).astext() for name, item in items.items()}
    assert said == {
        "path": "the file; folders are read in natural order",
        "box": "shape (3,), sigma_AA. Edge lengths.",
        "ValueError": "If there is none.",
    }
    assert "list of files, by number and by name" in [p.astext() for p in tree.findall(nodes.paragraph)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy without any cache, built as README says; the folder of its pages."""
    source = tmp_path_factory.mktemp("book") / "source"
    skip = shutil.ignore_patterns("_build", ".git", ".work", "*.egg-info", "__pycache__", ".*_cache", ".venv")
    shutil.copytree(ROOT, source, ignore=skip)
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", ".", "-n", "-W", "--keep-going"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    assert "Executing notebook" not in done.stdout + done.stderr, "a chapter was executed twice"
    return source / "_build" / "html"


def pages_of(html):
    toc = (ROOT / "_toc.yml").read_text()
    return [html / f"{name}.html" for name in re.findall(r"(?:root|file): (\S+)", toc)]


def run_pages_of(html):
    return [html / path.relative_to(ROOT).with_suffix(".html") for path in RUNS]


def parsed(page):
    """A page as its elements, made once for all tests that look at it; not to be changed."""
    return _parsed(page, page.stat().st_mtime_ns)


@cache
def _parsed(page, _):
    return BeautifulSoup(page.read_text(), "html.parser")


def test_build_from_clean_with_warnings_as_errors(built):
    """Every page comes out, those of runs too, says when it was executed, and its pictures have a text."""
    for page in pages_of(built) + run_pages_of(built):
        text = page.read_text()
        assert "cdn.jsdelivr.net/npm/mathjax" not in text, page  # equations show offline
        assert re.search(r'<link rel="icon" href="[./]*_static/favicon.svg"', text), page
        for image in re.findall(r"<img [^>]*>", text):
            assert 'alt=""' not in image, (page, image)
            assert "alt=" in image, (page, image)
        name = page.relative_to(built).with_suffix("")
        notebook = ROOT / f"{name}.ipynb"
        if notebook.is_file():
            assert "Last executed on" in text, page
            assert "Traceback (most recent call last)" not in text, page
        if notebook.is_file() and notebook.parent == BOOK:
            assert f"https://colab.research.google.com/github/glasslit/glasslit/blob/main/{name}.ipynb" in text
            assert "https://mybinder.org/v2/gh/glasslit/glasslit/main" in text


def test_runs_are_evidence_and_not_navigation(built):
    """Each has a page with its scores, its notebook and links back; none is searched, numbered or in the menu."""
    assert len(RUNS) > 90
    searched = json.loads(re.search(r"setIndex\((.*)\)", (built / "searchindex.js").read_text())[1])["docnames"]
    assert "book/all_runs" in searched
    assert not any("book/runs/" in name for name in searched)
    table = parsed(built / "book" / "all_runs.html")
    listed = {unquote(a["href"]) for a in table.select("table.glasslit-runs tbody th a")}
    assert listed == {page.relative_to(built / "book").as_posix() for page in run_pages_of(built)}
    chapters = {page.resolve() for page in pages_of(built)}
    for path, page in zip(RUNS, run_pages_of(built), strict=True):
        soup = parsed(page)
        leads_to = {(page.parent / unquote(a["href"])).resolve() for a in soup.select(".glasslit-up a")}
        assert leads_to <= chapters
        assert len(leads_to) >= 2, "to All runs, and to a chapter that uses it"
        (download,) = [a for a in soup.select("a.download") if a["href"].endswith(".ipynb")]
        assert (page.parent / unquote(download["href"])).read_bytes() == path.read_bytes()
        scores = json.loads((path.with_suffix("") / "metrics.json").read_text())["test"]
        shown = [[cell.text for cell in t.select("tr:last-child td")] for t in soup.select("table.glasslit-scores")]
        keys = ("mean", "ceiling_within", "pooled", "ceiling", "E_IS", "density")
        there = [key for key in keys if key in scores["A"]]
        assert shown == [[f"{scores[kind][key][-1]:.3f}" for key in there] for kind in "AB"]
    for page in pages_of(built):
        menu = parsed(page).select("nav.bd-links a[href]")
        assert menu
        assert not any("runs/" in a["href"] for a in menu)


def gaps(numbers):
    """Numbers of figures that do not follow on the one before: from 1 on, anew in each chapter where they name it."""
    last, wrong = {}, []
    for number in numbers:
        *chapter, k = map(int, number.split("."))
        if k != last.get(tuple(chapter), 0) + 1:
            wrong.append(number)
        last[tuple(chapter)] = k
    return wrong


def test_figures_are_numbered_without_a_gap(built):
    numbers = []
    for page in pages_of(built):
        captions = parsed(page).select("figcaption .caption-number")
        numbers += [re.search(r"[\d.]*\d", caption.text)[0] for caption in captions]
    assert len(numbers) > 50
    assert gaps(numbers) == []
    assert gaps(["1", "2", "4", "5"]) == ["4"]
    assert gaps(["1.1", "1.2", "2.1", "2.3"]) == ["2.3"]


def broken_links(folder):
    """(page, link) of links to files or places in a page that are not there."""
    leading = (("a", "href"), ("link", "href"), ("img", "src"), ("script", "src"), ("source", "src"))
    places, links = {}, {}
    for page in (p.resolve() for p in folder.rglob("*.html") if "_static" not in p.parts):
        tags = parsed(page).find_all()
        places[page] = {tag["id"] for tag in tags if tag.has_attr("id")}
        each = [tag[key] for name, key in leading for tag in tags if tag.name == name and tag.has_attr(key)]
        links[page] = dict.fromkeys(each)  # menus lead to a page several times
    there, broken = {}, []
    for page, found in links.items():
        for text in found:
            link = urlsplit(text)
            if link.scheme or link.netloc or text == "#":
                continue
            named = page.parent / unquote(link.path) if link.path else page
            if named not in there:
                there[named] = named.resolve() if named.exists() else None
            target, place = there[named], unquote(link.fragment)
            if target is None or (place and target in places and place not in places[target]):
                broken.append((page.name, text))
    return broken


def test_internal_links_resolve(built, tmp_path):
    assert broken_links(built) == []
    (tmp_path / "a.html").write_text('<a href="b.html">b</a><a href="#there">c</a><p id="here"><a href="#here">d</a>')
    assert broken_links(tmp_path) == [("a.html", "b.html"), ("a.html", "#there")]


def test_pictures_fit_a_telephone_or_scroll_there(built):
    """Those with two layouts show the narrow one; of the others, the wide ones scroll."""
    two_layouts = 0
    for page in pages_of(built):
        for picture in parsed(page).select(".bd-article img[src*=_images]"):
            path = (page.parent / unquote(picture["src"])).resolve()
            width, _ = imagesize.get(path)
            if "glasslit-two" in picture.get("class", []):
                two_layouts += 1
                offered = picture.find_parent("picture").source
                assert offered["media"] == "(max-width: 40rem)"
                narrow, _ = imagesize.get((page.parent / unquote(offered["srcset"])).resolve())
                assert narrow <= 365, (page.name, narrow)
                assert "glasslit-narrow" not in path.read_text()
            else:
                marked = "glasslit-wide" in picture.get("class", [])
                assert marked == (width > 640), (page.name, picture["src"], width)
    assert two_layouts > 30


UNSET = """() => [...document.querySelectorAll('.math')].filter(
  e => !e.querySelector('mjx-container') || e.querySelector('mjx-merror, [data-mjx-error]')).length"""
CUT = """() => {
  const hidden = [...document.querySelectorAll('.toggle-hidden')];
  hidden.forEach(e => e.classList.remove('toggle-hidden'));
  const cut = [...document.querySelectorAll('.math mjx-container')].filter(e => !e.closest('table') &&
    e.querySelector('mjx-math').getBoundingClientRect().width > e.closest('p, li, dd, div').clientWidth -
    (e.closest('.math').querySelector('.eqno')?.offsetWidth ?? 0)).length;
  hidden.forEach(e => e.classList.add('toggle-hidden'));
  return cut;
}"""
PICTURES = """async () => {
  await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
  const images = [...document.querySelectorAll('.bd-article img')];
  const whole = e => e.complete || new Promise(done => ['load', 'error'].forEach(w => e.addEventListener(w, done)));
  await Promise.all(images.map(whole));
  return images.map(e => [e.currentSrc, e.getBoundingClientRect().width]);
}"""
TELEPHONE, SCREEN = 390, 1280
"""Widths in pixels."""


def seen(browser, pages):
    """What each page shows on a telephone, and its pictures there and on a wide screen.

    {page: ((width that it takes, errors of its scripts and what it asks the network for, equations unset or set with
    an error, equations wider than their place), {width of the screen: [(picture, width as shown)]})}
    """
    found, errors = {}, []
    tab = browser.new_page()
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda asked: asked.url.startswith(("http:", "https:")) and errors.append(asked.url))
    for page in pages:
        tab.set_viewport_size({"width": TELEPHONE, "height": 800})
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate("window.MathJax?.startup?.promise?.then(() => true)")
        width = tab.evaluate("document.documentElement.scrollWidth")
        pictures = {TELEPHONE: tab.evaluate(PICTURES)}
        unset, cut = tab.evaluate(UNSET), tab.evaluate(CUT)
        tab.set_viewport_size({"width": SCREEN, "height": 900})
        pictures[SCREEN] = tab.evaluate(PICTURES)
        found[page] = (width, [*errors], unset, cut), pictures
        errors.clear()
    tab.close()
    return found


@pytest.fixture(scope="module")
def shown(built, browser):
    return seen(browser, pages_of(built) + run_pages_of(built)[::10])


@pytest.mark.browser
def test_pages_show_in_a_browser_without_errors_and_fit_a_telephone(shown):
    assert len(shown) > 50
    assert {page.name: found for page, (found, _) in shown.items() if found != (TELEPHONE, [], 0, 0)} == {}


CONTRAST = """(table) => {
  const light = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    const color = getComputedStyle(e).backgroundColor;
    return /, 0\\)$/.test(color) && e.parentElement ? behind(e.parentElement) : color;
  };
  const cell = table.querySelector("td");
  const both = [light(getComputedStyle(cell).color), light(behind(cell))];
  return [(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), both[1]];
}"""
"""Contrast of the text of a table with what is behind it, and how light that is (W3C, WCAG 2)."""


def dark_tables(browser, page):
    tab = browser.new_page(color_scheme="dark")
    tab.goto(page.as_uri(), wait_until="load")
    found = [table.evaluate(CONTRAST) for table in tab.query_selector_all(".cell_output table:has(td)")]
    tab.close()
    return found


@pytest.mark.browser
def test_tables_are_dark_and_readable_in_dark_mode(built, browser):
    """Styled tables of pandas, too, under which the theme puts a light box."""
    page = built / "book" / "your_own_liquid.html"
    found = dark_tables(browser, page)
    assert len(found) > 3
    assert all(contrast > 4.5 and behind < 0.2 for contrast, behind in found), found
    without = page.with_name("without_our_style.html")  # control: the theme alone
    without.write_text(re.sub(r"<link[^>]*book\.css[^>]*>", "", page.read_text()))
    assert any(behind > 0.2 for _, behind in dark_tables(browser, without))
    without.unlink()


@pytest.mark.browser
def test_the_table_of_runs_is_sorted_and_chosen_from_the_keyboard(built, browser):
    tab = browser.new_page()
    tab.goto((built / "book" / "all_runs.html").as_uri())

    def column(number):
        rows = "[...document.querySelectorAll('.glasslit-runs tbody tr')].filter(r => !r.hidden)"
        return tab.evaluate(f"{rows}.map(r => r.cells[{number}].textContent)")

    before = column(3)  # scores within configurations, at the longest time
    assert len(before) == len(RUNS)
    for state, turned in (("ascending", False), ("descending", True)):
        tab.locator(".glasslit-runs thead tr:last-child button").nth(3).focus()
        tab.keyboard.press("Enter")
        assert [float(v) for v in column(3)] == sorted(map(float, before), reverse=turned)
        marked = tab.locator(".glasslit-runs [aria-sort]")
        assert [marked.nth(k).get_attribute("aria-sort") for k in range(marked.count())] == [state]
    tab.locator(".glasslit-choose select").select_option("Number of layers")
    chosen = [p.stem for p in RUNS if p.parent.name == "depth"]
    assert sorted(column(0)) == sorted(chosen)
    assert f"{len(chosen)} of {len(RUNS)} runs" in tab.locator(".glasslit-choose").inner_text()
    tab.close()


def sizes_of_text(svg):
    """Sizes of a picture's texts, and of their sub- and superscripts, in units of its view box, and the box's width."""
    root, texts, scripts = ElementTree.fromstring(svg), [], []
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        styles = " ".join(part.get("style", "") for part in text.iter())
        found = [float(size) for size in re.findall(r"\b([\d.]+)px", styles)]
        texts.append(max(found))
        scripts += [size for size in found if size < max(found)]
    return texts, scripts, float(root.get("viewBox").split()[2])


@pytest.mark.browser
def test_text_in_pictures_is_large_enough_to_be_read(built, shown):
    """At least 10 pixels as shown, on a wide screen and on a telephone; sub- and superscripts, 9."""
    small, seen, narrow, sizes = [], 0, Counter(), cache(lambda path: sizes_of_text(path.read_text()))
    for page in pages_of(built):
        for width, pictures in shown[page][1].items():
            for source, pixels in pictures:
                if source.endswith(".svg") and pixels:
                    texts, scripts, box = sizes(Path(unquote(urlsplit(source).path)))
                    scale, seen = pixels / box, seen + len(texts)
                    narrow[width] += source.endswith("-narrow.svg")
                    if scale * min(texts, default=99) < 9.95 or scale * min(scripts, default=99) < 8.95:
                        smallest = min(texts, default=99), min(scripts, default=99)
                        small.append((page.name, width, round(scale, 2), smallest))
    assert small == []
    assert seen > 1000
    assert narrow[TELEPHONE] > 30, "each width has its own layouts"
    assert narrow[SCREEN] == 0


def test_small_text_in_a_picture_is_found():
    figure, (axis,) = plotting.new_figure(1)
    axis.set_title(r"$\tau_\alpha$ and more", fontsize=10)
    axis.text(0.5, 0.5, "tiny", fontsize=5)
    texts, scripts, width = sizes_of_text(drawn(figure))
    assert min(texts) == 5
    assert 7 <= min(scripts) < 7.7
    assert 200 < width < 400


@pytest.mark.browser
def test_the_browser_would_tell(browser, tmp_path):
    page = tmp_path / "page.html"
    text = '<!doctype html><title>t</title><p style="width: 600px">wide</p><span class="math">x</span>'
    text += (
        '<div class="math"><mjx-container style="display: block; overflow: auto">'
        '<mjx-math style="display: inline-block; width: 40em">y</mjx-math></mjx-container></div>'
        '<p><span class="math"><mjx-container><mjx-math><mjx-merror>z</mjx-merror></mjx-math></mjx-container></span>'
    )
    page.write_text(text + "<script>nothing.there()</script><img src='http://127.0.0.1:9/far.png' alt='far'>")
    ((width, errors, unset, cut), _) = seen(browser, [page])[page]
    assert width > 600
    assert any("nothing is not defined" in error for error in errors)
    assert "http://127.0.0.1:9/far.png" in errors
    assert unset == 2
    assert cut == 1


def test_number_of_chapters_executed_at_once_is_a_whole_number(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    import side_by_side

    monkeypatch.setenv("GLASSLIT_BUILD_WORKERS", "3")
    assert side_by_side.workers() == 3
    monkeypatch.delenv("GLASSLIT_BUILD_WORKERS")
    assert 1 <= side_by_side.workers() <= 4
    for wrong in ("0", "many", "-1"):
        monkeypatch.setenv("GLASSLIT_BUILD_WORKERS", wrong)
        with pytest.raises(ValueError, match="expected a whole number"):
            side_by_side.workers()


def test_long_chapters_are_executed_first(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    import side_by_side

    names = [path.stem for path, _ in sorted(((path, None) for path in CHAPTERS), key=side_by_side.turn)]
    assert tuple(names[: len(side_by_side.LONG)]) == side_by_side.LONG
