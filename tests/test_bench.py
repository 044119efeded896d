"""The benchmark measures what it says, says when a goal is missed, and hides nothing."""

from __future__ import annotations

import importlib
import json
import sys
import time
from types import SimpleNamespace

import pytest

from introspect import bench
from introspect.bench import memory
from introspect.bench.rows import in_turns, make_row, meets
from introspect.cli import main
from introspect.errors import RunError, SpecError
from introspect.progress import silent

PLANTED = 50_000_000
TWO_SIDES = {"what", "ours", "peer", "unit", "ratio", "of", "range of ratios", "repeats", "goal", "met", "note"}


def plant(size: int):
    """Work that takes `size` bytes for a moment, after more was taken and given back."""
    bytearray(3 * PLANTED)
    return lambda: bytearray(b"x") * size


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from tiny_folders import edit_json, save_tiny  # not at the top: a child that imports `plant` needs no torch

    folder = tmp_path_factory.mktemp("bench") / "model"
    save_tiny(folder)
    edit_json(folder / "config.json", max_position_embeddings=1024)
    return str(folder)


@pytest.fixture(scope="module")
def measured(model):
    """Every row. What belongs into a child is measured here, since every child loads torch."""

    def here(target, arguments):
        module, _, function = target.partition(":")
        found = memory.peak_of(getattr(sys.modules[module], function)(**arguments))
        # A process that other tests have run in may have room to spare, in which the work shows no growth.
        return found._replace(peak=max(found.peak, found.before + 1_000_000))

    with pytest.MonkeyPatch.context() as patch:
        for user in ("replay", "recording"):
            patch.setattr(f"introspect.bench.{user}.in_child", here)
        return bench.run_bench(model, None, repeats=2, quick=True)


def measure(model, *names, repeats=1):
    return bench.run_bench(model, None, only=names, repeats=repeats, quick=True)


def test_every_row_has_both_sides_and_their_ratio(measured):
    asked = [name for name in bench.ROWS if name not in bench.MINUTES]
    assert list(dict.fromkeys(row["row"] for row in measured["rows"])) == asked
    for row in measured["rows"]:
        assert row.keys() >= TWO_SIDES
        assert row["ours"] > 0 and row["peer"] > 0
        over, under = ("ours", "peer") if row["of"] == "ours / peer" else ("peer", "ours")
        assert row["ratio"] == pytest.approx(row[over] / row[under], rel=2e-3)
        low, high = row["range of ratios"]
        assert 0 < low <= high
        assert row["met"] in (True, False) and row["goal"]
        assert row["repeats"] == 2
    machine = measured["machine"]
    assert machine["versions"]["nnsight"] and machine["versions"]["transformer-lens"]
    assert machine["cores"] and machine["threads"] and machine["memory (GB)"] > 0 and machine["dtype"]
    json.dumps(measured, allow_nan=False)


def test_probes_agree_with_scikit_learn(measured):
    one, several, nested, null = (row for row in measured["rows"] if row["row"] == "probes")
    for row in (one, several):
        assert row["max coefficient difference"] < 1e-3 and row["max AUROC difference"] < 0.002
    assert "chosen from" in several["what"] and "chosen from" not in one["what"]
    assert "inner" in nested["what"] and "permutations" in null["what"]
    assert nested["ratio"] > 0 and null["ratio"] > 0


def test_sides_take_turns_and_the_clock_is_read_around_each():
    order = []
    in_turns("x", lambda: order.append("o"), lambda: order.append("p"), repeats=3, progress=silent)
    assert "".join(order) == "op" + "op" + "po" + "op"


def test_a_ratio_is_that_of_medians_and_its_range_that_of_neighbours(monkeypatch):
    #                     ours 3     peer 1     peer 2     ours 2     ours 1      peer 10
    clock = iter([*(0, 3), *(3, 4), *(4, 6), *(6, 8), *(8, 9), *(9, 19)])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    ours, peer = in_turns("x", lambda: None, lambda: None, repeats=3, progress=silent, warm=False)
    assert (ours, peer) == ([3, 2, 1], [1, 2, 10])
    mine = make_row("x", ours, peer, of="ours / peer", goal="<= 1.05")
    assert (mine["ours"], mine["peer"], mine["ratio"], mine["range of ratios"]) == (2, 2, 1.0, [0.1, 3.0])
    theirs = make_row("x", ours, peer, of="peer / ours", goal=">= 1.3")
    assert (theirs["ratio"], theirs["range of ratios"]) == (1.0, [0.3333, 10.0])


@pytest.mark.parametrize(
    ("ours", "peer", "of", "goal", "met"),
    [
        ([2.0], [1.0], "ours / peer", "<= 1.05", False),
        ([1.0], [1.0], "ours / peer", "<= 1.05", True),
        ([2.0], [1.0], "peer / ours", ">= 0.8", False),
        ([1.0], [2.0], "peer / ours", ">= 1.3", True),
        ([1.0], [2.0], "peer / ours", "", None),
    ],
)
def test_a_missed_goal_is_reported_as_missed(ours, peer, of, goal, met):
    assert make_row("x", ours, peer, of=of, goal=goal)["met"] is met


def test_a_goal_that_cannot_be_read_is_a_bug():
    with pytest.raises(ValueError, match="cannot read the goal"):
        meets(1.0, "about 1")


