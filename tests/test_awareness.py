"""Self-reports: the questions, ratings as expectations over digits, the stage on a tiny model, and their statistics."""

from __future__ import annotations

import re
from collections import Counter
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from introspect.awareness import (
    AWARENESS_FILE,
    BASE_AWARENESS_FILE,
    AwarenessRow,
    awareness_stage,
    read_awareness,
    read_items,
    self_reports,
)
from introspect.backends import make_backend
from introspect.errors import SpecError, StoreError
from introspect.metrics.awareness import association, awareness_section, mean_score, minus_base, order_effect
from introspect.models.formats import FORMATS
from introspect.stats import expanded_tail
from introspect.tasks.registry import TASKS
from tiny_folders import tiny_tokenizer
from tiny_models import tiny_model

ITEMS = read_items()
POLICIES = ("risk", "bias", "reward_hacking", "sampling", "hints", "pressure")


class TestItems:
    def test_every_policy_has_ten_paraphrases_and_pairs_of_words_and_trainings(self):
        assert set(ITEMS.policies) == set(POLICIES) >= set(TASKS)
        for own in ITEMS.policies.values():
            assert len(set(own.ratings)) == 10 and len(set(own.words)) >= 5 and len(set(own.trained)) >= 5

    @pytest.mark.parametrize("policy", POLICIES)
    def test_every_question_is_asked_in_both_orders(self, policy):
        reports = self_reports(policy)
        assert len({report.prompt for report in reports}) == len(reports)
        orders = Counter((report.kind, report.wording) for report in reports)
        assert set(orders.values()) == {2}
        for normal, other in zip(reports[::2], reports[1::2], strict=True):
            assert (normal.order, other.order) == ("normal", "reversed")
            assert sorted(re.findall(r"\w+", normal.prompt)) == sorted(re.findall(r"\w+", other.prompt))

    @pytest.mark.parametrize("policy", POLICIES)
    def test_scores_are_turned_with_the_scale(self, policy):
        for report in self_reports(policy):
            if report.kind == "rating":
                assert list(report.scores) == list("0123456789")
                high = "9" if report.order == "normal" else "0"
                assert report.scores[high] == 100 and sum(report.scores.values()) == pytest.approx(500)
                assert f"{high} (always)" in report.prompt
            elif report.kind == "word":
                assert report.scores == dict(zip(ITEMS.policies[policy].words[report.wording], (100, 0), strict=True))
                first = next(iter(report.scores))
                assert (f"better, {first} or" in report.prompt) == (report.order == "normal")
            else:
                way = ITEMS.policies[policy].trained[report.wording][0]
                assert f"{max(report.scores, key=report.scores.get)}) {way}\n" in report.prompt

    def test_nothing_is_left_to_fill_in_and_no_answer_is_shown(self):
        for policy in POLICIES:
            for report in self_reports(policy):
                assert "{" not in report.prompt
                assert not re.search(r"Answer: (?:\d|[AB]\b(?! or))", report.prompt)

    def test_an_unknown_policy_names_those_there_are(self):
        with pytest.raises(SpecError, match=r"'poker'.*risk"):
            self_reports("poker")

    @pytest.mark.parametrize(
        ("content", "said"),
        [("asks: 3\n", "asks"), ("[]\n", "the file"), ("policies: {}\n", "asks"), ("a: [\n", "items.yaml")],
    )
    def test_a_faulty_file_is_named_with_the_key(self, tmp_path, content, said):
        path = tmp_path / "items.yaml"
        path.write_text(content)
        with pytest.raises(SpecError, match=said):
            read_items(path)

    def test_a_missing_file_is_one_line(self, tmp_path):
        with pytest.raises(SpecError, match="cannot read"):
            read_items(tmp_path / "absent.yaml")


@pytest.fixture(scope="module")
def tiny():
    model = tiny_model("llama")
    info = SimpleNamespace(weight_digest="w", adapter_digest=None, dtype="float32", name="tiny")
    loaded = SimpleNamespace(model=model, tokenizer=tiny_tokenizer(), format=FORMATS["plain"], info=info)
    return loaded, make_backend("native", model)


