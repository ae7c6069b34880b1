"""What lies inside the package: names and files of its data sets and networks. Imports nothing that computes."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ..names import did_you_mean

SHIPPED = ("starter", "standard")
"""Names of the data sets inside the package; of the standard one each temperature is a file of its own."""
FETCHED = ("botan-small",)
"""Names of published data sets that ``book/train.ipynb`` fetches and prepares."""


def shipped_models() -> dict[str, Path]:
    """Files of trained networks inside the package by name, such as "thermal+E_IS-T0.56"."""
    folder = Path(str(resources.files("glasslit") / "data" / "models"))
    return {path.name.removesuffix(".pt"): path for path in sorted(folder.glob("*.pt"))}


def no_such_data(name: str | Path) -> str:
    """What to say about a data set that is neither in the package nor a file."""
    return (
        f"data {str(name)!r} is neither a file nor a shipped data set; shipped: {', '.join(SHIPPED)}; "
        "expected one of these or the path of an .h5 file (glasslit.prepare_published(folder) makes one of "
        "published files; book/train.ipynb takes the folder itself, and 'botan-small')"
        f"{did_you_mean(name, SHIPPED + FETCHED)}"
    )
