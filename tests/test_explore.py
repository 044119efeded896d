"""The explorer's pages: what they show is what is on file, who may ask is checked, and what is damaged is said."""

from __future__ import annotations

import html
import json
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

import introspect
from explored_runs import HOSTILE, HOSTILE_NUMBER, UNREAD_NUMBER, finished_run
from introspect import lines
from introspect.cli import main
from introspect.errors import RunError, SpecError, StoreError
from introspect.explore import index as indexing
from introspect.explore import pages as paging
from introspect.explore import serving
from introspect.explore.app import make_app
from introspect.explore.asked import Filter, neighbours, whole
from introspect.explore.figures import run_figures, shown, tables
from introspect.explore.fitted import OwnProbes, _lean
from introspect.explore.index import Index
from introspect.explore.later import Later
from introspect.explore.opened import Opened
from introspect.explore.site import Site
from introspect.explore.tokens import coloured, level_of
from introspect.probes.saved import save_probe
from introspect.results import read_results
from introspect.rollout import read_rollouts
from introspect.verdicts.line import VerdictLine
from planted_runs import record_by_hand
from tiny_folders import save_tiny

TOKEN = "a-token_of-the-test"  # noqa: S105
BASE = "http://127.0.0.1"
INJECTED = Path(__file__).parents[1] / "experiments" / "results" / "inject-thought.json"
SHIPPED = Path(__file__).parents[1] / "probes" / "risk-silent"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs") / "planted", model)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """Probed at a mean, and at the answer itself."""
    run = tmp_path_factory.mktemp("runs") / "elsewhere"
    return finished_run(run, model, positions="[last_prompt, think_mean, answer_token]")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs") / "empty", model, inside=False, seed=1)


@pytest.fixture(scope="module", autouse=True)
def _patient():
    """Pages wait for what is being made, so that each is whole the first time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "WAIT", 120.0)
        yield


def client(*runs: Path, token: str = TOKEN) -> TestClient:
    return TestClient(make_app(Site(runs), token), base_url=BASE, follow_redirects=False)


@pytest.fixture(scope="module")
def both(made, other):
    return client(made, other)


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copied"))


def get(asked: TestClient, path: str, code: int = 200) -> str:
    answer = asked.get(f"/{TOKEN}{path}")
    assert answer.status_code == code, answer.text
    return answer.text


def alert(page: str) -> str:
    """What a page of trouble says."""
    return html.unescape(re.search(r'role="alert">(.*?)</p>', page, re.DOTALL)[1])


