"""Potentials as ASE calculators: the exact Kob-Andersen mixture, and a learned one.

ASE's optimizers, thermostats and integrators then run on either. Its units of energy, length and mass stand for
epsilon_AA, sigma_AA and m; its unit of time, sqrt(u Angstrom^2 / eV), for the Lennard-Jones time. Set masses to 1.

Any cell will do. In a periodic, orthorhombic box that is at least twice as long as the cutoff, neighbors are found as
everywhere in the package; in a sheared or shorter cell, and in a cluster, by ASE's own list with all periodic images,
which takes several times as long.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from torch_geometric.data import Data

from ..learning.sensitivity import evaluated
from ..liquid.configuration import Configuration, types_of
from ..liquid.graph import NeighborGraph
from ..liquid.kob_andersen import TYPE_NAMES, check_potential, cutoffs, interactions, pair_energy
from ..models.potential import Potential, check_learned
from ..names import unknown_names


class Edges(NamedTuple):
    """Directed edges with all periodic images, sorted by receiver.

    Parameters
    ----------
    types : shape (N,), 0 = A, 1 = B
    edge_index : shape (2, E), sender j and receiver i
    vector : shape (E, 3), from receiver to sender, sigma_AA
    reverse : shape (E,), the edge between the same two, in the other direction
    """

    types: np.ndarray
    edge_index: np.ndarray
    vector: np.ndarray
    reverse: np.ndarray


def edges_with_images(atoms: ase.Atoms, cutoff: float) -> Edges:
    """All pairs closer than ``cutoff`` in any cell, periodic in any of its directions.

    A particle may be its own neighbor, and another may be its neighbor several times.

    Raises
    ------
    ValueError
        If an atomic number is not 1 (A) or 2 (B), or the atoms are periodic along a cell vector of length zero.
    """
    types = types_of(atoms.numbers)
    there = np.linalg.norm(atoms.cell.array, axis=1) > 0
    if (atoms.pbc & ~there).any() or np.linalg.matrix_rank(atoms.cell.array) < there.sum():
        raise ValueError(
            f"atoms with pbc {atoms.pbc.tolist()} in a cell {atoms.cell.array.tolist()}; expected a cell vector along "
            "each periodic direction, and vectors that are independent: set pbc to False there, or set the cell"
        )
    receiver, sender, vector, image = neighbor_list("ijDS", atoms, cutoff)
    order = np.lexsort((*image.T, sender, receiver))
    receiver, sender, vector, image = (values[order] for values in (receiver, sender, vector, image))
    reverse = np.lexsort((*-image.T, receiver, sender))  # sorted in the same way by what the other direction is called
    return Edges(types, np.stack([sender, receiver]), vector, reverse)


class _Liquid(Calculator):
    """Base, with A as hydrogen and B as helium, as ``Configuration.to_ase`` has it."""

    implemented_properties = ["energy", "energies", "free_energy", "forces", "stress"]  # noqa: RUF012  # as ASE has it

    def __init__(self, **keywords: Any) -> None:
        own = [p.name for p in inspect.signature(Calculator).parameters.values() if p.kind is not p.VAR_KEYWORD]
        known = [*self.default_parameters, *own]
        if unknown := keywords.keys() - set(known):  # before ASE attaches a calculator that is not finished to atoms
            raise ValueError(
                f"{type(self).__name__} computes what its potential says: {unknown_names(unknown, known, 'keyword')}"
            )
        super().__init__(**keywords)

    def set(self, **keywords: Any) -> dict[str, Any]:
        """Refuse parameters that it does not have, as ``cutoff``: ASE takes them all, and they would change nothing.

        Raises
        ------
        ValueError
            If there is any, as long as a subclass has no ``default_parameters``.
        """
        if unknown := {name: value for name, value in keywords.items() if name not in self.parameters}:
            raise ValueError(
                f"{type(self).__name__} computes what its potential says: {unknown}; expected "
                f"{', '.join(self.parameters) or 'no parameters'}: make a calculator with another potential"
            )
        return dict(super().set(**keywords))

    def calculate(
        self, atoms: ase.Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Fill ``results``; ASE calls it."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        bare = ase.Atoms(self.atoms.numbers, self.atoms.positions, cell=self.atoms.cell, pbc=self.atoms.pbc)
        if not len(bare):
            raise ValueError("no particles; expected at least one")
        for name, value in (("positions", bare.positions), ("the cell", bare.cell.array)):
            if not np.isfinite(value).all():  # ASE's list leaves such particles out without a word
                place = np.argwhere(~np.isfinite(value))[0].tolist()
                raise ValueError(
                    f"{name} of the atoms: {value[tuple(place)]} at {place}; expected finite numbers: "
                    "is the time step too long?"
                )
        reach, edges = self.reach(), np.diag(bare.cell.array)
        simple = bare.pbc.all() and np.array_equal(bare.cell.array, np.diag(edges)) and edges.min() > 0
        if reach is None or (simple and edges.min() >= 2 * reach):
            energies, forces, virial = self.computed(Configuration.from_ase(bare))
        else:
            energies, forces, virial = self.computed_of_edges(edges_with_images(bare, reach))
        bad = np.flatnonzero(~(np.isfinite(energies) & np.isfinite(forces).all(axis=1)))
        if len(bad):
            raise ValueError(
                f"particle {bad[0]} has an energy of {energies[bad[0]]} and a force of {forces[bad[0]].tolist()}; "
                "expected finite ones: are two particles at the same place, or is the time step too long?"
            )
        self.results = {
            "energy": float(energies.sum()),
            "free_energy": float(energies.sum()),
            "energies": energies,
            "forces": forces,
        }
        if bare.cell.rank == 3:
            stress = (virial + virial.T) / (2 * bare.cell.volume)
            self.results["stress"] = stress.ravel()[[0, 4, 8, 5, 2, 1]]

    def reach(self) -> float | None:
        """Distance beyond which particles do not feel each other, sigma_AA; None for simple boxes alone."""
        return None

    def computed(self, configuration: Configuration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies (N,), forces (N, 3) and the energy's derivative by a strain of the box (3, 3)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to compute: define computed")

    def computed_of_edges(self, edges: Edges) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same from edges, for cells that a configuration cannot have."""
        raise NotImplementedError(f"{type(self).__name__} has a reach: define computed_of_edges, too")


