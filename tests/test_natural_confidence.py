"""Stated confidence: what it is held against is what it says, and a planted rating is read for what it follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from introspect.errors import EstimateError
from introspect.natural.choose import some_items
from introspect.natural.confidence_results import found_of
from introspect.natural.measures import apart, bootstrap_many, partial_ranks, wilson_of
from introspect.natural.predicting import likely, out_of_fold, prevalent
from introspect.stats import auroc
from natural_materials import cells_of, tiny_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tiny_study(tmp_path_factory.mktemp("confidence"), "confidence")


def logprobs(study, prompt, noise=None, layer=0):
    """The oracle: log-probabilities after a prompt alone, with noise added at its last token."""

    def add(module, args, output):
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        hidden[:, -1] += torch.from_numpy(noise)
        return output

    block = study.loaded.model.get_decoder().layers[layer]
    handle = block.register_forward_hook(add) if noise is not None else None
    try:
        with torch.inference_mode():
            return torch.log_softmax(study.loaded.model(torch.tensor([prompt])).logits[0, -1].float(), -1).numpy()
    finally:
        if handle is not None:
            handle.remove()


class TestRows:
    def test_a_row_says_what_the_pass_that_answers_shows(self, study):
        item = study.items[0]
        [row] = study._questions([item])
        prefix = study._prefix(item)
        said = logprobs(study, prefix)
        tokens = {letter: study.subject.options(tuple("ABCD"))[letter][-1] for letter in "ABCD"}
        values = {letter: float(said[token]) for letter, token in tokens.items()}
        best, second, *_ = sorted(values.values(), reverse=True)
        shares = np.exp(list(values.values())) / np.exp(list(values.values())).sum()
        assert row["answer"] == max(values, key=values.get) and row["correct"] == (row["answer"] == row["right"])
        assert row["margin"] == pytest.approx(best - second, abs=1e-4)
        assert row["p"] == pytest.approx(shares.max(), abs=1e-4)
        assert row["entropy"] == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-4)
        with torch.inference_mode():
            states = study.loaded.model(torch.tensor([prefix]), output_hidden_states=True).hidden_states
        assert row["norms"][0] == pytest.approx(float(states[1][0, -1].norm()), abs=1e-4)
        assert len(row["norms"]) == study.loaded.info.n_layers

    def test_noise_is_of_the_size_that_it_says_and_only_where_the_answer_is_read(self, study, monkeypatch):
        item, seen = study.items[1], []
        branches = study.backend.branches

        def spied(beginning, rows, *, at, steer):
            seen.append((beginning, rows, steer))
            return branches(beginning, rows, at=at, steer=steer)

        monkeypatch.setattr(study.backend, "branches", spied)
        states = np.random.default_rng(0).normal(size=(study.loaded.info.n_layers, study.loaded.info.width))
        prefix = study._prefix(item)
        tokens = {letter: study.subject.options(tuple("ABCD"))[letter][-1] for letter in "ABCD"}
        kept = study._kept(item, prefix, tokens, "A", states)
        [(beginning, rows, steer)] = seen
        assert (*beginning, *rows[0]) == prefix and len(rows) == 3 * 1 * 2 and len(kept) == 2
        answers = []
        for each in steer:
            assert each.ranges == (range(len(prefix) - 1, len(prefix)),) * 6
            own = [row for row in range(6) if each.strength[row]]
            assert len(own) == 3 and not each.vector[[r for r in range(6) if r not in own]].any()
            size = np.linalg.norm(each.vector[own].numpy(), axis=1) / np.linalg.norm(states[each.layer])
            assert size == pytest.approx(1.0, abs=0.45)
            for row in own:
                said = logprobs(study, prefix, each.vector[row].numpy(), each.layer)
                answers.append(max(tokens, key=lambda letter, said=said: said[tokens[letter]]))
        wanted = [[round(sum(a == "A" for a in answers[at : at + 3]) / 3, 6)] for at in (0, 3)]
        assert kept == wanted

    def test_ratings_are_expected_digits_and_a_scale_turned_round_is_turned_back(self, study):
        item = study.items[2]
        found = study._rated(item, "B")
        for number, prompt in enumerate(study._asked(item, "B")):
            text = study.loaded.tokenizer.decode(list(prompt))
            assert "Answer: B" in text and text.endswith("Number:" + study.loaded.tokenizer.decode(study.digits.common))
            said = logprobs(study, prompt)
            digits = np.exp([said[study.digits.tokens[str(i)]] for i in range(10)])
            rating = float(digits @ np.arange(10) / digits.sum()) / 9 * 100
            turned = "surely right, 9" in text or "0 means certain" in text
            assert turned == bool(number % 2)
            assert found["ratings"][number // 2][number % 2] == pytest.approx(
                100 - rating if turned else rating, abs=1e-2
            )
        assert 0 < found["rating_mass"] <= 1

    def test_questions_are_within_the_limit_and_of_both_splits(self, study):
        assert study.items == some_items(study.every, 24) and {item.split for item in study.items} == {"id", "ood"}
        assert len(study.cells()) == 3


class TestMeasures:
    def test_partial_ranks_are_what_is_left_of_ranks(self):
        rng = np.random.default_rng(0)
        z = rng.normal(size=200)
        x, y = z + 0.1 * rng.normal(size=200), z + 0.1 * rng.normal(size=200)
        none = np.zeros((200, 0))
        assert partial_ranks(y, x[:, None], none)[0] == pytest.approx(spearmanr(x, y).statistic)
        assert abs(partial_ranks(y, x[:, None], rankdata(z)[:, None])[0]) < 0.2 < 0.9 < spearmanr(x, y).statistic
        assert np.isnan(partial_ranks(y, np.ones((200, 1)), none)[0])
        assert np.isnan(partial_ranks(y[:6], x[:6, None], np.eye(6)[:, :3])[0])
        assert np.isnan(partial_ranks(y, x[:, None], rankdata(x)[:, None])[0]), "nothing is left of what is given"

    def test_many_statistics_share_their_replicates(self):
        values = np.random.default_rng(1).normal(size=60)
        one, other, none = bootstrap_many(
            lambda rows: np.array([values[rows].mean(), values[rows].mean() + 1, np.nan]), range(60), n=200, seed=0
        )
        assert other.ci95[0] - one.ci95[0] == pytest.approx(1) and none.value is None
        assert bootstrap_many(lambda rows: np.zeros(1), [0, 0, 1], n=100, seed=0)[0].value is None

    def test_shares_of_all_or_none_have_intervals_with_a_width_and_so_has_what_parts_them(self):
        right = np.array([np.ones(20), np.ones(20), np.arange(20) % 2])

        def shares(rows):
            found = right[:, rows].mean(axis=1)
            return np.array([*found, found[0] - found[1], found[0] - found[2]])

        wider = [wilson_of(20)] * 3 + [None, None]
        sure, also, half, none, gap = bootstrap_many(shares, range(20), n=200, seed=0, wider=wider)
        assert sure.ci95 == pytest.approx((20 / (20 + 1.96**2), 1.0), abs=1e-3) and "widened" in sure.method
        assert half.method == "bootstrap over groups" and none.ci95 == (0, 0)
        level = apart(none, sure, also)
        assert level.value == 0 and level.ci95[0] < -0.1 and level.ci95[1] > 0.1
        more = apart(gap, sure, half)
        assert more.ci95[0] < gap.ci95[0] and apart(gap, half, half) == gap

    def test_columns_gain_what_words_do_not_have_and_nothing_where_they_have_it(self):
        rng = np.random.default_rng(2)
        texts = [f"word{i % 4} " + " ".join(rng.choice(["one", "two", "three"], 3)) for i in range(120)]
        by_words = np.array([float(i % 4) for i in range(120)])
        hidden = rng.normal(size=120)

        def gain(outcome, column):
            constant, words, more = (
                (outcome - each) ** 2 for each in out_of_fold(texts, outcome, range(120), [column[:, None]], folds=5)
            )
            return 1 - words.mean() / constant.mean(), (words.mean() - more.mean()) / constant.mean()

        words, more = gain(by_words, by_words)
        assert words > 0.9 and more < 0.1
        words, more = gain(hidden, hidden)
        assert words < 0.15 and more > 0.8
        words, more = gain(hidden, rng.normal(size=120))
        assert more < 0.05
        seen = [hidden[:, None]]
        constant, words, more = (
            (hidden - each) ** 2 for each in out_of_fold(texts, hidden, range(120), seen, folds=5, shown=seen[0])
        )
        assert words.mean() < 0.1 * constant.mean() and abs(more.mean() - words.mean()) < 0.01 * constant.mean()
        assert auroc(likely(texts, hidden > 0, range(120), folds=5, shown=seen[0]), hidden > 0) > 0.95
        assert auroc(likely(texts, hidden > 0, range(120), folds=5), hidden > 0) < 0.7
        with pytest.raises(EstimateError, match="3 groups are too few"):
            out_of_fold(texts, hidden, np.arange(120) % 3, [], folds=5)

    def test_a_row_is_never_predicted_from_its_own_group(self):
        """Each group has a word of its own that gives its outcome away: within a group words would be perfect."""
        rng = np.random.default_rng(3)
        groups = np.repeat(np.arange(20), 4)
        labels = (rng.random(20) > 0.5)[groups]
        texts = [f"own{group}" for group in groups]
        assert abs(np.corrcoef(likely(texts, labels, groups, folds=5), labels)[0, 1]) < 0.75
        mixed = likely(texts, labels, range(80), folds=5)
        assert np.corrcoef(mixed, labels)[0, 1] > 0.8


class TestParts:
    def test_what_says_nothing_is_at_chance_out_of_fold_and_not_below(self):
        """Dealt regardless of the label, a part that has it more often is predicted from others that have it less."""
        rng, found = np.random.default_rng(7), []
        for seed in range(8):
            labels = rng.permutation(np.arange(60) % 2 == 0)
            found.append(auroc(prevalent(labels, range(60), folds=5, seed=seed), labels))
        assert np.mean(found) == pytest.approx(0.5, abs=0.05)
        rare = np.arange(60) == 3
        assert likely(["one"] * 60, rare, range(60), folds=5).max() < 0.1


def any_margin(letter, rng):
    return float(rng.exponential(1.0))


def planted_rows(study, rate=lambda margin, correct, rng, subject, letter: 50, n=60, margin_of=any_margin):
    """Rows whose rating is made by `rate` from the margin, whether it is right, chance, the subject and the letter."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(n):
        letter = str(rng.choice(list("ABCD"), p=[0.55, 0.25, 0.1, 0.1]))
        margin = margin_of(letter, rng)
        correct = bool(rng.random() < 1 / (1 + np.exp(-margin)))
        shares = np.array([1.0, *np.exp(-margin - rng.random(3))])
        shares /= shares.sum()
        subject = ["history", "physics", "biology"][i % 3]
        stated = float(np.clip(rate(margin, correct, rng, subject, letter), 0, 100))
        noisy = [[float(np.clip(0.4 + 0.2 * margin + 0.1 * rng.normal(), 0, 1))] for _ in study.noisy]
        rows.append(
            {
                "kind": "questions",
                "item_id": str(i),
                "group": str(i),
                "subject": subject,
                "text": f"{subject} {rng.choice(['river', 'mountain', 'paper', 'metal'])}",
                "n_tokens": int(rng.integers(20, 60)),
                "right": letter if correct else "E",
                "finite": True,
                "answer": letter,
                "correct": correct,
                "mass": 0.9,
                "p": float(shares[0]),
                "entropy": float(-(shares * np.log(shares)).sum()),
                "margin": margin,
                "norms": [float(each) for each in rng.normal(10, 1, study.loaded.info.n_layers)],
                "kept": noisy,
                "ratings": [[stated + rng.normal(), stated + rng.normal()] for _ in range(2)],
                "rating_mass": 0.9,
            }
        )
    return rows


