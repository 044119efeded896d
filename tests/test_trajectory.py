"""An organism along its training: kills at any moment, and what the steps come to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from introspect.errors import RunError, SpecError
from introspect.experiment import Experiment, load_experiment
from introspect.metrics.resampling import share
from introspect.strict_yaml import load_yaml
from introspect.studies import trajectory
from introspect.studies.along import _by_warning, along, settled_from
from introspect.studies.along_directions import directions_along
from introspect.studies.rows import read_member, rows_of
from introspect.studies.seeds import own_estimate
from introspect.studies.spec import Trajectory
from introspect.studies.trajectory import check_recipe, run_trajectory
from planted_organisms import ONE, OTHER, QUICK, WIDTH, organism

STEPS = (0, 4, 8)
CARD = {
    "summary": "made by a stub",
    "loss_curves": [[[1, 9.0]], [[2, 0.7], [4, 0.5]]],
    "reward_curves": [{}, {"reward": [[2, 0.1], [4, 0.6]]}],
    "loss_unit": "nats",
}
EVERY = 3
"""Steps between the stub's checkpoints."""


class KilledError(Exception):
    """Stands for a kill."""


class Trainer:
    """A stub that trains as the real one does: goes on from its checkpoint, and calls `on_step` at steps it passes."""

    def __init__(self, total: int = 8) -> None:
        self.total, self.passed, self.sessions = total, [], 0
        self.die_before: int | None = None
        """Killed when it gets to this step, before that step is looked at."""

    def __call__(self, recipe, out, *, resume, seed, offline, progress, at_steps, on_step):
        assert resume or not out.exists()
        self.sessions += 1
        out.mkdir(exist_ok=True)
        if (out / "card.json").exists():
            return out
        checkpoint = out / "checkpoint"
        start = int(checkpoint.read_text()) if checkpoint.exists() else 0
        if start == 0:
            self._look(0, out, at_steps, on_step)
        for step in range(start + 1, self.total + 1):
            self._look(step, out, at_steps, on_step)
            if step % EVERY == 0:
                checkpoint.write_text(str(step))
        (out / "card.json").write_text(json.dumps(CARD))
        return out

    def _look(self, step, out, at_steps, on_step):
        if step == self.die_before:
            raise KilledError
        if step in at_steps:
            self.passed.append(step)
            folder = out / f"step-{step}"
            folder.mkdir()
            (folder / "adapter_model.safetensors").write_text(f"weights at {step}")
            try:
                on_step(step, folder)
            finally:
                (folder / "adapter_model.safetensors").unlink()
                folder.rmdir()


