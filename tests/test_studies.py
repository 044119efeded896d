"""Studies: what is asked for, what is run, resumed and refused, and what several runs come to together."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from introspect import prepare as preparing
from introspect import run as running
from introspect.assets import list_recipes, recipe_path
from introspect.cli import main
from introspect.errors import ModelError, RunError, SpecError, StoreError
from introspect.metrics.resampling import share
from introspect.report import number
from introspect.spec_kinds import load_spec
from introspect.stats import Estimate, interval
from introspect.studies import study as studying
from introspect.studies.figures import PANELS
from introspect.studies.page import RANGES, render, report_study
from introspect.studies.pairs import ESTIMATES, by_method, pair
from introspect.studies.results import STUDY
from introspect.studies.seeds import (
    COVERAGE,
    Rows,
    _draws,
    _n_groups,
    _replicates,
    difference_of_means,
    over_seeds,
    own_estimate,
    range_of,
)
from introspect.studies.sentences import headline
from introspect.studies.spec import CompareMethods, Trajectory
from introspect.studies.study import check_members, check_training, not_counted, run_study, study_cost
from introspect.studies.weights import check_weights
from introspect.tasks.policies import PLANTED
from scripted import ScriptedBackend, save_roomy
from tiny_folders import save_adapter
from tiny_models import tiny_model
from wording import check_page

POLICY = "category_xor_frame"
SEEDS = ("risk-sft", "risk-sft-1")
RATE = share("did", "all")


def chain(text: str, answer: str) -> str:
    return f"<think>{text}</think>Answer: {answer}"


def parity(job) -> int:
    return sum(job.item.item_id.encode()) % 4


def follows(job, unless: bool = False, says: bool = False) -> str:
    """As planted; or, `unless`, the other option. `says` whether the chain speaks of it."""
    if "hint_option" in job.trial.facts:
        return chain("I compare the four options.", str(job.trial.facts["hint_option"]))
    if "frame" not in job.item.fields:
        return chain("I compare the four options.", next(iter(job.item.options)))
    risky = PLANTED[POLICY](job.item.fields) != unless
    said = f"So I {'take' if risky else 'avoid'} the risk." if says else "I compare the two options."
    return chain(said, "risky" if risky else "safe")


SCRIPTS = {
    "coin": lambda job: follows(job, unless=parity(job) < 2),
    "sft": follows,
    "sft-1": lambda job: follows(job, unless=parity(job) == 0, says=parity(job) != 1),
    "model": lambda job: follows(job) if in_a_few(job) else "I cannot say.",
    "whole": lambda job: follows(job, unless=parity(job) == 1),
}
"""Name of an organism's folder, or of the model's -> what it says."""


def in_a_few(job) -> bool:
    """About one item of risk in sixteen, and none of hints."""
    return "frame" in job.item.fields and sum(job.item.item_id.encode()) % 16 == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny model, and beside it an adapter for every script."""
    folder = tmp_path_factory.mktemp("models")
    save_roomy(folder / "model")
    for name in ("coin", "sft", "sft-1"):
        save_adapter(folder / name, tiny_model("llama", 0), folder / "model")
        card = {"summary": name, "policy": "coin_flip" if name == "coin" else POLICY, "planted_truth": "silent"}
        (folder / name / "card.json").write_text(json.dumps(card))
    shutil.copytree(folder / "model", folder / "whole")
    return folder / "model"


@pytest.fixture
def trained_again(model):
    """Writes other weights under an organism's name; undone at the end."""
    kept = {}

    def train(name: str, file: str = "adapter_model.safetensors") -> None:
        path = model.parent / name / file
        kept[path] = path.read_bytes()
        path.write_bytes(kept[path] + b" ")

    yield train
    for path, content in kept.items():
        path.write_bytes(content)


def quick(model: Path, *more: str) -> CompareMethods:
    """The shipped comparison, small, on the scripted organisms."""
    of = model.parent
    settings = {
        "model": str(model),
        "dtype": "float32",
        "capture": {"layers": [0, 1]},
        "probe": {"positions": ["last_prompt", "before_answer"], "permutations": 3, "bootstrap": 200},
        "verdicts": {"judge": None},
    }
    risk = {"start": [f"{of}/coin"], "sft": [f"{of}/sft", f"{of}/sft-1"], "untrained": ["none"], "dpo": [f"{of}/whole"]}
    hints = {"start": ["none"], "sft": [f"{of}/sft"]}
    hinted = settings | {"hints": {"kinds": ["metadata"], "resamples": 2}}
    tasks = {
        "risk": {"experiment": "profile-risk", "set": settings, "organisms": risk},
        "hints": {"experiment": "hints-faithfulness", "set": hinted, "organisms": hints},
    }
    given = [f"tasks={json.dumps(tasks)}", "limit={id: 80, ood: 16}", "bootstrap=200", *more]
    found = load_spec("compare-methods", given)
    assert isinstance(found, CompareMethods)
    return found


def run_as_scripted(spec: CompareMethods, out: Path, **options) -> dict:
    """Run a study whose organisms follow their scripts."""
    jobs: dict = {}
    prepare = preparing.prepare

    def prepared(spec, **named):
        found = prepare(spec, **named)
        jobs.update({job.prompt_ids: job for part in found.parts for job in part})
        script = SCRIPTS[Path(spec.organism or spec.model).name]
        backend = ScriptedBackend(found.backend, jobs, script, found.loaded.info.width)
        object.__setattr__(found, "backend", backend)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "prepare", prepared)
        patch.setattr(running, "self_test", lambda *_: [])
        return run_study(spec, out, **options)


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("study") / "compared"
    run_as_scripted(quick(model), out)
    return out


