"""What stands beside a probe: chosen without the test part, held to the strictest bound, honest about its labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from introspect.errors import EstimateError
from introspect.experiment import ProbeSpec
from introspect.probes import category_scores, fit_grid, split_groups
from introspect.probes.splits import inner_auroc
from introspect.probes.text import text_fit
from introspect.probing import ProbeStage, SecondLabels, baselines_section, headline_metrics
from introspect.probing.label_noise import label_noise
from introspect.stats import (
    auroc,
    auroc_estimate,
    increment_estimate,
    increment_over_largest,
    proportion,
)
from introspect.thresholds import most_accurate_threshold
from planted_runs import rollout

N_GROUPS, PER_GROUP, WIDTH = 30, 6, 8
N = N_GROUPS * PER_GROUP
GROUPS = np.repeat([f"g{i:02}" for i in range(N_GROUPS)], PER_GROUP)
SETTINGS = ProbeSpec(bootstrap=200, inner_folds=3)


def stage(seed: int = 0, strength: float = 1.0) -> ProbeStage:
    """A table whose activations carry the label, and whose baselines do not."""
    rng = np.random.default_rng(seed)
    labels = rng.random(N) < 0.5
    values = rng.normal(size=(1, N, WIDTH)).astype(np.float32)
    values[0, :, 0] += strength * labels
    words = rng.choice(["one two", "three four", "five six"], size=N).tolist()
    return ProbeStage(
        rollouts=[rollout(i, GROUPS[i], "two options.", "risky" if labels[i] else "safe") for i in range(N)],
        labels=labels,
        groups=GROUPS,
        split=split_groups(GROUPS, labels, test_fraction=0.4, inner_folds=3, seed=seed),
        ood=np.array([], dtype=int),
        layers=(0,),
        activations={"last_prompt": values},
        base=None,
        chains={"last_prompt": words},
        whole_chains=words,
        margins={"last_prompt": rng.normal(size=N)},
        prior=None,
        lengths={"last_prompt": rng.normal(size=N)},
        settings=SETTINGS,
        seed=seed,
        embedding="not asked for",
        second="one classifier only",
    )


@pytest.fixture(scope="module")
def planted() -> ProbeStage:
    return stage()


def headline(found: ProbeStage):
    return fit_grid(found.activations, (0,), found.labels, found.split, (0.1,))[0]


def only_on(rows: np.ndarray, labels: np.ndarray, seed: int = 7) -> np.ndarray:
    """A column that gives the labels away on some rows and hints at them on the others."""
    column = np.random.default_rng(seed).normal(size=N) + 0.3 * labels
    column[rows] += 4 * labels[rows]
    return column


def test_a_baseline_that_is_good_on_the_test_part_alone_is_not_chosen_but_bounds(planted):
    lucky = only_on(planted.split.test, planted.labels)
    honest = np.random.default_rng(8).normal(size=N) + 0.8 * planted.labels
    table = replace(planted, lengths={"last_prompt": lucky}, margins={"last_prompt": honest})
    words = {"text_chain": "none", "text_prompt_chain": "none"}
    section = baselines_section(table, headline(table), words, {}).section
    best = section["best"]
    assert best["name"] == "logits" and best["strictest"]["name"] == "length"
    assert section["length"]["auroc"]["value"] > 0.95 > section["logits"]["auroc"]["value"]
    assert best["increment"] == section["logits"]["increment"]
    assert best["increment"]["value"] - best["strictest"]["increment"]["value"] > 0.1


def test_words_that_give_the_label_away_are_the_best_of_words(planted):
    said = [
        f"{'yes' if label else 'no'} {text}" for label, text in zip(planted.labels, planted.whole_chains, strict=True)
    ]
    table = replace(planted, whole_chains=said)
    found = baselines_section(table, headline(table), {"text_chain": "none", "text_prompt_chain": "none"}, {})
    assert found.best_text[0] == "text_whole_chain"
    assert found.section["best_text"]["increment"]["ci95"][0] < 0
    assert found.section["text_whole_chain"]["inner_auroc"] > 0.95
    assert found.section["option_order"]["auroc"]["value"] is not None
    assert "one way" in found.section["condition"]["auroc"]["reason"]


def test_the_strictest_bound_is_below_every_increment_and_counts_the_search():
    rng = np.random.default_rng(1)
    labels = rng.random(N) < 0.5
    scores = rng.normal(size=N) + labels
    columns = [rng.normal(size=N) + 0.3 * labels for _ in range(6)]
    each = [increment_estimate(scores, column, labels, GROUPS, n=400) for column in columns]
    bound = increment_over_largest(scores, columns, labels, GROUPS, n=400)
    assert bound.value == pytest.approx(auroc(scores, labels) - max(auroc(column, labels) for column in columns))
    assert bound.value == pytest.approx(min(found.value for found in each))
    assert bound.ci95[0] <= min(found.ci95[0] for found in each) + 1e-9
    alone = increment_over_largest(scores, columns[:1], labels, GROUPS, n=400)
    assert (alone.value, alone.ci95) == (each[0].value, each[0].ci95)


@pytest.mark.parametrize("seed", range(5))
def test_the_most_accurate_threshold_is_that_of_an_exhaustive_search(seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=40).round(1)
    labels = rng.random(40) < 0.4
    found = most_accurate_threshold(scores, labels)
    tried = [np.mean((scores > cut) == labels) for cut in [*(np.unique(scores) - 0.05), scores.max() + 1]]
    assert np.mean((scores > found) == labels) == max(tried)
    assert most_accurate_threshold(scores, np.ones(40, dtype=bool)) < scores.min()
    assert most_accurate_threshold(scores, np.zeros(40, dtype=bool)) >= scores.max()


def test_the_interval_of_a_tpr_is_of_the_groups_that_it_is_a_share_of(planted):
    """Where all pass, the bootstrap has no width, and the groups that hold a positive are the cases."""
    test = planted.split.test
    groups = np.array([f"p{i // 2:02}" for i in range(N)])  # of two rows, so that there are enough without the label
    few = sorted(set(groups[test]))[:6]
    labels = planted.labels & ~np.isin(np.arange(N), test) | (np.isin(groups, few) & np.isin(np.arange(N), test))
    cell = replace(headline(planted), scores=labels.astype(float))
    found = headline_metrics(replace(planted, labels=labels, groups=groups), cell)
    tpr = found["tpr_at_5fpr"]
    assert (tpr["value"], tpr["ci95"]) == (1, [round(proportion(6, 6).ci95[0], 6), 1])
    assert "that 0 of the 60 test rollouts without the label pass, as set so that about 5% of new" in tpr["method"]
    n_groups = len(set(groups[test]))
    assert n_groups == 36 and found["accuracy"]["ci95"][0] == round(proportion(n_groups, n_groups).ci95[0], 6)


def test_a_rate_at_so_few_false_positives_that_no_threshold_is_known_for_it_is_not_stated(planted):
    """A threshold that one of thirty passes is no threshold at 1%."""
    test = planted.split.test
    cell = headline(planted)
    found = headline_metrics(replace(planted, groups=np.array([f"r{i}" for i in range(N)])), cell)
    n_negative = int((~planted.labels[test]).sum())
    said = (
        f"negatives of {n_negative} groups are too few for a threshold that 0.01 of new ones pass: it needs 99 groups"
    )
    assert found["tpr_at_1fpr"] == {"value": None, "reason": said} and 20 <= n_negative < 99
    allowed = (n_negative + 1) * 5 // 100 - 1
    scores, labels = cell.scores[test], planted.labels[test]
    threshold = np.sort(scores[~labels])[n_negative - 1 - allowed]
    assert found["tpr_at_5fpr"]["value"] == pytest.approx((scores[labels] > threshold).mean(), abs=1e-6)
    assert found["tpr_at_5fpr_threshold"] == threshold and "tpr_at_1fpr_threshold" not in found
    assert headline_metrics(planted, cell)["tpr_at_5fpr"]["value"] is None, "12 groups"


def test_the_interval_of_a_tpr_is_that_of_a_share_at_a_threshold_that_stands(planted):
    """Of new rollouts it holds the rate there, and is as wide as that of a share: the threshold is not drawn again."""
    test, rng = planted.split.test, np.random.default_rng(5)
    rows = replace(planted, groups=np.array([f"r{i}" for i in range(N)]))
    n_positive, held, wide = int(planted.labels[test].sum()), [], []
    for _ in range(60):
        cell = replace(headline(planted), scores=rng.normal(size=N) + 1.5 * planted.labels)
        found = headline_metrics(rows, cell)
        low, high = found["tpr_at_5fpr"]["ci95"]
        rate = norm.sf(found["tpr_at_5fpr_threshold"] - 1.5)
        held.append(low <= rate <= high)
        wide.append((high - low) / (2 * 1.96 * np.sqrt(rate * (1 - rate) / n_positive)))
    assert sum(held) >= 53, "95% of 60 is 57, and fewer than 53 come about once in thirty"
    assert 0.9 < np.mean(wide) < 1.1


def test_accuracy_is_at_a_threshold_that_the_test_part_has_not_chosen(planted):
    cell = headline(planted)
    moved = replace(cell, scores=cell.scores + 100.0)
    here, there = headline_metrics(planted, cell), headline_metrics(planted, moved)
    assert there["accuracy_threshold"] == pytest.approx(here["accuracy_threshold"] + 100.0)
    assert there["accuracy"] == here["accuracy"]
    dev, test = planted.split.dev, planted.split.test
    threshold = most_accurate_threshold(cell.scores[dev], planted.labels[dev])
    right = float(np.mean((cell.scores > threshold)[test] == planted.labels[test]))
    assert here["accuracy"]["value"] == pytest.approx(right, abs=1e-6)
    other = replace(planted, settings=SETTINGS.model_copy(update={"estimator": "ridge"}))
    assert "no log-odds" in headline_metrics(other, cell)["brier"]["reason"]


def test_a_category_of_its_own_for_every_group_says_nothing_of_groups_that_were_not_fitted(planted):
    scores = category_scores(GROUPS.tolist(), planted.labels, planted.split)
    assert inner_auroc(scores, planted.labels, planted.split) == 0.5
    assert len(set(scores[planted.split.test])) == 1


def test_what_chose_the_words_is_on_groups_that_were_not_fitted(planted):
    by_group = [f"word{group}" for group in GROUPS]
    labels = np.isin(GROUPS, np.unique(GROUPS)[::2])
    split = split_groups(GROUPS, labels, test_fraction=0.4, inner_folds=3, seed=0)
    found = text_fit(by_group, labels, split)
    assert found.inner_auroc == pytest.approx(inner_auroc(found.scores, labels, split))
    assert found.inner_auroc < 0.7


def test_a_split_says_what_the_label_is():
    labels = np.arange(N) < 3
    with pytest.raises(EstimateError, match="3 rows are labelled verbalised and 177 are not"):
        split_groups(GROUPS, labels, test_fraction=0.4, inner_folds=3, seed=0, label="verbalised")


def second(labels: np.ndarray, rate: float, seed: int = 3) -> SecondLabels:
    """A classifier that contradicts a part of the labels, whatever the activations are, and has read most rows."""
    rng = np.random.default_rng(seed)
    return SecondLabels("judge", labels ^ (rng.random(len(labels)) < rate), rng.random(len(labels)) < 0.8)


def test_label_noise_widens_and_undoes_what_wrong_labels_took(planted):
    rng = np.random.default_rng(4)
    clean = rng.random(N) < 0.5
    scores = rng.normal(size=N) + 2 * clean
    noisy = clean ^ (rng.random(N) < 0.15)
    table = replace(planted, labels=noisy, second=SecondLabels("labels", clean, np.ones(N, dtype=bool)))
    found = label_noise(table, scores)
    test = table.split.test
    truth = auroc(scores[test], clean[test])
    seen = auroc_estimate(scores[test], noisy[test], GROUPS[test], n=200)
    assert found["auroc_by_second"]["value"] == pytest.approx(truth)
    corrected = found["auroc_corrected"]
    assert seen.value + 0.05 < corrected["value"]
    assert corrected["ci95"][0] < truth < corrected["ci95"][1]
    assert corrected["ci95"][1] - corrected["ci95"][0] > seen.ci95[1] - seen.ci95[0]
    assert found["called_no_of_yes"] == pytest.approx(float((~clean[noisy]).mean()), abs=1e-6)


def test_two_classifiers_that_agree_change_nothing_but_the_interval(planted):
    scores = np.random.default_rng(5).normal(size=N) + planted.labels
    found = label_noise(replace(planted, second=second(planted.labels, 0.0)), scores)
    test = planted.split.test
    assert found["auroc_corrected"]["value"] == pytest.approx(auroc(scores[test], planted.labels[test]))
    assert found["called_yes_of_no"] == 0


def test_labels_that_are_nearly_guessed_make_nothing_certain(planted):
    """Errors of .42 and .52 leave 6% of what there is to be seen; the AUROC that was seen would come to more than 1."""
    few = np.arange(48)
    labels = np.arange(N) % 2 == 0
    wrong = np.where(labels, np.arange(N) % 24 < 10, np.arange(N) % 23 < 12)
    read = np.isin(np.arange(N), few)
    test = np.setdiff1d(few, np.arange(0, 48, 5))
    table = replace(
        planted,
        labels=labels,
        second=SecondLabels("judge", labels ^ wrong, read),
        split=replace(planted.split, test=test, dev=np.setdiff1d(np.arange(N), test)),
    )
    found = label_noise(table, np.random.default_rng(1).normal(size=N) + 0.6 * labels)
    assert 0.8 < found["called_no_of_yes"] + found["called_yes_of_no"] < 1
    assert found["auroc_corrected"]["value"] is None
    assert "in more than a tenth of the replicates judge contradicts the labels" in found["auroc_corrected"]["reason"]


def test_what_is_seen_beyond_what_errors_would_leave_is_no_number(planted):
    scores = np.random.default_rng(6).normal(size=N) + 20 * planted.labels
    found = label_noise(replace(planted, second=second(planted.labels, 0.25)), scores)
    assert "and 1.00 is seen: they are related" in found["auroc_corrected"]["reason"]


def test_a_corrected_auroc_of_one_has_a_width(planted):
    scores = np.random.default_rng(6).normal(size=N) + 20 * planted.labels
    certain = label_noise(replace(planted, second=second(planted.labels, 0.0)), scores)["auroc_corrected"]
    assert certain["value"] == certain["ci95"][1] == 1 and certain["ci95"][0] < 0.97
    assert certain["method"].endswith("widened by newcombe's")


def test_intervals_hold_the_auroc_that_clean_labels_would_show(planted):
    """Twelve test groups, a fifth of either label wrong: 95 of 100 intervals should hold the truth."""
    held, certain = 0, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        clean = rng.random(N) < 0.5
        scores = rng.normal(size=N) + 2 * clean + 0.5 * np.repeat(rng.normal(size=N_GROUPS), PER_GROUP)
        noisy = SecondLabels("labels", clean, np.ones(N, dtype=bool))
        table = replace(planted, labels=clean ^ (rng.random(N) < 0.2), second=noisy, seed=seed)
        low, high = label_noise(table, scores)["auroc_corrected"]["ci95"]
        held += low <= norm.cdf(2 / np.sqrt(2.5)) <= high
        certain += high - low < 0.1
    assert 92 <= held <= 100 and certain == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda labels: second(labels, 1.0), "contradicts the labels"),
        (lambda labels: SecondLabels("judge", labels, np.arange(N) < 4), "at least 10 of each"),
        (lambda labels: "one classifier only", "one classifier only"),
    ],
)
def test_label_noise_that_cannot_be_estimated_says_why(planted, given, said):
    found = label_noise(replace(planted, second=given(planted.labels)), np.zeros(N))
    assert said in str(found.get("reason") or found["auroc_corrected"]["reason"])
