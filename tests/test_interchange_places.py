"""Pushed and pulled is the same, nothing private goes along, and whoever pushed it, what is pulled is checked first."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import fsspec.implementations.local
import huggingface_hub
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations
from huggingface_hub.utils._http import default_client_factory

from fake_hub import TOKEN, FakeHub, Repository
from interchange_materials import HOSTILE, rollouts, small_run
from introspect.cli import main
from introspect.errors import RunError, SpecError, StoreError
from introspect.interchange import hub, places
from introspect.interchange import push as pushing
from introspect.interchange.card import escaped, make_card
from introspect.interchange.cargo import gather
from introspect.interchange.file_index import INDEX, MARKER, is_plain, parse_index
from introspect.interchange.private import Private
from introspect.interchange.pull import pull
from introspect.interchange.push import push
from introspect.probe_folders import probe_folder
from introspect.probes.saved import load_probe
from introspect.results import read_results
from introspect.run import verify_run
from introspect.transcripts import read_replay_spec, record_transcripts
from tiny_folders import save_tiny

PROBE = "risk-silent"
SECRET = "hf_" + "x1Y" * 12

HALF_A_PUSH = """
import sys, time
from introspect.interchange import places, push

class Stalling:
    def __init__(self, file):
        self.file, self.begun = file, False

    def read(self, n):
        if self.begun:
            print("half", flush=True)
            time.sleep(600)
        self.begun = True
        return self.file.read(100)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

real = places.FolderPlace._write

def write(place, cargo, path, entry):
    if path == "rollouts.jsonl":
        whole = cargo.folder / path
        type(cargo).opened = lambda cargo, path: Stalling(whole.open("rb"))
    real(place, cargo, path, entry)

places.FolderPlace._write = write
push.push(sys.argv[1], sys.argv[2])
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("runs") / "small", results=True)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "mine"))


@pytest.fixture(scope="module")
def pushed_once(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("places") / "shared"
    push(run, str(place))
    return place


@pytest.fixture
def pushed(pushed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pushed_once, tmp_path / "shared"))


@pytest.fixture
def fake(monkeypatch) -> FakeHub:
    """The real client, with a hub in memory behind it, and a token."""
    found = FakeHub()
    monkeypatch.setattr(hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(hub, "get_token", lambda: TOKEN)
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    huggingface_hub.set_client_factory(found.client)
    yield found
    huggingface_hub.set_client_factory(default_client_factory)


@pytest.fixture
def invoke(capsys):
    def running(*args):
        with pytest.raises(SystemExit) as stop:
            main([*map(str, args)])
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return running


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_but_paths(pulled: dict[str, bytes], run: Path) -> None:
    """What was pulled is the run, with a card and an index, and the run's own folder as its last name."""
    own = {path: content for path, content in contents(run).items() if not path.startswith(".")}
    assert set(pulled) - set(own) == {"README.md", INDEX} and set(own) - set(pulled) == set()
    for path, content in own.items():
        assert pulled[path] == content.replace(str(run).encode(), run.name.encode()), path


def edit_index(folder: Path, change) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))


def entry(content: bytes) -> dict:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