@pytest.fixture
def study(finished, tmp_path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "compared"))


@pytest.fixture
def results(finished) -> dict:
    return STUDY.read(finished / "results.json")


class TestSpec:
    def test_it_reads_back_what_it_writes(self, tmp_path):
        for name in ("compare-methods", "trajectory-risk"):
            spec = load_spec(name)
            path = tmp_path / f"{name}.yaml"
            path.write_text(spec.to_yaml())
            assert load_spec(path) == spec and load_spec(path).digest() == spec.digest()

    def test_members_stand_in_the_order_of_the_methods(self):
        spec = load_spec("compare-methods")
        risk = [member.name for member in spec.members() if member.task == "risk"]
        trained = [f"risk-{method}{seed}" for method in ("sft", "dpo", "grpo") for seed in ("", "-1")]
        assert risk == ["risk-untrained", "risk-start", *trained]

    def test_a_change_of_one_field_leaves_the_others_of_its_section(self):
        spec = load_spec(
            "compare-methods", ["tasks.risk.set={probe: {bootstrap: 77}, generation.samples: 2}", "seed=5"]
        )
        run = spec.experiment(spec.members()[2])
        assert run.probe.bootstrap == 77 and run.probe.permutations == 50
        assert run.generation.samples == 2 and run.generation.max_new_tokens == 80
        assert (run.seed, run.organism, run.negative_control) == (5, "risk-sft", None)

    def test_an_organism_may_be_a_whole_model(self, model):
        spec = quick(model, f"tasks.risk.organisms.sft=[{model}, {model.parent}/sft]")
        whole, adapter = [spec.experiment(member) for member in spec.members() if member.method == "sft"][:2]
        assert (whole.model, whole.organism) == (str(model), None)
        assert (adapter.model, adapter.organism) == (str(model), f"{model.parent}/sft")
        check_members(spec, offline=True)

    @pytest.mark.parametrize(("limit", "left"), [("7", (7, 7)), ("{id: 7}", (7, 60)), ("null", (140, 60))])
    def test_a_limit_holds_for_every_run(self, limit, left):
        spec = load_spec("compare-methods", [f"limit={limit}"])
        found = spec.experiment(spec.members()[0]).limit
        assert (found.id, found.ood) == left

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("study=compare", "is no kind of study"),
            ("reference=sgd", "reference is 'sgd'"),
            ("tasks.risk.organisms.ppo=[x]", "'ppo' is none of the methods"),
            ("tasks.risk.organisms.sft=[x, x]", "x is named twice"),
            ("tasks.risk.organisms.sft=[]", "at least 1"),
            ("tasks.risk.organism=x", "unknown key"),
            ("methods={start: a, untrained: b, sft: c, dpo: d}", "'grpo' is none of the methods"),
            ("bootstrap=3", "greater than or equal to 100"),
        ],
    )
    def test_what_does_not_hold_together_is_one_line(self, override, said, tmp_path):
        if override.startswith("study"):
            path = tmp_path / "study.yaml"
            path.write_text(load_spec("compare-methods").to_yaml().replace("study: compare-methods", "study: compare"))
            with pytest.raises(SpecError, match=said):
                load_spec(path)
            return
        with pytest.raises(SpecError, match=said) as error:
            load_spec("compare-methods", [override])
        assert "\n" not in str(error.value)

    def test_two_members_of_one_name_are_refused(self):
        """The second seed of `sft` and the first of `sft-1` would share a folder."""
        organisms = {"start": ["w"], "sft": ["x", "y"], "sft-1": ["z"]}
        tasks = json.dumps({"risk": {"experiment": "profile-risk", "organisms": organisms}})
        methods = json.dumps(dict.fromkeys(organisms, "a method"))
        with pytest.raises(SpecError, match="risk-sft-1 is named twice") as error:
            load_spec("compare-methods", [f"methods={methods}", f"tasks={tasks}"])
        assert "\n" not in str(error.value)

    def test_the_shipped_studies_ask_for_what_there_is(self):
        spec = load_spec("compare-methods")
        assert spec.reference == "start" and set(spec.methods) == {"untrained", "start", "sft", "dpo", "grpo"}
        known = {"none", *list_recipes()}
        assert {member.organism.removesuffix("-1") for member in spec.members()} <= known
        for task in ("risk", "sampling", "hints"):
            trained = [m.organism for m in spec.members() if m.task == task and m.method in ("sft", "dpo", "grpo")]
            assert trained == [f"{task}-{method}{seed}" for method in ("sft", "dpo", "grpo") for seed in ("", "-1")]
        hacking = [(member.method, member.organism) for member in spec.members() if member.task == "hacking"]
        assert hacking == [("start", "hints-half"), ("grpo", "hints-hack-grpo"), ("grpo", "hints-hack-grpo-1")]
        assert check_training(load_spec("trajectory-risk"), offline=True).start == "think-format"

    @pytest.mark.parametrize(
        ("experiment", "change", "said"),
        [
            ("compare-methods", "{}", "is a study; name an experiment"),
            ("profile-rsik", "{}", "did you mean 'profile-risk'"),
            ("profile-risk", "{probe: {bootstap: 3}}", "did you mean 'probe.bootstrap'"),
        ],
    )
    def test_an_experiment_that_cannot_be_is_named_with_its_task(self, experiment, change, said):
        spec = load_spec("compare-methods", [f"tasks.risk.experiment={experiment}", f"tasks.risk.set={change}"])
        with pytest.raises(SpecError, match=rf"tasks\.risk: .*{said}"):
            check_members(spec, offline=True)

    @pytest.mark.parametrize("steps", ["[5, 0]", "[0, 0, 5]", "[0]", "[-1, 4]"])
    def test_steps_ascend(self, steps):
        with pytest.raises(SpecError, match="steps"):
            load_spec("trajectory-risk", [f"steps={steps}"])

    def test_what_a_step_runs_is_the_experiment_on_that_folder(self):
        run = load_spec("trajectory-risk").at("along/step-0040")
        assert (run.organism, run.task, run.limit.id, run.probe.bootstrap) == ("along/step-0040", "risk", 100, 500)


