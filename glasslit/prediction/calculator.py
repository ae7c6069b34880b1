"""Potentials as ASE calculators: the exact Kob-Andersen mixture, and a learned one.

ASE's optimizers, thermostats and integrators then run on either. Its units of energy, length and mass stand for
epsilon_AA, sigma_AA and m; its unit of time, sqrt(u Angstrom^2 / eV), for the Lennard-Jones time. Set masses to 1.
"""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes

from ..liquid.configuration import Configuration
from ..liquid.kob_andersen import check_potential, interactions
from ..models.potential import Potential


class _Liquid(Calculator):
    """Base: of periodic, orthorhombic boxes with A as hydrogen and B as helium, as ``Configuration.to_ase`` has it."""

    implemented_properties = ["energy", "energies", "free_energy", "forces", "stress"]  # noqa: RUF012  # as ASE has it

    def calculate(
        self, atoms: ase.Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Fill ``results``; ASE calls it."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        bare = ase.Atoms(self.atoms.numbers, self.atoms.positions, cell=self.atoms.cell, pbc=self.atoms.pbc)
        configuration = Configuration.from_ase(bare)
        energies, forces, virial = self.computed(configuration)
        stress = (virial + virial.T) / (2 * np.prod(configuration.box))
        self.results = {
            "energy": float(energies.sum()),
            "free_energy": float(energies.sum()),
            "energies": energies,
            "forces": forces,
            "stress": stress.ravel()[[0, 4, 8, 5, 2, 1]],
        }

    def computed(self, configuration: Configuration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies (N,), forces (N, 3) and the energy's derivative by a strain of the box (3, 3)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to compute: define computed")


class KobAndersen(_Liquid):
    """The exact Kob-Andersen mixture.

    Parameters
    ----------
    potential : one of :data:`glasslit.liquid.kob_andersen.POTENTIALS`

    Examples
    --------
    >>> from glasslit import load
    >>> configuration = load("starter", T=0.50)[0]
    >>> atoms = configuration.to_ase()
    >>> atoms.calc = KobAndersen()
    >>> round(atoms.get_potential_energy() / len(atoms), 3)
    -6.078
    """

    def __init__(self, potential: str = "force-shifted", **keywords: Any) -> None:
        super().__init__(**keywords)
        self.truncation = check_potential(potential)

    def computed(self, configuration: Configuration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See the base class; raises ``ValueError`` if the box is shorter than twice the cutoff."""
        positions, box = (torch.tensor(v, dtype=torch.float64) for v in (configuration.positions, configuration.box))
        types = torch.tensor(configuration.types, dtype=torch.int64)
        energies, forces, virial = interactions(positions, types, box, self.truncation)
        return energies.numpy(), forces.numpy(), virial.numpy()


class LearnedPotential(_Liquid):
    """A :class:`~glasslit.models.potential.Potential`.

    Parameters
    ----------
    potential : a trained one
    """

    def __init__(self, potential: Potential, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.potential = potential.eval()

    def computed(self, configuration: Configuration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See the base class; raises ``ValueError`` if the box is shorter than twice the cutoff."""
        graph = self.potential.graph(configuration)
        vector = graph.vector.detach().requires_grad_()
        energy = self.potential.energies(graph, vector)
        (slope,) = torch.autograd.grad(energy.sum(), vector)
        forces = self.potential.summed(graph, slope)
        arrays = (energy.detach(), forces, vector.detach().T @ slope)
        energies, found, virial = (a.double().cpu().numpy() for a in arrays)
        return energies, found, virial
