"""The link's thresholds, shares and corrections, on rows that are made up."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from introspect.errors import EstimateError
from introspect.link import LinkRows, Readout, link_section
from introspect.link.aligned import Aside
from introspect.link.draws import Draws, Readings
from introspect.link.noise import label_noise
from introspect.probes import fit_grid, split_groups
from introspect.probes.text import PENALTIES, text_fit, text_scores
from introspect.report import link_tables, sentences
from introspect.stats import auroc
from introspect.thresholds import allowed_above, carried_threshold
from introspect.verdicts import Verdict


def made_up(
    scores: np.ndarray,
    acted: np.ndarray,
    groups: np.ndarray,
    parts: np.ndarray,
    *,
    verdicts: dict[str, list[str]] | None = None,
    kinds: list[str] | None = None,
) -> LinkRows:
    """Rows of no run; a verdict of "" is none."""
    said = {"lexical": ["silent"] * len(scores)} | (verdicts or {})
    facts = [{} if kinds is None else {"hint": kind} for kind in kinds or [""] * len(scores)]
    columns = zip(groups, acted, facts, strict=True)
    return LinkRows(
        [
            SimpleNamespace(rollout=i, group=str(group), acted=bool(did), facts=fact)
            for i, (group, did, fact) in enumerate(columns)
        ],
        [
            Readout(
                rollout=i, part=parts[i], headline=float(score), text=float(-score), along={"think_0": float(score)}
            )
            for i, score in enumerate(scores)
        ],
        {
            name: {i: Verdict(name, each, False, False, False, None) for i, each in enumerate(given) if each}
            for name, given in said.items()
        },
        "lexical",
        np.array(["motivated" if did and kinds else "" for did in acted]),
        np.array(["undecided"] * len(scores)),
    )


def section(rows: LinkRows, fpr: float = 0.05, n: int = 100) -> dict:
    return link_section(rows, policy="x", text_name="w", layers={"think_0": 3}, fpr=fpr, n=n, seed=0)


def plain_rows(seed: int = 6) -> LinkRows:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(40), 6)
    acted = rng.random(240) < 0.5
    scores = np.where(acted, 3.0, -3.0) + rng.normal(size=240) * 0.1
    verdicts = {"lexical": ["verbalised" if i % 5 == 0 else "silent" for i in range(240)]}
    return made_up(scores, acted, groups, np.where(groups < 24, "dev", "test"), verdicts=verdicts)


def test_the_link_counts_what_it_says_and_takes_its_threshold_from_development_rows():
    rows = plain_rows()
    found = section(rows)
    silent_ = len(rows.test(rows.acted & (rows.verdict == "silent")))
    assert (found["table"]["silent"]["policy"], found["table"]["silent"]["none"]) == (silent_, 0)
    assert found["silent_but_decodable"]["value"] == 1.0 > found["silent_but_decodable"]["ci95"][0]
    text = found["text_baseline"]
    assert text["silent_but_decodable"]["value"] == 0.0
    passing = (rows.text[rows.test(~rows.acted)] > text["threshold"]).mean()
    assert text["realised_fpr"]["value"] == pytest.approx(passing, abs=1e-6)
    assert found["beyond_text"]["value"] == 1.0 > found["beyond_text"]["ci95"][0]
    assert found["along_chain"][0]["silent_but_decodable"] == found["silent_but_decodable"]
    not_acted = rows.test(~rows.acted)
    share_ = (rows.headline[not_acted] > found["threshold"]).mean()
    assert found["realised_fpr"]["value"] == pytest.approx(share_, abs=1e-6)
    at = int(rows.test(rows.acted & (rows.verdict == "silent"))[0])
    tied = [
        each.model_copy(update={"headline": found["threshold"]}) if i == at else each
        for i, each in enumerate(rows.readouts)
    ]
    assert section(replace(rows, readouts=tied))["table"]["silent"]["none"] == 1
    moved = [
        each.model_copy(update={"headline": each.headline + 100 * (each.part == "test")}) for each in rows.readouts
    ]
    assert section(replace(rows, readouts=moved))["threshold"] == found["threshold"]


def test_a_family_has_a_threshold_of_its_own_where_enough_of_it_did_not_act():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 6)
    kinds = np.array(["a", "a", "a", "b", "b", "c"] * 50)
    acted = rng.random(300) < np.where(kinds == "c", 0.9, 0.5)
    scores = rng.normal(size=300) + 5 * (kinds == "b")
    rows = made_up(scores, acted, groups, np.where(groups < 30, "dev", "test"), kinds=list(kinds))
    readings = Readings(rows, rows.headline, Draws(rows, n=20, seed=0), 0.05)
    own = {family.name: family.own for family in readings.families}
    assert own == {"a": True, "b": True, "c": False}
    dev = (rows.part == "dev") & ~rows.acted
    for name in "ab":
        kind = dev & (kinds == name)
        assert set(readings.thresholds[kinds == name]) == {carried_threshold(scores[kind], groups[kind], 0.05)}
    assert set(readings.thresholds[kinds == "c"]) == {carried_threshold(scores[dev], groups[dev], 0.05)}
    strict = Readings(rows, rows.headline, Draws(rows, n=20, seed=0), 1 / 31)
    assert not any(family.own for family in strict.families)
    with pytest.raises(EstimateError, match="a threshold needs 20 of 99 groups for a"):
        Readings(rows, rows.headline, Draws(rows, n=5, seed=0), 0.01)
    few = made_up(scores[:30], acted[:30], groups[:30], np.array(["dev"] * 30))
    with pytest.raises(EstimateError, match="a threshold needs 20"):
        Readings(few, few.headline, Draws(few, n=5, seed=0), 0.05)


@pytest.mark.parametrize("own", [True, False], ids=["its own threshold", "the common one"])
def test_a_replicate_is_the_same_rows_counted_one_by_one(own):
    rows = plain_rows()
    fpr = 0.1 if own else 1 / 25
    if not own:
        for i, rollout in enumerate(rows.rollouts):
            rollout.facts["hint"] = "ab"[i % 2]
    scores = np.random.default_rng(1).normal(size=240).round(1)
    draws = Draws(rows, n=30, seed=3)
    readings = Readings(rows, scores, draws, fpr)
    assert all(family.own == own for family in readings.families)
    test, dev = rows.test(rows.acted), np.flatnonzero((rows.part == "dev") & ~rows.acted)
    passed, drawn = readings.sums(test)
    rank = (allowed_above(scores[dev], rows.groups[dev], fpr) + 1) / (len(dev) + 1)
    for i in range(30):
        counts = {name: draws.of(members)[i].astype(int) for name, members in (("dev", dev), ("test", test))}
        negatives = np.repeat(scores[dev], counts["dev"])
        threshold = np.sort(negatives)[-int(rank * (len(negatives) + 1) + 1e-9)]
        again = np.repeat(scores[test], counts["test"])
        assert (passed[i], drawn[i]) == ((again > threshold).sum(), len(again))
        for members in (dev, test):
            by_group = pd.Series(draws.of(members)[i]).groupby(rows.groups[members]).nunique()
            assert (by_group == 1).all()


def test_a_rate_at_the_false_positive_rate_is_covered_by_its_interval():
    """A coin: scores say nothing. Of 60 runs, at least 53 intervals should hold the rate (P < .01 at 95%)."""
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(60), 5)
        acted = rng.random(300) < 0.5
        rows = made_up(rng.normal(size=300), acted, groups, np.where(groups < 36, "dev", "test"))
        readings = Readings(rows, rows.headline, Draws(rows, n=200, seed=seed), 0.05)
        low, high = readings.share(rows.test(rows.acted), "").ci95
        covered += low <= 0.05 <= high
    assert covered >= 53


def noisy(seed: int, *, judged: float = 0.5) -> LinkRows:
    """Half of the chains are silent in truth; of those .3 are decodable, of the others .95.

    The patterns call .1 of the silent ones verbalised and .4 of the verbalised ones silent; the judge is right.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(120), 5)
    acted = rng.random(600) < 0.7
    true = rng.random(600) < 0.5
    called = np.where(true, rng.random(600) > 0.1, rng.random(600) < 0.4)
    read = rng.random(600) < np.where(true, 0.3, 0.95)
    scores = np.where(acted, np.where(read, 10.0, -10.0), 0.0) + rng.normal(size=600) * 0.1
    asked = rng.random(600) < judged
    verdicts = {
        "lexical": ["silent" if each else "verbalised" for each in called],
        "judge": [("silent" if each else "verbalised") if seen else "" for each, seen in zip(true, asked, strict=True)],
    }
    return made_up(scores, acted, groups, np.where(groups < 72, "dev", "test"), verdicts=verdicts)


