import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import glasslit as gl
from glasslit.data.checks import ENERGY_PER_STEP, FORCE_PER_STEP, Check, _step, check_data, describe
from glasslit.liquid.kob_andersen import TAU_ALPHA, energy_per_particle, forces

RELATIVES = "most shared places, validation and test"


def by_name(configurations):
    checks = check_data(configurations)
    assert len({(c.name, c.temperature) for c in checks}) == len(checks)
    return {c.name: c for c in checks}


def failing(configurations):
    return [c.name for c in check_data(configurations) if not c.holds]


def clean(T):
    return gl.load("starter", T=T)


def toy(**fields):
    """Four A and a B at density 1.2; no potential, so no energies are computed anew."""
    return gl.Configuration(
        **{
            "positions": np.arange(15.0).reshape(5, 3) / 10,
            "types": [0, 0, 0, 0, 1],
            "box": [(5 / 1.2) ** (1 / 3)] * 3,
            "temperature": 0.5,
        }
        | fields
    )


def pair(distance, **fields):
    """Two A particles in a wide box, unshifted potential."""
    place = [[0.0, 0, 0], [distance, 0, 0]]
    return gl.Configuration(
        positions=place, inherent_positions=place, types=[0, 0], box=[10] * 3, potential="unshifted", **fields
    )


def test_the_starter_set_passes_every_check():
    checks = check_data(gl.load("starter"))
    assert [c for c in checks if not c.holds] == []
    strangers = {c.temperature: c.found for c in checks if c.name == RELATIVES}
    assert strangers.keys() == {0.44, 0.47, 0.50, 0.56}
    assert max(strangers.values()) < 0.002  # three chains, one for each split


# Hand-solved: what each check finds.


def test_found_is_compared_with_expected():
    assert Check("", None, 1.0, 2.0, 1.0, "").holds
    assert not Check("", None, 1.0, 2.1, 1.0, "").holds
    assert not Check("", None, math.nan, 0.0, 1.0, "").holds
    assert Check("", None, 3.0, math.nan, math.nan, "").holds  # stated, not judged


def test_labels_hand_solved():
    half = np.array([[[1.0, 1, 1, 1, 1], [3, 3, 3, 3, 0]], [[1, 1, 1, 1, 1], [3, 3, 3, 3, 0]]])
    m = half.mean(axis=0)
    m[0, 3] += 0.25
    vector = np.zeros((2, 5, 3))
    vector[0, 0] = [0.6, 0.8, 1.0]  # length root 2 against a propensity of 1
    c = toy(times=[1, 2], propensity=m, propensity_half=half, mean_displacement=vector, msd=[[4, 4], [9, 9]])
    found = {name: check.found for name, check in by_name([c.replace(name="a"), c]).items()}
    assert found["propensities not finite and positive"] == 1
    assert found["mean propensity of a type falls, by a share of"] == 1.0  # B from 1 to 0
    assert found["propensity minus mean of its halves"] == 0.25
    assert found["mean vector longer than mean length, by"] == pytest.approx(math.sqrt(2) - 1, abs=1e-6)
    assert found["mean length beyond root mean square, by"] == 0
    c = c.replace(msd=[[1, 1], [4, 4]])  # mean length of A: 4.25 / 4 and 3
    assert by_name([c])["mean length beyond root mean square, by"].found == 1
    broken = by_name([c, c.replace(msd=[[-1, 1], [4, 4]])])["mean length beyond root mean square, by"]
    assert math.isnan(broken.found)
    assert not broken.holds


def test_halves_of_an_odd_number_of_runs_are_weighted():
    """Three runs 1, 2, 6: halves 1 and 4, mean 3."""
    c = toy(times=[1], propensity=np.full((1, 5), 3.0), propensity_half=np.array([[[1.0] * 5], [[4.0] * 5]]))
    name = "propensity minus mean of its halves"
    assert by_name([c.replace(n_trajectories=3)])[name].found == pytest.approx(0)
    assert by_name([c])[name].found == pytest.approx(0.5)


def test_relaxation_hand_solved():
    def of(values):
        c = toy(times=range(1, len(values) + 1), self_scattering=[[f, 1] for f in values])
        found = by_name([c])
        return [round(found[name].found, 6) if name in found else None for name in names]

    names = ["F_s outside of -0.3 to 1, by", "F_s rises before it has fallen to 1/e, by"]
    assert of([0.9, 0.5, 0.7, 0.2]) == [0, 0.2]
    assert of([0.9, 0.3, 0.5, 0.6]) == [0, 0]  # past 1/e, and a rise by 0.1 above it later does not count
    assert of([1.25, 0.3]) == [0.25, 0]
    assert of([0.9, -0.5]) == [0.2, 0]


