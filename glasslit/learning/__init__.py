"""From labels to a trained, scored network: training, checkpoints, scores, transfer, tables of runs.

Imports :mod:`glasslit.liquid`, :mod:`glasslit.data`, :mod:`glasslit.equivariance`, :mod:`glasslit.models` and
:mod:`glasslit.simulate` (published configurations are quenched before they are learned from). Start with
:mod:`~glasslit.learning.train`, the loop that fits on a page, then :mod:`~glasslit.learning.evaluation`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "calibration", "capture", "checkpoint", "evaluation", "filters", "folds", "forces", "graphs", "losses",
        "metrics", "parameters", "prepared", "pretrain", "sensitivity", "stored", "surrogate", "sweep", "template",
        "tensors", "train", "transfer", "uncertainty", "vectors",
    ],
)  # fmt: skip