class KobAndersen(_Liquid):
    """The exact Kob-Andersen mixture.

    Parameters
    ----------
    potential : one of :data:`glasslit.liquid.kob_andersen.POTENTIALS`
    keywords : of ASE's calculators: ``atoms``, ``directory``, ``label``

    Raises
    ------
    ValueError
        If there is no such potential or no such keyword, and later, by ``set``, if a parameter is to be set: the
        potential alone says what is computed.

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
        self.truncation = check_potential(potential)
        super().__init__(**keywords)

    def reach(self) -> float:
        """The longest cutoff of the three kinds of pairs."""
        return float(cutoffs(self.truncation).max())

    def computed(self, configuration: Configuration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See the base class."""
        positions, box = (torch.tensor(v, dtype=torch.float64) for v in (configuration.positions, configuration.box))
        types = torch.tensor(configuration.types, dtype=torch.int64)
        energies, forces, virial = interactions(positions, types, box, self.truncation)
        return energies.numpy(), forces.numpy(), virial.numpy()

    def computed_of_edges(self, edges: Edges) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See the base class."""
        types = torch.tensor(edges.types, dtype=torch.int64)
        (sender, receiver), vector = torch.as_tensor(edges.edge_index), torch.as_tensor(edges.vector)
        distance = torch.linalg.vector_norm(vector, dim=1)
        pair = (distance, types[receiver], types[sender], self.truncation)
        slope = pair_energy(*pair, differentiate=True)
        pull = (slope / distance)[:, None] * vector  # each pair is there twice, once for each of the two
        energies = vector.new_zeros(len(types)).index_add(0, receiver, 0.5 * pair_energy(*pair))
        forces = vector.new_zeros(len(types), 3).index_add(0, receiver, pull)
        return energies.numpy(), forces.numpy(), (0.5 * vector.T @ pull).numpy()


class LearnedPotential(_Liquid):
    """A :class:`~glasslit.models.potential.Potential`.

    Parameters
    ----------
    potential : a trained one. It is looked at, not copied, and stays in training or evaluation mode as it was. After
        further training call ``reset()``, since ASE keeps the results of atoms that have not moved
    keywords : as for :class:`KobAndersen`

    Raises
    ------
    ValueError
        If ``potential`` is something else, or as for :class:`KobAndersen`.
    """

    def __init__(self, potential: Potential, **keywords: Any) -> None:
        self.potential = check_learned(potential)
        super().__init__(**keywords)

    def reach(self) -> float:
        """The cutoff of the network's neighborhoods."""
        return self.potential.config.cutoff

    def computed(self, configuration: Configuration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See the base class."""
        return self._of_graph(self.potential.graph(configuration))

    def computed_of_edges(self, edges: Edges) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See the base class."""
        like = self.potential.target_mean
        graph = NeighborGraph(
            x=torch.eye(len(TYPE_NAMES), dtype=like.dtype)[edges.types],
            types=torch.as_tensor(edges.types),
            num_nodes=len(edges.types),
            cutoff=self.potential.config.cutoff,
            inputs="thermal",
            edge_index=torch.as_tensor(edges.edge_index),
            vector=torch.as_tensor(edges.vector, dtype=like.dtype),
            reverse=torch.as_tensor(edges.reverse),
            walk_index=torch.arange(len(edges.types)),
        )
        return self._of_graph(graph.to(like.device))

    def _of_graph(self, graph: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with evaluated(self.potential), torch.enable_grad():
            vector = graph.vector.detach().requires_grad_()
            energy = self.potential.energies(graph, vector)
            (slope,) = torch.autograd.grad(energy.sum(), vector)
        forces = self.potential.summed(graph, slope)
        arrays = (energy.detach(), forces, vector.detach().T @ slope)
        energies, found, virial = (a.double().cpu().numpy() for a in arrays)
        return energies, found, virial