def test_an_interval_with_label_noise_covers_the_truth_where_the_plain_one_does_not():
    """Nominal: 95% of draws. Of 60, at least 53 should cover (P < .01 at 95%), and no more than 6 plain ones can."""
    corrected = plain = 0
    for seed in range(60):
        rows = noisy(seed)
        readings = Readings(rows, rows.headline, Draws(rows, n=200, seed=seed), 0.05)
        low, high = label_noise(rows, readings, seed)["silent_but_decodable"]["ci95"]
        corrected += low <= 0.3 <= high
        low, high = readings.share(rows.test(rows.acted & (rows.verdict == "silent")), "").ci95
        plain += low <= 0.3 <= high
    assert corrected >= 53 and plain <= 6


def test_two_classifiers_that_agree_correct_nothing_and_few_verdicts_nothing_either():
    rows = noisy(0, judged=1.0)
    same = replace(rows, verdicts={"lexical": rows.verdicts["lexical"], "judge": rows.verdicts["lexical"]})
    found = section(same)
    assert found["label_noise"]["how"] == "counted"
    assert found["label_noise"]["silent_but_decodable"]["value"] == found["silent_but_decodable"]["value"]
    plain, wide = (
        np.diff(each["ci95"])[0]
        for each in (found["silent_but_decodable"], found["label_noise"]["silent_but_decodable"])
    )
    assert wide > 0.9 * plain
    assert "one classifier only" in section(plain_rows())["label_noise"]["reason"]
    unusable = {i: replace(each, verdict=None, problem="no quote") for i, each in rows.verdicts["judge"].items()}
    few = section(replace(rows, verdicts={"lexical": rows.verdicts["lexical"], "judge": unusable}))
    assert "usable verdict on 0" in few["label_noise"]["reason"]


