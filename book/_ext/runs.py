"""Sphinx extension: published training runs have pages, but are no chapters.

A run is ``book/runs/NAME.ipynb`` with the folder ``book/runs/NAME``. Its page is made of the files in that folder: it is
in no table of contents, has no numbered figures and is not searched. The executed notebook lies beside it.

``{run}`T0.44` `` in a chapter leads to the page of ``book/runs/T0.44``; ``{run}`the text <T0.44>` `` does, with a text.
A run is named by its path below ``book/runs``, or by its last part where no other run has the same.
The directive ``{all-runs}`` is a table of them all.
"""

import csv
import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from html import escape
from pathlib import Path
from urllib.parse import quote

import matplotlib as mpl
from docutils import nodes
from docutils.parsers.rst import Directive
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from sphinx.roles import XRefRole
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

from glasslit.names import did_you_mean

log = logging.getLogger(__name__)
RUNS = "book/runs"
ALL = "book/all_runs"
GROUPS = {
    "T0.": (
        "Starter set",
        ["training_runs", "inputs_and_vectors", "against_the_field"],
    ),
    "standard-": (
        "Standard set, three inputs",
        ["training_runs", "fields", "body_order"],
    ),
    "botan-small-": ("Published data", ["training_runs", "order_parameter"]),
    "published/": ("Published data, more seeds", ["training_runs"]),
    "lmax/": (
        "Highest degree",
        [
            "ablations",
            "against_the_field",
            "one_decoder",
            "smoothness",
            "body_order",
            "inside_the_network",
            "how_sure",
        ],
    ),
    "mirror/": ("Mirror images", ["ablations"]),
    "depth/": (
        "Number of layers",
        ["ablations", "body_order", "inside_the_network"],
    ),
    "ntrain/": (
        "Number of training configurations",
        ["ablations", "body_order"],
    ),
    "angles_depth/": ("Degrees or layers", ["angles_or_depth"]),
    "body/": ("Products, attention and width", ["body_order"]),
    "inputs/": (
        "Inputs",
        ["ablations", "inputs_and_vectors", "inside_the_network", "how_sure"],
    ),
    "vector_T/": (
        "The vector at other temperatures",
        ["inputs_and_vectors", "against_the_field"],
    ),
    "vectors/": ("Vector targets", ["inputs_and_vectors"]),
    "covariance/": ("Covariance as a target", ["inputs_and_vectors"]),
    "decoders/": ("Decoders", ["one_decoder"]),
    "left_out/": ("A time left out", ["one_decoder"]),
    "several_T/": ("Several temperatures", ["one_decoder"]),
    "smooth/": ("Terms against over-smoothing", ["smoothness"]),
    "pretrain/": ("Pretraining without labels", ["without_labels"]),
    "pretrain_T/": ("Pretraining, another temperature", ["without_labels"]),
    "ridge_T/": ("Ridge at other temperatures", ["against_the_field"]),
    "univariate/": ("One time, or all", ["ablations"]),
    "temperatures/": (
        "Other temperatures",
        [
            "transfer",
            "one_decoder",
            "inputs_and_vectors",
            "against_the_field",
        ],
    ),
    "opponents/": (
        "Other methods, 500 epochs",
        ["against_the_field"],
    ),
    "baselines/": ("Other methods", ["against_the_field"]),
}
"""How names of runs begin: what they are called together, and the chapters that use them."""
SCORES = {
    "mean": "within",
    "ceiling_within": "its ceiling",
    "pooled": "pooled",
    "ceiling": "its ceiling",
    "E_IS": "E_IS alone",
    "density": "density alone",
}
"""Keys of metrics.json, and the heads of their columns."""
LEGEND = (
    "Pearson's correlation with the simulated propensity, on configurations that took no part in training. <em>Within</em>: "
    "in each test configuration, then averaged; <em>pooled</em>: over all test particles. Each has its noise ceiling, the "
    "highest correlation that a perfect predictor could reach with labels as noisy as these. <em>E_IS alone</em> and "
    "<em>density alone</em> (pooled): what the energy in the inherent structure, or the number of neighbors, reaches."
)


