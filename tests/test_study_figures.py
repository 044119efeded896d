"""Figures of a study hold the numbers of its results, and nothing that a stranger's results could act through."""

from __future__ import annotations

import json

import pytest

from introspect.report.figures import figure_json
from introspect.studies.figures import COLOURS, PROFILE, caption, study_figures
from test_claims import estimate, none, table


def task() -> dict:
    values = {"base": {"policy_rate_id": 0.5, "probe_auroc": 0.55, "self_rating_minus_untrained": 5.0, "phi": None}}
    values |= {
        name: {"policy_rate_id": 0.9, "probe_auroc": 0.9, "self_rating_minus_untrained": 20.0, "phi": None}
        for name in ("sft", "grpo")
    }
    out = table(values)
    out["methods"]["sft"]["members"].append("risk-sft-1")
    out["members"]["risk-sft-1"] = {key: estimate(0.8) for key in out["measures"] if key != "phi"} | {"phi": none()}
    return out


def directions(*names: str) -> dict:
    probe = {"probe": estimate(0.8), "text": estimate(0.5), "increment": estimate(0.3)}
    cosine = estimate(0.4) | {"unrelated": {}, "random_labels": {}}
    raw = {
        row: {
            column: {"reliability": estimate(0.9)} if row == column else cosine
            for column in names
            if column != names[-1]
        }
        for row in names[:-1]
    }
    return {
        "auroc": {row: dict.fromkeys(names, probe) for row in names},
        "base": {name: {"reason": "x"} for name in names}
        | {names[0]: {"probe": estimate(0.6), "cosine": estimate(0.1)}},
        "cosines": {"raw": raw},
    }


def results() -> dict:
    risk, sampling = task(), task()
    risk["directions"] = directions("risk-base", "risk-sft", "risk-sft-1", "risk-grpo")
    sampling["directions"] = none("one class only")
    methods = {"base": "the start", "sft": "imitation", "dpo": "none here", "grpo": "rewards"}
    return {"study": {"methods": methods, "reference": "base"}, "tasks": {"risk": risk, "sampling": sampling}}


def along() -> dict:
    def measure(*values: float | None) -> dict:
        return {
            f"step {step}": none() if value is None else estimate(value)
            for step, value in zip((0, 10, 20), values, strict=True)
        }

    names = "policy_rate_id policy_rate_ood planted_agreement_id planted_agreement_ood verbalised_acted invalid_rate"
    names += " attainable_cosine cosine_final_planted cosine_untrained_planted"
    names += " probe_auroc final_probe probe_beyond_text probe_beyond_base cosine_final_whitened cosine_untrained"
    return {
        "steps": [0, 10, 20],
        "measures": dict.fromkeys(names.split(), measure(0.1, None, 0.9)) | {"cosine_final": measure(0.2, 0.7, None)},
        "nulls": {
            "step 0": {"random_labels": {"low": -0.1, "high": 0.3}},
            "step 10": {"random_labels": {"reason": "x"}},
        },
        "reliability": estimate(0.95),
        "training": {"loss": [[5, 1.0], [10, 0.4]], "rewards": {"reward": [[5, 0.2]], "entropy": [[5, 3.0]]}},
    }


def traces(figure, name: str) -> list:
    return [trace for trace in figure.data if trace.name == name]


def test_a_comparison_has_profiles_and_a_map_for_every_task_with_directions():
    drawn = study_figures(results())
    assert list(drawn) == ["profiles", "transfer risk"]
    assert caption("transfer risk").startswith("risk. ")
    assert caption("profiles") and caption("trajectory")


def test_profiles_show_every_estimate_with_its_interval_in_one_colour_a_method():
    figure = study_figures(results())["profiles"]
    for name in ("base", "sft", "grpo"):
        both = traces(figure, name)
        assert len(both) == 2
        assert sum(bool(trace.showlegend) for trace in both) == 1
        assert len({trace.marker.color for trace in both}) == 1
    assert not traces(figure, "dpo")
    assert not [x for trace in figure.data if trace.marker.symbol != "circle-open" for x in cut(trace)]
    sft = traces(figure, "sft")[0]
    assert list(sft.x) == pytest.approx([0.9, 0.2, 0.9])  # policy rate, rating of 100, AUROC
    assert list(sft.error_x.array) == pytest.approx([0.05, 0.02, 0.05])
    assert list(sft.error_x.arrayminus) == pytest.approx([0.05, 0.02, 0.05])
    assert list(figure.layout.yaxis.ticktext) == [
        PROFILE[key]
        for key in PROFILE
        if key in ("policy_rate_id", "self_rating_minus_untrained", "phi", "probe_auroc")
    ]
    assert len({traces(figure, name)[0].marker.color for name in ("base", "sft", "grpo")}) == 3
    assert len(set(COLOURS)) == len(COLOURS)


def cut(trace) -> list[tuple[float, str]]:
    """Edge and symbol of every arrow of a trace."""
    symbols = trace.marker.symbol if isinstance(trace.marker.symbol, tuple) else ()
    return [(x, symbol) for x, symbol in zip(trace.x, symbols, strict=True) if "triangle" in symbol] if symbols else []