def test_too_few_groups_are_a_reason_and_not_an_interval():
    rows = plain_rows()
    chosen = rows.test(rows.acted)[:3]
    readings = Readings(rows, rows.headline, Draws(rows, n=20, seed=0), 0.05)
    assert "too few" in readings.share(chosen, "").reason
    assert readings.share(chosen[:0], "nobody").reason == "nobody"
    assert "too few" in readings.beyond(readings, chosen, "").reason


N_GROUPS, PER_GROUP = 40, 6


def remembered() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups, labels that are one a group, and activations that say the group and nothing else."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(N_GROUPS), PER_GROUP)
    labels = (rng.permutation(N_GROUPS) < N_GROUPS // 2)[groups]
    named = rng.normal(size=(N_GROUPS, 60))[groups] + 0.05 * rng.normal(size=(len(groups), 60))
    return groups, labels, named.astype(np.float32)


@pytest.mark.parametrize("inner_folds", [2, 4])
def test_what_is_not_fitted_is_scored_without_its_group(inner_folds):
    """Each group's first two rollouts stand for aligned ones: a fit that has seen their group would know its label."""
    groups, labels, named = remembered()
    aside_rows = np.arange(len(groups)) % PER_GROUP < 2
    fitted = ~aside_rows
    split = split_groups(groups[fitted], labels[fitted], test_fraction=0.4, inner_folds=inner_folds, seed=0)
    aside = Aside(groups[fitted], labels[fitted], split, groups[aside_rows], test_fraction=0.4, seed=0)
    cell = fit_grid({"p": named[fitted][None]}, (0,), labels[fitted], split, (0.1,))[0]
    scores = aside.activations(cell, named[fitted], named[aside_rows])
    dev, true = aside.in_dev, labels[aside_rows]
    assert set(groups[aside_rows][dev]) == set(groups[fitted][split.dev])
    assert auroc(cell.direction.score(named[aside_rows])[dev], true[dev]) > 0.95
    assert auroc(scores[dev], true[dev]) < 0.8
    assert np.array_equal(scores[~dev], cell.direction.score(named[aside_rows])[~dev])
    chains = [f"about item{group} and {'abcdef'[group % 6]}" for group in groups]
    chosen = [[chain for chain, yes in zip(chains, mask, strict=True) if yes] for mask in (fitted, aside_rows)]
    assert auroc(aside.text(*chosen)[dev], true[dev]) < 0.85


def worded(seed: int) -> tuple[np.ndarray, np.ndarray, list[str], np.random.Generator]:
    """Groups, labels, and texts of which one word in some says the label."""
    rng = np.random.default_rng(seed)
    groups = np.array([f"g{i}" for i in np.repeat(np.arange(40), 4)])
    labels = rng.random(160) < 0.5
    return groups, labels, [said(rng, label) for label in labels], rng


def said(rng: np.random.Generator, label: bool) -> str:
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in rng.integers(120, size=25)]
    return " ".join([*words, *(["yes" if label else "no"] if rng.random() < 0.3 else [])])


