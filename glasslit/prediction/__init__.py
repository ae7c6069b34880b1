"""A trained network in a user's hands: predictions for liquids of any size, their file, and the field's benchmark.

Imports :mod:`glasslit.liquid`, :mod:`glasslit.data`, :mod:`glasslit.models` and :mod:`glasslit.learning`. Start with
:mod:`~glasslit.prediction.blocks`; networks come from :func:`~glasslit.learning.checkpoint.find_model`.
"""

from ..learning.checkpoint import find_model
from . import blocks, calculator, comparison, output
from .blocks import BLOCK, KEPT, predict_in_blocks, predict_targets
from .output import PredictionFile, predicted_atoms

__all__ = [
    "BLOCK", "KEPT", "PredictionFile", "blocks", "calculator", "comparison", "find_model", "output",
    "predict_in_blocks", "predict_targets", "predicted_atoms",
]  # fmt: skip
