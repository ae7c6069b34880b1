"""``glasslit compare``."""

import pandas as pd

from glasslit.cli import main


def test_the_command_prints_and_writes_the_table(glassbench_folder, tmp_path, capsys):
    out = tmp_path / "table.csv"
    figure = tmp_path / "figure.png"
    words = ["--model", "thermal-T0.56", "-o", str(out), "--figure", str(figure)]
    main(["compare", str(glassbench_folder.parent), *words])
    assert figure.read_bytes().startswith(b"\x89PNG")
    told = capsys.readouterr().out
    assert all(word in told for word in ("BOTAN", "SE3", "thermal-T0.56", "pooled/mean"))
    table = pd.read_csv(out)
    assert set(table.model) == {"BOTAN", "SE3", "thermal-T0.56"}
    first = table[(table.model == "SE3") & (table.type == "A") & (table.time == 52)].iloc[0]
    assert f"{first.pooled:.3f}/{first['mean']:.3f}" in told
