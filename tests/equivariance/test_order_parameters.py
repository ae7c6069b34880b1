import math
import re

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


def test_a_box_that_is_no_cube_keeps_less():
    """One point in a box is as symmetric as the box: the lattice has to be mapped to itself, too."""
    sizes = [len(symmetries(np.zeros((1, 3)), box=np.array(box))[0]) for box in ([1, 1, 1], [1, 1, 2], [1, 2, 3])]
    assert sizes == [48, 16, 8]


NO_STRUCTURES = {
    "a box of -4": ({"box": np.full(3, -4.0)}, "an edge of the box = -4.0; expected a finite number above 0"),
    "a box of 0": ({"box": np.array([2.0, 0, 2])}, "an edge of the box = 0.0; expected a finite number above 0"),
    "a box of nan": ({"box": np.array([2.0, math.nan, 2])}, "nan or infinite numbers in box, 1 of 3; expected finite"),
    "a scalar": ({"box": 4.0}, "box of shape (); expected (3,), its edges: np.full(3, L) for a cube"),
    "a negative scalar": ({"box": -4}, "box of shape (); expected (3,), its edges"),
    "a box of words": ({"box": "cubic"}, "box = 'cubic'; expected numbers of shape (3,)"),
    "a plane": ({"points": SQUARE[:, [0, 2]]}, "points of shape (4, 2); expected (N, 3)"),
    "one point": ({"points": SQUARE[0]}, "points of shape (3,); expected (N, 3)"),
    "no points": ({"points": np.zeros((0, 3))}, "points of shape (0, 3); expected (N, 3)"),
    "points with nan": ({"points": SQUARE * math.nan}, "nan or infinite numbers in points, 12 of 12"),
    "short kinds": ({"kinds": np.zeros(3)}, "kinds of shape (3,); expected (4,), one for each point"),
    "one kind": ({"kinds": np.zeros(1)}, "kinds of shape (1,); expected (4,), one for each point"),
    "kinds with nan": ({"kinds": np.array([0, 1, math.nan, 1])}, "kinds with nan, which is like nothing"),
    "one vector": ({"vectors": np.zeros((1, 3))}, "vectors of shape (1, 3); expected (4, 3)"),
    "vectors with inf": ({"vectors": np.full((4, 3), math.inf)}, "nan or infinite numbers in vectors, 12 of 12"),
    "no tolerance": ({"tolerance": 0}, "tolerance = 0; expected a finite number above 0"),
    "a tolerance of nan": ({"tolerance": math.nan}, "tolerance = nan; expected a finite number above 0"),
    "too much tolerance": ({"tolerance": 0.6}, "points 0 and 1 of one kind, less than twice the tolerance of 0.6"),
    "a point twice": (
        {"points": SQUARE[[0, 1, 2, 0]]},
        "points 0 and 3 of one kind, less than twice the tolerance",
    ),
}


