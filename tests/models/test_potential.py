"""A learned potential: energies that no rotation changes, forces that are their gradient, smooth at the cutoff."""

import copy

import numpy as np
import pytest
import torch
from e3nn import o3

import glasslit as gl
from glasslit.equivariance import so3
from glasslit.models.potential import (
    Gate,
    Potential,
    PotentialConfig,
    envelope,
    exact,
    labels,
    load_potential,
    save_potential,
)
from glasslit.testing import random_liquid

SMALL = {"layers": 2, "channels": 3, "l_max": 2, "n_basis": 4, "hidden": 5, "readout": 6}


def small(**changes):
    torch.manual_seed(0)
    return Potential(PotentialConfig(**(SMALL | changes))).double()


@pytest.fixture(scope="module")
def liquid():
    """In a box that is just long enough."""
    c = random_liquid(160, seed=1)
    return c.replace(potential="force-shifted")


@pytest.mark.parametrize("l_max", [0, 1, 2, 3])
def test_forces_turn_with_the_liquid_and_energies_stay(liquid, l_max):
    net = small(l_max=l_max)
    energy, force = net.predict(liquid)
    for rotation in so3.cube_rotations().numpy()[[1, 9, 17]]:
        turned = liquid.replace(positions=liquid.positions @ rotation.T)
        e, f = net.predict(turned)
        assert np.abs(e - energy).max() < 1e-12 * np.abs(energy).max()
        assert np.abs(f - force @ rotation.T).max() < 1e-11 * np.abs(force).max()
        assert np.abs(f - force).max() > 0.1 * np.abs(force).max()


@pytest.mark.parametrize("mirror_images", [True, False])
def test_a_mirror_image_has_the_same_energy_where_the_potential_knows_it(liquid, mirror_images):
    """And forces that are mirrored. Without this knowledge, which is the negative control, they differ."""
    net = small(mirror_images=mirror_images, relaxed=0)
    energy, force = net.predict(liquid)
    for mirror in ([1, 1, -1], [-1, -1, -1]):
        e, f = net.predict(liquid.replace(positions=liquid.positions * mirror))
        errors = np.abs(e - energy).max() / np.ptp(energy), np.abs(f - force * mirror).max() / np.abs(force).max()
        assert max(errors) < 1e-11 if mirror_images else min(errors) > 1e-6
    rotation = so3.cube_rotations().numpy()[9]
    _, turned = net.predict(liquid.replace(positions=liquid.positions @ rotation.T))
    assert np.abs(turned - force @ rotation.T).max() < 1e-11 * np.abs(force).max()


class Unequal(Gate):
    """The broken twin: ReLU of every component, scalar or not."""

    def forward(self, h):
        return torch.nn.functional.relu(h)


def test_a_gate_on_components_breaks_it(liquid):
    net = small()
    net.gates[0].__class__ = Unequal
    energy, _ = net.predict(liquid)
    turned = liquid.replace(positions=liquid.positions @ so3.cube_rotations()[9].numpy().T)
    assert np.abs(net.predict(turned)[0] - energy).max() > 1e-4 * np.abs(energy).max()


def test_forces_are_minus_the_gradient_of_the_energy_and_add_up_to_zero(liquid):
    net = small()
    _, force = net.predict(liquid)
    assert np.abs(force.sum(axis=0)).max() < 1e-12
    h = 1e-5
    for k, axis in ((0, 0), (7, 1), (80, 2)):
        moved = []
        for sign in (1, -1):
            positions = liquid.positions.copy()
            positions[k, axis] += sign * h
            moved.append(net.predict(liquid.replace(positions=positions))[0].sum())
        assert (moved[1] - moved[0]) / (2 * h) == pytest.approx(force[k, axis], rel=1e-5, abs=1e-9)


def two(distance):
    """Two particles and a third one far away, in a large box."""
    positions = np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0], [10.0, 10.0, 10.0]])
    return gl.Configuration(positions=positions, types=[0, 1, 0], box=[20.0, 20.0, 20.0], temperature=0.5)