class Tables(HTMLParser):
    """The tables of a page: rows of cells as text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._cell: list[str] | None = None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append("".join(self._cell).strip())
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)


def table(page: str, name: str) -> list[list[str]]:
    """The first table whose head begins with a name."""
    return next(rows for rows in Tables(page).tables if rows and rows[0][0] == name)


def listed(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'class="open" href="[^"]*/rollouts/(\d+)', page)]


class TestWhoIsAnswered:
    def test_only_the_address_that_was_printed(self, both):
        assert both.get(f"/{TOKEN}/").status_code == 200
        for path in ("/", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", "/runs/0", f"//{TOKEN}/", "/é/", f"/{TOKEN.upper()}/"):
            answer = both.get(path)
            assert (answer.status_code, "introspect explore" in answer.text) == (404, True), path

    def test_a_name_that_somebody_else_points_at_this_machine_is_refused(self, both):
        for host in (
            "evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:99999",
            "",
            "[::1]",
            "localhost@evil.example",
        ):
            assert both.get(f"/{TOKEN}/", headers={"Host": host}).status_code == 400, host
        assert both.get(f"/{TOKEN}/", headers={"Host": "localhost"}).status_code == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    def test_readers_only(self, both, method):
        assert both.request(method, f"/{TOKEN}/runs/0").status_code == 405

    def test_nothing_may_be_framed_cached_sent_on_or_run(self, both):
        for path in ("/", "/runs/0", "/runs/0/rollouts", "/nothing", "/runs/0/figures"):
            headers = both.get(f"/{TOKEN}{path}").headers
            policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
            assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
            assert policy["frame-ancestors"] == "'none'" and policy["base-uri"] == "'none'"
            assert headers["Referrer-Policy"] == "no-referrer" and headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store" and "set-cookie" not in headers
            assert ("'unsafe-inline'" in policy["style-src"]) == (path in ("/runs/0", "/runs/0/figures"))

    def test_no_page_has_a_script_or_style_of_its_own(self, both):
        for path in (
            "/runs/0",
            "/runs/0/rollouts",
            f"/runs/0/rollouts/{HOSTILE_NUMBER}",
            "/runs/0/figures",
            "/compare",
        ):
            page = get(both, path)
            assert re.findall(r"<script(?![^>]* src=)", page) == [] and "<style" not in page
            assert re.findall(r"<[^>]*\s(style|on\w+)=", page) == []
            assert set(re.findall(r'(?:src|href)="(?:https?:)?//', page)) == set()

    @pytest.mark.parametrize(
        "path",
        [
            "/static/../app.py",
            "/static/%2e%2e/app.py",
            "/static/..%2fapp.py",
            "/static/",
            "/static/base.html.j2",
            "/runs/0/../../results.json",
            "/runs/-1",
            "/runs/0/results.json",
            "/runs/2",
        ],
    )
    def test_no_file_is_given_but_those_of_the_pages(self, both, path):
        answer = both.get(f"/{TOKEN}{path}")
        assert answer.status_code == 404 and "make_app" not in answer.text and "schema_version" not in answer.text


class TestOverview:
    def test_it_says_what_the_results_say(self, both, made):
        page, results = get(both, "/runs/0"), read_results(made / "results.json")
        from introspect.report import headline

        for sentence in headline(results):
            assert sentence in html.unescape(page)

    @pytest.mark.parametrize("show", ["auroc", "null", "inner", "beyond_null", "base"])
    def test_the_map_has_every_place_of_the_grid(self, both, made, show):
        rows = table(get(both, f"/runs/0?show={show}"), "layer")
        grid = read_results(made / "results.json")["probe"]["grid"]
        value = {
            "auroc": lambda cell: cell["auroc"]["value"],
            "null": lambda cell: cell["null_q95"],
            "inner": lambda cell: cell["inner_auroc"],
            "beyond_null": lambda cell: cell["auroc"]["value"] - cell["null_q95"],
            "base": lambda cell: cell["base_auroc"],
        }[show]
        found = {
            (position.replace(" ", "_"), int(row[0])): text
            for row in rows[1:]
            for position, text in zip(rows[0][1:], row[1:], strict=True)
        }
        expected = {(c["position"], c["layer"]): "–" if value(c) is None else f"{value(c):.2f}" for c in grid}
        assert found == expected and len(expected) == 6

    def test_a_place_is_chosen_by_its_address(self, both):
        page = get(both, "/runs/0?position=think_100&layer=0")
        assert "Layer 0, think 100" in page
        assert re.search(r'class="[^"]*chosen[^"]*"><a[^>]*aria-label="layer 0, think 100: ', page)

    def test_what_it_does_not_know_is_refused_by_name(self, both):
        assert "choose one of auroc" in alert(get(both, "/runs/0?show=everything", 400))
        assert "choose one of last_prompt" in alert(get(both, "/runs/0?position=%3Cb%3E", 400))
        assert "layer is 'x'" in alert(get(both, "/runs/0?layer=x", 400))
        assert "2 are open" in alert(get(both, "/runs/17", 404))

    def test_one_run_alone_is_shown_at_once(self, made):
        answer = client(made).get(f"/{TOKEN}/")
        assert (answer.status_code, answer.headers["location"]) == (302, f"/{TOKEN}/runs/0")

    def test_figures_stand_beside_their_numbers(self, both):
        page = get(both, "/runs/0/figures")
        names = re.findall(rf'data-figure="/{TOKEN}(/runs/0/figures/(\w+)\.json)"', page)
        assert {name for _, name in names} == {"forest", "along"}
        for path, _ in names:
            figure = json.loads(get(both, path))
            for x in figure["data"][0]["x"]:
                assert f"<td>{x:.3g}</td>" in page if isinstance(x, float) else f"<td>{x}</td>" in page
        drawn = json.loads(get(both, "/runs/0/figures/layers.json?position=think_100"))
        assert "updatemenus" not in drawn["layout"] or drawn["layout"]["updatemenus"] == []
        get(both, "/runs/0/figures/nothing.json", 404)


def test_doses_are_said_in_numbers_under_their_figure(made):
    def moved(value: float) -> dict:
        change = {"value": value, "ci95": [value - 0.5, value + 0.5], "n": 9}
        return {
            "change": change,
            "controls_95": [-0.1, 0.1],
            "controls": {"value": 0.01},
            "n_controls": 20,
            "n_items": 9,
        }

    def cell(dose: float, scale: float) -> dict:
        kl = {"kl": {"value": dose / 8}, "controls_kl": {"value": dose / 9}}
        return {"operator": "add", "dose": dose, "log_odds": moved(dose * scale), "acts": moved(dose / 10), **kl}

    doses = {scope: [cell(1.0, i + 2), cell(2.0, i + 2)] for i, scope in enumerate(("think", "answer", "both"))}
    steering = {
        "direction": {"layer": 1},
        "kl_bound": 0.7,
        "replayed": {scope: {"doses": cells} for scope, cells in doses.items()},
        "sampled": doses,
        "map": {
            "layers": [0, 1],
            "acts": [{"operator": "add", "dose": 1.0}],
            "log_odds": [[0.5], [3.25]],
            "kl": [[0.1], [0.2]],
        },
    }
    found = run_figures(read_results(made / "results.json") | {"steering": steering})
    by_title = {each.title: each.rows for each in tables(found["steer_doses"])}
    for i, where in enumerate(("think only", "answer only", "think and answer")):
        rows = by_title[f"{where} · log-odds (nats) · the direction, 95% interval"]
        value = i + 2
        assert list(rows[1]) == ["1", f"{value:.3g}", f"{value - 0.5:.3g} to {value + 0.5:.3g}"]
        assert f"{where} · P(acts) · the direction, 95% interval" in by_title
    assert [list(row) for row in tables(found["steer_map"])[0].rows] == [["1", "0.5", "3.25"]]
    broad = {name: shown(name, figure).broad for name, figure in found.items()}
    assert broad == {"forest": True, "along": False, "steer_doses": True, "steer_map": False}


class TestList:
    def test_every_filter_lists_what_a_table_says(self, both, made):
        rows = introspect.open_run(made).rollouts
        acted = rows.acted.map({True: "yes", False: "no"})
        for query, kept in {
            "": rows.index >= 0,
            "acted=yes": acted == "yes",
            "acted=no&readout=policy": (acted == "no") & (rows.readout == "policy"),
            "verdict=silent&part=test": (rows.verdict == "silent") & (rows["part"] == "test"),
            "verdict=verbalised": rows.verdict == "verbalised",
            f"item={rows.item_id[5]}": rows.item_id == rows.item_id[5],
            "item=nobody": rows.index < 0,
            "condition=plain&readout=none": rows.readout == "none",
        }.items():
            expected = rows.index[kept].tolist()
            page = get(both, f"/runs/0/rollouts?{query}")
            assert f"{len(expected)} of {len(rows)} rollouts" in page, query
            pages = [get(both, f"/runs/0/rollouts?{query}&page={i}") for i in range(-(-len(expected) // 50))]
            assert [number for each in pages for number in listed(each)] == expected, query

    def test_counts_say_what_each_choice_would_list(self, both, made):
        rows = introspect.open_run(made).rollouts
        page = get(both, "/runs/0/rollouts?readout=policy")
        for value, acted in (("yes", True), ("no", False)):
            count = int(((rows.readout == "policy") & (rows.acted == acted)).sum())
            assert f'<option value="{value}">{value} ({count})</option>' in page
        assert f"policy ({int((rows.readout == 'policy').sum())})" in page
        assert f"none ({int((rows.readout == 'none').sum())})" in page

    def test_scores_put_it_in_order(self, both, made):
        score = introspect.open_run(made).rollouts.score.dropna()
        assert listed(get(both, "/runs/0/rollouts?sort=-score"))[:5] == score.nlargest(5).index.tolist()
        assert listed(get(both, "/runs/0/rollouts?sort=score"))[:5] == score.nsmallest(5).index.tolist()

    def test_a_page_beyond_the_last_is_the_last(self, both):
        assert listed(get(both, "/runs/0/rollouts?page=999"))[-1] == 239

    @pytest.mark.parametrize("query", ["acted=perhaps", "verdict=x", "readout=1", "part=all", "sort=text", "page=-1"])
    def test_what_it_does_not_know_is_refused_by_name(self, both, query):
        assert query.partition("=")[0] in alert(get(both, f"/runs/0/rollouts?{query}", 400))
        assert "choose one of lexical" in alert(get(both, "/runs/0/rollouts?verdict=silent&by=me", 400))

    def test_only_the_rollouts_of_the_page_are_read(self, both, monkeypatch):
        read = []
        whole_read = Opened.rollout
        monkeypatch.setattr(Opened, "rollout", lambda run, *at: read.append(at) or whole_read(run, *at))
        get(both, "/runs/0/rollouts?page=1")
        assert len(read) == 50


class TestRollout:
    @pytest.mark.parametrize("layer", [0, 1])
    def test_tokens_have_the_log_odds_of_the_run_s_own_probe(self, both, made, layer):
        """Against the notebook's view, which fits the probe again in its own way."""
        rows = table(get(both, f"/runs/0/rollouts/11?probe=own:last_prompt&layer={layer}&view=table"), "position")[1:]
        view = introspect.open_run(made).tokens(11, layer=layer)
        assert [row[1] for row in rows] == list(view._codes)
        scores = view.scores[layer]
        assert np.isfinite(scores).sum() == sum(row[3] != "–" for row in rows) > 20
        for row, score in zip(rows, scores, strict=True):
            assert row[3] == ("–" if np.isnan(score) else f"{score:+.2f}")

    @pytest.mark.parametrize("position", ["think_mean", "answer_token"])
    def test_probes_of_the_answer_itself_and_of_means_are_read_too(self, elsewhere, position):
        """A fit is held against the scores on file, so it is of the very rows."""
        run = Opened(elsewhere)
        own = OwnProbes(run)
        assert own.positions[0] != "answer_token" and position in own.positions
        best = next(row["layer"] for row in run.results["probe"]["positions"] if row["position"] == position)
        probe = own.find(position, best, None)
        _, values = run.activations(read_rollouts(elsewhere / "rollouts.jsonl")[11], "resid_post", best)
        rows = table(get(client(elsewhere), f"/runs/0/rollouts/11?probe=own:{position}&view=table"), "position")[1:]
        found = [row[3] for row in rows if row[3] != "–"]
        assert found == [f"{score:+.2f}" for score in probe.score(values)] and len(found) > 20

    def test_a_mean_that_has_no_row_is_refused_and_no_token_is_taken_for_it(self, elsewhere, tmp_path):
        run = Path(shutil.copytree(elsewhere, tmp_path / "copied"))
        shutil.rmtree(run / "activations")
        record_by_hand(run, read_rollouts(run / "rollouts.jsonl"), strength=3.0)
        said = alert(get(client(run), "/runs/0/rollouts/11?probe=own:think_mean", 500))
        assert "keeps no mean over the think span of rollout 0" in said

    def test_its_text_is_whole_and_its_spans_are_marked(self, both, made):
        page = get(both, "/runs/0/rollouts/11")
        found = {
            span: html.unescape(re.sub(r"<[^>]*>", "", body)).replace("⏎", "")
            for span, body in re.findall(
                r'<section class="text (\w+)".*?<p class="tokens"[^>]*>(.*?)</p></section>', page, re.DOTALL
            )
        }
        rollout = read_rollouts(made / "rollouts.jsonl")[11]
        assert found["think"] == rollout.think_text
        assert set(found) == {"prompt", "think", "answer"} and found["answer"].endswith(rollout.answer)

    def test_colours_follow_the_log_odds(self, both):
        page = get(both, "/runs/0/rollouts/11?layer=1")
        shown = re.findall(r'<span class="([npz]\w*)[^"]*" data-about="[^"]*log-odds ([-+.\d]+)"', page)
        assert len({level for level, _ in shown}) > 2
        for level, odds in shown:
            assert (level[0] == "p") <= (float(odds) >= 0) and (level[0] == "n") <= (float(odds) <= 0)

    def test_layers_are_a_step_apart(self, both):
        page = get(both, "/runs/0/rollouts/11?layer=1&acted=yes")
        down = html.unescape(re.search(r'id="shallower"[^>]*href="([^"]*)"', page)[1])
        assert 'id="deeper"' not in page and "layer=0" in down and "acted=yes" in down
        assert 'id="deeper"' in both.get(down).text

    def test_neighbours_are_those_of_the_filtered_list(self, both, made):
        numbers = listed(get(both, "/runs/0/rollouts?acted=yes"))
        page = get(both, f"/runs/0/rollouts/{numbers[3]}?acted=yes")
        n_acted = int(introspect.open_run(made).rollouts.acted.sum())
        assert f'<span class="note">4 of {n_acted}</span>' in page and 50 < n_acted < 240
        for name, number in (("prev", numbers[2]), ("next", numbers[4])):
            assert re.search(rf'id="{name}"[^>]*href="[^"]*/rollouts/{number}\?acted=yes"', page)

    def test_what_a_model_wrote_is_text(self, both):
        page = get(both, f"/runs/0/rollouts/{HOSTILE_NUMBER}")
        assert "<script>alert" not in page and "<img" not in page and "</p></section><script" not in page
        excerpts = re.findall(r'<td class="excerpt">(.*?)</td>', get(both, "/runs/0/rollouts"), re.DOTALL)
        assert "<" not in excerpts[HOSTILE_NUMBER] and HOSTILE in html.unescape(excerpts[HOSTILE_NUMBER])
        shown = html.unescape(re.sub(r"<[^>]*>", "", page[page.index('class="text think"') :]))
        assert HOSTILE in shown

    def test_only_its_own_verdicts_are_read(self, both, monkeypatch):
        get(both, "/runs/0/rollouts")
        read, whole_read = [], lines.parse_line
        monkeypatch.setattr(
            lines, "parse_line", lambda line, kind, where: read.append(kind) or whole_read(line, kind, where)
        )
        page = get(both, "/runs/0/rollouts/11?view=table")
        assert read.count(VerdictLine) == 1 and table(page, "classifier")[1][0] == "lexical"

    def test_one_without_a_chain_has_no_such_span(self, both):
        page = get(both, f"/runs/0/rollouts/{UNREAD_NUMBER}")
        assert 'class="text think"' not in page and 'class="text answer"' in page

    def test_what_is_not_there_is_said(self, both):
        assert "no rollout 240" in alert(get(both, "/runs/0/rollouts/240", 404))
        assert "the run keeps 0, 1" in alert(get(both, "/runs/0/rollouts/3?layer=2", 400))
        assert "choose one of own:last_prompt" in alert(get(both, "/runs/0/rollouts/3?probe=own:nowhere", 400))
        assert "choose one of" in alert(get(both, "/runs/0/rollouts/3?probe=risk-silent", 400))

    def test_a_saved_probe_is_read_at_its_own_layer(self, made, tmp_path):
        folder, found = tmp_path / "mine", Site([made]).runs[0].own.find("last_prompt", 1, 60)
        card = json.loads((SHIPPED / "probe.json").read_text())
        card["place"] |= {"layer": 1, "position": "last_prompt"}
        card["model"] |= {"n_layers": 2, "width": len(found.weight)}
        save_probe(folder, found.weight, found.bias, {k: v for k, v in card.items() if k not in ("format", "tensors")})
        asked = TestClient(make_app(Site([made], [str(folder)]), TOKEN), base_url=BASE)
        rows = table(get(asked, "/runs/0/rollouts/11?probe=mine&view=table"), "position")[1:]
        own = table(get(asked, "/runs/0/rollouts/11?view=table"), "position")[1:]
        pairs = [(float(a[3]), float(b[3])) for a, b in zip(rows, own, strict=True) if a[3] != "–"]
        assert len(pairs) > 20 and max(abs(a - b) for a, b in pairs) <= 0.02
        assert "reads layer 1 only" in alert(get(asked, "/runs/0/rollouts/11?probe=mine&layer=0", 400))

    def test_without_the_model_the_text_is_shown_and_why(self, copy, tmp_path):
        (copy / "manifest.json").write_text(
            json.dumps({"model": {"name": str(tmp_path / "gone"), "revision": None, "n_layers": 2}})
        )
        page = get(client(copy), "/runs/0/rollouts/3")
        assert "only its text is shown" in page and "&lt;script&gt;" in page