def planted(study, rate, margin_of=any_margin):
    results = found_of(study, [planted_rows(study, rate, 200, margin_of)])
    return results, {each["criterion"]: each["finding"] for each in results["verdict"]}


MARGIN = "margin between the two best options"
WORDS = "beyond words, letter and length"


class TestPlanted:
    def test_confidence_that_is_the_margin_is_found_beyond_words(self, study):
        results, verdict = planted(study, lambda margin, correct, rng, subject, letter: 30 + 15 * margin)
        partial = cells_of(results, "Stated confidence against")[MARGIN][1]
        assert partial["value"] > 0.9 and partial["ci95"][0] > 0.8
        norm = cells_of(results, "Stated confidence against")["norm at layer 1"][1]
        assert norm["ci95"][0] < 0 < norm["ci95"][1]
        words, _, gain = cells_of(results, "Stated confidence predicted")["questions held out"]
        assert words["value"] < 0.2 and gain["ci95"][0] > 0.4
        assert verdict[f"readable: {MARGIN}"] == verdict[WORDS] == "supported"
        assert verdict["goes with being right"] == "supported" and verdict["meta"] == "not tested"

    def test_confidence_from_nowhere_is_not(self, study):
        results, verdict = planted(study, lambda margin, correct, rng, subject, letter: 50 + 10 * rng.normal())
        assert verdict[f"readable: {MARGIN}"] == verdict[WORDS] == "not supported"
        assert verdict["beyond the answer's own probability"] == "not supported"
        assert abs(cells_of(results, "Taken as a probability")["stated confidence"][3]["value"] - 0.5) < 0.12

    def test_confidence_that_words_give_gains_nothing_over_them(self, study):
        level = {"history": 20, "physics": 50, "biology": 80}
        results, verdict = planted(
            study, lambda margin, correct, rng, subject, letter: level[subject] + 3 * rng.normal()
        )
        words, _, gain = cells_of(results, "Stated confidence predicted")["questions held out"]
        assert words["value"] > 0.8 and gain["value"] < 0.05 and verdict[WORDS] == "not supported"

    def test_confidence_that_follows_the_answers_letter_is_no_readout_of_what_goes_with_the_letter(self, study):
        """Rating and margin are both a matter of the letter, which one word among many says."""
        level = {"A": 60, "B": 50, "C": 45, "D": 40}
        margin = {"A": 2.0, "B": 1.2, "C": 0.8, "D": 0.4}
        results, verdict = planted(
            study,
            lambda _, correct, rng, subject, letter: level[letter] + 4 * rng.normal(),
            lambda letter, rng: margin[letter] + 0.15 * abs(rng.normal()),
        )
        raw, given = cells_of(results, "Stated confidence against")[MARGIN]
        assert raw["ci95"][0] > 0.4 and abs(given["value"]) < 0.2
        words, _, gain = cells_of(results, "Stated confidence predicted")["questions held out"]
        assert words["value"] > 0.5 and gain["value"] < 0.05
        assert verdict[f"readable: {MARGIN}"] == verdict[WORDS] == "not supported"

    def test_criteria_are_corrected_for_how_many_there_are(self, study):
        results, _ = planted(study, lambda margin, correct, rng, subject, letter: 50 + 10 * rng.normal())
        reasons = [each["reason"] for each in results["verdict"] if each["criterion"] != "meta"]
        assert len(reasons) == 6 and all("corrected for 6" in each for each in reasons)

    def test_confidence_that_only_follows_being_right_is_no_readout_of_the_margin(self, study):
        """Margin goes with being right; given that, nothing is left of it in such a rating."""
        results, verdict = planted(
            study, lambda margin, correct, rng, subject, letter: 60 * correct + 20 + 5 * rng.normal()
        )
        raw, _ = cells_of(results, "Stated confidence against")[MARGIN]
        assert raw["ci95"][0] > 0 and verdict[f"readable: {MARGIN}"] == "not supported"
        assert verdict["beyond the answer's own probability"] == "supported"

    def test_a_rating_that_goes_by_the_digit_is_warned_of(self, study):
        rng = np.random.default_rng(0)
        results, _ = planted(study, lambda margin, correct, rng, subject, letter: 50)
        assert not any("go by the digit" in each for each in results["warnings"])
        rows = [
            row | {"ratings": [[50 + k, 50 - k], [50 + k, 50 - k]]}
            for row, k in zip(planted_rows(study), rng.normal(size=60) * 10, strict=True)
        ]
        assert any("go by the digit" in each for each in found_of(study, [rows])["warnings"])

    def test_too_few_questions_or_none_with_numbers_say_so(self, study):
        rows = planted_rows(study)
        results = found_of(study, [rows[:5]])
        assert "5 questions gave numbers" in results["sentences"][0] and not results["figures"]
        broken = [rows[0] | {"finite": False}, *rows[1:]]
        assert found_of(study, [broken])["counts"] == {"n_questions": 60, "n_not_finite": 1}
