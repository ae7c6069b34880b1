"""What papermill makes of what one types, and what is meant by it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from glasslit.learning.parameters import PARAMETERS, check_parameter, check_parameters, watch_names

TRUE = ["true", "True", "TRUE", "yes", "Yes", "on", "ON", " true ", True]
FALSE = ["false", "False", "FALSE", "no", "No", "off", "OFF", False]
A_LIST = "expected a list of numbers or None"
NONE = ["None", "none", "null", "Null", "NULL", "~", "", None]


@pytest.mark.parametrize(("texts", "meant"), [(TRUE, True), (FALSE, False)])
@pytest.mark.parametrize("name", ["shuffle_labels", "pictures"])
def test_truth_values_are_taken_as_yaml_has_them(name, texts, meant):
    for text in texts:
        assert check_parameter(name, text) is meant
        if text:  # YAML itself agrees
            assert yaml.safe_load(str(text)) is meant


def test_none_is_taken_where_it_can_be_and_refused_elsewhere():
    for name, kind in PARAMETERS.items():
        for text in NONE:
            if kind.none:
                assert check_parameter(name, text) is None
            elif kind.type is not str or text in (None, ""):
                with pytest.raises(ValueError, match=re.escape(f"{name} = {text!r}; expected {kind}")):
                    check_parameter(name, text)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("T", "0.5", 0.5),
        ("T", 1, 1),
        ("T", ["0.44", 0.5], [0.44, 0.5]),
        ("T", [0.44], 0.44),
        ("learning_rate", "1e-3", 0.001),  # PyYAML takes it for text
        ("learning_rate", np.float32(0.5), 0.5),
        ("level_weight", "2", 2),
        ("epochs", "60", 60),
        ("epochs", 100.0, 100),  # papermill's -p epochs 1e2
        ("epochs", "1e2", 100),
        ("epochs", np.int64(3), 3),
        ("num_workers", "auto", "auto"),
        ("num_workers", "2", 2),
        ("num_workers", "null", None),
        ("times", [13, "5e1"], [13, 50.0]),
        ("times", (13.0,), [13.0]),
        ("betas", [0.9, 0.999], [0.9, 0.999]),
        ("out", Path("runs") / "a", str(Path("runs") / "a")),
        ("data", "true", "true"),
    ],
)
def test_values_are_what_is_meant(name, value, meant):
    found = check_parameter(name, value)
    assert found == meant
    assert type(found) is type(meant)
    assert check_parameters({name: value}) == {name: meant}


def test_yaml_alone_takes_such_a_number_for_text():
    assert yaml.safe_load("1e-3") == "1e-3"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("shuffle_labels", "maybe", "shuffle_labels = 'maybe'; expected True or False, as in -p shuffle_labels True"),
        ("shuffle_labels", 1, "shuffle_labels = 1; expected True or False"),
        ("pictures", None, "pictures = None; expected True or False, as in -p pictures False"),
        ("T", "hot", "T = 'hot'; expected a number or a list of different numbers, as in -p T 0.44"),
        ("T", True, "T = True; expected a number"),
        ("T", float("nan"), "T = nan; expected a number"),
        ("position_noise", "inf", "position_noise = 'inf'; expected a number"),
        ("seed", "true", "seed = 'true'; expected a whole number of at least 0, as in -p seed 0"),
        ("layers", 2.5, "layers = 2.5; expected a whole number of at least 1 or None, as in -p layers 4"),
        ("layers", "two", "layers = 'two'; expected a whole number of at least 1 or None"),
        ("num_workers", "many", "num_workers = 'many'; expected a whole number of at least 0 or 'auto' or None"),
        (
            "times",
            "[13, 52]",
            'expected a list of numbers or None, which papermill takes with -y: -y "times: [13, 52]"',
        ),
        ("times", "13 52", '-y "times: [13, 52]"'),
        (
            "T",
            "0.44, 0.5",
            'expected a number or a list of different numbers, which papermill takes with -y: -y "T: [0.44, 0.5]"',
        ),
        ("T", [0.44, 0.44], "T = [0.44, 0.44]; expected a number or a list of different numbers"),
        ("T", [], "T = []; expected a number or a list of different numbers"),
        (
            "times",
            52,
            'times = 52; expected a list of numbers or None, which papermill takes with -y: -y "times: [52]"',
        ),
        (
            "times",
            [],
            'times = []; expected a list of numbers or None, which papermill takes with -y: -y "times: [13, ',
        ),
        ("times", [13, None], "times = [13, None]; expected a list of numbers"),
        ("times", "soon", '-y "times: [13, 412]"'),
        ("betas", [0.9], "betas = [0.9]; expected a list of 2 numbers or None"),
        ("betas", "0.9,0.99", '-y "betas: [0.9, 0.99]"'),
        ("out", 7, "out = 7; expected text or None, which papermill takes with -r, whatever it looks like: -r out 7"),
        ("data", True, "data = True; expected text, which papermill takes with -r"),
        ("epochs", 0, "epochs = 0; expected a whole number of at least 1 or None"),
        ("n_train", "-1", "n_train = '-1'; expected a whole number of at least 1 or None"),
        ("position_noise", -0.1, "position_noise = -0.1; expected a number of at least 0"),
        ("inputs", ["IS"], "inputs = ['IS']; expected text, as in -p inputs thermal+E_IS"),
        ("data", "", "data = ''; expected text"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_mend(name, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_parameters({name: value})


def test_names_that_are_no_parameters_are_refused():
    assert check_parameters({"_": 1, "In": [], "T": 0.5, "exit": None}) == {"T": 0.5}
    with pytest.raises(ValueError, match="unknown parameters epoch, sed; expected some of T, data, inputs"):
        check_parameters({"epoch": 3, "sed": 1, "T": 0.5})
    assert check_parameters({"epoch": 3, "T": 0.5}, among_others=True) == {"T": 0.5}
    given = yaml.safe_load("{on: yes}")
    with pytest.raises(
        ValueError, match=r"a parameter is called True, which is no text; expected some of T.*YAML takes"
    ):
        check_parameters(given)


def test_a_cell_that_assigns_to_no_name_is_refused_in_a_sentence():
    """IPython itself, in a process of its own: the cells that papermill writes, and one of a reader's."""
    code = """
from IPython.core.interactiveshell import InteractiveShell
from glasslit.learning.parameters import watch_names
shell = InteractiveShell.instance()
watch_names()
watch_names()
assert sum(getattr(f, "__name__", "") == "_refuse_names" for f in shell.input_transformers_cleanup) == 1
for cell in ("T = 3\\nTrue = True\\n", "T-x = 3\\n", "T = 5\\n", None):
    found = shell.run_cell(f"# Parameters\\n{cell}" if cell else "True = 1", silent=True)
    print("SAID", type(found.error_before_exec).__name__, str(found.error_before_exec)[:40])
print("T", shell.user_ns["T"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = [line for line in done.stdout.splitlines() if line.startswith(("SAID", "T "))]
    assert said == [
        "SAID ValueError a parameter is called True, which is no ",
        "SAID ValueError a parameter is called T-x, which is no n",
        "SAID NoneType None",
        "SAID SyntaxError cannot assign to True (<ipython-input-1-",
        "T 5",
    ]


def test_outside_of_ipython_names_are_not_watched():
    assert watch_names() is None