def test_energy_and_force_hand_solved():
    """The minimum of the pair potential: -1/2 for each; at r = 1 the force is 24."""
    c = pair(2 ** (1 / 6), potential_energy_thermal=[-0.4, -0.6], potential_energy_inherent=[-0.5, -0.3])
    found = by_name([c])
    name = "stored minus recomputed {} energy, root mean square"
    assert found[name.format("thermal")].found == pytest.approx(0.1, abs=1e-6)
    assert found[name.format("inherent")].found == pytest.approx(math.sqrt(0.02), abs=1e-6)
    assert found["largest force in an inherent structure"].found == pytest.approx(0, abs=1e-9)
    assert by_name([pair(1.0)])["largest force in an inherent structure"].found == pytest.approx(24)


def test_energy_bands_hand_solved():
    energies = [-6.2, -6.3, -6.1, -6.0]
    group = [
        toy(temperature=0.44, potential_energy_thermal=[e] * 5, potential_energy_inherent=[e - 0.66] * 5, name=str(e))
        for e in energies
    ]
    assert "thermal energy" not in by_name(group)  # of no known potential
    found = by_name([c.replace(potential="force-shifted") for c in group])
    error = np.std(energies, ddof=1) / 2
    assert found["thermal energy"].found == pytest.approx(-6.15)
    assert found["thermal energy"].expected == -6.212
    assert found["thermal energy"].tolerance == pytest.approx(3 * math.hypot(error, 0.004))
    assert found["inherent energy"].found == pytest.approx(-6.81)
    assert found["inherent energy"].tolerance == pytest.approx(3 * math.hypot(error, 0.008))
    assert found["energy freed by the quench / (1.5 T)"].found == pytest.approx(1.0)
    assert found["energy freed by the quench / (1.5 T)"].expected == pytest.approx(0.9652, abs=1e-4)


def test_numbers_of_the_literature_are_asked_of_their_liquid_only():
    group = [
        toy(temperature=0.44, potential="force-shifted", potential_energy_thermal=[-6.0 - k] * 5, name=str(k))
        for k in range(4)
    ]
    assert "thermal energy" in by_name(group)
    for other in (
        {"potential": "energy-shifted"},
        {"temperature": 0.47},
        {"box": [1.7] * 3},
        {"types": [0, 0, 0, 1, 1]},
    ):
        assert "thermal energy" not in by_name([c.replace(**other) for c in group]), other
    assert "thermal energy" not in by_name(group[:3])  # too few for a standard error


def test_shared_places_hand_solved():
    one = gl.Configuration(positions=[[0, 0, 0], [3, 3, 3], [5, 5, 5], [7, 7, 7]], types=[0, 0, 0, 1], box=[10] * 3)
    other = [[9.8, 0, 0], [3, 3.29, 3], [5, 5, 5.31], [7, 7, 7]]  # across the boundary; near; too far; same
    name = "most shared places, any two"
    assert by_name([one, one.replace(positions=other)])[name].found == 0.75
    assert by_name([one, one.replace(positions=other, types=[0, 0, 0, 0])])[name].found == 0.5
    found = by_name([one.replace(split="train"), one.replace(positions=other, split="test")])
    assert found["most shared places, training and evaluation"].found == 0.75
    assert RELATIVES not in found
    assert name not in by_name([one, one.replace(box=[11] * 3)])


def test_shared_places_equal_a_loop():
    group = gl.load("starter", T=0.44)[3:]
    shares = []
    for k, one in enumerate(group):
        for other in group[:k]:
            gap = np.abs(np.mod(one.positions, one.box) - np.mod(other.positions, other.box))
            gap = np.minimum(gap, one.box - gap)
            shares.append(sum(math.dist(g, (0, 0, 0)) < 0.3 for g in gap) / one.n_particles)
    assert by_name(group)["most shared places, any two"].found == max(shares)