@pytest.mark.parametrize(("given", "told"), NO_STRUCTURES.values(), ids=NO_STRUCTURES)
def test_structures_that_are_none_are_refused(given, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        symmetries(**{"points": SQUARE} | given)


def test_points_at_one_place_are_told_apart_by_kind_or_vector():
    points = np.concatenate([SQUARE, SQUARE])
    vectors = points * np.repeat([1, 2], 4)[:, None]
    for told in ({"kinds": np.repeat(["A", "B"], 4)}, {"vectors": torch.tensor(vectors, requires_grad=True)}):
        _, permutations = symmetries(points, **told)
        assert len(permutations) == 16
        assert torch.equal(permutations.sort().values, torch.arange(8).expand(16, 8))


ROUND, STRETCHED = symmetries(SQUARE), 2 * symmetries(SQUARE)[0]
NO_RULE = {
    "a plane": ({"residual": TO_RECTANGLE[:, :2]}, "residual of shape (4, 2); expected (N, 3)"),
    "flat": ({"residual": TO_RECTANGLE.flatten()}, "residual of shape (12,); expected (N, 3)"),
    "float32": (
        {"residual": TO_RECTANGLE.float()},
        "residual of torch.float32 on cpu; expected torch.float64 on cpu: compute it so, for rounding of float32",
    ),
    "NumPy": ({"residual": TO_RECTANGLE.numpy()}, "residual of type ndarray; expected a tensor of shape (N, 3)"),
    "nan": ({"residual": TO_RECTANGLE * math.nan}, "nan or infinite numbers in residual, 12 of 12"),
    "other points": ({"residual": TO_RECTANGLE[:3]}, "permutations of shape (16, 4); expected (16, 3)"),
    "other operations": ({"operations": ROUND[0][:5]}, "permutations of shape (16, 4); expected (5, 4)"),
    "no operations": ({"operations": ROUND[0][:0]}, "operations of shape (0, 3, 3); expected (G, 3, 3)"),
    "operations in float32": ({"operations": ROUND[0].float()}, "operations of torch.float32 on cpu; expected"),
    "operations of NumPy": ({"operations": ROUND[0].numpy()}, "operations of type ndarray; expected a tensor"),
    "stretched": ({"operations": STRETCHED}, "operations that are not orthogonal; expected rotations and"),
    "all to one point": (
        {"permutations": torch.zeros_like(ROUND[1])},
        "permutations of torch.int64 naming a point twice or not at all; expected each of 0 to 3 once",
    ),
    "permutations that are not whole": ({"permutations": ROUND[1] / 1}, "permutations of torch.float32 naming a point"),
    "permutations of NumPy": ({"permutations": ROUND[1].numpy()}, "permutations of type ndarray; expected"),
    "a site too many": ({"sites": torch.arange(5)}, "sites = [0, 1, 2, 3, 4]; expected numbers of points, 0 to 3"),
    "a site of -1": ({"sites": torch.tensor([0, 1, 2, -1])}, "sites = [0, 1, 2, -1]; expected numbers of points"),
    "a site twice": (
        {"sites": [0, 1, 2, 3, 3]},
        "sites = [0, 1, 2, 3, 3]; expected numbers of points, 0 to 3, each",
    ),
    "no sites": ({"sites": torch.zeros(0, dtype=torch.int64)}, "sites of shape (0,); expected (S,)"),
    "a mask": ({"sites": torch.ones(4, dtype=torch.bool)}, "sites of torch.bool on cpu; expected torch.int64"),
    "no probes": ({"probes": 0}, "probes = 0; expected a whole number of at least 1"),
    "half a seed": ({"seed": 0.5}, "seed = 0.5; expected a whole number"),
    "no irreps": ({"kind": ""}, "kind = ''; expected irreps that are not empty"),
    "irreps that are none": ({"kind": "1x1"}, "kind = '1x1'; expected irreps, e.g. '1x0e+2x1o'"),
}


@pytest.mark.parametrize(("given", "told"), NO_RULE.values(), ids=NO_RULE)
def test_the_rule_refuses_what_does_not_fit(given, told):
    right = {"residual": TO_RECTANGLE, "kind": KIND, "operations": ROUND[0], "permutations": ROUND[1]}
    with pytest.raises(ValueError, match=re.escape(told)):
        allowed_directions(**right | given)


LOSSES_WITHOUT_GRADIENT = {
    "nan": (lambda t: t.sum() * math.nan, "nan or infinite numbers in the loss, 1 of 1"),
    "infinite": (lambda t: (t.sum() + 1) * math.inf, "nan or infinite numbers in the loss, 1 of 1"),
    "a norm": (
        lambda t: t.square().sum().sqrt(),
        "numbers in the gradient at zero (a norm or a root has none there), 3 of 3",
    ),
    "a float": (lambda t: t.sum().item(), "the loss is of type float; expected a tensor of one number: without"),
    "NumPy": (lambda t: t.detach().numpy().sum(), "the loss is of type float64; expected a tensor of one number"),
    "not one number": (
        torch.square,
        "the loss is of shape (1, 3); expected a tensor of one number: without item()",
    ),
    "detached": (lambda t: t.detach().sum(), "the loss does not depend on the input; expected a function of t"),
}


@pytest.mark.parametrize(("loss", "told"), LOSSES_WITHOUT_GRADIENT.values(), ids=LOSSES_WITHOUT_GRADIENT)
def test_a_loss_that_has_no_gradient_is_refused(loss, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        zero_input_gradient(loss, "1x1o")


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_are_switched_on_for_the_loss(off):
    with off():
        assert zero_input_gradient(lambda t: (t - 1).square().sum(), "1x1o").tolist() == [[-2.0, -2.0, -2.0]]
        assert not torch.is_grad_enabled()


NOT_OF_THE_IRREPS = {
    "no sites": (
        lambda: zero_input_gradient(torch.sum, "1x1o", 0),
        "sites = 0; expected a whole number of at least 1",
    ),
    "half a site": (lambda: zero_input_gradient(torch.sum, "1x1o", 0.5), "sites = 0.5; expected a whole number"),
    "no irreps": (lambda: zero_input_gradient(torch.sum, "0x1o"), "expected irreps that are not empty"),
    "too wide": (lambda: strengths(torch.ones(5), "1x0e+1x1o"), "values of shape (5,); expected (..., 4), that of"),
    "too narrow": (lambda: strengths(torch.ones(2, 3), "1x0e+1x1o"), "values of shape (2, 3); expected (..., 4)"),
    "of NumPy": (lambda: strengths(np.ones(4), "1x0e+1x1o"), "values of type ndarray; expected a tensor of shape"),
    "irreps that are none": (lambda: strengths(torch.ones(4), 4), "kind = 4; expected irreps, e.g. '1x0e+2x1o'"),
    "a point goes nowhere": (
        lambda: moved(torch.ones(2, 3), torch.eye(3), torch.tensor([0, 0])),
        "permutation of torch.int64 naming a point twice or not at all; expected each of 0 to 1 once",
    ),
    "a short permutation": (
        lambda: moved(torch.ones(2, 3), torch.eye(3), torch.tensor([0])),
        "permutation of shape (1,); expected (2,)",
    ),
    "another matrix": (lambda: moved(torch.ones(2, 3), torch.eye(5)), "matrix of shape (5, 5); expected (3, 3)"),
    "another dtype": (lambda: moved(torch.ones(2, 3), torch.eye(3).double()), "matrix of torch.float64 on cpu"),
}


@pytest.mark.parametrize(("call", "told"), NOT_OF_THE_IRREPS.values(), ids=NOT_OF_THE_IRREPS)
def test_features_that_do_not_fit_their_irreps_are_refused(call, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        call()
