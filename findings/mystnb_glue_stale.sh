#!/usr/bin/env bash
# MyST-NB 1.4.0: a page that pastes another notebook's number keeps the old one when the notebook's result changes.
#
# Guess: the number that `{glue} key` with `:doc: results.ipynb` shows is the one that results.ipynb computes in the
# same build: if the notebook changes, Sphinx makes both pages anew.
# Wrong: only the notebook's own page is made anew (and the one whose toctree names it). The page that pastes is not known
# to depend on it, and still shows the number of the build before, with exit status 0 and no warning, also with
# `--fail-on-warning`. A build from scratch (`-E`) has the new number.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet myst-nb==1.4.0 sphinx==9.0.4 ipykernel==7.3.0
cd "$folder"
export PATH="$folder/v/bin:$PATH" JUPYTER_PATH="$folder/v/share/jupyter" IPYTHONDIR="$folder/ipython"
mkdir book

cat > book/conf.py <<'PY'
extensions = ["myst_nb"]
html_theme = "basic"
nb_execution_mode = "force"
PY
cat > book/index.md <<'MD'
# A book

```{toctree}
paper
results
```
MD
cat > book/paper.md <<'MD'
# The paper

```{glue} answer
:doc: results.ipynb
```
MD
write() {  # the notebook whose answer is $1
    python - "$1" <<'PY'
import sys

import nbformat
from nbformat import v4

cells = [v4.new_markdown_cell("# Results"), v4.new_code_cell(f"from myst_nb import glue\nglue('answer', {sys.argv[1]})")]
kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), "book/results.ipynb")
PY
}
shown() {  # the numbers of both pages, after a build with options $@
    sphinx-build -q --fail-on-warning "$@" book html 2> told.txt || { cat told.txt; exit 1; }
    for page in paper results; do
        printf '%s %s; ' "$page" "$(grep -o -E '1111|2222' "html/$page.html" | sort -u)"
    done
}

write 1111
first=$(shown)
sleep 1
write 2222
second=$(shown)
third=$(shown -E)
printf '%s\n' "first build: $first" "notebook changed: $second" "from scratch: $third"
[ "$first" = "paper 1111; results 1111; " ]
[ "$second" = "paper 1111; results 2222; " ] || { echo "it has changed"; exit 1; }
[ "$third" = "paper 2222; results 2222; " ]
echo "MyST-NB 1.4.0: the notebook's page shows the new number, the page that pastes it the old one, and nothing is said."