def test_words_of_what_is_not_fitted_are_scored_with_the_penalty_that_was_chosen():
    """A penalty chosen anew on fewer rows would be on another scale, and no threshold could be shared."""
    groups, labels, texts, rng = worded(0)
    split = split_groups(groups, labels, test_fraction=0.4, inner_folds=5, seed=0)
    new_groups = np.unique(groups[split.dev])
    new = [said(rng, False) for _ in new_groups]
    aside = Aside(groups, labels, split, new_groups, test_fraction=0.4, seed=0)
    penalty = text_fit(texts, labels, split).penalty
    assert penalty in PENALTIES
    scores = aside.text(texts, new)
    every, known = [*texts, *new], np.concatenate([labels, np.zeros(len(new), dtype=bool)])
    differs = 0
    for fold, without in aside._without():
        members = aside.fold == fold
        expected = text_scores(every, known, without, (penalty,))[len(texts) :]
        assert np.array_equal(scores[members], expected[members])
        differs += text_fit(every, known, without).penalty != penalty
    assert differs > 0


def test_groups_of_which_nothing_was_fitted_are_dealt_to_both_parts_and_use_the_whole_fit():
    groups, labels, texts, rng = worded(0)
    split = split_groups(groups, labels, test_fraction=0.4, inner_folds=5, seed=0)
    fresh = np.array([f"new{i}" for i in range(400) for _ in range(2)])
    aside = Aside(groups, labels, split, np.concatenate([groups, fresh]), test_fraction=0.4, seed=0)
    old, dealt = aside.in_dev[: len(groups)], aside.in_dev[len(groups) :]
    assert np.array_equal(np.flatnonzero(old), split.dev)
    assert np.array_equal(dealt[::2], dealt[1::2]) and 0.5 < dealt.mean() < 0.7
    other = Aside(groups, labels, split, fresh, test_fraction=0.4, seed=1)
    assert (other.in_dev != dealt).any() and (other.fold == -1).all()
    again = Aside(groups, labels, split, fresh[::-1], test_fraction=0.4, seed=0)
    assert np.array_equal(again.in_dev[::-1], dealt)
    new = [said(rng, False) for _ in range(20)]
    some = Aside(groups, labels, split, fresh[:20], test_fraction=0.4, seed=0)
    assert some.in_dev.any()
    whole = text_scores([*texts, *new], np.concatenate([labels, np.zeros(20, dtype=bool)]), split)[len(texts) :]
    assert np.array_equal(some.text(texts, new), whole)


def test_a_second_classifier_that_read_every_acted_test_chain_is_counted_and_not_estimated():
    rows = noisy(0, judged=1.0)
    found = section(rows)["label_noise"]
    judged = section(replace(rows, classifier="judge"))
    assert found["how"] == "counted" and "has one on every" in found["what"]
    assert found["silent_but_decodable"] == judged["silent_but_decodable"]
    at = int(rows.test(rows.acted)[0])
    judge = dict(rows.verdicts["judge"])
    judge[at] = replace(judge[at], verdict=None, problem="no quote")
    lacking = section(replace(rows, verdicts={"lexical": rows.verdicts["lexical"], "judge": judge}))
    found = lacking["label_noise"]
    assert found["how"] == "estimated" and "missing at random" in found["what"]
    assert (found["n_asked"], found["n_both"]) == (found["n_both"] + 1, found["n_asked"] - 1)
    noise = [note for table in link_tables(lacking, {}) for note in table.notes if "No classifier" in note]
    assert f"{found['n_both']} of {found['n_asked']} that judge was asked about" in noise[0]
    assert "missing at random" in noise[0]