@dataclass(frozen=True)
class Run:
    """A published run, as its files tell it."""

    name: str
    notebook: Path

    @property
    def folder(self):
        return self.notebook.with_suffix("")

    @property
    def last(self):
        return self.name.rsplit("/", 1)[-1]

    @cached_property
    def card(self):
        return json.loads((self.folder / "card.json").read_text())

    @cached_property
    def metrics(self):
        return json.loads((self.folder / "metrics.json").read_text())

    @cached_property
    def history(self):
        with (self.folder / "history.csv").open() as file:
            return [
                {k: float(v or "nan") for k, v in row.items() if k != "best"}
                for row in csv.DictReader(file)
            ]

    @cached_property
    def executed(self):
        return json.loads(self.notebook.read_text())

    @property
    def group(self):
        """Beginning of the name, a key of GROUPS.

        Raises
        ------
        ValueError
            If it begins otherwise.
        """
        for start in GROUPS:
            if self.name.startswith(start):
                return start
        raise ValueError(
            f"run {self.name!r}; expected a name that begins with one of {list(GROUPS)}: add its group to {__name__}.GROUPS"
        )

    def about(self):
        """What distinguishes it from other runs, by name of the column."""
        given, model = self.card["parameters"], self.card["parameters"]["model"]
        network = given.get("network", "se3")
        size = [n for n in ("layers", "steps") if n in model]
        if network in ("ridge", "mlp"):  # these have no layers
            size = []
        tables = re.search(
            r"^train\s+(\d+)", "\n".join(texts(self.executed)), re.M
        )
        return {
            "data": given["data"],
            "T": temperatures(given["T"]),
            "inputs": given["inputs"],
            "network": network
            if network != "se3"
            else f"se3, {given['preset']}",
            "layers": model[size[0]] if size else None,
            "l_max": model.get("l_max"),
            "configurations": int(tables[1])
            if tables
            else given.get("n_train"),
            "seed": self.card["seed"],
            "epochs": given["training"]["epochs"],
            "minutes": self.card["wall_seconds"] / 60,
        }


def temperatures(given):
    """One number, or those of several joined to a text."""
    if not isinstance(given, list):
        return float(given)
    return (
        given[0] if len(given) == 1 else " + ".join(f"{t:.2f}" for t in given)
    )


def texts(notebook):
    """What the cells of an executed notebook show, as plain text."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            yield "".join(output.get("data", {}).get("text/plain", ""))


def found_runs(folder):
    """Finished runs below a folder, {name: run}, in the order of their groups."""
    folder = Path(folder)
    runs = []
    for path in sorted(folder.rglob("card.json")):
        name = path.parent.relative_to(folder).as_posix()
        runs.append(
            Run(name, path.parent.with_name(f"{path.parent.name}.ipynb"))
        )
    order = list(GROUPS)
    runs.sort(key=lambda run: (order.index(run.group), run.name))
    return {run.name: run for run in runs}


def named(name, runs):
    """The name of the run that a chapter means.

    Raises
    ------
    ValueError
        If there is none, or several.
    """
    if name in runs:
        return name
    meant = [run for run in runs if run.rsplit("/", 1)[-1] == name]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ValueError(
            f"run {name!r} could be each of {meant}; expected one of them"
        )
    raise ValueError(f"no run {name!r} in {RUNS}{did_you_mean(name, runs)}")


def to(app, here, there):
    """The address of one page as it is written on another."""
    target = app.builder.get_target_uri
    return relative_uri(target(here), target(there))


def resolve(app, env, node, contnode):
    """The link of the role, which is in no domain of Sphinx."""
    if node["reftype"] != "run":
        return None
    try:
        name = named(node["reftarget"], found_runs(Path(app.srcdir, RUNS)))
    except ValueError as error:
        log.warning(f"{error}", location=node, type="ref", subtype="run")
        return contnode
    if app.builder.format != "html":
        return contnode
    address = to(app, node["refdoc"], f"{RUNS}/{name}")
    return nodes.reference("", "", contnode, refuri=address, internal=True)


def told(value, digits=3):
    """A number or a word in a table."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else f"{value}"


def cell(value, digits=3, tag="td"):
    """A cell of a table that can be sorted."""
    by = "" if value is None else f"{value}"
    kind = ' class="number"' if isinstance(value, int | float) else ""
    return f'<{tag}{kind} data-by="{escape(by)}">{escape(told(value, digits))}</{tag}>'


def scrolling(table, label):
    """A table that scrolls by itself where the screen is narrow, also with the keyboard."""
    return (
        '<div class="pst-scrollable-table-container glasslit-scroll" role="region" '
        f'tabindex="0" aria-label="{escape(label)}">{table}</div>'
    )


