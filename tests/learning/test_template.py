"""The training notebook from outside: its parameters are read, not repeated; its execution is watched."""

import json
import re
import shutil
import tomllib

import nbformat
import pytest

from glasslit.learning import losses, template
from glasslit.learning.parameters import DECODERS, INPUTS, NETWORKS, PARAMETERS, SMOOTH_TERMS, TARGETS, TASKS
from glasslit.liquid import graph
from glasslit.models import decoders, heads
from glasslit.models.baselines import BASELINES
from tests.common import ROOT

TEMPLATE = ROOT / "book" / "train.ipynb"


def test_the_template_is_that_of_the_checkout_or_of_the_package(tmp_path, monkeypatch):
    assert template.find_template() == TEMPLATE
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(template.resources, "files", lambda name: tmp_path)
    with pytest.raises(ValueError, match=r"neither .*data.train\.ipynb nor .*book.train\.ipynb"):
        template.find_template()
    shutil.copy(TEMPLATE, tmp_path / "data" / "train.ipynb")
    assert template.find_template() == tmp_path / "data" / "train.ipynb"


def test_the_wheel_holds_the_template():
    """What pyproject.toml puts into the wheel is what is looked for there."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"book/train.ipynb": "glasslit/data/train.ipynb"}


def test_settings_are_what_the_cell_assigns():
    scope = {}
    (cell,) = [c for c in nbformat.read(TEMPLATE, 4).cells if "parameters" in c.metadata.get("tags", [])]
    exec(cell.source, {}, scope)
    found = template.settings(TEMPLATE)
    assert {s.name: s.default for s in found} == scope
    assert [s.name for s in found] == list(PARAMETERS)


def test_comments_beside_and_below_belong_to_their_name(tmp_path):
    source = '# of none\na = 1  # one\n# and more # of it\n# and more\nb = "# no comment"\nc = [1,\n     2]  # list\n'
    assert comments_of(tmp_path, source) == {"a": "one and more # of it and more", "b": "", "c": "list"}


def comments_of(folder, source, tags=("parameters",)):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "some.ipynb")
    return {s.name: s.comment for s in template.settings(folder / "some.ipynb")}


@pytest.mark.parametrize(("source", "tags"), [("a = 1", []), ("a = f(2)", ["parameters"]), ("a = ", ["parameters"])])
def test_a_notebook_without_readable_parameters_is_refused(tmp_path, source, tags):
    with pytest.raises(ValueError, match="expected a notebook with one cell tagged 'parameters'"):
        comments_of(tmp_path, source, tags)
    with pytest.raises(ValueError, match="has no readable parameters"):
        template.settings(tmp_path / "missing.ipynb")


def test_names_that_are_written_twice_agree():
    assert INPUTS == graph.INPUTS
    assert TARGETS == heads.TARGETS
    assert tuple(decoders.DECODERS) == DECODERS
    assert losses.NAMES == SMOOTH_TERMS
    assert tuple(heads.PRETEXTS) == TASKS
    assert ("se3", *BASELINES) == NETWORKS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("on: yes", "-y: a parameter is called True"),
        ("{on: yes, seed: 1}", "-y: a parameter is called True"),
        ("T: [", "-y is not YAML"),
        ("T", "-y holds 'T'; expected names with values"),
        ("", "-y holds None; expected names with values"),
        ("epoch: 3", "-y: unknown parameter epoch"),
        ("T: hot", "-y: T = 'hot'; expected a number"),
    ],
)
def test_yaml_that_cannot_be_meant_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        template.read_yaml(text, "-y")


def notebook(folder, body):
    """A notebook with the template's parameters that does something else."""
    made = nbformat.read(TEMPLATE, 4)
    (cell,) = [c for c in made.cells if "parameters" in c.metadata.get("tags", [])]
    made.cells = [cell, nbformat.v4.new_code_cell(body)]
    nbformat.write(made, folder / "other.ipynb")
    return folder / "other.ipynb"


BAR = """
from IPython.display import HTML, display
bar = display(HTML(""), display_id=True)
for epoch in (1, 2, 3):
    bar.update(HTML(f"<progress value={epoch} max=3></progress> epoch {epoch}"))
"""


def test_progress_is_told_and_the_notebook_appears_at_the_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = []
    template.execute(notebook(tmp_path, BAR), "run.ipynb", {"seed": 3}, lambda *state: told.append(state))
    assert told == [(1, 3, "epoch 1"), (2, 3, "epoch 2"), (3, 3, "epoch 3")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.ipynb", "run.ipynb"]
    about = json.loads((tmp_path / "run.ipynb").read_text())["metadata"]["papermill"]
    assert about["parameters"] == {"seed": 3}
    assert about["exception"] is None


def test_a_failure_is_told_and_leaves_an_earlier_notebook_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.ipynb").write_text("earlier")
    failing = notebook(tmp_path, "def inner():\n    return {}['nothing']\ninner()")
    with pytest.raises(RuntimeError) as caught:
        template.execute(failing, "run.ipynb", {})
    told = str(caught.value)
    assert "return {}['nothing']" in told
    assert "\x1b" not in told
    assert told.endswith("KeyError: 'nothing'; the notebook with the whole traceback is .run.failed.ipynb")
    assert (tmp_path / "run.ipynb").read_text() == "earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".run.failed.ipynb", "other.ipynb", "run.ipynb"]
    with pytest.raises(ValueError, match="unknown parameter sed"):
        template.execute(failing, "run.ipynb", {"sed": 3})


def test_what_a_notebook_warned_of_is_found_once(tmp_path):
    def told(text, name="stderr"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    cells = [nbformat.v4.new_code_cell() for _ in range(3)]
    cells[0].outputs = [
        told("/x/y.py:3: UserWarning: fold 1: relatives\n  fold(train)\n"),
        told("a.py:1: UserWarning: no", "stdout"),
    ]
    cells[2].outputs = [told("y.py:3: UserWarning: fold 1: relatives\nz.py:9: UserWarning: far: 3.1\nINFO done\n")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    assert template.warnings_in(tmp_path / "a.ipynb") == ["fold 1: relatives", "far: 3.1"]
    assert template.warnings_in(tmp_path / "not there.ipynb") == []