class Runner:
    """A stub that leaves of a run what it was run on."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.die_in: int | None = None

    def __call__(self, spec: Experiment, out: Path, *, resume, offline, progress) -> None:
        assert resume
        step = int(out.name.removeprefix("step-"))
        weights = (Path(spec.organism) / "adapter_model.safetensors").read_text()
        assert weights == f"weights at {step}"
        if (out / "results.json").exists():
            return
        if step == self.die_in:
            self.die_in = None
            raise KilledError
        self.make(spec, out, step)
        self.made.append(step)

    def make(self, spec: Experiment, out: Path, step: int) -> None:
        out.mkdir()
        (out / "results.json").write_text(f"of {step}")


class Planted(Runner):
    """A stub that makes planted runs: the direction turns from one axis to another."""

    def make(self, spec: Experiment, out: Path, step: int) -> None:
        angle = np.pi / 2 * (1 - step / STEPS[-1])
        axis = np.cos(angle) * ONE + np.sin(angle) * OTHER
        organism(out, axis, seed=1, base=OTHER, strength=3.5, spec=spec, analysed=True, item=THIRD, base_item=THIRD)


def spec(**changes) -> Trajectory:
    fields = {
        "study": "trajectory",
        "name": "turning",
        "question": "Where does the direction turn?",
        "recipe": "risk-verbal",
        "steps": STEPS,
        "experiment": "probe-risk",
        "set": dict(each.split("=", 1) for each in QUICK if each.startswith("probe.") and "[" not in each),
    }
    fields["set"] = {key: load_yaml(value, key) for key, value in fields["set"].items()} | {
        "probe.positions": ["last_prompt", "before_answer"],
        "probe.penalties": [0.01, 0.1],
    }
    return Trajectory.model_validate(fields | changes)


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> tuple[Trainer, Runner]:
    trainer, runner = Trainer(), Runner()
    monkeypatch.setattr(trajectory, "train_organism", trainer)
    monkeypatch.setattr(trajectory, "run_experiment", runner)
    monkeypatch.setattr(trajectory, "along", read_back)
    return trainer, runner


def read_back(folders, recipe, card, *, seed, progress) -> dict:
    return {step: (folder / "results.json").read_text() for step, folder in folders.items()}


THIRD = np.eye(WIDTH)[2]
"""Where the category of the items lies, at every step and in the untrained model."""
ALL = {step: f"of {step}" for step in STEPS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectory, "train_organism", Trainer())
        patch.setattr(trajectory, "run_experiment", Planted())
        out = tmp_path_factory.mktemp("whole")
        return out, run_trajectory(spec(), out)


def test_the_direction_is_seen_to_turn(whole):
    _, found = whole
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    final, untrained = found["measures"]["cosine_final"], found["measures"]["cosine_untrained"]
    assert abs(final["step 0"]["value"]) < 0.3
    assert 0.5 < final["step 4"]["value"] < 0.85
    assert "last step itself" in final["step 8"]["reason"]
    assert untrained["step 0"]["value"] > 0.9
    assert 0.5 < untrained["step 4"]["value"] < 0.85
    assert abs(untrained["step 8"]["value"]) < 0.3
    probe = found["measures"]["final_probe"]
    assert probe["step 8"]["value"] > 0.9 > 0.75 > probe["step 0"]["value"]
    assert found["place"]["inner_auroc"].keys() == {"step 8"}
    assert found["nulls"]["step 4"]["unrelated"]["p_value"] < 0.05
    assert found["nulls_untrained"]["step 0"]["random_labels"]["p_value"] < 0.05
    assert found["nulls_untrained"]["step 8"]["random_labels"]["p_value"] > 0.05
    assert found["reliability"]["value"] > 0.9


def test_the_same_labels_at_every_step_do_not_turn_with_what_is_done(whole):
    """What the policy says of the items lies along one axis from the start; what is done turns away from another."""
    _, found = whole
    measures = found["measures"]
    for step in ("step 0", "step 4"):
        assert measures["cosine_final_planted"][step]["value"] > 0.9
        assert measures["cosine_untrained_planted"][step]["value"] > 0.9
    assert abs(measures["cosine_final"]["step 0"]["value"]) < 0.3


def test_what_noise_leaves_of_a_cosine_stands_beside_it(whole):
    _, found = whole
    reliability, attainable = (found["measures"][name] for name in ("direction_reliability", "attainable_cosine"))
    assert reliability["step 8"]["value"] == pytest.approx(found["reliability"]["value"])
    product = reliability["step 0"]["value"] * reliability["step 8"]["value"]
    assert attainable["step 0"]["value"] == pytest.approx(np.sqrt(product), abs=1e-5)
    assert 0.9 < attainable["step 0"]["value"] < 1
    assert "last step itself" in attainable["step 8"]["reason"]


def test_a_policy_that_is_no_function_of_the_item_has_no_fixed_labels(whole):
    out, found = whole
    folders = {step: out / "runs" / f"step-{step:04d}" for step in (0, 8)}
    place = found["place"]
    none = directions_along(folders, "resid_post", place["layer"], place["position"], "coin_flip", seed=0)
    assert "no function of the item" in none.measures["cosine_final_planted"][0]["reason"]
    assert none.measures["cosine_untrained"][0]["value"] == found["measures"]["cosine_untrained"]["step 0"]["value"]


def test_every_measure_has_every_step_and_the_curves_are_those_of_the_last_stage(whole):
    _, found = whole
    for name, by_step in found["measures"].items():
        assert list(by_step) == [f"step {step}" for step in STEPS], name
    assert found["training"] == {
        "loss": CARD["loss_curves"][-1],
        "rewards": CARD["reward_curves"][-1],
        "loss_unit": "nats",
    }
    assert found["measures"]["probe_auroc"]["step 8"]["value"] > 0.9
    assert found["settled"]["beyond"]["probe_beyond_text"] == 0
    assert found["settled"]["changed"]["policy_rate_id"] is None
    assert len(found["sentences"]) == 6
    assert "Changed since step 0" in found["sentences"][4] and "Beyond 0" in found["sentences"][5]
    assert "AUROC" in found["sentences"][2]


def test_kept_steps_say_what_they_are(whole):
    out, _ = whole
    card = json.loads((out / "steps" / "step-0004" / "card.json").read_text())
    assert card["policy"] and card["planted_truth"] == "verbal"
    assert "step 4" in card["summary"]
    assert not list((out / "steps").glob(".*"))


@pytest.mark.parametrize("step", range(9))
def test_a_kill_before_any_step_changes_nothing(stubs, tmp_path, step):
    trainer, runner = stubs
    trainer.die_before = step
    with pytest.raises(KilledError):
        run_trajectory(spec(), tmp_path)
    done = [each for each in STEPS if each < step]
    assert runner.made == done
    trainer.die_before = None
    found = run_trajectory(spec(), tmp_path, resume=True)
    assert runner.made == list(STEPS)
    assert found == ALL


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_within_a_run_costs_no_other_run(stubs, tmp_path, step):
    _, runner = stubs
    runner.die_in = step
    with pytest.raises(KilledError):
        run_trajectory(spec(), tmp_path)
    assert (tmp_path / "steps" / f"step-{step:04d}").is_dir()
    found = run_trajectory(spec(), tmp_path, resume=True)
    assert runner.made == list(STEPS)
    assert found == ALL


def test_a_run_that_was_not_finished_is_finished_without_the_trainer(stubs, tmp_path):
    trainer, runner = stubs
    run_trajectory(spec(), tmp_path)
    (tmp_path / "runs" / "step-0004").rename(tmp_path / "set-aside")
    passed = list(trainer.passed)
    assert run_trajectory(spec(), tmp_path, resume=True) == ALL
    assert trainer.passed == passed
    assert runner.made == [*STEPS, 4]


def test_a_step_that_was_never_kept_is_said(stubs, tmp_path):
    run_trajectory(spec(), tmp_path)
    (tmp_path / "steps" / "step-0004").rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="step 4 was not kept"):
        run_trajectory(spec(), tmp_path, resume=True)


def test_a_full_disk_leaves_no_half_a_step(stubs, tmp_path, monkeypatch):
    def full(source, target, **options):
        target.mkdir()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(trajectory.shutil, "copytree", full)
        with pytest.raises(RunError, match="No space left"):
            run_trajectory(spec(), tmp_path)
    assert list((tmp_path / "steps").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": (0, 100_000)}, "100000 is asked for"),
        ({"set": {"model": "another"}}, "make them one model"),
    ],
)
def test_what_no_trajectory_can_be_made_of_is_refused_before_any_training(changes, said, stubs, tmp_path):
    trainer, _ = stubs
    with pytest.raises(SpecError, match=said):
        run_trajectory(spec(**changes), tmp_path)
    assert trainer.sessions == 0


def test_a_training_of_every_weight_is_refused(tmp_path):
    text = (Path(__file__).parents[1] / "experiments" / "organisms" / "risk-verbal.yaml").read_text()
    (tmp_path / "full.yaml").write_text(text + "\nfull: true\n")
    with pytest.raises(SpecError, match="adapters only"):
        check_recipe(spec(recipe=str(tmp_path / "full.yaml")))


def test_a_last_step_without_a_direction_is_a_reason(tmp_path):
    """A policy acted on always leaves nothing to tell apart."""
    recipe = check_recipe(spec())
    experiment = load_experiment("probe-risk", QUICK)
    folders = {0: tmp_path / "0", 8: tmp_path / "8"}
    organism(folders[0], ONE, seed=1, spec=experiment)
    organism(folders[8], ONE, seed=1, choice=lambda number, rng: number > 3, spec=experiment)
    found = along(folders, recipe, {}, seed=0)
    assert "whose inner folds choose the place" in found["place"]["reason"]
    assert found["measures"]["cosine_untrained"]["step 0"]["value"] is None
    assert found["training"] == {"loss": [], "rewards": {}, "loss_unit": ""}
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("limits", "first"),
    [
        ([(-0.1, 0.1), (0.1, 0.3), (0.2, 0.4)], 4),
        ([(-0.1, 0.1), (0.1, 0.3), (-0.1, 0.4)], None),
        ([(0.1, 0.2), (-0.1, 0.3), (0.2, 0.4)], 8),
        ([(-0.1, 0.1), (-0.4, -0.3), (0.2, 0.4)], 8),
        ([(0.1, 0.2), (0.1, 0.3), (0.2, 0.4)], 0),
        ([(0.1, 0.2), None, (0.2, 0.4)], 8),
    ],
)
def test_settled_means_clear_of_0_to_the_end(limits, first):
    found = {
        f"step {step}": {"value": None, "reason": "x"} if each is None else {"value": sum(each) / 2, "ci95": list(each)}
        for step, each in zip(STEPS, limits, strict=True)
    }
    assert settled_from(found, STEPS) == first


def test_a_change_counts_what_the_first_step_does_not_say_for_certain(tmp_path):
    """The later step's own interval is clear of the first one's value, and the difference of the two is not of 0."""
    recipe, experiment = check_recipe(spec()), load_experiment("probe-risk", QUICK)

    def by_noun(odd: float):
        return lambda number, rng: bool(rng.random() < (odd if (number // 6) % 2 else 0.5))

    folders = {0: tmp_path / "0", 8: tmp_path / "8"}
    organism(folders[0], ONE, seed=1, choice=by_noun(0.5), spec=experiment)
    organism(folders[8], ONE, seed=3, choice=by_noun(0.75), spec=experiment)
    found = along(folders, recipe, {}, seed=0)
    rates = [read_member(folder) for folder in folders.values()]
    first, later = (np.mean([r.acted for r in each.counted if r.split == "id"]) for each in rates)
    change = found["changes"]["policy_rate_id"]["step 8"]
    assert change["value"] == pytest.approx(later - first, abs=1e-6)
    assert "groups" in change["method"]
    low, high = own_estimate(rows_of(rates[1], None)["policy"], share("id_acted", "id"), n=400, seed=0).ci95
    assert change["ci95"][1] - change["ci95"][0] > 1.19 * (high - low)
    assert "first step itself" in found["changes"]["policy_rate_id"]["step 0"]["reason"]


def test_what_a_kill_left_of_a_step_is_removed(stubs, tmp_path):
    trainer, _ = stubs
    trainer.die_before = 5
    with pytest.raises(KilledError):
        run_trajectory(spec(), tmp_path)
    left = tmp_path / "steps" / ".step-0004.0123456789abcdef.tmp"
    left.mkdir()
    (left / "adapter_model.safetensors").write_text("half")
    trainer.die_before = None
    run_trajectory(spec(), tmp_path, resume=True)
    assert not left.exists() and (tmp_path / "steps" / "step-0004").is_dir()


def test_a_study_that_was_moved_goes_on_where_it_is(stubs, tmp_path, monkeypatch):
    """Runs name the folder of their step, and refuse another spec."""
    _, runner = stubs

    def strict(spec, out, **options):
        marker = out / "experiment.yaml"
        assert not marker.exists() or marker.read_text() == spec.to_yaml()
        runner(spec, out, **options)
        marker.write_text(spec.to_yaml())

    monkeypatch.setattr(trajectory, "run_experiment", strict)
    run_trajectory(spec(), tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert run_trajectory(spec(), tmp_path / "there", resume=True) == ALL
    assert runner.made == list(STEPS)
    moved = load_experiment(tmp_path / "there" / "runs" / "step-0004" / "experiment.yaml")
    assert moved.organism == str(tmp_path / "there" / "steps" / "step-0004")


def test_a_run_of_another_spec_does_not_follow(tmp_path):
    marker = tmp_path / "experiment.yaml"
    made = load_experiment("probe-risk", ["organism=/a/steps/step-0004", "negative_control=null"])
    for other in ({"seed": 5, "organism": "/b/steps/step-0004"}, {"organism": "/b/steps/step-0008"}):
        marker.write_text(made.to_yaml())
        trajectory.follow(tmp_path, made.model_copy(update=other))
        assert marker.read_text() == made.to_yaml()


def test_a_warning_of_several_steps_is_given_once():
    assert _by_warning({0: ["a", "b"], 20: ["a"], 60: ["a", "c"]}) == ["steps 0, 20, 60: a", "step 0: b", "step 60: c"]
