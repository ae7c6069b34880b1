"""The page *What repeats to the bit* names tests that exist, and says what was measured; with the tests it lacked."""

import ast
import json
import sys
from functools import cache

import numpy as np
import pytest
import torch

import glasslit as gl
from glasslit.prediction import predict_in_blocks
from glasslit.testing import random_liquid
from tests.common import ROOT, SMALL, learnable, trained

sys.path.insert(0, str(ROOT / "book"))
import what_repeats
from what_repeats import GROWS, LINES, ROUNDING, SAME, size, stored

ALL = [(part, line) for part, lines in LINES.items() for line in lines]
each_line = pytest.mark.parametrize("line", [line for _, line in ALL], ids=[f"{p}: {line.what}" for p, line in ALL])


@cache
def names_in(path):
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@each_line
def test_every_line_has_a_test_or_a_measurement_that_is_there(line):
    assert line.tests or line.measured or line.flag
    for test in line.tests:
        path, name = test.split("::")
        assert name in names_in(path), f"{test}: the page *What repeats to the bit* names a test that is not there"
    if line.flag:
        path, key = line.flag
        assert json.loads((ROOT / path).read_text())[key] is True


@each_line
def test_every_line_says_what_was_measured(line):
    found = size(line, stored())
    if found is not None:
        assert (found == 0) == (line.result == SAME)
        assert found == 0 or line.result in (ROUNDING, GROWS)
        assert found < {SAME: 1e-30, ROUNDING: 1e-5, GROWS: 0.1}[line.result]


def test_the_page_shows_every_part():
    cells = json.loads((ROOT / "book/repeatability.ipynb").read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    assert "for part in LINES" in text
    for part, lines in LINES.items():
        shown = what_repeats.table(part)
        assert shown.count("<tr>") == len(lines) + 1
        assert all(what_repeats.coded(line.what) in shown for line in lines)


def test_a_missing_test_and_a_wrong_word_would_be_noticed():
    lost = LINES["Prediction"][1]._replace(tests=("tests/test_names.py::test_that_is_not_there",))
    with pytest.raises(AssertionError, match="names a test that is not there"):
        test_every_line_has_a_test_or_a_measurement_that_is_there(lost)
    with pytest.raises(AssertionError):
        test_every_line_says_what_was_measured(LINES["Prediction"][0]._replace(result=ROUNDING))


@pytest.fixture
def threads():
    """The number of PyTorch's threads can be set, and is put back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_predictions_do_not_depend_on_the_number_of_threads(threads, small_net):
    """Large enough that PyTorch shares its sums out among threads."""
    net, c = small_net.float(), random_liquid(3000, seed=3)
    found = []
    for number in (1, 2, 3):
        threads(number)
        found.append((net.predict(c), predict_in_blocks(net, c, 700)))
    for whole, blocks in found[1:]:
        assert np.array_equal(whole, found[0][0])
        assert np.array_equal(blocks, found[0][1])


def test_a_training_keeps_its_bits_with_its_number_of_threads(threads):
    """With another number the sums over all particles are cut elsewhere: the same to rounding, which steps amplify."""
    train, val = [learnable(k, n=400) for k in range(2)], [learnable(9)]
    found = []
    for number in (1, 2, 2):
        threads(number)
        net, _ = trained(train, val, epochs=2)
        found.append((net.state_dict(), net.predict(val[0])))
    (_, one), (weights, two), (again, _) = found
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    assert np.abs(one - two).max() < 1e-3 * np.abs(one).max()


def test_a_bias_before_a_batch_norm_may_have_no_gradient_but_rounding():
    """Where its unit is active on every edge. Adam moves it all the same, in the direction that rounding gives."""
    c = learnable(0)
    torch.manual_seed(0)
    net = gl.SE3GNN(gl.ModelConfig(**SMALL, inputs="thermal", dropout=0.0)).double()
    net.set_standardization([c])
    graph = gl.neighbor_graph(c, net.config.cutoff, "thermal", torch.float64)
    graph.y = torch.tensor(c.propensity.T)
    active = []
    for convolution in net.convolutions:
        with torch.no_grad():
            convolution.radial[0].bias[:4] += 2.0  # so that some are active everywhere, whatever the seed
        convolution.radial[0].register_forward_hook(lambda _, __, out: active.append((out > 0).all(dim=0)))
    net.training_loss(graph).backward()
    for everywhere, convolution in zip(active, net.convolutions, strict=True):
        first = convolution.radial[0]
        assert everywhere[:4].all()
        assert not everywhere.all()
        largest = first.weight.grad.abs().max()
        assert first.bias.grad[everywhere].abs().max() < 1e-10 * largest
        assert first.bias.grad[~everywhere].abs().max() > 1e-3 * largest