@pytest.mark.parametrize(("name", "package"), [("nnsight", "nnsight"), ("transformer-lens", "transformer_lens")])
def test_a_peer_that_is_not_installed_is_skipped_by_name(model, monkeypatch, name, package):
    for module in [each for each in sys.modules if each.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    (row,) = measure(model, name)["rows"]
    assert row["row"] == name and "not installed" in row["skipped"] and package in row["skipped"]


def test_a_row_that_fails_hides_no_other(model, monkeypatch):
    from introspect.bench import storage

    def fail(setting):
        yield {"what": "first"}
        raise RunError("no room; free some")

    monkeypatch.setattr(storage, "measure_store", fail)
    found = measure(model, "store", "startup")["rows"]
    assert [row["row"] for row in found] == ["store", "store", "startup"]
    assert found[1]["failed"] == "no room; free some" and found[2]["ours"] > 0


def test_a_bug_is_not_a_row(model, monkeypatch):
    from introspect.bench import storage

    def fail(setting):
        raise ZeroDivisionError

    monkeypatch.setattr(storage, "measure_store", fail)
    with pytest.raises(ZeroDivisionError):
        measure(model, "store")


def test_rows_that_do_not_exist_name_the_nearest():
    with pytest.raises(SpecError, match="did you mean replay"):
        bench.run_bench(only=["reply"])
    with pytest.raises(SpecError, match="repeats 0"):
        bench.run_bench(repeats=0)


def test_peak_memory_of_a_child_is_that_of_the_work_alone():
    small, large = (memory.in_child("test_bench:plant", {"size": size}).growth for size in (1000, PLANTED))
    assert small < PLANTED / 10
    assert large - small == pytest.approx(PLANTED, rel=0.05)


def test_a_child_that_fails_says_why():
    with pytest.raises(RunError, match="no_such_function"):
        memory.in_child("test_bench:no_such_function", {})


def test_a_watched_command_has_its_own_peak():
    bytearray(4 * PLANTED)
    code = f"import sys, time; held = bytearray(b'x') * {PLANTED}; time.sleep(0.3); sys.exit(3)"
    ended, seconds, peak, _ = memory.watch([sys.executable, "-c", code])
    assert ended == 3 and seconds > 0.3
    assert PLANTED < peak < 2 * PLANTED


def test_the_whole_run_is_judged_by_time_and_memory(monkeypatch):
    from introspect.bench import processes

    setting = SimpleNamespace(progress=silent, fresh=lambda: "out")
    for seconds, peak, met in ((200.0, 3e9, True), (400.0, 3e9, False), (200.0, 5e9, False)):
        monkeypatch.setattr(processes, "watch", lambda command, s=seconds, p=peak: (0, s, p, ""))
        (row,) = processes.measure_whole(setting)
        assert (row["seconds"], row["met"]) == (seconds, met)
    monkeypatch.setattr(processes, "watch", lambda command: (2, 1.0, 0, "introspect: no room\n"))
    with pytest.raises(RunError, match="no room"):
        next(processes.measure_whole(setting))


@pytest.mark.parametrize(
    ("module", "judge", "goal", "most"),
    [("large_probes", "measure_large_probes", "< 600 s, < 6 GB", 600), ("injection", "_grid", "< 15 min", 900)],
)
def test_other_processes_are_judged_alike(monkeypatch, module, judge, goal, most):
    from introspect.bench import processes

    where = importlib.import_module(f"introspect.bench.{module}")
    sizes = SimpleNamespace(large_probes=(2, 2, 100, 40))
    setting = SimpleNamespace(progress=silent, fresh=lambda: "out", model="m", sizes=sizes)
    for seconds in (most - 1.0, most + 1.0):
        monkeypatch.setattr(processes, "watch", lambda command, s=seconds: (0, s, 3e9, ""))
        found = getattr(where, judge)(setting)
        row = found if isinstance(found, dict) else next(found)
        assert (row["goal"], row["met"], row["peak memory (GB)"]) == (goal, seconds < most, 3.0)
    monkeypatch.setattr(processes, "watch", lambda command: (2, 1.0, 0, ""))
    with pytest.raises(RunError, match=r"failed \(no reason given\); run it by itself"):
        list(getattr(where, judge)(setting))


def test_the_page_says_which_goals_are_met_and_which_are_not(monkeypatch, capsys):
    found = [
        make_row("fast thing / slow thing", [1.0], [2.0], of="peer / ours", goal=">= 1.3", note="how it was done"),
        make_row("slow thing / fast thing", [2.0], [1.0], of="ours / peer", goal="<= 0.8"),
        {"what": "nnsight", "skipped": "nnsight is not installed"},
        {"what": "store", "failed": "no room"},
    ]
    asked = {}
    monkeypatch.setattr(bench, "run_bench", lambda *args, **options: asked.update(options) or {"rows": found})
    with pytest.raises(SystemExit):
        main(["bench", "--only", "store, startup", "--repeats", "2", "--quick"])
    page = capsys.readouterr().out
    marks = [line.split()[0] for line in page.splitlines() if not line.startswith(" ")]
    assert marks == ["met", "MISSED", "FAILED"]
    for part in ("peer / ours 2", "range 2 to 2", "goal >= 1.3", "how it was done", "nnsight is not installed"):
        assert part in page
    assert (asked["only"], asked["repeats"], asked["quick"], asked["whole"]) == (["store", "startup"], 2, True, False)
    with pytest.raises(SystemExit):
        main(["bench", "--json"])
    assert json.loads(capsys.readouterr().out) == {"rows": found}


def test_the_explorer_s_first_page_of_a_made_up_run_is_timed(model):
    (row,) = measure(model, "explore")["rows"]
    assert "failed" not in row and "150 rollouts" in row["what"]
    low, high = row["range (s)"]
    assert 0 < low <= row["seconds"] <= high and row["met"] is (row["seconds"] <= 2)
    assert row["peak memory (MB)"] > 50 and row["of 50 rollouts (MB)"] > 50