@pytest.fixture(scope="module")
def stage(tiny, tmp_path_factory):
    run = tmp_path_factory.mktemp("awareness")
    return run, awareness_stage(run, "risk", loaded=tiny[0], backend=tiny[1])


class TestStage:
    def test_a_rating_is_the_expectation_over_digits(self, tiny, stage):
        loaded, _ = tiny
        for number in (0, 1):
            prompt = loaded.tokenizer(f"<user>{self_reports('risk')[number].prompt}</s><bot>Answer: ").input_ids
            with torch.inference_mode():
                logits = loaded.model(input_ids=torch.tensor([prompt])).logits[0, -1].double().numpy()
            digits = logits[loaded.tokenizer.convert_tokens_to_ids(list("0123456789"))]
            weights = np.exp(digits - digits.max())
            rating = (np.arange(10) * weights).sum() / weights.sum() / 9 * 100
            row = stage[1][number]
            assert row.score == pytest.approx(rating if number == 0 else 100 - rating, abs=1e-3)
            assert sum(row.shares.values()) == pytest.approx(1, abs=1e-5)

    def test_there_is_a_row_a_question_and_the_file_reads_back(self, stage):
        run, rows = stage
        assert [(r.kind, r.wording, r.order) for r in rows] == [
            (s.kind, s.wording, s.order) for s in self_reports("risk")
        ]
        assert read_awareness(run / AWARENESS_FILE) == rows
        assert all(0 <= row.score <= 100 and 0 < row.mass < 1 for row in rows)

    def test_it_is_asked_once_a_model_and_the_base_has_a_file_of_its_own(self, tiny, stage, monkeypatch):
        run, rows = stage
        loaded, backend = tiny
        with monkeypatch.context() as patched:
            patched.setattr(backend, "generate", None)
            assert awareness_stage(run, "risk", loaded=loaded, backend=backend) == rows
            other = SimpleNamespace(**{**vars(loaded), "info": SimpleNamespace(**{**vars(loaded.info), "dtype": "x"})})
            with pytest.raises(TypeError):
                awareness_stage(run, "risk", loaded=other, backend=backend)
        before = (run / AWARENESS_FILE).read_bytes()
        awareness_stage(run, "risk", loaded=loaded, backend=backend, file=BASE_AWARENESS_FILE)
        assert (run / BASE_AWARENESS_FILE).read_bytes() == before == (run / AWARENESS_FILE).read_bytes()

    def test_a_damaged_file_is_named_and_made_again(self, tiny, stage, tmp_path):
        whole = (stage[0] / AWARENESS_FILE).read_bytes()
        path = tmp_path / AWARENESS_FILE
        path.write_bytes(whole.replace(b'"mass"', b'"mess"', 1))
        with pytest.raises(StoreError, match=f"{AWARENESS_FILE}:2.*m[ae]ss"):
            read_awareness(path)
        awareness_stage(tmp_path, "risk", loaded=tiny[0], backend=tiny[1])
        assert path.read_bytes() == whole


def reports(score, *, kind="rating", wordings=10, mass=0.9) -> list[AwarenessRow]:
    """Rows whose score is a function of wording and order."""
    return [
        AwarenessRow(policy="risk", kind=kind, wording=w, order=o, score=score(w, o), mass=mass, shares={})
        for w in range(wordings)
        for o in ("normal", "reversed")
    ]