def score_tables(run):
    for kind, scores in run.metrics["test"].items():
        there = [key for key in SCORES if key in scores]
        head = "".join(f'<th scope="col">{SCORES[key]}</th>' for key in there)
        rows = "".join(
            f'<tr><th scope="row">{time:g}</th>'
            + "".join(cell(scores[key][k]) for key in there)
            + "</tr>"
            for k, time in enumerate(run.metrics["times"])
        )
        table = (
            f"<caption>{kind} particles of the test configurations</caption>"
            f'<thead><tr><th scope="col">time</th>{head}</tr></thead>'
            f"<tbody>{rows}</tbody>"
        )
        yield scrolling(
            f'<table class="table glasslit-scores">{table}</table>',
            f"Scores on {kind} particles",
        )


class Curves:
    """Two pictures of what a run learned, drawn for one run after the other."""

    def __init__(self):
        self.loss, self.score = (Figure((4.2, 3.0)) for _ in range(2))
        left, right = (
            figure.add_axes((0.17, 0.17, 0.80, 0.78))
            for figure in (self.loss, self.score)
        )
        (self.training,) = left.plot([], [], color="0.45", label="training")
        (self.validation,) = left.plot(
            [], [], color="#7b3fa0", label="validation"
        )
        (self.rho,) = right.plot([], [], color="#7b3fa0")
        (self.best,) = right.plot([], [], "o", color="#7b3fa0")
        left.set(xlabel="epoch", ylabel="loss", yscale="log")
        left.yaxis.set_major_formatter(LogFormatter())
        left.yaxis.set_minor_formatter(LogFormatter())
        right.set(
            xlabel="epoch", ylabel=r"validation $\rho$ (A, mean over times)"
        )
        left.legend(frameon=False)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)

    def draw(self, history, folder):
        """loss.svg and score.svg in a folder."""
        epochs = [row["epoch"] for row in history]
        self.training.set_data(epochs, [row["train_loss"] for row in history])
        self.validation.set_data(epochs, [row["val_loss"] for row in history])
        self.rho.set_data(epochs, [row["val_rho"] for row in history])
        best = best_of(history)
        self.best.set_data([best["epoch"]], [best["val_rho"]])
        told = self.loss.axes[0].get_legend()
        for part in (told.get_texts()[1], told.legend_handles[1]):
            part.set_visible(validates(history))
        for name, figure in (("loss", self.loss), ("score", self.score)):
            (axes,) = figure.axes
            axes.relim()
            axes.autoscale_view()
            with mpl.rc_context({"svg.hashsalt": "glasslit", "font.size": 10}):
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def validates(history):
    """Whether there is a score of validation configurations; a run with fold "all" has none."""
    return history[-1]["val_rho"] == history[-1]["val_rho"]  # not nan


def best_of(history):
    """The epoch that was kept: where nothing validates, the last."""
    if not validates(history):
        return history[-1]
    return max(history, key=lambda row: row["val_rho"])


def card_table(run):
    card = run.card
    rows = {
        "date": card["date"],
        "state of the package": card["git_revision"],
        "hash of its source": card["source_hash"],
        "hash of the data": card["data_sha256"],
        "device": card["device"],
        "versions": ", ".join(f"{k} {v}" for k, v in card["versions"].items()),
    }
    body = "".join(
        f'<tr><th scope="row">{k}</th><td>{escape(v)}</td></tr>'
        for k, v in rows.items()
    )
    whole = escape(json.dumps(card["parameters"], indent=1))
    return (
        f'<table class="table glasslit-card"><tbody>{body}</tbody></table>'
        f"<details><summary>All parameters</summary><pre>{whole}</pre></details>"
    )


def stamp(run):
    about = run.executed["metadata"]["papermill"]
    date = datetime.fromisoformat(about["end_time"])
    return (
        f"Last executed on {date:%d %B %Y} in {about['duration'] / 60:.0f} min; "
        "versions stand on its card."
    )


TOLD = {
    "T",
    "data",
    "inputs",
    "network",
    "preset",
    "layers",
    "l_max",
    "n_train",
    "epochs",
    "seed",
    "out",
    "pictures",
}
"""Parameters that the line about a run tells by other means, or that change nothing in what it learns."""