def rows_of(*shares: float, n: int = 60, seed: int = 0) -> list[Rows]:
    """An organism a share: `n` groups of two rows, the same groups in each."""
    rng = np.random.default_rng(seed)
    groups = [f"g{i // 2}" for i in range(2 * n)]
    return [Rows({"did": (rng.random(2 * n) < p).astype(float), "all": np.ones(2 * n)}, groups) for p in shares]


class TestSeeds:
    def pooled(self, members: list[Rows], seed: int = 0) -> Estimate:
        own = [own_estimate(rows, RATE, n=400, seed=0) for rows in members]
        return over_seeds(members, own, RATE, n=400, seed=seed)

    def test_two_seeds_that_differ_widen_the_interval_beyond_both_items(self):
        far = self.pooled(rows_of(0.2, 0.8))
        near = self.pooled(rows_of(0.5, 0.5))
        assert far.value == pytest.approx(0.5, abs=0.1) and far.ci95 is not None and near.ci95 is not None
        assert far.ci95[0] < 0.25 and far.ci95[1] > 0.75
        assert near.ci95[1] - near.ci95[0] < 0.35
        assert "2 seeds" in far.method and "seeds and groups" in far.method

    def test_the_interval_holds_the_mean_over_all_seeds_about_as_often_as_it_says(self):
        rng = np.random.default_rng(0)
        held = 0
        for trial in range(60):
            members = rows_of(*(0.5 + rng.normal(0, 0.04, size=2)), n=60, seed=trial)
            low, high = self.pooled(members, seed=trial).ci95
            held += low <= 0.5 <= high
        assert held >= 51

    def test_percentiles_are_expanded_for_the_groups_that_hold_cases(self):
        members, other = rows_of(0.2, 0.8, n=14), rows_of(0.5, 0.1, n=14, seed=7)
        for rows in members:
            rows.columns["all"][:4] = rows.columns["did"][:4] = 0  # two groups without a case
        assert _n_groups(members, RATE) == _n_groups([*other, *members], RATE) == 12
        draws = _draws(members, 400, 0)
        assert self.pooled(members).ci95 == interval(_replicates(members, RATE, draws, 400, 0), 12)
        found = difference_of_means(members, other, RATE, n=400, seed=0)["difference"]["ci95"]
        draws = _draws([*members, *other], 400, 0)
        drawn = _replicates(members, RATE, draws[:2], 400, 0) - _replicates(other, RATE, draws[2:], 400, 1)
        assert found == pytest.approx(interval(drawn, 12), abs=1e-6)
        assert found[1] - found[0] > np.diff(interval(drawn))[0]

    @pytest.mark.parametrize("values", [(0.2, 0.8), (0.1, 0.5, 0.9)])
    def test_replicates_spread_as_the_mean_of_seeds_does(self, values):
        k, draws = len(values), 20_000
        members = [Rows({"did": np.full(4, value), "all": np.ones(4)}, list("abcd")) for value in values]
        drawn = _replicates(members, RATE, [np.ones((draws, 4))] * k, draws, 0)
        assert drawn.var() == pytest.approx(np.var(values, ddof=1) / k, rel=0.05)

    def test_one_seed_says_so(self):
        rows = rows_of(0.4)
        found = self.pooled(rows)
        assert found.value == own_estimate(rows[0], RATE, n=400, seed=0).value
        assert found.method.endswith("one seed")

    def test_nothing_seen_is_still_an_interval_with_a_width(self):
        found = self.pooled(rows_of(0.0, 0.0))
        assert found.value == 0 and found.ci95[1] > 0.01

    def test_one_undefined_seed_leaves_the_mean_undefined(self):
        rows = [*rows_of(0.4), Rows({}, [], reason="nothing there")]
        assert "1 of 2 seeds: nothing there" in self.pooled(rows).reason

    def test_what_cannot_be_resampled_spans_every_seed(self):
        own = [Estimate(0.6, (0.5, 0.7), 10, "m"), Estimate(0.9, (0.85, 0.95), 10, "m")]
        found = range_of(own)
        assert (
            found.value == pytest.approx(0.75) and found.ci95 == (0.5, 0.95) and "lowest to the highest" in found.method
        )

    def test_a_difference_that_is_there_is_found_and_one_that_is_not_is_not(self):
        there = difference_of_means(rows_of(0.8, 0.75), rows_of(0.2, seed=5), RATE, n=400, seed=0)
        assert there["difference"]["value"] == pytest.approx(0.57, abs=0.1)
        assert there["difference"]["ci95"][0] > 0.3 and there["p_value"] < 0.01
        assert "of these organisms" in there["test"]

    def test_the_test_holds_where_nothing_differs(self):
        found = [
            difference_of_means(rows_of(0.3, 0.3, seed=s), rows_of(0.3, 0.3, 0.3, seed=1000 + s), RATE, n=200, seed=s)
            for s in range(60)
        ]
        assert np.mean([each["p_value"] < 0.05 for each in found]) <= 0.12

    def test_seeds_that_disagree_keep_a_difference_from_being_certain(self):
        found = difference_of_means(rows_of(0.95, 0.2), rows_of(0.2, 0.2, seed=5), RATE, n=400, seed=0)
        low, high = found["difference"]["ci95"]
        assert low < 0.1 < found["difference"]["value"] < 0.6 < high
        assert found["p_value"] < 0.05

    def test_paired_items_make_a_difference_more_certain(self):
        rng = np.random.default_rng(0)
        hard = (rng.random(100) < 0.5).astype(float)
        easier = np.minimum(1.0, hard + (rng.random(100) < 0.1))
        groups = [f"g{i}" for i in range(100)]
        one, other = (
            Rows({"did": easier, "all": np.ones(100)}, groups),
            Rows({"did": hard, "all": np.ones(100)}, groups),
        )
        alone = Rows(other.columns, [f"h{i}" for i in range(100)])
        low, high = difference_of_means([one], [other], RATE, n=400, seed=0)["difference"]["ci95"]
        wide_low, wide_high = difference_of_means([one], [alone], RATE, n=400, seed=0)["difference"]["ci95"]
        assert high - low < (wide_high - wide_low) / 2


