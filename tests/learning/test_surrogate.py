"""Linear models of outputs whose explained part is known."""

import numpy as np
import pytest

import glasslit as gl
from glasslit.learning.surrogate import (
    DESCRIPTORS,
    FIRST_SHELL,
    NEIGHBORHOOD,
    described,
    explained_part,
    fit_surrogate,
)
from glasslit.liquid.periodic import minimum_image
from glasslit.testing import random_liquid


def liquids(n=2, particles=800):
    return [random_liquid(particles, seed=k) for k in range(n)]


def tables(configurations, rng):
    return [{"one": rng.normal(size=c.n_particles), "two": rng.normal(size=c.n_particles)} for c in configurations]


def outputs(configurations, known, noise=0.0, rng=None):
    """Two times; A and B follow other lines."""
    found = []
    for c, t in zip(configurations, known, strict=True):
        slope = np.where(c.types == 0, 2.0, -3.0)
        y = np.stack([1 + slope * t["one"], 0.5 * t["two"] - slope * t["one"]])
        found.append(y if rng is None else y + noise * y.std() * rng.normal(size=y.shape))
    return found


def test_what_is_linear_is_found_and_explained():
    rng, cs = np.random.default_rng(0), liquids()
    known = tables(cs, rng)
    y, types = outputs(cs, known), [c.types for c in cs]
    model = fit_surrogate(y, known, types)
    assert model.weights["A"] == pytest.approx(np.array([[2, 0], [-2, 0.5]]), abs=1e-10)
    assert model.weights["B"] == pytest.approx(np.array([[-3, 0], [3, 0.5]]), abs=1e-10)
    assert model.constants["A"] == pytest.approx([1, 0], abs=1e-10)
    part, error = explained_part(y, [model.predict(t, c.types) for t, c in zip(known, cs, strict=True)], cs)["B"]
    assert part == pytest.approx([1, 1])
    assert error == pytest.approx([0, 0], abs=1e-12)
    half = fit_surrogate(y, known, types, ["two"])
    lesser = explained_part(y, [half.predict(t, c.types) for t, c in zip(known, cs, strict=True)], cs)["A"][0]
    assert lesser == pytest.approx([0, 0.25 / 4.25], abs=0.03)


def test_noise_is_explained_on_no_held_out_configuration():
    rng, cs = np.random.default_rng(1), liquids(4)
    known = tables(cs, rng)
    y = [rng.normal(size=(1, c.n_particles)) for c in cs]
    model = fit_surrogate(y[:2], known[:2], [c.types for c in cs[:2]])
    part, _ = explained_part(
        y[2:], [model.predict(t, c.types) for t, c in zip(known[2:], cs[2:], strict=True)], cs[2:]
    )["A"]
    assert -0.02 < part[0] < 0.01


def test_the_error_is_how_much_the_explained_part_scatters():
    """Over many liquids whose regions are alike in their noise; the bootstrap sees one of them at a time."""
    rng, found, errors = np.random.default_rng(2), [], []
    for k in range(40):
        c = random_liquid(400, seed=k)
        (known,) = tables([c], rng)
        loud = rng.uniform(0.4, 1.4, size=8)[(c.positions > c.box / 2) @ [4, 2, 1]]
        y = known["one"][None] + loud * rng.normal(size=(1, 400))
        part, error = explained_part([y], [known["one"][None]], [c])["A"]
        found.append(part[0])
        errors.append(error[0])
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.35)


def test_descriptors_against_a_count_by_hand():
    c = gl.load("starter", T=0.50, split="test")[0]
    table = described(c)
    assert list(table) == list(DESCRIPTORS)
    assert all(v.shape == (c.n_particles,) and np.isfinite(v).all() and v.std() > 0 for v in table.values())
    for i in (0, 333, 999):
        r = np.linalg.norm(minimum_image(c.positions - c.positions[i], c.box), axis=1)
        for kind, name in enumerate("AB"):
            near = (r > 0) & (r < FIRST_SHELL) & (c.types == kind)
            assert table[f"{name} in the first shell"][i] == near.sum()
        weight = np.exp(-r / NEIGHBORHOOD) * (r < NEIGHBORHOOD)
        around = (weight * c.potential_energy_inherent).sum() / weight.sum()
        assert table["E_IS around"][i] == pytest.approx(around)
        step = minimum_image(c.inherent_positions[i] - c.positions[i], c.box)
        assert table["length of u_IS"][i] == pytest.approx(np.linalg.norm(step))


def test_what_cannot_be_meant_is_refused():
    (c,) = liquids(1)
    (known,) = tables([c], np.random.default_rng(0))
    y = np.zeros((1, 800))
    with pytest.raises(ValueError, match=r"descriptors \['entropy'\]; expected some of"):
        described(c, ["entropy"])
    with pytest.raises(ValueError, match="potential_energy_inherent"):
        described(c.replace(potential_energy_inherent=None), ["E_IS"])
    with pytest.raises(ValueError, match="1 outputs, 1 tables, 0 lists"):
        fit_surrogate([y], [known], [])
    with pytest.raises(ValueError, match="799 outputs, 800 descriptions"):
        fit_surrogate([y[:, 1:]], [known], [c.types])
    model = fit_surrogate([y], [known], [c.types])
    with pytest.raises(ValueError, match="without two; expected these descriptors"):
        model.predict({"one": known["one"]}, c.types)
    with pytest.raises(ValueError, match="expected \\(T, N\\) for each configuration"):
        explained_part([y], [y[:, 1:]], [c])
    assert np.isnan(explained_part([y], [y], [c.replace(types=np.zeros(800, dtype=int))])["B"][0]).all()