def test_equilibration_hand_solved():
    """The first half does not count, nor the middle of the second: 5 - 7 = -2."""
    energy = np.array([9.0, 1, 2, 7, 3, 5])
    scale = [1.0, 1.1, 0.9, 1.0]
    group = [toy(equilibration=np.stack([[1, 2, 3, 4, 5, 434 * s], energy * s, -energy * s], axis=1)) for s in scale]
    found = by_name(group)
    assert found["drift of energy in the second half of equilibration"].found == pytest.approx(-2)
    assert found["drift of energy in the second half of equilibration"].tolerance == pytest.approx(
        3 * 2 * np.std(scale, ddof=1) / 2
    )
    assert found["drift of F_s of A in the second half of equilibration"].found == pytest.approx(2)
    stated = found["shortest equilibration / tau_alpha"]
    assert stated.found == pytest.approx(1.8)  # the third's 0.9 * 434 / 217
    assert math.isnan(stated.expected)
    assert "drift of energy in the second half of equilibration" not in by_name(group[:3])
    assert "shortest equilibration / tau_alpha" not in by_name([c.replace(temperature=0.6) for c in group])


def test_what_is_missing_is_not_asked():
    assert check_data([toy()]) == []
    assert check_data([toy(temperature=None)]) == []
    small = toy(potential="force-shifted", potential_energy_thermal=[0] * 5)  # a box too small for the cutoff
    assert failing([small]) == []


# Mutations: each fails the one check that it should, and no other.


def one_of(configurations, **changes):
    """One configuration changed, by functions of it."""
    first, *rest = configurations
    return [first.replace(**{field: change(first) for field, change in changes.items()}), *rest]


def rows(array, row, change):
    """A copy with one row changed."""
    changed = np.array(array)
    changed[..., row, :] = change(changed[..., row, :])
    return changed


def a_particle_at_rest(group):
    def still(field):
        def change(c):
            changed = np.array(getattr(c, field))
            changed[(..., 7) if field != "mean_displacement" else (..., 7, slice(None))] = 0
            return changed

        return change

    return one_of(group, **{f: still(f) for f in ("propensity", "propensity_half", "mean_displacement")})


def a_falling_propensity(group):
    """The last time's labels, consistently, at half of their size."""
    last = slice(-1, None)

    def halve(field):
        def change(c):
            changed = np.array(getattr(c, field))
            changed[(slice(None), last) if field == "propensity_half" else last] /= 2
            return changed

        return change

    return one_of(group, **{f: halve(f) for f in ("propensity", "propensity_half", "mean_displacement")})


def swapped_halves(group):
    """The first half of one configuration, the second of another."""
    other = group[1].propensity_half
    return one_of(group, propensity_half=lambda c: np.stack([c.propensity_half[0], other[1]]))


def half_quenched(group):
    """The quench stopped early; energies of the positions where it stopped."""
    c = group[0]
    noise = np.random.default_rng(0).normal(scale=1e-3, size=c.positions.shape)
    return [with_energies(c.replace(inherent_positions=c.inherent_positions + noise)), *group[1:]]


def with_energies(c):
    system = torch.tensor(c.inherent_positions), torch.tensor(c.types), torch.tensor(c.box)
    return c.replace(potential_energy_inherent=energy_per_particle(*system, c.potential).numpy())


def mislabelled(group, **without):
    return [c.replace(temperature=0.44, **without) for c in group]


def strangers_of_one_chain(group):
    """A test configuration moved to the training side."""
    moved = next(k for k, c in enumerate(group) if c.split == "test")
    return [c.replace(split="train") if k == moved else c for k, c in enumerate(group)]


def equilibrated(group, drift=(0.0, 0.0)):
    """Twelve segments of noise after one that heats; a drift in energy and in F_s."""
    rng = np.random.default_rng(0)
    time = np.arange(1, 14)
    records = []
    for _ in group:
        noise = rng.normal(scale=0.02, size=(13, 2)) + np.outer(time / 13, drift)
        noise[0] += 1.0
        noise += np.array([-6.1, 0.3])
        records.append(np.column_stack([100.0 * time, noise]))
    return [c.replace(equilibration=record) for c, record in zip(group, records, strict=True)]


def with_covariances(group):
    """The same covariance of all particles of a type, in no direction more than in another, that the msd leaves."""

    def of(c):
        square = np.square(c.mean_displacement).sum(axis=2)
        left = [(c.msd[:, k] - square[:, c.types == k].mean(axis=1)) / 3 for k in (0, 1)]
        entries = np.zeros((*c.propensity.shape, 6))
        entries[..., :3] = np.stack(left)[c.types].T[..., None] * c.n_trajectories / (c.n_trajectories - 1)
        return c.replace(displacement_covariance=entries)

    return [of(c) for c in group]


