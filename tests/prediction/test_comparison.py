"""The benchmark's table, on files in GlassBench's layout made here of our own data, with stand-in predictions."""

import os

import numpy as np
import pytest

import glasslit as gl
from glasslit.data.published import published_predictions, with_energies
from glasslit.learning.metrics import pearson
from glasslit.liquid.heterogeneity import chi4, correlation_length, overlap
from glasslit.liquid.kob_andersen import GLASSBENCH_CEILING, TIME_GRIDS
from glasslit.prediction import find_model
from glasslit.prediction.comparison import compare
from glasslit.testing import write_glassbench
from tests.common import STAND_INS


def test_every_number_is_that_of_the_files(glassbench_folder):
    table = compare(glassbench_folder, threshold=0.25)
    assert set(table.model) == set(STAND_INS)
    assert len(table) == 2 * 10 * 2
    read = [gl.read_published(p)[0] for p in sorted(glassbench_folder.iterdir())]
    theirs = [published_predictions(p) for p in sorted(glassbench_folder.iterdir())]
    labels, types = [c.propensity for c in read], [c.types for c in read]
    for name in STAND_INS:
        mine = table[(table.model == name) & (table.type == "B")].sort_values("time")
        assert mine.time.tolist() == list(TIME_GRIDS[0.56])
        for how in ("mean", "pooled"):
            assert np.allclose(mine[how], pearson([t[name] for t in theirs], labels, types, how)["B"])
        for k in (0, 6):
            q = [overlap(t[name][k][c.types == 1], 0.25) for t, c in zip(theirs, read, strict=True)]
            assert mine.chi4.iloc[k] == pytest.approx(float(chi4(q)))
            q = [overlap(c.propensity[k][c.types == 1], 0.25) for c in read]
            assert mine.chi4_labels.iloc[k] == pytest.approx(float(chi4(q)))
            place = [c.positions[c.types == 1] for c in read]
            length = correlation_length(q, place, [c.box for c in read])
            assert mine.xi4_labels.iloc[k] == pytest.approx(float(length), nan_ok=True)  # nan: nobody has left
    of_a = table[table.type == "A"].set_index(["model", "time"])["mean"]
    assert (of_a["BOTAN"] > of_a["SE3"]).all()  # less noise was added


def test_networks_stand_beside_them_at_their_own_times(glassbench_folder):
    """Energies are not in the files: they are those of the inherent positions there."""
    net = find_model("thermal+E_IS-T0.56")
    table = compare(glassbench_folder, {"mine": net})
    mine = table[(table.model == "mine") & (table.type == "A")].sort_values("time")
    assert mine.time.tolist() == net.times.tolist()
    test = gl.load("standard", T=0.56, split="test")
    expected = gl.evaluate(net, gl.load("standard", T=0.56, split="train")[:1], test)["test"]["A"]
    assert np.allclose(mine["mean"], expected["mean"], atol=2e-3)  # labels and energies are rounded in the data set
    assert np.allclose(mine.pooled, expected["pooled"], atol=2e-3)


def test_energies_are_those_of_the_positions():
    c = gl.load("standard", T=0.56, split="test")[0]
    bare = c.replace(potential_energy_thermal=None, potential_energy_inherent=None)
    found = with_energies(bare)
    assert np.abs(found.potential_energy_inherent - c.potential_energy_inherent).max() < 5e-3
    assert np.abs(found.potential_energy_thermal - c.potential_energy_thermal).max() < 5e-3
    assert with_energies(c) is c
    assert with_energies(bare.replace(inherent_positions=None)).potential_energy_inherent is None


PUBLISHED = {  # science.md's table: T = 0.44, A, pooled / mean over configurations
    "BOTAN": ".949/.949 .738/.739 .733/.734 .695/.697 .730/.734 .742/.748 .755/.752 .691/.691",
    "CAGE": ".684/.684 .845/.847 .899/.901 .826/.826 .803/.802 .801/.801 .779/.782 .691/.706",
    "GlassMLP": ".390/.392 .795/.796 .766/.768 .725/.725 .740/.737 .770/.761 .768/.756 .700/.677",
    "SE3": ".896/.896 .672/.672 .681/.681 .713/.708 .758/.749 .798/.785 .815/.791 .789/.731",
}


def test_the_published_table_comes_out_of_the_published_files():
    folder = os.environ.get("GLASSLIT_GLASSBENCH")
    if not folder:
        pytest.skip("set GLASSLIT_GLASSBENCH to what glasslit.fetch_glassbench(0.44) returns (6 GB)")
    table = compare(folder)
    table = table[table.type == "A"].set_index(["model", "time"])
    for name, line in PUBLISHED.items():
        (model,) = [m for m in table.index.levels[0] if name.lower() in m.lower()]
        for t, pair in zip(TIME_GRIDS[0.44], line.split(), strict=False):
            found = table.loc[(model, t), ["pooled", "mean"]]
            assert found.tolist() == pytest.approx([float(v) for v in pair.split("/")], abs=1.5e-3), (name, t)


def test_published_ceilings_belong_to_published_times():
    assert set(GLASSBENCH_CEILING[0.44]) <= set(TIME_GRIDS[0.44])


def test_files_that_do_not_belong_together_are_refused(glassbench_folder, tmp_path):
    with pytest.raises(ValueError, match=r"holds no \.npz file"):
        compare(tmp_path)
    write_glassbench(tmp_path / "bare", gl.load("standard", T=0.56, split="test")[0], 1)
    with pytest.raises(ValueError, match=r"hold no predictions, and no network is given"):
        compare(tmp_path / "bare")
    for path in glassbench_folder.iterdir():
        with np.load(path) as content:
            np.savez(tmp_path / path.name, **dict(content))
    with np.load(tmp_path / "N4096T0.56_10.npz") as content:
        kept = {k: v for k, v in content.items() if k != "SE3"}
    np.savez(tmp_path / "N4096T0.56_10.npz", **kept)
    with pytest.raises(ValueError, match=r"predictions \['BOTAN'\]; expected those of N4096T0\.56_9\.npz"):
        compare(tmp_path)
    (tmp_path / "N4096T0.56_10.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a readable"):
        compare(tmp_path)
    cold = gl.load_model("book/runs/T0.44/model.pt")
    with pytest.raises(ValueError, match=r"'cold' predicts at .* expected a time in common"):
        compare(glassbench_folder, {"cold": cold})
