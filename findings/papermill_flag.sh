#!/usr/bin/env bash
# papermill 2.7.0: `-p flag false` switches the flag on.
#
# Guess: `-p` types its values as `-y` does (YAML), so false is the boolean; and what replaces a text stays a text.
# Wrong: only False and True, with capitals, become booleans. false becomes the text "false", which is true in an `if`,
# while `-y "flag: false"` is False. And 007 becomes the number 7, 1_000 the number 1000, though the notebook's own
# value is a text: a sample's name that looks like a number is lost; `-r` keeps it. Nothing is said in any case.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet papermill==2.7.0 ipykernel==7.3.0 nbformat==5.11.0
cd "$folder"
export PATH="$folder/v/bin:$PATH" JUPYTER_PATH="$folder/v/share/jupyter" IPYTHONDIR="$folder/ipython"

python - <<'PY'
import nbformat
from nbformat import v4

parameters = v4.new_code_cell("flag = True\nsample = 'a'", metadata={"tags": ["parameters"]})
told = v4.new_code_cell("print(repr(flag), 'on' if flag else 'off', repr(sample))")
kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
nbformat.write(v4.new_notebook(cells=[parameters, told], metadata=kernel), "flag.ipynb")
PY

wrong=0
check() {  # what it should print, then papermill's options
    local expected=$1 printed
    shift
    papermill flag.ipynb out.ipynb "$@" 2> told.txt || { cat told.txt; exit 1; }
    printed=$(python -c "import nbformat; print(nbformat.read('out.ipynb', 4).cells[-1].outputs[0].text.strip())")
    echo "papermill $*: $printed"
    [ "$printed" = "$expected" ] || { echo "it has changed: it was $expected"; wrong=1; }
}
check "'false' on 'a'" -p flag false
check "False off 'a'" -p flag False
check "False off 'a'" -y "flag: false"
check "True on 7" -p sample 007
check "True on 1000" -p sample 1_000
check "True on '007'" -r sample 007
[ "$wrong" = 0 ]
echo "papermill 2.7.0: -p flag false is the text 'false', which is true; -p sample 007 is the number 7."
