#!/usr/bin/env bash
# h5py 3.16.0: `positions[times == 2.5]` on datasets gives the first frame, whatever the times are.
#
# Guess: comparing a dataset gives an array of truth values, as `times > 2.5` would if it were allowed, or a TypeError.
# Wrong: `>` is a TypeError, but `==` compares the object itself, and gives False. And where NumPy takes False for an
# empty selection, h5py takes it for the number 0: `positions[times == 2.5]` is frame 0, `positions[times != 2.5]` is
# frame 1, in the shape of one frame. Nothing is said. With `times[:]` the right frame is selected.
# zarr 3.1.6 gives the mask that was meant no more than h5py does, but refuses False as an index.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet h5py==3.16.0 zarr==3.1.6 numpy==2.4.6
cd "$folder"

v/bin/python - <<'PY'
import h5py
import numpy as np
import zarr

times, positions = np.array([0.0, 1.0, 2.5, 7.0]), np.arange(4 * 2 * 3.0).reshape(4, 2, 3)


def frames_of(found):
    """Which frames these positions are."""
    return [int(frame[0, 0]) // 6 for frame in found.reshape(-1, 2, 3)]


with h5py.File("run.h5", "w") as file:
    file["times"], file["positions"] = times, positions
with h5py.File("run.h5") as file:
    equal, other = file["positions"][file["times"] == 2.5], file["positions"][file["times"] != 2.5]
    meant = file["positions"][file["times"][:] == 2.5]
    print(f"times == 2.5: {file['times'] == 2.5!r}; == selects frame {frames_of(equal)} in shape {equal.shape}, "
          f"!= frame {frames_of(other)}, times[:] == frame {frames_of(meant)} in shape {meant.shape}")
    assert frames_of(meant) == [2] and meant.shape == (1, 2, 3)
    assert (file["times"] == 2.5) is False, "it has changed"
    assert frames_of(equal) == [0] and equal.shape == (2, 3), "it has changed"
    assert frames_of(other) == [1], "it has changed"
    try:
        file["times"] > 2.5
    except TypeError as error:
        print("times > 2.5:", error)
    else:
        raise SystemExit("it has changed")
at_times, at_positions = (zarr.create_array(f"{name}.zarr", data=data) for name, data in
                          (("times", times), ("positions", positions)))
try:
    at_positions[at_times == 2.5]
except IndexError as error:
    print("zarr:", error)
else:
    raise SystemExit("zarr takes it: it has changed")
PY
echo "h5py 3.16.0: positions[times == 2.5] is frame 0, positions[times != 2.5] frame 1; the time 2.5 is in frame 2."