MUTATIONS = {
    "covariance with a negative eigenvalue, by": (
        0.5,
        lambda g: one_of(
            with_covariances(g),
            displacement_covariance=lambda c: rows(
                c.displacement_covariance, 3, lambda e: e + 2 * e[..., :1] * [0, 0, 0, 0, 0, 1]
            ),
        ),
    ),
    "msd minus squared mean and covariance, as a share": (
        0.5,
        lambda g: one_of(with_covariances(g), displacement_covariance=lambda c: 1.2 * c.displacement_covariance),
    ),
    "time grids beyond one": (0.5, lambda g: [g[0].at_times(g[0].times[:-1]), *g[1:]]),
    "propensities not finite and positive": (0.5, a_particle_at_rest),
    "mean propensity of a type falls, by a share of": (0.5, a_falling_propensity),
    "propensity minus mean of its halves": (0.5, swapped_halves),
    "mean vector longer than mean length, by": (
        0.5,
        lambda g: one_of(g, mean_displacement=lambda c: 3 * c.mean_displacement),
    ),
    "mean length beyond root mean square, by": (0.5, lambda g: one_of(g, msd=lambda c: c.msd / 2)),
    "F_s outside of -0.3 to 1, by": (
        0.5,
        lambda g: one_of(g, self_scattering=lambda c: rows(c.self_scattering, -1, lambda f: f - 1)),
    ),
    "F_s rises before it has fallen to 1/e, by": (
        0.5,
        lambda g: one_of(g, self_scattering=lambda c: rows(c.self_scattering, 1, lambda f: f + 0.2)),
    ),
    "stored minus recomputed thermal energy, root mean square": (
        0.5,
        lambda g: one_of(g, potential_energy_thermal=lambda c: c.potential_energy_thermal + 0.01),
    ),
    "stored minus recomputed inherent energy, root mean square": (
        0.5,
        lambda g: one_of(g, potential_energy_inherent=lambda c: c.potential_energy_inherent + 0.01),
    ),
    "largest force in an inherent structure": (0.5, half_quenched),
    "thermal energy": (0.56, lambda g: mislabelled(g, potential_energy_inherent=None)),
    "inherent energy": (0.56, lambda g: mislabelled(g, potential_energy_thermal=None)),
    "energy freed by the quench / (1.5 T)": (0.5, lambda g: [c.replace(temperature=0.55) for c in g]),
    "most shared places, any two": (0.5, lambda g: [*g, g[0]]),
    "most shared places, training and evaluation": (0.44, strangers_of_one_chain),
    RELATIVES: (0.44, lambda g: [*g[:-1], g[-1].replace(split="val")]),
    "drift of energy in the second half of equilibration": (0.5, lambda g: equilibrated(g, drift=(-0.2, 0))),
    "drift of F_s of A in the second half of equilibration": (0.5, lambda g: equilibrated(g, drift=(0, 0.2))),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutated_set_fails_that_check_and_no_other(name):
    T, mutate = MUTATIONS[name]
    assert failing(mutate(clean(T))) == [name]


def test_every_judged_check_has_its_mutation():
    checks = check_data(equilibrated(with_covariances(gl.load("starter"))))
    assert {c.name for c in checks if not math.isnan(c.expected)} == set(MUTATIONS)


def test_equilibrium_without_drift_holds():
    """Also with the first segment, which heats, far away."""
    assert failing(equilibrated(clean(0.5))) == []


# Rounding: how labels are stored may cost digits, and costs no check.


@pytest.mark.parametrize("step", [1e-3, 2.0**-10, "float16"])
def test_rounded_fields_hold_and_still_show_damage(step):
    def rounded(x):
        return x.astype(np.float16).astype(np.float32) if step == "float16" else np.round(x / step) * step

    fields = ("propensity", "propensity_half", "mean_displacement", "potential_energy_thermal", "self_scattering")
    group = [
        c.replace(**{f: rounded(getattr(c, f)) for f in fields}, positions=np.round(c.positions, 4)) for c in clean(0.5)
    ]
    assert failing(group) == []
    for name in ("propensity minus mean of its halves", "stored minus recomputed thermal energy, root mean square"):
        assert failing(MUTATIONS[name][1](group)) == [name]


def test_rounded_halves_beside_an_exact_propensity_hold():
    group = [c.replace(propensity_half=np.round(c.propensity_half, 3)) for c in clean(0.5)]
    check = by_name(group)["propensity minus mean of its halves"]
    assert check.holds
    assert check.found > 4e-4


def test_step_of_rounding():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 9, size=3000)
    assert _step(x) < 1e-5
    assert _step(np.round(x, 4)) == pytest.approx(1e-4)
    assert _step(np.round(x / 15 * 65536) * 15 / 65536) == pytest.approx(15 / 65536)
    assert 2.0**-20 <= _step(x.astype(np.float32)) < 1e-5  # half of it is the error at 8 to 16
    assert _step((x / 10 + 1).astype(np.float16)) == 2.0**-10
    assert _step(np.round(x, 1)) == 2e-3  # no excuse beyond this
    assert _step(np.zeros(3)) == 0


