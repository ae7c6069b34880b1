#!/usr/bin/env bash
# pytest 9.2.0: a test that sets an option of PyTorch 2.13.0 with monkeypatch takes the option away from all later tests.
#
# Guess: `monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 16)` holds for one test, and afterwards the option
# has its old value again, as with every other module.
# Wrong: afterwards the option is gone. Since 9.2.0 pytest restores what stands in the module's own `__dict__`, and
# deletes the name if it does not stand there; PyTorch's modules of options keep their values elsewhere, and take the
# deletion at its word. The next test that compiles anything fails with "recompile_limit does not exist", if it happens
# to run in the same process after the first. With pytest 9.1.1 both pass. PyTorch's own
# `torch._dynamo.config.patch(recompile_limit=16)` restores the option with either.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet pytest==9.2.0 torch==2.13.0 numpy==2.4.6
cd "$folder"

cat > test_option.py <<'PY'
import pytest
import torch


def compiled():
    torch._dynamo.reset()
    return float(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)))


def test_sets_the_option(monkeypatch):
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 16)
    assert compiled() == 2


def test_compiles():
    assert compiled() == 2


def test_sets_it_with_the_means_of_pytorch():
    with torch._dynamo.config.patch(recompile_limit=16):
        assert compiled() == 2
    assert compiled() == 2
PY

run() { v/bin/python -m pytest -q -p no:cacheprovider "$@" test_option.py > out.txt 2>&1 && echo passed || echo failed; }

alone=$(run -k "test_compiles or pytorch")
both=$(run -k "sets_the_option or test_compiles")
grep --only-matching --max-count=1 "recompile_limit does not exist" out.txt
"$folder/v/bin/pip" install --quiet --quiet pytest==9.1.1
before=$(run)
echo "pytest 9.2.0: without monkeypatch $alone, after it $both; pytest 9.1.1: all $before"
[ "$alone $both $before" = "passed failed passed" ]
