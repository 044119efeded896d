"""The report: renders what is there and what is not, and lets nothing in it act."""

from __future__ import annotations

import copy
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest

from introspect.compare import summarise, table
from introspect.errors import StoreError
from introspect.report import headline, number, render, write_report
from introspect.report.figures import figure_json
from introspect.report.sentences import noise
from introspect.results import negative_control_section, read_results, validate_results

RESULTS = json.loads((Path(__file__).parent / "fixtures" / "results.json").read_text(encoding="utf-8"))
"""What `introspect run probe-risk --limit 96 --set capture.layers=[0,14,28] --set generation.max_new_tokens=64` wrote,
with two of its examples, cut short."""
NOTHING = {"value": None, "reason": "too little data"}
ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'\u202e\u0007"


class Page(HTMLParser):
    """Elements and attributes of a page, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self.inside):
            self.text.append(data)


def undefined() -> dict:
    results = copy.deepcopy(RESULTS)
    for section in ("probe", "baselines", "link"):
        results[section] = NOTHING
    results["controls"] = {"negative_control": NOTHING}
    results["examples"] = []
    return results


def attacked(node):
    if isinstance(node, dict):
        fixed = ("digest", "span", "position", "positions", "headline_classifier", "best", "site")
        return {key: value if key in fixed else attacked(value) for key, value in node.items()}
    if isinstance(node, list):
        return [attacked(value) for value in node]
    return ATTACK if isinstance(node, str) else node


@pytest.mark.parametrize("results", [RESULTS, undefined()], ids=["whole", "undefined"])
def test_it_renders_the_same_way_every_time(results):
    validate_results(results)
    page = render(results, {"versions": {"torch": "x"}})
    assert page == render(results, {"versions": {"torch": "x"}})
    assert len(headline(results)) == 3
    assert RESULTS["experiment"]["question"] in page


def estimate(value: float, low: float, high: float) -> dict:
    return {"value": value, "ci95": [low, high], "n": 50, "method": "x"}


def test_the_page_says_whether_noise_matters():
    results = copy.deepcopy(RESULTS)
    controls, link = results["controls"], results["link"]
    assert "Numerical noise of capture is not seen to matter: none of 32 readouts flips" in render(results, None)
    low, high = link["silent_but_decodable"]["ci95"]
    for flips, said in ((1, "is not seen to matter: 1 of 32"), (round(32 * (high - low)), "matters: ")):
        controls["capture_noise"]["readout_flips"] = flips
        (found,) = (sentence for sentence in noise(results) if "capture" in sentence)
        assert said in found and "silent but decodable is wide" in found
        assert found in render(results, None)
    seen = results["probe"]["headline"]["auroc"]
    controls["label_noise"] = {"second": "labels", "n_read": 9, "called_no_of_yes": 0, "called_yes_of_no": 0}
    controls["label_noise"] |= {"auroc_by_second": NOTHING, "auroc_corrected": estimate(seen["ci95"][0] - 0.1, 0.1, 1)}
    assert noise(results)[0].startswith("Noise of the label matters: had labels given the label, the AUROC would be")
    controls["label_noise"]["auroc_corrected"] = estimate(seen["value"], 0.1, 1)
    assert noise(results)[0].startswith("Noise of the label is not seen to matter")
    controls["label_noise"]["auroc_corrected"] = NOTHING
    assert noise(results)[0] == "Whether noise of the label matters is not known: too little data."
    validate_results(results)
    link["label_noise"] = {"second": "judge", "silent_but_decodable": estimate(high + 0.1, 0, 1)}
    assert noise(results)[1].startswith("Noise of verdicts matters: by judge, silent but decodable would be")
    assert noise(undefined()) == []


def test_nothing_that_a_stranger_wrote_can_act(monkeypatch):
    monkeypatch.setattr("introspect.report.page.shipped_validation", lambda: None)  # it goes by the label
    sound = Page(render(RESULTS, {"a": "b"}))
    hostile = Page(render(attacked(RESULTS), {"a": ATTACK}))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in sound.tags]
    assert not any(name.startswith("on") for _, attributes in hostile.tags for name in attributes)
    text = "".join(hostile.text)
    assert "<U+202E>" in text and "\u202e" not in text and "\u0007" not in text


def test_what_a_figure_says_cannot_end_its_script():
    figure = go.Figure(go.Scatter(x=[1], y=[1], name=ATTACK))
    text = figure_json(figure)
    assert json.loads(text)["data"][0]["name"] == ATTACK
    assert not set("<>&\u2028") & set(text)


def test_it_asks_for_nothing_and_runs_its_own_scripts_only():
    page = render(RESULTS, None)
    tags = Page(page).tags
    assert not [attributes for _, attributes in tags if {"src", "href"} & set(attributes)]
    policy = next(attributes["content"] for tag, attributes in tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'") and policy.count("sha256-") == 2 and "unsafe-eval" not in policy


def test_it_says_what_activations_predict_and_not_what_a_model_knows():
    for results in (RESULTS, undefined()):
        text = " ".join("".join(Page(render(results, None)).text).split())
        assert not re.search(r"\b(model|it) (knows|believes|is aware|thinks|wants)\b", text)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.pop("link"),
        lambda r: r.update(extra=1),
        lambda r: r["behaviour"].update(invalid_rate={"value": 0.5}),
        lambda r: r["behaviour"].update(invalid_rate={"value": "0.5", "ci95": [0, 1], "n": 1, "method": "x"}),
        lambda r: r["experiment"].update(n_items="many"),
        lambda r: r["warnings"].append(3),
    ],
)
def test_what_is_not_a_results_document_is_refused(change):
    results = copy.deepcopy(RESULTS)
    change(results)
    with pytest.raises(StoreError, match=r"results\.json"):
        validate_results(results)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["verdicts"].update(headline_classifier="nobody"),
        lambda r: r["probe"]["headline"].update(position="think_33"),
        lambda r: r["controls"].pop("shuffled_labels"),
    ],
)
def test_results_that_contradict_themselves_are_one_line(tmp_path, change):
    results = copy.deepcopy(RESULTS)
    change(results)
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(StoreError, match=r"results\.json"):
        write_report(tmp_path)


def test_links_and_endless_files_are_not_followed(tmp_path):
    (tmp_path / "secret.json").write_text(json.dumps({"auth": "secret"}))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(json.dumps(RESULTS))
    (tmp_path / "run" / "manifest.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(StoreError, match=r"manifest\.json"):
        write_report(tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    (tmp_path / "run" / "results.json").symlink_to("/dev/zero")
    with pytest.raises(StoreError, match=r"results\.json"):
        write_report(tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    os.mkfifo(tmp_path / "run" / "results.json")
    with pytest.raises(StoreError, match="not a regular file"):
        write_report(tmp_path / "run")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1" + "0" * 400])
def test_numbers_that_no_estimate_has_are_refused(tmp_path, number):
    text = json.dumps(RESULTS).replace('"n_items": ', f'"n_items": {number}, "x": ', 1)
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(StoreError, match="is not a number"):
        read_results(tmp_path / "results.json")


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS).replace('"seed": 0', '"seed": NaN'))
    with pytest.raises(StoreError, match="NaN"):
        read_results(path)
    with pytest.raises(StoreError, match="cannot read"):
        write_report(tmp_path / "absent")


def test_a_negative_control_is_stated_from_its_own_results():
    section = negative_control_section(RESULTS)
    assert section["auroc"] == RESULTS["probe"]["headline"]["auroc"]
    validate_results(RESULTS | {"controls": RESULTS["controls"] | {"negative_control": section}})
    without = negative_control_section(undefined())
    assert without["auroc"] == {"value": None, "reason": "too little data"}


def test_runs_side_by_side_state_what_their_results_state(tmp_path):
    for name, results in (("a", RESULTS), ("a/negative_control", undefined()), ("b", undefined())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(results))
    (tmp_path / "a" / "manifest.json").write_text(json.dumps({"command": "introspect run probe-risk"}))
    found = summarise([tmp_path / "a", tmp_path / "b"])
    assert [run["command"] for run in found] == ["introspect run probe-risk", None, None]
    assert found[0]["baselines"] == RESULTS["baselines"]
    rows = table(found)
    assert {len(values) for values in rows.values()} == {3}
    assert rows["probe AUROC"] == [number(RESULTS["probe"]["headline"]["auroc"]), "", ""]
    assert rows["probe at"][1:] == ["not estimated (too little data)"] * 2
    with pytest.raises(StoreError, match="cannot read"):
        summarise([tmp_path / "absent"])
