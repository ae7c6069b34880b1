"""The box, where it is said beside the file."""

from __future__ import annotations

import numpy as np

from .snapshot import Options


def cell_beside(options: Options) -> np.ndarray:
    """Edge vectors of the box that was said beside a file which has none, shape (3, 3), sigma_AA.

    Raises
    ------
    ValueError
        If none was said, or what was said is no box.
    """
    if options.box is None:
        raise ValueError("no box in the file; expected its edge lengths beside it: --box 9.41, or box=9.41")
    edges = np.asarray(options.box, dtype=np.float64)
    if edges.shape != (3,) or not np.all(np.isfinite(edges)) or np.any(edges <= 0):
        raise ValueError(f"box {edges.tolist()}; expected three positive edge lengths: --box 9.41, or box=9.41")
    return np.diag(edges)


def refuse_second_box(options: Options) -> None:
    """For frames that say their box.

    Raises
    ------
    ValueError
        If one was said beside the file as well.
    """
    if options.box is not None:
        raise ValueError(
            f"box {np.asarray(options.box).tolist()} beside a file that says its box; expected one of the two: leave "
            "--box or box= out"
        )