def test_the_envelope_makes_energy_and_force_smooth_at_the_cutoff():
    """Without it the energy jumps by what a neighbor at the cutoff is worth."""
    jumps = {}
    for power in (6, 0):
        net = small(power=power)
        with torch.no_grad():  # at the start they are zero, and so are all weights at the cutoff
            net.convolutions[0].last.bias.fill_(1.0)
            net.convolutions[1].last.bias.fill_(1.0)
        before, at = (net.predict(two(d)) for d in (2.5 - 1e-6, 2.5 + 1e-6))
        jumps[power] = abs(before[0].sum() - at[0].sum()), np.abs(before[1] - at[1]).max()
    assert max(jumps[6]) < 1e-9
    assert jumps[0][0] > 1e-3


def test_the_envelope_itself():
    r = torch.linspace(0.01, 2.0, 50, dtype=torch.float64).requires_grad_()
    u = envelope(r, 2.0)
    assert float(u[0].detach()) == pytest.approx(1, abs=1e-10)
    assert (u.diff() < 0).all()
    (first,) = torch.autograd.grad(u.sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    for value in (u[-1], first[-1], second[-1]):
        assert float(value.detach()) == pytest.approx(0, abs=1e-12)


def test_the_gradient_of_a_loss_of_forces_is_right(liquid):
    """Second derivatives of the whole network, by finite differences of its weights."""
    net = small(layers=1).train()
    graph = net.graph(liquid)
    target = torch.randn(160, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss(model):
        return (model(graph)[1] - target).square().mean()

    gradients = torch.autograd.grad(loss(net), list(net.parameters()), allow_unused=True)
    checked = 0
    for number, gradient in enumerate(gradients):
        if gradient is None or float(gradient.abs().max()) < 1e-8:
            continue
        place = int(gradient.abs().argmax())
        values = []
        for sign in (1, -1):
            moved = copy.deepcopy(net)
            list(moved.parameters())[number].data.view(-1)[place] += sign * 1e-5
            values.append(float(loss(moved).detach()))
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float(gradient.flatten()[place]), rel=1e-4)
        checked += 1
    assert checked >= 8


def test_kernels_agree(liquid):
    fast, slow = small(kernel="cpu"), small(kernel="reference")
    for a, b in zip(fast.predict(liquid), slow.predict(liquid), strict=True):
        assert np.abs(a - b).max() < 1e-12 * np.abs(b).max()


def test_scales_are_those_of_the_training_set(liquid):
    net = small()
    net.set_standardization([liquid])
    energy, force = exact(liquid)
    assert float(net.target_mean) == pytest.approx(energy.mean())
    assert float(net.scale) == pytest.approx(np.sqrt(np.mean(force**2)))
    with pytest.raises(ValueError, match="does not say its potential"):
        net.set_standardization([liquid.replace(potential=None)])
    with pytest.raises(ValueError, match="no configurations"):
        net.set_standardization([])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 0}, "layers = 0; expected a whole number of at least 1"),
        ({"l_max": True}, "l_max = True"),
        ({"mirror_images": 1}, "mirror_images = 1; expected True or False"),
        ({"cutoff": -1.0}, "cutoff = -1.0"),
        ({"cutoff": "2"}, "cutoff = '2'; expected a positive, finite number"),
        ({"cutoff": float("inf")}, "cutoff = inf; expected a positive, finite number"),
        ({"cutoff": float("nan")}, "cutoff = nan; expected a positive, finite number"),
        ({"cutoff": True}, "cutoff = True; expected a positive, finite number"),
        ({"cutoff": None}, "cutoff = None; expected a positive, finite number"),
        ({"neighbors": "78"}, "neighbors = '78'; expected a positive, finite number"),
        ({"neighbors": float("inf")}, "neighbors = inf; expected a positive, finite number"),
        ({"neighbors": 0}, "neighbors = 0; expected a positive, finite number"),
        ({"layers": "2"}, "layers = '2'; expected a whole number of at least 1"),
        ({"power": float("nan")}, "power = nan; expected a whole number of at least 0"),
        ({"hidden": float("inf")}, "hidden = inf; expected a whole number of at least 1"),
        ({"power": 2}, "power = 2; expected 3 or more"),
        ({"kernel": "fast"}, "kernel 'fast'; expected one of auto"),
        ({"layer": 2}, "layer"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PotentialConfig(**settings)


@pytest.mark.parametrize("number", [np.float64(2.0), np.float32(2.0), 2])
def test_numbers_of_any_library_go_through_files(number, tmp_path):
    save_potential(small(cutoff=number, neighbors=number), tmp_path / "a.pt")
    config = load_potential(tmp_path / "a.pt").config
    assert (config.cutoff, config.neighbors) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: gl.SE3GNN(gl.ModelConfig.laptop(n_times=1, layers=1)), "a SE3GNN; expected a learned potential"),
        (lambda: "potential.pt", r"'potential.pt'; expected a learned potential: .*load_potential\(path\)"),
        (lambda: Potential, r"<class '.*Potential'>; expected a learned potential: Potential\(config\)"),
        (lambda: None, "None; expected a learned potential"),
    ],
)
def test_only_a_potential_is_saved(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_potential(given(), tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


def of_shape(energies, forces=(160, 3), value=1.0):
    return lambda c: (np.full(energies, value), np.full(forces, value))


def nowhere(c):
    raise AssertionError("truth was asked")


TRUTHS = {
    "the whole energy": (of_shape(1), r"energies \(1,\) and forces \(160, 3\); expected energies \(160,\)"),
    "the whole energy, 0-d": (of_shape(()), r"energies \(\) and forces \(160, 3\); expected energies \(160,\)"),
    "a float": (lambda c: (1.0, np.ones((160, 3))), r"energies \(\) and forces"),
    "energies in a column": (of_shape((160, 1)), r"energies \(160, 1\)"),
    "one force for all": (of_shape(160, 3), r"forces \(3,\); expected energies \(160,\) and forces \(160, 3\)"),
    "fewer particles": (
        of_shape(159, (159, 3)),
        r"energies \(159,\) and forces \(159, 3\); expected energies \(160,\)",
    ),
    "nan": (of_shape(160, value=np.nan), r"truth gave nan at \[0\] of the energies; expected finite numbers"),
    "an infinite force": (
        lambda c: (np.ones(160), np.full((160, 3), np.inf)),
        r"truth gave inf at \[0, 0\] of the forces",
    ),
    "energies alone": (lambda c: np.ones(160), "ndarray that is no two arrays"),
    "nothing": (lambda c: None, "NoneType that is no two arrays"),
    "text": (lambda c: (np.full(160, "1"), np.ones((160, 3))), "tuple that is no two arrays"),
    "complex numbers": (lambda c: (np.full(160, 1j), np.ones((160, 3))), "tuple that is no two arrays"),
    "gradients": (lambda c: (torch.ones(160, requires_grad=True), torch.ones(160, 3)), "tuple that is no two arrays"),
    "no function": ("exact", "truth = 'exact'; expected a function"),
    "zero": (0, "truth = 0; expected a function"),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_what_truth_says_is_checked(liquid, name):
    truth, message = TRUTHS[name]
    net = small()
    with pytest.raises(ValueError, match=message):
        net.set_standardization([liquid], truth)
    assert (float(net.target_mean), float(net.scale)) == (0, 1), "nothing is taken"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda c: c, r"a Configuration; expected a list of configurations: \[configuration\]"),
        (lambda c: [c.positions], "a ndarray in the list; expected configurations"),
        (lambda c: None, "a NoneType; expected a list of configurations"),
    ],
)
def test_scales_of_anything_but_a_list_are_refused(liquid, given, message):
    with pytest.raises(ValueError, match=message):
        small().set_standardization(given(liquid), nowhere)