class TestTwoRuns:
    def test_the_same_questions_are_crossed(self, both, made, other):
        left, right = (introspect.open_run(each).rollouts for each in (made, other))
        named = {True: "yes", False: "no"}
        counts = pd.crosstab(left.acted.map(named), right.acted.map(named))
        rows = next(rows for rows in Tables(get(both, "/compare?a=0&b=1")).tables if rows[0][1:3] == ["yes", "no"])
        for row in rows[1:3]:
            assert [int(cell) for cell in row[1:3]] == [int(counts.loc[row[0], column]) for column in ("yes", "no")]

    def test_figures_and_maps_of_both_stand_side_by_side(self, both, made, other):
        page = get(both, "/compare?a=0&b=1")
        row = next(row for row in table(page, "measure") if row[0] == "probe AUROC")
        for text, run in zip(row[1:], (made, other), strict=True):
            estimate = read_results(run / "results.json")["probe"]["headline"]["auroc"]
            assert text.startswith(f"{estimate['value']:.2f} [")
        assert page.count('<table class="map">') == 2

    def test_one_question_in_both(self, both, made, other):
        page = get(both, "/compare/20?a=0&b=1")
        texts = [read_rollouts(run / "rollouts.jsonl")[20] for run in (made, other)]
        assert texts[0].item_id == texts[1].item_id and page.count('class="text think"') == 2
        assert "no counterpart" in alert(get(both, "/compare/999?a=0&b=1", 404))

    def test_a_run_without_a_probe_stands_beside_one_with(self, made, copy):
        results = json.loads((copy / "results.json").read_text())
        none = {"value": None, "reason": "too few rows"}
        (copy / "results.json").write_text(json.dumps(results | {"probe": none, "link": none, "baselines": none}))
        (copy / "readouts.jsonl").unlink()
        asked = client(made, copy)
        page = get(asked, "/compare?a=0&b=1")
        assert ["probe at", "layer 1, last prompt", "not estimated (too few rows)"] in table(page, "measure")
        assert "There is no map: too few rows" in get(asked, "/runs/1")
        assert "No probe to read it with: too few rows" in get(asked, "/runs/1/rollouts/3")

    def test_one_run_is_not_two(self, made):
        assert "explore RUN RUN" in alert(get(client(made), "/compare", 404))