def also_given(run):
    """Further parameters that the run was given, as one types them."""
    given = run.executed["metadata"]["papermill"]["parameters"]
    return [
        f"{k} = {v}"
        for k, v in given.items()
        if k not in TOLD and v not in (None, "none")
    ]


def one_line(run):
    about, best = run.about(), best_of(run.history)
    size = [f"{about['layers']} layers"] if about["layers"] else []
    size += [f"l_max = {about['l_max']}"] if about["l_max"] is not None else []
    kept = about["T"]
    kept_epoch = (
        f"the best on validation (number {best['epoch']:.0f}) kept"
        if validates(run.history)
        else "the last kept; nothing validates"
    )
    parts = [
        f"Data {about['data']}, T = {kept if isinstance(kept, str) else f'{kept:.2f}'}",
        f"inputs {about['inputs']}",
        f"network {about['network']}",
        *size,
        f"{about['configurations']} training configuration{'s' * (about['configurations'] != 1)}",
        f"seed {about['seed']}",
        f"{about['epochs']} epochs, {kept_epoch}",
        f"{about['minutes']:.1f} min",
    ]
    if more := also_given(run):
        parts.append(f"also given: {', '.join(more)}")
    return "; ".join(parts) + "."


def body(app, run, page):
    """The page of a run, in HTML."""
    link = '<a class="reference internal" href="{}">{}</a>'.format
    up = [link(to(app, page, ALL), "All runs")]
    for chapter in GROUPS[run.group][1]:
        if f"book/{chapter}" in app.env.titles:
            title = app.env.titles[f"book/{chapter}"].astext()
            up.append(link(to(app, page, f"book/{chapter}"), escape(title)))
    best = best_of(run.history)
    pictures = {
        "loss": f"Training and validation loss of run {run.last} against the epoch, on a logarithmic scale.",
        "score": f"Correlation of run {run.last} on validation configurations against the epoch; the best, "
        f"{best['val_rho']:.3f} at epoch {best['epoch']:.0f}, is marked.",
    }
    if not validates(run.history):
        loss = f"Training loss of run {run.last} against the epoch, on a logarithmic scale. Nothing validates."
        pictures = {"loss": loss}
    here = quote(run.last)
    drawn = "".join(
        f'<img src="{here}/{name}.svg" alt="{escape(alt)}" width="403" height="288">'
        for name, alt in pictures.items()
    )
    files = ", ".join(
        f'<a class="reference download internal" download href="{here}/{name}">{name}</a>'
        for name in FILES
    )
    size = run.notebook.stat().st_size / 1e6
    return "".join(
        [
            f"<section><h1>Run {escape(run.last)}</h1>",
            f'<p class="glasslit-up">{escape(GROUPS[run.group][0])}. Used in: {", ".join(up[1:]) or "–"}. Listed in: {up[0]}.</p>',
            f"<p>{escape(one_line(run))}</p>",
            '<p><a class="reference download internal" download '
            f'href="{here}.ipynb">Download the executed notebook</a> ({size:.1f} MB); {files}. The network itself is '
            f"<code>{RUNS}/{escape(run.name)}/model.pt</code> in the repository.</p>",
            f"<h2>Scores</h2><p>{LEGEND}</p>",
            *score_tables(run),
            f'<h2>Learning curve</h2><div class="glasslit-curves">{drawn}</div>',
            f"<h2>Provenance</h2>{card_table(run)}</section>",
            f'<p class="glasslit-stamp">{escape(stamp(run))}</p>',
        ]
    )


FILES = ("metrics.json", "history.csv", "card.json")


def pages(app):
    """A page for each run, which Sphinx writes without knowing it as a document."""
    if app.builder.format != "html":
        return
    app.menus_of_runs = {}
    runs, curves = list(found_runs(Path(app.srcdir, RUNS)).values()), Curves()
    for k, run in enumerate(runs):
        page = f"{RUNS}/{run.name}"
        folder = Path(app.outdir, page)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.notebook, folder.with_name(f"{folder.name}.ipynb"))
        for name in FILES:
            shutil.copyfile(run.folder / name, folder / name)
        curves.draw(run.history, folder)
        beside = {}
        for which, other in (("prev", k - 1), ("next", k + 1)):
            if 0 <= other < len(runs) and runs[other].group == run.group:
                name = runs[other].name
                beside[which] = {
                    "link": to(app, page, f"{RUNS}/{name}"),
                    "title": f"Run {runs[other].last}",
                }
        up = {"link": to(app, page, ALL), "title": "All runs"}
        context = {
            "title": f"Run {run.last}",
            "body": body(app, run, page),
            "parents": [up],
            **beside,
        }
        yield page, context, "page.html"


