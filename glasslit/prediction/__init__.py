"""A trained network in a user's hands: predictions for liquids of any size, their file, and the field's benchmark.

Imports all rooms but :mod:`glasslit.simulate`. Start with :mod:`~glasslit.prediction.blocks`; networks come from
:mod:`glasslit.learning.checkpoint`.
"""

from ..learning.checkpoint import find_model
from . import blocks, comparison, output
from .blocks import BLOCK, KEPT, predict_in_blocks
from .output import PredictionFile, predicted_atoms

__all__ = [
    "BLOCK", "KEPT", "PredictionFile", "blocks", "comparison", "find_model", "output", "predict_in_blocks",
    "predicted_atoms",
]  # fmt: skip