def save_study(folder: Path) -> dict[str, Any]:
    """A study of injected concepts as one was once found. Gives its results."""
    folder.mkdir()
    summary = json.loads(INJECTED.read_text())[0]
    extra = ("command", "versions", "machine")
    found = {k: v for k, v in summary.items() if k not in extra} | {"examples": []}
    (folder / "results.json").write_text(json.dumps(found))
    (folder / "injection.yaml").write_text("kind: inject-thought\n")
    return found


@pytest.fixture
def studies(tmp_path):
    """Two, of which the second has a layer and a measure less, a name that is markup, and greater numbers."""
    folders = [tmp_path / "one", tmp_path / "<b>other"]
    found = [save_study(each) for each in folders][1]
    grid = found["grid"]
    first = min(cell["layer"] for cell in grid["cells"])
    grid["cells"] = [cell for cell in grid["cells"] if cell["layer"] != first]
    del grid["labels"]["claims"]
    for cell in grid["cells"]:
        del cell["measures"]["claims"]
    grid["cells"][0]["measures"]["detection"] |= {"value": -50.0, "ci95": [-60.0, -40.0]}
    (folders[1] / "results.json").write_text(json.dumps(found))
    return folders


class TestOtherFolders:
    def test_a_study_of_injected_concepts_shows_its_grid(self, tmp_path):
        folder = tmp_path / "injected"
        summary = save_study(folder)
        page = get(client(folder), "/runs/0")
        assert 'figures/grid.json"' in page and summary["sentences"][0] in html.unescape(page)
        assert json.loads(get(client(folder), "/runs/0/figures/grid.json"))["data"][0]["type"] == "heatmap"
        assert "no rollouts" in alert(get(client(folder), "/runs/0/rollouts", 404))

    def test_two_studies_show_their_grids_on_the_same_axes(self, studies):
        asked = client(*studies)
        page = get(asked, "/compare?a=0&b=1")
        left, right = (json.loads((each / "results.json").read_text()) for each in studies)
        for found in (left, right):
            assert found["sentences"][0] in html.unescape(page)
        assert f'data-figure="/{TOKEN}/compare/grids.json?a=0&amp;b=1"' in page
        figure = json.loads(get(asked, "/compare/grids.json?a=0&b=1"))
        titles = [html.unescape(each["text"]) for each in figure["layout"]["annotations"]]
        assert titles[2:4] == [f"{left['grid']['labels']['identified']} · {name}" for name in ("one", "<b>other")]
        assert "<b>" not in figure["layout"]["annotations"][3]["text"]
        assert len(figure["data"]) == 2 * len(left["grid"]["labels"]) - 2  # one of them is in one study only
        ours, theirs = figure["data"][2:4]
        assert ours["x"] == theirs["x"] and ours["y"] == theirs["y"] and (ours["zmin"], ours["zmax"]) == (0.0, 1.0)
        (gone,) = {cell["layer"] for cell in left["grid"]["cells"]} - {cell["layer"] for cell in right["grid"]["cells"]}
        row = ours["y"].index(f"layer {gone}")
        assert None not in ours["z"][row] and set(theirs["z"][row]) == {None}
        shift = [i for i, each in enumerate(titles) if each.startswith(left["grid"]["labels"]["detection"])]
        limits = {(figure["data"][i]["zmin"], figure["data"][i]["zmax"]) for i in shift}
        assert limits == {(-50.0, 50.0)}  # of both, the greatest of the right one
        assert [f"layer {gone}", *(f"{z:.3g}" for z in ours["z"][row])] in Tables(page).tables[2]

    def test_grids_that_cannot_stand_side_by_side_are_said(self, studies, made):
        asked = client(*studies, made)
        assert "two studies of injected concepts" in alert(get(asked, "/compare/grids.json?a=0&b=2", 404))
        assert "no results of an experiment" in get(asked, "/compare?a=0&b=2")
        found = json.loads((studies[1] / "results.json").read_text())
        found["grid"] |= {"cells": []}
        (studies[1] / "results.json").write_text(json.dumps(found))
        asked = client(*studies)
        assert "no measure in common" in get(asked, "/compare?a=0&b=1")
        assert "no measure in common" in alert(get(asked, "/compare/grids.json?a=0&b=1", 404))

    def test_transcripts_have_rollouts_and_no_results(self, copy):
        (copy / "transcripts.yaml").write_text("name: t\n")
        for name in ("experiment.yaml", "results.json", "readouts.jsonl", "verdicts.jsonl"):
            (copy / name).unlink()
        asked = client(copy)
        assert "no results here" in get(asked, "/runs/0")
        assert len(listed(get(asked, "/runs/0/rollouts"))) == 50
        assert "No probe to read it with" in get(asked, "/runs/0/rollouts/3")


