"""From Python: what is opened is what is on disk, what is shown was measured, and what does not fit is refused."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import HfApi

import introspect
from introspect.analysis import Model, analyse
from introspect.errors import EstimateError, IntrospectError, RunError, SpecError, StoreError
from introspect.experiment import Experiment, load_experiment
from introspect.features import token_position
from introspect.notebook import activations as reading
from introspect.progress import silent
from introspect.rollout import read_rollouts
from introspect.selection import Selection
from introspect.store import StoreReader, StoreSpec
from planted_runs import LAYERS, TOKENIZER, WIDTH, planted_run, record_by_hand, rollout
from tiny_folders import edit_json, save_tiny
from wording import check_page

POSITIONS = "[last_prompt, think_100, before_answer]"
HOSTILE = "</div><script>alert(1)</script><img src=x onerror=alert(2)>"
NO_CHAIN = 7
"""Number of the rollout that does not think."""


def spec(model: Path) -> Experiment:
    quick = ("probe.permutations=10", "probe.bootstrap=100", f"probe.positions={POSITIONS}", f"model={model}")
    return load_experiment("probe-risk", ["organism=null", "negative_control=null", *quick])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A finished run whose layer 1 carries the choice; one rollout is hostile, one has no chain."""
    folder = tmp_path_factory.mktemp("runs") / "planted"
    rollouts = planted_run(folder, inside=True, spoken=False)
    rollouts[3] = rollout(3, rollouts[3].group, HOSTILE, "risky")
    rollouts[NO_CHAIN] = rollout(NO_CHAIN, rollouts[NO_CHAIN].group, "", "safe")
    shutil.rmtree(folder / "activations")
    record_by_hand(folder, rollouts, strength=3.0)
    (folder / "rollouts.jsonl").write_text("".join(each.line() for each in rollouts), encoding="utf-8")
    asked = spec(model)
    (folder / "experiment.yaml").write_text(asked.to_yaml())
    results = analyse(folder, asked, rollouts, Model(TOKENIZER, LAYERS, None), progress=silent)
    (folder / "results.json").write_text(json.dumps(results))
    said = {"name": str(model), "revision": None, "n_layers": len(LAYERS)}
    (folder / "manifest.json").write_text(json.dumps({"model": said}))
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copied"))


@pytest.fixture(scope="module")
def run(made: Path) -> introspect.notebook.Run:
    return introspect.open_run(made)


@pytest.fixture(scope="module")
def fitted(run):
    table = run.rollouts
    return introspect.probe(
        run.activations(layer=1, span="think"),
        labels=table.acted,
        groups=table.group,
        texts=table.think_text,
        permutations=20,
        bootstrap=100,
    )


@pytest.fixture(scope="module")
def loaded(model):
    with introspect.load(str(model), dtype="float32") as opened:
        yield opened