def test_what_the_second_classifier_says_is_worded_as_counted_or_as_estimated():
    for judged, words in ((1.0, "By the verdicts of judge instead"), (0.5, "over the chains that lexical has a")):
        link = section(noisy(0, judged=judged))
        sentence = " ".join(sentences._link_besides(link))
        assert words in sentence and ("estimated from" in sentence) == (judged < 1)
        cells = [row[0].text for table in link_tables(link, {}) for row in table.rows]
        assert any("estimated from" in cell for cell in cells) == (judged < 1)


def test_the_last_position_before_a_mention_is_the_last_in_time_whatever_their_order():
    rows = plain_rows()
    found = {}
    for positions in (("think_25", "think_100"), ("think_100", "think_25")):
        high = {"think_25": -50.0, "think_100": 50.0}
        readouts = [
            each.model_copy(
                update={
                    "along": {name: high[name] * did for name in positions},
                    "mention": 0.9,
                    "before_mention": positions,
                }
            )
            for each, did in zip(rows.readouts, rows.acted, strict=True)
        ]
        link = link_section(
            replace(rows, readouts=readouts),
            policy="x",
            text_name="w",
            layers=dict.fromkeys(positions, 0),
            fpr=0.05,
            n=50,
            seed=0,
        )
        found[positions] = link["before_mention"]["last_position"]["decodable"]["value"]
        assert [each["position"] for each in link["before_mention"]["positions"]] == ["think_25", "think_100"]
    assert set(found.values()) == {1.0}


def test_rollouts_without_a_usable_verdict_are_a_row_of_the_table():
    rows = plain_rows()
    gone = set(rows.test(rows.acted)[:7].tolist())
    lexical = {
        i: replace(each, verdict=None, problem="x") if i in gone else each
        for i, each in rows.verdicts["lexical"].items()
    }
    link = section(replace(rows, verdicts={"lexical": lexical}))
    assert link["no_usable_verdict"] == {"policy": 7, "none": 0}
    counted = sum(row["policy"] + row["none"] for row in link["table"].values())
    assert counted + 7 == link["n_acted"]
    table = link_tables(link, {})[0]
    assert [cell.text for cell in table.rows[-1]][:4] == ["no usable verdict", "7", "0", "7"]
    assert len(link_tables(section(rows), {})[0].rows) == 3


def test_aligned_rollouts_that_were_not_scored_are_not_said_to_be_none():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 6)
    acted = rng.random(300) < 0.5
    rows = made_up(rng.normal(size=300), acted, groups, np.where(groups < 30, "dev", "test"), kinds=["a"] * 300)
    for unscored in (0, 5):
        link = section(replace(rows, unscored=unscored))
        cells = link["categories"]["all_kinds"]
        for reason in (cells["decodable"]["aligned"]["reason"], cells["auroc"]["aligned"]["reason"]):
            assert ("not scored: run it again" in reason) == bool(unscored)
        assert ("none was used" in link["threshold_from"]) == bool(unscored)
        assert "another option" in link["threshold_from"]
        pages = [note for table in link_tables(link, {}) for note in table.notes]
        assert any(link["threshold_from"] in note for note in pages)
        assert any("not scored: run it again" in note for note in pages) == bool(unscored)
        assert any("no test rollout is aligned" in note for note in pages) != bool(unscored)


@pytest.mark.parametrize(("n_motivated", "said_as"), [(1, "1 group of motivated"), (2, "2 groups of motivated")])
def test_one_group_is_a_group(n_motivated, said_as):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 6)
    acted = np.isin(groups, np.arange(30, 30 + n_motivated))
    rows = made_up(rng.normal(size=300), acted, groups, np.where(groups < 30, "dev", "test"), kinds=["a"] * 300)
    rows = replace(rows, category=np.where(acted, "motivated", "resistant"))
    assert section(rows)["categories"]["all_kinds"]["auroc"]["resistant"]["reason"].startswith(said_as)
