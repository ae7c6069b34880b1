r"""What else has been tried on this task, each small enough to read: what an equivariant network is held against.

All take the same configurations, are trained by :func:`glasslit.fit` (ridge is solved in closed form there) and
predict all times at once, with a linear decoder for each type, so that a difference is one of representation.

- ``ridge``: linear regression on radial densities and bond-order parameters, averaged over neighbors up to twice
  (Boattini, Smallenburg, Filion, PRL 127, 088007, 2021).
- ``bapst``: message passing on raw vectors; symmetric only as far as training turns its input (Bapst et al., Nature
  Physics 16, 448, 2020). ``botan``: the same, which also learns how distances to neighbors change (Shiba et al.,
  J. Chem. Phys. 158, 084503, 2023).
- ``egnn``: equivariant, with one vector per particle and no higher degree (Satorras, Hoogeboom, Welling, ICML 2021).
- ``mlp``: a very small network on coarse-grained densities and energies of the inherent structure, in the spirit of
  GlassMLP (Jung, Biroli, Berthier, PRL 130, 238202, 2023).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ...names import did_you_mean
from .common import Baseline, BaselineConfig
from .descriptive import LENGTHS, STRENGTHS, GlassMLP, Ridge
from .message_passing import EGNN, BapstGNN, BotanGNN

__all__ = [
    "BASELINES", "EGNN", "LENGTHS", "STRENGTHS", "BapstGNN", "Baseline", "BaselineConfig", "BotanGNN", "GlassMLP",
    "Ridge", "baseline",
]  # fmt: skip

BASELINES: dict[str, type[Ridge] | type[BapstGNN] | type[BotanGNN] | type[EGNN] | type[GlassMLP]] = {
    "ridge": Ridge,
    "bapst": BapstGNN,
    "botan": BotanGNN,
    "egnn": EGNN,
    "mlp": GlassMLP,
}
"""Baselines by name."""


def baseline(name: str, **sizes: Any) -> Baseline:
    """An untrained baseline.

    Parameters
    ----------
    name : one of :data:`BASELINES`
    sizes : as in :class:`~glasslit.models.baselines.common.BaselineConfig`

    Raises
    ------
    ValueError
        If the name or a size is unknown.

    Examples
    --------
    >>> net = baseline("egnn", inputs="thermal", n_times=7, width=32, steps=4)
    >>> sum(net.count_parameters().values())
    28334
    """
    if name not in BASELINES:
        raise ValueError(f"baseline {name!r}; expected one of {', '.join(BASELINES)}{did_you_mean(name, BASELINES)}")
    try:
        return BASELINES[name](BaselineConfig(**sizes))
    except TypeError as error:
        known = [field.name for field in fields(BaselineConfig)]
        hints = "".join(did_you_mean(size, known) for size in sizes if size not in known)
        raise ValueError(f"sizes {sizes}: {error}; expected those of BaselineConfig{hints}") from None