COLUMNS = ("mean", "ceiling_within", "pooled", "ceiling")
"""Scores in the table of all runs."""


def row_of(app, here, run):
    """Cells of a run in the table of all runs: {(group of columns, column): cell}."""
    address = to(app, here, f"{RUNS}/{run.name}")
    of_a, about = run.metrics["test"]["A"], run.about()
    name = (
        f'<a class="reference internal" href="{address}">{escape(run.last)}</a>'
    )
    row = {
        (
            "",
            "run",
        ): f'<th scope="row" data-by="{escape(run.last)}">{name}</th>'
    }
    digits = {"T": 2, "minutes": 1}
    cells = {k: cell(v, digits.get(k, 3)) for k, v in about.items()}
    for column in ("T", "inputs"):
        row["", column] = cells.pop(column)
    for when, at in (("longest", -1), ("first", 0)):
        for key in COLUMNS:
            value = of_a[key][at] if key in of_a else None
            row[f"A particles, {when} time", key] = cell(value)
    row |= {(" ", column): value for column, value in cells.items()}
    row[" ", "also given"] = cell(", ".join(also_given(run)) or None)
    row[" ", "sweep"] = cell(GROUPS[run.group][0])
    row[" ", "date"] = cell(run.card["date"][:10])
    row[" ", "revision"] = cell(run.card["git_revision"][:7])
    return row


def all_runs(app, here, runs):
    """The table of all runs, in HTML."""
    rows = {name: row_of(app, here, run) for name, run in runs.items()}
    columns = list(next(iter(rows.values())))
    groups = Counter(group for group, _ in columns)
    above = "".join(
        f'<th scope="colgroup" colspan="{number}">{group}</th>'
        if group.strip()
        else f'<td colspan="{number}"></td>'
        for group, number in groups.items()
    )
    heads = "".join(
        f'<th scope="col">{SCORES.get(column, column)}</th>'
        for _, column in columns
    )
    body = "".join(
        f'<tr data-sweep="{escape(GROUPS[runs[name].group][0])}">{"".join(row.values())}</tr>'
        for name, row in rows.items()
    )
    sweeps = dict.fromkeys(GROUPS[run.group][0] for run in runs.values())
    options = "".join(f"<option>{escape(name)}</option>" for name in sweeps)
    table = (
        f"<thead><tr>{above}</tr><tr>{heads}</tr></thead><tbody>{body}</tbody>"
    )
    return (
        '<p class="glasslit-choose" hidden><label>Sweep: <select><option value="">all</option>'
        f'{options}</select></label> <span role="status"></span></p>'
        + scrolling(
            f'<table class="table glasslit-runs">{table}</table>', "All runs"
        )
    )


class AllRuns(Directive):
    """The table of all runs: sorted by a click on a column's head, chosen by sweep."""

    def run(self):
        env = self.state.document.settings.env
        runs = found_runs(Path(env.srcdir, RUNS))
        for run in runs.values():
            for name in FILES:
                env.note_dependency(str(run.folder / name))
        text = all_runs(env.app, env.docname, runs)
        return [nodes.raw("", text, format="html")]


def with_its_look(app, pagename, templatename, context, doctree):
    if pagename == ALL or pagename.startswith(f"{RUNS}/"):
        app.add_css_file("runs.css")
    if pagename == ALL:
        app.add_js_file("runs.js", loading_method="defer")


def with_one_menu(app, pagename, templatename, context, doctree):
    """The menu, alike on all pages of runs in a folder, is made once: it takes as long as the rest of a page."""
    if not pagename.startswith(f"{RUNS}/"):
        return
    make, folder = context["toctree"], pagename.rpartition("/")[0]

    def menu(**asked):
        key = (folder, *sorted(asked.items()))
        if key not in app.menus_of_runs:
            app.menus_of_runs[key] = make(**asked)
        return app.menus_of_runs[key]

    context["toctree"] = menu


def setup(app):
    app.add_role("run", XRefRole(innernodeclass=nodes.inline))
    app.add_directive("all-runs", AllRuns)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", pages)
    app.connect("html-page-context", with_its_look)
    app.connect("html-page-context", with_one_menu)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