class TestFolders:
    @pytest.mark.parametrize("scheme", ["plain", "file", "memory"])
    def test_a_run_comes_back_the_same_and_verified(self, run, tmp_path, scheme):
        place = {"plain": tmp_path / "shared", "file": f"file://{tmp_path}/shared", "memory": f"memory://{tmp_path}/s"}
        push(run, str(place[scheme]))
        done = pull(str(place[scheme]), tmp_path / "theirs")
        same_but_paths(contents(tmp_path / "theirs"), run)
        assert verify_run(tmp_path / "theirs") == []
        assert read_results(tmp_path / "theirs" / "results.json") == read_results(run / "results.json")
        assert done.index.kind == "run" and done.fetched == done.index.n_bytes
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    def test_a_probe_comes_back_the_same(self, tmp_path):
        push(PROBE, str(tmp_path / "shared"))
        pull(str(tmp_path / "shared"), tmp_path / "mine")
        theirs, mine = load_probe(probe_folder(PROBE)), load_probe(tmp_path / "mine")
        assert mine.card == theirs.card and (mine.weight == theirs.weight).all() and mine.bias == theirs.bias

    def test_what_was_pulled_can_be_pushed_on(self, pushed, tmp_path):
        pull(str(pushed), tmp_path / "theirs")
        push(tmp_path / "theirs", str(tmp_path / "on"))
        pull(str(tmp_path / "on"), tmp_path / "third")
        assert contents(tmp_path / "third") == contents(tmp_path / "theirs")

    def test_again_does_nothing_and_something_else_is_never_written_over(self, run, copy, pushed, tmp_path):
        before = contents(pushed)
        assert push(run, str(pushed)).was_there
        (copy / "results.json").unlink()
        with pytest.raises(RunError, match="holds another run or probe, or another version"):
            push(copy, str(pushed))
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "thesis.txt").write_text("mine")
        with pytest.raises(RunError, match=r"holds something else, such as thesis\.txt"):
            push(run, str(tmp_path / "full"))
        assert contents(pushed) == before and contents(tmp_path / "full") == {"thesis.txt": b"mine"}
        with pytest.raises(RunError, match="is a file"):
            push(run, str(tmp_path / "full" / "thesis.txt"))

    def test_a_push_that_was_stopped_goes_on_and_is_not_pulled_before(self, run, tmp_path, monkeypatch):
        place = str(tmp_path / "shared")
        real, opened = places.Cargo.opened, []

        def stopping(cargo, path):
            opened.append(path)
            if path == "experiment.yaml" and len(opened) > stop_after:
                raise KeyboardInterrupt
            return real(cargo, path)

        stop_after = 2 * len(gather(run).index.files)
        monkeypatch.setattr(places.Cargo, "opened", stopping)
        with pytest.raises(KeyboardInterrupt):
            push(run, place)
        assert MARKER in contents(tmp_path / "shared") and INDEX not in contents(tmp_path / "shared")
        with pytest.raises(RunError, match="is not finished: let it go on"):
            pull(place, tmp_path / "theirs")
        monkeypatch.setattr(places.Cargo, "opened", real)
        written = []
        monkeypatch.setattr(places.Cargo, "opened", lambda cargo, path: (written.append(path), real(cargo, path))[1])
        push(run, place)
        assert "experiment.yaml" in written and MARKER not in contents(tmp_path / "shared")
        assert sum(path.endswith(".h5") for path in written) == 2, "parts were written again, and not only digested"
        pull(place, tmp_path / "theirs")
        same_but_paths(contents(tmp_path / "theirs"), run)

    @pytest.mark.slow
    def test_a_push_that_was_killed_goes_on(self, run, tmp_path):
        """SIGKILL, in the middle of a file."""
        place = tmp_path / "shared"
        command = [sys.executable, "-c", HALF_A_PUSH, str(run), str(place)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "half\n"
            process.kill()
        left = contents(place)
        assert process.returncode == -9 and MARKER in left and INDEX not in left and "experiment.yaml" in left
        assert len(left["rollouts.jsonl"]) < (run / "rollouts.jsonl").stat().st_size
        with pytest.raises(RunError, match="is not finished: let it go on"):
            pull(str(place), tmp_path / "theirs")
        push(run, str(place))
        assert MARKER not in contents(place)
        pull(str(place), tmp_path / "theirs")
        same_but_paths(contents(tmp_path / "theirs"), run)

    def test_what_a_power_cut_left_of_the_right_size_is_written_again(self, run, tmp_path, monkeypatch):
        real = places.FolderPlace._write

        def stopping(place, cargo, path, entry):
            if path == "verdicts.jsonl":
                raise KeyboardInterrupt
            real(place, cargo, path, entry)

        monkeypatch.setattr(places.FolderPlace, "_write", stopping)
        with pytest.raises(KeyboardInterrupt):
            push(run, str(tmp_path / "shared"))
        monkeypatch.setattr(places.FolderPlace, "_write", real)
        there = tmp_path / "shared" / "rollouts.jsonl"
        there.write_bytes(bytes(there.stat().st_size))
        push(run, str(tmp_path / "shared"))
        pull(str(tmp_path / "shared"), tmp_path / "theirs")
        same_but_paths(contents(tmp_path / "theirs"), run)

    def test_files_are_on_the_disk_before_the_index_says_that_they_are(self, run, tmp_path, monkeypatch):
        told, real = [], os.fsync
        monkeypatch.setattr(
            os, "fsync", lambda file: (told.append(str(Path(f"/proc/self/fd/{file}").readlink())), real(file))
        )
        pipe = fsspec.implementations.local.LocalFileSystem.pipe_file
        monkeypatch.setattr(
            fsspec.implementations.local.LocalFileSystem,
            "pipe_file",
            lambda files, path, value, **more: (told.append(f"written {path}"), pipe(files, path, value, **more))[1],
        )
        place = tmp_path / "shared"
        push(run, str(place))
        before = told[: told.index(f"written {place / INDEX}")]
        assert {str(place / path) for path in gather(run).index.files} | {str(place)} <= set(before)
        assert str(place / INDEX) in told[len(before) :]

    @pytest.mark.parametrize("address", ["{}/shared", "memory://{}/changed", "hf://me/run"])
    def test_what_is_written_to_while_it_is_pushed_is_not_pushed(self, copy, tmp_path, monkeypatch, fake, address):
        real, address = pushing.gather, address.format(tmp_path)

        def gathered(*args, **named):
            found = real(*args, **named)
            (copy / "verdicts.jsonl").write_bytes(b"x" * (copy / "verdicts.jsonl").stat().st_size)
            return found

        monkeypatch.setattr(pushing, "gather", gathered)
        with pytest.raises(StoreError, match=r"verdicts\.jsonl was written to while it was pushed; push again"):
            push(copy, address)
        with pytest.raises(RunError):
            pull(address, tmp_path / "theirs")
        assert not any(INDEX in each.files for each in fake.repositories.values())

    def test_what_was_pushed_and_is_damaged_is_not_said_to_be_there(self, run, pushed):
        content = (pushed / "rollouts.jsonl").read_bytes()
        (pushed / "rollouts.jsonl").write_bytes(content[:-7])
        said = rf"rollouts\.jsonl has {len(content) - 7:,} bytes and not {len(content):,}: damaged since it was pushed"
        with pytest.raises(StoreError, match=said):
            push(run, str(pushed))

    def test_an_unfinished_push_of_something_else_is_not_gone_on_with(self, run, tmp_path):
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared" / MARKER).write_text("{}")
        (tmp_path / "shared" / "other.json").write_text("{}")
        with pytest.raises(RunError, match="holds something else"):
            push(run, str(tmp_path / "shared"))

    def test_a_pull_that_was_stopped_goes_on(self, run, pushed, tmp_path, monkeypatch):
        real, read = places.FolderPlace.read, []

        def stopping(place, path, most):
            if len(read) == 4:
                raise KeyboardInterrupt
            read.append(path)
            return real(place, path, most)

        monkeypatch.setattr(places.FolderPlace, "read", stopping)
        with pytest.raises(KeyboardInterrupt):
            pull(str(pushed), tmp_path / "theirs")
        assert not (tmp_path / "theirs").exists()
        first, read[:] = read[1:], []
        monkeypatch.setattr(
            places.FolderPlace, "read", lambda place, path, most: read.append(path) or real(place, path, most)
        )
        done = pull(str(pushed), tmp_path / "theirs")
        assert len(first) == 3 and not set(first) & set(read) and 0 < done.fetched < done.index.n_bytes
        same_but_paths(contents(tmp_path / "theirs"), run)

    def test_what_is_half_there_and_damaged_is_fetched_again(self, run, pushed, tmp_path):
        half = tmp_path / ".theirs.pull"
        shutil.copytree(pushed, half)
        (half / "rollouts.jsonl").write_bytes(b"x" * (pushed / "rollouts.jsonl").stat().st_size)
        (half / "of-another-pull.json").write_text("{}")
        outside = tmp_path / "outside"
        outside.write_text("precious")
        (half / "verdicts.jsonl").unlink()
        (half / "verdicts.jsonl").symlink_to(outside)
        pull(str(pushed), tmp_path / "theirs")
        same_but_paths(contents(tmp_path / "theirs"), run)
        assert outside.read_text() == "precious" and not (tmp_path / "theirs" / "verdicts.jsonl").is_symlink()

    def test_a_folder_that_leads_elsewhere_is_not_written_through(self, pushed, tmp_path):
        half, outside = tmp_path / ".theirs.pull", tmp_path / "outside"
        half.mkdir()
        outside.mkdir()
        (half / "activations").symlink_to(outside)
        with pytest.raises(RunError, match="leads elsewhere through a link"):
            pull(str(pushed), tmp_path / "theirs")
        assert list(outside.iterdir()) == []

    def test_out_is_new_or_the_same(self, pushed, tmp_path):
        pull(str(pushed), tmp_path / "theirs")
        assert pull(str(pushed), tmp_path / "theirs").fetched == 0
        (tmp_path / "theirs" / "verdicts.jsonl").write_text("")
        with pytest.raises(StoreError, match=r"verdicts\.jsonl is not the file that was pushed"):
            pull(str(pushed), tmp_path / "theirs")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").touch()
        with pytest.raises(RunError, match="holds something else; choose another folder"):
            pull(str(pushed), tmp_path / "full")

    def test_the_folder_one_is_in_is_not_taken_away(self, pushed, tmp_path, monkeypatch):
        here = tmp_path / "here"
        here.mkdir()
        monkeypatch.chdir(here)
        for out in (".", "../here", "../here/."):
            with pytest.raises(SpecError, match="is the folder that you are in"):
                pull(str(pushed), Path(out))
        assert here.is_dir() and list(here.iterdir()) == [] and here.stat().st_ino == Path.cwd().stat().st_ino
        pull(str(pushed), Path("theirs"))
        monkeypatch.chdir(here / "theirs")
        assert pull(str(pushed), Path()).fetched == 0


class TestWhatGoesAlong:
    def test_hidden_foreign_and_set_aside_files_stay(self, copy, tmp_path):
        (copy / ".activations.lock").touch()
        for name in ("notes.txt", "activations/part-00000-abc.h5.bad", "run.py", ".env", "weird name.json"):
            (copy / name).write_text("x")
        (copy / ".cache").mkdir()
        (copy / ".cache" / "results.json").write_text("{}")
        cargo = gather(copy)
        assert not any(path in cargo.index.files for path in cargo.left)
        assert set(cargo.left) == {
            *("notes.txt", "activations/part-00000-abc.h5.bad", "run.py", ".env", "weird name.json", ".cache")
        }

    @pytest.mark.parametrize("name", ["results2.json", "activations/part-00009.h5", "extra", ".hidden"])
    def test_a_link_stops_it(self, copy, tmp_path, name):
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "thesis.json").write_text("{}")
        (copy / name).symlink_to(outside if "." not in name[1:] else outside / "thesis.json")
        with pytest.raises(StoreError, match="is a link, and is not followed"):
            gather(copy)

    def test_a_damaged_or_unfinished_run_stops_it(self, copy, tmp_path):
        (copy / "activations" / "DONE").unlink()
        with pytest.raises(StoreError, match="the recording was not finished"):
            push(copy, str(tmp_path / "shared"))
        assert not (tmp_path / "shared").exists()

    def test_paths_of_this_machine_are_shortened_and_the_folder_is_left_as_it_is(self, copy, tmp_path):
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["model"]["name"] = "/data/secret-lab/models/tiny"
        manifest["command"] = f"introspect run probe-risk --model=/data/secret-lab/models/tiny --out {copy}"
        (copy / "manifest.json").write_text(json.dumps(manifest))
        (copy / "report.html").write_text("<td>/data/secret-lab/models/tiny</td><p>and/or, /data/public</p>")
        before = contents(copy)
        cargo = gather(copy)
        assert cargo.shortened == ["manifest.json", "report.html"]
        sent = json.loads(cargo.contents["manifest.json"])
        assert (
            sent["model"]["name"] == "tiny" and sent["command"] == "introspect run probe-risk --model=tiny --out mine"
        )
        assert cargo.contents["report.html"] == b"<td>tiny</td><p>and/or, /data/public</p>"
        assert contents(copy) == before
        assert "secret-lab" in json.dumps(contents_of(gather(copy, keep_paths=True), "manifest.json"))

    def test_a_run_of_a_model_in_a_local_folder_comes_back(self, tmp_path):
        save_tiny(tmp_path / "model")
        lines = [{"prompt_ids": each.prompt_ids, "completion_ids": each.completion_ids} for each in rollouts()]
        (tmp_path / "given.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
        spec = read_replay_spec({"model": str(tmp_path / "model"), "spans": "prompt,completion"})
        record_transcripts(tmp_path / "given.jsonl", spec, tmp_path / "run")
        assert json.loads((tmp_path / "run" / "activations" / "manifest.json").read_text())["meta"]["model"] == "model"
        push(tmp_path / "run", str(tmp_path / "shared"))
        pull(str(tmp_path / "shared"), tmp_path / "theirs")
        pulled = contents(tmp_path / "theirs")
        assert [path for path, content in pulled.items() if str(tmp_path).encode() in content] == []
        assert verify_run(tmp_path / "theirs") == []

    def test_a_path_in_the_manifest_of_a_store_stops_it_and_is_never_shortened(self, tmp_path):
        run = small_run(tmp_path / "old", results=True, model="/data/lab/models/tiny")
        said = (
            r"activations/manifest\.json:\d+ holds /data/lab/models/tiny, .* record the run again, or add --keep-paths"
        )
        with pytest.raises(RunError, match=said):
            push(run, str(tmp_path / "shared"))
        push(run, str(tmp_path / "shared"), keep_paths=True)
        pull(str(tmp_path / "shared"), tmp_path / "theirs")
        own, pulled = contents(run), contents(tmp_path / "theirs")
        assert pulled["activations/manifest.json"] == own["activations/manifest.json"]
        assert verify_run(tmp_path / "theirs") == []

    @pytest.mark.parametrize("path", ["/data/lab/models/tiny", "/data/Übung&Co/tiny"])
    def test_a_path_that_a_manifest_names_stops_it_in_the_data(self, copy, path):
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["model"]["name"] = path
        (copy / "manifest.json").write_text(json.dumps(manifest))
        assert gather(copy).shortened == ["manifest.json"]
        lines = [json.loads(line) for line in (copy / "verdicts.jsonl").read_text().splitlines()]
        lines[8]["problem"] = f"cannot load {path}"
        (copy / "verdicts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(RunError, match=r"verdicts\.jsonl:9 holds /data/[^,]*, a path of this machine"):
            gather(copy)
        assert "verdicts.jsonl" in gather(copy, keep_paths=True).index.files

    def test_paths_are_shortened_however_a_file_writes_them(self, copy):
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["model"]["name"] = "/data/Übung&1/tiny"
        (copy / "manifest.json").write_text(json.dumps(manifest))
        (copy / "report.html").write_text("<td>/data/Übung&amp;1/tiny</td>")
        (copy / "experiment.yaml").write_text(
            (copy / "experiment.yaml").read_text() + "# /data/Übung&1/tiny\n", encoding="utf-8"
        )
        cargo = gather(copy)
        assert not [path for path, content in cargo.contents.items() if b"bung" in content]
        assert cargo.contents["report.html"] == b"<td>tiny</td>"

    def test_memory_does_not_grow_with_the_number_of_rollouts(self, copy):
        """Of what checks a run before it is pushed."""
        one = (copy / "rollouts.jsonl").read_text(encoding="utf-8")

        def peak(times: int) -> int:
            (copy / "rollouts.jsonl").write_text(one * times, encoding="utf-8")
            tracemalloc.start()
            try:
                assert verify_run(copy) == []
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        peak(1)
        few, many = peak(5), peak(60)
        assert many < 1.2 * few

    def test_a_path_in_the_data_stops_it(self, copy):
        line = json.loads((copy / "rollouts.jsonl").read_text().split("\n")[0])
        line["fields"]["log"] = f"{copy}/logs/a.eval"
        rest = (copy / "rollouts.jsonl").read_text().split("\n")[1:]
        (copy / "rollouts.jsonl").write_text("\n".join([json.dumps(line), *rest]))
        with pytest.raises(RunError, match=r"rollouts\.jsonl:1 holds .*, a path of this machine"):
            gather(copy)
        assert "rollouts.jsonl" in gather(copy, keep_paths=True).index.files

    @pytest.mark.parametrize("place", ["manifest.json", "rollouts.jsonl", "experiment.yaml"])
    @pytest.mark.parametrize("secret", [SECRET, "sk-ant-" + "Zz9" * 10, "the-value-of-a-variable"])
    def test_a_key_stops_it_and_is_not_repeated(self, copy, monkeypatch, place, secret):
        monkeypatch.setenv("MY_JUDGE_API_KEY", "the-value-of-a-variable")
        if place == "experiment.yaml":
            (copy / place).write_text((copy / place).read_text() + f"# {secret}\n")
        else:
            text = (copy / place).read_text()
            (copy / place).write_text(text.replace("introspect run", secret).replace("step 3", secret))
        with pytest.raises(RunError, match=r":\d+ holds what looks like an access token") as refused:
            gather(copy, keep_paths=True)
        assert secret not in str(refused.value)

    def test_ordinary_words_are_no_keys(self, tmp_path):
        words = b"risk-money-helicopter-loss-risky-0 task-sk-learn ask-someone-who-knows-more-about-it hf_short\n"
        Private(tmp_path, []).check([words], "words", paths="all")

    def test_what_is_neither_is_named(self, tmp_path):
        (tmp_path / "other").mkdir()
        with pytest.raises(RunError, match="is neither a run nor a probe"):
            gather(tmp_path / "other")
        with pytest.raises(SpecError, match="did you mean 'risk-silent'"):
            gather("risk-silnt")


def contents_of(cargo, path) -> dict:
    with cargo.opened(path) as file:
        return json.loads(file.read())


class TestStrangers:
    """The place is what somebody else prepared."""

    @pytest.mark.parametrize(
        "path",
        [
            *("../evil.json", "/etc/cron.d/x.json", "a/../../x.json", ".bashrc", "a/.ssh/x.json", "a//x.json", "a/"),
            *("x.py", "x.pkl", "report.html\n", "a\\b.json", "C:x.json", "x.json ", "a/./x.json", "~/x.json", "é.json"),
            *("x" * 250 + ".json", "/".join("abcdefghi") + ".json", INDEX, MARKER, "", "con.json.", "a./x.json"),
        ],
    )
    def test_a_path_that_no_run_has_is_refused(self, pushed, tmp_path, path):
        assert not is_plain(path)
        edit_index(pushed, lambda index: index["files"].update({path: entry(b"x")}))
        with pytest.raises(StoreError, match="which is no file of a run or a probe"):
            pull(str(pushed), tmp_path / "a" / "theirs")
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize(
        "names", [("Results.json", "results.json"), ("a.json", "a.json/b.json"), ("A.JSON/b.json", "a.json/B.json")]
    )
    def test_names_that_meet_on_some_system_are_refused(self, names):
        files = {name: entry(b"") for name in names}
        index = {"format": 1, "kind": "run", "introspect": "0", "files": files}
        with pytest.raises(StoreError, match=r"twice, or as a file and a folder|which is no file"):
            parse_index(json.dumps(index).encode(), "place")

    @pytest.mark.parametrize(
        "change",
        [
            {"format": 2},
            {"kind": "shell"},
            {"files": []},
            {"extra": 1},
            {"files": {"results.json": {"bytes": -1, "sha256": "0" * 64}}},
            {"files": {"results.json": {"bytes": 1.5, "sha256": "0" * 64}}},
            {"files": {"results.json": {"bytes": 1, "sha256": "../" + "0" * 61}}},
            {"files": {"results.json": {"bytes": 1, "sha256": "0" * 64, "url": "http://elsewhere"}}},
        ],
    )
    def test_an_index_that_is_none_is_one_line(self, pushed, tmp_path, change):
        edit_index(pushed, lambda index: index.update(change))
        with pytest.raises(StoreError, match="was not pushed by introspect, or is damaged") as refused:
            pull(str(pushed), tmp_path / "theirs")
        assert "\n" not in str(refused.value)

    def test_many_names_are_compared_in_no_time(self):
        names = [f"part-{i}.h5" for i in range(30_000)]
        index = {
            "format": 1,
            "kind": "run",
            "introspect": "0",
            "files": dict.fromkeys([*names, "Part-9.h5"], entry(b"")),
        }
        content = json.dumps(index).encode()
        begun = time.process_time()
        with pytest.raises(StoreError, match="twice, or as a file and a folder"):
            parse_index(content, "place")
        assert time.process_time() - begun < 2

    def test_a_huge_index_or_run_is_refused_before_it_is_fetched(self, pushed, tmp_path, monkeypatch):
        with pytest.raises(RunError, match=r"more than the 0\.0 GB that are allowed: raise --max-gb"):
            pull(str(pushed), tmp_path / "theirs", most=1000)
        (pushed / INDEX).write_bytes(b" " * (16 << 20) + b"  ")
        with pytest.raises(StoreError, match="has more than 16,777,216 bytes"):
            pull(str(pushed), tmp_path / "theirs")
        assert not (tmp_path / "theirs").exists() and not (tmp_path / ".theirs.pull").exists()

    def test_a_file_that_goes_on_for_ever_is_cut_off(self, pushed, tmp_path, monkeypatch):
        given = []

        def endless(place, path, most):
            if path == INDEX:
                yield (pushed / INDEX).read_bytes()
                return
            while True:
                given.append(path)
                yield b"x" * (1 << 20)

        monkeypatch.setattr(places.FolderPlace, "read", endless)
        with pytest.raises(StoreError, match="is not the file that was pushed"):
            pull(str(pushed), tmp_path / "theirs")
        assert len(given) == 1 and list((tmp_path / ".theirs.pull").rglob("*.tmp")) == []

    def test_a_changed_file_is_named_and_the_others_are_kept(self, run, pushed, tmp_path):
        original = (pushed / "verdicts.jsonl").read_bytes()
        (pushed / "verdicts.jsonl").write_bytes(b"X" + original[1:])
        with pytest.raises(StoreError, match=r"shared/verdicts\.jsonl is not the file that was pushed"):
            pull(str(pushed), tmp_path / "theirs")
        assert not (tmp_path / "theirs").exists()
        (pushed / "verdicts.jsonl").write_bytes(original[:-1])
        with pytest.raises(StoreError, match=r"has 1,\d+ bytes and not 1,\d+: damaged since"):
            pull(str(pushed), tmp_path / "theirs")
        (pushed / "verdicts.jsonl").unlink()
        with pytest.raises(StoreError, match=r"verdicts\.jsonl is missing"):
            pull(str(pushed), tmp_path / "theirs")

    @pytest.mark.parametrize("name", ["verdicts.jsonl", "activations"])
    def test_a_link_is_not_followed(self, pushed, tmp_path, name):
        (pushed / name).rename(tmp_path / "elsewhere")
        (pushed / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match=r"link, and is not followed|is missing"):
            pull(str(pushed), tmp_path / "theirs")
        assert not (tmp_path / "theirs").exists()

    def test_digests_that_are_right_do_not_make_a_run_of_it(self, pushed, tmp_path):
        part = next((pushed / "activations").glob("part-*.h5"))
        content = bytearray(part.read_bytes())
        content[-30] ^= 1
        part.write_bytes(content)
        path = str(part.relative_to(pushed))
        edit_index(pushed, lambda index: index["files"].update({path: entry(bytes(content))}))
        with pytest.raises(StoreError, match="it was so where it was pulled from: do not use it"):
            pull(str(pushed), tmp_path / "theirs")
        assert not (tmp_path / "theirs").exists()

    def test_a_run_that_calls_itself_a_probe_is_refused(self, pushed, tmp_path):
        edit_index(pushed, lambda index: index.update(kind="probe"))
        with pytest.raises(StoreError, match="holds no probe, which its index says"):
            pull(str(pushed), tmp_path / "theirs")

    def test_what_its_index_does_not_name_stays_there(self, pushed, tmp_path):
        (pushed / "run-me.py").write_text("raise SystemExit")
        pull(str(pushed), tmp_path / "theirs")
        assert not (tmp_path / "theirs" / "run-me.py").exists()

    def test_an_empty_or_foreign_place_is_one_line(self, tmp_path):
        with pytest.raises(RunError, match="there is nothing at"):
            pull(str(tmp_path / "none"), tmp_path / "theirs")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "a.json").write_text("{}")
        with pytest.raises(RunError, match="holds nothing that introspect pushed"):
            pull(str(tmp_path / "other"), tmp_path / "theirs")


class TestAddresses:
    @pytest.mark.parametrize(
        ("address", "said"),
        [
            ("simplecache::file:///x", "is a chain of places"),
            ("nowhere://x", "is no address of a place"),
            ("hf://me", "is no repository of the hub"),
            ("hf://me/../x", "is no repository of the hub"),
            ("hf://spaces/me/x", "is no repository of the hub"),
        ],
    )
    def test_one_that_is_none_is_one_line(self, run, address, said):
        with pytest.raises(SpecError, match=said):
            push(run, address)

    def test_a_library_that_is_missing_is_named(self, run, monkeypatch):
        monkeypatch.setitem(known_implementations, "missing", {"class": "no_such.Files", "err": "Install no_such"})
        with pytest.raises(SpecError, match="needs a package that is not installed: Install no_such"):
            push(run, "missing://bucket/x")

    def test_a_place_inside_the_run_is_refused(self, copy):
        before = contents(copy)
        for address in (copy / "backup", f"file://{copy}/backup"):
            with pytest.raises(SpecError, match="which holds its own files only"):
                push(copy, str(address))
        assert contents(copy) == before

    def test_public_is_for_the_hub(self, run, tmp_path):
        with pytest.raises(SpecError, match="leave --public out"):
            push(run, str(tmp_path / "shared"), public=True)

    def test_what_a_place_raises_is_one_line(self, run, tmp_path, monkeypatch):
        class Broken(Exception):
            pass

        def broken(*_, **__):
            raise Broken("no such bucket\nsecond line")

        monkeypatch.setattr(MemoryFileSystem, "exists", broken)
        with pytest.raises(RunError, match=r"cannot reach memory://x \(no such bucket\); check") as refused:
            push(run, "memory://x")
        assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the client's own upload, with httpx2
class TestHub:
    def test_a_run_is_one_private_commit_and_comes_back(self, run, tmp_path, fake):
        done = push(run, "hf://me/run")
        repository = fake.repositories["dataset", "me/run"]
        assert repository.private and repository.commits == 2
        assert done.address == f"hf://datasets/me/run@{repository.sha}"
        found = pull("hf://me/run", tmp_path / "theirs")
        same_but_paths(contents(tmp_path / "theirs"), run)
        assert found.address == done.address and verify_run(tmp_path / "theirs") == []

    def test_a_probe_is_a_model_and_may_be_public(self, tmp_path, fake, monkeypatch):
        push(PROBE, "hf://me/probe", public=True)
        assert not fake.repositories["model", "me/probe"].private
        monkeypatch.setattr(hub, "get_token", lambda: None)
        fake.asked.clear()
        pull("hf://me/probe", tmp_path / "mine")
        assert load_probe(tmp_path / "mine").card == load_probe(probe_folder(PROBE)).card
        assert not any(had_token for _, had_token in fake.asked)

    def test_the_token_goes_to_the_hub_only_and_into_no_file(self, run, tmp_path, fake):
        push(run, "hf://me/run")
        pull("hf://me/run", tmp_path / "theirs")
        hosts = {asked.split()[1].partition("/")[0] for asked, _ in fake.asked}
        assert hosts == {"huggingface.co", "storage.test"}, "nothing was stored elsewhere, so nothing was tested"
        assert not any(TOKEN.encode() in content for content in contents(tmp_path / "theirs").values())

    def test_without_a_token_nothing_is_asked(self, run, fake, monkeypatch, invoke):
        monkeypatch.setattr(hub, "get_token", lambda: None)
        code, _, err = invoke("push", run, "hf://me/run")
        assert code == 2 and "needs a token of the hub that may write: `hf auth login`, or set HF_TOKEN" in err
        assert fake.asked == []

    def test_a_token_that_may_not_write_is_one_line(self, run, fake):
        fake.may_write = False
        with pytest.raises(SpecError, match="the token may not do this") as refused:
            push(run, "hf://me/run")
        assert TOKEN not in str(refused.value) and not fake.repositories

    def test_a_push_that_was_stopped_goes_on(self, run, tmp_path, fake):
        fake.fail_at = "/commit/"
        with pytest.raises(RunError, match="the hub answered 500"):
            push(run, "hf://me/run")
        assert set(fake.repositories["dataset", "me/run"].files) == {".gitattributes"}
        fake.fail_at, sent = None, len([asked for asked, _ in fake.asked if asked.startswith("PUT")])
        push(run, "hf://me/run")
        assert len([asked for asked, _ in fake.asked if asked.startswith("PUT")]) == sent > 0
        assert push(run, "hf://me/run").was_there

    @pytest.mark.parametrize("name", ["train.json", "results.json"])
    def test_what_is_there_is_not_written_over(self, run, fake, name):
        fake.repositories["dataset", "me/run"] = Repository(private=True, files={name: b"mine"})
        with pytest.raises(RunError, match=f"holds something else, such as {re.escape(name)}"):
            push(run, "hf://me/run")
        assert fake.repositories["dataset", "me/run"].files == {name: b"mine"}

    def test_a_public_repository_that_is_there_is_not_filled_by_accident(self, run, fake):
        fake.repositories["dataset", "me/run"] = Repository(private=False)
        with pytest.raises(RunError, match="is there, and public: add --public"):
            push(run, "hf://me/run")
        push(run, "hf://me/run", public=True)
        assert INDEX in fake.repositories["dataset", "me/run"].files

    def test_a_commit_is_pinned_and_a_wrong_one_named(self, run, tmp_path, fake):
        push(run, "hf://me/run")
        sha = fake.repositories["dataset", "me/run"].sha
        assert pull(f"hf://datasets/me/run@{sha}", tmp_path / "theirs", dry_run=True).index.kind == "run"
        with pytest.raises(RunError, match="has no revision abc"):
            pull("hf://datasets/me/run@abc", tmp_path / "theirs")
        with pytest.raises(RunError, match="there is no repository at hf://me/other, or it is private"):
            pull("hf://me/other", tmp_path / "theirs")
        with pytest.raises(SpecError, match="names a revision"):
            push(run, f"hf://me/run@{sha}")

    def test_offline_it_is_not_asked(self, run, tmp_path, fake, monkeypatch):
        monkeypatch.setattr(hub, "is_offline_mode", lambda: True)
        for call in (lambda: push(run, "hf://me/run"), lambda: pull("hf://me/run", tmp_path / "theirs")):
            with pytest.raises(SpecError, match="which is not asked offline"):
                call()
        assert fake.asked == []

    def test_a_hub_that_cannot_be_reached_is_one_line(self, tmp_path, fake, monkeypatch):
        import httpx2

        def unreachable(request):
            raise httpx2.ConnectError("no route to host")

        huggingface_hub.set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(unreachable)))
        with pytest.raises(RunError, match="the hub cannot be reached for hf://me/run"):
            pull("hf://me/run", tmp_path / "theirs")


