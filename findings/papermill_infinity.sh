#!/usr/bin/env bash
# papermill 2.7.0: with an infinite parameter, it writes a notebook that is not JSON.
#
# Guess: the parameter reaches the notebook as float('inf'), and what is written can be opened by what opens notebooks.
# Wrong: the first holds. But the parameters are also written into the notebook's metadata, as the bare word Infinity
# (NaN, for what is not a number), which JSON does not have: orjson refuses the file, as do JSON.parse in a browser and
# jq. Python's json, with which nbformat reads, takes the word, so nothing is said. A cutoff or a maximal time that is
# infinite, in the Python interface or as `-y "cutoff: .inf"`, is enough.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet papermill==2.7.0 ipykernel==7.3.0 nbformat==5.11.0 orjson==3.13.0
cd "$folder"
export PATH="$folder/v/bin:$PATH" JUPYTER_PATH="$folder/v/share/jupyter" IPYTHONDIR="$folder/ipython"

python - <<'PY'
import nbformat
from nbformat import v4

parameters = v4.new_code_cell("cutoff = 2.5", metadata={"tags": ["parameters"]})
kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
nbformat.write(v4.new_notebook(cells=[parameters, v4.new_code_cell("print(cutoff)")], metadata=kernel), "run.ipynb")
PY
cat > look.py <<'PY'
import sys
from pathlib import Path

import nbformat
import orjson

notebook = nbformat.read("out.ipynb", 4)
nbformat.validate(notebook)
printed = notebook.cells[-1].outputs[0].text.strip()
try:
    orjson.loads(Path("out.ipynb").read_bytes())
    told = "JSON"
except orjson.JSONDecodeError:
    told = "not JSON"
print(f"printed {printed}; the file is {told}")
assert f"{printed}: {told}" == sys.argv[1], "it has changed"
PY
for case in "2.5|2.5: JSON" ".inf|inf: not JSON" ".nan|nan: not JSON"; do
    papermill run.ipynb out.ipynb -y "cutoff: ${case%%|*}" 2> told.txt || { cat told.txt; exit 1; }
    if grep -i -E "infinity|nan|json" told.txt; then exit 1; fi  # not a word about it
    python look.py "${case##*|}"
done
echo "papermill 2.7.0: with cutoff .inf the notebook runs, nbformat reads it, and orjson 3.13.0 says it is not JSON."
