"""Adds to ``predictions.json`` the networks that it does not know yet, and changes none that it knows.

Of several seeds or folds of one setting the first is added: what the others could show, it shows.

python tests/golden/add_predictions.py
"""

import hashlib
import json
import re
from pathlib import Path

import numpy as np

import glasslit as gl
from glasslit.testing import random_liquid

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("predictions.json")


def main() -> None:
    kept = json.loads(FILE.read_text())
    liquids = gl.load("standard", T=0.64, split="test")[0], random_liquid(1000).replace(temperature=0.5)
    for path in sorted([*ROOT.glob("glasslit/data/models/*.pt"), *ROOT.glob("book/runs/**/model.pt")]):
        name = path.relative_to(ROOT).as_posix()
        if name not in kept["predictions"] and not re.search(r"-(seed|fold)[1-9]\d*/", name):
            found = np.ascontiguousarray(gl.load_model(path).predict(liquids[name.startswith("book")]))
            sample = [float(f"{value:.6g}") for value in found[-1, :: found.shape[1] // 5]]
            kept["predictions"][name] = {"sha256": hashlib.sha256(found.tobytes()).hexdigest(), "sample": sample}
            print(name)
    head = "".join(f' "{key}": {json.dumps(kept[key])},\n' for key in ("revision", "machine"))
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in kept["predictions"].items())
    FILE.write_text(f'{{\n{head} "predictions": {{\n{rows}\n }}\n}}\n')


if __name__ == "__main__":
    main()
