#!/usr/bin/env bash
# torch-geometric 2.8.1: energies that are Python floats lose half of their digits when graphs are joined.
#
# Guess: a Python float in `Data` has 53 bits, and becomes a float64 tensor in a batch, as np.float64 does; and a graph
# that is taken out of the batch again has the value that was put in.
# Wrong: it becomes float32 (an int becomes int64). Two total energies of -27211.386245 and -27211.386246 eV are both
# -27211.38671875: half a meV off, and their difference is 0. Taken out again, they stay so. Nothing is said. The same
# number as np.float64, or as a float64 tensor, is kept.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet torch-geometric==2.8.1 torch==2.13.0 numpy==2.4.6
cd "$folder"

v/bin/python -W ignore - <<'PY'
import numpy as np
import torch
from torch_geometric.data import Batch, Data

energies = [-27211.386245, -27211.386246]
joined = {}
for kind in (float, np.float64):
    batch = Batch.from_data_list([Data(x=torch.zeros(2, 1), energy=kind(energy)) for energy in energies])
    joined[kind] = batch.energy
    back = [float(batch[k].energy) for k in range(2)]
    print(f"{kind.__name__}: {batch.energy.dtype}, {batch.energy.tolist()}, taken out again {back}")
    if kind is float:
        assert back[0] == back[1] == -27211.38671875, "it has changed"
assert joined[np.float64].tolist() == energies
assert joined[float].dtype == torch.float32 and joined[float].tolist() == [-27211.38671875] * 2, "it has changed"
PY
echo "torch-geometric 2.8.1: the Python float -27211.386245 is -27211.38671875 in a batch; as np.float64 it is kept."