class TestCard:
    def test_it_says_what_was_found_with_intervals_and_warnings(self, run):
        card = make_card(run, "run")
        assert card.startswith("---\nlibrary_name: introspect\n")
        assert "# probe-risk\\: Is the risk policy readable inside" in card
        assert "AUROC 1.00 \\[0.88, 1.00\\]" in card and "- Warning\\: The item settles the choice" in card
        assert "introspect pull SOURCE OUT" in card and "introspect verify OUT" in card

    def test_that_of_a_probe_has_its_baselines(self):
        card = make_card(probe_folder(PROBE), "probe")
        assert "# predicts that risk-silent chooses the risky option" in card
        assert "- auroc\\:" in card and "- Baseline " in card and "resid\\_post of layer 24" in card

    def test_a_run_without_results_says_so(self, copy):
        (copy / "results.json").unlink()
        assert "# A run, recorded" in make_card(copy, "run")

    def test_what_a_stranger_wrote_is_text(self, copy):
        results = json.loads((copy / "results.json").read_text())
        results["experiment"]["question"] = f"{HOSTILE}\n---\n![x](http://evil.test/p.png) www.evil.test `code`"
        results["warnings"] = ["<img src=x onerror=alert(1)>\n# heading\n```\nfence"]
        (copy / "results.json").write_text(json.dumps(results))
        card = make_card(copy, "run")
        body = card.partition("---\n\n")[2] or card.split("---\n", 2)[2]
        own = body.replace("```", "")
        for active in ("<script", "<img", "](", "![", "http:", "www.", "`code`", "\n---", "\n# heading", "\u2028"):
            assert active not in own, active
        assert body.count("```") == 2

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a_b*c", "a\\_b\\*c"),
            ("<b>&", "&lt;b&gt;&amp;"),
            ("[x](y)", "\\[x\\]\\(y\\)"),
            ("one\n\ntwo\t3", "one two 3"),
            ("\u202eevil", "U+202E"),
        ],
    )
    def test_markup_stands_for_itself(self, text, expected):
        assert expected in escaped(text) and "\u202e" not in escaped(text)


