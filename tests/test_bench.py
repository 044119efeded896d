"""The benchmark measures what it says, on any model."""

from __future__ import annotations

from introspect import bench
from tiny_folders import save_tiny


def test_every_row_has_both_sides_and_their_ratio(tmp_path, monkeypatch):
    save_tiny(tmp_path / "model")
    monkeypatch.setattr(bench, "REPEATS", 2)
    monkeypatch.setattr(bench, "TOKENS", 6)
    measured = bench.run_bench(str(tmp_path / "model"), None)
    assert len(measured["rows"]) == 3
    for row in measured["rows"]:
        assert row["ours (s)"] > 0 and row["peer (s)"] > 0
        low, high = row["range of ratios"]
        assert 0 < low <= high
    assert measured["machine"]["versions"]["torch"]


def test_a_ratio_is_that_of_the_fastest_of_each_side(monkeypatch):
    clock = iter([0, 3, 3, 4, 4, 6, 6, 8, 8, 10, 10, 11, 11, 12, 12, 14, 14, 18, 18, 20])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    row = bench._compare("x", lambda: None, lambda: None, "", lambda *args: None)
    assert (row["ours (s)"], row["peer (s)"], row["ratio"]) == (1, 1, 1.0)
    assert row["range of ratios"] == [0.5, 3.0]