def test_the_axis_of_profiles_holds_what_is_negative_and_marks_what_it_cuts():
    values = {name: {"phi": -0.8, "transfer_ratio": 0.9, "rgr_net": -0.2} for name in ("base", "sft")}
    risk = table(values)
    risk["directions"] = none()
    risk["methods"]["sft"]["measures"]["transfer_ratio"]["ci95"] = [0.3, 7.0]
    study = {"methods": dict.fromkeys(values, "one"), "reference": "base"}
    figure = study_figures({"study": study, "tasks": {"risk": risk}})["profiles"]
    low, high = figure.layout.xaxis.range
    assert low < -0.85 and high == pytest.approx(2.08)
    assert set(figure.layout.yaxis.ticktext) == {PROFILE[key] for key in ("phi", "transfer_ratio", "rgr_net")}
    arrows = [each for trace in figure.data for each in cut(trace)]
    assert arrows == [(high, "triangle-right")]
    risk["members"]["risk-sft"] = risk["members"]["risk-sft"] | {"transfer_ratio": estimate(1.0)}
    risk["methods"]["sft"]["measures"]["transfer_ratio"] = estimate(1.3)
    figure = study_figures({"study": study, "tasks": {"risk": risk}})["profiles"]
    assert figure.layout.xaxis.range[1] == pytest.approx(1.43)
    assert not [each for trace in figure.data for each in cut(trace)]
    risk["methods"]["sft"]["measures"]["phi"]["ci95"] = [-1.3, -0.5]
    figure = study_figures({"study": study, "tasks": {"risk": risk}})["profiles"]
    assert [each for trace in figure.data for each in cut(trace)] == [(-1.08, "triangle-left")]


def test_maps_show_numbers_and_leave_empty_what_is_not_there():
    left, right = study_figures(results())["transfer risk"].data
    assert list(left.x) == ["risk-base", "risk-sft", "risk-sft-1", "risk-grpo", "untrained"]
    assert list(left.z[0]) == [0.8, 0.8, 0.8, 0.8, 0.6]
    assert left.z[1][4] is None and left.text[1][4] == "–"
    assert list(right.z[0]) == [0.9, 0.4, 0.4, None, 0.1]
    assert left.text[0][0] == "0.80<br>0.75, 0.85"
    assert right.text[0][0] == "0.90<br>0.85, 0.95<br>split-half"
    assert right.text[0][1] == "0.40<br>0.35, 0.45"
    assert (left.zmin, right.zmin) == (0, -1)


def test_a_crowded_map_keeps_its_intervals_under_the_pointer_and_leaves_out_what_has_no_number():
    found = results()
    risk = found["tasks"]["risk"]
    for name in ("risk-grpo-1", "risk-grpo-2"):
        risk["methods"]["grpo"]["members"].append(name)
        risk["members"][name] = risk["members"]["risk-grpo"]
    names = [name for method in risk["methods"].values() for name in method["members"]]
    made = risk["directions"] = directions(*names)
    drawn = study_figures(found)["transfer risk"].data[0]
    assert drawn.text[0][0] == "0.80" and drawn.customdata[0][0] == "0.80<br>0.75, 0.85"
    gone = {"probe": none()}
    made["auroc"] = {
        row: {each: gone if "sft" in row + each else cell for each, cell in cells.items()}
        for row, cells in made["auroc"].items()
    }
    made["cosines"]["raw"] = none("one class only")
    left = [name for name in names if "sft" not in name]
    drawn = study_figures(found)["transfer risk"].data[0]
    assert list(drawn.y) == left and list(drawn.x) == [*left, "untrained"]
    made["auroc"] = {row: dict.fromkeys(cells, gone) for row, cells in made["auroc"].items()}
    assert "transfer risk" not in study_figures(found)


def test_a_trajectory_shows_its_steps_its_null_and_its_curves():
    figure = study_figures({"trajectory": along()})["trajectory"]
    acts = traces(figure, "acts, in distribution")[0]
    assert list(acts.x) == [0, 20]
    assert list(acts.y) == [0.1, 0.9]
    assert list(traces(figure, "with the last step's")[0].x) == [0, 10]
    assert list(traces(figure, "random labels, 95%")[0].y) == [0.3, -0.1]
    assert list(traces(figure, "loss")[0].y) == [1.0, 0.4]
    assert list(traces(figure, "reward")[0].y) == [0.2]
    assert not [trace for trace in figure.data if "entropy" in str(trace.name)]
    bare = along() | {"training": {"loss": [], "rewards": {}}, "reliability": none()}
    assert not traces(study_figures({"trajectory": bare})["trajectory"], "loss")


def test_markup_of_a_stranger_reaches_no_figure():
    bad = "<a href='javascript:alert(1)'>x</a>"
    strange = along()
    strange["training"]["rewards"][bad] = [[1, 2.0]]
    strange["measures"][bad] = strange["measures"]["probe_auroc"]
    strange["steps"] = [0, 10, bad]
    with pytest.raises(ValueError, match="invalid literal"):
        study_figures({"trajectory": strange})
    strange["steps"] = [0, 10, 20]
    shown = results()
    shown["tasks"]["risk"]["directions"]["auroc"][bad] = {}
    drawn = study_figures({"trajectory": strange}) | study_figures(shown)
    for figure in drawn.values():
        assert "javascript" not in json.dumps(json.loads(figure.to_json())["data"])
        assert "<" not in figure_json(figure)