def test_importing_loads_nothing_and_names_what_there_is():
    code = (
        "import sys, introspect; heavy = {'torch', 'pandas', 'plotly', 'introspect.notebook'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {'open_run', 'probe', 'load'} <= set(dir(introspect))\n"
        "assert callable(introspect.open_run) and 'pandas' in sys.modules\n"
        "try: introspect.open_runs\n"
        "except AttributeError as error: assert 'open_runs' in str(error)\n"
        "else: raise SystemExit('an unknown name was given')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestRollouts:
    def test_are_those_of_the_file(self, run, made):
        on_file = read_rollouts(made / "rollouts.jsonl")
        table = run.rollouts
        assert table.index.tolist() == [each.rollout for each in on_file]
        assert table.index.name == "rollout"
        for name in ("item_id", "group", "condition", "split", "domain", "completion_text", "think_text", "answer"):
            assert table[name].tolist() == [getattr(each, name) for each in on_file]
        assert table["acted"].tolist() == [each.acted for each in on_file] and table["acted"].dtype == "boolean"
        assert table["fields.order"].tolist() == [each.fields["order"] for each in on_file]

    def test_have_their_verdicts_and_readouts(self, run, made):
        lines = [json.loads(line) for line in (made / "readouts.jsonl").read_text().splitlines()]
        read = run.rollouts.loc[[line["rollout"] for line in lines]]
        assert read["score"].tolist() == [line["headline"] for line in lines]
        assert read["readout"].tolist() == [line["readout"] for line in lines]
        assert read["part"].tolist() == [line["part"] for line in lines]
        assert pd.isna(run.rollouts.loc[NO_CHAIN, "score"]) and run.rollouts.loc[NO_CHAIN, "counted"]
        said = [json.loads(line) for line in (made / "verdicts.jsonl").read_text().splitlines()]
        assert run.rollouts.loc[[line["rollout"] for line in said], "verdict"].tolist() == [v["verdict"] for v in said]

    def test_add_up_to_the_link(self, run):
        table = run.rollouts
        test = table[(table.part == "test") & table.acted]
        counted = pd.crosstab(test.verdict, test.readout)
        assert counted.loc["silent", "policy"] == run.results["link"]["table"]["silent"]["policy"]


class TestActivations:
    def oracle(self, made: Path, layer: int) -> dict[tuple[int, int], np.ndarray]:
        store = StoreReader(made / "activations")
        columns, values = store.columns(), store.read("resid_post", layer)
        keys = zip(columns["rollout"].tolist(), columns["position"].tolist(), strict=True)
        return dict(zip(keys, values, strict=True))

    @pytest.mark.parametrize("slice_bytes", [1 << 28, 4 * WIDTH * 7])
    def test_of_a_span_are_the_mean_over_its_tokens(self, run, made, monkeypatch, slice_bytes):
        monkeypatch.setattr("introspect.store.averaging.SLICE_BYTES", slice_bytes)
        acts, stored = run.activations(layer=1, span="think"), self.oracle(made, 1)
        on_file = [each for each in read_rollouts(made / "rollouts.jsonl") if each.rollout != NO_CHAIN]
        expected = [np.mean([stored[each.rollout, p] for p in range(*each.spans.think)], axis=0) for each in on_file]
        assert acts.index.tolist() == [each.rollout for each in on_file] and acts.left_out == (NO_CHAIN,)
        assert acts.values.dtype == np.float32 and acts.values.shape == (len(on_file), WIDTH)
        np.testing.assert_allclose(acts.values, expected, rtol=1e-5, atol=1e-6)
        assert acts.groups.tolist() == run.rollouts.loc[acts.index, "group"].tolist()

    @pytest.mark.parametrize(("reduce", "edge"), [("first", 0), ("last", -1)])
    def test_of_one_token_of_a_span(self, run, made, reduce, edge):
        acts, stored = run.activations(layer=0, span="answer", reduce=reduce), self.oracle(made, 0)
        for each, values in zip(read_rollouts(made / "rollouts.jsonl"), acts.values, strict=True):
            begin, stop = each.spans.answer
            last = min(stop, len(each.token_ids) - 1)  # a stop token is never fed
            assert np.array_equal(values, stored[each.rollout, range(begin, last)[edge]])

    def test_of_a_position(self, run, made):
        acts, stored = run.activations(layer=-1, position="before_answer"), self.oracle(made, 1)
        assert acts.layer == 1
        for each, values in zip(read_rollouts(made / "rollouts.jsonl"), acts.values, strict=True):
            assert np.array_equal(values, stored[each.rollout, token_position(each, "before_answer")])

    def test_of_every_token(self, run, made):
        acts, stored = run.activations(layer=0, span="completion", reduce="none"), self.oracle(made, 0)
        assert acts.index.names == ["rollout", "position"]
        assert all(np.array_equal(values, stored[key]) for key, values in zip(acts.index, acts.values, strict=True))
        each = read_rollouts(made / "rollouts.jsonl")[0]
        assert acts.index[0] == (0, len(each.prompt_ids) - 1)

    def test_one_layer_is_read_and_no_more_rows_than_a_slice(self, made, monkeypatch):
        asked = []
        read = StoreReader.read

        def watched(self, site, layer, rows=None, **more):
            asked.append((layer, None if rows is None else len(rows)))
            return read(self, site, layer, rows, **more)

        monkeypatch.setattr(StoreReader, "read", watched)
        monkeypatch.setattr("introspect.store.averaging.SLICE_BYTES", 4 * WIDTH * 100)
        opened = introspect.open_run(made)
        assert opened.rollouts is not None and not asked
        opened.activations(layer=1, span="think")
        assert {layer for layer, _ in asked} == {1}
        assert max(rows for _, rows in asked) <= 100 and len(asked) > 10

    def test_a_mask_is_taken_by_rollout(self, run):
        acts = run.activations(layer=1, span="think")
        some = acts[run.rollouts["acted"]]
        assert some.index.tolist() == [n for n in acts.index if run.rollouts.loc[n, "acted"]]
        assert np.array_equal(some.values[0], acts.values[acts.index.get_loc(some.index[0])])
        with pytest.raises(RunError, match="one value a row"):
            acts[np.array([True])]

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ({"layer": 5, "span": "think"}, "layers 0, 1, not resid_post of layer 5"),
            ({"layer": -3, "span": "think"}, "layer -1"),
            ({"layer": 1, "span": "thought"}, "no span 'thought'"),
            ({"layer": 1, "span": "think", "reduce": "max"}, "reduce='max'"),
            ({"layer": 1, "position": "think_33"}, "no position 'think_33'"),
            ({"layer": 1}, "give a span"),
            ({"layer": 1, "span": "think", "position": "before_answer"}, "give a span"),
            ({"layer": 1, "span": "think", "site": "mlp_out"}, "not mlp_out"),
            ({"layer": 1, "span": "prompt"}, "does not keep every token of the span prompt"),
            ({"layer": 1, "span": "prompt", "reduce": "first"}, "does not keep the token"),
        ],
    )
    def test_what_was_not_recorded_is_refused(self, run, asked, said):
        with pytest.raises(RunError, match=re.escape(said)) as refused:
            run.activations(**asked)
        assert "\n" not in str(refused.value)

    def test_rows_of_other_tokens_are_refused(self, copy):
        lines = [json.loads(line) for line in (copy / "rollouts.jsonl").read_text().splitlines()]
        lines[5]["completion_ids"][4] += 1
        (copy / "rollouts.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        with pytest.raises(StoreError, match="tokens that rollout 5 does not have"):
            introspect.open_run(copy).activations(layer=1, span="think")

    def test_rows_of_an_unknown_rollout_are_refused(self, copy):
        lines = (copy / "rollouts.jsonl").read_text().splitlines()
        (copy / "rollouts.jsonl").write_text("\n".join(lines[:-1]) + "\n")
        with pytest.raises(StoreError, match="rollout 239"):
            introspect.open_run(copy).activations(layer=1, span="think")


class TestFolders:
    def test_what_is_no_run_is_refused(self, tmp_path):
        for folder in (tmp_path, tmp_path / "absent"):
            with pytest.raises(RunError, match="not a run directory"):
                introspect.open_run(folder)

    @pytest.mark.parametrize("name", ["rollouts.jsonl", "activations", "experiment.yaml"])
    def test_links_are_not_followed(self, copy, tmp_path, name):
        (copy / name).rename(tmp_path / "elsewhere")
        (copy / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match=f"{name} is a link"):
            introspect.open_run(copy)

    @pytest.mark.parametrize("name", ["readouts.jsonl", "verdicts.jsonl", "results.json", "manifest.json"])
    def test_links_are_not_followed_later_either(self, copy, tmp_path, name):
        (copy / name).rename(tmp_path / "elsewhere")
        (copy / name).symlink_to(tmp_path / "elsewhere")
        opened = introspect.open_run(copy)
        with pytest.raises(StoreError, match=re.escape(name)):
            _ = opened.rollouts, opened.results, opened.tokens(0)

    def test_a_run_that_was_not_recorded_is_refused(self, copy):
        (copy / "rollouts.jsonl").unlink()
        with pytest.raises(RunError, match="--resume"):
            introspect.open_run(copy)

    def test_a_damaged_part_is_named(self, copy):
        part = next((copy / "activations").glob("*.h5"))
        content = bytearray(part.read_bytes())
        content[len(content) // 2 :] = bytes(255 - byte for byte in content[len(content) // 2 :])
        part.write_bytes(content)
        opened = introspect.open_run(copy)
        with pytest.raises(StoreError, match=part.name):
            [opened.activations(layer=layer, span="think") for layer in LAYERS]

    def test_a_missing_part_is_named(self, copy):
        part = next((copy / "activations").glob("*.h5"))
        part.unlink()
        with pytest.raises(StoreError, match=part.name):
            introspect.open_run(copy)

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("rollouts.jsonl", "{}"),
            ("readouts.jsonl", '{"rollout": 0, "part": "dev", "headline": NaN, "readout": null, "text": null}'),
            ("readouts.jsonl", "not json"),
            ("verdicts.jsonl", '{"rollout": 0, "classifier": "x", "verdict": "<b>"}'),
        ],
    )
    def test_a_line_that_is_none_is_named(self, copy, name, line):
        with (copy / name).open("a") as file:
            file.write(line + "\n")
        with pytest.raises(StoreError, match=re.escape(name)) as refused:
            _ = introspect.open_run(copy).rollouts
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda line: line["spans"].update(think=[0, 10**6]), "outside its tokens"),
            (lambda line: line.update(answer_position=10**6), "outside its tokens"),
            (lambda line: line.update(rollout=1), "rollout 1 twice"),
        ],
    )
    def test_rollouts_that_contradict_themselves_are_refused(self, copy, change, said):
        lines = [json.loads(line) for line in (copy / "rollouts.jsonl").read_text().splitlines()]
        change(lines[0])
        (copy / "rollouts.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        with pytest.raises(StoreError, match=said):
            _ = introspect.open_run(copy).rollouts

    def test_a_run_of_transcripts_has_rollouts_and_activations_and_no_results(self, copy):
        (copy / "experiment.yaml").rename(copy / "transcripts.yaml")
        for name in ("results.json", "readouts.jsonl", "verdicts.jsonl"):
            (copy / name).unlink()
        opened = introspect.open_run(copy)
        assert "verdict" not in opened.rollouts and len(opened.activations(layer=0, span="think")) == 239
        with pytest.raises(RunError, match="transcripts"):
            _ = opened.results

    def test_a_run_that_was_not_analysed_says_so(self, copy):
        for name in ("results.json", "readouts.jsonl", "verdicts.jsonl"):
            (copy / name).unlink()
        opened = introspect.open_run(copy)
        assert "score" not in opened.rollouts
        with pytest.raises(StoreError, match="--resume"):
            opened.layers()


class TestProbe:
    def test_finds_what_was_planted_and_words_do_not(self, fitted):
        assert fitted.auroc.value > 0.95 and fitted.increment.ci95[0] > 0.2
        assert fitted.words.ci95[0] < 0.5 < fitted.words.ci95[1]
        assert fitted.p_value == pytest.approx(1 / 21) and fitted.null_q95 < 0.8
        assert fitted.selectivity.value > 0.2 and fitted.control.value < 0.7
        assert fitted.direction.weight.shape == (WIDTH,)

    def test_finds_nothing_where_nothing_is(self, run):
        acts = run.activations(layer=0, span="think")
        found = introspect.probe(acts, run.rollouts.acted, permutations=20, bootstrap=100)
        assert found.auroc.ci95[0] < 0.5 < found.auroc.ci95[1] and found.p_value > 0.05
        assert "no texts given" in str(found)

    def test_prints_its_numbers(self, fitted):
        low, high = fitted.auroc.ci95
        assert f"{fitted.auroc.value:.2f} [{low:.2f}, {high:.2f}]" in str(fitted)
        assert "predict the label" in str(fitted) and "<table" in fitted._repr_html_()

    def test_no_group_is_on_both_sides(self, fitted, run):
        groups = run.rollouts.loc[fitted.scores.index, "group"].to_numpy()
        assert not set(groups[fitted.split.dev]) & set(groups[fitted.split.test])

    def test_rows_without_a_label_are_left_out_and_counted(self, run):
        labels = run.rollouts.acted.copy()
        labels.iloc[:6] = pd.NA
        found = introspect.probe(run.activations(layer=1, span="think"), labels, permutations=5, bootstrap=50)
        assert "6 rows have no label" in str(found) and len(found.scores) == 233

    def test_labels_go_by_rollout_and_not_by_place(self, run, fitted):
        shuffled = run.rollouts.sample(frac=1, random_state=1)
        again = introspect.probe(
            run.activations(layer=1, span="think"), shuffled.acted, shuffled.group, permutations=5, bootstrap=100
        )
        assert again.auroc == fitted.auroc

    @pytest.mark.parametrize(
        ("labels", "error", "said"),
        [
            (lambda table: table.answer, EstimateError, "a yes or no"),
            (lambda table: table.acted | True, EstimateError, "are all True"),
            (lambda table: table.acted & (table.index < 20), EstimateError, "at least 10 of each"),
            (lambda table: table.acted.iloc[:50], SpecError, "say nothing of rollout"),
            (lambda table: table.acted.tolist()[:50], SpecError, "50 labels do not fit 239 rows"),
            (lambda table: pd.concat([table.acted, table.acted]), SpecError, "twice"),
        ],
    )
    def test_labels_that_say_nothing_are_refused(self, run, labels, error, said):
        with pytest.raises(error, match=said) as refused:
            introspect.probe(run.activations(layer=1, span="think"), labels(run.rollouts))
        assert "\n" not in str(refused.value)

    def test_too_few_groups_are_refused(self, run):
        with pytest.raises(EstimateError, match="groups are too few"):
            introspect.probe(run.activations(layer=1, span="think"), run.rollouts.acted, run.rollouts.domain)

    def test_settings_that_are_none_are_refused(self, run):
        with pytest.raises(SpecError, match="test_fraction"):
            introspect.probe(run.activations(layer=1, span="think"), run.rollouts.acted, test_fraction=2)

    @pytest.mark.parametrize("number", [np.nan, np.inf])
    def test_numbers_that_are_not_finite_are_named(self, run, number):
        acts = run.activations(layer=1, span="think")
        acts.values[20, 3] = number
        with pytest.raises(EstimateError, match=f"rollout {acts.index[20]} "):
            introspect.probe(acts, run.rollouts.acted)

    def test_every_token_is_a_row_of_its_rollouts_group(self, run):
        acts = run.activations(layer=1, span="answer", reduce="none")
        acts = acts[acts.rollouts < 120]
        found = introspect.probe(acts, run.rollouts.acted, permutations=5, bootstrap=50)
        assert len(found.scores) == len(acts) > 900 and found.auroc.value > 0.95


class TestFigures:
    def traces(self, figure, name):
        return [trace for trace in figure.data if trace.name == name]

    def test_layers_are_those_of_the_results(self, run):
        figure, probe = run.layers(), run.results["probe"]
        for trace, row in zip(self.traces(figure, "probe"), probe["positions"], strict=True):
            cells = {c["layer"]: c for c in probe["grid"] if c["position"] == row["position"]}
            assert dict(zip(trace.x, trace.y, strict=True)) == {n: c["auroc"]["value"] for n, c in cells.items()}
        for trace, row in zip(self.traces(figure, "words so far"), probe["positions"], strict=True):
            assert set(trace.y) == {row["text_prompt_chain"]["value"]}
        nulls = self.traces(figure, "shuffled labels, up to 95%")
        for trace, row in zip(nulls, probe["positions"], strict=True):
            cells = [c for c in probe["grid"] if c["position"] == row["position"]]
            assert list(trace.y[: len(cells)]) == [c["null_q95"] for c in cells]
        (star,) = self.traces(figure, "headline, chosen on inner folds")
        assert (star.x[0], star.y[0]) == (probe["headline"]["layer"], probe["headline"]["auroc"]["value"])
        assert all(trace.hovertemplate or trace.hoverinfo == "skip" for trace in figure.data)
        assert "held-out groups" in figure.layout.title.text

    def test_the_link_is_that_of_the_results(self, run):
        figure, link = run.link(), run.results["link"]
        for readout in ("policy", "none"):
            (bar,) = self.traces(figure, f"readout: {readout}")
            assert dict(zip(bar.y, bar.x, strict=True)) == {v: cell[readout] for v, cell in link["table"].items()}
        (point,) = self.traces(figure, "acted, silent: probe")
        rate = link["silent_but_decodable"]
        assert point.x[0] == rate["value"] and point.x[0] + point.error_x.array[0] == pytest.approx(rate["ci95"][1])
        (words,) = self.traces(figure, "acted, silent: words")
        assert words.x[0] == link["text_baseline"]["silent_but_decodable"]["value"]

    def test_what_could_not_be_linked_is_refused_with_the_reason(self, copy):
        nothing = {"value": None, "reason": "too little data"}
        edit_json(copy / "results.json", link=nothing, probe=nothing, baselines=nothing)
        opened = introspect.open_run(copy)
        for figure in (opened.link, opened.layers, lambda: opened.tokens(0)):
            with pytest.raises(EstimateError, match="too little data"):
                figure()

    def test_results_that_do_not_hold_together_are_one_line(self, copy):
        results = json.loads((copy / "results.json").read_text())
        results["probe"]["grid"] = results["probe"]["grid"][:1]
        results["baselines"].pop("text_whole_chain")
        (copy / "results.json").write_text(json.dumps(results))
        with pytest.raises(StoreError, match=r"results\.json"):
            introspect.open_run(copy).layers()

    def test_runs_are_set_side_by_side_as_the_command_does(self, run, copy):
        edit_json(copy / "results.json", warnings=[])
        both = run.compare(copy)
        assert both.table.columns.tolist() == ["planted", "copied"]
        head = run.results["probe"]["headline"]["auroc"]
        assert both.table.loc["probe AUROC", "planted"].startswith(f"{head['value']:.2f} [")
        first, second = both.figure.data
        shown = dict(zip(first.y, first.x, strict=True))
        assert shown["probe AUROC"] == head["value"] and (first.name, second.name) == ("planted", "copied")
        with pytest.raises(RunError, match="not a run directory"):
            run.compare(copy / "activations")

    def test_names_in_a_figure_are_text(self, run, copy):
        hostile = copy.with_name("<a href='javascript:alert(1)'>x")
        copy.rename(hostile)
        named = run.compare(hostile).figure.data[1]
        assert named.name == html.escape(hostile.name, quote=False) and "<a" not in named.hovertemplate


class Page(HTMLParser):
    """Tags and visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[dict] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data):
        self.text.append(data)


class TestTokens:
    def test_show_the_run_s_own_probe(self, run, made):
        head = run.results["probe"]["headline"]
        view = run.tokens(17)
        assert view.layer == head["layer"] and set(view.scores) == set(LAYERS)
        lines = [json.loads(line) for line in (made / "readouts.jsonl").read_text().splitlines()]
        of_test = next(line for line in lines if line["part"] == "test")
        at = token_position(run._rollout(of_test["rollout"]), head["position"])
        shown = run.tokens(of_test["rollout"]).scores[head["layer"]][at]
        assert shown == pytest.approx(of_test["headline"], abs=1e-4)

    def test_every_token_stands_there_with_its_id_position_and_score(self, run, made):
        view = run.tokens(17, layer=0)
        each = read_rollouts(made / "rollouts.jsonl")[17]
        assert view.layer == 0 and "".join(view.texts) == TOKENIZER.decode(each.token_ids)
        page = Page(view.html)
        said = [attributes["data-about"] for attributes in page.attributes if "data-about" in attributes]
        assert len(said) == len(each.token_ids)
        for position, (token, about) in enumerate(zip(each.token_ids, said, strict=True)):
            assert about.startswith(f"token {token} · position {position}")
            score = view.scores[1][position]
            assert ("no activation recorded" in about) if np.isnan(score) else f"layer 1: {score:+.2f}" in about
        assert int(np.isfinite(view.scores[0]).sum()) == len(each.completion_ids) + 1

    def test_colour_goes_by_what_the_rollouts_of_a_layer_have(self, run):
        view, table = run.tokens(17), run.rollouts
        layer = run.results["probe"]["headline"]["layer"]
        assert view.scale[layer] == pytest.approx(table["score"].abs().quantile(0.95), rel=1e-3)
        deepest = int(np.nanargmax(np.abs(view.scores[layer])))
        assert abs(view.scores[layer][deepest]) > view.scale[layer]
        colour = f"--l{layer}: rgba({'213, 94, 0' if view.scores[layer][deepest] > 0 else '0, 114, 178'}, 0.75)"
        spans = [each for each in Page(view.html).attributes if "data-about" in each]
        assert colour in spans[deepest]["style"] and "style" not in spans[0]

    def test_layers_and_spans_are_chosen_without_a_script(self, run):
        check_page(run.tokens(17, layer=0).html)
        page = Page(run.tokens(17, layer=0).html)
        radios = [attributes for attributes in page.attributes if attributes.get("type") == "radio"]
        assert [each["id"] for each in radios] == [
            *("layer-0", "layer-1", "only-all", "only-prompt", "only-think", "only-answer")
        ]
        assert [each["id"] for each in radios if "checked" in each] == ["layer-0", "only-all"]
        assert "script" not in page.tags

    def test_nothing_that_a_model_wrote_can_act(self, run):
        sound, hostile = Page(run.tokens(17).html), Page(run.tokens(3).html)
        assert set(hostile.tags) == set(sound.tags) and "img" not in hostile.tags
        assert not any(name.startswith("on") for each in hostile.attributes for name in each)
        assert HOSTILE in "".join(hostile.text).replace("·", "")
        frame = Page(run.tokens(3)._repr_html_())
        assert frame.tags == ["iframe"] and frame.attributes[0]["sandbox"] == ""
        assert frame.attributes[0]["srcdoc"] == run.tokens(3).html
        assert "default-src 'none'" in run.tokens(3).html

    def test_what_is_said_of_a_hostile_rollout_is_text_too(self, copy):
        lines = [json.loads(line) for line in (copy / "rollouts.jsonl").read_text().splitlines()]
        lines[4] |= {"item_id": HOSTILE + "\u202e", "condition": HOSTILE}
        (copy / "rollouts.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        page = introspect.open_run(copy).tokens(4).html
        assert "<img" not in page and html.escape("<img src=x", quote=False) in page and "\u202e" not in page

    def test_are_saved_as_one_page(self, run, tmp_path):
        assert run.tokens(17).save(tmp_path / "page.html").read_text(encoding="utf-8") == run.tokens(17).html

    def test_a_probe_of_one_s_own_colours_them(self, run):
        acts = run.activations(layer=1, position="before_answer")
        fitted = introspect.probe(acts, run.rollouts.acted, permutations=5, bootstrap=50)
        view = run.tokens(17, probe=fitted)
        at = token_position(run._rollout(17), "before_answer")
        row = acts.values[acts.index.get_loc(17)][None]
        assert view.scores[1][at] == pytest.approx(fitted.direction.score(row)[0]) and "label" in view.what
        with pytest.raises(RunError, match="layer 1 only"):
            run.tokens(17, layer=0, probe=fitted)

    @pytest.mark.parametrize(
        ("asked", "said"),
        [((10**4,), "its rollouts are 0 to 239"), ((-1,), "no rollout -1"), ((17, 9), "keeps layers 0, 1, not 9")],
    )
    def test_what_there_is_not_is_refused(self, run, asked, said):
        with pytest.raises(RunError, match=said):
            run.tokens(*asked)

    @pytest.mark.parametrize("change", [lambda rows: rows[5].update(headline=9.0), lambda rows: rows.pop()])
    def test_readouts_that_the_activations_do_not_give_are_refused(self, copy, change):
        rows = [json.loads(line) for line in (copy / "readouts.jsonl").read_text().splitlines()]
        change(rows)
        (copy / "readouts.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
        with pytest.raises(StoreError, match=r"readouts\.jsonl"):
            introspect.open_run(copy).tokens(17)

    def test_another_tokenizer_is_refused(self, copy, tmp_path):
        save_tiny(tmp_path / "other")
        vocabulary = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
        names = vocabulary["model"]["vocab"]
        names["a"], names["t"] = names["t"], names["a"]
        (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(vocabulary))
        edit_json(copy / "manifest.json", model={"name": str(tmp_path / "other"), "revision": None, "n_layers": 2})
        with pytest.raises(RunError, match="another than the run's"):
            introspect.open_run(copy).tokens(17)

    def test_a_model_that_is_not_there_is_named_and_no_hub_asked(self, copy, monkeypatch):
        monkeypatch.delenv("HF_HUB_OFFLINE")
        asked = []
        monkeypatch.setattr(HfApi, "model_info", lambda self, name, **more: asked.append(name))
        edit_json(copy / "manifest.json", model={"name": "some-one/some-model", "revision": None, "n_layers": 2})
        with pytest.raises(IntrospectError, match="some-one/some-model"):
            introspect.open_run(copy).tokens(17)
        assert not asked


class TestModel:
    PROMPTS = ("one?", "two: a or b?", "three")

    def test_records_in_memory_what_replay_gives(self, loaded):
        rollouts, recording = loaded.record(self.PROMPTS, max_new_tokens=6, samples=2, seed=3)
        assert len(rollouts) == 6 and rollouts.group.tolist() == ["0", "0", "1", "1", "2", "2"]
        assert rollouts.prompt_text.tolist()[::2] == list(self.PROMPTS)
        acts = recording.activations(layer=-1, span="completion", reduce="none")
        assert recording.spec.layers == (0, 1, 2) and acts.layer == 2 and acts.values.shape[1] == 32
        made = recording._aligned.rollouts[3]
        positions = list(range(len(made.prompt_ids) - 1, len(made.token_ids) - (made.finish == "stop")))
        capture = introspect.notebook.model.Capture(("resid_post",), (2,))
        (again,) = loaded._backend.replay([made.token_ids], [positions], capture=capture)
        assert np.allclose(acts[acts.rollouts == 3].values, again["resid_post", 2].numpy(), atol=1e-4)

    def test_gives_the_same_rollouts_again(self, loaded):
        first, _ = loaded.record(self.PROMPTS, layers=[0], max_new_tokens=5, seed=1)
        again, _ = loaded.record(self.PROMPTS, layers=[0], max_new_tokens=5, seed=1)
        other, _ = loaded.record(self.PROMPTS, layers=[0], max_new_tokens=5, seed=2)
        assert first.equals(again) and not first.completion_text.equals(other.completion_text)

    def test_prompt_tokens_are_kept_where_asked_for(self, loaded):
        _, recording = loaded.record([[6, 7, 8, 9]], layers=[1], max_new_tokens=2, prompt_tokens=True)
        assert len(recording.activations(layer=1, span="prompt", reduce="none")) == 4
        _, recording = loaded.record([[6, 7, 8, 9]], layers=[1], max_new_tokens=2)
        with pytest.raises(RunError, match="does not keep every token of the span prompt"):
            recording.activations(layer=1, span="prompt")

    @pytest.mark.parametrize("span", ["all", "prompt", "completion"])
    def test_steering_moves_the_site_by_strength_times_the_direction(self, loaded, span):
        ids = [[6, 7, 8, 9], [10, 11, 12]]
        vector = np.linspace(-1, 1, 32).astype(np.float32)

        def at(name: str) -> np.ndarray:
            _, recording = loaded.record(ids, layers=[1], max_new_tokens=1, prompt_tokens=True, temperature=0)
            return recording.activations(layer=1, span="prompt", reduce=name).values

        before = {name: at(name) for name in ("first", "last")}
        with loaded.steer(vector, layer=1, span=span, strength=4.0):
            during = {name: at(name) for name in ("first", "last")}
        after = at("last")
        moved = {name: during[name] - before[name] for name in during}
        assert np.allclose(moved["last"], 4 * vector, atol=1e-4)
        assert np.allclose(moved["first"], 0 if span == "completion" else 4 * vector, atol=1e-4)
        assert np.array_equal(after, before["last"])

    def test_answers_are_probabilities_and_are_steered(self, loaded):
        plain = loaded.answers(self.PROMPTS, ["A", "B"])
        assert plain.shape == (3, 2) and (np.exp(plain).sum(axis=1) <= 1).all()
        with loaded.steer(np.ones(32), layer=0, strength=50.0):
            steered = loaded.answers(self.PROMPTS, ["A", "B"])
        assert not np.allclose(plain, steered, atol=1e-3)
        assert np.array_equal(plain, loaded.answers(self.PROMPTS, ["A", "B"]))

    def test_a_probe_steers_at_its_own_layer(self, loaded, run):
        acts = run.activations(layer=1, span="think")
        fitted = introspect.probe(acts, run.rollouts.acted, permutations=5, bootstrap=50)
        with pytest.raises(SpecError, match="32 finite numbers"), loaded.steer(fitted):
            pass

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ({"span": "chain"}, "no span 'chain'"),
            ({"operator": "push"}, "no operator 'push'"),
            ({"strength": [1.0, float("nan")]}, "strength is a finite number"),
            ({"from_text": "now", "span": "think"}, "give one of them"),
            ({"span": range(5, 2, -1)}, "no range of positions"),
            ({"layer": None}, "needs its layer"),
            ({"layer": 9}, "layers 0 to 2"),
            ({"direction": np.full(32, np.nan)}, "finite"),
        ],
    )
    def test_what_cannot_be_steered_is_refused(self, loaded, asked, said):
        given = {"direction": np.ones(32), "layer": 1} | asked
        with pytest.raises(SpecError, match=said), loaded.steer(given.pop("direction"), **given):
            pass
        assert not loaded._interventions

    @pytest.mark.parametrize("prompts", ["one prompt", [], [3.5], [[]]])
    def test_what_is_no_prompt_is_refused(self, loaded, prompts):
        with pytest.raises((SpecError, TypeError)):
            loaded.record(prompts, max_new_tokens=1)

    def test_after_its_context_it_is_gone(self, model):
        with introspect.load(str(model), dtype="float32") as opened:
            assert opened.info.n_layers == 3
        with pytest.raises(SpecError, match="closed"):
            opened.record(self.PROMPTS)


def test_a_store_of_means_gives_means_only():
    each = rollout(0, "g", "some words", "safe")
    columns = {"rollout": [0], "position": [-1], "token_id": [-1], "span": [1]}

    class Means:
        spec = StoreSpec(("resid_post",), (0,), 2, "float32", {}, Selection(("think",), "mean"))

        def columns(self):
            return {name: np.array(values) for name, values in columns.items()}

        def read(self, site, layer, rows=None):
            return np.array([[1.0, 2.0]], np.float32)[rows]

    aligned = reading.Aligned(Means(), [each], "the run")
    assert aligned.take(layer=0, span="think").values.tolist() == [[1.0, 2.0]]
    for reduce in ("none", "last"):
        with pytest.raises(RunError, match="does not keep"):
            aligned.take(layer=0, span="think", reduce=reduce)
    with pytest.raises(RunError, match="mean of think"):
        aligned.take(layer=0, span="answer")
