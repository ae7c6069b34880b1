import numpy as np
import pytest
import torch

from glasslit.equivariance.order_parameters import (
    allowed_directions,
    cube_operations,
    moved,
    strengths,
    symmetries,
    zero_input_gradient,
)
from glasslit.equivariance.parity import ParityNetwork, every_irrep, representation
from glasslit.liquid.periodic import minimum_image, neighbor_pairs
from glasslit.liquid.perovskite import tilted_perovskite
from glasslit.testing import ReluOnEverything

SQUARE = np.array([[1.0, 0, 1], [-1, 0, 1], [-1, 0, -1], [1, 0, -1]]) / 2  # in e3nn's plane z, x: its polar axis is y
TO_RECTANGLE = torch.tensor(SQUARE * [-0.3, 0, 0.3])
KIND = every_irrep(4)


def loss_of_square(net, wanted):
    edges = torch.tensor([(j, i) for i in range(4) for j in range(4) if i != j]).T
    points = torch.tensor(SQUARE)
    vectors = points[edges[0]] - points[edges[1]]
    one = torch.ones(4, 1).double()
    return lambda t: (net(torch.cat([one, t.expand(4, -1)], 1), edges, vectors) - wanted).square().sum(1).mean()


def small_network(irreps_in, **settings):
    settings = {"hidden": "4x0e+2x0o+2x1e+2x1o+2x2e+2x2o", "l_filter": 4, "radial": 2} | settings
    return ParityNetwork(f"1x0e+{irreps_in}", cutoff=1.5, **settings)


def minimize(loss, parameters, steps=60):
    parameters = list(parameters)
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=steps, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    return float(loss().detach())


def outside(gradient, allowed):
    """The part of a gradient that the selection rule forbids, relative to the whole."""
    basis, values = allowed.flatten(1), gradient.flatten()
    return float((values - basis.T @ (basis @ values)).norm() / values.norm())


def test_groups_have_the_sizes_of_textbooks():
    cube = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), axis=-1).reshape(-1, 3)
    sizes = [len(symmetries(cube * scale)[0]) for scale in ([1, 1, 1], [1, 1, 2], [1, 3, 2])]
    assert sizes == [48, 16, 8]
    assert len(symmetries(cube, kinds=np.arange(8) == 0)[0]) == 6  # 3m
    assert len(symmetries(np.zeros((1, 3)), vectors=np.array([[0, 0, 1.0]]))[0]) == 8  # 4mm
    assert len({tuple(o.flatten().tolist()) for o in cube_operations()}) == 48


def test_symmetries_map_points_and_vectors():
    crystal = tilted_perovskite((8, 5, 8), "-+-")
    operations, permutations = symmetries(crystal.positions, crystal.kinds, crystal.displacements, crystal.box)
    field = torch.tensor(crystal.displacements)
    for operation, permutation in zip(operations, permutations, strict=True):
        assert sorted(permutation.tolist()) == list(range(40))
        assert torch.allclose(moved(field, operation, permutation), field, atol=1e-12)
    assert torch.equal(moved(field, torch.eye(3).double()), field)


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_square_to_rectangle_stays_where_symmetry_puts_it(seed):
    net = small_network("1x2e", seed=seed)
    loss, zero = loss_of_square(net, TO_RECTANGLE), torch.zeros(1, 5).double()
    plateau = (1.3 - 0.7) ** 2 / 8
    assert minimize(lambda: loss(zero), net.parameters()) == pytest.approx(plateau, abs=1e-14)
    t = zero.clone().requires_grad_()
    assert minimize(lambda: loss(t), [*net.parameters(), t], 200) < 1e-20
    assert abs(t[0, 4]) > 0.05
    assert t[0, [0, 1, 3]].abs().max() < 1e-10


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_finds_x2_y2(seed):
    net = small_network(KIND, seed=seed)
    loss, zero = loss_of_square(net, TO_RECTANGLE), torch.zeros(1, KIND.dim).double()
    before = zero_input_gradient(loss, KIND)
    assert before[0, 0].abs() > 1e-6, "an untrained network has the wrong size, which a scalar can mend"
    minimize(lambda: loss(zero), net.parameters())
    gradient = zero_input_gradient(loss, KIND)[0]
    named = [i for i, g in enumerate(gradient / gradient.abs().max()) if abs(g) > 1e-8]
    starts = {str(ir): part.start for (_, ir), part in zip(KIND, KIND.slices(), strict=True)}
    assert named == [starts["2e"] + 4, starts["3e"] + 1, starts["4e"] + 6]  # m = 2, -2 and 2
    allowed = allowed_directions(TO_RECTANGLE, KIND, *symmetries(SQUARE))
    assert len(allowed) == 3
    assert outside(gradient, allowed) < 1e-8


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_found_where_nothing_is_broken(seed):
    net = small_network(KIND, seed=seed)
    loss, zero = loss_of_square(net, torch.tensor(0.3 * SQUARE)), torch.zeros(1, KIND.dim).double()
    assert zero_input_gradient(loss, KIND).abs().max() > 1e-4
    assert minimize(lambda: loss(zero), net.parameters()) < 1e-20
    assert zero_input_gradient(loss, KIND).abs().max() < 1e-9