def test_what_rounded_positions_cost_is_within_its_constant():
    """Against energies and forces computed from the full positions."""
    for c in gl.load("starter", split="test"):
        kinds, box = torch.tensor(c.types), torch.tensor(c.box)
        for step in (1e-4, 1e-3):
            rough = [torch.tensor(np.round(x / step) * step) for x in (c.positions, c.inherent_positions)]
            for x, stored in zip(rough, (c.potential_energy_thermal, c.potential_energy_inherent), strict=True):
                off = energy_per_particle(x, kinds, box, c.potential).numpy() - stored
                assert np.sqrt(np.mean(off**2)) < ENERGY_PER_STEP * step
            assert 200 * step < forces(rough[1], kinds, box, c.potential).abs().max() < FORCE_PER_STEP * step


# Which and in which order.


def test_temperatures_are_judged_apart_and_in_order():
    low, high = gl.load("starter", T=0.44)[:1], gl.load("starter", T=0.56)[:1]
    both = check_data([*high, *low, toy(temperature=None, times=[1], propensity=np.ones((1, 5)))])
    known = check_data(low) + check_data(high)
    assert both[: len(known)] == known
    assert {check.temperature for check in both[len(known) :]} == {None}


def test_the_worst_configuration_is_named_whatever_the_order():
    group = MUTATIONS["F_s outside of -0.3 to 1, by"][1](clean(0.5))
    assert by_name(group)["F_s outside of -0.3 to 1, by"] == by_name(group[::-1])["F_s outside of -0.3 to 1, by"]


def test_describe():
    a = toy(split="train", engine="x", n_trajectories=8, potential="unshifted", times=[1, 217])
    b = a.replace(split="test", engine="y", times=[2], propensity=np.ones((1, 5)))
    table = describe([a, b, toy(temperature=None), toy(temperature=0.3)])
    assert table.index.name == "T"
    assert table.index[:2].tolist() == [0.3, 0.5]
    assert math.isnan(table.index[2])
    row = table.loc[0.5]
    assert row[["configurations", "train", "val", "test"]].tolist() == [2, 1, 0, 1]
    assert row[["N", "A", "B", "density", "runs per label"]].tolist() == ["5", "4", "1", "1.2", "8"]
    assert row[["potential", "engine", "times"]].tolist() == ["unshifted", "x, y", "1..217 (2), 2..2 (1)"]
    assert row["last time / tau_alpha"] == 1
    assert row["fields"] == "propensity (1 of 2)"
    assert table.loc[0.3, ["fields", "engine", "times"]].tolist() == ["", "None", "None"]
    assert pd.isna(table.loc[0.3, "last time / tau_alpha"])


@pytest.mark.parametrize("ask", [check_data, describe])
def test_nothing_to_check_is_an_error(ask):
    with pytest.raises(ValueError, match="expected at least one"):
        ask([])


def test_the_standard_set_passes_every_check_and_stays_small():
    group = gl.load("standard")
    assert failing(group) == []
    assert {c.n_particles for c in group} == {4096}
    assert {c.n_trajectories for c in group} == {32}
    for temperature in {c.temperature for c in group}:
        here = [c for c in group if c.temperature == temperature]
        assert [sum(c.split == split for c in here) for split in ("train", "val", "test")] == [12, 2, 2]
        assert here[0].times[-1] >= TAU_ALPHA[temperature]
    sizes = [p.stat().st_size for p in (Path(gl.__file__).parent / "data" / "standard").glob("*.h5")]
    assert max(sizes) < 16e6
    assert sum(sizes) < 25e6
