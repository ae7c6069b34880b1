"""The stored study of forces: its second potential, its control, and that what is stored is what the files give."""

import json
import sys

import numpy as np
import pytest

from glasslit.learning.forces import force_errors
from glasslit.provenance import data_hash
from glasslit.testing import random_liquid
from tests.common import ROOT

FOLDER = ROOT / "book" / "runs" / "forces"


@pytest.fixture(scope="module")
def study():
    sys.path.insert(0, str(FOLDER))
    try:
        import study
    finally:
        sys.path.remove(str(FOLDER))
    return study


@pytest.fixture(scope="module")
def results():
    return json.loads((FOLDER / "results.json").read_text())


def test_the_energy_of_angles_is_a_sum_over_pairs_of_neighbors(study):
    c = random_liquid(160, seed=3, density=1.2)
    apart = c.positions[None] - c.positions[:, None]
    apart -= c.box * np.round(apart / c.box)
    r = np.linalg.norm(apart, axis=2)
    found = study.angles(c)[0]
    for i in (0, 5):
        near = [j for j in range(160) if j != i and r[i, j] < 2]
        f, u = {j: (1 - r[i, j] ** 2 / 4) ** 3 for j in near}, {j: apart[i, j] / r[i, j] for j in near}
        terms = [f[j] * f[k] * (u[j] @ u[k] + 1 / 3) ** 2 for j in near for k in near if j != k]
        assert found[i] == pytest.approx(2 * sum(terms), rel=1e-12)


def test_its_forces_are_finite_differences(study):
    c = random_liquid(160, seed=3, density=1.2)
    energies = []
    for step in (1e-5, -1e-5):
        positions = c.positions.copy()
        positions[7, 1] += step
        energies.append(study.angles(c.replace(positions=positions))[0].sum())
    assert study.angles(c)[1][7, 1] == pytest.approx(-(energies[0] - energies[1]) / 2e-5, rel=1e-7)


def test_it_is_made_from_a_committed_state(study, results):
    assert set(results) <= set(study.JOBS)
    ends = {f"pairs-lmax{d}-ntrain{n}-seed{s}" for d in (0, 1) for n in (1, 8) for s in study.SEEDS}
    assert ends <= set(results), "what the chapter compares"
    data = data_hash(c.hash() for split in study.SPLITS for c in study.liquids(split))
    for job, result in results.items():
        card = result["card"]
        assert card["parameters"]["job"] == job
        assert card["data_sha256"] == data
        assert "+" not in card["git_revision"] != "unknown"
    of_sizes = {job for job in results if job in study.TRADES}
    assert of_sizes == set(study.TRADES)
    for jobs in (of_sizes, results.keys() - of_sizes):  # each chapter's part can be repeated in a lesson, on two cores
        assert sum(results[job]["card"]["cpu_seconds"] for job in jobs) / 2 < 45 * 60


def test_a_job_that_is_not_there_is_refused_with_those_that_are_like_it(study):
    with pytest.raises(SystemExit, match=r"no job pairs-layers8-lmax3-seed0; .*did you mean 'pairs-layers8-lmax"):
        study.main(["pairs-layers1-lmax0-seed0", "pairs-layers8-lmax3-seed0"])


def test_kept_networks_give_the_stored_errors(study, results):
    for job in (study.LEARNED, "no-envelope"):
        again = force_errors(study.learned(job).float(), study.liquids("test")[:8])
        assert again["relative"] == pytest.approx(results[job]["test_errors"]["relative"], rel=1e-4)


def test_forces_that_are_read_directly_turn_and_do_work_on_a_closed_path(study):
    """The control: equivariant, and no gradient, unlike those of the learned potential."""
    c, turn = study.liquids("test")[0], np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    angles = 2 * np.pi * np.arange(40) / 40
    for net, conserves in ((study.learned("direct", study.DirectForces), False), (study.learned(study.LEARNED), True)):
        force = net.predict(c)[1]
        assert np.abs(net.predict(c.replace(positions=c.positions @ turn.T))[1] - force @ turn.T).max() < 1e-9
        assert np.abs(force.sum(axis=0)).max() < 1e-9
        work = 0.0
        for angle in angles:
            x, y = 0.1 * np.cos(angle), 0.1 * np.sin(angle)
            positions = c.positions.copy()
            positions[0] += [x, y, 0]
            work += net.predict(c.replace(positions=positions))[1][0] @ [-y, x, 0] * 2 * np.pi / len(angles)
        assert (abs(work) < 1e-5) == conserves


def test_the_wall_is_an_energy_with_its_forces_and_touches_no_equilibrium_pair_hard(study):
    c = random_liquid(160, seed=3, density=0.3)
    force = study.wall(c)[1]
    k, step = int(np.abs(force).sum(axis=1).argmax()), 1e-6
    ends = []
    for sign in (1, -1):
        positions = c.positions.copy()
        positions[k, 1] += sign * step
        ends.append(study.wall(c.replace(positions=positions))[0].sum())
    assert force[k, 1] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), rel=1e-5)
    assert np.abs(force.sum(axis=0)).max() < 1e-12 * np.abs(force).max()
    assert max(np.square(study.wall(c)[1]).mean() for c in study.liquids("test")) < 1


def test_curves_have_equal_steps_and_splits_are_strangers(study, results):
    curves = {job: r for job, r in results.items() if "steps" in r}
    assert {r["steps"] for r in curves.values()} == {study.STEPS}
    assert len({(c.positions.tobytes()) for s in study.SPLITS for c in study.liquids(s)}) == 20
