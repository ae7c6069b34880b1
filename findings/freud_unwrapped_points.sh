#!/usr/bin/env bash
# freud 3.4.0: AABBQuery, its default search, loses nearly all neighbors of unwrapped points; LinkCell finds them.
#
# Guess: in a periodic box a point and its images are the same, so a neighbor list does not change when points are moved
# by whole box edges (unwrapped coordinates, LAMMPS's xu yu zu). If a search needs points in the box, it says so.
# Wrong: LinkCell gives the same list. AABBQuery gives about one pair in sixty, without a word. It is what
# `freud.density.RDF` and others take when they are given (box, points): g(r) of an ideal gas falls from 1 to near 0.
set -euo pipefail
unset PYTHONPATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --quiet freud-analysis==3.4.0 numpy==2.4.6
cd "$folder"

v/bin/python - <<'PY'
import freud
import numpy as np

rng = np.random.default_rng(0)
edge, count = 10.0, 300
box = freud.box.Box.cube(edge)
wrapped = rng.uniform(-edge / 2, edge / 2, (count, 3))
unwrapped = wrapped + edge * rng.integers(-5, 6, (count, 3))
query = {"r_max": 2.0, "exclude_ii": True}

pairs, g = {}, {}
for name, points in (("wrapped", wrapped), ("unwrapped", unwrapped)):
    for search in (freud.locality.AABBQuery, freud.locality.LinkCell):
        found = search(box, points).query(points, query).toNeighborList()
        pairs[search.__name__, name] = len(found)
    g[name] = float(freud.density.RDF(bins=1, r_max=2.0).compute((box, points)).rdf[0])
    print(f"{name}: AABBQuery {pairs['AABBQuery', name]}, LinkCell {pairs['LinkCell', name]} pairs, g = {g[name]:.2f}")
assert pairs["AABBQuery", "wrapped"] == pairs["LinkCell", "wrapped"] == pairs["LinkCell", "unwrapped"]
assert abs(g["wrapped"] - 1) < 0.1
assert pairs["AABBQuery", "unwrapped"] < pairs["AABBQuery", "wrapped"] / 20, "it has changed"
assert g["unwrapped"] < 0.1, "it has changed"
PY
echo "freud 3.4.0: of 3070 pairs, AABBQuery finds 48 once the points are unwrapped, and g(r) of an ideal gas is 0.02."