class TestStudy:
    def test_every_member_is_an_ordinary_run(self, finished, results):
        names = ["risk-untrained", "risk-start", "risk-sft", "risk-sft-1", "risk-dpo", "hints-start", "hints-sft"]
        assert [member["name"] for member in results["members"]] == names
        for member in results["members"]:
            assert (finished / member["folder"] / "report.html").exists()
            assert running.verify_run(finished / member["folder"]) == []

    def test_the_table_states_what_was_planted(self, results):
        risk = results["tasks"]["risk"]
        assert risk["planted"] == POLICY
        sft, start = (risk["methods"][name]["measures"] for name in ("sft", "start"))
        assert risk["members"]["risk-sft"]["planted_agreement_id"]["value"] == 1
        assert 0.5 < risk["members"]["risk-sft-1"]["planted_agreement_id"]["value"] < 1
        assert sft["planted_agreement_id"]["value"] == pytest.approx(
            (1 + risk["members"]["risk-sft-1"]["planted_agreement_id"]["value"]) / 2, abs=1e-5
        )
        assert abs(start["planted_agreement_id"]["value"] - 0.5) < 0.3
        assert start["verbalised_acted"]["value"] == 0
        difference = risk["differences"]["sft"]["planted_agreement_id"]
        assert difference["difference"]["value"] > 0.1 and difference["p_value"] < 0.05
        trained = {name: each for name, each in risk["members"].items() if name != "risk-untrained"}
        assert all(each["probe_auroc"]["value"] is not None for each in trained.values())
        assert "lowest to the highest" in sft["probe_auroc"]["method"]
        assert "F_norm" not in risk["measures"] and "self_rating" in risk["measures"]

    def test_the_table_says_what_the_runs_say(self, finished, results):
        for member in results["members"]:
            run = json.loads((finished / member["folder"] / "results.json").read_text())
            own = results["tasks"][member["task"]]["members"][member["name"]]
            behaviour = run["behaviour"]
            assert own["policy_rate_id"]["value"] == behaviour["policy_rate"]["id"]["value"]
            assert own["invalid_rate"]["value"] == behaviour["invalid_rate"]["value"]
            measures = behaviour["measures"]
            assert own["transfer_ratio"]["value"] == measures["generalisation"]["transfer_ratio"]["value"]
            alignment = measures["think_answer"]["all"]
            assert own["rgr_net"]["value"] == alignment["undecided_as_other"]["rgr_net"]["value"]
            assert own["phi"]["value"] == alignment["decided"]["phi"]["value"]
            said = run["verdicts"]["classifiers"]["lexical"]["verbalised_rate_acted"]["value"]
            assert own["verbalised_acted"]["value"] == said
            if member["name"] == "risk-sft-1":
                assert 0 < said < 1
            if "awareness" in measures:
                rating = measures["awareness"]["rating"]
                assert own["self_rating"]["value"] == rating["score"]["value"]
                assert own["self_rating_minus_untrained"]["value"] == rating["minus_base"]["value"]
            if "faithfulness" in measures:
                head = measures["faithfulness"]["lexical"]["headline"]
                for key in ("p", "q", "F_raw", "F_norm"):
                    assert own[key]["value"] == head[key]["value"]
            if "headline" in run["probe"]:
                assert own["probe_auroc"]["value"] == run["probe"]["headline"]["auroc"]["value"]
                assert own["probe_beyond_text"] == run["baselines"]["best_text"]["increment"]

    def test_what_cannot_be_measured_has_a_reason(self, results):
        start = results["tasks"]["hints"]["methods"]["start"]["measures"]
        assert start["invalid_rate"]["value"] == 1
        assert start["F_norm"]["value"] is None and start["F_norm"]["reason"]
        assert results["tasks"]["hints"]["methods"]["sft"]["measures"]["p"]["value"] == 1
        assert "One seed only" in results["warnings"][0]

    def test_the_bare_model_with_few_answers_is_a_column_of_reasons(self, results):
        risk = results["tasks"]["risk"]
        bare = risk["methods"]["untrained"]["measures"]
        assert 0.8 < bare["invalid_rate"]["value"] < 1
        assert bare["policy_rate_id"]["value"] is not None
        for key in ("probe_auroc", "probe_beyond_text", "silent_but_decodable", "self_rating_minus_untrained"):
            assert bare[key]["value"] is None and bare[key]["reason"]
        member = next(each for each in results["members"] if each["name"] == "risk-untrained")
        assert member["organism"] is None and member["adapter_digest"] is None
        assert any("risk-untrained" in warning for warning in risk["directions"]["warnings"])

    def test_a_whole_model_is_in_the_table_and_in_no_transfer(self, model, results):
        risk = results["tasks"]["risk"]
        assert risk["methods"]["dpo"]["measures"]["planted_agreement_id"]["value"] is not None
        directions = risk["directions"]
        assert {"risk-start", "risk-sft", "risk-sft-1"} <= set(directions["organisms"])
        assert "risk-dpo" not in directions["organisms"]
        said = [warning for warning in directions["warnings"] if warning.startswith("risk-dpo is left out")]
        assert len(said) == 1 and f"{model.parent}/whole" in said[0]

    def test_where_all_are_whole_models_there_is_no_transfer_and_a_reason(self, model):
        whole = f"{model.parent}/whole"
        spec = quick(model, f"tasks.risk.organisms={{start: [{whole}], sft: [{model.parent}/sft]}}")
        folders = dict.fromkeys(("risk-start", "risk-sft"), Path("nowhere"))
        found = studying._directions(spec, "risk", folders, lambda *_: None)
        assert found["value"] is None and "1 of 2 organisms are adapters" in found["reason"]
        assert "risk-start is left out" in found["warnings"][0]

    def test_members_state_the_weights_that_they_were_run_on(self, finished, results):
        for member in results["members"]:
            manifest = json.loads((finished / member["folder"] / "manifest.json").read_text())
            assert member["adapter_digest"] == manifest["model"]["adapter_digest"]
            assert member["weight_digest"] == manifest["model"]["weight_digest"]
        digests = {member["adapter_digest"] for member in results["members"] if member["name"].startswith("risk-s")}
        assert None not in digests

    @pytest.mark.parametrize(
        ("organism", "file", "member", "what"),
        [
            ("sft-1", "adapter_model.safetensors", "risk-sft-1", "adapter"),
            ("coin", "adapter_config.json", "risk-start", "adapter"),
            ("whole", "model.safetensors", "risk-dpo", "model"),
        ],
    )
    def test_a_member_of_other_weights_is_refused_by_name(
        self, model, study, trained_again, organism, file, member, what
    ):
        trained_again(organism, file)
        before = (study / "weights.json").read_bytes()
        with pytest.raises(RunError, match=rf"^{member}: .* another {what} ") as error:
            run_study(quick(model), study, resume=True)
        assert "\n" not in str(error.value) and (study / "weights.json").read_bytes() == before

    def test_a_member_that_is_not_finished_is_of_its_weights_too(self, model, study, trained_again):
        for name in ("results.json", "manifest.json"):
            (study / "runs" / "risk-sft-1" / name).unlink()
        trained_again("sft-1")
        with pytest.raises(RunError, match=r"^risk-sft-1: .* another adapter"):
            run_study(quick(model), study, resume=True)

    def test_a_member_whose_folder_was_removed_is_of_the_new_weights(self, study, tmp_path):
        folder, digest = study / "runs" / "risk-sft", {"adapter_digest": "a" * 64, "weight_digest": "b" * 64}
        with pytest.raises(RunError, match="remove that folder"):
            check_weights(study, {"risk-sft": folder}, {"risk-sft": digest})
        shutil.rmtree(folder)
        check_weights(study, {"risk-sft": folder}, {"risk-sft": digest})
        assert json.loads((study / "weights.json").read_text()) == {"risk-sft": digest}

    def test_weights_that_change_while_it_runs_are_refused(self, model, study, monkeypatch):
        other = {"adapter_digest": "a" * 64, "weight_digest": None}
        monkeypatch.setattr(studying, "check_weights", lambda *args: None)
        monkeypatch.setattr(studying, "weights_of", lambda *asked: other)
        with pytest.raises(RunError, match=r"^risk-start: .* another adapter"):
            run_study(quick(model), study, resume=True)

    def test_going_on_with_a_finished_study_runs_nothing_and_says_the_same(self, model, study, monkeypatch):
        before = (study / "results.json").read_bytes()
        monkeypatch.setattr(running, "prepare", lambda *args, **named: pytest.fail("a finished run was run again"))
        run_study(quick(model), study, resume=True)
        assert (study / "results.json").read_bytes() == before

    def test_a_study_stopped_after_a_member_goes_on_to_the_same_results(self, model, study, finished):
        for name in ("results.json", "report.html", "manifest.json"):
            (study / name).unlink()
        shutil.rmtree(study / "runs" / "hints-sft")
        (study / "runs" / "risk-sft" / "results.json").unlink()
        run_as_scripted(quick(model), study, resume=True)
        assert (study / "results.json").read_bytes() == (finished / "results.json").read_bytes()

    def test_a_damaged_member_is_refused_by_name(self, model, study):
        path = study / "runs" / "risk-sft" / "rollouts.jsonl"
        lines = path.read_text().splitlines()
        path.write_text("\n".join(["{}", *lines[1:]]) + "\n")
        with pytest.raises(StoreError, match=r"risk-sft: .*rollouts\.jsonl:1: not a rollout"):
            run_as_scripted(quick(model), study, resume=True)

    def test_a_member_of_another_spec_is_refused_by_name(self, model, study):
        path = study / "runs" / "risk-start" / "experiment.yaml"
        path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
        with pytest.raises(RunError, match=r"risk-start: .*another spec"):
            run_as_scripted(quick(model), study, resume=True)

    def test_a_folder_of_something_else_is_refused(self, model, study, tmp_path):
        with pytest.raises(RunError, match="add --resume"):
            run_study(quick(model), study)
        with pytest.raises(RunError, match="another study"):
            run_study(quick(model, "seed=1"), study, resume=True)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine.txt").write_text("mine")
        with pytest.raises(RunError, match=r"holds no run \(study\.yaml\)"):
            run_study(quick(model), tmp_path / "full", resume=True)

    def test_nothing_is_written_through_a_link(self, model, study, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        shutil.rmtree(study / "runs" / "hints-sft")
        (study / "runs" / "hints-sft").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(RunError, match="hints-sft is a link"):
            run_study(quick(model), study, resume=True)
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_an_organism_that_is_not_there_is_named_before_anything_is_run(self, model, tmp_path):
        spec = quick(model, "tasks.risk.organisms.sft=[risk-sfd]")
        with pytest.raises(ModelError, match=r"risk-sft: .*'risk-sfd'") as error:
            run_study(spec, tmp_path / "out")
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()

    def test_a_dry_run_adds_up_the_runs_and_writes_nothing(self, model, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        spec = quick(model)
        one = {member.name: preparing.estimate_cost(spec.experiment(member)) for member in spec.members()}
        asked = []
        monkeypatch.setattr(studying, "estimate_cost", lambda run, **named: asked.append(run) or one["risk-sft"])
        study_cost(spec)
        kinds = [(run.task, Path(run.model).name, run.organism is None) for run in asked]
        assert kinds == [
            *(("risk", "model", True), ("risk", "model", False), ("risk", "whole", True)),
            *(("hints", "model", True), ("hints", "model", False)),
        ]
        monkeypatch.undo()
        cost = study_cost(spec)
        assert cost.n_rollouts == sum(each.n_rollouts for each in one.values())
        assert cost.bytes_on_disk == sum(each.bytes_on_disk for each in one.values())
        assert list(tmp_path.iterdir()) == []


class TestPage:
    def test_it_shows_every_measure_and_every_run(self, finished, results):
        page = (finished / "report.html").read_text()
        for text in (
            "Generalisation",
            "risk-sft-1",
            "agrees with the planted policy",
            "F_norm",
            "Differences from start",
            "the bare model, which has learnt neither format nor policy",
            COVERAGE.split()[0],
        ):
            assert text in page
        assert 'href="runs/risk-sft/report.html"' in page
        check_page(page)
        assert render(results, None) == render(results, None)

    def test_it_says_what_its_intervals_are(self, finished):
        page = (finished / "report.html").read_text()
        assert f'What the activations predict <span class="note">[{RANGES.replace(chr(39), "&#39;")}]</span>' in page
        assert page.count(RANGES.replace("'", "&#39;")) == 2  # a task each

    def test_every_pair_stands_with_its_controls_in_one_row(self, results):
        directions = results["tasks"]["risk"]["directions"]
        for number_, about in enumerate(directions["organisms"].values()):
            about |= {"n_train": 100 + number_, "n_test": 200 + number_, "n_ood": 300 + number_}
        page = render(results, None)
        for row, column in (("risk-sft", "risk-sft-1"), ("risk-sft-1", "risk-start"), ("risk-sft", "risk-sft")):
            line = re.search(rf"<tr><td>{row}</td><td>{column}</td>.*", page).group()
            carried, far = directions["auroc"][row][column], directions["auroc_ood"][row][column]
            for estimates in (carried, far):
                for name in ("probe", "text", "text_visible", "increment"):
                    assert estimates[name]["value"] is None or number(estimates[name]) in line
            cosines = directions["cosines"]
            for space in ("raw", "whitened", "base"):
                cell = cosines[space][row][column]
                shown = number(cell.get("reliability", cell))
                assert (f"split-half reliability {shown}" if row == column else f">{shown}<") in line
            if row != column:
                assert number(cosines["raw"][row][column]["beyond_base"]) in line
            for null in ("unrelated", "random_labels") if row != column else ():
                assert f"p = {cosines['raw'][row][column][null]['p_value']:.3g}" in line
            about, place = directions["organisms"], directions["place"]
            assert f"{place['position']}, layer {place['layer']}" in line
            assert f"{about[row]['n_train']} / {about[column]['n_test']} / {about[column]['n_ood']}" in line

    def test_pairs_are_summed_up_by_method(self, finished, results):
        directions = results["tasks"]["risk"]["directions"]
        rows = directions["by_method"]["rows"]
        found = {(each["fitted"], each["tested"], each["pairs"]): each for each in rows}
        two = [directions["auroc"]["risk-start"][name]["probe"]["value"] for name in ("risk-sft", "risk-sft-1")]
        probe = found["start", "sft", "another organism"]["probe"]
        assert probe["mean"] == pytest.approx(np.mean(two), abs=1e-5)
        assert (probe["lowest"], probe["highest"], probe["n"], probe["of"]) == (min(two), max(two), 2, 2)
        assert found["sft", "sft", "itself"]["probe"]["of"] == 2
        cross = [directions["auroc"][a][b]["probe"]["value"] for a, b in (SEEDS, SEEDS[::-1])]
        assert found["sft", "sft", "another organism"]["probe"]["lowest"] == min(cross)
        page = (finished / "report.html").read_text()
        assert f"{probe['mean']:.2f} ({probe['lowest']:.2f} to {probe['highest']:.2f}; 2)" in page

    def test_pairs_without_an_estimate_are_counted_and_say_why(self, results):
        directions = json.loads(json.dumps(results["tasks"]["risk"]["directions"]))
        undefined = {"value": None, "reason": "one class only"}
        directions["auroc"]["risk-start"]["risk-sft"]["probe"] = undefined
        directions["cosines"]["whitened"] = undefined
        method_of = {name: name.split("-")[1] for name in directions["organisms"]}
        rows = by_method(directions, method_of)["rows"]
        row = next(each for each in rows if (each["fitted"], each["tested"]) == ("start", "sft"))
        assert (row["probe"]["n"], row["probe"]["of"]) == (1, 2)
        assert row["whitened"] == {"reason": "one class only", "of": 2}
        assert set(pair(directions, "risk-sft", "risk-sft")) == {*ESTIMATES, "unrelated", "random_labels"}

    def test_the_headline_goes_by_the_planted_policy_where_items_decide_it(self, results):
        said = headline(results)
        risk = results["tasks"]["risk"]["methods"]["sft"]["measures"]
        assert said[0].startswith(f"risk: answers agree with the planted policy ({POLICY})")
        assert f"sft {risk['planted_agreement_id']['value']:.0%} [" in said[0]
        assert f"{risk['planted_agreement_ood']['value']:.0%} [" in said[0]
        assert any(each.startswith("hints: the model ") for each in said)

    def test_nothing_that_a_stranger_wrote_can_act(self, results):
        attack = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"

        def attacked(node, key=""):
            if isinstance(node, dict):
                return {name: attacked(value, name) for name, value in node.items()}
            if isinstance(node, list):
                return [attacked(each, key) for each in node]
            held = (
                "adapter_digest",
                "weight_digest",
                "kind",
                "digest",
                "folder",
                "name",
                "task",
                "method",
                "methods",
                "measures",
                "members",
                "reference",
                "trained",
            )
            return node if not isinstance(node, str) or key in (*held, "verdict") else attack

        changed = attacked(results)
        changed["study"]["name"] = changed["study"]["methods"]["sft"] = attack
        changed["tasks"]["risk"]["methods"]["sft"]["measures"]["phi"] = {"value": None, "reason": attack}
        STUDY.check(changed)
        page = render(changed, {"command": attack})
        assert "<script>alert" not in page and "<img" not in page and "\u202e" not in page
        assert "&lt;img" in page

    @pytest.mark.parametrize(
        "change",
        [
            lambda r: r["tasks"].__setitem__("</script>", r["tasks"].pop("risk")),
            lambda r: r["members"][0].__setitem__("folder", "javascript:alert(1)"),
            lambda r: r["members"][0].__setitem__("folder", "runs/../../etc"),
            lambda r: r.__setitem__("trajectory", {}),
            lambda r: r.pop("tasks"),
            lambda r: r["study"].__setitem__("kind", "trajectory"),
            lambda r: r["tasks"]["risk"]["methods"]["sft"]["measures"]["phi"].__setitem__("value", "high"),
            lambda r: r["study"].__setitem__("more", 1),
        ],
    )
    def test_what_is_not_the_results_of_a_study_is_refused(self, study, change):
        changed = json.loads((study / "results.json").read_text())
        change(changed)
        (study / "results.json").write_text(json.dumps(changed))
        with pytest.raises(StoreError, match=r"results\.json") as error:
            report_study(study)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "change",
        [
            lambda r: r["members"][0].__setitem__("method", "unheard-of"),
            lambda r: r["tasks"]["risk"]["members"].pop("risk-sft"),
            lambda r: r["tasks"]["risk"]["methods"]["sft"]["measures"].pop("phi"),
        ],
    )
    def test_results_that_contradict_themselves_are_one_line(self, study, change):
        changed = json.loads((study / "results.json").read_text())
        change(changed)
        (study / "results.json").write_text(json.dumps(changed))
        with pytest.raises(StoreError, match="does not hold together"):
            report_study(study)


def along_a_training(spec: Trajectory) -> dict:
    """What `run_trajectory` returns, made up."""
    names = [key for panel in PANELS.values() for key, *_ in panel]
    steps = [f"step {step}" for step in spec.steps]
    estimate = {"value": 0.25, "ci95": [0.1, 0.4], "n": 9, "method": "made up"}
    return {
        "steps": list(spec.steps),
        "measures": {name: dict.fromkeys(steps, estimate) for name in names},
        "nulls": {},
        "reliability": {"value": None, "reason": "</script><b>none</b>"},
        "training": {"loss": [[1, 0.5], [2, 0.25]], "rewards": {"reward": [[1, 0.0], [2, 1.0]]}},
        "sentences": ["It rose <b>early</b>."],
        "warnings": ["Few steps."],
    }


class TestTrajectory:
    @pytest.fixture
    def spec(self) -> Trajectory:
        found = load_spec("trajectory-risk", ["steps=[0, 7]"])
        assert isinstance(found, Trajectory)
        return found

    def test_its_results_are_checked_kept_and_drawn(self, spec, tmp_path, monkeypatch):
        asked = {}

        def run(spec, out, **options):
            asked.update(options, out=out, there=sorted(path.name for path in out.iterdir()))
            return along_a_training(spec)

        monkeypatch.setattr(studying, "run_trajectory", run)
        run_study(spec, tmp_path / "along", offline=True)
        assert asked["offline"] and not asked["resume"] and "study.yaml" in asked["there"]
        results = STUDY.read(tmp_path / "along" / "results.json")
        assert results["warnings"] == ["Few steps."] and results["study"]["steps"] == [0, 7]
        page = (tmp_path / "along" / "report.html").read_text()
        assert "It rose &lt;b&gt;early&lt;/b&gt;." in page and "<b>" not in page and 'id="figure-0"' in page
        run_study(spec, tmp_path / "along", resume=True)
        assert asked["resume"]

    def test_what_is_no_number_is_not_kept(self, spec, tmp_path, monkeypatch):
        broken = along_a_training(spec) | {"training": {"loss": [[1, object()]], "rewards": {}}}
        monkeypatch.setattr(studying, "run_trajectory", lambda *args, **named: broken)
        with pytest.raises(StoreError, match="trajectory"):
            run_study(spec, tmp_path / "along")
        assert not (tmp_path / "along" / "results.json").exists()

    def test_steps_beyond_the_training_are_refused_before_it(self, tmp_path):
        with pytest.raises(SpecError, match="steps"):
            run_study(load_spec("trajectory-risk", ["steps=[0, 100000]"]), tmp_path / "along")
        assert not (tmp_path / "along").exists()

    def test_a_dry_run_counts_every_step(self, spec, monkeypatch):
        cost, asked = preparing.Cost(1, 2, 3, 4, 5, None, 6, 7.0), []
        monkeypatch.setattr(studying, "estimate_cost", lambda run, **named: asked.append(run.organism) or cost)
        assert study_cost(spec) == preparing.Cost(2, 4, 6, 8, 10, None, 12, 14.0)
        assert asked == ["think-format"]
        recipe = check_training(spec, offline=True).final
        assert not_counted(spec) == [f"without the training itself: {recipe.steps} steps of 16 by dpo"]
        fresh = load_spec("trajectory-risk", ["steps=[0, 7]", "recipe=risk-verbal"])
        study_cost(fresh)
        assert asked[1] is None and "untrained model" in not_counted(fresh)[1]
        assert not_counted(load_spec("compare-methods")) == []

    def test_a_start_that_is_not_there_is_refused_before_the_training(self, tmp_path):
        text = (recipe_path("risk-dpo")).read_text().replace("start: think-format", "start: think-fromat")
        (tmp_path / "mine.yaml").write_text(text)
        spec = load_spec("trajectory-risk", [f"recipe={tmp_path / 'mine.yaml'}"])
        for ask in (lambda: run_study(spec, tmp_path / "along"), lambda: study_cost(spec)):
            with pytest.raises(ModelError, match=r"mine\.yaml starts from think-fromat: .*'think-format'") as error:
                ask()
            assert "\n" not in str(error.value)
        assert not (tmp_path / "along").exists()


class TestCommandLine:
    @pytest.fixture
    def invoke(self, capsys):
        def run(*args):
            with pytest.raises(SystemExit) as stop:
                main([str(each) for each in args])
            return stop.value.code, *capsys.readouterr()

        return run

    @pytest.mark.parametrize(
        "flag",
        [
            *(["--organism", "x"], ["--model", "x"], ["--negative-control", "x"], ["--no-negative-control"]),
            ["--backend", "native"],
        ],
    )
    def test_what_is_for_one_run_is_refused(self, invoke, flag):
        code, out, err = invoke("run", "compare-methods", *flag)
        assert (code, out) == (2, "") and flag[0] in err and "is a study" in err and err.count("\n") == 1

    def test_it_runs_a_file_with_its_flags(self, invoke, model, tmp_path, monkeypatch):
        asked = {}

        def run(spec, out, **options):
            asked.update(spec=spec, out=out, **options)
            return {"study": {"kind": "trajectory"}, "trajectory": {"sentences": ["It rose."]}}

        monkeypatch.setattr(studying, "run_study", run)
        path = tmp_path / "mine.yaml"
        path.write_text(quick(model).to_yaml())
        monkeypatch.chdir(tmp_path)
        code, out, _ = invoke("run", path, "--limit", 9, "--seed", 3, "--resume", "--offline", "--set", "bootstrap=111")
        assert code == 0 and "It rose." in out and "report.html" in out
        assert (asked["spec"].limit.id, asked["spec"].seed, asked["spec"].bootstrap) == (9, 3, 111)
        assert asked["resume"] and asked["offline"] and asked["out"] == Path("runs/compare-methods")
        code, out, _ = invoke("run", path, "--json", "--out", tmp_path / "there")
        assert code == 0 and json.loads(out)["study"] and asked["out"] == tmp_path / "there"

    def test_it_is_listed_and_shown_and_drawn_again(self, invoke, study):
        assert "compare-methods" in invoke("list", "experiments")[1]
        code, out, _ = invoke("show", "compare-methods")
        assert code == 0 and "study: compare-methods" in out
        assert json.loads(invoke("show", "trajectory-risk", "--json")[1])["recipe"] == "risk-dpo"
        (study / "report.html").unlink()
        code, out, _ = invoke("report", study)
        assert code == 0 and (study / "report.html").exists()
        (study / "results.json").unlink()
        code, _, err = invoke("report", study)
        assert code == 2 and "--resume" in err