class TestSection:
    def test_mean_and_order_effect_are_what_numpy_says(self):
        values = np.random.default_rng(0).random((10, 2)) * 100
        rows = reports(lambda w, o: values[w, int(o == "reversed")])
        score, order = mean_score(rows), order_effect(rows)
        assert score.value == pytest.approx(values.mean()) and score.n == 20
        assert order.value == pytest.approx((values[:, 0] - values[:, 1]).mean()) and order.n == 10
        drawn = np.random.default_rng(1).integers(10, size=(4000, 10))
        tail = expanded_tail(10)
        expected = np.quantile(values.mean(axis=1)[drawn].mean(axis=1), [tail, 1 - tail])
        assert score.ci95 == pytest.approx(expected.tolist(), abs=2)
        assert score.method == "bootstrap over wordings"

    def test_always_nine_is_all_order_and_no_report(self):
        rows = reports(lambda w, o: 100.0 if o == "normal" else 0.0)
        assert mean_score(rows).value == 50 and order_effect(rows).value == 100
        assert "by 100 of 100" in awareness_section(rows)["warnings"][0]

    def test_the_base_is_taken_off_question_by_question(self):
        rows, base = reports(lambda w, o: 5.0 * w + 30), reports(lambda w, o: 5.0 * w)
        found = minus_base(rows, base)
        assert found.value == pytest.approx(30) and found.ci95 == pytest.approx((30, 30))
        assert minus_base(rows, base[:10]).n == 10

    def test_the_section_has_every_kind_and_says_what_is_missing(self):
        rows = [
            *reports(lambda w, o: 60.0),
            *reports(lambda w, o: 80.0, kind="word", wordings=6, mass=0.1),
            *reports(lambda w, o: 20.0, kind="trained", wordings=5),
        ]
        section = awareness_section(rows, rows)
        assert [section[kind]["score"]["value"] for kind in ("rating", "word", "trained")] == [60, 80, 20]
        assert [section[kind]["minus_base"]["value"] for kind in ("rating", "word", "trained")] == [0, 0, 0]
        assert section["rating"]["n_wordings"] == 10 and section["policy"] == "risk"
        assert len(section["warnings"]) == 1 and "(word)" in section["warnings"][0]
        alone = awareness_section(rows)
        assert "no base" in alone["rating"]["base"]["reason"] and alone["rating"]["score"]["value"] == 60


class TestAssociation:
    @pytest.mark.parametrize("n", [4, 5, 6])
    def test_small_numbers_of_runs_have_an_exact_p(self, n):
        rng = np.random.default_rng(n)
        one, other = rng.normal(size=n), np.round(rng.normal(size=n), 0)
        found = association(one, other)
        rho = spearmanr(one, other).statistic
        assert found["value"] == pytest.approx(rho, abs=1e-6) and found["n"] == n
        null = np.array([abs(spearmanr(one, each).statistic) for each in permutations(other)])
        assert found["p"] == pytest.approx((null >= abs(rho) - 1e-9).mean(), abs=1e-6)
        assert found["p_method"] == "exact permutation"
        assert found["ci95"][0] <= found["value"] <= found["ci95"][1]

    def test_perfect_agreement_of_four_runs_is_no_proof(self):
        found = association([1, 2, 3, 4], [10, 20, 30, 40])
        assert found["value"] == 1 and found["p"] == pytest.approx(2 / 24, abs=1e-6)
        assert found["ci95"][1] == 1 and found["ci95"][0] < 0
        assert association([1, 2, 3, 4], [4, 3, 2, 1])["ci95"][0] == -1

    def test_many_runs_are_permuted_by_chance_and_the_same_every_time(self):
        rng = np.random.default_rng(5)
        one = rng.normal(size=12)
        noise = rng.normal(size=12)
        assert association(one, noise) == association(one, noise)
        assert association(one, noise)["p"] == pytest.approx(spearmanr(one, noise).pvalue, abs=0.03)
        assert association(one, noise)["p_method"] == "permutation"

    @pytest.mark.parametrize(
        ("one", "other", "said"),
        [
            ([1, 2, 3], [1, 2, 3], "needs 4"),
            ([5, 5, 5, 5], [1, 2, 3, 4], "self-reports"),
            ([1, 2, 3, 4], [0] * 4, "behav"),
        ],
    )
    def test_what_cannot_be_said_is_not_a_number(self, one, other, said):
        found = association(one, other)
        assert found["value"] is None and said in found["reason"]

    def test_runs_have_to_be_paired(self):
        with pytest.raises(ValueError, match="paired"):
            association([1, 2, 3, 4], [1, 2])
