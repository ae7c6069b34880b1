"""The list behind the page *What repeats to the bit*: each line with its tests, or with the measurement behind it.

``tests/test_what_repeats.py`` holds the list to the tests that it names, and the words to the numbers that were stored.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
HOME = "https://github.com/glasslit/glasslit/blob/main/"
MEASURED = "benchmarks/results/bits_cpu.json"
H200 = "benchmarks/results/step_nvidia-h200.json"
SAME, ROUNDING, GROWS = (
    "the same bits",
    "to rounding",
    "to rounding, which grows from step to step",
)
AVERAGES = "only averages agree"
BASELINES = tuple(
    f"training, {name}" for name in ("bapst", "botan", "egnn", "ridge")
)


class Line(NamedTuple):
    """One line of the table.

    measured : the change of ``benchmarks/compare_bits.py`` and its jobs, or the comparison within one process
    tests : files and names, as pytest writes them
    flag : a file of results and the key in it that says "true", for what was seen on another machine
    """

    what: str
    result: str
    measured: tuple[str, tuple[str, ...]] | None = None
    tests: tuple[str, ...] = ()
    flag: tuple[str, str] | None = None


TRAIN = "tests/learning/test_train.py::"
KERNELS = "tests/equivariance/test_kernels.py::"
LANES = "tests/simulate/test_lanes.py::"
BLOCKS = "tests/prediction/test_blocks.py::"
GPU = "tests/simulate/test_gpu.py::"
PROTOCOL = "tests/simulate/test_protocol.py::"
HERE = "tests/test_what_repeats.py::"

LINES: dict[str, list[Line]] = {
    "Training on a CPU": [
        Line(
            "again, with the same seed",
            SAME,
            ("again", ("training", "training, kernel reference")),
            (TRAIN + "test_same_seed_same_weights_other_seed_other_weights",),
        ),
        Line("baselines again, with the same seed", SAME, ("again", BASELINES)),
        Line(
            "killed, and resumed from its checkpoint",
            SAME,
            tests=(
                TRAIN
                + "test_killed_training_resumes_to_bitwise_the_same_weights",
                "tests/learning/test_pretrain.py::test_killed_pretraining_resumes_to_bitwise_the_same_weights",
                "tests/learning/test_forces.py::test_a_killed_training_ends_with_the_same_bits",
            ),
        ),
        Line(
            "graphs made ahead of time by other processes (`data_workers`)",
            SAME,
            tests=(
                TRAIN + "test_graphs_made_on_the_way_train_the_same_network",
            ),
        ),
        Line(
            "beside another process that does the same work, as in a sweep",
            SAME,
            ("together", ("training",)),
        ),
        Line(
            "with two threads and not one",
            GROWS,
            ("threads", ("training",)),
            (
                HERE
                + "test_a_training_keeps_its_bits_with_its_number_of_threads",
            ),
        ),
        Line(
            "baselines with two threads and not one",
            GROWS,
            ("threads", BASELINES),
        ),
        Line(
            "with the instructions AVX2, without AVX-512",
            GROWS,
            ("avx2", ("training",)),
        ),
        Line(
            'baselines, and `kernel="reference"`, with the instructions AVX2',
            SAME,
            ("avx2", (*BASELINES, "training, kernel reference")),
        ),
        Line(
            "with matrix products (MKL) that keep to AVX2",
            GROWS,
            ("mkl-avx2", ("training",)),
        ),
        Line("without AVX2", GROWS, ("default", ("training",))),
        Line(
            "with matrix products (MKL) for any processor",
            GROWS,
            ("mkl-compatible", ("training",)),
        ),
        Line(
            "shared by two processes, under `torchrun`",
            GROWS,
            tests=(
                "tests/test_parallel.py::test_two_processes_train_the_network_of_one",
            ),
        ),
        Line(
            "with another kernel: predictions and gradients",
            ROUNDING,
            tests=(
                KERNELS
                + "test_predictions_and_gradients_of_the_network_do_not_depend_on_the_kernel",
            ),
        ),
        Line(
            "begun with an older version of the package, and finished with this one",
            GROWS,
            tests=(
                "tests/learning/test_checkpoint.py::"
                "test_a_training_that_was_left_unfinished_before_modules_moved_goes_on",
            ),
        ),
    ],
    "Training on a GPU": [
        Line(
            "again, with the same seed (seen once, on an NVIDIA H200, at revision 845c5e4)",
            SAME,
            flag=(H200, "two_trainings_with_one_seed_end_with_the_same_bits"),
        ),
        Line(
            "with steps recorded as CUDA graphs (tested on a CPU, with a stand-in that records)",
            SAME,
            tests=(
                "tests/learning/test_capture.py::test_recorded_steps_train_bitwise_the_same_network",
            ),
        ),
    ],
    "Prediction": [
        Line("again", SAME, ("again", ("prediction",))),
        Line(
            "of several liquids in one call",
            SAME,
            ("within", ("several",)),
            (
                "tests/models/test_propensity.py::test_several_configurations_are_predicted_one_by_one",
            ),
        ),
        Line(
            "of a large system in blocks (with most sizes of blocks, the same bits)",
            ROUNDING,
            ("within", ("blocks", "small in blocks")),
            (BLOCKS + "test_blocks_give_what_the_whole_gives",),
        ),
        Line(
            "with two threads and not one",
            SAME,
            ("threads", ("prediction",)),
            (HERE + "test_predictions_do_not_depend_on_the_number_of_threads",),
        ),
        Line(
            "with the instructions AVX2, without AVX-512",
            SAME,
            ("avx2", ("prediction",)),
        ),
        Line(
            "with matrix products (MKL) that keep to AVX2",
            SAME,
            ("mkl-avx2", ("prediction",)),
        ),
        Line("without AVX2", ROUNDING, ("default", ("prediction",))),
        Line(
            "with matrix products (MKL) for any processor",
            ROUNDING,
            ("mkl-compatible", ("prediction",)),
        ),
        Line(
            "with another version of PyTorch or llvmlite, or on another processor",
            ROUNDING,
            tests=(
                "tests/learning/test_checkpoint.py::"
                "test_shipped_networks_predict_what_they_did_before_modules_moved",
            ),
        ),
    ],
    "The convolution's own kernel": [
        Line(
            "again, with any number of threads",
            SAME,
            tests=(
                KERNELS
                + "test_results_are_bitwise_the_same_from_run_to_run_and_for_any_number_of_threads",
            ),
        ),
        Line(
            "with registers of AVX2 and not of AVX-512: sums of the forward pass",
            SAME,
            tests=(
                KERNELS + "test_wide_and_narrow_registers_compute_the_same",
            ),
        ),
        Line(
            "with registers of AVX2 and not of AVX-512: gradients",
            ROUNDING,
            tests=(
                KERNELS + "test_wide_and_narrow_registers_compute_the_same",
            ),
        ),
        Line(
            "no gradient of a network is summed in an order that threads decide",
            SAME,
            tests=("tests/test_repeatable_sums.py::test_networks_and_heads",),
        ),
    ],
    "Labels": [
        Line("lane engine: again", SAME, ("again", ("labels, lanes",))),
        Line(
            "lane engine: beside other runs, in another lane",
            SAME,
            tests=(LANES + "test_a_run_does_not_depend_on_its_company",),
        ),
        Line(
            "lane engine: with other neighbor lists",
            SAME,
            tests=(LANES + "test_a_run_does_not_depend_on_the_neighbor_lists",),
        ),
        Line(
            "lane engine: with two threads and not one",
            SAME,
            ("threads", ("labels, lanes",)),
        ),
        Line(
            "lane engine: with AVX2, without AVX-512",
            SAME,
            ("numba-avx2", ("labels, lanes",)),
        ),
        Line(
            "lane engine: without AVX2",
            GROWS,
            ("numba-generic", ("labels, lanes",)),
        ),
        Line("LAMMPS: again", SAME, ("again", ("labels, lammps",))),
        Line(
            "LAMMPS: with more worker processes, or with more runs later",
            SAME,
            ("threads", ("labels, lammps",)),
            (
                PROTOCOL
                + "test_labels_depend_neither_on_workers_nor_on_more_runs",
            ),
        ),
        Line(
            "GPU engine: with other lists, threads and launches (tested in a simulator, or on a GPU where there is one)",
            SAME,
            tests=(
                GPU
                + "test_neither_lists_nor_threads_nor_launches_change_a_bit_of_it",
            ),
        ),
        Line(
            "GPU engine: killed, and resumed (tested in the same way)",
            SAME,
            tests=(GPU + "test_runs_under_way_go_on_where_they_were",),
        ),
        Line(
            "one engine and another: short runs",
            GROWS,
            tests=(LANES + "test_trajectories_are_those_of_lammps",),
        ),
        Line(
            "one engine and another: long runs, which are chaotic",
            AVERAGES,
            tests=(LANES + "test_ensemble_averages_agree_with_lammps",),
        ),
        Line(
            "a liquid thermalized again with the same seed",
            SAME,
            tests=(PROTOCOL + "test_equilibrate_gives_a_bare_configuration",),
        ),
    ],
}


def stored() -> dict[tuple[str, str], float]:
    """Measured differences: by (change, job), and by ("within", what was compared)."""
    found = json.loads((ROOT / MEASURED).read_text())
    within = {
        ("within", row["compared"]): row["difference"]
        for row in found["within_one_process"]
    }
    changed: dict[tuple[str, str], float] = {}
    for row in found["rows"]:  # of two processes side by side, the worse one
        key = row["change"], row["job"]
        changed[key] = max(row["difference"], changed.get(key, 0.0))
    return within | changed


def size(line: Line, differences: dict[tuple[str, str], float]) -> float | None:
    """The largest measured difference of a line, if anything was measured."""
    if line.measured is None:
        return None
    change, jobs = line.measured
    return max(differences[change, job] for job in jobs)


def power(number: float) -> str:
    """4e-08 as 4·10⁻⁸."""
    digit, exponent = f"{number:.0e}".split("e")
    return f"{digit}·10" + str(int(exponent)).translate(
        str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    )


def link(path: str) -> str:
    """To a file of the repository."""
    return f'<a href="{HOME}{path}">{Path(path).name}</a>'


def evidence(line: Line) -> str:
    """Links to the files, and the names of the tests in words."""
    said = []
    for test in line.tests:
        path, name = test.split("::")
        words = name.removeprefix("test_").replace("_", " ")
        said.append(f"{link(path)}: {words}")
    said += [link(MEASURED)] if line.measured else []
    said += [link(line.flag[0])] if line.flag else []
    return "<br>".join(said)


def coded(text: str) -> str:
    """What stands between backticks, as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def table(part: str) -> str:
    """One part of the list as a table in HTML."""
    differences, rows = stored(), []
    for line in LINES[part]:
        found = size(line, differences)
        how_far = f": {power(found)}" if found else ""
        cells = coded(line.what), line.result + how_far, evidence(line)
        rows.append("".join(f"<td>{cell}</td>" for cell in cells))
    head = "".join(
        f"<th>{name}</th>"
        for name in ("what is done", "result", "test or measurement")
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