@pytest.mark.parametrize("broken", [False, True])
def test_the_rule_holds_without_training_and_a_broken_network_violates_it(broken):
    net = small_network(KIND)
    if broken:
        net.convolutions[0] = ReluOnEverything(net.convolutions[0])
    residual = torch.tensor(SQUARE * [-0.2, 0, 0.4])  # the size is wrong, too
    gradient = zero_input_gradient(loss_of_square(net, residual), KIND)
    violation = outside(gradient, allowed_directions(residual, KIND, *symmetries(SQUARE)))
    assert violation > 1e-2 if broken else violation < 1e-12


def crystal_loss(crystal, kind, **settings):
    """Loss of a network that sees the cubic crystal and an input on each B atom, and the B atoms."""
    pairs = neighbor_pairs(crystal.positions, crystal.box, 0.9)
    edges = torch.tensor(np.concatenate([pairs, pairs[:, ::-1]]).T.copy())
    apart = crystal.positions[edges[0]] - crystal.positions[edges[1]]
    vectors = torch.tensor(minimum_image(apart, crystal.box))
    atoms = torch.nn.functional.one_hot(torch.tensor(crystal.kinds), 3).double()
    sites = torch.tensor(np.flatnonzero(crystal.kinds == 1))
    wanted = torch.tensor(crystal.displacements)
    net = ParityNetwork(f"3x0e+{kind}", hidden="4x0e+2x0o+2x1e+2x1o+2x2e", cutoff=0.9, radial=3, **settings)

    def loss(t):
        inputs = torch.zeros(40, kind.dim).double().index_copy(0, sites, t)
        return (net(torch.cat([atoms, inputs], 1), edges, vectors) - wanted).square().sum(1).mean()

    return loss, sites


@pytest.mark.parametrize("seed", range(3))
def test_tilts_ask_for_axial_vectors_only(seed):
    kind, crystal = every_irrep(2), tilted_perovskite((8, 6, 8), "-+-")
    loss, sites = crystal_loss(crystal, kind, seed=seed)
    found = strengths(zero_input_gradient(loss, kind, 8), kind)
    largest = found.pop("1e")
    assert max(found.values()) < 1e-9 * largest
    gradient = zero_input_gradient(loss, kind, 8)[:, 2:5]
    for axis in range(3):  # the pattern of the tilts, up to a factor for each kind of tilt
        ratio = gradient[:, axis] / torch.tensor(crystal.rotations[:, axis])
        assert torch.allclose(ratio, ratio[0].expand(8), rtol=1e-9)
    group = symmetries(crystal.positions, crystal.kinds, box=crystal.box)
    allowed = allowed_directions(torch.tensor(crystal.displacements), kind, *group, sites=sites)
    assert len(allowed) == 2
    assert outside(zero_input_gradient(loss, kind, 8), allowed) < 1e-9


def test_without_parity_polar_and_axial_are_alike():
    kind, crystal = every_irrep(1), tilted_perovskite((8, 8, 8), "-+-")
    found = strengths(zero_input_gradient(crystal_loss(crystal, kind, parity=False)[0], kind, 8), kind)
    assert min(found["1e"], found["1o"]) > 1e-2 * max(found["1e"], found["1o"])


def test_rigid_octahedra_add_a_second_order():
    kind, ratios = every_irrep(2), []
    for angle in (2, 4):
        loss, _ = crystal_loss(tilted_perovskite((angle,) * 3, "-+-", exact=True), kind)
        found = strengths(zero_input_gradient(loss, kind, 8), kind)
        ratios.append(found["2e"] / found["1e"])
    assert ratios[1] / ratios[0] == pytest.approx(2, rel=0.05)


def test_allowed_directions_are_kept_by_what_keeps_the_residual():
    rectangle = symmetries(SQUARE, vectors=TO_RECTANGLE.numpy())[0]
    for direction in allowed_directions(TO_RECTANGLE, KIND, *symmetries(SQUARE)):
        for operation in rectangle:
            assert torch.allclose(moved(direction, representation(KIND, operation)), direction, atol=1e-10)


def test_what_cannot_be_computed_is_refused():
    with pytest.raises(ValueError, match="does not depend on the input"):
        zero_input_gradient(lambda t: torch.ones(()), KIND)
    weight = torch.ones((), requires_grad=True)
    with pytest.raises(ValueError, match="depends on weights, but not on the input"):
        zero_input_gradient(lambda t: weight.square(), KIND)
    group = symmetries(SQUARE)
    with pytest.raises(ValueError, match="expected all points of a kind"):
        allowed_directions(TO_RECTANGLE, KIND, *group, sites=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="expected a larger number"):
        allowed_directions(TO_RECTANGLE, KIND, *group, sites=torch.arange(4), probes=2)