class TestDamage:
    def test_what_is_no_run_is_one_line(self, tmp_path, capsys):
        for args, code, said in (
            ([str(tmp_path)], 2, "is no run"),
            ([str(tmp_path / "gone")], 2, "is no run"),
        ):
            with pytest.raises(SystemExit) as stop:
                main(["explore", "--no-browser", *args])
            lines = capsys.readouterr().err.splitlines()
            assert (stop.value.code, len(lines), said in lines[0]) == (code, 1, True)

    def test_damaged_results_are_one_line_and_no_server(self, copy, capsys):
        (copy / "results.json").write_text('{"probe": NaN}')
        with pytest.raises(SystemExit) as stop:
            main(["explore", "--no-browser", str(copy)])
        assert stop.value.code == 3 and len(capsys.readouterr().err.splitlines()) == 1

    @pytest.mark.parametrize("name", ["rollouts.jsonl", "results.json", "readouts.jsonl", "activations"])
    def test_links_are_not_followed(self, copy, tmp_path, name):
        (copy / name).rename(tmp_path / "elsewhere")
        (copy / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match="is a link"):
            Opened(copy)

    @pytest.mark.parametrize(
        ("name", "change", "said"),
        [
            ("rollouts.jsonl", lambda text: text.replace('"acted": true', '"acted": "x"', 1), "rollouts.jsonl:"),
            ("rollouts.jsonl", lambda text: text[: len(text) // 2], "rollouts.jsonl:"),
            ("rollouts.jsonl", lambda text: text + text.splitlines(keepends=True)[0], "twice"),
            ("readouts.jsonl", lambda text: text.replace('"part":"test"', '"part":"all"', 1), "readouts.jsonl:"),
            ("verdicts.jsonl", lambda text: text.replace('"silent"', '"sly"', 1), "verdicts.jsonl:"),
        ],
    )
    def test_lines_that_are_none_are_named_on_the_page(self, copy, name, change, said):
        path = copy / name
        path.write_text(change(path.read_text()))
        asked = client(copy)
        get(asked, "/runs/0")
        page = get(asked, "/runs/0/rollouts", 500)
        assert said in alert(page) and "\n" not in alert(page).strip()

    def test_spans_outside_the_tokens_are_refused(self, copy):
        path = copy / "rollouts.jsonl"
        path.write_text(re.sub(r'"think": \[\d+, \d+\]', '"think": [0, 99999]', path.read_text(), count=1))
        assert "outside its tokens" in alert(get(client(copy), "/runs/0/rollouts/0", 500))

    def test_a_file_that_changed_under_it_is_refused(self, copy):
        asked = client(copy)
        get(asked, "/runs/0/rollouts")
        path = copy / "rollouts.jsonl"
        path.write_text("\n" + path.read_text())
        assert "rollouts.jsonl" in alert(get(asked, "/runs/0/rollouts/9", 500))

    def test_a_damaged_part_is_named_and_the_list_still_read(self, copy):
        part = next((copy / "activations").glob("part-*.h5"))
        content = bytearray(part.read_bytes())
        content[-2000:-1000] = bytes(1000)
        part.write_bytes(content)
        asked = client(copy)
        assert len(listed(get(asked, "/runs/0/rollouts"))) == 50
        assert part.name in alert(get(asked, "/runs/0/rollouts/3?layer=1", 500))

    def test_scores_that_the_activations_do_not_give_are_not_shown(self, copy):
        path = copy / "readouts.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[5]["along"]["last_prompt"] += 1.0
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert "does not hold what the activations give" in alert(get(client(copy), "/runs/0/rollouts/3?layer=1", 500))

    def test_results_that_contradict_themselves_are_said(self, copy):
        results = json.loads((copy / "results.json").read_text())
        results["probe"]["headline"]["position"] = "think_0"
        (copy / "results.json").write_text(json.dumps(results))
        assert "think_0" in alert(get(client(copy), "/runs/0", 400))
        results["probe"]["headline"]["position"], results["probe"]["grid"] = "last_prompt", [{"position": "x"}]
        (copy / "results.json").write_text(json.dumps(results))
        with pytest.raises(StoreError, match=r"results\.json"):
            Opened(copy)

    def test_a_headline_of_a_position_that_has_no_row_is_said(self, copy, other):
        results = json.loads((copy / "results.json").read_text())
        results["probe"]["headline"]["position"] = "think_0"
        (copy / "results.json").write_text(json.dumps(results))
        asked = client(copy, other)
        for path in ("/runs/0/rollouts/3", "/compare/3?a=0&b=1"):
            assert "results.json does not hold together (KeyError('think_0'))" in alert(get(asked, path, 500))

    @pytest.mark.parametrize("number", [-1, 2**31, 2**40, 2**70])
    @pytest.mark.parametrize("name", ["prompt_ids", "completion_ids"])
    def test_token_ids_that_are_none_are_refused(self, copy, name, number):
        self._change_a_rollout(copy, name, number)
        assert "its tokens are none" in alert(get(client(copy), "/runs/0/rollouts/3", 500))

    def test_a_token_that_the_tokenizer_does_not_have_is_not_spelt(self, copy):
        self._change_a_rollout(copy, "completion_ids", 2**31 - 1)
        assert "nly its text is shown" in get(client(copy), "/runs/0/rollouts/3")

    @staticmethod
    def _change_a_rollout(run: Path, name: str, number: int) -> None:
        path = run / "rollouts.jsonl"
        changed = path.read_text().splitlines()
        line = json.loads(changed[3])
        line[name][0] = number
        changed[3] = json.dumps(line)
        path.write_text("".join(each + "\n" for each in changed))

    @pytest.mark.parametrize("penalty", [-5.0, -1e-300])
    def test_a_penalty_that_is_none_is_said(self, copy, penalty):
        results = json.loads((copy / "results.json").read_text())
        for row in results["probe"]["positions"]:
            row["penalty"] = penalty
        (copy / "results.json").write_text(json.dumps(results))
        assert f"a penalty is {penalty}" in alert(get(client(copy), "/runs/0/rollouts/3?layer=1", 500))

    def test_a_fit_that_comes_to_nothing_is_said(self, made, monkeypatch):
        import torch

        def failing(*_):
            raise torch.linalg.LinAlgError("the leading minor is not positive-definite\nmore")

        monkeypatch.setattr("introspect.probes.by_estimator.fit_cells", failing)
        said = alert(get(client(made), "/runs/0/rollouts/3?layer=1", 500))
        assert said.endswith(
            "no probe can be fitted at last_prompt, layer 1 (the leading minor is not positive-definite)"
        )

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_activations_that_are_not_finite_are_said(self, made, monkeypatch, value):
        real = OwnProbes._gathered

        def gathered(own, *args):
            values = real(own, *args)
            values[7, 0] = value
            return values

        monkeypatch.setattr(OwnProbes, "_gathered", gathered)
        asked = client(made)
        for layer in (0, 1):
            assert "are not all finite" in alert(get(asked, f"/runs/0/rollouts/3?layer={layer}", 500))

    def test_what_nobody_thought_of_is_a_line_on_the_page_and_one_in_the_terminal(self, made, monkeypatch, caplog):
        monkeypatch.setattr(Opened, "rollout", lambda *_: 1 // 0)
        said = alert(get(client(made), "/runs/0/rollouts/3", 500))
        assert "could not be made (ZeroDivisionError" in said and "Traceback" not in said
        assert [
            record.getMessage().count("\n") for record in caplog.records if "ZeroDivision" in record.msg % record.args
        ] == [0]
        assert TOKEN not in caplog.text

    def test_verdicts_that_changed_under_it_are_refused(self, copy):
        asked = client(copy)
        get(asked, "/runs/0/rollouts")
        path = copy / "verdicts.jsonl"
        kept = path.read_text().splitlines(keepends=True)
        path.write_text("".join([*kept[1:], kept[0]]))
        assert "verdicts.jsonl" in alert(get(asked, "/runs/0/rollouts/9", 500))

    def test_a_line_without_an_end_is_refused_before_it_fills_memory(self, copy, monkeypatch):
        monkeypatch.setattr(lines, "MAX_LINE", 1000)
        assert "more than 1,000 bytes" in alert(get(client(copy), "/runs/0/rollouts", 500))


class TestIndex:
    def test_what_is_read_so_far_is_shown_and_said_to_be(self, made, monkeypatch):
        gate, met = threading.Event(), threading.Event()
        every = indexing.read_lines

        def slowly(path, kind):
            for i, line in enumerate(every(path, kind)):
                if path.name == "rollouts.jsonl" and i == 60:
                    met.set()
                    gate.wait(60)
                yield line

        monkeypatch.setattr(indexing, "read_lines", slowly)
        monkeypatch.setattr(paging, "WAIT", 0.0)
        asked = client(made)
        get(asked, "/runs/0")
        assert met.wait(60)
        page = get(asked, "/runs/0/rollouts")
        assert "still being read" in page and "60 of 60 rollouts" in page
        assert 'data-again="1"' in get(asked, "/runs/0/rollouts/200")
        gate.set()
        monkeypatch.setattr(paging, "WAIT", 60.0)
        get(asked, "/runs/0/rollouts/200")
        assert "240 of 240" in get(asked, "/runs/0/rollouts")

    def test_nobody_sees_it_half_put_away(self, made, monkeypatch):
        gate, met = threading.Event(), threading.Event()
        every = indexing.read_lines

        def waiting(path, kind):
            yield from every(path, kind)
            if path.name == "rollouts.jsonl":
                met.set()
                gate.wait(60)

        monkeypatch.setattr(indexing, "read_lines", waiting)
        found = Index(made)
        found.start()
        assert met.wait(60)
        with found._lock:
            gate.set()
            assert not found._done.wait(0.3)
            assert len(found._columns["number"]) == 240
        assert len(found.columns(60)) == 240 and found.columns().whole

    def test_it_keeps_a_few_bytes_a_rollout_and_no_text(self, made, tmp_path):
        found = Index(made).columns()
        a_row = sum(column.itemsize for column in [*found.values.values(), *found.said.values()])
        assert a_row < 64 and all(len(column) == 240 for column in [*found.values.values(), *found.said.values()])
        assert [column.dtype.kind for column in found.values.values()] == ["i"] * 8 + ["f"]

    def test_a_number_is_found_wherever_it_stands(self, copy):
        path = copy / "rollouts.jsonl"
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
        found = Index(copy).columns()
        assert [found.row_of(number) for number in (0, 239, 240, -1)] == [239, 0, None, None]
        run = Opened(copy)
        assert run.rollout(found, found.row_of(17)).rollout == 17
        assert Filter().rows(found).tolist() == list(range(239, -1, -1))


def test_first_view_loads_neither_torch_nor_pandas(made):
    code = (
        "import sys; from starlette.testclient import TestClient\n"
        "from introspect.explore.app import make_app; from introspect.explore.site import Site\n"
        f"site = Site([{str(made)!r}]); asked = TestClient(make_app(site, 't'), base_url='http://127.0.0.1')\n"
        "assert asked.get('/t/runs/0').status_code == 200\n"
        "heavy = {'torch', 'pandas', 'transformers', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_port_that_is_taken_is_one_line(made, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit) as stop:
            main(["explore", str(made), "--no-browser", "--port", str(taken.getsockname()[1])])
    assert stop.value.code == 2 and "choose another --port" in capsys.readouterr().err


def test_without_its_packages_it_says_what_to_install(made, capsys, monkeypatch):
    from introspect.cli import explore

    monkeypatch.setattr(explore, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        main(["explore", str(made)])
    assert stop.value.code == 2 and "pip install -c constraints.txt '.[explore]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_serves_until_it_is_ended_and_leaves_no_trace(made, sent, code):
    before = {path: path.stat().st_mtime_ns for path in sorted(made.rglob("*"))}
    command = [sys.executable, "-m", "introspect", "explore", str(made), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{43}/", address)
        deadline = time.monotonic() + 30
        while True:
            try:
                answer = httpx.get(f"{address}runs/0", timeout=20)
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline
        assert answer.status_code == 200 and "server" not in answer.headers
        assert httpx.get(address.replace("127.0.0.1", "localhost") + "runs/0").status_code == 200
        process.send_signal(sent)
        out, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == "" and "Traceback" not in error and address[-44:-1] not in error
    assert {path: path.stat().st_mtime_ns for path in sorted(made.rglob("*"))} == before


def test_later_makes_once_and_tells_every_asker_of_failure():
    made, later, gate = [], Later("test"), threading.Event()

    def make() -> int:
        gate.wait(30)
        made.append(1)
        return 7

    assert later.get("a", make, 0.01) is None
    gate.set()
    assert (later.get("a", make, 30), later.get("a", make, 0), made) == (7, 7, [1])

    def fail() -> int:
        raise RunError("no")

    for _ in range(2):
        with pytest.raises(RunError, match="no"):
            later.get("b", fail, 30)
    later.close()


def test_later_takes_no_more_than_it_keeps_and_says_so(monkeypatch):
    gate, later = threading.Event(), Later("test")
    monkeypatch.setattr("introspect.explore.later.MOST_KEPT", 3)
    for key in range(3):
        assert later.get(key, lambda: gate.wait(30), 0) is None
    assert later.get("one more", lambda: 1, 0) is None
    gate.set()
    assert all(later.get(key, lambda: pytest.fail("again"), 30) is True for key in range(3))
    assert later.get("one more", lambda: 1, 30) == 1
    later.close()
    assert later.get("after the end", lambda: 1, 30) is None


def test_the_end_of_the_program_does_not_wait_for_what_is_being_made():
    code = (
        "import time\nfrom introspect.explore.later import Later\n"
        "later = Later('test')\nassert later.get('a', lambda: time.sleep(600), 0.1) is None\nlater.close()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_browser_is_sent_to_a_file_that_only_its_user_reads(made, monkeypatch, tmp_path):
    opened, seen = threading.Event(), {}

    def watched(address: str) -> None:
        path = Path(unquote(urlsplit(address).path))
        seen.update(address=address, path=path, mode=path.stat().st_mode, folder=path.parent.stat().st_mode)
        seen["page"] = path.read_text()
        opened.set()

    told = []
    monkeypatch.setattr(serving, "_has_screen", lambda: True)
    monkeypatch.setattr(serving.webbrowser, "open", watched)
    monkeypatch.setattr(serving.uvicorn.Server, "run", lambda *_, **__: opened.wait(60))
    serving.serve(Site([made]), port=0, browser=True, told=told.append)
    token = told[0].split("/")[-2]
    assert seen["address"].startswith("file:///") and len(token) == 43 and token not in seen["address"]
    assert f'content="0; url={told[0]}"' in seen["page"]
    assert stat.S_IMODE(seen["mode"]) == 0o600 and stat.S_IMODE(seen["folder"]) == 0o700
    assert not seen["path"].parent.exists()


def test_colours_are_of_finite_scores_only(made):
    rollout = read_rollouts(made / "rollouts.jsonl")[11]
    positions = np.arange(len(rollout.token_ids))[:6]
    scores = np.array([np.nan, np.inf, -np.inf, 1.0, -2.0, 0.0])
    found = coloured(rollout, ["x"] * len(rollout.token_ids), positions, scores, float("nan"))
    assert found.scale == pytest.approx(1.9, abs=0.01)
    assert [token.level for token in found.tokens[:6]] == ["none", "none", "none", "p5", "n10", "z"]
    assert [token.log_odds for token in found.tokens[:4]] == [None, None, None, 1.0]
    assert "its activation is not finite" in found.tokens[0].about
    only = coloured(rollout, ["x"] * len(rollout.token_ids), positions[:1], scores[:1], float("nan"))
    assert (only.scale, only.tokens[0].level) == (1.0, "none")


def test_a_word_that_reads_like_a_table_stays_a_word(made):
    rollout = read_rollouts(made / "rollouts.jsonl")[11].model_copy(
        update={"group": "{}", "fields": {}, "answer": "{}"}
    )
    lean = _lean(rollout, {}, {})
    assert (lean.group, lean.fields, lean.answer) == ("{}", {}, "{}")


def test_small_things():
    assert [level_of(value) for value in (0.0, 0.04, 1.0, -2.0, 0.5, None, float("nan"))] == (
        ["z", "z", "p10", "n10", "p5", "none", "none"]
    )
    assert [whole(text, "x", 4) for text in (None, "", "0", "12")] == [4, 4, 0, 12]
    for text in ("-1", "1.0", "²", "9" * 16, " 1"):
        with pytest.raises(SpecError):
            whole(text, "x")
    rows = np.array([4, 2, 9])
    assert [neighbours(rows, row) for row in (4, 2, 9, 5)] == [(None, 2, 1), (4, 9, 2), (2, None, 3), (None, None, 0)]
