import pytest
import torch
from e3nn import o3

from glasslit import so3
from glasslit.equivariance.kernels.reference import default_dtype
from glasslit.liquid.configuration import VOIGT


def test_parity_of_harmonics():
    a = torch.randn(50, 3, dtype=torch.float64)
    sign = torch.cat([torch.full((2 * d + 1,), (-1.0) ** d) for d in range(6)])
    assert torch.allclose(so3.spherical_harmonics(5, -a), sign * so3.spherical_harmonics(5, a), atol=1e-13)


def test_component_normalization():
    y = so3.spherical_harmonics(4, torch.randn(50, 3, dtype=torch.float64)).square()
    for degree in range(5):
        assert torch.allclose(y[:, degree**2 : (degree + 1) ** 2].sum(1), torch.tensor(2.0 * degree + 1).double())


def test_degree_one_is_the_vector_itself():
    a = torch.nn.functional.normalize(torch.randn(20, 3, dtype=torch.float64))
    assert torch.allclose(so3.spherical_harmonics(1, a)[:, 1:], 3**0.5 * a, atol=1e-14)
    rotation = so3.random_rotations(1)[0]
    assert torch.allclose(so3.wigner_d(1, rotation), rotation, atol=1e-14)


@pytest.mark.parametrize("degree", range(6))
def test_wigner_d_is_a_representation_and_equals_e3nn(degree):
    r, s = so3.random_rotations(2, seed=degree)
    d = so3.wigner_d(degree, r)
    assert torch.allclose(d @ so3.wigner_d(degree, s), so3.wigner_d(degree, r @ s), atol=1e-13)
    assert torch.allclose(d @ d.T, torch.eye(2 * degree + 1).double(), atol=1e-13)
    with default_dtype(torch.float64):
        assert torch.allclose(d, o3.Irreps([(1, (degree, 1))]).D_from_matrix(r), atol=1e-12)


def test_counts_of_paths():
    assert [len(so3.paths(degree)) for degree in range(4)] == [1, 5, 15, 34]
    kept = [p for p in so3.paths(3) if sum(p) % 2 == 0]
    assert (len(kept), len(so3.paths(3)) - len(kept)) == (23, 11)
    assert so3.paths(3, mirror_images=True) == kept


def test_cube_rotations_are_a_group_of_24():
    group = so3.cube_rotations()
    assert len(torch.unique(group, dim=0)) == 24
    assert torch.equal(torch.linalg.det(group), torch.ones(24).double())
    products = (group[:, None] @ group[None]).reshape(-1, 3, 3)
    assert len(torch.unique(products, dim=0)) == 24


def test_symmetric_matrices_turn_as_degrees_zero_and_two():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(10, 3, 3, dtype=torch.float64, generator=generator)
    matrix = matrix + matrix.mT
    entries = lambda c: torch.stack([c[:, a, b] for a, b in zip(*VOIGT, strict=True)], dim=1)  # noqa: E731
    plain = so3.symmetric_to_irreps(entries(matrix))
    assert torch.allclose(plain.square().sum(1), matrix.square().sum((1, 2)), rtol=1e-13)
    assert torch.allclose(so3.irreps_to_symmetric(plain), entries(matrix), atol=1e-14)
    assert torch.allclose(plain[:, 0], matrix.diagonal(dim1=1, dim2=2).sum(1) / 3**0.5)
    for rotation in so3.random_rotations(3):
        turned = so3.symmetric_to_irreps(entries(rotation @ matrix @ rotation.T))
        assert torch.allclose(turned, so3.rotate(plain, o3.Irreps("0e+2e"), rotation), atol=1e-13)
        assert not torch.allclose(turned[:, 1:], plain[:, 1:], atol=0.1)


def test_the_square_of_a_direction_is_its_harmonic_of_degree_two():
    a = torch.nn.functional.normalize(torch.randn(20, 3, dtype=torch.float64))
    squares = torch.stack([a[:, i] * a[:, j] for i, j in zip(*VOIGT, strict=True)], dim=1)
    expected = so3.spherical_harmonics(2, a)[:, 4:] * (2 / 15) ** 0.5
    assert torch.allclose(so3.symmetric_to_irreps(squares)[:, 1:], expected, atol=1e-13)
