#!/usr/bin/env bash
# numba-cuda 0.30.4 and NumPy 2.5.2 are installed side by side, and no kernel compiles.
#
# Guess: pip refuses the pair, or the import says that NumPy is too new.
# Wrong: pip installs it, `pip check` finds nothing, `from numba import cuda` works. The first kernel that is compiled, whatever
# it does, ends in an AttributeError about `numpy.row_stack`, which NumPy 2.5 no longer has. With NumPy 2.4.6 it compiles.
# No GPU is needed to see it. Needs python3.12: NumPy 2.5 has no wheels for older ones.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.12 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet "numba-cuda[cu13]==0.30.4" numba==0.68.0 numpy==2.5.2
cd "$folder"

cat > kernel.py <<'PY'
import sys

import numpy
from numba import cuda, float32


def double(x):
    x[0] = 2 * x[0]


try:
    ptx, _ = cuda.compile_ptx(double, (float32[:],), cc=(9, 0))
    said = "compiles" if ".visible .entry" in ptx else "no entry"
except AttributeError as error:
    said = f"AttributeError: {error}"
print(f"NumPy {numpy.__version__}: {said}")
assert (said == "compiles") if sys.argv[1] == "right" else ("row_stack" in said), "it has changed"
PY
v/bin/pip check
v/bin/python kernel.py wrong
v/bin/pip install --quiet --quiet numpy==2.4.6
v/bin/python kernel.py right
echo "numba-cuda 0.30.4 beside NumPy 2.5.2: pip check is content, the import works, every compilation is an AttributeError."