def test_labels_are_float64_and_fit_the_precision(liquid):
    energies, forces = labels([liquid], lambda c: (torch.ones(160), np.ones((160, 3), np.int8)))[0]
    assert energies.dtype == forces.dtype == np.float64
    large = of_shape(160, value=1e39)
    assert labels([liquid], large)[0][0].max() == 1e39
    with pytest.raises(ValueError, match=r"truth gave 1e\+39 at \[0\] of the energies; .* at most 3.4e\+38"):
        small().float().set_standardization([liquid], large)


def test_files(liquid, tmp_path):
    net = small()
    net.set_standardization([liquid])
    save_potential(net, tmp_path / "a" / "potential.pt")
    again = load_potential(tmp_path / "a" / "potential.pt")
    for a, b in zip(net.predict(liquid), again.predict(liquid), strict=True):
        assert np.array_equal(a, b)
    with pytest.raises(ValueError, match="is not there"):
        load_potential(tmp_path / "b.pt")
    (tmp_path / "c.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        load_potential(tmp_path / "c.pt")
    gl.save_model(gl.SE3GNN(gl.ModelConfig.laptop(n_times=1, layers=1)), tmp_path / "d.pt")
    with pytest.raises(ValueError, match="is no learned potential"):
        load_potential(tmp_path / "d.pt")


def turned_together(net, liquid, turn):
    """Energies when the liquid turns, and with ``turn(weights, kinds, rotation)`` the relaxed weights, too."""
    rotation = so3.cube_rotations()[9]
    again = copy.deepcopy(net)
    with torch.no_grad():
        again.relaxed_weights.copy_(turn(net.relaxed_weights[None], "1e+2e", rotation)[0])
    return again.predict(liquid.replace(positions=liquid.positions @ rotation.numpy().T))[0]


def together(weights, kinds, rotation):
    return so3.rotate(weights, o3.Irreps(kinds), rotation)


def not_at_all(weights, kinds, rotation):
    return weights


def in_another_order(weights, kinds, rotation):
    """The broken twin: turns the weights as if those of degree 2 came first."""
    return so3.rotate(weights, o3.Irreps("2e+1e"), rotation)


def test_relaxed_weights_break_the_symmetry_unless_they_turn_too(liquid):
    net = small(relaxed=2)
    assert len(net.relaxed_weights) == 8
    assert not net.relaxed_weights.any()

    def change(turn):
        energy, _ = net.predict(liquid)
        return np.abs(turned_together(net, liquid, turn) - energy).max() / np.abs(energy).max()

    assert change(not_at_all) < 1e-12, "weights that are zero"
    with torch.no_grad():
        net.relaxed_weights.copy_(torch.randn(8, dtype=torch.float64))
    assert change(together) < 1e-12
    assert change(not_at_all) > 1e-3
    assert change(in_another_order) > 1e-3
    _, force = net.predict(liquid)
    assert np.abs(force.sum(axis=0)).max() < 1e-10 * np.abs(force).max(), "forces still add up to zero"


def test_relaxed_weights_leave_zero_in_training_and_go_through_files(liquid, tmp_path):
    net = small(relaxed=2)
    graph = net.graph(liquid)
    (slope,) = torch.autograd.grad((net.energies(graph, graph.vector) ** 2).sum(), net.relaxed_weights)
    assert slope.abs().min() > 0
    with torch.no_grad():
        net.relaxed_weights.copy_(slope)
    save_potential(net, tmp_path / "relaxed.pt")
    again = load_potential(tmp_path / "relaxed.pt")
    assert torch.equal(again.relaxed_weights, net.relaxed_weights)
    assert np.array_equal(again.predict(liquid)[0], net.predict(liquid)[0])
    with pytest.raises(ValueError, match="relaxed = 2; expected a whole number from 0 to l_max = 1"):
        PotentialConfig(l_max=1, relaxed=2)
    with pytest.raises(ValueError, match="relaxed = -1; expected a whole number of at least 0"):
        PotentialConfig(relaxed=-1)