class TestCommands:
    def test_a_dry_run_says_files_and_bytes_and_pushes_nothing(self, copy, tmp_path, invoke):
        (copy / "notes.txt").write_text("x")
        code, out, err = invoke("push", copy, "hf://me/run", "--dry-run")
        last = out.splitlines()[-1]
        index = gather(copy).index
        assert (
            code == 0 and f"{len(index.files)} files, {index.n_bytes:,} bytes, would be pushed to hf://me/run" == last
        )
        assert re.search(r"manifest.json +\d+ bytes  paths shortened", out) and "not pushed: notes.txt" in err
        assert all(path in out for path in index.files)

    def test_push_and_pull_print_what_they_did(self, run, tmp_path, invoke):
        code, out, err = invoke("push", run, tmp_path / "shared")
        assert code == 0 and out.endswith(f"pushed to {tmp_path / 'shared'}\n") and "shortened in manifest.json" in err
        assert invoke("push", run, tmp_path / "shared")[1].endswith(f"were there already: {tmp_path / 'shared'}\n")
        code, out, _ = invoke("pull", tmp_path / "shared", tmp_path / "theirs", "--dry-run")
        assert code == 0 and out.endswith("nothing was fetched\n") and not (tmp_path / "theirs").exists()
        code, out, _ = invoke("pull", tmp_path / "shared", tmp_path / "theirs", "--json")
        said = json.loads(out)
        assert (code, said["kind"], said["pulled"]) == (0, "run", True) and said["fetched"] == said["bytes"]
        code, out, _ = invoke("verify", tmp_path / "theirs")
        assert code == 0 and "every part matches its digest" in out

    @pytest.mark.parametrize("size", ["inf", "nan", "-1"])
    def test_a_size_that_is_none_is_one_line(self, pushed, tmp_path, invoke, size):
        code, _, err = invoke("pull", pushed, tmp_path / "theirs", f"--max-gb={size}")
        assert code == 2 and "--max-gb" in err and "Traceback" not in err
        assert not (tmp_path / "theirs").exists()

    def test_damage_is_exit_3_and_a_wrong_address_exit_2(self, pushed, tmp_path, invoke):
        assert invoke("pull", "nowhere://x", tmp_path / "theirs")[0] == 2
        content = (pushed / "rollouts.jsonl").read_bytes()
        (pushed / "rollouts.jsonl").write_bytes(content[::-1])
        code, _, err = invoke("pull", pushed, tmp_path / "theirs")
        assert code == 3 and err.count("\n") == 1
