#!/usr/bin/env bash
# torch-geometric 2.8.1: the numbers of an attribute with "batch" in its name are shifted when graphs are joined.
#
# Guess: a batch of graphs holds the values of a float attribute one after the other. Its documentation says that names
# with "index" in them are raised by the number of nodes; for other names nothing is said.
# Wrong: with "batch" anywhere in the name, a graph's values are raised for every graph before it by one and by the whole
# part of its largest value. Three samples of batch_temperature 0.44 become 0.44, 1.44 and 2.44. The same value called
# temperature stays. Nothing is said; `to_data_list` takes the shift away again, so that a round trip does not show it.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet torch-geometric==2.8.1 torch==2.13.0 numpy==2.4.6
cd "$folder"

v/bin/python -W ignore - <<'PY'
import torch
from torch_geometric.data import Batch, Data


def sample():
    return Data(x=torch.zeros(2, 1), temperature=torch.tensor([0.44]), batch_temperature=torch.tensor([0.44]))


batch = Batch.from_data_list([sample() for _ in range(3)])
print("temperature", batch.temperature.tolist(), "batch_temperature", batch.batch_temperature.tolist())
assert torch.allclose(batch.temperature, torch.full((3,), 0.44))
assert torch.allclose(batch.batch_temperature, torch.tensor([0.44, 1.44, 2.44])), "it has changed"
assert all(torch.allclose(one.batch_temperature, torch.tensor([0.44])) for one in batch.to_data_list())
PY
echo "torch-geometric 2.8.1: three graphs with batch_temperature 0.44 are joined to 0.44, 1.44, 2.44; temperature stays."
